//! Callbacks that are called again and again: of repetitions, and of alarms, whose keepers are in `alarms.rs`.

use super::timer_queue::TimerKey;
use crate::key::Origin;
use crate::outstanding::Work;
use std::cell::{Cell, RefCell};
use std::time::Duration;

/// What is behind a `Handle::every`.
pub(crate) struct Repeat {
    pub(crate) origin: Origin,
    pub(crate) period: Duration,
    pub(crate) background: Cell<bool>,
    pub(crate) callback: RefCell<Box<dyn FnMut()>>,
}

/// Keeps the alarms whose callbacks are of one type: see `alarms.rs`. `E` is what they ring with: the engine.
pub(crate) trait Ringers<E> {
    /// Calls the callback of the alarm that has this timer. An alarm that nobody has and that is not set then goes.
    fn ring(&self, index: u32, key: TimerKey, engine: &E);

    /// One more has the alarm.
    fn hold(&self, index: u32);

    /// One less has the alarm that has this timer. If that was the last, and it neither rings nor is set, it goes.
    fn let_go(&self, index: u32, key: TimerKey, engine: &E);

    fn describe(&self, index: u32) -> Option<Work>;

    /// Reads something of the memory of each alarm, and returns it.
    fn touch(&self, indices: &[u32]) -> usize;

    /// Gives back memory that is not needed now.
    fn trim(&self);
}
