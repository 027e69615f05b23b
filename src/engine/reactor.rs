//! The reactor: mio's poller, the slab of registrations, and the list of those that are ready.
//!
//! ```text
//!   event --token--> slot { generation, entry } --Rc--> Entry { state | handler }
//!                                                          ^
//!            ready list [ Rc | Rc | Rc ... ] --------------+
//! ```
//!
//! The poller tells of each change once. `harvest` writes what it tells into each entry's `State` and puts the entry
//! on the ready list if somebody asked for it; no handler runs meanwhile. Handlers are then called from that list,
//! first in, first out, each entry at most once per pass. So the list is at once the batch, the queue of those with
//! something left over, and the place where an interrupted turn goes on.

use super::outstanding::Work;
use super::ready::{Interest, Ready};
use crate::error::context_gone;
use mio::Token;
use mio::event::Source;
use slab::Slab;
use std::cell::{Cell, Ref, RefCell};
use std::collections::VecDeque;
use std::io;
use std::rc::Rc;
use std::time::Duration;

/// The waker's token; no slot can have it, because a slab of that many entries does not fit in memory.
pub(crate) const WAKER: Token = Token(usize::MAX);

/// What is called when a registration is ready.
pub(crate) trait Handler {
    /// Does what `state` says can be done and is wanted. Called from step 5 of the turn, never nested.
    fn dispatch(&self, state: &State);

    /// Cancels the operation with this sequence number; `false` if there is none.
    fn cancel(&self, state: &State, sequence: u64) -> bool;

    /// The context is going: drop every user value and close the source.
    fn abandon(&self);

    /// Tells what is outstanding here.
    fn describe(&self, tell: &mut dyn FnMut(Work));
}

/// One registration: what the loop remembers of it, and whom it calls.
pub(crate) struct Entry<H: ?Sized> {
    pub(crate) state: State,
    pub(crate) handler: H,
}

/// A registration in the slab, whatever its handler.
pub(crate) type AnyEntry = Rc<Entry<dyn Handler>>;

/// What the loop remembers of one registration.
#[derive(Default)]
pub(crate) struct State {
    /// Set by events, cleared by calls that found the source not ready.
    ready: Cell<Ready>,
    interest: Cell<Interest>,
    /// Whether the entry is on the ready list, so that it is there at most once.
    queued: Cell<bool>,
    /// Not called while set, whatever is ready.
    paused: Cell<bool>,
    /// Its place in the slab; `None` before it is inserted and after it is removed.
    token: Cell<Option<Token>>,
}

impl State {
    pub(crate) fn ready(&self) -> Ready {
        self.ready.get()
    }

    pub(crate) fn interest(&self) -> Interest {
        self.interest.get()
    }

    /// What is both ready and asked for.
    #[inline]
    pub(crate) fn wanted(&self) -> Ready {
        self.ready.get().of(self.interest.get())
    }

    #[inline]
    pub(crate) fn clear(&self, bits: Ready) {
        self.ready.set(self.ready.get().without(bits));
    }

    pub(crate) fn set(&self, bits: Ready) {
        self.ready.set(self.ready.get() | bits);
    }

    /// Forgets everything: the descriptor starts anew, as after `connect` was issued.
    pub(crate) fn reset(&self) {
        self.ready.set(Ready::NONE);
    }

    pub(crate) fn set_interest(&self, interest: Interest) {
        // The end of a stream can be read again and again, but is announced once: whoever asks anew is shown it.
        if interest.is_readable() && self.ready.get().is_read_closed() {
            self.set(Ready::READABLE);
        }
        self.interest.set(interest);
    }

    pub(crate) fn is_paused(&self) -> bool {
        self.paused.get()
    }

    pub(crate) fn set_paused(&self, paused: bool) {
        self.paused.set(paused);
    }

    pub(crate) fn token(&self) -> Option<Token> {
        self.token.get()
    }

    /// The index of the slot, if the entry is in the slab.
    pub(crate) fn slot(&self) -> Option<u32> {
        self.token.get().map(|token| unpack(token).0 as u32)
    }

    /// Asks for one call although nothing is ready: for an operation that has nothing to wait for.
    pub(crate) fn demand_call(&self) {
        self.ready.set(self.ready.get() | Ready::DEMANDED);
        self.interest.set(self.interest.get() | Interest::DEMANDED);
    }

    pub(crate) fn is_call_demanded(&self) -> bool {
        self.ready.get().contains(Ready::DEMANDED)
    }

    pub(crate) fn forget_demand(&self) {
        self.clear(Ready::DEMANDED);
        self.interest.set(self.interest.get().without(Interest::DEMANDED));
    }

    /// Whether the entry is to be called, now or in the next turn.
    #[inline]
    pub(crate) fn is_due(&self) -> bool {
        !self.wanted().is_none() && !self.paused.get() && self.token.get().is_some()
    }
}

struct Slot {
    generation: u32,
    entry: AnyEntry,
}

/// The half of the poller that sleeps. It belongs to the `IoContext`, because sleeping needs `&mut`; the half that
/// registers belongs to the [`Reactor`], which every handle reaches.
pub(crate) struct Poller {
    poll: mio::Poll,
    events: mio::Events,
    capacity: usize,
}

impl Poller {
    pub(crate) fn new(capacity: usize) -> io::Result<Poller> {
        Ok(Poller {
            poll: mio::Poll::new()?,
            events: mio::Events::with_capacity(capacity),
            capacity,
        })
    }

    pub(crate) fn registry(&self) -> &mio::Registry {
        self.poll.registry()
    }
}

pub(crate) struct Reactor {
    /// `None` once the context has gone.
    registry: RefCell<Option<mio::Registry>>,
    /// The last batch was full: the poller may hold more.
    full: Cell<bool>,
    slab: RefCell<Slab<Slot>>,
    generation: Cell<u32>,
    /// Ready and not yet called; the front came first.
    ready: RefCell<VecDeque<AnyEntry>>,
    /// Called, and something was left over: their next call is in the next turn, ahead of newer events.
    left_over: RefCell<VecDeque<AnyEntry>>,
}

impl Reactor {
    pub(crate) fn new(registry: mio::Registry) -> Reactor {
        Reactor {
            registry: RefCell::new(Some(registry)),
            full: Cell::new(false),
            slab: RefCell::new(Slab::new()),
            generation: Cell::new(0),
            ready: RefCell::new(VecDeque::new()),
            left_over: RefCell::new(VecDeque::new()),
        }
    }

    fn registry(&self) -> io::Result<Ref<'_, mio::Registry>> {
        Ref::filter_map(self.registry.borrow(), Option::as_ref).map_err(|_| context_gone())
    }

    // The slab.

    /// Gives the entry a slot. The caller registers its source under the token, or removes it again.
    pub(crate) fn insert(&self, entry: &AnyEntry) -> Token {
        let generation = self.generation.get().wrapping_add(1) & GENERATION_MASK;
        self.generation.set(generation);
        let index = self.slab.borrow_mut().insert(Slot {
            generation,
            entry: Rc::clone(entry),
        });
        let token = pack(index, generation);
        entry.state.token.set(Some(token));
        token
    }

    /// Frees the entry's slot: from here on no event reaches it, not even one already in the batch.
    /// The entry is handed out for the caller to drop when nothing is borrowed.
    pub(crate) fn remove(&self, state: &State) -> Option<AnyEntry> {
        let (index, _) = unpack(state.token.take()?);
        Some(self.slab.borrow_mut().try_remove(index)?.entry)
    }

    pub(crate) fn entry(&self, index: u32) -> Option<AnyEntry> {
        let slab = self.slab.borrow();
        slab.get(index as usize).map(|slot| Rc::clone(&slot.entry))
    }

    pub(crate) fn entries(&self) -> Vec<AnyEntry> {
        let slab = self.slab.borrow();
        slab.iter().map(|(_, slot)| Rc::clone(&slot.entry)).collect()
    }

    pub(crate) fn take_all(&self) -> Vec<AnyEntry> {
        let mut slab = self.slab.borrow_mut();
        let mut entries: Vec<AnyEntry> = slab.drain().map(|slot| slot.entry).collect();
        for entry in &entries {
            entry.state.token.set(None);
        }
        entries.extend(self.ready.borrow_mut().drain(..));
        entries.extend(self.left_over.borrow_mut().drain(..));
        entries
    }

    // The kernel.

    pub(crate) fn register(&self, source: &mut impl Source, token: Token, interest: mio::Interest) -> io::Result<()> {
        self.registry()?.register(source, token, interest)
    }

    pub(crate) fn reregister(&self, source: &mut impl Source, token: Token, interest: mio::Interest) -> io::Result<()> {
        self.registry()?.reregister(source, token, interest)
    }

    /// Takes the source out of the poller. Needed before every close: a descriptor that has a duplicate somewhere
    /// would go on to wake the loop for ever.
    pub(crate) fn deregister(&self, source: &mut impl Source) -> io::Result<()> {
        self.registry()?.deregister(source)
    }

    /// Sleeps until something happens, at most `timeout`, and harvests what the poller tells.
    /// Returns how many events there were; being interrupted by a signal counts as none.
    pub(crate) fn wait(&self, poller: &mut Poller, timeout: Option<Duration>) -> io::Result<usize> {
        match poller.poll.poll(&mut poller.events, timeout) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(0),
            polled => polled?,
        }
        let count = self.harvest(&poller.events);
        self.full.set(count >= poller.capacity);
        Ok(count)
    }

    fn harvest(&self, events: &mio::Events) -> usize {
        let mut ready = self.ready.borrow_mut();
        ready.append(&mut self.left_over.borrow_mut());
        let slab = self.slab.borrow();
        let mut count = 0;
        for event in events {
            count += 1;
            let (index, generation) = unpack(event.token());
            // An event for a slot that was freed, or freed and given to another, finds nobody.
            let Some(slot) = slab.get(index).filter(|slot| slot.generation == generation) else {
                continue;
            };
            let state = &slot.entry.state;
            state.set(readiness(event));
            if !state.wanted().is_none() && !state.queued.get() && !state.paused.get() {
                state.queued.set(true);
                ready.push_back(Rc::clone(&slot.entry));
            }
        }
        count
    }

    // The ready list.

    /// Puts the entry on the ready list if it is due and not there yet; `true` if it was put there.
    #[inline]
    pub(crate) fn enqueue(&self, entry: &AnyEntry) -> bool {
        let queue = entry.state.is_due() && !entry.state.queued.replace(true);
        if queue {
            self.ready.borrow_mut().push_back(Rc::clone(entry));
        }
        queue
    }

    #[inline]
    pub(crate) fn next_ready(&self) -> Option<AnyEntry> {
        self.ready.borrow_mut().pop_front()
    }

    /// Ends a call of the entry: it may be queued again, and is, for the next turn, if something was left over.
    #[inline]
    pub(crate) fn dispatched(&self, entry: AnyEntry) {
        if entry.state.is_due() {
            self.left_over.borrow_mut().push_back(entry);
        } else {
            entry.state.queued.set(false);
        }
    }

    pub(crate) fn ready_len(&self) -> usize {
        self.ready.borrow().len()
    }

    /// Whether there is something to do without asking the kernel, or the kernel has more to tell.
    pub(crate) fn is_busy(&self) -> bool {
        !self.ready.borrow().is_empty() || !self.left_over.borrow().is_empty() || self.full.get()
    }

    /// Closes this half of the poller; every source has been deregistered.
    pub(crate) fn close(&self) {
        drop(self.registry.take());
    }
}

/// mio's hints as bits. An error shows up as readable and writable, so that whoever waits gets it from a call.
#[inline]
fn readiness(event: &mio::event::Event) -> Ready {
    let mut ready = Ready::NONE;
    if event.is_readable() {
        ready |= Ready::READABLE;
    }
    if event.is_writable() {
        ready |= Ready::WRITABLE;
    }
    if event.is_priority() {
        ready |= Ready::PRIORITY;
    }
    if event.is_read_closed() {
        ready |= Ready::READABLE | Ready::READ_CLOSED;
    }
    if event.is_write_closed() {
        ready |= Ready::WRITABLE | Ready::WRITE_CLOSED;
    }
    if event.is_error() {
        ready |= Ready::READABLE | Ready::WRITABLE | Ready::ERROR;
    }
    ready
}

// A token is generation and index side by side. With 64 bits each has 32, and a generation comes back only after four
// thousand million registrations. With 32 bits the index has 20 and the generation 12: a stale event could be
// mistaken only if its slot was freed and taken 4,096 times within one batch.
#[cfg(target_pointer_width = "64")]
const INDEX_BITS: u32 = 32;
#[cfg(not(target_pointer_width = "64"))]
const INDEX_BITS: u32 = 20;
const GENERATION_MASK: u32 = (usize::MAX >> INDEX_BITS) as u32;

#[inline]
fn pack(index: usize, generation: u32) -> Token {
    Token((generation as usize) << INDEX_BITS | index)
}

#[inline]
fn unpack(token: Token) -> (usize, u32) {
    let index = token.0 & ((1 << INDEX_BITS) - 1);
    (index, (token.0 >> INDEX_BITS) as u32)
}
