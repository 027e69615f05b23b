//! What writing promises: one operation at a time, whole messages, and the count when it fails.

mod net;
mod util;

use ioctx::{Part, error};
use net::{connection, finish, narrow};
use std::io::{self, ErrorKind, Read};
use std::rc::Rc;
use std::thread;
use std::time::Duration;
use util::{Record, context};

/// P19: the bytes of two `async_write` never mix, and their handlers come in order.
#[test]
fn two_writes_never_interleave() -> io::Result<()> {
    const SIZE: usize = 5_000_000; // more than the system keeps
    let mut io = context();
    let (ours, mut peer) = connection(&io)?;
    let seen = Record::new();
    for letter in *b"abc" {
        let seen = seen.clone();
        ours.async_write(vec![letter; SIZE], move |(wrote, _)| seen.push((letter, wrote.unwrap())));
    }
    drop(ours);
    assert_eq!(io.poll()?, 0);
    let reader = thread::spawn(move || -> io::Result<Vec<u8>> {
        let mut all = Vec::new();
        peer.read_to_end(&mut all)?;
        Ok(all)
    });
    assert_eq!(finish(&mut io), 3);
    assert_eq!(seen.take(), [(b'a', SIZE), (b'b', SIZE), (b'c', SIZE)]);
    let all = reader.join().expect("the reader")?;
    assert!(all == [vec![b'a'; SIZE], vec![b'b'; SIZE], vec![b'c'; SIZE]].concat());
    Ok(())
}

/// P19: `async_write_some` may be short; what it says is what was sent.
#[test]
fn write_some_tells_how_much_it_wrote() -> io::Result<()> {
    const SIZE: usize = 10_000_000;
    let mut io = context();
    let (ours, mut peer) = connection(&io)?;
    narrow(&ours, &peer)?;
    let sent = Record::new();
    let wrote = sent.clone();
    ours.async_write_some(vec![7; SIZE], move |(n, buffer)| {
        assert_eq!(buffer.len(), SIZE);
        wrote.push(n.unwrap());
    });
    drop(ours);
    assert_eq!(finish(&mut io), 1);
    let mut all = Vec::new();
    peer.read_to_end(&mut all)?;
    assert!(all.len() < SIZE);
    assert_eq!(sent.take(), [all.len()]);
    Ok(())
}

/// P19, P20: a write that the peer ends by a reset tells its error and how many bytes went before.
#[test]
fn a_write_that_fails_in_the_middle_tells_the_bytes_so_far() -> io::Result<()> {
    let mut io = context();
    let (ours, peer) = connection(&io)?;
    narrow(&ours, &peer)?;
    let seen = Record::new();
    let wrote = seen.clone();
    ours.async_write(vec![0; 1_000_000], move |(n, buffer)| {
        assert_eq!(buffer.len(), 1_000_000);
        wrote.push(n.unwrap_err());
    });
    io.poll()?;
    socket2::SockRef::from(&peer).set_linger(Some(Duration::ZERO))?;
    drop(peer);
    assert_eq!(finish(&mut io), 1);
    let failed = seen.take().remove(0);
    assert!(matches!(failed.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe), "{failed:?}");
    assert!(!error::is_aborted(&failed));
    let before = error::transferred(&failed);
    assert!(0 < before && before < 1_000_000, "{before}");
    Ok(())
}

/// P7, P24: every write after the peer has gone is an error of its own, and other connections do not notice.
#[test]
fn writes_to_a_peer_that_vanished_fail_one_by_one() -> io::Result<()> {
    let mut io = context();
    let (ours, peer) = connection(&io)?;
    let (healthy, mut other) = connection(&io)?;
    drop(peer);
    let seen = Record::new();
    // The first may still go out: its answer is the reset.
    while !seen.take().contains(&true) {
        let seen = seen.clone();
        ours.async_write(b"x", move |(wrote, _)| seen.push(wrote.is_err()));
        finish(&mut io);
    }
    for _ in 0..3 {
        let seen = seen.clone();
        ours.async_write_some(b"x", move |(wrote, _)| seen.push(wrote.is_err()));
    }
    healthy.async_write(b"fine", |(wrote, _)| assert_eq!(wrote.unwrap(), 4));
    assert_eq!(finish(&mut io), 4);
    assert_eq!(seen.take(), [true; 3]);
    let mut fine = [0; 4];
    other.read_exact(&mut fine)?;
    assert_eq!(&fine, b"fine");
    Ok(())
}

/// P19: any buffer that is bytes will do, and it comes back.
#[test]
fn any_buffer_travels_along_and_comes_back() -> io::Result<()> {
    let mut io = context();
    let (ours, mut peer) = connection(&io)?;
    let shared: Rc<[u8]> = Rc::from(*b"rc ");
    ours.async_write("static ", |(wrote, text)| assert_eq!((wrote.unwrap(), text), (7, "static ")));
    ours.async_write(String::from("string "), |(_, text)| assert_eq!(text, "string "));
    ours.async_write(Rc::clone(&shared), |(_, rc)| assert_eq!(&*rc, b"rc "));
    ours.async_write(*b"array ", |(_, array)| assert_eq!(&array, b"array "));
    ours.async_write(Part::new(b"<part>".to_vec(), 1..5), |(wrote, part)| {
        assert_eq!(wrote.unwrap(), 4);
        assert_eq!(part.into_inner(), b"<part>");
    });
    assert_eq!(finish(&mut io), 5);
    drop(ours);
    let mut all = String::new();
    peer.read_to_string(&mut all)?;
    assert_eq!(all, "static string rc array part");
    assert_eq!(Rc::strong_count(&shared), 1);
    Ok(())
}

/// P19: a part of a buffer is filled in place, and the rest is left alone.
#[test]
fn a_part_is_filled_in_place() -> io::Result<()> {
    let mut io = context();
    let (ours, peer) = net::pair(&io)?;
    peer.async_write(b"mid", |_| {});
    ours.async_read(Part::new(b"[...]".to_vec(), 1..4), |(read, part)| {
        assert_eq!(read.unwrap(), 3);
        assert_eq!(part.into_inner(), b"[mid]");
    });
    assert_eq!(finish(&mut io), 2);
    Ok(())
}
