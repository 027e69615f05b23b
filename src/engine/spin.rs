//! Whether to look at the sources for a moment longer before the thread goes to sleep.
//!
//! Sleeping is not free: falling asleep and being woken take microseconds, in a virtual machine tens of them, both of the
//! thread that sleeps and of whoever wakes it. Where the next event is nearer than that, it is cheaper to look on. How
//! dear a sleep is depends on the machine, and how near the next event is on the peers. So this is not guessed, but tried: a
//! while of sleeping, a while of looking on, and the processor time of what was done in both decides how it goes on. That is
//! counted in handlers and in bytes: who looks on gets the bytes of a stream in smaller pieces.
//!
//! A peer may sleep too while it waits for us, and so take long to answer as long as we sleep. So a try looks on for twice
//! the time until something has come.

use std::io;
use std::time::{Duration, Instant};

/// So many waits are measured together.
const WINDOW: u32 = 64;

/// So many windows are looked on in, before sleeping is measured again: what it cost may have changed.
const LOOKING: u32 = 256;

/// So many windows are slept in at most, between one try and the next. A try in vain takes four limits, which is
/// then a tenth of a microsecond in each sleep.
const LONGEST_PAUSE: u32 = 64;

/// So many looks may be in vain more than were not, and in a try that has not shown anything yet, so many at all.
const CREDIT: u32 = 4;
const FIRST_CREDIT: u32 = 2;

/// To be answered sooner is worth a quarter of what it costs asleep.
const WORTH: f64 = 1.25;

/// What a loop has done, all in all.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Work {
    pub(crate) handlers: usize,
    /// Read and written.
    pub(crate) bytes: usize,
}

/// Nanoseconds of processor time, for each. Zero of a byte is not known.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Cost {
    handler: f64,
    byte: f64,
}

impl Cost {
    fn of(work: Work, used: Duration) -> Self {
        let used = used.as_nanos() as f64;
        let byte = if work.bytes > 0 { used / work.bytes as f64 } else { 0.0 };
        Cost { handler: used / work.handlers.max(1) as f64, byte }
    }

    fn is_too_dear_beside(self, other: Cost) -> bool {
        let is_more = |this, that| that > 0.0 && this > WORTH * that;
        is_more(self.handler, other.handler) || is_more(self.byte, other.byte)
    }

    /// This and what came before it, of which the last counts most.
    fn after(self, before: Option<Cost>) -> Self {
        let Some(before) = before else {
            return self;
        };
        let mean = |before: f64, this: f64| (3.0 * before + this) / 4.0;
        Cost { handler: mean(before.handler, self.handler), byte: mean(before.byte, self.byte) }
    }
}

#[derive(Debug)]
pub(crate) struct Spin {
    /// How long to look on. Zero is never.
    limit: Duration,
    is_looking: bool,
    /// Waits to come in this window.
    left: u32,
    /// Windows to come before it is the other way's turn, this one included.
    windows: u32,
    /// For how many windows to sleep after a try in vain.
    pause: u32,
    /// Used up by looks in vain, restored by others.
    credit: u32,
    /// Whether a look of this try has shown something.
    has_paid: bool,
    /// What had been done when the window began, and the thread's processor time; `None` before the first.
    since: Option<(Work, Duration)>,
    /// In the last window that was slept in.
    asleep: Cost,
    /// In the windows of this try; `None` before the first.
    looking: Option<Cost>,
}

impl Spin {
    pub(crate) fn new(limit: Duration) -> Self {
        Spin {
            limit,
            is_looking: false,
            left: 1,
            windows: 2, // In the first a program does much for the first time.
            pause: 1,
            credit: 0,
            has_paid: false,
            since: None,
            asleep: Cost::default(),
            looking: None,
        }
    }

    /// Whether to look on before a sleep of at most `timeout`.
    #[inline]
    pub(crate) fn looks_on(&self, timeout: Option<Duration>) -> bool {
        // What looking on could take up whole is not worth it.
        self.is_looking && timeout.is_none_or(|timeout| timeout > self.longest_look())
    }

    fn longest_look(&self) -> Duration {
        if self.has_paid { self.limit } else { 2 * self.limit }
    }

    /// Looks until there are events, or the time is over. Returns how many there are, and how long it took.
    pub(crate) fn look_on(&mut self, mut look: impl FnMut() -> io::Result<usize>) -> io::Result<(usize, Duration)> {
        let mut events = look()?;
        if events > 0 {
            return Ok((events, Duration::ZERO)); // It would not have slept, which tells nothing.
        }
        let begin = Instant::now();
        let mut spent = Duration::ZERO;
        while events == 0 && spent < self.longest_look() {
            events = look()?;
            spent = begin.elapsed();
        }
        self.judge_look(events > 0);
        Ok((events, spent))
    }

    fn judge_look(&mut self, has_paid: bool) {
        if has_paid {
            self.has_paid = true;
            self.credit = CREDIT.min(self.credit + 1);
        } else if self.credit > 1 {
            self.credit -= 1;
        } else {
            self.give_up();
            self.left = 1; // The window was of both kinds: a new one begins with the end of this wait.
            self.since = None;
        }
    }

    /// After each wait. `measure` tells what the loop has done, and the thread's processor time, if the system does.
    #[inline]
    pub(crate) fn waited(&mut self, measure: impl FnOnce() -> Option<(Work, Duration)>) {
        self.left -= 1;
        if self.left == 0 {
            self.end_window(measure);
        }
    }

    #[cold]
    #[inline(never)]
    fn end_window(&mut self, measure: impl FnOnce() -> Option<(Work, Duration)>) {
        self.left = WINDOW;
        if self.limit.is_zero() {
            return;
        }
        let now = measure();
        if let (Some((done, used)), Some((done_before, used_before))) = (now, self.since) {
            let handlers = done.handlers.wrapping_sub(done_before.handlers);
            let bytes = done.bytes.wrapping_sub(done_before.bytes);
            self.judge_window(Cost::of(Work { handlers, bytes }, used.saturating_sub(used_before)));
        }
        self.since = now;
    }

    fn judge_window(&mut self, cost: Cost) {
        self.windows -= 1;
        if !self.is_looking {
            self.asleep = cost;
            if self.windows == 0 {
                self.look_from_here_on();
            }
            return;
        }
        let cost = cost.after(self.looking);
        self.looking = Some(cost);
        if cost.is_too_dear_beside(self.asleep) {
            return self.give_up();
        }
        self.pause = 1;
        if self.windows == 0 {
            self.sleep_for(1);
        }
    }

    fn look_from_here_on(&mut self) {
        self.is_looking = true;
        self.windows = LOOKING;
        self.credit = FIRST_CREDIT;
        self.has_paid = false;
        self.looking = None;
    }

    fn give_up(&mut self) {
        self.pause = LONGEST_PAUSE.min(2 * self.pause);
        self.sleep_for(self.pause);
    }

    fn sleep_for(&mut self, windows: u32) {
        self.is_looking = false;
        self.windows = windows;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_micros(20);
    const LONG: Duration = Duration::from_secs(3600);
    const US: Duration = Duration::from_micros(1);

    /// A loop with one handler in each turn.
    struct Loop {
        spin: Spin,
        used: Duration,
        done: Work,
        /// What a handler moves.
        bytes: usize,
    }

    impl Loop {
        fn new(limit: Duration) -> Self {
            let mut new = Loop { spin: Spin::new(limit), used: Duration::ZERO, done: Work::default(), bytes: 0 };
            new.wait(US);
            new
        }

        fn wait(&mut self, cost: Duration) {
            self.used += cost;
            self.done.handlers += 1;
            self.done.bytes += self.bytes;
            self.spin.waited(|| Some((self.done, self.used)));
        }

        fn window(&mut self, cost: Duration) {
            (0..WINDOW).for_each(|_| self.wait(cost));
        }

        fn is_looking(&self) -> bool {
            self.spin.looks_on(None)
        }

        /// One that looks on, after sleeping at that cost.
        fn looking_on(limit: Duration, asleep: Duration) -> Self {
            let mut new = Self::new(limit);
            new.window(asleep);
            assert!(!new.is_looking());
            new.window(asleep);
            assert!(new.is_looking());
            new
        }

        fn windows_until_looking(&mut self, cost: Duration) -> u32 {
            let mut windows = 0;
            while !self.is_looking() {
                self.window(cost);
                windows += 1;
            }
            windows
        }

        /// Nothing at the first looks, then something, in time.
        fn look_until(&mut self, nothing: usize) {
            let mut looks = 0;
            let limit = std::mem::replace(&mut self.spin.limit, LONG);
            let found = self.spin.look_on(|| {
                looks += 1;
                Ok(if looks > nothing { 3 } else { 0 })
            });
            self.spin.limit = limit;
            assert_eq!((found.expect("no error").0, looks), (3, nothing + 1));
        }

        fn look_in_vain(&mut self) {
            assert_eq!(self.spin.look_on(|| Ok(0)).expect("no error").0, 0);
        }
    }

    #[test]
    fn it_looks_until_there_is_something() {
        Loop::looking_on(LIMIT, 10 * US).look_until(5);
    }

    #[test]
    fn the_first_look_of_a_try_is_twice_as_long() {
        let mut looking = Loop::looking_on(LIMIT, 10 * US);
        let begin = Instant::now();
        looking.look_in_vain();
        assert!(begin.elapsed() >= 2 * LIMIT);
        assert!(!looking.spin.looks_on(Some(2 * LIMIT)));

        let mut looking = Loop::looking_on(LONG, 10 * US);
        looking.look_until(1);
        assert!(!looking.spin.looks_on(Some(LONG)));
        assert!(looking.spin.looks_on(Some(2 * LONG)));
    }

    #[test]
    fn it_goes_on_while_a_handler_costs_little_more_than_asleep() {
        let mut looking = Loop::looking_on(LIMIT, 100 * US);
        for _ in 0..LOOKING {
            assert!(looking.is_looking());
            looking.window(120 * US);
        }
        assert!(!looking.is_looking(), "what sleeping costs is to be measured again");
        assert_eq!(looking.windows_until_looking(100 * US), 1);
    }

    #[test]
    fn it_gives_up_when_a_handler_costs_more_than_asleep() {
        let mut looking = Loop::looking_on(LIMIT, 100 * US);
        looking.window(130 * US);
        assert!(!looking.is_looking());
    }

    #[test]
    fn it_gives_up_when_a_stream_comes_in_smaller_pieces() {
        for (bytes, goes_on) in [(1000, true), (800, true), (799, false)] {
            let mut sleeping = Loop::new(LIMIT);
            sleeping.bytes = 1000;
            (0..2).for_each(|_| sleeping.window(100 * US));
            let mut looking = sleeping;
            looking.bytes = bytes;
            looking.window(100 * US);
            assert_eq!(looking.is_looking(), goes_on, "{bytes} bytes");
        }
    }

    #[test]
    fn where_the_clock_is_not_told_it_never_looks() {
        let mut spin = Spin::new(LIMIT);
        for _ in 0..100 * WINDOW {
            spin.waited(|| None);
            assert!(!spin.looks_on(None));
        }
    }

    #[test]
    fn one_dear_window_among_cheap_ones_is_no_reason() {
        let mut looking = Loop::looking_on(LIMIT, 100 * US);
        looking.window(50 * US);
        looking.window(200 * US);
        assert!(looking.is_looking());
    }

    #[test]
    fn what_was_there_at_the_first_look_tells_nothing() {
        let mut looking = Loop::looking_on(LIMIT, 100 * US);
        (1..FIRST_CREDIT).for_each(|_| looking.look_in_vain());
        looking.look_until(0);
        assert!(looking.is_looking());
        looking.look_in_vain();
        assert!(!looking.is_looking());
    }

    #[test]
    fn a_few_looks_in_vain_are_forgiven_and_many_are_not() {
        let mut looking = Loop::looking_on(LIMIT, 100 * US);
        for _ in 0..100 {
            looking.look_in_vain();
            looking.look_until(1);
        }
        assert!(looking.is_looking());
        (0..CREDIT).for_each(|_| looking.look_in_vain());
        assert!(!looking.is_looking());
    }

    #[test]
    fn tries_in_vain_become_rare_until_one_is_not() {
        let mut looking = Loop::looking_on(LIMIT, 100 * US);
        let mut pauses = Vec::new();
        for _ in 0..8 {
            looking.window(200 * US);
            pauses.push(looking.windows_until_looking(100 * US));
        }
        assert_eq!(pauses, [2, 4, 8, 16, 32, 64, 64, 64]);
        looking.window(100 * US);
        looking.window(900 * US);
        assert_eq!(looking.windows_until_looking(100 * US), 2);
    }

    #[test]
    fn a_window_of_both_kinds_is_not_measured() {
        let mut looking = Loop::looking_on(LIMIT, 100 * US);
        looking.wait(9000 * US);
        (0..FIRST_CREDIT).for_each(|_| looking.look_in_vain());
        looking.wait(9000 * US);
        looking.window(100 * US);
        assert_eq!(looking.spin.asleep.handler, 100_000.0);
    }

    #[test]
    fn a_limit_of_zero_is_never_and_asks_no_clock() {
        let mut spin = Spin::new(Duration::ZERO);
        for _ in 0..100 * WINDOW {
            spin.waited(|| panic!("asked"));
            assert!(!spin.looks_on(None));
        }
    }
}
