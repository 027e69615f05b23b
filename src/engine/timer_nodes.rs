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
//! more, whatever is far gets a node, and only what comes near is sorted, a small bin at a time. Which nodes are stale is
//! the timer queue's to know: `listed` tells the node that the timer of a slot has, or ought to have.

use super::bits::Bits;
use super::timer_bins::{Bins, FEW, FIRST, Node};
use std::cmp::Reverse;
use std::collections::BinaryHeap;

#[derive(Debug)]
pub(super) struct Nodes {
    /// What was in the bin that was drawn last, in order: the least at the end.
    drawn: Vec<Node>,
    /// How many of them, from the start, were not looked at together with others.
    cold: usize,
    /// The other nodes before `limit`, the least on top.
    soon: BinaryHeap<Reverse<Node>>,
    /// The timers that are not before `limit`.
    bins: Bins,
    limit: u64,
    /// The slots of those of them that have no node yet.
    fresh: Bits,
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
pub(super) const AHEAD: usize = 64;

/// What is near keeps room for so many at least.
const ROOM: usize = 4096;

impl Nodes {
    pub(super) fn new() -> Self {
        // With room from the start, for what `bins.draw` exchanges: or a bin would be left without, to be filled who knows
        // when.
        let (drawn, soon) = (Vec::with_capacity(FIRST), BinaryHeap::with_capacity(FIRST));
        Nodes { drawn, cold: 0, soon, bins: Bins::new(), limit: 0, fresh: Bits::new() }
    }

    /// How many there are, stale ones included.
    pub(super) fn len(&self) -> usize {
        self.drawn.len() + self.soon.len() + self.bins.len()
    }

    /// Adds an armed timer; what is far away has no node yet. Answers whether one more node is near.
    #[inline(always)]
    pub(super) fn add(&mut self, node: Node, listed: impl Fn(u32) -> Option<Node>) -> bool {
        let is_near = node.at < self.limit;
        if is_near {
            self.add_near(node.at, node.order, node.slot, listed);
        } else {
            self.fresh.insert(node.slot);
            self.bins.count(node.at);
        }
        is_near
    }

    /// Takes the fields, which travel in registers: the node as a whole would go through memory, piece by piece.
    #[inline(never)]
    fn add_near(&mut self, at: u64, order: u64, slot: u32, listed: impl Fn(u32) -> Option<Node>) {
        self.soon.push(Reverse(Node { at, order, slot }));
        if self.soon.len() > FEW.max(3 * (self.drawn.len() + self.bins.armed())) {
            self.spread(listed);
        }
    }

    /// The first timer was far away when it was drawn, and of what came since nearly all is nearer, and in the heap:
    /// all of it goes into bins again.
    #[cold]
    fn spread(&mut self, listed: impl Fn(u32) -> Option<Node>) {
        self.list_far(&listed);
        let is_armed = is_armed(listed);
        let soon = self.soon.drain().map(|Reverse(node)| node);
        let near = soon.chain(self.drawn.drain(..)).filter(&is_armed).collect();
        self.cold = 0;
        self.limit = self.bins.fill(near, is_armed);
    }

    /// A timer with this deadline is not armed any more; its node, if it has one, is stale from here on.
    #[inline(always)]
    pub(super) fn forget(&mut self, at: u64, slot: u32) {
        if at >= self.limit {
            self.fresh.remove(slot);
            self.bins.forget(at);
        }
    }

    /// Makes the nodes that have been put off.
    fn list_far(&mut self, listed: impl Fn(u32) -> Option<Node>) {
        let Nodes { fresh, bins, .. } = self;
        fresh.take_each(|slot| listed(slot).into_iter().for_each(|node| bins.add(node)));
    }

    /// The first of those that are near. What is drawn and stale before it goes; what is stale in the heap does not,
    /// because that is dear.
    ///
    /// `value` tells what the timer of a node holds; `None` if that is stale. `touch` is called with what those hold that
    /// will be the first soon: it reads something of the memory behind each.
    #[inline(always)] // Or the node would go through memory twice.
    pub(super) fn first_near<'a, T: 'a>(
        &mut self,
        listed: impl Fn(u32) -> Option<Node>,
        value: impl Fn(&Node) -> Option<&'a T>,
        touch: impl Fn(&[Option<&T>]),
    ) -> Near {
        let is_armed = is_armed(listed);
        loop {
            if self.cold >= self.drawn.len() && self.cold > 0 {
                self.look_ahead(&value, &touch);
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
    /// several at once: first for the timers, then for what is behind them.
    fn look_ahead<'a, T: 'a>(&mut self, value: impl Fn(&Node) -> Option<&'a T>, touch: impl Fn(&[Option<&T>])) {
        self.cold = self.drawn.len().saturating_sub(AHEAD);
        let (mut held, mut live) = ([None; AHEAD], 0);
        for next in self.cold..self.drawn.len() {
            let node = self.drawn[next];
            if let Some(value) = value(&node) {
                held[live] = Some(value);
                self.drawn[self.cold + live] = node;
                live += 1;
            }
        }
        self.drawn.truncate(self.cold + live);
        touch(&held[..live]);
    }

    /// Whether no timer is far away.
    pub(super) fn are_none_far(&self) -> bool {
        self.bins.is_empty()
    }

    /// Nothing is near any more, and something is far: that gets its nodes, and the first bin comes near, in order if it is
    /// small; a larger one is divided first, and nothing is near yet.
    #[inline(never)] // Or the loop that fires one timer after the other would run out of registers.
    pub(super) fn draw_near(&mut self, listed: impl Fn(u32) -> Option<Node>) {
        self.list_far(&listed);
        self.limit = self.bins.draw(&mut self.drawn, is_armed(listed));
        self.cold = self.drawn.len();
    }

    /// None is armed: drops all. Their memory stays.
    pub(super) fn clear(&mut self) {
        self.drawn.clear();
        self.cold = 0;
        self.soon.clear();
    }

    /// Drops the nodes that are stale.
    pub(super) fn drop_all_stale(&mut self, listed: impl Fn(u32) -> Option<Node>) {
        let is_armed = is_armed(listed);
        self.drawn.retain(&is_armed);
        self.cold = self.drawn.len();
        self.soon.retain(|Reverse(node)| is_armed(node));
        self.bins.retain(is_armed);
    }

    /// Gives back the memory of what has room for many more than `room` and than there are, and that for slots from `slots`
    /// on, none of which is used.
    pub(super) fn shrink(&mut self, room: usize, slots: usize) {
        self.fresh.shrink(slots);
        self.drawn.shrink_to(room.max(ROOM));
        self.soon.shrink_to(room.max(ROOM));
        self.bins.shrink(room);
    }
}

/// Tells whether a node is not stale.
#[inline(always)]
fn is_armed(listed: impl Fn(u32) -> Option<Node>) -> impl Fn(&Node) -> bool {
    move |node| listed(node.slot).is_some_and(|listed| listed.order == node.order)
}

#[cfg(test)]
impl Nodes {
    pub(super) fn is_far(&self, at: u64) -> bool {
        at >= self.limit
    }

    pub(super) fn fresh(&self) -> &Bits {
        &self.fresh
    }

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
