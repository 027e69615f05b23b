//! The session layer: a server as one object per connection.
//!
//! An object implements [`Session`]; the loop calls its methods. It is lent what arrives, and sends through its
//! [`Connection`], which may also be kept and used from anywhere on the loop's thread. [`serve`] makes one session per
//! accepted connection; [`connect`] makes one as a client; [`adopt`] gives one to a socket that is connected already.
//!
//! ```
//! use ioctx::session::{self, Connection, Session};
//! use ioctx::{IoContext, ip::tcp};
//!
//! struct Echo;
//!
//! impl Session for Echo {
//!     fn received(&mut self, connection: &Connection, bytes: &[u8]) -> usize {
//!         connection.send(bytes);
//!         bytes.len()
//!     }
//! }
//!
//! let mut io = IoContext::new()?;
//! let acceptor = tcp::Acceptor::listen_on(&io, ([127, 0, 0, 1], 0).into())?;
//! let server = session::serve(acceptor, |_peer| Echo)?;
//! # server.shutdown(std::time::Duration::ZERO);
//! io.run()?; // until the server is shut down and the last connection has ended
//! # std::io::Result::Ok(())
//! ```
//!
//! # What a connection promises its session
//!
//! - Methods are called one at a time, from the loop, never inside a call that user code makes.
//! - What a method sends leaves in one write when it returns; a large send leaves at once. What is sent from elsewhere
//!   leaves in the same turn.
//! - A peer that does not read fills the write queue, not the memory: above the high watermark the connection's own
//!   reading pauses and [`send`](Connection::send) says so; below the low one [`drained`](Session::drained) is called
//!   and reading goes on. Past a hard limit the connection ends.
//! - Between two calls of [`received`](Session::received) of one connection, every other one that is ready has had its
//!   turn.
//! - [`closed`](Session::closed) is called once, with the [`Reason`], and is the last call; only a session that
//!   panicked, or whose context has gone, is dropped without it.

mod outcome;
mod write_queue;
mod tail;
mod endpoint;
mod wire;
mod transport;
mod flow;
mod timing;
mod roster;
mod kind;
mod link;
mod clocks;
mod sending;
mod serve;
mod visit;
mod connection;
mod client;
mod door;
mod server;
pub(crate) mod harness;

pub use client::{adopt, connect};
pub use connection::ConnectionId;
pub use endpoint::Endpoint;
pub use kind::SessionProtocol;
pub use link::Connection;
pub use outcome::{Idle, Reason, Sent};
pub use server::{Server, Stats, serve};

/// One connection's side of a protocol: an object whose methods the loop calls.
///
/// Only [`received`](Session::received) must be written. Every method is handed the session's own [`Connection`]; it
/// may be cloned and kept, by the session itself or by others. A method may do anything with it and with any other
/// connection: send, close, abort; no method of any session runs before this one has returned.
///
/// A panic in a method leaves through `run`; the connection is closed in the next turn, and the session is dropped
/// without [`closed`](Session::closed). Everything else goes on.
pub trait Session: 'static {
    /// The connection is open: accepted, connected, or adopted. The first call.
    fn opened(&mut self, connection: &Connection) {
        let _ = connection;
    }

    /// Bytes have arrived. Returns how many of them, from the front, were consumed.
    ///
    /// The rest is shown again, at the front of what follows: when more bytes have arrived, when reading resumes after
    /// a pause, and once before [`eof`](Session::eof). So a protocol takes the whole messages it sees and leaves the
    /// last, incomplete one where it is. What is left may not grow beyond
    /// [a limit](Connection::set_unconsumed_limit); the connection ends with [`Reason::UnconsumedLimit`] then.
    ///
    /// A return value larger than `bytes.len()` counts as all of it; debug builds assert.
    fn received(&mut self, connection: &Connection, bytes: &[u8]) -> usize;

    /// More had been queued than the high watermark, and now it is no more than the low one: go on sending. Called once
    /// for each time that [`Connection::send`] answered [`Sent::AboveHigh`] for the first time, and before what was left
    /// unconsumed is shown again.
    fn drained(&mut self, connection: &Connection) {
        let _ = connection;
    }

    /// The peer has ended its stream: it sends no more, but may still read. By default the connection is closed when
    /// everything queued has been sent.
    fn eof(&mut self, connection: &Connection) {
        connection.close_after_flush(std::time::Duration::MAX);
    }

    /// Nothing has arrived or left for as long as the [idle timeout](Connection::set_idle_timeout). By default the
    /// connection ends, with [`Reason::Idle`].
    fn idle(&mut self, connection: &Connection) -> Idle {
        let _ = connection;
        Idle::Close
    }

    /// Somebody has called [`Connection::notify`], once or more often since the last call. What is notified in here
    /// comes in the next turn.
    fn notified(&mut self, connection: &Connection) {
        let _ = connection;
    }

    /// The server [shuts down](Server::shutdown), and all that has arrived so far was shown. By default the connection
    /// is closed when everything queued has been sent; a session that still has something to do overrides this, and
    /// closes when it has done it. At the server's deadline the connection ends anyway.
    fn stopping(&mut self, connection: &Connection) {
        connection.close_after_flush(std::time::Duration::MAX);
    }

    /// The connection has ended; the last call. What is sent from here on goes nowhere.
    fn closed(&mut self, connection: &Connection, reason: Reason) {
        let _ = (connection, reason);
    }
}
