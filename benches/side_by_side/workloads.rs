//! What is measured, as data: a new workload is one more line in `all`.

use crate::processors::Place;

/// Workloads that are told in one table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Family {
    Echo,
    Stream,
    PingPong,
    SmallReads,
    Idle,
    Churn,
    ChurnTogether,
    Asleep,
    Timeout,
    WriteBatch,
    Pipes,
    Post,
    TimersCancel,
    TimersShuffle,
    TimersFire,
    IdleMemory,
    Counts,
}

/// When a server's loop falls asleep.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Sleeps {
    AsByDefault,
    /// It never asks again and again for a moment first. The others never do anyway.
    AtOnce,
}

/// What one measurement does.
pub enum Task {
    /// The peer is a server; the load generator measures it for the seconds of the run, after as many as it takes to settle.
    Served { workload: &'static str, load: Vec<String>, place: Place, sleeps: Sleeps, settles: f64 },
    /// The same for a fixed time, and once, not in every round: nothing in it varies with speed.
    ServedOnce { load: Vec<String> },
    /// The peer is the client of the load generator's sink.
    Client { arguments: Vec<String> },
    /// The peer alone, on so many processors.
    Alone { arguments: Vec<String>, processors: usize },
    /// Not timed at all; see `counts.rs`.
    Counted,
}

pub struct Workload {
    pub name: String,
    pub family: Family,
    /// At the head of its column.
    pub label: String,
    /// Where it stands on a plot's axis.
    pub at: f64,
    pub task: Task,
    /// How long a measurement is expected to take beyond the measured time.
    pub extra_seconds: f64,
}

pub const COUNTS: &str = "counts";
pub const IDLE_MEMORY: &str = "idle-memory";
pub const WAKE_UPS: &str = "idle-wake-ups";

pub const MANY_IDLE: usize = 18_000;
pub const TIMERS: [usize; 3] = [1_000, 100_000, 1_000_000];

/// So much of the measured time of a server comes before it, unmeasured.
pub const WARM_UP: f64 = 0.6;

/// So long the kernel's buffers of a fast stream grow, and how quick it is changes with them.
const SETTLING: f64 = 2.0;

/// The measured time of a server comes in so many pieces, between which the other peers have theirs.
const PIECES: u32 = 4;
/// What a piece takes beyond that: the load generator starts, connects, and reads the server's figures.
const PIECE_SECONDS: f64 = 0.03;

/// A measurement is costly that takes so many seconds beyond what is measured. It is longer, and in one piece.
const COSTLY: f64 = 0.9;
const LONGER: f64 = 2.0;
/// Where so many connections are at work that each has few messages in the measured time, it is longer once more: their
/// messages come in bursts, one for all, and if a piece has few of those, it decides how many whether it ends before one
/// or after it.
const CROWD: f64 = 1_000.0;
/// And once more.
const GREAT_CROWD: f64 = 10_000.0;

/// So many times as many rounds has what differs most from one to the next.
const MORE: u32 = 3;

const CONNECTIONS: [usize; 4] = [1, 16, 64, 1_000];
const SIZES: [usize; 2] = [64, 4_096];
const STREAMS: [usize; 4] = [1, 10, 100, 1_000];
const WINDOWS: [usize; 2] = [4_096, 16_384];
/// So many have the larger window only, as in muduo's grid.
const MANY_STREAMS: usize = 10_000;
/// Clients at a time: sixteen, and as many as in libuv's `tcp4_pound`.
const CHURN: [usize; 3] = [16, 100, 1_000];
const IDLE: [usize; 4] = [100, 1_000, 10_000, MANY_IDLE];
/// How many connections have an idle timeout.
const TIMED_OUT: usize = 10_000;
/// Pairs and how many of them are active. Nine thousand pairs need 18,000 descriptors.
const PIPES: [(usize, usize); 4] = [(100, 100), (1_000, 100), (9_000, 100), (1_000, 1_000)];

/// Every workload, in the order in which they are run and told.
pub fn all() -> Vec<Workload> {
    let mut list = Vec::new();
    list.extend(SIZES.into_iter().flat_map(|size| CONNECTIONS.map(|connections| echo(connections, size))));
    list.push(settled(stream_of_mebibytes()));
    list.push(at_first(stream_of_mebibytes()));
    list.extend(WINDOWS.into_iter().flat_map(|window| STREAMS.map(|streams| ping_pong(streams, window))));
    list.push(ping_pong(MANY_STREAMS, WINDOWS[1]));
    list.push(in_small_reads(ping_pong(1, WINDOWS[1]), "echo-4k", 4));
    list.push(in_small_reads(settled(stream_of_mebibytes()), "echo-64k", 64));
    list.extend(IDLE.map(idle));
    list.extend(CHURN.map(|connections| churn(connections, 64)));
    list.extend(CHURN.map(|connections| together(churn(connections, 64))));
    list.extend([echo(1, 64), echo(1, 4_096), churn(16, 64), churn(100, 64)].map(asleep));
    list.push(timeout("echo"));
    list.push(timeout("echo-timeout"));
    list.push(write_batch(1_000_000, 13));
    list.extend(PIPES.map(|(pairs, active)| pipes(pairs, active)));
    list.push(post("post", 1));
    list.push(post("post-remote", 2));
    list.extend(TIMERS.map(|count| timers("timers-cancel", Family::TimersCancel, count)));
    list.extend(TIMERS.map(|count| timers("timers-shuffle", Family::TimersShuffle, count)));
    list.extend(TIMERS.map(|count| timers("timers-fire", Family::TimersFire, count)));
    list.push(left_alone(IDLE_MEMORY, MANY_IDLE, 1));
    list.push(left_alone(WAKE_UPS, 2_000, 10));
    list.push(counts());
    list
}

fn echo(connections: usize, size: usize) -> Workload {
    Workload {
        name: format!("echo-{connections}x{size}"),
        family: Family::Echo,
        label: format!("{} × {} B", thousands(connections), thousands(size)),
        at: connections as f64,
        task: served("echo", load("echo", &[("connections", connections), ("size", size)])),
        extra_seconds: opening(connections),
    }
}

fn ping_pong(streams: usize, window: usize) -> Workload {
    stream(&format!("ping-pong-{streams}x{window}"), Family::PingPong, streams, window)
}

fn stream_of_mebibytes() -> Workload {
    stream("stream-8x1MiB", Family::Stream, 8, 1 << 20)
}

/// Measured when it has gone on for a while.
fn settled(mut stream: Workload) -> Workload {
    if let Task::Served { settles, .. } = &mut stream.task {
        *settles = SETTLING;
    }
    Workload { extra_seconds: stream.extra_seconds + SETTLING, ..stream }
}

/// Measured right after it has begun, over and over.
fn at_first(stream: Workload) -> Workload {
    Workload { name: format!("{}-at-first", stream.name), label: format!("{}, at first", stream.label), ..stream }
}

/// How a stream does where no server answers more at a time. Otherwise our sessions do, up to 512 KiB, which decides one
/// workload; and all but libevent, which makes it the quickest in another. (It never reads more than 4 KiB.)
fn in_small_reads(mut stream: Workload, served: &'static str, kibibytes: usize) -> Workload {
    if let Task::Served { workload, .. } = &mut stream.task {
        *workload = served;
    }
    Workload {
        name: format!("{}-by-{}", stream.name, kibibytes * 1024),
        family: Family::SmallReads,
        label: format!("{}, by {kibibytes} KiB", stream.label),
        ..stream
    }
}

fn stream(name: &str, family: Family, connections: usize, window: usize) -> Workload {
    Workload {
        name: name.into(),
        family,
        label: format!("{} × {} KiB", thousands(connections), thousands(window / 1024)),
        at: connections as f64,
        task: served("echo", load("stream", &[("connections", connections), ("window", window)])),
        extra_seconds: opening(connections),
    }
}

fn idle(idle: usize) -> Workload {
    Workload {
        name: format!("idle-{idle}"),
        family: Family::Idle,
        label: format!("{} idle", thousands(idle)),
        at: idle as f64,
        task: served("echo", load("echo", &[("connections", 64), ("size", 64), ("idle", idle)])),
        extra_seconds: opening(idle),
    }
}

fn churn(connections: usize, size: usize) -> Workload {
    Workload {
        name: format!("churn-{connections}x{size}"),
        family: Family::Churn,
        label: format!("{} × {size} B", thousands(connections)),
        at: connections as f64,
        task: served("echo", load("churn", &[("connections", connections), ("size", size)])),
        extra_seconds: opening(connections),
    }
}

/// How connections come and go where the server and the load share a processor. To open a connection takes more of the
/// load's than of any server's, and the sooner a server sleeps again, the oftener the load has to wake it: so on two
/// processors a costly server can look quick. Here the rate is told by what both take.
fn together(mut churn: Workload) -> Workload {
    if let Task::Served { place, .. } = &mut churn.task {
        *place = Place::Server;
    }
    Workload { name: format!("{}-together", churn.name), family: Family::ChurnTogether, ..churn }
}

/// What it costs ours to fall asleep at once, as the others do.
fn asleep(mut other: Workload) -> Workload {
    if let Task::Served { sleeps, .. } = &mut other.task {
        *sleeps = Sleeps::AtOnce;
    }
    let kind = if other.family == Family::Churn { "churn" } else { "echo" };
    let label = format!("{kind}, {}", other.label);
    Workload { name: format!("{}-asleep", other.name), family: Family::Asleep, label, ..other }
}

/// The seconds that it takes to start a server and open so many connections.
fn opening(connections: usize) -> f64 {
    0.1 + connections as f64 / 10_000.0
}

/// Many connections, with and without an idle timeout.
fn timeout(workload: &'static str) -> Workload {
    Workload {
        name: format!("{workload}-{TIMED_OUT}x64"),
        family: Family::Timeout,
        label: if workload == "echo" { "no timeout".into() } else { "idle timeout".into() },
        at: TIMED_OUT as f64,
        task: served(workload, load("echo", &[("connections", TIMED_OUT), ("size", 64)])),
        extra_seconds: opening(TIMED_OUT),
    }
}

fn write_batch(count: usize, size: usize) -> Workload {
    let arguments = vec![count.to_string(), size.to_string()];
    Workload {
        name: "write-batch".into(),
        family: Family::WriteBatch,
        label: format!("{} × {size} B", thousands(count)),
        at: count as f64,
        task: Task::Client { arguments },
        extra_seconds: 2.5,
    }
}

fn pipes(pairs: usize, active: usize) -> Workload {
    let name = format!("pipes-{active}-of-{pairs}");
    let label = format!("{} of {} active", thousands(active), thousands(pairs));
    alone(name, Family::Pipes, label, pairs, 1, &["pipes", &pairs.to_string(), &active.to_string(), "1000"], 0.4)
}

fn post(workload: &str, processors: usize) -> Workload {
    let label = if processors == 1 { "from the loop" } else { "from another thread" };
    alone(workload.into(), Family::Post, label.into(), 1, processors, &[workload, "1000000"], 0.8)
}

fn timers(workload: &str, family: Family, count: usize) -> Workload {
    // Those that fire do so within 100 ms, five times over.
    let (least, each) = match family {
        Family::TimersFire => (0.5, 3.5e-6),
        Family::TimersShuffle => (0.1, 2.5e-6),
        _ => (0.1, 1.2e-6),
    };
    let extra = least + each * count as f64;
    let name = format!("{workload}-{count}");
    alone(name, family, thousands(count), count, 1, &[workload, &count.to_string()], extra)
}

fn alone(
    name: String,
    family: Family,
    label: String,
    at: usize,
    processors: usize,
    arguments: &[&str],
    extra_seconds: f64,
) -> Workload {
    let arguments = arguments.iter().map(|&argument| argument.into()).collect();
    Workload { name, family, label, at: at as f64, task: Task::Alone { arguments, processors }, extra_seconds }
}

/// Connections of which nothing comes: what they cost in memory, and whether the loop sleeps.
fn left_alone(name: &str, connections: usize, seconds: usize) -> Workload {
    Workload {
        name: name.into(),
        family: Family::IdleMemory,
        label: format!("{} connections", thousands(connections)),
        at: connections as f64,
        task: Task::ServedOnce { load: load("idle", &[("connections", connections), ("seconds", seconds)]) },
        extra_seconds: 0.4 + seconds as f64 + opening(connections),
    }
}

fn counts() -> Workload {
    let name = COUNTS.into();
    Workload { name, family: Family::Counts, label: "counts".into(), at: 0.0, task: Task::Counted, extra_seconds: 20.0 }
}

impl Workload {
    /// How many rounds it has, and how long a server is measured in each. Many short ones tell two peers apart better
    /// than a few long ones, because what happens on the machine meanwhile meets both. Where much has to be prepared
    /// each time, they are longer; what else is unsteady has more of them.
    pub fn rounds(&self, rounds: u32, seconds: f64) -> (u32, f64) {
        if matches!(self.task, Task::ServedOnce { .. } | Task::Counted) {
            return (1, seconds);
        }
        match self.crowding() {
            0 if self.extra_seconds >= COSTLY => (rounds, seconds * LONGER),
            0 if self.is_unsteady() => (MORE * rounds, seconds),
            0 => (rounds, seconds),
            crowding => (rounds, seconds * LONGER * LONGER.powi(crowding)),
        }
    }

    /// How often a measurement is made longer because many connections are at work.
    fn crowding(&self) -> i32 {
        use Family::{Churn, ChurnTogether, Echo, PingPong, Timeout};
        if !matches!(self.family, Echo | PingPong | Churn | ChurnTogether | Timeout) {
            return 0;
        }
        i32::from(self.at >= CROWD) + i32::from(self.at >= GREAT_CROWD)
    }

    /// Whether its rounds differ most: where the two sides of one connection wait for each other, and where large streams
    /// have just begun.
    fn is_unsteady(&self) -> bool {
        use Family::{Asleep, Echo, PingPong, SmallReads, Stream};
        match self.family {
            Stream | SmallReads => true,
            Asleep | Echo | PingPong => self.at <= 1.0,
            _ => false,
        }
    }

    /// In how many pieces a server is measured in a round.
    pub fn pieces(&self) -> u32 {
        let is_cheap = matches!(self.task, Task::Served { .. }) && self.extra_seconds < COSTLY;
        if is_cheap { PIECES } else { 1 }
    }

    /// How long it will take with so many peers.
    pub fn expected_seconds(&self, rounds: u32, seconds: f64, peers: usize) -> f64 {
        let (rounds, seconds) = self.rounds(rounds, seconds);
        let measured = if matches!(self.task, Task::Served { .. }) { seconds * (1.0 + WARM_UP) } else { 0.0 };
        let pieces = f64::from(self.pieces()) * PIECE_SECONDS;
        f64::from(rounds) * peers as f64 * (measured + self.extra_seconds + pieces)
    }
}

/// A server on one processor, and the load on another.
fn served(workload: &'static str, load: Vec<String>) -> Task {
    Task::Served { workload, load, place: Place::Load, sleeps: Sleeps::AsByDefault, settles: 0.0 }
}

fn load(workload: &str, options: &[(&str, usize)]) -> Vec<String> {
    let options = options.iter().flat_map(|(name, value)| [format!("--{name}"), value.to_string()]);
    std::iter::once(workload.to_string()).chain(options).collect()
}

/// 18000 as 18,000.
pub fn thousands(number: usize) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn names_are_unique() {
        let all = all();
        let names: HashSet<_> = all.iter().map(|workload| &workload.name).collect();
        assert_eq!(names.len(), all.len());
    }

    #[test]
    fn costly_rounds_are_longer_and_unsteady_ones_more() {
        assert_eq!(echo(16, 64).rounds(30, 0.1), (30, 0.1));
        assert_eq!(echo(1, 64).rounds(30, 0.1), (90, 0.1));
        assert_eq!(at_first(stream_of_mebibytes()).rounds(30, 0.1), (90, 0.1));
        assert_eq!(settled(stream_of_mebibytes()).rounds(30, 0.1), (30, 0.2));
        assert_eq!(settled(stream_of_mebibytes()).pieces(), 1);
        assert_eq!(idle(MANY_IDLE).rounds(30, 0.1), (30, 0.2));
        assert_eq!(idle(MANY_IDLE).rounds(1, 0.1), (1, 0.2));
        assert_eq!(timeout("echo").rounds(30, 0.1), (30, 0.8));
        assert_eq!(echo(1_000, 64).rounds(30, 0.1), (30, 0.4));
        assert_eq!(counts().rounds(30, 0.1).0, 1);
    }

    #[test]
    fn thousands_are_set_apart() {
        let texts = [0, 999, 1_000, 18_000, 1_000_000].map(thousands);
        assert_eq!(texts, ["0", "999", "1,000", "18,000", "1,000,000"]);
    }
}
