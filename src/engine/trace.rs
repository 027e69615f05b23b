//! What the loop tells: the trace, line by line, and the warning about slow handlers.
//!
//! With the log level `trace` for target `ioctx`, every line reads
//!
//! ```text
//! turn 12 | 5 dispatch readiness | token 3 ready: readable
//!      ^    ^ step and its name    ^ what happened
//!      number of the turn
//! ```
//!
//! The names of the steps are those of [`Step`](super::progress::Step), of `docs/how-the-loop-works.md` and of the
//! comments in `turn.rs`; `tests/docs.rs` holds them together.

use super::progress::Progress;
use std::cell::Cell;
use std::fmt;
use std::panic::Location;
use std::time::{Duration, Instant};

/// The log target of every line of this crate.
pub(crate) const TARGET: &str = "ioctx";

/// Tells one line of the trace, if somebody listens; the arguments are not even looked at otherwise.
macro_rules! tell {
    ($engine:expr, $($what:tt)*) => {
        if $engine.teller.tracing() {
            $engine.teller.write(&$engine.turn, format_args!($($what)*));
        }
    };
}
pub(crate) use tell;

#[derive(Debug)]
pub(crate) struct Teller {
    /// Whether somebody listens; asked once a turn, so that a silent loop pays one load and one branch per line.
    tracing: Cell<bool>,
    /// Whether calls of handlers are watched: traced, or timed because a threshold is set.
    watching: Cell<bool>,
    slow: Option<Duration>,
    /// The call in progress, if calls are watched. It does not travel with the call, which would cost each that is not
    /// watched a register or two.
    watched: Cell<Option<Watched>>,
    /// Whether the warning about blocking calls was given.
    warned: Cell<bool>,
}

#[derive(Clone, Copy, Debug)]
struct Watched {
    kind: &'static str,
    location: &'static Location<'static>,
    started: Instant,
}

impl Teller {
    pub(crate) fn new(slow: Option<Duration>) -> Self {
        Teller {
            tracing: Cell::new(false),
            watching: Cell::new(slow.is_some()),
            slow,
            watched: Cell::new(None),
            warned: Cell::new(false),
        }
    }

    /// Asks the logger whether it wants the trace.
    #[inline]
    pub(crate) fn look(&self) {
        let tracing = log::log_enabled!(target: TARGET, log::Level::Trace);
        self.tracing.set(tracing);
        self.watching.set(tracing || self.slow.is_some());
    }

    /// Whether somebody listens.
    #[inline]
    pub(crate) fn tracing(&self) -> bool {
        self.tracing.get()
    }

    /// Writes one line of the trace. Called through [`tell!`].
    #[cold]
    pub(crate) fn write(&self, turn: &Progress, what: fmt::Arguments<'_>) {
        let (number, step) = (turn.number(), turn.step());
        log::trace!(target: TARGET, "turn {number} | {step:<20} | {what}");
    }

    /// Whether calls of handlers are watched at all.
    #[inline]
    pub(crate) fn watches_calls(&self) -> bool {
        self.watching.get()
    }

    /// Tells of a call that begins.
    #[cold]
    pub(crate) fn begin_watch(&self, turn: &Progress, kind: &'static str, location: &'static Location<'static>) {
        if self.tracing() {
            self.write(turn, format_args!("run {kind} from {location}"));
        }
        self.watched.set(Some(Watched { kind, location, started: Instant::now() }));
    }

    /// Warns if the call that ends was slow.
    #[cold]
    pub(crate) fn end_watch(&self) {
        let Some(Watched { kind, location, started }) = self.watched.take() else {
            return;
        };
        let took = started.elapsed();
        if self.slow.is_some_and(|threshold| took > threshold) {
            log::warn!(target: TARGET, "slow handler: {kind} from {location} took {took:.3?}");
        }
    }

    /// Warns, once, that a handler made a call that blocks: it keeps every other client waiting.
    pub(crate) fn warn_of_blocking(&self, call: &str, location: &'static Location<'static>) {
        if !self.warned.replace(true) {
            log::warn!(target: TARGET, "blocking {call} inside a handler, at {location}: every other handler waits");
        }
    }
}
