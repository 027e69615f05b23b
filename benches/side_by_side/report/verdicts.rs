//! ioctx beside the best peer of each workload: the one that it stands worst beside, round by round.

use super::figures::{Figure, TELLINGS, Telling, number};
use super::overview::ABSENT;
use super::{Section, View};
use crate::peers::{LAYERS, Peer, Role, SESSION, peer};
use crate::statistics::{Paired, Series};
use crate::table::Table;
use crate::workloads::{Family, Workload};

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
    /// The 99th percentile of the latency, the best peer's and ours.
    fn p99(&self, view: &View) -> Option<(Series, Series)> {
        let of = |peer: &Peer| Figure::P99.series(view.records, &self.workload.name, peer.name);
        of(self.best).zip(of(self.ours))
    }

    /// The same, round by round.
    pub fn tail(&self, view: &View) -> Option<Paired> {
        Figure::P99.paired(view.records, &self.workload.name, self.ours.name, self.best.name)
    }
}

impl Telling {
    /// The processor time that a library's server needs, divided by ours, round by round, beside the library that ours
    /// stands worst beside. More than 1: ours needs less than all.
    fn cpu(&self, view: &View, pair: &Pair) -> Option<Paired> {
        let figure = self.others.iter().copied().find(|figure| figure.is_cpu())?;
        let libraries = view.peers.iter().copied().filter(|peer| peer.role == Role::Library);
        let beside = |peer: &Peer| figure.paired(view.records, &pair.workload.name, pair.ours.name, peer.name);
        libraries.filter_map(beside).min_by(|one, other| one.ratio.total_cmp(&other.ratio))
    }
}

pub fn section(view: &View) -> Option<Section> {
    let head = [
        "workload",
        "best peer",
        "ours",
        "verdict",
        "best",
        "ours",
        "ratio",
        "between",
        "p99 µs best",
        "p99 µs ours",
        "CPU",
    ];
    let mut table = Table::new(4, head);
    let pairs_told = |telling: &'static Telling| pairs(view, telling).into_iter().map(move |pair| (telling, pair));
    // Where only ours spin there is nothing to judge.
    let judged = TELLINGS.iter().filter(|telling| telling.family != Family::Awake);
    for (telling, pair) in judged.flat_map(pairs_told) {
        let (best_p99, our_p99) = pair
            .p99(view)
            .map_or((ABSENT.into(), ABSENT.into()), |(best, ours)| (number(best.median), number(ours.median)));
        table.row([
            format!("{} ({})", pair.workload.name, pair.figure.title()),
            pair.best.title.into(),
            pair.ours.name.into(),
            pair.paired.verdict().word().into(),
            number(pair.best_series.median),
            number(pair.our_series.median),
            format!("{:.2}", pair.paired.ratio),
            between(&pair.paired),
            best_p99,
            our_p99,
            telling.cpu(view, &pair).map_or(ABSENT.into(), |cpu| format!("{:.2} ({})", cpu.ratio, between(&cpu))),
        ]);
    }
    let (name, title) = ("verdicts".into(), "ioctx session beside the best peer".into());
    (!table.is_empty()).then(|| Section { name, title, text: table.text() })
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
    let of = |peer: &'static Peer| Some((peer, figure.series(view.records, &workload.name, peer.name)?));
    let libraries = view.peers.iter().copied().filter(|peer| peer.role == Role::Library);
    let beside = |other: &'static Peer| Some((other, figure.paired(view.records, &workload.name, layer, other.name)?));
    let (best, paired) = libraries.filter_map(beside).min_by(|one, other| one.1.ratio.total_cmp(&other.1.ratio))?;
    let ((best, best_series), (ours, our_series)) = (of(best)?, of(peer(layer)?)?);
    Some(Pair { workload, figure, best, ours, best_series, our_series, paired })
}
