//! An I/O object: a descriptor, what is known of its readiness, and the operations that wait for it.
//!
//! ```text
//!             start                     ready and wanted            perform: not yet
//!   caller ----------> queue of one  --------------------> front --------------------> front again
//!                      direction            (step 5)         |
//!                          |                                 | perform: done
//!                          | cancel, close                   v
//!                          +-----------> ready queue      handler, at once
//!                            as aborted    (step 7)
//! ```
//!
//! | transition | function |
//! |---|---|
//! | start | [`Shared::start`]; never reads, writes or accepts |
//! | perform | [`Object::dispatch`], and nowhere else: so handlers never nest and never overtake each other |
//! | cancel, close | [`Object::cancel_all`], [`Object::close`] |
//!
//! The interest of an object *is* its queues: a direction's bit is set exactly while its queue holds something or its
//! front is being performed.

use crate::engine::key::Origin;
use crate::engine::outstanding::Work;
use crate::engine::reactor::{Entry, Handler, State};
use crate::engine::ready::{Interest, Ready};
use crate::engine::state::Engine;
use crate::engine::trace::{TARGET, tell};
use crate::error;
use crate::handle::Handle;
use crate::option::{Linger, SocketOption, sealed::Access};
use crate::readiness::io::{Budget, Io};
use mio::event::Source;
use std::any::Any;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io;
use std::ops::Deref;
use std::os::fd::AsFd;
use std::rc::Rc;

/// A descriptor that operations can be started on.
pub(crate) trait Descriptor: Source + AsFd + 'static {
    /// The object's name in listings: `tcp::Socket`.
    const OBJECT: &'static str;
    /// What the poller watches for, from the first operation to the end.
    const WATCH: mio::Interest;

    /// The endpoint to show in listings.
    fn endpoint(&self) -> Option<String>;
}

/// An operation in its queue.
pub(crate) trait Op<S: Descriptor> {
    /// Performs it. Gives it back if it is not done; otherwise runs its handler.
    fn advance(self: Box<Self>, attempt: &Attempt<'_, S>) -> Option<Box<dyn Op<S>>>;

    /// Ends it as aborted, through the ready queue.
    fn abort(self: Box<Self>, engine: &Rc<Engine>);

    fn sequence(&self) -> u64;

    fn origin(&self) -> (&'static str, Origin);

    fn needs_nothing(&self) -> bool;

    fn as_any_mut(&mut self) -> &mut dyn Any;
}

/// The queue that an operation waits in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    Read = 0,
    Write = 1,
    Exception = 2,
}

impl Direction {
    const ALL: [Direction; 3] = [Direction::Read, Direction::Write, Direction::Exception];

    pub(crate) fn interest(self) -> Interest {
        match self {
            Direction::Read => Interest::READABLE,
            Direction::Write => Interest::WRITABLE,
            Direction::Exception => Interest::EXCEPTION,
        }
    }
}

pub(crate) struct Object<S: Descriptor> {
    pub(crate) state: State,
    pub(crate) handle: Handle,
    /// `None` while the object is not open. Borrowed for single system calls only.
    source: RefCell<Option<S>>,
    queues: [RefCell<Queue<S>>; 3],
    /// How many [`Shared`] there are. With none left and no operation outstanding, the object closes.
    handles: Cell<usize>,
    /// Bumped whenever all operations are cancelled. One that is being performed is in no queue just then, and learns
    /// of it by the change.
    cancellations: Cell<u32>,
    /// Out of descriptors since the last success: said once.
    starving: Cell<bool>,
    /// The endpoint told when the connection opened, to be told again when it closes.
    peer: Cell<Option<String>>,
    /// The user asked for a lingering close, which only an explicit close may do: it blocks.
    lingers: Cell<bool>,
    pub(crate) non_blocking: Cell<bool>,
}

struct Queue<S: Descriptor> {
    operations: VecDeque<Box<dyn Op<S>>>,
    /// The last operation's box, emptied: the next operation of the same type needs no allocation.
    spare: Option<Box<dyn Op<S>>>,
}

/// A handle of the user's on an object: cheap to clone. What `Socket` and `Acceptor` are made of.
pub(crate) struct Shared<S: Descriptor> {
    object: Rc<Object<S>>,
}

impl<S: Descriptor> Shared<S> {
    pub(crate) fn new(handle: Handle, source: Option<S>) -> Self {
        let queue = || {
            RefCell::new(Queue {
                operations: VecDeque::new(),
                spare: None,
            })
        };
        let object = Object {
            state: State::default(),
            handle,
            source: RefCell::new(source),
            queues: [queue(), queue(), queue()],
            handles: Cell::new(1),
            cancellations: Cell::new(0),
            starving: Cell::new(false),
            peer: Cell::new(None),
            lingers: Cell::new(false),
            non_blocking: Cell::new(false),
        };
        Shared {
            object: Rc::new(object),
        }
    }

    /// Queues an operation. Performing it is the business of a later step.
    pub(super) fn enqueue(&self, direction: Direction, operation: Box<dyn Op<S>>) {
        let state = &self.state;
        let needs_nothing = operation.needs_nothing();
        self.queues[direction as usize].borrow_mut().operations.push_back(operation);
        self.handle.engine.scheduler.work_started();
        state.set_interest(state.interest() | direction.interest());
        if needs_nothing {
            state.demand_call();
        }
        if state.is_due_anew() {
            let entry: Entry = self.object.clone();
            self.handle.engine.enqueue(&entry);
        }
    }

    pub(super) fn take_spare(&self, direction: Direction) -> Option<Box<dyn Op<S>>> {
        self.queues[direction as usize].borrow_mut().spare.take()
    }

    /// Hands the descriptor to the poller, at the object's first operation. Returns its slot.
    #[inline]
    pub(super) fn register(&self) -> io::Result<u32> {
        match self.state.slot() {
            Some(slot) => Ok(slot),
            None => self.register_first(),
        }
    }

    #[cold]
    fn register_first(&self) -> io::Result<u32> {
        let state = &self.state;
        let engine = &self.handle.engine;
        let mut source = self.source.borrow_mut();
        let source = source.as_mut().ok_or_else(error::not_open)?;
        let entry: Entry = self.object.clone();
        let token = engine.reactor.insert(&entry);
        if let Err(error) = engine.reactor.register(source, token, S::WATCH) {
            drop(engine.remove(state));
            return Err(error);
        }
        let slot = state.slot().unwrap_or_default();
        tell!(engine, "registered token {slot}: {}", S::OBJECT);
        Ok(slot)
    }

    pub(crate) fn is_open(&self) -> bool {
        self.source.borrow().is_some()
    }

    /// Gives the object its descriptor.
    ///
    /// # Errors
    ///
    /// It has one already, or the context has gone.
    pub(crate) fn open(&self, make: impl FnOnce() -> io::Result<S>) -> io::Result<()> {
        self.handle.engine.check_alive()?;
        if self.is_open() {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, "the object is already open"));
        }
        *self.source.borrow_mut() = Some(make()?);
        self.state.reset();
        Ok(())
    }

    /// Makes a call on the open descriptor. `call` is ours, short, and calls no user code: the source is borrowed.
    ///
    /// # Errors
    ///
    /// The object is not open, the context has gone, or what `call` says.
    pub(crate) fn with<R>(&self, call: impl FnOnce(&S) -> io::Result<R>) -> io::Result<R> {
        self.handle.engine.check_alive()?;
        call(self.source.borrow().as_ref().ok_or_else(error::not_open)?)
    }

    /// The descriptor begins a new life (it connects, it listens): what was known of its readiness is void.
    pub(crate) fn start_anew(&self, writable: bool) -> io::Result<()> {
        let state = &self.state;
        state.reset();
        if writable {
            state.set(Ready::WRITABLE);
        }
        match (state.token(), self.source.borrow_mut().as_mut()) {
            (Some(token), Some(source)) => self.handle.engine.reactor.reregister(source, token, S::WATCH),
            _ => Ok(()),
        }
    }

    /// Notes, for those who listen at level `info`, that a connection is there.
    pub(crate) fn opened(&self) {
        if log::log_enabled!(target: TARGET, log::Level::Info) {
            let endpoint = self.source.borrow().as_ref().and_then(S::endpoint).unwrap_or_default();
            log::info!(target: TARGET, "opened {} {endpoint}", S::OBJECT);
            self.peer.set(Some(endpoint));
        }
    }

    /// Sets an option, and remembers what a drop has to know.
    pub(crate) fn set_option<O: SocketOption>(&self, option: O) -> io::Result<()> {
        self.with(|source| {
            option.apply(source.as_fd())?;
            let Linger(linger) = Linger::read(source.as_fd())?;
            self.lingers.set(linger.is_some_and(|time| !time.is_zero()));
            Ok(())
        })
    }

    pub(crate) fn cancel(&self) {
        self.cancel_all();
    }

    pub(crate) fn close(&self) {
        drop(self.take_source());
        self.handle.engine.descriptor_closed();
    }

    /// Aborts everything and hands the descriptor out, no longer in the poller.
    pub(crate) fn release(&self) -> io::Result<S> {
        self.take_source().ok_or_else(error::not_open)
    }
}

impl<S: Descriptor> Deref for Shared<S> {
    type Target = Object<S>;

    fn deref(&self) -> &Object<S> {
        &self.object
    }
}

impl<S: Descriptor> Clone for Shared<S> {
    fn clone(&self) -> Self {
        self.handles.set(self.handles.get() + 1);
        let object = Rc::clone(&self.object);
        Shared { object }
    }
}

impl<S: Descriptor> Drop for Shared<S> {
    fn drop(&mut self) {
        self.handles.set(self.handles.get() - 1);
        self.close_if_unused();
    }
}

impl<S: Descriptor> Object<S> {
    /// Closes the object when nobody can use it any more and no operation does.
    #[inline]
    fn close_if_unused(&self) {
        if self.handles.get() == 0 {
            self.close_unless_outstanding();
        }
    }

    #[cold]
    fn close_unless_outstanding(&self) {
        if self.state.interest() == Interest::NONE {
            if let Some(source) = self.take_source() {
                if self.lingers.get() {
                    // A drop must not block.
                    let _ = socket2::SockRef::from(&source).set_linger(None);
                }
                drop(source);
                self.handle.engine.descriptor_closed();
            }
        }
    }

    /// Ends every outstanding operation as aborted, through the ready queue.
    fn cancel_all(&self) {
        self.cancellations.set(self.cancellations.get().wrapping_add(1));
        self.state.set_interest(Interest::NONE);
        for queue in &self.queues {
            let operations = std::mem::take(&mut queue.borrow_mut().operations);
            for operation in operations {
                self.handle.engine.scheduler.work_finished();
                operation.abort(&self.handle.engine);
            }
        }
    }

    fn take_source(&self) -> Option<S> {
        let mut source = self.source.borrow_mut().take()?;
        self.cancel_all();
        let engine = &self.handle.engine;
        if let Some(slot) = self.state.slot() {
            if let Err(error) = engine.reactor.deregister(&mut source) {
                log::debug!(target: TARGET, "deregister: {error}");
            }
            drop(engine.remove(&self.state));
            tell!(engine, "deregistered token {slot}: {}", S::OBJECT);
        }
        self.state.reset();
        if let Some(peer) = self.peer.take() {
            log::info!(target: TARGET, "closed {} {peer}", S::OBJECT);
        }
        Some(source)
    }

    /// Performs the operation at the front of a queue, and runs its handler if that ends it.
    fn perform_front(&self, direction: Direction, budget: &Budget) -> Performed {
        let front = self.queues[direction as usize].borrow_mut().operations.pop_front();
        let Some(operation) = front else {
            self.state.set_interest(self.state.interest().without(direction.interest()));
            return Performed::NotYet;
        };
        let attempt = Attempt {
            object: self,
            direction,
            budget,
            cancellations: self.cancellations.get(),
            outstanding: Cell::new(true),
        };
        let Some(operation) = operation.advance(&attempt) else {
            return Performed::Done;
        };
        if attempt.was_cancelled() {
            attempt.finished();
            operation.abort(&self.handle.engine);
            return Performed::Done;
        }
        attempt.outstanding.set(false); // It is counted on, in its queue.
        self.queues[direction as usize].borrow_mut().operations.push_front(operation);
        Performed::NotYet
    }

    /// The front of a queue has gone: the interest follows the queue, and a new front that needs nothing is due.
    #[inline]
    fn look_at_front(&self, direction: Direction) {
        match self.queues[direction as usize].borrow().operations.front() {
            None => self.state.set_interest(self.state.interest().without(direction.interest())),
            Some(front) if front.needs_nothing() => self.state.demand_call(),
            Some(_) => {}
        }
    }

    /// The direction to go on with: one that can be, is not `blocked` in this dispatch, and preferably not the last.
    #[inline]
    fn next_direction(&self, blocked: Interest, last: Direction) -> Option<Direction> {
        let open = self.state.interest().without(blocked);
        let ready = self.state.ready().of(open);
        let order = match last {
            Direction::Read => [Direction::Write, Direction::Read, Direction::Exception],
            _ => [Direction::Read, Direction::Write, Direction::Exception],
        };
        if ready.is_none() {
            return None;
        }
        let can = |direction: &Direction| {
            let interest = direction.interest();
            !ready.of(interest).is_none() || (open.intersects(interest) && self.front_needs_nothing(*direction))
        };
        order.into_iter().find(can)
    }

    fn front_needs_nothing(&self, direction: Direction) -> bool {
        self.state.is_call_demanded()
            && self.queues[direction as usize].borrow().operations.front().is_some_and(|front| front.needs_nothing())
    }
}

#[derive(PartialEq, Eq)]
enum Performed {
    Done,
    NotYet,
}

impl<S: Descriptor> Handler for Object<S> {
    #[inline]
    fn state(&self) -> &State {
        &self.state
    }

    fn dispatch(&self) {
        let engine = &self.handle.engine;
        let budget = Budget::new(&engine.config);
        let mut blocked = Interest::NONE;
        let mut last = Direction::Exception;
        let mut handlers_left = engine.config.handlers_per_dispatch;
        while handlers_left > 0 {
            let Some(direction) = self.next_direction(blocked, last) else {
                self.state.forget_demand();
                break;
            };
            match self.perform_front(direction, &budget) {
                Performed::Done => handlers_left -= 1,
                Performed::NotYet => blocked = blocked | direction.interest(),
            }
            last = direction;
            if engine.must_leave() {
                break;
            }
        }
        self.close_if_unused();
    }

    fn cancel(&self, sequence: u64) -> bool {
        for direction in Direction::ALL {
            let operation = {
                let operations = &mut self.queues[direction as usize].borrow_mut().operations;
                let position = operations.iter().position(|operation| operation.sequence() == sequence);
                position.and_then(|position| operations.remove(position))
            };
            if let Some(operation) = operation {
                self.handle.engine.scheduler.work_finished();
                self.look_at_front(direction);
                operation.abort(&self.handle.engine);
                self.close_if_unused();
                return true;
            }
        }
        false
    }

    fn abandon(&self) {
        let source = self.source.borrow_mut().take();
        let queues: Vec<Queue<S>> = self.queues.iter().map(|queue| queue.replace(Queue::default())).collect();
        if let Some(mut source) = source {
            let _ = self.handle.engine.reactor.deregister(&mut source); // It is closed next, whatever this says.
        }
        drop(queues);
    }

    fn describe(&self, tell: &mut dyn FnMut(Work)) {
        let endpoint = self.source.borrow().as_ref().and_then(S::endpoint);
        for queue in &self.queues {
            for operation in &queue.borrow().operations {
                let (kind, origin) = operation.origin();
                tell(Work::new(kind, S::OBJECT, endpoint.clone(), origin));
            }
        }
    }
}

/// One attempt to perform the operation at the front of a queue.
pub(crate) struct Attempt<'a, S: Descriptor> {
    pub(crate) object: &'a Object<S>,
    direction: Direction,
    budget: &'a Budget,
    cancellations: u32,
    /// Whether the operation still counts as outstanding here. A panic in its buffer drops it: then this ends its work.
    outstanding: Cell<bool>,
}

impl<S: Descriptor> Attempt<'_, S> {
    /// Makes one I/O call. No user code may run in it: the source is borrowed.
    #[inline]
    pub(crate) fn io<R>(&self, call: impl FnOnce(&Io<'_, S>) -> io::Result<R>) -> io::Result<R> {
        let source = self.object.source.borrow();
        let source = source.as_ref().ok_or_else(error::not_open)?;
        call(&Io::new(source, &self.object.state, &self.object.handle.engine, self.budget))
    }

    pub(crate) fn engine(&self) -> &Rc<Engine> {
        &self.object.handle.engine
    }

    /// The operation has ended: it stops being outstanding before its handler runs.
    #[inline]
    pub(crate) fn finished(&self) {
        if self.outstanding.replace(false) {
            self.engine().scheduler.work_finished();
        }
        self.object.look_at_front(self.direction);
    }

    /// Keeps an emptied box for the next operation in this direction.
    #[inline]
    pub(crate) fn keep(&self, emptied: Box<dyn Op<S>>) {
        let old = self.object.queues[self.direction as usize].borrow_mut().spare.replace(emptied);
        drop(old);
    }

    pub(crate) fn was_cancelled(&self) -> bool {
        self.cancellations != self.object.cancellations.get()
    }

    /// No descriptor was to be had: the object is left alone until one may be.
    pub(crate) fn starve(&self, error: &io::Error, origin: Origin) {
        if !self.object.starving.replace(true) {
            log::warn!(target: TARGET, "{} waits for a free descriptor: {error}", S::OBJECT);
        }
        let entry = self.object.state.slot().and_then(|slot| self.engine().reactor.entry(slot));
        if let Some(entry) = entry {
            self.engine().starve(&entry, origin);
        }
    }

    pub(crate) fn fed(&self) {
        self.object.starving.set(false);
    }
}

impl<S: Descriptor> Drop for Attempt<'_, S> {
    #[inline]
    fn drop(&mut self) {
        if self.outstanding.get() {
            self.finished();
        }
    }
}

impl<S: Descriptor> Default for Queue<S> {
    fn default() -> Self {
        Queue {
            operations: VecDeque::new(),
            spare: None,
        }
    }
}
