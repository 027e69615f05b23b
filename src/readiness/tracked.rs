//! `Tracked`: a source whose reads and writes keep its ready bits true. Whatever moves bytes of a registered source, at every
//! layer, does it through here.

use super::budget::Budget;
use crate::engine::ready_state::State;
use crate::engine::state::Engine;
use crate::engine::trace::tell;
use crate::ready::Ready;
use crate::stream::Stream;
use rustix::io::Errno;
use std::any::TypeId;
use std::io::{self, ErrorKind, IoSlice};

/// A source whose transfers keep its ready bits true.
pub(crate) struct Tracked<'a, S> {
    pub(super) source: &'a S,
    pub(super) state: &'a State,
    pub(super) engine: &'a Engine,
    /// What the transfers are paid from.
    budget: Option<&'a Budget>,
    /// Whether a transfer may have to be told. `false` where it is known that nobody listens to the trace.
    tells: bool,
}

impl<'a, S: 'static> Tracked<'a, S> {
    #[inline]
    pub(super) fn paid(source: &'a S, state: &'a State, engine: &'a Engine, budget: &'a Budget, tells: bool) -> Self {
        Tracked { source, state, engine, budget: Some(budget), tells }
    }

    /// For a layer that bounds a dispatch by itself.
    #[inline(always)]
    pub(crate) fn unpaid(source: &'a S, state: &'a State, engine: &'a Engine, tells: bool) -> Self {
        Tracked { source, state, engine, budget: None, tells }
    }

    /// Makes a call that reads at most `asked` bytes.
    #[inline(always)]
    pub(crate) fn read_with<E: Failure>(
        &self,
        asked: usize,
        call: impl FnMut() -> Result<usize, E>,
    ) -> Result<usize, E> {
        match uninterrupted(call) {
            Ok(n) => {
                self.tell_moved("read", n, asked);
                let n = n.min(asked); // It is; so the caller need not check that when it cuts its buffer.
                if n < asked {
                    self.note_short_read(n);
                } else {
                    self.pay_full_read(asked);
                }
                Ok(n)
            }
            Err(error) => {
                self.note_error(&error, Ready::READABLE | Ready::PRIORITY);
                self.tell_failed("read", &error);
                Err(error)
            }
        }
    }

    #[inline(always)]
    fn note_short_read(&self, n: usize) {
        if n == 0 {
            // Elsewhere nothing may be an empty datagram, or a ^D with more behind it.
            if ends_with_nothing::<S>() || self.state.ready().is_read_closed() {
                self.state.set(Ready::READ_CLOSED);
                self.state.clear(Ready::READABLE | Ready::DOUBTFUL);
            }
            self.pay(n); // The end of a stream is shown to whoever asks anew, again and again.
        } else if short_transfer_drains::<S>() && !self.has_more_behind_a_short_read() {
            self.state.clear(Ready::READABLE);
        } else {
            self.pay(n);
        }
    }

    /// A stream fills buffers of the usual size. To look at reads that fill none would cost each message.
    #[inline(always)]
    fn pay_full_read(&self, moved: usize) {
        if self.budget.is_some() {
            self.engine.reactor.large_reads.note(moved);
        }
        self.pay(moved);
    }

    /// For a transfer after which there may be another.
    #[inline(always)]
    fn pay(&self, moved: usize) {
        if let Some(budget) = self.budget {
            budget.pay_transfer(moved, &self.engine.config);
        }
    }

    /// A short read proves that the socket is drained, unless the end of the stream came with the same edge, or the
    /// read stopped at urgent data: in both cases no other event will tell of what is behind.
    #[inline]
    fn has_more_behind_a_short_read(&self) -> bool {
        let ready = self.state.ready();
        ready.is_read_closed() || ready.is_priority()
    }

    /// Makes a call that writes at most `asked` bytes.
    #[inline(always)]
    pub(crate) fn write_with<E: Failure>(
        &self,
        asked: usize,
        call: impl FnMut() -> Result<usize, E>,
    ) -> Result<usize, E> {
        match uninterrupted(call) {
            Ok(n) => {
                self.tell_moved("wrote", n, asked);
                if n >= asked {
                    self.pay(asked);
                    return Ok(asked); // Which is all, as the caller need not find out then.
                }
                if short_transfer_drains::<S>() {
                    self.state.clear(Ready::WRITABLE);
                } else {
                    self.pay(n);
                }
                Ok(n)
            }
            Err(error) => {
                self.note_error(&error, Ready::WRITABLE);
                self.tell_failed("wrote", &error);
                Err(error)
            }
        }
    }

    /// A short read of a Unix socket proves nothing, and yet nothing is behind it, nearly always.
    #[inline(always)]
    pub(super) fn look_behind_later<E>(&self, received: &Result<usize, E>, asked: usize) {
        let is_doubtful = short_read_nearly_always_drains::<S>();
        if is_doubtful && matches!(received, Ok(n) if (1..asked).contains(n)) && !self.has_more_behind_a_short_read() {
            self.engine.reactor.doubt(self.state);
        }
    }

    /// A callback that reads on after a short read does not wait to be called for it: its own read shows what is behind.
    #[inline(always)]
    pub(super) fn look_behind_now<R>(&self, read: impl FnOnce() -> R) -> R {
        if !short_read_nearly_always_drains::<S>() || !self.state.is_in_doubt() {
            return read();
        }
        self.state.set(Ready::READABLE);
        let read = read();
        if !self.state.is_in_doubt() {
            self.engine.reactor.doubt_no_more(self.state);
        }
        read
    }

    #[inline]
    pub(super) fn note_error(&self, error: &impl Failure, bits: Ready) {
        if error.is_would_block() {
            would_block(self.state, bits);
        }
    }

    // Two functions, so that the outcomes of a call, once told apart, stay apart.

    #[inline(always)]
    fn tell_moved(&self, verb: &str, n: usize, asked: usize) {
        if self.tells && self.engine.teller.tracing() {
            write_moved(self.engine, self.slot(), verb, n, asked);
        }
    }

    #[inline(always)]
    fn tell_failed(&self, verb: &str, error: &impl Failure) {
        if self.tells && self.engine.teller.tracing() {
            write_failed(self.engine, self.slot(), verb, error.number());
        }
    }

    pub(super) fn slot(&self) -> u32 {
        self.state.slot().unwrap_or(u32::MAX)
    }
}

/// What the layers above make of a stream socket: as `read` and `write`, by the calls that never raise SIGPIPE.
impl<S: Stream> Tracked<'_, S> {
    #[inline(always)]
    pub(crate) fn receive(&self, buffer: &mut [u8]) -> Result<usize, Errno> {
        let asked = buffer.len();
        let received = self.read_with(asked, || self.source.receive(buffer));
        if let Ok(n) = received {
            self.engine.reactor.large_reads.note(n); // The buffer may be larger than what a stream brings.
        }
        self.look_behind_later(&received, asked);
        received
    }

    #[inline(always)]
    pub(crate) fn send(&self, bytes: &[u8]) -> Result<usize, Errno> {
        self.write_with(bytes.len(), || self.source.send(bytes))
    }

    /// `asked`: bytes in all slices.
    pub(crate) fn send_vectored(&self, slices: &[IoSlice<'_>], asked: usize) -> Result<usize, Errno> {
        self.write_with(asked, || self.source.send_vectored(slices))
    }
}

/// Whether reading nothing is the end of the stream for this kind of source.
#[inline]
fn ends_with_nothing<S: 'static>() -> bool {
    let kind = TypeId::of::<S>();
    kind == TypeId::of::<mio::net::TcpStream>()
        || kind == TypeId::of::<mio::net::UnixStream>()
        || kind == TypeId::of::<mio::unix::pipe::Receiver>()
}

/// Whether a transfer that moved fewer bytes than asked proves that the socket is drained (or full).
///
/// True for TCP where the poller announces new data after it: epoll and kqueue. mio's poll(2) backend announces
/// nothing until a call has answered `WouldBlock`; datagrams, pipes and Unix sockets that carry descriptors may be
/// short at any time.
#[inline]
fn short_transfer_drains<S: 'static>() -> bool {
    cfg!(not(mio_unsupported_force_poll_poll)) && TypeId::of::<S>() == TypeId::of::<mio::net::TcpStream>()
}

/// A Unix socket is short where descriptors travel along, where the writer changes if that is asked for, and at urgent data;
/// in nearly every case it is drained.
#[inline]
fn short_read_nearly_always_drains<S: 'static>() -> bool {
    cfg!(not(mio_unsupported_force_poll_poll)) && TypeId::of::<S>() == TypeId::of::<mio::net::UnixStream>()
}

#[inline(always)]
pub(super) fn uninterrupted<R, E: Failure>(mut call: impl FnMut() -> Result<R, E>) -> Result<R, E> {
    loop {
        match call() {
            Err(error) if error.is_interruption() => {}
            result => return result,
        }
    }
}

/// What a call can fail with: an error as users know it, or the system's number for it.
pub(crate) trait Failure: Into<io::Error> {
    fn is_would_block(&self) -> bool;
    fn is_interruption(&self) -> bool;
    fn number(&self) -> Option<i32>;
}

impl Failure for io::Error {
    #[inline]
    fn is_would_block(&self) -> bool {
        self.kind() == ErrorKind::WouldBlock
    }

    #[inline]
    fn is_interruption(&self) -> bool {
        self.kind() == ErrorKind::Interrupted
    }

    #[inline]
    fn number(&self) -> Option<i32> {
        self.raw_os_error()
    }
}

impl Failure for Errno {
    #[inline(always)]
    fn is_would_block(&self) -> bool {
        *self == Errno::AGAIN
    }

    #[inline(always)]
    fn is_interruption(&self) -> bool {
        *self == Errno::INTR
    }

    #[inline(always)]
    fn number(&self) -> Option<i32> {
        Some(self.raw_os_error())
    }
}

/// Out of line, or what was ready before the call would be kept for it, with every message.
#[cold]
#[inline(never)]
fn would_block(state: &State, bits: Ready) {
    state.clear(bits);
    if bits.is_readable() {
        state.clear(Ready::DOUBTFUL); // Nothing is behind the last read.
    }
}

// Out of line, and given plain values. Were the source or the outcome itself handed to them, it would have to be in
// memory, with every message, though nobody listens.

#[cold]
#[inline(never)]
fn write_moved(engine: &Engine, slot: u32, verb: &str, n: usize, asked: usize) {
    tell!(engine, "token {slot} {verb} {n} of {asked} bytes");
}

#[cold]
#[inline(never)]
fn write_failed(engine: &Engine, slot: u32, verb: &str, number: Option<i32>) {
    tell!(engine, "token {slot} {verb} nothing: {}", reason(number));
}

/// `None`: an error that is not the system's.
pub(super) fn reason(number: Option<i32>) -> String {
    let error = number.map(io::Error::from_raw_os_error);
    match error {
        Some(error) if error.kind() == ErrorKind::WouldBlock => "it would block".into(),
        Some(error) => error.to_string(),
        None => "it failed".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::local::stream::Socket;
    use crate::session::{self, Connection, Session};
    use crate::{Interest, Io, IoContext};
    use mio::net::UnixStream;
    use std::io::Write;

    const LARGE: usize = 40_000;

    struct Reader;

    impl Session for Reader {
        fn received(&mut self, connection: &Connection, bytes: &[u8]) -> usize {
            connection.abort();
            bytes.len()
        }
    }

    /// How many large reads there are when so many bytes come to what is begun on the loop, which reads once.
    fn large_reads(bytes: usize, begin: impl FnOnce(&IoContext, UnixStream) -> io::Result<()>) -> io::Result<u32> {
        let mut io = IoContext::new()?;
        let (ours, mut theirs) = UnixStream::pair()?;
        assert_eq!(theirs.write(&vec![b'x'; bytes])?, bytes);
        begin(&io, ours)?;
        io.run()?;
        Ok(io.handle().engine.reactor.large_reads.so_many())
    }

    fn session(io: &IoContext, stream: UnixStream) -> io::Result<()> {
        session::adopt(Socket::from_std(io, stream.into())?, Reader).map(drop)
    }

    fn operation(io: &IoContext, stream: UnixStream) -> io::Result<()> {
        let socket = Socket::from_std(io, stream.into())?;
        socket.async_read_some(vec![0; LARGE], |_| ());
        Ok(())
    }

    fn readiness(io: &IoContext, stream: UnixStream) -> io::Result<()> {
        let read_once = |stream: &Io<'_, UnixStream>, _: Ready| {
            assert!(stream.read(&mut [0; LARGE]).is_ok());
            crate::Next::Release
        };
        io.register(stream, Interest::READABLE, read_once).map(drop)
    }

    #[test]
    fn a_session_counts_each_large_read() -> io::Result<()> {
        assert_eq!((large_reads(LARGE, session)?, large_reads(1_000, session)?), (1, 0));
        Ok(())
    }

    #[test]
    fn whoever_pays_counts_those_that_fill_the_buffer() -> io::Result<()> {
        for layer in [operation, readiness] {
            let reads = [1_000, LARGE - 1, LARGE].map(|bytes| large_reads(bytes, layer).expect("no error"));
            assert_eq!(reads, [0, 0, 1]);
        }
        Ok(())
    }
}
