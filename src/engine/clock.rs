//! The clock that deadlines are counted by: the system's, or, for tests, one that stands still until it is moved.

use rustix::time::{ClockId, DynamicClockId, clock_gettime_dynamic};
use std::cell::Cell;
use std::time::{Duration, Instant};

#[derive(Debug, Default)]
pub(crate) struct Clock {
    held: Cell<Option<Instant>>,
}

impl Clock {
    /// A fresh reading.
    #[inline]
    pub(crate) fn now(&self) -> Instant {
        self.held.get().unwrap_or_else(Instant::now)
    }

    /// From here on the clock says this, until it is told something else.
    pub(crate) fn hold(&self, at: Instant) {
        self.held.set(Some(at));
    }

    /// A deadline counted from a fresh reading; what does not fit is thirty years away.
    pub(crate) fn after(&self, delay: Duration) -> Instant {
        later(self.now(), delay)
    }
}

/// How long this thread has worked, in user space and in the kernel; always zero where nobody counts that.
pub(crate) fn processor_time() -> Duration {
    // The plain call panics where the kernel is built without this clock.
    let time = clock_gettime_dynamic(DynamicClockId::Known(ClockId::ThreadCPUTime)).ok();
    time.and_then(|time| time.try_into().ok()).unwrap_or_default()
}

/// A deadline counted from a reading of the system's clock.
pub(crate) fn deadline_after(delay: Duration) -> Instant {
    later(Instant::now(), delay)
}

fn later(now: Instant, delay: Duration) -> Instant {
    const FAR: Duration = Duration::from_secs(60 * 60 * 24 * 365 * 30);
    now.checked_add(delay.min(FAR)).unwrap_or(now)
}
