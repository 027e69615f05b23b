//! The price tags: what was promised, and what was measured.

use super::counted::memory_per_connection;
use super::figures::{Figure, TELLINGS, Telling, number};
use super::overview::ABSENT;
use super::verdicts::{Pair, compared, pairs};
use super::{Section, View};
use crate::counts::{ALLOCATIONS, INSTRUCTIONS, SYSTEM_CALLS, WITHOUT_LOG};
use crate::limits::SYSTEM_CALLS_ABOVE_FLOOR;
use crate::peers::{FLOOR, PEERS, Role, SESSION};
use crate::statistics::{ENOUGH, Paired};
use crate::table::Table;
use crate::workloads::{COUNTS, Family, WAKE_UPS, all};
use std::cmp::Ordering::Equal;

/// What a price is compared with. Between goal and gate it is not yet what it should be, and no reason to stop.
#[derive(Clone, Copy)]
enum Bound {
    AtMost(f64, f64),
    AtLeast(f64),
}

use Bound::{AtLeast, AtMost};

/// Where its figure comes from.
#[derive(Clone, Copy)]
enum Origin {
    Count(&'static str, &'static str),
    /// Above the floor's.
    SystemCalls(&'static str),
    Memory,
    WakeUps,
    /// Instructions of a layer with logging that is switched off, above those without any.
    Logging(&'static str),
    /// The lowest ratio to the best peer of all workloads of these families, surely too low ones first.
    LowestRatio(&'static [Family]),
    /// In how many workloads the 99th percentile is worse than a library's, beyond the noise.
    Tails,
    /// In how many a library is ahead of a session, beyond the noise.
    Behind,
    /// A session's time divided by another's.
    Time {
        workload: &'static str,
        peer: &'static str,
    },
    /// A layer's time to start and cancel a million timers, in this workload's order, divided by Boost.Asio's.
    Cancelled(&'static str, &'static str),
    /// To start and fire them, divided by that of the best peer.
    Fired(&'static str),
}

use Origin::*;

const PRICES: &[(&str, Bound, Origin)] = &[
    ("instructions per message, readiness", AtMost(130.0, 150.0), Count("readiness", INSTRUCTIONS)),
    ("instructions per message, session", AtMost(170.0, 240.0), Count("session", INSTRUCTIONS)),
    ("instructions per message, operation", AtMost(500.0, 600.0), Count("operation", INSTRUCTIONS)),
    ("system calls per message above epoll's, session", SYSTEM_CALLS_BOUND, SystemCalls("session")),
    ("system calls per message above epoll's, operation", SYSTEM_CALLS_BOUND, SystemCalls("operation")),
    ("system calls per message above epoll's, readiness", SYSTEM_CALLS_BOUND, SystemCalls("readiness")),
    ("allocations per message, session", NONE, Count("session", ALLOCATIONS)),
    ("allocations per message, operation", NONE, Count("operation", ALLOCATIONS)),
    ("allocations per message, readiness", NONE, Count("readiness", ALLOCATIONS)),
    ("KiB per idle session", AtMost(0.5, 0.6), Memory),
    ("wake-ups in 10 s, 2,000 idle sessions", AtMost(0.0, 0.0), WakeUps),
    ("instructions that switched-off logging adds, readiness", LOGGING, Logging("readiness")),
    ("instructions that switched-off logging adds, session", LOGGING, Logging("session")),
    ("instructions that switched-off logging adds, operation", LOGGING, Logging("operation")),
    ("echo without churn: rate / best peer's, the lowest", AtLeast(RATIO), LowestRatio(ECHOING)),
    ("churn: rate / best peer's, the lowest", AtLeast(RATIO), LowestRatio(&[Family::Churn])),
    ("churn on one processor: rate / best peer's, the lowest", AtLeast(RATIO), LowestRatio(&[Family::ChurnTogether])),
    ("streams: rate / best peer's, the lowest", AtLeast(RATIO), LowestRatio(STREAMING)),
    ("echo, churn: workloads whose p99 is worse than a library's", AtMost(0.0, 0.0), Tails),
    ("workloads in which a library is ahead of a session", AtMost(0.0, 0.0), Behind),
    ("post: time / Boost.Asio's", AtMost(1.0, 1.0), Time { workload: "post", peer: "asio" }),
    ("post from another thread: time / tokio's", AtMost(1.0, 1.0), Time { workload: "post-remote", peer: "tokio" }),
    ("cancel 1,000,000 timers, alarms: CPU / Boost.Asio's", QUARTER, Cancelled("readiness", IN_ORDER)),
    ("cancel 1,000,000 timers, waits: CPU / Boost.Asio's", QUARTER, Cancelled("operation", IN_ORDER)),
    ("the same in another order, alarms", QUARTER, Cancelled("readiness", SHUFFLED)),
    ("the same in another order, waits", QUARTER, Cancelled("operation", SHUFFLED)),
    ("fire 1,000,000 timers, alarms: CPU / best peer's", AtMost(0.5, 0.5), Fired("readiness")),
    ("fire 1,000,000 timers, waits: CPU / best peer's", AtMost(0.5, 0.5), Fired("operation")),
];

const SYSTEM_CALLS_BOUND: Bound = AtMost(SYSTEM_CALLS_ABOVE_FLOOR, SYSTEM_CALLS_ABOVE_FLOOR);
const LOGGING: Bound = AtMost(10.0, 10.0);
const NONE: Bound = AtMost(0.0, 0.0);
const QUARTER: Bound = AtMost(0.25, 0.25);

const IN_ORDER: &str = "timers-cancel-1000000";
const SHUFFLED: &str = "timers-shuffle-1000000";

const RATIO: f64 = 0.97;

/// The families whose servers echo messages, on connections that stay,
const ECHOING: &[Family] = &[Family::Echo, Family::Idle, Family::Timeout];
/// those of which latencies are told,
const ANSWERING: &[Family] = &[Family::Echo, Family::Idle, Family::Churn, Family::ChurnTogether, Family::Timeout];
/// and those whose servers echo streams.
const STREAMING: &[Family] = &[Family::Stream, Family::PingPong];

pub fn section(view: &View) -> Option<Section> {
    let mut table = Table::new(1, ["price", "goal", "gate", "measured", "met"]);
    let is_whole = view.workloads.len() == all().len() && view.peers.len() == PEERS.len();
    let mut any = false;
    for (what, bound, origin) in PRICES {
        let measured = origin.measured(view);
        if measured.is_none() && !is_whole {
            continue; // Nobody has asked for it.
        }
        any |= measured.is_some();
        let (goal, gate) = bound.words();
        let words = measured.as_ref().map_or(ABSENT.into(), |found| format!("{}{}", number(found.value), found.words));
        table.row([what.to_string(), goal, gate, words, bound.met(measured.as_ref()).into()]);
    }
    let title = if is_whole { "Price tags" } else { "Price tags, as far as was asked for" };
    any.then(|| Section { name: "prices".into(), title: title.into(), text: table.text() })
}

impl Bound {
    fn words(self) -> (String, String) {
        match self {
            AtMost(goal, gate) if goal == gate => (format!("≤ {}", short(goal)), String::new()),
            AtMost(goal, gate) => (format!("≤ {}", short(goal)), format!("≤ {}", short(gate))),
            AtLeast(goal) => (format!("≥ {}", short(goal)), String::new()),
        }
    }

    fn met(self, measured: Option<&Measured>) -> &'static str {
        let Some(Measured { low, high, rounds, .. }) = measured else {
            return "not measured";
        };
        match self {
            _ if *rounds < ENOUGH => "too few rounds",
            AtMost(goal, _) if *high <= goal => "yes",
            AtMost(_, gate) if *high <= gate => "within the gate",
            AtMost(_, gate) if *low <= gate => "not decided",
            AtLeast(goal) if *low >= goal => "yes",
            AtLeast(goal) if *high >= goal => "not decided",
            _ => "NO",
        }
    }
}

/// What was found.
#[derive(Clone, Debug, PartialEq)]
struct Measured {
    value: f64,
    /// What else there is to say about it.
    words: String,
    /// What it may truly be, at least and at most.
    low: f64,
    high: f64,
    /// In so many rounds; of what is counted there is one, which is enough.
    rounds: usize,
}

impl Measured {
    fn plain(value: f64) -> Self {
        Self { value, words: String::new(), low: value, high: value, rounds: usize::MAX }
    }

    /// How much of the other's time ours takes, round by round.
    fn part(paired: &Paired) -> Self {
        let (low, high) = (1.0 / paired.high, 1.0 / paired.low);
        let words = format!(" (between {low:.3} and {high:.3})");
        Self { value: 1.0 / paired.ratio, words, low, high, rounds: paired.rounds }
    }
}

impl Origin {
    fn measured(self, view: &View) -> Option<Measured> {
        let count = |peer, figure| view.records.single(COUNTS, peer, figure);
        match self {
            Count(layer, figure) => count(layer, figure).map(Measured::plain),
            SystemCalls(layer) => Some(Measured::plain(count(layer, SYSTEM_CALLS)? - count(FLOOR, SYSTEM_CALLS)?)),
            Memory => memory_per_connection(view.records, SESSION).map(Measured::plain),
            WakeUps => view.records.single(WAKE_UPS, SESSION, "wakeups").map(Measured::plain),
            Logging(layer) => Some(Measured::plain(count(layer, INSTRUCTIONS)? - count(layer, WITHOUT_LOG)?)),
            LowestRatio(families) => {
                let rank = |pair: &Pair| (pair.paired.high >= RATIO, pair.paired.ratio);
                let pairs = echoes(view, families);
                let worst = pairs.iter().min_by(|one, other| rank(one).partial_cmp(&rank(other)).unwrap_or(Equal))?;
                let Paired { ratio, low, high, .. } = worst.paired;
                let (kept, all) = (pairs.iter().filter(|pair| pair.paired.ratio >= RATIO).count(), pairs.len());
                let name = &worst.workload.name;
                let words = format!(" ({name}, between {low:.3} and {high:.3}; {kept} of {all} at {RATIO} or more)");
                let rounds = pairs.iter().map(|pair| pair.paired.rounds).min()?;
                // Beside none it may be lower.
                let low = pairs.iter().flat_map(|pair| pair.beside_each(view)).map(|paired| paired.low);
                let low = low.min_by(f64::total_cmp)?;
                Some(Measured { value: ratio, words, low, high, rounds })
            }
            Tails => {
                let pairs = echoes(view, ANSWERING);
                let tails = pairs.iter().filter_map(|pair| Some((&*pair.workload.name, pair.tail(view)?.1)));
                worse(tails.collect())
            }
            Behind => {
                let pairs: Vec<_> = compared().flat_map(|telling| of_sessions(view, telling)).collect();
                worse(pairs.iter().map(|pair| (&*pair.workload.name, pair.paired)).collect())
            }
            Time { workload, peer } => time(view, workload, SESSION, peer).as_ref().map(Measured::part),
            Cancelled(layer, order) => time(view, order, layer, "asio").as_ref().map(Measured::part),
            Fired(layer) => {
                let libraries = PEERS.iter().filter(|peer| peer.role == Role::Library);
                let beside = libraries.filter_map(|peer| time(view, "timers-fire-1000000", layer, peer.name));
                beside.min_by(|one, other| one.ratio.total_cmp(&other.ratio)).as_ref().map(Measured::part)
            }
        }
    }
}

/// Where a session was measured beside a library.
fn echoes<'a>(view: &'a View, families: &[Family]) -> Vec<Pair<'a>> {
    let tellings = TELLINGS.iter().filter(|telling| families.contains(&telling.family));
    tellings.flat_map(|telling| of_sessions(view, telling)).collect()
}

fn of_sessions<'a>(view: &'a View, telling: &Telling) -> impl Iterator<Item = Pair<'a>> + use<'a> {
    pairs(view, telling).into_iter().filter(|pair| pair.ours.name == SESSION)
}

/// In how many of these workloads ours is worse, beyond the noise, and in which.
fn worse(all: Vec<(&str, Paired)>) -> Option<Measured> {
    let worse: Vec<_> = all.iter().filter(|(_, paired)| paired.high < 1.0).map(|(name, _)| *name).collect();
    let words = if worse.is_empty() { String::new() } else { format!(" ({})", worse.join(", ")) };
    let rounds = all.iter().map(|(_, paired)| paired.rounds).min()?;
    Some(Measured { words, rounds, ..Measured::plain(worse.len() as f64) })
}

fn time(view: &View, workload: &str, ours: &str, other: &str) -> Option<Paired> {
    Figure::Nanoseconds.paired(view.records, workload, ours, other)
}

fn short(value: f64) -> String {
    format!("{value}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::records::Records;
    use crate::workloads::all;

    #[test]
    fn goals_and_gates() {
        let bound = AtMost(170.0, 240.0);
        let words = [170.0, 171.0, 241.0].map(|value| bound.met(Some(&Measured::plain(value))));
        assert_eq!(words, ["yes", "within the gate", "NO"]);
        assert_eq!(bound.met(None), "not measured");
        let between = |bound: Bound, low, high| bound.met(Some(&Measured { low, high, ..Measured::plain(0.0) }));
        let least = [(0.97, 1.2), (0.96, 1.2), (0.9, 0.96)].map(|(low, high)| between(AtLeast(0.97), low, high));
        assert_eq!(least, ["yes", "not decided", "NO"]);
        let most = [(0.2, 0.25), (0.24, 0.26), (0.26, 0.3)].map(|(low, high)| between(AtMost(0.25, 0.25), low, high));
        assert_eq!(most, ["yes", "not decided", "NO"]);
        let in_rounds = |rounds| AtMost(1.0, 1.0).met(Some(&Measured { rounds, ..Measured::plain(0.5) }));
        assert_eq!([in_rounds(ENOUGH - 1), in_rounds(ENOUGH)], ["too few rounds", "yes"]);
    }

    #[test]
    fn prices_are_judged_from_records() {
        let mut records = Records::default();
        let mut add = |workload: &str, peer: &str, figure: &str, value| {
            records.record(workload, peer, 0, figure, value).unwrap();
        };
        for (peer, messages, p99) in [("libuv", 100.0, 10.0), ("asio", 90.0, 5.0), ("session", 98.0, 11.0)] {
            add("echo-1x64", peer, "messages", messages);
            add("echo-1x64", peer, "seconds", 1.0);
            add("echo-1x64", peer, "p99_ns", p99 * 1e3);
        }
        add("post", "asio", "ns", 20.0);
        add("post", "session", "ns", 10.0);
        let workloads = all();
        let peers: Vec<_> = PEERS.iter().collect();
        let view = View { records: &records, peers: &peers, workloads: &workloads };
        let found = |value, words: &str| Some(Measured { words: words.into(), rounds: 1, ..Measured::plain(value) });
        let lowest = LowestRatio(ECHOING).measured(&view);
        assert_eq!(lowest, found(0.98, " (echo-1x64, between 0.980 and 0.980; 1 of 1 at 0.97 or more)"));
        assert_eq!(LowestRatio(STREAMING).measured(&view), None);
        assert_eq!(Tails.measured(&view), found(1.0, " (echo-1x64)"));
        assert_eq!(Behind.measured(&view), found(1.0, " (echo-1x64)"));
        assert_eq!(Time { workload: "post", peer: "asio" }.measured(&view), found(0.5, " (between 0.500 and 0.500)"));
        assert_eq!(Memory.measured(&view), None);
    }
}
