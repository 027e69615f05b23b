//! The clocks of a connection: how long it has been idle, and when it must have ended. Only those that need one have it.

use crate::engine::timer_queue::TimerKey;
use std::cell::Cell;
use std::time::{Duration, Instant};

pub(super) struct Timing {
    pub(super) idle_timeout: Cell<Option<Duration>>,
    /// When bytes last moved. Noted by every message, while the timer stays where it is: when that fires, it is armed
    /// again for what is left. So a message costs no timer operation.
    pub(super) active: Cell<Instant>,
    pub(super) idle_timer: Cell<Option<TimerKey>>,
    /// Ends the connection: a limit on connecting, or on closing.
    pub(super) deadline: Cell<Option<TimerKey>>,
    /// When that is.
    pub(super) deadline_at: Cell<Option<Instant>>,
    /// The limit on closing of a connection that is still being made, and will be closed then.
    pub(super) closing_at: Cell<Option<Instant>>,
}

impl Timing {
    pub(super) fn new(now: Instant) -> Self {
        Timing {
            idle_timeout: Cell::new(None),
            active: Cell::new(now),
            idle_timer: Cell::new(None),
            deadline: Cell::new(None),
            deadline_at: Cell::new(None),
            closing_at: Cell::new(None),
        }
    }

    /// How much of the idle timeout is left.
    pub(super) fn idle_left(&self, now: Instant) -> Option<Duration> {
        let idle = now.saturating_duration_since(self.active.get());
        Some(self.idle_timeout.get()?.saturating_sub(idle))
    }
}
