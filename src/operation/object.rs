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
//! | start | `Shared::start` in `pending.rs`; never reads, writes or accepts |
//! | perform | [`Object::dispatch`](Dispatch::dispatch), and nowhere else: so handlers never nest and never overtake each other |
//! | cancel, close | [`Object::cancel_all`], `Shared::close` |
//!
//! The interest of an object *is* its queues: a direction's bit is set exactly while its queue holds something, or its
//! front is being performed, or the handler of that is running.

use super::queue::Queue;
use crate::engine::dispatch::Dispatch;
use crate::engine::reactor::Reactor;
use crate::engine::ready_state::State;
use crate::engine::state::Engine;
use crate::engine::trace::{TARGET, tell};
use crate::error;
use crate::handle::Handle;
use crate::key::Origin;
use crate::outstanding::Work;
use crate::readiness::io::{Budget, Io};
use crate::ready::{Interest, Ready};
use mio::event::Source;
use rustix::event::PollFlags;
use std::any::Any;
use std::cell::{Cell, RefCell};
use std::io;
use std::os::fd::AsFd;
use std::rc::Rc;

/// A descriptor that operations can be started on.
pub trait Descriptor: Source + AsFd + 'static {
    /// The object's name in listings: `tcp::Socket`.
    const OBJECT: &'static str;
    /// What the poller watches for, from the first operation on.
    const WATCH: mio::Interest;
    /// What it watches for from the first write on that finds no room, if that is not the same.
    const WATCH_FOR_ROOM: Option<mio::Interest> = None;

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

    pub(crate) fn poll_flags(self) -> PollFlags {
        match self {
            Direction::Read => PollFlags::IN,
            Direction::Write => PollFlags::OUT,
            Direction::Exception => PollFlags::PRI,
        }
    }

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
    pub(super) source: RefCell<Option<S>>,
    pub(super) queues: [Queue<Box<dyn Op<S>>>; 3],
    /// The last operation's box of each direction, emptied: the next of the same type needs no allocation.
    pub(super) spares: [Cell<Option<Box<dyn Any>>>; 3],
    /// How many `Shared` there are. With none left and no operation outstanding, the object closes.
    pub(super) handles: Cell<usize>,
    /// The poller watches for room as well.
    pub(super) is_watched_for_room: Cell<bool>,
    /// Set when all operations are cancelled: the one that is being performed is in no queue just then.
    were_cancelled: Cell<bool>,
    /// Out of descriptors, with connections waiting: said once, until none waits.
    starving: Cell<bool>,
    /// The endpoint told when the connection opened, to be told again when it closes.
    pub(super) peer: Cell<Option<String>>,
    /// The descriptor is set to linger, which only an explicit close may do: it blocks.
    pub(crate) lingers: Cell<bool>,
    pub(crate) non_blocking: Cell<bool>,
}

impl<S: Descriptor> Object<S> {
    pub(super) fn new(handle: Handle) -> Self {
        Object {
            state: State::default(),
            handle,
            source: RefCell::new(None),
            queues: [Queue::new(), Queue::new(), Queue::new()],
            spares: Default::default(),
            handles: Cell::new(1),
            is_watched_for_room: Cell::new(false),
            were_cancelled: Cell::new(false),
            starving: Cell::new(false),
            peer: Cell::new(None),
            lingers: Cell::new(false),
            non_blocking: Cell::new(false),
        }
    }

    /// Closes the object when nobody can use it any more and no operation does.
    #[inline]
    pub(super) fn close_if_unused(&self) {
        if self.handles.get() == 0 {
            self.close_unless_outstanding();
        }
    }

    #[cold]
    fn close_unless_outstanding(&self) {
        if self.state.interest().without(Interest::DEMANDED) == Interest::NONE {
            if let Some(source) = self.take_source() {
                self.drop_without_blocking(source);
                self.handle.engine.descriptor_closed();
            }
        }
    }

    /// Closes the descriptor; a lingering close, which blocks, is for an explicit `close` only.
    fn drop_without_blocking(&self, source: S) {
        if self.lingers.get() {
            let _ = socket2::SockRef::from(&source).set_linger(None); // If this fails, close decides.
        }
        drop(source);
    }

    /// Ends every outstanding operation as aborted, through the ready queue.
    pub(super) fn cancel_all(&self) {
        self.were_cancelled.set(true);
        self.state.set_interest(Interest::NONE);
        for queue in &self.queues {
            while let Some(operation) = queue.pop_front() {
                self.handle.engine.scheduler.work_finished();
                operation.abort(&self.handle.engine);
            }
        }
    }

    pub(super) fn take_source(&self) -> Option<S> {
        // Borrowed only if a logger, told of a transfer, wants to close that very object: it may not.
        let mut source = self.source.try_borrow_mut().ok()?.take()?;
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
        self.is_watched_for_room.set(false);
        self.tell_closed();
        Some(source)
    }

    fn tell_closed(&self) {
        if let Some(peer) = self.peer.take() {
            log::info!(target: TARGET, "closed {} {peer}", S::OBJECT);
        }
    }

    /// Performs the operation at the front of a queue, and runs its handler if that ends it.
    #[inline(always)]
    fn perform_front(&self, direction: Direction, budget: &Budget) -> Performed {
        let engine = &self.handle.engine;
        let queue = &self.queues[direction as usize];
        let Some(operation) = queue.pop_front() else {
            self.state.drop_interest(direction.interest());
            return Performed::NotYet;
        };
        // It counts as outstanding again only if it goes back: so a panic in its buffer leaves the count right.
        engine.scheduler.work_finished();
        self.were_cancelled.set(false);
        let attempt = Attempt { object: self, direction, budget };
        let mut unwinding = Unwinding { attempt: &attempt, is_over: true };
        let operation = operation.advance(&attempt);
        unwinding.is_over = false;
        let Some(operation) = operation else {
            attempt.finished();
            return Performed::Done;
        };
        if attempt.was_cancelled() {
            attempt.finished();
            operation.abort(engine);
            return Performed::Done;
        }
        engine.scheduler.work_started();
        queue.push_front(operation);
        Performed::NotYet
    }

    /// The front of a queue has gone. The interest follows the queue; a new front is shown the end of the stream, if
    /// that has been seen, and is due at once if it needs nothing.
    #[inline]
    fn look_at_front(&self, direction: Direction) {
        if self.queues[direction as usize].is_empty() {
            self.state.drop_interest(direction.interest());
        } else {
            self.look_at_new_front(direction);
        }
    }

    #[cold]
    fn look_at_new_front(&self, direction: Direction) {
        self.state.set_interest(self.state.interest());
        if self.front_needs_nothing(direction) {
            self.state.demand_call();
        }
    }

    fn front_needs_nothing(&self, direction: Direction) -> bool {
        self.queues[direction as usize].look_at_front(|front| front.needs_nothing()).unwrap_or(false)
    }

    /// The direction to go on with: one that can be and is not `blocked` in this dispatch. Errors come first, then
    /// what ends a connection attempt; reading and writing take turns.
    #[inline]
    fn next_direction(&self, blocked: Interest, last: Direction) -> Option<Direction> {
        let open = self.state.interest().without(blocked);
        let ready = self.state.ready().of(open);
        if ready.is_none() {
            return None;
        }
        let (first, second) = match last {
            Direction::Write => (Direction::Read, Direction::Write),
            _ => (Direction::Write, Direction::Read),
        };
        let is_ready = |direction: Direction| !ready.of(direction.interest()).is_none();
        if is_ready(Direction::Exception) {
            Some(Direction::Exception)
        } else if is_ready(first) {
            Some(first)
        } else if is_ready(second) {
            Some(second)
        } else {
            self.demanded_direction(open, [Direction::Exception, first, second])
        }
    }

    /// Only a demand is left.
    #[cold]
    fn demanded_direction(&self, open: Interest, order: [Direction; 3]) -> Option<Direction> {
        let is_demanded =
            |direction: &Direction| open.intersects(direction.interest()) && self.front_needs_nothing(*direction);
        order.into_iter().find(is_demanded)
    }

    /// Has the poller tell when there is room, if an operation waits for that.
    #[inline(always)]
    pub(super) fn watch_for_room_if_wanted(&self) {
        if let Some(watch) = S::WATCH_FOR_ROOM {
            let waits = self.state.interest().is_writable() && !self.state.ready().is_writable();
            if waits && !self.is_watched_for_room.get() {
                self.watch_for_room(watch);
            }
        }
    }

    #[cold]
    fn watch_for_room(&self, watch: mio::Interest) {
        // Borrowed only if a logger, told of a transfer, starts an operation: then the dispatch asks again at its end.
        let Ok(mut source) = self.source.try_borrow_mut() else {
            return;
        };
        if let (Some(token), Some(source)) = (self.state.token(), source.as_mut()) {
            match self.handle.engine.reactor.reregister(source, token, watch) {
                Ok(()) => self.is_watched_for_room.set(true),
                Err(error) => log::error!(target: TARGET, "cannot watch on: {error}"),
            }
        }
    }

    /// Arms the descriptor again where the poller needs it: mio's poll(2) backend does so by itself only when one of
    /// its own calls has answered `WouldBlock`.
    fn watch_again(&self) {
        if cfg!(mio_unsupported_force_poll_poll) {
            if let (Some(token), Some(source)) = (self.state.token(), self.source.borrow_mut().as_mut()) {
                if let Err(error) = self.handle.engine.reactor.reregister(source, token, S::WATCH) {
                    log::error!(target: TARGET, "cannot watch on: {error}");
                }
            }
        }
    }
}

#[derive(PartialEq, Eq)]
enum Performed {
    Done,
    NotYet,
}

impl<S: Descriptor> Dispatch for Object<S> {
    #[inline]
    fn state(&self) -> &State {
        &self.state
    }

    fn reactor(&self) -> &Reactor {
        &self.handle.engine.reactor
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
                Performed::Done => {
                    handlers_left -= 1;
                    if blocked != Interest::NONE && self.state.is_call_demanded() {
                        blocked = Interest::NONE; // The handler may have put another operation in front.
                    }
                }
                Performed::NotYet => blocked |= direction.interest(),
            }
            last = direction;
            if engine.must_leave() {
                break;
            }
        }
        self.watch_for_room_if_wanted();
        self.close_if_unused();
    }

    fn cancel(&self, sequence: u64) -> bool {
        let engine = &self.handle.engine;
        for direction in Direction::ALL {
            let queue = &self.queues[direction as usize];
            if let Some(operation) = queue.remove(|operation| operation.sequence() == sequence) {
                engine.scheduler.work_finished();
                self.look_at_front(direction);
                operation.abort(engine);
                if let Some(entry) = self.state.slot().and_then(|slot| engine.reactor.entry(slot)) {
                    engine.enqueue(&entry); // The new front may need nothing.
                }
                self.close_if_unused();
                return true;
            }
        }
        false
    }

    fn abandon(&self) {
        if let Some(mut source) = self.source.take() {
            let _ = self.handle.engine.reactor.deregister(&mut source); // It is closed next, whatever this says.
            self.drop_without_blocking(source);
            self.tell_closed();
        }
        let queues = self.queues.iter().flat_map(|queue| std::iter::from_fn(|| queue.pop_front()));
        // Collected first: a vector goes on to drop the rest when one destructor panics.
        let operations: Vec<_> = queues.collect();
        self.spares.iter().for_each(|spare| drop(spare.take())); // Emptied: nothing of the user's is in them.
        drop(operations);
    }

    fn describe(&self, tell: &mut dyn FnMut(Work)) {
        // A logger of mio's own lines may ask while the source is being registered.
        let endpoint = self.source.try_borrow().ok().and_then(|source| S::endpoint(source.as_ref()?));
        for queue in &self.queues {
            queue.for_each(|operation| {
                let (kind, origin) = operation.origin();
                tell(Work::new(kind, S::OBJECT, endpoint.clone(), origin));
            });
        }
    }
}

/// One attempt to perform the operation at the front of a queue.
pub(crate) struct Attempt<'a, S: Descriptor> {
    pub(crate) object: &'a Object<S>,
    direction: Direction,
    budget: &'a Budget,
}

impl<S: Descriptor> Attempt<'_, S> {
    /// Makes one I/O call. No user code may run in it: the source is borrowed.
    #[inline(always)]
    pub(crate) fn io<R>(&self, call: impl FnOnce(&Io<'_, S>) -> io::Result<R>) -> io::Result<R> {
        let source = self.object.source.borrow();
        let source = source.as_ref().ok_or_else(error::not_open)?;
        call(&Io::new(source, &self.object.state, &self.object.handle.engine, self.budget))
    }

    pub(crate) fn engine(&self) -> &Rc<Engine> {
        &self.object.handle.engine
    }

    /// The operation has ended, and its handler has run.
    #[inline]
    fn finished(&self) {
        self.object.look_at_front(self.direction);
    }

    /// Keeps an emptied box for the next operation in this direction.
    #[inline]
    pub(crate) fn keep(&self, emptied: Box<dyn Any>) {
        self.object.spares[self.direction as usize].set(Some(emptied));
    }

    /// The kernel said, outside of mio's sight, that the direction is not ready.
    pub(crate) fn not_ready(&self, bits: Ready) {
        self.object.state.clear(bits);
        self.object.watch_again();
    }

    #[inline]
    pub(crate) fn was_cancelled(&self) -> bool {
        self.object.were_cancelled.get()
    }

    /// No descriptor was to be had: the object is left alone until one may be.
    pub(crate) fn starve(&self, error: &io::Error) {
        if !self.object.starving.replace(true) {
            log::warn!(target: TARGET, "{} waits for a free descriptor: {error}", S::OBJECT);
        }
        let entry = self.object.state.slot().and_then(|slot| self.engine().reactor.entry(slot));
        if let Some(entry) = entry {
            self.engine().starve(&entry);
        }
    }

    pub(crate) fn fed(&self) {
        self.object.starving.set(false);
    }
}

/// A panic in the buffer or the handler of the operation that is being performed: the object goes on without it.
struct Unwinding<'a, S: Descriptor> {
    attempt: &'a Attempt<'a, S>,
    /// Presumed until `advance` has returned.
    is_over: bool,
}

impl<S: Descriptor> Drop for Unwinding<'_, S> {
    #[inline]
    fn drop(&mut self) {
        if self.is_over {
            self.attempt.finished();
            self.attempt.object.close_if_unused();
        }
    }
}
