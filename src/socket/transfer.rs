//! Reading and writing a socket, and waiting for it.

use super::protocol::StreamProtocol;
use super::stream::StreamSocket;
use super::wait::Wait;
use crate::key::Operation;
use crate::operation::object::Direction;
use crate::operation::stream::{ReadAll, ReadSome, WaitFor, WriteAll, WriteSome, empty_buffer};
use crate::poll::sleep_until_ready;
use crate::stream::Stream;
use std::io::{self, ErrorKind};
use std::panic::Location;

// Reading and writing, blocking.
impl<P: StreamProtocol> StreamSocket<P> {
    /// Reads what is there into `buffer`, and blocks until something is. `Ok(0)` is the end of the stream.
    /// `read_some`
    ///
    /// # Errors
    ///
    /// `buffer` is empty (`InvalidInput`), the connection was reset, or the socket is not open.
    #[track_caller]
    pub fn read_some(&self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Err(empty_buffer());
        }
        let location = Location::caller();
        self.object.blocking("read_some", Direction::Read, location, |stream| Ok(stream.receive(buffer)?))
    }

    /// Writes what there is room for, and blocks until there is some. `write_some`
    ///
    /// # Errors
    ///
    /// The peer has gone (`BrokenPipe`, `ConnectionReset`), or the socket is not open.
    #[track_caller]
    pub fn write_some(&self, buffer: &[u8]) -> io::Result<usize> {
        let location = Location::caller();
        self.object.blocking("write_some", Direction::Write, location, |stream| Ok(stream.send(buffer)?))
    }

    /// Reads until `buffer` is full. `asio::read`
    ///
    /// # Errors
    ///
    /// The stream ended before (`UnexpectedEof`), or as [`read_some`](StreamSocket::read_some);
    /// [`error::transferred`](crate::error::transferred) tells how much was read.
    #[track_caller]
    pub fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut done = 0;
        while done < buffer.len() {
            match self.read_some(&mut buffer[done..]) {
                Ok(0) => return Err(crate::error::with_transferred(ErrorKind::UnexpectedEof.into(), done)),
                Ok(n) => done += n,
                Err(error) => return Err(crate::error::with_transferred(error, done)),
            }
        }
        Ok(done)
    }

    /// Writes all of `buffer`. `asio::write`
    ///
    /// # Errors
    ///
    /// As [`write_some`](StreamSocket::write_some); [`error::transferred`](crate::error::transferred) tells how much was
    /// written.
    #[track_caller]
    pub fn write(&self, buffer: &[u8]) -> io::Result<usize> {
        let mut done = 0;
        while done < buffer.len() {
            match self.write_some(&buffer[done..]) {
                Ok(0) => return Err(crate::error::with_transferred(ErrorKind::WriteZero.into(), done)),
                Ok(n) => done += n,
                Err(error) => return Err(crate::error::with_transferred(error, done)),
            }
        }
        Ok(done)
    }

    /// Blocks until the socket is ready. `wait`
    ///
    /// # Errors
    ///
    /// The socket is not open.
    #[track_caller]
    pub fn wait(&self, wait: Wait) -> io::Result<()> {
        let engine = &self.object.handle.engine;
        engine.warn_if_blocking("wait", Location::caller());
        self.object.with(|stream| sleep_until_ready(stream, wait.direction().poll_flags()))
    }
}

// Reading and writing, asynchronous.
impl<P: StreamProtocol> StreamSocket<P> {
    /// Reads what is there into `buffer`, which comes back with the outcome, on error too. `Ok(0)` is the end of the
    /// stream. `async_read_some`
    ///
    /// An empty buffer is an error (`InvalidInput`), because `Ok(0)` means the end.
    ///
    /// ```
    /// # use ioctx::{Part, ip::tcp};
    /// fn echo(socket: tcp::Socket, buffer: Vec<u8>) {
    ///     socket.clone().async_read_some(buffer, move |(read, buffer)| match read {
    ///         Ok(0) | Err(_) => {} // the last handle goes: closed
    ///         Ok(n) => {
    ///             socket.clone().async_write(Part::to(buffer, n), move |(wrote, part)| {
    ///                 if wrote.is_ok() {
    ///                     echo(socket, part.into_inner());
    ///                 }
    ///             });
    ///         }
    ///     });
    /// }
    /// ```
    #[track_caller]
    pub fn async_read_some<B, H>(&self, buffer: B, handler: H) -> Operation
    where
        B: AsMut<[u8]> + 'static,
        H: FnOnce((io::Result<usize>, B)) + 'static,
    {
        self.object.start(ReadSome(buffer), handler, Location::caller())
    }

    /// Reads until `buffer` is full: one operation, however many reads it takes. `asio::async_read`
    ///
    /// If the stream ends before, that is `UnexpectedEof`; [`error::transferred`](crate::error::transferred) tells
    /// how many bytes are in the buffer.
    #[track_caller]
    pub fn async_read<B, H>(&self, buffer: B, handler: H) -> Operation
    where
        B: AsMut<[u8]> + 'static,
        H: FnOnce((io::Result<usize>, B)) + 'static,
    {
        let read = ReadAll { buffer, done: 0 };
        self.object.start(read, handler, Location::caller())
    }

    /// Writes what there is room for; may write only a part of `buffer`. `async_write_some`
    #[track_caller]
    pub fn async_write_some<B, H>(&self, buffer: B, handler: H) -> Operation
    where
        B: AsRef<[u8]> + 'static,
        H: FnOnce((io::Result<usize>, B)) + 'static,
    {
        self.object.start(WriteSome(buffer), handler, Location::caller())
    }

    /// Writes all of `buffer`: one operation, however many writes it takes. `asio::async_write`
    ///
    /// A second write waits until the first has ended, so their bytes never mix. After an error
    /// [`error::transferred`](crate::error::transferred) tells how many bytes had been written. To send a part of a
    /// buffer, give a [`Part`](crate::Part).
    #[track_caller]
    pub fn async_write<B, H>(&self, buffer: B, handler: H) -> Operation
    where
        B: AsRef<[u8]> + 'static,
        H: FnOnce((io::Result<usize>, B)) + 'static,
    {
        let write = WriteAll { buffer, done: 0 };
        self.object.start(write, handler, Location::caller())
    }

    /// Calls `handler` when the socket is ready, and transfers nothing: for connections that hold no buffer while
    /// they are idle, and for protocols that do their own I/O. `async_wait`
    #[track_caller]
    pub fn async_wait(&self, wait: Wait, handler: impl FnOnce(io::Result<()>) + 'static) -> Operation {
        let direction = wait.direction();
        self.object.start(WaitFor(direction), handler, Location::caller())
    }
}
