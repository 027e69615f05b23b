//! The clock that everything is timed by.
//!
//! Its time is the standard library's: rustix would read it from the kernel's page, which is not there under valgrind.

use rustix::time::{ClockId, clock_gettime};
use std::sync::LazyLock;
use std::time::Instant;

pub const SECOND: u64 = 1_000_000_000;

static ORIGIN: LazyLock<Instant> = LazyLock::new(Instant::now);

/// Nanoseconds since the first call.
#[inline]
pub fn now() -> u64 {
    let origin = *ORIGIN;
    let passed = Instant::now().duration_since(origin);
    passed.as_secs() * SECOND + u64::from(passed.subsec_nanos())
}

/// Nanoseconds of processor time that this program has used, to this moment and not to the last tick.
pub fn of_processor() -> u64 {
    let used = clock_gettime(ClockId::ProcessCPUTime);
    used.tv_sec as u64 * SECOND + used.tv_nsec as u64
}
