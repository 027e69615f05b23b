//! The kinds of sockets that sessions run over: what `serve`, `connect`, `adopt` and `into_socket` take and give.

use super::endpoint::Endpoint;
use super::transport::Transport;
use crate::handle::Handle;
use crate::ip::tcp;
use mio::event::Source;
use mio::net::TcpListener;
use std::fmt;
use std::io;

/// An acceptor that [`serve`](super::serve) takes: `ip::tcp::Acceptor`, `local::stream::Acceptor`. Sealed.
pub trait StreamAcceptor: sealed::Acceptor {}

/// A socket that a session runs over: `ip::tcp::Socket`, `local::stream::Socket`. Sealed.
pub trait StreamSocket: sealed::Socket {}

/// A listening socket of either kind.
pub enum Listener {
    Tcp(TcpListener),
}

impl Listener {
    pub(super) fn accept(&self) -> io::Result<(Transport, Option<Endpoint>)> {
        match self {
            Listener::Tcp(listener) => {
                let (stream, peer) = listener.accept()?;
                let _ = stream.set_nodelay(true); // Sends are gathered already; without it they are only slower.
                Ok((Transport::Tcp(stream), Some(peer.into())))
            }
        }
    }

    pub(super) fn source(&mut self) -> &mut dyn Source {
        match self {
            Listener::Tcp(listener) => listener,
        }
    }

    pub(super) fn local_endpoint(&self) -> Option<Endpoint> {
        match self {
            Listener::Tcp(listener) => listener.local_addr().ok().map(Endpoint::Tcp),
        }
    }
}

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Listener").field(&self.local_endpoint()).finish()
    }
}

pub(super) mod sealed {
    use super::*;

    pub trait Acceptor: Sized {
        /// What the factory is told of a peer.
        type Peer: 'static;
        #[doc(hidden)]
        fn into_listener(self) -> io::Result<(Handle, Listener)>;
        #[doc(hidden)]
        fn peer(endpoint: Option<Endpoint>) -> Self::Peer;
    }

    pub trait Socket: Sized {
        #[doc(hidden)]
        fn into_transport(self) -> io::Result<(Handle, Transport)>;
        #[doc(hidden)]
        fn is_of_this_kind(transport: &Transport) -> bool;
        #[doc(hidden)]
        fn from_transport(handle: &Handle, transport: Transport) -> io::Result<Self>;
    }
}

impl StreamAcceptor for tcp::Acceptor {}

impl sealed::Acceptor for tcp::Acceptor {
    type Peer = tcp::Endpoint;

    fn into_listener(self) -> io::Result<(Handle, Listener)> {
        let handle = self.as_ref().clone();
        Ok((handle, Listener::Tcp(self.release_listener()?)))
    }

    fn peer(endpoint: Option<Endpoint>) -> Self::Peer {
        match endpoint {
            Some(Endpoint::Tcp(endpoint)) => endpoint,
            None => ([0; 4], 0).into(),
        }
    }
}

impl StreamSocket for tcp::Socket {}

impl sealed::Socket for tcp::Socket {
    fn into_transport(self) -> io::Result<(Handle, Transport)> {
        let handle = self.as_ref().clone();
        Ok((handle, Transport::Tcp(self.release_stream()?)))
    }

    fn is_of_this_kind(transport: &Transport) -> bool {
        matches!(transport, Transport::Tcp(_))
    }

    fn from_transport(handle: &Handle, transport: Transport) -> io::Result<Self> {
        match transport {
            Transport::Tcp(stream) => tcp::Socket::accepted(handle, stream, false),
            _ => Err(io::ErrorKind::InvalidInput.into()),
        }
    }
}

/// Issues connect(2).
pub(super) fn connect_transport(endpoint: &Endpoint) -> io::Result<Transport> {
    match endpoint {
        Endpoint::Tcp(endpoint) => {
            let stream = tcp::begin_connect(*endpoint)?;
            let _ = stream.set_nodelay(true);
            Ok(Transport::Tcp(stream))
        }
    }
}
