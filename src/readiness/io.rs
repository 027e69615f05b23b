//! `Io`: a source as its callback sees it, within the budget of a dispatch.

use super::budget::Budget;
use super::tracked::{Failure, Tracked, reason, uninterrupted};
use crate::engine::ready_state::State;
use crate::engine::state::Engine;
use crate::engine::trace::tell;
use crate::ready::{Interest, Ready};
use crate::stream::Stream;
use std::any::Any;
use std::fmt;
use std::hint::black_box;
use std::io::{self, ErrorKind, Read, Write};

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

impl<'a, S: 'static> Io<'a, S> {
    #[inline]
    pub(crate) fn new(source: &'a S, state: &'a State, engine: &'a Engine, budget: &'a Budget) -> Self {
        Io { tracked: Tracked::paid(source, state, engine, budget, true), budget }
    }

    /// For transfers of which nobody is told.
    #[inline]
    pub(crate) fn untold(source: &'a S, state: &'a State, engine: &'a Engine, budget: &'a Budget) -> Self {
        Io { tracked: Tracked::paid(source, state, engine, budget, false), budget }
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

fn outcome<R>(result: &io::Result<R>) -> String {
    match result {
        Ok(_) => "succeeded".into(),
        Err(error) => format!("did nothing: {}", reason(error.raw_os_error())),
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
