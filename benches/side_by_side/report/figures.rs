//! Figures, worked out from what was recorded.

use crate::measure::NANOSECONDS;
use crate::records::{Record, Records};
use crate::statistics::{Paired, Series, median};
use crate::workloads::{Family, thousands};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Figure {
    MessagesPerSecond,
    MebibytesPerSecond,
    /// The time of one operation.
    Nanoseconds,
    /// Latencies, in µs.
    Median,
    P99,
    P999,
    /// The longest that a connection got nothing, in ms.
    LongestWait,
    /// What the connection got that got least, in hundredths of an equal share.
    LeastShare,
    /// Processor time of the server, user and system.
    CpuPerMessage,
    /// The parts of it, as far as the ticks of the system tell.
    UserPerMessage,
    SystemPerMessage,
    CpuPerKibibyte,
    UserPerKibibyte,
    SystemPerKibibyte,
    ServerBusy,
    LoadBusy,
}

use Figure::*;

/// /proc counts processor time in ticks of so many nanoseconds, on every Linux.
const TICK_NS: f64 = 1e7;

/// So many, or fewer, are off by a tenth and more.
const FEW_TICKS: f64 = 100.0;

/// As the load generator has it: with fewer messages one does not ask which one in a thousand exceeds.
const ENOUGH_FOR_P999: f64 = 2_000.0;

/// So many of its slowest messages each piece has told. (See `load/report.rs`.)
const SLOWEST: f64 = 16.0;

/// What one in a thousand exceeds of the messages of all pieces, of which each has told the slowest.
fn p999_of_all(messages: &[f64], mut slowest: Vec<f64>) -> Option<f64> {
    let messages: f64 = messages.iter().sum();
    let slower = (messages / 1e3).floor();
    slowest.sort_by(|one, other| other.total_cmp(one));
    let is_known = messages >= ENOUGH_FOR_P999 && slower < SLOWEST;
    slowest.get(slower as usize).copied().filter(|_| is_known)
}

impl Figure {
    /// At the head of its column.
    pub fn title(self) -> &'static str {
        match self {
            MessagesPerSecond => "messages/s",
            MebibytesPerSecond => "MiB/s",
            Nanoseconds => "ns",
            Median => "p50 µs",
            P99 => "p99 µs",
            P999 => "p99.9 µs",
            LongestWait => "longest wait ms",
            LeastShare => "least served %",
            CpuPerMessage => "CPU ns/message",
            UserPerMessage | UserPerKibibyte => "user",
            SystemPerMessage | SystemPerKibibyte => "system",
            CpuPerKibibyte => "CPU ns/KiB",
            ServerBusy => "server busy %",
            LoadBusy => "load busy %",
        }
    }

    pub fn is_cpu(self) -> bool {
        matches!(self, CpuPerMessage | CpuPerKibibyte)
    }

    pub fn more_is_better(self) -> bool {
        matches!(self, MessagesPerSecond | MebibytesPerSecond | LeastShare)
    }

    /// Its values in the records of one round; several where a round repeats, or comes in pieces.
    fn values(self, round: &[&Record]) -> Vec<f64> {
        let all = |name: &str| round.iter().filter(|one| one.figure == name).map(|one| one.value).collect::<Vec<_>>();
        let microseconds = |name: &str| all(name).iter().map(|ns| ns / 1e3).collect();
        let per = |name: &str, other: &str, factor: f64| {
            all(name).iter().zip(all(other)).map(|(value, other)| factor * value / other).collect()
        };
        // What a message cost, as often as there was one in the measured time.
        let busy = |used: &str| {
            let costs: Vec<f64> = per(used, "metered_messages", 100.0 / 1e9);
            costs.iter().zip::<Vec<f64>>(per("messages", "seconds", 1.0)).map(|(cost, rate)| cost * rate).collect()
        };
        let values: Vec<f64> = match self {
            Nanoseconds => all(NANOSECONDS),
            MessagesPerSecond => per("messages", "seconds", 1.0),
            MebibytesPerSecond => per("bytes", "seconds", 1.0 / f64::from(1 << 20)),
            Median => microseconds("p50_ns"),
            P99 => microseconds("p99_ns"),
            // The pieces quick enough to have it told would be the better ones.
            P999 if all("p999_ns").len() == all("p99_ns").len() => microseconds("p999_ns"),
            P999 => p999_of_all(&all("messages"), all("slow_ns")).map(|ns| ns / 1e3).into_iter().collect(),
            LongestWait => all("longest_wait_ns").iter().map(|ns| ns / 1e6).collect(),
            LeastShare => all("least_share").iter().map(|share| share * 100.0).collect(),
            CpuPerMessage => per("cpu_ns", "metered_messages", 1.0),
            CpuPerKibibyte => per("cpu_ns", "metered_bytes", 1024.0),
            UserPerMessage | SystemPerMessage | UserPerKibibyte | SystemPerKibibyte => vec![], // Only of all rounds.
            ServerBusy => busy("cpu_ns"),
            LoadBusy => busy("load_cpu_ns"),
        };
        values.into_iter().filter(|value| value.is_finite()).collect()
    }

    fn rounds(self, records: &Records, workload: &str, peer: &str) -> Vec<(u32, Vec<f64>)> {
        let rounds = records.rounds(workload, peer);
        rounds.iter().map(|round| (round[0].round, self.values(round))).collect()
    }

    /// A peer beside another, round by round, and in each round piece by piece. More than 1: it is better.
    pub fn paired(self, records: &Records, workload: &str, peer: &str, other: &str) -> Option<Paired> {
        let others = self.rounds(records, workload, other);
        let ratio = |(value, other): (&f64, &f64)| if self.more_is_better() { value / other } else { other / value };
        let ratio_of_round = |(round, values): (u32, Vec<f64>)| {
            let (_, others) = others.iter().find(|(same, _)| *same == round)?;
            median(&values.iter().zip(others).map(ratio).collect::<Vec<_>>())
        };
        let ours = self.rounds(records, workload, peer).into_iter();
        Paired::new(&ours.filter_map(ratio_of_round).collect::<Vec<_>>())
    }

    /// A peer's figure in one workload, divided by its own in another of the same rounds. Each round's median: their pieces
    /// are not of the same moments, and need not be equally many.
    pub fn divided(self, records: &Records, peer: &str, workload: &str, by: &str) -> Option<Paired> {
        let divisors = self.rounds(records, by, peer);
        let quotient = |(round, values): (u32, Vec<f64>)| {
            let (_, divisor) = divisors.iter().find(|(same, _)| *same == round)?;
            Some(median(&values)? / median(divisor)?)
        };
        Paired::new(&self.rounds(records, workload, peer).into_iter().filter_map(quotient).collect::<Vec<_>>())
    }

    pub fn series(self, records: &Records, workload: &str, peer: &str) -> Option<Series> {
        if self.is_part() {
            let Ticks { count, each } = self.ticks(records, workload, peer)?;
            return Some(Series { median: count * each, lowest: count * each, highest: count * each });
        }
        let rounds = records.rounds(workload, peer);
        let values: Vec<Vec<f64>> = rounds.iter().map(|round| self.values(round)).collect();
        // As of pieces.
        if self == P999 && values.iter().any(Vec::is_empty) {
            return None;
        }
        Series::new(&values)
    }

    /// What it is a part of.
    fn whole(self) -> Option<Figure> {
        match self {
            UserPerMessage | SystemPerMessage => Some(CpuPerMessage),
            UserPerKibibyte | SystemPerKibibyte => Some(CpuPerKibibyte),
            _ => None,
        }
    }

    pub fn is_part(self) -> bool {
        self.whole().is_some()
    }

    /// User or system time, as text: with one digit where it is told from few ticks of the system's clock, and from
    /// none, less than what one would be.
    pub fn part(self, records: &Records, workload: &str, peer: &str) -> Option<String> {
        let Ticks { count, each } = self.ticks(records, workload, peer)?;
        Some(match count {
            0.0 => format!("< {}", rough(each)),
            few if few < FEW_TICKS => format!("≈ {}", rough(few * each)),
            many => number(many * each),
        })
    }

    /// A round has too few ticks to tell user and system time apart: so all rounds' ticks together divide the median of
    /// both.
    fn ticks(self, records: &Records, workload: &str, peer: &str) -> Option<Ticks> {
        let total = |figure: &str| -> f64 {
            let rounds = records.rounds(workload, peer);
            rounds.iter().flatten().filter(|record| record.figure == figure).map(|record| record.value).sum()
        };
        let (user, system) = (total("user_ns"), total("system_ns"));
        let this = if matches!(self, UserPerMessage | UserPerKibibyte) { user } else { system };
        let each = self.whole()?.series(records, workload, peer)?.median * TICK_NS / (user + system);
        each.is_finite().then_some(Ticks { count: this / TICK_NS, each })
    }
}

/// A part of the processor time, in ticks of the system's clock.
struct Ticks {
    count: f64,
    /// The figure's value for one of them.
    each: f64,
}

/// Rounded to what can be told apart. Small numbers that are whole are shown so: nothing at all is `0`, next to nothing
/// is `0.00`.
pub fn number(value: f64) -> String {
    let sign = if value <= -0.005 { "-" } else { "" };
    match value.abs() {
        few if few < 10.0 && few.fract() == 0.0 => format!("{sign}{few}"),
        large if (99.95..1e15).contains(&large) => format!("{sign}{}", thousands(large.round() as usize)),
        middle if middle >= 9.995 => format!("{sign}{middle:.1}"),
        small => format!("{sign}{small:.2}"),
    }
}

/// With one digit.
fn rough(value: f64) -> String {
    let unit = value.log10().floor();
    match unit {
        0.0.. => thousands((value / 10_f64.powf(unit)).round() as usize * 10_usize.pow(unit as u32)),
        _ => format!("{value:.*}", -unit as usize),
    }
}

/// How a family of workloads is told.
pub struct Telling {
    pub family: Family,
    /// The block of its overview; that of its details has `-details` behind it.
    pub block: &'static str,
    pub title: &'static str,
    /// What its peers are compared by.
    pub head: Figure,
    pub others: &'static [Figure],
}

const OF_SERVERS: &[Figure] =
    &[Median, P99, P999, CpuPerMessage, UserPerMessage, SystemPerMessage, ServerBusy, LoadBusy];
const OF_STREAMS: &[Figure] =
    &[LongestWait, LeastShare, CpuPerKibibyte, UserPerKibibyte, SystemPerKibibyte, ServerBusy, LoadBusy];

const fn telling(
    family: Family,
    block: &'static str,
    title: &'static str,
    head: Figure,
    others: &'static [Figure],
) -> Telling {
    Telling { family, block, title, head, others }
}

/// The families that are timed.
pub const TELLINGS: &[Telling] = &[
    telling(Family::Echo, "echo", "Echo: connections × size of a message", MessagesPerSecond, OF_SERVERS),
    telling(Family::Stream, "stream", "Stream: connections × bytes on their way", MebibytesPerSecond, OF_STREAMS),
    telling(
        Family::PingPong,
        "ping-pong",
        "Ping-pong: connections × bytes on their way",
        MebibytesPerSecond,
        OF_STREAMS,
    ),
    telling(
        Family::SmallReads,
        "small-reads",
        "Streams where none answers more at a time: connections × bytes on their way",
        MebibytesPerSecond,
        OF_STREAMS,
    ),
    telling(Family::Idle, "idle", "Echo, 64 × 64 B, beside idle connections", MessagesPerSecond, OF_SERVERS),
    telling(
        Family::Churn,
        "churn",
        "Churn: connections that come, echo one message and go",
        MessagesPerSecond,
        OF_SERVERS,
    ),
    telling(
        Family::ChurnTogether,
        "churn-together",
        "Churn, server and load on one processor",
        MessagesPerSecond,
        OF_SERVERS,
    ),
    telling(Family::Asleep, "asleep", "Where ours never spin before they sleep", MessagesPerSecond, OF_SERVERS),
    telling(
        Family::Timeout,
        "timeout",
        "Echo, 10,000 × 64 B, with and without an idle timeout",
        MessagesPerSecond,
        OF_SERVERS,
    ),
    telling(Family::WriteBatch, "write-batch", "Small writes queued at once, ns for each", Nanoseconds, &[]),
    telling(Family::Pipes, "pipes", "Pipes, ns for each byte", Nanoseconds, &[]),
    telling(Family::Post, "post", "Posting, ns for each handler", Nanoseconds, &[]),
    telling(
        Family::TimersCancel,
        "timers-cancel",
        "Timers started and cancelled in that order, CPU ns for each",
        Nanoseconds,
        &[],
    ),
    telling(
        Family::TimersShuffle,
        "timers-shuffle",
        "Timers started and cancelled in another order, CPU ns for each",
        Nanoseconds,
        &[],
    ),
    telling(Family::TimersFire, "timers-fire", "Timers started and fired, CPU ns for each", Nanoseconds, &[]),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_rounded() {
        let texts = [0.0, 2.0, -0.001, 0.126, 9.99, 9.996, 12.34, 99.96, 1234.5, -1500.2].map(number);
        assert_eq!(texts, ["0", "2", "0.00", "0.13", "9.99", "10.0", "12.3", "100", "1,235", "-1,500"]);
    }

    #[test]
    fn figures_are_worked_out() {
        let mut records = Records::default();
        for (round, messages) in [(0, 1_000.0), (1, 3_000.0)] {
            let metered = [("metered_messages", 1.1 * messages), ("cpu_ns", 275e6)];
            let turns = [("longest_wait_ns", 2_500_000.0), ("least_share", 0.9)];
            let measured = [("messages", messages), ("seconds", 0.5), ("p99_ns", 1_500.0)].into_iter().chain(turns);
            for (figure, value) in metered.into_iter().chain(measured) {
                records.record("echo", "epoll", round, figure, value).unwrap();
            }
        }
        records.record("echo", "epoll", 1, "p999_ns", 2_500.0).unwrap();
        let series = |figure: Figure| figure.series(&records, "echo", "epoll");
        assert_eq!(series(MessagesPerSecond), Some(Series { median: 4_000.0, lowest: 2_000.0, highest: 6_000.0 }));
        assert_eq!(series(ServerBusy).map(|series| series.median.round()), Some(50.0));
        assert_eq!(series(P99).map(|series| series.median), Some(1.5));
        let medians = [LongestWait, LeastShare].map(|figure| series(figure).map(|series| series.median));
        assert_eq!(medians, [Some(2.5), Some(90.0)]);
        assert_eq!(series(LoadBusy), None);
        assert_eq!(series(P999), None, "of one round only");
        records.record("echo", "epoll", 0, "p999_ns", 3_500.0).unwrap();
        let p999 = P999.series(&records, "echo", "epoll").map(|series| series.median);
        assert_eq!(p999, Some(3.0));
    }

    #[test]
    fn the_slowest_of_all_pieces_tell_what_one_in_a_thousand_exceeds() {
        let slowest = vec![40.0, 30.0, 10.0, 50.0, 20.0];
        assert_eq!(p999_of_all(&[1_500.0; 2], slowest.clone()), Some(20.0), "three are slower");
        assert_eq!(p999_of_all(&[500.0; 2], slowest), None, "too few");
        assert_eq!(p999_of_all(&[1e6], vec![1.0; 16]), None, "more are slower than were told");
        let mut records = Records::default();
        for (round, more) in [(0, "slow_ns"), (1, "slow_ns"), (1, "p999_ns")] {
            for (figure, value) in [("messages", 1_000.0), ("p99_ns", 1e3), (more, 2e3), ("slow_ns", 3e3)] {
                records.record("echo", "epoll", round, figure, value).unwrap();
            }
        }
        assert_eq!(P999.series(&records, "echo", "epoll"), None, "the first round has too few");
        for (figure, value) in [("messages", 1_000.0), ("p99_ns", 1e3), ("slow_ns", 4e3)] {
            records.record("echo", "epoll", 0, figure, value).unwrap();
        }
        let p999 = P999.series(&records, "echo", "epoll");
        assert_eq!(p999, Some(Series { median: 2.0, lowest: 2.0, highest: 2.0 }), "of one piece alone it is not asked");
    }

    #[test]
    fn user_and_system_time_add_up() {
        let mut records = Records::default();
        for (round, user, system) in [(0, 0.0, 40e6), (1, 10e6, 30e6), (2, 0.0, 20e6)] {
            let figures = [
                ("metered_messages", 1e3),
                ("metered_bytes", 1e6),
                ("cpu_ns", 50e6),
                ("user_ns", user),
                ("system_ns", system),
            ];
            for (figure, value) in figures {
                records.record("echo", "epoll", round, figure, value).unwrap();
            }
        }
        let median = |figure: Figure| figure.series(&records, "echo", "epoll").map(|series| series.median);
        assert_eq!((median(UserPerMessage), median(SystemPerMessage)), (Some(5_000.0), Some(45_000.0)));
        assert_eq!(median(CpuPerMessage), Some(50_000.0));
        let rounded = |figure| median(figure).map(f64::round);
        assert_eq!((rounded(UserPerKibibyte), rounded(SystemPerKibibyte)), (Some(5_120.0), Some(46_080.0)));
    }

    #[test]
    fn few_ticks_tell_one_digit() {
        let text = |user| {
            let mut records = Records::default();
            for (figure, value) in
                [("metered_messages", 1e3), ("cpu_ns", 2e9), ("user_ns", user), ("system_ns", 2e9 - user)]
            {
                records.record("echo", "epoll", 0, figure, value).unwrap();
            }
            UserPerMessage.part(&records, "echo", "epoll")
        };
        let texts = [0.0, 10e6, 670e6, 1_230e6].map(|user| text(user).unwrap());
        assert_eq!(texts, ["< 10,000", "≈ 10,000", "≈ 700,000", "1,230,000"]);
        assert_eq!([0.034, 0.4, 1.0, 7.2, 96.0].map(rough), ["0.03", "0.4", "1", "7", "100"]);
    }

    #[test]
    fn pieces_are_compared_with_those_of_their_time() {
        let mut records = Records::default();
        // The machine is twice as fast in the second piece.
        for (peer, pieces) in [("us", [110.0, 220.0, 100.0]), ("them", [100.0, 200.0, 100.0])] {
            for messages in pieces {
                records.record("echo", peer, 0, "messages", messages).unwrap();
                records.record("echo", peer, 0, "seconds", 1.0).unwrap();
            }
        }
        let paired = MessagesPerSecond.paired(&records, "echo", "us", "them").unwrap();
        assert_eq!((paired.ratio, paired.rounds), (1.1, 1));
        let series = MessagesPerSecond.series(&records, "echo", "us");
        assert_eq!(series, Some(Series { median: 110.0, lowest: 110.0, highest: 110.0 }));
    }

    #[test]
    fn rounds_are_compared_with_themselves() {
        let mut records = Records::default();
        for (peer, round, ns) in
            [("us", 0, 10.0), ("us", 1, 20.0), ("us", 2, 1.0), ("them", 0, 20.0), ("them", 1, 30.0)]
        {
            records.record("post", peer, round, "ns", ns).unwrap();
        }
        let paired = Nanoseconds.paired(&records, "post", "us", "them");
        assert_eq!(
            paired,
            Some(Paired { ratio: 1.75, low: 1.5, high: 2.0, rounds: 2 }),
            "of the rounds that both have"
        );
        for (round, ns) in [(0, 30.0), (0, 50.0), (0, 10.0), (1, 40.0)] {
            records.record("post-remote", "us", round, "ns", ns).unwrap();
        }
        let divided = Nanoseconds.divided(&records, "us", "post-remote", "post");
        assert_eq!(divided, Some(Paired { ratio: 2.5, low: 2.0, high: 3.0, rounds: 2 }), "30 / 10 and 40 / 20");
        assert_eq!(Nanoseconds.paired(&records, "post", "us", "nobody"), None);
    }
}
