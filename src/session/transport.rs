//! What carries the bytes of a connection: a socket, or, for tests, a wire without one.

use super::endpoint::Endpoint;
use super::wire::Wire;
use crate::engine::reactor::State;
use crate::engine::state::Engine;
use crate::ip::tcp::connected;
use crate::readiness::callback::STREAM;
use crate::readiness::io::{Budget, Io};
use mio::Token;
use mio::net::{TcpStream, UnixStream};
use std::io::{self, IoSlice};
use std::net::Shutdown;
use std::rc::Rc;

/// The stream sockets that sessions run over. An enum, so that everything else is compiled once.
#[derive(Debug)]
pub enum Transport {
    Tcp(TcpStream),
    Unix(UnixStream),
    Wire(Rc<Wire>),
}

/// How a transport is reached in one dispatch: with its ready bits, and what is left of the dispatch's budget.
pub(super) struct Reach<'a> {
    pub(super) state: &'a State,
    pub(super) engine: &'a Engine,
    pub(super) budget: &'a Budget,
}

impl<'a> Reach<'a> {
    #[inline(always)]
    fn io<S: 'static>(&self, source: &'a S) -> Io<'a, S> {
        Io::new(source, self.state, self.engine, self.budget)
    }
}

impl Transport {
    #[inline(always)]
    pub(super) fn receive<'a>(&'a self, reach: &Reach<'a>, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Transport::Tcp(stream) => reach.io(stream).receive(buffer),
            Transport::Unix(stream) => reach.io(stream).receive(buffer),
            Transport::Wire(wire) => wire.receive(reach.state, buffer),
        }
    }

    #[inline(always)]
    pub(super) fn send<'a>(&'a self, reach: &Reach<'a>, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Transport::Tcp(stream) => reach.io(stream).send(bytes),
            Transport::Unix(stream) => reach.io(stream).send(bytes),
            Transport::Wire(wire) => wire.send(reach.state, bytes),
        }
    }

    pub(super) fn send_vectored<'a>(&'a self, reach: &Reach<'a>, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let asked = slices.iter().map(|slice| slice.len()).sum();
        match self {
            Transport::Tcp(stream) => reach.io(stream).send_vectored(slices, asked),
            Transport::Unix(stream) => reach.io(stream).send_vectored(slices, asked),
            Transport::Wire(wire) => {
                let mut sent = 0;
                for slice in slices {
                    match wire.send(reach.state, slice) {
                        Ok(n) if n == slice.len() => sent += n,
                        Ok(n) => return Ok(sent + n),
                        Err(error) if sent == 0 => return Err(error),
                        Err(_) => break,
                    }
                }
                Ok(sent)
            }
        }
    }

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
                let _ = socket2::SockRef::from(stream).set_linger(Some(std::time::Duration::ZERO)); // Else it is a plain close.
            }
            Transport::Unix(_) => {}
            Transport::Wire(wire) => wire.reset_by_session(),
        }
    }

    /// How an attempt to connect has ended; `None` if it has not.
    pub(super) fn connected(&self) -> Option<io::Result<()>> {
        match self {
            Transport::Tcp(stream) => connected(stream),
            Transport::Unix(_) | Transport::Wire(_) => Some(Ok(())), // They connect at once or not at all.
        }
    }

    pub(super) fn local_endpoint(&self) -> Option<Endpoint> {
        match self {
            Transport::Tcp(stream) => stream.local_addr().ok().map(Endpoint::Tcp),
            Transport::Unix(_) | Transport::Wire(_) => None,
        }
    }

    pub(super) fn remote_endpoint(&self) -> Option<Endpoint> {
        match self {
            Transport::Tcp(stream) => stream.peer_addr().ok().map(Endpoint::Tcp),
            Transport::Unix(_) | Transport::Wire(_) => None,
        }
    }

    pub(super) fn register(&mut self, engine: &Engine, token: Token) -> io::Result<()> {
        match self {
            Transport::Tcp(stream) => engine.reactor.register(stream, token, STREAM),
            Transport::Unix(stream) => engine.reactor.register(stream, token, BOTH),
            Transport::Wire(_) => Ok(()),
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

const BOTH: mio::Interest = mio::Interest::READABLE.add(mio::Interest::WRITABLE);
