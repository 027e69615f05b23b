//! Which kind of TCP: the endpoint's address family, and the descriptor that goes with it.

use socket2::{Domain, Socket, Type};
use std::io;
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

    /// socket(2): non-blocking, close-on-exec, and never raising SIGPIPE.
    pub(super) fn open(self) -> io::Result<Socket> {
        // Non-blocking from the start, where the system can do that in one call.
        #[cfg(not(target_vendor = "apple"))]
        let kind = Type::STREAM.nonblocking();
        #[cfg(target_vendor = "apple")]
        let kind = Type::STREAM;
        let socket = Socket::new(self.domain.into(), kind, Some(socket2::Protocol::TCP))?;
        #[cfg(target_vendor = "apple")]
        socket.set_nonblocking(true)?;
        Ok(socket)
    }
}

impl From<Endpoint> for Protocol {
    fn from(endpoint: Endpoint) -> Self {
        if endpoint.is_ipv4() { Self::v4() } else { Self::v6() }
    }
}
