//! One pending operation: what to do when its direction is ready, and the handler to call when it is done.

use super::object::{Attempt, Descriptor, Direction, Op, Performed};
use super::shared::Shared;
use crate::downcast;
use crate::engine::state::Engine;
use crate::engine::trace::tell;
use crate::error;
use crate::key::{Operation, Origin, Place};
use std::any::Any;
use std::io;
use std::panic::Location;

/// What an operation does when its direction is ready.
///
/// Methods here may call user code (the buffer's `as_ref` and `as_mut`), so nothing is borrowed when they are called,
/// and they fetch their slice before they ask [`Attempt`] for a call on the source.
pub(crate) trait Transfer<S: Descriptor>: 'static {
    /// The operation's name in listings and in the trace: `async_read_some`.
    const KIND: &'static str;
    type Value;
    /// What the handler receives.
    type Outcome: 'static;

    /// The queue it waits in.
    fn direction(&self) -> Direction;

    /// Does what can be done now. `None`: not done yet, to be called again when the direction is ready again.
    fn perform(&mut self, attempt: Attempt<'_, S>) -> Option<io::Result<Self::Value>>;

    /// Gives back what travelled along.
    fn finish(self, result: io::Result<Self::Value>) -> Self::Outcome;

    /// Bytes moved so far.
    fn transferred(&self) -> usize {
        0
    }

    /// Whether it can be performed without the direction being ready: an empty buffer.
    fn needs_nothing(&mut self) -> bool {
        false
    }
}

impl<S: Descriptor> Shared<S> {
    /// Starts an operation. Its handler gets the outcome in a later step, even when it is known already.
    #[inline(always)]
    pub(crate) fn start<T, H>(&self, mut transfer: T, handler: H, location: &'static Location<'static>) -> Operation
    where
        T: Transfer<S>,
        H: FnOnce(T::Outcome) + 'static,
    {
        // First, because it may be user code, which may close us; whether the context has gone is not known yet.
        let needs_nothing = transfer.needs_nothing();
        let direction = transfer.direction();
        let engine = &self.handle.engine;
        let origin = engine.quiet_origin(location);
        let origin = origin.unwrap_or_else(|| tell_and_note(engine, T::KIND, self.state.slot(), location));
        let mut pending = Pending::reused(self.take_spare(direction), engine, location);
        pending.facts = Facts { sequence: engine.next_sequence(), origin, needs_nothing };
        pending.fill(transfer, handler);
        match self.state.slot() {
            Some(slot) => self.start_at(slot, direction, pending),
            None => self.start_first(direction, pending, location),
        }
    }

    #[inline(always)]
    fn start_at<T, H>(&self, slot: u32, direction: Direction, pending: Box<Pending<T, H>>) -> Operation
    where
        T: Transfer<S>,
        H: FnOnce(T::Outcome) + 'static,
    {
        let Facts { sequence, needs_nothing, .. } = pending.facts;
        self.enqueue(direction, pending, needs_nothing);
        Operation { place: Place::Slot(slot), sequence }
    }

    /// Starts the object's first operation; or one after its context has gone, with which all slots have.
    #[cold]
    #[inline(never)]
    fn start_first<T, H>(
        &self,
        direction: Direction,
        pending: Box<Pending<T, H>>,
        location: &'static Location<'static>,
    ) -> Operation
    where
        T: Transfer<S>,
        H: FnOnce(T::Outcome) + 'static,
    {
        if !self.handle.engine.is_alive() {
            return Operation::ENDED; // The handler is dropped unrun.
        }
        match self.register() {
            Ok(slot) => tell!(self.handle.engine, "started {} on token {slot} from {location}", T::KIND),
            Err(error) => return self.fail_pending(pending, error),
        }
        match self.state.slot() {
            Some(slot) => self.start_at(slot, direction, pending),
            None => self.fail_pending(pending, error::not_open()), // A logger has closed it.
        }
    }

    /// Tells the handler, through the ready queue, of an operation that failed before it began.
    #[cold]
    pub(crate) fn fail<T, H>(
        &self,
        error: io::Error,
        transfer: T,
        handler: H,
        location: &'static Location<'static>,
    ) -> Operation
    where
        T: Transfer<S>,
        H: FnOnce(T::Outcome) + 'static,
    {
        let mut pending = Pending::reused(None, &self.handle.engine, location);
        pending.fill(transfer, handler);
        self.fail_pending(pending, error)
    }

    fn fail_pending<T, H>(&self, mut pending: Box<Pending<T, H>>, error: io::Error) -> Operation
    where
        T: Transfer<S>,
        H: FnOnce(T::Outcome) + 'static,
    {
        pending.error = Some(error);
        self.end_later(pending);
        Operation::ENDED
    }
}

/// Out of line, and given plain values: what a line of the trace is made of would otherwise lie in memory for every
/// operation, though nobody listens. The first operation of an object is told when that has its token.
#[cold]
#[inline(never)]
fn tell_and_note(engine: &Engine, kind: &str, slot: Option<u32>, location: &'static Location<'static>) -> Origin {
    if let Some(slot) = slot {
        tell!(engine, "started {kind} on token {slot} from {location}");
    }
    engine.origin(location)
}

struct Pending<T, H> {
    facts: Facts,
    /// `None` once it has been emptied: then the box waits to be used again.
    body: Option<(T, H)>,
    /// The error it ends with; without one it was cancelled. `None` in an emptied box.
    error: Option<io::Error>,
}

#[derive(Clone, Copy)]
struct Facts {
    sequence: u64,
    origin: Origin,
    needs_nothing: bool,
}

impl<T: 'static, H: 'static> Pending<T, H> {
    /// An empty box: `spare`, if it is one of the same type. Filled in place afterwards, because what is made before
    /// would be copied.
    // Not `inline(always)`: it is to lie beside `advance`; see `downcast.rs`. Where there is but one unit, the compiler
    // inlines it, and may.
    fn reused(spare: Option<Box<dyn Any>>, engine: &Engine, location: &'static Location<'static>) -> Box<Self> {
        match spare.map(downcast::boxed) {
            Some(Some(emptied)) => emptied,
            _ => Self::emptied(engine, location),
        }
    }

    #[cold]
    #[inline(never)]
    fn emptied(engine: &Engine, location: &'static Location<'static>) -> Box<Self> {
        let facts = Facts { sequence: 0, origin: engine.origin(location), needs_nothing: false };
        Box::new(Pending { facts, body: None, error: None })
    }

    #[inline(always)]
    fn fill(&mut self, transfer: T, handler: H) {
        // Nothing is forgotten: it was empty. But an assignment would look.
        std::mem::forget(self.body.replace((transfer, handler)));
    }
}

impl<S, T, H> Op<S> for Pending<T, H>
where
    S: Descriptor,
    T: Transfer<S>,
    H: FnOnce(T::Outcome) + 'static,
{
    fn advance(mut self: Box<Self>, engine: &Engine, attempt: Option<Attempt<'_, S>>) -> Performed {
        let Some((transfer, _)) = &mut self.body else {
            return Performed::Done; // Emptied, which no operation in a queue is.
        };
        let direction = transfer.direction();
        let performed = match attempt.map(|attempt| (attempt, transfer.perform(attempt))) {
            Some((attempt, Some(Ok(value)))) => Some((attempt, value)),
            Some((attempt, None)) => return attempt.put_back(direction, self),
            Some((attempt, Some(Err(error)))) => {
                // Not kept in hand: what a panic would have to drop lies in memory, and this one would with every message.
                self.error = attempt.unless_cancelled(error);
                if self.error.is_none() {
                    return attempt.put_back(direction, self);
                }
                None
            }
            None => None,
        };
        let Some((transfer, handler)) = self.body.take() else {
            return Performed::Done;
        };
        let _call = engine.begin_call(T::KIND, &self.facts.origin);
        let outcome = match performed {
            Some((attempt, value)) => {
                attempt.keep(direction, self); // Before the handler runs: the operation that it starts next finds it.
                transfer.finish(Ok(value))
            }
            None => {
                let error = explain(self.error.take(), transfer.transferred());
                drop(self);
                transfer.finish(Err(error))
            }
        };
        handler(outcome);
        Performed::Done
    }

    fn sequence(&self) -> u64 {
        self.facts.sequence
    }

    fn origin(&self) -> (&'static str, Origin) {
        (T::KIND, self.facts.origin)
    }

    fn needs_nothing(&self) -> bool {
        self.facts.needs_nothing
    }
}

/// What the handler is told of an `error`; without one, that the operation was cancelled.
#[cold]
#[inline(never)]
fn explain(error: Option<io::Error>, transferred: usize) -> io::Error {
    error::with_transferred(error.unwrap_or_else(|| error::aborted(0)), transferred)
}
