//! Medians, spreads, and who is ahead.

/// One figure over the rounds of a run.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    pub median: f64,
    pub lowest: f64,
    pub highest: f64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Ahead,
    Level,
    Behind,
}

pub fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => None,
        length if length % 2 == 1 => Some(sorted[middle]),
        _ => Some((sorted[middle - 1] + sorted[middle]) / 2.0),
    }
}

impl Series {
    /// From the values of each round. The median is that of all values; a round's own value is the median of its own.
    pub fn new(rounds: &[Vec<f64>]) -> Option<Self> {
        let all: Vec<f64> = rounds.iter().flatten().copied().collect();
        let each: Vec<f64> = rounds.iter().filter_map(|values| median(values)).collect();
        Some(Self {
            median: median(&all)?,
            lowest: each.iter().copied().min_by(f64::total_cmp)?,
            highest: each.iter().copied().max_by(f64::total_cmp)?,
        })
    }

    /// From the lowest to the highest round, in per cent of the median.
    pub fn spread(&self) -> f64 {
        100.0 * (self.highest - self.lowest) / self.median
    }

    pub fn overlaps(&self, other: &Self) -> bool {
        self.lowest <= other.highest && other.lowest <= self.highest
    }

    /// How this one stands beside another. What lies within the spread of the two is no difference.
    pub fn beside(&self, other: &Self, more_is_better: bool) -> Verdict {
        if self.overlaps(other) {
            Verdict::Level
        } else if (self.median > other.median) == more_is_better {
            Verdict::Ahead
        } else {
            Verdict::Behind
        }
    }
}

impl Verdict {
    pub fn word(self) -> &'static str {
        match self {
            Self::Ahead => "ahead",
            Self::Level => "level",
            Self::Behind => "behind",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(values: &[f64]) -> Series {
        Series::new(&values.iter().map(|&value| vec![value]).collect::<Vec<_>>()).unwrap()
    }

    #[test]
    fn medians() {
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[3.0]), Some(3.0));
        assert_eq!(median(&[9.0, 1.0, 5.0]), Some(5.0));
        assert_eq!(median(&[4.0, 1.0, 2.0, 9.0]), Some(3.0));
    }

    #[test]
    fn a_series_of_repetitions() {
        let series = Series::new(&[vec![1.0, 2.0, 30.0], vec![3.0, 4.0, 5.0], vec![]]).unwrap();
        assert_eq!(series, Series { median: 3.5, lowest: 2.0, highest: 4.0 });
        assert_eq!(Series::new(&[]), None);
        assert_eq!(Series::new(&[vec![]]), None);
    }

    #[test]
    fn spread_is_of_the_median() {
        assert_eq!(series(&[90.0, 100.0, 115.0]).spread(), 25.0);
    }

    #[test]
    fn verdicts() {
        let (slow, middle, fast) = (series(&[1.0, 3.0]), series(&[2.0, 4.0]), series(&[5.0, 6.0]));
        assert_eq!(slow.beside(&middle, true), Verdict::Level);
        assert_eq!(fast.beside(&middle, true), Verdict::Ahead);
        assert_eq!(middle.beside(&fast, true), Verdict::Behind);
        assert_eq!(fast.beside(&middle, false), Verdict::Behind);
        assert_eq!(middle.beside(&fast, false), Verdict::Ahead);
        assert_eq!(series(&[4.0, 5.0]).beside(&middle, true), Verdict::Level);
    }
}
