//! The scheduler: the queue of handlers that are ready, and the count of work that is outstanding.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;

/// A first-in-first-out queue of ready handlers and the count that keeps `run` going.
///
/// What is queued here counts as outstanding until it is taken out to run.
#[derive(Debug)]
pub(crate) struct Scheduler<T> {
    ready: RefCell<VecDeque<T>>,
    /// Operations, waits, registrations and guards that are outstanding, and the length of `ready`.
    outstanding: Cell<usize>,
}

impl<T> Scheduler<T> {
    pub(crate) fn new() -> Self {
        Scheduler { ready: RefCell::new(VecDeque::new()), outstanding: Cell::new(0) }
    }

    pub(crate) fn push(&self, task: T) {
        self.work_started();
        self.ready.borrow_mut().push_back(task);
    }

    /// Takes the handler that became ready first; it stops being outstanding here, before its call.
    pub(crate) fn pop(&self) -> Option<T> {
        let task = self.ready.borrow_mut().pop_front()?;
        self.work_finished();
        Some(task)
    }

    pub(crate) fn len(&self) -> usize {
        self.ready.borrow().len()
    }

    pub(crate) fn work_started(&self) {
        self.outstanding.set(self.outstanding.get() + 1);
    }

    pub(crate) fn work_finished(&self) {
        debug_assert!(self.outstanding.get() > 0, "work finished that was never started");
        self.outstanding.set(self.outstanding.get() - 1);
    }

    pub(crate) fn outstanding(&self) -> usize {
        self.outstanding.get()
    }

    pub(crate) fn with_ready<R>(&self, look: impl FnOnce(&VecDeque<T>) -> R) -> R {
        look(&self.ready.borrow())
    }

    /// Empties the queue and hands out what it held, for the caller to drop when nothing is borrowed.
    pub(crate) fn take_all(&self) -> VecDeque<T> {
        let tasks = self.ready.take();
        tasks.iter().for_each(|_| self.work_finished());
        tasks
    }
}
