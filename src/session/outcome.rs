//! What a connection answers: what became of a send, and why it ended.

use std::fmt;
use std::io;

/// What became of the bytes given to [`Connection::send`](super::Connection::send).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Sent {
    /// They will be written, in order.
    Accepted,
    /// The same, but more is queued than the high watermark allows: stop until
    /// [`drained`](super::Session::drained). The connection reads no more until then.
    AboveHigh,
    /// The connection is ended or ending; the bytes were dropped.
    Gone,
}

/// What [`idle`](super::Session::idle) decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Idle {
    /// The connection ends at once, with [`Reason::Idle`].
    Close,
    /// It goes on (or ends as `idle` has asked for itself); the timeout begins anew.
    Keep,
}

/// Why a connection ended, as [`closed`](super::Session::closed) is told.
#[derive(Debug)]
#[non_exhaustive]
pub enum Reason {
    /// Gracefully: everything was sent, and both sides have said that they are done.
    Finished,
    /// [`abort`](super::Connection::abort) was called.
    Aborted,
    /// The idle timeout passed, and [`idle`](super::Session::idle) let the connection go.
    Idle,
    /// The deadline of a graceful close, of a connect or of a server's shutdown passed first.
    DeadlinePassed,
    /// More was queued for a peer that does not read than the hard limit allows.
    WriteLimit,
    /// [`received`](super::Session::received) left more bytes unconsumed than the limit allows.
    UnconsumedLimit,
    /// The socket was taken out with [`into_socket`](super::Connection::into_socket).
    Taken,
    /// The connection failed: it could not be made, or it broke.
    Error(io::Error),
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Reason::Finished => "finished",
            Reason::Aborted => "aborted",
            Reason::Idle => "idle for too long",
            Reason::DeadlinePassed => "the deadline passed",
            Reason::WriteLimit => "the peer reads too slowly: too much is queued for it",
            Reason::UnconsumedLimit => "too many bytes were left unconsumed",
            Reason::Taken => "the socket was taken out",
            Reason::Error(error) => return error.fmt(f),
        })
    }
}
