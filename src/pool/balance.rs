//! How connections come to the threads of a pool, and the listeners for it.

use crate::ip::tcp;
use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::net::TcpListener;

/// How the connections of a [`ContextPool`](super::ContextPool) are spread over its threads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Balance {
    /// Each thread listens, and the kernel chooses between them (`SO_REUSEPORT`, socket(7); on FreeBSD
    /// `SO_REUSEPORT_LB`).
    ///
    /// It chooses by a hash, so many short connections are spread evenly, few long ones by chance. A thread that is busy
    /// gets as many as one that is not, and its clients wait in its backlog. On Linux, Android and FreeBSD; other
    /// kernels do not balance.
    Kernel,
    /// One more thread accepts, and hands the sockets to the others, one after the other.
    ///
    /// The numbers of connections that the threads were given differ by one at most; the right choice for few long
    /// connections. A connection costs a message between threads, once.
    HandOver,
}

impl Default for Balance {
    /// `Kernel` where the kernel balances, `HandOver` elsewhere.
    fn default() -> Self {
        if KERNEL_BALANCES { Balance::Kernel } else { Balance::HandOver }
    }
}

const KERNEL_BALANCES: bool = cfg!(any(target_os = "linux", target_os = "android", target_os = "freebsd"));

/// As many listeners as this balance needs, all at one endpoint: `endpoint`, or, where that has port 0, a free port.
pub(super) fn listen(balance: Balance, threads: usize, endpoint: tcp::Endpoint) -> io::Result<Vec<TcpListener>> {
    if balance == Balance::HandOver {
        return Ok(vec![listener(bound(endpoint, false)?)?]);
    }
    if !KERNEL_BALANCES {
        return Err(io::Error::new(io::ErrorKind::Unsupported, "the kernel does not balance connections"));
    }
    // A socket that shares its port may be bound beside another server's that does so too, and would take its clients.
    // One that does not share is refused.
    drop(bound(endpoint, false)?);
    let first = listener(bound(endpoint, true)?)?;
    let endpoint = first.local_addr()?;
    let mut listeners = vec![first];
    while listeners.len() < threads {
        listeners.push(listener(bound(endpoint, true)?)?);
    }
    Ok(listeners)
}

fn bound(endpoint: tcp::Endpoint, shared: bool) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(endpoint), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if shared {
        share_port(&socket)?;
    }
    socket.bind(&endpoint.into())?;
    Ok(socket)
}

fn listener(socket: Socket) -> io::Result<TcpListener> {
    socket.listen(i32::MAX)?;
    Ok(socket.into())
}

#[cfg(not(target_os = "freebsd"))]
fn share_port(socket: &Socket) -> io::Result<()> {
    crate::option::sealed::Access::apply(crate::option::ReusePort(true), std::os::fd::AsFd::as_fd(socket))
}

/// FreeBSD's `SO_REUSEPORT` shares the port, but gives all connections to one listener.
#[cfg(target_os = "freebsd")]
fn share_port(socket: &Socket) -> io::Result<()> {
    socket.set_reuse_port_lb(true)
}
