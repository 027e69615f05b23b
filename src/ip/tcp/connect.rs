//! Connecting a socket.

use super::protocol::{Endpoint, Protocol};
use super::socket::Socket;
use super::stream::{errno, stream};
use crate::key::Operation;
use crate::operation::object::{Attempt, Direction};
use crate::operation::pending::Transfer;
use crate::poll::{ready_now, sleep_until_ready};
use mio::net::TcpStream;
use rustix::event::PollFlags;
use rustix::io::Errno;
use socket2::SockRef;
use std::io::{self, ErrorKind};
use std::panic::Location;

impl Socket {
    /// Connects, and blocks until that has succeeded or failed. Opens the socket if need be. `connect`
    ///
    /// # Errors
    ///
    /// The peer refused, does not answer, or cannot be reached; the socket stays open. Or it is connected already, or
    /// no descriptor is free.
    #[track_caller]
    pub fn connect(&self, endpoint: Endpoint) -> io::Result<()> {
        let engine = &self.object.handle.engine;
        engine.teller.warn_if_blocking(&engine.turn, "connect", Location::caller());
        self.begin_connect(endpoint)?;
        loop {
            self.object.with(|stream| sleep_until_ready(stream, PollFlags::OUT))?;
            if let Some(connected) = self.object.with(|stream| Ok(connected(stream)))? {
                connected?;
                self.object.opened();
                return Ok(());
            }
        }
    }

    /// Connects, and calls `handler` when that has succeeded or failed. Opens the socket if need be. `async_connect`
    ///
    /// connect(2) is issued here; its error, too, goes to the handler, in a later step.
    ///
    /// ```
    /// # use ioctx::{IoContext, ip::tcp};
    /// let mut io = IoContext::new()?;
    /// let socket = tcp::Socket::new(&io);
    /// socket.async_connect("127.0.0.1:1".parse().unwrap(), |connected| assert!(connected.is_err()));
    /// assert_eq!(io.run()?, 1);
    /// # std::io::Result::Ok(())
    /// ```
    #[track_caller]
    pub fn async_connect(&self, endpoint: Endpoint, handler: impl FnOnce(io::Result<()>) + 'static) -> Operation {
        let location = Location::caller();
        match self.begin_connect(endpoint) {
            Ok(()) => {
                let connect = Connect { socket: self.clone() };
                self.object.start(Direction::Write, connect, handler, location)
            }
            Err(error) => self.object.fail("async_connect", error, handler, location),
        }
    }

    fn begin_connect(&self, endpoint: Endpoint) -> io::Result<()> {
        if !self.is_open() {
            self.open(Protocol::from(endpoint))?;
        }
        if self.remote_endpoint().is_ok() {
            // Asked here, because Linux lets the first call after an asynchronous connect succeed once more.
            return Err(Errno::ISCONN.into());
        }
        let mut issued = self.issue_connect(endpoint);
        if matches!(&issued, Err(error) if errno(error) == Some(Errno::CONNABORTED)) {
            issued = self.issue_connect(endpoint); // The end of a failed attempt, told once by Linux.
        }
        match issued {
            Ok(()) => self.object.start_anew(true),
            Err(error) if matches!(errno(&error), Some(Errno::INPROGRESS | Errno::INTR)) => {
                self.object.start_anew(false)
            }
            Err(error) => Err(error),
        }
    }

    fn issue_connect(&self, endpoint: Endpoint) -> io::Result<()> {
        self.object.with(|stream| SockRef::from(stream).connect(&endpoint.into()))
    }
}

/// How a connection attempt has ended; `None` if it has not. An event may come early, so three things are asked.
pub(crate) fn connected(stream: &TcpStream) -> Option<io::Result<()>> {
    // First whether it is over, so that its error cannot arrive behind our back.
    let is_over = ready_now(stream, PollFlags::OUT).is_ok_and(|ready| !ready.is_empty());
    match stream.take_error() {
        Ok(None) => {}
        Ok(Some(error)) | Err(error) => return Some(Err(error)),
    }
    match stream.peer_addr() {
        Ok(_) => Some(Ok(())),
        Err(error) if error.kind() == ErrorKind::NotConnected && !is_over => None,
        Err(error) => Some(Err(error)), // Over, and a plain read has taken the error that said why.
    }
}

struct Connect {
    socket: Socket,
}

impl Transfer<TcpStream> for Connect {
    const KIND: &'static str = "async_connect";
    type Value = ();
    type Outcome = io::Result<()>;

    fn perform(&mut self, attempt: &Attempt<'_, TcpStream>) -> Option<io::Result<()>> {
        let outcome = match attempt.io(|io| Ok(connected(io.get_ref()))) {
            Ok(outcome) => outcome,
            Err(error) => Some(Err(error)),
        };
        if outcome.is_none() {
            attempt.not_ready(Direction::Write.interest().as_ready());
        }
        outcome
    }

    fn finish(self, result: io::Result<()>) -> io::Result<()> {
        if result.is_ok() {
            self.socket.object.opened();
        }
        result
    }
}

/// A new socket, and connect(2) issued on it.
pub(crate) fn begin_connect(endpoint: Endpoint) -> io::Result<TcpStream> {
    let stream = stream(Protocol::from(endpoint).open()?);
    match SockRef::from(&stream).connect(&endpoint.into()) {
        Err(error) if !matches!(errno(&error), Some(Errno::INPROGRESS | Errno::INTR)) => Err(error),
        _ => Ok(stream),
    }
}
