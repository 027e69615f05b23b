//! `wait` and `async_wait`: readiness without a buffer.

mod net;
mod util;

use ioctx::ip::tcp::{self, Wait};
use net::{connection, finish, narrow};
use std::io::{self, ErrorKind, Read, Write};
use std::time::Duration;
use util::{Record, context};

/// Section 2: a wait tells that bytes are there, and takes none.
#[test]
fn a_wait_to_read_ends_when_bytes_arrive_and_takes_none() -> io::Result<()> {
    let mut io = context();
    let (ours, mut peer) = connection(&io)?;
    let seen = Record::new();
    let told = seen.clone();
    ours.async_wait(Wait::Read, move |waited| told.push(waited.is_ok()));
    assert_eq!(io.poll()?, 0);
    peer.write_all(b"abc")?;
    assert_eq!(finish(&mut io), 1);
    assert_eq!(seen.take(), [true]);
    assert_eq!(ours.available()?, 3);
    // Still there: the next wait ends at once.
    ours.async_wait(Wait::Read, |waited| waited.unwrap());
    assert_eq!(finish(&mut io), 1);
    ours.wait(Wait::Read)?;
    Ok(())
}

/// Section 2: the end of the stream, and a reset, end a wait to read.
#[test]
fn a_wait_to_read_ends_at_the_end_of_the_stream() -> io::Result<()> {
    for reset in [false, true] {
        let mut io = context();
        let (ours, peer) = connection(&io)?;
        ours.async_wait(Wait::Read, |waited| waited.unwrap());
        io.poll()?;
        if reset {
            socket2::SockRef::from(&peer).set_linger(Some(Duration::ZERO))?;
        }
        drop(peer);
        assert_eq!(finish(&mut io), 1);
        assert_eq!(ours.read_some(&mut [0; 1]).is_err(), reset);
    }
    Ok(())
}

/// Section 2: a wait to write ends when there is room.
#[test]
fn a_wait_to_write_ends_when_there_is_room() -> io::Result<()> {
    let mut io = context();
    let (ours, mut peer) = connection(&io)?;
    narrow(&ours, &peer)?;
    ours.async_wait(Wait::Write, |waited| waited.unwrap());
    assert_eq!(finish(&mut io), 1);
    ours.set_non_blocking(true);
    let mut sent = 0;
    while let Ok(n) = ours.write_some(&[0; 4096]) {
        sent += n;
    }
    let seen = Record::new();
    let told = seen.clone();
    ours.async_wait(Wait::Write, move |waited| told.push(waited.is_ok()));
    for _ in 0..10 {
        assert_eq!(io.poll()?, 0);
    }
    peer.read_exact(&mut vec![0; sent])?;
    assert_eq!(finish(&mut io), 1);
    assert_eq!(seen.take(), [true]);
    assert!(ours.write_some(b"x").is_ok());
    Ok(())
}

/// Section 2: the third condition is urgent data, and an error of the connection.
#[test]
#[cfg(any(target_os = "linux", target_os = "android"))]
fn a_wait_for_an_error_ends_with_urgent_data_and_with_a_reset() -> io::Result<()> {
    for reset in [false, true] {
        let mut io = context();
        let (ours, mut peer) = connection(&io)?;
        let seen = Record::new();
        let told = seen.clone();
        ours.async_wait(Wait::Error, move |waited| told.push(waited.is_ok()));
        peer.write_all(b"plain")?;
        net::wait_readable(ours.try_clone_fd()?)?;
        for _ in 0..10 {
            assert_eq!(io.poll()?, 0);
        }
        if reset {
            socket2::SockRef::from(&peer).set_linger(Some(Duration::ZERO))?;
            drop(peer);
        } else {
            rustix::net::send(&peer, b"!", rustix::net::SendFlags::OOB)?;
        }
        assert_eq!(finish(&mut io), 1);
        assert_eq!(seen.take(), [true]);
    }
    Ok(())
}

/// P18: a wait started after a non-blocking read found nothing sleeps, without a turn, until there is something.
#[test]
fn a_wait_after_a_drained_read_sleeps_and_is_then_told() -> io::Result<()> {
    let mut io = context();
    let (ours, mut peer) = connection(&io)?;
    ours.set_non_blocking(true);
    for _ in 0..5 {
        let seen = Record::new();
        let told = seen.clone();
        ours.async_wait(Wait::Read, move |waited| told.push(waited.is_ok()));
        assert_eq!(io.poll()? + io.poll()?, 0);
        assert!(io.next_timeout() > Some(Duration::from_secs(1)), "it would spin");
        peer.write_all(b"hello")?;
        assert_eq!(finish(&mut io), 1);
        assert_eq!(seen.take(), [true]);
        while ours.read_some(&mut [0; 2]).is_ok() {}
        assert_eq!(ours.read_some(&mut [0; 2]).unwrap_err().kind(), ErrorKind::WouldBlock);
    }
    Ok(())
}

/// P10: a wait has its place in its direction's queue: what was started behind it comes after it.
#[test]
fn a_read_behind_a_wait_comes_after_it() -> io::Result<()> {
    let mut io = context();
    let (ours, mut peer) = connection(&io)?;
    let seen = Record::new();
    let (wait, read) = (seen.clone(), seen.clone());
    ours.async_wait(Wait::Read, move |_| wait.push("wait"));
    ours.async_read_some([0; 8], move |_| read.push("read"));
    peer.write_all(b"x")?;
    assert_eq!(finish(&mut io), 2);
    assert_eq!(seen.take(), ["wait", "read"]);
    Ok(())
}

/// Bad input: waiting on what is not open.
#[test]
fn waiting_on_a_closed_object_is_an_error() -> io::Result<()> {
    let mut io = context();
    let socket = tcp::Socket::new(&io);
    for wait in [Wait::Read, Wait::Write, Wait::Error] {
        assert!(socket.wait(wait).is_err());
        socket.async_wait(wait, |waited| assert_eq!(waited.unwrap_err().kind(), ErrorKind::NotConnected));
        assert_eq!(finish(&mut io), 1);
    }
    Ok(())
}

/// P18: whoever waits for urgent data is told of it, though a read is outstanding too.
#[test]
#[cfg(any(target_os = "linux", target_os = "android"))]
fn a_wait_for_an_error_is_told_beside_an_outstanding_read() -> io::Result<()> {
    let mut io = context();
    let (ours, peer) = connection(&io)?;
    let seen = Record::new();
    let (read, urgent) = (seen.clone(), seen.clone());
    ours.async_read_some([0; 8], move |_| read.push("read"));
    ours.async_wait(Wait::Error, move |_| urgent.push("urgent"));
    io.poll()?;
    rustix::net::send(&peer, b"!", rustix::net::SendFlags::OOB)?;
    assert_eq!(io.run_one_for(Duration::from_secs(20))?, 1);
    assert_eq!(seen.take(), ["urgent"]);
    Ok(())
}

/// P18: a wait started after plain calls took exactly what was there, and never saw `WouldBlock`, is told of more.
#[test]
fn a_wait_after_a_read_of_exactly_everything_is_told_of_more() -> io::Result<()> {
    let mut io = context();
    let (ours, mut peer) = connection(&io)?;
    for _ in 0..5 {
        let seen = Record::new();
        let told = seen.clone();
        ours.async_wait(Wait::Read, move |waited| told.push(waited.is_ok()));
        assert_eq!(io.poll()? + io.poll()?, 0);
        peer.write_all(b"hello")?;
        assert_eq!(finish(&mut io), 1);
        assert_eq!(seen.take(), [true]);
        assert_eq!(ours.read_some(&mut [0; 5])?, 5);
    }
    let acceptor = tcp::Acceptor::listen_on(&io, net::anywhere())?;
    for _ in 0..5 {
        acceptor.async_wait(Wait::Read, |waited| waited.unwrap());
        assert_eq!(io.poll()? + io.poll()?, 0);
        let client = std::net::TcpStream::connect(acceptor.local_endpoint()?)?;
        assert_eq!(finish(&mut io), 1);
        assert_eq!(acceptor.accept()?.1, client.local_addr()?);
    }
    Ok(())
}
