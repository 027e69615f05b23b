//! Which plots there are.

use super::View;
use super::chart::{Bar, Line, Titles, bars, lines};
use super::figures::Figure;
use crate::counts::INSTRUCTIONS;
use crate::peers::Peer;
use crate::workloads::{COUNTS, Family, Workload};

pub struct Plot {
    /// Of its file.
    pub name: &'static str,
    pub svg: Result<String, String>,
}

/// A plot of lines: a figure over what the workloads of a family differ in.
struct Kind {
    name: &'static str,
    family: Family,
    /// Workloads whose names end otherwise are of another line.
    ending: &'static str,
    beginning: &'static str,
    figure: Figure,
    titles: Titles<'static>,
}

const KINDS: &[Kind] = &[
    Kind {
        name: "echo-by-connections",
        family: Family::Echo,
        beginning: "echo-",
        ending: "x64",
        figure: Figure::MessagesPerSecond,
        titles: Titles { chart: "Echo, 64 B", x: "connections", y: "messages/s" },
    },
    Kind {
        name: "cpu-by-idle",
        family: Family::Idle,
        beginning: "idle-",
        ending: "",
        figure: Figure::CpuPerMessage,
        titles: Titles {
            chart: "Echo, 64 active connections × 64 B",
            x: "idle connections",
            y: "server CPU ns/message",
        },
    },
    Kind {
        name: "timers-cancel",
        family: Family::TimersCancel,
        beginning: "timers-cancel-",
        ending: "",
        figure: Figure::Nanoseconds,
        titles: Titles { chart: "Timers started, and cancelled in that order", x: "timers", y: "CPU ns/timer" },
    },
    Kind {
        name: "timers-shuffle",
        family: Family::TimersShuffle,
        beginning: "timers-shuffle-",
        ending: "",
        figure: Figure::Nanoseconds,
        titles: Titles { chart: "Timers started, and cancelled in another order", x: "timers", y: "CPU ns/timer" },
    },
    Kind {
        name: "timers-fire",
        family: Family::TimersFire,
        beginning: "timers-fire-",
        ending: "",
        figure: Figure::Nanoseconds,
        titles: Titles { chart: "Timers started and fired", x: "timers", y: "CPU ns/timer" },
    },
    Kind {
        name: "pipes-by-pairs",
        family: Family::Pipes,
        beginning: "pipes-100-of-",
        ending: "",
        figure: Figure::Nanoseconds,
        titles: Titles { chart: "Pipes, 100 active", x: "pairs", y: "ns/byte" },
    },
];

/// Those for which there are figures.
pub fn all(view: &View) -> Vec<Plot> {
    KINDS.iter().filter_map(|kind| over(view, kind)).chain(instructions(view)).collect()
}

fn over(view: &View, kind: &Kind) -> Option<Plot> {
    let wanted = |one: &&Workload| one.name.starts_with(kind.beginning) && one.name.ends_with(kind.ending);
    let workloads: Vec<_> = view.of(kind.family).into_iter().filter(wanted).collect();
    let mut all = Vec::new();
    for &peer in view.peers {
        let point = |workload: &&Workload| {
            let series = kind.figure.series(view.records, &workload.name, peer.name)?;
            Some((workload.at, series.median))
        };
        let points: Vec<_> = workloads.iter().filter_map(point).collect();
        if !points.is_empty() {
            all.push(Line { peer, points });
        }
    }
    (!all.is_empty()).then(|| Plot { name: kind.name, svg: lines(&kind.titles, &all) })
}

fn instructions(view: &View) -> Option<Plot> {
    let bar = |peer: &&'static Peer| Some(Bar { peer, value: view.records.single(COUNTS, peer.name, INSTRUCTIONS)? });
    let all: Vec<_> = view.peers.iter().filter_map(bar).collect();
    let svg = || bars("Echo, 16 connections × 64 B", "user instructions/message", &all);
    (!all.is_empty()).then(|| Plot { name: "instructions", svg: svg() })
}
