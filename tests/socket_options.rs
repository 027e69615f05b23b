//! Socket options: what was set is what is read.

mod net;
mod util;

use ioctx::ip::{V6Only, tcp};
use ioctx::option::{KeepAlive, Linger, ReceiveBufferSize, ReuseAddress, ReusePort, SendBufferSize, SocketOption};
use net::connection;
use std::io::{self, Read};
use std::time::{Duration, Instant};
use util::context;

/// Section 2: every option of a socket is set and read back.
#[test]
fn what_was_set_is_what_is_read() -> io::Result<()> {
    fn there_and_back<O: SocketOption + PartialEq + std::fmt::Debug>(socket: &tcp::Socket, values: [O; 2]) {
        for value in values {
            socket.set_option(value).unwrap();
            assert_eq!(socket.option::<O>().unwrap(), value);
        }
    }
    let io = context();
    let socket = tcp::Socket::with_protocol(&io, tcp::Protocol::v4())?;
    there_and_back(&socket, [tcp::NoDelay(true), tcp::NoDelay(false)]);
    there_and_back(&socket, [KeepAlive(true), KeepAlive(false)]);
    there_and_back(&socket, [ReuseAddress(true), ReuseAddress(false)]);
    there_and_back(&socket, [ReusePort(true), ReusePort(false)]);
    there_and_back(&socket, [Linger(Some(Duration::from_secs(3))), Linger(None)]);
    there_and_back(&socket, [Linger(Some(Duration::ZERO)), Linger(None)]);
    for bytes in [20_000, 100_000] {
        socket.set_option(SendBufferSize(bytes))?;
        socket.set_option(ReceiveBufferSize(bytes))?;
        let (SendBufferSize(send), ReceiveBufferSize(receive)) = (socket.option()?, socket.option()?);
        assert!(send >= bytes && receive >= bytes, "{send} {receive}");
    }
    Ok(())
}

/// Section 2: an acceptor has options of its own; options of the wrong protocol, and of closed objects, are errors.
#[test]
fn an_option_that_does_not_fit_is_an_error() -> io::Result<()> {
    let io = context();
    let ipv4 = tcp::Acceptor::with_protocol(&io, tcp::Protocol::v4())?;
    assert!(ipv4.set_option(V6Only(true)).is_err());
    if let Ok(ipv6) = tcp::Acceptor::with_protocol(&io, tcp::Protocol::v6()) {
        for only in [true, false] {
            ipv6.set_option(V6Only(only))?;
            assert_eq!(ipv6.option::<V6Only>()?, V6Only(only));
        }
    }
    let closed = tcp::Socket::new(&io);
    assert!(closed.set_option(KeepAlive(true)).is_err());
    assert!(closed.option::<KeepAlive>().is_err());
    Ok(())
}

/// Section 2: two acceptors share a port if both ask for it.
#[test]
#[cfg(target_os = "linux")]
fn acceptors_may_share_a_port() -> io::Result<()> {
    let io = context();
    let mut endpoint = net::anywhere();
    let mut acceptors = Vec::new();
    for _ in 0..2 {
        let acceptor = tcp::Acceptor::with_protocol(&io, endpoint.into())?;
        acceptor.set_option(ReusePort(true))?;
        acceptor.bind(endpoint)?;
        acceptor.listen(1)?;
        endpoint = acceptor.local_endpoint()?;
        acceptors.push(acceptor);
    }
    assert_eq!(acceptors[0].local_endpoint()?, acceptors[1].local_endpoint()?);
    Ok(())
}

/// Section 2: a linger of zero makes the close a reset.
#[test]
fn a_linger_of_zero_resets_the_peer() -> io::Result<()> {
    let io = context();
    let (ours, mut peer) = connection(&io)?;
    ours.set_option(Linger(Some(Duration::ZERO)))?;
    ours.close();
    assert_eq!(peer.read(&mut [0; 1]).unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    Ok(())
}

/// Section 2: the drop of a socket never blocks, though it was asked to linger.
#[test]
fn a_drop_never_lingers() -> io::Result<()> {
    let io = context();
    let (ours, peer) = connection(&io)?;
    net::narrow(&ours, &peer)?;
    ours.set_option(Linger(Some(Duration::from_secs(60))))?;
    ours.set_non_blocking(true);
    while ours.write_some(&[0; 4096]).is_ok() {}
    let started = Instant::now();
    drop(ours);
    assert!(started.elapsed() < Duration::from_secs(30));
    Ok(())
}

/// Section 2: nor does the drop of the whole context.
#[test]
fn dropping_the_context_never_lingers() -> io::Result<()> {
    let io = context();
    let (ours, peer) = connection(&io)?;
    net::narrow(&ours, &peer)?;
    ours.set_option(Linger(Some(Duration::from_secs(60))))?;
    ours.async_read_some([0; 8], |_| {});
    ours.set_non_blocking(true);
    while ours.write_some(&[0; 4096]).is_ok() {}
    let started = Instant::now();
    drop(io);
    assert!(started.elapsed() < Duration::from_secs(30));
    Ok(())
}

/// Fills the connection, so that a close which lingers would block; then drops the socket, and tells how long it took.
fn fill_and_drop(socket: tcp::Socket, peer: &std::net::TcpStream) -> io::Result<Duration> {
    net::narrow(&socket, peer)?;
    socket.set_non_blocking(true);
    while socket.write_some(&[0; 4096]).is_ok() {}
    let started = Instant::now();
    drop(socket);
    Ok(started.elapsed())
}

/// Section 1: nor does the drop of an accepted socket that inherited the lingering from its acceptor.
#[test]
fn a_lingering_inherited_from_the_acceptor_does_not_block_a_drop() -> io::Result<()> {
    let mut io = context();
    let listener = std::net::TcpListener::bind(net::anywhere())?;
    socket2::SockRef::from(&listener).set_linger(Some(Duration::from_secs(3)))?;
    let acceptors = [tcp::Acceptor::listen_on(&io, net::anywhere())?, tcp::Acceptor::from_std(&io, listener)?];
    acceptors[0].set_option(Linger(Some(Duration::from_secs(3))))?;
    for acceptor in acceptors {
        let endpoint = acceptor.local_endpoint()?;
        let peer = std::net::TcpStream::connect(endpoint)?;
        let (socket, _) = acceptor.accept()?;
        assert!(fill_and_drop(socket, &peer)? < Duration::from_secs(1), "accept");
        let peer = std::net::TcpStream::connect(endpoint)?;
        acceptor.async_accept(move |accepted| {
            let (socket, _) = accepted.expect("a client");
            let took = fill_and_drop(socket, &peer).expect("its options");
            assert!(took < Duration::from_secs(1), "async_accept: {took:?}");
        });
        assert_eq!(net::finish(&mut io), 1);
    }
    Ok(())
}

/// Section 1: nor does the drop of a socket that was made elsewhere, and lingers.
#[test]
fn a_lingering_brought_along_does_not_block_a_drop() -> io::Result<()> {
    let io = context();
    let listener = std::net::TcpListener::bind(net::anywhere())?;
    let peer = std::net::TcpStream::connect(listener.local_addr()?)?;
    let (ours, _) = listener.accept()?;
    socket2::SockRef::from(&ours).set_linger(Some(Duration::from_secs(3)))?;
    let socket = tcp::Socket::from_std(&io, ours)?;
    assert!(fill_and_drop(socket, &peer)? < Duration::from_secs(1));
    Ok(())
}
