//! Connecting: success, every kind of failure, and what may be done meanwhile.

mod net;
mod util;

use ioctx::error;
use ioctx::ip::tcp;
use net::{anywhere, finish, nobody};
use std::io::{self, ErrorKind};
use std::net::Ipv4Addr;
use util::{Record, context};

/// P22, P4: a refused connection is told to the handler, once, never inside the call.
#[test]
fn a_refused_connection_is_told_to_the_handler() -> io::Result<()> {
    let mut io = context();
    let socket = tcp::Socket::new(&io);
    let seen = Record::new();
    let told = seen.clone();
    socket.async_connect(nobody()?, move |connected| told.push(connected.unwrap_err().kind()));
    assert!(socket.is_open(), "async_connect opens");
    assert_eq!(seen.len(), 0);
    assert_eq!(finish(&mut io), 1);
    assert_eq!(seen.take(), [ErrorKind::ConnectionRefused]);
    assert!(socket.is_open(), "a failed connect leaves the socket open");
    Ok(())
}

/// P22: an error of connect(2) itself reaches the handler too: the network is unreachable, the family is wrong.
#[test]
fn an_error_of_the_call_itself_is_told_to_the_handler() -> io::Result<()> {
    let mut io = context();
    let seen = Record::new();
    // The broadcast address is never reachable by TCP, with or without a network.
    let broadcast = tcp::Endpoint::from((Ipv4Addr::BROADCAST, 1));
    let ipv4 = tcp::Socket::with_protocol(&io, tcp::Protocol::v4())?;
    let ipv6 = tcp::Endpoint::from((std::net::Ipv6Addr::LOCALHOST, 1));
    for (socket, endpoint) in [(tcp::Socket::new(&io), broadcast), (ipv4, ipv6)] {
        let told = seen.clone();
        let key = socket.async_connect(endpoint, move |connected| {
            assert!(!error::is_aborted(&connected.expect_err("a failure")));
            told.push(());
        });
        assert_eq!(seen.len(), 0);
        assert_eq!(io.cancel(key), ioctx::Cancel::AlreadyDone); // it failed before it began
        assert_eq!(finish(&mut io), 1);
        assert_eq!(seen.take(), [()]);
        assert!(socket.connect(endpoint).is_err());
    }
    Ok(())
}

/// P22: an attempt that failed before it began keeps its socket open until its handler is told, as one outstanding does.
#[test]
fn a_socket_stays_open_until_its_failure_is_told() -> io::Result<()> {
    let mut io = context();
    let socket = tcp::Socket::with_protocol(&io, tcp::Protocol::v4())?;
    socket.bind(anywhere())?;
    let taken = socket.local_endpoint()?;
    let seen = Record::new();
    let told = seen.clone();
    let ipv6 = tcp::Endpoint::from((std::net::Ipv6Addr::LOCALHOST, 1));
    socket.async_connect(ipv6, move |connected| told.push(connected.is_err()));
    drop(socket);
    let bound = std::net::TcpListener::bind(taken);
    assert!(bound.is_err_and(|error| error.kind() == ErrorKind::AddrInUse), "it is still bound");
    assert_eq!((seen.len(), finish(&mut io)), (0, 1));
    assert_eq!(seen.take(), [true]);
    Ok(())
}

/// P22: after a failed attempt the same socket connects, blocking and not, and then works.
#[test]
fn a_socket_connects_after_a_failed_attempt() -> io::Result<()> {
    for attempts in 1..3 {
        let mut io = context();
        let acceptor = tcp::Acceptor::listen_on(&io, anywhere())?;
        let socket = tcp::Socket::new(&io);
        for _ in 0..attempts {
            socket.async_connect(nobody()?, |connected| assert!(connected.is_err()));
            assert_eq!(finish(&mut io), 1);
            assert!(socket.connect(nobody()?).is_err());
        }
        let seen = Record::new();
        let told = seen.clone();
        socket.async_connect(acceptor.local_endpoint()?, move |connected| told.push(connected.is_ok()));
        assert_eq!(finish(&mut io), 1);
        assert_eq!(seen.take(), [true]);
        assert_eq!(socket.remote_endpoint()?, acceptor.local_endpoint()?);
        let (other, peer) = acceptor.accept()?;
        assert_eq!(peer, socket.local_endpoint()?);
        socket.async_write(b"hello", |(wrote, _)| assert_eq!(wrote.unwrap(), 5));
        other.async_read([0; 5], |(read, bytes)| assert_eq!((read.unwrap(), &bytes), (5, b"hello")));
        assert_eq!(finish(&mut io), 2);
    }
    Ok(())
}

/// P19, P22: reads and writes started while connecting are performed, in order, once it is connected.
#[test]
fn transfers_started_while_connecting_wait_for_the_connection() -> io::Result<()> {
    let mut io = context();
    let acceptor = tcp::Acceptor::listen_on(&io, anywhere())?;
    let socket = tcp::Socket::new(&io);
    let seen = Record::new();
    let (connected, wrote, read) = (seen.clone(), seen.clone(), seen.clone());
    socket.async_connect(acceptor.local_endpoint()?, move |result| connected.push(("connected", result.is_ok())));
    socket.async_write(b"ping", move |(result, _)| wrote.push(("wrote", result.is_ok())));
    acceptor.async_accept(move |accepted| {
        let (other, _) = accepted.unwrap();
        other.clone().async_read([0; 4], move |(result, bytes)| {
            assert_eq!((result.unwrap(), &bytes), (4, b"ping"));
            read.push(("read", true));
            drop(other);
        });
    });
    assert_eq!(finish(&mut io), 4);
    let seen = seen.take();
    assert_eq!(seen.len(), 3);
    assert!(seen.iter().all(|(_, good)| *good), "{seen:?}");
    let position = |name| seen.iter().position(|(other, _)| *other == name);
    assert!(position("connected") < position("wrote"));
    Ok(())
}

/// P22, P20: a write queued behind a connect that fails fails too, after it.
#[test]
fn a_write_behind_a_failed_connect_fails_after_it() -> io::Result<()> {
    let mut io = context();
    let socket = tcp::Socket::new(&io);
    let seen = Record::new();
    let (connected, wrote) = (seen.clone(), seen.clone());
    socket.async_connect(nobody()?, move |result| connected.push(("connect", result.unwrap_err().kind())));
    socket.async_write(b"never", move |(result, _)| {
        result.unwrap_err();
        wrote.push(("write", ErrorKind::Other));
    });
    assert_eq!(finish(&mut io), 2);
    assert_eq!(seen.take(), [("connect", ErrorKind::ConnectionRefused), ("write", ErrorKind::Other)]);
    Ok(())
}

/// P20: closing a connecting socket aborts the attempt.
#[test]
fn close_ends_a_connection_attempt_as_aborted() -> io::Result<()> {
    let mut io = context();
    let acceptor = tcp::Acceptor::listen_on(&io, anywhere())?;
    let socket = tcp::Socket::new(&io);
    socket.async_connect(acceptor.local_endpoint()?, |connected| assert!(error::is_aborted(&connected.unwrap_err())));
    socket.close();
    assert_eq!(finish(&mut io), 1);
    Ok(())
}

/// P22: a socket bound first connects from there; over IPv6 as well, where the system has it.
#[test]
fn a_bound_socket_connects_from_its_own_endpoint() -> io::Result<()> {
    let mut io = context();
    let ipv6 = tcp::Endpoint::from((std::net::Ipv6Addr::LOCALHOST, 0));
    for any in [anywhere(), ipv6] {
        let Ok(acceptor) = tcp::Acceptor::listen_on(&io, any) else {
            assert!(any.is_ipv6());
            continue;
        };
        let socket = tcp::Socket::with_protocol(&io, any.into())?;
        socket.bind(any)?;
        let own = socket.local_endpoint()?;
        socket.async_connect(acceptor.local_endpoint()?, |connected| connected.unwrap());
        acceptor.async_accept(move |accepted| assert_eq!(accepted.unwrap().1, own));
        assert_eq!(finish(&mut io), 2);
    }
    Ok(())
}

/// P22: a read started while connecting does not take the error that the connect is to be told of.
#[test]
fn a_read_behind_a_failed_connect_does_not_steal_its_error() -> io::Result<()> {
    let mut io = context();
    let socket = tcp::Socket::new(&io);
    let seen = Record::new();
    let (connected, read) = (seen.clone(), seen.clone());
    socket.async_connect(nobody()?, move |result| connected.push(("connect", result.unwrap_err().kind())));
    socket.async_read_some([0; 8], move |_| read.push(("read", ErrorKind::Other)));
    assert_eq!(finish(&mut io), 2);
    assert_eq!(seen.take(), [("connect", ErrorKind::ConnectionRefused), ("read", ErrorKind::Other)]);
    Ok(())
}

/// P22: the same socket may try again at once, blocking or not, and each attempt is told its own error.
#[test]
fn every_attempt_of_a_socket_is_told_its_own_error() -> io::Result<()> {
    let mut io = context();
    let socket = tcp::Socket::new(&io);
    let seen = Record::new();
    for blocking in [false, false, true, true, false, true] {
        if blocking {
            seen.push(socket.connect(nobody()?).unwrap_err().kind());
        } else {
            let told = seen.clone();
            socket.async_connect(nobody()?, move |connected| told.push(connected.unwrap_err().kind()));
            assert_eq!(finish(&mut io), 1);
        }
    }
    assert_eq!(seen.take(), [ErrorKind::ConnectionRefused; 6]);
    let acceptor = tcp::Acceptor::listen_on(&io, anywhere())?;
    socket.async_connect(acceptor.local_endpoint()?, |connected| connected.unwrap());
    assert_eq!(finish(&mut io), 1);
    Ok(())
}

/// P22: connecting a connected socket, be it to another endpoint, is an error, and the connection stays.
#[test]
fn connecting_a_connected_socket_is_an_error_and_harms_nothing() -> io::Result<()> {
    let mut io = context();
    let acceptor = tcp::Acceptor::listen_on(&io, anywhere())?;
    let another = tcp::Acceptor::listen_on(&io, anywhere())?;
    let socket = tcp::Socket::new(&io);
    socket.connect(acceptor.local_endpoint()?)?;
    let (other, _) = acceptor.accept()?;
    socket.async_connect(another.local_endpoint()?, |connected| assert!(connected.is_err()));
    socket.async_read([0; 2], |(read, _)| assert_eq!(read.unwrap(), 2));
    other.write(b"ok")?;
    assert_eq!(finish(&mut io), 2);
    assert!(socket.connect(another.local_endpoint()?).is_err());
    Ok(())
}
