//! The engine: what one context is made of, and the verbs by which the layers above start and end work.

use super::buffers::Buffers;
use super::clock::Clock;
use super::inbox::Inbox;
use super::progress::Progress;
use super::reactor::{Entry, Reactor, State, WAKER};
use super::scheduler::Scheduler;
use super::timer_queue::{TimerKey, TimerQueue};
use super::trace::{Teller, tell};
use crate::config::Config;
use crate::error;
use crate::key::{Cancel, Operation, Origin, Place};
use crate::outstanding::{Outstanding, Work};
use slab::Slab;
use std::any::Any;
use std::cell::{Cell, RefCell};
use std::io;
use std::panic::Location;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// What runs in step 7, or at a deadline.
pub(crate) type Act = Box<dyn FnOnce(&Rc<Engine>)>;
/// The same, on its way from another thread.
pub(crate) type RemoteAct = Box<dyn FnOnce(&Rc<Engine>) + Send>;

/// A handler that is ready: it runs in step 7.
pub(crate) struct Task {
    pub(crate) kind: &'static str,
    /// The kind of object it comes from, for listings.
    pub(crate) object: &'static str,
    pub(crate) origin: Origin,
    /// Whether it calls user code, so that it counts for `run` and its kin.
    pub(crate) is_handler: bool,
    pub(crate) run: Act,
}

/// The same, on its way from another thread.
pub(crate) struct Mail {
    pub(crate) kind: &'static str,
    pub(crate) origin: Origin,
    pub(crate) is_handler: bool,
    pub(crate) run: RemoteAct,
}

/// What the timer queue holds.
pub(crate) struct Armed {
    pub(crate) kind: &'static str,
    pub(crate) origin: Origin,
    /// Not counted as outstanding.
    pub(crate) background: bool,
    pub(crate) alarm: Alarm,
}

/// What happens at a deadline.
pub(crate) enum Alarm {
    /// The end of a wait.
    Wait(Box<dyn FnOnce(io::Result<()>)>),
    /// A callback, called once a period.
    Repeat(Rc<Repeat>),
    /// Something of the loop's own, such as the end of a pause; no user code.
    Internal(Act),
}

pub(crate) struct Repeat {
    pub(crate) period: Duration,
    pub(crate) callback: RefCell<Box<dyn FnMut()>>,
}

/// How many contexts this process has made.
static CONTEXTS: AtomicU64 = AtomicU64::new(1);

/// Everything behind an `IoContext`. One thread; every field has interior mutability, and no borrow of one is held
/// while user code runs or a user's value is dropped.
pub(crate) struct Engine {
    pub(crate) config: Config,
    pub(crate) clock: Clock,
    pub(crate) buffers: Buffers,
    pub(crate) reactor: Reactor,
    pub(crate) scheduler: Scheduler<Task>,
    pub(crate) timers: RefCell<TimerQueue<Armed>>,
    pub(crate) inbox: Arc<Inbox<Mail>>,
    /// What step 1 takes the inbox's contents into; empty between turns, kept for its memory.
    pub(crate) mail: Cell<Vec<Mail>>,
    /// The handlers of channels, found by the index that their senders know.
    pub(crate) channels: RefCell<Slab<Rc<dyn Any>>>,
    guards: RefCell<Slab<Origin>>,
    /// Registrations waiting for a descriptor to be closed.
    starved: RefCell<Vec<(Entry, TimerKey)>>,
    /// The turn in progress; see `turn.rs`.
    pub(crate) turn: Progress,
    pub(crate) teller: Teller,
    /// Tells the operations of this context from those of others.
    context: u64,
    /// Unique among operations, and the order among equal deadlines.
    sequence: Cell<u64>,
    alive: Cell<bool>,
    /// A host sleeps on the descriptor, so work made outside a turn must wake it.
    pub(crate) embedded: Cell<bool>,
}

impl Engine {
    pub(crate) fn new(config: Config, registry: &mio::Registry) -> io::Result<Rc<Engine>> {
        let reactor = Reactor::new(registry.try_clone()?, config.event_batch);
        let waker = mio::Waker::new(registry, WAKER)?;
        let teller = Teller::new(config.slow_handler);
        teller.look();
        Ok(Rc::new(Engine {
            turn: Progress::new(),
            teller,
            config,
            clock: Clock::default(),
            buffers: Buffers::default(),
            reactor,
            scheduler: Scheduler::new(),
            timers: RefCell::new(TimerQueue::new()),
            inbox: Arc::new(Inbox::new(waker)),
            mail: Cell::default(),
            channels: RefCell::new(Slab::new()),
            guards: RefCell::new(Slab::new()),
            starved: RefCell::new(Vec::new()),
            context: CONTEXTS.fetch_add(1, Relaxed),
            sequence: Cell::new(0),
            alive: Cell::new(true),
            embedded: Cell::new(false),
        }))
    }

    pub(crate) fn is_alive(&self) -> bool {
        self.alive.get()
    }

    pub(crate) fn check_alive(&self) -> io::Result<()> {
        if self.alive.get() { Ok(()) } else { Err(error::context_gone()) }
    }

    pub(crate) fn next_sequence(&self) -> u64 {
        let sequence = self.sequence.get() + 1;
        self.sequence.set(sequence);
        sequence
    }

    pub(crate) fn key(&self, place: Place, sequence: u64) -> Operation {
        let context = self.context;
        Operation { place, context, sequence }
    }

    /// Notes where work was started. The age of work started in a turn counts from the turn's clock, which is free.
    pub(crate) fn origin(&self, location: &'static Location<'static>) -> Origin {
        let started = self.recently();
        Origin { location, started }
    }

    /// The turn's reading of the clock, which is free; a fresh one outside of turns.
    #[inline]
    pub(crate) fn recently(&self) -> Instant {
        if self.turn.is_running() { self.turn.now() } else { self.clock.now() }
    }

    // Outstanding work.

    pub(crate) fn has_work(&self) -> bool {
        let outstanding = self.scheduler.outstanding() > 0 || self.inbox.has_mail() || self.inbox.guards_held() > 0;
        outstanding && self.alive.get()
    }

    /// Something that ends without a handler has ended. A host that sleeps is told when it was the last.
    pub(crate) fn work_finished(&self) {
        self.scheduler.work_finished();
        if self.scheduler.outstanding() == 0 {
            self.kick();
        }
    }

    pub(crate) fn hold(&self, origin: Origin) -> usize {
        self.scheduler.work_started();
        self.guards.borrow_mut().insert(origin)
    }

    pub(crate) fn let_go(&self, guard: usize) {
        if self.guards.borrow_mut().try_remove(guard).is_some() {
            self.work_finished();
        }
    }

    /// Queues a handler; drops it unrun if the context has gone.
    pub(crate) fn post(&self, task: Task) {
        if self.alive.get() {
            tell!(self, "posted {} from {}", task.kind, task.origin.location);
            self.scheduler.push(task);
            self.kick();
        }
    }

    /// Makes sure that a host which sleeps on the descriptor notices work made outside a turn.
    pub(crate) fn kick(&self) {
        if self.embedded.get() && !self.turn.is_running() {
            self.inbox.wake();
        }
    }

    // Timers.

    /// Arms a timer; drops it and returns `None` if the context has gone.
    ///
    /// A deadline before the turn's clock counts as that clock's reading: so a timer that is armed with a past
    /// deadline again and again cannot get ahead of those already due.
    pub(crate) fn arm(&self, deadline: Instant, armed: Armed) -> Option<TimerKey> {
        if !self.alive.get() {
            return None;
        }
        if !armed.background {
            self.scheduler.work_started();
        }
        let deadline = deadline.max(self.turn.now());
        self.kick_if_earlier(deadline);
        Some(self.timers.borrow_mut().insert(deadline, self.next_sequence(), armed))
    }

    /// A host that sleeps is told of a deadline earlier than all others.
    fn kick_if_earlier(&self, deadline: Instant) {
        if self.embedded.get() && self.timers.borrow_mut().earliest().is_none_or(|earliest| deadline < earliest) {
            self.kick();
        }
    }

    /// Takes a timer out of the queue; what it holds is for the caller to end.
    pub(crate) fn disarm(&self, key: TimerKey) -> Option<Armed> {
        let armed = self.timers.borrow_mut().remove(key)?;
        if !armed.background {
            self.scheduler.work_finished();
        }
        Some(armed)
    }

    /// Ends a wait as aborted, or a repetition silently; `false` if it had gone.
    pub(crate) fn cancel_timer(&self, key: TimerKey) -> bool {
        let Some(armed) = self.disarm(key) else {
            return false;
        };
        if let Alarm::Wait(handler) = armed.alarm {
            self.post(Task {
                kind: armed.kind,
                object: "Timer",
                origin: armed.origin,
                is_handler: true,
                run: Box::new(move |_| handler(Err(error::aborted(0)))),
            });
        }
        true
    }

    /// The timer that an operation's key means, if it is one of this context.
    pub(crate) fn timer_key(&self, operation: Operation) -> Option<TimerKey> {
        let sequence = operation.sequence;
        match operation.place {
            Place::Timer(slot) if operation.context == self.context => Some(TimerKey { slot, sequence }),
            _ => None,
        }
    }

    pub(crate) fn cancel(&self, operation: Operation) -> Cancel {
        if operation.context != self.context {
            return Cancel::AlreadyDone;
        }
        let sequence = operation.sequence;
        let found = match operation.place {
            Place::Timer(slot) => self.cancel_timer(TimerKey { slot, sequence }),
            Place::Slot(slot) => match self.reactor.entry(slot) {
                Some(entry) => entry.cancel(sequence),
                None => false,
            },
            Place::Ended => false,
        };
        if found { Cancel::Requested } else { Cancel::AlreadyDone }
    }

    // Registrations.

    /// Queues the entry for step 5 if what it wants is ready.
    #[inline]
    pub(crate) fn enqueue(&self, entry: &Entry) {
        if self.reactor.enqueue(entry) {
            self.kick();
        }
    }

    /// Takes the entry out of the slab. No event reaches it from here on.
    pub(crate) fn remove(&self, state: &State) -> Option<Entry> {
        if !self.starved.borrow().is_empty() {
            self.starved.borrow_mut().retain(|(entry, _)| !std::ptr::eq(entry.state(), state));
        }
        if let Some(key) = state.set_paused(None) {
            drop(self.disarm(key)); // It would hold on to the entry, and so to the source.
        }
        self.reactor.remove(state)
    }

    /// Leaves the entry alone for a while, whatever becomes ready; its readiness is remembered.
    pub(crate) fn pause(&self, entry: &Entry, pause: Duration, origin: Origin) -> Option<TimerKey> {
        let paused = Rc::clone(entry);
        let armed = Armed {
            kind: "pause",
            origin,
            background: true,
            alarm: Alarm::Internal(Box::new(move |engine| engine.resume(&paused))),
        };
        let key = self.arm(self.clock.after(pause), armed);
        if let Some(former) = entry.state().set_paused(key) {
            drop(self.disarm(former));
        }
        key
    }

    fn resume(&self, entry: &Entry) {
        entry.state().set_paused(None);
        self.enqueue(entry);
    }

    /// Pauses an entry that found no free descriptor, until one is closed or the retry time has passed.
    pub(crate) fn starve(&self, entry: &Entry, origin: Origin) {
        if let Some(key) = self.pause(entry, self.config.accept_retry, origin) {
            let mut starved = self.starved.borrow_mut();
            starved.retain(|(other, _)| !Rc::ptr_eq(other, entry));
            starved.push((Rc::clone(entry), key));
        }
    }

    /// A descriptor of this context was closed: whoever waits for one may try again.
    pub(crate) fn descriptor_closed(&self) {
        if self.starved.borrow().is_empty() {
            return;
        }
        for (entry, key) in self.starved.take() {
            drop(self.disarm(key));
            self.resume(&entry);
        }
    }

    // The context as a whole.

    pub(crate) fn outstanding(&self) -> Outstanding {
        let mut all = Outstanding::default();
        for entry in self.reactor.entries() {
            entry.describe(&mut |work| all.push(work));
        }
        for armed in self.timers.borrow().values().filter(|armed| !armed.background) {
            all.push(Work::new(armed.kind, "Timer", None, armed.origin));
        }
        self.scheduler.with_ready(|ready| {
            for task in ready {
                all.push(Work::new(task.kind, task.object, None, task.origin));
            }
        });
        for (_, origin) in &*self.guards.borrow() {
            all.push(Work::new("work_guard", "IoContext", None, *origin));
        }
        for (kind, origin) in self.inbox.contents(|mail| (mail.kind, mail.origin)) {
            all.push(Work::new(kind, "Remote", None, origin));
        }
        all
    }

    /// Refuses new work, then drops everything until nothing is left: destructors run, and may try to start more.
    pub(crate) fn close(&self) {
        self.alive.set(false);
        loop {
            let mail = self.inbox.close();
            let tasks = self.scheduler.take_all();
            let armed = self.timers.borrow_mut().take_all();
            let starved = self.starved.take();
            let entries: Vec<Abandoned> = self.reactor.take_all().into_iter().map(Abandoned).collect();
            let channels = self.channels.take();
            if mail.is_empty() && tasks.is_empty() && armed.is_empty() && entries.is_empty() && channels.is_empty() {
                break;
            }
            // When one destructor panics, the others still run: that is how Rust drops a tuple of collections.
            drop((entries, mail, tasks, armed, starved, channels));
        }
        self.reactor.close();
    }
}

/// An entry whose context goes.
struct Abandoned(Entry);

impl Drop for Abandoned {
    fn drop(&mut self) {
        self.0.abandon();
    }
}
