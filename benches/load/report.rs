//! The output: `name=value` lines.

use crate::process::Usage;
use hdrhistogram::Histogram;
use std::fmt::{self, Display, Formatter};
use std::io::Write;

/// What was measured.
pub struct Outcome {
    pub messages: u64,
    pub bytes: u64,
    pub nanoseconds: u64,
    pub latency: Option<Latency>,
    /// Of the load generator itself. Near the wall clock's, it was the bottleneck.
    pub own_cpu_ns: u64,
    pub server: Option<Usage>,
}

/// The latencies that half, 99 % and 99.9 % of the messages did not exceed. The last of so few that one or none was
/// slower would be the slowest of all, by another name.
pub struct Latency {
    p50_ns: u64,
    p99_ns: u64,
    p999_ns: Option<u64>,
}

/// With fewer latencies one does not ask which one in a thousand exceeds.
const ENOUGH_FOR_P999: u64 = 2_000;

impl Latency {
    pub fn of(histogram: &Histogram<u64>) -> Self {
        let at = |quantile| histogram.value_at_quantile(quantile);
        let p999_ns = (histogram.len() >= ENOUGH_FOR_P999).then(|| at(0.999));
        Latency { p50_ns: at(0.5), p99_ns: at(0.99), p999_ns }
    }
}

impl Display for Outcome {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        writeln!(f, "load_cpu_ns={}", self.own_cpu_ns)?;
        writeln!(f, "messages={}", self.messages)?;
        writeln!(f, "bytes={}", self.bytes)?;
        write!(f, "seconds={:.6}", self.nanoseconds as f64 / 1e9)?;
        if let Some(Latency { p50_ns, p99_ns, p999_ns }) = self.latency {
            write!(f, "\np50_ns={p50_ns}\np99_ns={p99_ns}")?;
            if let Some(p999_ns) = p999_ns {
                write!(f, "\np999_ns={p999_ns}")?;
            }
        }
        if let Some(Usage { cpu_ns, split, .. }) = self.server {
            write!(f, "\ncpu_ns={cpu_ns}")?;
            if let Some((user_ns, system_ns)) = split {
                write!(f, "\nuser_ns={user_ns}\nsystem_ns={system_ns}")?;
            }
        }
        Ok(())
    }
}

/// `println!` would panic where nobody reads any more.
pub fn print(lines: impl Display) {
    let _ = writeln!(std::io::stdout(), "{lines}");
}
