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

/// The latencies that half, 99 % and 99.9 % of the messages did not exceed.
pub struct Latency {
    p50_ns: u64,
    p99_ns: u64,
    /// Of few messages it would be one of the two slowest, by another name.
    p999_ns: Option<u64>,
    /// But several measurements of few messages may be enough together; so of those the slowest are told.
    slowest_ns: Vec<u64>,
}

/// With fewer latencies one does not ask which one in a thousand exceeds.
const ENOUGH_FOR_P999: u64 = 2_000;

/// With more, others are not needed.
const FEW: u64 = 4 * ENOUGH_FOR_P999;

/// So many of the slowest are told: what one in a thousand exceeds, of up to 16,000 messages, is among them.
const SLOWEST: usize = 16;

impl Latency {
    pub fn of(histogram: &Histogram<u64>) -> Self {
        let at = |quantile| histogram.value_at_quantile(quantile);
        let p999_ns = (histogram.len() >= ENOUGH_FOR_P999).then(|| at(0.999));
        let slowest_ns = if histogram.len() < FEW { slowest(histogram) } else { vec![] };
        Latency { p50_ns: at(0.5), p99_ns: at(0.99), p999_ns, slowest_ns }
    }
}

/// Beginning with the slowest.
fn slowest(histogram: &Histogram<u64>) -> Vec<u64> {
    let recorded: Vec<_> = histogram.iter_recorded().collect();
    let each = recorded.iter().rev().flat_map(|step| {
        let latency = histogram.highest_equivalent(step.value_iterated_to());
        (0..step.count_since_last_iteration()).map(move |_| latency)
    });
    each.take(SLOWEST).collect()
}

impl Display for Outcome {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        let Outcome { measured, metered, .. } = self;
        writeln!(f, "messages={}\nbytes={}\nseconds={:.6}", measured.messages, measured.bytes, measured.seconds())?;
        writeln!(f, "metered_messages={}\nmetered_bytes={}", metered.messages, metered.bytes)?;
        write!(f, "metered_seconds={:.6}\nload_cpu_ns={}", metered.seconds(), self.own_cpu_ns)?;
        if let Some(Latency { p50_ns, p99_ns, p999_ns, slowest_ns }) = &self.latency {
            write!(f, "\np50_ns={p50_ns}\np99_ns={p99_ns}")?;
            if let Some(ns) = p999_ns {
                write!(f, "\np999_ns={ns}")?;
            }
            slowest_ns.iter().try_for_each(|ns| write!(f, "\nslow_ns={ns}"))?;
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

#[cfg(test)]
mod tests {
    use super::*;

    fn tail(messages: u64) -> (Option<u64>, Vec<u64>) {
        let mut histogram = Histogram::new(3).unwrap();
        (1..=messages).for_each(|message| histogram.record(message.min(1_000)).unwrap());
        let Latency { p999_ns, slowest_ns, .. } = Latency::of(&histogram);
        (p999_ns, slowest_ns)
    }

    #[test]
    fn of_few_messages_the_slowest_are_told() {
        assert_eq!(tail(3), (None, vec![3, 2, 1]));
        assert_eq!(tail(1_000), (None, (985..=1_000).rev().collect()));
        assert_eq!(tail(2_000), (Some(1_000), vec![1_000; 16]));
        assert_eq!(tail(8_000), (Some(1_000), vec![]));
    }
}
