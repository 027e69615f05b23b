//! Whether to spin before a sleep where events come one at a time, or a few.
//!
//! A client that waits for each answer sends again soon after it has it. To fall asleep meanwhile costs this thread the
//! sleep, and the wake-up of a client that has fallen asleep, too. What a spin costs instead depends on the machine and on
//! the clients. So both are tried, a block of waits each, and the thread's processor time tells. It counts all that the
//! thread does: what an answer takes longer that has to wake the client is in no other figure.
//!
//! The loop goes on spinning as long as an event takes no more than a quarter more of the processor, and at least half of
//! the spins find one: where it is a tie, clients are answered sooner. Trials become rare where they fail. Where many come at
//! once it sleeps seldom anyway. Of a fast stream a loop that spins finds smaller pieces more often, and each looks cheap,
//! while the processor works longer for a byte. So where most reads are large it does not.

use super::caution::Caution;
use super::clock::processor_time;
use std::cell::Cell;
use std::mem;
use std::time::Duration;

/// Reads so large that they were pieces of streams, counted by those who read.
#[derive(Debug, Default)]
pub(crate) struct LargeReads(Cell<u32>);

impl LargeReads {
    /// A smaller one may have been a message.
    const LEAST: usize = 32 * 1024;

    /// So many bytes were read at once.
    #[inline(always)]
    pub(crate) fn note(&self, bytes: usize) {
        if bytes >= Self::LEAST {
            self.0.set(self.0.get().saturating_add(1));
        }
    }

    #[cfg(test)]
    pub(crate) fn so_many(&self) -> u32 {
        self.0.get()
    }
}

#[derive(Debug, Default)]
pub(crate) struct Answers {
    /// Events since the last wait that might sleep, of those that came a few at a time.
    pending: usize,
    phase: Phase,
    /// So many waits of the block were.
    waits: u32,
    /// So many events came many at once meanwhile.
    crowded: usize,
    /// So often it spun and found nothing.
    in_vain: u32,
    /// Events of the block.
    events: u32,
    /// The thread's processor time when the block began.
    began_at: Duration,
    /// How long to rest after a trial in vain, in blocks.
    caution: Caution,
    /// For how many blocks a look at what sleeping costs is trusted, if that is more than the least; doubled each time spins
    /// were cheaper until then.
    trust: u32,
}

/// What a block of waits is for.
#[derive(Clone, Copy, Debug)]
enum Phase {
    /// The loop sleeps, in so many blocks after this one, and nobody looks what that costs.
    Resting(u32),
    /// The loop sleeps, to see what that costs. (Where something comes and goes, it spins for that, as it would otherwise.)
    Sleeping,
    /// The loop spins. When it slept, an event cost so much. In so many blocks since it paid to spin.
    Spinning { asleep: Duration, blocks: u32 },
}

impl Default for Phase {
    fn default() -> Self {
        Phase::Resting(0) // Where clients have just come, the first events are not like the others.
    }
}

impl Answers {
    /// How long it spins at most: about what it costs both ends together to fall asleep and be woken, where that is dear.
    pub(crate) const SPIN: Duration = Duration::from_micros(50);

    /// More than so many events at once are many.
    pub(crate) const A_FEW: usize = 8;

    /// Waits in a block. A trial in vain loses a spin for each at most, and where nothing is found, for the first few.
    const BLOCK: u32 = 32;

    /// Events in crowds. Fewer, now and then, do not spoil a block.
    const MOST_CROWDED: usize = 2 * Self::BLOCK as usize;

    /// More large reads than this, and streams are what a block was spent on.
    const MOST_LARGE: u32 = Self::BLOCK / 2;

    /// A block of spins is over as soon as so many more were in vain than were not: it takes 0.2 ms to see that nothing is
    /// to be found, and not 1.6.
    const HOPELESS: u32 = 4;

    /// Blocks in which it spins before it looks again what sleeping costs: few at first, because one handler that took long
    /// may have made that look dear, and where spins are not cheaper. With the most, those who wait longer meanwhile are
    /// not seen in the 99th percentile.
    const LEAST_TRUST: u32 = 8;
    const MOST_TRUST: u32 = 256;

    /// A wait has found a few events.
    pub(crate) fn found_a_few(&mut self, events: usize) {
        self.pending = self.pending.saturating_add(events);
    }

    /// A wait has found many, or none.
    #[inline(always)]
    pub(crate) fn found_many(&mut self, events: usize) {
        self.crowded = self.crowded.saturating_add(events);
    }

    /// A spin that was advised has found nothing.
    pub(crate) fn spun_in_vain(&mut self) {
        self.in_vain += 1;
    }

    /// A wait is about to begin. Whether to ask for advice, should that wait be allowed to sleep.
    #[inline(always)]
    pub(crate) fn might_advise_spin(&self) -> bool {
        self.pending > 0
    }

    /// A wait is about to begin that may sleep. Whether it should spin first.
    pub(crate) fn advise_spin(&mut self, large_reads: &LargeReads) -> bool {
        match mem::take(&mut self.pending) {
            0 => false, // A timer, or many events.
            events @ 1..=Self::A_FEW => self.a_few_came(events, large_reads, processor_time),
            events => {
                self.found_many(events);
                false
            }
        }
    }

    fn a_few_came(&mut self, events: usize, large_reads: &LargeReads, now: impl FnOnce() -> Option<Duration>) -> bool {
        self.events += events as u32; // Not more than a few.
        if self.waits == Self::BLOCK || self.is_hopeless() {
            match now() {
                Some(now) => self.end_block(now, large_reads.0.take() > Self::MOST_LARGE),
                None => *self = Answers::default(), // What is not counted cannot be judged.
            }
        }
        self.waits += 1;
        matches!(self.phase, Phase::Spinning { .. })
    }

    fn is_hopeless(&self) -> bool {
        2 * self.in_vain >= self.waits + Self::HOPELESS
    }

    fn end_block(&mut self, now: Duration, was_streaming: bool) {
        let spent = now.saturating_sub(mem::replace(&mut self.began_at, now));
        let crowded = mem::take(&mut self.crowded);
        let was_crowded = crowded > Self::MOST_CROWDED;
        let cost = spent / (mem::take(&mut self.events) + crowded.min(Self::MOST_CROWDED) as u32).max(1);
        // More were in vain than not, so it is not for the spins that the block was cheap.
        let was_in_vain = 2 * mem::take(&mut self.in_vain) > mem::take(&mut self.waits);
        self.phase = match self.phase {
            Phase::Resting(0) => Phase::Sleeping,
            Phase::Resting(blocks) => Phase::Resting(blocks - 1),
            Phase::Sleeping if was_crowded || was_streaming => self.rest(),
            Phase::Sleeping => Phase::Spinning { asleep: cost, blocks: 0 },
            Phase::Spinning { asleep, blocks } => {
                let has_paid = cost < asleep + asleep / 4 && !(was_crowded || was_in_vain || was_streaming);
                match blocks {
                    _ if has_paid => self.go_on(asleep, blocks + 1, cost < asleep),
                    0 => self.give_up(),
                    // The loop may have been busy with something else, or what sleeping costs may have changed.
                    _ => Phase::Sleeping,
                }
            }
        };
    }

    /// It paid to spin, in so many blocks. Where it was not cheaper, what sleeping costs may have changed.
    fn go_on(&mut self, asleep: Duration, blocks: u32, was_cheaper: bool) -> Phase {
        self.caution = self.caution.after_success();
        let trust = self.trust.max(Self::LEAST_TRUST);
        match (was_cheaper, blocks) {
            (false, Self::LEAST_TRUST..) => Phase::Sleeping,
            (true, _) if blocks >= trust => {
                self.trust = (2 * trust).min(Self::MOST_TRUST);
                Phase::Sleeping
            }
            _ => Phase::Spinning { asleep, blocks },
        }
    }

    /// It did not pay right after a look at what sleeping costs.
    fn give_up(&mut self) -> Phase {
        self.caution = self.caution.after_one_in_vain();
        self.trust = 0;
        self.rest()
    }

    /// As long as caution says, which with the most of it makes the trials cost each wait 50 ns at most.
    fn rest(&self) -> Phase {
        Phase::Resting(self.caution.occasions().saturating_sub(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHEAP: Duration = Duration::from_micros(20);
    const DEAR: Duration = Duration::from_micros(40);

    /// A loop on a thread that has worked so long.
    #[derive(Default)]
    struct Loop {
        answers: Answers,
        large_reads: LargeReads,
        worked: Duration,
    }

    impl Loop {
        /// A turn in which so many events cost so much each, after a sleep or after a spin. Returns whether it spins.
        fn turn(&mut self, events: usize, after_sleep: Duration, after_spin: Duration) -> bool {
            let spins = self.answers.a_few_came(events, &self.large_reads, || Some(self.worked));
            self.worked += (if spins { after_spin } else { after_sleep }) * events as u32;
            spins
        }

        /// Many turns with one event each. Returns in how many it spins.
        fn turns(&mut self, turns: u32, after_sleep: Duration, after_spin: Duration) -> u32 {
            (0..turns).filter(|_| self.turn(1, after_sleep, after_spin)).count() as u32
        }

        fn crowd(&mut self) {
            self.answers.found_many(16);
            assert!(!self.answers.might_advise_spin() && !self.answers.advise_spin(&self.large_reads));
        }
    }

    #[test]
    fn it_spins_where_that_takes_less_of_the_processor() {
        for events in 1..=Answers::A_FEW {
            let mut quick = Loop::default();
            let mut spins = |turns: u32| (0..turns).filter(|_| quick.turn(events, DEAR, CHEAP)).count();
            assert_eq!(spins(2 * Answers::BLOCK), 0, "it looks what sleeping costs");
            let spins = spins(100_000);
            assert!((98_000..100_000).contains(&spins), "{spins}: now and then it looks again");
        }
    }

    #[test]
    fn it_spins_where_that_takes_as_much() {
        let spins = Loop::default().turns(100_000, DEAR, DEAR + DEAR / 5);
        assert!(spins > 85_000, "{spins}: it looks again each 8 blocks");
    }

    #[test]
    fn one_handler_that_took_long_does_not_make_sleeps_look_dear_for_long() {
        let mut unlucky = Loop::default();
        unlucky.turns(Answers::BLOCK + 1, CHEAP, DEAR);
        unlucky.worked += Duration::from_secs(1);
        let spins = unlucky.turns(100_000, CHEAP, DEAR);
        assert!((1..1_000).contains(&spins), "{spins}");
    }

    #[test]
    fn it_hardly_ever_spins_where_that_takes_more() {
        let mut slow = Loop::default();
        let spins = slow.turns(100_000, DEAR, 2 * DEAR);
        assert!((1..500).contains(&spins), "{spins}");
        (0..10).for_each(|_| slow.answers.caution = slow.answers.caution.after_one_in_vain());
        let spins = slow.turns(1_000_000, DEAR, 2 * DEAR);
        assert!((1..1_200).contains(&spins), "{spins}: once in a thousand times");
        let spins = Loop::default().turns(100_000, DEAR, DEAR + DEAR / 3);
        assert!((1..500).contains(&spins), "{spins}: what costs a third more is not worth it");
    }

    /// How many of 100,000 turns spin, where so many of eight spins in a row find nothing.
    fn spins_with_in_vain(of_eight: u32) -> u32 {
        let mut noisy = Loop::default();
        let mut spins = 0;
        for _ in 0..100_000 {
            if noisy.turn(1, DEAR, CHEAP) {
                spins += 1;
                if spins % 8 < of_eight {
                    noisy.answers.spun_in_vain();
                }
            }
        }
        spins
    }

    #[test]
    fn who_spins_in_vain_does_not_go_on_however_cheap_that_looks() {
        let spins = spins_with_in_vain(5);
        assert!((1..500).contains(&spins), "{spins}");
    }

    #[test]
    fn where_nothing_is_found_a_trial_is_short() {
        let spins = spins_with_in_vain(8);
        assert!((1..=16 * Answers::HOPELESS).contains(&spins), "{spins}: each rest is twice as long as the last");
    }

    #[test]
    fn some_spins_in_vain_do_not_matter() {
        let spins = spins_with_in_vain(3);
        assert!(spins > 98_000, "{spins}");
    }

    #[test]
    fn where_most_reads_are_large_it_does_not_spin_however_cheap_that_looks() {
        let mut streaming = Loop::default();
        let spins = (0..100_000).filter(|_| {
            streaming.large_reads.note(LargeReads::LEAST);
            streaming.turn(1, DEAR, CHEAP)
        });
        assert_eq!(spins.count(), 0, "it need not even try");
        let spins = streaming.turns(100_000, DEAR, CHEAP);
        assert!(spins > 98_000, "{spins}: the stream is over");
        let spins = (0..100_000).filter(|_| {
            streaming.large_reads.note(LargeReads::LEAST);
            streaming.turn(1, DEAR, CHEAP)
        });
        let spins = spins.count();
        assert!(spins <= 2 * Answers::BLOCK as usize, "{spins}: until a block is mostly of the stream");
    }

    #[test]
    fn what_may_be_a_message_is_no_large_read() {
        let reads = LargeReads::default();
        reads.note(LargeReads::LEAST - 1);
        assert_eq!(reads.so_many(), 0);
        reads.note(LargeReads::LEAST);
        assert_eq!(reads.so_many(), 1);
    }

    #[test]
    fn it_follows_when_the_clients_change() {
        let mut changing = Loop::default();
        for _ in 0..3 {
            changing.turns(10_000, DEAR, CHEAP);
            let in_vain = changing.turns(10_000, CHEAP, DEAR);
            assert!(in_vain < 1_000, "{in_vain}");
        }
        let spins = changing.turns(100_000, DEAR, CHEAP);
        assert!(spins > 90_000, "{spins}");
    }

    #[test]
    fn many_at_once_neither_spin_nor_look_at_the_clock() {
        let mut busy = Loop::default();
        for _ in 0..10_000 {
            busy.crowd();
            assert!(!busy.answers.might_advise_spin(), "there was nothing since");
        }
        assert_eq!(busy.answers.began_at, Duration::ZERO);
        assert!(matches!(busy.answers.phase, Phase::Resting(0)));
    }

    #[test]
    fn where_many_come_at_once_too_often_it_does_not_spin() {
        let mut mixed = Loop::default();
        for _ in 0..10_000 {
            assert_eq!(mixed.turns(6, DEAR, CHEAP), 0);
            mixed.crowd();
        }
    }

    #[test]
    fn a_few_times_many_at_once_do_not_matter() {
        let mut mixed = Loop::default();
        let mut spins = 0;
        for _ in 0..1_000 {
            spins += mixed.turns(100, DEAR, CHEAP);
            mixed.crowd();
        }
        assert!(spins > 98_000, "{spins}");
    }

    #[test]
    fn caution_outlasts_many_at_once() {
        for between in 2..20 {
            let mut mixed = Loop::default();
            let mut spins = 0;
            for _ in 0..200_000 / between {
                spins += mixed.turns(between, DEAR, 2 * DEAR);
                mixed.crowd();
            }
            assert!(spins < 1_000, "{spins} of 200,000, {between} between two");
        }
    }

    #[test]
    fn where_nobody_counts_the_time_it_does_not_try() {
        let mut answers = Answers::default();
        assert!((0..10_000).all(|_| !answers.a_few_came(1, &LargeReads::default(), || None)));
    }

    #[test]
    fn what_was_found_without_sleeping_counts_too() {
        let mut answers = Answers::default();
        [1, Answers::A_FEW].into_iter().for_each(|events| answers.found_a_few(events));
        assert!(answers.might_advise_spin() && !answers.advise_spin(&LargeReads::default()));
        assert_eq!(answers.crowded, 1 + Answers::A_FEW);
    }
}
