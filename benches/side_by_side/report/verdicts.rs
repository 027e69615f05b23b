//! ioctx beside the best peer of each workload: the one that it stands worst beside, round by round, and one that is surely
//! ahead before one that only may be.

use super::figures::{Figure, TELLINGS, Telling, number};
use super::overview::ABSENT;
use super::{DETAILS, Section, View};
use crate::peers::{LAYERS, Peer, Role, SESSION, peer};
use crate::statistics::{Paired, Series};
use crate::table::Table;
use crate::workloads::{Family, Workload};
use std::cmp::Ordering::Equal;

/// One workload: the best peer, and the layer of ours that is judged.
pub struct Pair<'a> {
    pub workload: &'a Workload,
    pub figure: Figure,
    pub best: &'static Peer,
    pub ours: &'static Peer,
    pub best_series: Series,
    pub our_series: Series,
    /// Ours beside the best, round by round.
    pub paired: Paired,
}

impl Pair<'_> {
    /// The row of a table.
    fn told(&self) -> [String; HEAD.len()] {
        [
            format!("{} ({})", self.workload.name, self.figure.title()),
            self.best.title.into(),
            self.ours.name.into(),
            self.paired.verdict().word().into(),
            number(self.best_series.median),
            number(self.our_series.median),
            format!("{:.2}", self.paired.ratio),
            between(&self.paired),
            self.paired.rounds.to_string(),
        ]
    }

    /// How ours stands beside each library, round by round.
    pub fn beside_each(&self, view: &View) -> impl Iterator<Item = Paired> {
        beside_each(view, self.figure, &self.workload.name, self.ours.name).map(|(_, paired)| paired)
    }

    /// The 99th percentile of the latency, beside the library that ours stands worst beside in that.
    pub fn tail(&self, view: &View) -> Option<(&'static Peer, Paired)> {
        worst_beside(view, Figure::P99, &self.workload.name, self.ours.name)
    }

    /// The same as two cells: of which library, and how long; and ours.
    fn tails_told(&self, view: &View) -> Option<[String; 2]> {
        let (best, _) = self.tail(view)?;
        let of = |peer: &Peer| Figure::P99.series(view.records, &self.workload.name, peer.name);
        Some([format!("{}: {}", best.title, number(of(best)?.median)), number(of(self.ours)?.median)])
    }
}

fn beside_each(
    view: &View,
    figure: Figure,
    workload: &str,
    layer: &str,
) -> impl Iterator<Item = (&'static Peer, Paired)> {
    let libraries = view.peers.iter().copied().filter(|peer| peer.role == Role::Library);
    libraries.filter_map(move |peer| Some((peer, figure.paired(view.records, workload, layer, peer.name)?)))
}

/// The library beside which a layer stands worst, one that is surely ahead of it first.
fn worst_beside(view: &View, figure: Figure, workload: &str, layer: &str) -> Option<(&'static Peer, Paired)> {
    let rank = |(_, paired): &(_, Paired)| (paired.high >= 1.0, paired.ratio);
    let each = beside_each(view, figure, workload, layer);
    each.min_by(|one, other| rank(one).partial_cmp(&rank(other)).unwrap_or(Equal))
}

impl Telling {
    /// The library beside which ours stands worst in the processor time of a message, or of a KiB; more than 1: ours needs
    /// less than all.
    fn cpu(&self, view: &View, pair: &Pair) -> Option<(&'static Peer, Paired)> {
        let figure = self.others.iter().copied().find(|figure| figure.is_cpu())?;
        worst_beside(view, figure, &pair.workload.name, pair.ours.name)
    }
}

pub fn sections(view: &View) -> Vec<Section> {
    [judged(view), others(view)].into_iter().flatten().collect()
}

/// What both tables tell of a pair.
const HEAD: [&str; 9] = ["workload", "best peer", "ours", "verdict", "best", "ours", "ratio", "between", "rounds"];

/// Sessions, and the layers that stand for them where they have no part.
fn judged(view: &View) -> Option<Section> {
    let mut table = Table::new(4, HEAD.into_iter().chain(["p99 µs best", "p99 µs ours", "CPU"]));
    let pairs_told = |telling: &'static Telling| pairs(view, telling).into_iter().map(move |pair| (telling, pair));
    for (telling, pair) in compared().flat_map(pairs_told) {
        let p99 = pair.tails_told(view).unwrap_or([ABSENT; 2].map(Into::into));
        let cpu = telling.cpu(view, &pair);
        let cpu = cpu.map_or(ABSENT.into(), |(peer, cpu)| format!("{}: {}", peer.title, with_interval(&cpu)));
        table.row(pair.told().into_iter().chain(p99).chain([cpu]));
    }
    let (name, title) = ("verdicts".into(), "ioctx session beside the best peer".into());
    (!table.is_empty()).then(|| Section { name, title, text: table.text() })
}

/// The other layers, where sessions are judged.
fn others(view: &View) -> Option<Section> {
    let mut table = Table::new(4, HEAD);
    for telling in compared() {
        for workload in view.of(telling.family) {
            let pair = |layer| pair(view, telling, workload, layer);
            if pair(SESSION).is_some() {
                let others = LAYERS.into_iter().filter(|&layer| layer != SESSION);
                others.filter_map(pair).for_each(|pair| table.row(pair.told()));
            }
        }
    }
    let (name, title) = (format!("verdicts{DETAILS}"), "ioctx operation and readiness beside the best peer".into());
    (!table.is_empty()).then(|| Section { name, title, text: table.text() })
}

/// Where ours are told to sleep at once, which they do not by default, there is nothing to judge.
pub fn compared() -> impl Iterator<Item = &'static Telling> {
    TELLINGS.iter().filter(|telling| telling.family != Family::Asleep)
}

pub fn with_interval(paired: &Paired) -> String {
    format!("{:.2} ({})", paired.ratio, between(paired))
}

fn between(paired: &Paired) -> String {
    format!("{:.2} – {:.2}", paired.low, paired.high)
}

pub fn pairs<'a>(view: &'a View, telling: &Telling) -> Vec<Pair<'a>> {
    view.of(telling.family).into_iter().flat_map(|workload| pairs_of(view, telling, workload)).collect()
}

/// Sessions are judged. Where they have no part, each layer that has one is.
fn pairs_of<'a>(view: &View, telling: &Telling, workload: &'a Workload) -> Vec<Pair<'a>> {
    let pair = |layer| pair(view, telling, workload, layer);
    match pair(SESSION) {
        Some(pair) => vec![pair],
        None => LAYERS.into_iter().filter_map(pair).collect(),
    }
}

fn pair<'a>(view: &View, telling: &Telling, workload: &'a Workload, layer: &str) -> Option<Pair<'a>> {
    let figure = telling.head;
    let series = |peer: &Peer| figure.series(view.records, &workload.name, peer.name);
    let (best, paired) = worst_beside(view, figure, &workload.name, layer)?;
    let ours = peer(layer)?;
    Some(Pair { workload, figure, best, ours, best_series: series(best)?, our_series: series(ours)?, paired })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peers::PEERS;
    use crate::records::Records;

    #[test]
    fn who_is_surely_ahead_comes_before_who_only_may_be_further() {
        let mut records = Records::default();
        for (peer, rounds) in [("session", [100.0, 100.0]), ("libuv", [150.0, 90.0]), ("asio", [104.0, 106.0])] {
            for (round, ns) in rounds.into_iter().enumerate() {
                records.record("post", peer, round as u32, "ns", 1e4 / ns).unwrap();
            }
        }
        let peers: Vec<_> = PEERS.iter().collect();
        let view = View { records: &records, peers: &peers, workloads: &[] };
        let beside = |name: &str| Figure::Nanoseconds.paired(&records, "post", SESSION, name).unwrap();
        assert!(beside("libuv").ratio < beside("asio").ratio, "the median is lower");
        let (worst, paired) = worst_beside(&view, Figure::Nanoseconds, "post", SESSION).unwrap();
        assert_eq!((worst.name, paired), ("asio", beside("asio")));
    }
}
