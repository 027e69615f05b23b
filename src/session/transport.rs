//! What carries the bytes of a connection: a socket, or, for tests, a wire without one.

use super::endpoint::Endpoint;
use super::wire::Wire;
use crate::engine::ready_state::State;
use crate::engine::state::Engine;
use crate::ip::tcp;
use crate::local;
use crate::readiness::callback::{STREAM, UNIX_STREAM, UNIX_STREAM_FOR_ROOM};
use crate::readiness::tracked::Tracked;
use crate::socket::connect::connected;
use crate::socket::descriptor::{local_endpoint, remote_endpoint};
use mio::Token;
use mio::net::{TcpStream, UnixStream};
use rustix::io::{Errno, ioctl_fionread};
use std::io::{self, IoSlice};
use std::net::Shutdown;
use std::os::fd::AsFd;
use std::rc::Rc;

/// What one call moves of a stream, at most, in bytes. With larger calls, streams of a MiB on their way got through more
/// slowly, and their peer had more to do: see `docs/what-was-tried.md`.
pub(super) const PIECE: usize = 64 * 1024;

/// Where the first piece of a read lands.
#[inline(always)]
pub(super) fn first_piece(buffer: &mut [u8]) -> &mut [u8] {
    let len = buffer.len().min(PIECE);
    &mut buffer[..len]
}

/// The stream sockets that sessions run over. An enum, so that everything else is compiled once.
#[derive(Debug)]
pub enum Transport {
    Tcp(TcpStream),
    Unix(UnixStream),
    Wire(Rc<Wire>),
}

// Moving bytes. The ready bits in `state` are kept true.
impl Transport {
    pub(super) fn receive(&self, state: &State, engine: &Engine, buffer: &mut [u8]) -> Result<usize, Errno> {
        match self {
            Transport::Tcp(source) => Tracked::unpaid(source, state, engine, true).receive(buffer),
            Transport::Unix(source) => Tracked::unpaid(source, state, engine, true).receive(buffer),
            Transport::Wire(wire) => wire.receive(state, buffer),
        }
    }

    pub(super) fn send(&self, state: &State, engine: &Engine, bytes: &[u8]) -> Result<usize, Errno> {
        match self {
            Transport::Tcp(source) => Tracked::unpaid(source, state, engine, true).send(bytes),
            Transport::Unix(source) => Tracked::unpaid(source, state, engine, true).send(bytes),
            Transport::Wire(wire) => wire.send(state, bytes),
        }
    }

    pub(super) fn send_vectored(&self, state: &State, engine: &Engine, slices: &[IoSlice<'_>]) -> Result<usize, Errno> {
        let asked = slices.iter().map(|slice| slice.len()).sum();
        match self {
            Transport::Tcp(source) => Tracked::unpaid(source, state, engine, true).send_vectored(slices, asked),
            Transport::Unix(source) => Tracked::unpaid(source, state, engine, true).send_vectored(slices, asked),
            Transport::Wire(wire) => wire.send_vectored(state, slices),
        }
    }
}

/// A connection ends as its session says, and never blocks: what its socket was told of lingering does not count.
pub(super) fn forget_linger(socket: &impl AsFd) {
    let _ = socket2::SockRef::from(socket).set_linger(None); // If it fails, close decides.
}

// The socket's life.
impl Transport {
    /// Sends the FIN.
    pub(super) fn shutdown_send(&self) -> io::Result<()> {
        match self {
            Transport::Tcp(stream) => stream.shutdown(Shutdown::Write),
            Transport::Unix(stream) => stream.shutdown(Shutdown::Write),
            Transport::Wire(wire) => {
                wire.shutdown_send();
                Ok(())
            }
        }
    }

    /// Lets the close that comes next throw away what is unsent, and tell the peer so by a reset. TCP only.
    pub(super) fn reset_on_close(&self) {
        match self {
            Transport::Tcp(stream) => {
                // If it fails, the close is a plain one.
                let _ = socket2::SockRef::from(stream).set_linger(Some(std::time::Duration::ZERO));
            }
            Transport::Unix(_) => {}
            Transport::Wire(wire) => wire.reset_by_session(),
        }
    }

    /// How many bytes have arrived and were not read.
    pub(super) fn unread(&self) -> usize {
        let bytes = match self {
            Transport::Tcp(stream) => ioctl_fionread(stream),
            Transport::Unix(stream) => ioctl_fionread(stream),
            Transport::Wire(wire) => return wire.unread(),
        };
        bytes.ok().and_then(|bytes| usize::try_from(bytes).ok()).unwrap_or(0)
    }

    /// The error that the kernel has for the socket, which it tells once.
    pub(super) fn take_error(&self) -> Option<io::Error> {
        match self {
            Transport::Tcp(stream) => stream.take_error().ok()?,
            Transport::Unix(stream) => stream.take_error().ok()?,
            Transport::Wire(wire) => wire.take_error(),
        }
    }

    /// How an attempt to connect has ended; `None` if it has not.
    pub(super) fn connected(&self) -> Option<io::Result<()>> {
        match self {
            Transport::Tcp(stream) => connected(stream),
            Transport::Unix(stream) => connected(stream),
            Transport::Wire(wire) => wire.connected(),
        }
    }

    pub(super) fn local_endpoint(&self) -> Option<Endpoint> {
        match self {
            Transport::Tcp(stream) => local_endpoint::<tcp::Protocol>(stream).ok().map(Endpoint::Tcp),
            Transport::Unix(stream) => local_endpoint::<local::stream::Protocol>(stream).ok().map(Endpoint::Local),
            Transport::Wire(_) => None,
        }
    }

    pub(super) fn remote_endpoint(&self) -> Option<Endpoint> {
        match self {
            Transport::Tcp(stream) => remote_endpoint::<tcp::Protocol>(stream).ok().map(Endpoint::Tcp),
            Transport::Unix(stream) => remote_endpoint::<local::stream::Protocol>(stream).ok().map(Endpoint::Local),
            Transport::Wire(_) => None,
        }
    }

    /// A Unix socket is watched for room only `for_room`.
    pub(super) fn register(&mut self, engine: &Engine, token: Token, for_room: bool) -> io::Result<()> {
        let unix_stream = if for_room { UNIX_STREAM_FOR_ROOM } else { UNIX_STREAM };
        match self {
            Transport::Tcp(stream) => engine.reactor.register(stream, token, STREAM),
            Transport::Unix(stream) => engine.reactor.register(stream, token, unix_stream),
            Transport::Wire(_) => Ok(()),
        }
    }

    pub(super) fn watch_for_room(&mut self, engine: &Engine, token: Token) -> io::Result<()> {
        match self {
            Transport::Unix(stream) => engine.reactor.reregister(stream, token, UNIX_STREAM_FOR_ROOM),
            Transport::Tcp(_) | Transport::Wire(_) => Ok(()),
        }
    }

    pub(super) fn deregister(&mut self, engine: &Engine) -> io::Result<()> {
        match self {
            Transport::Tcp(stream) => engine.reactor.deregister(stream),
            Transport::Unix(stream) => engine.reactor.deregister(stream),
            Transport::Wire(_) => Ok(()),
        }
    }
}
