//! epoll: a connection is watched as long as it works.

use crate::failure::{Failure, failed};
use crate::link::Link;
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::fd::{AsFd, OwnedFd};
use rustix::io::Errno;

/// How long one wait may take, so that a boundary of the measured time is not slept through.
const LONGEST_WAIT: Timespec = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };

const EVENTS: usize = 512;

pub struct Poller {
    epoll: OwnedFd,
    events: [Event; EVENTS],
}

/// How often it is told that a connection is ready.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Told {
    /// As long as there is something. That keeps a connection in the queue of what is ready, before those that become
    /// ready later: so with single messages some would overtake others, and the slowest would be slow because of that.
    WhileReady,
    /// When something has come, so all of it is to be received. A stream that never ends would keep the others waiting.
    OnceForEach,
}

impl Told {
    fn flags(self) -> EventFlags {
        match self {
            Told::WhileReady => EventFlags::IN,
            Told::OnceForEach => EventFlags::IN | EventFlags::RDHUP | EventFlags::ET,
        }
    }
}

/// What is ready: whose, and for what.
pub struct Ready {
    pub index: usize,
    /// Room to send, if that was wanted.
    pub room: bool,
    /// Bytes, the end, or an error.
    pub bytes: bool,
    /// The end or an error, behind whatever bytes there are.
    pub end: bool,
}

impl Poller {
    pub fn new() -> Result<Self, Failure> {
        let epoll = epoll::create(CreateFlags::CLOEXEC).map_err(failed("epoll"))?;
        let nothing = Event { flags: EventFlags::empty(), data: EventData::new_u64(0) };
        Ok(Poller { epoll, events: [nothing; EVENTS] })
    }

    pub fn watch(&self, socket: impl AsFd, index: usize, told: Told) -> Result<(), Failure> {
        epoll::add(&self.epoll, socket, EventData::new_u64(index as u64), told.flags()).map_err(failed("epoll"))
    }

    pub fn forget(&self, socket: impl AsFd) -> Result<(), Failure> {
        epoll::delete(&self.epoll, socket).map_err(failed("epoll"))
    }

    /// Forgets what has been noticed, and watches for what is to come. The server's kernel acknowledges an end at once, which
    /// puts the connection into epoll's queue although there is nothing to be told; and if the server's own end has come
    /// before the next wait, it is told there, so that the connection has overtaken those that were answered meanwhile.
    pub fn watch_from_now(&self, socket: impl AsFd, index: usize, told: Told) -> Result<(), Failure> {
        self.forget(&socket)?;
        self.watch(socket, index, told)
    }

    /// Watches for room, too, as long as there is something left to send.
    #[inline]
    pub fn watch_room(&self, link: &mut Link, index: usize, told: Told) -> Result<(), Failure> {
        if link.wants_room == link.all_sent() { self.change_room(link, index, told) } else { Ok(()) }
    }

    fn change_room(&self, link: &mut Link, index: usize, told: Told) -> Result<(), Failure> {
        link.wants_room = !link.wants_room;
        let flags = if link.wants_room { told.flags() | EventFlags::OUT } else { told.flags() };
        epoll::modify(&self.epoll, &link.socket, EventData::new_u64(index as u64), flags).map_err(failed("epoll"))
    }

    /// Waits a while; returns how many are ready, for `ready` to tell.
    #[inline]
    pub fn wait(&mut self) -> Result<usize, Failure> {
        match epoll::wait(&self.epoll, &mut self.events, Some(&LONGEST_WAIT)) {
            Ok(ready) => Ok(ready),
            Err(Errno::INTR) => Ok(0),
            Err(error) => Err(failed("epoll")(error)),
        }
    }

    #[inline]
    pub fn ready(&self, number: usize) -> Ready {
        let Event { flags, data, .. } = self.events[number];
        let room = flags.contains(EventFlags::OUT);
        let end = flags.intersects(!(EventFlags::IN | EventFlags::OUT));
        Ready { index: data.u64() as usize, room, bytes: flags.intersects(!EventFlags::OUT), end }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::net::{Shutdown, TcpListener, TcpStream};

    fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (client, listener.accept().unwrap().0)
    }

    /// The first connection's own side is ended, then the second is answered, then the first one's server ends.
    #[test]
    fn an_end_that_is_awaited_overtakes_no_answer() {
        let [(ending, its_server), (answered, other_server)] = [pair(), pair()];
        let mut poller = Poller::new().unwrap();
        poller.watch(&ending, 0, Told::OnceForEach).unwrap();
        poller.watch(&answered, 1, Told::OnceForEach).unwrap();
        ending.shutdown(Shutdown::Write).unwrap();
        poller.watch_from_now(&ending, 0, Told::OnceForEach).unwrap();
        (&other_server).write_all(b"x").unwrap();
        answered.peek(&mut [0]).unwrap(); // It has arrived.
        drop(its_server);
        let mut order = Vec::new();
        while order.len() < 2 {
            let ready = poller.wait().unwrap();
            order.extend((0..ready).map(|number| poller.ready(number).index));
        }
        assert_eq!(order, [1, 0]);
    }
}
