//! The timer queue: a 4-ary heap of deadlines over a slab of values.
//!
//! ```text
//!   heap  [ node | node | node | ... ]      ordered by (deadline, order); heap[0] is due first
//!            |  ^
//!       slot |  | position                  each points at the other, so that any timer is found,
//!            v  |                           removed or re-armed without a search: O(log n)
//!   slots [ slot | slot | slot | ... ]      holds the value; a slot's index is its key's `slot`
//! ```
//!
//! Four children a node instead of two: half the depth, and the four lie side by side in memory.
//! Nothing is left behind by a removal, so a deadline that is moved a million times still takes one node.

use slab::Slab;
use std::time::Instant;

const ARITY: usize = 4;

/// Timers ordered by deadline; equal deadlines by the order in which they were armed.
#[derive(Debug)]
pub(crate) struct TimerQueue<T> {
    heap: Vec<Node>,
    slots: Slab<Slot<T>>,
}

#[derive(Debug, Clone, Copy)]
struct Node {
    deadline: Instant,
    /// Breaks ties: a heap alone returns equal deadlines in any order. Also tells newcomers from those who waited.
    order: u64,
    slot: u32,
}

#[derive(Debug)]
struct Slot<T> {
    /// Index of this slot's node in the heap; kept true by `place`.
    position: u32,
    /// The timer's identity: slots are reused, sequence numbers are not.
    sequence: u64,
    value: T,
}

/// Names one armed timer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TimerKey {
    pub(crate) slot: u32,
    pub(crate) sequence: u64,
}

impl<T> TimerQueue<T> {
    pub(crate) fn new() -> Self {
        TimerQueue { heap: Vec::new(), slots: Slab::new() }
    }

    /// Arms a timer. `sequence` is its identity and its place among equal deadlines.
    pub(crate) fn insert(&mut self, deadline: Instant, sequence: u64, value: T) -> TimerKey {
        let slot = self.slots.insert(Slot { position: 0, sequence, value }) as u32;
        let node = Node { deadline, order: sequence, slot };
        self.heap.push(node);
        self.sift_up(self.heap.len() - 1, node);
        TimerKey { slot, sequence }
    }

    /// Disarms a timer; `None` if it has gone.
    pub(crate) fn remove(&mut self, key: TimerKey) -> Option<T> {
        self.get(key)?;
        let slot = self.slots.remove(key.slot as usize);
        let position = slot.position as usize;
        let last = self.heap.pop().expect("an armed timer has a node");
        if position < self.heap.len() {
            self.settle(position, last);
        }
        Some(slot.value)
    }

    /// Moves a timer to a new deadline, as if armed now; its key stays. Does nothing if it has gone.
    pub(crate) fn rearm(&mut self, key: TimerKey, deadline: Instant, order: u64) {
        let Some(slot) = self.slots.get(key.slot as usize) else {
            return;
        };
        if slot.sequence == key.sequence {
            let node = Node { deadline, order, slot: key.slot };
            self.settle(slot.position as usize, node);
        }
    }

    pub(crate) fn get(&self, key: TimerKey) -> Option<&T> {
        let slot = self.slots.get(key.slot as usize)?;
        (slot.sequence == key.sequence).then_some(&slot.value)
    }

    pub(crate) fn get_mut(&mut self, key: TimerKey) -> Option<&mut T> {
        let slot = self.slots.get_mut(key.slot as usize)?;
        (slot.sequence == key.sequence).then_some(&mut slot.value)
    }

    pub(crate) fn earliest(&self) -> Option<Instant> {
        self.heap.first().map(|node| node.deadline)
    }

    /// The timer to fire next among those due at `now` and armed before `cut`, with its deadline.
    ///
    /// A newcomer never hides an older due timer below it: `Engine::arm` gives it no deadline before the turn's
    /// reading of the clock, and among equal deadlines the older comes first.
    pub(crate) fn first_due(&self, now: Instant, cut: u64) -> Option<(TimerKey, Instant)> {
        let node = self.heap.first()?;
        (node.deadline <= now && node.order < cut).then(|| {
            let sequence = self.slots[node.slot as usize].sequence;
            let slot = node.slot;
            (TimerKey { slot, sequence }, node.deadline)
        })
    }

    pub(crate) fn values(&self) -> impl Iterator<Item = &T> {
        self.slots.iter().map(|(_, slot)| &slot.value)
    }

    /// Empties the queue and hands out what it held, for the caller to drop when nothing is borrowed.
    pub(crate) fn take_all(&mut self) -> Vec<T> {
        self.heap.clear();
        self.slots.drain().map(|slot| slot.value).collect()
    }

    /// Puts `node` at `position`, whose former node has left, and restores the order both ways.
    fn settle(&mut self, position: usize, node: Node) {
        if position > 0 && before(&node, &self.heap[(position - 1) / ARITY]) {
            self.sift_up(position, node);
        } else {
            self.sift_down(position, node);
        }
    }

    fn sift_up(&mut self, mut position: usize, node: Node) {
        while position > 0 {
            let parent = (position - 1) / ARITY;
            if !before(&node, &self.heap[parent]) {
                break;
            }
            self.place(position, self.heap[parent]);
            position = parent;
        }
        self.place(position, node);
    }

    fn sift_down(&mut self, mut position: usize, node: Node) {
        loop {
            let first = position * ARITY + 1;
            let children = first..(first + ARITY).min(self.heap.len());
            let Some(least) = children.reduce(|a, b| if before(&self.heap[b], &self.heap[a]) { b } else { a }) else {
                break;
            };
            if !before(&self.heap[least], &node) {
                break;
            }
            self.place(position, self.heap[least]);
            position = least;
        }
        self.place(position, node);
    }

    fn place(&mut self, position: usize, node: Node) {
        self.heap[position] = node;
        self.slots[node.slot as usize].position = position as u32;
    }
}

fn before(a: &Node, b: &Node) -> bool {
    (a.deadline, a.order) < (b.deadline, b.order)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn drain(queue: &mut TimerQueue<u32>, now: Instant) -> Vec<u32> {
        let mut fired = Vec::new();
        while let Some((key, _)) = queue.first_due(now, u64::MAX) {
            fired.push(queue.remove(key).unwrap());
        }
        fired
    }

    #[test]
    fn equal_deadlines_fire_in_the_order_armed() {
        let now = Instant::now();
        let mut queue = TimerQueue::new();
        for n in 0..100 {
            queue.insert(now, n.into(), n);
        }
        assert_eq!(drain(&mut queue, now), (0..100).collect::<Vec<_>>());
    }

    /// Goal: the heap agrees with a sorted list under any mix of insert, remove and re-arm.
    /// Method: a fixed pseudo-random walk, the model beside it, the invariants after every step.
    #[test]
    fn a_long_random_walk_agrees_with_a_sorted_list() {
        let epoch = Instant::now();
        let mut queue = TimerQueue::new();
        let mut model: Vec<(u64, u64, u32, TimerKey)> = Vec::new();
        let mut seed = 0x2545_f491_4f6c_dd1d_u64;
        for sequence in 0..20_000_u64 {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            let (ms, pick) = (seed % 500, seed >> 32);
            let at = epoch + Duration::from_millis(ms);
            match pick % 4 {
                0 if !model.is_empty() => {
                    let (_, _, value, key) = model.swap_remove(pick as usize % model.len());
                    assert_eq!(queue.remove(key), Some(value));
                    assert_eq!(queue.remove(key), None, "a stale key finds nothing");
                }
                1 if !model.is_empty() => {
                    let index = pick as usize % model.len();
                    let entry = &mut model[index];
                    (entry.0, entry.1) = (ms, sequence);
                    queue.rearm(entry.3, at, sequence);
                }
                _ => {
                    let value = sequence as u32;
                    let key = queue.insert(at, sequence, value);
                    model.push((ms, sequence, value, key));
                }
            }
            assert_eq!(queue.heap.len(), model.len());
            let least = model.iter().map(|m| m.0).min();
            assert_eq!(queue.earliest(), least.map(|ms| epoch + Duration::from_millis(ms)));
        }
        model.sort_by_key(|m| (m.0, m.1));
        let expected: Vec<u32> = model.iter().map(|m| m.2).collect();
        assert_eq!(drain(&mut queue, epoch + Duration::from_secs(1)), expected);
    }

    #[test]
    fn a_newcomer_is_not_due_in_the_pass_that_armed_it() {
        let now = Instant::now();
        let mut queue = TimerQueue::new();
        queue.insert(now, 7, ());
        assert!(queue.first_due(now, 7).is_none());
        assert!(queue.first_due(now, 8).is_some());
    }

    #[test]
    fn rearming_for_ever_grows_nothing() {
        let now = Instant::now();
        let mut queue = TimerQueue::new();
        let key = queue.insert(now, 0, ());
        for n in 1..100_000_u32 {
            queue.rearm(key, now + Duration::from_micros(n.into()), n.into());
        }
        assert_eq!((queue.heap.len(), queue.heap.capacity() <= 4, queue.slots.capacity() <= 4), (1, true, true));
    }
}
