//! One dispatch of a registration: what the layers above implement, and how the loop calls it.

use super::reactor::{Handler, Reactor};
use super::ready_state::State;
use crate::key::Origin;
use crate::outstanding::Work;
use crate::ready::Ready;
use std::rc::Rc;

/// What is called when a registration is ready: what the layers above implement.
pub(crate) trait Dispatch: 'static {
    fn state(&self) -> &State;

    fn reactor(&self) -> &Reactor;

    /// Does what can be done and is wanted. Called from step 5 of the turn, never nested.
    fn dispatch(&self);

    /// As of [`Handler`].
    fn can_wait(&self) -> bool {
        false
    }

    /// What `dispatch` calls, if it is one call, which the turn watches then: so the dispatch, in which everything is
    /// inlined, does not have to ask before and after.
    fn one_call(&self) -> Option<(&'static str, Origin)> {
        None
    }

    /// Something is left over after a dispatch; the next one is in the next turn.
    fn goes_on(&self) {}

    /// A panic has left the dispatch.
    fn has_panicked(&self) {}

    /// Does what a dispatch, its own or another's, has left here to be done after it. No handler is called, but what the
    /// user gave may be dropped.
    fn flush(self: &Rc<Self>) {}

    /// Cancels the operation with this sequence number; `false` if there is none.
    fn cancel(&self, sequence: u64) -> bool;

    /// The context is going: drop every user value and close the source.
    fn abandon(&self);

    /// Tells what is outstanding here.
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

    fn can_wait(&self) -> bool {
        Dispatch::can_wait(self)
    }

    fn one_call(&self) -> Option<(&'static str, Origin)> {
        Dispatch::one_call(self)
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
        leave_over(handler);
    }
}

#[cold]
#[inline(never)]
fn leave_over<D: Dispatch>(handler: &Rc<D>) {
    handler.goes_on();
    handler.reactor().leave_over(handler.clone());
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
