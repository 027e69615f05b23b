//! The keys, their values, and when they end.

use ioctx::Handle;
use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap};
use std::rc::Rc;
use std::time::{Duration, Instant};

/// How often what has expired is removed, and how many keys at once, so that nobody waits long for it.
const SWEEP: Duration = Duration::from_millis(100);
const SWEEP_MAX: usize = 10_000;

/// A key that has expired is gone for everybody who asks for it. Its memory follows: when it is asked for, or with the
/// next [`sweep`].
pub struct Store {
    entries: HashMap<Rc<[u8]>, Entry>,
    /// The deadlines of all entries that have one.
    deadlines: BTreeSet<(Instant, Rc<[u8]>)>,
    now: Box<dyn Fn() -> Instant>,
}

struct Entry {
    value: Rc<[u8]>,
    deadline: Option<Instant>,
}

/// How long a key lives.
#[derive(Debug, PartialEq, Eq)]
pub enum Life {
    Missing,
    Endless,
    Left(Duration),
}

impl Store {
    /// An empty store, which asks `now` for the time.
    pub fn new(now: impl Fn() -> Instant + 'static) -> Store {
        Store { entries: HashMap::new(), deadlines: BTreeSet::new(), now: Box::new(now) }
    }

    /// How many keys there are, with those that have expired and were not removed yet.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    pub fn get(&mut self, key: &[u8]) -> Option<&Rc<[u8]>> {
        Some(&self.living(key)?.value)
    }

    /// Sets a value that stays for ever, or until the deadline.
    pub fn set(&mut self, key: &[u8], value: &[u8], deadline: Option<Instant>) {
        match self.entries.get_mut(key) {
            Some(entry) => entry.value = value.into(),
            None => drop(self.entries.insert(key.into(), Entry { value: value.into(), deadline: None })),
        }
        self.set_deadline(key, deadline);
    }

    /// Sets the value, and leaves the deadline as it is.
    pub fn replace(&mut self, key: &[u8], value: &[u8]) {
        match self.living(key) {
            Some(entry) => entry.value = value.into(),
            None => self.set(key, value, None),
        }
    }

    /// Whether there was something to remove.
    pub fn remove(&mut self, key: &[u8]) -> bool {
        self.living(key).is_some() && self.take(key)
    }

    pub fn clear(&mut self) {
        self.entries.clear();
        self.deadlines.clear();
    }

    /// Whether there is something that now ends at the deadline.
    pub fn expire(&mut self, key: &[u8], deadline: Instant) -> bool {
        let is_there = self.living(key).is_some();
        self.set_deadline(key, Some(deadline));
        is_there
    }

    pub fn life(&mut self, key: &[u8]) -> Life {
        match self.living(key).map(|entry| entry.deadline) {
            None => Life::Missing,
            Some(None) => Life::Endless,
            Some(Some(deadline)) => Life::Left(deadline.saturating_duration_since((self.now)())),
        }
    }

    /// The instant so far from now, unless the clock does not reach that far.
    pub fn after(&self, delay: Duration) -> Option<Instant> {
        (self.now)().checked_add(delay)
    }

    /// Removes what has expired, up to so many keys.
    fn remove_expired(&mut self, keys: usize) {
        let now = (self.now)();
        for _ in 0..keys {
            match self.deadlines.first() {
                Some((deadline, key)) if *deadline <= now => drop(self.entries.remove(key)),
                _ => break,
            }
            self.deadlines.pop_first();
        }
    }

    /// The entry of this key if it has not expired. The clock is only asked when it matters.
    fn living(&mut self, key: &[u8]) -> Option<&mut Entry> {
        let deadline = self.entries.get(key)?.deadline;
        if deadline.is_some_and(|deadline| deadline <= (self.now)()) {
            self.take(key);
        }
        self.entries.get_mut(key)
    }

    fn take(&mut self, key: &[u8]) -> bool {
        self.set_deadline(key, None);
        self.entries.remove(key).is_some()
    }

    fn set_deadline(&mut self, key: &[u8], deadline: Option<Instant>) {
        let Some(entry) = self.entries.get_mut(key) else {
            return;
        };
        let former = std::mem::replace(&mut entry.deadline, deadline);
        if former == deadline {
            return; // Mostly there was none, and there is none.
        }
        let Some((key, _)) = self.entries.get_key_value(key) else {
            return;
        };
        if let Some(former) = former {
            self.deadlines.remove(&(former, Rc::clone(key)));
        }
        if let Some(deadline) = deadline {
            self.deadlines.insert((deadline, Rc::clone(key)));
        }
    }
}

/// Removes now and then what has expired and nobody asks for.
pub fn sweep(store: &Rc<RefCell<Store>>, handle: &Handle) {
    let store = Rc::clone(store);
    let repetition = handle.every(SWEEP, move || store.borrow_mut().remove_expired(SWEEP_MAX));
    handle.background(repetition);
}
