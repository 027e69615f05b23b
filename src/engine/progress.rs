//! Where the loop is: the step of the turn in progress, what is left of that step, and what the caller asked for.
//!
//! A turn can be left at any handler: by a panic, by `stop`, because `run_one` has had its one, or at a deadline.
//! Everything that the next call needs to go on from there is here, written before each call of a handler.

use std::cell::Cell;
use std::fmt;
use std::time::Instant;

/// The numbered steps of a turn, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Step {
    /// No turn is in progress.
    Outside,
    TakePosted,
    DecideSleep,
    Wait,
    ReadClock,
    DispatchReadiness,
    /// The second half of step 5: what was left over in the last turn, and what the first half started.
    DispatchReadyList,
    CompleteTimers,
    RunHandlers,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Step::Outside => "outside a turn",
            Step::TakePosted => "1 take posted",
            Step::DecideSleep => "2 decide sleep",
            Step::Wait => "3 wait",
            Step::ReadClock => "4 read clock",
            Step::DispatchReadiness | Step::DispatchReadyList => "5 dispatch readiness",
            Step::CompleteTimers => "6 complete timers",
            Step::RunHandlers => "7 run handlers",
        })
    }
}

#[derive(Debug)]
pub(crate) struct Progress {
    number: Cell<u64>,
    step: Cell<Step>,
    /// How many entries of the ready list `DispatchReadyList` may still call: those that were there when it began. (What
    /// is left of step 7 is in the scheduler.)
    left: Cell<usize>,
    /// How many events of the batch were delivered.
    cursor: Cell<usize>,
    /// The batch was full, so the poller may hold more.
    full: Cell<bool>,
    /// The last reading of the clock.
    now: Cell<Instant>,
    /// Whether it was made in this call, and after the last wait: else whoever asks makes another.
    has_read_clock: Cell<bool>,
    /// Whether it was, and nobody listens to the trace.
    is_quiet: Cell<bool>,
    /// Timers armed from this sequence number on wait for the next turn.
    timer_cut: Cell<u64>,
    /// Whether step 4 has read the clock: else there are none.
    may_be_due: Cell<bool>,

    /// Whether a call of the run family is in progress.
    running: Cell<bool>,
    /// Whether this call has asked the poller, or had no need to, and whether the last one left before that.
    has_looked: Cell<bool>,
    owes_a_look: Cell<bool>,
    /// How many handlers the call in progress asked for, and how many of them it may still run.
    limit: Cell<usize>,
    allowed: Cell<usize>,
    deadline: Cell<Option<Instant>>,
}

impl Progress {
    pub(crate) fn new() -> Self {
        Progress {
            number: Cell::new(0),
            step: Cell::new(Step::Outside),
            left: Cell::new(0),
            cursor: Cell::new(0),
            full: Cell::new(false),
            now: Cell::new(Instant::now()),
            has_read_clock: Cell::new(false),
            is_quiet: Cell::new(false),
            timer_cut: Cell::new(0),
            may_be_due: Cell::new(false),
            running: Cell::new(false),
            has_looked: Cell::new(false),
            owes_a_look: Cell::new(false),
            limit: Cell::new(usize::MAX),
            allowed: Cell::new(usize::MAX),
            deadline: Cell::new(None),
        }
    }

    // The turn.

    pub(crate) fn step(&self) -> Step {
        self.step.get()
    }

    pub(crate) fn number(&self) -> u64 {
        self.number.get()
    }

    pub(crate) fn is_at(&self, step: Step) -> bool {
        self.step.get() == step
    }

    pub(crate) fn begin(&self) {
        self.number.set(self.number.get() + 1);
        self.is_quiet.set(false); // Each turn asks anew whether somebody listens.
    }

    pub(crate) fn enter(&self, step: Step) {
        self.step.set(step);
    }

    /// Enters the step that may call `left` entries of the ready list.
    pub(crate) fn enter_ready_list(&self, left: usize) {
        self.left.set(left);
        self.enter(Step::DispatchReadyList);
    }

    /// Whether anything is left of that step.
    pub(crate) fn may_take_one(&self) -> bool {
        self.left.get() > 0
    }

    pub(crate) fn take_one(&self) {
        self.left.set(self.left.get() - 1);
    }

    /// Begins a batch of events: the loop may have slept.
    pub(crate) fn begin_batch(&self, full: bool) {
        self.forget_reading();
        self.cursor.set(0);
        self.has_looked.set(true);
        self.full.set(full);
    }

    pub(crate) fn cursor(&self) -> usize {
        self.cursor.get()
    }

    #[inline]
    pub(crate) fn count_event(&self) {
        self.cursor.set(self.cursor.get() + 1);
    }

    pub(crate) fn was_batch_full(&self) -> bool {
        self.full.get()
    }

    pub(crate) fn now(&self) -> Instant {
        self.now.get()
    }

    pub(crate) fn has_read_clock(&self) -> bool {
        self.has_read_clock.get()
    }

    /// Whether the clock was read and nobody listens to the trace.
    #[inline(always)]
    pub(crate) fn is_quiet(&self) -> bool {
        self.is_quiet.get()
    }

    pub(crate) fn set_now(&self, now: Instant, is_traced: bool) {
        self.now.set(now);
        self.has_read_clock.set(true);
        self.is_quiet.set(!is_traced);
    }

    fn forget_reading(&self) {
        self.has_read_clock.set(false);
        self.is_quiet.set(false);
    }

    /// Step 4 begins: until it has read the clock, nothing is due.
    pub(crate) fn nothing_is_due(&self) {
        self.may_be_due.set(false);
    }

    /// The reading of step 4; timers armed from here on wait for the next turn. A later one of the same turn makes nothing
    /// due.
    pub(crate) fn set_due(&self, now: Instant, timer_cut: u64, is_traced: bool) {
        self.set_now(now, is_traced);
        self.timer_cut.set(timer_cut);
        self.may_be_due.set(true);
    }

    pub(crate) fn may_be_due(&self) -> bool {
        self.may_be_due.get()
    }

    pub(crate) fn timer_cut(&self) -> u64 {
        self.timer_cut.get()
    }

    // The call.

    pub(crate) fn begin_call(&self, limit: usize, deadline: Option<Instant>) {
        self.running.set(true);
        self.has_looked.set(false);
        self.limit.set(limit);
        self.allowed.set(limit);
        self.deadline.set(deadline);
    }

    pub(crate) fn end_call(&self) {
        self.running.set(false);
        self.forget_reading();
        self.owes_a_look.set(!self.has_looked.get());
    }

    /// Whether the last call returned without asking the poller: then a host's edge may have been spent on it.
    pub(crate) fn owes_a_look(&self) -> bool {
        self.owes_a_look.get()
    }

    pub(crate) fn is_running(&self) -> bool {
        self.running.get()
    }

    /// Whether user code that asks is in a handler: from step 5 on, the loop runs handlers and nothing else.
    pub(crate) fn in_handler(&self) -> bool {
        self.running.get() && self.step.get() >= Step::DispatchReadiness
    }

    pub(crate) fn ran(&self) -> usize {
        self.limit.get() - self.allowed.get()
    }

    /// Whether the call asked for less than everything.
    pub(crate) fn is_bounded(&self) -> bool {
        self.limit.get() < usize::MAX || self.deadline.get().is_some()
    }

    /// Whether the call has run as many handlers as it may, or for as long.
    #[inline(never)]
    pub(crate) fn is_spent(&self) -> bool {
        self.allowed.get() == 0 || self.deadline.get().is_some_and(|deadline| Instant::now() >= deadline)
    }

    /// Counts a handler. Where there are bounds, `is_spent` is asked after each.
    #[inline]
    pub(crate) fn count_handler(&self) {
        self.allowed.set(self.allowed.get().wrapping_sub(1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_spent_by_its_bounds_alone() {
        let progress = Progress::new();
        progress.begin_call(usize::MAX, None);
        progress.count_handler();
        assert!(!progress.is_bounded() && !progress.is_spent());

        progress.begin_call(1, None);
        assert!(progress.is_bounded() && !progress.is_spent());
        progress.count_handler();
        assert!(progress.is_spent());

        progress.begin_call(usize::MAX, Some(Instant::now()));
        assert!(progress.is_bounded() && progress.is_spent());
    }
}
