//! mio's TCP types as descriptors of I/O objects, and descriptors from elsewhere as mio's types.

use crate::operation::object::Descriptor;
use crate::readiness::callback::STREAM;
use mio::net::{TcpListener, TcpStream};
use rustix::io::Errno;
use socket2::{Domain, Socket, Type};
use std::io::{self, ErrorKind};
use std::os::fd::OwnedFd;

impl Descriptor for TcpStream {
    const OBJECT: &'static str = "tcp::Socket";
    const WATCH: mio::Interest = STREAM;

    fn endpoint(&self) -> Option<String> {
        self.peer_addr().ok().map(|peer| peer.to_string())
    }
}

impl Descriptor for TcpListener {
    const OBJECT: &'static str = "tcp::Acceptor";
    const WATCH: mio::Interest = mio::Interest::READABLE;

    fn endpoint(&self) -> Option<String> {
        self.local_addr().ok().map(|address| address.to_string())
    }
}

pub(super) fn stream(socket: Socket) -> TcpStream {
    TcpStream::from_std(socket.into())
}

pub(super) fn listener(socket: Socket) -> TcpListener {
    TcpListener::from_std(socket.into())
}

/// A TCP socket made elsewhere, now non-blocking.
///
/// # Errors
///
/// `InvalidInput`: it is something else, or it listens and should not, or should and does not.
pub(super) fn adopt(descriptor: OwnedFd, listens: bool) -> io::Result<Socket> {
    let invalid = |what| Err(io::Error::new(ErrorKind::InvalidInput, what));
    let socket = Socket::from(descriptor);
    if !is_tcp(&socket) {
        return invalid("the descriptor is not a TCP socket");
    }
    if !listens && is_listener(&socket) {
        return invalid("the descriptor is a listening socket");
    }
    if listens && socket.peer_addr().is_ok() {
        return invalid("the descriptor is a connected socket");
    }
    socket.set_nonblocking(true)?;
    #[cfg(target_vendor = "apple")]
    socket.set_nosigpipe(true)?;
    Ok(socket)
}

/// The address family comes from the address: not every system can be asked for it directly.
fn is_tcp(socket: &Socket) -> bool {
    let family = socket.local_addr().map(|address| address.domain());
    let stream = socket.r#type().is_ok_and(|kind| kind == Type::STREAM);
    stream && family.is_ok_and(|family| matches!(family, Domain::IPV4 | Domain::IPV6))
}

#[cfg(not(target_vendor = "apple"))]
fn is_listener(socket: &Socket) -> bool {
    rustix::net::sockopt::socket_acceptconn(socket).unwrap_or(false)
}

/// Not to be asked here; the first call on the socket finds out.
#[cfg(target_vendor = "apple")]
fn is_listener(_socket: &Socket) -> bool {
    false
}

/// The system's own name for an error, where it has one.
pub(super) fn errno(error: &io::Error) -> Option<Errno> {
    error.raw_os_error().map(Errno::from_raw_os_error)
}
