//! The calls that move bytes over a connected stream socket. None of them raises SIGPIPE, in any host.

use mio::event::Source;
use mio::net::{TcpStream, UnixStream};
use rustix::net::{RecvFlags, SendAncillaryBuffer, SendFlags, recv, send, sendmsg};
use std::io::{self, IoSlice};
use std::os::fd::AsFd;

/// A stream socket of mio's. Every call goes through its `try_io`, because mio's poll(2) backend watches on only when
/// it has seen a `WouldBlock`.
pub trait Stream: Source + AsFd + 'static {
    /// recv(2). `Ok(0)` is the end of the stream.
    fn receive(&self, buffer: &mut [u8]) -> io::Result<usize>;

    /// send(2): std's own `write` raises SIGPIPE on a Unix socket.
    fn send(&self, bytes: &[u8]) -> io::Result<usize>;

    /// sendmsg(2): std's own `write_vectored` raises SIGPIPE on every socket.
    fn send_vectored(&self, slices: &[IoSlice<'_>]) -> io::Result<usize>;
}

macro_rules! streams {
    ($($stream:ty),*) => { $(
        impl Stream for $stream {
            #[inline(always)]
            fn receive(&self, buffer: &mut [u8]) -> io::Result<usize> {
                self.try_io(|| Ok(recv(self, buffer, RecvFlags::empty())?.0))
            }

            #[inline(always)]
            fn send(&self, bytes: &[u8]) -> io::Result<usize> {
                self.try_io(|| Ok(send(self, bytes, NO_SIGNAL)?))
            }

            fn send_vectored(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
                self.try_io(|| Ok(sendmsg(self, slices, &mut SendAncillaryBuffer::default(), NO_SIGNAL)?))
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
