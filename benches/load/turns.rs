//! How evenly a server lets its connections have their turns: how long one of them waited, and what the one got that got
//! least. Where they are never asked for, nothing is kept.

use std::fmt::{self, Display, Formatter};

#[derive(Default)]
pub struct Turns {
    connections: Vec<Served>,
}

#[derive(Clone, Copy, Default)]
struct Served {
    bytes: u64,
    /// When something came last, or the measured time began.
    last: u64,
    longest_wait: u64,
}

pub struct Evenness {
    longest_wait_ns: u64,
    /// Of what each would have had if all had had the same.
    least_share: f64,
}

impl Turns {
    pub fn of(connections: usize) -> Self {
        Turns { connections: vec![Served::default(); connections] }
    }

    pub fn begin(&mut self, now: u64) {
        self.connections.fill(Served { last: now, ..Served::default() });
    }

    /// So many bytes came back on one of them.
    #[inline]
    pub fn served(&mut self, connection: usize, at: u64, bytes: u64) {
        if let Some(served) = self.connections.get_mut(connection) {
            served.bytes += bytes;
            served.wait_until(at);
        }
    }

    /// A wait that is not over counts as long as it has lasted.
    pub fn end(&mut self, now: u64) -> Option<Evenness> {
        self.connections.iter_mut().for_each(|served| served.wait_until(now));
        let all: u64 = self.connections.iter().map(|served| served.bytes).sum();
        let least = self.connections.iter().map(|served| served.bytes).min()?;
        let longest_wait_ns = self.connections.iter().map(|served| served.longest_wait).max()?;
        let least_share = (least * self.connections.len() as u64) as f64 / all.max(1) as f64;
        Some(Evenness { longest_wait_ns, least_share })
    }
}

impl Served {
    #[inline]
    fn wait_until(&mut self, at: u64) {
        self.longest_wait = self.longest_wait.max(at.saturating_sub(self.last));
        self.last = at;
    }
}

impl Display for Evenness {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        write!(f, "longest_wait_ns={}\nleast_share={:.4}", self.longest_wait_ns, self.least_share)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_waits_longest_and_who_gets_least() {
        let mut turns = Turns::of(2);
        turns.served(0, 50, 1_000); // Before it begins.
        turns.begin(100);
        for (connection, at, bytes) in [(0, 110, 10), (0, 120, 10), (1, 145, 10), (0, 150, 10)] {
            turns.served(connection, at, bytes);
        }
        let evenness = turns.end(180).unwrap();
        assert_eq!((evenness.longest_wait_ns, evenness.least_share), (45, 0.5), "one of them, from 100 to 145");
        turns.begin(200);
        turns.served(0, 201, 10);
        let evenness = turns.end(300).unwrap();
        assert_eq!((evenness.longest_wait_ns, evenness.least_share), (100, 0.0), "nothing came on one of them");
    }

    #[test]
    fn where_nobody_asks_there_is_nothing_to_tell() {
        assert!(Turns::default().end(7).is_none());
    }
}
