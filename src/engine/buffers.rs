//! Memory that one loop lends to all its connections: only one of them is served at a time.

use std::cell::{Cell, RefCell};
use std::ops::{Deref, DerefMut};

#[derive(Default)]
pub(crate) struct Buffers {
    /// What is read lands here, so that an idle connection holds no buffer. Borrowed while a connection is lent it;
    /// nobody else needs it then, because handlers do not nest.
    pub(crate) read: RefCell<ReadBuffer>,
    /// What one call of user code sends, until the call returns.
    pub(crate) gather: RefCell<Gather>,
    /// The memory of the last buffer that somebody was done with, for the next one who needs one.
    spare: Cell<Vec<u8>>,
}

/// A spare larger than this is given back to the system. What was left unconsumed and another read fit.
const SPARE: usize = 1024 * 1024;

impl Buffers {
    /// The read buffer comes with the first connection: a loop without any pays nothing for it. What it may grow to is
    /// reserved at once, and is not touched until it is used where the system gives zeroed pages: memory that came
    /// later would lie, in the allocator's heap, above everything the connections have needed, and keep all of that
    /// from the system.
    pub(crate) fn provide(&self, read: usize, most: usize) {
        if let Ok(mut buffer) = self.read.try_borrow_mut() {
            if buffer.is_empty() {
                *buffer = ReadBuffer::new(read, most);
            }
        }
    }

    /// Doubles the read buffer, if `waiting` bytes would fill it, up to `most`. Asks only while it may grow.
    pub(crate) fn grow_if_full(&self, waiting: impl FnOnce() -> usize, most: usize) {
        if let Ok(mut buffer) = self.read.try_borrow_mut() {
            let size = buffer.len();
            if size < most && waiting() >= size {
                buffer.grow(size.saturating_mul(2).min(most));
            }
        }
    }

    /// Whether a connection is being lent what was read.
    pub(crate) fn is_lent(&self) -> bool {
        self.read.try_borrow().is_err()
    }

    /// An empty vector, with the memory of an earlier one if there is any.
    pub(crate) fn take_spare(&self) -> Vec<u8> {
        self.spare.take()
    }

    /// What was gathered, moved to where nothing is borrowed.
    pub(crate) fn take_gathered(&self) -> Vec<u8> {
        let mut gathered = self.take_spare();
        let mut gather = self.gather.borrow_mut();
        gathered.extend_from_slice(gather.bytes());
        gather.clear();
        gathered
    }

    /// Keeps this memory, or the spare that is there: the one at the lower address. In the allocator's heap it keeps
    /// all that is below it from the system.
    pub(crate) fn keep_spare(&self, mut spare: Vec<u8>) {
        if (1..=SPARE).contains(&spare.capacity()) {
            spare.clear();
            let former = self.spare.take();
            let is_former_lower = former.capacity() > 0 && former.as_ptr() < spare.as_ptr();
            self.spare.set(if is_former_lower { former } else { spare });
        }
    }
}

/// Where reads land: memory that begins with a page.
///
/// glibc's malloc has large pieces begin sixteen bytes after one, to where some processors copy slowly: on an AMD of
/// family 25, model 1, a stream took the server half as long again.
#[derive(Default)]
pub(crate) struct ReadBuffer {
    /// Has room for the largest read from `start` on, so it does not move when it grows.
    memory: Vec<u8>,
    start: usize,
}

const PAGE: usize = 4096;

impl ReadBuffer {
    fn new(len: usize, most: usize) -> Self {
        let mut memory = vec![0; most.saturating_add(PAGE)];
        let start = memory.as_ptr().align_offset(PAGE).min(PAGE);
        memory.truncate(start + len);
        ReadBuffer { memory, start }
    }

    fn grow(&mut self, len: usize) {
        self.memory.resize(self.start + len, 0);
    }
}

impl Deref for ReadBuffer {
    type Target = [u8];

    #[inline(always)]
    fn deref(&self) -> &[u8] {
        &self.memory[self.start..]
    }
}

impl DerefMut for ReadBuffer {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.memory[self.start..]
    }
}

/// Small pieces put together, to leave in one system call. Its size is a power of two and its length a word of half the
/// size, so that no index into it has to be checked: with every message that costs as much as the copy itself.
pub(crate) struct Gather {
    memory: Box<[u8; 1 << 16]>,
    len: u16,
}

impl Gather {
    pub(crate) const ROOM: u16 = u16::MAX;

    #[inline(always)]
    pub(crate) fn len(&self) -> usize {
        usize::from(self.len)
    }

    #[inline(always)]
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.memory[..self.len()]
    }

    #[inline(always)]
    pub(crate) fn clear(&mut self) {
        self.len = 0;
    }

    /// Adds a small piece, if it is not more than `limit` then; `false` if it is.
    #[inline(always)]
    pub(crate) fn push(&mut self, bytes: &[u8], limit: u16) -> bool {
        let start = self.len();
        let end = start + bytes.len();
        if end > usize::from(limit) {
            return false;
        }
        let room = &mut self.memory[start..end];
        self.len = end as u16; // At most `limit`.
        room.copy_from_slice(bytes);
        true
    }
}

impl Default for Gather {
    fn default() -> Self {
        let memory = vec![0; 1 << 16].into_boxed_slice();
        Gather { memory: memory.try_into().unwrap_or_else(|_| Box::new([0; 1 << 16])), len: 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_land_at_the_start_of_a_page_also_when_the_buffer_has_grown() {
        let buffers = Buffers::default();
        buffers.provide(1_000, 300_000);
        for (waiting, len) in [(999, 1_000), (1_000, 2_000), (1_000_000, 4_000)] {
            buffers.grow_if_full(|| waiting, 300_000);
            let buffer = buffers.read.borrow();
            assert_eq!((buffer.len(), buffer.as_ptr().addr() % PAGE), (len, 0));
        }
        (0..10).for_each(|_| buffers.grow_if_full(|| usize::MAX, 300_000));
        assert_eq!(buffers.read.borrow().len(), 300_000);
    }

    #[test]
    fn of_two_spares_the_lower_one_stays() {
        for lower_comes_first in [true, false] {
            let mut both = [100, 200].map(Vec::<u8>::with_capacity);
            both.sort_by_key(|spare| spare.as_ptr());
            let lower = both[0].as_ptr();
            if !lower_comes_first {
                both.reverse();
            }
            let buffers = Buffers::default();
            both.into_iter().for_each(|spare| buffers.keep_spare(spare));
            buffers.keep_spare(Vec::new());
            let kept = buffers.take_spare();
            assert_eq!(kept.as_ptr(), lower);
        }
    }
}
