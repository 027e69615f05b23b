//! What the loop remembers of one registration: what its source is ready for, and what of that somebody asks for.

use super::timer_queue::TimerKey;
use super::token::index;
use crate::ready::{Interest, Ready};
use mio::Token;
use std::cell::Cell;

/// What the loop remembers of one registration.
#[derive(Default)]
pub(crate) struct State {
    /// Set by events, cleared by calls that found the source not ready.
    ready: Cell<Ready>,
    /// What is asked for; nothing while paused, so that one test tells whether the entry is due.
    watched: Cell<Interest>,
    /// While paused, what is asked for from its end on. Without a meaning otherwise.
    held: Cell<Interest>,
    /// Whether the entry is on the ready list, so that it is there at most once.
    pub(super) queued: Cell<bool>,
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

    /// What is asked for, paused or not.
    #[inline]
    pub(crate) fn interest(&self) -> Interest {
        if self.is_paused() { self.held.get() } else { self.watched.get() }
    }

    fn is_paused(&self) -> bool {
        self.paused.get().is_some()
    }

    /// What is both ready and asked for.
    #[inline]
    pub(crate) fn wanted(&self) -> Ready {
        self.ready.get().of(self.watched.get())
    }

    /// Whether it is asked for reads, and is ready for all that it is asked for: no event could make more of it due.
    pub(super) fn is_readable_and_all(&self) -> bool {
        let watched = self.watched.get();
        watched.is_readable() && watched.is_all_in(self.ready.get())
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
        self.settle_interest(interest);
    }

    fn settle_interest(&self, interest: Interest) {
        if self.is_paused() {
            self.held.set(interest);
        } else {
            self.watched.set(interest);
        }
    }

    /// Asks for one direction more, as `set_interest`.
    #[inline(always)]
    pub(crate) fn add_interest(&self, more: Interest) {
        if self.ready.get().is_read_closed() || self.is_paused() {
            return self.add_interest_otherwise(more);
        }
        self.watched.set(self.watched.get() | more);
    }

    #[cold]
    #[inline(never)]
    fn add_interest_otherwise(&self, more: Interest) {
        self.set_interest(self.interest() | more);
    }

    #[inline]
    pub(crate) fn drop_interest(&self, less: Interest) {
        self.held.set(self.held.get().without(less));
        self.watched.set(self.watched.get().without(less));
    }

    /// Begins or ends a pause. Returns the timer that would have ended the former one.
    pub(crate) fn set_paused(&self, until: Option<TimerKey>) -> Option<TimerKey> {
        let interest = self.interest();
        let former = self.paused.replace(until);
        self.watched.set(Interest::NONE);
        self.settle_interest(interest);
        former
    }

    /// The entry is in the slab.
    pub(super) fn enter(&self, token: Token) {
        self.clear(Ready::DOUBTFUL); // That was noted under another token.
        self.token.set(Some(token));
    }

    /// The entry leaves the slab: nothing is asked for any more. Returns its token, if it was there.
    pub(super) fn leave(&self) -> Option<Token> {
        let token = self.token.take()?;
        self.held.set(Interest::NONE);
        self.watched.set(Interest::NONE);
        Some(token)
    }

    pub(crate) fn token(&self) -> Option<Token> {
        self.token.get()
    }

    /// The index of the slot, if the entry is in the slab.
    pub(crate) fn slot(&self) -> Option<u32> {
        self.token.get().map(|token| index(token) as u32)
    }

    /// Asks for one call although nothing is ready: for an operation that has nothing to wait for.
    pub(crate) fn demand_call(&self) {
        self.ready.set(self.ready.get() | Ready::DEMANDED);
        self.settle_interest(self.interest() | Interest::DEMANDED);
    }

    pub(crate) fn is_call_demanded(&self) -> bool {
        self.ready.get().contains(Ready::DEMANDED)
    }

    pub(crate) fn forget_demand(&self) {
        self.clear(Ready::DEMANDED);
        self.drop_interest(Interest::DEMANDED);
    }

    /// Whether there is more to read will be seen later. `true` if that is to be noted.
    #[inline]
    pub(super) fn begin_doubt(&self) -> bool {
        let ready = self.ready.get();
        self.ready.set(ready.without(Ready::READABLE) | Ready::DOUBTFUL);
        !ready.contains(Ready::DOUBTFUL)
    }

    pub(crate) fn is_in_doubt(&self) -> bool {
        self.ready.get().contains(Ready::DOUBTFUL)
    }

    /// If nothing has shown since whether there is more to read, a read shall.
    pub(crate) fn end_doubt(&self) {
        if self.is_in_doubt() {
            self.ready.set(self.ready.get().without(Ready::DOUBTFUL) | Ready::READABLE);
        }
    }

    /// Whether the entry is to be called, now or in the next turn.
    #[inline]
    pub(crate) fn is_due(&self) -> bool {
        !self.wanted().is_none()
    }

    /// Whether the entry is due and not on the ready list, nor in its call.
    #[inline]
    pub(crate) fn is_due_anew(&self) -> bool {
        !self.queued.get() && self.is_due()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMER: TimerKey = TimerKey { slot: 0, sequence: 1 };

    #[test]
    fn what_is_asked_for_in_a_pause_counts_from_its_end_on() {
        let state = State::default();
        state.set(Ready::READABLE | Ready::WRITABLE);
        state.set_interest(Interest::READABLE);
        assert!(state.is_due());
        state.set_paused(Some(TIMER));
        state.add_interest(Interest::WRITABLE);
        assert!(!state.is_due());
        state.set_paused(Some(TIMER)); // And goes on.
        assert_eq!(state.interest(), Interest::READABLE | Interest::WRITABLE);
        state.drop_interest(Interest::READABLE);
        assert!(!state.is_due());
        assert_eq!(state.set_paused(None), Some(TIMER));
        assert_eq!((state.wanted(), state.interest()), (Ready::WRITABLE, Interest::WRITABLE));
        state.set_paused(Some(TIMER));
        state.set_interest(Interest::READABLE);
        state.demand_call();
        assert!(!state.is_due());
        state.set_paused(None);
        assert_eq!(state.wanted(), Ready::READABLE | Ready::DEMANDED);
        state.forget_demand();
        assert_eq!(state.wanted(), Ready::READABLE);
    }

    #[test]
    fn the_end_of_a_stream_is_shown_to_whoever_asks_anew() {
        let state = State::default();
        state.set(Ready::READ_CLOSED);
        state.add_interest(Interest::READABLE);
        assert!(state.wanted().is_readable());
    }
}
