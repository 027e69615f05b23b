//! What accepts the connections of a server.

use super::Session;
use super::endpoint::Endpoint;
use super::flow::Phase;
use super::kind::SessionProtocol;
use super::link::Link;
use super::roster::Roster;
use super::transport::forget_linger;
use crate::engine::dispatch::Dispatch;
use crate::engine::reactor::{Entry, Reactor};
use crate::engine::ready_state::State;
use crate::engine::trace::{TARGET, tell};
use crate::handle::Handle;
use crate::key::Origin;
use crate::outstanding::Work;
use crate::readiness::budget::Budget;
use crate::readiness::io::Io;
use crate::ready::Interest;
use crate::socket::accept::{is_of_the_connection, is_starvation};
use crate::socket::descriptor::{local_endpoint, may_listen};
use crate::socket::{StreamAcceptor, StreamProtocol};
use std::cell::{Cell, RefCell};
use std::fs::File;
use std::io::{self, ErrorKind};
use std::rc::Rc;

/// Makes the session of a new connection.
pub(super) type Factory<P> = Box<dyn FnMut(<P as StreamProtocol>::Endpoint) -> Box<dyn Session>>;

/// What a server does with its door, whatever the protocol.
pub(super) trait Accepting {
    /// Stops accepting, for good. Clients in the backlog are reset.
    fn close(&self);
    fn local_endpoint(&self) -> Option<Endpoint>;
    fn roster(&self) -> &Rc<Roster<Link>>;
    /// Whether a session is just being made, for a connection that is in no book yet.
    fn is_making(&self) -> bool;
    fn set_max_connections(&self, connections: usize);
    fn set_shedding(&self, sheds: bool);
}

pub(super) struct Door<P: SessionProtocol> {
    state: State,
    handle: Handle,
    origin: Origin,
    /// `None` once the server is shut down.
    listener: RefCell<Option<P::Listener>>,
    /// Borrowed while it runs.
    factory: RefCell<Option<Factory<P>>>,
    /// The acceptor was told to linger: whoever is accepted inherits that, and is to forget it.
    lingers: bool,
    roster: Rc<Roster<Link>>,
    max_connections: Cell<usize>,
    /// A descriptor kept back, to be given up for one that takes a waiting client and sheds it.
    reserve: RefCell<Option<File>>,
    sheds: Cell<bool>,
    /// Out of descriptors, with clients waiting: said once, until none waits.
    starving: Cell<bool>,
}

impl<P: SessionProtocol> Door<P> {
    /// Takes the acceptor's descriptor.
    pub(super) fn new(acceptor: &StreamAcceptor<P>, origin: Origin, factory: Factory<P>) -> io::Result<Rc<Self>> {
        if !acceptor.object.with(|listener| Ok(may_listen(listener)))? {
            return Err(io::Error::new(ErrorKind::InvalidInput, "the acceptor does not listen"));
        }
        let listener = acceptor.object.release()?;
        Ok(Rc::new(Door {
            lingers: socket2::SockRef::from(&listener).linger().is_ok_and(|linger| linger.is_some()),
            state: State::default(),
            handle: acceptor.as_ref().clone(),
            origin,
            listener: RefCell::new(Some(listener)),
            factory: RefCell::new(Some(factory)),
            roster: Roster::new(),
            max_connections: Cell::new(usize::MAX),
            reserve: RefCell::new(None),
            sheds: Cell::new(false),
            starving: Cell::new(false),
        }))
    }

    /// Enters the slab and the poller. It is outstanding until it is closed.
    pub(super) fn open(self: &Rc<Self>) -> io::Result<()> {
        let engine = &self.handle.engine;
        engine.check_alive()?;
        let entry: Entry = self.clone();
        let token = engine.reactor.insert(&entry);
        let registered = match &mut *self.listener.borrow_mut() {
            Some(listener) => engine.reactor.register(listener, token, mio::Interest::READABLE),
            None => Err(crate::error::not_open()),
        };
        if let Err(error) = registered {
            drop(engine.remove(&self.state));
            return Err(error);
        }
        self.state.set_interest(Interest::READABLE);
        engine.scheduler.work_started();
        tell!(engine, "registered token {}: server", self.state.slot().unwrap_or_default());
        Ok(())
    }

    /// Takes the reserve as soon as there is a descriptor for it.
    fn keep_reserve(&self) {
        if self.sheds.get() && self.reserve.borrow().is_none() {
            *self.reserve.borrow_mut() = File::open("/dev/null").ok();
        }
    }

    /// There may be room now, or nobody who waits is kept waiting any more.
    fn look_for_room(&self) {
        if let Some(entry) = self.entry() {
            self.state.set_interest(Interest::READABLE);
            self.handle.engine.enqueue(&entry);
        }
    }

    fn is_full(&self) -> bool {
        self.roster.len() >= self.max_connections.get()
    }

    fn entry(&self) -> Option<Entry> {
        self.handle.engine.reactor.entry(self.state.slot()?)
    }

    /// Accepts one, if one waits and there is room. `None`: not now.
    fn accept(&self, budget: &Budget) -> Option<(P::Stream, P::Endpoint)> {
        let engine = &self.handle.engine;
        loop {
            let accepted = {
                let listener = self.listener.borrow();
                Io::new(listener.as_ref()?, &self.state, engine, budget)
                    .try_io(Interest::READABLE, |listener| self.accept_from(listener))
            };
            match accepted {
                Ok(accepted) => return Some(accepted),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    if !self.state.ready().is_readable() {
                        self.starving.set(false); // Nobody waits: the next want of descriptors is a new one.
                    }
                    return None;
                }
                Err(error) if is_of_the_connection(&error) => {}
                Err(error) => {
                    if !self.shed_with_reserve(&error, budget) {
                        self.wait_for_descriptor(&error);
                        return None;
                    }
                }
            }
        }
    }

    fn accept_from(&self, listener: &P::Listener) -> io::Result<(P::Stream, P::Endpoint)> {
        let (stream, peer) = P::accept(listener)?;
        if self.lingers {
            forget_linger(&stream);
        }
        Ok((stream, peer))
    }

    /// Gives up the reserve for a waiting client, and closes that one. Whether it worked, or nobody waits.
    fn shed_with_reserve(&self, error: &io::Error, budget: &Budget) -> bool {
        if !is_starvation(error) || self.reserve.borrow_mut().take().is_none() {
            return false;
        }
        let accepted = {
            let listener = self.listener.borrow();
            listener.as_ref().map(|listener| {
                Io::new(listener, &self.state, &self.handle.engine, budget)
                    .try_io(Interest::READABLE, |listener| self.accept_from(listener))
            })
        };
        let done = match &accepted {
            Some(Ok(_)) => {
                self.roster.shed.set(self.roster.shed.get() + 1);
                true
            }
            Some(Err(error)) => error.kind() == ErrorKind::WouldBlock,
            None => true,
        };
        drop(accepted);
        self.keep_reserve();
        done
    }

    /// No descriptor is free, or the listener is in some other trouble that may pass: it is tried again when a
    /// descriptor is closed, and after a while.
    fn wait_for_descriptor(&self, error: &io::Error) {
        if !self.starving.replace(true) {
            let trouble =
                if is_starvation(error) { "waits for a free descriptor" } else { "cannot accept, and tries again" };
            log::warn!(target: TARGET, "server {trouble}: {error}");
        }
        if let Some(entry) = self.entry() {
            self.handle.engine.starve(&entry);
        }
    }

    /// Gives a session to a connection.
    fn welcome(&self, stream: P::Stream, peer: P::Endpoint, session: Box<dyn Session>) {
        let link = Link::new(&self.handle, self.origin, Some(peer.into()), Phase::Open, Some(&self.roster));
        if let Err(error) = link.begin(P::into_transport(stream), session) {
            log::warn!(target: TARGET, "a connection was accepted and lost: {error}");
            return;
        }
        self.roster.accepted.set(self.roster.accepted.get() + 1);
        if self.listener.borrow().is_none() {
            link.ask_to_stop(); // The factory has shut the server down.
        }
    }
}

impl<P: SessionProtocol> Accepting for Door<P> {
    fn close(&self) {
        let engine = &self.handle.engine;
        let Some(mut listener) = self.listener.borrow_mut().take() else {
            return;
        };
        if let Err(error) = engine.reactor.deregister(&mut listener) {
            log::debug!(target: TARGET, "deregister: {error}");
        }
        let entry = engine.remove(&self.state);
        engine.work_finished();
        drop(listener);
        self.reserve.take();
        self.roster.stop_waiting();
        engine.descriptor_closed();
        let factory = self.factory.try_borrow_mut().ok().and_then(|mut factory| factory.take());
        drop((entry, factory));
    }

    fn local_endpoint(&self) -> Option<Endpoint> {
        let endpoint = local_endpoint::<P>(self.listener.borrow().as_ref()?);
        endpoint.ok().map(P::Endpoint::into)
    }

    fn roster(&self) -> &Rc<Roster<Link>> {
        &self.roster
    }

    fn is_making(&self) -> bool {
        self.factory.try_borrow().is_err()
    }

    fn set_max_connections(&self, connections: usize) {
        self.max_connections.set(connections);
        self.look_for_room();
    }

    fn set_shedding(&self, sheds: bool) {
        self.sheds.set(sheds);
        self.reserve.take();
        self.keep_reserve();
        self.look_for_room();
    }
}

impl<P: SessionProtocol> Dispatch for Door<P> {
    fn state(&self) -> &State {
        &self.state
    }

    fn reactor(&self) -> &Reactor {
        &self.handle.engine.reactor
    }

    fn can_wait(&self) -> bool {
        true
    }

    fn dispatch(&self) {
        let engine = &self.handle.engine;
        let budget = Budget::new();
        let mut counted = false;
        let _end = EndOfFactory(self);
        self.keep_reserve();
        loop {
            if self.is_full() && !self.sheds.get() {
                if let Some(entry) = self.entry() {
                    self.roster.wait_for_room(entry);
                }
                break;
            }
            let Some((stream, peer)) = self.accept(&budget) else {
                break;
            };
            if self.is_full() {
                self.roster.shed.set(self.roster.shed.get() + 1);
                continue;
            }
            let mut factory = self.factory.borrow_mut();
            let Some(make) = factory.as_mut() else {
                break;
            };
            if !std::mem::replace(&mut counted, true) {
                engine.turn.count_handler();
            }
            let session = engine.call_on("factory", &self.origin, || make(peer.clone()));
            drop(factory);
            self.welcome(stream, peer, session);
            if engine.must_leave() {
                break;
            }
        }
    }

    fn cancel(&self, _sequence: u64) -> bool {
        false
    }

    fn abandon(&self) {
        if let Some(mut listener) = self.listener.take() {
            let _ = self.handle.engine.reactor.deregister(&mut listener); // It is closed next, whatever this says.
        }
        self.roster.stop_waiting();
        let factory = self.factory.try_borrow_mut().map(|mut factory| factory.take());
        drop(factory);
    }

    fn describe(&self, tell: &mut dyn FnMut(Work)) {
        let endpoint = self.local_endpoint().map(|endpoint| endpoint.to_string());
        tell(Work::new("server", "Server", endpoint, self.origin));
    }
}

/// A factory that has shut its own server down is dropped when it has returned, or panicked: it may keep the server.
struct EndOfFactory<'a, P: SessionProtocol>(&'a Door<P>);

impl<P: SessionProtocol> Drop for EndOfFactory<'_, P> {
    fn drop(&mut self) {
        if self.0.listener.borrow().is_none() {
            let factory = self.0.factory.try_borrow_mut().ok().and_then(|mut factory| factory.take());
            drop(factory);
        }
    }
}
