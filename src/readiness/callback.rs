//! One registered callback: its source, what the poller watches for on its behalf, and its calls.

use super::budget::Budget;
use super::io::Io;
use crate::engine::dispatch::Dispatch;
use crate::engine::reactor::{Entry, Reactor};
use crate::engine::ready_state::State;
use crate::engine::trace::{TARGET, tell};
use crate::handle::Handle;
use crate::key::Origin;
use crate::outstanding::Work;
use crate::ready::{Interest, Ready};
use mio::event::Source;
use std::any::{Any, TypeId};
use std::cell::{Cell, RefCell};
use std::io::{self, ErrorKind};
use std::rc::Rc;
use std::time::Duration;

/// What a callback wants next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Next {
    /// Call again when the source is ready for the interest it has.
    Keep,
    /// Call again when the source is ready for this interest. No system call on streams and listeners.
    Interest(Interest),
    /// Do not call for this long, whatever becomes ready: for a listener that is out of descriptors, say.
    Pause(Duration),
    /// The registration ends: the callback is dropped, and the source is closed, unless a
    /// [`Registration`](crate::Registration) is still held, whose [`into_source`](crate::Registration::into_source) then
    /// gives it back.
    Release,
}

/// One registered callback.
pub(super) struct Callback<S: Source + 'static, F> {
    state: State,
    handle: Handle,
    origin: Origin,
    background: Cell<bool>,
    /// What the poller watches for; `None` when the source is not in the poller.
    in_poller: Cell<Option<mio::Interest>>,
    /// Borrowed while the callback runs. Nothing else needs it then: handlers do not nest, and whoever releases the
    /// registration from inside leaves the rest to `flush`.
    body: RefCell<Body<S, F>>,
}

enum Body<S, F> {
    Live(S, F),
    /// The callback has gone; the source waits for whoever holds the registration.
    Released(S),
    Gone,
}

impl<S, F> Body<S, F> {
    fn source(&mut self) -> Option<&mut S> {
        match self {
            Body::Live(source, _) | Body::Released(source) => Some(source),
            Body::Gone => None,
        }
    }

    fn take_source(&mut self) -> Option<S> {
        match std::mem::replace(self, Body::Gone) {
            Body::Live(source, _) | Body::Released(source) => Some(source),
            Body::Gone => None,
        }
    }

    /// Takes the callback out, and leaves the source.
    fn take_callback(&mut self) -> Option<F> {
        match std::mem::replace(self, Body::Gone) {
            Body::Live(source, callback) => {
                *self = Body::Released(source);
                Some(callback)
            }
            other => {
                *self = other;
                None
            }
        }
    }
}

impl<S, F> Callback<S, F>
where
    S: Source + 'static,
    F: FnMut(&Io<'_, S>, Ready) -> Next + 'static,
{
    pub(super) fn new(handle: Handle, origin: Origin, source: S, callback: F) -> Self {
        Callback {
            state: State::default(),
            handle,
            origin,
            background: Cell::new(false),
            in_poller: Cell::new(None),
            body: RefCell::new(Body::Live(source, callback)),
        }
    }

    /// Enters the slab and the poller; from here on it is outstanding.
    pub(super) fn begin(self: &Rc<Self>, interest: Interest) -> io::Result<()> {
        let engine = &self.handle.engine;
        self.state.set_interest(interest);
        let entry: Entry = self.clone();
        let token = engine.reactor.insert(&entry);
        if let Err(error) = self.enter_poller(token, interest) {
            drop(engine.remove(&self.state));
            return Err(error);
        }
        engine.scheduler.work_started();
        tell!(engine, "registered token {}: {}", self.state.slot().unwrap_or_default(), short_name::<S>());
        Ok(())
    }

    fn enter_poller(&self, token: mio::Token, interest: Interest) -> io::Result<()> {
        let watch = watch_for::<S>(interest).unwrap_or(mio::Interest::READABLE);
        if let Some(source) = self.body.borrow_mut().source() {
            self.handle.engine.reactor.register(source, token, watch)?;
            self.in_poller.set(Some(watch));
        }
        Ok(())
    }

    /// Tells the poller again what to watch for: needed when that changed, and on mio's poll(2) backend after every
    /// call that mio has not seen: it arms a source again only when one of its own methods has answered `WouldBlock`.
    fn watch_again(&self) -> io::Result<()> {
        let (Some(token), Some(current)) = (self.state.token(), self.in_poller.get()) else {
            return Ok(());
        };
        let wanted = watch_for::<S>(self.state.interest()).unwrap_or(current);
        let unseen = self.state.take_unseen() || !is_mio_source::<S>();
        if wanted != current || (cfg!(mio_unsupported_force_poll_poll) && unseen) {
            if let Ok(mut body) = self.body.try_borrow_mut() {
                if let Some(source) = body.source() {
                    self.handle.engine.reactor.reregister(source, token, wanted)?;
                    self.in_poller.set(Some(wanted));
                }
            }
        }
        Ok(())
    }

    #[cold]
    fn end(&self) {
        let engine = &self.handle.engine;
        if let Some(slot) = self.state.slot() {
            tell!(engine, "deregistered token {slot}: {}", short_name::<S>());
        }
        if let Some(entry) = engine.remove(&self.state) {
            if !self.background.get() {
                engine.work_finished();
            }
            if self.body.try_borrow_mut().is_ok() {
                self.finish_release();
                drop(entry);
            } else {
                engine.flush_at_end(entry);
            }
        }
    }

    #[inline(always)]
    fn follow(&self, next: Next) {
        match next {
            Next::Keep => {}
            // Or it was released in this very call.
            Next::Interest(interest) if self.state.token().is_some() => self.state.set_interest(interest),
            Next::Interest(_) => {}
            Next::Pause(pause) => self.pause(pause),
            Next::Release => return self.end(),
        }
        if cfg!(mio_unsupported_force_poll_poll) || !is_watched_whole::<S>() {
            if let Err(error) = self.watch_again() {
                log::error!(target: TARGET, "cannot watch on, from {}: {error}", self.origin.location);
            }
        }
    }

    #[cold]
    fn pause(&self, pause: Duration) {
        if let Some(entry) = self.state.slot().and_then(|slot| self.handle.engine.reactor.entry(slot)) {
            self.handle.engine.pause(&entry, pause);
        }
    }
}

impl<S, F> Dispatch for Callback<S, F>
where
    S: Source + 'static,
    F: FnMut(&Io<'_, S>, Ready) -> Next + 'static,
{
    #[inline]
    fn state(&self) -> &State {
        &self.state
    }

    fn reactor(&self) -> &Reactor {
        &self.handle.engine.reactor
    }

    fn can_wait(&self) -> bool {
        is_listener::<S>()
    }

    #[inline(always)]
    fn dispatch(&self) {
        let engine = &*self.handle.engine;
        let next = {
            let mut body = self.body.borrow_mut();
            let Body::Live(source, callback) = &mut *body else {
                return;
            };
            let budget = Budget::new();
            let io = Io::new(source, &self.state, engine, &budget);
            engine.turn.count_handler();
            callback(&io, self.state.wanted())
        };
        self.follow(next);
    }

    fn one_call(&self) -> Option<(&'static str, Origin)> {
        Some(("callback", self.origin))
    }

    fn has_panicked(&self) {
        self.reactor().flush();
    }

    /// It was released in its own call, which is over.
    fn flush(self: &Rc<Self>) {
        self.finish_release();
    }

    fn cancel(&self, _sequence: u64) -> bool {
        false
    }

    fn abandon(&self) {
        self.leave_poller();
        let body = self.body.try_borrow_mut().map(|mut body| std::mem::replace(&mut *body, Body::Gone));
        drop(body);
    }

    fn describe(&self, tell: &mut dyn FnMut(Work)) {
        if !self.background.get() {
            let endpoint = self.body.try_borrow_mut().ok().and_then(|mut body| endpoint(body.source()?));
            tell(Work::new("registration", short_name::<S>(), endpoint, self.origin));
        }
    }
}

impl<S: Source + 'static, F> Callback<S, F> {
    /// The part of a release that a running callback puts off until it returns.
    #[cold]
    fn finish_release(&self) {
        self.leave_poller();
        let callback = self.body.try_borrow_mut().ok().and_then(|mut body| body.take_callback());
        drop(callback);
    }

    fn leave_poller(&self) {
        if let Ok(mut body) = self.body.try_borrow_mut() {
            if let (Some(source), Some(_)) = (body.source(), self.in_poller.take()) {
                if let Err(error) = self.handle.engine.reactor.deregister(source) {
                    log::debug!(target: TARGET, "deregister: {error}");
                }
            }
        }
    }
}

impl<S: Source + 'static, F> Drop for Callback<S, F> {
    fn drop(&mut self) {
        let engine = &self.handle.engine;
        if let Some(mut source) = self.body.get_mut().take_source() {
            if self.in_poller.take().is_some() {
                let _ = engine.reactor.deregister(&mut source); // Closing it is next, whatever this says.
            }
            drop(source);
            engine.descriptor_closed();
        }
    }
}

/// What a [`Registration`] needs of its entry, whatever the callback's type.
pub(super) trait Registered<S> {
    fn registered_state(&self) -> &State;
    fn check_registered(&self) -> io::Result<()>;
    fn change_interest(&self, interest: Interest) -> io::Result<()>;
    fn enqueue(self: Rc<Self>);
    fn release(&self);
    fn take_source(&self) -> io::Result<S>;
    fn make_background(&self);
}

impl<S, F> Registered<S> for Callback<S, F>
where
    S: Source + 'static,
    F: FnMut(&Io<'_, S>, Ready) -> Next + 'static,
{
    fn registered_state(&self) -> &State {
        &self.state
    }

    fn check_registered(&self) -> io::Result<()> {
        self.handle.engine.check_alive()?;
        self.state.token().map(drop).ok_or_else(crate::error::not_open)
    }

    fn change_interest(&self, interest: Interest) -> io::Result<()> {
        self.state.set_interest(interest);
        self.watch_again()
    }

    fn enqueue(self: Rc<Self>) {
        let engine = Rc::clone(&self.handle.engine);
        let entry: Entry = self;
        engine.enqueue(&entry);
    }

    fn release(&self) {
        self.end();
    }

    fn take_source(&self) -> io::Result<S> {
        if self.body.try_borrow_mut().is_err() {
            let text = "the source is in its callback: keep the registration, and return Next::Release";
            return Err(io::Error::new(ErrorKind::ResourceBusy, text));
        }
        self.end();
        self.finish_release(); // If it has been released while it was borrowed, that may be still to come.
        let source = self.body.borrow_mut().take_source();
        source.ok_or_else(crate::error::context_gone)
    }

    fn make_background(&self) {
        if self.state.token().is_some() && !self.background.replace(true) {
            self.handle.engine.work_finished();
        }
    }
}

/// Whether the poller watches the source for all it may ever be wanted for, so that there is nothing to tell it again.
fn is_watched_whole<S: 'static>() -> bool {
    is::<S, mio::net::TcpStream>()
        || is::<S, mio::net::UnixStream>()
        || is::<S, mio::net::TcpListener>()
        || is::<S, mio::net::UnixListener>()
}

/// What the poller watches for on behalf of `interest`; `None` leaves it as it is.
///
/// Streams are watched in both directions from the start, and listeners for reading, so that a change of interest is
/// bookkeeping. Everything else is watched for just what is asked: a datagram socket that is watched for writing
/// wakes the loop for every datagram sent.
fn watch_for<S: 'static>(interest: Interest) -> Option<mio::Interest> {
    if is::<S, mio::net::TcpStream>() {
        return Some(STREAM);
    }
    if is::<S, mio::net::UnixStream>() {
        return Some(UNIX_STREAM_FOR_ROOM);
    }
    if is_listener::<S>() {
        return Some(mio::Interest::READABLE);
    }
    let readable = interest.is_readable().then_some(mio::Interest::READABLE);
    let writable = interest.is_writable().then_some(mio::Interest::WRITABLE);
    let priority = interest.is_priority().then_some(PRIORITY).flatten();
    [readable, writable, priority].into_iter().flatten().reduce(mio::Interest::add)
}

#[cfg(any(target_os = "linux", target_os = "android"))]
const PRIORITY: Option<mio::Interest> = Some(mio::Interest::PRIORITY);
#[cfg(not(any(target_os = "linux", target_os = "android")))]
const PRIORITY: Option<mio::Interest> = None;

/// TCP is also watched for urgent data, because a read stops short at it without another event.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(crate) const STREAM: mio::Interest =
    mio::Interest::READABLE.add(mio::Interest::WRITABLE).add(mio::Interest::PRIORITY);
#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(crate) const STREAM: mio::Interest = mio::Interest::READABLE.add(mio::Interest::WRITABLE);

/// A Unix stream is watched for room only once a write has found none: each read of the peer makes some, and would wake
/// the loop for nothing. (TCP tells only those who found none, and on poll(2) nobody is told before a `WouldBlock`.)
pub(crate) const UNIX_STREAM: mio::Interest =
    if cfg!(mio_unsupported_force_poll_poll) { UNIX_STREAM_FOR_ROOM } else { mio::Interest::READABLE };
pub(crate) const UNIX_STREAM_FOR_ROOM: mio::Interest = mio::Interest::READABLE.add(mio::Interest::WRITABLE);

fn is<S: 'static, T: 'static>() -> bool {
    TypeId::of::<S>() == TypeId::of::<T>()
}

/// Whether what comes is clients that are not accepted yet.
fn is_listener<S: 'static>() -> bool {
    is::<S, mio::net::TcpListener>() || is::<S, mio::net::UnixListener>()
}

/// Whether the source is one of mio's own, whose methods arm it again on mio's poll(2) backend.
fn is_mio_source<S: 'static>() -> bool {
    std::any::type_name::<S>().starts_with("mio::net::")
        || is::<S, mio::unix::pipe::Sender>()
        || is::<S, mio::unix::pipe::Receiver>()
}

/// The name of a type without its path and parameters.
fn short_name<S>() -> &'static str {
    let name = std::any::type_name::<S>();
    let name = name.split('<').next().unwrap_or(name);
    name.rsplit("::").next().unwrap_or(name)
}

/// The endpoint of a socket: the peer of a stream, the own address of a listener or a datagram socket.
fn endpoint<S: 'static>(source: &S) -> Option<String> {
    let source: &dyn Any = source;
    let address = if let Some(stream) = source.downcast_ref::<mio::net::TcpStream>() {
        stream.peer_addr()
    } else if let Some(listener) = source.downcast_ref::<mio::net::TcpListener>() {
        listener.local_addr()
    } else {
        source.downcast_ref::<mio::net::UdpSocket>()?.local_addr()
    };
    address.ok().map(|address| address.to_string())
}
