//! What sockets of all stream protocols have in common: [`StreamSocket`] and [`StreamAcceptor`], each written once.
//! Asio's `basic_stream_socket` and `basic_socket_acceptor`.
//!
//! Programs use them by the names that their protocol gives them, [`ip::tcp::Socket`](crate::ip::tcp::Socket) and
//! [`local::stream::Socket`](crate::local::stream::Socket) among them. This module is for code that serves several:
//!
//! ```
//! use ioctx::socket::{StreamProtocol, StreamSocket};
//! use ioctx::{IoContext, ip::tcp, local};
//!
//! fn greet<P: StreamProtocol>(socket: &StreamSocket<P>) {
//!     socket.async_write("hello\n", |_| {});
//! }
//!
//! let mut io = IoContext::new()?;
//! let (ours, theirs) = local::stream::Socket::pair(&io)?;
//! greet(&ours);
//! greet(&tcp::Socket::new(&io)); // not open: the write fails, in its handler
//! assert_eq!(io.run()?, 2);
//! assert_eq!(theirs.available()?, 6);
//! # std::io::Result::Ok(())
//! ```

pub(crate) mod protocol;
pub(crate) mod descriptor;
mod wait;
mod stream;
pub(crate) mod connect;
mod transfer;
mod acceptor;
pub(crate) mod accept;

pub use acceptor::StreamAcceptor;
pub use protocol::StreamProtocol;
pub use stream::StreamSocket;
pub use wait::Wait;
