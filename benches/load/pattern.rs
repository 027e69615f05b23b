//! What is sent: every connection sends one endless stream, cut into messages, and expects the same stream back.
//!
//! The stream of a connection is one pseudo-random period, repeated, begun at a place of its own. So bytes of another
//! connection, of an older message, lost ones or doubled ones are all bytes out of place. The period is a prime, so that
//! no usual message or buffer size is a multiple of it.

/// The largest prime below 64 KiB: small messages stay in the processor's cache.
const PERIOD: usize = 65_521;

/// The longest piece that is sent or compared at once.
pub const LONGEST: usize = 256 * 1024;

/// How far the streams of neighbouring connections are apart: about the golden section, so that they stay well apart
/// after any small number of messages more or less.
const STRIDE: u64 = 40_493;

/// The period, repeated until every piece is one slice, wherever in the period it begins.
pub struct Pattern {
    table: Vec<u8>,
}

impl Pattern {
    pub fn new() -> Self {
        let mut x: u64 = 1;
        let period: Vec<u8> = std::iter::repeat_with(|| {
            x = x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (x >> 56) as u8
        })
        .take(PERIOD)
        .collect();
        Pattern { table: period.iter().copied().cycle().take(PERIOD + LONGEST).collect() }
    }

    /// The bytes from this place on: as many as asked for, or the longest piece.
    #[inline]
    pub fn piece(&self, place: Place, length: u64) -> &[u8] {
        &self.table[place.0..place.0 + length.min(LONGEST as u64) as usize]
    }
}

/// Where in the period a stream is.
#[derive(Clone, Copy)]
pub struct Place(usize);

impl Place {
    /// Where the stream of a connection begins.
    pub fn origin(connection: usize) -> Self {
        Place((connection as u64).wrapping_mul(STRIDE) as usize % PERIOD)
    }

    #[inline]
    pub fn advance(&mut self, bytes: usize) {
        self.0 += bytes;
        // A division for few messages only.
        if self.0 >= PERIOD {
            self.0 %= PERIOD;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    /// The piece at a position of a connection's stream.
    fn piece(pattern: &Pattern, connection: usize, position: usize, length: usize) -> &[u8] {
        let mut place = Place::origin(connection);
        place.advance(position);
        pattern.piece(place, length as u64)
    }

    #[test]
    fn pieces_follow_each_other_without_a_seam() {
        let pattern = Pattern::new();
        let whole = piece(&pattern, 7, 0, LONGEST);
        for cut in [1, 64, 65_520, 65_521, 65_522, 200_000] {
            assert_eq!(whole[cut..], *piece(&pattern, 7, cut, LONGEST - cut), "{cut}");
        }
        for position in [0, 1, 65_520, 65_521, 1 << 40] {
            assert_eq!(piece(&pattern, 7, position, usize::MAX).len(), LONGEST, "{position}");
        }
    }

    #[test]
    fn every_connection_begins_elsewhere() {
        let origins: HashSet<usize> = (0..PERIOD).map(|connection| Place::origin(connection).0).collect();
        assert_eq!(origins.len(), PERIOD);
    }

    #[test]
    fn another_message_or_connection_is_noticed() {
        let pattern = Pattern::new();
        for size in [16, 64, 1_000, 1_024, 4_096, 65_536, 1 << 20] {
            let sent = piece(&pattern, 3, 50 * size, size);
            for message in (0..100).filter(|message| *message != 50) {
                assert_ne!(sent, piece(&pattern, 3, message * size, size), "{size} {message}");
            }
            for connection in (0..2_000).filter(|connection| *connection != 3) {
                for message in [49, 50, 51] {
                    assert_ne!(sent, piece(&pattern, connection, message * size, size), "{size} {connection}");
                }
            }
        }
    }
}
