//! One turn of the loop, and what each of its steps does.

use super::ahead::Row;
use super::clock::deadline_after;
use super::kept::Kept;
use super::poller::{Poller, readiness};
use super::progress::Step;
use super::reactor::{Entry, Reactor};
use super::sleep::{Patience, Sleep};
use super::state::{AtDeadline, Engine, Mail, Queued};
use super::timer_queue::TimerKey;
use super::trace::{Teller, tell};
use crate::error;
use crate::key::Origin;
use crate::ready::Ready;
use std::io;
use std::panic::Location;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// Why a turn ended before its last step; the next turn goes on where it was.
#[derive(Debug)]
pub(crate) enum Left {
    /// By `stop`, or because the caller has had what it asked for.
    Early,
    /// The poller failed.
    Error(io::Error),
}

impl Engine {
    /// Makes one turn, or finishes the one that was left.
    pub(crate) fn turn(self: &Rc<Self>, poller: &mut Poller, patience: Patience) -> Result<(), Left> {
        let turn = &self.turn;
        if turn.is_at(Step::Outside) {
            turn.begin();
            self.take_posted(); // 1. take what other threads posted
            let sleep = self.decide_sleep(patience); // 2. decide how long to sleep
            self.wait(poller, sleep, patience)?; // 3. wait
        }
        if turn.is_at(Step::Wait) || turn.is_at(Step::ReadClock) {
            self.may_read_clock(); // 4. read the clock, once, if there are timers
            turn.enter(Step::DispatchReadiness);
        }
        if turn.is_at(Step::DispatchReadiness) {
            self.dispatch_events(poller)?; // 5. dispatch readiness: what the poller told ...
            turn.enter_ready_list(self.reactor.ready_len());
        }
        if turn.is_at(Step::DispatchReadyList) {
            self.dispatch_ready_list()?; // ... then, in one pass, what was left over and what that started
            turn.enter(Step::CompleteTimers);
        }
        if turn.is_at(Step::CompleteTimers) {
            self.complete_timers()?; // 6. complete due timers
            turn.enter(Step::RunHandlers);
            self.scheduler.begin();
        }
        self.run_handlers()?; // 7. run the ready handlers, a snapshot
        turn.enter(Step::Outside);
        Ok(())
    }

    fn take_posted(&self) {
        self.turn.enter(Step::TakePosted);
        self.teller.look();
        if self.inbox.has_mail() {
            self.take_mail();
        }
    }

    #[inline(never)] // Or the loop over the events would run out of registers.
    fn take_mail(&self) {
        let first = self.scheduler.len();
        self.deliver_mail(&mut self.mail.borrow_mut());
        if self.teller.tracing() {
            self.tell_of_mail(first);
        }
    }

    fn deliver_mail(&self, mail: &mut Mail) {
        self.mail_came.set(self.inbox.take(mail));
        let Mail { piles, order } = mail;
        for run in order.chunk_by(|one, next| one == next) {
            if let Some(pile) = run.first().and_then(|&number| piles.get_mut(number)) {
                pile.deliver(run.len(), self);
            }
        }
        order.clear();
        order.shrink_to(1 << 16); // After a burst there may be silence.
    }

    /// Told when nothing can be lost any more, whatever the logger does.
    #[cold]
    fn tell_of_mail(&self, first: usize) {
        let mut mail = Vec::new();
        self.scheduler.for_each(|queued| mail.push(self.describe(queued)));
        for work in mail.into_iter().skip(first).flatten() {
            tell!(self, "{} from {}", work.kind(), work.location());
        }
    }

    /// Whether the last turn was left early, so that the next call begins by finishing it.
    pub(crate) fn is_interrupted(&self) -> bool {
        !self.turn.is_at(Step::Outside)
    }

    fn wait(&self, poller: &mut Poller, sleep: Sleep, patience: Patience) -> Result<(), Left> {
        tell!(self, "{sleep}");
        self.turn.enter(Step::Wait);
        let (timeout, Reactor { hunch, large_reads, .. }) = (sleep.timeout(), &self.reactor);
        let since = self.teller.tracing().then(Instant::now);
        let passes = self.need_not_ask(&sleep, patience);
        let waited = if passes { poller.pass() } else { poller.wait(timeout, hunch, large_reads) };
        self.inbox.awake();
        self.reactor.count_turn(!passes);
        match waited {
            Ok(events) => {
                self.turn.begin_batch(poller.is_full(events));
                self.reactor.begin_turn(events == 0);
                // Not before the batch has begun: a logger may panic, and the next turn goes on with it.
                if let Some(since) = since {
                    if passes {
                        tell!(self, "did not ask");
                    } else {
                        let how = if poller.has_spun() { "spun" } else { "slept" };
                        tell!(self, "{how} {:.3?}, {events} events", since.elapsed());
                    }
                }
            }
            Err(error) => {
                self.turn.enter(Step::Outside);
                return Err(Left::Error(error));
            }
        }
        Ok(())
    }

    /// Whether the kernel has nothing to tell that is needed now, and is not to make the thread sleep. After the turn of a
    /// loop that a host has embedded the waker must be quiet: there it is asked always.
    fn need_not_ask(&self, sleep: &Sleep, patience: Patience) -> bool {
        sleep.is_none() && !self.embedded.get() && (self.reactor.is_empty() || self.may_pass(patience))
    }

    /// Who calls `poll` wants to know what is ready; and after a full batch the kernel holds more.
    fn may_pass(&self, patience: Patience) -> bool {
        let is_poll = matches!(patience, Patience::None);
        !is_poll && !self.turn.was_batch_full() && self.reactor.only_one_has_more()
    }

    /// Where there are no timers, nobody asks for the time. (Who does later, has it read then.)
    fn may_read_clock(&self) {
        self.turn.enter(Step::ReadClock);
        self.turn.nothing_is_due();
        if self.may_have_timers.get() || self.teller.tracing() {
            self.read_clock();
        }
    }

    #[inline(never)]
    fn read_clock(&self) {
        let before = self.turn.now();
        let now = self.clock.now();
        self.turn.set_due(now, self.next_sequence(), self.teller.tracing());
        self.timers.borrow_mut().advance(now);
        tell!(self, "{:.3?} since the last reading", self.turn.now() - before);
    }

    fn dispatch_events(&self, poller: &Poller) -> Result<(), Left> {
        // Asked once a turn, so that a silent loop does not ask at every event.
        if self.teller.watches_calls() { self.deliver::<true>(poller) } else { self.deliver::<false>(poller) }
    }

    fn deliver<const WATCHES: bool>(&self, poller: &Poller) -> Result<(), Left> {
        for event in poller.events(self.turn.cursor()) {
            if let Some(entry) = self.reactor.find(event.token()) {
                let told = readiness(event); // Not before it is needed: the loop would run out of registers.
                if WATCHES {
                    self.deliver_watched(entry, told);
                } else {
                    self.turn.count_event();
                    entry.on_event(told);
                }
                self.may_go_on()?;
            } else {
                self.turn.count_event();
            }
        }
        Ok(())
    }

    /// Told before the event is counted: a logger may panic.
    #[cold]
    fn deliver_watched(&self, entry: Entry, told: Ready) {
        tell!(self, "token {} ready: {told:?}", entry.state().slot().unwrap_or_default());
        entry.state().set(told);
        let _call = self.watch_dispatch(&entry, entry.state().is_due_anew());
        self.turn.count_event();
        entry.on_event(told);
    }

    fn dispatch_ready_list(&self) -> Result<(), Left> {
        while self.turn.may_take_one() {
            let call = self.watch_first_ready();
            self.turn.take_one();
            let Some(entry) = self.reactor.take_first_ready() else {
                break;
            };
            entry.on_event(Ready::NONE);
            drop(call);
            self.may_go_on()?;
        }
        Ok(())
    }

    /// Told while it is still on the list, for the same reason.
    fn watch_first_ready(&self) -> Option<Call<'_>> {
        if !self.teller.watches_calls() {
            return None;
        }
        let entry = self.reactor.first_ready()?;
        let state = entry.state();
        tell!(self, "token {} still ready: {:?}", state.slot().unwrap_or_default(), state.ready());
        self.watch_dispatch(&entry, state.is_due())
    }

    /// Watches a dispatch that is one call of user code. (Others watch each of their calls.)
    fn watch_dispatch(&self, entry: &Entry, is_due: bool) -> Option<Call<'_>> {
        let (kind, origin) = entry.one_call().filter(|_| is_due)?;
        Some(self.watch(kind, origin.location))
    }

    fn complete_timers(self: &Rc<Self>) -> Result<(), Left> {
        if self.turn.may_be_due() { self.complete_due_timers() } else { Ok(()) }
    }

    #[inline(never)] // As `take_mail`.
    fn complete_due_timers(self: &Rc<Self>) -> Result<(), Left> {
        while self.complete_one_timer() {
            self.may_go_on()?;
        }
        Ok(())
    }

    fn complete_one_timer(self: &Rc<Self>) -> bool {
        let cut = self.turn.timer_cut();
        let due = self.timers.borrow_mut().first_due(cut, |ahead| self.touch(ahead));
        let Some(key) = due else {
            self.give_back();
            self.may_have_timers.set(self.timers.borrow().armed() > 0);
            return false;
        };
        if !self.teller.tracing() || self.tell_of_deadline(key) {
            self.fire(key);
        }
        true
    }

    /// Told before anything is done: a logger may panic. Answers whether the timer is still due: a logger may also
    /// cancel it, or move it.
    #[cold]
    fn tell_of_deadline(&self, key: TimerKey) -> bool {
        let deadline = self.timers.borrow().deadline(key);
        if let Some(deadline) = deadline {
            tell!(self, "fired {:.3?} after its deadline", self.turn.now() - deadline);
        }
        self.timers.borrow().is_due(key, self.turn.timer_cut())
    }

    fn fire(self: &Rc<Self>, key: TimerKey) {
        let mut timers = self.timers.borrow_mut();
        match timers.get(key) {
            Some(AtDeadline::Repeat(repeat)) => {
                let repeat = Rc::clone(repeat);
                let now = self.turn.now();
                let next = next_period(timers.deadline(key).unwrap_or(now), repeat.period, now);
                // Armed again before the call, so that the callback can cancel it.
                timers.rearm(key, next, self.next_sequence(), |_, _| ());
                drop(timers);
                self.call("every", repeat.origin.location, || (repeat.callback.borrow_mut())());
            }
            Some(AtDeadline::Ring(alarm) | AtDeadline::RingInBackground(alarm)) => {
                let (alarms, index) = (self.ringers.of(alarm), alarm.index);
                drop(timers);
                if let Some(alarms) = alarms {
                    alarms.ring(index, key, self);
                }
            }
            _ => {
                drop(timers);
                self.fire_for_good(key);
            }
        }
    }

    #[inline(always)]
    fn fire_for_good(self: &Rc<Self>, key: TimerKey) {
        match self.disarm(key) {
            Some(AtDeadline::Wait(wait) | AtDeadline::WaitInBackground(wait)) => self.end_kept(wait, Ok(())),
            Some(AtDeadline::Internal(act)) => act(self),
            _ => {}
        }
    }

    fn run_handlers(self: &Rc<Self>) -> Result<(), Left> {
        match self.scheduler.next() {
            Some(first) => self.run_from(first),
            None => Ok(()),
        }
    }

    #[inline(never)] // As `take_mail`.
    fn run_from(self: &Rc<Self>, first: Queued) -> Result<(), Left> {
        let (mut next, mut row) = (Some(first), None);
        while let Some(queued) = next {
            match queued {
                Queued::Task(task) => task.run(self),
                Queued::Kept(kept) => self.end_next(kept, &mut row),
            }
            self.may_go_on()?;
            next = self.scheduler.next();
        }
        Ok(())
    }

    /// Calls a handler that is kept. `row`: of the keeper of those before, which is likely to be this one's.
    #[inline(always)]
    fn end_next(self: &Rc<Self>, kept: Kept, row: &mut Option<Row>) {
        if row.as_ref().is_none_or(|row| row.number != kept.keeper) {
            *row = self.keepers.of(&kept).map(|keeper| Row::new(&kept, keeper));
        }
        if let Some(row) = row {
            row.look_ahead(kept.index, self);
            // The outcome of a wait that was cancelled; a letter does not look at it.
            row.keeper.end(kept.index, self, Err(error::aborted(0)));
        }
    }

    /// Calls user code: counted and watched.
    #[inline(always)]
    pub(crate) fn call(&self, kind: &'static str, location: &'static Location<'static>, handler: impl FnOnce()) {
        self.turn.count_handler();
        let _call = self.watch(kind, location);
        handler();
    }

    /// As `call`, for what would be copied into a closure and out again: the call ends when the result is dropped.
    #[inline(always)]
    pub(crate) fn begin_call<'a>(&'a self, kind: &'static str, origin: &Origin) -> Call<'a> {
        self.turn.count_handler();
        self.watch(kind, origin.location)
    }

    /// Calls user code that is part of a dispatch which has been counted.
    #[inline(always)]
    pub(crate) fn call_on<R>(&self, kind: &'static str, origin: &Origin, handler: impl FnOnce() -> R) -> R {
        let _call = self.watch(kind, origin.location);
        handler()
    }

    /// Watches a call, if calls are watched, until the result is dropped.
    #[inline(always)]
    fn watch<'a>(&'a self, kind: &'static str, location: &'static Location<'static>) -> Call<'a> {
        if self.teller.watches_calls() {
            self.teller.begin_watch(&self.turn, kind, location);
        }
        Call { teller: &self.teller }
    }

    /// Warns, once, if a call that blocks is made by a handler.
    pub(crate) fn warn_if_blocking(&self, call: &str, location: &'static Location<'static>) {
        if self.turn.in_handler() {
            self.teller.warn_of_blocking(call, location);
        }
    }

    /// Whether to leave the turn here.
    #[inline(always)]
    pub(crate) fn must_leave(&self) -> bool {
        self.inbox.looks_closer() && self.has_had_enough()
    }

    /// By `stop`, or of the call in progress.
    #[cold]
    #[inline(never)]
    fn has_had_enough(&self) -> bool {
        self.inbox.stop_requested() || (self.turn.is_bounded() && self.turn.is_spent())
    }

    /// After every handler: does what that has left to be done then, and tells whether to go on.
    #[inline(always)]
    fn may_go_on(&self) -> Result<(), Left> {
        if self.inbox.looks_closer() { self.finish_handler() } else { Ok(()) }
    }

    /// A deadline alone does not end a turn before its first handler: so even no time at all gets on.
    #[cold]
    #[inline(never)]
    fn finish_handler(&self) -> Result<(), Left> {
        self.inbox.looked_closer(self.turn.is_bounded());
        self.reactor.flush();
        let leave = self.has_had_enough() && (self.turn.ran() > 0 || self.inbox.stop_requested());
        if leave { Err(Left::Early) } else { Ok(()) }
    }

    /// Has the entry flushed when the handler in progress has returned. If that panics, its dispatch sees to it; if a flush
    /// does, the next call.
    pub(crate) fn flush_at_end(&self, entry: Entry) {
        self.reactor.flush_later(entry);
        self.inbox.look_closer();
    }
}

/// A call of user code that may be watched: until this is dropped.
pub(crate) struct Call<'a> {
    teller: &'a Teller,
}

impl Drop for Call<'_> {
    #[inline(always)]
    fn drop(&mut self) {
        if self.teller.watches_calls() {
            self.teller.end_watch();
        }
    }
}

/// The first deadline of a repetition that is still to come: what was missed is skipped, not caught up with, and the
/// beat is kept.
fn next_period(deadline: Instant, period: Duration, now: Instant) -> Instant {
    let late = now.saturating_duration_since(deadline).as_nanos();
    let periods = late / period.as_nanos().max(1) + 1;
    let ahead = u32::try_from(periods).ok().and_then(|periods| period.checked_mul(periods));
    let next = ahead.and_then(|ahead| deadline.checked_add(ahead));
    next.unwrap_or_else(|| deadline_after(period)).max(now)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_late_repetition_skips_what_it_missed_and_keeps_the_beat() {
        let start = Instant::now();
        let ms = Duration::from_millis;
        assert_eq!(next_period(start, ms(100), start), start + ms(100));
        assert_eq!(next_period(start, ms(100), start + ms(350)), start + ms(400));
        assert_eq!(next_period(start, ms(100), start + ms(400)), start + ms(500));
    }

    #[test]
    fn a_repetition_of_no_length_moves_on() {
        let now = Instant::now();
        assert!(next_period(now, Duration::ZERO, now) >= now);
    }
}
