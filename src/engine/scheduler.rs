//! The scheduler: the queue of handlers that are ready, and the count of work that is outstanding.

use std::cell::{Cell, RefCell};
use std::mem;

/// A stack keeps room for so many.
const ROOM: usize = 1 << 20;

/// A first-in-first-out queue of ready handlers and the count that keeps `run` going.
///
/// What is queued counts as outstanding until it is taken out to run.
#[derive(Debug)]
pub(crate) struct Scheduler<T> {
    queue: RefCell<Queue<T>>,
    /// Operations, waits, registrations and guards that are outstanding; what is queued is counted by the queue.
    started: Cell<usize>,
}

/// A queue of two stacks: so that neither goes round in a ring.
#[derive(Debug)]
struct Queue<T> {
    /// What has become ready, the first at the start.
    ready: Vec<T>,
    /// What step 7 of the turn in progress has still to run, the first at the end; empty between turns.
    due: Vec<T>,
}

impl<T> Scheduler<T> {
    pub(crate) fn new() -> Self {
        let queue = Queue { ready: Vec::new(), due: Vec::new() };
        Scheduler { queue: RefCell::new(queue), started: Cell::new(0) }
    }

    #[inline(always)]
    pub(crate) fn push(&self, task: T) {
        self.queue.borrow_mut().ready.push(task);
    }

    /// Makes due what is ready, and nothing that becomes ready later. To be called when nothing is due.
    pub(crate) fn begin(&self) {
        let Queue { ready, due } = &mut *self.queue.borrow_mut();
        if !ready.is_empty() {
            debug_assert!(due.is_empty(), "the last turn has not ended");
            due.shrink_to(ROOM);
            mem::swap(ready, due);
            due.reverse();
        }
    }

    /// Takes the next of those that are due; it stops being outstanding here, before its call.
    #[inline(always)]
    pub(crate) fn next(&self) -> Option<T> {
        self.queue.borrow_mut().due.pop()
    }

    /// Shows the next few of those that are due, the first first.
    pub(crate) fn show_next(&self, few: usize, show: impl FnMut(&T)) {
        self.queue.borrow().due.iter().rev().take(few).for_each(show);
    }

    pub(crate) fn len(&self) -> usize {
        let queue = self.queue.borrow_mut(); // It counts no readers: fewer instructions than `borrow`.
        queue.due.len() + queue.ready.len()
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

    /// Shows what became ready last.
    pub(crate) fn with_last<R>(&self, look: impl FnOnce(&T) -> Option<R>) -> Option<R> {
        self.queue.borrow().ready.last().and_then(look)
    }

    /// Shows all that is queued, the first first.
    pub(crate) fn for_each(&self, show: impl FnMut(&T)) {
        let queue = self.queue.borrow();
        queue.due.iter().rev().chain(&queue.ready).for_each(show);
    }

    /// Empties the queue and hands out what it held, for the caller to drop when nothing is borrowed.
    pub(crate) fn take_all(&self) -> Vec<T> {
        let mut queue = self.queue.borrow_mut();
        let mut all = mem::take(&mut queue.due);
        all.reverse();
        all.append(&mut queue.ready);
        all
    }
}
