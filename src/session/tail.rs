//! What a session was shown and has not consumed: to be shown again, with what follows.

/// Bytes in one piece. Those consumed at its front are only skipped: nothing is moved until the memory is needed.
#[derive(Default)]
pub(super) struct Tail {
    bytes: Vec<u8>,
    /// Consumed bytes at the front of `bytes`.
    start: usize,
}

impl Tail {
    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.start == self.bytes.len()
    }

    pub(super) fn len(&self) -> usize {
        self.bytes.len() - self.start
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes[self.start..]
    }

    /// Begins a tail, in the memory of `spare`.
    pub(super) fn begin(&mut self, spare: Vec<u8>, bytes: &[u8]) {
        debug_assert!(self.is_empty(), "there is a tail already");
        *self = Tail { bytes: spare, start: 0 };
        self.bytes.extend_from_slice(bytes);
    }

    /// Adds what follows. The skipped front is reclaimed when it is at least as long as what is kept, so that no byte
    /// is moved more often than bytes are added.
    pub(super) fn append(&mut self, bytes: &[u8]) {
        if self.start >= self.len() {
            self.bytes.drain(..self.start);
            self.start = 0;
        }
        self.bytes.extend_from_slice(bytes);
    }

    /// Forgets the first `consumed` bytes. Gives its memory back when nothing is left.
    pub(super) fn consume(&mut self, consumed: usize) -> Option<Vec<u8>> {
        self.start = (self.start + consumed).min(self.bytes.len());
        self.is_empty().then(|| self.take())
    }

    /// Everything, in one piece; the tail is empty then.
    pub(super) fn take(&mut self) -> Vec<u8> {
        let mut bytes = std::mem::take(&mut self.bytes);
        bytes.drain(..std::mem::take(&mut self.start));
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_consumed_is_shown_again_with_what_follows() {
        let mut tail = Tail::default();
        tail.begin(Vec::new(), b"abc");
        assert_eq!(tail.consume(1), None);
        tail.append(b"def");
        assert_eq!((tail.bytes(), tail.len()), (&b"bcdef"[..], 5));
        assert_eq!(tail.consume(4), None);
        tail.append(b"g");
        assert_eq!(tail.bytes(), b"fg");
        assert!(tail.consume(2).is_some_and(|memory| memory.is_empty() && memory.capacity() > 0));
        assert!(tail.is_empty() && tail.bytes.capacity() == 0, "an idle connection holds no memory");
    }

    #[test]
    fn a_small_tail_behind_much_that_was_consumed_moves_little() {
        let mut tail = Tail::default();
        tail.begin(Vec::new(), &[1; 1000]);
        tail.consume(999);
        for _ in 0..10_000 {
            tail.append(&[2; 10]);
            tail.consume(10);
        }
        assert_eq!((tail.len(), tail.bytes()), (1, &[2][..]));
        assert!(tail.bytes.capacity() < 5000, "consumed bytes are reclaimed");
    }
}
