//! Timers: arming them, ending them before their deadline, and what the turn asks about all of them.

use super::state::{AtDeadline, Engine, Queued};
use super::timer_queue::TimerKey;
use std::rc::Rc;
use std::time::Instant;

impl Engine {
    /// Arms a timer that holds what `make` makes, and that is in the background or not; returns `None` if the context
    /// has gone.
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
        self.kick_if_earlier(deadline);
        self.may_have_timers.set(true);
        Some(self.timers.borrow_mut().insert(deadline, self.next_sequence(), make))
    }

    /// Arms something of the loop's own, which is not counted as outstanding.
    pub(crate) fn arm_act(&self, deadline: Instant, act: impl FnOnce(&Rc<Engine>) + 'static) -> Option<TimerKey> {
        self.arm(deadline, true, || AtDeadline::Internal(Box::new(Box::new(act))))
    }

    /// A host that sleeps is told of a deadline earlier than all others.
    pub(super) fn kick_if_earlier(&self, deadline: Instant) {
        let may_sleep = self.embedded.get() && !self.turn.is_running();
        if may_sleep && self.earliest_timer().is_none_or(|earliest| deadline < earliest) {
            self.kick();
        }
    }

    /// When to wake at the latest.
    #[inline(always)]
    pub(crate) fn earliest_timer(&self) -> Option<Instant> {
        if self.may_have_timers.get() { self.look_for_earliest() } else { None }
    }

    #[inline(never)]
    fn look_for_earliest(&self) -> Option<Instant> {
        self.give_back();
        let earliest = self.timers.borrow_mut().earliest(|ahead| self.touch(ahead));
        self.may_have_timers.set(earliest.is_some());
        earliest
    }

    /// When memory for many timers has gone back, that for the handlers of as many goes, too: in step 6, whenever the
    /// earliest deadline is looked for, as before the loop sleeps, and when a call of `run` or its kin ends.
    pub(crate) fn give_back(&self) {
        if self.timers.borrow_mut().take_given_back() {
            self.keepers.for_each(|keeper| keeper.trim());
            self.ringers.for_each(|alarms| alarms.trim());
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

    /// Stops counting a timer as outstanding, now and whenever it is armed again. Does nothing if it has gone.
    pub(crate) fn put_into_background(&self, key: TimerKey) {
        let mut timers = self.timers.borrow_mut();
        let was_in_background = timers.get_mut(key).is_none_or(AtDeadline::put_into_background);
        let was_counted = !was_in_background && timers.is_armed(key);
        drop(timers);
        if was_counted {
            self.work_finished();
        }
    }

    /// Ends a wait as aborted, or a repetition silently; `false` if it had gone.
    pub(crate) fn cancel_timer(&self, key: TimerKey) -> bool {
        match self.disarm(key) {
            Some(AtDeadline::Wait(wait) | AtDeadline::WaitInBackground(wait)) => self.push(Queued::Kept(wait)),
            Some(_) => self.kick_if_out_of_work(),
            None => return false,
        }
        true
    }
}
