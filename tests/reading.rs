//! What reading promises: every byte, the end, and the order of several reads.

mod net;
mod util;

use ioctx::ip::tcp;
use ioctx::{Config, IoContext};
use net::{connection, finish, wait_readable};
use rustix::net::SendFlags;
use std::cell::RefCell;
use std::io::{self, ErrorKind, Write};
use std::net::Shutdown;
use std::rc::Rc;
use util::{Record, context};

/// Everything that a socket reads until the end of its stream.
#[derive(Default)]
struct Received {
    bytes: Vec<u8>,
    ends: usize,
}

/// Reads to the end, with a new `async_read_some` from each handler.
fn read_to_end(socket: tcp::Socket, buffer: Vec<u8>, received: Rc<RefCell<Received>>) {
    socket.clone().async_read_some(buffer, move |(read, buffer)| match read {
        Ok(0) => received.borrow_mut().ends += 1,
        Err(error) => assert!(ioctx::error::is_aborted(&error), "{error}"),
        Ok(n) => {
            received.borrow_mut().bytes.extend_from_slice(&buffer[..n]);
            read_to_end(socket, buffer, received);
        }
    });
}

/// P18: data and FIN in one edge: the bytes come first, then the end, once.
#[test]
fn bytes_and_the_end_in_one_edge_are_both_delivered() -> io::Result<()> {
    for size in [1, 3, 4096] {
        let mut io = context();
        let (ours, peer) = connection(&io)?;
        let received = Rc::default();
        read_to_end(ours, vec![0; size], Rc::clone(&received));
        io.poll()?; // registered, and found to have nothing
        rustix::net::send(&peer, b"the last words", SendFlags::empty())?;
        peer.shutdown(Shutdown::Write)?;
        finish(&mut io);
        assert_eq!(received.borrow().bytes, b"the last words");
        assert_eq!(received.borrow().ends, 1);
    }
    Ok(())
}

/// P18: a read that stops at urgent data is followed by one that goes on behind it.
#[test]
#[cfg(any(target_os = "linux", target_os = "android"))]
fn urgent_data_in_the_middle_never_stalls_a_stream() -> io::Result<()> {
    for size in [1, 3, 4096] {
        let mut io = context();
        let (ours, peer) = connection(&io)?;
        let received = Rc::<RefCell<Received>>::default();
        read_to_end(ours.clone(), vec![0; size], Rc::clone(&received));
        io.poll()?;
        for (part, so_far) in [("one ", 8), ("two ", 16), ("out ", 24)] {
            rustix::net::send(&peer, part.as_bytes(), SendFlags::empty())?;
            rustix::net::send(&peer, b"!", SendFlags::OOB)?;
            rustix::net::send(&peer, b"and ", SendFlags::empty())?;
            // One urgent byte at a time: the next would turn it into a plain one.
            net::poll_until(&mut io, || received.borrow().bytes.len() >= so_far);
        }
        rustix::net::send(&peer, b"!", SendFlags::OOB)?;
        rustix::net::send(&peer, b"end", SendFlags::empty())?;
        peer.shutdown(Shutdown::Write)?;
        finish(&mut io);
        assert_eq!(received.borrow().bytes, b"one and two and out and end");
        assert_eq!(received.borrow().ends, 1);
    }
    Ok(())
}

/// P18: an urgent byte on its own neither ends nor disturbs an outstanding read.
#[test]
#[cfg(any(target_os = "linux", target_os = "android"))]
fn a_lone_urgent_byte_leaves_the_read_outstanding() -> io::Result<()> {
    let mut io = context();
    let (ours, mut peer) = connection(&io)?;
    let seen = Record::new();
    let read = seen.clone();
    ours.async_read_some(vec![0; 8], move |(n, buffer)| read.push(buffer[..n.unwrap()].to_vec()));
    rustix::net::send(&peer, b"!", SendFlags::OOB)?;
    for _ in 0..100 {
        assert_eq!(io.poll()?, 0);
    }
    peer.write_all(b"plain")?;
    assert_eq!(finish(&mut io), 1);
    assert_eq!(seen.take(), [b"plain"]);
    Ok(())
}

/// P18: what arrived before the first operation is found, however the socket came to the loop.
#[test]
fn a_descriptor_already_readable_is_read_at_once() -> io::Result<()> {
    let mut io = context();
    let received = Rc::new(RefCell::new(Received::default()));
    let listener = std::net::TcpListener::bind(net::anywhere())?;
    let ready = || -> io::Result<std::net::TcpStream> {
        let mut peer = std::net::TcpStream::connect(listener.local_addr()?)?;
        let ours = listener.accept()?.0;
        peer.write_all(b"x")?;
        drop(peer);
        wait_readable(&ours)?;
        Ok(ours)
    };
    read_to_end(tcp::Socket::from_std(&io, ready()?)?, vec![0; 8], Rc::clone(&received));
    let assigned = tcp::Socket::new(&io);
    assigned.assign(ready()?)?;
    read_to_end(assigned, vec![0; 8], Rc::clone(&received));
    finish(&mut io);
    assert_eq!((received.borrow().bytes.len(), received.borrow().ends), (2, 2));
    Ok(())
}

/// P18: with a budget of one small read per dispatch nothing is lost and nothing stalls.
#[test]
fn a_spent_budget_delays_bytes_and_loses_none() -> io::Result<()> {
    let mut io = IoContext::with_config(Config::new().read_budget(1, 1).handlers_per_dispatch(1))?;
    util::watch(&io);
    let (ours, mut peer) = connection(&io)?;
    let message: Vec<u8> = (0..10_000_u32).flat_map(u32::to_be_bytes).collect();
    let received = Rc::default();
    read_to_end(ours, vec![0; 64], Rc::clone(&received));
    peer.write_all(&message)?;
    drop(peer);
    finish(&mut io);
    assert!(received.borrow().bytes == message);
    assert_eq!(received.borrow().ends, 1);
    Ok(())
}

/// P18: whoever reads again behind the end is told of the end again.
#[test]
fn reading_on_behind_the_end_ends_again() -> io::Result<()> {
    let mut io = context();
    let (ours, peer) = connection(&io)?;
    drop(peer);
    for _ in 0..3 {
        ours.async_read_some(vec![0; 8], |(read, _)| assert_eq!(read.unwrap(), 0));
        assert_eq!(finish(&mut io), 1);
    }
    assert_eq!(ours.read_some(&mut [0; 8])?, 0);
    Ok(())
}

/// P18: a reset is an error, not an end.
#[test]
fn a_reset_connection_is_an_error_and_not_an_end() -> io::Result<()> {
    let mut io = context();
    let (ours, peer) = connection(&io)?;
    ours.async_read_some(vec![0; 8], |(read, buffer)| {
        assert_eq!(read.unwrap_err().kind(), ErrorKind::ConnectionReset);
        assert_eq!(buffer.len(), 8);
    });
    io.poll()?;
    socket2::SockRef::from(&peer).set_linger(Some(std::time::Duration::ZERO))?;
    drop(peer);
    assert_eq!(finish(&mut io), 1);
    Ok(())
}

/// P19, P10: several reads are served in the order started, each with the bytes that come next.
#[test]
fn reads_are_served_in_the_order_started() -> io::Result<()> {
    let mut io = context();
    let (ours, mut peer) = connection(&io)?;
    let seen = Record::new();
    for n in 0..40_u8 {
        let seen = seen.clone();
        if n % 2 == 0 {
            ours.async_read_some([0; 1], move |(read, byte)| seen.push((n, read.unwrap(), byte[0])));
        } else {
            ours.async_read([0; 1], move |(read, byte)| seen.push((n, read.unwrap(), byte[0])));
        }
    }
    assert_eq!(io.poll()?, 0);
    let bytes: Vec<u8> = (0..40).collect();
    peer.write_all(&bytes[..7])?;
    while seen.len() < 7 {
        io.run_one()?;
    }
    peer.write_all(&bytes[7..])?;
    finish(&mut io);
    assert_eq!(seen.take(), bytes.iter().map(|n| (*n, 1, *n)).collect::<Vec<_>>());
    Ok(())
}

/// P19: `async_read` is one operation and one handler, however the bytes arrive.
#[test]
fn async_read_fills_its_buffer_however_the_bytes_arrive() -> io::Result<()> {
    let mut io = context();
    let (ours, mut peer) = connection(&io)?;
    let seen = Record::new();
    let read = seen.clone();
    ours.async_read(vec![0; 6], move |(n, buffer)| read.push((n.unwrap(), buffer)));
    for byte in b"abcde" {
        peer.write_all(&[*byte])?;
        assert_eq!(io.poll()?, 0);
    }
    peer.write_all(b"f")?;
    assert_eq!(finish(&mut io), 1);
    assert_eq!(seen.take(), [(6, b"abcdef".to_vec())]);
    Ok(())
}

/// P19: a stream that ends in the middle of `async_read` is `UnexpectedEof`, and tells how much there was.
#[test]
fn an_end_in_the_middle_of_async_read_tells_the_bytes_so_far() -> io::Result<()> {
    let mut io = context();
    let (ours, mut peer) = connection(&io)?;
    ours.async_read(vec![0; 6], |(read, buffer)| {
        let error = read.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::UnexpectedEof);
        assert_eq!(ioctx::error::transferred(&error), 4);
        assert_eq!(buffer, b"abcd\0\0");
    });
    peer.write_all(b"abcd")?;
    io.poll()?;
    drop(peer);
    assert_eq!(finish(&mut io), 1);
    Ok(())
}

/// P30 at the operation layer: a socket that floods does not keep another one waiting.
#[test]
fn a_flooded_socket_leaves_the_others_their_turn() -> io::Result<()> {
    let mut io = context();
    let (flooded, mut flood) = connection(&io)?;
    let (quiet, mut peer) = connection(&io)?;
    let small: Vec<u8> = vec![0; 100_000];
    flood.write_all(&small)?;
    let received = Rc::<RefCell<Received>>::default();
    read_to_end(flooded.clone(), vec![0; 1], Rc::clone(&received));
    quiet.async_read_some(vec![0; 8], {
        let flooded = flooded.clone();
        move |_| flooded.close()
    });
    peer.write_all(b"stop")?;
    finish(&mut io);
    let received = received.borrow();
    assert!(received.ends == 0 && received.bytes.len() < small.len() / 2, "{}", received.bytes.len());
    Ok(())
}

/// P5, P18: every read that is outstanding when the stream ends is told so, in order, whatever its kind.
#[test]
fn every_outstanding_read_is_told_of_the_end() -> io::Result<()> {
    let mut io = context();
    let (ours, peer) = connection(&io)?;
    let seen = Record::new();
    let (first, second, third, fourth) = (seen.clone(), seen.clone(), seen.clone(), seen.clone());
    ours.async_read_some([0; 8], move |(read, _)| first.push(read.unwrap()));
    ours.async_read([0; 8], move |(read, _)| {
        assert_eq!(read.unwrap_err().kind(), ErrorKind::UnexpectedEof);
        second.push(1);
    });
    ours.async_wait(tcp::Wait::Read, move |waited| {
        waited.unwrap();
        third.push(2);
    });
    ours.async_read_some([0; 8], move |(read, _)| fourth.push(read.unwrap()));
    drop(peer);
    assert_eq!(finish(&mut io), 4);
    assert_eq!(seen.take(), [0, 1, 2, 0]);
    Ok(())
}

/// P18: the end that came in one edge with the bytes also ends an operation that wants more of them.
#[test]
fn the_end_in_the_same_edge_ends_an_async_read_that_wants_more() -> io::Result<()> {
    let mut io = context();
    let (ours, mut peer) = connection(&io)?;
    ours.async_read([0; 100], |(read, _)| {
        let error = read.unwrap_err();
        assert_eq!((error.kind(), ioctx::error::transferred(&error)), (ErrorKind::UnexpectedEof, 14));
    });
    io.poll()?;
    peer.write_all(b"the last words")?;
    peer.shutdown(Shutdown::Write)?;
    assert_eq!(finish(&mut io), 1);
    Ok(())
}
