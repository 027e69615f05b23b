//! mio's TCP types as descriptors of I/O objects, and descriptors from elsewhere as mio's types.

use crate::operation::object::Descriptor;
use crate::readiness::registration::STREAM;
use mio::net::{TcpListener, TcpStream};
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
/// `InvalidInput`: it is something else.
pub(super) fn adopt(descriptor: OwnedFd) -> io::Result<Socket> {
    let socket = Socket::from(descriptor);
    let is_tcp = socket.r#type()? == Type::STREAM && matches!(domain(&socket)?, Domain::IPV4 | Domain::IPV6);
    if !is_tcp {
        return Err(io::Error::new(ErrorKind::InvalidInput, "the descriptor is not a TCP socket"));
    }
    socket.set_nonblocking(true)?;
    #[cfg(target_vendor = "apple")]
    socket.set_nosigpipe(true)?;
    Ok(socket)
}

/// The address family, from the address: not every system can be asked for it directly.
fn domain(socket: &Socket) -> io::Result<Domain> {
    Ok(socket.local_addr()?.domain())
}
