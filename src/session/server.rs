//! `serve`: a session for every connection that an acceptor accepts.

use super::Session;
use super::client::{adopt_into, connect_into, connect_with};
use super::door::{Accepting, Door};
use super::endpoint::Endpoint;
use super::kind::SessionProtocol;
use super::link::{Connection, Link};
use super::outcome::Reason;
use super::roster::Roster;
use crate::engine::state::Engine;
use crate::handle::Handle;
use crate::socket::{StreamAcceptor, StreamSocket};
use crate::work::WorkGuard;
use std::cell::{Cell, RefCell};
use std::fmt;
use std::io;
use std::panic::Location;
use std::rc::Rc;
use std::time::Duration;

/// Accepts connections, and gives each a session that `factory` makes, which is told the peer's endpoint.
///
/// The acceptor's descriptor moves into the server: other handles of it are not open any more. The server is
/// outstanding until it is [shut down](Server::shutdown), so `run` goes on; dropping the returned [`Server`] detaches
/// it.
///
/// Accepting takes a bounded number of connections per turn. A connection that its client gave up is passed over. When
/// no descriptor is free, the server says so once in the log, and tries again when this context closes a descriptor,
/// at the latest after [`Config::accept_retry`](crate::Config::accept_retry); waiting clients keep waiting, unless they
/// are to be [shed](Server::set_shedding). TCP connections get `TCP_NODELAY`, because what a session sends is gathered
/// already.
///
/// # Errors
///
/// The acceptor is not open or does not listen, or the context has gone.
///
/// ```
/// use ioctx::session::{self, Connection, Session};
/// use ioctx::{IoContext, ip::tcp};
/// use std::time::Duration;
///
/// struct Greeter(tcp::Endpoint);
///
/// impl Session for Greeter {
///     fn opened(&mut self, connection: &Connection) {
///         connection.send(format!("hello {}\n", self.0).as_bytes());
///         connection.close_after_flush(Duration::from_secs(5));
///     }
///
///     fn received(&mut self, _: &Connection, bytes: &[u8]) -> usize {
///         bytes.len()
///     }
/// }
///
/// let mut io = IoContext::new()?;
/// let acceptor = tcp::Acceptor::listen_on(&io, ([127, 0, 0, 1], 0).into())?;
/// let server = session::serve(acceptor, Greeter)?;
/// server.set_max_connections(10_000);
/// # server.shutdown(Duration::ZERO);
/// io.run()?;
/// # std::io::Result::Ok(())
/// ```
#[track_caller]
pub fn serve<P, S, F>(acceptor: StreamAcceptor<P>, mut factory: F) -> io::Result<Server>
where
    P: SessionProtocol,
    S: Session,
    F: FnMut(P::Endpoint) -> S + 'static,
{
    let handle = acceptor.as_ref().clone();
    let origin = handle.engine.origin(Location::caller());
    let make = Box::new(move |peer| Box::new(factory(peer)) as Box<dyn Session>);
    let door = Door::new(&acceptor, origin, make)?;
    door.open()?;
    Ok(Server::new(handle, Some(door)))
}

/// A server that [`serve`] has started, or one [without a listener](Server::without_listener). Cheap to clone; clones
/// are the same server. Dropping it detaches it.
#[derive(Clone)]
pub struct Server {
    shared: Rc<Shared>,
}

struct Shared {
    handle: Handle,
    roster: Rc<Roster<Link>>,
    /// What accepts. A server without it is kept outstanding by a guard.
    door: Option<Rc<dyn Accepting>>,
    guard: RefCell<Option<WorkGuard>>,
    /// Until it is shut down.
    open: Cell<bool>,
}

/// What a server has counted since it began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Connections that were given a session.
    pub accepted: u64,
    /// Of these, those that have not ended.
    pub open: usize,
    /// Connections that were closed at once instead, see [`Server::set_shedding`].
    pub shed: u64,
    /// Bytes that have arrived.
    pub bytes_received: u64,
    /// Bytes that were handed to the kernel.
    pub bytes_sent: u64,
}

impl Server {
    fn new(handle: Handle, door: Option<Rc<dyn Accepting>>) -> Server {
        let roster = door.as_ref().map_or_else(Roster::new, |door| Rc::clone(door.roster()));
        let (guard, open) = (RefCell::new(None), Cell::new(true));
        Server { shared: Rc::new(Shared { handle, roster, door, guard, open }) }
    }

    /// A server that accepts nobody: connections come to it through [`adopt`](Server::adopt) and
    /// [`connect`](Server::connect). As any server it is outstanding until it is [shut down](Server::shutdown).
    ///
    /// ```
    /// use ioctx::session::{Connection, Server, Session};
    /// use ioctx::{IoContext, ip::tcp};
    ///
    /// struct Echo;
    ///
    /// impl Session for Echo {
    ///     fn received(&mut self, connection: &Connection, bytes: &[u8]) -> usize {
    ///         connection.send(bytes);
    ///         bytes.len()
    ///     }
    /// }
    ///
    /// let mut io = IoContext::new()?;
    /// let server = Server::without_listener(&io);
    /// // Its streams come from another thread, through a channel.
    /// let serving = server.clone();
    /// let streams = io.channel(move |stream: std::net::TcpStream| {
    ///     let adopted = tcp::Socket::from_std(&serving, stream).and_then(|socket| serving.adopt(socket, Echo));
    ///     if let Err(error) = adopted {
    ///         eprintln!("a connection was lost: {error}");
    ///     }
    /// });
    /// # drop(streams);
    /// # server.shutdown(std::time::Duration::ZERO);
    /// io.run()?;
    /// # std::io::Result::Ok(())
    /// ```
    #[track_caller]
    pub fn without_listener(context: &impl AsRef<Handle>) -> Server {
        let handle = context.as_ref().clone();
        let guard = handle.work_guard();
        let server = Server::new(handle, None);
        server.shared.guard.replace(Some(guard));
        server
    }

    /// Gives a socket that is connected already to `session`, as [`session::adopt`](super::adopt), and makes the
    /// connection one of this server's: [`stats`](Server::stats) counts it as accepted, and
    /// [`shutdown`](Server::shutdown) ends it with the others. It is taken in also when the
    /// [limit](Server::set_max_connections) is reached, for that is a limit on accepting.
    ///
    /// # Errors
    ///
    /// The server is shut down, the socket is not open or belongs to another context (`InvalidInput`), or the context
    /// has gone. The session is dropped, and the socket closed.
    #[track_caller]
    pub fn adopt<P: SessionProtocol>(&self, socket: StreamSocket<P>, session: impl Session) -> io::Result<Connection> {
        let shared = &self.shared;
        if !Rc::ptr_eq(&socket.as_ref().engine, &shared.handle.engine) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "the socket belongs to another context"));
        }
        if !shared.open.get() {
            return Err(crate::error::not_open());
        }
        let connection = adopt_into(Some(&shared.roster), socket, session)?;
        shared.roster.accepted.set(shared.roster.accepted.get() + 1);
        Ok(connection)
    }

    /// Connects as a client, as [`session::connect`](super::connect), and makes the connection one of this server's:
    /// [`shutdown`](Server::shutdown) ends it with the others. For servers that talk to others on behalf of their
    /// clients. When the server is shut down already, the session is told so at once:
    /// [`Reason::DeadlinePassed`].
    #[track_caller]
    pub fn connect(&self, endpoint: impl Into<Endpoint>, limit: Duration, session: impl Session) -> Connection {
        let (shared, endpoint) = (&self.shared, endpoint.into());
        if shared.open.get() {
            return connect_into(&shared.handle, Some(&shared.roster), endpoint, limit, session);
        }
        connect_with(&shared.handle, Some(&shared.roster), endpoint, limit, Err(Reason::DeadlinePassed), session)
    }

    /// The endpoint that clients connect to; `None` once it is shut down, and without a listener.
    pub fn local_endpoint(&self) -> Option<Endpoint> {
        self.shared.door.as_ref()?.local_endpoint()
    }

    /// With this many connections open, further clients wait in the backlog until one ends, or are
    /// [shed](Server::set_shedding). Those it has [adopted](Server::adopt) and [made](Server::connect) count. At first
    /// there is no limit.
    pub fn set_max_connections(&self, connections: usize) {
        if let Some(door) = &self.shared.door {
            door.set_max_connections(connections);
        }
    }

    /// Whether a client for whom there is no room (the [limit](Server::set_max_connections) is reached, or no
    /// descriptor is free) is accepted and closed at once, instead of being kept waiting. At first it is not.
    ///
    /// For the case of no free descriptor, one is kept in reserve from here on.
    pub fn set_shedding(&self, shed: bool) {
        if let Some(door) = &self.shared.door {
            door.set_shedding(shed);
        }
    }

    /// Gives the connections that come from now on this [idle timeout](Connection::set_idle_timeout); a session may
    /// still set its own. At first there is none.
    pub fn set_idle_timeout(&self, timeout: Option<Duration>) {
        self.shared.roster.idle_timeout.set(timeout);
    }

    /// Ends the server: stops accepting at once, tells every session that it is
    /// [`stopping`](Session::stopping), lets them finish, and ends those that have not when `deadline` has passed, with
    /// [`Reason::DeadlinePassed`]. `run` returns when nothing else is outstanding.
    ///
    /// Called again, the deadline that comes first holds.
    pub fn shutdown(&self, deadline: Duration) {
        let shared = &self.shared;
        shared.open.set(false);
        shared.guard.take();
        if let Some(door) = &shared.door {
            door.close();
        }
        for link in shared.roster.members() {
            link.ask_to_stop();
        }
        let is_making = shared.door.as_ref().is_some_and(|door| door.is_making());
        if deadline == Duration::MAX || (shared.roster.len() == 0 && !is_making) {
            return;
        }
        let roster = Rc::clone(&shared.roster);
        let end_all = move |_: &Rc<Engine>| {
            for link in roster.members() {
                link.fail(Reason::DeadlinePassed);
            }
        };
        let engine = &shared.handle.engine;
        let at = engine.clock.after(deadline);
        engine.arm_act(at, end_all);
    }

    /// What was counted so far.
    pub fn stats(&self) -> Stats {
        let roster = &self.shared.roster;
        Stats {
            accepted: roster.accepted.get(),
            open: roster.len(),
            shed: roster.shed.get(),
            bytes_received: roster.bytes_received.get(),
            bytes_sent: roster.bytes_sent.get(),
        }
    }
}

impl std::ops::AddAssign for Stats {
    /// For the sum over several servers.
    fn add_assign(&mut self, other: Stats) {
        self.accepted += other.accepted;
        self.open += other.open;
        self.shed += other.shed;
        self.bytes_received += other.bytes_received;
        self.bytes_sent += other.bytes_sent;
    }
}

impl AsRef<Handle> for Server {
    fn as_ref(&self) -> &Handle {
        &self.shared.handle
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("local", &self.local_endpoint()).field("stats", &self.stats()).finish()
    }
}
