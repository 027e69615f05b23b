//! A slab that gives memory back when most of it has become empty.

use slab::Slab;
use std::ops::Deref;

/// As `Slab`, to which it derefs; what is taken out goes through [`try_remove`](Slots::try_remove).
pub(crate) struct Slots<T> {
    slab: Slab<T>,
    /// At this length the memory is looked at. It falls with the length, and rises again only when the slab has grown
    /// to four times of it: a look costs a pass over the slab, and a slab that goes up and down is to have few of them.
    look_at: usize,
}

/// A slab with room for so many is not worth looking at.
const FEW: usize = 2048;

impl<T> Slots<T> {
    pub(crate) fn new() -> Self {
        Slots { slab: Slab::new(), look_at: 0 }
    }

    pub(crate) fn insert(&mut self, value: T) -> usize {
        self.look_at = self.look_at.max(self.slab.len() / 4);
        self.slab.insert(value)
    }

    #[inline]
    pub(crate) fn try_remove(&mut self, key: usize) -> Option<T> {
        let value = self.slab.try_remove(key)?;
        if self.slab.len() <= self.look_at {
            self.look_at_memory();
        }
        Some(value)
    }

    /// The slab can only shrink to its last value, which may be far behind: then there are further looks, at a quarter
    /// less each, and at every value less when there are few.
    #[cold]
    #[inline(never)]
    fn look_at_memory(&mut self) {
        let len = self.slab.len();
        self.look_at = if len < 64 { len.saturating_sub(1) } else { len / 4 * 3 };
        if self.slab.capacity() > FEW.max(4 * len) {
            self.slab.shrink_to_fit();
        }
    }

    pub(crate) fn drain(&mut self) -> slab::Drain<'_, T> {
        self.slab.drain()
    }
}

impl<T> Deref for Slots<T> {
    type Target = Slab<T>;

    #[inline]
    fn deref(&self) -> &Slab<T> {
        &self.slab
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slab_that_was_full_once_does_not_keep_its_memory() {
        let mut slots = Slots::new();
        let keys: Vec<usize> = (0..20_000).map(|n| slots.insert(n)).collect();
        assert!(slots.capacity() >= 20_000);
        for key in &keys[10..] {
            assert_eq!(slots.try_remove(*key), Some(*key));
        }
        assert_eq!(slots.len(), 10);
        assert!(slots.capacity() <= FEW, "{} slots are kept for 10", slots.capacity());
        assert_eq!(slots.try_remove(keys[3]), Some(3));
        assert_eq!(slots.insert(77), 3, "a freed slot is used again");
    }
}
