//! `register`: a source, an interest, and the callback that the loop calls when the source is ready.

use super::descriptor::Descriptor;
use super::io::{Budget, Io};
use crate::engine::key::Origin;
use crate::engine::outstanding::Work;
use crate::engine::reactor::{AnyEntry, Entry, Handler, State};
use crate::engine::ready::{Interest, Ready};
use crate::engine::trace::tell;
use crate::handle::Handle;
use mio::event::Source;
use std::any::{Any, TypeId};
use std::cell::{Cell, RefCell};
use std::fmt;
use std::io::{self, ErrorKind};
use std::os::fd::AsFd;
use std::panic::Location;
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
    /// The registration ends: the callback is dropped, and the source is closed unless a [`Registration`] is still
    /// held, whose [`into_source`](Registration::into_source) then gives it back.
    Release,
}

impl Handle {
    /// Registers a source of [`mio`] (a socket, a listener, a pipe, or your own [`Source`]) and calls `callback` when
    /// it is ready for `interest`.
    ///
    /// The callback is called again, turn after turn, as long as the source is ready for something it is interested
    /// in. It is told what that is, reaches the source through [`Io`], and answers with [`Next`]. One dispatch of it
    /// counts as one handler.
    ///
    /// The registration is outstanding work until it is released; dropping the returned [`Registration`] only
    /// detaches it. The source must be non-blocking, as mio's own are.
    ///
    /// # Errors
    ///
    /// The poller refused the source (already registered somewhere, out of memory), or the context has gone. The
    /// source is closed.
    ///
    /// ```
    /// use ioctx::{Interest, Io, IoContext, Next, Ready};
    /// use mio::net::UnixStream;
    /// use std::io::Write;
    ///
    /// let mut io = IoContext::new()?;
    /// let (mut ours, theirs) = UnixStream::pair()?;
    /// io.register(theirs, Interest::READABLE, |io: &Io<UnixStream>, _: Ready| {
    ///     let mut buffer = [0; 64];
    ///     match io.read(&mut buffer) {
    ///         Ok(0) | Err(_) => Next::Release,
    ///         Ok(n) => {
    ///             println!("{:?}", &buffer[..n]);
    ///             Next::Keep
    ///         }
    ///     }
    /// })?;
    /// ours.write_all(b"hello")?;
    /// drop(ours);
    /// io.run()?; // until the callback releases
    /// # std::io::Result::Ok(())
    /// ```
    #[track_caller]
    pub fn register<S, F>(&self, source: S, interest: Interest, callback: F) -> io::Result<Registration<S>>
    where
        S: Source + 'static,
        F: FnMut(&Io<'_, S>, Ready) -> Next + 'static,
    {
        let engine = &self.engine;
        engine.check_alive()?;
        let origin = engine.origin(Location::caller());
        let entry = Rc::new(Entry {
            state: State::default(),
            handler: Callback {
                handle: self.clone(),
                origin,
                background: Cell::new(false),
                in_poller: Cell::new(None),
                source: RefCell::new(Some(source)),
                callback: RefCell::new(Some(callback)),
            },
        });
        entry.state.set_interest(interest);
        let in_slab: AnyEntry = entry.clone();
        let token = engine.reactor.insert(&in_slab);
        if let Err(error) = entry.handler.register_in_poller(token, interest) {
            drop(engine.remove(&entry.state));
            return Err(error);
        }
        engine.scheduler.work_started();
        tell!(engine, "registered token {}: {}", in_slab.state.slot().unwrap_or(0), origin.location);
        Ok(Registration { entry })
    }

    /// Registers any pollable descriptor: a terminal, a pipe, an eventfd, a device.
    ///
    /// As [`register`](Handle::register), for descriptors that are not ours to make non-blocking: see [`Descriptor`].
    ///
    /// # Errors
    ///
    /// The descriptor cannot be polled (`InvalidInput` for a regular file), is registered already, or the context
    /// has gone.
    ///
    /// ```no_run
    /// use ioctx::{Descriptor, Interest, Io, IoContext, Next, Ready};
    /// use std::io::Stdin;
    ///
    /// let mut io = IoContext::new()?;
    /// io.register_fd(std::io::stdin(), Interest::READABLE, |stdin: &Io<Descriptor<Stdin>>, _: Ready| {
    ///     let mut line = [0; 1024];
    ///     match stdin.read(&mut line) {
    ///         Ok(n) if n > 0 => Next::Keep,
    ///         _ => Next::Release,
    ///     }
    /// })?;
    /// # std::io::Result::Ok(())
    /// ```
    #[track_caller]
    pub fn register_fd<T, F>(
        &self,
        descriptor: T,
        interest: Interest,
        callback: F,
    ) -> io::Result<Registration<Descriptor<T>>>
    where
        T: AsFd + 'static,
        F: FnMut(&Io<'_, Descriptor<T>>, Ready) -> Next + 'static,
    {
        self.register(Descriptor::new(descriptor), interest, callback).map_err(|error| {
            if error.raw_os_error() == Some(rustix::io::Errno::PERM.raw_os_error()) {
                io::Error::new(ErrorKind::InvalidInput, "a regular file cannot be polled: it is always ready")
            } else {
                error
            }
        })
    }
}

/// A registration, as seen by whoever made it. Dropping it detaches it: the registration lives on in the loop.
pub struct Registration<S> {
    entry: Rc<dyn Registered<S>>,
}

impl<S> Registration<S> {
    /// Whether the registration has been released.
    pub fn is_released(&self) -> bool {
        self.entry.state().token().is_none()
    }

    /// Changes what the callback is called for. No system call on streams and listeners.
    ///
    /// # Errors
    ///
    /// The registration has been released or its context has gone (`NotConnected`), or the poller refused.
    pub fn set_interest(&self, interest: Interest) -> io::Result<()> {
        if self.is_released() {
            return Err(crate::error::not_open());
        }
        self.entry.change_interest(interest)?;
        self.entry.clone().enqueue();
        Ok(())
    }

    /// Ends the registration: its callback is not called again, not even for an event of this turn, and is dropped
    /// (when it returns, if it is running). Does nothing if it has ended.
    pub fn release(&self) {
        self.entry.release();
    }

    /// Ends the registration and gives the source back.
    ///
    /// # Errors
    ///
    /// Its callback is running (`ResourceBusy`): it should return [`Next::Release`] instead. Or the context has gone,
    /// which closed the source.
    pub fn into_source(self) -> io::Result<S> {
        self.entry.take_source()
    }

    /// Stops counting the registration as outstanding: it does not keep [`run`](crate::IoContext::run) alive.
    #[must_use = "this is the registration; drop it to detach it"]
    pub fn background(self) -> Self {
        self.entry.make_background();
        self
    }
}

impl<S> fmt::Debug for Registration<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registration")
            .field("slot", &self.entry.state().slot())
            .field("ready", &self.entry.state().ready())
            .field("interest", &self.entry.state().interest())
            .finish()
    }
}

/// One registered callback.
///
/// `source` and `callback` stay borrowed while the callback runs. Nothing else needs them then: handlers do not nest,
/// and whoever releases the registration from inside leaves the rest to `finish_release`.
struct Callback<S: Source + 'static, F> {
    handle: Handle,
    origin: Origin,
    background: Cell<bool>,
    /// What the poller watches for; `None` when the source is not in the poller.
    in_poller: Cell<Option<mio::Interest>>,
    source: RefCell<Option<S>>,
    callback: RefCell<Option<F>>,
}

impl<S, F> Callback<S, F>
where
    S: Source + 'static,
    F: FnMut(&Io<'_, S>, Ready) -> Next + 'static,
{
    fn register_in_poller(&self, token: mio::Token, interest: Interest) -> io::Result<()> {
        let watch = watch_for::<S>(interest).unwrap_or(mio::Interest::READABLE);
        if let Some(source) = self.source.borrow_mut().as_mut() {
            self.handle.engine.reactor.register(source, token, watch)?;
            self.in_poller.set(Some(watch));
        }
        Ok(())
    }

    /// Tells the poller again what to watch for: needed when that changed, and on mio's poll(2) backend after every
    /// event of a foreign descriptor, which mio does not arm again by itself.
    fn watch_again(&self, state: &State) -> io::Result<()> {
        let (Some(token), Some(current)) = (state.token(), self.in_poller.get()) else {
            return Ok(());
        };
        let wanted = watch_for::<S>(state.interest()).unwrap_or(current);
        let rearm = cfg!(mio_unsupported_force_poll_poll) && !is_mio_source::<S>();
        if wanted != current || rearm {
            if let Ok(mut source) = self.source.try_borrow_mut() {
                if let Some(source) = source.as_mut() {
                    self.handle.engine.reactor.reregister(source, token, wanted)?;
                    self.in_poller.set(Some(wanted));
                }
            }
        }
        Ok(())
    }

    fn release(&self, state: &State) {
        let engine = &self.handle.engine;
        tell!(engine, "released token {}", state.slot().unwrap_or(u32::MAX));
        if let Some(entry) = engine.remove(state) {
            if !self.background.get() {
                engine.scheduler.work_finished();
            }
            self.finish_release();
            drop(entry);
        }
    }

    /// The part of a release that a running callback puts off until it returns.
    fn finish_release(&self) {
        self.leave_poller();
        let callback = self.callback.try_borrow_mut().ok().and_then(|mut callback| callback.take());
        drop(callback);
    }

    fn leave_poller(&self) {
        if let Ok(mut source) = self.source.try_borrow_mut() {
            if let (Some(source), Some(_)) = (source.as_mut(), self.in_poller.take()) {
                if let Err(error) = self.handle.engine.reactor.deregister(source) {
                    log::debug!(target: "ioctx", "deregister: {error}");
                }
            }
        }
    }

    fn follow(&self, state: &State, next: Next) {
        match next {
            Next::Keep => {}
            Next::Interest(interest) => state.set_interest(interest),
            Next::Pause(pause) => {
                if let Some(entry) = state.slot().and_then(|slot| self.handle.engine.reactor.entry(slot)) {
                    self.handle.engine.pause(&entry, pause, self.origin);
                }
            }
            Next::Release => return self.release(state),
        }
        if let Err(error) = self.watch_again(state) {
            log::error!(target: "ioctx", "cannot watch on, from {}: {error}", self.origin.location);
        }
    }
}

impl<S, F> Handler for Callback<S, F>
where
    S: Source + 'static,
    F: FnMut(&Io<'_, S>, Ready) -> Next + 'static,
{
    fn dispatch(&self, state: &State) {
        let engine = &*self.handle.engine;
        let next = {
            let source = self.source.borrow();
            let mut callback = self.callback.borrow_mut();
            let (Some(source), Some(callback)) = (source.as_ref(), callback.as_mut()) else {
                return;
            };
            let budget = Budget::new(&engine.config);
            let io = Io::new(source, state, engine, &budget);
            engine.call("callback", self.origin, || callback(&io, state.wanted()))
        };
        if state.token().is_some() {
            self.follow(state, next);
        } else {
            self.finish_release(); // It was released from inside.
        }
    }

    fn cancel(&self, _state: &State, _sequence: u64) -> bool {
        false
    }

    fn abandon(&self) {
        self.leave_poller();
        let source = self.source.try_borrow_mut().ok().and_then(|mut source| source.take());
        let callback = self.callback.try_borrow_mut().ok().and_then(|mut callback| callback.take());
        drop((source, callback));
    }

    fn describe(&self, tell: &mut dyn FnMut(Work)) {
        if !self.background.get() {
            let endpoint = self.source.try_borrow().ok().and_then(|source| endpoint(source.as_ref()?));
            tell(Work::new("registration", short_name::<S>(), endpoint, self.origin));
        }
    }
}

impl<S: Source + 'static, F> Drop for Callback<S, F> {
    fn drop(&mut self) {
        if let (Some(source), Some(_)) = (self.source.get_mut().as_mut(), self.in_poller.take()) {
            let _ = self.handle.engine.reactor.deregister(source); // Closing it is next, whatever this says.
        }
        if self.source.take().is_some() {
            self.handle.engine.descriptor_closed();
        }
    }
}

/// What a [`Registration`] needs of its entry, whatever the callback's type.
trait Registered<S> {
    fn state(&self) -> &State;
    fn change_interest(&self, interest: Interest) -> io::Result<()>;
    fn enqueue(self: Rc<Self>);
    fn release(&self);
    fn take_source(&self) -> io::Result<S>;
    fn make_background(&self);
}

impl<S, F> Registered<S> for Entry<Callback<S, F>>
where
    S: Source + 'static,
    F: FnMut(&Io<'_, S>, Ready) -> Next + 'static,
{
    fn state(&self) -> &State {
        &self.state
    }

    fn change_interest(&self, interest: Interest) -> io::Result<()> {
        self.state.set_interest(interest);
        self.handler.watch_again(&self.state)
    }

    fn enqueue(self: Rc<Self>) {
        let engine = Rc::clone(&self.handler.handle.engine);
        let entry: AnyEntry = self;
        engine.enqueue(&entry);
    }

    fn release(&self) {
        self.handler.release(&self.state);
    }

    fn take_source(&self) -> io::Result<S> {
        self.handler.release(&self.state);
        let mut source = self.handler.source.try_borrow_mut().map_err(|_| {
            io::Error::new(ErrorKind::ResourceBusy, "the source is in its callback: return Next::Release")
        })?;
        source.take().ok_or_else(crate::error::context_gone)
    }

    fn make_background(&self) {
        if self.state.token().is_some() && !self.handler.background.replace(true) {
            self.handler.handle.engine.scheduler.work_finished();
        }
    }
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
        return Some(mio::Interest::READABLE | mio::Interest::WRITABLE);
    }
    if is::<S, mio::net::TcpListener>() || is::<S, mio::net::UnixListener>() {
        return Some(mio::Interest::READABLE);
    }
    let readable = interest.is_readable().then_some(mio::Interest::READABLE);
    let writable = interest.is_writable().then_some(mio::Interest::WRITABLE);
    match (readable, writable) {
        (Some(readable), Some(writable)) => Some(readable | writable),
        (one, other) => one.or(other),
    }
}

/// TCP is also watched for urgent data, because a read stops short at it without another event.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(crate) const STREAM: mio::Interest =
    mio::Interest::READABLE.add(mio::Interest::WRITABLE).add(mio::Interest::PRIORITY);
#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(crate) const STREAM: mio::Interest = mio::Interest::READABLE.add(mio::Interest::WRITABLE);

fn is<S: 'static, T: 'static>() -> bool {
    TypeId::of::<S>() == TypeId::of::<T>()
}

/// Whether the source is one of mio's own, which arms itself again on mio's poll(2) backend.
fn is_mio_source<S: 'static>() -> bool {
    std::any::type_name::<S>().starts_with("mio::")
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
