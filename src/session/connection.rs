//! What users do with a connection.

use super::endpoint::Endpoint;
use super::flow::{Asked, Bytes, Limits, OurEnd, PeerEnd, Phase};
use super::kind::SessionProtocol;
use super::link::{Connection, Link};
use super::outcome::{Reason, Sent};
use crate::error;
use crate::handle::Handle;
use crate::socket::StreamSocket;
use std::fmt;
use std::io::{self, ErrorKind, IoSlice};
use std::rc::Rc;
use std::time::Duration;

/// Tells connections of one process apart; never given out again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnectionId(u64);

impl fmt::Display for ConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

// Sending.
impl Connection {
    /// Sends bytes, after everything sent before.
    ///
    /// In a method of this connection's own session, what is sent leaves in one write when the method returns. From
    /// elsewhere it is queued, and leaves in the same turn if its step 5 is not over, else in the next; in
    /// [`received`](super::Session::received) of another session nearly always when that returns. A large send
    /// (16 KiB) goes straight to the socket, without a copy, with what was gathered before it; unless bytes are queued
    /// already, or much was sent that way in this turn. What the peer does not take stays queued, and what is beyond the
    /// [budget of a dispatch](crate::Config::read_budget).
    ///
    /// Nothing is ever refused because the peer is slow: the answer says when to stop, and
    /// [a limit](Connection::set_write_limit) ends the connection of a sender that does not.
    #[inline]
    pub fn send(&self, bytes: &[u8]) -> Sent {
        self.link.send(bytes)
    }

    /// Sends the slices one after the other, as if they were one: [`send`](Connection::send) without putting them
    /// together first.
    ///
    /// ```no_run
    /// # use ioctx::session::Connection;
    /// # use std::io::IoSlice;
    /// # fn answer(connection: &Connection, body: &[u8]) {
    /// let header = format!("{}\n", body.len());
    /// connection.send_vectored(&[IoSlice::new(header.as_bytes()), IoSlice::new(body)]);
    /// # }
    /// ```
    pub fn send_vectored(&self, slices: &[IoSlice<'_>]) -> Sent {
        let size: usize = slices.iter().map(|slice| slice.len()).sum();
        if size >= super::sending::LARGE {
            return self.link.send_slices(slices);
        }
        let answers = slices.iter().map(|slice| self.link.send(slice));
        answers.reduce(|first, next| if next == Sent::Accepted { first } else { next }).unwrap_or(Sent::Accepted)
    }

    /// Sends bytes that others are sent too, without a copy for each of them: only the `Rc` is queued. (A copy is made
    /// where it costs less: of very few bytes, and of what leaves at once with the rest of an own method.)
    pub fn send_shared(&self, bytes: &Rc<[u8]>) -> Sent {
        self.link.send_shared(bytes)
    }

    /// How many bytes wait for the peer to take them.
    pub fn queued(&self) -> usize {
        self.link.flow.queued() + self.link.gathered()
    }

    /// Whether [`send`](Connection::send) has answered [`Sent::AboveHigh`], and
    /// [`drained`](super::Session::drained) was not called since.
    pub fn is_above_high(&self) -> bool {
        self.link.flow.is_above_high()
    }

    /// Sets the queued bytes at or below which [`drained`](super::Session::drained) is called and reading resumes, and
    /// those above which [`send`](Connection::send) answers [`Sent::AboveHigh`] and reading pauses.
    /// `low` above `high` counts as `high`. Default: [`Config::watermarks`](crate::Config::watermarks).
    pub fn set_watermarks(&self, low: usize, high: usize) {
        let limits = self.link.flow.limits.get();
        self.link.flow.limits.set(Limits { low: Bytes::new(low.min(high)), high: Bytes::new(high), ..limits });
        self.link.disturb(); // What may be gathered has changed.
    }

    /// Sets the queued bytes above which the connection ends, with [`Reason::WriteLimit`]. Default:
    /// [`Config::write_limit`](crate::Config::write_limit).
    pub fn set_write_limit(&self, bytes: usize) {
        let limits = self.link.flow.limits.get();
        self.link.flow.limits.set(Limits { hard: Bytes::new(bytes), ..limits });
    }
}

// Reading.
impl Connection {
    /// Stops reading: [`received`](super::Session::received) is not called until [`resume`](Connection::resume). The
    /// peer finds that it cannot send more, once the kernel's buffers are full.
    pub fn pause(&self) {
        self.link.set_paused(true);
    }

    /// Goes on reading. What was left unconsumed is shown once more, also if nothing has arrived.
    pub fn resume(&self) {
        self.link.set_paused(false);
    }

    /// Whether reading was [paused](Connection::pause).
    pub fn is_paused(&self) -> bool {
        self.link.flow.is_paused()
    }

    /// Whether reading pauses by itself above the high watermark. At first it does, so that a peer which asks for more
    /// than it reads is not asked to send more. Switch it off where what is read does not make more to be sent: a relay,
    /// whose two directions would otherwise wait for each other.
    pub fn set_pause_above_high(&self, pauses: bool) {
        self.link.flow.pauses_above_high.set(pauses);
        self.link.ask(Asked::SHOW);
    }

    /// Whether the peer has ended its stream. In [`received`](super::Session::received) this says that no more will
    /// follow: it is the call before [`eof`](super::Session::eof).
    pub fn peer_has_ended(&self) -> bool {
        self.link.flow.peer_end.get() != PeerEnd::NotYet
    }

    /// Sets how many bytes [`received`](super::Session::received) may leave unconsumed; more of them end the
    /// connection, with [`Reason::UnconsumedLimit`]. Default:
    /// [`Config::unconsumed_limit`](crate::Config::unconsumed_limit).
    pub fn set_unconsumed_limit(&self, bytes: usize) {
        let limits = self.link.flow.limits.get();
        self.link.flow.limits.set(Limits { tail: Bytes::new(bytes), ..limits });
    }
}

// Time, and notes.
impl Connection {
    /// Calls [`notified`](super::Session::notified) of the session, later, from the loop. Several calls before it
    /// runs are one.
    ///
    /// So whoever has a `Connection` reaches the session behind it: leave what you have to say where both can see it
    /// (an `Rc<RefCell<...>>`), and notify.
    pub fn notify(&self) {
        self.link.ask(Asked::NOTIFIED);
    }

    /// Calls [`idle`](super::Session::idle) when no byte has arrived or left for this long; `None` switches it off, as
    /// it is at first. Counted from now, and anew whenever bytes move, at no cost per message.
    pub fn set_idle_timeout(&self, timeout: Option<Duration>) {
        self.link.set_idle_timeout(timeout);
    }
}

// Ending.
impl Connection {
    /// Closes gracefully: sends what is queued, ends the stream, and waits until the peer has ended its own, or has had
    /// [some time](crate::Config::grace) for it. Then [`closed`](super::Session::closed) is told
    /// [`Reason::Finished`].
    ///
    /// From now on nothing more can be sent, and what arrives is thrown away. If the peer has not taken everything
    /// when `deadline` has passed, the connection ends with [`Reason::DeadlinePassed`]; `Duration::MAX` is none.
    pub fn close_after_flush(&self, deadline: Duration) {
        self.link.close_after_flush(deadline);
    }

    /// Ends the stream to the peer when everything queued has been sent, and goes on reading: half-close. The
    /// connection ends when the peer has ended its stream too. `shutdown(shutdown_send)`
    pub fn shutdown_send(&self) {
        self.link.shutdown_send();
    }

    /// Ends the connection at once: what is queued is thrown away, and the peer of a TCP connection sees a reset.
    /// [`closed`](super::Session::closed) is told [`Reason::Aborted`] in a moment, from the loop.
    pub fn abort(&self) {
        self.link.abort();
    }

    /// Whether bytes given to [`send`](Connection::send) go anywhere: the connection is open, and is not closing.
    pub fn is_open(&self) -> bool {
        self.link.flow.takes_bytes()
    }

    /// Whether the connection has ended: [`closed`](super::Session::closed) was told, or is about to be.
    pub fn has_ended(&self) -> bool {
        self.link.flow.is_over()
    }

    /// Takes the socket out, as a `tcp::Socket` or a `local::stream::Socket`, for operations or for another session,
    /// together with the bytes that the session has not consumed. The session is told [`Reason::Taken`].
    ///
    /// Called in [`received`](super::Session::received), the bytes that it is lent just now are not among those: it
    /// has them already.
    ///
    /// # Errors
    ///
    /// The connection has ended or is closing (`NotConnected`), bytes are still queued (`ResourceBusy`: wait until
    /// [`queued`](Connection::queued) is 0), the socket is of the other protocol (`InvalidInput`). The connection goes on
    /// then.
    pub fn into_socket<P: SessionProtocol>(self) -> io::Result<(StreamSocket<P>, Vec<u8>)> {
        let link = &self.link;
        if link.flow.phase.get() != Phase::Open || link.flow.our_end.get() == OurEnd::Wanted {
            return Err(error::not_open());
        }
        link.send_slices(&[]); // What was gathered leaves now.
        if link.flow.queued() > 0 {
            return Err(io::Error::new(ErrorKind::ResourceBusy, "bytes are still queued for the peer"));
        }
        if !link.transport.borrow().as_ref().is_some_and(P::carries) {
            return Err(io::Error::new(ErrorKind::InvalidInput, "the connection has a socket of another protocol"));
        }
        let transport = link.take_transport().ok_or_else(error::not_open)?;
        let unread = link.flow.tail.try_borrow_mut().map(|mut tail| tail.take()).unwrap_or_default();
        link.fail(Reason::Taken);
        let stream = P::from_transport(transport).map_err(|_| error::not_open())?;
        Ok((StreamSocket::accepted(&link.handle, stream, false)?, unread))
    }
}

// Who it is.
impl Connection {
    /// Tells it apart from all other connections of this process.
    pub fn id(&self) -> ConnectionId {
        ConnectionId(self.link.id)
    }

    /// The endpoint of the peer, also after the connection has ended.
    pub fn remote_endpoint(&self) -> Option<Endpoint> {
        self.link.remote.clone()
    }

    /// The endpoint at this end; `None` after the connection has ended.
    pub fn local_endpoint(&self) -> Option<Endpoint> {
        self.link.transport.borrow().as_ref().and_then(|transport| transport.local_endpoint())
    }
}

impl Link {
    fn gathered(&self) -> usize {
        if self.in_method() { self.engine().buffers.gather.borrow().len() } else { 0 }
    }
}

impl AsRef<Handle> for Connection {
    fn as_ref(&self) -> &Handle {
        &self.link.handle
    }
}

impl PartialEq for Connection {
    fn eq(&self, other: &Self) -> bool {
        Rc::ptr_eq(&self.link, &other.link)
    }
}

impl Eq for Connection {}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("id", &self.link.id)
            .field("remote", &self.link.remote)
            .field("open", &self.is_open())
            .field("queued", &self.link.flow.queued())
            .finish_non_exhaustive()
    }
}
