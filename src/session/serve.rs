//! The short way of a message: read, show, write. And what it shares with the long one in `visit.rs`.

use super::Session;
use super::flow::Phase;
use super::link::{Body, Connection, Link};
use super::outcome::Reason;
use super::transport::{PIECE, Transport, first_piece};
use crate::engine::buffers::Buffers;
use crate::engine::state::Engine;
use crate::readiness::tracked::Tracked;
use crate::ready::Ready;
use rustix::io::Errno;
use std::rc::Rc;

/// What became of the short way.
#[derive(PartialEq, Eq)]
pub(super) enum Served {
    /// There is nothing more to do.
    Wholly,
    /// It is not for this connection, or not now.
    Not,
    /// There may be. `counted`: user code was called.
    Partly { counted: bool },
}

impl Link {
    /// Reads, shows the bytes to the session, and writes what it sends. Only while nothing else is to be done, and
    /// while nobody listens to the trace. Each test that is not made here is one that every message is spared; and they
    /// stand apart, because the compiler makes one slower test of several in a row.
    ///
    /// `TCP`: only that, else only what is not. One for both would keep what a call has answered in memory.
    #[inline(always)]
    pub(super) fn serve<const TCP: bool>(&self, engine: &Engine) -> Served {
        let mut buffer = engine.buffers.read.borrow_mut();
        let buffer = &mut **buffer;
        let mut room = self.calm.get();
        if room == 0 {
            return Served::Not;
        }
        let received = match &*self.transport.borrow_mut() {
            Some(Transport::Tcp(source)) if TCP && !engine.teller.watches_calls() => {
                Tracked::unpaid(source, &self.state, engine, false).receive(first_piece(buffer))
            }
            Some(Transport::Unix(source)) if !TCP && !engine.teller.watches_calls() => {
                Tracked::unpaid(source, &self.state, engine, false).receive(first_piece(buffer))
            }
            Some(Transport::Wire(wire)) if !TCP && !engine.teller.watches_calls() => {
                wire.receive(&self.state, first_piece(buffer))
            }
            _ => return Served::Not,
        };
        let bytes = match received {
            Ok(n) if n >= PIECE => {
                let bytes = self.read_on(engine, buffer, n);
                room = self.calm.get(); // None, if an error was behind them.
                bytes
            }
            Ok(n) if n > 0 => &buffer[..n],
            Err(Errno::AGAIN) => return Served::Wholly,
            nothing => {
                self.look_at_end(nothing.err());
                return Served::Partly { counted: false };
            }
        };
        self.room.set(room);
        engine.turn.count_handler();
        let Some(consumed) = self.call(|session, connection| session.received(connection, bytes)) else {
            return Served::Partly { counted: true };
        };
        self.room.set(0);
        let served = if self.calm.get() > 0 && consumed >= bytes.len() {
            if self.answer::<TCP>(engine, bytes.len()) { Served::Wholly } else { Served::Partly { counted: true } }
        } else {
            self.keep_rest(bytes, consumed);
            self.flush_gathered(bytes.len());
            Served::Partly { counted: true }
        };
        debug_assert!(consumed <= bytes.len(), "received was lent {} bytes and took {consumed}", bytes.len());
        served
    }

    /// So many bytes of a stream were read, which is a whole piece. Reads more of them, as long as there is more, and room
    /// for it: what is shown is all of it at once. The end of the stream is left to the next dispatch, which comes upon it
    /// again. An error is noted, because the kernel tells it once, and told to the session after these bytes.
    #[cold]
    #[inline(never)]
    pub(super) fn read_on<'a>(&self, engine: &Engine, buffer: &'a mut [u8], mut read: usize) -> &'a [u8] {
        let most = buffer.len().min(engine.config.dispatch_bytes);
        while read < most {
            let rest = first_piece(&mut buffer[read..most]);
            let asked = rest.len();
            let received = match &*self.transport.borrow() {
                Some(transport) => transport.receive(&self.state, engine, rest),
                None => break,
            };
            match received {
                Ok(n) if n > 0 => {
                    read += n;
                    if n < asked {
                        break;
                    }
                }
                Ok(_) => {
                    self.state.set(Ready::READABLE);
                    break;
                }
                Err(Errno::AGAIN) => break,
                error => {
                    self.look_at_end(error.err());
                    break;
                }
            }
        }
        &buffer[..read]
    }

    /// Writes what the session has answered to so many bytes. Returns whether all of it was written.
    #[inline(always)]
    fn answer<const TCP: bool>(&self, engine: &Engine, received: usize) -> bool {
        let mut gather = engine.buffers.gather.borrow_mut();
        let bytes = gather.bytes();
        if bytes.is_empty() {
            self.note_moved(received, 0);
            return true;
        }
        let sent = match &*self.transport.borrow_mut() {
            Some(Transport::Tcp(source)) if TCP => Tracked::unpaid(source, &self.state, engine, false).send(bytes),
            Some(Transport::Unix(source)) if !TCP => Tracked::unpaid(source, &self.state, engine, false).send(bytes),
            Some(Transport::Wire(wire)) if !TCP => wire.send(&self.state, bytes),
            _ => Ok(0),
        };
        match sent {
            Ok(n) if n == bytes.len() => {
                gather.clear();
                self.note_moved(received, n);
                true
            }
            Ok(n) => {
                drop(gather);
                self.note_moved(received, n);
                self.queue_rest(n, None);
                false
            }
            Err(error) => {
                drop(gather);
                self.note_moved(received, 0);
                self.queue_rest(0, Some(error));
                false
            }
        }
    }

    /// Calls a method of the session. `None` if there is no session any more.
    #[inline(always)]
    pub(super) fn call<R>(&self, method: impl FnOnce(&mut dyn Session, &Connection) -> R) -> Option<R> {
        let mut body = self.body.borrow_mut();
        let Body { session, connection } = body.as_mut()?;
        let mut call = InMethod { link: self, has_returned: false };
        let result = method(&mut **session, connection);
        call.has_returned = true;
        Some(result)
    }

    /// Writes what the method that has just returned has sent, on the occasion of so many bytes, whatever it has done to
    /// the connection.
    pub(super) fn flush_gathered(&self, received: usize) {
        let engine = self.engine();
        let _emptied = Emptied(&engine.buffers);
        let gather = engine.buffers.gather.borrow();
        let sent = match &*self.transport.borrow() {
            Some(transport) if self.flow.may_write() && gather.len() > 0 => {
                transport.send(&self.state, engine, gather.bytes())
            }
            _ => Ok(0),
        };
        let is_all = sent == Ok(gather.len());
        drop(gather);
        self.note_moved(received, sent.unwrap_or(0));
        if is_all {
            engine.buffers.gather.borrow_mut().clear();
        } else {
            self.queue_rest(sent.unwrap_or(0), sent.err());
        }
    }

    /// Queues what was gathered, but for the first `sent` bytes.
    #[cold]
    #[inline(never)]
    fn queue_rest(&self, sent: usize, failure: Option<Errno>) {
        self.calm.set(0);
        if let Some(error) = failure.filter(|error| *error != Errno::AGAIN) {
            self.break_off(error.into());
        }
        let mut gather = self.engine().buffers.gather.borrow_mut();
        if self.flow.may_write() || self.flow.phase.get() == Phase::Connecting {
            self.flow.queue.borrow_mut().push(&gather.bytes()[sent..]);
            self.flow.note_queued();
        } // Else it goes nowhere any more.
        gather.clear();
        drop(gather);
        if !self.flow.has_room_for(0) {
            self.fail_from_within(Reason::WriteLimit);
        }
    }

    /// Keeps what the session did not consume, to be shown again.
    #[cold]
    #[inline(never)]
    pub(super) fn keep_rest(&self, bytes: &[u8], consumed: usize) {
        let rest = bytes.get(consumed..).unwrap_or_default();
        if !rest.is_empty() && matches!(self.flow.phase.get(), Phase::Open | Phase::Broken) {
            self.calm.set(0);
            self.flow.tail.borrow_mut().begin(self.engine().buffers.take_spare(), rest);
            self.check_tail();
        }
    }

    pub(super) fn check_tail(&self) {
        if self.flow.tail.borrow().len() > self.flow.limits.get().tail.get() {
            self.fail_from_within(Reason::UnconsumedLimit);
        }
    }

    /// A read has brought no bytes.
    #[cold]
    #[inline(never)]
    pub(super) fn look_at_end(&self, failure: Option<Errno>) {
        self.calm.set(0);
        match failure {
            None => self.flow.note_peer_end(),
            Some(Errno::AGAIN) => {}
            Some(error) => self.fail_from_within(Reason::Error(error.into())),
        }
    }

    /// As `fail`, by the dispatch itself: no method of the session is running.
    fn fail_from_within(&self, reason: Reason) {
        if let Some(me) = self.me() {
            me.fail(reason);
        }
    }

    /// What needs the link's own `Rc` finds it in the handle that the session has. `None` when it has ended.
    pub(super) fn me(&self) -> Option<Rc<Link>> {
        self.body.borrow().as_ref().map(|body| Rc::clone(&body.connection.link))
    }
}

/// The gathered bytes are one connection's, and must never be another's: they are gone after a flush, also if the logger
/// that is told of the write panics.
struct Emptied<'a>(&'a Buffers);

impl Drop for Emptied<'_> {
    fn drop(&mut self) {
        if let Ok(mut gather) = self.0.gather.try_borrow_mut() {
            gather.clear();
        }
    }
}

/// A method of the session runs. If it panics, the connection is closed in the next turn.
struct InMethod<'a> {
    link: &'a Link,
    has_returned: bool,
}

impl Drop for InMethod<'_> {
    #[inline(always)]
    fn drop(&mut self) {
        if !self.has_returned {
            self.link.has_panicked();
        }
    }
}

impl Link {
    #[cold]
    fn has_panicked(&self) {
        self.flow.phase.set(Phase::Panicked);
        self.disturb();
        self.engine().buffers.gather.borrow_mut().clear();
        self.state.demand_call();
    }
}
