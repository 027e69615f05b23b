//! `Descriptor`: any pollable file descriptor as a source.

use crate::poll::ready_now;
use mio::Registry;
use mio::event::Source;
use mio::unix::SourceFd;
use rustix::event::PollFlags;
use std::fmt;
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsFd, AsRawFd};

/// The most that a pipe which polls as writable takes without blocking (POSIX promises 512, Linux has 4,096).
const PIPE_BUF: usize = if cfg!(any(target_os = "linux", target_os = "android")) { 4096 } else { 512 };

/// A foreign descriptor, as given to [`Handle::register_fd`](crate::Handle::register_fd).
///
/// The descriptor stays as it is: other processes may share a terminal or a pipe, so it is not made non-blocking.
/// Instead a read first asks poll(2) whether it would block, and a write asks too and then writes at most what a
/// writable pipe must take at once.
pub struct Descriptor<T> {
    inner: T,
}

impl<T: AsFd> Descriptor<T> {
    pub(crate) fn new(inner: T) -> Self {
        Descriptor { inner }
    }

    /// What was registered.
    pub fn get_ref(&self) -> &T {
        &self.inner
    }

    /// Takes back what was registered.
    pub fn into_inner(self) -> T {
        self.inner
    }

    fn check(&self, wanted: PollFlags) -> io::Result<()> {
        if ready_now(&self.inner, wanted)?.is_empty() {
            return Err(ErrorKind::WouldBlock.into());
        }
        Ok(())
    }
}

impl<T: AsFd> Read for &Descriptor<T> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.check(PollFlags::IN)?;
        Ok(rustix::io::read(&self.inner, buffer)?)
    }
}

impl<T: AsFd> Write for &Descriptor<T> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.check(PollFlags::OUT)?;
        let most = buffer.len().min(PIPE_BUF);
        Ok(rustix::io::write(&self.inner, &buffer[..most])?)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<T: AsFd> Source for Descriptor<T> {
    fn register(&mut self, registry: &Registry, token: mio::Token, interest: mio::Interest) -> io::Result<()> {
        SourceFd(&self.inner.as_fd().as_raw_fd()).register(registry, token, interest)
    }

    fn reregister(&mut self, registry: &Registry, token: mio::Token, interest: mio::Interest) -> io::Result<()> {
        SourceFd(&self.inner.as_fd().as_raw_fd()).reregister(registry, token, interest)
    }

    fn deregister(&mut self, registry: &Registry) -> io::Result<()> {
        SourceFd(&self.inner.as_fd().as_raw_fd()).deregister(registry)
    }
}

impl<T: AsFd> fmt::Debug for Descriptor<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Descriptor").field(&self.inner.as_fd()).finish()
    }
}
