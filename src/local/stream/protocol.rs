//! Unix streams as a stream protocol, and the descriptors that go with it.

use super::in_use;
use crate::local::Endpoint;
use crate::operation::object::Descriptor;
use crate::readiness::callback::{UNIX_STREAM, UNIX_STREAM_FOR_ROOM};
use crate::socket::StreamProtocol;
use crate::socket::descriptor::{errno, local_endpoint, new_socket, remote_endpoint};
use crate::socket::protocol::sealed::Family;
use mio::net::{UnixListener, UnixStream};
use rustix::io::Errno;
use socket2::{Domain, SockAddr, Socket};
use std::io;

/// Unix domain stream sockets; there is one kind only. `asio::local::stream_protocol`.
///
/// ```
/// use ioctx::{IoContext, local::stream};
///
/// let io = IoContext::new()?;
/// let socket = stream::Socket::with_protocol(&io, stream::Protocol)?;
/// assert!(socket.is_open());
/// # std::io::Result::Ok(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Protocol;

impl From<Endpoint> for Protocol {
    fn from(_endpoint: Endpoint) -> Self {
        Protocol
    }
}

impl StreamProtocol for Protocol {
    type Endpoint = Endpoint;
    type StdStream = std::os::unix::net::UnixStream;
    type StdListener = std::os::unix::net::UnixListener;
}

impl Family<Endpoint> for Protocol {
    const NAME: &'static str = "Unix stream";
    type Stream = UnixStream;
    type Listener = UnixListener;

    fn of(_endpoint: &Endpoint) -> Self {
        Protocol
    }

    fn socket(self) -> io::Result<Socket> {
        new_socket(Domain::UNIX, None)
    }

    fn has_domain(domain: Domain) -> bool {
        domain == Domain::UNIX
    }

    fn to_address(endpoint: &Endpoint) -> io::Result<SockAddr> {
        endpoint.to_address()
    }

    fn from_address(address: &SockAddr) -> io::Result<Endpoint> {
        Endpoint::from_address(address)
    }

    fn accept(listener: &UnixListener) -> io::Result<(UnixStream, Endpoint)> {
        let (stream, peer) = listener.accept()?;
        let mut peer = Endpoint::from(peer);
        if cfg!(any(target_os = "linux", target_os = "android")) && peer.is_unnamed() {
            // mio knows no abstract names. If the peer has gone meanwhile, the first call on the stream tells.
            peer = remote_endpoint::<Protocol>(&stream).unwrap_or(peer);
        }
        Ok((stream, peer))
    }

    fn explain_bind(endpoint: &Endpoint, error: io::Error) -> io::Error {
        in_use::explain(endpoint, error)
    }

    /// Linux; elsewhere a full backlog refuses.
    fn is_backlog_full(error: &io::Error) -> bool {
        errno(error) == Some(Errno::AGAIN)
    }
}

impl Descriptor for UnixStream {
    const OBJECT: &'static str = "local::stream::Socket";
    const WATCH: mio::Interest = UNIX_STREAM;
    const WATCH_FOR_ROOM: Option<mio::Interest> = Some(UNIX_STREAM_FOR_ROOM);

    /// The peer has no name at the server's end, and there the own name says more.
    fn endpoint(&self) -> Option<String> {
        let named = |endpoint: &Endpoint| !endpoint.is_unnamed();
        let peer = remote_endpoint::<Protocol>(self).ok()?;
        let shown = Some(peer.clone()).filter(named).or_else(|| local_endpoint::<Protocol>(self).ok().filter(named));
        Some(shown.unwrap_or(peer).to_string())
    }
}

impl Descriptor for UnixListener {
    const OBJECT: &'static str = "local::stream::Acceptor";
    const WATCH: mio::Interest = mio::Interest::READABLE;
    const CAN_WAIT: bool = true;

    fn endpoint(&self) -> Option<String> {
        local_endpoint::<Protocol>(self).ok().map(|endpoint| endpoint.to_string())
    }
}
