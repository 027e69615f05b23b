//! The half of mio's poller that sleeps, and what it tells in the loop's own words.

use super::answers::{Answers, LargeReads};
use super::hunch::Hunch;
use super::token::WAKER;
use crate::config::Config;
use crate::ready::Ready;
use mio::event::Event;
use std::io;
use std::time::{Duration, Instant};

/// The half of the poller that sleeps. It belongs to the `IoContext`, because sleeping needs `&mut`; the half that
/// registers belongs to the [`Reactor`](super::reactor::Reactor), which every handle reaches.
pub(crate) struct Poller {
    poll: mio::Poll,
    events: mio::Events,
    capacity: usize,
    spin: Spin,
    answers: Answers,
    /// Whether the last wait found something while it spun; `None` if it did not spin, or found it at once.
    outcome: Option<bool>,
}

/// Whether it asks again and again before it sleeps.
#[repr(u8)] // Otherwise the variant is told by the nanoseconds, which takes each turn longer to find out.
enum Spin {
    Never,
    /// Where something has come or gone, and where answers come a few at a time.
    WhereItPays,
    Always(Duration),
}

impl Poller {
    pub(crate) fn new(config: &Config) -> io::Result<Poller> {
        Ok(Poller {
            poll: mio::Poll::new()?,
            events: mio::Events::with_capacity(config.event_batch),
            capacity: config.event_batch,
            spin: match config.spin_before_sleep {
                None => Spin::WhereItPays,
                Some(Duration::ZERO) => Spin::Never,
                Some(limit) => Spin::Always(limit),
            },
            answers: Answers::default(),
            outcome: None,
        })
    }

    pub(crate) fn registry(&self) -> &mio::Registry {
        self.poll.registry()
    }

    /// Waits until something happens, at most `timeout`. Returns how many events there are; being interrupted by a
    /// signal counts as none. If there is a reason to spin before it sleeps, it does; `hunch` is of what comes and goes,
    /// `large_reads` of streams.
    pub(crate) fn wait(
        &mut self,
        timeout: Option<Duration>,
        hunch: &Hunch,
        large_reads: &LargeReads,
    ) -> io::Result<usize> {
        self.outcome = None;
        let found = match self.might_spin(hunch) {
            true => self.spin_or_sleep(timeout, hunch, large_reads)?,
            false => self.ask(timeout)?,
        };
        // Also where nobody will ask for it: to look whether somebody will takes each turn longer.
        match found {
            1..=Answers::A_FEW => self.note_answers(),
            _ => self.answers.found_many(found),
        }
        Ok(found)
    }

    #[inline(never)] // It is for few, and would make the turn longer for all.
    fn note_answers(&mut self) {
        self.answers.found_a_few(self.count_answers());
    }

    /// A message of another thread is no answer. A loop that is awake for each takes it out of the inbox before the next
    /// is there, so the sender has to wake it each time, by a system call, instead of once for many.
    fn count_answers(&self) -> usize {
        self.events.iter().filter(|event| event.token() != WAKER).count()
    }

    #[inline(always)]
    fn might_spin(&self, hunch: &Hunch) -> bool {
        match self.spin {
            Spin::Never => false,
            Spin::WhereItPays => self.answers.might_advise_spin() | hunch.is_up(),
            Spin::Always(_) => true,
        }
    }

    #[inline(never)] // It is for few, and would make the turn longer for all.
    fn spin_or_sleep(
        &mut self,
        timeout: Option<Duration>,
        hunch: &Hunch,
        large_reads: &LargeReads,
    ) -> io::Result<usize> {
        if timeout.is_some_and(|timeout| timeout.is_zero()) {
            return self.ask(timeout);
        }
        if let Spin::Always(limit) = self.spin {
            return self.spin_then_sleep(limit, timeout);
        }
        if self.answers.advise_spin(large_reads) {
            let found = self.spin_then_sleep(Answers::SPIN, timeout)?;
            if self.outcome == Some(false) || self.count_answers() == 0 {
                self.answers.spun_in_vain();
            }
            return Ok(found);
        }
        if !hunch.is_up() {
            return self.ask(timeout);
        }
        let found = self.spin_then_sleep(Hunch::SPIN, timeout)?;
        if let Some(in_time) = self.outcome {
            hunch.learn(in_time);
        }
        Ok(found)
    }

    /// Whether the last wait ended while it spun, before it fell asleep.
    pub(crate) fn has_spun(&self) -> bool {
        self.outcome == Some(true)
    }

    /// Falling asleep and being woken was measured to cost a thread 6 to 40 µs, and the one that wakes it pays, too. So if
    /// the next event is nearer than that, it is cheaper to ask again and again.
    fn spin_then_sleep(&mut self, spin: Duration, timeout: Option<Duration>) -> io::Result<usize> {
        let longest = timeout.map_or(spin, |timeout| spin.min(timeout));
        let mut begin = None; // Who finds something at once need not look at the clock.
        loop {
            match self.ask(Some(Duration::ZERO))? {
                0 => {}
                found => {
                    self.outcome = begin.map(|_| true);
                    return Ok(found);
                }
            }
            let spent = begin.get_or_insert_with(Instant::now).elapsed();
            if spent >= longest {
                self.outcome = Some(false);
                return self.ask(timeout.map(|timeout| timeout.saturating_sub(spent)));
            }
        }
    }

    fn ask(&mut self, timeout: Option<Duration>) -> io::Result<usize> {
        match self.poll.poll(&mut self.events, timeout) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => self.events.clear(),
            Err(error) => return Err(error),
        }
        Ok(self.events.iter().count())
    }

    /// No wait: there are no events.
    pub(crate) fn pass(&mut self) -> io::Result<usize> {
        self.events.clear();
        self.outcome = None;
        Ok(0)
    }

    /// Whether the last batch was full, so that the poller may hold more.
    pub(crate) fn is_full(&self, events: usize) -> bool {
        events >= self.capacity
    }

    /// What the poller told in the last wait, from the event at `cursor` on.
    #[inline]
    pub(crate) fn events(&self, cursor: usize) -> impl Iterator<Item = &Event> {
        let mut events = self.events.iter();
        if cursor > 0 {
            events.nth(cursor - 1);
        }
        events
    }
}

/// mio's hints as bits.
#[inline(always)]
pub(crate) fn readiness(event: &Event) -> Ready {
    // On epoll, what closes writing alone is an error, and what closes both directions closes reading.
    let is_write_closed = !cfg!(any(target_os = "linux", target_os = "android")) && event.is_write_closed();
    // What is told by one bit first, and the closed stream, which takes two, last: then the compiler makes two tests of it.
    if (event.is_error() | event.is_priority()) || event.is_read_closed() || is_write_closed {
        return exceptional_readiness(event);
    }
    common_readiness(event)
}

#[inline(always)]
fn common_readiness(event: &Event) -> Ready {
    let mut ready = Ready::NONE;
    if event.is_readable() {
        ready |= Ready::READABLE;
    }
    if event.is_writable() {
        ready |= Ready::WRITABLE;
    }
    ready
}

/// What is not told with every message. An error shows up as readable and writable, so that whoever waits gets it from
/// a call.
#[cold]
#[inline(never)]
fn exceptional_readiness(event: &Event) -> Ready {
    let mut ready = common_readiness(event);
    if event.is_priority() {
        ready |= Ready::PRIORITY;
    }
    if event.is_read_closed() {
        ready |= Ready::READABLE | Ready::READ_CLOSED;
    }
    if event.is_write_closed() {
        ready |= Ready::WRITABLE | Ready::WRITE_CLOSED;
    }
    if event.is_error() {
        ready |= Ready::READABLE | Ready::WRITABLE | Ready::ERROR;
    }
    ready
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;
    use std::thread;

    const LONG: Duration = Duration::from_secs(3600);
    const MOMENT: Duration = Duration::from_millis(5);

    /// One that spins so long, and its waker.
    fn poller(spin: Duration) -> io::Result<(Poller, mio::Waker)> {
        let (mut poller, waker) = configured(Config::new().spin_before_sleep(spin))?;
        if let Spin::Always(limit) = &mut poller.spin {
            *limit = spin; // However long.
        }
        Ok((poller, waker))
    }

    fn configured(config: Config) -> io::Result<(Poller, mio::Waker)> {
        let poller = Poller::new(&config)?;
        let waker = mio::Waker::new(poller.registry(), mio::Token(0))?;
        Ok((poller, waker))
    }

    impl Poller {
        /// While nobody reads.
        fn wait_alone(&mut self, timeout: Option<Duration>, hunch: &Hunch) -> io::Result<usize> {
            self.wait(timeout, hunch, &LargeReads::default())
        }
    }

    /// So often one event comes alone; how often it spins before the sleep that follows, in vain.
    fn spins_where_one_comes_alone(config: Config, times: u32) -> io::Result<u32> {
        spins_where_one_is_woken(configured(config)?, times)
    }

    fn spins_where_one_is_woken((mut poller, waker): (Poller, mio::Waker), times: u32) -> io::Result<u32> {
        let mut spins = 0;
        for _ in 0..times {
            waker.wake()?;
            assert_eq!(poller.wait_alone(Some(Duration::ZERO), &Hunch::default())?, 1);
            assert_eq!(poller.wait_alone(Some(Duration::from_micros(100)), &Hunch::default())?, 0);
            spins += u32::from(poller.outcome == Some(false));
        }
        Ok(spins)
    }

    #[test]
    fn a_wake_up_ends_a_spin() -> io::Result<()> {
        let (mut poller, waker) = poller(LONG)?;
        let (about_to_wait, is_waiting) = mpsc::channel();
        let other = thread::spawn(move || {
            is_waiting.recv().expect("the loop");
            waker.wake().map(|()| waker) // Or it would be closed before the loop has seen it.
        });
        about_to_wait.send(()).expect("the other thread");
        assert_eq!(poller.wait_alone(None, &Hunch::default())?, 1);
        other.join().expect("no panic")?;
        Ok(())
    }

    #[test]
    fn what_is_there_already_needs_no_spin() -> io::Result<()> {
        let (mut poller, waker) = poller(LONG)?;
        waker.wake()?;
        assert_eq!(poller.wait_alone(Some(LONG), &Hunch::default())?, 1);
        Ok(())
    }

    #[test]
    fn a_wait_in_vain_takes_its_time_however_long_it_spins() -> io::Result<()> {
        let timeout = MOMENT;
        for spin in [Duration::ZERO, Duration::from_millis(1), timeout, LONG] {
            let (mut poller, _waker) = poller(spin)?;
            let begin = Instant::now();
            assert_eq!(poller.wait_alone(Some(timeout), &Hunch::default())?, 0);
            assert!(begin.elapsed() >= timeout, "{spin:?}");
        }
        Ok(())
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn it_sleeps_when_it_has_spun_long_enough_and_not_before() -> io::Result<()> {
        /// How often this thread has fallen asleep.
        fn sleeps() -> io::Result<u64> {
            let status = std::fs::read_to_string("/proc/thread-self/status")?;
            let sleeps = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
            Ok(sleeps.and_then(|sleeps| sleeps.trim().parse().ok()).expect("a number"))
        }
        for (spin, falls_asleep) in [(Duration::ZERO, true), (Duration::from_millis(1), true), (LONG, false)] {
            let (mut poller, _waker) = poller(spin)?;
            // To open the file may be a sleep of its own, now and then.
            let as_it_should = (0..10).any(|_| {
                let before = sleeps().expect("the count");
                assert_eq!(poller.wait_alone(Some(MOMENT), &Hunch::default()).expect("no error"), 0);
                (sleeps().expect("the count") > before) == falls_asleep
            });
            assert!(as_it_should, "{spin:?}");
        }
        Ok(())
    }

    #[test]
    fn a_hunch_learns_from_the_spin_that_it_began() -> io::Result<()> {
        let (mut poller, waker) = configured(Config::new())?;
        let hunch = Hunch::default();
        hunch.stir();
        waker.wake()?;
        assert_eq!((poller.wait_alone(None, &hunch)?, poller.outcome), (1, None), "found at once, as without a spin");
        assert!(hunch.is_up(), "nothing was learned");
        let begin = Instant::now();
        assert_eq!((poller.wait_alone(Some(MOMENT), &hunch)?, poller.outcome), (0, Some(false)));
        assert!(begin.elapsed() >= MOMENT);
        assert!(!hunch.is_up(), "it was wrong");
        assert_eq!((poller.wait_alone(Some(MOMENT), &hunch)?, poller.outcome), (0, None), "it does not spin any more");
        Ok(())
    }

    #[test]
    fn a_wait_that_may_not_sleep_asks_once() -> io::Result<()> {
        for config in [Config::new(), Config::new().spin_before_sleep(LONG)] {
            let (mut poller, _waker) = configured(config)?;
            let hunch = Hunch::default();
            hunch.stir();
            poller.answers.found_a_few(1);
            assert_eq!((poller.wait_alone(Some(Duration::ZERO), &hunch)?, poller.outcome), (0, None));
            assert!(hunch.is_up() && poller.answers.might_advise_spin(), "nothing was learned, and nothing forgotten");
        }
        Ok(())
    }

    #[test]
    fn where_events_come_alone_it_tries_whether_to_spin() -> io::Result<()> {
        assert_eq!(spins_where_one_comes_alone(Config::new(), 64)?, 0);
        assert_eq!(spins_where_one_comes_alone(Config::new(), 96)?, 4, "which was in vain");
        assert_eq!(spins_where_one_comes_alone(Config::new(), 128)?, 4);
        Ok(())
    }

    #[test]
    fn wake_ups_by_other_threads_are_no_answers() -> io::Result<()> {
        let poller = Poller::new(&Config::new())?;
        let waker = mio::Waker::new(poller.registry(), WAKER)?;
        assert_eq!(spins_where_one_is_woken((poller, waker), 200)?, 0);
        Ok(())
    }

    #[test]
    fn who_is_told_never_to_spin_does_not() -> io::Result<()> {
        let never = Config::new().spin_before_sleep(Duration::ZERO);
        assert_eq!(spins_where_one_comes_alone(never.clone(), 200)?, 0);
        let (mut poller, _waker) = configured(never)?;
        let hunch = Hunch::default();
        hunch.stir();
        assert_eq!((poller.wait_alone(Some(MOMENT), &hunch)?, poller.outcome), (0, None));
        Ok(())
    }
}
