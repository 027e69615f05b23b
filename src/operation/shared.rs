//! The user's handle on an object: counted, so that the object closes with the last one.

use super::object::{Descriptor, Direction, Object, Op};
use crate::engine::reactor::Entry;
use crate::engine::trace::{TARGET, tell};
use crate::error;
use crate::handle::Handle;
use crate::option::SocketOption;
use crate::ready::Ready;
use std::any::Any;
use std::io;
use std::ops::Deref;
use std::rc::Rc;

/// A handle of the user's on an object: cheap to clone. What `Socket` and `Acceptor` are made of.
pub(crate) struct Shared<S: Descriptor> {
    object: Rc<Object<S>>,
}

impl<S: Descriptor> Shared<S> {
    pub(crate) fn new(handle: Handle) -> Self {
        Shared { object: Rc::new(Object::new(handle)) }
    }

    /// Queues an operation. Performing it is the business of a later step.
    #[inline(always)]
    pub(super) fn enqueue(&self, direction: Direction, operation: Box<dyn Op<S>>, needs_nothing: bool) {
        let state = &self.state;
        self.queues[direction as usize].push_back(operation);
        self.handle.engine.scheduler.work_started();
        state.add_interest(direction.interest());
        if needs_nothing {
            state.demand_call();
        }
        if state.is_due_anew() {
            self.list_as_ready();
        } else {
            self.watch_for_room_if_wanted();
        }
    }

    #[cold] // As seen from a handler of the object, whose dispatch goes on anyway.
    #[inline(never)]
    fn list_as_ready(&self) {
        let entry: Entry = self.object.clone();
        self.handle.engine.enqueue(&entry);
    }

    #[inline]
    pub(super) fn take_spare(&self, direction: Direction) -> Option<Box<dyn Any>> {
        self.spares[direction as usize].take()
    }

    /// Hands the descriptor to the poller, at the object's first operation. Returns its slot.
    pub(super) fn register(&self) -> io::Result<u32> {
        let state = &self.state;
        let engine = &self.handle.engine;
        let entry: Entry = self.object.clone();
        let token = engine.reactor.insert(&entry);
        let registered = match self.source.borrow_mut().as_mut() {
            Some(source) => engine.reactor.register(source, token, S::WATCH),
            None => Err(error::not_open()),
        };
        if let Err(error) = registered {
            drop(engine.remove(state));
            return Err(error);
        }
        if S::WATCH_FOR_ROOM.is_some() {
            state.set(Ready::WRITABLE); // Nobody will say so; the first write tells.
        }
        let slot = state.slot().unwrap_or_default();
        tell!(engine, "registered token {slot}: {}", S::OBJECT);
        Ok(slot)
    }

    pub(crate) fn is_open(&self) -> bool {
        self.source.borrow().is_some()
    }

    /// Gives the object a descriptor that was made elsewhere, with whatever options it brings.
    pub(crate) fn adopt(&self, source: S) -> io::Result<()> {
        let linger = socket2::SockRef::from(&source).linger()?;
        self.open(|| Ok(source))?;
        self.lingers.set(linger.is_some_and(|time| !time.is_zero()));
        Ok(())
    }

    /// Gives the object its descriptor.
    ///
    /// # Errors
    ///
    /// It has one already, or the context has gone.
    pub(crate) fn open(&self, make: impl FnOnce() -> io::Result<S>) -> io::Result<()> {
        self.handle.engine.check_alive()?;
        if self.is_open() {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, "the object is already open"));
        }
        *self.source.borrow_mut() = Some(make()?);
        self.lingers.set(false);
        self.state.reset();
        Ok(())
    }

    /// Makes a call on the open descriptor. `call` is ours, short, and calls no user code: the source is borrowed.
    ///
    /// # Errors
    ///
    /// The object is not open, the context has gone, or what `call` says.
    pub(crate) fn with<R>(&self, call: impl FnOnce(&S) -> io::Result<R>) -> io::Result<R> {
        self.handle.engine.check_alive()?;
        call(self.source.borrow().as_ref().ok_or_else(error::not_open)?)
    }

    /// The descriptor begins a new life (it connects, it listens): what was known of its readiness is void.
    pub(crate) fn start_anew(&self, writable: bool) -> io::Result<()> {
        let state = &self.state;
        state.reset();
        self.is_watched_for_room.set(false);
        if writable {
            state.set(Ready::WRITABLE);
        }
        match (state.token(), self.source.borrow_mut().as_mut()) {
            (Some(token), Some(source)) => self.handle.engine.reactor.reregister(source, token, S::WATCH),
            _ => Ok(()),
        }
    }

    /// Notes, for those who listen at level `info`, that a connection is there.
    pub(crate) fn opened(&self) {
        if log::log_enabled!(target: TARGET, log::Level::Info) {
            let endpoint = self.source.borrow().as_ref().and_then(S::endpoint).unwrap_or_default();
            log::info!(target: TARGET, "opened {} {endpoint}", S::OBJECT);
            self.peer.set(Some(endpoint));
        }
    }

    /// Sets an option, and remembers what a drop has to know.
    pub(crate) fn set_option<O: SocketOption>(&self, option: O) -> io::Result<()> {
        let lingers = option.lingers();
        self.with(|source| option.apply(source.as_fd()))?;
        self.lingers.set(lingers.unwrap_or(self.lingers.get()));
        Ok(())
    }

    pub(crate) fn cancel(&self) {
        self.cancel_all();
    }

    pub(crate) fn close(&self) {
        drop(self.take_source());
        self.handle.engine.descriptor_closed();
    }

    /// Aborts everything and hands the descriptor out, no longer in the poller.
    pub(crate) fn release(&self) -> io::Result<S> {
        self.handle.engine.check_alive()?;
        self.take_source().ok_or_else(error::not_open)
    }
}

impl<S: Descriptor> Deref for Shared<S> {
    type Target = Object<S>;

    fn deref(&self) -> &Object<S> {
        &self.object
    }
}

impl<S: Descriptor> Clone for Shared<S> {
    fn clone(&self) -> Self {
        self.handles.set(self.handles.get() + 1);
        let object = Rc::clone(&self.object);
        Shared { object }
    }
}

impl<S: Descriptor> Drop for Shared<S> {
    fn drop(&mut self) {
        self.handles.set(self.handles.get() - 1);
        self.close_if_unused();
    }
}
