//! Descriptors of stream sockets: new ones, ones that were made elsewhere, and what is asked of all of them alike.

use super::protocol::StreamProtocol;
use rustix::io::Errno;
use socket2::{Domain, SockRef, Socket, Type};
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, OwnedFd};

/// socket(2) for a stream or a listener: non-blocking, close-on-exec, and never raising SIGPIPE.
pub(crate) fn new_socket(domain: Domain, protocol: Option<socket2::Protocol>) -> io::Result<Socket> {
    // Non-blocking from the start, where the system can do that in one call.
    #[cfg(not(target_vendor = "apple"))]
    let kind = Type::STREAM.nonblocking();
    #[cfg(target_vendor = "apple")]
    let kind = Type::STREAM;
    let socket = Socket::new(domain, kind, protocol)?;
    #[cfg(target_vendor = "apple")]
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// A stream that is not connected yet.
pub(crate) fn open_stream<P: StreamProtocol>(protocol: P) -> io::Result<P::Stream> {
    Ok(OwnedFd::from(protocol.socket()?).into())
}

/// A socket made elsewhere, now non-blocking.
///
/// # Errors
///
/// `InvalidInput`: it is something else, or it listens and should not, or should and does not.
pub(super) fn adopt<P: StreamProtocol>(descriptor: OwnedFd, listens: bool) -> io::Result<OwnedFd> {
    let invalid = |what| Err(io::Error::new(ErrorKind::InvalidInput, what));
    let socket = Socket::from(descriptor);
    if !is_stream_of::<P>(&socket) {
        return invalid(format!("the descriptor is not a {} socket", P::NAME));
    }
    if !listens && self::listens(&socket) == Some(true) {
        return invalid("the descriptor is a listening socket".to_owned());
    }
    if listens && socket.peer_addr().is_ok() {
        return invalid("the descriptor is a connected socket".to_owned());
    }
    socket.set_nonblocking(true)?;
    #[cfg(target_vendor = "apple")]
    socket.set_nosigpipe(true)?;
    Ok(socket.into())
}

/// The address family comes from the address: not every system can be asked for it directly.
fn is_stream_of<P: StreamProtocol>(socket: &Socket) -> bool {
    let domain = socket.local_addr().map(|address| address.domain());
    let stream = socket.r#type().is_ok_and(|kind| kind == Type::STREAM);
    stream && domain.is_ok_and(P::has_domain)
}

/// Whether the socket listens, where the system tells; `None` elsewhere: the first call on the socket finds out.
fn listens(socket: &impl AsFd) -> Option<bool> {
    #[cfg(not(target_vendor = "apple"))]
    return rustix::net::sockopt::socket_acceptconn(socket).ok();
    #[cfg(target_vendor = "apple")]
    return {
        let _ = socket;
        None
    };
}

/// Whether the socket listens, as far as the system tells.
pub(crate) fn may_listen(socket: &impl AsFd) -> bool {
    listens(socket).unwrap_or(true)
}

/// getsockname(2).
pub(crate) fn local_endpoint<P: StreamProtocol>(socket: &impl AsFd) -> io::Result<P::Endpoint> {
    P::from_address(&SockRef::from(socket).local_addr()?)
}

/// getpeername(2).
pub(crate) fn remote_endpoint<P: StreamProtocol>(socket: &impl AsFd) -> io::Result<P::Endpoint> {
    P::from_address(&SockRef::from(socket).peer_addr()?)
}

/// bind(2).
pub(super) fn bind<P: StreamProtocol>(socket: &impl AsFd, endpoint: &P::Endpoint) -> io::Result<()> {
    let bound = SockRef::from(socket).bind(&P::to_address(endpoint)?);
    bound.map_err(|error| P::explain_bind(endpoint, error))
}

/// Out of the loop's hands, and blocking.
pub(super) fn into_blocking(descriptor: OwnedFd) -> io::Result<OwnedFd> {
    SockRef::from(&descriptor).set_nonblocking(false)?;
    Ok(descriptor)
}

/// The system's own name for an error, where it has one.
pub(crate) fn errno(error: &io::Error) -> Option<Errno> {
    error.raw_os_error().map(Errno::from_raw_os_error)
}
