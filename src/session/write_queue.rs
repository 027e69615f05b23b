//! What waits to be written to one connection: chunks in order, with room for one without an allocation.

use std::collections::VecDeque;
use std::io::IoSlice;
use std::rc::Rc;

/// Small sends are gathered into chunks of this size: one system call then takes many of them.
const CHUNK: usize = 16 * 1024;

/// Shared bytes are not copied from this size on: a chunk takes about half as much itself.
const SHARED: usize = 64;

/// Chunks given to one system call; sendmsg(2) takes at most 1,024 (`IOV_MAX`).
pub(super) const SLICES: usize = 64;

enum Chunk {
    Owned(Vec<u8>),
    /// Shared with other connections: a broadcast.
    Shared(Rc<[u8]>),
}

impl Chunk {
    fn bytes(&self) -> &[u8] {
        match self {
            Chunk::Owned(bytes) => bytes,
            Chunk::Shared(bytes) => bytes,
        }
    }
}

#[derive(Default)]
pub(super) struct WriteQueue {
    /// `Some` exactly while the queue is not empty.
    front: Option<Chunk>,
    /// Boxed, because nearly no connection has it: it shall not cost every one of them.
    #[allow(clippy::box_collection)]
    behind: Option<Box<VecDeque<Chunk>>>,
    /// Bytes of the front that have been written.
    written: usize,
    /// Bytes in all that have not.
    len: usize,
}

impl WriteQueue {
    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    #[inline]
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Copies the bytes to the end of the queue.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        self.len += bytes.len();
        let behind = self.behind.as_mut().and_then(|behind| behind.back_mut());
        let last = behind.or(self.front.as_mut());
        match last {
            Some(Chunk::Owned(last)) if last.len() + bytes.len() <= CHUNK => last.extend_from_slice(bytes),
            _ => self.push_chunk(Chunk::Owned(bytes.to_vec())),
        }
    }

    /// Puts shared bytes at the end of the queue, without a copy, unless they are fewer than what it takes to share them.
    pub(super) fn push_shared(&mut self, bytes: &Rc<[u8]>) {
        if bytes.len() < SHARED {
            self.push(bytes);
        } else {
            self.len += bytes.len();
            self.push_chunk(Chunk::Shared(Rc::clone(bytes)));
        }
    }

    fn push_chunk(&mut self, chunk: Chunk) {
        if self.front.is_none() {
            self.front = Some(chunk);
        } else {
            self.behind.get_or_insert_default().push_back(chunk);
        }
    }

    /// All that waits, if it is one chunk: as it nearly always is.
    pub(super) fn in_one_piece(&self) -> Option<&[u8]> {
        match (&self.front, &self.behind) {
            (Some(front), None) => Some(&front.bytes()[self.written..]),
            _ => None,
        }
    }

    /// What to write next, as slices. Returns how many there are.
    pub(super) fn slices<'a>(&'a self, slices: &mut [IoSlice<'a>; SLICES]) -> usize {
        let chunks = self.front.iter().chain(self.behind.iter().flat_map(|behind| behind.iter()));
        let mut count = 0;
        for (slice, chunk) in slices.iter_mut().zip(chunks) {
            let skipped = if count == 0 { self.written } else { 0 };
            *slice = IoSlice::new(&chunk.bytes()[skipped..]);
            count += 1;
        }
        count
    }

    /// Forgets the first `written` bytes.
    pub(super) fn advance(&mut self, written: usize) {
        self.len -= written;
        self.written += written;
        while let Some(front) = &self.front {
            let size = front.bytes().len();
            if self.written < size {
                break;
            }
            self.written -= size;
            self.front = self.behind.as_mut().and_then(|behind| behind.pop_front());
        }
        if self.len == 0 {
            self.behind = None; // An idle connection holds no memory for what it once sent.
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first(queue: &WriteQueue) -> Vec<u8> {
        let mut slices = [IoSlice::new(&[]); SLICES];
        let count = queue.slices(&mut slices);
        slices[..count].iter().flat_map(|slice| slice.to_vec()).collect()
    }

    #[test]
    fn bytes_leave_in_the_order_they_came_however_they_are_cut() {
        let whole: Vec<u8> = (0..30_000_u32).map(|n| n as u8).collect();
        for cut in [97, 4096, 16_384, 40_000] {
            let mut queue = WriteQueue::default();
            for (n, piece) in whole.chunks(5000).enumerate() {
                if n % 3 == 0 { queue.push_shared(&Rc::from(piece)) } else { queue.push(piece) }
            }
            let mut seen = Vec::new();
            while !queue.is_empty() {
                let bytes = first(&queue);
                let n = cut.min(bytes.len());
                seen.extend_from_slice(&bytes[..n]);
                queue.advance(n);
            }
            assert!(seen == whole, "cut by {cut}");
            assert!(queue.front.is_none() && queue.behind.is_none());
        }
    }

    #[test]
    fn small_sends_share_a_chunk_and_shared_ones_are_not_copied() {
        let mut queue = WriteQueue::default();
        for _ in 0..100 {
            queue.push(b"0123456789");
        }
        assert_eq!((queue.len(), queue.behind.is_none()), (1000, true));
        let shared: Rc<[u8]> = Rc::from(&[b's'; SHARED][..]);
        queue.push_shared(&shared);
        assert_eq!(Rc::strong_count(&shared), 2);
        queue.push(b"after");
        queue.advance(998);
        assert_eq!(first(&queue), [b"89", &[b's'; SHARED][..], b"after"].concat());
        queue.advance(SHARED + 7);
        assert_eq!((queue.len(), Rc::strong_count(&shared)), (0, 1));
    }

    #[test]
    fn what_is_smaller_than_a_chunk_is_copied() {
        let (mut queue, shared) = (WriteQueue::default(), Rc::from(&b"x"[..]));
        for _ in 0..1000 {
            queue.push_shared(&shared);
        }
        assert_eq!((queue.len(), queue.behind.is_none(), Rc::strong_count(&shared)), (1000, true, 1));
    }

    #[test]
    fn nothing_is_never_queued() {
        let mut queue = WriteQueue::default();
        queue.push(b"");
        queue.push_shared(&Rc::from(&b""[..]));
        assert!(queue.is_empty() && queue.front.is_none());
    }
}
