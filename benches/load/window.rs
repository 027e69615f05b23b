//! The measured time, and what is counted, timed and read in it.
//!
//! ```text
//!       warm-up            measured time
//!   |------- : -------|---------------------|
//!            :              messages counted, latencies taken
//!            :<---- the server's figures --->:
//! ```
//!
//! For those nothing is sent until the server has fallen asleep, halfway through the warm-up and at the end. So it has
//! dealt with what was on its way, before and after; and what it did in that time does not count for its rate.

use crate::clock;
use crate::failure::{Failure, failed};
use crate::process::{Figures, Process, Usage};
use crate::report::{Amount, Latency, Outcome};
use crate::turns::Turns;
use hdrhistogram::Histogram;
use std::time::Duration;

/// The longest latency that is told apart. Without any progress the load ends sooner.
const LONGEST: u64 = 60 * clock::SECOND;

pub struct Window {
    meter: Meter,
    /// Half of the warm-up.
    half: u64,
    length: u64,
    now: fn() -> u64,
    phase: Phase,
    /// When the phase ends.
    boundary: u64,
    messages: u64,
    bytes: u64,
    /// How many there were when the server's figures were read, and when the measured time began.
    at_reading: Mark,
    at_begin: Mark,
    latency: Histogram<u64>,
    turns: Turns,
    outcome: Option<Outcome>,
}

#[derive(PartialEq)]
enum Phase {
    /// Before the server's figures are read.
    WarmingUp,
    /// The rest of the warm-up.
    Recovering,
    Measuring,
    Over,
}

#[derive(Clone, Copy, Default)]
struct Mark {
    at: u64,
    messages: u64,
    bytes: u64,
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
        let half = warm_up.as_nanos() as u64 / 2;
        Ok(Window {
            meter: Meter::new(server)?,
            half,
            length: length.as_nanos() as u64,
            now,
            phase: Phase::WarmingUp,
            boundary: now() + half,
            messages: 0,
            bytes: 0,
            at_reading: Mark::default(),
            at_begin: Mark::default(),
            latency: Histogram::new_with_bounds(1, LONGEST, 3).map_err(failed("histogram"))?,
            turns: Turns::default(),
            outcome: None,
        })
    }

    /// Also tells how evenly so many connections are served.
    pub fn with_turns(self, connections: usize) -> Self {
        Window { turns: Turns::of(connections), ..self }
    }

    /// It is so late: to be told before anything that happened then is counted.
    #[inline]
    pub fn pass(&mut self, now: u64) -> Result<(), Failure> {
        if now < self.boundary { Ok(()) } else { self.turn(now) }
    }

    /// A message is back.
    #[inline]
    pub fn record(&mut self, started: u64, arrived: u64) {
        // Also of one that was sent before: or else, of those that take long, only the quick ones would be told.
        if self.phase == Phase::Measuring {
            self.latency.saturating_record(arrived - started);
        }
    }

    #[inline]
    pub fn count(&mut self, messages: u64, bytes: u64) {
        self.messages += messages;
        self.bytes += bytes;
    }

    /// So many bytes came on one connection, of those whose turns are told.
    #[inline]
    pub fn came(&mut self, connection: usize, arrived: u64, bytes: u64) {
        if self.phase == Phase::Measuring {
            self.turns.served(connection, arrived, bytes);
        }
        self.count(0, bytes);
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
        match self.phase {
            Phase::WarmingUp => {
                self.meter.begin()?;
                self.at_reading = self.mark((self.now)());
                (self.phase, self.boundary) = (Phase::Recovering, self.at_reading.at + self.half);
            }
            Phase::Recovering => {
                self.at_begin = self.mark(now);
                self.turns.begin(now);
                (self.phase, self.boundary) = (Phase::Measuring, now + self.length);
            }
            Phase::Measuring => {
                let latency = (!self.latency.is_empty()).then(|| Latency::of(&self.latency));
                let (measured, metered) = (self.since(&self.at_begin, now), self.since(&self.at_reading, now));
                (self.phase, self.boundary) = (Phase::Over, u64::MAX);
                let evenness = self.turns.end(now);
                self.outcome = Some(Outcome { evenness, ..self.meter.end(measured, metered, latency)? });
            }
            Phase::Over => {}
        }
        Ok(())
    }

    fn mark(&self, at: u64) -> Mark {
        Mark { at, messages: self.messages, bytes: self.bytes }
    }

    fn since(&self, mark: &Mark, now: u64) -> Amount {
        Amount { messages: self.messages - mark.messages, bytes: self.bytes - mark.bytes, nanoseconds: now - mark.at }
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

    pub fn end(&self, measured: Amount, metered: Amount, latency: Option<Latency>) -> Result<Outcome, Failure> {
        let own_cpu_ns = clock::of_processor() - self.own_before;
        Ok(Outcome { measured, latency, evenness: None, metered, own_cpu_ns, server: self.usage()? })
    }

    fn usage(&self) -> Result<Option<Usage>, Failure> {
        self.server.as_ref().map(|server| Ok(server.figures()?.since(&self.before))).transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The clock of these tests stands at 1,000, also while figures are read.
    fn window(warm_up: u64, length: u64) -> Window {
        Window::by_clock(|| 1_000, Duration::from_nanos(warm_up), Duration::from_nanos(length), None).unwrap()
    }

    fn arrives(window: &mut Window, started: u64, arrived: u64) {
        window.pass(arrived).unwrap();
        window.record(started, arrived);
        window.count(1, 10);
    }

    fn outcome(window: Window) -> [(u64, u64, u64); 2] {
        let Outcome { measured, metered, .. } = window.outcome().unwrap();
        [measured, metered].map(|amount| (amount.messages, amount.bytes, amount.nanoseconds))
    }

    #[test]
    fn only_what_arrives_within_is_counted() {
        let mut window = window(0, 500);
        window.pass(1_000).unwrap(); // The server's figures are read.
        arrives(&mut window, 900, 1_000);
        arrives(&mut window, 1_000, 1_499);
        assert!(!window.is_over());
        arrives(&mut window, 1_400, 1_500);
        arrives(&mut window, 1_400, 1_600);
        assert!(window.is_over());
        assert_eq!(outcome(window), [(2, 20, 500); 2]);
    }

    #[test]
    fn of_the_warm_up_only_the_second_half_counts_for_the_servers_figures() {
        let mut window = window(100, 500);
        arrives(&mut window, 1_000, 1_010);
        arrives(&mut window, 1_010, 1_049);
        arrives(&mut window, 1_020, 1_050); // Which ends the first half. Then the figures are read, at 1,000.
        arrives(&mut window, 1_010, 1_040);
        arrives(&mut window, 1_040, 1_049);
        assert_eq!(window.latency.len(), 0);
        arrives(&mut window, 1_049, 1_050); // And this the second.
        arrives(&mut window, 1_049, 1_549);
        arrives(&mut window, 1_549, 1_550);
        assert_eq!(outcome(window), [(2, 20, 500), (5, 50, 550)]);
    }

    #[test]
    fn latency_is_that_of_messages_received_within() {
        let mut window = window(0, 500);
        window.pass(1_000).unwrap();
        arrives(&mut window, 400, 1_100); // sent before
        arrives(&mut window, 1_000, 1_100);
        arrives(&mut window, 1_100, 1_400);
        assert_eq!((window.latency.len(), window.latency.max()), (3, 700));
        arrives(&mut window, 1_400, 1_600); // received after
        assert_eq!(window.latency.len(), 3);
    }

    #[test]
    fn turns_are_those_within() {
        let mut window = window(0, 500).with_turns(2);
        window.pass(1_000).unwrap();
        window.came(0, 900, 10); // The figures are being read.
        window.pass(1_000).unwrap();
        for (connection, at) in [(0, 1_100), (1, 1_300), (0, 1_350)] {
            window.pass(at).unwrap();
            window.came(connection, at, 10);
        }
        window.pass(1_500).unwrap();
        window.came(1, 1_500, 10);
        let told = window.outcome().unwrap().to_string();
        assert!(told.contains("\nlongest_wait_ns=300\nleast_share=0.6667"), "{told}");
    }

    #[test]
    fn without_messages_there_is_an_end_too() {
        let mut window = window(0, 500);
        for now in [1_000, 1_000, 1_700] {
            window.pass(now).unwrap();
        }
        assert!(window.latency.is_empty());
        assert_eq!(outcome(window), [(0, 0, 700); 2]);
    }
}
