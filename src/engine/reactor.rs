//! The reactor: the registering half of mio's poller, the slab of registrations, and the list of those that are due
//! without an event.
//!
//! ```text
//!   event --token--> slot { token, entry } --Rc--> a handler { state, ... }
//!                                                         ^
//!              ready list [ Rc | Rc ... ] ----------------+
//! ```
//!
//! The poller tells of each change once. What it tells is written into the entry's [`State`], and the entry is called
//! if somebody asked for that. An entry with something left over after its call, and one that became due otherwise
//! (an operation was started on it while it was ready), is put on the ready list, at most once. One whose last read was
//! short without proving anything is looked at again when there is nothing else to do: a doubt.

use super::answers::LargeReads;
use super::hunch::Hunch;
use super::ready_state::State;
use super::token::{GENERATION_MASK, index, pack};
use crate::error::context_gone;
use crate::key::Origin;
use crate::outstanding::Work;
use crate::ready::Ready;
use crate::slots::Slots;
use mio::Token;
use mio::event::Source;
use std::cell::{Cell, Ref, RefCell};
use std::collections::VecDeque;
use std::io;
use std::rc::Rc;

/// What is called when a registration is ready, as the loop sees it: one virtual call does all that an event asks for.
/// `dispatch.rs` implements it for whatever can be dispatched.
pub(crate) trait Handler {
    fn state(&self) -> &State;

    /// Notes what the poller told, and dispatches the handler if it is due and not on the ready list.
    fn on_event(self: Rc<Self>, told: Ready);

    /// Whether what comes here can wait for a few turns: clients that are not accepted yet, and signals.
    fn can_wait(&self) -> bool;

    /// What a dispatch calls, if it calls one thing and does not watch that itself.
    fn one_call(&self) -> Option<(&'static str, Origin)>;

    fn flush(self: Rc<Self>);
    fn cancel(&self, sequence: u64) -> bool;
    fn abandon(&self);
    fn describe(&self, tell: &mut dyn FnMut(Work));
}

/// How many turns a doubt is left alone.
const DOUBT_TURNS: u32 = 64;

/// One of so many turns in a row asks the kernel: as many as a dispatch has reads, by default.
const TURNS_FOR_ONE_LOOK: u32 = 16;

/// A registration, whatever its handler.
pub(crate) type Entry = Rc<dyn Handler>;

struct Slot {
    /// Tells its owner from those that had the slot before: it has their index, and another generation.
    token: Token,
    entry: Entry,
}

pub(crate) struct Reactor {
    /// `None` once the context has gone.
    registry: RefCell<Option<mio::Registry>>,
    slab: RefCell<Slots<Slot>>,
    /// How many in the slab cannot wait.
    impatient: Cell<usize>,
    generation: Cell<u32>,
    /// Due and not yet called; the front came first. With `left_over` it holds each entry at most once: `queued`.
    ready: RefCell<VecDeque<Entry>>,
    /// Called in this turn, and something was left over: their next call is in the next turn.
    left_over: RefCell<VecDeque<Entry>>,
    /// Whose last read was short, which proves nothing: there may be more, of which the poller has told already.
    doubts: RefCell<VecDeque<Token>>,
    /// How many turns it has been since there were none.
    doubtful_turns: Cell<u32>,
    /// How many there are in `ready`, `left_over` and `doubts`, so that a turn with none of them asks once.
    listed: Cell<usize>,
    /// How many turns there were since one that has asked the kernel.
    unasked: Cell<u32>,
    /// How many events one turn delivers, and how many doubts it settles.
    batch: usize,
    /// To be flushed after the dispatch in progress.
    unflushed: RefCell<VecDeque<Entry>>,
    /// Whether more is about to come, because something has come or gone.
    pub(crate) hunch: Hunch,
    /// Whether what comes are pieces of streams.
    pub(crate) large_reads: LargeReads,
}

impl Reactor {
    /// `batch`: how many events one turn delivers.
    pub(crate) fn new(registry: mio::Registry, batch: usize) -> Reactor {
        Reactor {
            registry: RefCell::new(Some(registry)),
            slab: RefCell::new(Slots::new()),
            impatient: Cell::new(0),
            generation: Cell::new(0),
            // With room from the start: lists that grow when all clients leave at once would lie, in the allocator's
            // heap, above everything the clients have needed, and keep all of that from the system.
            ready: RefCell::new(VecDeque::with_capacity(batch)),
            left_over: RefCell::new(VecDeque::with_capacity(batch)),
            doubts: RefCell::default(),
            doubtful_turns: Cell::new(0),
            listed: Cell::new(0),
            unasked: Cell::new(0),
            batch: batch.max(1),
            unflushed: RefCell::default(),
            hunch: Hunch::default(),
            large_reads: LargeReads::default(),
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
        self.hunch.stir();
        let mut slab = self.slab.borrow_mut();
        let token = pack(slab.vacant_key(), generation);
        slab.insert(Slot { token, entry: Rc::clone(entry) });
        entry.state().enter(token);
        self.impatient.set(self.impatient.get() + usize::from(!entry.can_wait()));
        token
    }

    /// Frees the entry's slot: from here on no event reaches it, not even one already in the batch.
    /// The entry is handed out for the caller to drop when nothing is borrowed.
    pub(crate) fn remove(&self, state: &State) -> Option<Entry> {
        let token = state.leave()?;
        self.hunch.stir();
        let entry = self.slab.borrow_mut().try_remove(index(token))?.entry;
        self.impatient.set(self.impatient.get() - usize::from(!entry.can_wait()));
        Some(entry)
    }

    /// Whether nobody waits for events.
    pub(crate) fn is_empty(&self) -> bool {
        self.slab.borrow().is_empty()
    }

    /// Whether the kernel could tell of nobody who would have to come before those that are due already. That is so while
    /// all but one can wait, for so many turns, and that one has more to read.
    #[inline(never)] // Most turns may sleep, and `wait` would be longer for them.
    pub(crate) fn only_one_has_more(&self) -> bool {
        if self.impatient.get() != 1 || self.unasked.get() >= TURNS_FOR_ONE_LOOK - 1 {
            return false;
        }
        let (ready, left_over) = (self.ready.borrow(), self.left_over.borrow());
        ready.iter().chain(left_over.iter()).any(|entry| entry.state().is_readable_and_all() && !entry.can_wait())
    }

    /// A turn has asked the kernel, or has not.
    #[inline(always)]
    pub(crate) fn count_turn(&self, asked: bool) {
        self.unasked.set(if asked { 0 } else { self.unasked.get().saturating_add(1) });
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
            entry.state().leave();
        }
        entries.extend(self.ready.borrow_mut().drain(..));
        entries.extend(self.left_over.borrow_mut().drain(..));
        entries.extend(self.unflushed.borrow_mut().drain(..));
        self.doubts.take();
        self.listed.set(0);
        self.impatient.set(0);
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
        let slab = self.slab.borrow_mut(); // It counts no readers: fewer instructions than `borrow`.
        let slot = slab.get(index(token)).filter(|slot| slot.token == token)?;
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
            self.listed.set(self.listed.get() + 1);
        }
        queue
    }

    /// The first entry of the ready list.
    pub(crate) fn first_ready(&self) -> Option<Entry> {
        self.ready.borrow().front().cloned()
    }

    pub(crate) fn take_first_ready(&self) -> Option<Entry> {
        let entry = self.ready.borrow_mut().pop_front()?;
        self.listed.set(self.listed.get() - 1);
        entry.state().queued.set(false);
        Some(entry)
    }

    /// Keeps an entry for the next turn, because something was left over after its call.
    pub(super) fn leave_over(&self, entry: Entry) {
        self.left_over.borrow_mut().push_back(entry);
        self.listed.set(self.listed.get() + 1);
    }

    /// Begins a turn: what was left over in the last one becomes ready. `quiet`: the poller has told of nothing.
    pub(crate) fn begin_turn(&self, quiet: bool) {
        if self.is_busy() {
            self.ready.borrow_mut().append(&mut self.left_over.borrow_mut());
            self.settle_doubts(quiet);
        }
    }

    /// A read was short, and there may be more. The read that shows it is put off until the loop has nothing else to
    /// do: under load the next event comes before that, and spares it.
    #[inline(always)]
    pub(crate) fn doubt(&self, state: &State) {
        if state.begin_doubt() {
            self.list_doubt(state); // Under load it is listed from before, nearly always.
        }
    }

    #[inline(never)]
    fn list_doubt(&self, state: &State) {
        if let Some(token) = state.token() {
            self.doubts.borrow_mut().push_back(token);
            self.listed.set(self.listed.get() + 1);
        }
    }

    /// Another read has shown what is behind. Nearly always that was the next thing to happen; if not, the doubt stays listed,
    /// and at most has a later one settled earlier.
    pub(crate) fn doubt_no_more(&self, state: &State) {
        let mut doubts = self.doubts.borrow_mut();
        if state.token().is_some_and(|token| doubts.back() == Some(&token)) {
            doubts.pop_back();
            self.listed.set(self.listed.get() - 1);
            if doubts.is_empty() {
                self.doubtful_turns.set(0);
            }
        }
    }

    /// Doubts are settled when nothing else is to be done, and at the latest after [`DOUBT_TURNS`] turns, so that what is
    /// behind a short read waits for no more than that; a batch of them in a turn.
    fn settle_doubts(&self, quiet: bool) {
        if self.doubts.borrow().is_empty() {
            return;
        }
        self.doubtful_turns.set(self.doubtful_turns.get() + 1);
        if quiet || self.doubtful_turns.get() >= DOUBT_TURNS {
            for _ in 0..self.batch {
                let Some(token) = self.doubts.borrow_mut().pop_front() else {
                    break;
                };
                self.listed.set(self.listed.get() - 1);
                if let Some(entry) = self.find(token) {
                    entry.state().end_doubt();
                    self.enqueue(&entry);
                }
            }
            if self.doubts.borrow().is_empty() {
                self.doubtful_turns.set(0);
            }
        }
    }

    // Flushing.

    /// Has the entry flushed by the next `flush`.
    pub(super) fn flush_later(&self, entry: Entry) {
        self.unflushed.borrow_mut().push_back(entry);
    }

    /// The dispatch is over.
    #[inline]
    pub(crate) fn flush(&self) {
        // Nothing, nearly always: a call with a limit looks after every handler. (As `find`, without counting readers.)
        if !self.unflushed.borrow_mut().is_empty() {
            self.flush_all();
        }
    }

    #[cold]
    #[inline(never)]
    fn flush_all(&self) {
        // A logger that is told of a write, or a destructor, may add to them, for the next flush.
        let entries = self.unflushed.borrow().len();
        for _ in 0..entries {
            let first = self.unflushed.borrow_mut().pop_front();
            if let Some(entry) = first {
                entry.flush();
            }
        }
    }

    pub(crate) fn ready_len(&self) -> usize {
        if self.is_busy() { self.ready.borrow().len() } else { 0 }
    }

    /// Whether there is something to do without asking the kernel.
    pub(crate) fn is_busy(&self) -> bool {
        debug_assert_eq!(
            self.listed.get(),
            self.ready.borrow().len() + self.left_over.borrow().len() + self.doubts.borrow().len()
        );
        self.listed.get() > 0
    }

    /// Closes this half of the poller; every source has been deregistered.
    pub(crate) fn close(&self) {
        drop(self.registry.take());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ready::Interest;

    struct Fake {
        state: State,
        can_wait: bool,
    }

    impl Handler for Fake {
        fn state(&self) -> &State {
            &self.state
        }

        fn on_event(self: Rc<Self>, _: Ready) {}

        fn can_wait(&self) -> bool {
            self.can_wait
        }

        fn one_call(&self) -> Option<(&'static str, Origin)> {
            None
        }

        fn flush(self: Rc<Self>) {}

        fn cancel(&self, _: u64) -> bool {
            false
        }

        fn abandon(&self) {}

        fn describe(&self, _: &mut dyn FnMut(Work)) {}
    }

    /// Nobody is in it but a listener, and a connection, if it has something left over.
    fn reactor(left_over: Option<(Interest, Ready)>) -> io::Result<Reactor> {
        let reactor = Reactor::new(mio::Poll::new()?.registry().try_clone()?, 8);
        inserted(&reactor, true);
        if let Some((interest, ready)) = left_over {
            leave_over(&reactor, inserted(&reactor, false), interest, ready);
        }
        Ok(reactor)
    }

    fn inserted(reactor: &Reactor, can_wait: bool) -> Entry {
        let entry: Entry = Rc::new(Fake { state: State::default(), can_wait });
        reactor.insert(&entry);
        entry
    }

    fn leave_over(reactor: &Reactor, entry: Entry, interest: Interest, ready: Ready) {
        entry.state().set_interest(interest);
        entry.state().set(ready);
        reactor.leave_over(entry);
    }

    #[test]
    fn the_only_one_goes_on_for_so_many_turns() -> io::Result<()> {
        let reactor = reactor(Some((Interest::READABLE, Ready::READABLE | Ready::WRITABLE)))?;
        for _ in 0..2 {
            for turn in 1..TURNS_FOR_ONE_LOOK {
                assert!(reactor.only_one_has_more(), "turn {turn}");
                reactor.count_turn(false);
            }
            assert!(!reactor.only_one_has_more());
            reactor.count_turn(true);
        }
        reactor.unasked.set(u32::MAX); // A loop without a source never asks.
        reactor.count_turn(false);
        assert!(!reactor.only_one_has_more());
        Ok(())
    }

    /// Its own next event would make more of it due.
    #[test]
    fn one_that_waits_for_something_else_too_does_not_go_on() -> io::Result<()> {
        let both = Interest::READABLE | Interest::WRITABLE;
        for (ready, goes_on) in
            [(Ready::READABLE, false), (Ready::WRITABLE, false), (Ready::READABLE | Ready::WRITABLE, true)]
        {
            assert_eq!(reactor(Some((both, ready)))?.only_one_has_more(), goes_on, "{ready:?}");
        }
        Ok(())
    }

    #[test]
    fn beside_another_one_it_does_not_go_on() -> io::Result<()> {
        let reactor = reactor(Some((Interest::READABLE, Ready::READABLE)))?;
        let second = inserted(&reactor, false);
        assert!(!reactor.only_one_has_more());
        reactor.remove(second.state());
        assert!(reactor.only_one_has_more());
        Ok(())
    }

    #[test]
    fn a_listener_and_one_that_has_gone_do_not_go_on() -> io::Result<()> {
        let reactor = reactor(None)?;
        let (listener, gone) = (inserted(&reactor, true), inserted(&reactor, false));
        leave_over(&reactor, listener, Interest::READABLE, Ready::READABLE);
        assert!(!reactor.only_one_has_more(), "the connection may be ready, and come first");
        leave_over(&reactor, Rc::clone(&gone), Interest::READABLE, Ready::READABLE);
        reactor.remove(gone.state());
        inserted(&reactor, false);
        assert!(!reactor.only_one_has_more(), "so may the next one");
        Ok(())
    }
}
