//! `StreamAcceptor`: a listening socket of a stream protocol.

use super::descriptor::{adopt, bind, into_blocking, local_endpoint};
use super::protocol::StreamProtocol;
use crate::handle::Handle;
use crate::operation::shared::Shared;
use crate::option::{ReuseAddress, SocketOption};
use socket2::SockRef;
use std::fmt;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

/// A listening socket of a stream protocol: Asio's `basic_socket_acceptor`. Programs call it
/// [`ip::tcp::Acceptor`](crate::ip::tcp::Acceptor) or [`local::stream::Acceptor`](crate::local::stream::Acceptor).
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
pub struct StreamAcceptor<P: StreamProtocol> {
    pub(crate) object: Shared<P::Listener>,
}

// Opening and closing.
impl<P: StreamProtocol> StreamAcceptor<P> {
    /// A backlog for [`listen`](StreamAcceptor::listen) as long as the system allows: the kernel cuts it down to its own
    /// limit (`net.core.somaxconn`, listen(2)). `max_listen_connections`
    pub const MAX_LISTEN_CONNECTIONS: u32 = i32::MAX as u32;

    /// An acceptor without a descriptor. `acceptor acceptor(ios);`
    pub fn new(context: &impl AsRef<Handle>) -> Self {
        let object = Shared::new(context.as_ref().clone());
        StreamAcceptor { object }
    }

    /// An open acceptor. `acceptor acceptor(ios, ep.protocol());`
    ///
    /// # Errors
    ///
    /// As [`open`](StreamAcceptor::open).
    pub fn with_protocol(context: &impl AsRef<Handle>, protocol: P) -> io::Result<Self> {
        let acceptor = Self::new(context);
        acceptor.open(protocol)?;
        Ok(acceptor)
    }

    /// An acceptor that listens: open, [`ReuseAddress`], bind and listen in one call.
    /// `acceptor acceptor(ios, ep);`
    ///
    /// # Errors
    ///
    /// As each of these: the endpoint is in use, not of this machine, or needs a privilege.
    pub fn listen_on(context: &impl AsRef<Handle>, endpoint: P::Endpoint) -> io::Result<Self> {
        let acceptor = Self::with_protocol(context, P::of(&endpoint))?;
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
    pub fn from_std(context: &impl AsRef<Handle>, listener: P::StdListener) -> io::Result<Self> {
        let acceptor = Self::new(context);
        acceptor.assign(listener)?;
        Ok(acceptor)
    }

    /// Gives the acceptor a descriptor made elsewhere, which becomes non-blocking. `assign`
    ///
    /// # Errors
    ///
    /// It is a socket of another protocol or it is connected (`InvalidInput`), this acceptor is open already (`AlreadyExists`), or
    /// the context has gone. The descriptor is closed.
    pub fn assign(&self, descriptor: impl Into<OwnedFd>) -> io::Result<()> {
        let descriptor = adopt::<P>(descriptor.into(), true)?;
        self.object.adopt(descriptor.into())
    }

    /// socket(2): gives the acceptor a descriptor, non-blocking and close-on-exec. `open`
    ///
    /// # Errors
    ///
    /// No descriptor is free, the system has no such protocol, the acceptor is open already (`AlreadyExists`), or the
    /// context has gone.
    pub fn open(&self, protocol: P) -> io::Result<()> {
        self.object.open(|| Ok(OwnedFd::from(protocol.socket()?).into()))
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
        self.object.release().map(Into::into)
    }

    /// Takes the listener out, as [`release`](StreamAcceptor::release), as a blocking listener of the standard library.
    ///
    /// # Errors
    ///
    /// The acceptor is not open, or the listener cannot be made blocking.
    pub fn into_std(self) -> io::Result<P::StdListener> {
        into_blocking(self.release()?).map(Into::into)
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
impl<P: StreamProtocol> StreamAcceptor<P> {
    /// bind(2): gives the acceptor its endpoint. Port 0, over the Internet protocols, takes a free one. `bind`
    ///
    /// # Errors
    ///
    /// The endpoint is in use, not of this machine, or needs a privilege; or the acceptor is not open.
    pub fn bind(&self, endpoint: P::Endpoint) -> io::Result<()> {
        self.object.with(|listener| bind::<P>(listener, &endpoint))
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
    pub fn local_endpoint(&self) -> io::Result<P::Endpoint> {
        self.object.with(local_endpoint::<P>)
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

impl<P: StreamProtocol> Clone for StreamAcceptor<P> {
    fn clone(&self) -> Self {
        StreamAcceptor { object: self.object.clone() }
    }
}

impl<P: StreamProtocol> AsRef<Handle> for StreamAcceptor<P> {
    fn as_ref(&self) -> &Handle {
        &self.object.handle
    }
}

impl<P: StreamProtocol> fmt::Debug for StreamAcceptor<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Acceptor").field("open", &self.is_open()).field("local", &self.local_endpoint().ok()).finish()
    }
}
