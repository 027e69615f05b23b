//! Axes: linear from zero, or logarithmic where the range asks for it; with ticks at round numbers.

use crate::workloads::thousands;
use plotters::coord::ranged1d::{KeyPointHint, NoDefaultFormatting, Ranged, ValueFormatter};
use std::ops::Range;

pub struct Axis {
    logarithmic: bool,
    low: f64,
    high: f64,
    ticks: Vec<f64>,
}

/// From the lowest to the highest, as a factor: above it, small values could not be told apart on a linear axis.
const WIDE: f64 = 12.0;

/// So many intervals between ticks, about.
const INTERVALS: f64 = 6.0;

impl Axis {
    /// For these values. Zero among them makes the axis linear.
    pub fn new(values: &[f64]) -> Self {
        let lowest = values.iter().copied().fold(f64::INFINITY, f64::min);
        let highest = values.iter().copied().fold(0.0, f64::max);
        if lowest > 0.0 && highest / lowest > WIDE { Self::logarithmic(lowest, highest) } else { Self::linear(highest) }
    }

    fn linear(highest: f64) -> Self {
        let step = round_step(highest.max(f64::MIN_POSITIVE) / INTERVALS);
        let count = (highest / step).ceil().max(1.0);
        let ticks = (0..=count as usize).map(|number| number as f64 * step).collect();
        Self { logarithmic: false, low: 0.0, high: count * step, ticks }
    }

    fn logarithmic(lowest: f64, highest: f64) -> Self {
        let (low, high) = (lowest / 1.15, highest * 1.15);
        // Few decades have room for more than their beginnings.
        let between: &[f64] = if high / low < 1_000.0 { &[1.0, 2.0, 5.0] } else { &[1.0] };
        let decades = low.log10().floor() as i32..=high.log10().ceil() as i32;
        let all = decades.flat_map(|decade| between.iter().map(move |factor| factor * 10f64.powi(decade)));
        let ticks = all.filter(|tick| (low..=high).contains(tick)).collect();
        Self { logarithmic: true, low, high, ticks }
    }

    /// How far a value is along the axis, of 1.
    fn place(&self, value: f64) -> f64 {
        match self.logarithmic {
            true => (value / self.low).ln() / (self.high / self.low).ln(),
            false => (value - self.low) / (self.high - self.low),
        }
    }
}

impl Ranged for Axis {
    type FormatOption = NoDefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, limit: (i32, i32)) -> i32 {
        limit.0 + (f64::from(limit.1 - limit.0) * self.place(*value)).round() as i32
    }

    fn key_points<Hint: KeyPointHint>(&self, _hint: Hint) -> Vec<f64> {
        self.ticks.clone()
    }

    fn range(&self) -> Range<f64> {
        self.low..self.high
    }
}

impl ValueFormatter<f64> for Axis {
    fn format(value: &f64) -> String {
        match *value {
            whole if (whole - whole.round()).abs() < 1e-6 * whole.max(1.0) => thousands(whole.round() as usize),
            part => format!("{part:.3}").trim_end_matches('0').trim_end_matches('.').into(),
        }
    }
}

/// The next number that is 1, 2 or 5 times a power of ten.
fn round_step(least: f64) -> f64 {
    let power = 10f64.powf(least.log10().floor());
    [1.0, 2.0, 5.0].into_iter().map(|factor| factor * power).find(|step| *step >= least).unwrap_or(10.0 * power)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(axis: &Axis) -> Vec<String> {
        axis.ticks.iter().map(Axis::format).collect()
    }

    #[test]
    fn a_narrow_range_begins_at_zero() {
        let axis = Axis::new(&[31_000.0, 104_000.0]);
        assert_eq!((axis.low, axis.high), (0.0, 120_000.0));
        assert_eq!(labels(&axis)[..3], ["0", "20,000", "40,000"]);
        assert_eq!(labels(&Axis::new(&[0.0, 1.3]))[1], "0.5");
    }

    #[test]
    fn a_wide_range_is_logarithmic() {
        let axis = Axis::new(&[1.0, 16.0, 1_000.0]);
        assert_eq!(labels(&axis), ["1", "10", "100", "1,000"]);
        assert_eq!(labels(&Axis::new(&[20.0, 900.0])), ["20", "50", "100", "200", "500", "1,000"]);
        assert!(axis.place(1.0) > 0.0 && axis.place(1_000.0) < 1.0);
    }

    #[test]
    fn nothing_is_no_reason_to_panic() {
        assert!(!Axis::new(&[]).ticks.is_empty());
        assert!(!Axis::new(&[0.0]).ticks.is_empty());
    }
}
