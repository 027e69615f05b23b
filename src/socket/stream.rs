//! `StreamSocket`: a socket of a stream protocol.

use super::descriptor::{adopt, bind, into_blocking, local_endpoint, open_stream, remote_endpoint};
use super::protocol::StreamProtocol;
use crate::handle::Handle;
use crate::operation::shared::Shared;
use crate::option::SocketOption;
use socket2::SockRef;
use std::fmt;
use std::io;
use std::net::Shutdown;
use std::os::fd::{AsFd, OwnedFd};

/// A socket of a stream protocol: Asio's `basic_stream_socket`. Programs call it
/// [`ip::tcp::Socket`](crate::ip::tcp::Socket) or [`local::stream::Socket`](crate::local::stream::Socket).
///
/// Cheap to clone; clones are the same socket. An outstanding operation keeps the socket open; when the last clone is
/// gone and nothing is outstanding, it closes.
///
/// The blocking calls work before and after asynchronous use. They bypass the operations that are queued in their
/// direction. Made inside a handler they stop every other client, and the loop warns about it, once.
///
/// Completions of one direction come in the order in which the operations were started. Reading and writing at the
/// same time is fine. A second [`async_write`](StreamSocket::async_write) waits its turn, so the bytes of two never mix.
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
pub struct StreamSocket<P: StreamProtocol> {
    pub(crate) object: Shared<P::Stream>,
}

// Opening and closing.
impl<P: StreamProtocol> StreamSocket<P> {
    /// A socket without a descriptor. `socket sock(ios);`
    pub fn new(context: &impl AsRef<Handle>) -> Self {
        let object = Shared::new(context.as_ref().clone());
        StreamSocket { object }
    }

    /// An open socket. `socket sock(ios, ep.protocol());`
    ///
    /// # Errors
    ///
    /// As [`open`](StreamSocket::open).
    pub fn with_protocol(context: &impl AsRef<Handle>, protocol: P) -> io::Result<Self> {
        let socket = Self::new(context);
        socket.open(protocol)?;
        Ok(socket)
    }

    /// A socket around a stream of the standard library, which becomes non-blocking.
    ///
    /// # Errors
    ///
    /// The stream cannot be made non-blocking, or the context has gone.
    pub fn from_std(context: &impl AsRef<Handle>, stream: P::StdStream) -> io::Result<Self> {
        let socket = Self::new(context);
        socket.assign(stream)?;
        Ok(socket)
    }

    /// `lingers`: whether its acceptor does, which an accepted socket inherits.
    pub(crate) fn accepted(handle: &Handle, stream: P::Stream, lingers: bool) -> io::Result<Self> {
        let object = Shared::new(handle.clone());
        object.open(|| Ok(stream))?;
        object.lingers.set(lingers);
        object.opened();
        Ok(StreamSocket { object })
    }

    /// Gives the socket a descriptor made elsewhere, which becomes non-blocking. `assign`
    ///
    /// # Errors
    ///
    /// It is a socket of another protocol or it listens (`InvalidInput`), this socket is open already (`AlreadyExists`), or the
    /// context has gone. The descriptor is closed.
    pub fn assign(&self, descriptor: impl Into<OwnedFd>) -> io::Result<()> {
        let descriptor = adopt::<P>(descriptor.into(), false)?;
        self.object.adopt(descriptor.into())?;
        self.object.opened();
        Ok(())
    }

    /// socket(2): gives the socket a descriptor, non-blocking and close-on-exec. `open`
    ///
    /// # Errors
    ///
    /// No descriptor is free, the system has no such protocol, the socket is open already (`AlreadyExists`), or the
    /// context has gone.
    pub fn open(&self, protocol: P) -> io::Result<()> {
        self.object.open(|| open_stream(protocol))
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
        self.object.release().map(Into::into)
    }

    /// Takes the stream out, as [`release`](StreamSocket::release), as a blocking stream of the standard library.
    ///
    /// # Errors
    ///
    /// The socket is not open, or the stream cannot be made blocking.
    pub fn into_std(self) -> io::Result<P::StdStream> {
        into_blocking(self.release()?).map(Into::into)
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
impl<P: StreamProtocol> StreamSocket<P> {
    /// bind(2): gives the socket its local endpoint. Port 0, over the Internet protocols, takes a free one. `bind`
    ///
    /// # Errors
    ///
    /// The endpoint is in use, not of this machine, or needs a privilege; or the socket is not open.
    pub fn bind(&self, endpoint: P::Endpoint) -> io::Result<()> {
        self.object.with(|stream| bind::<P>(stream, &endpoint))
    }

    /// The endpoint at this end. `local_endpoint`
    ///
    /// # Errors
    ///
    /// The socket is not open.
    pub fn local_endpoint(&self) -> io::Result<P::Endpoint> {
        self.object.with(local_endpoint::<P>)
    }

    /// The endpoint at the other end. `remote_endpoint`
    ///
    /// # Errors
    ///
    /// The socket is not open or not connected.
    pub fn remote_endpoint(&self) -> io::Result<P::Endpoint> {
        self.object.with(remote_endpoint::<P>)
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

    /// Whether `read_some`, `write_some`, `read` and `write` answer `WouldBlock` instead of blocking. `non_blocking`
    pub fn non_blocking(&self) -> bool {
        self.object.non_blocking.get()
    }

    /// Makes `read_some`, `write_some`, `read` and `write` answer `WouldBlock` instead of blocking; for use with
    /// [`async_wait`](StreamSocket::async_wait). `connect` and `wait` block all the same, and the asynchronous calls do not
    /// care. `non_blocking(bool)`
    pub fn set_non_blocking(&self, non_blocking: bool) {
        self.object.non_blocking.set(non_blocking);
    }

    /// shutdown(2): ends one direction or both, at once. The peer then sees the end of the stream. `shutdown`
    ///
    /// # Errors
    ///
    /// The socket is not open or not connected.
    pub fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        self.object.with(|stream| SockRef::from(stream).shutdown(how))
    }
}

impl<P: StreamProtocol> Clone for StreamSocket<P> {
    fn clone(&self) -> Self {
        StreamSocket { object: self.object.clone() }
    }
}

impl<P: StreamProtocol> AsRef<Handle> for StreamSocket<P> {
    fn as_ref(&self) -> &Handle {
        &self.object.handle
    }
}

impl<P: StreamProtocol> fmt::Debug for StreamSocket<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Socket")
            .field("open", &self.is_open())
            .field("local", &self.local_endpoint().ok())
            .field("remote", &self.remote_endpoint().ok())
            .finish()
    }
}
