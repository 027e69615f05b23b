//! Waits for a deadline: their handlers, those of one type side by side in a slab.
//!
//! So a wait allocates nothing where its slab has had as many, and the million handlers of a million timers lie in the
//! order in which they were started, not wherever the allocator had room.

use super::kept::{Keeper, Kept, LARGE};
use super::places::Places;
use super::state::{AtDeadline, Engine};
use super::timer_queue::TimerKey;
use crate::key::{Kind, Origin};
use crate::outstanding::Work;
use std::cell::RefCell;
use std::io;
use std::marker::PhantomData;
use std::ptr;
use std::rc::Rc;
use std::time::Instant;

/// The outcome of a wait.
pub(crate) type Waited = io::Result<()>;

/// What the waits of one call are called: known by their type, and so not kept with each.
pub(crate) trait Called: 'static {
    const KIND: Kind;
}

struct Waiting<H> {
    origin: Origin,
    handler: H,
}

/// The waits of one call, whose handlers are of one type.
struct Waits<K, H>(Places<Waiting<H>>, PhantomData<K>);

impl Engine {
    /// Arms a timer that ends in a call of the handler, exactly once. Drops it and returns `None` if the context has
    /// gone.
    pub(crate) fn arm_wait<K: Called, H: FnOnce(Waited) + 'static>(
        &self,
        deadline: Instant,
        origin: Origin,
        background: bool,
        handler: H,
    ) -> Option<TimerKey> {
        if !self.is_alive() {
            return None;
        }
        let wait = if size_of::<H>() > LARGE {
            let handler = Box::new(handler);
            self.keep::<K, _>(|| Waiting { origin, handler })?
        } else {
            self.keep::<K, _>(|| Waiting { origin, handler })?
        };
        self.arm(deadline, background, || {
            if background { AtDeadline::WaitInBackground(wait) } else { AtDeadline::Wait(wait) }
        })
    }

    #[inline(always)]
    fn keep<K: Called, H: FnOnce(Waited) + 'static>(&self, make: impl FnOnce() -> Waiting<H>) -> Option<Kept> {
        let (keeper, waits) = self.keepers.find(|waits: Rc<RefCell<Waits<K, H>>>| waits)?;
        let index = waits.borrow_mut().insert_with(make);
        Some(Kept { keeper, index })
    }
}

impl<K, H> Default for Waits<K, H> {
    fn default() -> Self {
        Waits(Places::new(), PhantomData)
    }
}

impl<K, H> Waits<K, H> {
    #[inline(always)]
    fn insert_with(&mut self, make: impl FnOnce() -> Waiting<H>) -> u32 {
        self.0.tidy();
        self.0.insert_with(make)
    }

    fn take(&mut self, index: u32) -> Option<Waiting<H>> {
        let waiting = self.0.take_and_look_ahead(index);
        if self.0.is_empty() {
            self.0.begin_anew();
        }
        waiting
    }
}

impl<K: Called, H: FnOnce(Waited) + 'static> Keeper<Engine> for RefCell<Waits<K, H>> {
    fn end(&self, index: u32, engine: &Rc<Engine>, outcome: Waited) {
        let taken = self.borrow_mut().take(index);
        if let Some(Waiting { origin, handler }) = taken {
            engine.call(K::KIND.name, origin.location, || handler(outcome));
        }
    }

    fn describe(&self, index: u32, _: Instant) -> Option<Work> {
        let waits = self.borrow();
        let waiting = waits.0.get(index)?;
        Some(Work::new(K::KIND.name, K::KIND.object, None, waiting.origin))
    }

    fn trim(&self) {
        self.borrow_mut().0.trim();
    }

    fn touch(&self, indices: &[u32]) -> usize {
        let waits = self.borrow();
        let waiting = indices.iter().filter_map(|&index| waits.0.get(index));
        waiting.fold(0, |read, waiting| read ^ ptr::from_ref(waiting.origin.location).addr())
    }
}
