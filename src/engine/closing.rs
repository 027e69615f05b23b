//! The end of a context.

use super::reactor::Entry;
use super::state::Engine;

impl Engine {
    /// Refuses new work, then drops everything until nothing is left: destructors run, and may try to start more.
    pub(crate) fn close(&self) {
        self.alive.set(false);
        loop {
            let mail = self.inbox.close();
            let tasks = self.scheduler.take_all();
            let timers = self.timers.borrow_mut().take_all();
            let starved = self.starved.take();
            let entries: Vec<Abandoned> = self.reactor.take_all().into_iter().map(Abandoned).collect();
            let channels = self.channels.take();
            let keepers = (self.keepers.take_all(), self.ringers.take_all());
            if mail.order.is_empty()
                && tasks.is_empty()
                && timers.is_empty()
                && entries.is_empty()
                && channels.is_empty()
            {
                break;
            }
            // When one destructor panics, the others still run: that is how Rust drops a tuple of collections.
            drop((entries, mail, tasks, timers, keepers, starved, channels));
        }
        self.reactor.close();
    }
}

/// An entry whose context goes.
struct Abandoned(Entry);

impl Drop for Abandoned {
    fn drop(&mut self) {
        self.0.abandon();
    }
}
