//! Deadlines as numbers, and what time it is.

use std::time::{Duration, Instant};

#[derive(Debug)]
pub(super) struct Timeline {
    /// From here nanoseconds are counted.
    epoch: Instant,
    /// What has a deadline up to here is due, and no timer is armed for before.
    now: u64,
}

impl Timeline {
    pub(super) fn new() -> Self {
        Timeline { epoch: Instant::now(), now: 0 }
    }

    /// It is `now`, from here on.
    pub(super) fn advance(&mut self, now: Instant) {
        self.now = self.since_epoch(now);
    }

    #[inline]
    pub(super) fn now(&self) -> u64 {
        self.now
    }

    /// When a deadline is; not before now.
    #[inline]
    pub(super) fn at(&self, deadline: Instant) -> u64 {
        self.since_epoch(deadline).max(self.now)
    }

    /// What does not fit is almost six hundred years away. The last number is never it: who asks for less than that finds
    /// all.
    #[inline]
    fn since_epoch(&self, instant: Instant) -> u64 {
        const SECOND: u64 = 1_000_000_000;
        let since = instant.saturating_duration_since(self.epoch);
        since.as_secs().min(u64::MAX / SECOND - 1) * SECOND + u64::from(since.subsec_nanos())
    }

    pub(super) fn instant(&self, at: u64) -> Instant {
        self.epoch + Duration::from_nanos(at)
    }
}
