//! Boost.Asio's `io_context` as a small, safe, hand-written event loop on mio.

#[cfg(not(unix))]
compile_error!("ioctx runs on Unix only for now: it needs epoll, kqueue or poll(2)");

pub mod error;
mod config;
mod engine;
mod handle;
mod io_context;
mod work;
mod remote;
mod readiness;
pub mod option;
mod operation;
pub mod ip;

pub use config::Config;
pub use engine::key::{Cancel, Operation};
pub use engine::outstanding::{Outstanding, Work};
pub use engine::ready::{Interest, Ready};
pub use handle::Handle;
pub use io_context::IoContext;
pub use remote::{PostError, Remote, SendError, Sender};
pub use work::{RemoteWorkGuard, WorkGuard};
pub use operation::cancel_after::{Outcome, cancel_after, cancel_at};
pub use operation::part::Part;
#[cfg(feature = "signal")]
pub use operation::signal_set::SignalSet;
pub use operation::timer::Timer;
pub use readiness::descriptor::Descriptor;
pub use readiness::io::Io;
pub use readiness::registration::{Next, Registration};

/// The mio this crate stands on: [`Handle::register`] takes its sources.
pub use mio;
