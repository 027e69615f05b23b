//! The engine: what one context is made of, what its queues hold, and the verbs that the files after this one share: to
//! count work, to queue what is ready, to wake a host.

use super::bag::Bag;
use super::buffers::Buffers;
use super::clock::Clock;
use super::inbox::Inbox;
use super::kept::{Keeper, Keepers, Kept};
use super::progress::Progress;
use super::reactor::{Entry, Reactor};
use super::ring::{Repeat, Ringers};
use super::scheduler::Scheduler;
use super::timer_queue::{TimerKey, TimerQueue};
use super::token::WAKER;
use super::trace::{Teller, tell};
use crate::config::Config;
use crate::error;
use crate::key::Origin;
use crate::outstanding::Work;
use slab::Slab;
use std::any::Any;
use std::cell::{Cell, RefCell};
use std::io;
use std::panic::Location;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Instant;

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
    /// The end of a wait. Whether it is in the background is told by the tag: a flag would be one of those pieces.
    Wait(Kept),
    WaitInBackground(Kept),
    /// A callback, called once a period.
    Repeat(Rc<Repeat>),
    /// A callback whose deadline is set again and again. The timer stays, armed or not, as long as the alarm. Here,
    /// too, the tag tells: so to set or to unset an alarm looks at no more than its slot.
    Ring(Kept),
    RingInBackground(Kept),
    /// Something of the loop's own, such as the end of a pause or a time limit; no user code. It is boxed once more than
    /// it needs, so that all others are a word shorter.
    Internal(Box<Act>),
}

impl AtDeadline {
    /// Not counted as outstanding.
    pub(super) fn is_background(&self) -> bool {
        match self {
            AtDeadline::Wait(_) | AtDeadline::Ring(_) => false,
            AtDeadline::Repeat(repeat) => repeat.background.get(),
            AtDeadline::WaitInBackground(_) | AtDeadline::RingInBackground(_) | AtDeadline::Internal(_) => true,
        }
    }

    /// Returns whether it was in the background already.
    pub(super) fn put_into_background(&mut self) -> bool {
        match self {
            &mut AtDeadline::Wait(Kept { keeper, index }) => {
                *self = AtDeadline::WaitInBackground(Kept { keeper, index });
                false
            }
            &mut AtDeadline::Ring(Kept { keeper, index }) => {
                *self = AtDeadline::RingInBackground(Kept { keeper, index });
                false
            }
            AtDeadline::Repeat(repeat) => repeat.background.replace(true),
            AtDeadline::WaitInBackground(_) | AtDeadline::RingInBackground(_) | AtDeadline::Internal(_) => true,
        }
    }
}

pub(crate) type Act = Box<dyn FnOnce(&Rc<Engine>)>;

/// How many blocks of sequence numbers have been given to contexts: so no two of these give out the same number, and a
/// key is of one context.
static BLOCKS: AtomicU64 = AtomicU64::new(0);

/// How many numbers a block has; its first is not given out.
const BLOCK: u64 = 1 << 24;

/// The number before the first of a new block.
#[cold]
fn next_block() -> u64 {
    BLOCKS.fetch_add(1, Relaxed) * BLOCK
}

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
    /// Asked in every turn, for most servers have none. Set where one is armed; taken down where one is looked for in
    /// vain.
    pub(super) may_have_timers: Cell<bool>,
    pub(crate) keepers: Keepers<dyn Keeper<Engine>>,
    /// Those of alarms.
    pub(crate) ringers: Keepers<dyn Ringers<Engine>>,
    pub(crate) inbox: Arc<Inbox<Mail>>,
    /// What step 1 takes the inbox's contents into; empty between turns, kept for its memory.
    pub(crate) mail: RefCell<Mail>,
    /// When the first of what it took came.
    pub(crate) mail_came: Cell<Instant>,
    /// The handlers of channels, found by the index that their senders know.
    pub(crate) channels: RefCell<Slab<Rc<dyn Any>>>,
    pub(super) guards: RefCell<Slab<Origin>>,
    /// Registrations waiting for a descriptor to be closed.
    pub(super) starved: RefCell<Vec<(Entry, TimerKey)>>,
    /// The turn in progress; see `turn.rs`.
    pub(crate) turn: Progress,
    pub(crate) teller: Teller,
    /// Unique among the operations of this process, and the order among equal deadlines. The last that was given out; they
    /// come from one of the `BLOCKS` after the other.
    sequence: Cell<u64>,
    pub(super) alive: Cell<bool>,
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
            may_have_timers: Cell::new(false),
            keepers: Keepers::new(),
            ringers: Keepers::new(),
            inbox: Arc::new(Inbox::new(waker)),
            mail: RefCell::default(),
            mail_came: Cell::new(Instant::now()),
            channels: RefCell::new(Slab::new()),
            guards: RefCell::new(Slab::new()),
            starved: RefCell::new(Vec::new()),
            sequence: Cell::new(next_block()),
            alive: Cell::new(true),
            embedded: Cell::new(false),
        }))
    }

    #[inline]
    pub(crate) fn is_alive(&self) -> bool {
        self.alive.get()
    }

    pub(crate) fn check_alive(&self) -> io::Result<()> {
        if self.alive.get() { Ok(()) } else { Err(error::context_gone()) }
    }

    pub(crate) fn next_sequence(&self) -> u64 {
        let mut sequence = self.sequence.get() + 1;
        if sequence % BLOCK == 0 {
            sequence = next_block() + 1;
        }
        self.sequence.set(sequence);
        sequence
    }

    /// Notes where work was started. Its age counts from then, or, in a turn, from the turn's reading of the clock.
    #[inline]
    pub(crate) fn origin(&self, location: &'static Location<'static>) -> Origin {
        let started = self.recently();
        Origin { location, started }
    }

    /// The same for an operation that starts; `None` when that is to be told in the trace, or when the clock is still to
    /// be read: one question for both, because it is asked with every message.
    #[inline(always)]
    pub(crate) fn quiet_origin(&self, location: &'static Location<'static>) -> Option<Origin> {
        self.turn.is_quiet().then(|| Origin { location, started: self.turn.now() })
    }

    /// The turn's reading of the clock, made now if nobody has asked for it yet; outside of turns a fresh one.
    #[inline]
    pub(crate) fn recently(&self) -> Instant {
        if self.turn.has_read_clock() { self.turn.now() } else { self.read_clock_late() }
    }

    #[cold]
    #[inline(never)]
    fn read_clock_late(&self) -> Instant {
        let now = self.clock.now();
        if self.turn.is_running() {
            self.turn.set_now(now, self.teller.tracing());
        }
        now
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

    // What is ready.

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

    /// Calls a handler that is kept; with the outcome, if it is that of a wait.
    pub(crate) fn end_kept(self: &Rc<Self>, kept: Kept, outcome: io::Result<()>) {
        if let Some(keeper) = self.keepers.of(&kept) {
            keeper.end(kept.index, self, outcome);
        }
    }

    pub(super) fn describe_kept(&self, kept: &Kept) -> Option<Work> {
        self.keepers.of(kept)?.describe(kept.index, self.mail_came.get())
    }
}

#[cfg(all(test, target_pointer_width = "64"))]
mod tests {
    use super::*;
    use crate::key::Operation;

    /// Goal: a key is of one context, however many numbers that has given out.
    #[test]
    fn no_two_contexts_give_out_the_same_number() {
        let engines = [(); 2].map(|()| {
            let poll = mio::Poll::new().unwrap();
            Engine::new(Config::new(), poll.registry()).unwrap()
        });
        let mut given = std::collections::BTreeSet::new();
        for block in 0..3 {
            for engine in &engines {
                let before = engine.sequence.get();
                let last = (before / BLOCK + 1) * BLOCK - 1;
                engine.sequence.set(last - 1);
                let [first, second] = [(); 2].map(|()| engine.next_sequence());
                assert!(before < first && first < second, "in order, whatever the block");
                assert_eq!(first, last, "block {block} to its end");
                assert!(given.insert(first) && given.insert(second));
            }
        }
        assert!(!given.contains(&Operation::ENDED.sequence));
    }

    #[test]
    fn what_is_queued_takes_two_words_and_a_timer_five() {
        assert_eq!((size_of::<Queued>(), size_of::<AtDeadline>()), (16, 16));
        assert_eq!(TimerQueue::<AtDeadline>::BYTES, 40);
    }
}
