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
//! | perform | `Object::dispatch` in `perform.rs`, and nowhere else: so handlers never nest and never overtake each other |
//! | cancel, close | [`Object::cancel_all`], `Shared::close` |
//!
//! The interest of an object *is* its queues: a direction's bit is set exactly while its queue holds something, or its
//! front is being performed, or the handler of that is running.

use super::queue::Queue;
use crate::engine::ready_state::State;
use crate::engine::state::{Engine, Queued, Task};
use crate::engine::trace::{TARGET, tell};
use crate::error;
use crate::handle::Handle;
use crate::key::Origin;
use crate::outstanding::Work;
use crate::readiness::budget::Budget;
use crate::readiness::io::Io;
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
    /// Whether what comes can wait for a few turns: it is clients that are not accepted yet.
    const CAN_WAIT: bool = false;

    /// The endpoint to show in listings.
    fn endpoint(&self) -> Option<String>;
}

/// An operation in its queue.
pub(crate) trait Op<S: Descriptor> {
    /// Performs it. Puts itself back if it is not done; otherwise runs its handler. Without an attempt it ends as aborted,
    /// or with the error that is known already. One method for both, so that the handler is called in one place, and
    /// melts into that.
    fn advance(self: Box<Self>, engine: &Engine, attempt: Option<Attempt<'_, S>>) -> Performed;

    fn sequence(&self) -> u64;

    fn origin(&self) -> (&'static str, Origin);

    fn needs_nothing(&self) -> bool;
}

/// An operation in the ready queue: it has ended with an error, and its handler is still to be told.
struct Ended<S>(Box<dyn Op<S>>);

impl<S: Descriptor> Task for Ended<S> {
    fn run(self: Box<Self>, engine: &Rc<Engine>) {
        self.0.advance(engine, None);
    }

    fn describe(&self) -> Work {
        let (kind, origin) = self.0.origin();
        Work::new(kind, S::OBJECT, None, origin)
    }
}

/// The queue that an operation waits in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    Read = 0,
    Write = 1,
    Exception = 2,
}

impl Direction {
    pub(super) const ALL: [Direction; 3] = [Direction::Read, Direction::Write, Direction::Exception];

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
    /// The box of each direction's last operation that has succeeded, emptied: the next of the same type needs no
    /// allocation.
    pub(super) spares: [Cell<Option<Box<dyn Any>>>; 3],
    /// How many `Shared` there are. With none left and no operation outstanding, the object closes.
    pub(super) handles: Cell<usize>,
    /// The poller watches for room as well.
    pub(super) is_watched_for_room: Cell<bool>,
    /// Set when all operations are cancelled: the one that is being performed is in no queue just then.
    pub(super) were_cancelled: Cell<bool>,
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
    pub(super) fn drop_without_blocking(&self, source: S) {
        if self.lingers.get() {
            let _ = socket2::SockRef::from(&source).set_linger(None); // If this fails, close decides.
        }
        drop(source);
    }

    /// Ends every outstanding operation as aborted, through the ready queue.
    pub(super) fn cancel_all(&self) {
        self.were_cancelled.set(true);
        self.state.set_interest(Interest::NONE);
        self.state.forget_demand();
        for queue in &self.queues {
            while let Some(operation) = queue.pop_front() {
                self.handle.engine.scheduler.work_finished();
                self.end_later(operation);
            }
        }
    }

    /// Ends an operation as aborted, or with the error that it knows, through the ready queue.
    #[cold]
    #[inline(never)]
    pub(super) fn end_later(&self, operation: Box<dyn Op<S>>) {
        let engine = &self.handle.engine;
        if engine.is_alive() {
            engine.push(Queued::Task(Box::new(Ended(operation))));
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

    pub(super) fn tell_closed(&self) {
        if let Some(peer) = self.peer.take() {
            log::info!(target: TARGET, "closed {} {peer}", S::OBJECT);
        }
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

/// What became of an attempt.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Performed {
    Done,
    NotYet,
}

/// An attempt to perform an operation.
pub(crate) struct Attempt<'a, S: Descriptor> {
    pub(crate) object: &'a Object<S>,
    pub(super) budget: &'a Budget,
}

// Not derived, because `S` is neither.
impl<S: Descriptor> Clone for Attempt<'_, S> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<S: Descriptor> Copy for Attempt<'_, S> {}

impl<'a, S: Descriptor> Attempt<'a, S> {
    /// Makes one I/O call. No user code may run in it: the source is borrowed.
    #[inline(always)]
    pub(crate) fn io<R>(&self, call: impl FnOnce(&Io<'_, S>) -> io::Result<R>) -> io::Result<R> {
        let source = self.object.source.borrow();
        let source = source.as_ref().ok_or_else(error::not_open)?;
        call(&Io::new(source, &self.object.state, &self.object.handle.engine, self.budget))
    }

    pub(crate) fn engine(&self) -> &'a Rc<Engine> {
        &self.object.handle.engine
    }

    /// Puts an operation that is not done back to where it was; or ends it, if it was cancelled meanwhile, as all that
    /// are cancelled end: through the ready queue.
    #[cold]
    #[inline(never)]
    pub(crate) fn put_back(self, direction: Direction, operation: Box<dyn Op<S>>) -> Performed {
        if self.object.were_cancelled.get() {
            self.object.end_later(operation);
            return Performed::Done;
        }
        self.engine().scheduler.work_started();
        self.object.queues[direction as usize].push_front(operation);
        Performed::NotYet
    }

    /// Keeps an emptied box for the next operation in this direction.
    #[inline]
    pub(crate) fn keep(&self, direction: Direction, emptied: Box<dyn Any>) {
        self.object.spares[direction as usize].set(Some(emptied));
    }

    /// The kernel said, outside of mio's sight, that the direction is not ready.
    pub(crate) fn not_ready(&self, bits: Ready) {
        self.object.state.clear(bits);
        self.object.watch_again();
    }

    /// The error that an operation ends with; none, if it was cancelled meanwhile.
    #[cold]
    #[inline(never)]
    pub(crate) fn unless_cancelled(&self, error: io::Error) -> Option<io::Error> {
        (!self.object.were_cancelled.get()).then_some(error)
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
