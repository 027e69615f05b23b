//! Unix domain sockets: between processes of one machine. Asio's namespace `asio::local`.
//!
//! An [`Endpoint`] is a path in the file system, or on Linux an abstract name. What else there is to know:
//!
//! - Binding to a path makes a file there. It stays when the socket is closed and when the program ends, however it
//!   ends; the next `bind` then fails with `AddrInUse`, and the error says what is in the way.
//!   [`listen_on_replacing_stale`](stream::Acceptor::listen_on_replacing_stale) removes such a file first.
//!   `std::fs::remove_file` removes it any time; clients that are connected do not notice.
//! - Who may connect is told by the permissions of the file, and those of its folder. An abstract name has no file, so
//!   everybody may connect who shares the network namespace: see
//!   [`peer_credentials`](stream::Socket::peer_credentials).
//! - The peer of an accepted socket has no name, unless it was bound before it connected.

mod endpoint;
pub mod stream;

pub use endpoint::Endpoint;
