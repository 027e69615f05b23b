//! Socket options, each a value that is set as a whole and read back as a whole.
//!
//! ```
//! use ioctx::ip::tcp;
//! use ioctx::option::{KeepAlive, ReceiveBufferSize};
//!
//! let io = ioctx::IoContext::new()?;
//! let socket = tcp::Socket::with_protocol(&io, tcp::Protocol::v4())?;
//! socket.set_option(tcp::NoDelay(true))?;
//! socket.set_option(KeepAlive(true))?;
//! let tcp::NoDelay(no_delay) = socket.option()?;
//! let ReceiveBufferSize(bytes) = socket.option()?;
//! assert!(no_delay && bytes > 0);
//! # std::io::Result::Ok(())
//! ```

use socket2::SockRef;
use std::io;
use std::os::fd::BorrowedFd;
use std::time::Duration;

/// A socket option: what `set_option` and `option` of sockets and acceptors take. Sealed.
///
/// Answers to Asio's `SettableSocketOption` and `GettableSocketOption`.
pub trait SocketOption: Copy + sealed::Access {}

pub(crate) mod sealed {
    use super::*;

    pub trait Access: Sized {
        #[doc(hidden)]
        fn apply(self, socket: BorrowedFd<'_>) -> io::Result<()>;
        #[doc(hidden)]
        fn read(socket: BorrowedFd<'_>) -> io::Result<Self>;
        /// Whether closing may block from now on; `None` if this option is about something else.
        #[doc(hidden)]
        fn lingers(&self) -> Option<bool> {
            None
        }
    }
}

macro_rules! options {
    ($($(#[$doc:meta])* $name:ident($value:ty): $set:ident, $get:ident;)*) => { $(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub struct $name(pub $value);

        impl $crate::option::SocketOption for $name {}

        impl $crate::option::sealed::Access for $name {
            fn apply(self, socket: std::os::fd::BorrowedFd<'_>) -> std::io::Result<()> {
                socket2::SockRef::from(&socket).$set(self.0)
            }

            fn read(socket: std::os::fd::BorrowedFd<'_>) -> std::io::Result<Self> {
                socket2::SockRef::from(&socket).$get().map($name)
            }
        }
    )* };
}
pub(crate) use options;

options! {
    /// Lets a listener bind an address that a connection in TIME_WAIT still uses (`SO_REUSEADDR`, socket(7)).
    /// `asio::socket_base::reuse_address`.
    ReuseAddress(bool): set_reuse_address, reuse_address;

    /// Lets several listeners share one address, among which the kernel spreads the connections on Linux
    /// (`SO_REUSEPORT`, socket(7)). Asio has no name for it.
    ReusePort(bool): set_reuse_port, reuse_port;

    /// Lets the kernel probe an idle connection (`SO_KEEPALIVE`, socket(7)). `asio::socket_base::keep_alive`.
    KeepAlive(bool): set_keepalive, keepalive;

    /// The size of the kernel's send buffer in bytes; Linux doubles what is set (`SO_SNDBUF`, socket(7)).
    /// `asio::socket_base::send_buffer_size`.
    SendBufferSize(usize): set_send_buffer_size, send_buffer_size;

    /// The size of the kernel's receive buffer in bytes; Linux doubles what is set (`SO_RCVBUF`, socket(7)).
    /// `asio::socket_base::receive_buffer_size`.
    ReceiveBufferSize(usize): set_recv_buffer_size, recv_buffer_size;
}

/// What closing does with bytes not sent yet (`SO_LINGER`, socket(7)); whole seconds.
///
/// `None`: the kernel goes on sending in the background. Zero: they are thrown away and the peer sees a reset.
/// Longer: an explicit `close` blocks for up to that long; a drop never blocks.
/// A session does not linger, whatever its socket or its acceptor was told: it ends as its own methods say.
/// `asio::socket_base::linger`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Linger(pub Option<Duration>);

impl SocketOption for Linger {}

impl sealed::Access for Linger {
    fn apply(self, socket: BorrowedFd<'_>) -> io::Result<()> {
        SockRef::from(&socket).set_linger(self.0)
    }

    fn read(socket: BorrowedFd<'_>) -> io::Result<Self> {
        SockRef::from(&socket).linger().map(Linger)
    }

    fn lingers(&self) -> Option<bool> {
        Some(self.0.is_some_and(|time| !time.is_zero()))
    }
}
