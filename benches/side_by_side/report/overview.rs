//! One table for each family of workloads: peers by workloads.

use super::figures::{Figure, TELLINGS, Telling, number};
use super::{Section, View};
use crate::peers::Peer;
use crate::records::Lack;
use crate::table::Table;
use crate::workloads::{Family, Workload};

/// In the place of a figure, where the peer has no counterpart.
pub const ABSENT: &str = "–";

pub fn sections(view: &View) -> Vec<Section> {
    TELLINGS.iter().filter_map(|telling| section(view, telling)).chain(turns(view)).collect()
}

fn section(view: &View, telling: &Telling) -> Option<Section> {
    let workloads = view.of(telling.family);
    let mut table = Table::new(1, ["peer"].into_iter().chain(workloads.iter().map(|one| one.label.as_str())));
    for peer in view.peers {
        let cells: Vec<_> = workloads.iter().map(|workload| cell(view, telling, workload, peer)).collect();
        if cells.iter().any(|cell| !cell.is_empty()) {
            table.row([peer.title.to_string()].into_iter().chain(cells));
        }
    }
    let title = match telling.others {
        [] => telling.title.into(),
        _ => format!("{}, {}", telling.title, telling.head.title()),
    };
    let text = table.text() + &gaps(view, &workloads);
    (!table.is_empty()).then(|| Section { name: telling.block.into(), title, text })
}

/// How evenly a server lets the connections of large streams have their turns: what moves most may move one of them alone.
fn turns(view: &View) -> Option<Section> {
    let figures = [Figure::LongestWait, Figure::LeastShare];
    let columns: Vec<_> =
        view.of(Family::Stream).into_iter().flat_map(|one| figures.map(|figure| (one, figure))).collect();
    let title = |(workload, figure): &(&Workload, Figure)| format!("{}: {}", workload.label, figure.title());
    let mut table = Table::new(1, ["peer".to_string()].into_iter().chain(columns.iter().map(title)));
    for peer in view.peers {
        let series = |(workload, figure): &(&Workload, Figure)| figure.series(view.records, &workload.name, peer.name);
        let cells: Vec<_> = columns.iter().map(|column| series(column).map(|series| number(series.median))).collect();
        if cells.iter().any(Option::is_some) {
            table.row(
                [peer.title.to_string()].into_iter().chain(cells.into_iter().map(|cell| cell.unwrap_or(ABSENT.into()))),
            );
        }
    }
    let (name, title) = ("stream-turns".into(), "Stream: how evenly connections have their turns".into());
    (!table.is_empty()).then(|| Section { name, title, text: table.text() })
}

fn cell(view: &View, telling: &Telling, workload: &Workload, peer: &Peer) -> String {
    match telling.head.series(view.records, &workload.name, peer.name) {
        Some(series) => number(series.median),
        None if view.records.absent(&workload.name, peer.name) => ABSENT.into(),
        None => String::new(),
    }
}

/// What went wrong, so that nobody takes a gap or a round less for nothing.
pub fn gaps(view: &View, workloads: &[&Workload]) -> String {
    let told = |name: &str| workloads.iter().any(|workload| workload.name == name);
    let failed = view.records.notes.iter().filter(|note| note.lack == Lack::Failed && told(&note.workload));
    let lines: Vec<_> = failed
        .map(|note| format!("- {}, {}, round {}: {}\n", note.workload, note.peer, note.round + 1, note.why))
        .collect();
    if lines.is_empty() { String::new() } else { format!("\nMissing:\n\n{}", lines.concat()) }
}

impl View<'_> {
    /// The workloads of a family of which anything is known.
    pub fn of(&self, family: Family) -> Vec<&Workload> {
        let wanted = |workload: &&Workload| workload.family == family && self.records.has(&workload.name);
        self.workloads.iter().filter(wanted).collect()
    }
}
