//! Accepting: order, aborted clients, and acceptors that are not ready.

mod net;
mod util;

use ioctx::ip::tcp::{self, Wait};
use ioctx::option::ReuseAddress;
use ioctx::{Config, IoContext, error};
use net::{anywhere, finish};
use std::cell::Cell;
use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::rc::Rc;
use std::time::Duration;
use util::{Record, context};

/// P10: several accepts are served in the order started, by the clients in the order they came.
#[test]
fn accepts_are_served_in_the_order_started() -> io::Result<()> {
    let mut io = context();
    let acceptor = tcp::Acceptor::listen_on(&io, anywhere())?;
    let seen = Record::new();
    for n in 0..3 {
        let seen = seen.clone();
        acceptor.async_accept(move |accepted| seen.push((n, accepted.unwrap().1)));
    }
    assert_eq!(io.poll()?, 0);
    let mut expected = Vec::new();
    let mut clients = Vec::new();
    for n in 0..3 {
        let client = TcpStream::connect(acceptor.local_endpoint()?)?;
        expected.push((n, client.local_addr()?));
        clients.push(client);
    }
    assert_eq!(finish(&mut io), 3);
    assert_eq!(seen.take(), expected);
    Ok(())
}

/// P23: clients that gave up before they were accepted never surface as an error of the acceptor.
#[test]
fn clients_that_gave_up_in_the_backlog_are_no_error_of_the_acceptor() -> io::Result<()> {
    let mut io = context();
    let acceptor = tcp::Acceptor::listen_on(&io, anywhere())?;
    let endpoint = acceptor.local_endpoint()?;
    for _ in 0..10 {
        let client = TcpStream::connect(endpoint)?;
        socket2::SockRef::from(&client).set_linger(Some(Duration::ZERO))?;
    }
    let mut good = TcpStream::connect(endpoint)?;
    good.write_all(b"here")?;
    let greeted = Rc::new(Cell::new(false));
    accept_until_greeted(acceptor.clone(), Rc::clone(&greeted));
    while !greeted.get() {
        assert_eq!(io.run_one()?, 1);
    }
    acceptor.cancel()?;
    finish(&mut io);
    // The blocking call likewise.
    let client = TcpStream::connect(endpoint)?;
    socket2::SockRef::from(&client).set_linger(Some(Duration::ZERO))?;
    drop(client);
    let last = TcpStream::connect(endpoint)?;
    while acceptor.accept()?.1 != last.local_addr()? {}
    Ok(())
}

fn accept_until_greeted(acceptor: tcp::Acceptor, greeted: Rc<Cell<bool>>) {
    acceptor.clone().async_accept(move |accepted| {
        let (socket, _) = match accepted {
            Err(error) if error::is_aborted(&error) => return,
            accepted => accepted.expect("a dead client is not the acceptor's failure"),
        };
        let told = Rc::clone(&greeted);
        socket.async_read([0; 4], move |(read, _)| told.set(told.get() || read.is_ok()));
        drop(socket);
        accept_until_greeted(acceptor, greeted);
    });
}

/// P23: with a budget of one accept per dispatch a whole backlog is still served without a new connection.
#[test]
fn a_backlog_is_emptied_though_the_budget_is_small() -> io::Result<()> {
    let mut io = IoContext::with_config(Config::new().accept_budget(1).handlers_per_dispatch(1))?;
    util::watch(&io);
    let acceptor = tcp::Acceptor::listen_on(&io, anywhere())?;
    let clients: Vec<_> = (0..50).map(|_| TcpStream::connect(acceptor.local_endpoint().unwrap()).unwrap()).collect();
    for _ in &clients {
        acceptor.async_accept(|accepted| drop(accepted.unwrap()));
    }
    assert_eq!(finish(&mut io), 50);
    for mut client in clients {
        assert_eq!(client.read(&mut [0; 1])?, 0);
    }
    Ok(())
}

/// P18: connections that waited before the first accept are taken at once, through `from_std` and `assign` too.
#[test]
fn a_listener_with_clients_waiting_is_served_at_once() -> io::Result<()> {
    let mut io = context();
    for assigned in [false, true] {
        let listener = std::net::TcpListener::bind(anywhere())?;
        let client = TcpStream::connect(listener.local_addr()?)?;
        let acceptor = if assigned {
            let acceptor = tcp::Acceptor::new(&io);
            acceptor.assign(listener)?;
            acceptor
        } else {
            tcp::Acceptor::from_std(&io, listener)?
        };
        let own = client.local_addr()?;
        acceptor.async_accept(move |accepted| assert_eq!(accepted.unwrap().1, own));
        assert_eq!(finish(&mut io), 1);
    }
    Ok(())
}

/// P20, P5: the last handle of an acceptor may go: the accept keeps it open, and then it closes.
#[test]
fn an_outstanding_accept_keeps_its_acceptor_open() -> io::Result<()> {
    let mut io = context();
    let acceptor = tcp::Acceptor::listen_on(&io, anywhere())?;
    let endpoint = acceptor.local_endpoint()?;
    acceptor.async_accept(|accepted| drop(accepted.unwrap()));
    drop(acceptor);
    let _client = TcpStream::connect(endpoint)?;
    assert_eq!(finish(&mut io), 1);
    assert_eq!(TcpStream::connect(endpoint).unwrap_err().kind(), ErrorKind::ConnectionRefused);
    Ok(())
}

/// Section 2: `async_wait` tells of a waiting client and accepts nothing.
#[test]
fn a_wait_tells_of_a_client_and_leaves_it_waiting() -> io::Result<()> {
    let mut io = context();
    let acceptor = tcp::Acceptor::listen_on(&io, anywhere())?;
    acceptor.async_wait(Wait::Read, |waited| waited.unwrap());
    assert_eq!(io.poll()?, 0);
    let client = TcpStream::connect(acceptor.local_endpoint()?)?;
    assert_eq!(finish(&mut io), 1);
    acceptor.wait(Wait::Read)?;
    acceptor.set_non_blocking(true);
    assert_eq!(acceptor.accept()?.1, client.local_addr()?);
    assert_eq!(acceptor.accept().unwrap_err().kind(), ErrorKind::WouldBlock);
    assert!(acceptor.non_blocking());
    // Found to be empty by the plain call: the next wait sleeps until the next client.
    let seen = Record::new();
    let told = seen.clone();
    acceptor.async_wait(Wait::Read, move |waited| told.push(waited.is_ok()));
    for _ in 0..100 {
        assert_eq!(io.poll()?, 0);
    }
    let _client = TcpStream::connect(acceptor.local_endpoint()?)?;
    assert_eq!(finish(&mut io), 1);
    assert_eq!(seen.take(), [true]);
    Ok(())
}

/// Bad input: an acceptor that does not listen, or is not open, says so in the handler and to the caller.
#[test]
fn accept_without_listen_is_an_error() -> io::Result<()> {
    let mut io = context();
    let closed = tcp::Acceptor::new(&io);
    let bound = tcp::Acceptor::with_protocol(&io, tcp::Protocol::v4())?;
    bound.bind(anywhere())?;
    for acceptor in [closed, bound] {
        acceptor.async_accept(|accepted| assert!(accepted.is_err()));
        assert_eq!(finish(&mut io), 1);
        assert!(acceptor.accept().is_err());
    }
    Ok(())
}

/// Section 1, registration: an accept that failed because `listen` was missing works after it.
#[test]
fn listen_after_a_failed_accept_works() -> io::Result<()> {
    let mut io = context();
    let acceptor = tcp::Acceptor::with_protocol(&io, tcp::Protocol::v4())?;
    acceptor.bind(anywhere())?;
    acceptor.async_accept(|accepted| assert!(accepted.is_err()));
    assert_eq!(finish(&mut io), 1);
    acceptor.listen(u32::MAX)?; // cut down by the system
    acceptor.listen(1)?; // listening twice is fine
    let _client = TcpStream::connect(acceptor.local_endpoint()?)?;
    acceptor.async_accept(|accepted| drop(accepted.unwrap()));
    assert_eq!(finish(&mut io), 1);
    Ok(())
}

/// Bad input: an endpoint in use, a foreign address, an open acceptor opened again.
#[test]
fn each_step_of_an_acceptor_reports_its_own_error() -> io::Result<()> {
    let io = context();
    let acceptor = tcp::Acceptor::listen_on(&io, anywhere())?;
    let endpoint = acceptor.local_endpoint()?;
    assert_eq!(tcp::Acceptor::listen_on(&io, endpoint).unwrap_err().kind(), ErrorKind::AddrInUse);
    let other = tcp::Acceptor::with_protocol(&io, endpoint.into())?;
    assert_eq!(other.bind(endpoint).unwrap_err().kind(), ErrorKind::AddrInUse);
    let foreign = "192.0.2.1:0".parse().expect("an address kept for documentation");
    assert_eq!(other.bind(foreign).unwrap_err().kind(), ErrorKind::AddrNotAvailable);
    assert_eq!(other.open(endpoint.into()).unwrap_err().kind(), ErrorKind::AlreadyExists);
    let ReuseAddress(reuse) = acceptor.option()?;
    assert!(reuse, "listen_on sets it");
    Ok(())
}

/// Bad input: a port that needs a privilege is refused to those who have none.
#[test]
fn a_privileged_port_is_refused_to_the_unprivileged() -> io::Result<()> {
    let privileged = std::net::TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, 7));
    if !privileged.is_err_and(|error| error.kind() == ErrorKind::PermissionDenied) {
        println!("skipped: this user may bind low ports (root, or a system that allows all)");
        return Ok(());
    }
    let io = context();
    let refused = tcp::Acceptor::listen_on(&io, (std::net::Ipv4Addr::LOCALHOST, 7).into());
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::PermissionDenied);
    Ok(())
}
