//! The connections of one server, and what it counts.

use crate::engine::reactor::Entry;
use crate::engine::state::Engine;
use crate::ready::Interest;
use crate::slots::Slots;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

/// `M` is the link of a connection, which stands above this file.
pub(super) struct Roster<M> {
    /// The links of open connections; each takes itself out when it ends.
    members: RefCell<Slots<Rc<M>>>,
    /// What accepts, while it does not because the roster is full.
    waiting: RefCell<Option<Entry>>,
    /// What its connections begin with.
    pub(super) idle_timeout: Cell<Option<Duration>>,
    pub(super) accepted: Cell<u64>,
    pub(super) shed: Cell<u64>,
    pub(super) bytes_received: Cell<u64>,
    pub(super) bytes_sent: Cell<u64>,
}

impl<M> Roster<M> {
    pub(super) fn new() -> Rc<Self> {
        Rc::new(Roster {
            members: RefCell::new(Slots::new()),
            waiting: RefCell::default(),
            idle_timeout: Cell::new(None),
            accepted: Cell::new(0),
            shed: Cell::new(0),
            bytes_received: Cell::new(0),
            bytes_sent: Cell::new(0),
        })
    }

    pub(super) fn len(&self) -> usize {
        self.members.borrow().len()
    }

    pub(super) fn members(&self) -> Vec<Rc<M>> {
        self.members.borrow().iter().map(|(_, member)| Rc::clone(member)).collect()
    }

    pub(super) fn enter(&self, member: &Rc<M>) -> usize {
        self.members.borrow_mut().insert(Rc::clone(member))
    }

    /// One has left: who waits for room accepts again.
    pub(super) fn leave(&self, key: usize, engine: &Engine) {
        let member = self.members.borrow_mut().try_remove(key);
        drop(member);
        let waiting = self.waiting.take();
        if let Some(entry) = waiting {
            if entry.state().token().is_some() {
                entry.state().set_interest(Interest::READABLE);
                engine.enqueue(&entry);
            }
        }
    }

    /// The server ends. An entry kept here would keep itself.
    pub(super) fn stop_waiting(&self) {
        let waiting = self.waiting.take();
        drop(waiting);
    }

    pub(super) fn wait_for_room(&self, entry: Entry) {
        entry.state().set_interest(Interest::NONE);
        let former = self.waiting.replace(Some(entry));
        drop(former);
    }
}
