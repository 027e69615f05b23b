//! One value for each type that asks: found by the type where work is started, by a number from then on.

use std::any::TypeId;
use std::cell::Cell;
use std::collections::BTreeMap;

#[derive(Debug)]
pub(crate) struct PerType<V> {
    values: Vec<(TypeId, V)>,
    numbers: BTreeMap<TypeId, u32>,
    /// The number that was asked for last. It is likely to be asked for again, and a look costs less than a search.
    latest: Cell<u32>,
}

impl<V> Default for PerType<V> {
    fn default() -> Self {
        PerType { values: Vec::new(), numbers: BTreeMap::new(), latest: Cell::new(0) }
    }
}

impl<V> PerType<V> {
    /// The value of this type, and its number.
    #[inline]
    pub(crate) fn find<T: 'static>(&self) -> Option<(u32, &V)> {
        let latest = self.latest.get();
        match self.values.get(latest as usize) {
            Some((known, value)) if *known == TypeId::of::<T>() => Some((latest, value)),
            _ => self.search(TypeId::of::<T>()),
        }
    }

    #[inline(never)]
    fn search(&self, wanted: TypeId) -> Option<(u32, &V)> {
        let number = self.numbers.get(&wanted).copied()?;
        self.latest.set(number);
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
}
