//! The operation layer: asynchronous operations, one-shot, each with a handler and a key.

pub(crate) mod timer;
pub(crate) mod cancel_after;
