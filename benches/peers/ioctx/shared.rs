//! What the programs of several layers begin with.

use ioctx::{Config, IoContext};
use std::io;
use std::time::Duration;

/// A server's context. `IOCTX_SPIN=MICROSECONDS` lets it spin for so long before each sleep, 0 never; otherwise it does as
/// by default.
pub fn context(config: Config) -> io::Result<IoContext> {
    let spin = std::env::var("IOCTX_SPIN").ok().and_then(|spin| spin.parse().ok());
    IoContext::with_config(match spin {
        Some(spin) => config.spin_before_sleep(Duration::from_micros(spin)),
        None => config,
    })
}

/// The delays of timers that stand while others are cancelled: one a minute, for an hour.
pub fn standing_delays() -> impl Iterator<Item = Duration> {
    (1..=60).map(|minutes| Duration::from_secs(60 * minutes))
}
