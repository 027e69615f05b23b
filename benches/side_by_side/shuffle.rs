//! Another order each time, and the same ones in every run.

/// A generator of Marsaglia's xorshift kind (*Xorshift RNGs*, 2003).
pub struct Shuffle {
    /// Never 0.
    state: u64,
}

impl Shuffle {
    pub fn new() -> Self {
        Self { state: 0x9e37_79b9_7f4a_7c15 }
    }

    /// Fisher and Yates: every order is as likely as any other.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last + 1));
        }
    }

    fn below(&mut self, limit: usize) -> usize {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        (self.state % limit as u64) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_item_comes_to_every_place() {
        let mut shuffle = Shuffle::new();
        let mut items: Vec<usize> = (0..10).collect();
        let mut seen = [[false; 10]; 10];
        for _ in 0..1_000 {
            shuffle.shuffle(&mut items);
            items.iter().enumerate().for_each(|(place, &item)| seen[place][item] = true);
        }
        assert!(seen.iter().flatten().all(|seen| *seen));
    }
}
