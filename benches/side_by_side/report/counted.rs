//! What is counted, and what idle connections cost.

use super::figures::{Figure, number};
use super::overview::{ABSENT, gaps};
use super::verdicts::with_interval;
use super::{Section, View};
use crate::counts::{ALLOCATIONS, BESIDE_IDLE, INSTRUCTIONS, SYSTEM_CALLS};
use crate::peers::SESSION;
use crate::records::Records;
use crate::statistics::Paired;
use crate::table::Table;
use crate::workloads::{COUNTS, Family, IDLE_MEMORY, MANY_IDLE, WAKE_UPS, Workload, thousands};

type Column<'a> = (&'a str, &'a dyn Fn(&str) -> Option<f64>);

pub fn sections(view: &View) -> Vec<Section> {
    [counts(view), growth(view), slower(view), idle(view)].into_iter().flatten().collect()
}

fn counts(view: &View) -> Option<Section> {
    let of = |figure: &'static str| move |peer: &str| view.records.single(COUNTS, peer, figure);
    let (instructions, system_calls, allocations) = (of(INSTRUCTIONS), of(SYSTEM_CALLS), of(ALLOCATIONS));
    let columns: [Column; 3] =
        [("user instructions", &instructions), ("system calls", &system_calls), ("allocations", &allocations)];
    let title = "Counted for each echoed message, 16 × 64 B";
    section(view, "counts", title, &columns, &[COUNTS])
}

/// What idle connections cost those that are busy.
fn growth(view: &View) -> Option<Section> {
    let mut table = Table::new(1, ["idle connections beside them", "user instructions"]);
    for (idle, figure) in [(0, INSTRUCTIONS)].into_iter().chain(BESIDE_IDLE) {
        let count = view.records.single(COUNTS, SESSION, figure)?;
        table.row([thousands(idle), format!("{count:.1}")]);
    }
    let title = "Counted for each message that a session echoes, beside idle connections".into();
    Some(Section { name: "growth".into(), title, text: table.text() })
}

/// What they cost in time: beside how the same server did, in the same round, with the fewest.
fn slower(view: &View) -> Option<Section> {
    let workloads = view.of(Family::Idle);
    let (fewest, more) = workloads.split_first()?;
    let mut table = Table::new(1, ["peer"].into_iter().chain(more.iter().map(|one| one.label.as_str())));
    for peer in view.peers {
        let divided = |one: &&Workload| Figure::CpuPerMessage.divided(view.records, peer.name, &one.name, &fewest.name);
        let grown: Vec<_> = more.iter().map(divided).collect();
        if grown.iter().any(Option::is_some) {
            let cell = |grown: Option<Paired>| grown.map_or(ABSENT.into(), |grown| with_interval(&grown));
            table.row([peer.title.to_string()].into_iter().chain(grown.into_iter().map(cell)));
        }
    }
    let title = format!("Processor time of a message, divided by that beside {}", fewest.label);
    let text = table.text() + &gaps(view, &workloads);
    (!table.is_empty()).then(|| Section { name: "idle-growth".into(), title, text })
}

fn idle(view: &View) -> Option<Section> {
    let memory = |peer: &str| memory_per_connection(view.records, peer);
    let wake_ups = |peer: &str| view.records.single(WAKE_UPS, peer, "wakeups");
    let columns: [Column; 2] = [("KiB for each connection", &memory), ("wake-ups in 10 s", &wake_ups)];
    let title = format!("Idle connections: memory of {}, wake-ups with 2,000", thousands(MANY_IDLE));
    section(view, "idle-cost", &title, &columns, &[IDLE_MEMORY, WAKE_UPS])
}

/// What the server's resident memory grew by for each connection, in KiB.
pub fn memory_per_connection(records: &Records, peer: &str) -> Option<f64> {
    let at = |figure| records.single(IDLE_MEMORY, peer, figure);
    Some((at("rss_open_kib")? - at("rss_before_kib")?) / MANY_IDLE as f64)
}

fn section(view: &View, name: &str, title: &str, columns: &[Column], workloads: &[&str]) -> Option<Section> {
    let mut table = Table::new(1, ["peer"].into_iter().chain(columns.iter().map(|(title, _)| *title)));
    for peer in view.peers {
        let values: Vec<_> = columns.iter().map(|(_, figure)| figure(peer.name)).collect();
        if values.iter().any(Option::is_some) {
            let cells = values.into_iter().map(|value| value.map_or(ABSENT.into(), number));
            table.row(std::iter::once(peer.title.to_string()).chain(cells));
        }
    }
    let known: Vec<_> = view.workloads.iter().filter(|one| workloads.contains(&one.name.as_str())).collect();
    let text = table.text() + &gaps(view, &known);
    (!table.is_empty()).then(|| Section { name: name.into(), title: title.into(), text })
}
