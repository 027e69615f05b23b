//! The half of mio's poller that sleeps, and what it tells in the loop's own words.

use super::spin::Spin;
use crate::config::Config;
use crate::ready::Ready;
use cpu_time::ThreadTime;
use mio::event::Event;
use std::io;
use std::time::Duration;

/// The half of the poller that sleeps. It belongs to the `IoContext`, because sleeping needs `&mut`; the half that
/// registers belongs to the [`Reactor`](super::reactor::Reactor), which every handle reaches.
pub(crate) struct Poller {
    poll: mio::Poll,
    events: mio::Events,
    capacity: usize,
    spin: Spin,
}

impl Poller {
    pub(crate) fn new(config: &Config) -> io::Result<Poller> {
        Ok(Poller {
            poll: mio::Poll::new()?,
            events: mio::Events::with_capacity(config.event_batch),
            capacity: config.event_batch,
            spin: Spin::new(config.spin_before_sleep),
        })
    }

    pub(crate) fn registry(&self) -> &mio::Registry {
        self.poll.registry()
    }

    /// Waits until something happens, at most `timeout`. Returns how many events there are; being interrupted by a
    /// signal counts as none. `ran`: how many handlers the loop has run so far.
    pub(crate) fn wait(&mut self, timeout: Option<Duration>, ran: impl FnOnce() -> usize) -> io::Result<usize> {
        if timeout.is_some_and(|timeout| timeout.is_zero()) {
            return self.sleep(timeout);
        }
        let found = if self.spins(timeout) { self.spin_then_sleep(timeout)? } else { self.sleep(timeout)? };
        self.spin.waited(|| Some((ran(), processor_time()?)));
        Ok(found)
    }

    /// Whether a wait of at most `timeout` begins with a spin.
    #[inline]
    pub(crate) fn spins(&self, timeout: Option<Duration>) -> bool {
        self.spin.spins(timeout)
    }

    #[inline(never)]
    fn spin_then_sleep(&mut self, timeout: Option<Duration>) -> io::Result<usize> {
        let Poller { poll, events, spin, .. } = self;
        match spin.spin(|| ask(poll, events, Some(Duration::ZERO)))? {
            (0, spent) => self.sleep(timeout.map(|timeout| timeout.saturating_sub(spent))),
            (found, _) => Ok(found),
        }
    }

    fn sleep(&mut self, timeout: Option<Duration>) -> io::Result<usize> {
        ask(&mut self.poll, &mut self.events, timeout)
    }

    /// No wait: there are no events.
    pub(crate) fn pass(&mut self) -> io::Result<usize> {
        self.events.clear();
        Ok(0)
    }

    /// Whether the last batch was full, so that the poller may hold more.
    pub(crate) fn is_full(&self, events: usize) -> bool {
        events >= self.capacity
    }

    /// What the poller told in the last wait, from the event at `cursor` on.
    #[inline]
    pub(crate) fn events(&self, cursor: usize) -> impl Iterator<Item = &Event> {
        self.events.iter().skip(cursor)
    }
}

/// What this thread has used of its processor; `None` where the system does not tell.
fn processor_time() -> Option<Duration> {
    ThreadTime::try_now().ok().map(|used| used.as_duration())
}

fn ask(poll: &mut mio::Poll, events: &mut mio::Events, timeout: Option<Duration>) -> io::Result<usize> {
    match poll.poll(events, timeout) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::Interrupted => events.clear(),
        Err(error) => return Err(error),
    }
    Ok(events.iter().count())
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

    /// Makes a new one begin its next wait with a spin. Returns a waker of it.
    fn make_spin(poller: &mut Poller) -> io::Result<mio::Waker> {
        let waker = mio::Waker::new(poller.registry(), mio::Token(0))?;
        for _ in 0..1000 {
            if poller.spins(None) {
                return Ok(waker);
            }
            assert_eq!(poller.wait(Some(Duration::ZERO), || 0)?, 0);
            waker.wake()?;
            assert_eq!(poller.wait(None, || 0)?, 1);
        }
        panic!("it never spins");
    }

    #[test]
    fn waits_in_vain_begin_with_a_spin_until_it_is_given_up() -> io::Result<()> {
        for limit in [Duration::from_micros(10), Duration::MAX] {
            let mut poller = Poller::new(&Config::new().spin_before_sleep(limit))?;
            make_spin(&mut poller)?;
            let mut waits = 0;
            while poller.spins(None) && waits < 10 {
                assert_eq!(poller.wait(Some(Duration::from_millis(3)), || 0)?, 0);
                waits += 1;
            }
            assert!((1..10).contains(&waits), "{limit:?}: {waits}"); // Long before a window has ended.
        }
        Ok(())
    }

    #[test]
    fn a_wake_up_ends_a_spin() -> io::Result<()> {
        let mut poller = Poller::new(&Config::new())?;
        poller.spin = Spin::new(Duration::from_secs(3600));
        let waker = make_spin(&mut poller)?;
        let (about_to_wait, is_waiting) = mpsc::channel();
        let other = thread::spawn(move || {
            is_waiting.recv().expect("the loop");
            waker.wake().map(|()| waker) // Or it would be closed before the loop has seen it.
        });
        about_to_wait.send(()).expect("the other thread");
        assert_eq!(poller.wait(None, || 0)?, 1);
        other.join().expect("no panic")?;
        Ok(())
    }

    #[test]
    fn waits_that_are_no_sleeps_are_not_measured() -> io::Result<()> {
        let mut poller = Poller::new(&Config::new().spin_before_sleep(Duration::from_micros(10)))?;
        for _ in 0..1000 {
            poller.wait(Some(Duration::ZERO), || panic!("measured"))?;
        }
        Ok(())
    }
}
