//! One pending operation: what to do when its direction is ready, and the handler to call when it is done.

use super::object::{Attempt, Descriptor, Direction, Op};
use super::shared::Shared;
use crate::engine::state::Engine;
use crate::engine::trace::tell;
use crate::error;
use crate::key::{Kind, Operation, Origin, Place};
use std::any::Any;
use std::io;
use std::panic::Location;
use std::rc::Rc;

/// What an operation does when its direction is ready.
///
/// Methods here may call user code (the buffer's `as_ref` and `as_mut`), so nothing is borrowed when they are called,
/// and they fetch their slice before they ask [`Attempt::io`] for the source.
pub(crate) trait Transfer<S: Descriptor>: 'static {
    /// The operation's name in listings and in the trace: `async_read_some`.
    const KIND: &'static str;
    type Value;
    /// What the handler receives.
    type Outcome: 'static;

    /// Does what can be done now. `None`: not done yet, to be called again when the direction is ready again.
    fn perform(&mut self, attempt: &Attempt<'_, S>) -> Option<io::Result<Self::Value>>;

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
    pub(crate) fn start<T, H>(
        &self,
        direction: Direction,
        mut transfer: T,
        handler: H,
        location: &'static Location<'static>,
    ) -> Operation
    where
        T: Transfer<S>,
        H: FnOnce(T::Outcome) + 'static,
    {
        let engine = &self.handle.engine;
        if !engine.is_alive() {
            return Operation::ENDED; // The handler is dropped unrun.
        }
        let needs_nothing = transfer.needs_nothing(); // First, because it may be user code, which may close us.
        let slot = match self.register() {
            Ok(slot) => slot,
            Err(error) => return self.fail::<T, _>(error, |error| handler(transfer.finish(error)), location),
        };
        tell!(engine, "started {} on token {slot} from {location}", T::KIND);
        let sequence = engine.next_sequence();
        let facts = Facts { sequence, origin: engine.origin(location), needs_nothing };
        let pending = Pending::boxed(self.take_spare(direction), facts, transfer, handler);
        self.enqueue(direction, pending, needs_nothing);
        engine.key(Place::Slot(slot), sequence)
    }

    /// Tells the handler, through the ready queue, of an operation that failed before it began.
    pub(crate) fn fail<T: Transfer<S>, V>(
        &self,
        error: io::Error,
        handler: impl FnOnce(io::Result<V>) + 'static,
        location: &'static Location<'static>,
    ) -> Operation {
        let engine = &self.handle.engine;
        engine.post(kind_of::<S, T>(), engine.origin(location), move || handler(Err(error)));
        Operation::ENDED
    }
}

fn kind_of<S: Descriptor, T: Transfer<S>>() -> &'static Kind {
    const { &Kind { name: T::KIND, object: S::OBJECT } }
}

struct Pending<T, H> {
    facts: Facts,
    /// `None` once it has been emptied: then the box waits to be used again.
    body: Option<(T, H)>,
}

#[derive(Clone, Copy)]
struct Facts {
    sequence: u64,
    origin: Origin,
    needs_nothing: bool,
}

impl<T, H> Pending<T, H> {
    /// Boxes an operation, in `spare` if that is an emptied box of the same type.
    #[inline]
    fn boxed(spare: Option<Box<dyn Any>>, facts: Facts, transfer: T, handler: H) -> Box<Self>
    where
        T: 'static,
        H: 'static,
    {
        let body = Some((transfer, handler));
        match spare.map(<Box<dyn Any>>::downcast::<Self>) {
            Some(Ok(mut emptied)) => {
                emptied.facts = facts;
                // Nothing is forgotten: it is empty. But an assignment would look.
                std::mem::forget(std::mem::replace(&mut emptied.body, body));
                emptied
            }
            _ => Box::new(Pending { facts, body }),
        }
    }
}

impl<S, T, H> Op<S> for Pending<T, H>
where
    S: Descriptor,
    T: Transfer<S>,
    H: FnOnce(T::Outcome) + 'static,
{
    fn advance(mut self: Box<Self>, attempt: &Attempt<'_, S>) -> Option<Box<dyn Op<S>>> {
        let (mut transfer, handler) = self.body.take()?;
        let Some(mut result) = transfer.perform(attempt) else {
            self.body = Some((transfer, handler));
            return Some(self);
        };
        if let Err(error) = result {
            let transferred = transfer.transferred();
            let was_cancelled = attempt.was_cancelled();
            result = Err(if was_cancelled {
                error::aborted(transferred)
            } else {
                error::with_transferred(error, transferred)
            });
        }
        let origin = self.facts.origin;
        // The emptied box is kept before the handler runs, so that the operation it starts next finds it.
        attempt.keep(self);
        let _call = attempt.engine().begin_call(T::KIND, &origin);
        handler(transfer.finish(result));
        None
    }

    fn abort(mut self: Box<Self>, engine: &Rc<Engine>) {
        if let Some((transfer, handler)) = self.body.take() {
            let error = error::aborted(transfer.transferred());
            engine.post(kind_of::<S, T>(), self.facts.origin, move || handler(transfer.finish(Err(error))));
        }
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
