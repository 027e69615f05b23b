//! `cancel_after` and `cancel_at` on the operations of sockets.

mod net;
mod util;

use ioctx::ip::tcp::{self, Wait};
use ioctx::{Cancel, cancel_after, cancel_at, error};
use net::{anywhere, connection, finish, narrow};
use std::io::{self, ErrorKind::TimedOut, Write};
use std::time::{Duration, Instant};
use util::{Record, context};

const LONG: Duration = Duration::from_secs(3600);
const SHORT: Duration = Duration::from_millis(5);

fn timed_out(error: &io::Error) -> bool {
    error.kind() == TimedOut && !error::is_aborted(error)
}

/// Section 2: a read that takes too long ends as timed out, gives its buffer back and tells the bytes so far.
#[test]
fn a_read_that_times_out_tells_the_bytes_so_far() -> io::Result<()> {
    let mut io = context();
    let (ours, mut peer) = connection(&io)?;
    let seen = Record::new();
    let told = seen.clone();
    peer.write_all(b"abc")?;
    let started = Instant::now();
    let handler = move |(read, buffer): (io::Result<usize>, Vec<u8>)| {
        let error = read.unwrap_err();
        assert!(timed_out(&error), "{error}");
        told.push((error::transferred(&error), buffer[..4].to_vec()));
    };
    cancel_after(&io, SHORT, |done| ours.async_read(vec![0; 8], done), handler);
    assert_eq!(finish(&mut io), 1);
    assert!(started.elapsed() >= SHORT);
    assert_eq!(seen.take(), [(3, b"abc\0".to_vec())]);
    // The connection is as good as before.
    ours.async_read_some([0; 8], |(read, _)| assert_eq!(read.unwrap(), 2));
    peer.write_all(b"de")?;
    assert_eq!(finish(&mut io), 1);
    Ok(())
}

/// Section 2, P2: operations of every kind can be limited; each has one handler that counts one.
#[test]
fn every_operation_can_be_limited() -> io::Result<()> {
    let mut io = context();
    let (ours, peer) = connection(&io)?;
    narrow(&ours, &peer)?;
    let acceptor = tcp::Acceptor::listen_on(&io, anywhere())?;
    let seen = Record::new();
    let some = |name| {
        let seen = seen.clone();
        move |error: io::Error| {
            assert!(timed_out(&error), "{name}: {error}");
            seen.push(name);
        }
    };
    let (read, write, wait, accept) = (some("read"), some("write"), some("wait"), some("accept"));
    cancel_after(&ours, SHORT, |done| ours.async_read_some([0; 8], done), move |(n, _)| read(n.unwrap_err()));
    let deadline = Instant::now() + SHORT;
    let writing = move |(n, _): (io::Result<usize>, _)| {
        let error = n.unwrap_err();
        assert!(error::transferred(&error) > 0);
        write(error);
    };
    cancel_at(&ours, deadline, |done| ours.async_write(vec![0; 10_000_000], done), writing);
    cancel_after(&ours, SHORT, |done| ours.async_wait(Wait::Error, done), move |waited| wait(waited.unwrap_err()));
    cancel_after(&acceptor, SHORT, |done| acceptor.async_accept(done), move |taken| accept(taken.unwrap_err()));
    assert_eq!(finish(&mut io), 4);
    let mut seen = seen.take();
    seen.sort_unstable();
    assert_eq!(seen, ["accept", "read", "wait", "write"]);
    Ok(())
}

/// Section 2: a connection attempt that nobody answers is given up in time.
#[test]
fn a_connection_attempt_that_nobody_answers_times_out() -> io::Result<()> {
    let mut io = context();
    let listener = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None)?;
    listener.bind(&anywhere().into())?;
    listener.listen(0)?;
    let endpoint = listener.local_addr()?.as_socket().expect("an address of the Internet");
    // The first ones fill the backlog, the later ones are not answered.
    let sockets: Vec<_> = (0..8).map(|_| tcp::Socket::new(&io)).collect();
    let seen = Record::new();
    for socket in &sockets {
        let seen = seen.clone();
        let limit = Duration::from_millis(50);
        cancel_after(
            socket,
            limit,
            |done| socket.async_connect(endpoint, done),
            move |connected| {
                seen.push(connected.is_err_and(|error| timed_out(&error)));
            },
        );
    }
    assert_eq!(finish(&mut io), 8);
    assert!(seen.take().contains(&true));
    Ok(())
}

/// Section 2: an operation that ends in time, or fails at once, leaves no timer behind that keeps `run` alive.
#[test]
fn an_operation_in_time_leaves_no_timer_behind() -> io::Result<()> {
    let mut io = ioctx::IoContext::new()?;
    let (ours, mut peer) = connection(&io)?;
    peer.write_all(b"x")?;
    cancel_after(&io, LONG, |done| ours.async_read_some([0; 8], done), |(read, _)| assert_eq!(read.unwrap(), 1));
    let unopened = tcp::Socket::new(&io);
    cancel_after(
        &io,
        LONG,
        |done| unopened.async_read_some([0; 8], done),
        |(read, _)| {
            assert!(!timed_out(&read.unwrap_err()));
        },
    );
    let started = Instant::now();
    assert_eq!(io.run()?, 2);
    assert!(started.elapsed() < LONG);
    assert_eq!(io.next_timeout(), None);
    Ok(())
}

/// Section 2: of nested limits the shorter wins, whichever is outer; one handler, once.
#[test]
fn nested_limits_let_the_shorter_win() -> io::Result<()> {
    for (outer, inner) in [(SHORT, LONG), (LONG, SHORT)] {
        let mut io = context();
        let (ours, _peer) = connection(&io)?;
        let seen = Record::new();
        let told = seen.clone();
        cancel_after(
            &io,
            outer,
            |done| cancel_after(&io, inner, |done| ours.async_read_some([0; 8], done), done),
            move |(read, _)| told.push(timed_out(&read.unwrap_err())),
        );
        assert_eq!(finish(&mut io), 1);
        assert_eq!(seen.take(), [true]);
        assert!(io.next_timeout() > Some(Duration::from_secs(1)), "only the watchdog is left");
    }
    Ok(())
}

/// Section 2: cancelled by its key or closed, a limited operation is aborted, not timed out.
#[test]
fn a_limited_operation_that_is_cancelled_is_aborted() -> io::Result<()> {
    for by_key in [true, false] {
        let mut io = context();
        let (ours, _peer) = connection(&io)?;
        let handler = |(read, _): (io::Result<usize>, [u8; 8])| assert!(error::is_aborted(&read.unwrap_err()));
        let key = cancel_after(&io, LONG, |done| ours.async_read_some([0; 8], done), handler);
        if by_key {
            assert_eq!(io.cancel(key), Cancel::Requested);
        } else {
            ours.close();
        }
        assert_eq!(finish(&mut io), 1);
        assert_eq!(io.cancel(key), Cancel::AlreadyDone);
    }
    Ok(())
}

/// Section 2: the same when the limit passes before the handler of the abort has run.
#[test]
fn an_operation_cancelled_before_its_limit_is_aborted_though_told_after_it() -> io::Result<()> {
    let mut io = context();
    let (ours, _peer) = connection(&io)?;
    let handler = |(read, _): (io::Result<usize>, [u8; 8])| assert!(error::is_aborted(&read.unwrap_err()));
    let key = cancel_after(&io, SHORT, |done| ours.async_read_some([0; 8], done), handler);
    assert_eq!(io.cancel(key), Cancel::Requested);
    std::thread::sleep(2 * SHORT); // the limit passes
    assert_eq!(finish(&mut io), 1);
    Ok(())
}
