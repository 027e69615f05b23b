//! The end of a context.

use super::reactor::Entry;
use super::state::{AtDeadline, Engine};

impl Engine {
    /// Refuses new work, then drops everything until nothing is left: destructors run, and may try to start more.
    pub(crate) fn close(&self) {
        self.alive.set(false);
        loop {
            let mail = self.inbox.close();
            let tasks = self.scheduler.take_all();
            let timers: Vec<Given> = self.timers.borrow_mut().take_all().into_iter().map(Given).collect();
            let starved = self.starved.take();
            let entries: Vec<Abandoned> = self.reactor.take_all().into_iter().map(Abandoned).collect();
            let channels = self.channels.take();
            let keepers = self.keepers.take_all();
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

/// A timer whose context goes. An alarm may be held by its own callback: so that is taken out.
struct Given(AtDeadline);

impl Drop for Given {
    fn drop(&mut self) {
        if let AtDeadline::Ring(alarm) | AtDeadline::RingInBackground(alarm) = &self.0 {
            let callback = alarm.callback.try_borrow_mut().ok().and_then(|mut callback| callback.take_out());
            drop(callback);
        }
    }
}

/// An entry whose context goes.
struct Abandoned(Entry);

impl Drop for Abandoned {
    fn drop(&mut self) {
        self.0.abandon();
    }
}
