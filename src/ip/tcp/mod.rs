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
mod stream;
mod socket;
mod connect;
mod transfer;
mod acceptor;

pub use acceptor::Acceptor;
pub(crate) use acceptor::{is_of_the_connection, is_starvation};
pub(crate) use connect::{begin_connect, connected};
pub use protocol::{Endpoint, Protocol};
pub use socket::{Socket, Wait};

crate::option::options! {
    /// Sends small segments at once instead of gathering them (`TCP_NODELAY`, tcp(7)). `asio::ip::tcp::no_delay`.
    NoDelay(bool): set_tcp_nodelay, tcp_nodelay;
}
