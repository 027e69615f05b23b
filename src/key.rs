//! The key of an outstanding operation, what it is called, and where it came from.

use std::panic::Location;
use std::time::Instant;

/// The key of one asynchronous operation, returned by every `async_*` call and by
/// [`Handle::after`](crate::Handle::after) and [`Handle::every`](crate::Handle::every).
///
/// Small, `Copy`, and may be ignored. [`Handle::cancel`](crate::Handle::cancel) takes it; a key whose operation
/// has ended stays harmless for ever, because its sequence number is never given out again.
/// Answers to Asio's per-operation `cancellation_slot`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Operation {
    pub(crate) place: Place,
    /// Unique among all operations of this process; the identity of the operation.
    pub(crate) sequence: u64,
}

impl Operation {
    /// The key of what has ended already, or never began.
    pub(crate) const ENDED: Operation = Operation { place: Place::Ended, sequence: 0 };
}

/// Where an operation waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Place {
    /// A slot of the timer queue.
    Timer(u32),
    /// A slot of the reactor's slab.
    Slot(u32),
    /// Nowhere: it had ended before its key was made.
    Ended,
}

/// What [`Handle::cancel`](crate::Handle::cancel) found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Cancel {
    /// The operation was outstanding; its handler will be told that it was aborted.
    Requested,
    /// The operation had already ended (or its handler is running): nothing was changed.
    AlreadyDone,
}

/// What a piece of work is called in listings and in the trace.
#[derive(Debug)]
pub(crate) struct Kind {
    pub(crate) name: &'static str,
    /// The kind of object it comes from.
    pub(crate) object: &'static str,
}

/// Where and when a piece of work was started.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Origin {
    pub(crate) location: &'static Location<'static>,
    pub(crate) started: Instant,
}
