//! Every figure of every workload: one table each.

use super::figures::{Figure, TELLINGS, Telling, number};
use super::overview::ABSENT;
use super::{DETAILS, Section, View};
use crate::peers::{FLOOR, Peer};
use crate::records::{Lack, Note};
use crate::table::Table;
use crate::workloads::Workload;

pub fn sections(view: &View) -> Vec<Section> {
    TELLINGS.iter().filter_map(|telling| section(view, telling)).collect()
}

fn section(view: &View, telling: &Telling) -> Option<Section> {
    let tables: Vec<_> = view
        .of(telling.family)
        .iter()
        .map(|workload| {
            let (table, without) = (table(view, telling, workload), without(view, workload));
            format!("`{}`: {}\n\n{table}{without}", workload.name, workload.label)
        })
        .collect();
    let name = format!("{}{DETAILS}", telling.block);
    (!tables.is_empty()).then(|| Section {
        name,
        title: format!("{}: details", telling.title),
        text: tables.join("\n"),
    })
}

fn table(view: &View, telling: &Telling, workload: &Workload) -> String {
    let others: Vec<_> = telling.others.iter().filter(|figure| known(view, workload, **figure)).collect();
    let head = ["peer", telling.head.title(), "spread %", "× epoll"];
    let mut table = Table::new(1, head.into_iter().chain(others.iter().map(|figure| figure.title())));
    for peer in view.peers {
        if let Some(mut cells) = comparison(view, telling.head, workload, peer) {
            cells.extend(others.iter().map(|figure| median(view, **figure, workload, peer)));
            table.row(cells);
        } else if view.records.absent(&workload.name, peer.name) {
            table.row(std::iter::once(peer.title).chain(std::iter::repeat_n(ABSENT, 3 + others.len())));
        }
    }
    table.text()
}

/// Who has no counterpart, and why.
fn without(view: &View, workload: &Workload) -> String {
    let absent = |note: &&Note| note.workload == workload.name && note.lack == Lack::Absent;
    let told = |note: &Note| format!("- {}: {}\n", note.peer, note.why);
    let lines: Vec<_> = view.records.notes.iter().filter(absent).map(told).collect();
    if lines.is_empty() { String::new() } else { format!("\nNot measured:\n\n{}", lines.concat()) }
}

/// The peer, its figure, the figure's spread, and how much faster it is than the floor, round by round.
fn comparison(view: &View, figure: Figure, workload: &Workload, peer: &Peer) -> Option<Vec<String>> {
    let series = figure.series(view.records, &workload.name, peer.name)?;
    let floor = figure.paired(view.records, &workload.name, peer.name, FLOOR);
    let beside = floor.map_or(ABSENT.into(), |beside| format!("{:.2}", beside.ratio));
    Some(vec![peer.title.into(), number(series.median), format!("{:.1}", series.spread()), beside])
}

fn median(view: &View, figure: Figure, workload: &Workload, peer: &Peer) -> String {
    if figure.is_part() {
        return figure.part(view.records, &workload.name, peer.name).unwrap_or(ABSENT.into());
    }
    let series = figure.series(view.records, &workload.name, peer.name);
    series.map_or(ABSENT.into(), |series| number(series.median))
}

/// Whether any peer has it.
fn known(view: &View, workload: &Workload, figure: Figure) -> bool {
    view.peers.iter().any(|peer| figure.series(view.records, &workload.name, peer.name).is_some())
}
