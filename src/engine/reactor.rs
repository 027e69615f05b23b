//! The reactor: mio's poller, the slab of registrations, and the list of those that are due without an event.
//!
//! ```text
//!   event --token--> slot { generation, entry } --Rc--> a handler { state, ... }
//!                                                              ^
//!              ready list [ Rc | Rc ... ] ---------------------+
//! ```
//!
//! The poller tells of each change once. What it tells is written into the entry's [`State`], and the entry is called
//! if somebody asked for that. An entry with something left over after its call, and one that became due otherwise
//! (an operation was started on it while it was ready), is put on the ready list, at most once.

use super::timer_queue::TimerKey;
use crate::error::context_gone;
use crate::outstanding::Work;
use crate::ready::{Interest, Ready};
use crate::slots::Slots;
use mio::Token;
use mio::event::Source;
use std::cell::{Cell, Ref, RefCell};
use std::collections::VecDeque;
use std::io;
use std::rc::Rc;
use std::time::Duration;

/// The waker's token; no slot can have it, because a slab of that many entries does not fit in memory.
pub(crate) const WAKER: Token = Token(usize::MAX);

/// What is called when a registration is ready: what the layers above implement.
pub(crate) trait Dispatch: 'static {
    fn state(&self) -> &State;

    fn reactor(&self) -> &Reactor;

    /// Does what can be done and is wanted. Called from step 5 of the turn, never nested.
    fn dispatch(&self);

    /// A panic has left the dispatch.
    fn has_panicked(&self) {}

    /// Writes what another's dispatch left here to be written at its end. Calls no user code.
    fn flush(self: &Rc<Self>) {}

    /// Cancels the operation with this sequence number; `false` if there is none.
    fn cancel(&self, sequence: u64) -> bool;

    /// The context is going: drop every user value and close the source.
    fn abandon(&self);

    /// Tells what is outstanding here.
    fn describe(&self, tell: &mut dyn FnMut(Work));
}

/// The same, as the loop sees it: one virtual call does all that an event asks for.
pub(crate) trait Handler {
    fn state(&self) -> &State;

    /// Notes what the poller told, and dispatches the handler if it is due and not on the ready list.
    fn on_event(self: Rc<Self>, told: Ready);

    fn flush(self: Rc<Self>);
    fn cancel(&self, sequence: u64) -> bool;
    fn abandon(&self);
    fn describe(&self, tell: &mut dyn FnMut(Work));
}

impl<D: Dispatch> Handler for D {
    fn state(&self) -> &State {
        Dispatch::state(self)
    }

    fn on_event(self: Rc<Self>, told: Ready) {
        let state = Dispatch::state(&*self);
        state.set(told);
        if !state.queued.get() {
            dispatch_if_due(&self);
        }
    }

    fn flush(self: Rc<Self>) {
        Dispatch::flush(&self);
    }

    fn cancel(&self, sequence: u64) -> bool {
        Dispatch::cancel(self, sequence)
    }

    fn abandon(&self) {
        Dispatch::abandon(self);
    }

    fn describe(&self, tell: &mut dyn FnMut(Work)) {
        Dispatch::describe(self, tell);
    }
}

#[inline(always)]
fn dispatch_if_due<D: Dispatch>(handler: &Rc<D>) {
    let state = Dispatch::state(&**handler);
    if state.is_due() {
        state.queued.set(true); // What its own handlers start, this very call takes care of.
        let unwinding = Unwinding(&**handler);
        handler.dispatch();
        std::mem::forget(unwinding);
    }
    let left_over = state.is_due();
    state.queued.set(left_over);
    if left_over {
        handler.reactor().leave_over(handler.clone());
    }
}

/// A dispatch that ends by a panic: what is left over then is kept for the next turn as well.
struct Unwinding<'a, D: Dispatch>(&'a D);

impl<D: Dispatch> Drop for Unwinding<'_, D> {
    #[cold]
    fn drop(&mut self) {
        self.0.has_panicked();
        let (state, reactor) = (self.0.state(), self.0.reactor());
        let entry = state.slot().and_then(|slot| reactor.entry(slot)).filter(|_| state.is_due());
        state.queued.set(entry.is_some());
        if let Some(entry) = entry {
            reactor.leave_over(entry);
        }
    }
}

/// A registration, whatever its handler.
pub(crate) type Entry = Rc<dyn Handler>;

/// What the loop remembers of one registration.
#[derive(Default)]
pub(crate) struct State {
    /// Set by events, cleared by calls that found the source not ready.
    ready: Cell<Ready>,
    interest: Cell<Interest>,
    /// The same, but nothing while paused: so one test tells whether the entry is due.
    watched: Cell<Interest>,
    /// Whether the entry is on the ready list, so that it is there at most once.
    queued: Cell<bool>,
    /// Not called while set, whatever is ready: the timer that ends the pause.
    paused: Cell<Option<TimerKey>>,
    /// A call that mio did not see has answered `WouldBlock`; mio's poll(2) backend must be told.
    unseen: Cell<bool>,
    /// Its place in the slab; `None` before it is inserted and after it is removed, when the interest is empty too.
    token: Cell<Option<Token>>,
}

impl State {
    #[inline]
    pub(crate) fn ready(&self) -> Ready {
        self.ready.get()
    }

    #[inline]
    pub(crate) fn interest(&self) -> Interest {
        self.interest.get()
    }

    /// What is both ready and asked for.
    #[inline]
    pub(crate) fn wanted(&self) -> Ready {
        self.ready.get().of(self.watched.get())
    }

    #[inline]
    pub(crate) fn clear(&self, bits: Ready) {
        self.ready.set(self.ready.get().without(bits));
    }

    #[inline]
    pub(crate) fn set(&self, bits: Ready) {
        self.ready.set(self.ready.get() | bits);
    }

    pub(crate) fn note_unseen(&self) {
        self.unseen.set(true);
    }

    pub(crate) fn take_unseen(&self) -> bool {
        self.unseen.take()
    }

    /// Forgets everything: the descriptor starts anew, as after `connect` was issued.
    pub(crate) fn reset(&self) {
        self.ready.set(Ready::NONE);
    }

    #[inline]
    pub(crate) fn set_interest(&self, interest: Interest) {
        // The end of a stream can be read again and again, but is announced once: whoever asks anew is shown it.
        if interest.is_readable() && self.ready.get().is_read_closed() {
            self.set(Ready::READABLE);
        }
        self.interest.set(interest);
        self.settle_watched();
    }

    /// Asks for one direction more, as `set_interest`; nearly always for one that was asked for before.
    #[inline]
    pub(crate) fn add_interest(&self, more: Interest) {
        let (interest, ready) = (self.interest.get(), self.ready.get());
        if !interest.intersects(more) || ready.is_read_closed() {
            self.set_interest(interest | more);
        }
    }

    #[inline]
    pub(crate) fn drop_interest(&self, less: Interest) {
        self.interest.set(self.interest.get().without(less));
        self.watched.set(self.watched.get().without(less));
    }

    #[inline]
    fn settle_watched(&self) {
        let is_paused = self.paused.get().is_some();
        self.watched.set(if is_paused { Interest::NONE } else { self.interest.get() });
    }

    /// Begins or ends a pause. Returns the timer that would have ended the former one.
    pub(crate) fn set_paused(&self, until: Option<TimerKey>) -> Option<TimerKey> {
        let former = self.paused.replace(until);
        self.settle_watched();
        former
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
        self.settle_watched();
    }

    pub(crate) fn is_call_demanded(&self) -> bool {
        self.ready.get().contains(Ready::DEMANDED)
    }

    pub(crate) fn forget_demand(&self) {
        self.clear(Ready::DEMANDED);
        self.drop_interest(Interest::DEMANDED);
    }

    /// Whether the entry is to be called, now or in the next turn.
    #[inline]
    pub(crate) fn is_due(&self) -> bool {
        !self.wanted().is_none()
    }
}

impl State {
    /// Whether the entry is due and not on the ready list, nor in its call.
    #[inline]
    pub(crate) fn is_due_anew(&self) -> bool {
        !self.queued.get() && self.is_due()
    }
}

struct Slot {
    generation: u32,
    entry: Entry,
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
        Ok(Poller { poll: mio::Poll::new()?, events: mio::Events::with_capacity(capacity), capacity })
    }

    pub(crate) fn registry(&self) -> &mio::Registry {
        self.poll.registry()
    }

    /// Sleeps until something happens, at most `timeout`. Returns how many events there are; being interrupted by a
    /// signal counts as none.
    pub(crate) fn wait(&mut self, timeout: Option<Duration>) -> io::Result<usize> {
        match self.poll.poll(&mut self.events, timeout) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => self.events.clear(),
            Err(error) => return Err(error),
        }
        Ok(self.events.iter().count())
    }

    /// No wait: there are no events.
    pub(crate) fn pass(&mut self) -> io::Result<usize> {
        self.events.clear();
        Ok(0)
    }

    /// Whether the last batch was full, so that the poller may hold more.
    pub(crate) fn is_full(&self, events: usize) -> bool {
        events >= self.capacity
    }

    /// What the poller told in the last wait, from the event at `cursor` on.
    #[inline]
    pub(crate) fn events(&self, cursor: usize) -> impl Iterator<Item = (Token, Ready)> {
        self.events.iter().skip(cursor).map(|event| (event.token(), readiness(event)))
    }
}

pub(crate) struct Reactor {
    /// `None` once the context has gone.
    registry: RefCell<Option<mio::Registry>>,
    slab: RefCell<Slots<Slot>>,
    generation: Cell<u32>,
    /// Due and not yet called; the front came first. With `left_over` it holds each entry at most once: `queued`.
    ready: RefCell<VecDeque<Entry>>,
    /// Called in this turn, and something was left over: their next call is in the next turn.
    left_over: RefCell<VecDeque<Entry>>,
    /// To be flushed when the dispatch in progress is over, and whether there are any.
    unflushed: RefCell<Vec<Entry>>,
    is_flush_due: Cell<bool>,
}

impl Reactor {
    /// `batch`: how many events one turn delivers.
    pub(crate) fn new(registry: mio::Registry, batch: usize) -> Reactor {
        Reactor {
            registry: RefCell::new(Some(registry)),
            slab: RefCell::new(Slots::new()),
            generation: Cell::new(0),
            // With room from the start: lists that grow when all clients leave at once would lie, in the allocator's
            // heap, above everything the clients have needed, and keep all of that from the system.
            ready: RefCell::new(VecDeque::with_capacity(batch)),
            left_over: RefCell::new(VecDeque::with_capacity(batch)),
            unflushed: RefCell::default(),
            is_flush_due: Cell::new(false),
        }
    }

    fn registry(&self) -> io::Result<Ref<'_, mio::Registry>> {
        Ref::filter_map(self.registry.borrow(), Option::as_ref).map_err(|_| context_gone())
    }

    // The slab.

    /// Gives the entry a slot. The caller registers its source under the token, or removes it again.
    pub(crate) fn insert(&self, entry: &Entry) -> Token {
        let generation = self.generation.get().wrapping_add(1) & GENERATION_MASK;
        self.generation.set(generation);
        let index = self.slab.borrow_mut().insert(Slot { generation, entry: Rc::clone(entry) });
        let token = pack(index, generation);
        entry.state().token.set(Some(token));
        token
    }

    /// Frees the entry's slot: from here on no event reaches it, not even one already in the batch.
    /// The entry is handed out for the caller to drop when nothing is borrowed.
    pub(crate) fn remove(&self, state: &State) -> Option<Entry> {
        let (index, _) = unpack(state.token.take()?);
        state.interest.set(Interest::NONE);
        state.watched.set(Interest::NONE);
        Some(self.slab.borrow_mut().try_remove(index)?.entry)
    }

    /// Whether nobody waits for events.
    pub(crate) fn is_empty(&self) -> bool {
        self.slab.borrow().is_empty()
    }

    pub(crate) fn entry(&self, index: u32) -> Option<Entry> {
        let slab = self.slab.borrow();
        slab.get(index as usize).map(|slot| Rc::clone(&slot.entry))
    }

    pub(crate) fn entries(&self) -> Vec<Entry> {
        let slab = self.slab.borrow();
        slab.iter().map(|(_, slot)| Rc::clone(&slot.entry)).collect()
    }

    pub(crate) fn take_all(&self) -> Vec<Entry> {
        let mut slab = self.slab.borrow_mut();
        let mut entries: Vec<Entry> = slab.drain().map(|slot| slot.entry).collect();
        for entry in &entries {
            entry.state().token.set(None);
        }
        entries.extend(self.ready.borrow_mut().drain(..));
        entries.extend(self.left_over.borrow_mut().drain(..));
        entries
    }

    // The kernel.

    pub(crate) fn register(
        &self,
        source: &mut (impl Source + ?Sized),
        token: Token,
        interest: mio::Interest,
    ) -> io::Result<()> {
        self.registry()?.register(source, token, interest)
    }

    pub(crate) fn reregister(
        &self,
        source: &mut (impl Source + ?Sized),
        token: Token,
        interest: mio::Interest,
    ) -> io::Result<()> {
        let registry = self.registry()?;
        match registry.reregister(source, token, interest) {
            // mio's poll(2) backend has let go of a descriptor that hung up, as one does after a failed connect.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let _ = registry.deregister(source); // It is not there; this makes the source forget that it was.
                registry.register(source, token, interest)
            }
            done => done,
        }
    }

    /// Takes the source out of the poller. Needed before every close: a descriptor that has a duplicate somewhere
    /// would go on to wake the loop for ever.
    pub(crate) fn deregister(&self, source: &mut (impl Source + ?Sized)) -> io::Result<()> {
        self.registry()?.deregister(source)
    }

    /// The entry that a token means. A token of a slot that was freed, or freed and given to another, means nobody.
    #[inline]
    pub(crate) fn find(&self, token: Token) -> Option<Entry> {
        let (index, generation) = unpack(token);
        let slab = self.slab.borrow_mut(); // It counts no readers: fewer instructions than `borrow`.
        let slot = slab.get(index).filter(|slot| slot.generation == generation)?;
        Some(Rc::clone(&slot.entry))
    }

    // The ready list.

    /// Puts the entry on the ready list if it is due and not there yet; `true` if it was put there.
    pub(crate) fn enqueue(&self, entry: &Entry) -> bool {
        let state = entry.state();
        let queue = state.is_due_anew();
        if queue {
            state.queued.set(true);
            self.ready.borrow_mut().push_back(Rc::clone(entry));
        }
        queue
    }

    /// Takes the first entry from the ready list.
    pub(crate) fn next_ready(&self) -> Option<Entry> {
        let entry = self.ready.borrow_mut().pop_front()?;
        entry.state().queued.set(false);
        Some(entry)
    }

    /// Keeps an entry for the next turn, because something was left over after its call.
    #[cold]
    #[inline(never)]
    fn leave_over(&self, entry: Entry) {
        self.left_over.borrow_mut().push_back(entry);
    }

    /// Begins a turn: what was left over in the last one becomes ready.
    pub(crate) fn take_up_left_over(&self) {
        let mut left_over = self.left_over.borrow_mut();
        if !left_over.is_empty() {
            self.ready.borrow_mut().append(&mut left_over);
        }
    }

    // Flushing.

    /// Has the entry flushed at the end of the dispatch in progress, which sees to it.
    pub(crate) fn flush_at_end(&self, entry: Entry) {
        self.unflushed.borrow_mut().push(entry);
        self.is_flush_due.set(true);
    }

    /// The dispatch is over.
    #[inline(always)]
    pub(crate) fn flush(&self) {
        if self.is_flush_due.get() {
            self.flush_all();
        }
    }

    #[cold]
    #[inline(never)]
    fn flush_all(&self) {
        self.is_flush_due.set(false);
        let mut entries = self.unflushed.take();
        for entry in entries.drain(..) {
            entry.flush();
        }
        self.unflushed.replace(entries); // Its memory serves again.
    }

    pub(crate) fn ready_len(&self) -> usize {
        self.ready.borrow().len()
    }

    /// Whether there is something to do without asking the kernel.
    pub(crate) fn is_busy(&self) -> bool {
        !self.ready.borrow().is_empty() || !self.left_over.borrow().is_empty()
    }

    /// Closes this half of the poller; every source has been deregistered.
    pub(crate) fn close(&self) {
        drop(self.registry.take());
    }
}

/// mio's hints as bits.
#[inline(always)]
fn readiness(event: &mio::event::Event) -> Ready {
    let mut ready = Ready::NONE;
    if event.is_readable() {
        ready |= Ready::READABLE;
    }
    if event.is_writable() {
        ready |= Ready::WRITABLE;
    }
    // On epoll, what closes writing alone is an error, and what closes both directions closes reading.
    let is_write_closed = !cfg!(any(target_os = "linux", target_os = "android")) && event.is_write_closed();
    if event.is_error() | event.is_priority() | event.is_read_closed() | is_write_closed {
        ready |= exceptional_readiness(event);
    }
    ready
}

/// What is not told with every message. An error shows up as readable and writable, so that whoever waits gets it from
/// a call.
#[cold]
#[inline(never)]
fn exceptional_readiness(event: &mio::event::Event) -> Ready {
    let mut ready = Ready::NONE;
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
