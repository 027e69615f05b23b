//! The readiness layer: a callback per registration, kept in a slab, called when its source is ready; alarms.

pub(crate) mod budget;
pub(crate) mod tracked;
pub(crate) mod io;
pub(crate) mod descriptor;
pub(crate) mod callback;
pub(crate) mod registration;
pub(crate) mod alarm;
