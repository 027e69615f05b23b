//! The half of mio's poller that sleeps, and what it tells in the loop's own words.

use super::spin::{Spin, Work};
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
    /// signal counts as none. `done`: what the loop has done so far.
    pub(crate) fn wait(&mut self, timeout: Option<Duration>, done: impl FnOnce() -> Work) -> io::Result<usize> {
        let looks_on = self.spin.looks_on(timeout);
        let found = if looks_on { self.look_on_then_sleep(timeout)? } else { self.sleep(timeout)? };
        self.spin.waited(|| Some((done(), processor_time()?)));
        Ok(found)
    }

    #[inline(never)]
    fn look_on_then_sleep(&mut self, timeout: Option<Duration>) -> io::Result<usize> {
        let Poller { poll, events, spin, .. } = self;
        match spin.look_on(|| ask(poll, events, Some(Duration::ZERO)))? {
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

    #[test]
    fn waits_in_vain_are_looked_on_at_until_it_is_given_up() -> io::Result<()> {
        const LIMIT: Duration = Duration::from_micros(10);
        let mut poller = Poller::new(&Config::new().spin_before_sleep(LIMIT))?;
        let waker = mio::Waker::new(poller.registry(), mio::Token(0))?;
        let mut waits = 0;
        while !poller.spin.looks_on(None) {
            waker.wake()?;
            assert_eq!(poller.wait(None, Work::default)?, 1);
            waits += 1;
        }
        assert!(waits < 1000);
        for _ in 0..100 {
            if !poller.spin.looks_on(None) {
                return Ok(());
            }
            assert_eq!(poller.wait(Some(100 * LIMIT), Work::default)?, 0);
        }
        panic!("it looks on and on");
    }
}
