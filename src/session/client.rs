//! `connect` and `adopt`: a session for one connection that is made, or was made elsewhere.

use super::Session;
use super::endpoint::Endpoint;
use super::flow::Phase;
use super::kind::SessionProtocol;
use super::link::{Connection, Link};
use super::outcome::Reason;
use super::roster::Roster;
use super::transport::{Transport, forget_linger};
use crate::handle::Handle;
use crate::ip::tcp;
use crate::local;
use crate::socket::StreamSocket;
use crate::socket::connect as connecting;
use crate::socket::descriptor::open_stream;
use std::io;
use std::panic::Location;
use std::rc::Rc;
use std::time::Duration;

/// Connects as a client, and gives the connection to `session`.
///
/// `session` is told [`opened`](Session::opened) when the connection is there. If it cannot be made,
/// [`closed`](Session::closed) is told why: [`Reason::Error`], or [`Reason::DeadlinePassed`] if that takes longer than
/// `limit` (`Duration::MAX` is as long as the system tries). Both come later, from the loop. What is sent before the
/// connection is there is queued.
///
/// ```
/// use ioctx::IoContext;
/// use ioctx::session::{self, Connection, Reason, Session};
/// use std::time::Duration;
///
/// struct Client;
///
/// impl Session for Client {
///     fn opened(&mut self, connection: &Connection) {
///         connection.send(b"hello");
///     }
///
///     fn received(&mut self, connection: &Connection, bytes: &[u8]) -> usize {
///         println!("{:?}", bytes);
///         connection.close_after_flush(Duration::from_secs(1));
///         bytes.len()
///     }
///
///     fn closed(&mut self, _: &Connection, reason: Reason) {
///         println!("{reason}"); // nobody listens at this endpoint: refused
///     }
/// }
///
/// let mut io = IoContext::new()?;
/// let endpoint: std::net::SocketAddr = ([127, 0, 0, 1], 1).into();
/// session::connect(&io, endpoint, Duration::from_secs(5), Client);
/// io.run()?;
/// # std::io::Result::Ok(())
/// ```
#[track_caller]
pub fn connect(
    context: &impl AsRef<Handle>,
    endpoint: impl Into<Endpoint>,
    limit: Duration,
    session: impl Session,
) -> Connection {
    connect_into(context.as_ref(), None, endpoint.into(), limit, session)
}

/// As `connect`; the connection is one of a server's.
#[track_caller]
pub(super) fn connect_into(
    handle: &Handle,
    roster: Option<&Rc<Roster<Link>>>,
    endpoint: Endpoint,
    limit: Duration,
    session: impl Session,
) -> Connection {
    let begun = begin_connect(&endpoint).map_err(Reason::Error);
    connect_with(handle, roster, endpoint, limit, begun, session)
}

/// Begins with what connect(2) has begun. A failure is told later, from the loop, like all others; only a context that
/// has gone tells nothing.
#[track_caller]
pub(super) fn connect_with(
    handle: &Handle,
    roster: Option<&Rc<Roster<Link>>>,
    endpoint: Endpoint,
    limit: Duration,
    begun: Result<Transport, Reason>,
    session: impl Session,
) -> Connection {
    let origin = handle.engine.origin(Location::caller());
    let link = Link::new(handle, origin, Some(endpoint), Phase::Connecting, roster);
    match link.begin_connecting(begun, Box::new(session)) {
        Ok(()) if link.flow.is_over() => {}
        Ok(()) => link.limit(limit, || Reason::DeadlinePassed),
        Err(_) => link.flow.phase.set(Phase::Ended),
    }
    Connection { link }
}

/// Gives a socket that is connected already to `session`: after a handshake, or one that came from another thread.
///
/// The socket's descriptor moves into the connection: other handles of it are not open any more, and its outstanding
/// operations end as aborted. `session` is told [`opened`](Session::opened), later, from the loop.
///
/// Whoever has a duplicate of the descriptor ([`try_clone_fd`](StreamSocket::try_clone_fd)) may keep the peer from seeing the
/// end: where the peer ends first, our end is the close of the descriptor. A [`Linger`](crate::option::Linger) that was
/// set does not count any more.
///
/// # Errors
///
/// The socket is not open, or the context has gone; the session is dropped.
///
/// ```
/// # use ioctx::session::{self, Connection, Session};
/// # use ioctx::{IoContext, ip::tcp};
/// # struct Worker;
/// # impl Session for Worker {
/// #     fn received(&mut self, _: &Connection, bytes: &[u8]) -> usize { bytes.len() }
/// # }
/// // A descriptor is `Send`: any thread may accept, and hand over.
/// fn hand_over(remote: &ioctx::Remote, stream: std::net::TcpStream) {
///     let handed = remote.post(move |worker| {
///         let adopted = tcp::Socket::from_std(worker, stream).and_then(|socket| session::adopt(socket, Worker));
///         if let Err(error) = adopted {
///             eprintln!("{error}");
///         }
///     });
///     if handed.is_err() {
///         eprintln!("the worker has gone");
///     }
/// }
/// ```
#[track_caller]
pub fn adopt<P: SessionProtocol>(socket: StreamSocket<P>, session: impl Session) -> io::Result<Connection> {
    adopt_into(None, socket, session)
}

/// As `adopt`; the connection is one of a server's.
#[track_caller]
pub(super) fn adopt_into<P: SessionProtocol>(
    roster: Option<&Rc<Roster<Link>>>,
    socket: StreamSocket<P>,
    session: impl Session,
) -> io::Result<Connection> {
    let origin = socket.as_ref().engine.origin(Location::caller());
    let stream = socket.object.release()?;
    forget_linger(&stream);
    let transport = P::into_transport(stream);
    let link = Link::new(socket.as_ref(), origin, transport.remote_endpoint(), Phase::Open, roster);
    link.begin(transport, Box::new(session))?;
    Ok(Connection { link })
}

/// Issues connect(2).
fn begin_connect(endpoint: &Endpoint) -> io::Result<Transport> {
    match endpoint {
        Endpoint::Tcp(endpoint) => begin_over::<tcp::Protocol>(endpoint),
        Endpoint::Local(endpoint) => begin_over::<local::stream::Protocol>(endpoint),
    }
}

fn begin_over<P: SessionProtocol>(endpoint: &P::Endpoint) -> io::Result<Transport> {
    let stream = open_stream(P::of(endpoint))?;
    match connecting::begin::<P>(&stream, endpoint) {
        Ok(_) => Ok(P::into_transport(stream)),
        Err(error) => Err(connecting::explain::<P>(endpoint, error)),
    }
}
