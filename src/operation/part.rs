//! `Part`: a sub-range of a buffer, as a buffer.

use std::ops::Range;

/// A sub-range of a buffer, itself a buffer: so that a part of it is sent or filled without resizing or copying it.
///
/// The range is in bytes. What of it lies outside the buffer is left out.
///
/// ```
/// use ioctx::Part;
///
/// let part = Part::new(b"hello, world".to_vec(), 7..12);
/// assert_eq!(part.as_ref(), b"world");
/// assert_eq!(part.into_inner().len(), 12);
/// ```
#[derive(Clone, Debug)]
pub struct Part<B> {
    buffer: B,
    range: Range<usize>,
}

impl<B> Part<B> {
    /// The bytes of `buffer` in `range`.
    pub fn new(buffer: B, range: Range<usize>) -> Self {
        Part { buffer, range }
    }

    /// The first `end` bytes of `buffer`.
    pub fn to(buffer: B, end: usize) -> Self {
        Part::new(buffer, 0..end)
    }

    /// The bytes of `buffer` from `start` on.
    pub fn from(buffer: B, start: usize) -> Self {
        Part::new(buffer, start..usize::MAX)
    }

    /// The whole buffer again.
    pub fn into_inner(self) -> B {
        self.buffer
    }

    fn within(range: &Range<usize>, len: usize) -> Range<usize> {
        let end = range.end.min(len);
        range.start.min(end)..end
    }
}

impl<B: AsRef<[u8]>> AsRef<[u8]> for Part<B> {
    fn as_ref(&self) -> &[u8] {
        let bytes = self.buffer.as_ref();
        &bytes[Self::within(&self.range, bytes.len())]
    }
}

impl<B: AsMut<[u8]>> AsMut<[u8]> for Part<B> {
    fn as_mut(&mut self) -> &mut [u8] {
        let bytes = self.buffer.as_mut();
        let range = Self::within(&self.range, bytes.len());
        &mut bytes[range]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_outside_the_buffer_is_cut_to_it() {
        assert_eq!(Part::new(vec![1, 2, 3], 2..9).as_ref(), [3]);
        assert_eq!(Part::from(vec![1, 2, 3], 7).as_mut(), [0_u8; 0]);
        let (start, end) = (2, 1);
        assert_eq!(Part::new(vec![1, 2, 3], start..end).as_ref(), [0_u8; 0]);
    }
}
