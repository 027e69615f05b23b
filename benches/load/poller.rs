//! epoll, level-triggered: a connection is watched as long as it works.

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

/// What is ready: whose, and for what.
pub struct Ready {
    pub index: usize,
    /// Room to send, if that was wanted.
    pub room: bool,
    /// Bytes, the end, or an error.
    pub bytes: bool,
}

impl Poller {
    pub fn new() -> Result<Self, Failure> {
        let epoll = epoll::create(CreateFlags::CLOEXEC).map_err(failed("epoll"))?;
        let nothing = Event { flags: EventFlags::empty(), data: EventData::new_u64(0) };
        Ok(Poller { epoll, events: [nothing; EVENTS] })
    }

    pub fn watch(&self, socket: impl AsFd, index: usize) -> Result<(), Failure> {
        let data = EventData::new_u64(index as u64);
        epoll::add(&self.epoll, socket, data, EventFlags::IN).map_err(failed("epoll"))
    }

    pub fn forget(&self, socket: impl AsFd) -> Result<(), Failure> {
        epoll::delete(&self.epoll, socket).map_err(failed("epoll"))
    }

    /// Watches for room as long as there is something left to send.
    #[inline]
    pub fn watch_room(&self, link: &mut Link, index: usize) -> Result<(), Failure> {
        if link.wants_room == link.all_sent() { self.change_room(link, index) } else { Ok(()) }
    }

    fn change_room(&self, link: &mut Link, index: usize) -> Result<(), Failure> {
        link.wants_room = !link.wants_room;
        let flags = if link.wants_room { EventFlags::IN | EventFlags::OUT } else { EventFlags::IN };
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
        Ready { index: data.u64() as usize, room, bytes: flags.intersects(!EventFlags::OUT) }
    }
}
