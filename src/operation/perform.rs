//! One dispatch of an object: which of its operations are performed, in what order, and how many.

use super::object::{Attempt, Descriptor, Direction, Object, Performed};
use crate::engine::dispatch::Dispatch;
use crate::engine::reactor::Reactor;
use crate::engine::ready_state::State;
use crate::engine::state::Engine;
use crate::outstanding::Work;
use crate::readiness::budget::Budget;
use crate::ready::Interest;

impl<S: Descriptor> Dispatch for Object<S> {
    #[inline]
    fn state(&self) -> &State {
        &self.state
    }

    fn reactor(&self) -> &Reactor {
        &self.handle.engine.reactor
    }

    fn can_wait(&self) -> bool {
        S::CAN_WAIT
    }

    fn dispatch(&self) {
        let engine: &Engine = &self.handle.engine;
        let budget = Budget::new();
        let attempt = Attempt { object: self, budget: &budget };
        let mut open = Interest::ALL; // Demands, too, and always.
        let mut last = Direction::Exception;
        let mut handlers_left = engine.config.handlers_per_dispatch;
        while let Some(direction) = self.next_direction(open, last) {
            match self.perform(direction, engine, attempt) {
                Performed::NotYet => open = open.without(direction.interest()),
                Performed::Done => {
                    handlers_left -= 1;
                    if open != Interest::ALL {
                        open = self.open_after_handler(open);
                    }
                }
            }
            if handlers_left == 0 || engine.must_leave() {
                break;
            }
            last = direction;
        }
        self.watch_for_room_if_wanted();
        self.close_if_unused();
    }

    fn cancel(&self, sequence: u64) -> bool {
        let engine = &self.handle.engine;
        for direction in Direction::ALL {
            let queue = &self.queues[direction as usize];
            if let Some(operation) = queue.remove(|operation| operation.sequence() == sequence) {
                engine.scheduler.work_finished();
                self.look_at_front(direction);
                self.end_later(operation);
                if let Some(entry) = self.state.slot().and_then(|slot| engine.reactor.entry(slot)) {
                    engine.enqueue(&entry); // The new front may need nothing.
                }
                self.close_if_unused();
                return true;
            }
        }
        false
    }

    fn abandon(&self) {
        if let Some(mut source) = self.source.take() {
            let _ = self.handle.engine.reactor.deregister(&mut source); // It is closed next, whatever this says.
            self.drop_without_blocking(source);
            self.tell_closed();
        }
        let queues = self.queues.iter().flat_map(|queue| std::iter::from_fn(|| queue.pop_front()));
        // Collected first: a vector goes on to drop the rest when one destructor panics.
        let operations: Vec<_> = queues.collect();
        self.spares.iter().for_each(|spare| drop(spare.take())); // Emptied: nothing of the user's is in them.
        drop(operations);
    }

    fn describe(&self, tell: &mut dyn FnMut(Work)) {
        // A logger of mio's own lines may ask while the source is being registered.
        let endpoint = self.source.try_borrow().ok().and_then(|source| S::endpoint(source.as_ref()?));
        for queue in &self.queues {
            queue.for_each(|operation| {
                let (kind, origin) = operation.origin();
                tell(Work::new(kind, S::OBJECT, endpoint.clone(), origin));
            });
        }
    }
}

impl<S: Descriptor> Object<S> {
    /// With each direction written out: so the compiler knows where its queue is.
    #[inline(always)]
    fn perform(&self, direction: Direction, engine: &Engine, attempt: Attempt<'_, S>) -> Performed {
        match direction {
            Direction::Read => self.perform_front(Direction::Read, engine, attempt),
            Direction::Write => self.perform_front(Direction::Write, engine, attempt),
            Direction::Exception => self.perform_exception(engine, attempt),
        }
    }

    /// Performs the operation at the front of a queue, and runs its handler if that ends it.
    #[inline(always)]
    fn perform_front(&self, direction: Direction, engine: &Engine, attempt: Attempt<'_, S>) -> Performed {
        let queue = &self.queues[direction as usize];
        let Some(operation) = queue.pop_front() else {
            self.state.drop_interest(direction.interest());
            return Performed::NotYet;
        };
        // It counts as outstanding again only if it goes back: so a panic in its buffer leaves the count right.
        engine.scheduler.work_finished();
        self.were_cancelled.set(false);
        let unwinding = Unwinding { object: self, direction };
        let performed = operation.advance(engine, Some(attempt));
        std::mem::forget(unwinding);
        if performed == Performed::Done {
            self.look_at_front(direction);
        }
        performed
    }

    #[cold]
    fn perform_exception(&self, engine: &Engine, attempt: Attempt<'_, S>) -> Performed {
        self.perform_front(Direction::Exception, engine, attempt)
    }

    /// The front of a queue has gone. The interest follows the queue; a new front is shown the end of the stream, if
    /// that has been seen, and is due at once if it needs nothing.
    #[inline(always)]
    fn look_at_front(&self, direction: Direction) {
        if self.queues[direction as usize].is_empty() {
            self.state.drop_interest(direction.interest());
        } else {
            self.look_at_new_front(direction);
        }
    }

    #[cold]
    fn look_at_new_front(&self, direction: Direction) {
        self.state.set_interest(self.state.interest());
        if self.front_needs_nothing(direction) {
            self.state.demand_call();
        }
    }

    fn front_needs_nothing(&self, direction: Direction) -> bool {
        self.queues[direction as usize].look_at_front(|front| front.needs_nothing()).unwrap_or(false)
    }

    /// What is open after a handler, which may have put another operation in front.
    #[cold]
    fn open_after_handler(&self, open: Interest) -> Interest {
        if self.state.is_call_demanded() { Interest::ALL } else { open }
    }

    /// The direction to go on with: one that can be and is still `open` in this dispatch.
    #[inline(always)]
    fn next_direction(&self, open: Interest, last: Direction) -> Option<Direction> {
        let ready = self.state.wanted().of(open);
        if ready == Interest::READABLE.as_ready() {
            Some(Direction::Read)
        } else if ready == Interest::WRITABLE.as_ready() {
            Some(Direction::Write)
        } else if ready.is_none() {
            None
        } else {
            self.choose_direction(open, last)
        }
    }

    /// More than one is ready, or an error, or only a demand is there. Errors come first, then what ends a connection attempt; reading and writing take turns.
    #[inline(never)]
    fn choose_direction(&self, open: Interest, last: Direction) -> Option<Direction> {
        let (ready, open) = (self.state.wanted().of(open), self.state.interest().of(open));
        let (first, second) = match last {
            Direction::Write => (Direction::Read, Direction::Write),
            _ => (Direction::Write, Direction::Read),
        };
        let is_ready = |direction: Direction| !ready.of(direction.interest()).is_none();
        if is_ready(Direction::Exception) {
            Some(Direction::Exception)
        } else if is_ready(first) {
            Some(first)
        } else if is_ready(second) {
            Some(second)
        } else {
            self.demanded_direction(open, [Direction::Exception, first, second])
        }
    }

    /// Only a demand is left.
    #[cold]
    fn demanded_direction(&self, open: Interest, order: [Direction; 3]) -> Option<Direction> {
        let is_demanded =
            |direction: &Direction| open.intersects(direction.interest()) && self.front_needs_nothing(*direction);
        let direction = order.into_iter().find(is_demanded);
        if direction.is_none() {
            self.state.forget_demand();
        }
        direction
    }
}

/// A panic in the buffer or the handler of the operation that is being performed: the object goes on without it.
struct Unwinding<'a, S: Descriptor> {
    object: &'a Object<S>,
    direction: Direction,
}

impl<S: Descriptor> Drop for Unwinding<'_, S> {
    #[cold]
    fn drop(&mut self) {
        self.object.look_at_front(self.direction);
        self.object.watch_for_room_if_wanted();
        self.object.close_if_unused();
    }
}
