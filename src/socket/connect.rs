//! Connecting a socket.

use super::descriptor::errno;
use super::protocol::StreamProtocol;
use super::stream::StreamSocket;
use crate::key::Operation;
use crate::operation::object::{Attempt, Direction};
use crate::operation::pending::Transfer;
use crate::poll::{ready_now, sleep_until_ready};
use rustix::event::PollFlags;
use rustix::io::Errno;
use socket2::{SockAddr, SockRef};
use std::io::{self, ErrorKind};
use std::os::fd::AsFd;
use std::panic::Location;

impl<P: StreamProtocol> StreamSocket<P> {
    /// Connects, and blocks until that has succeeded or failed. Opens the socket if need be. `connect`
    ///
    /// While the backlog of a Unix listener is full, it sleeps (Linux; elsewhere a full backlog refuses).
    ///
    /// # Errors
    ///
    /// The peer refused, does not answer, or cannot be reached; the socket stays open. Or it is connected already, or
    /// no descriptor is free.
    #[track_caller]
    pub fn connect(&self, endpoint: P::Endpoint) -> io::Result<()> {
        let engine = &self.object.handle.engine;
        engine.warn_if_blocking("connect", Location::caller());
        match self.begin_connect(&endpoint) {
            Err(error) if P::is_backlog_full(&error) => {
                self.object.with(|stream| connect_when_there_is_room::<P>(stream, &endpoint))?;
                self.object.start_anew(true)?;
            }
            begun => begun?,
        }
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
    /// Linux cannot tell when there is room in the full backlog of a Unix listener. That is an error here
    /// (`WouldBlock`): try again later, with a [`Timer`](crate::Timer).
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
    pub fn async_connect(&self, endpoint: P::Endpoint, handler: impl FnOnce(io::Result<()>) + 'static) -> Operation {
        let location = Location::caller();
        let begun = self.begin_connect(&endpoint);
        let connect = Connect { socket: self.clone() };
        match begun {
            Ok(()) => self.object.start(connect, handler, location),
            Err(error) => self.object.fail(explain::<P>(&endpoint, error), connect, handler, location),
        }
    }

    fn begin_connect(&self, endpoint: &P::Endpoint) -> io::Result<()> {
        if !self.is_open() {
            self.open(P::of(endpoint))?;
        }
        if self.remote_endpoint().is_ok() {
            // Asked here, because Linux lets the first call after an asynchronous connect succeed once more.
            return Err(Errno::ISCONN.into());
        }
        let begun = self.object.with(|stream| begin::<P>(stream, endpoint))?;
        self.object.start_anew(begun == Begun::Connected)
    }
}

/// What connect(2) on a non-blocking descriptor has begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Begun {
    Connected,
    /// To be asked for with [`connected`] whenever the stream is writable.
    InProgress,
}

/// connect(2), which never blocks.
pub(crate) fn begin<P: StreamProtocol>(stream: &P::Stream, endpoint: &P::Endpoint) -> io::Result<Begun> {
    let address = P::to_address(endpoint)?;
    let mut issued = SockRef::from(stream).connect(&address);
    if matches!(&issued, Err(error) if errno(error) == Some(Errno::CONNABORTED)) {
        issued = SockRef::from(stream).connect(&address); // The end of a failed attempt, told once by Linux.
    }
    match issued {
        Ok(()) => Ok(Begun::Connected),
        Err(error) if matches!(errno(&error), Some(Errno::INPROGRESS | Errno::INTR)) => Ok(Begun::InProgress),
        Err(error) => Err(error),
    }
}

/// How a connection attempt has ended; `None` if it has not. An event may come early, so three things are asked.
pub(crate) fn connected(stream: &impl AsFd) -> Option<io::Result<()>> {
    // First whether it is over, so that its error cannot arrive behind our back.
    let is_over = ready_now(stream, PollFlags::OUT).is_ok_and(|ready| !ready.is_empty());
    let socket = SockRef::from(stream);
    match socket.take_error() {
        Ok(None) => {}
        Ok(Some(error)) | Err(error) => return Some(Err(error)),
    }
    match socket.peer_addr() {
        Ok(_) => Some(Ok(())),
        Err(error) if error.kind() == ErrorKind::NotConnected && !is_over => None,
        Err(error) => Some(Err(error)), // Over, and a plain read has taken the error that said why.
    }
}

/// What an error of [`begin`] means, for the user.
pub(crate) fn explain<P: StreamProtocol>(endpoint: &P::Endpoint, error: io::Error) -> io::Error {
    if P::is_backlog_full(&error) {
        let text = format!("the backlog of the listener at {endpoint} is full: try again later");
        return io::Error::new(error.kind(), text);
    }
    error
}

/// No poller tells when there is room in a backlog: only connect(2) itself can sleep until then.
fn connect_when_there_is_room<P: StreamProtocol>(stream: &P::Stream, endpoint: &P::Endpoint) -> io::Result<()> {
    let (socket, address) = (SockRef::from(stream), P::to_address(endpoint)?);
    socket.set_nonblocking(false)?;
    let connected = connect_uninterrupted(&socket, &address);
    socket.set_nonblocking(true)?;
    connected
}

/// A Unix socket whose connect(2) was interrupted is as it was before.
fn connect_uninterrupted(socket: &SockRef<'_>, address: &SockAddr) -> io::Result<()> {
    loop {
        match socket.connect(address) {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            connected => return connected,
        }
    }
}

struct Connect<P: StreamProtocol> {
    socket: StreamSocket<P>,
}

impl<P: StreamProtocol> Transfer<P::Stream> for Connect<P> {
    const KIND: &'static str = "async_connect";
    type Value = ();
    type Outcome = io::Result<()>;

    fn direction(&self) -> Direction {
        Direction::Write
    }

    fn perform(&mut self, attempt: Attempt<'_, P::Stream>) -> Option<io::Result<()>> {
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
