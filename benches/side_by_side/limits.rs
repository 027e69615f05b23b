//! `--check`: what a message may cost, guarded in every run of the continuous integration.

use crate::counts::{ALLOCATIONS, INSTRUCTIONS, SYSTEM_CALLS};
use crate::peers::{FLOOR, LAYERS};
use crate::records::Records;
use crate::table::Table;
use crate::workloads::COUNTS;

/// What was counted on a calm machine, and what may be added: on a busy one fewer messages wait when the server wakes
/// up, and each pays a larger share of the turn.
pub struct Limit {
    layer: &'static str,
    figure: &'static str,
    counted: f64,
    tolerance: f64,
}

const fn limit(layer: &'static str, figure: &'static str, counted: f64, tolerance: f64) -> Limit {
    Limit { layer, figure, counted, tolerance }
}

const LIMITS: &[Limit] = &[
    limit("session", INSTRUCTIONS, 239.0, 12.5),
    limit("operation", INSTRUCTIONS, 868.0, 44.0),
    limit("readiness", INSTRUCTIONS, 217.0, 11.3),
    limit("session", ALLOCATIONS, 0.0, 0.01),
    limit("operation", ALLOCATIONS, 0.0, 0.01),
    limit("readiness", ALLOCATIONS, 0.0, 0.01),
];

/// System calls are compared with those of the floor in the same run: each layer does what must be done, and a little.
pub const SYSTEM_CALLS_ABOVE_FLOOR: f64 = 0.05;

pub struct Checked {
    pub table: String,
    /// Each limit was kept. A count that is missing is not.
    pub kept: bool,
}

pub fn check(records: &Records) -> Checked {
    let mut table = Table::new(2, ["layer", "per message", "counted", "limit", "kept"]);
    let mut kept = true;
    for (layer, figure, limit) in limits(records) {
        let count = records.single(COUNTS, layer, figure);
        let fits = count.zip(limit).is_some_and(|(count, limit)| count <= limit);
        kept &= fits;
        let number = |value: Option<f64>| value.map_or("–".into(), |value| format!("{value:.2}"));
        let words = [layer.into(), figure.replace('_', " "), number(count), number(limit)];
        table.row(words.into_iter().chain([if fits { "yes".into() } else { "NO".into() }]));
    }
    Checked { table: table.text(), kept }
}

fn limits(records: &Records) -> Vec<(&'static str, &'static str, Option<f64>)> {
    let floor = records.single(COUNTS, FLOOR, SYSTEM_CALLS);
    let fixed = LIMITS.iter().map(|limit| (limit.layer, limit.figure, Some(limit.counted + limit.tolerance)));
    let relative = LAYERS.map(|layer| (layer, SYSTEM_CALLS, floor.map(|floor| floor + SYSTEM_CALLS_ABOVE_FLOOR)));
    fixed.chain(relative).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(session: f64, system_calls: f64) -> Records {
        let mut records = Records::default();
        let mut add = |peer: &str, figure: &str, value| records.record(COUNTS, peer, 0, figure, value).unwrap();
        for limit in LIMITS {
            add(limit.layer, limit.figure, limit.counted);
        }
        for layer in LAYERS {
            add(layer, SYSTEM_CALLS, system_calls);
        }
        add("session", INSTRUCTIONS, session);
        add(FLOOR, SYSTEM_CALLS, 2.06);
        records
    }

    #[test]
    fn what_is_within_its_limit_is_kept() {
        assert!(check(&counted(LIMITS[0].counted, 2.1)).kept);
        assert!(!check(&counted(LIMITS[0].counted + LIMITS[0].tolerance + 1.0, 2.1)).kept);
        assert!(!check(&counted(LIMITS[0].counted, 2.12)).kept);
    }

    #[test]
    fn what_was_not_counted_is_not_kept() {
        assert!(!check(&Records::default()).kept);
    }
}
