//! `--check`: what a message may cost, guarded in every run of the continuous integration.

use crate::counts::{ALLOCATIONS, INSTRUCTIONS, SYSTEM_CALLS};
use crate::peers::{FLOOR, LAYERS};
use crate::records::Records;
use crate::table::Table;
use crate::workloads::COUNTS;

/// What was counted, and what may be added: another compiler, or another machine, may count a little more. Where the price
/// has a gate that is kept, nothing beyond that.
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
    limit("session", INSTRUCTIONS, 232.0, 5.0),
    limit("operation", INSTRUCTIONS, 558.0, 6.0),
    limit("readiness", INSTRUCTIONS, 149.0, 1.0),
    limit("session", ALLOCATIONS, 0.0, 0.005),
    limit("operation", ALLOCATIONS, 0.0, 0.005),
    limit("readiness", ALLOCATIONS, 0.0, 0.005),
];

/// System calls are compared with those of the floor in the same run: each layer does what must be done, and a little.
pub const SYSTEM_CALLS_ABOVE_FLOOR: f64 = 0.05;

pub struct Checked {
    pub table: String,
    /// How many counts are above their limits, and how many are missing.
    pub exceeded: usize,
    pub uncounted: usize,
}

pub fn check(records: &Records) -> Checked {
    let mut table = Table::new(2, ["layer", "per message", "counted", "limit", "kept"]);
    let (mut exceeded, mut uncounted) = (0, 0);
    for (layer, figure, limit) in limits(records) {
        let count = records.single(COUNTS, layer, figure);
        let kept = match count.zip(limit) {
            Some((count, limit)) if count <= limit => "yes",
            Some(_) => {
                exceeded += 1;
                "NO"
            }
            None => {
                uncounted += 1;
                "not counted"
            }
        };
        let number = |value: Option<f64>| value.map_or("–".into(), |value| format!("{value:.3}"));
        let words = [layer.into(), figure.replace('_', " "), number(count), number(limit)];
        table.row(words.into_iter().chain([kept.into()]));
    }
    Checked { table: table.text(), exceeded, uncounted }
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
        let exceeded = |session, system_calls| {
            let checked = check(&counted(session, system_calls));
            (checked.exceeded, checked.uncounted)
        };
        assert_eq!(exceeded(LIMITS[0].counted, 2.1), (0, 0));
        assert_eq!(exceeded(LIMITS[0].counted + LIMITS[0].tolerance + 1.0, 2.1), (1, 0));
        assert_eq!(exceeded(LIMITS[0].counted, 2.12), (LAYERS.len(), 0));
    }

    #[test]
    fn what_was_not_counted_is_told() {
        let checked = check(&Records::default());
        assert_eq!((checked.exceeded, checked.uncounted), (0, LIMITS.len() + LAYERS.len()));
    }
}
