//! The operations of every stream: reading and writing, some or all, and waiting without a buffer.

use super::object::{Attempt, Descriptor, Direction};
use super::pending::Transfer;
use crate::poll::ready_now;
use crate::readiness::io::Io;
use crate::stream::Stream;
use std::io::{self, ErrorKind};

/// Reads what is there.
pub(crate) struct ReadSome<B>(pub(crate) B);

impl<S, B> Transfer<S> for ReadSome<B>
where
    S: Descriptor + Stream,
    B: AsMut<[u8]> + 'static,
{
    const KIND: &'static str = "async_read_some";
    type Value = usize;
    type Outcome = (io::Result<usize>, B);

    fn direction(&self) -> Direction {
        Direction::Read
    }

    #[inline(always)]
    fn perform(&mut self, attempt: Attempt<'_, S>) -> Option<io::Result<usize>> {
        let buffer = self.0.as_mut();
        if buffer.is_empty() {
            return Some(Err(empty_buffer()));
        }
        attempt.receive(buffer)
    }

    fn finish(self, result: io::Result<usize>) -> Self::Outcome {
        (result, self.0)
    }

    /// An empty buffer is refused without waiting for data.
    fn needs_nothing(&mut self) -> bool {
        self.0.as_mut().is_empty()
    }
}

/// Writes what there is room for.
pub(crate) struct WriteSome<B>(pub(crate) B);

impl<S, B> Transfer<S> for WriteSome<B>
where
    S: Descriptor + Stream,
    B: AsRef<[u8]> + 'static,
{
    const KIND: &'static str = "async_write_some";
    type Value = usize;
    type Outcome = (io::Result<usize>, B);

    fn direction(&self) -> Direction {
        Direction::Write
    }

    fn perform(&mut self, attempt: Attempt<'_, S>) -> Option<io::Result<usize>> {
        let buffer = self.0.as_ref();
        if buffer.is_empty() {
            return Some(Ok(0));
        }
        attempt.send(buffer)
    }

    fn finish(self, result: io::Result<usize>) -> Self::Outcome {
        (result, self.0)
    }

    fn needs_nothing(&mut self) -> bool {
        self.0.as_ref().is_empty()
    }
}

/// Reads until the buffer is full.
pub(crate) struct ReadAll<B> {
    pub(crate) buffer: B,
    /// Bytes read so far.
    pub(crate) done: usize,
}

impl<S, B> Transfer<S> for ReadAll<B>
where
    S: Descriptor + Stream,
    B: AsMut<[u8]> + 'static,
{
    const KIND: &'static str = "async_read";
    type Value = usize;
    type Outcome = (io::Result<usize>, B);

    fn direction(&self) -> Direction {
        Direction::Read
    }

    fn perform(&mut self, attempt: Attempt<'_, S>) -> Option<io::Result<usize>> {
        let buffer = self.buffer.as_mut();
        while let Some(rest) = buffer.get_mut(self.done..).filter(|rest| !rest.is_empty()) {
            match attempt.receive(rest)? {
                Ok(0) => return Some(Err(ErrorKind::UnexpectedEof.into())),
                Ok(n) => self.done += n,
                Err(error) => return Some(Err(error)),
            }
        }
        Some(Ok(self.done))
    }

    fn finish(self, result: io::Result<usize>) -> Self::Outcome {
        (result, self.buffer)
    }

    fn transferred(&self) -> usize {
        self.done
    }

    fn needs_nothing(&mut self) -> bool {
        self.buffer.as_mut().is_empty()
    }
}

/// Writes the whole buffer.
pub(crate) struct WriteAll<B> {
    pub(crate) buffer: B,
    /// Bytes written so far.
    pub(crate) done: usize,
}

impl<B: AsRef<[u8]>> WriteAll<B> {
    /// Goes on after a short write, of `n` bytes.
    #[cold]
    #[inline(never)]
    fn write_on<S: Descriptor + Stream>(&mut self, attempt: Attempt<'_, S>, mut n: usize) -> Option<io::Result<usize>> {
        loop {
            if n == 0 {
                return Some(Err(ErrorKind::WriteZero.into()));
            }
            self.done += n;
            let rest = self.buffer.as_ref().get(self.done..).unwrap_or_default();
            if rest.is_empty() {
                return Some(Ok(self.done));
            }
            match attempt.send(rest)? {
                Ok(written) => n = written,
                Err(error) => return Some(Err(error)),
            }
        }
    }
}

impl<S, B> Transfer<S> for WriteAll<B>
where
    S: Descriptor + Stream,
    B: AsRef<[u8]> + 'static,
{
    const KIND: &'static str = "async_write";
    type Value = usize;
    type Outcome = (io::Result<usize>, B);

    fn direction(&self) -> Direction {
        Direction::Write
    }

    #[inline(always)]
    fn perform(&mut self, attempt: Attempt<'_, S>) -> Option<io::Result<usize>> {
        let buffer = self.buffer.as_ref();
        let Some(rest) = buffer.get(self.done..).filter(|rest| !rest.is_empty()) else {
            return Some(Ok(self.done));
        };
        match attempt.send(rest)? {
            Ok(n) if n == rest.len() => {
                self.done += n;
                Some(Ok(self.done))
            }
            Ok(n) => self.write_on(attempt, n),
            Err(error) => Some(Err(error)),
        }
    }

    fn finish(self, result: io::Result<usize>) -> Self::Outcome {
        (result, self.buffer)
    }

    fn transferred(&self) -> usize {
        self.done
    }

    fn needs_nothing(&mut self) -> bool {
        self.buffer.as_ref().is_empty()
    }
}

/// Waits until a call in its direction would not block, and transfers nothing.
pub(crate) struct WaitFor(pub(crate) Direction);

impl<S: Descriptor> Transfer<S> for WaitFor {
    const KIND: &'static str = "async_wait";
    type Value = ();
    type Outcome = io::Result<()>;

    fn direction(&self) -> Direction {
        self.0
    }

    /// The remembered bit may be out of date, because plain calls on the socket do not go through it: so the kernel
    /// is asked.
    fn perform(&mut self, attempt: Attempt<'_, S>) -> Option<io::Result<()>> {
        match attempt.io(|io| ready_now(io.get_ref(), self.0.poll_flags())) {
            Ok(ready) if ready.is_empty() => {
                attempt.not_ready(self.0.interest().as_ready());
                None
            }
            Ok(_) => Some(Ok(())),
            Err(error) => Some(Err(error)),
        }
    }

    fn finish(self, result: io::Result<()>) -> Self::Outcome {
        result
    }
}

/// Transfers of bytes; `None` if one would have blocked, or if the operation's own buffer has closed the socket, which
/// aborts it. While nobody listens to the trace, no user code can run in a transfer: so the source is borrowed the
/// cheaper way, which counts no readers. Two alike: one function for what they share cost each message 6 instructions, one
/// that is given the call 63.
impl<S: Descriptor + Stream> Attempt<'_, S> {
    #[inline(always)]
    fn receive(&self, buffer: &mut [u8]) -> Option<io::Result<usize>> {
        if self.engine().teller.tracing() {
            return self.receive_told(buffer);
        }
        let lent = self.object.source.borrow_mut();
        match self.untold(lent.as_ref()?).receive(buffer) {
            Ok(n) => {
                drop(lent); // In each branch: once told apart, the outcomes are to stay apart.
                Some(Ok(n))
            }
            Err(error) => {
                drop(lent);
                unless_blocked(error)
            }
        }
    }

    #[inline(always)]
    fn send(&self, bytes: &[u8]) -> Option<io::Result<usize>> {
        if self.engine().teller.tracing() {
            return self.send_told(bytes);
        }
        let lent = self.object.source.borrow_mut();
        match self.untold(lent.as_ref()?).send(bytes) {
            Ok(n) => {
                drop(lent); // In each branch: once told apart, the outcomes are to stay apart.
                Some(Ok(n))
            }
            Err(error) => {
                drop(lent);
                unless_blocked(error)
            }
        }
    }

    #[inline(always)]
    fn untold<'a>(&'a self, source: &'a S) -> Io<'a, S> {
        Io::untold(source, &self.object.state, self.engine(), self.budget)
    }

    #[cold]
    #[inline(never)]
    fn receive_told(&self, buffer: &mut [u8]) -> Option<io::Result<usize>> {
        self.io(|io| io.receive(buffer)).map_or_else(unless_blocked, |n| Some(Ok(n)))
    }

    #[cold]
    #[inline(never)]
    fn send_told(&self, bytes: &[u8]) -> Option<io::Result<usize>> {
        self.io(|io| io.send(bytes)).map_or_else(unless_blocked, |n| Some(Ok(n)))
    }
}

/// Out of line, so that the outcomes of a call, once told apart, stay apart.
#[cold]
#[inline(never)]
fn unless_blocked(error: io::Error) -> Option<io::Result<usize>> {
    (error.kind() != ErrorKind::WouldBlock).then_some(Err(error))
}

/// Why reading into nothing is refused: `Ok(0)` would mean the end of the stream.
pub(crate) fn empty_buffer() -> io::Error {
    io::Error::new(ErrorKind::InvalidInput, "read_some needs a buffer that is not empty")
}
