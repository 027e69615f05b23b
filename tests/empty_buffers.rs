//! Operations on nothing.

mod net;
mod util;

use ioctx::{Part, cancel_after, error};
use net::{connection, finish};
use std::io::{self, ErrorKind, Read, Write};
use std::time::Duration;
use util::{Record, context};

/// P21: reading some of nothing is refused, so that `Ok(0)` always means the end.
#[test]
fn read_some_into_nothing_is_invalid_input() -> io::Result<()> {
    let mut io = context();
    let (ours, _peer) = connection(&io)?;
    assert_eq!(ours.read_some(&mut []).unwrap_err().kind(), ErrorKind::InvalidInput);
    let refused =
        |(read, _): (io::Result<usize>, Vec<u8>)| assert_eq!(read.unwrap_err().kind(), ErrorKind::InvalidInput);
    ours.async_read_some(Vec::new(), refused);
    assert_eq!(finish(&mut io), 1); // though the connection is quiet
    ours.async_read_some(Part::new(vec![1, 2, 3], 2..2), |(read, part)| {
        assert_eq!(read.unwrap_err().kind(), ErrorKind::InvalidInput);
        assert_eq!(part.into_inner(), [1, 2, 3]);
    });
    assert_eq!(finish(&mut io), 1);
    Ok(())
}

/// P21: all of nothing succeeds, also on a quiet connection, and touches no byte.
#[test]
fn all_of_nothing_succeeds_on_a_quiet_connection() -> io::Result<()> {
    let mut io = context();
    let (ours, mut peer) = connection(&io)?;
    assert_eq!(ours.read(&mut [])?, 0);
    assert_eq!(ours.write(&[])?, 0);
    assert_eq!(ours.write_some(&[])?, 0);
    ours.async_read(Vec::new(), |(read, _)| assert_eq!(read.unwrap(), 0));
    ours.async_write(Vec::new(), |(wrote, _)| assert_eq!(wrote.unwrap(), 0));
    ours.async_write_some(Vec::new(), |(wrote, _)| assert_eq!(wrote.unwrap(), 0));
    assert_eq!(finish(&mut io), 3);
    // And behind the end of the stream too.
    drop(ours.shutdown(std::net::Shutdown::Write));
    assert_eq!(peer.read(&mut [0; 1])?, 0);
    drop(peer);
    ours.async_read(Vec::new(), |(read, _)| assert_eq!(read.unwrap(), 0));
    assert_eq!(finish(&mut io), 1);
    Ok(())
}

/// P21, P10: an operation on nothing waits its turn behind those started before it.
#[test]
fn an_operation_on_nothing_keeps_its_place_in_the_queue() -> io::Result<()> {
    let mut io = context();
    let (ours, mut peer) = connection(&io)?;
    let seen = Record::new();
    let (first, second, third, fourth) = (seen.clone(), seen.clone(), seen.clone(), seen.clone());
    ours.async_read([0; 1], move |_| first.push("one byte"));
    ours.async_read([0; 0], move |(read, _)| second.push(if read.is_ok() { "nothing" } else { "failed" }));
    ours.async_read_some([0; 0], move |(read, _)| third.push(if read.is_err() { "refused" } else { "read" }));
    ours.async_read([0; 1], move |_| fourth.push("another byte"));
    assert_eq!(io.poll()?, 0);
    peer.write_all(b"x")?;
    while seen.len() < 3 {
        assert_eq!(io.run_one()?, 1);
    }
    assert_eq!(seen.take(), ["one byte", "nothing", "refused"]);
    peer.write_all(b"y")?;
    assert_eq!(finish(&mut io), 1);
    Ok(())
}

/// P21, P4: not even an operation on nothing ends inside the call that starts it; cancelled before, it is aborted.
#[test]
fn an_operation_on_nothing_can_be_cancelled_before_it_ran() -> io::Result<()> {
    let mut io = context();
    let (ours, _peer) = connection(&io)?;
    let seen = Record::new();
    let told = seen.clone();
    let key = ours.async_write(Vec::new(), move |(wrote, _)| told.push(error::is_aborted(&wrote.unwrap_err())));
    assert_eq!(seen.len(), 0);
    assert_eq!(io.cancel(key), ioctx::Cancel::Requested);
    assert_eq!(finish(&mut io), 1);
    assert_eq!(seen.take(), [true]);
    Ok(())
}

/// P21: an operation on nothing completes once those before it have gone, be it by cancelling or by a time limit.
#[test]
fn cancelling_what_is_in_front_lets_an_operation_on_nothing_complete() -> io::Result<()> {
    for limited in [false, true] {
        let mut io = context();
        let (ours, _peer) = connection(&io)?;
        let seen = Record::new();
        let (front, nothing) = (seen.clone(), seen.clone());
        let handler = move |(read, _): (io::Result<usize>, [u8; 8])| {
            read.unwrap_err();
            front.push("front");
        };
        let key = match limited {
            true => {
                let limit = Duration::from_millis(5);
                cancel_after(&io, limit, |done| ours.async_read_some([0; 8], done), handler)
            }
            false => ours.async_read_some([0; 8], handler),
        };
        ours.async_read([], move |(read, _)| {
            assert_eq!(read.unwrap(), 0);
            nothing.push("nothing");
        });
        assert_eq!(io.poll()?, 0);
        if !limited {
            assert_eq!(io.cancel(key), ioctx::Cancel::Requested);
        }
        assert_eq!(finish(&mut io), 2);
        let mut seen = seen.take();
        seen.sort_unstable();
        assert_eq!(seen, ["front", "nothing"]);
    }
    Ok(())
}

/// P21: an operation on nothing completes, too, when a handler of the other direction cancels what was in front of it.
#[test]
fn a_write_that_cancels_the_read_in_front_lets_an_operation_on_nothing_complete() -> io::Result<()> {
    for some in [false, true] {
        let mut io = context();
        let (ours, mut peer) = connection(&io)?;
        let seen = Record::new();
        let (front, nothing, write) = (seen.clone(), seen.clone(), seen.clone());
        peer.write_all(b"ab")?;
        ours.wait(ioctx::ip::tcp::Wait::Read)?;
        let key = ours.async_read([0; 10], move |(read, _)| {
            assert!(error::is_aborted(&read.unwrap_err()));
            front.push("front");
        });
        let done = move |(read, _): (io::Result<usize>, [u8; 0])| {
            assert_eq!(read.is_err(), some);
            nothing.push("nothing");
        };
        match some {
            true => ours.async_read_some([], done),
            false => ours.async_read([], done),
        };
        ours.async_write(b"x", |(wrote, _)| assert_eq!(wrote.unwrap(), 1));
        let handle = io.handle().clone();
        ours.async_write(b"y", move |_| {
            assert_eq!(handle.cancel(key), ioctx::Cancel::Requested);
            write.push("write");
        });
        assert_eq!(finish(&mut io), 4);
        let mut seen = seen.take();
        seen.sort_unstable();
        assert_eq!(seen, ["front", "nothing", "write"]);
    }
    Ok(())
}

/// P21, P1: when an operation on nothing has completed, the loop sleeps until something comes for the others.
#[test]
fn an_operation_on_nothing_does_not_keep_the_loop_awake() -> io::Result<()> {
    let mut io = context();
    let (ours, mut peer) = connection(&io)?;
    ours.async_read([0; 1], |(read, _)| assert_eq!(read.unwrap(), 1));
    ours.async_write([], |(wrote, _)| assert_eq!(wrote.unwrap(), 0));
    assert_eq!(io.poll()?, 1);
    assert_ne!(io.next_timeout(), Some(Duration::ZERO));
    peer.write_all(b"x")?;
    assert_eq!(finish(&mut io), 1);
    Ok(())
}
