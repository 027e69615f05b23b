//! Whether to spin for a moment, that is, to ask the kernel again and again, before the thread falls asleep.
//!
//! Sleeping is not free: it was measured to take 6 to 40 µs of the thread's processor time, on a virtual machine, and whoever
//! wakes it pays too. If the next event is nearer than that, it is cheaper to spin. How dear a
//! sleep is depends on the machine, and how near the next event is on the peers. So nothing of this is guessed. The loop
//! sleeps for a while, then spins for a while, and goes on spinning while two of three spins find something and a handler
//! takes at most a quarter more processor time than it did asleep.
//!
//! A peer may sleep too while it waits for us, and then its answer takes long because we sleep. Therefore a try spins for
//! twice the limit until something has come.

use std::io;
use std::time::{Duration, Instant};

/// So many waits are measured together.
const WINDOW: u32 = 64;

/// So many windows are slept in at least, to know what that costs.
const SHORTEST_SLEEP: u32 = 2;

/// So many windows are slept in at most, before the next try.
const LONGEST_SLEEP: u32 = 64;

/// The first try has so many windows, if nothing ends it sooner. After each that went well sleeping is measured again, and
/// the next try is twice as long.
const FIRST_TRY: u32 = 8;
const LONGEST_TRY: u32 = 512;

/// A spin in vain costs two, one that finds something earns one, up to this; at zero the try ends. So two of three must
/// pay.
const CREDIT: u32 = 8;
const FIRST_CREDIT: u32 = 4;

/// To answer sooner is worth up to a quarter more processor time for each handler.
const WORTH: f64 = 1.25;

/// How many handlers a loop has run, all in all, and its thread's processor time.
pub(crate) type Reading = (usize, Duration);

#[derive(Debug)]
pub(crate) struct Spin {
    /// Zero never spins.
    limit: Duration,
    /// Whether it spins before it sleeps, or sleeps at once.
    is_spinning: bool,
    /// Waits until this window ends, the next one included.
    waits_left: u32,
    /// Windows until it changes between sleeping and spinning, this one included.
    windows_left: u32,
    /// How many windows the last sleep after a try in vain had, and how many the next try has.
    sleep: u32,
    attempt: u32,
    credit: u32,
    /// Whether this try has spun to some purpose.
    has_paid: bool,
    /// The reading when the window began, or, while it sleeps, when the sleep did. `None` until the next wait has ended: at
    /// first, and after a spin in vain has ended a try.
    since: Option<Reading>,
    /// Nanoseconds of processor time for each handler, in the last sleep.
    asleep: f64,
    /// The same in this try, the further back the less; `None` before its first window has ended.
    spinning: Option<f64>,
}

impl Spin {
    pub(crate) fn new(limit: Duration) -> Self {
        Spin {
            limit,
            is_spinning: false,
            waits_left: 1,
            windows_left: SHORTEST_SLEEP,
            sleep: 1,
            attempt: FIRST_TRY,
            credit: 0,
            has_paid: false,
            since: None,
            asleep: 0.0,
            spinning: None,
        }
    }

    /// Whether to spin before a sleep of at most `timeout`.
    #[inline]
    pub(crate) fn spins(&self, timeout: Option<Duration>) -> bool {
        // A sleep that spinning could take up whole is not worth it.
        self.is_spinning && timeout.is_none_or(|timeout| timeout > self.longest())
    }

    fn longest(&self) -> Duration {
        if self.has_paid { self.limit } else { 2 * self.limit }
    }

    /// Asks until there are events, or the time is over. Returns how many there are, and how long it took.
    pub(crate) fn spin(&mut self, mut ask: impl FnMut() -> io::Result<usize>) -> io::Result<(usize, Duration)> {
        let mut events = ask()?;
        if events > 0 {
            return Ok((events, Duration::ZERO)); // It would not have slept, which tells nothing.
        }
        let begin = Instant::now();
        let mut spent = Duration::ZERO;
        while events == 0 && spent < self.longest() {
            events = ask()?;
            spent = begin.elapsed();
        }
        self.judge_spin(events);
        Ok((events, spent))
    }

    fn judge_spin(&mut self, events: usize) {
        if events > 0 {
            self.has_paid = true;
            self.credit = CREDIT.min(self.credit + 1);
            return;
        }
        self.credit = self.credit.saturating_sub(2);
        if self.credit == 0 {
            self.give_up();
            self.waits_left = 1; // The sleep begins with this wait's end.
            self.since = None;
        }
    }

    /// After each wait that could have been a sleep. `read` answers nothing where the system does not tell the time.
    #[inline]
    pub(crate) fn waited(&mut self, read: impl FnOnce() -> Option<Reading>) {
        self.waits_left -= 1;
        if self.waits_left == 0 {
            self.end_window(read);
        }
    }

    #[cold]
    #[inline(never)]
    fn end_window(&mut self, read: impl FnOnce() -> Option<Reading>) {
        self.waits_left = WINDOW;
        if self.limit.is_zero() {
            return;
        }
        let now = read();
        let (Some((ran, used)), Some((ran_before, used_before))) = (now, self.since) else {
            self.since = now;
            return;
        };
        let ran = ran.wrapping_sub(ran_before).max(1);
        let cost = used.saturating_sub(used_before).as_nanos() as f64 / ran as f64;
        self.windows_left -= 1;
        if !self.is_spinning {
            self.judge_sleep(cost, now);
        } else {
            self.since = now;
            self.judge_window(cost);
        }
    }

    fn judge_sleep(&mut self, cost: f64, now: Option<Reading>) {
        if self.windows_left == 0 {
            self.asleep = cost;
            self.since = now;
            self.begin_try();
        }
    }

    fn judge_window(&mut self, cost: f64) {
        let cost = self.spinning.map_or(cost, |before| (3.0 * before + cost) / 4.0);
        self.spinning = Some(cost);
        if cost > WORTH * self.asleep {
            self.give_up();
        } else if self.windows_left == 0 {
            self.attempt = LONGEST_TRY.min(2 * self.attempt);
            self.sleep = 1;
            self.sleep_for(SHORTEST_SLEEP);
        }
    }

    fn begin_try(&mut self) {
        self.is_spinning = true;
        self.windows_left = self.attempt;
        self.credit = FIRST_CREDIT;
        self.has_paid = false;
        self.spinning = None;
    }

    fn give_up(&mut self) {
        self.attempt = FIRST_TRY;
        self.sleep = LONGEST_SLEEP.min(2 * self.sleep);
        self.sleep_for(self.sleep);
    }

    fn sleep_for(&mut self, windows: u32) {
        self.is_spinning = false;
        self.windows_left = windows;
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
        ran: usize,
    }

    impl Loop {
        /// One that sleeps.
        fn new() -> Self {
            let mut new = Loop { spin: Spin::new(LIMIT), used: Duration::ZERO, ran: 0 };
            new.wait(US);
            new
        }

        /// One that spins, after having slept at that cost.
        fn spinning(asleep: Duration) -> Self {
            let mut new = Self::new();
            assert_eq!(new.windows_until_spinning(asleep), SHORTEST_SLEEP);
            new
        }

        fn wait(&mut self, cost: Duration) {
            self.used += cost;
            self.ran += 1;
            self.spin.waited(|| Some((self.ran, self.used)));
        }

        fn window(&mut self, cost: Duration) {
            (0..WINDOW).for_each(|_| self.wait(cost));
        }

        fn is_spinning(&self) -> bool {
            self.spin.spins(None)
        }

        fn windows_until_spinning(&mut self, cost: Duration) -> u32 {
            let mut windows = 0;
            while !self.is_spinning() {
                self.window(cost);
                windows += 1;
            }
            windows
        }

        fn windows_until_sleeping(&mut self, cost: Duration) -> u32 {
            let mut windows = 0;
            while self.is_spinning() {
                self.window(cost);
                windows += 1;
            }
            windows
        }

        /// Nothing at the first questions, then something, in time.
        fn spin_until(&mut self, nothing: usize) {
            assert!(self.is_spinning());
            let mut asked = 0;
            let limit = std::mem::replace(&mut self.spin.limit, LONG);
            let found = self.spin.spin(|| {
                asked += 1;
                Ok(if asked > nothing { 3 } else { 0 })
            });
            self.spin.limit = limit;
            assert_eq!((found.expect("no error").0, asked), (3, nothing + 1));
        }

        fn spin_in_vain(&mut self) -> Duration {
            assert!(self.is_spinning());
            let (events, spent) = self.spin.spin(|| Ok(0)).expect("no error");
            assert_eq!(events, 0);
            spent
        }
    }

    #[test]
    fn it_asks_until_there_is_something() {
        Loop::spinning(10 * US).spin_until(5);
    }

    #[test]
    fn until_something_has_come_a_try_spins_for_twice_as_long() {
        let mut it = Loop::spinning(10 * US);
        assert!(it.spin_in_vain() >= 2 * LIMIT);
        assert!(!it.spin.spins(Some(2 * LIMIT)));
        it.spin_until(1);
        assert!(it.spin.spins(Some(2 * LIMIT)));
        assert!(!it.spin.spins(Some(LIMIT)));
        assert!(it.spin_in_vain() >= LIMIT);
    }

    #[test]
    fn tries_that_pay_become_long_and_what_sleeping_costs_is_measured_in_between() {
        let mut it = Loop::spinning(100 * US);
        for windows in [8, 16, 32, 64, 128, 256, 512, 512] {
            assert_eq!(it.windows_until_sleeping(124 * US), windows);
            assert_eq!(it.windows_until_spinning(100 * US), SHORTEST_SLEEP);
        }
        it.window(900 * US);
        it.windows_until_spinning(100 * US);
        assert_eq!(it.windows_until_sleeping(124 * US), FIRST_TRY);
    }

    #[test]
    fn it_gives_up_when_a_handler_costs_too_much() {
        assert_eq!(Loop::spinning(100 * US).windows_until_sleeping(126 * US), 1);
    }

    #[test]
    fn one_dear_window_after_cheap_ones_is_no_reason() {
        let mut it = Loop::spinning(100 * US);
        it.window(50 * US);
        it.window(200 * US);
        assert!(it.is_spinning());
    }

    #[test]
    fn a_sleep_is_measured_as_a_whole() {
        let mut it = Loop::new();
        it.window(100 * US);
        it.window(300 * US);
        assert_eq!(it.spin.asleep, 200_000.0);
    }

    #[test]
    fn what_was_there_at_the_first_question_tells_nothing() {
        let mut it = Loop::spinning(100 * US);
        it.spin_in_vain();
        it.spin_until(0);
        it.spin_in_vain();
        assert!(!it.is_spinning());
    }

    #[test]
    fn two_of_three_spins_must_pay() {
        let mut it = Loop::spinning(100 * US);
        (0..100).for_each(|_| it.spin_until(1));
        for _ in 0..100 {
            it.spin_in_vain();
            it.spin_until(1);
            it.spin_until(1);
        }
        for _ in 0..CREDIT {
            if it.is_spinning() {
                it.spin_in_vain();
            }
            if it.is_spinning() {
                it.spin_until(1);
            }
        }
        assert!(!it.is_spinning());
    }

    #[test]
    fn after_many_that_paid_a_few_in_vain_are_forgiven() {
        let mut it = Loop::spinning(100 * US);
        (0..100).for_each(|_| it.spin_until(1));
        (1..CREDIT / 2).for_each(|_| _ = it.spin_in_vain());
        assert!(it.is_spinning());
        it.spin_in_vain();
        assert!(!it.is_spinning());
    }

    #[test]
    fn tries_in_vain_become_rare_until_one_has_gone_well_to_its_end() {
        let mut it = Loop::spinning(100 * US);
        for sleep in [2, 4, 8, 16, 32, 64, 64, 64] {
            it.window(100 * US); // One good window is not enough.
            it.window(900 * US);
            assert_eq!(it.windows_until_spinning(100 * US), sleep);
        }
        it.windows_until_sleeping(100 * US);
        it.windows_until_spinning(100 * US);
        it.window(900 * US);
        assert_eq!(it.windows_until_spinning(100 * US), 2);
    }

    #[test]
    fn a_sleep_begins_where_spinning_was_given_up() {
        let mut it = Loop::spinning(100 * US);
        it.wait(9000 * US);
        it.spin_in_vain();
        it.spin_in_vain();
        it.wait(9000 * US);
        assert_eq!(it.windows_until_spinning(100 * US), 2);
        assert_eq!(it.spin.asleep, 100_000.0);
    }

    #[test]
    fn an_error_leaves_it_as_it_was() {
        let mut it = Loop::spinning(100 * US);
        it.spin_in_vain();
        assert!(it.spin.spin(|| Err(io::ErrorKind::Other.into())).is_err());
        it.spin_in_vain();
        assert!(!it.is_spinning());
    }

    #[test]
    fn a_limit_of_zero_never_spins_and_asks_no_clock() {
        let mut spin = Spin::new(Duration::ZERO);
        for _ in 0..100 * WINDOW {
            spin.waited(|| panic!("asked"));
            assert!(!spin.spins(None));
        }
    }

    #[test]
    fn where_the_clock_is_not_told_it_never_spins() {
        let mut spin = Spin::new(LIMIT);
        for _ in 0..100 * WINDOW {
            spin.waited(|| None);
            assert!(!spin.spins(None));
        }
    }
}
