//! Unix domain stream sockets. Asio's `asio::local::stream_protocol`.
//!
//! The steps are those of [`ip::tcp`](crate::ip::tcp), and so are the calls.
//!
//! ```
//! use ioctx::{IoContext, local};
//!
//! let path = std::env::temp_dir().join(format!("echo-{}.sock", std::process::id()));
//! let mut io = IoContext::new()?;
//! let endpoint = local::Endpoint::from_path(&path)?;
//! let acceptor = local::stream::Acceptor::listen_on(&io, endpoint.clone())?;
//! let client = local::stream::Socket::new(&io);
//! client.connect(endpoint)?;
//! let (server, _peer) = acceptor.accept()?;
//! server.async_write(b"hello", |(wrote, _)| assert_eq!(wrote.unwrap(), 5));
//! client.async_read(vec![0; 5], |(read, buffer)| {
//!     assert_eq!(read.unwrap(), 5);
//!     assert_eq!(buffer, b"hello");
//! });
//! assert_eq!(io.run()?, 2);
//! std::fs::remove_file(path)?; // it stays otherwise
//! # std::io::Result::Ok(())
//! ```

mod in_use;
mod protocol;
mod socket;
mod acceptor;

pub use crate::socket::Wait;
pub use acceptor::Acceptor;
pub use protocol::Protocol;
pub use socket::{PeerCredentials, Socket};
