//! The loop in which all connections work for a while.

use crate::clock;
use crate::doors::Doors;
use crate::failure::Failure;
use crate::link::{Found, Link};
use crate::poller::{Poller, Ready, Told};
use crate::window::Window;
use crate::wire::Wire;
use rustix::net::RecvFlags;

/// How often the clock is read besides the readings for messages: a read costs as much as a small part of a message.
const TURNS_PER_LOOK: u32 = 64;

/// What the connections of a workload do.
pub trait Workload {
    const TOLD: Told;

    /// Gives a connection its first message.
    fn begin(&mut self, link: &mut Link);

    /// So many bytes came back, and are right.
    fn arrived(
        &mut self,
        link: &mut Link,
        arrival: Arrival,
        doors: &mut Doors,
        window: &mut Window,
    ) -> Result<Next, Failure>;

    /// The server has ended the connection.
    fn ended(
        &mut self,
        link: &mut Link,
        _arrived: u64,
        _doors: &mut Doors,
        _window: &mut Window,
    ) -> Result<Next, Failure> {
        Err(link.closed())
    }
}

#[derive(Clone, Copy)]
pub struct Arrival {
    pub bytes: usize,
    /// When they were received. Comparing them came after.
    pub at: u64,
}

/// What a connection does next.
pub enum Next {
    /// Waits for more.
    Wait,
    /// Sends the message that it was given.
    Send,
    /// Waits for the server's end, having told its own.
    AwaitEnd,
    /// Works on, with another socket.
    Reopened,
    /// Is done with its work.
    Done,
}

/// Lets the connections work until the window is over and nothing is on its way any more.
pub fn drive<W: Workload>(
    wire: &mut Wire,
    active: usize,
    workload: &mut W,
    mut window: Window,
) -> Result<Window, Failure> {
    let mut poller = Poller::new()?;
    for (index, link) in wire.links.iter_mut().enumerate() {
        // The idle ones as well: it is not right if one of them says something.
        poller.watch(&link.socket, index, W::TOLD)?;
        if index < active {
            link.busy = true;
            workload.begin(link);
            link.send(&wire.pattern)?;
            poller.watch_room(link, index, W::TOLD)?;
        }
    }
    let mut stalls = Stalls::new(wire, active);
    let (mut busy, mut turns) = (active, 0);
    while busy > 0 {
        let ready = poller.wait()?;
        turns += 1;
        if ready == 0 || turns % TURNS_PER_LOOK == 0 {
            let now = clock::now();
            window.pass(now)?;
            stalls.look(wire, now)?;
        }
        for number in 0..ready {
            let ready = poller.ready(number);
            let index = ready.index;
            if serve(wire, &poller, ready, workload, &mut window)? {
                wire.links[index].busy = false;
                busy -= 1;
            }
        }
    }
    Ok(window)
}

/// Receives and sends what there is on one connection, and answers whether that is done with its work.
#[inline]
fn serve<W: Workload>(
    wire: &mut Wire,
    poller: &Poller,
    ready: Ready,
    workload: &mut W,
    window: &mut Window,
) -> Result<bool, Failure> {
    let index = ready.index;
    loop {
        let (next, is_more) = if ready.bytes { receive(wire, &ready, workload, window)? } else { (Next::Wait, false) };
        let link = &mut wire.links[index];
        match next {
            Next::Wait | Next::Send => {}
            Next::AwaitEnd => poller.watch_from_now(&link.socket, index, W::TOLD)?,
            Next::Reopened => poller.watch(&link.socket, index, W::TOLD)?,
            Next::Done => {
                // An ended one might be ready for ever.
                poller.forget(&link.socket)?;
                return Ok(true);
            }
        }
        if ready.room || !matches!(next, Next::Wait | Next::AwaitEnd) {
            link.send(&wire.pattern)?;
            poller.watch_room(link, index, W::TOLD)?;
        }
        if !is_more {
            return Ok(false);
        }
    }
}

/// Receives once, and tells whether more is to be received at once. Where less came than there was room for, only the end
/// can be behind it.
#[inline]
fn receive<W: Workload>(
    wire: &mut Wire,
    ready: &Ready,
    workload: &mut W,
    window: &mut Window,
) -> Result<(Next, bool), Failure> {
    let link = &mut wire.links[ready.index];
    let found = link.receive(&mut wire.buffer, RecvFlags::DONTWAIT)?;
    let at = clock::now();
    match found {
        Found::Nothing => Ok((Next::Wait, false)),
        Found::Bytes(bytes) => {
            link.check(&wire.buffer[..bytes], &wire.pattern)?;
            let is_more = W::TOLD == Told::OnceForEach && (ready.end || bytes == wire.buffer.len());
            Ok((workload.arrived(link, Arrival { bytes, at }, &mut wire.doors, window)?, is_more))
        }
        Found::End => Ok((workload.ended(link, at, &mut wire.doors, window)?, false)),
    }
}

/// Finds connections on which nothing has moved for too long.
struct Stalls {
    /// How far each was, and since when it has been there.
    seen: Vec<(u64, u64)>,
    next_look: u64,
}

impl Stalls {
    fn new(wire: &Wire, active: usize) -> Self {
        let now = clock::now();
        let seen = wire.links[..active].iter().map(|link| (link.progress(), now)).collect();
        Stalls { seen, next_look: now + clock::SECOND }
    }

    fn look(&mut self, wire: &Wire, now: u64) -> Result<(), Failure> {
        if now < self.next_look {
            return Ok(());
        }
        self.next_look = now + clock::SECOND;
        let patience = wire.doors.patience();
        for (link, (progress, since)) in wire.links.iter().zip(&mut self.seen) {
            if !link.busy || link.progress() != *progress {
                (*progress, *since) = (link.progress(), now);
            } else if now - *since > patience.as_nanos() as u64 {
                return Err(link.stalled(patience));
            }
        }
        Ok(())
    }
}
