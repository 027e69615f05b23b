//! What the poller tells events apart by: where a registration is in the slab, and which of those that were there.

use mio::Token;

/// The waker's token. No slot has it: with 64 bits that many entries do not fit in memory, with 32 bits they would need
/// more descriptors than a process may have.
pub(crate) const WAKER: Token = Token(usize::MAX);

// A token is generation and index side by side. With 64 bits each has 32, and a generation comes back only after four
// thousand million registrations. With 32 bits the index has 20 and the generation 12: a stale event could be
// mistaken only if its slot was freed and taken 4,096 times within one batch.
#[cfg(target_pointer_width = "64")]
const INDEX_BITS: u32 = 32;
#[cfg(not(target_pointer_width = "64"))]
const INDEX_BITS: u32 = 20;
pub(super) const GENERATION_MASK: u32 = (usize::MAX >> INDEX_BITS) as u32;

#[inline]
pub(super) fn pack(index: usize, generation: u32) -> Token {
    Token((generation as usize) << INDEX_BITS | index)
}

#[inline]
pub(super) fn index(token: Token) -> usize {
    token.0 & ((1 << INDEX_BITS) - 1)
}
