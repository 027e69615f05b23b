//! Closures in the ready queue.

use super::state::{Engine, Task};
use crate::key::{Kind, Origin};
use crate::outstanding::Work;
use std::rc::Rc;
use std::time::Instant;

struct Posted<H> {
    kind: &'static Kind,
    origin: Origin,
    handler: H,
}

impl Engine {
    /// Queues a handler; drops it unrun if the context has gone.
    #[inline]
    pub(crate) fn post(&self, kind: &'static Kind, origin: Origin, handler: impl FnOnce() + 'static) {
        if self.is_alive() {
            self.push(Box::new(Posted { kind, origin, handler }));
        }
    }
}

impl<H: FnOnce()> Task for Posted<H> {
    fn run(self: Box<Self>, engine: &Rc<Engine>) {
        let Posted { kind, origin, handler } = *self;
        engine.call(kind.name, origin.location, handler);
    }

    fn describe(&self, _: Instant) -> Work {
        Work::new(self.kind.name, self.kind.object, None, self.origin)
    }
}
