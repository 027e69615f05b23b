//! Registrations: queued, left alone for a while, taken out; and operations cancelled, wherever they wait.

use super::reactor::Entry;
use super::ready_state::State;
use super::state::Engine;
use super::timer_queue::TimerKey;
use crate::key::{Cancel, Operation, Place};
use std::rc::Rc;
use std::time::Duration;

impl Engine {
    /// Queues the entry for step 5 if what it wants is ready.
    #[inline]
    pub(crate) fn enqueue(&self, entry: &Entry) {
        if self.reactor.enqueue(entry) {
            self.kick();
        }
    }

    /// Takes the entry out of the slab. No event reaches it from here on.
    pub(crate) fn remove(&self, state: &State) -> Option<Entry> {
        if !self.starved.borrow().is_empty() {
            self.starved.borrow_mut().retain(|(entry, _)| !std::ptr::eq(entry.state(), state));
        }
        if let Some(key) = state.set_paused(None) {
            drop(self.disarm(key)); // It would hold on to the entry, and so to the source.
        }
        self.reactor.remove(state)
    }

    /// Leaves the entry alone for a while, whatever becomes ready; its readiness is remembered.
    pub(crate) fn pause(&self, entry: &Entry, pause: Duration) -> Option<TimerKey> {
        let paused = Rc::clone(entry);
        let key = self.arm_act(self.clock.after(pause), move |engine| engine.resume(&paused));
        if let Some(former) = entry.state().set_paused(key) {
            drop(self.disarm(former));
        }
        key
    }

    fn resume(&self, entry: &Entry) {
        entry.state().set_paused(None);
        self.enqueue(entry);
    }

    /// Pauses an entry that found no free descriptor, until one is closed or the retry time has passed.
    pub(crate) fn starve(&self, entry: &Entry) {
        if let Some(key) = self.pause(entry, self.config.accept_retry) {
            let mut starved = self.starved.borrow_mut();
            starved.retain(|(other, _)| !Rc::ptr_eq(other, entry));
            starved.push((Rc::clone(entry), key));
        }
    }

    /// A descriptor of this context was closed: whoever waits for one may try again.
    pub(crate) fn descriptor_closed(&self) {
        if self.starved.borrow().is_empty() {
            return;
        }
        for (entry, key) in self.starved.take() {
            drop(self.disarm(key));
            self.resume(&entry);
        }
    }

    pub(crate) fn cancel(&self, operation: Operation) -> Cancel {
        let Operation { place, sequence } = operation;
        let found = match place {
            Place::Timer(slot) => self.cancel_timer(TimerKey { slot, sequence }),
            Place::Slot(slot) => match self.reactor.entry(slot) {
                Some(entry) => entry.cancel(sequence),
                None => false,
            },
            Place::Ended => false,
        };
        if found { Cancel::Requested } else { Cancel::AlreadyDone }
    }
}
