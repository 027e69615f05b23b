//! `Acceptor`: a listening TCP socket.

use super::protocol::{Endpoint, Protocol};
use super::socket::{Socket, Wait};
use super::stream::{adopt, errno, listener};
use crate::handle::Handle;
use crate::key::{Operation, Origin};
use crate::operation::object::{Attempt, Direction};
use crate::operation::pending::Transfer;
use crate::operation::shared::Shared;
use crate::operation::stream::WaitFor;
use crate::option::{ReuseAddress, SocketOption};
use crate::poll::sleep_until_ready;
use crate::ready::Interest;
use mio::net::{TcpListener, TcpStream};
use rustix::io::Errno;
use socket2::SockRef;
use std::fmt;
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, OwnedFd};
use std::panic::Location;

/// A listening TCP socket: Asio's `ip::tcp::acceptor`.
///
/// Cheap to clone; clones are the same acceptor. An outstanding accept keeps it open.
///
/// ```
/// use ioctx::{IoContext, ip::tcp};
/// use std::net::Ipv4Addr;
///
/// let io = IoContext::new()?;
/// let endpoint: tcp::Endpoint = (Ipv4Addr::LOCALHOST, 0).into();
/// let acceptor = tcp::Acceptor::new(&io);
/// acceptor.open(endpoint.into())?;
/// acceptor.bind(endpoint)?;
/// acceptor.listen(tcp::Acceptor::MAX_LISTEN_CONNECTIONS)?;
/// println!("listening on {}", acceptor.local_endpoint()?);
/// # std::io::Result::Ok(())
/// ```
#[derive(Clone)]
pub struct Acceptor {
    object: Shared<TcpListener>,
}

// Opening and closing.
impl Acceptor {
    /// A backlog for [`listen`](Acceptor::listen) as long as the system allows: the kernel cuts it down to its own
    /// limit (`net.core.somaxconn`, listen(2)). `max_listen_connections`
    pub const MAX_LISTEN_CONNECTIONS: u32 = i32::MAX as u32;

    /// An acceptor without a descriptor. `acceptor acceptor(ios);`
    pub fn new(context: &impl AsRef<Handle>) -> Acceptor {
        let object = Shared::new(context.as_ref().clone());
        Acceptor { object }
    }

    /// An open acceptor. `acceptor acceptor(ios, ep.protocol());`
    ///
    /// # Errors
    ///
    /// As [`open`](Acceptor::open).
    pub fn with_protocol(context: &impl AsRef<Handle>, protocol: Protocol) -> io::Result<Acceptor> {
        let acceptor = Acceptor::new(context);
        acceptor.open(protocol)?;
        Ok(acceptor)
    }

    /// An acceptor that listens: open, [`ReuseAddress`], bind and listen in one call.
    /// `acceptor acceptor(ios, ep);`
    ///
    /// # Errors
    ///
    /// As each of these: the endpoint is in use, not of this machine, or needs a privilege.
    pub fn listen_on(context: &impl AsRef<Handle>, endpoint: Endpoint) -> io::Result<Acceptor> {
        let acceptor = Acceptor::with_protocol(context, endpoint.into())?;
        acceptor.set_option(ReuseAddress(true))?;
        acceptor.bind(endpoint)?;
        acceptor.listen(Self::MAX_LISTEN_CONNECTIONS)?;
        Ok(acceptor)
    }

    /// An acceptor around a listener of the standard library, which becomes non-blocking.
    ///
    /// # Errors
    ///
    /// The listener cannot be made non-blocking, or the context has gone.
    pub fn from_std(context: &impl AsRef<Handle>, listener: std::net::TcpListener) -> io::Result<Acceptor> {
        let acceptor = Acceptor::new(context);
        acceptor.assign(listener)?;
        Ok(acceptor)
    }

    /// Gives the acceptor a descriptor made elsewhere, which becomes non-blocking. `assign`
    ///
    /// # Errors
    ///
    /// It is not a TCP socket or it is connected (`InvalidInput`), this acceptor is open already (`AlreadyExists`), or
    /// the context has gone. The descriptor is closed.
    pub fn assign(&self, descriptor: impl Into<OwnedFd>) -> io::Result<()> {
        let socket = adopt(descriptor.into(), true)?;
        self.object.adopt(listener(socket))
    }

    /// socket(2): gives the acceptor a descriptor, non-blocking and close-on-exec. `open`
    ///
    /// # Errors
    ///
    /// No descriptor is free, the system has no such protocol, the acceptor is open already (`AlreadyExists`), or the
    /// context has gone.
    pub fn open(&self, protocol: Protocol) -> io::Result<()> {
        self.object.open(|| protocol.open().map(listener))
    }

    /// Whether the acceptor has a descriptor.
    pub fn is_open(&self) -> bool {
        self.object.is_open()
    }

    /// Ends every outstanding accept as [aborted](crate::error::is_aborted), through the ready queue. The acceptor
    /// goes on listening. `cancel`
    ///
    /// # Errors
    ///
    /// The acceptor is not open, or the context has gone.
    pub fn cancel(&self) -> io::Result<()> {
        self.object.with(|_| Ok(()))?;
        self.object.cancel();
        Ok(())
    }

    /// Closes the descriptor; outstanding accepts end as [aborted](crate::error::is_aborted), through the ready
    /// queue, and clients waiting in the backlog are reset. Closing twice is fine. `close`
    pub fn close(&self) {
        self.object.close();
    }

    /// Takes the descriptor out, open, non-blocking and no longer watched; outstanding accepts end as aborted.
    /// `release`
    ///
    /// # Errors
    ///
    /// The acceptor is not open, or the context has gone.
    pub fn release(&self) -> io::Result<OwnedFd> {
        Ok(OwnedFd::from(std::net::TcpListener::from(self.object.release()?)))
    }

    /// As [`release`](Acceptor::release), for other layers.
    pub(crate) fn release_listener(&self) -> io::Result<TcpListener> {
        self.object.release()
    }

    /// Takes the listener out, as [`release`](Acceptor::release), as a blocking listener of the standard library.
    ///
    /// # Errors
    ///
    /// The acceptor is not open, or the listener cannot be made blocking.
    pub fn into_std(self) -> io::Result<std::net::TcpListener> {
        let listener = std::net::TcpListener::from(self.release()?);
        listener.set_nonblocking(false)?;
        Ok(listener)
    }

    /// A duplicate of the descriptor, for calls that this crate does not know (dup(2)).
    ///
    /// # Errors
    ///
    /// The acceptor is not open, or no descriptor is free.
    pub fn try_clone_fd(&self) -> io::Result<OwnedFd> {
        self.object.with(|listener| listener.as_fd().try_clone_to_owned())
    }
}

// Binding, listening, options.
impl Acceptor {
    /// bind(2): gives the acceptor its endpoint. Port 0 takes a free one. `bind`
    ///
    /// # Errors
    ///
    /// The endpoint is in use, not of this machine, or needs a privilege; or the acceptor is not open.
    pub fn bind(&self, endpoint: Endpoint) -> io::Result<()> {
        self.object.with(|listener| SockRef::from(listener).bind(&endpoint.into()))
    }

    /// listen(2): from here on the kernel completes connections and keeps up to `backlog` of them until they are
    /// accepted; it cuts a huge number down to its own limit. `listen`
    ///
    /// # Errors
    ///
    /// Another socket listens there already, or the acceptor is not open.
    pub fn listen(&self, backlog: u32) -> io::Result<()> {
        let backlog = i32::try_from(backlog).unwrap_or(i32::MAX);
        self.object.with(|listener| SockRef::from(listener).listen(backlog))?;
        self.object.start_anew(false)
    }

    /// The endpoint that clients connect to. `local_endpoint`
    ///
    /// # Errors
    ///
    /// The acceptor is not open.
    pub fn local_endpoint(&self) -> io::Result<Endpoint> {
        self.object.with(TcpListener::local_addr)
    }

    /// Sets a socket option. `set_option`
    ///
    /// # Errors
    ///
    /// The acceptor is not open, or the system refuses the option.
    pub fn set_option<O: SocketOption>(&self, option: O) -> io::Result<()> {
        self.object.set_option(option)
    }

    /// Reads a socket option. `get_option`
    ///
    /// # Errors
    ///
    /// The acceptor is not open, or the system does not know the option.
    pub fn option<O: SocketOption>(&self) -> io::Result<O> {
        self.object.with(|listener| O::read(listener.as_fd()))
    }

    /// Whether `accept` answer `WouldBlock` instead of blocking. `non_blocking`
    pub fn non_blocking(&self) -> bool {
        self.object.non_blocking.get()
    }

    /// Makes `accept` answer `WouldBlock` instead of blocking. `non_blocking(bool)`
    pub fn set_non_blocking(&self, non_blocking: bool) {
        self.object.non_blocking.set(non_blocking);
    }
}

// Accepting.
impl Acceptor {
    /// Takes a connection, and blocks until there is one. Returns a new socket, and the peer's endpoint. `accept`
    ///
    /// A connection that its client gave up before it was accepted is passed over.
    ///
    /// # Errors
    ///
    /// No descriptor is free, or the acceptor is not open or does not listen.
    #[track_caller]
    pub fn accept(&self) -> io::Result<(Socket, Endpoint)> {
        let location = Location::caller();
        let (stream, peer) = self.object.blocking("accept", Direction::Read, location, |listener| {
            loop {
                match listener.accept() {
                    Err(error) if is_of_the_connection(&error) => {}
                    accepted => return accepted,
                }
            }
        })?;
        let lingers = self.object.lingers.get();
        Ok((Socket::accepted(&self.object.handle, stream, lingers)?, peer))
    }

    /// Takes a connection, and calls `handler` with a new socket and the peer's endpoint. `async_accept`
    ///
    /// A connection that its client gave up before it was accepted is passed over. When no descriptor is free, the
    /// accept stays outstanding: it says so once in the log, and tries again when this context closes a descriptor,
    /// at the latest after [`Config::accept_retry`](crate::Config::accept_retry).
    #[track_caller]
    pub fn async_accept(&self, handler: impl FnOnce(io::Result<(Socket, Endpoint)>) + 'static) -> Operation {
        let location = Location::caller();
        let accept = Accept { handle: self.object.handle.clone(), origin: self.object.handle.engine.origin(location) };
        self.object.start(Direction::Read, accept, handler, location)
    }

    /// Blocks until there is a connection to accept ([`Wait::Read`]). `wait`
    ///
    /// # Errors
    ///
    /// The acceptor is not open.
    #[track_caller]
    pub fn wait(&self, wait: Wait) -> io::Result<()> {
        let engine = &self.object.handle.engine;
        engine.teller.warn_if_blocking(&engine.turn, "wait", Location::caller());
        self.object.with(|listener| sleep_until_ready(listener, wait.direction().poll_flags()))
    }

    /// Calls `handler` when there is a connection to accept ([`Wait::Read`]), and accepts nothing. `async_wait`
    #[track_caller]
    pub fn async_wait(&self, wait: Wait, handler: impl FnOnce(io::Result<()>) + 'static) -> Operation {
        let direction = wait.direction();
        self.object.start(direction, WaitFor(direction), handler, Location::caller())
    }
}

/// A connection that was taken, with what its socket inherits.
struct Accepted {
    stream: TcpStream,
    peer: Endpoint,
    lingers: bool,
}

struct Accept {
    handle: Handle,
    origin: Origin,
}

impl Transfer<TcpListener> for Accept {
    const KIND: &'static str = "async_accept";
    type Value = Accepted;
    type Outcome = io::Result<(Socket, Endpoint)>;

    fn perform(&mut self, attempt: &Attempt<'_, TcpListener>) -> Option<io::Result<Self::Value>> {
        loop {
            match attempt.io(|io| io.try_io(Interest::READABLE, TcpListener::accept)) {
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
                    attempt.starve(&error, self.origin);
                    return None;
                }
                Err(error) => return Some(Err(error)),
            }
        }
    }

    fn finish(self, result: io::Result<Self::Value>) -> Self::Outcome {
        let Accepted { stream, peer, lingers } = result?;
        Ok((Socket::accepted(&self.handle, stream, lingers)?, peer))
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

impl AsRef<Handle> for Acceptor {
    fn as_ref(&self) -> &Handle {
        &self.object.handle
    }
}

impl fmt::Debug for Acceptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Acceptor").field("open", &self.is_open()).field("local", &self.local_endpoint().ok()).finish()
    }
}
