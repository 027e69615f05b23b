//! Closures in the ready queue.

use super::state::{Engine, Queued, Task};
use crate::downcast;
use crate::key::{Kind, Origin};
use crate::outstanding::Work;
use std::mem;
use std::rc::Rc;

/// A larger box than this is not kept, in bytes.
const SPARE: usize = 1024;

struct Posted<H> {
    kind: &'static Kind,
    origin: Origin,
    /// `None` in a box that has run.
    handler: Option<H>,
}

impl Engine {
    /// Queues a handler; drops it unrun if the context has gone.
    #[inline]
    pub(crate) fn post(&self, kind: &'static Kind, origin: Origin, handler: impl FnOnce() + 'static) {
        if self.is_alive() {
            let task = match Posted::emptied(self) {
                Some(mut task) => {
                    // Piece by piece: as a whole it would be written to the stack and read again.
                    (task.kind, task.origin) = (kind, origin);
                    mem::forget(task.handler.replace(handler)); // There was none. But an assignment would look.
                    task
                }
                None => Box::new(Posted { kind, origin, handler: Some(handler) }),
            };
            self.push(Queued::Task(task));
        }
    }
}

impl<H: 'static> Posted<H> {
    /// The box of the task that has run last, if that was of this type: a handler that posts its successor needs no
    /// memory.
    #[inline(never)] // So that it lies beside `run`, see `downcast.rs`; it is so small that it would be inlined.
    fn emptied(engine: &Engine) -> Option<Box<Self>> {
        engine.spare_task.take().and_then(downcast::boxed)
    }
}

impl<H: FnOnce() + 'static> Task for Posted<H> {
    fn run(mut self: Box<Self>, engine: &Rc<Engine>) {
        let (kind, origin) = (self.kind, self.origin);
        let Some(handler) = self.handler.take() else {
            return;
        };
        if size_of::<Self>() <= SPARE {
            engine.spare_task.set(Some(self)); // Before the call, which may post.
        }
        engine.call(kind.name, origin.location, handler);
    }

    fn describe(&self) -> Work {
        Work::new(self.kind.name, self.kind.object, None, self.origin)
    }
}
