//! The timer queue: timers ordered by deadline, in a slab of slots beside the nodes that order them.
//!
//! ```text
//!   nodes  [ node | node | node ... ]  by deadline, as far as that matters: `timer_nodes.rs`
//!              | slot and order
//!              v
//!   slots  [ slot | slot | slot ]      holds the value; a slot's index is its key's `slot`
//! ```
//!
//! Most timers never fire: they are cancelled, or moved on, long before. So one that is far away gets no node until
//! nothing is near any more. And to disarm a timer is to empty its slot, or to mark it; the node, if it has one, stays
//! behind, stale: its slot is empty, or has another order. It is dropped where it is met, or with all that have similar
//! deadlines, when none of those is armed. And all stale nodes are dropped when there are more than four times as many nodes
//! as armed timers: that is looked at when one more comes near, when what is far comes near, or when one that comes first is
//! taken off the heap. So everything is O(1), amortised, but for the timers that come near, which take O(log n) of a bin,
//! and a deadline that is moved a million times takes few nodes. (Amortised: one call may go through all nodes.)

use super::places::Places;
use super::timeline::Timeline;
use super::timer_bins::Node;
use super::timer_nodes::{Near, Nodes};
use std::mem;
use std::time::Instant;

/// Timers ordered by deadline; equal deadlines by the order in which they were armed.
#[derive(Debug)]
pub(crate) struct TimerQueue<T> {
    slots: Places<Slot<T>>,
    /// How many of them are of timers that are not armed. (Those that are would have to be counted at each wait.)
    unarmed: usize,
    nodes: Nodes,
    /// Whether memory for many timers has gone back since this was asked.
    gave_back: bool,
    time: Timeline,
}

#[derive(Debug)]
struct Slot<T> {
    /// The deadline; `NEVER` if the timer is not armed.
    at: u64,
    /// The order among equal deadlines, and that of the node, if there is one; `NEVER`, too.
    order: u64,
    /// The timer's identity: slots are reused, sequence numbers are not.
    sequence: u64,
    value: T,
}

/// Names one timer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TimerKey {
    pub(crate) slot: u32,
    pub(crate) sequence: u64,
}

/// No deadline, and no order, of a timer that is not armed.
const NEVER: u64 = u64::MAX;

/// So many stale nodes are not worth looking for.
const LITTER: usize = 1024;

impl<T> TimerQueue<T> {
    pub(crate) fn new() -> Self {
        let (slots, nodes, time) = (Places::new(), Nodes::new(), Timeline::new());
        TimerQueue { slots, unarmed: 0, nodes, gave_back: false, time }
    }

    /// It is `now`, from here on.
    ///
    /// A deadline before that counts as that: so a timer that is armed with a past deadline again and again cannot get
    /// ahead of those already due.
    pub(crate) fn advance(&mut self, now: Instant) {
        self.time.advance(now);
    }

    /// Arms a timer that holds what `make` makes. `sequence` is its identity and its place among equal deadlines.
    #[inline(always)]
    pub(crate) fn insert(&mut self, deadline: Instant, sequence: u64, make: impl FnOnce() -> T) -> TimerKey {
        self.tidy();
        let at = self.time.at(deadline);
        let slot = self.slots.insert_with(|| Slot { at, order: sequence, sequence, value: make() });
        self.add(at, sequence, slot);
        TimerKey { slot, sequence }
    }

    /// Takes a timer that is armed later, by `rearm`.
    pub(crate) fn insert_unarmed(&mut self, sequence: u64, value: T) -> TimerKey {
        self.tidy();
        let slot = self.slots.insert_with(|| Slot { at: NEVER, order: NEVER, sequence, value });
        self.unarmed += 1;
        TimerKey { slot, sequence }
    }

    /// Takes a timer out; `None` if it has gone.
    #[inline(always)]
    pub(crate) fn remove(&mut self, key: TimerKey) -> Option<T> {
        let slot = self.slots.take_if(key.slot, |slot| slot.sequence == key.sequence)?;
        match slot.at {
            NEVER => self.unarmed -= 1,
            at => self.nodes.forget(at, key.slot),
        }
        self.begin_anew_if_idle();
        Some(slot.value)
    }

    /// Disarms a timer, and keeps it, to be armed again. What `look` says of it; `None` if it is not armed, or has
    /// gone.
    #[inline]
    pub(crate) fn unset<R>(&mut self, key: TimerKey, look: impl FnOnce(&T) -> R) -> Option<R> {
        let slot = self.slots.get_mut(key.slot)?;
        if slot.sequence != key.sequence || slot.at == NEVER {
            return None;
        }
        let result = look(&slot.value);
        slot.order = NEVER;
        let at = mem::replace(&mut slot.at, NEVER);
        self.nodes.forget(at, key.slot);
        self.unarmed += 1;
        self.begin_anew_if_idle();
        Some(result)
    }

    /// Arms a timer again: moves it to a new deadline, as if armed now, or gives it one. Its key stays. What `look`
    /// says of it, and of whether it was armed; `None` if it has gone.
    #[inline]
    pub(crate) fn rearm<R>(
        &mut self,
        key: TimerKey,
        deadline: Instant,
        order: u64,
        look: impl FnOnce(bool, &T) -> R,
    ) -> Option<R> {
        let at = self.time.at(deadline);
        let slot = self.slots.get_mut(key.slot).filter(|slot| slot.sequence == key.sequence)?;
        let result = look(slot.at != NEVER, &slot.value);
        slot.order = order;
        match mem::replace(&mut slot.at, at) {
            NEVER => self.unarmed -= 1,
            former => self.nodes.forget(former, key.slot),
        }
        self.add(at, order, key.slot);
        Some(result)
    }

    #[inline]
    pub(crate) fn get(&self, key: TimerKey) -> Option<&T> {
        let slot = self.slots.get(key.slot)?;
        (slot.sequence == key.sequence).then_some(&slot.value)
    }

    pub(crate) fn get_mut(&mut self, key: TimerKey) -> Option<&mut T> {
        let slot = self.slots.get_mut(key.slot)?;
        (slot.sequence == key.sequence).then_some(&mut slot.value)
    }

    pub(crate) fn is_armed(&self, key: TimerKey) -> bool {
        self.slots.get(key.slot).is_some_and(|slot| slot.sequence == key.sequence && slot.at != NEVER)
    }

    /// Whether it is one of those that are due and were armed before `cut`.
    pub(crate) fn is_due(&self, key: TimerKey, cut: u64) -> bool {
        let is_due = |slot: &Slot<T>| slot.sequence == key.sequence && slot.at <= self.time.now() && slot.order < cut;
        self.slots.get(key.slot).is_some_and(is_due)
    }

    /// When it is due; `None` if it is not armed, or has gone.
    pub(crate) fn deadline(&self, key: TimerKey) -> Option<Instant> {
        let slot = self.slots.get(key.slot)?;
        (slot.sequence == key.sequence && slot.at != NEVER).then(|| self.time.instant(slot.at))
    }

    /// Whether memory for many timers has gone back since this was asked, so that what is behind them may go, too.
    pub(crate) fn take_given_back(&mut self) -> bool {
        mem::take(&mut self.gave_back)
    }

    /// The earliest deadline. `touch` is as in [`first_due`](TimerQueue::first_due).
    pub(crate) fn earliest(&mut self, touch: impl Fn(&[Option<&T>])) -> Option<Instant> {
        let first = self.first(touch)?;
        Some(self.time.instant(first.at))
    }

    /// The timer to fire next among those that are due and were armed before `cut`.
    ///
    /// A newcomer never hides an older due timer below it: none is armed for before [`now`](TimerQueue::advance), and
    /// among equal deadlines the older comes first.
    ///
    /// `touch` is called with what a few timers hold that will be due soon: it reads something of the memory behind each.
    #[inline]
    pub(crate) fn first_due(&mut self, cut: u64, touch: impl Fn(&[Option<&T>])) -> Option<TimerKey> {
        let node = self.first(touch)?;
        if node.at > self.time.now() || node.order >= cut {
            return None;
        }
        let sequence = self.slots.get(node.slot)?.sequence;
        Some(TimerKey { slot: node.slot, sequence })
    }

    /// Of those that are armed.
    pub(crate) fn values(&self) -> impl Iterator<Item = &T> {
        self.slots.iter().filter(|slot| slot.at != NEVER).map(|slot| &slot.value)
    }

    /// Empties the queue and hands out what it held, for the caller to drop when nothing is borrowed.
    pub(crate) fn take_all(&mut self) -> Vec<T> {
        let values = self.slots.take_all().map(|slot| slot.value).collect();
        self.unarmed = 0;
        self.nodes = Nodes::new();
        self.begin_anew();
        values
    }

    /// How many timers are armed.
    #[inline(always)]
    pub(crate) fn armed(&self) -> usize {
        self.slots.len() - self.unarmed
    }

    // Nodes.

    #[inline(always)]
    fn add(&mut self, at: u64, order: u64, slot: u32) {
        let is_near = self.nodes.add(Node { at, order, slot }, listed(&self.slots));
        if is_near && self.is_littered() {
            self.drop_stale_nodes();
        }
    }

    /// Whether nodes are four times as many as the armed timers, and enough to pay for the search for what is stale. Asked
    /// where nodes come from and where they are gone through, and not at each disarming, because whoever disarms one
    /// timer after the other will often disarm them all.
    fn is_littered(&self) -> bool {
        self.nodes.len() > 4 * self.armed() + LITTER
    }

    /// Before one more is taken in.
    #[inline(always)]
    fn tidy(&mut self) {
        if self.slots.wants_a_look() {
            self.drop_stale_nodes();
        }
    }

    /// The first node that is not stale.
    fn first(&mut self, touch: impl Fn(&[Option<&T>])) -> Option<Node> {
        loop {
            let slots = &self.slots;
            let value = |node: &Node| {
                let slot = slots.get(node.slot).filter(|slot| slot.order == node.order);
                slot.map(|slot| &slot.value)
            };
            match self.nodes.first_near(listed(slots), value, &touch) {
                Near::First(node) => return Some(node),
                Near::Nothing if self.nodes.are_none_far() => return None,
                _ if self.is_littered() => self.drop_stale_nodes(),
                Near::Stale => self.nodes.drop_stale(),
                Near::Nothing => self.nodes.draw_near(listed(slots)),
            }
        }
    }

    /// One less may be armed than before.
    #[inline(always)]
    fn begin_anew_if_idle(&mut self) {
        if self.armed() == 0 {
            self.begin_anew();
        }
    }

    /// None is armed: all nodes are stale. Memory is kept for as many timers as there were lately; when there were many
    /// more before, that of the nodes goes back, and that of the slots as far as those allow which are not armed.
    fn begin_anew(&mut self) {
        let are_few = if self.slots.is_empty() { self.slots.begin_anew() } else { self.slots.look_at_memory() };
        if are_few {
            self.nodes = Nodes::new();
            self.gave_back = true;
        } else {
            self.nodes.clear();
        }
    }

    /// And what memory is not needed.
    #[cold]
    #[inline(never)]
    fn drop_stale_nodes(&mut self) {
        if self.slots.look_at_memory() {
            self.gave_back = true;
        }
        self.nodes.drop_all_stale(listed(&self.slots));
        // What was needed lately will be needed again, if there are still slots for it.
        let room = self.slots.room();
        self.nodes.shrink((2 * self.slots.most().min(room)).max(LITTER / 16), room);
    }
}

/// Tells the node that the timer of a slot has, or ought to have. (That of one that is not armed is nobody's.)
#[inline(always)]
fn listed<T>(slots: &Places<Slot<T>>) -> impl Fn(u32) -> Option<Node> {
    |slot| slots.get(slot).map(|&Slot { at, order, .. }| Node { at, order, slot })
}

#[cfg(test)]
impl<T> TimerQueue<T> {
    /// What a timer takes, without a node.
    pub(crate) const BYTES: usize = Places::<Slot<T>>::BYTES;
}

#[cfg(test)]
mod tests {
    use super::super::timer_bins::FEW;
    use super::*;
    use std::time::Duration;

    fn nothing_behind<T>(_: &[Option<&T>]) {}

    /// The next timer that is due, with its deadline.
    fn due<T>(queue: &mut TimerQueue<T>, cut: u64) -> Option<(TimerKey, Instant)> {
        let key = queue.first_due(cut, nothing_behind)?;
        Some((key, queue.deadline(key).unwrap()))
    }

    fn drain(queue: &mut TimerQueue<u32>, now: Instant) -> Vec<u32> {
        let mut fired = Vec::new();
        queue.advance(now);
        while let Some(key) = queue.first_due(u64::MAX, nothing_behind) {
            fired.push(queue.remove(key).unwrap());
        }
        fired
    }

    #[test]
    fn equal_deadlines_fire_in_the_order_armed() {
        let now = Instant::now();
        let mut queue = TimerQueue::new();
        for n in 0..100 {
            queue.insert(now, n.into(), || n);
        }
        assert_eq!(drain(&mut queue, now), (0..100).collect::<Vec<_>>());
    }

    /// Goal: the queue agrees with a sorted list under any mix of insert, remove, re-arm and unset.
    /// Method: a fixed pseudo-random walk, the model beside it, the invariants after every step, or now and then.
    /// Once with a few hundred, once with so few that bins empty, once with so many that they are divided.
    #[test]
    fn a_long_random_walk_agrees_with_a_sorted_list() {
        walk(20_000, 0, usize::MAX);
        walk(20_000, 0, 12);
        walk(8_000, 4_000, usize::MAX);
    }

    /// Of so many steps the first insert; from `at_most` timers on, they are removed.
    fn walk(steps: u64, first: u64, at_most: usize) {
        let mut queue = TimerQueue::new();
        let epoch = queue.time.instant(0);
        let mut model: Vec<(u64, u64, u32, TimerKey)> = Vec::new();
        let mut unset = Vec::new();
        let mut seed = 0x2545_f491_4f6c_dd1d_u64;
        for sequence in 0..steps {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            // Far and near, often equal, with bins that are drawn in between.
            let (ms, pick) = (if seed & 1 == 0 { seed % 500 } else { seed % 100_000_000 }, seed >> 32);
            let at = epoch + Duration::from_millis(ms);
            let step = if sequence < first { 4 } else { pick % 5 };
            match if model.len() < at_most { step } else { 0 } {
                0 if !model.is_empty() => {
                    let (_, _, value, key) = model.swap_remove(pick as usize % model.len());
                    assert_eq!(queue.remove(key), Some(value));
                    assert_eq!(queue.remove(key), None, "a stale key finds nothing");
                    continue;
                }
                1 if !model.is_empty() => {
                    let index = pick as usize % model.len();
                    let entry = &mut model[index];
                    (entry.0, entry.1) = (ms, sequence);
                    assert_eq!(
                        queue.rearm(entry.3, at, sequence, |armed, value| (armed, *value)),
                        Some((true, entry.2))
                    );
                }
                2 if !unset.is_empty() => {
                    let (value, key) = unset.swap_remove(pick as usize % unset.len());
                    assert_eq!(queue.rearm(key, at, sequence, |armed, value| (armed, *value)), Some((false, value)));
                    model.push((ms, sequence, value, key));
                }
                3 if !model.is_empty() => {
                    let (_, _, value, key) = model.swap_remove(pick as usize % model.len());
                    assert_eq!(queue.unset(key, |value| *value), Some(value));
                    assert_eq!((queue.unset(key, |_| ()), queue.is_armed(key)), (None, false));
                    assert_eq!(queue.get(key), Some(&value), "it keeps its slot");
                    unset.push((value, key));
                    continue;
                }
                2 => {
                    let value = sequence as u32;
                    unset.push((value, queue.insert_unarmed(sequence, value)));
                }
                _ => {
                    let value = sequence as u32;
                    let key = queue.insert(at, sequence, || value);
                    model.push((ms, sequence, value, key));
                }
            }
            assert_eq!((queue.armed(), queue.slots.len()), (model.len(), model.len() + unset.len()));
            if first > 0 && sequence % 32 > 0 {
                continue;
            }
            let is_far = |slot: &&Slot<u32>| slot.at != NEVER && queue.nodes.is_far(slot.at);
            assert_eq!(queue.nodes.armed_far(), queue.slots.iter().filter(is_far).count(), "the bins count theirs");
            let is_far_and_fresh = |slot| queue.slots.get(slot).as_ref().is_some_and(is_far);
            assert!(queue.nodes.fresh().iter().all(is_far_and_fresh));
            let listed = queue
                .nodes
                .iter()
                .filter(|node| queue.slots.get(node.slot).is_some_and(|slot| slot.order == node.order));
            let mut found: Vec<u32> = listed.map(|node| node.slot).chain(queue.nodes.fresh().iter()).collect();
            found.sort_unstable();
            assert_eq!((found.len(), found.windows(2).any(|two| two[0] == two[1])), (model.len(), false), "each once");
            if pick % 3 > 0 {
                continue;
            }
            let least = model.iter().map(|m| m.0).min();
            assert_eq!(queue.earliest(nothing_behind), least.map(|ms| epoch + Duration::from_millis(ms)));
        }
        assert!(!unset.is_empty() && unset.iter().all(|(value, key)| queue.get(*key) == Some(value)));
        model.sort_by_key(|m| (m.0, m.1));
        let expected: Vec<u32> = model.iter().map(|m| m.2).collect();
        assert_eq!(drain(&mut queue, epoch + Duration::from_secs(100_000)), expected);
    }

    #[test]
    fn a_newcomer_is_not_due_in_the_pass_that_armed_it() {
        let now = Instant::now();
        let mut queue = TimerQueue::new();
        queue.insert(now, 7, || ());
        queue.advance(now);
        assert!(queue.first_due(7, nothing_behind).is_none());
        assert!(queue.first_due(8, nothing_behind).is_some());
    }

    #[test]
    fn a_deadline_in_the_past_gets_ahead_of_nothing_that_is_due() {
        let mut queue = TimerQueue::new();
        let past = queue.time.instant(0);
        let now = past + Duration::from_secs(1);
        queue.insert(now, 1, || 1);
        queue.advance(now);
        queue.insert(past, 2, || 2);
        let key = queue.insert(now + Duration::from_secs(1), 3, || 3);
        queue.rearm(key, past, 4, |_, _| ());
        assert_eq!(queue.deadline(key), Some(now));
        assert_eq!(drain(&mut queue, now), [1, 2, 3]);
        assert_eq!(queue.deadline(key), None);
    }

    #[test]
    fn due_is_what_the_pass_will_fire() {
        let mut queue = TimerQueue::new();
        let later = queue.time.instant(0) + Duration::from_millis(1);
        let key = queue.insert(later, 7, || ());
        assert!(!queue.is_due(key, 8), "its deadline is still to come");
        queue.advance(later);
        assert!(!queue.is_due(key, 7), "it came in this pass");
        assert!(queue.is_due(key, 8));
        queue.rearm(key, later, 9, |_, _| ());
        assert!(!queue.is_due(key, 8), "it was armed anew in this pass, for the same deadline");
        assert!(queue.is_due(key, 10));
        queue.unset(key, |_| ());
        assert!(!queue.is_due(key, 10));
        queue.remove(key);
        assert!(!queue.is_due(key, 10));
    }

    #[test]
    fn rearming_for_ever_grows_nothing() {
        let mut queue = TimerQueue::new();
        let now = queue.time.instant(0);
        let key = queue.insert(now, 0, || ());
        for n in 1..100_000_u32 {
            let deadline = now + Duration::from_micros(n.into());
            queue.rearm(key, deadline, n.into(), |_, _| ());
            if n % 7 > 0 {
                assert_eq!(queue.earliest(nothing_behind), Some(deadline));
            }
            assert!(queue.nodes.len() <= LITTER + 4, "{} nodes", queue.nodes.len());
        }
        assert!(queue.nodes.len() > 0);
        let room = queue.nodes.room();
        assert!(room <= 8 * LITTER && queue.slots.room() <= 4, "room for {room} nodes");
    }

    /// Goal: many that are cancelled shortly before their deadline go in one sweep; each alone would cost a sift.
    #[test]
    fn stale_timers_in_the_heap_are_swept() {
        let mut queue = TimerQueue::new();
        let far = queue.time.instant(0) + Duration::from_secs(7_200);
        let mut cancelled: Vec<_> = (0..1_000).map(|n| queue.insert(far, n, || n)).collect();
        assert_eq!(queue.earliest(nothing_behind), Some(far));
        cancelled.extend((1_000..3_500).map(|n| queue.insert(far - Duration::from_millis(n), n, || n)));
        assert_eq!(queue.nodes.in_heap(), 2_500);
        let last = far - Duration::from_millis(1);
        queue.insert(last, 3_500, || 3_500);
        for key in cancelled {
            assert!(queue.remove(key).is_some());
        }
        assert_eq!(queue.earliest(nothing_behind), Some(last));
        assert_eq!(queue.nodes.len(), 1, "no other is left, neither in the heap nor behind it");
    }

    #[test]
    fn a_timer_that_is_far_away_does_not_keep_nearer_ones_in_the_heap() {
        let mut queue = TimerQueue::new();
        let (epoch, far) = (queue.time.instant(0), Duration::from_secs(7_200));
        queue.insert(epoch + far, 0, || 0);
        assert_eq!(queue.earliest(nothing_behind), Some(epoch + far));
        for n in 1..10_000 {
            queue.insert(epoch + far - Duration::from_millis(n), n, || n);
            let in_heap = queue.nodes.in_heap();
            assert!(in_heap <= FEW.max(3 * (queue.armed() - in_heap)), "{in_heap}");
        }
        let mut last = Duration::ZERO;
        queue.advance(epoch + far);
        while let Some((key, deadline)) = due(&mut queue, u64::MAX) {
            assert!(deadline - epoch > last);
            last = deadline - epoch;
            queue.remove(key);
        }
        assert_eq!((last, queue.slots.len()), (far, 0));
    }

    #[test]
    fn memory_is_kept_for_the_next_round_and_goes_back_after_a_small_one() {
        const MANY: u32 = 100_000;
        let mut queue = TimerQueue::new();
        let mut round = |timers| {
            let arm = |n| queue.insert(queue.time.instant(0) + Duration::from_secs(n), n, || n);
            let mut keys: Vec<_> = (0..timers).map(arm).collect();
            assert!(queue.earliest(nothing_behind).is_some(), "so that they have nodes");
            keys.drain(..).for_each(|key| assert!(queue.remove(key).is_some()));
            (queue.slots.room(), queue.nodes.room())
        };
        let (slots, nodes) = round(u64::from(MANY));
        assert!(slots >= MANY as usize && nodes >= MANY as usize, "room for {slots} slots and {nodes} nodes");
        round(1);
        let (slots, nodes) = round(1);
        assert!(slots <= 4 * LITTER && nodes <= 64 * LITTER, "room for {slots} slots and {nodes} nodes");
        assert!(queue.nodes.fresh().room() <= 4 * LITTER, "bits for {} slots", queue.nodes.fresh().room());
    }

    #[test]
    fn memory_goes_back_although_one_timer_stays() {
        let mut queue = TimerQueue::new();
        let epoch = queue.time.instant(0);
        let arm = |queue: &mut TimerQueue<u64>, n| queue.insert(epoch + Duration::from_secs(n), n, || n);
        arm(&mut queue, 0);
        let keys: Vec<_> = (1..100_000).map(|n| arm(&mut queue, n)).collect();
        assert!(queue.earliest(nothing_behind).is_some() && queue.nodes.len() == 100_000);
        keys.into_iter().for_each(|key| assert!(queue.remove(key).is_some()));
        assert!(queue.nodes.len() <= LITTER, "{} nodes for one timer", queue.nodes.len());
        for n in 100_000..300_000 {
            let key = arm(&mut queue, n);
            assert_eq!(queue.remove(key), Some(n));
        }
        let (slots, nodes) = (queue.slots.room(), queue.nodes.room());
        assert!(slots <= 4 * LITTER && nodes <= 64 * LITTER, "room for {slots} slots and {nodes} nodes");
        assert!(queue.nodes.fresh().room() <= 4 * LITTER, "bits for {} slots", queue.nodes.fresh().room());
    }

    #[test]
    fn many_timers_fire_in_order_whatever_came_between() {
        let mut queue = TimerQueue::new();
        let epoch = queue.time.instant(0);
        let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
        let mut next = || {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            seed >> 33
        };
        for sequence in 0..30_000 {
            queue.insert(epoch + Duration::from_micros(next() % 100_000), sequence, || sequence);
        }
        let (mut fired, mut last, mut now) = (0, (Duration::ZERO, 0), epoch);
        for newcomer in 30_000..31_000 {
            now += Duration::from_micros(next() % 200);
            queue.advance(now);
            while let Some((key, deadline)) = due(&mut queue, newcomer) {
                let this = (deadline - epoch, queue.remove(key).unwrap());
                assert!(last < this, "{last:?} before {this:?}");
                (fired, last) = (fired + 1, this);
            }
            queue.insert(now + Duration::from_micros(next() % 100), newcomer, || newcomer);
        }
        queue.advance(epoch + Duration::from_secs(9));
        while let Some((key, deadline)) = due(&mut queue, u64::MAX) {
            let this = (deadline - epoch, queue.remove(key).unwrap());
            assert!(last < this, "{last:?} before {this:?}");
            (fired, last) = (fired + 1, this);
        }
        assert_eq!((fired, queue.earliest(nothing_behind)), (31_000, None));
    }

    #[test]
    fn a_deadline_beyond_all_numbers_is_the_last() {
        let now = Instant::now();
        let mut queue = TimerQueue::new();
        let far = now + Duration::from_secs(u64::MAX / 1_000_000_000 * 2);
        let (last, first) = (queue.insert(far, 1, || 'b'), queue.insert(now + Duration::from_secs(1), 2, || 'a'));
        assert_eq!(queue.earliest(nothing_behind), Some(now + Duration::from_secs(1)));
        assert_eq!(queue.remove(first), Some('a'));
        assert!(queue.earliest(nothing_behind) > Some(now + Duration::from_secs(1 << 33)));
        queue.insert(far, 3, || 'c');
        assert_eq!(queue.remove(last), Some('b'));
        queue.advance(far);
        assert!(queue.first_due(u64::MAX, nothing_behind).is_some());
    }
}
