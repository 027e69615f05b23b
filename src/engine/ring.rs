//! Callbacks that are called again and again: of repetitions, and of alarms.

use crate::key::Origin;
use std::any::Any;
use std::cell::{Cell, RefCell};
use std::time::Duration;

/// What is behind a `Handle::every`.
pub(crate) struct Repeat {
    pub(crate) origin: Origin,
    pub(crate) period: Duration,
    pub(crate) background: Cell<bool>,
    pub(crate) callback: RefCell<Box<dyn FnMut()>>,
}

/// What is behind an `Alarm`, shared by its handles and the timer queue. Whoever has one more `Rc` of it for a while
/// calls `Engine::end_alarm_if_unused` before that is dropped.
pub(crate) struct Ringing<F: ?Sized = dyn Ring> {
    pub(crate) origin: Origin,
    /// Borrowed while it runs. Handlers do not nest, so it is not called then.
    pub(crate) callback: RefCell<F>,
}

/// The callback of an alarm: an `Option` of it, empty once the context has gone.
pub(crate) trait Ring {
    /// Answers with the delay after which it is to be called again, if it is.
    fn ring(&mut self) -> Option<Duration>;

    /// Takes the user's closure out, to be dropped when nothing is borrowed.
    fn take_out(&mut self) -> Option<Box<dyn Any>>;
}

impl<F: FnMut() -> Option<Duration> + 'static> Ring for Option<F> {
    fn ring(&mut self) -> Option<Duration> {
        self.as_mut()?()
    }

    fn take_out(&mut self) -> Option<Box<dyn Any>> {
        let callback = self.take()?;
        Some(Box::new(callback))
    }
}
