//! `Io`: a source as its callback sees it. Every read and write goes through here, so the ready bits stay true.

use super::budget::Budget;
use crate::engine::ready_state::State;
use crate::engine::state::Engine;
use crate::engine::trace::tell;
use crate::ready::{Interest, Ready};
use crate::stream::Stream;
use rustix::io::Errno;
use std::any::{Any, TypeId};
use std::fmt;
use std::hint::black_box;
use std::io::{self, ErrorKind, IoSlice, Read, Write};

/// A registered source during a call of its callback.
///
/// The poller is edge-triggered: it tells of new data once. `Io` keeps the memory that this needs, so that a callback
/// cannot get it wrong: as long as a call has not shown that the source is not ready any more, the callback is called
/// again. That is why the source is reached through [`read`](Io::read), [`write`](Io::write) and
/// [`try_io`](Io::try_io).
///
/// Each of them answers [`WouldBlock`](ErrorKind::WouldBlock) without a system call when the source is known not to be
/// ready, and also once the budget of this dispatch is spent (see [`Config`](crate::Config)); in the second case the readiness is
/// kept, and the callback is called again in the next turn. `Interrupted` is never seen.
///
/// `&Io` implements [`Read`] and [`Write`], so it goes wherever those are asked for. Writing to a TCP socket whose
/// peer has gone is an error and raises no `SIGPIPE`.
pub struct Io<'a, S> {
    tracked: Tracked<'a, S>,
    budget: &'a Budget,
}

/// A source whose transfers keep its ready bits true.
pub(crate) struct Tracked<'a, S> {
    source: &'a S,
    state: &'a State,
    engine: &'a Engine,
    /// What the transfers are paid from.
    budget: Option<&'a Budget>,
    /// Whether a transfer may have to be told. `false` where it is known that nobody listens to the trace.
    tells: bool,
}

impl<'a, S: 'static> Io<'a, S> {
    #[inline]
    pub(crate) fn new(source: &'a S, state: &'a State, engine: &'a Engine, budget: &'a Budget) -> Self {
        Io { tracked: Tracked { source, state, engine, budget: Some(budget), tells: true }, budget }
    }

    /// For transfers of which nobody is told.
    #[inline]
    pub(crate) fn untold(source: &'a S, state: &'a State, engine: &'a Engine, budget: &'a Budget) -> Self {
        Io { tracked: Tracked { source, state, engine, budget: Some(budget), tells: false }, budget }
    }

    /// The source itself, for its addresses and options. Reading or writing it directly bypasses the ready bits: the
    /// callback may then be called for nothing.
    pub fn get_ref(&self) -> &'a S {
        self.tracked.source
    }

    /// What the source is known to be ready for, whatever the interest. After a read of a Unix socket that did not fill its
    /// buffer it is not known to be readable, and nearly never is; another read asks the system all the same.
    pub fn ready(&self) -> Ready {
        self.tracked.state.ready()
    }

    /// Reads into `buffer`; `Ok(0)` is the end of the stream (if `buffer` is not empty).
    ///
    /// # Errors
    ///
    /// `WouldBlock`: nothing to read now, or the budget of this dispatch is spent. Others as read(2).
    #[inline(always)]
    pub fn read(&self, buffer: &mut [u8]) -> io::Result<usize>
    where
        for<'s> &'s S: Read,
    {
        if let Some(stream) = as_tcp(self.tracked.source) {
            return self.read_with(buffer.len(), || stream.receive(buffer));
        }
        let (mut source, asked) = (self.tracked.source, buffer.len());
        self.tracked.look_behind_now(|| {
            let read = self.read_with(asked, || source.read(buffer));
            self.tracked.look_behind_later(&read, asked);
            read
        })
    }

    #[inline(always)]
    fn read_with<E: Failure>(&self, asked: usize, call: impl FnMut() -> Result<usize, E>) -> io::Result<usize> {
        if self.budget.is_spent() || !self.ready().is_readable() {
            return Err(not_now());
        }
        self.tracked.read_with(asked, call).map_err(Into::into)
    }

    #[inline(always)]
    fn write_with<E: Failure>(&self, asked: usize, call: impl FnMut() -> Result<usize, E>) -> io::Result<usize> {
        if self.budget.is_spent() || !self.ready().is_writable() {
            return Err(not_now());
        }
        self.tracked.write_with(asked, call).map_err(Into::into)
    }

    /// Writes from `buffer`; may write only a part of it.
    ///
    /// # Errors
    ///
    /// `WouldBlock`: no room now, or the budget of this dispatch is spent. Others as write(2).
    #[inline(always)]
    pub fn write(&self, buffer: &[u8]) -> io::Result<usize>
    where
        for<'s> &'s S: Write,
    {
        if let Some(stream) = as_tcp(self.tracked.source) {
            return self.write_with(buffer.len(), || stream.send(buffer));
        }
        let mut source = self.tracked.source;
        self.write_with(buffer.len(), || source.write(buffer))
    }

    /// Makes any other non-blocking call on the source, an `accept` or a `recv_from` for instance, that needs
    /// `direction`. If it answers `WouldBlock`, the source is known not to be ready in that direction: so name one
    /// direction, the one that the call tests. The call may be repeated, when a signal interrupts it.
    ///
    /// ```no_run
    /// # use ioctx::{Interest, Io, Next};
    /// # fn accept_all(listener: &Io<mio::net::TcpListener>) -> Next {
    /// loop {
    ///     match listener.try_io(Interest::READABLE, |listener| listener.accept()) {
    ///         Ok((stream, peer)) => println!("{peer}: {stream:?}"),
    ///         Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return Next::Keep,
    ///         Err(error) => eprintln!("{error}"),
    ///     }
    /// }
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// `WouldBlock`: not ready, or the accept budget of this dispatch is spent. Others as the call itself.
    pub fn try_io<R>(&self, direction: Interest, call: impl FnMut(&S) -> io::Result<R>) -> io::Result<R> {
        let attempt = || self.attempt(direction, call);
        if direction.is_readable() { self.tracked.look_behind_now(attempt) } else { attempt() }
    }

    fn attempt<R>(&self, direction: Interest, mut call: impl FnMut(&S) -> io::Result<R>) -> io::Result<R> {
        let Tracked { source, state, engine, .. } = &self.tracked;
        if state.ready().of(direction).is_none() || self.budget.is_spent() {
            return Err(not_now());
        }
        self.budget.pay_call(&engine.config);
        let result = uninterrupted(|| call(source));
        if let Err(error) = &result {
            self.tracked.note_error(error, direction.as_ready());
            state.note_unseen();
        }
        tell!(engine, "token {} call {}", self.tracked.slot(), outcome(&result));
        result
    }
}

impl<'a, S: 'static> Tracked<'a, S> {
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
    fn look_behind_later<E>(&self, received: &Result<usize, E>, asked: usize) {
        let is_doubtful = short_read_nearly_always_drains::<S>();
        if is_doubtful && matches!(received, Ok(n) if (1..asked).contains(n)) && !self.has_more_behind_a_short_read() {
            self.engine.reactor.doubt(self.state);
        }
    }

    /// A callback that reads on after a short read does not wait to be called for it: its own read shows what is behind.
    #[inline(always)]
    fn look_behind_now<R>(&self, read: impl FnOnce() -> R) -> R {
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
    fn note_error(&self, error: &impl Failure, bits: Ready) {
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

    fn slot(&self) -> u32 {
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

/// The same, within the budget.
impl<S: 'static> Io<'_, S> {
    #[inline(always)]
    pub(crate) fn receive(&self, buffer: &mut [u8]) -> io::Result<usize>
    where
        S: Stream,
    {
        let asked = buffer.len();
        let received = self.read_with(asked, || self.tracked.source.receive(buffer));
        self.tracked.look_behind_later(&received, asked);
        received
    }

    #[inline(always)]
    pub(crate) fn send(&self, bytes: &[u8]) -> io::Result<usize>
    where
        S: Stream,
    {
        self.write_with(bytes.len(), || self.tracked.source.send(bytes))
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

fn outcome<R>(result: &io::Result<R>) -> String {
    match result {
        Ok(_) => "succeeded".into(),
        Err(error) => format!("did nothing: {}", reason(error.raw_os_error())),
    }
}

/// `None`: an error that is not the system's.
fn reason(number: Option<i32>) -> String {
    let error = number.map(io::Error::from_raw_os_error);
    match error {
        Some(error) if error.kind() == ErrorKind::WouldBlock => "it would block".into(),
        Some(error) => error.to_string(),
        None => "it failed".into(),
    }
}

#[inline(always)]
fn uninterrupted<R, E: Failure>(mut call: impl FnMut() -> Result<R, E>) -> Result<R, E> {
    loop {
        match call() {
            Err(error) if error.is_interruption() => {}
            result => return result,
        }
    }
}

/// Out of line, or the error would lie ready, in a register, for every call; and through a black box, because what is
/// always the same the compiler finds out.
#[cold]
#[inline(never)]
fn not_now() -> io::Error {
    black_box(ErrorKind::WouldBlock).into()
}

/// The source as what it nearly always is. The same bytes moved by a shorter way: the calls of `stream.rs` need no C
/// library and make no `io::Error` that is only looked at.
#[inline(always)]
fn as_tcp<S: 'static>(source: &S) -> Option<&mio::net::TcpStream> {
    (source as &dyn Any).downcast_ref()
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

impl<S: 'static> Read for &Io<'_, S>
where
    for<'s> &'s S: Read,
{
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        Io::<'_, S>::read(*self, buffer)
    }
}

impl<S: 'static> Write for &Io<'_, S>
where
    for<'s> &'s S: Write,
{
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        Io::<'_, S>::write(*self, buffer)
    }

    /// Nothing is buffered.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<S> fmt::Debug for Io<'_, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Io")
            .field("ready", &self.tracked.state.ready())
            .field("interest", &self.tracked.state.interest())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::IoContext;
    use crate::local::stream::Socket;
    use crate::session::{self, Connection, Session};
    use mio::net::UnixStream;

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
