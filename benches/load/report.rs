//! The output: `name=value` lines.

use crate::process::Usage;
use crate::turns::Evenness;
use hdrhistogram::Histogram;
use std::fmt::{self, Display, Formatter};
use std::io::Write;

/// What was measured.
pub struct Outcome {
    pub measured: Amount,
    pub latency: Option<Latency>,
    pub evenness: Option<Evenness>,
    /// What both programs have used the processor for.
    pub metered: Amount,
    /// Of the load generator itself. Near the wall clock's, it was the bottleneck.
    pub own_cpu_ns: u64,
    pub server: Option<Usage>,
}

/// So much, in so long.
#[derive(Clone, Copy)]
pub struct Amount {
    pub messages: u64,
    pub bytes: u64,
    pub nanoseconds: u64,
}

impl Amount {
    /// A message is so many bytes.
    pub fn in_messages_of(self, size: u64) -> Self {
        Amount { messages: self.bytes / size, ..self }
    }

    fn seconds(&self) -> f64 {
        self.nanoseconds as f64 / 1e9
    }
}

/// The latencies that half, 99 % and 99.9 % of the messages did not exceed. Of few messages the last would be one of the
/// two slowest, by another name.
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
        let Outcome { measured, metered, .. } = self;
        writeln!(f, "messages={}\nbytes={}\nseconds={:.6}", measured.messages, measured.bytes, measured.seconds())?;
        writeln!(f, "metered_messages={}\nmetered_bytes={}", metered.messages, metered.bytes)?;
        write!(f, "metered_seconds={:.6}\nload_cpu_ns={}", metered.seconds(), self.own_cpu_ns)?;
        if let Some(Latency { p50_ns, p99_ns, p999_ns }) = self.latency {
            write!(f, "\np50_ns={p50_ns}\np99_ns={p99_ns}")?;
            if let Some(p999_ns) = p999_ns {
                write!(f, "\np999_ns={p999_ns}")?;
            }
        }
        if let Some(evenness) = &self.evenness {
            write!(f, "\n{evenness}")?;
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
