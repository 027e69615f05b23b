//! The clock that everything is timed by.

use rustix::time::{ClockId, clock_gettime};

pub const SECOND: u64 = 1_000_000_000;

/// Nanoseconds since some moment before the program began.
#[inline]
pub fn now() -> u64 {
    read(ClockId::Monotonic)
}

/// The processor time that this program itself has used. Near the wall clock's, the load generator was the bottleneck.
pub fn own_cpu() -> u64 {
    read(ClockId::ProcessCPUTime)
}

#[inline]
fn read(clock: ClockId) -> u64 {
    let time = clock_gettime(clock);
    time.tv_sec as u64 * SECOND + time.tv_nsec as u64
}
