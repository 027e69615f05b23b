//! The nodes of the timer queue, by deadline: those due soon in order, those due later in bins.
//!
//! ```text
//!              base      limit
//!   ------------|----------|-----------------------------------------------------------> deadline
//!               |   soon   |  bin 0..i   |     bin i + 1      |         bin i + 2 ...
//!
//!   drawn  [ node | node | node ]      in order; its last is due first
//!   soon   [ node | node ]             a heap: what was armed since, for so near a deadline
//!   bins   [ node | node | ... ]       not ordered; each is twice as wide as the one before it
//! ```
//!
//! (`base` is the bins'.) To arm a timer that is not due soon is to count it in its bin; only when nothing is near any
//! more, whatever is far gets a node, and only what comes near is sorted, a small bin at a time. Which timers have no
//! node yet, and which nodes are stale, is the timer queue's to know: it tells the latter with `is_armed`.

use super::timer_bins::{Bins, FEW, FIRST, Node};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::hint;

#[derive(Debug)]
pub(super) struct Nodes {
    /// What was in the bin that was drawn last, in order: the least at the end.
    drawn: Vec<Node>,
    /// How many of them, from the start, were not looked at together with others.
    cold: usize,
    /// The other nodes before `limit`, the least on top.
    soon: BinaryHeap<Reverse<Node>>,
    /// The other nodes. None of them is before `limit`.
    bins: Bins,
    limit: u64,
}

/// What comes first of the nodes that are near.
pub(super) enum Near {
    First(Node),
    /// One that is stale, on top of the heap. Maybe many are.
    Stale,
    /// Whatever is left is far away.
    Nothing,
}

/// So many nodes are looked at together, if there are so many.
const AHEAD: usize = 64;

/// What is near keeps room for so many at least.
const ROOM: usize = 4096;

impl Nodes {
    pub(super) fn new() -> Self {
        // With room from the start, for what `bins.draw` exchanges: or a bin would be left without, to be filled who knows
        // when.
        let (drawn, soon) = (Vec::with_capacity(FIRST), BinaryHeap::with_capacity(FIRST));
        Nodes { drawn, cold: 0, soon, bins: Bins::new(), limit: 0 }
    }

    /// How many there are, stale ones included.
    pub(super) fn len(&self) -> usize {
        self.drawn.len() + self.soon.len() + self.bins.len()
    }

    /// Whether a deadline is far away.
    #[inline(always)]
    pub(super) fn is_far(&self, at: u64) -> bool {
        at >= self.limit
    }

    /// A timer is armed whose deadline is far away. It has no node yet.
    #[inline(always)]
    pub(super) fn count_far(&mut self, at: u64) {
        self.bins.count(at);
    }

    /// A timer whose deadline is far away is not armed any more; its node, if it has one, is stale from here on.
    #[inline(always)]
    pub(super) fn forget_far(&mut self, at: u64) {
        self.bins.forget(at);
    }

    /// Adds the node of a timer that has been counted as far away.
    #[inline]
    pub(super) fn add_far(&mut self, node: Node) {
        self.bins.add(node);
    }

    /// Adds the node of a timer that is armed, and not far away.
    #[inline]
    pub(super) fn add_near(&mut self, node: Node) {
        self.soon.push(Reverse(node));
    }

    /// Whether the first timer was far away when it was drawn, and of what came since nearly all is nearer, and in the
    /// heap.
    #[inline]
    pub(super) fn is_top_heavy(&self) -> bool {
        self.soon.len() > FEW.max(3 * (self.drawn.len() + self.bins.armed()))
    }

    /// All of it goes into bins again. Every timer that is far away has a node.
    #[cold]
    pub(super) fn spread(&mut self, is_armed: impl Fn(&Node) -> bool) {
        let soon = self.soon.drain().map(|Reverse(node)| node);
        let near = soon.chain(self.drawn.drain(..)).filter(&is_armed).collect();
        self.cold = 0;
        self.limit = self.bins.fill(near, is_armed);
    }

    /// The first of those that are near. What is drawn and stale before it goes; what is stale in the heap does not,
    /// because that is dear.
    ///
    /// `touch` is called for nodes that will be the first soon: it reads something of the memory behind one, and
    /// returns it; `None` for a stale one.
    #[inline(always)] // Or the node would go through memory twice.
    pub(super) fn first_near(
        &mut self,
        is_armed: impl Fn(&Node) -> bool,
        touch: impl Fn(&Node) -> Option<usize>,
    ) -> Near {
        loop {
            if self.cold >= self.drawn.len() && self.cold > 0 {
                self.look_ahead(&touch);
            }
            let (drawn, newer) = (self.drawn.last(), self.soon.peek().map(|Reverse(node)| node));
            let is_drawn = match (drawn, newer) {
                (Some(drawn), Some(newer)) => drawn < newer,
                (drawn, _) => drawn.is_some(),
            };
            match if is_drawn { drawn } else { newer } {
                Some(&node) if is_armed(&node) => return Near::First(node),
                Some(_) if is_drawn => drop(self.drawn.pop()),
                Some(_) => return Near::Stale,
                None => return Near::Nothing,
            }
        }
    }

    /// Drops the node that was found [stale](Near::Stale).
    pub(super) fn drop_stale(&mut self) {
        self.soon.pop();
    }

    /// Looks at the next few drawn nodes and at what their timers hold, and drops those that are stale. One after the
    /// other when they fire, each look would wait for memory that is in no cache; here the processor waits for
    /// several at once.
    fn look_ahead(&mut self, touch: impl Fn(&Node) -> Option<usize>) {
        self.cold = self.drawn.len().saturating_sub(AHEAD);
        let (mut read, mut live) = (0, self.cold);
        for next in self.cold..self.drawn.len() {
            let node = self.drawn[next];
            if let Some(behind) = touch(&node) {
                read ^= behind;
                self.drawn[live] = node;
                live += 1;
            }
        }
        hint::black_box(read); // Or the compiler would leave the reading out.
        self.drawn.truncate(live);
    }

    /// Whether no timer is far away.
    pub(super) fn are_none_far(&self) -> bool {
        self.bins.is_empty()
    }

    /// Nothing is near any more, and something is far, and has nodes: the first bin comes near, in order if it is small; a larger one
    /// is divided first, and nothing is near yet.
    #[inline(never)] // Or the loop that fires one timer after the other would run out of registers.
    pub(super) fn draw_near(&mut self, is_armed: impl Fn(&Node) -> bool) {
        self.limit = self.bins.draw(&mut self.drawn, is_armed);
        self.cold = self.drawn.len();
    }

    /// None is armed: drops all. Their memory stays.
    pub(super) fn clear(&mut self) {
        self.drawn.clear();
        self.cold = 0;
        self.soon.clear();
    }

    /// Drops the nodes that are stale.
    pub(super) fn retain(&mut self, is_armed: impl Fn(&Node) -> bool) {
        self.drawn.retain(&is_armed);
        self.cold = self.drawn.len();
        self.soon.retain(|Reverse(node)| is_armed(node));
        self.bins.retain(is_armed);
    }

    /// Gives back the memory of what has room for many more than `room` and than there are.
    pub(super) fn shrink(&mut self, room: usize) {
        self.drawn.shrink_to(room.max(ROOM));
        self.soon.shrink_to(room.max(ROOM));
        self.bins.shrink(room);
    }
}

#[cfg(test)]
impl Nodes {
    pub(super) fn in_heap(&self) -> usize {
        self.soon.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Node> {
        self.drawn.iter().chain(self.soon.iter().map(|Reverse(node)| node)).chain(self.bins.iter())
    }

    /// How many far timers are armed, as the bins know.
    pub(super) fn armed_far(&self) -> usize {
        self.bins.armed()
    }

    /// For how many there is room.
    pub(super) fn room(&self) -> usize {
        self.drawn.capacity() + self.soon.capacity() + self.bins.room()
    }
}
