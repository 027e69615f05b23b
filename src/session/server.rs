//! `serve`: a session for every connection that an acceptor accepts.

use super::Session;
use super::door::Door;
use super::endpoint::Endpoint;
use super::flow::Asked;
use super::kind::StreamAcceptor;
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
    let door = Door::new(handle.clone(), origin, listener, make);
    door.open()?;
    Ok(Server { handle, origin, door })
}

/// A server that [`serve`] has started. Cheap to clone; clones are the same server. Dropping it detaches it.
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
    /// The endpoint that clients connect to; `None` once it is shut down.
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
        if deadline == Duration::MAX || self.door.is_empty() {
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
