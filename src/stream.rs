//! The calls that move bytes over a connected stream socket. None of them raises SIGPIPE, in any host.
//!
//! They tell errors as the system's own numbers: one machine word, made into an `io::Error` only where somebody wants
//! one.

use mio::event::Source;
use mio::net::{TcpStream, UnixStream};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendAncillaryBuffer, SendFlags, recv, send, sendmsg};
use std::io::IoSlice;
use std::os::fd::AsFd;

/// A stream socket of mio's.
pub trait Stream: Source + AsFd + 'static {
    /// recv(2). `Ok(0)` is the end of the stream.
    fn receive(&self, buffer: &mut [u8]) -> Result<usize, Errno>;

    /// send(2): std's own `write` raises SIGPIPE on a Unix socket.
    fn send(&self, bytes: &[u8]) -> Result<usize, Errno>;

    /// sendmsg(2): std's own `write_vectored` raises SIGPIPE on every socket.
    fn send_vectored(&self, slices: &[IoSlice<'_>]) -> Result<usize, Errno>;
}

/// Makes a call in mio's sight: its poll(2) backend watches on only when it has seen a `WouldBlock`.
#[cfg(mio_unsupported_force_poll_poll)]
macro_rules! seen {
    ($stream:expr, $call:expr) => {
        $stream.try_io(|| Ok($call?)).map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))
    };
}
/// On epoll and kqueue there is nothing to see.
#[cfg(not(mio_unsupported_force_poll_poll))]
macro_rules! seen {
    ($stream:expr, $call:expr) => {
        $call
    };
}

macro_rules! streams {
    ($($stream:ty),*) => { $(
        impl Stream for $stream {
            #[inline(always)]
            fn receive(&self, buffer: &mut [u8]) -> Result<usize, Errno> {
                seen!(self, recv(self, &mut *buffer, RecvFlags::empty()).map(|(_, received)| received))
            }

            #[inline(always)]
            fn send(&self, bytes: &[u8]) -> Result<usize, Errno> {
                seen!(self, send(self, bytes, NO_SIGNAL))
            }

            fn send_vectored(&self, slices: &[IoSlice<'_>]) -> Result<usize, Errno> {
                seen!(self, sendmsg(self, slices, &mut SendAncillaryBuffer::default(), NO_SIGNAL))
            }
        }
    )* };
}

streams!(TcpStream, UnixStream);

#[cfg(not(target_vendor = "apple"))]
const NO_SIGNAL: SendFlags = SendFlags::NOSIGNAL;
/// These systems have an option of the socket instead, which is set when it is made.
#[cfg(target_vendor = "apple")]
const NO_SIGNAL: SendFlags = SendFlags::empty();
