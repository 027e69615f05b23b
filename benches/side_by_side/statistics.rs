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
    /// Each does at least nine tenths of what the other does.
    Level,
    Behind,
    /// The rounds differ by too much to tell, or are too few.
    Open,
    /// It looks so, in too few rounds to tell.
    MaybeAhead,
    MaybeBehind,
}

/// Two are level when each does at least this part of what the other does.
const LEVEL: f64 = 0.9;

/// Of fewer rounds all agree by luck more often than once in a hundred times.
pub const ENOUGH: usize = 8;

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
}

/// Two beside each other, compared within each round: what changes from one round to the next meets both.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Paired {
    /// The median of the rounds' ratios.
    pub ratio: f64,
    /// Where the median of ever more rounds would lie, in 99 of 100 runs; with fewer than eight rounds, where all of
    /// them lie.
    pub low: f64,
    pub high: f64,
    pub rounds: usize,
}

impl Paired {
    /// From the ratio of each round. More than 1 is better.
    pub fn new(ratios: &[f64]) -> Option<Self> {
        let mut sorted = ratios.to_vec();
        sorted.sort_by(f64::total_cmp);
        let left_out = left_out(sorted.len());
        let (low, high) = (*sorted.get(left_out)?, *sorted.get(sorted.len() - 1 - left_out)?);
        Some(Self { ratio: median(&sorted)?, low, high, rounds: sorted.len() })
    }

    pub fn verdict(&self) -> Verdict {
        match self.rounds < ENOUGH {
            false if self.low > 1.0 => Verdict::Ahead,
            false if self.high < 1.0 => Verdict::Behind,
            true if self.low > 1.0 => Verdict::MaybeAhead,
            true if self.high < 1.0 => Verdict::MaybeBehind,
            false if self.low >= LEVEL && self.high <= 1.0 / LEVEL => Verdict::Level,
            _ => Verdict::Open,
        }
    }
}

/// How many of so many values can be left out at either end, and the true median is still between the others in 99 of
/// 100 runs: each value is above it or below, as a coin falls.
fn left_out(count: usize) -> usize {
    let mut exactly = 0.5_f64.powi(i32::try_from(count).unwrap_or(i32::MAX)); // So many are below: none at first.
    let mut at_most = exactly;
    let mut rank = 0;
    while at_most <= 0.005 {
        rank += 1;
        exactly *= (count - rank + 1) as f64 / rank as f64;
        at_most += exactly;
    }
    usize::saturating_sub(rank, 1)
}

impl Verdict {
    pub fn word(self) -> &'static str {
        match self {
            Self::Ahead => "ahead",
            Self::Level => "level",
            Self::Behind => "behind",
            Self::Open => "open",
            Self::MaybeAhead => "ahead?",
            Self::MaybeBehind => "behind?",
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
    fn few_rounds_lie_in_their_whole_range() {
        assert_eq!(Paired::new(&[1.5, 0.5, 1.0]), Some(Paired { ratio: 1.0, low: 0.5, high: 1.5, rounds: 3 }));
        assert_eq!(Paired::new(&[]), None);
        assert_eq!([1, 2, 7].map(left_out), [0, 0, 0]);
    }

    /// From tables of the binomial distribution: the ranks of the 99 % interval of a median.
    #[test]
    fn many_rounds_leave_out_what_is_far_away() {
        assert_eq!([8, 10, 12, 20, 30, 50].map(left_out), [1, 1, 2, 4, 8, 16].map(|rank| rank - 1));
    }

    #[test]
    fn verdicts() {
        let verdict = |ratios: &[f64]| Paired::new(ratios).unwrap().verdict();
        assert_eq!([verdict(&[0.9, 1.1, 1.2]), verdict(&[1.0; 3])], [Verdict::Open; 2]);
        assert_eq!(verdict(&[0.95, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.1]), Verdict::Level);
        assert_eq!(verdict(&[0.95, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.2]), Verdict::Open);
        assert_eq!(verdict(&[0.85, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0]), Verdict::Open);
        assert_eq!(verdict(&[1.01, 1.1, 1.2]), Verdict::MaybeAhead);
        assert_eq!(verdict(&[0.7, 0.8, 0.99]), Verdict::MaybeBehind);
        assert_eq!([verdict(&[1.01; 7]), verdict(&[1.01; 8])], [Verdict::MaybeAhead, Verdict::Ahead]);
        assert_eq!(verdict(&[0.9; 8]), Verdict::Behind);
        let mut many = vec![1.1; 29];
        many.push(0.1);
        assert_eq!(verdict(&many), Verdict::Ahead, "one round in thirty is no matter");
    }
}
