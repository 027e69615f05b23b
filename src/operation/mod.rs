//! The operation layer: asynchronous operations, one-shot, each with a handler and a key.

pub(crate) mod part;
mod queue;
pub(crate) mod object;
mod perform;
pub(crate) mod shared;
pub(crate) mod pending;
pub(crate) mod blocking;
pub(crate) mod stream;
pub(crate) mod timer;
pub(crate) mod cancel_after;
#[cfg(feature = "signal")]
pub(crate) mod signal_set;
