//! One value for each type that asks: found by the type where work is started, by a number from then on.

use std::any::TypeId;
use std::cell::Cell;
use std::collections::BTreeMap;
use std::hash::{Hash, Hasher};

#[derive(Debug)]
pub(crate) struct PerType<V> {
    values: Vec<(TypeId, V)>,
    numbers: BTreeMap<TypeId, u32>,
    /// The numbers that were asked for lately, each in the place of its type, which it may share with others: they are
    /// likely to be asked for again, and a look costs less than a search.
    recent: [Cell<u32>; PLACES],
}

/// A power of two.
const PLACES: usize = 64;

impl<V> Default for PerType<V> {
    fn default() -> Self {
        PerType { values: Vec::new(), numbers: BTreeMap::new(), recent: [const { Cell::new(0) }; PLACES] }
    }
}

impl<V> PerType<V> {
    /// The value of this type, and its number.
    #[inline]
    pub(crate) fn find<T: 'static>(&self) -> Option<(u32, &V)> {
        let wanted = TypeId::of::<T>();
        let recent = self.recent[place(wanted)].get();
        match self.values.get(recent as usize) {
            Some((known, value)) if *known == wanted => Some((recent, value)),
            _ => self.search(wanted),
        }
    }

    /// The value that is likely to be the one of this type, for who finds out whether it is in another way.
    #[inline(always)]
    pub(crate) fn likely<T: 'static>(&self) -> Option<(u32, &V)> {
        let number = self.recent[place(TypeId::of::<T>())].get();
        Some((number, self.get(number)?))
    }

    #[inline(never)]
    fn search(&self, wanted: TypeId) -> Option<(u32, &V)> {
        let number = self.numbers.get(&wanted).copied()?;
        self.recent[place(wanted)].set(number);
        Some((number, self.get(number)?))
    }

    /// Adds the value of a type that has none.
    pub(crate) fn add<T: 'static>(&mut self, value: V) -> u32 {
        let number = self.values.len() as u32;
        self.values.push((TypeId::of::<T>(), value));
        self.numbers.insert(TypeId::of::<T>(), number);
        number
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, number: u32) -> Option<&mut V> {
        self.values.get_mut(number as usize).map(|(_, value)| value)
    }

    pub(crate) fn values(&self) -> impl Iterator<Item = &V> {
        self.values.iter().map(|(_, value)| value)
    }

    #[inline]
    pub(crate) fn get(&self, number: u32) -> Option<&V> {
        self.values.get(number as usize).map(|(_, value)| value)
    }
}

/// The place of a type, which the compiler knows: an identifier is a hash already.
#[inline(always)]
fn place(id: TypeId) -> usize {
    let mut bits = Bits(0);
    id.hash(&mut bits);
    bits.finish() as usize % PLACES
}

/// Hashes a hash: takes it as it is.
struct Bits(u64);

impl Hasher for Bits {
    #[inline(always)]
    fn write_u64(&mut self, bits: u64) {
        self.0 ^= bits;
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.0 = self.0.rotate_left(8) ^ u64::from(*byte));
    }

    #[inline(always)]
    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_finds_its_own() {
        let mut values = PerType::default();
        assert_eq!(values.find::<u8>(), None);
        let numbers = [values.add::<u8>('a'), values.add::<u16>('b'), values.add::<[u8; 2]>('c')];
        for _ in 0..2 {
            let found = [values.find::<u8>(), values.find::<u16>(), values.find::<[u8; 2]>()];
            assert_eq!(found, [Some((numbers[0], &'a')), Some((numbers[1], &'b')), Some((numbers[2], &'c'))]);
        }
        assert_eq!(numbers.map(|number| values.get(number).copied()), ['a', 'b', 'c'].map(Some));
        assert_eq!((values.find::<i8>(), values.get(3)), (None, None));
    }

    /// More types than places, so that some share one.
    #[test]
    fn types_that_share_a_place_find_their_own() {
        macro_rules! with_types {
            ($($length:literal)*) => {{
                let mut values = PerType::default();
                $( assert_eq!(values.find::<[u8; $length]>(), None); )*
                $( values.add::<[u8; $length]>($length); )*
                for _ in 0..2 {
                    $( assert_eq!(values.find::<[u8; $length]>().map(|(_, value)| *value), Some($length)); )*
                }
                let places = [$( place(TypeId::of::<[u8; $length]>()) ),*];
                assert!(places.len() > PLACES && places.iter().any(|place| *place != places[0]), "{places:?}");
            }};
        }
        with_types!(
            0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31 32 33 34 35
            36 37 38 39 40 41 42 43 44 45 46 47 48 49 50 51 52 53 54 55 56 57 58 59 60 61 62 63 64 65 66 67 68 69 70
        );
    }
}
