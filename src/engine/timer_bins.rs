//! The far half of the timer queue: bins, each of timers with similar deadlines, in no order.
//!
//! A timer is counted by its bin as soon as it is armed, and has a node there only when it is [asked
//! for](Bins::draw). With the last armed timer of a bin all its nodes go, at once, however many are stale.

use std::mem;

/// One deadline of a timer, in the timer queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Node {
    /// The deadline: nanoseconds since the queue's epoch.
    pub(super) at: u64,
    /// Breaks ties: a heap alone returns equal deadlines in any order. Also tells newcomers from those who waited, and
    /// a node from a stale one.
    pub(super) order: u64,
    pub(super) slot: u32,
}

#[derive(Debug)]
pub(super) struct Bins {
    /// Bin `i` has the timers whose `at` and `base` differ in bit `i` and in none above it (bin 0 also those that do not
    /// differ). None of them is before `base`, so whatever is in a bin is before all that is in the next.
    bins: [Bin; 64],
    /// Bit `i` is set exactly while bin `i` has an armed timer.
    filled: u64,
    base: u64,
    /// How many nodes there are, stale ones included.
    len: usize,
    /// How many timers are armed.
    armed: usize,
}

#[derive(Debug)]
struct Bin {
    nodes: Vec<Node>,
    /// How many timers are armed, with a node or without. Never 0 while there are nodes.
    armed: usize,
}

/// A bin of no more nodes is drawn as it is; a larger one is first divided among the bins before it.
pub(super) const FEW: usize = 512;

/// A bin has room for so many from the start.
pub(super) const FIRST: usize = 4;

/// A bin that was drawn keeps room for so many. (One that was emptied keeps all of it: the next timers are likely to go
/// there.)
const ROOM: usize = 1024;

impl Bins {
    pub(super) fn new() -> Self {
        // With room from the start: a timer that is armed again and again visits one after the other.
        let bin = |_| Bin { nodes: Vec::with_capacity(FIRST), armed: 0 };
        Bins { bins: std::array::from_fn(bin), filled: 0, base: 0, len: 0, armed: 0 }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn is_empty(&self) -> bool {
        self.filled == 0
    }

    /// How many timers are armed, with a node or without.
    pub(super) fn armed(&self) -> usize {
        self.armed
    }

    #[cfg(test)]
    pub(super) fn iter(&self) -> impl Iterator<Item = &Node> {
        self.bins.iter().flat_map(|bin| &bin.nodes)
    }

    /// For how many there is room.
    #[cfg(test)]
    pub(super) fn room(&self) -> usize {
        self.bins.iter().map(|bin| bin.nodes.capacity()).sum()
    }

    /// A timer is armed, whose deadline is not before the base. It has no node yet.
    #[inline(always)]
    pub(super) fn count(&mut self, at: u64) {
        let index = self.index(at);
        self.bins[index].armed += 1;
        self.filled |= 1 << index;
        self.armed += 1;
    }

    /// Adds the node of a timer that has been counted.
    #[inline]
    pub(super) fn add(&mut self, node: Node) {
        let index = self.index(node.at);
        self.bins[index].nodes.push(node);
        self.len += 1;
    }

    /// A timer with this deadline is not armed any more; its node, if it has one, is stale from here on.
    #[inline(always)]
    pub(super) fn forget(&mut self, at: u64) {
        let index = self.index(at);
        let bin = &mut self.bins[index];
        bin.armed -= 1;
        self.armed -= 1;
        if bin.armed == 0 {
            self.empty(index);
        }
    }

    #[inline(never)]
    fn empty(&mut self, index: usize) {
        let nodes = &mut self.bins[index].nodes;
        self.len -= nodes.len();
        nodes.clear();
        self.filled &= !(1 << index);
    }

    #[inline(always)]
    fn index(&self, at: u64) -> usize {
        ((at ^ self.base) | 1).ilog2() as usize
    }

    /// Moves on to the first bin, when every armed timer has a node. Its nodes are drawn, in order and the least at the end,
    /// if they are few; or else they go into the bins before it, which are empty. Answers with the end of what was drawn:
    /// all that is still here is not before that.
    pub(super) fn draw(&mut self, drawn: &mut Vec<Node>, is_armed: impl Fn(&Node) -> bool) -> u64 {
        let index = self.filled.trailing_zeros();
        let bin = &mut self.bins[index as usize];
        let armed = mem::take(&mut bin.armed);
        self.armed -= armed;
        let mut nodes = mem::take(&mut bin.nodes);
        self.len -= nodes.len();
        self.filled &= !(1 << index);
        self.base = (self.base >> index | 1) << index;
        if armed < nodes.len() {
            nodes.retain(is_armed);
        }
        let mut end = self.base;
        if nodes.len() <= FEW || index == 0 {
            nodes.sort_unstable_by(|one, other| other.cmp(one));
            end = nodes.first().map_or(self.base, |last| last.at.saturating_add(1));
            mem::swap(drawn, &mut nodes); // That is empty, and its memory serves again.
        } else {
            nodes.drain(..).for_each(|node| self.count_and_add(node));
        }
        if nodes.capacity() <= ROOM {
            self.bins[index as usize].nodes = nodes;
        }
        end
    }

    fn count_and_add(&mut self, node: Node) {
        self.count(node.at);
        self.add(node);
    }

    /// Takes all out, when every armed timer has a node, and begins anew with what of that is not stale, and with these
    /// nodes, none of which is. Answers with the new base.
    pub(super) fn fill(&mut self, mut nodes: Vec<Node>, is_armed: impl Fn(&Node) -> bool) -> u64 {
        for bin in &mut self.bins {
            nodes.extend(bin.nodes.drain(..).filter(&is_armed));
            bin.armed = 0;
        }
        (self.filled, self.len, self.armed) = (0, 0, 0);
        self.base = nodes.iter().map(|node| node.at).min().unwrap_or(self.base);
        nodes.into_iter().for_each(|node| self.count_and_add(node));
        self.base
    }

    /// Gives back the memory of bins that have room for many more than `room` and than there are.
    pub(super) fn shrink(&mut self, room: usize) {
        for Bin { nodes, .. } in &mut self.bins {
            if nodes.is_empty() {
                if nodes.capacity() > room {
                    *nodes = Vec::new();
                }
            } else if nodes.capacity() > room.max(4 * ROOM.max(nodes.len())) {
                nodes.shrink_to_fit();
            }
        }
    }

    /// Drops the nodes that are stale.
    pub(super) fn retain(&mut self, is_armed: impl Fn(&Node) -> bool) {
        self.bins.iter_mut().for_each(|bin| bin.nodes.retain(&is_armed));
        self.len = self.bins.iter().map(|bin| bin.nodes.len()).sum();
    }
}
