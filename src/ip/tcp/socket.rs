//! `Socket`: a TCP stream.

use super::protocol::{Endpoint, Protocol};
use super::stream::{adopt, errno, stream};
use crate::engine::key::Operation;
use crate::handle::Handle;
use crate::operation::blocking::sleep_until_ready;
use crate::operation::object::{Attempt, Direction, Shared};
use crate::operation::pending::Transfer;
use crate::operation::stream::{ReadAll, ReadSome, WaitFor, WriteAll, WriteSome, empty_buffer};
use crate::option::SocketOption;
use mio::net::TcpStream;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use socket2::SockRef;
use std::fmt;
use std::io::{self, ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::fd::{AsFd, OwnedFd};
use std::panic::Location;

/// A TCP socket: Asio's `ip::tcp::socket`.
///
/// Cheap to clone; clones are the same socket. An outstanding operation keeps the socket open; when the last clone is
/// gone and nothing is outstanding, it closes.
///
/// The blocking calls work before and after asynchronous use. They bypass the operations that are queued in their
/// direction. Made inside a handler they stop every other client, and the loop warns about it, once.
///
/// Completions of one direction come in the order in which the operations were started. Reading and writing at the
/// same time is fine. A second [`async_write`](Socket::async_write) waits its turn, so the bytes of two never mix.
///
/// ```
/// use ioctx::{IoContext, ip::tcp};
///
/// let io = IoContext::new()?;
/// let socket = tcp::Socket::new(&io);
/// socket.open(tcp::Protocol::v4())?;
/// let refused = socket.connect("127.0.0.1:1".parse().unwrap()); // nobody listens there
/// assert!(refused.is_err());
/// # std::io::Result::Ok(())
/// ```
#[derive(Clone)]
pub struct Socket {
    object: Shared<TcpStream>,
}

/// What [`Socket::wait`] and [`Socket::async_wait`] wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Wait {
    /// A read, or an accept, would not block.
    Read,
    /// A write would not block.
    Write,
    /// There is urgent data, or an error.
    Error,
}

impl Wait {
    pub(super) fn direction(self) -> Direction {
        match self {
            Wait::Read => Direction::Read,
            Wait::Write => Direction::Write,
            Wait::Error => Direction::Exception,
        }
    }
}

// Opening and closing.
impl Socket {
    /// A socket without a descriptor. `socket sock(ios);`
    pub fn new(context: &impl AsRef<Handle>) -> Socket {
        let object = Shared::new(context.as_ref().clone(), None);
        Socket { object }
    }

    /// An open socket. `socket sock(ios, ep.protocol());`
    ///
    /// # Errors
    ///
    /// As [`open`](Socket::open).
    pub fn with_protocol(context: &impl AsRef<Handle>, protocol: Protocol) -> io::Result<Socket> {
        let socket = Socket::new(context);
        socket.open(protocol)?;
        Ok(socket)
    }

    /// A socket around a TCP stream of the standard library, which becomes non-blocking.
    ///
    /// # Errors
    ///
    /// The stream cannot be made non-blocking, or the context has gone.
    pub fn from_std(context: &impl AsRef<Handle>, stream: std::net::TcpStream) -> io::Result<Socket> {
        let socket = Socket::new(context);
        socket.assign(stream)?;
        Ok(socket)
    }

    pub(super) fn accepted(handle: &Handle, stream: TcpStream) -> Socket {
        let object = Shared::new(handle.clone(), Some(stream));
        object.opened();
        Socket { object }
    }

    /// Gives the socket a descriptor made elsewhere, which becomes non-blocking. `assign`
    ///
    /// # Errors
    ///
    /// It is not a TCP socket or it listens (`InvalidInput`), this socket is open already (`AlreadyExists`), or the context has
    /// gone. The descriptor is closed.
    pub fn assign(&self, descriptor: impl Into<OwnedFd>) -> io::Result<()> {
        let socket = adopt(descriptor.into(), false)?;
        self.object.open(|| Ok(stream(socket)))?;
        self.object.opened();
        Ok(())
    }

    /// socket(2): gives the socket a descriptor, non-blocking and close-on-exec. `open`
    ///
    /// # Errors
    ///
    /// No descriptor is free, the system has no such protocol, the socket is open already (`AlreadyExists`), or the
    /// context has gone.
    pub fn open(&self, protocol: Protocol) -> io::Result<()> {
        self.object.open(|| protocol.open().map(stream))
    }

    /// Whether the socket has a descriptor.
    pub fn is_open(&self) -> bool {
        self.object.is_open()
    }

    /// Ends every outstanding operation as [aborted](crate::error::is_aborted), through the ready queue. The
    /// connection stays. `cancel`
    ///
    /// An operation that had finished keeps its result.
    ///
    /// # Errors
    ///
    /// The socket is not open, or the context has gone.
    pub fn cancel(&self) -> io::Result<()> {
        self.object.with(|_| Ok(()))?;
        self.object.cancel();
        Ok(())
    }

    /// Closes the descriptor; outstanding operations end as [aborted](crate::error::is_aborted), through the ready
    /// queue. Closing twice is fine, and a closed socket can be opened again. `close`
    pub fn close(&self) {
        self.object.close();
    }

    /// Takes the descriptor out, open, non-blocking and no longer watched; outstanding operations end as aborted.
    /// `release`
    ///
    /// # Errors
    ///
    /// The socket is not open, or the context has gone.
    pub fn release(&self) -> io::Result<OwnedFd> {
        Ok(OwnedFd::from(std::net::TcpStream::from(self.object.release()?)))
    }

    /// Takes the stream out, as [`release`](Socket::release), as a blocking stream of the standard library.
    ///
    /// # Errors
    ///
    /// The socket is not open, or the stream cannot be made blocking.
    pub fn into_std(self) -> io::Result<std::net::TcpStream> {
        let stream = std::net::TcpStream::from(self.release()?);
        stream.set_nonblocking(false)?;
        Ok(stream)
    }

    /// A duplicate of the descriptor, for calls that this crate does not know (dup(2)).
    ///
    /// # Errors
    ///
    /// The socket is not open, or no descriptor is free.
    pub fn try_clone_fd(&self) -> io::Result<OwnedFd> {
        self.object.with(|stream| stream.as_fd().try_clone_to_owned())
    }
}

// Addresses and options.
impl Socket {
    /// bind(2): gives the socket its local endpoint. Port 0 takes a free one. `bind`
    ///
    /// # Errors
    ///
    /// The endpoint is in use, not of this machine, or needs a privilege; or the socket is not open.
    pub fn bind(&self, endpoint: Endpoint) -> io::Result<()> {
        self.object.with(|stream| SockRef::from(stream).bind(&endpoint.into()))
    }

    /// The endpoint at this end. `local_endpoint`
    ///
    /// # Errors
    ///
    /// The socket is not open.
    pub fn local_endpoint(&self) -> io::Result<Endpoint> {
        self.object.with(TcpStream::local_addr)
    }

    /// The endpoint at the other end. `remote_endpoint`
    ///
    /// # Errors
    ///
    /// The socket is not open or not connected.
    pub fn remote_endpoint(&self) -> io::Result<Endpoint> {
        self.object.with(TcpStream::peer_addr)
    }

    /// How many bytes can be read without blocking. `available`
    ///
    /// # Errors
    ///
    /// The socket is not open.
    pub fn available(&self) -> io::Result<usize> {
        self.object.with(|stream| {
            let bytes = rustix::io::ioctl_fionread(stream)?;
            Ok(usize::try_from(bytes).unwrap_or(usize::MAX))
        })
    }

    /// Sets a socket option. `set_option`
    ///
    /// # Errors
    ///
    /// The socket is not open, or the system refuses the option.
    pub fn set_option<O: SocketOption>(&self, option: O) -> io::Result<()> {
        self.object.set_option(option)
    }

    /// Reads a socket option. `get_option`
    ///
    /// # Errors
    ///
    /// The socket is not open, or the system does not know the option.
    pub fn option<O: SocketOption>(&self) -> io::Result<O> {
        self.object.with(|stream| O::read(stream.as_fd()))
    }

    /// Whether the calls that would block answer `WouldBlock` instead. `non_blocking`
    pub fn non_blocking(&self) -> bool {
        self.object.non_blocking.get()
    }

    /// Makes the calls that would block answer `WouldBlock` instead; for use with [`async_wait`](Socket::async_wait).
    /// The asynchronous calls do not care. `non_blocking(bool)`
    pub fn set_non_blocking(&self, non_blocking: bool) {
        self.object.non_blocking.set(non_blocking);
    }

    /// shutdown(2): ends one direction or both, at once. The peer then sees the end of the stream. `shutdown`
    ///
    /// # Errors
    ///
    /// The socket is not open or not connected.
    pub fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        self.object.with(|stream| stream.shutdown(how))
    }
}

// Connecting.
impl Socket {
    /// Connects, and blocks until that has succeeded or failed. Opens the socket if need be. `connect`
    ///
    /// # Errors
    ///
    /// The peer refused, does not answer, or cannot be reached; the socket stays open. Or it is connected already, or no
    /// descriptor is free.
    #[track_caller]
    pub fn connect(&self, endpoint: Endpoint) -> io::Result<()> {
        let engine = &self.object.handle.engine;
        engine
            .teller
            .warn_if_blocking(&engine.turn, "connect", Location::caller());
        self.begin_connect(endpoint)?;
        loop {
            self.object.with(|stream| sleep_until_ready(stream, Direction::Write))?;
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
            Err(error) if matches!(errno(&error), Some(Errno::INPROGRESS | Errno::INTR | Errno::AGAIN)) => {
                self.object.start_anew(false)
            }
            Err(error) => Err(error),
        }
    }

    fn issue_connect(&self, endpoint: Endpoint) -> io::Result<()> {
        self.object
            .with(|stream| SockRef::from(stream).connect(&endpoint.into()))
    }
}

/// How a connection attempt has ended; `None` if it has not.
fn connected(stream: &TcpStream) -> Option<io::Result<()>> {
    match stream.take_error() {
        Ok(None) => {}
        Ok(Some(error)) | Err(error) => return Some(Err(error)),
    }
    // An event may come early, and a socket that is not connected yet has no error: the peer's address decides.
    match stream.peer_addr() {
        Ok(_) => Some(Ok(())),
        Err(error) if error.kind() == ErrorKind::NotConnected && !has_hung_up(stream) => None,
        Err(error) => Some(Err(error)),
    }
}

/// Whether the attempt is over although it left no error: a plain read may have taken that.
fn has_hung_up(stream: &TcpStream) -> bool {
    let mut descriptors = [PollFd::new(stream, PollFlags::OUT)];
    let over = PollFlags::HUP | PollFlags::ERR;
    poll(&mut descriptors, Some(&Timespec::default())).is_ok() && descriptors[0].revents().intersects(over)
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

// Reading and writing, blocking.
impl Socket {
    /// Reads what is there into `buffer`, and blocks until something is. `Ok(0)` is the end of the stream.
    /// `read_some`
    ///
    /// # Errors
    ///
    /// `buffer` is empty (`InvalidInput`), the connection was reset, or the socket is not open.
    #[track_caller]
    pub fn read_some(&self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Err(empty_buffer());
        }
        let location = Location::caller();
        self.object
            .blocking("read_some", Direction::Read, location, |mut stream| stream.read(buffer))
    }

    /// Writes what there is room for, and blocks until there is some. `write_some`
    ///
    /// # Errors
    ///
    /// The peer has gone (`BrokenPipe`, `ConnectionReset`), or the socket is not open.
    #[track_caller]
    pub fn write_some(&self, buffer: &[u8]) -> io::Result<usize> {
        let location = Location::caller();
        self.object
            .blocking("write_some", Direction::Write, location, |mut stream| {
                stream.write(buffer)
            })
    }

    /// Reads until `buffer` is full. `asio::read`
    ///
    /// # Errors
    ///
    /// The stream ended before (`UnexpectedEof`), or as [`read_some`](Socket::read_some);
    /// [`error::transferred`](crate::error::transferred) tells how much was read.
    #[track_caller]
    pub fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut done = 0;
        while done < buffer.len() {
            match self.read_some(&mut buffer[done..]) {
                Ok(0) => return Err(crate::error::with_transferred(ErrorKind::UnexpectedEof.into(), done)),
                Ok(n) => done += n,
                Err(error) => return Err(crate::error::with_transferred(error, done)),
            }
        }
        Ok(done)
    }

    /// Writes all of `buffer`. `asio::write`
    ///
    /// # Errors
    ///
    /// As [`write_some`](Socket::write_some); [`error::transferred`](crate::error::transferred) tells how much was
    /// written.
    #[track_caller]
    pub fn write(&self, buffer: &[u8]) -> io::Result<usize> {
        let mut done = 0;
        while done < buffer.len() {
            match self.write_some(&buffer[done..]) {
                Ok(0) => return Err(crate::error::with_transferred(ErrorKind::WriteZero.into(), done)),
                Ok(n) => done += n,
                Err(error) => return Err(crate::error::with_transferred(error, done)),
            }
        }
        Ok(done)
    }

    /// Blocks until the socket is ready. `wait`
    ///
    /// # Errors
    ///
    /// The socket is not open.
    #[track_caller]
    pub fn wait(&self, wait: Wait) -> io::Result<()> {
        let engine = &self.object.handle.engine;
        engine.teller.warn_if_blocking(&engine.turn, "wait", Location::caller());
        self.object.with(|stream| sleep_until_ready(stream, wait.direction()))
    }
}

// Reading and writing, asynchronous.
impl Socket {
    /// Reads what is there into `buffer`, which comes back with the outcome, on error too. `Ok(0)` is the end of the
    /// stream. `async_read_some`
    ///
    /// An empty buffer is an error (`InvalidInput`), because `Ok(0)` means the end.
    ///
    /// ```
    /// # use ioctx::{Part, ip::tcp};
    /// fn echo(socket: tcp::Socket, buffer: Vec<u8>) {
    ///     socket.clone().async_read_some(buffer, move |(read, buffer)| match read {
    ///         Ok(0) | Err(_) => {} // the last handle goes: closed
    ///         Ok(n) => {
    ///             socket.clone().async_write(Part::to(buffer, n), move |(wrote, part)| {
    ///                 if wrote.is_ok() {
    ///                     echo(socket, part.into_inner());
    ///                 }
    ///             });
    ///         }
    ///     });
    /// }
    /// ```
    #[track_caller]
    pub fn async_read_some<B, H>(&self, buffer: B, handler: H) -> Operation
    where
        B: AsMut<[u8]> + 'static,
        H: FnOnce((io::Result<usize>, B)) + 'static,
    {
        self.object
            .start(Direction::Read, ReadSome(buffer), handler, Location::caller())
    }

    /// Reads until `buffer` is full: one operation, however many reads it takes. `asio::async_read`
    ///
    /// If the stream ends before, that is `UnexpectedEof`; [`error::transferred`](crate::error::transferred) tells
    /// how many bytes are in the buffer.
    #[track_caller]
    pub fn async_read<B, H>(&self, buffer: B, handler: H) -> Operation
    where
        B: AsMut<[u8]> + 'static,
        H: FnOnce((io::Result<usize>, B)) + 'static,
    {
        let read = ReadAll { buffer, done: 0 };
        self.object.start(Direction::Read, read, handler, Location::caller())
    }

    /// Writes what there is room for; may write only a part of `buffer`. `async_write_some`
    #[track_caller]
    pub fn async_write_some<B, H>(&self, buffer: B, handler: H) -> Operation
    where
        B: AsRef<[u8]> + 'static,
        H: FnOnce((io::Result<usize>, B)) + 'static,
    {
        self.object
            .start(Direction::Write, WriteSome(buffer), handler, Location::caller())
    }

    /// Writes all of `buffer`: one operation, however many writes it takes. `asio::async_write`
    ///
    /// A second write waits until the first has ended, so their bytes never mix. After an error
    /// [`error::transferred`](crate::error::transferred) tells how many bytes had been written. To send a part of a
    /// buffer, give a [`Part`](crate::Part).
    #[track_caller]
    pub fn async_write<B, H>(&self, buffer: B, handler: H) -> Operation
    where
        B: AsRef<[u8]> + 'static,
        H: FnOnce((io::Result<usize>, B)) + 'static,
    {
        let write = WriteAll { buffer, done: 0 };
        self.object.start(Direction::Write, write, handler, Location::caller())
    }

    /// Calls `handler` when the socket is ready, and transfers nothing: for connections that hold no buffer while
    /// they are idle, and for protocols that do their own I/O. `async_wait`
    #[track_caller]
    pub fn async_wait(&self, wait: Wait, handler: impl FnOnce(io::Result<()>) + 'static) -> Operation {
        let direction = wait.direction();
        self.object
            .start(direction, WaitFor(direction), handler, Location::caller())
    }
}

impl AsRef<Handle> for Socket {
    fn as_ref(&self) -> &Handle {
        &self.object.handle
    }
}

impl fmt::Debug for Socket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Socket")
            .field("open", &self.is_open())
            .field("local", &self.local_endpoint().ok())
            .field("remote", &self.remote_endpoint().ok())
            .finish()
    }
}
