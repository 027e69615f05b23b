//! The blocking calls, beside the asynchronous ones.

mod net;
mod util;

use ioctx::error;
use ioctx::ip::tcp;
use net::{anywhere, connection, finish};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::thread;
use util::{Record, context};

/// Section 2: a whole exchange, each step a blocking call with its error as a value.
#[test]
fn every_step_has_a_blocking_call() -> io::Result<()> {
    let io = context();
    let acceptor = tcp::Acceptor::new(&io);
    acceptor.open(tcp::Protocol::v4())?;
    acceptor.bind(anywhere())?;
    acceptor.listen(5)?;
    let endpoint = acceptor.local_endpoint()?;
    let client = thread::spawn(move || -> io::Result<(tcp::Endpoint, Vec<u8>)> {
        let mut stream = TcpStream::connect(endpoint)?;
        stream.write_all(b"question")?;
        stream.shutdown(Shutdown::Write)?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        Ok((stream.local_addr()?, answer))
    });
    let (socket, peer) = acceptor.accept()?;
    let mut question = [0; 8];
    assert_eq!(socket.read(&mut question)?, 8);
    assert_eq!(&question, b"question");
    assert_eq!(socket.read_some(&mut question)?, 0);
    assert_eq!(socket.write(b"answer")?, 6);
    socket.close();
    let (client, answer) = client.join().expect("the client")?;
    assert_eq!((client, answer), (peer, b"answer".to_vec()));
    Ok(())
}

/// Section 2: blocking calls work before and after asynchronous ones on the same socket.
#[test]
fn blocking_and_asynchronous_calls_take_turns() -> io::Result<()> {
    let mut io = context();
    let (ours, peer) = connection(&io)?;
    let echo = thread::spawn(move || io::copy(&mut peer.try_clone()?, &mut &peer));
    for round in 0..10_u8 {
        ours.write(&[round; 3])?;
        let mut bytes = [0; 3];
        assert_eq!(ours.read(&mut bytes)?, 3);
        assert_eq!(bytes, [round; 3]);
        ours.async_write([round; 2], |(wrote, _)| assert_eq!(wrote.unwrap(), 2));
        ours.async_read([0; 2], move |(read, bytes)| assert_eq!((read.unwrap(), bytes), (2, [round; 2])));
        assert_eq!(finish(&mut io), 2);
    }
    ours.close();
    echo.join().expect("the echo")?;
    Ok(())
}

/// Section 2: a blocking call bypasses what is queued in its direction, which goes on waiting.
#[test]
fn a_blocking_call_bypasses_what_is_queued() -> io::Result<()> {
    let mut io = context();
    let (ours, mut peer) = connection(&io)?;
    let seen = Record::new();
    let told = seen.clone();
    ours.async_read_some([0; 8], move |(read, bytes)| told.push(bytes[..read.unwrap()].to_vec()));
    io.poll()?;
    peer.write_all(b"first")?;
    let mut bytes = [0; 8];
    assert_eq!(ours.read_some(&mut bytes)?, 5);
    assert_eq!(io.poll()? + io.poll()?, 0); // the event was for nothing
    peer.write_all(b"second")?;
    assert_eq!(finish(&mut io), 1);
    assert_eq!(seen.take(), [b"second"]);

    let acceptor = tcp::Acceptor::listen_on(&io, anywhere())?;
    acceptor.async_accept(|accepted| assert!(error::is_aborted(&accepted.unwrap_err())));
    io.poll()?;
    let client = TcpStream::connect(acceptor.local_endpoint()?)?;
    assert_eq!(acceptor.accept()?.1, client.local_addr()?);
    assert_eq!(io.poll()? + io.poll()?, 0);
    acceptor.close();
    assert_eq!(finish(&mut io), 1);
    Ok(())
}

/// P26: a socket that is only used by blocking calls never enters the loop.
#[test]
fn blocking_calls_register_nothing() -> io::Result<()> {
    let mut io = context();
    let (ours, mut peer) = connection(&io)?;
    peer.write_all(&[0; 100])?;
    ours.read(&mut [0; 50])?;
    let _guard = io.work_guard();
    for _ in 0..10 {
        assert_eq!(io.poll()?, 0);
    }
    assert!(io.next_timeout() > Some(std::time::Duration::from_secs(1)));
    Ok(())
}

/// Section 2: in non-blocking mode the blocking calls answer `WouldBlock`, and the asynchronous ones do not care.
#[test]
fn in_non_blocking_mode_only_the_plain_calls_would_block() -> io::Result<()> {
    let mut io = context();
    let (ours, mut peer) = connection(&io)?;
    assert!(!ours.non_blocking());
    ours.set_non_blocking(true);
    assert!(ours.non_blocking());
    assert_eq!(ours.read_some(&mut [0; 1]).unwrap_err().kind(), ErrorKind::WouldBlock);
    assert_eq!(ours.read(&mut [0; 1]).unwrap_err().kind(), ErrorKind::WouldBlock);
    ours.async_read([0; 2], |(read, _)| assert_eq!(read.unwrap(), 2));
    io.poll()?;
    peer.write_all(b"ok")?;
    assert_eq!(finish(&mut io), 1);
    // `read` tells what it got before it would have blocked.
    peer.write_all(b"abc")?;
    net::wait_readable(ours.try_clone_fd()?)?;
    let error = ours.read(&mut [0; 5]).unwrap_err();
    assert_eq!((error.kind(), error::transferred(&error)), (ErrorKind::WouldBlock, 3));
    Ok(())
}

/// P19: a stream that ends in the middle of a blocking `read`, and a peer that goes in the middle of a `write`.
#[test]
fn a_blocking_transfer_that_fails_tells_the_bytes_so_far() -> io::Result<()> {
    let io = context();
    let (ours, mut peer) = connection(&io)?;
    peer.write_all(b"abc")?;
    peer.shutdown(Shutdown::Write)?;
    let error = ours.read(&mut [0; 5]).unwrap_err();
    assert_eq!((error.kind(), error::transferred(&error)), (ErrorKind::UnexpectedEof, 3));
    let (ours, peer) = connection(&io)?;
    let reader = thread::spawn(move || -> io::Result<()> {
        (&peer).read_exact(&mut [0; 1000])?;
        socket2::SockRef::from(&peer).set_linger(Some(std::time::Duration::ZERO))
    });
    let error = ours.write(&vec![0; 50_000_000]).unwrap_err();
    assert!(error::transferred(&error) >= 1000, "{error}");
    reader.join().expect("the reader")
}
