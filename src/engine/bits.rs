//! A set of small numbers, one bit for each: so that a few are found without a look at the many beside them.

use std::iter;
use std::mem;
use std::ops::Range;

#[derive(Debug)]
pub(super) struct Bits {
    words: Vec<u64>,
    /// A bit for each word that may have some.
    filled: Vec<u64>,
    /// Which of those may not be 0: so that few are looked for where few are.
    range: Range<usize>,
}

const NOWHERE: Range<usize> = Range { start: usize::MAX, end: 0 };

const BITS: u32 = u64::BITS;

impl Bits {
    pub(super) const fn new() -> Self {
        Bits { words: Vec::new(), filled: Vec::new(), range: NOWHERE }
    }

    #[inline(always)]
    pub(super) fn insert(&mut self, number: u32) {
        let (index, bit) = place(number);
        match self.words.get_mut(index as usize) {
            Some(word) if *word != 0 => *word |= bit,
            _ => self.insert_first(index, bit),
        }
    }

    /// The first of a word.
    #[inline(never)]
    fn insert_first(&mut self, index: u32, bit: u64) {
        set(&mut self.words, index, bit);
        let (index, bit) = place(index);
        set(&mut self.filled, index, bit);
        let Range { start, end } = self.range;
        self.range = start.min(index as usize)..end.max(index as usize + 1);
    }

    #[inline(always)]
    pub(super) fn remove(&mut self, number: u32) {
        let (index, bit) = place(number);
        if let Some(word) = self.words.get_mut(index as usize) {
            *word &= !bit;
        }
    }

    /// Takes all out, in order.
    pub(super) fn take_each(&mut self, mut take: impl FnMut(u32)) {
        let range = mem::replace(&mut self.range, NOWHERE);
        for (above, filled) in (0..).zip(&mut self.filled).take(range.end).skip(range.start) {
            for below in ones(mem::take(filled)) {
                let index = above * BITS + below;
                let word = self.words.get_mut(index as usize).map_or(0, mem::take);
                ones(word).for_each(|bit| take(index * BITS + bit));
            }
        }
    }

    /// Gives back the memory for numbers from `end` on, none of which is in the set.
    pub(super) fn shrink(&mut self, end: usize) {
        let words = end.div_ceil(BITS as usize);
        for (bits, len) in [(&mut self.words, words), (&mut self.filled, words.div_ceil(BITS as usize))] {
            bits.truncate(len);
            bits.shrink_to_fit();
        }
    }
}

#[cfg(test)]
impl Bits {
    /// In order.
    pub(super) fn iter(&self) -> impl Iterator<Item = u32> {
        (0..).zip(&self.words).flat_map(|(index, word)| ones(*word).map(move |bit| index * BITS + bit))
    }

    /// For which numbers there is room: those before this.
    pub(super) fn room(&self) -> usize {
        self.words.capacity() * BITS as usize
    }
}

#[inline(always)]
fn place(number: u32) -> (u32, u64) {
    (number / BITS, 1 << (number % BITS))
}

fn set(words: &mut Vec<u64>, index: u32, bit: u64) {
    if index as usize >= words.len() {
        words.resize(index as usize + 1, 0);
    }
    if let Some(word) = words.get_mut(index as usize) {
        *word |= bit;
    }
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

    /// Goal: it agrees with a set of the standard library under any mix of insert, remove, shrink and take.
    #[test]
    fn a_long_random_walk_agrees_with_a_set() {
        let (mut bits, mut model) = (Bits::new(), BTreeSet::new());
        let mut seed = 0x2545_f491_4f6c_dd1d_u64;
        for _ in 0..20_000 {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            let number = (seed >> 32) as u32 % if seed & 4 == 0 { 20_000 } else { 130 };
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
            if seed >> 16 & 255 == 0 {
                let mut taken = Vec::new();
                bits.take_each(|number| taken.push(number));
                assert!(taken.iter().eq(&mem::take(&mut model)));
            }
        }
    }
}
