//! Accepting connections.

use super::acceptor::StreamAcceptor;
use super::descriptor::errno;
use super::protocol::StreamProtocol;
use super::stream::StreamSocket;
use super::wait::Wait;
use crate::handle::Handle;
use crate::key::Operation;
use crate::operation::object::{Attempt, Direction};
use crate::operation::pending::Transfer;
use crate::operation::stream::WaitFor;
use crate::poll::sleep_until_ready;
use crate::ready::Interest;
use rustix::io::Errno;
use std::io::{self, ErrorKind};
use std::marker::PhantomData;
use std::panic::Location;

impl<P: StreamProtocol> StreamAcceptor<P> {
    /// Takes a connection, and blocks until there is one. Returns a new socket, and the peer's endpoint. `accept`
    ///
    /// A connection that its client gave up before it was accepted is passed over.
    ///
    /// # Errors
    ///
    /// No descriptor is free, or the acceptor is not open or does not listen.
    #[track_caller]
    pub fn accept(&self) -> io::Result<(StreamSocket<P>, P::Endpoint)> {
        let location = Location::caller();
        let (stream, peer) = self.object.blocking("accept", Direction::Read, location, |listener| {
            loop {
                match P::accept(listener) {
                    Err(error) if is_of_the_connection(&error) => {}
                    accepted => return accepted,
                }
            }
        })?;
        let lingers = self.object.lingers.get();
        Ok((StreamSocket::accepted(&self.object.handle, stream, lingers)?, peer))
    }

    /// Takes a connection, and calls `handler` with a new socket and the peer's endpoint. `async_accept`
    ///
    /// A connection that its client gave up before it was accepted is passed over. When no descriptor is free, the
    /// accept stays outstanding: it says so once in the log, and tries again when this context closes a descriptor,
    /// at the latest after [`Config::accept_retry`](crate::Config::accept_retry).
    #[track_caller]
    pub fn async_accept(
        &self,
        handler: impl FnOnce(io::Result<(StreamSocket<P>, P::Endpoint)>) + 'static,
    ) -> Operation {
        let location = Location::caller();
        let handle = self.object.handle.clone();
        let accept = Accept::<P> { handle, protocol: PhantomData };
        self.object.start(accept, handler, location)
    }

    /// Blocks until there is a connection to accept ([`Wait::Read`]). `wait`
    ///
    /// # Errors
    ///
    /// The acceptor is not open.
    #[track_caller]
    pub fn wait(&self, wait: Wait) -> io::Result<()> {
        let engine = &self.object.handle.engine;
        engine.warn_if_blocking("wait", Location::caller());
        self.object.with(|listener| sleep_until_ready(listener, wait.direction().poll_flags()))
    }

    /// Calls `handler` when there is a connection to accept ([`Wait::Read`]), and accepts nothing. `async_wait`
    #[track_caller]
    pub fn async_wait(&self, wait: Wait, handler: impl FnOnce(io::Result<()>) + 'static) -> Operation {
        let direction = wait.direction();
        self.object.start(WaitFor(direction), handler, Location::caller())
    }
}

/// A connection that was taken, with what its socket inherits.
struct Accepted<P: StreamProtocol> {
    stream: P::Stream,
    peer: P::Endpoint,
    lingers: bool,
}

struct Accept<P> {
    handle: Handle,
    protocol: PhantomData<P>,
}

impl<P: StreamProtocol> Transfer<P::Listener> for Accept<P> {
    const KIND: &'static str = "async_accept";
    type Value = Accepted<P>;
    type Outcome = io::Result<(StreamSocket<P>, P::Endpoint)>;

    fn direction(&self) -> Direction {
        Direction::Read
    }

    fn perform(&mut self, attempt: Attempt<'_, P::Listener>) -> Option<io::Result<Self::Value>> {
        loop {
            match attempt.io(|io| io.try_io(Interest::READABLE, P::accept)) {
                Ok((stream, peer)) => {
                    let lingers = attempt.object.lingers.get();
                    return Some(Ok(Accepted { stream, peer, lingers }));
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    attempt.fed(); // Nobody waits any more: the next want of descriptors is a new one.
                    return None;
                }
                Err(error) if is_of_the_connection(&error) => {}
                Err(error) if is_starvation(&error) => {
                    attempt.starve(&error);
                    return None;
                }
                Err(error) => return Some(Err(error)),
            }
        }
    }

    fn finish(self, result: io::Result<Self::Value>) -> Self::Outcome {
        let Accepted { stream, peer, lingers } = result?;
        Ok((StreamSocket::accepted(&self.handle, stream, lingers)?, peer))
    }
}

/// Errors of a connection that died in the backlog, which accept(2) reports though the listener is fine.
pub(crate) fn is_of_the_connection(error: &io::Error) -> bool {
    matches!(
        errno(error),
        Some(
            Errno::CONNABORTED
                | Errno::PROTO
                | Errno::NETDOWN
                | Errno::NOPROTOOPT
                | Errno::HOSTDOWN
                | Errno::HOSTUNREACH
                | Errno::NETUNREACH
        )
    )
}

/// No descriptor or no memory for one: it passes, and the clients wait in the backlog meanwhile.
pub(crate) fn is_starvation(error: &io::Error) -> bool {
    matches!(errno(error), Some(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM))
}
