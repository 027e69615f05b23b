//! What other threads have posted: a pile for each type, and the order in which it came. What a pile is, is said on a
//! higher floor, in `state.rs`.

use super::per_type::PerType;

pub(crate) struct Bag<P: ?Sized> {
    pub(crate) piles: PerType<Box<P>>,
    /// For each that came, the number of its pile.
    pub(crate) order: Vec<u32>,
}

impl<P: ?Sized> Default for Bag<P> {
    fn default() -> Self {
        Bag { piles: PerType::default(), order: Vec::new() }
    }
}
