//! The scheduler: the queue of handlers that are ready, and the count of work that is outstanding.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;

/// A first-in-first-out queue of ready handlers and the count that keeps `run` going.
///
/// What is queued counts as outstanding until it is taken out to run.
#[derive(Debug)]
pub(crate) struct Scheduler<T> {
    ready: RefCell<VecDeque<T>>,
    /// Operations, waits, registrations and guards that are outstanding; what is queued is counted by the queue.
    started: Cell<usize>,
}

impl<T> Scheduler<T> {
    pub(crate) fn new() -> Self {
        Scheduler { ready: RefCell::new(VecDeque::new()), started: Cell::new(0) }
    }

    #[inline(always)]
    pub(crate) fn push(&self, task: T) {
        self.ready.borrow_mut().push_back(task);
    }

    pub(crate) fn extend(&self, tasks: impl Iterator<Item = T>) {
        self.ready.borrow_mut().extend(tasks);
    }

    /// Takes the handler that became ready first; it stops being outstanding here, before its call.
    pub(crate) fn pop(&self) -> Option<T> {
        self.ready.borrow_mut().pop_front()
    }

    pub(crate) fn len(&self) -> usize {
        self.ready.borrow().len()
    }

    #[inline]
    pub(crate) fn work_started(&self) {
        self.started.set(self.started.get() + 1);
    }

    pub(crate) fn work_finished(&self) {
        debug_assert!(self.started.get() > 0, "work finished that was never started");
        self.started.set(self.started.get() - 1);
    }

    pub(crate) fn has_work(&self) -> bool {
        self.started.get() > 0 || self.len() > 0
    }

    pub(crate) fn with_ready<R>(&self, look: impl FnOnce(&VecDeque<T>) -> R) -> R {
        look(&self.ready.borrow())
    }

    /// Empties the queue and hands out what it held, for the caller to drop when nothing is borrowed.
    pub(crate) fn take_all(&self) -> VecDeque<T> {
        self.ready.take()
    }
}
