//! Boost.Asio's `io_context` as a small, safe, hand-written event loop on [mio].
//!
//! An [`IoContext`] watches sockets, timers and signals, and calls you when one is ready; while none is, it sleeps. One
//! thread, no hidden ones, no `unsafe`, a handful of dependencies. It is made to be embedded in other programs, to run
//! servers with tens of thousands of clients, and to be read.
//!
//! ```
//! use ioctx::session::{self, Connection, Session};
//! use ioctx::{IoContext, ip::tcp};
//!
//! /// Sends back what its client sends.
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
//! println!("listening on {:?}", server.local_endpoint());
//! # server.shutdown(std::time::Duration::ZERO);
//! io.run()?; // until the server is shut down and the last connection has ended
//! # std::io::Result::Ok(())
//! ```
//!
//! # Which layer
//!
//! Three ways in, over one slab of registrations. They mix freely in one context. When in doubt, take the first.
//!
//! | layer | take it when | you write | example |
//! |---|---|---|---|
//! | [`session`] | you write a server, or a client of one: many connections, each with a state | an object per connection, whose methods the loop calls; it is lent what arrives | `examples/echo_server.rs` |
//! | operations: [`ip::tcp`], [`local::stream`], [`Timer`], `SignalSet` | you know Asio, or want each step to be a call with one outcome | one-shot handlers; the buffer travels with the operation | `examples/async_echo.rs` |
//! | readiness: [`Handle::register`], [`Handle::register_fd`], [`Alarm`] | you bring your own source, or a library that does its own I/O | one callback per source, called when it is ready | `examples/readiness_echo.rs` |
//!
//! [`session::adopt`] leads from the operations to a session, [`into_socket`](session::Connection::into_socket) back.
//! Sessions are tested without a socket, by a [`testing::Harness`]. `docs/writing-a-server.md` in the repository writes a
//! chat, step by step.
//!
//! Several processors take several contexts: a [`ContextPool`] runs one per thread, and they serve one endpoint.
//!
//! # The rules of the house
//!
//! - A handler never runs inside the call that started its operation, and handlers never nest.
//! - Every handler runs exactly once, or is dropped unrun together with its context.
//! - An error of one connection is a value in that connection's handler. It ends nothing else.
//! - A handler may close, cancel, drop, register or start anything, itself included.
//! - Objects hold a [`Handle`]; the [`IoContext`] stays with whoever runs it.
//!
//! `docs/promises.md` in the repository lists all of them, each with the tests that carry it.
//!
//! # Reading the code
//!
//! The modules are floors, and a file uses only files of lower floors. Their order below, and inside each folder the
//! order in its `mod.rs`, is the reading order: first the engine, `engine/turn.rs` above all; then the front door
//! ([`Handle`], [`IoContext`], [`Remote`]); then readiness, operations, sockets, and the protocols; then sessions, which
//! stand on the sockets and start no operation; then the pool, made of sessions and contexts. `docs/how-the-loop-works.md` is the guided
//! tour.
//!
//! # Feature
//!
//! `signal`, on by default: `SignalSet`, through signal-hook.

#![forbid(unsafe_code)]
#![deny(missing_docs, missing_debug_implementations)]

#[cfg(not(unix))]
compile_error!("ioctx runs on Unix only for now: it needs epoll, kqueue or poll(2)");

pub mod error;
mod config;
mod ready;
mod key;
mod outstanding;
mod poll;
mod slots;
mod downcast;
mod stream;
mod engine;
mod handle;
mod io_context;
mod work;
mod remote;
mod readiness;
pub mod option;
mod operation;
pub mod socket;
pub mod ip;
pub mod local;
pub mod session;
pub mod pool;
pub mod testing;

pub use config::Config;
pub use handle::Handle;
pub use io_context::IoContext;
pub use key::{Cancel, Operation};
pub use operation::cancel_after::{Outcome, cancel_after, cancel_at};
pub use operation::part::Part;
#[cfg(feature = "signal")]
pub use operation::signal_set::SignalSet;
pub use operation::timer::Timer;
pub use outstanding::{Outstanding, Work};
pub use pool::ContextPool;
pub use readiness::alarm::Alarm;
pub use readiness::callback::Next;
pub use readiness::descriptor::Descriptor;
pub use readiness::io::Io;
pub use readiness::registration::Registration;
pub use ready::{Interest, Ready};
pub use remote::{PostError, Remote, SendError, Sender};
pub use work::{RemoteWorkGuard, WorkGuard};

/// The mio this crate stands on: [`Handle::register`] takes its sources.
pub use mio;

/// The pages' listings are compiled and run with the tests.
#[cfg(doctest)]
mod listings {
    #[doc = include_str!("../README.md")]
    struct Readme;
    #[doc = include_str!("../docs/how-the-loop-works.md")]
    struct HowTheLoopWorks;
    #[doc = include_str!("../docs/from-the-notes.md")]
    struct FromTheNotes;
    #[cfg(feature = "signal")]
    #[doc = include_str!("../docs/writing-a-server.md")]
    struct WritingAServer;
    #[cfg(not(mio_unsupported_force_poll_poll))] // `AsFd` does not exist there.
    #[doc = include_str!("../docs/embedding.md")]
    struct Embedding;
}
