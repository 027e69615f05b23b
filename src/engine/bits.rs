//! A set of small numbers, one bit for each: so that a few are found without a look at the many beside them.

use std::iter;

#[derive(Debug)]
pub(super) struct Bits(Vec<u64>);

const BITS: u32 = u64::BITS;

impl Bits {
    pub(super) const fn new() -> Self {
        Bits(Vec::new())
    }

    #[inline(always)]
    pub(super) fn insert(&mut self, number: u32) {
        let (index, bit) = place(number);
        if index >= self.0.len() {
            self.grow(index);
        }
        if let Some(word) = self.0.get_mut(index) {
            *word |= bit;
        }
    }

    #[cold]
    #[inline(never)]
    fn grow(&mut self, index: usize) {
        self.0.resize(index + 1, 0);
    }

    #[inline(always)]
    pub(super) fn remove(&mut self, number: u32) {
        let (index, bit) = place(number);
        if let Some(word) = self.0.get_mut(index) {
            *word &= !bit;
        }
    }

    /// In order.
    pub(super) fn iter(&self) -> impl Iterator<Item = u32> {
        (0..).zip(&self.0).flat_map(|(index, word)| ones(*word).map(move |bit| index * BITS + bit))
    }

    /// In how many words they are, all of which are gone through to find them.
    #[inline]
    pub(super) fn words(&self) -> usize {
        self.0.len()
    }

    /// Gives back the memory for numbers from `end` on, none of which is in the set.
    pub(super) fn shrink(&mut self, end: usize) {
        self.0.truncate(end.div_ceil(BITS as usize));
        self.0.shrink_to_fit();
    }

    /// For which numbers there is room: those before this.
    #[cfg(test)]
    pub(super) fn room(&self) -> usize {
        self.0.capacity() * BITS as usize
    }
}

#[inline(always)]
fn place(number: u32) -> (usize, u64) {
    ((number / BITS) as usize, 1 << (number % BITS))
}

fn ones(mut word: u64) -> impl Iterator<Item = u32> {
    iter::from_fn(move || {
        let first = (word != 0).then(|| word.trailing_zeros());
        word &= word.wrapping_sub(1);
        first
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    /// Goal: it agrees with a set of the standard library under any mix of insert, remove and shrink.
    #[test]
    fn a_long_random_walk_agrees_with_a_set() {
        let (mut bits, mut model) = (Bits::new(), BTreeSet::new());
        let mut seed = 0x2545_f491_4f6c_dd1d_u64;
        for _ in 0..20_000 {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            let number = (seed >> 32) as u32 % if seed & 4 == 0 { 1000 } else { 130 };
            if seed & 3 == 0 {
                bits.insert(number);
                model.insert(number);
            } else {
                bits.remove(number);
                model.remove(&number);
            }
            if seed >> 8 & 63 == 0 {
                let end = model.last().map_or(0, |last| *last as usize + 1);
                bits.shrink(end);
                assert!(bits.room() < end + 64);
            }
            assert!(bits.iter().eq(model.iter().copied()));
        }
    }
}
