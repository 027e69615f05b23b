//! Closures in the ready queue.

use super::state::{Engine, Queued, Task};
use crate::key::{Kind, Origin};
use crate::outstanding::Work;
use std::any::Any;
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
            self.push(Queued::Task(self.boxed(Posted { kind, origin, handler: Some(handler) })));
        }
    }

    /// In the box of the task that has run last, if that was of the same type: a handler that posts its successor
    /// needs no memory.
    #[inline]
    fn boxed<H: 'static>(&self, task: Posted<H>) -> Box<Posted<H>> {
        match self.spare_task.take().map(<Box<dyn Any>>::downcast::<Posted<H>>) {
            Some(Ok(mut spare)) => {
                mem::forget(mem::replace(&mut *spare, task)); // It has run: there is nothing in it to drop.
                spare
            }
            _ => Box::new(task),
        }
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
