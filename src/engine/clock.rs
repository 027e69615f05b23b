//! The clock that deadlines are counted by: the system's, or, for tests, one that stands still until it is moved.

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

/// How long this thread has worked, in user space and in the kernel, where somebody counts that.
#[cfg(not(any(target_os = "netbsd", target_os = "illumos", target_os = "solaris", target_os = "redox")))]
pub(crate) fn processor_time() -> Option<Duration> {
    use rustix::time::{ClockId, DynamicClockId, clock_gettime_dynamic};
    // The plain call panics where the kernel is built without this clock.
    clock_gettime_dynamic(DynamicClockId::Known(ClockId::ThreadCPUTime)).ok()?.try_into().ok()
}

#[cfg(any(target_os = "netbsd", target_os = "illumos", target_os = "solaris", target_os = "redox"))]
pub(crate) fn processor_time() -> Option<Duration> {
    None
}

/// A deadline counted from a reading of the system's clock.
pub(crate) fn deadline_after(delay: Duration) -> Instant {
    later(Instant::now(), delay)
}

fn later(now: Instant, delay: Duration) -> Instant {
    const FAR: Duration = Duration::from_secs(60 * 60 * 24 * 365 * 30);
    now.checked_add(delay.min(FAR)).unwrap_or(now)
}

#[cfg(all(test, any(target_os = "linux", target_os = "android")))]
mod tests {
    use super::*;

    #[test]
    fn the_processor_time_grows_while_the_thread_works_and_not_while_it_sleeps() {
        let worked = || processor_time().expect("it is counted here");
        let (since, begin) = (Instant::now(), worked());
        while worked() < begin + Duration::from_millis(5) {
            assert!(since.elapsed() < Duration::from_secs(30), "it stands still");
        }
        let asleep = (0..5).map(|_| {
            let before = worked();
            std::thread::sleep(Duration::from_millis(20));
            worked() - before
        });
        assert!(asleep.min() < Some(Duration::from_millis(15)));
    }
}
