//! TCP as a stream protocol: endpoints, address families, and the descriptors that go with them.

use crate::operation::object::Descriptor;
use crate::readiness::callback::STREAM;
use crate::socket::StreamProtocol;
use crate::socket::descriptor::new_socket;
use crate::socket::protocol::sealed::Family;
use mio::net::{TcpListener, TcpStream};
use socket2::{Domain, SockAddr, Socket};
use std::io::{self, ErrorKind};
use std::net::SocketAddr;

/// An address and a port. `asio::ip::tcp::endpoint`.
///
/// `Endpoint(addr, port)` of Asio is `(addr, port).into()` here, and the wildcard `address_v4::any()` is
/// [`Ipv4Addr::UNSPECIFIED`](std::net::Ipv4Addr::UNSPECIFIED).
///
/// ```
/// use ioctx::ip::tcp::Endpoint;
/// use std::net::Ipv4Addr;
///
/// let endpoint: Endpoint = (Ipv4Addr::LOCALHOST, 7000).into();
/// assert_eq!(endpoint, "127.0.0.1:7000".parse().unwrap());
/// ```
pub type Endpoint = SocketAddr;

/// TCP over IPv4 or over IPv6. `asio::ip::tcp`; Asio's `endpoint.protocol()` is `Protocol::from(endpoint)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Protocol {
    domain: i32,
}

impl Protocol {
    /// TCP over IPv4.
    pub fn v4() -> Self {
        Protocol { domain: Domain::IPV4.into() }
    }

    /// TCP over IPv6.
    pub fn v6() -> Self {
        Protocol { domain: Domain::IPV6.into() }
    }
}

impl From<Endpoint> for Protocol {
    fn from(endpoint: Endpoint) -> Self {
        if endpoint.is_ipv4() { Self::v4() } else { Self::v6() }
    }
}

impl StreamProtocol for Protocol {
    type Endpoint = Endpoint;
    type StdStream = std::net::TcpStream;
    type StdListener = std::net::TcpListener;
}

impl Family<Endpoint> for Protocol {
    const NAME: &'static str = "TCP";
    type Stream = TcpStream;
    type Listener = TcpListener;

    fn of(endpoint: &Endpoint) -> Self {
        Protocol::from(*endpoint)
    }

    fn socket(self) -> io::Result<Socket> {
        new_socket(self.domain.into(), Some(socket2::Protocol::TCP))
    }

    fn has_domain(domain: Domain) -> bool {
        matches!(domain, Domain::IPV4 | Domain::IPV6)
    }

    fn to_address(endpoint: &Endpoint) -> io::Result<SockAddr> {
        Ok(SockAddr::from(*endpoint))
    }

    fn from_address(address: &SockAddr) -> io::Result<Endpoint> {
        address.as_socket().ok_or_else(|| io::Error::new(ErrorKind::InvalidData, "not an address of the Internet"))
    }

    fn accept(listener: &TcpListener) -> io::Result<(TcpStream, Endpoint)> {
        listener.accept()
    }
}

impl Descriptor for TcpStream {
    const OBJECT: &'static str = "tcp::Socket";
    const WATCH: mio::Interest = STREAM;

    fn endpoint(&self) -> Option<String> {
        self.peer_addr().ok().map(|peer| peer.to_string())
    }
}

impl Descriptor for TcpListener {
    const OBJECT: &'static str = "tcp::Acceptor";
    const WATCH: mio::Interest = mio::Interest::READABLE;
    const CAN_WAIT: bool = true;

    fn endpoint(&self) -> Option<String> {
        self.local_addr().ok().map(|address| address.to_string())
    }
}
