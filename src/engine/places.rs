//! A slab for what comes and goes in great numbers: it is filled from its start again when it has emptied, and in order
//! when it has nearly; and it builds what it holds in its place.
//!
//! The crate `slab`, which serves everywhere else, moves a value in. On its way it is written to the stack piece by
//! piece and read again as a whole, and for that the processor waits; a timer is so little work that it shows.

use std::hint;
use std::mem;

#[derive(Debug)]
pub(crate) struct Places<T> {
    entries: Vec<Entry<T>>,
    /// Those from here on have not been used since there were none. They are vacant, whatever they say comes next.
    used: usize,
    /// The vacant one that is used next, if it is before `used`.
    free: usize,
    len: usize,
    /// How many there were at most since there were none, or up to `OFTEN` less; less than that, the longer it is ago.
    most: usize,
    /// How many came since the memory was looked at, and how many there were then.
    came: usize,
    were: usize,
    /// How many had come and gone at that look, since it was gone through.
    moved: usize,
    /// How many went that were not beside the one that went before, since the vacant ones were last in order.
    jumps: usize,
}

#[derive(Debug)]
enum Entry<T> {
    /// And the next of those before `used`.
    Vacant(usize),
    Occupied(T),
}

/// No entry.
const NONE: usize = usize::MAX;

/// So many are made vacant at once.
const SOME: usize = 63;

/// Room for so many is kept, however few there are.
const FEW: usize = 1024;

/// Once in so many comings, the counts are looked at: to do so costs as much as to come.
const OFTEN: usize = 256;

/// So many are looked at together.
const AHEAD: usize = 32;

impl<T> Places<T> {
    pub(crate) const fn new() -> Self {
        Places { entries: Vec::new(), used: 0, free: NONE, len: 0, most: 0, came: 0, were: 0, moved: 0, jumps: 0 }
    }

    /// Puts a value where there is room. It is made when there is, in its place.
    #[inline(always)]
    pub(crate) fn insert_with(&mut self, make: impl FnOnce() -> T) -> u32 {
        let index = self.vacant();
        if let Some(entry) = self.entries.get_mut(index) {
            match entry {
                Entry::Vacant(next) if index < self.used => self.free = *next,
                _ => self.used += 1,
            }
            mem::forget(mem::replace(entry, Entry::Occupied(make()))); // It was vacant, but an assignment would look.
            self.len += 1;
            self.came += 1;
            if self.came % OFTEN == 0 {
                self.look_at_counts();
            }
        }
        index as u32
    }

    /// If nearly all have gone, and in no order, the vacant ones are put in order: else the next would be put here and there
    /// in memory that is in no cache.
    #[cold]
    #[inline(never)]
    fn look_at_counts(&mut self) {
        self.most = self.most.max(self.len);
        let were_many = self.most > self.used / 4;
        if were_many && self.jumps > self.used / 4 && self.len < self.used / 16 {
            self.link_vacant();
        }
    }

    #[inline(always)]
    fn vacant(&mut self) -> usize {
        if self.free != NONE {
            return self.free;
        }
        if self.used == self.entries.len() {
            self.grow();
        }
        self.used
    }

    #[cold]
    #[inline(never)]
    fn grow(&mut self) {
        self.entries.push(Entry::Vacant(NONE)); // Which makes room for many, if there is none.
        let room = self.entries.capacity().min(self.entries.len() + SOME);
        self.entries.resize_with(room, || Entry::Vacant(NONE));
    }

    /// As `take`, for what lies so long that it is in no cache. If what is taken comes in the order of the places, the
    /// next few are looked at together, now and then: one after the other when it is its turn, each would be waited for;
    /// here the processor waits for several at once.
    #[inline(always)]
    pub(crate) fn take_and_look_ahead(&mut self, index: u32) -> Option<T> {
        let is_next = self.free.wrapping_add(1) == index as usize;
        if is_next && index as usize % AHEAD == 0 && self.len > AHEAD {
            self.look(index as usize);
        }
        self.take(index)
    }

    #[inline(never)]
    fn look(&self, from: usize) {
        let entries = self.entries.get(from..).unwrap_or_default();
        let read = entries.iter().take(AHEAD).filter(|entry| matches!(entry, Entry::Vacant(_))).count();
        hint::black_box(read); // Or the compiler would leave the reading out.
    }

    #[inline(always)]
    pub(crate) fn take(&mut self, index: u32) -> Option<T> {
        self.take_if(index, |_| true)
    }

    /// Takes the value out if it is the one that is meant.
    #[inline(always)]
    pub(crate) fn take_if(&mut self, index: u32, is_meant: impl FnOnce(&T) -> bool) -> Option<T> {
        let entry = self.entries.get_mut(index as usize)?;
        if !matches!(entry, Entry::Occupied(value) if is_meant(value)) {
            return None;
        }
        let taken = mem::replace(entry, Entry::Vacant(self.free));
        let is_beside = self.free.wrapping_sub(index as usize).wrapping_add(1) <= 2;
        self.free = index as usize;
        self.len -= 1;
        self.jumps += usize::from(!is_beside);
        match taken {
            Entry::Occupied(value) => Some(value),
            Entry::Vacant(_) => None,
        }
    }

    /// Puts the vacant ones in order: the first is the next that is used, and so on.
    fn link_vacant(&mut self) {
        (self.free, self.jumps) = (NONE, 0);
        for (index, entry) in self.entries.iter_mut().enumerate().take(self.used).rev() {
            if let Entry::Vacant(next) = entry {
                *next = mem::replace(&mut self.free, index);
            }
        }
    }

    #[inline(always)]
    pub(crate) fn get(&self, index: u32) -> Option<&T> {
        match self.entries.get(index as usize)? {
            Entry::Occupied(value) => Some(value),
            Entry::Vacant(_) => None,
        }
    }

    #[inline(always)]
    pub(crate) fn get_mut(&mut self, index: u32) -> Option<&mut T> {
        match self.entries.get_mut(index as usize)? {
            Entry::Occupied(value) => Some(value),
            Entry::Vacant(_) => None,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// For how many there is room.
    pub(crate) fn room(&self) -> usize {
        self.entries.capacity()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        self.entries.iter().filter_map(|entry| match entry {
            Entry::Occupied(value) => Some(value),
            Entry::Vacant(_) => None,
        })
    }

    /// Takes all out, and gives the memory back.
    pub(crate) fn take_all(&mut self) -> impl Iterator<Item = T> {
        mem::replace(self, Places::new()).entries.into_iter().filter_map(|entry| match entry {
            Entry::Occupied(value) => Some(value),
            Entry::Vacant(_) => None,
        })
    }

    /// To be called when it has emptied: it is filled from its start then, where it would otherwise be filled in the
    /// order in which it was emptied. Gives the memory back, and says so, if there was room for many more than there
    /// were.
    pub(crate) fn begin_anew(&mut self) -> bool {
        debug_assert!(self.is_empty());
        if self.is_too_large() {
            *self = Places::new();
            return true;
        }
        (self.used, self.free, self.most) = (0, NONE, 0);
        (self.came, self.were, self.moved, self.jumps) = (0, 0, 0, 0);
        false
    }

    /// Looks at the memory, if it is time to.
    #[inline(always)]
    pub(crate) fn tidy(&mut self) {
        if self.wants_a_look() {
            self.look_at_memory();
        }
    }

    /// Whether to look at the memory: there is room for many more than there are, and so many have come since the last
    /// look that going through all the room costs each of them little.
    #[inline(always)]
    pub(crate) fn wants_a_look(&self) -> bool {
        self.came % OFTEN == 0 && self.room() > 4 * self.len.max(FEW) && self.came > self.room() / 4
    }

    /// Gives memory back if not a quarter of it was needed lately, as far as the last one allows: what it holds does
    /// not move. Says whether it was gone through for that: once in so many comings and goings that each of them pays
    /// little.
    #[cold]
    pub(crate) fn look_at_memory(&mut self) -> bool {
        self.count_anew();
        let is_due = self.is_too_large() && self.moved > self.room() / 4;
        if is_due {
            self.moved = 0;
            self.shrink();
        }
        is_due
    }

    fn count_anew(&mut self) {
        let gone = self.were + self.came - self.len;
        self.moved += self.came + gone;
        self.most = (self.most / 2).max(self.len);
        (self.came, self.were) = (0, self.len);
    }

    /// As `take`, where nobody looks at the memory when many have gone: gives it back, too, as far as the last one allows.
    /// That is gone through as often as the number of those that were there can be halved.
    pub(crate) fn take_and_give_back(&mut self, index: u32) -> Option<T> {
        let taken = self.take(index);
        if self.is_empty() {
            self.begin_anew();
        } else if 2 * self.len <= self.most.max(self.were) && self.room() > 4 * FEW {
            self.give_back();
        }
        taken
    }

    #[cold]
    fn give_back(&mut self) {
        self.count_anew();
        if self.is_too_large() {
            self.shrink();
        }
    }

    /// How many there were lately, at most.
    pub(crate) fn most(&self) -> usize {
        self.most
    }

    /// Gives memory back now, whatever was needed lately; and when it has emptied, that of what is still there, unless
    /// more comes before.
    pub(crate) fn trim(&mut self) {
        self.count_anew();
        self.most = self.len;
        if self.is_too_large() {
            self.shrink();
        }
        self.most = 0;
    }

    fn is_too_large(&self) -> bool {
        self.room() > 4 * self.most.max(FEW)
    }

    fn shrink(&mut self) {
        let is_occupied = |entry: &Entry<T>| matches!(entry, Entry::Occupied(_));
        self.used = self.entries.iter().rposition(is_occupied).map_or(0, |last| last + 1);
        self.entries.truncate(self.used);
        self.entries.shrink_to_fit();
        self.link_vacant(); // The last may be vacant at the next look.
    }
}

#[cfg(test)]
impl<T> Places<T> {
    /// What one takes.
    pub(crate) const BYTES: usize = size_of::<Entry<T>>();
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: it agrees with a map under any mix of insert, take, look and beginning anew.
    #[test]
    fn a_long_random_walk_agrees_with_a_map() {
        let mut places = Places::new();
        let mut model = std::collections::BTreeMap::new();
        let mut seed = 0x2545_f491_4f6c_dd1d_u64;
        for n in 0..200_000_u64 {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            // It grows for a while, then it shrinks, down to nothing.
            let grows = n / 20_000 % 2 == 0;
            if seed % 100 < if grows { 70 } else { 25 } {
                let index = places.insert_with(|| n);
                assert_eq!(model.insert(index, n), None, "a place is used by one");
            } else if let Some((&index, _)) = model.range((seed >> 40) as u32 % 20_000..).next().or(model.iter().next())
            {
                assert_eq!(places.get(index), model.get(&index));
                assert_eq!(places.take(index), model.remove(&index));
                assert_eq!(places.take(index), None);
            }
            if model.is_empty() {
                places.begin_anew();
            } else if seed >> 32 & 1023 == 0 {
                places.look_at_memory();
                assert!(places.iter().eq(model.values()), "nothing moves");
            }
            assert_eq!((places.len(), places.is_empty()), (model.len(), model.is_empty()));
        }
        assert!(places.take_all().eq(model.into_values()));
    }

    #[test]
    fn what_has_emptied_is_filled_from_its_start() {
        let mut places = Places::new();
        for _ in 0..3 {
            let indices: Vec<u32> = (0..1000).map(|n| places.insert_with(|| n)).collect();
            assert!(indices.iter().copied().eq(0..1000));
            for index in [500, 3, 998].into_iter().chain(0..1000) {
                places.take(index);
            }
            places.begin_anew();
        }
    }

    #[test]
    fn what_has_nearly_emptied_in_no_order_is_filled_in_order() {
        const MANY: u32 = 10_000;
        let mut places = Places::new();
        (0..MANY).for_each(|n| assert_eq!(places.insert_with(|| n), n));
        // One stays; the others go here and there: their number has no divisor but 3, 11 and 101.
        for n in 0..MANY - 1 {
            assert!(places.take(n * 7 % (MANY - 1)).is_some());
        }
        let filled: Vec<u32> = (1..MANY).map(|n| places.insert_with(|| n)).collect();
        let in_order = filled.windows(2).filter(|two| two[0] + 1 == two[1]).count();
        assert!(in_order >= MANY as usize - 2 * OFTEN, "{in_order}");
        let distinct: std::collections::BTreeSet<_> = filled.into_iter().collect();
        assert!(distinct.into_iter().eq(0..MANY - 1), "each place once, and none is added");
    }

    /// Otherwise each look would go through all of it, for nothing.
    #[test]
    fn what_cannot_shrink_is_gone_through_once_in_many_times() {
        let mut places = Places::new();
        (0..100_000).for_each(|n| assert_eq!(places.insert_with(|| n), n));
        (0..99_999).for_each(|n| assert_eq!(places.take(n), Some(n)));
        let mut look = |times| (0..times).filter(|_| places.look_at_memory()).count();
        assert_eq!((look(1), look(20), look(20)), (0, 1, 0), "so many were there lately; the last is in its place");
        assert!(places.is_too_large());
        for _ in 0..=places.room() / 8 {
            let index = places.insert_with(|| 7);
            places.take(index);
        }
        assert!(places.look_at_memory());
        assert_eq!(places.take(99_999), Some(99_999));
        places.trim();
        assert_eq!((places.room(), places.insert_with(|| 1)), (0, 0));
    }

    /// Goal: memory goes back as those go that hold it, whatever their order, and at few looks.
    #[test]
    fn what_is_taken_gives_its_memory_back() {
        let orders: [fn(u32) -> u32; 3] = [|n| n, |n| 99_998 - n, |n| n * 7919 % 99_999];
        for (keeps_last, order) in [false, true].into_iter().flat_map(|last| orders.map(|order| (last, order))) {
            let mut places = Places::new();
            (0..100_000).for_each(|n| assert_eq!(places.insert_with(|| n), n));
            let (mut shrunk, mut looks, all) = (0, 0, places.room());
            for n in (0..99_999).map(order).map(|n| if keeps_last { n } else { n + 1 }) {
                let (room, most) = (places.room(), places.most());
                assert_eq!(places.take_and_give_back(n), Some(n));
                shrunk += usize::from(places.room() < room);
                looks += usize::from(places.most() < most);
            }
            let room = places.room();
            if keeps_last {
                assert!(room <= all)
            } else {
                assert!(room <= 4 * FEW && shrunk > 0, "{room} left")
            }
            assert!(looks <= 20, "{looks} looks");
            let last = if keeps_last { 99_999 } else { 0 };
            assert_eq!(
                (places.take_and_give_back(last), places.room()),
                (Some(last), if keeps_last { 0 } else { room })
            );
        }
    }

    #[test]
    fn what_empties_from_its_end_is_gone_through_a_few_times() {
        let mut places = Places::new();
        (0..100_000).for_each(|n| assert_eq!(places.insert_with(|| n), n));
        let mut rebuilt = 0;
        for n in (0..75_000).chain((75_000..100_000).rev()) {
            assert_eq!(places.take(n), Some(n));
            rebuilt += usize::from(places.look_at_memory());
        }
        assert!((1..10).contains(&rebuilt), "{rebuilt} times");
    }

    #[test]
    fn memory_goes_back_when_there_are_few_and_when_there_were_few() {
        let mut places = Places::new();
        (0..100_000).for_each(|n| assert_eq!(places.insert_with(|| n), n));
        (10..100_000).for_each(|n| assert_eq!(places.take(n), Some(n)));
        let mut looks = 0;
        while places.room() > 4 * FEW {
            let index = places.insert_with(|| 10);
            assert_eq!(places.take(index), Some(10));
            if places.wants_a_look() {
                places.look_at_memory();
                looks += 1;
            }
        }
        assert!(looks <= 4, "{looks} times through all of it");
        assert!(places.room() <= 4 * FEW, "room for {}", places.room());
        assert!(places.iter().copied().eq(0..10));

        let mut places = Places::new();
        for (round, is_kept) in [(100_000, true), (1, false), (1, true)] {
            (0..round).for_each(|n| assert_eq!(places.insert_with(|| n), n));
            (0..round).for_each(|n| assert_eq!(places.take(n), Some(n)));
            assert_eq!(places.begin_anew(), !is_kept, "after {round}");
            assert_eq!(places.room() > 0, is_kept, "after {round}");
        }
        assert!(places.room() <= 4 * FEW, "room for {}", places.room());
    }
}
