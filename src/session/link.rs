//! A connection from the inside: its transport, its session, and the verbs that others use on it.
//!
//! Whatever is asked of a link from outside of its own dispatch is noted, and done in a dispatch: in this turn if step
//! 5 is not over. So no session is called by a call of another, and all of it happens in one place, `visit.rs`.

use super::Session;
use super::endpoint::Endpoint;
use super::flow::{Asked, Flow, OurEnd, Phase};
use super::outcome::Reason;
use super::roster::Roster;
use super::timing::Timing;
use super::transport::Transport;
use crate::config::Config;
use crate::engine::buffers::Gather;
use crate::engine::reactor::Entry;
use crate::engine::ready_state::State;
use crate::engine::state::Engine;
use crate::engine::trace::{TARGET, tell};
use crate::handle::Handle;
use crate::key::Origin;
use crate::ready::Ready;
use std::cell::{Cell, OnceCell, RefCell};
use std::io;
use std::rc::Rc;
use std::time::Duration;

/// The handle on one connection: cheap to clone, and harmless after the connection has ended.
///
/// Every method of a [`Session`] is handed its own; a clone may be kept by whoever wants to send to the connection or
/// to end it: another session, a timer, a channel, a list of all members of a room. It does not keep the connection
/// open. Connections are equal when they are the same connection.
///
/// ```
/// use ioctx::session::{Connection, Session};
/// use std::{cell::RefCell, rc::Rc};
///
/// /// Whatever one says, all the others hear.
/// struct Member {
///     room: Rc<RefCell<Vec<Connection>>>,
/// }
///
/// impl Session for Member {
///     fn opened(&mut self, connection: &Connection) {
///         self.room.borrow_mut().push(connection.clone());
///     }
///
///     fn received(&mut self, connection: &Connection, bytes: &[u8]) -> usize {
///         let shared = Rc::from(bytes); // one copy, however many listen
///         for other in self.room.borrow().iter().filter(|other| *other != connection) {
///             other.send_shared(&shared);
///         }
///         bytes.len()
///     }
///
///     fn closed(&mut self, connection: &Connection, _: ioctx::session::Reason) {
///         self.room.borrow_mut().retain(|other| other != connection);
///     }
/// }
/// ```
#[derive(Clone)]
pub struct Connection {
    pub(super) link: Rc<Link>,
}

// In this order: what each message touches comes first, in some 150 bytes. Among thousands of connections each line of
// memory is one that no cache holds.
#[repr(C)]
pub(crate) struct Link {
    pub(super) state: State,
    pub(super) handle: Handle,
    /// Not 0 while nothing is to be done but to read: what a method of the session may then gather, in bytes.
    pub(super) calm: Cell<u16>,
    /// Not 0 while a method of the session runs and nothing but small sends has happened in it: what it may gather.
    /// So `send` has one thing to look at.
    pub(super) room: Cell<u16>,
    /// Whether the poller tells when there is room: from the first write on that finds none.
    is_watched_for_room: Cell<bool>,
    /// What is queued is written when the dispatch in progress, another's, is over.
    pub(super) is_to_be_flushed: Cell<bool>,
    /// `None` when the connection has ended, or its socket was taken out. Borrowed for single system calls only.
    pub(super) transport: RefCell<Option<Transport>>,
    /// `None` when the connection has ended. Borrowed while a method of the session runs.
    pub(super) body: RefCell<Option<Body>>,
    pub(super) timing: OnceCell<Box<Timing>>,
    /// The roster of its server.
    pub(super) roster: Option<Rc<Roster<Link>>>,
    /// Bytes that `send` has written straight to the socket, and the turn in which it did.
    pub(super) straight: Cell<(u32, u32)>,
    pub(super) flow: Flow,
    /// Why it ends; set with `Phase::Ending` and `Phase::Broken`.
    pub(super) reason: Cell<Option<Reason>>,
    pub(super) origin: Origin,
    pub(super) id: u64,
    pub(super) remote: Option<Endpoint>,
    /// Its key in the roster.
    pub(super) roster_key: Cell<usize>,
}

/// The session, and the handle that it is handed. This makes a cycle, which the end of the connection takes apart, and
/// the end of the context too, because every link that is not ended is in the slab or on the ready list.
pub(super) struct Body {
    pub(super) session: Box<dyn Session>,
    pub(super) connection: Connection,
}

// Beginning.
impl Link {
    pub(super) fn new(
        handle: &Handle,
        origin: Origin,
        remote: Option<Endpoint>,
        phase: Phase,
        roster: Option<&Rc<Roster<Link>>>,
    ) -> Rc<Link> {
        let engine = &handle.engine;
        engine.buffers.provide(engine.config.read_buffer, engine.config.largest_read());
        Rc::new(Link {
            state: State::default(),
            handle: handle.clone(),
            origin,
            id: engine.next_sequence(),
            remote,
            flow: Flow::new(phase, &engine.config),
            transport: RefCell::new(None),
            is_watched_for_room: Cell::new(false),
            body: RefCell::new(None),
            calm: Cell::new(0),
            room: Cell::new(0),
            is_to_be_flushed: Cell::new(false),
            straight: Cell::new((0, 0)),
            reason: Cell::new(None),
            timing: OnceCell::new(),
            roster: roster.cloned(),
            roster_key: Cell::new(0),
        })
    }

    /// Enters the slab, and the poller with its transport. From here on it is outstanding, until it has ended.
    pub(super) fn begin(self: &Rc<Self>, mut transport: Transport, session: Box<dyn Session>) -> io::Result<()> {
        let token = self.enter_slab()?;
        if let Err(error) = transport.register(self.engine(), token, false) {
            drop(self.engine().remove(&self.state));
            return Err(error);
        }
        self.start(Some(transport), session);
        self.become_open();
        Ok(())
    }

    /// As `begin`, for a connection that is being made: that it cannot be is told to its session. Fails only if the
    /// context has gone.
    pub(super) fn begin_connecting(
        self: &Rc<Self>,
        transport: Result<Transport, Reason>,
        session: Box<dyn Session>,
    ) -> io::Result<()> {
        let token = self.enter_slab()?;
        let registered = transport.and_then(|mut transport| match transport.register(self.engine(), token, true) {
            Ok(()) => {
                self.is_watched_for_room.set(true);
                Ok(transport)
            }
            Err(error) => Err(Reason::Error(error)),
        });
        match registered {
            Ok(transport) => {
                self.start(Some(transport), session);
                self.state.set_interest(self.flow.interest());
            }
            Err(reason) => {
                self.start(None, session);
                self.fail(reason);
            }
        }
        Ok(())
    }

    fn enter_slab(self: &Rc<Self>) -> io::Result<mio::Token> {
        self.engine().check_alive()?;
        let entry: Entry = self.clone();
        Ok(self.engine().reactor.insert(&entry))
    }

    fn start(self: &Rc<Self>, transport: Option<Transport>, session: Box<dyn Session>) {
        let engine = self.engine();
        let connection = Connection { link: Rc::clone(self) };
        *self.transport.borrow_mut() = transport;
        *self.body.borrow_mut() = Some(Body { session, connection });
        engine.scheduler.work_started();
        if let Some(roster) = &self.roster {
            self.roster_key.set(roster.enter(self));
        }
        tell!(engine, "registered token {}: session", self.state.slot().unwrap_or_default());
    }

    /// The connection is there: accepted, adopted, or made at last.
    pub(super) fn become_open(self: &Rc<Self>) {
        self.flow.phase.set(Phase::Open);
        self.state.set(Ready::WRITABLE); // As every fresh connection is.
        if let Some(timeout) = self.roster.as_ref().and_then(|roster| roster.idle_timeout.get()) {
            self.set_idle_timeout(Some(timeout));
        }
        self.ask(Asked::OPENED);
        self.log("opened");
    }

    pub(super) fn engine(&self) -> &Rc<Engine> {
        &self.handle.engine
    }
}

// Asking.
impl Link {
    /// Asks for something to be told to the session.
    pub(super) fn ask(self: &Rc<Self>, what: Asked) {
        if !self.flow.is_over() {
            self.flow.ask(what);
            self.look();
        }
    }

    /// Asks for `stopping`, when what has arrived by now was shown.
    pub(super) fn ask_to_stop(self: &Rc<Self>) {
        let arrived = self.transport.borrow().as_ref().map_or(0, |transport| transport.unread());
        self.flow.unread_before_stopping.set(arrived);
        self.ask(Asked::STOPPING);
    }

    /// Something has changed that a dispatch must see to: one to come, or the one in progress.
    pub(super) fn look(self: &Rc<Self>) {
        self.disturb();
        self.state.demand_call();
        if self.state.is_due_anew() {
            let entry: Entry = self.clone();
            self.engine().enqueue(&entry);
        }
    }

    /// Whether a method of this connection's own session runs: what it sends is gathered.
    pub(super) fn in_method(&self) -> bool {
        self.body.try_borrow().is_err()
    }

    pub(super) fn disturb(&self) {
        self.calm.set(0);
        self.room.set(0);
    }

    /// Ends the connection, for this reason unless there is one already; `closed` is told in a dispatch.
    pub(super) fn fail(self: &Rc<Self>, reason: Reason) {
        if !self.flow.is_over() {
            if self.flow.phase.get() == Phase::Broken {
                drop(reason); // What broke it is what the session wants to know.
            } else {
                self.reason.set(Some(reason));
            }
            self.flow.phase.set(Phase::Ending);
            self.look();
        }
    }

    /// A write has failed. Nothing more can be sent; what the peer has sent before is still read.
    pub(super) fn break_off(&self, error: io::Error) {
        if matches!(self.flow.phase.get(), Phase::Open | Phase::Closing) {
            self.reason.set(Some(Reason::Error(error)));
            self.flow.phase.set(if self.flow.phase.get() == Phase::Open { Phase::Broken } else { Phase::Ending });
            self.state.set(Ready::READABLE); // A read shall show whether there is anything, whatever is known.
            self.disturb();
        }
    }

    pub(super) fn abort(self: &Rc<Self>) {
        if !self.flow.is_over() {
            if let Some(transport) = &*self.transport.borrow() {
                transport.reset_on_close();
            }
            self.fail(Reason::Aborted);
        }
    }

    pub(super) fn close_after_flush(self: &Rc<Self>, deadline: Duration) {
        match self.flow.phase.get() {
            Phase::Open => {
                self.flow.phase.set(Phase::Closing);
                self.want_our_end();
            }
            Phase::Connecting if self.flow.queued() == 0 => return self.fail(Reason::Finished),
            Phase::Connecting => return self.close_when_open(deadline),
            Phase::Closing if self.flow.our_end.get() == OurEnd::Wanted => {}
            _ => return,
        }
        if self.flow.our_end.get() == OurEnd::Sent {
            self.wait_for_peer(); // There is nothing left that the deadline could be for.
        } else {
            self.limit(deadline, || Reason::DeadlinePassed);
        }
    }

    /// Of the limit on connecting and that on closing, the one that comes first holds until the connection is there.
    fn close_when_open(self: &Rc<Self>, deadline: Duration) {
        self.flow.closes_when_open.set(true);
        self.want_our_end();
        let closing_at = (deadline != Duration::MAX).then(|| self.engine().clock.after(deadline));
        let timing = self.timing();
        timing.closing_at.set(closing_at);
        let first = [timing.deadline_at.get(), closing_at].into_iter().flatten().min();
        self.limit_at(first, || Reason::DeadlinePassed);
    }

    /// The connection is there, and is to be closed.
    pub(super) fn close_now_open(self: &Rc<Self>) {
        self.flow.phase.set(Phase::Closing);
        self.limit_at(self.timing().closing_at.get(), || Reason::DeadlinePassed);
    }

    /// Everything is sent, our end too: a living peer ends its stream soon.
    pub(super) fn wait_for_peer(self: &Rc<Self>) {
        self.limit(self.config().grace, || Reason::Finished);
    }

    pub(super) fn shutdown_send(self: &Rc<Self>) {
        if matches!(self.flow.phase.get(), Phase::Open | Phase::Connecting) {
            self.want_our_end();
        }
    }

    fn want_our_end(self: &Rc<Self>) {
        if self.flow.our_end.get() == OurEnd::NotYet {
            self.flow.our_end.set(OurEnd::Wanted);
        }
        self.look();
    }

    pub(super) fn set_paused(self: &Rc<Self>, paused: bool) {
        if !self.flow.is_over() {
            self.flow.set_paused(paused);
            self.look();
        }
    }
}

// Ending.
impl Link {
    /// Lets go of everything but the session, which is handed out. Nothing reaches this link from here on.
    pub(super) fn let_go(&self) -> Option<Body> {
        let engine = self.engine();
        self.flow.phase.set(Phase::Ended);
        self.disturb();
        if let Some(timing) = self.timing.get() {
            self.disarm(timing.idle_timer.take());
            self.disarm(timing.deadline.take());
        }
        let slot = self.state.slot();
        self.tell_what_is_lost();
        drop(self.take_transport());
        let entry = engine.remove(&self.state);
        engine.work_finished();
        engine.descriptor_closed();
        self.flow.queue.take();
        self.flow.tail.take();
        self.leave_roster();
        let body = self.body.borrow_mut().take();
        drop(entry);
        // Told when nothing can be lost any more, whatever the logger does.
        tell!(engine, "deregistered token {}: session", slot.unwrap_or_default());
        self.log("closed");
        body
    }

    /// A peer that does not get all that was sent to it must not take the end for a proper one.
    fn tell_what_is_lost(&self) {
        let is_cut_off = !self.flow.queue.borrow().is_empty();
        if let (true, Some(transport)) = (is_cut_off, &*self.transport.borrow()) {
            transport.reset_on_close();
        }
    }

    /// For those who listen at level `info`: connections come and go.
    pub(super) fn log(&self, what: &str) {
        if log::log_enabled!(target: TARGET, log::Level::Info) {
            let remote = self.remote.as_ref().map(|remote| remote.to_string()).unwrap_or_default();
            log::info!(target: TARGET, "{what} session {} {remote}", self.id);
        }
    }

    /// Takes the transport out, and out of the poller.
    pub(super) fn take_transport(&self) -> Option<Transport> {
        let mut transport = self.transport.borrow_mut().take()?;
        if let Err(error) = transport.deregister(self.engine()) {
            log::debug!(target: TARGET, "deregister: {error}");
        }
        Some(transport)
    }

    pub(super) fn leave_roster(&self) {
        if let Some(roster) = &self.roster {
            roster.leave(self.roster_key.get(), self.engine());
        }
    }

    /// What the poller is to tell of from now on, and whether that is all there is to do.
    pub(super) fn settle(&self) {
        let interest = self.flow.interest();
        self.state.set_interest(interest);
        if interest.is_writable() && !self.state.ready().is_writable() && !self.is_watched_for_room.replace(true) {
            self.watch_for_room();
        }
        self.calm.set(if self.flow.is_calm() { self.gather_limit() } else { 0 });
    }

    fn watch_for_room(&self) {
        if let (Some(token), Some(transport)) = (self.state.token(), &mut *self.transport.borrow_mut()) {
            if let Err(error) = transport.watch_for_room(self.engine(), token) {
                log::error!(target: TARGET, "cannot watch on, from {}: {error}", self.origin.location);
            }
        }
    }

    /// What a method of the session may gather before it is told to stop.
    pub(super) fn gather_limit(&self) -> u16 {
        u16::try_from(self.flow.limits.get().high.get()).unwrap_or(Gather::ROOM)
    }

    pub(super) fn config(&self) -> &Config {
        &self.engine().config
    }
}
