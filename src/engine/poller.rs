//! The half of mio's poller that sleeps, and what it tells in the loop's own words.

use crate::ready::Ready;
use mio::event::Event;
use std::io;
use std::time::Duration;

/// The half of the poller that sleeps. It belongs to the `IoContext`, because sleeping needs `&mut`; the half that
/// registers belongs to the [`Reactor`](super::reactor::Reactor), which every handle reaches.
pub(crate) struct Poller {
    poll: mio::Poll,
    events: mio::Events,
    capacity: usize,
}

impl Poller {
    pub(crate) fn new(capacity: usize) -> io::Result<Poller> {
        Ok(Poller { poll: mio::Poll::new()?, events: mio::Events::with_capacity(capacity), capacity })
    }

    pub(crate) fn registry(&self) -> &mio::Registry {
        self.poll.registry()
    }

    /// Sleeps until something happens, at most `timeout`. Returns how many events there are; being interrupted by a
    /// signal counts as none.
    pub(crate) fn wait(&mut self, timeout: Option<Duration>) -> io::Result<usize> {
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
