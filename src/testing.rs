//! For tests of what users write: see [`Harness`].

pub use crate::session::harness::Harness;
