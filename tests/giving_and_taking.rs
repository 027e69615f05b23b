//! Sockets made elsewhere, sockets given away, and when a socket closes.

mod net;
mod util;

use ioctx::error;
use ioctx::ip::tcp;
use net::{anywhere, connection, finish};
use rustix::io::{FdFlags, fcntl_getfd};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;
use util::context;

/// Section 2: a socket that came from the standard library goes back to it, blocking again.
#[test]
fn a_std_socket_becomes_ours_and_goes_back() -> io::Result<()> {
    let mut io = context();
    let (ours, mut peer) = connection(&io)?;
    ours.async_write(b"ours", |(wrote, _)| assert_eq!(wrote.unwrap(), 4));
    assert_eq!(finish(&mut io), 1);
    let mut std = ours.into_std()?;
    std.write_all(b"std")?;
    let mut bytes = [0; 7];
    peer.read_exact(&mut bytes)?;
    assert_eq!(&bytes, b"oursstd");
    // Blocking again: a read with a time limit waits for it.
    std.set_read_timeout(Some(Duration::from_millis(10)))?;
    let start = std::time::Instant::now();
    assert!(std.read(&mut bytes).is_err());
    assert!(start.elapsed() >= Duration::from_millis(5));
    Ok(())
}

/// P20, section 2: release aborts what is outstanding, and hands the descriptor out open, to be used anywhere.
#[test]
fn release_aborts_what_is_outstanding_and_keeps_the_connection() -> io::Result<()> {
    let mut io = context();
    let mut other = context();
    let (ours, mut peer) = connection(&io)?;
    for _ in 0..2 {
        ours.async_read_some([0; 8], |(read, _)| assert!(error::is_aborted(&read.unwrap_err())));
    }
    io.poll()?;
    let descriptor = ours.release()?;
    assert!(!ours.is_open());
    assert!(ours.release().is_err());
    assert_eq!(finish(&mut io), 2);
    // It is watched no longer: another context may take it.
    let moved = tcp::Socket::new(&other);
    moved.assign(descriptor)?;
    moved.async_read_some([0; 8], |(read, _)| assert_eq!(read.unwrap(), 5));
    peer.write_all(b"moved")?;
    assert_eq!(finish(&mut other), 1);
    assert_eq!(finish(&mut io), 0);
    // And the object takes another.
    let (fresh, _peer) = connection(&io)?;
    ours.assign(fresh.release()?)?;
    assert!(ours.is_open());
    Ok(())
}

/// Section 2: an acceptor goes to the standard library and back, and keeps its clients.
#[test]
fn an_acceptor_is_given_away_and_taken_back() -> io::Result<()> {
    let mut io = context();
    let acceptor = tcp::Acceptor::from_std(&io, TcpListener::bind(anywhere())?)?;
    acceptor.async_accept(|accepted| assert!(error::is_aborted(&accepted.unwrap_err())));
    io.poll()?;
    let client = TcpStream::connect(acceptor.local_endpoint()?)?;
    let listener = acceptor.into_std()?;
    assert_eq!(finish(&mut io), 1);
    let again = tcp::Acceptor::new(&io);
    again.assign(listener)?;
    let own = client.local_addr()?;
    again.async_accept(move |accepted| assert_eq!(accepted.unwrap().1, own));
    assert_eq!(finish(&mut io), 1);
    Ok(())
}

/// Bad input: a descriptor of the wrong kind, and an object that has one already.
#[test]
fn a_descriptor_of_the_wrong_kind_is_invalid_input() -> io::Result<()> {
    let io = context();
    let wrong = || -> io::Result<Vec<OwnedFd>> {
        let (unix, _) = UnixStream::pair()?;
        Ok(vec![UdpSocket::bind(anywhere())?.into(), unix.into()])
    };
    let (socket, acceptor) = (tcp::Socket::new(&io), tcp::Acceptor::new(&io));
    for descriptor in wrong()? {
        assert_eq!(socket.assign(descriptor).unwrap_err().kind(), ErrorKind::InvalidInput);
    }
    for descriptor in wrong()? {
        assert_eq!(acceptor.assign(descriptor).unwrap_err().kind(), ErrorKind::InvalidInput);
    }
    assert!(!socket.is_open() && !acceptor.is_open());
    socket.open(tcp::Protocol::v4())?;
    let (other, _peer) = connection(&io)?;
    assert_eq!(socket.assign(other.release()?).unwrap_err().kind(), ErrorKind::AlreadyExists);
    assert_eq!(socket.open(tcp::Protocol::v4()).unwrap_err().kind(), ErrorKind::AlreadyExists);
    Ok(())
}

/// P25: what the crate opens, accepts and duplicates is close-on-exec.
#[test]
fn every_socket_is_close_on_exec() -> io::Result<()> {
    let mut io = context();
    let check = |fd: &dyn AsFd| assert_eq!(fcntl_getfd(fd.as_fd()).unwrap(), FdFlags::CLOEXEC);
    let acceptor = tcp::Acceptor::listen_on(&io, anywhere())?;
    check(&acceptor.try_clone_fd()?);
    let endpoint = acceptor.local_endpoint()?;
    let (first, second) = (tcp::Socket::new(&io), tcp::Socket::new(&io));
    first.connect(endpoint)?;
    second.async_connect(endpoint, |connected| connected.unwrap());
    let (accepted, _) = acceptor.accept()?;
    acceptor.async_accept(move |later| check(&later.unwrap().0.release().unwrap()));
    assert_eq!(finish(&mut io), 2);
    for socket in [first, second, accepted] {
        check(&socket.try_clone_fd()?);
        check(&socket.release()?); // not a duplicate: the very descriptor
    }
    check(&acceptor.release()?);
    Ok(())
}

/// Section 1, ownership: the last handle closes the socket, and the peer sees the end.
#[test]
fn the_last_handle_closes_the_socket() -> io::Result<()> {
    let mut io = context();
    let (ours, mut peer) = connection(&io)?;
    ours.async_write([1; 1], |_| {}); // registered
    finish(&mut io);
    let clone = ours.clone();
    drop(ours);
    clone.write(&[2; 1])?;
    drop(clone);
    let mut all = Vec::new();
    assert_eq!(peer.read_to_end(&mut all)?, 2);
    Ok(())
}

/// Section 1, ownership: an outstanding operation keeps its socket open; when it has ended, the socket closes.
#[test]
fn an_outstanding_operation_keeps_its_socket_open() -> io::Result<()> {
    let mut io = context();
    let (ours, mut peer) = connection(&io)?;
    ours.async_read_some([0; 8], |(read, _)| assert_eq!(read.unwrap(), 4));
    drop(ours);
    io.poll()?;
    peer.set_nonblocking(true)?;
    assert_eq!(peer.read(&mut [0; 1]).unwrap_err().kind(), ErrorKind::WouldBlock);
    peer.write_all(b"last")?;
    assert_eq!(finish(&mut io), 1);
    peer.set_nonblocking(false)?;
    assert_eq!(peer.read(&mut [0; 1])?, 0);
    Ok(())
}

/// Section 1, ownership: so does one that ends by being cancelled by its key, when no handle is left.
#[test]
fn a_cancelled_last_operation_closes_its_socket() -> io::Result<()> {
    let mut io = context();
    let (ours, mut peer) = connection(&io)?;
    let key = ours.async_read_some([0; 8], |(read, _)| assert!(error::is_aborted(&read.unwrap_err())));
    drop(ours);
    io.poll()?;
    io.cancel(key);
    assert_eq!(finish(&mut io), 1);
    assert_eq!(peer.read(&mut [0; 1])?, 0);
    Ok(())
}

/// Section 1, ownership: a write goes on after the last handle has gone, to its last byte.
#[test]
fn a_write_is_finished_after_the_last_handle_has_gone() -> io::Result<()> {
    let mut io = context();
    let (ours, mut peer) = connection(&io)?;
    ours.async_write(vec![9; 5_000_000], |(wrote, _)| assert_eq!(wrote.unwrap(), 5_000_000));
    drop(ours);
    let reader = std::thread::spawn(move || -> io::Result<usize> { peer.read_to_end(&mut Vec::new()) });
    assert_eq!(finish(&mut io), 1);
    assert_eq!(reader.join().expect("the reader")?, 5_000_000);
    Ok(())
}

/// Section 2: a duplicate of the descriptor lives on its own, and does not disturb the loop after a close.
#[test]
fn a_duplicate_outlives_its_socket_and_wakes_nobody() -> io::Result<()> {
    let mut io = context();
    let (ours, mut peer) = connection(&io)?;
    ours.async_read_some([0; 8], |(read, _)| assert!(read.is_err()));
    io.poll()?;
    let mut duplicate = TcpStream::from(ours.try_clone_fd()?);
    ours.close();
    assert_eq!(finish(&mut io), 1);
    let _guard = io.work_guard();
    peer.write_all(b"x")?;
    net::wait_readable(&duplicate)?;
    for _ in 0..10 {
        assert_eq!(io.poll()?, 0);
    }
    assert_eq!(duplicate.read(&mut [0; 8])?, 1);
    Ok(())
}

/// Section 1, ownership: the socket closes after its last operation, though the loop was left right behind it.
#[test]
fn a_socket_closes_after_its_last_operation_in_run_one() -> io::Result<()> {
    let mut io = context();
    let (ours, mut peer) = connection(&io)?;
    ours.async_write([], |(wrote, _)| assert_eq!(wrote.unwrap(), 0));
    drop(ours);
    assert_eq!(io.run_one()?, 1);
    assert_eq!(io.run()?, 0);
    peer.set_read_timeout(Some(Duration::from_secs(20)))?;
    assert_eq!(peer.read(&mut [0; 1])?, 0);
    Ok(())
}

/// Bad input: what is no socket, and a listener where a stream is wanted.
#[test]
fn what_is_no_socket_and_what_listens_is_invalid_input() -> io::Result<()> {
    let io = context();
    let (reader, _writer) = rustix::pipe::pipe()?;
    let file = std::fs::File::open("/dev/null")?;
    let (socket, acceptor) = (tcp::Socket::new(&io), tcp::Acceptor::new(&io));
    assert_eq!(socket.assign(reader).unwrap_err().kind(), ErrorKind::InvalidInput);
    assert_eq!(acceptor.assign(file).unwrap_err().kind(), ErrorKind::InvalidInput);
    assert_eq!(socket.assign(TcpListener::bind(anywhere())?).unwrap_err().kind(), ErrorKind::InvalidInput);
    assert!(!socket.is_open() && !acceptor.is_open());
    Ok(())
}
