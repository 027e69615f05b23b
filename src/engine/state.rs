//! The engine: what one context is made of, and the verbs by which the layers above start and end work.

use super::bag::Bag;
use super::buffers::Buffers;
use super::clock::Clock;
use super::inbox::Inbox;
use super::per_type::PerType;
use super::progress::Progress;
use super::reactor::{Entry, Reactor};
use super::ready_state::State;
use super::scheduler::Scheduler;
use super::timer_queue::{TimerKey, TimerQueue};
use super::token::WAKER;
use super::trace::{Teller, tell};
use crate::config::Config;
use crate::error;
use crate::key::{Cancel, Operation, Origin, Place};
use crate::outstanding::{Outstanding, Work};
use slab::Slab;
use std::any::Any;
use std::cell::{Cell, RefCell};
use std::io;
use std::mem;
use std::panic::Location;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// A handler that is ready, in one box with all that belongs to it.
pub(crate) trait Task {
    /// Runs it, in step 7. It counts and watches the call itself, because not everything that is queued is a handler.
    fn run(self: Box<Self>, engine: &Rc<Engine>);

    fn describe(&self) -> Work;
}

/// What the ready queue holds.
pub(crate) enum Queued {
    Task(Box<dyn Task>),
    /// A wait that was cancelled, and whose handler is still to be told; or a letter.
    Kept(Kept),
}

/// Where a handler is kept. There is one of these for each: who has it ends it.
///
/// Aligned so that it is read and written as one.
#[derive(Debug)]
#[repr(align(8))]
pub(crate) struct Kept {
    pub(crate) keeper: u32,
    pub(crate) index: u32,
}

/// Keeps the handlers of one type, side by side: those of waits for a deadline, see `waits.rs`, or letters from other
/// threads, see `mail.rs`.
pub(crate) trait Keeper {
    /// Takes the handler out and calls it; with the outcome, if it is that of a wait.
    fn end(&self, index: u32, engine: &Rc<Engine>, outcome: io::Result<()>);

    /// What it is; `None` if there is none. `came` is when, for letters.
    fn describe(&self, index: u32, came: Instant) -> Option<Work>;

    /// Reads something of the handler's memory, and returns it; if it is that of a wait.
    fn touch(&self, _index: u32) -> usize {
        0
    }

    /// Gives back memory that is not needed now.
    fn trim(&self);
}

/// One such, also as what it is: twice the same, because a `dyn Keeper` cannot be turned into a `dyn Any`.
pub(crate) struct AnyKeeper {
    pub(crate) keeper: Rc<dyn Keeper>,
    pub(crate) any: Rc<dyn Any>,
}

/// What other threads have posted.
pub(crate) type Mail = Bag<dyn Pile>;

/// Letters of one type on their way, the first that came at the front.
pub(crate) trait Pile: Send {
    /// Puts the first `count` into the ready queue.
    fn deliver(&mut self, count: usize, engine: &Engine);

    fn describe(&self, came: Instant, all: &mut dyn FnMut(Work));

    /// For the sender, who knows the type.
    fn as_any_mut(&mut self) -> &mut dyn Any;
}

/// What happens at a deadline, and what the timer queue holds. With a tag as wide as a word, so that it is copied word
/// by word: else the processor would wait for pieces of words that it has only just written.
#[repr(u64)]
pub(crate) enum AtDeadline {
    /// The end of a wait.
    Wait { wait: Kept, background: bool },
    /// A callback, called once a period.
    Repeat(Rc<Repeat>),
    /// A callback whose deadline is set again and again.
    Ring(Rc<Ringing>),
    /// Something of the loop's own, such as the end of a pause; no user code.
    Internal(Act),
}

impl AtDeadline {
    /// Not counted as outstanding.
    fn is_background(&self) -> bool {
        match self {
            AtDeadline::Wait { background, .. } => *background,
            AtDeadline::Repeat(repeat) => repeat.background.get(),
            AtDeadline::Ring(alarm) => alarm.background.get(),
            AtDeadline::Internal(_) => true,
        }
    }

    /// Returns whether it was in the background already.
    fn put_into_background(&mut self) -> bool {
        match self {
            AtDeadline::Wait { background, .. } => mem::replace(background, true),
            AtDeadline::Repeat(repeat) => repeat.background.replace(true),
            AtDeadline::Ring(alarm) => alarm.background.replace(true),
            AtDeadline::Internal(_) => true,
        }
    }
}

pub(crate) type Act = Box<dyn FnOnce(&Rc<Engine>)>;

pub(crate) struct Repeat {
    pub(crate) origin: Origin,
    pub(crate) period: Duration,
    pub(crate) background: Cell<bool>,
    pub(crate) callback: RefCell<Box<dyn FnMut()>>,
}

/// What is behind an `Alarm`.
pub(crate) struct Ringing<F: ?Sized = dyn Ring> {
    pub(crate) origin: Origin,
    pub(crate) background: Cell<bool>,
    /// Of the deadline that was set last. It may have come, or gone: then the key finds nothing.
    pub(crate) key: Cell<Option<TimerKey>>,
    /// Borrowed while it runs. Handlers do not nest, so it is not called then.
    pub(crate) callback: RefCell<F>,
}

/// The callback of an alarm: an `Option` of it, empty once the context has gone.
pub(crate) trait Ring {
    /// Answers with the delay after which it is to be called again, if it is.
    fn ring(&mut self) -> Option<Duration>;

    /// Takes the user's closure out, to be dropped when nothing is borrowed.
    fn take_out(&mut self) -> Option<Box<dyn Any>>;
}

impl<F: FnMut() -> Option<Duration> + 'static> Ring for Option<F> {
    fn ring(&mut self) -> Option<Duration> {
        self.as_mut()?()
    }

    fn take_out(&mut self) -> Option<Box<dyn Any>> {
        let callback = self.take()?;
        Some(Box::new(callback))
    }
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
    pub(crate) scheduler: Scheduler<Queued>,
    /// The emptied box of a task that has run, for the next one.
    pub(crate) spare_task: Cell<Option<Box<dyn Any>>>,
    pub(crate) timers: RefCell<TimerQueue<AtDeadline>>,
    pub(crate) keepers: RefCell<PerType<AnyKeeper>>,
    pub(crate) inbox: Arc<Inbox<Mail>>,
    /// What step 1 takes the inbox's contents into; empty between turns, kept for its memory.
    pub(crate) mail: RefCell<Mail>,
    /// When the first of what it took came.
    pub(crate) mail_came: Cell<Instant>,
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
            spare_task: Cell::new(None),
            timers: RefCell::new(TimerQueue::new()),
            keepers: RefCell::default(),
            inbox: Arc::new(Inbox::new(waker)),
            mail: RefCell::default(),
            mail_came: Cell::new(Instant::now()),
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
        // The guards before the mail: a thread that lets go of its guard has posted before that.
        let outstanding = self.scheduler.has_work() || self.inbox.guards_held() > 0 || self.inbox.has_mail();
        outstanding && self.alive.get()
    }

    /// Something that ends without a handler has ended. A host that sleeps is told when it was the last.
    pub(crate) fn work_finished(&self) {
        self.scheduler.work_finished();
        self.kick_if_out_of_work();
    }

    pub(crate) fn kick_if_out_of_work(&self) {
        if !self.scheduler.has_work() {
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

    /// Queues a handler of a context that is alive. Inlined, because the price of a post is in its calls.
    #[inline(always)]
    pub(crate) fn push(&self, queued: Queued) {
        self.scheduler.push(queued);
        self.kick();
        if self.teller.tracing() {
            self.tell_of_post();
        }
    }

    /// Tells of what was queued last; when nothing can be lost any more, whatever the logger does.
    #[cold]
    fn tell_of_post(&self) {
        if let Some(work) = self.scheduler.with_last(|queued| self.describe(queued)) {
            tell!(self, "posted {} from {}", work.kind(), work.location());
        }
    }

    pub(crate) fn describe(&self, queued: &Queued) -> Option<Work> {
        match queued {
            Queued::Task(task) => Some(task.describe()),
            Queued::Kept(kept) => self.describe_kept(kept),
        }
    }

    /// Makes sure that a host which sleeps on the descriptor notices work made outside a turn.
    #[inline]
    pub(crate) fn kick(&self) {
        if self.embedded.get() && !self.turn.is_running() {
            self.inbox.wake();
        }
    }

    // Timers.

    /// Arms a timer that holds what `make` makes, and that is in the background or not; returns `None` if the context
    /// has gone.
    ///
    /// A deadline before the turn's clock counts as that clock's reading: so a timer that is armed with a past
    /// deadline again and again cannot get ahead of those already due.
    #[inline(always)]
    pub(crate) fn arm(
        &self,
        deadline: Instant,
        background: bool,
        make: impl FnOnce() -> AtDeadline,
    ) -> Option<TimerKey> {
        if !self.alive.get() {
            return None;
        }
        if !background {
            self.scheduler.work_started();
        }
        let deadline = deadline.max(self.turn.now());
        self.kick_if_earlier(deadline);
        Some(self.timers.borrow_mut().insert(deadline, self.next_sequence(), make))
    }

    /// Arms something of the loop's own, which is not counted as outstanding.
    pub(crate) fn arm_act(&self, deadline: Instant, act: impl FnOnce(&Rc<Engine>) + 'static) -> Option<TimerKey> {
        self.arm(deadline, true, || AtDeadline::Internal(Box::new(act)))
    }

    /// Sets the alarm's deadline: moves the one it has, or arms one. Does nothing if the context has gone.
    pub(crate) fn set_alarm(&self, alarm: &Rc<Ringing>, deadline: Instant) {
        if let Some(key) = alarm.key.get() {
            let deadline = deadline.max(self.turn.now());
            self.kick_if_earlier(deadline);
            if self.timers.borrow_mut().rearm(key, deadline, self.next_sequence()) {
                return;
            }
        }
        alarm.key.set(self.arm(deadline, alarm.background.get(), || AtDeadline::Ring(Rc::clone(alarm))));
    }

    /// A host that sleeps is told of a deadline earlier than all others.
    fn kick_if_earlier(&self, deadline: Instant) {
        let may_sleep = self.embedded.get() && !self.turn.is_running();
        if may_sleep && self.earliest_timer().is_none_or(|earliest| deadline < earliest) {
            self.kick();
        }
    }

    /// When to wake at the latest.
    #[inline(always)]
    pub(crate) fn earliest_timer(&self) -> Option<Instant> {
        if self.has_timers() { self.look_for_earliest() } else { None }
    }

    /// Asked first, in every turn: most servers have none.
    #[inline(always)]
    pub(crate) fn has_timers(&self) -> bool {
        !self.timers.borrow().is_empty()
    }

    #[inline(never)]
    fn look_for_earliest(&self) -> Option<Instant> {
        if self.timers.borrow_mut().has_given_back() {
            self.keepers.borrow().values().for_each(|any| any.keeper.trim());
        }
        self.timers.borrow_mut().earliest(|then| self.touch(then))
    }

    /// Reads something of the memory behind a timer.
    pub(crate) fn touch(&self, then: &AtDeadline) -> usize {
        match then {
            AtDeadline::Wait { wait, .. } => self.keeper_of(wait).map_or(0, |keeper| keeper.touch(wait.index)),
            AtDeadline::Repeat(repeat) => Rc::strong_count(repeat),
            AtDeadline::Ring(alarm) => Rc::strong_count(alarm),
            AtDeadline::Internal(_) => 0,
        }
    }

    /// Takes a timer out of the queue; what it holds is for the caller to end.
    #[inline(always)]
    pub(crate) fn disarm(&self, key: TimerKey) -> Option<AtDeadline> {
        let then = self.timers.borrow_mut().remove(key)?;
        if !then.is_background() {
            self.scheduler.work_finished();
        }
        Some(then)
    }

    /// Stops counting a timer as outstanding. Does nothing if it has gone.
    pub(crate) fn put_into_background(&self, key: TimerKey) {
        let was_counted = self.timers.borrow_mut().get_mut(key).is_some_and(|then| !then.put_into_background());
        if was_counted {
            self.work_finished();
        }
    }

    /// Ends a wait as aborted, or a repetition silently; `false` if it had gone.
    pub(crate) fn cancel_timer(&self, key: TimerKey) -> bool {
        let Some(then) = self.disarm(key) else {
            return false;
        };
        match then {
            AtDeadline::Wait { wait, .. } => self.push(Queued::Kept(wait)),
            _ => self.kick_if_out_of_work(),
        }
        true
    }

    /// Calls a handler that is kept; with the outcome, if it is that of a wait.
    pub(crate) fn end_kept(self: &Rc<Self>, kept: Kept, outcome: io::Result<()>) {
        if let Some(keeper) = self.keeper_of(&kept) {
            keeper.end(kept.index, self, outcome);
        }
    }

    fn describe_kept(&self, kept: &Kept) -> Option<Work> {
        self.keeper_of(kept)?.describe(kept.index, self.mail_came.get())
    }

    fn keeper_of(&self, kept: &Kept) -> Option<Rc<dyn Keeper>> {
        self.keepers.borrow().get(kept.keeper).map(|any| Rc::clone(&any.keeper))
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
    pub(crate) fn pause(&self, entry: &Entry, pause: Duration) -> Option<TimerKey> {
        let paused = Rc::clone(entry);
        let key = self.arm_act(self.clock.after(pause), move |engine| engine.resume(&paused));
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
    pub(crate) fn starve(&self, entry: &Entry) {
        if let Some(key) = self.pause(entry, self.config.accept_retry) {
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
        for then in self.timers.borrow().values().filter(|then| !then.is_background()) {
            match then {
                AtDeadline::Wait { wait, .. } => self.describe_kept(wait).into_iter().for_each(|work| all.push(work)),
                AtDeadline::Ring(alarm) => all.push(Work::new("alarm", "Alarm", None, alarm.origin)),
                AtDeadline::Repeat(repeat) => all.push(Work::new("every", "Timer", None, repeat.origin)),
                AtDeadline::Internal(_) => {}
            }
        }
        self.scheduler.for_each(|queued| self.describe(queued).into_iter().for_each(|work| all.push(work)));
        for (_, origin) in &*self.guards.borrow() {
            all.push(Work::new("work_guard", "IoContext", None, *origin));
        }
        self.inbox
            .look(|mail, came| mail.piles.values().for_each(|pile| pile.describe(came, &mut |work| all.push(work))));
        self.inbox.describe_guards(|work| all.push(work));
        all
    }

    /// Refuses new work, then drops everything until nothing is left: destructors run, and may try to start more.
    pub(crate) fn close(&self) {
        self.alive.set(false);
        loop {
            let mail = self.inbox.close();
            let tasks = self.scheduler.take_all();
            let timers: Vec<Given> = self.timers.borrow_mut().take_all().into_iter().map(Given).collect();
            let starved = self.starved.take();
            let entries: Vec<Abandoned> = self.reactor.take_all().into_iter().map(Abandoned).collect();
            let channels = self.channels.take();
            let keepers = self.keepers.take();
            if mail.order.is_empty()
                && tasks.is_empty()
                && timers.is_empty()
                && entries.is_empty()
                && channels.is_empty()
            {
                break;
            }
            // When one destructor panics, the others still run: that is how Rust drops a tuple of collections.
            drop((entries, mail, tasks, timers, keepers, starved, channels));
        }
        self.reactor.close();
    }
}

/// A timer whose context goes. An alarm may be held by its own callback: so that is taken out.
struct Given(AtDeadline);

impl Drop for Given {
    fn drop(&mut self) {
        if let AtDeadline::Ring(alarm) = &self.0 {
            let callback = alarm.callback.try_borrow_mut().ok().and_then(|mut callback| callback.take_out());
            drop(callback);
        }
    }
}

/// An entry whose context goes.
struct Abandoned(Entry);

impl Drop for Abandoned {
    fn drop(&mut self) {
        self.0.abandon();
    }
}

#[cfg(all(test, target_pointer_width = "64"))]
mod tests {
    use super::*;

    #[test]
    fn what_is_queued_takes_two_words_and_what_is_armed_three() {
        assert_eq!((size_of::<Queued>(), size_of::<AtDeadline>()), (16, 24));
    }
}
