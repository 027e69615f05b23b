//! `serve`: a session for every connection that an acceptor accepts.

use super::Session;
use super::door::Door;
use super::endpoint::Endpoint;
use super::flow::Asked;
use super::kind::{StreamAcceptor, StreamSocket};
use super::link::Connection;
use super::outcome::Reason;
use crate::engine::state::{Alarm, Armed};
use crate::handle::Handle;
use crate::key::Origin;
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
pub fn serve<A, S, F>(acceptor: A, mut factory: F) -> io::Result<Server>
where
    A: StreamAcceptor,
    S: Session,
    F: FnMut(A::Peer) -> S + 'static,
{
    let location = Location::caller();
    let (handle, listener) = acceptor.into_listener()?;
    let origin = handle.engine.origin(location);
    let make = Box::new(move |peer| Box::new(factory(A::peer(peer))) as Box<dyn Session>);
    let door = Door::new(handle.clone(), origin, Some((listener, make)));
    door.open()?;
    Ok(Server { handle, origin, door })
}

/// A server that [`serve`] has started, or one [without a listener](Server::without_listener). Cheap to clone; clones
/// are the same server. Dropping it detaches it.
#[derive(Clone)]
pub struct Server {
    handle: Handle,
    origin: Origin,
    door: Rc<Door>,
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
    /// A server that accepts nobody: connections come to it through [`adopt`](Server::adopt), from wherever they were
    /// accepted. As any server it is outstanding until it is [shut down](Server::shutdown).
    ///
    /// # Errors
    ///
    /// The context has gone.
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
    /// let server = Server::without_listener(&io)?;
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
    pub fn without_listener(context: &impl AsRef<Handle>) -> io::Result<Server> {
        let handle = context.as_ref().clone();
        let origin = handle.engine.origin(Location::caller());
        let door = Door::new(handle.clone(), origin, None);
        door.open()?;
        Ok(Server { handle, origin, door })
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
    pub fn adopt(&self, socket: impl StreamSocket, session: impl Session) -> io::Result<Connection> {
        let location = Location::caller();
        let (handle, transport) = socket.into_transport()?;
        if !Rc::ptr_eq(&handle.engine, &self.handle.engine) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "the socket belongs to another context"));
        }
        handle.engine.check_alive()?;
        if !self.door.is_open() {
            return Err(crate::error::not_open());
        }
        let origin = handle.engine.origin(location);
        let peer = transport.remote_endpoint();
        let link = self.door.welcome(origin, transport, peer, Box::new(session))?;
        Ok(Connection { link })
    }

    /// The endpoint that clients connect to; `None` once it is shut down, and without a listener.
    pub fn local_endpoint(&self) -> Option<Endpoint> {
        self.door.local_endpoint()
    }

    /// With this many connections open, further clients wait in the backlog until one ends, or are
    /// [shed](Server::set_shedding). At first there is no limit.
    pub fn set_max_connections(&self, connections: usize) {
        self.door.max_connections.set(connections);
        self.door.look_for_room();
    }

    /// Whether a client for whom there is no room (the [limit](Server::set_max_connections) is reached, or no
    /// descriptor is free) is accepted and closed at once, instead of being kept waiting. At first it is not.
    ///
    /// For the case of no free descriptor, one is kept in reserve from here on.
    pub fn set_shedding(&self, shed: bool) {
        self.door.set_shedding(shed);
    }

    /// Ends the server: stops accepting at once, tells every session that it is
    /// [`stopping`](Session::stopping), lets them finish, and ends those that have not when `deadline` has passed, with
    /// [`Reason::DeadlinePassed`]. `run` returns when nothing else is outstanding.
    ///
    /// Called again, the deadline that comes first holds.
    pub fn shutdown(&self, deadline: Duration) {
        self.door.close();
        for link in self.door.roster.members() {
            link.ask(Asked::STOPPING);
        }
        let engine = &self.handle.engine;
        if deadline == Duration::MAX || self.door.roster.len() == 0 {
            return;
        }
        let roster = Rc::clone(&self.door.roster);
        let alarm = Alarm::Internal(Box::new(move |_| {
            for link in roster.members() {
                link.fail(Reason::DeadlinePassed);
            }
        }));
        let at = engine.clock.after(deadline);
        engine.arm(at, Armed { kind: "shutdown", origin: self.origin, background: true, alarm });
    }

    /// What was counted so far.
    pub fn stats(&self) -> Stats {
        let roster = &self.door.roster;
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
        &self.handle
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("local", &self.local_endpoint()).field("stats", &self.stats()).finish()
    }
}
