//! TCP: endpoints, sockets and acceptors. Asio's `asio::ip::tcp`.
//!
//! The steps of a server are `open`, `bind`, `listen`, `accept`, then read and write; of a client `open`, `connect`,
//! then read and write. Each is a call of its own with its error as a value, blocking, and asynchronous where it can
//! wait.
//!
//! ```
//! use ioctx::{IoContext, ip::tcp};
//! use std::net::Ipv4Addr;
//!
//! let mut io = IoContext::new()?;
//! let acceptor = tcp::Acceptor::listen_on(&io, (Ipv4Addr::LOCALHOST, 0).into())?;
//! let client = tcp::Socket::new(&io);
//! client.connect(acceptor.local_endpoint()?)?;
//! let (server, _peer) = acceptor.accept()?;
//! server.async_write(b"hello", |(wrote, _)| assert_eq!(wrote.unwrap(), 5));
//! client.async_read(vec![0; 5], |(read, buffer)| {
//!     assert_eq!(read.unwrap(), 5);
//!     assert_eq!(buffer, b"hello");
//! });
//! assert_eq!(io.run()?, 2);
//! # std::io::Result::Ok(())
//! ```

mod protocol;

use crate::socket::{StreamAcceptor, StreamSocket};

pub use crate::socket::Wait;
pub use protocol::{Endpoint, Protocol};

/// A TCP socket: Asio's `ip::tcp::socket`. All of its calls are those of [`StreamSocket`].
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
pub type Socket = StreamSocket<Protocol>;

/// A listening TCP socket: Asio's `ip::tcp::acceptor`. All of its calls are those of [`StreamAcceptor`].
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
pub type Acceptor = StreamAcceptor<Protocol>;

crate::option::options! {
    /// Sends small segments at once instead of gathering them (`TCP_NODELAY`, tcp(7)). `asio::ip::tcp::no_delay`.
    NoDelay(bool): set_tcp_nodelay, tcp_nodelay;
}
