//! The measured time: after the warm-up, until its end. What is counted, timed and read is so between these two moments.

use crate::clock;
use crate::failure::{Failure, failed};
use crate::process::{Figures, Process, Usage};
use crate::report::{Latency, Outcome};
use hdrhistogram::Histogram;
use std::time::Duration;

/// The longest latency that is told apart. Without any progress the load ends sooner.
const LONGEST: u64 = 60 * clock::SECOND;

pub struct Window {
    meter: Meter,
    length: u64,
    now: fn() -> u64,
    /// The end of the warm-up, then that of the measured time, then never.
    boundary: u64,
    /// The beginning of the measured time, while it lasts; otherwise never.
    begin: u64,
    /// For how long nothing was sent or received just before it, because the server's figures were read.
    pause: u64,
    messages: u64,
    bytes: u64,
    latency: Histogram<u64>,
    outcome: Option<Outcome>,
}

impl Window {
    /// The warm-up begins now.
    pub fn new(warm_up: Duration, length: Duration, server: Option<Process>) -> Result<Self, Failure> {
        Self::by_clock(clock::now, warm_up, length, server)
    }

    fn by_clock(
        now: fn() -> u64,
        warm_up: Duration,
        length: Duration,
        server: Option<Process>,
    ) -> Result<Self, Failure> {
        Ok(Window {
            meter: Meter::new(server)?,
            length: length.as_nanos() as u64,
            now,
            boundary: now() + warm_up.as_nanos() as u64,
            begin: u64::MAX,
            pause: 0,
            messages: 0,
            bytes: 0,
            latency: Histogram::new_with_bounds(1, LONGEST, 3).map_err(failed("histogram"))?,
            outcome: None,
        })
    }

    /// It is so late: to be told before anything that happened then is counted.
    #[inline]
    pub fn pass(&mut self, now: u64) -> Result<(), Failure> {
        if now < self.boundary { Ok(()) } else { self.turn(now) }
    }

    /// A message is back.
    #[inline]
    pub fn record(&mut self, started: u64, arrived: u64) {
        if self.begin < u64::MAX {
            // Also of one that was sent before: or else, of those that take long, only the quick ones would be told. The
            // pause is not the server's, and is left out.
            let pause = if (started..=arrived).contains(&self.begin) { self.pause } else { 0 };
            self.latency.saturating_record((arrived - started).saturating_sub(pause));
        }
    }

    #[inline]
    pub fn count(&mut self, messages: u64, bytes: u64) {
        self.messages += messages;
        self.bytes += bytes;
    }

    #[inline]
    pub fn is_over(&self) -> bool {
        self.outcome.is_some()
    }

    /// What was measured, when all is over.
    pub fn outcome(self) -> Result<Outcome, Failure> {
        self.outcome.ok_or_else(|| Failure::Failed("nothing was measured".to_string()))
    }

    #[cold]
    fn turn(&mut self, now: u64) -> Result<(), Failure> {
        if self.begin == u64::MAX {
            self.meter.begin()?;
            // Reading takes a moment, in which nothing was sent: it is not part of the measured time.
            self.begin = (self.now)();
            self.pause = self.begin.saturating_sub(now);
            self.boundary = self.begin + self.length;
            (self.messages, self.bytes) = (0, 0);
        } else {
            let latency = (!self.latency.is_empty()).then(|| Latency::of(&self.latency));
            let nanoseconds = now - self.begin;
            (self.begin, self.boundary) = (u64::MAX, u64::MAX);
            self.outcome = Some(self.meter.end(self.messages, self.bytes, nanoseconds, latency)?);
        }
        Ok(())
    }
}

/// Reads what the server, and this program, have used.
pub struct Meter {
    server: Option<Process>,
    before: Figures,
    own_before: u64,
}

impl Meter {
    /// Begins, too.
    pub fn new(server: Option<Process>) -> Result<Self, Failure> {
        let mut meter = Meter { server, before: Figures::default(), own_before: 0 };
        meter.begin()?;
        Ok(meter)
    }

    fn begin(&mut self) -> Result<(), Failure> {
        if let Some(server) = &self.server {
            self.before = server.figures()?;
        }
        self.own_before = clock::of_processor();
        Ok(())
    }

    pub fn end(
        &self,
        messages: u64,
        bytes: u64,
        nanoseconds: u64,
        latency: Option<Latency>,
    ) -> Result<Outcome, Failure> {
        let own_cpu_ns = clock::of_processor() - self.own_before;
        Ok(Outcome { messages, bytes, nanoseconds, latency, own_cpu_ns, server: self.usage()? })
    }

    fn usage(&self) -> Result<Option<Usage>, Failure> {
        self.server.as_ref().map(|server| Ok(server.figures()?.since(&self.before))).transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The clock of these tests stands at 1,000; the warm-up ends at 1,100, reading the figures takes until 1,000.
    fn window(warm_up: u64, length: u64) -> Window {
        Window::by_clock(|| 1_000, Duration::from_nanos(warm_up), Duration::from_nanos(length), None).unwrap()
    }

    fn arrives(window: &mut Window, started: u64, arrived: u64) {
        window.pass(arrived).unwrap();
        window.record(started, arrived);
        window.count(1, 10);
    }

    #[test]
    fn only_what_arrives_within_is_counted() {
        let mut window = window(0, 500);
        arrives(&mut window, 900, 1_000);
        arrives(&mut window, 1_000, 1_499);
        assert!(!window.is_over());
        arrives(&mut window, 1_400, 1_500);
        arrives(&mut window, 1_400, 1_600);
        assert!(window.is_over());
        let outcome = window.outcome().unwrap();
        assert_eq!((outcome.messages, outcome.bytes, outcome.nanoseconds), (2, 20, 500));
    }

    #[test]
    fn the_warm_up_is_forgotten() {
        let mut window = window(100, 500);
        arrives(&mut window, 1_000, 1_050);
        arrives(&mut window, 1_050, 1_099);
        assert_eq!((window.messages, window.latency.len()), (2, 0));
        arrives(&mut window, 1_099, 1_100);
        assert_eq!((window.messages, window.bytes), (1, 10));
    }

    #[test]
    fn latency_is_that_of_messages_received_within() {
        let mut window = window(0, 500);
        arrives(&mut window, 400, 1_100); // sent before
        arrives(&mut window, 1_000, 1_100);
        arrives(&mut window, 1_100, 1_400);
        assert_eq!((window.latency.len(), window.latency.max()), (3, 700));
        arrives(&mut window, 1_400, 1_600); // received after
        assert_eq!(window.latency.len(), 3);
    }

    #[test]
    fn the_pause_before_the_measured_time_is_nobodys_latency() {
        let mut window = window(0, 500);
        window.boundary = 900; // The warm-up is over at 950, and the figures have been read at 1,000.
        arrives(&mut window, 900, 950);
        assert_eq!(window.latency.max(), 50, "it had arrived before");
        arrives(&mut window, 920, 1_100);
        assert_eq!(window.latency.max(), 130);
        arrives(&mut window, 1_001, 1_200);
        assert_eq!(window.latency.max(), 199);
    }

    #[test]
    fn without_messages_there_is_an_end_too() {
        let mut window = window(0, 500);
        window.pass(1_000).unwrap();
        window.pass(1_700).unwrap();
        let outcome = window.outcome().unwrap();
        assert_eq!((outcome.messages, outcome.nanoseconds, outcome.latency.is_none()), (0, 700, true));
    }
}
