//! What a connection does with its clocks: counts what moves, ends when its time is up, notices when it is idle.

use super::flow::{Asked, OurEnd, Phase};
use super::link::Link;
use super::outcome::Reason;
use super::timing::Timing;
use crate::engine::timer_queue::TimerKey;
use std::rc::Rc;
use std::time::{Duration, Instant};

impl Link {
    /// So many bytes have moved.
    #[inline(always)]
    pub(super) fn note_moved(&self, received: usize, sent: usize) {
        if let Some(roster) = self.roster.as_deref() {
            roster.bytes_received.set(roster.bytes_received.get() + received as u64);
            roster.bytes_sent.set(roster.bytes_sent.get() + sent as u64);
        }
        if let Some(timing) = self.timing.get() {
            timing.active.set(self.engine().clock.now()); // Not the turn's: a slow handler may have come before.
        }
    }

    pub(super) fn timing(&self) -> &Timing {
        self.timing.get_or_init(|| Box::new(Timing::new(self.engine().recently())))
    }

    /// Ends the connection after `limit`, if it has not ended by then. The last limit holds.
    pub(super) fn limit(self: &Rc<Self>, limit: Duration, reason: fn() -> Reason) {
        self.limit_at((limit != Duration::MAX).then(|| self.engine().clock.after(limit)), reason);
    }

    pub(super) fn limit_at(self: &Rc<Self>, at: Option<Instant>, reason: fn() -> Reason) {
        let key = at.and_then(|at| self.arm_at(at, move |link| link.fail(reason())));
        let timing = self.timing();
        timing.deadline_at.set(at);
        let former = timing.deadline.replace(key);
        self.disarm(former);
    }

    pub(super) fn set_idle_timeout(self: &Rc<Self>, timeout: Option<Duration>) {
        if self.flow.is_over() {
            return;
        }
        let timing = self.timing();
        timing.idle_timeout.set(timeout);
        timing.active.set(self.engine().clock.now());
        let key = timeout.and_then(|timeout| self.arm(timeout, Link::look_for_idleness));
        let former = timing.idle_timer.replace(key);
        self.disarm(former);
    }

    /// The idle timer has fired: either bytes have moved since it was armed, or the connection is idle.
    fn look_for_idleness(self: &Rc<Self>) {
        let timing = self.timing();
        timing.idle_timer.set(None);
        match timing.idle_left(self.engine().clock.now()) {
            None => {}
            Some(left) if !left.is_zero() => timing.idle_timer.set(self.arm(left, Link::look_for_idleness)),
            Some(_) if self.flow.phase.get() == Phase::Open => self.ask(Asked::IDLE),
            Some(_) if self.flow.our_end.get() == OurEnd::Sent => {} // It closes: the grace ends it.
            Some(_) => self.fail(Reason::Idle),
        }
    }

    /// `idle` has kept the connection: the timeout begins anew.
    pub(super) fn begin_idle_timeout(self: &Rc<Self>) {
        let timeout = self.timing.get().and_then(|timing| timing.idle_timeout.get());
        if timeout.is_some() {
            self.set_idle_timeout(timeout);
        }
    }

    fn arm(self: &Rc<Self>, delay: Duration, act: impl FnOnce(&Rc<Link>) + 'static) -> Option<TimerKey> {
        self.arm_at(self.engine().clock.after(delay), act)
    }

    fn arm_at(self: &Rc<Self>, at: Instant, act: impl FnOnce(&Rc<Link>) + 'static) -> Option<TimerKey> {
        let engine = self.engine();
        let link = Rc::clone(self);
        engine.arm_act(at, move |_| act(&link))
    }

    pub(super) fn disarm(&self, key: Option<TimerKey>) {
        if let Some(key) = key {
            drop(self.engine().disarm(key));
        }
    }
}
