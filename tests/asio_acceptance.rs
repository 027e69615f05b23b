//! What Asio's own tests assert, asked of this crate: each test names its case in the study notes' list of forty.
//! Cases about strands, threads, channels and the like have no counterpart here; timers and the loop have tests of
//! their own beside these.

mod net;
mod util;

use ioctx::ip::tcp;
use ioctx::option::{KeepAlive, SendBufferSize};
use ioctx::{IoContext, Part, Timer, cancel_after, error};
use net::{anywhere, connection, finish, pair};
use std::cell::Cell;
use std::io::{self, ErrorKind, Read, Write};
use std::rc::Rc;
use std::time::{Duration, Instant};
use util::{Record, context};

const LONG: Duration = Duration::from_secs(3600);
const SHORT: Duration = Duration::from_millis(20);

/// Case 1: a posted handler has not run before `run`, and has run after it; then the context is stopped.
#[test]
fn a_posted_handler_runs_in_run() -> io::Result<()> {
    let mut io = IoContext::new()?;
    let count = Rc::new(Cell::new(0));
    let counted = Rc::clone(&count);
    io.post(move || counted.set(counted.get() + 1));
    assert!(count.get() == 0 && !io.stopped());
    io.run()?;
    assert!(count.get() == 1 && io.stopped());
    Ok(())
}

/// Case 2: five posts after `restart` are exactly five handlers.
#[test]
fn five_posts_after_restart_are_five_handlers() -> io::Result<()> {
    let mut io = IoContext::new()?;
    io.run()?;
    io.restart();
    let count = Rc::new(Cell::new(0));
    for _ in 0..5 {
        let counted = Rc::clone(&count);
        io.post(move || counted.set(counted.get() + 1));
    }
    assert_eq!((io.run()?, count.get()), (5, 5));
    Ok(())
}

/// Cases 3 and 4: a posted stop ends `run` under a guard; after `restart` and without the guard one post runs.
#[test]
fn stop_ends_run_under_a_guard_and_restart_goes_on() -> io::Result<()> {
    let mut io = IoContext::new()?;
    let guard = io.work_guard();
    let handle = io.handle().clone();
    io.post(move || handle.stop());
    assert_eq!(io.run()?, 1);
    assert!(io.stopped());
    drop(guard);
    io.restart();
    io.post(|| {});
    assert_eq!(io.run()?, 1);
    Ok(())
}

/// Case 5: `run` returns only after the last of a handler's ten successors.
#[test]
fn run_follows_a_chain_of_posts_to_its_end() -> io::Result<()> {
    fn chain(handle: ioctx::Handle, left: u32) {
        let next = handle.clone();
        handle.post(move || {
            if left > 0 {
                chain(next, left - 1);
            }
        });
    }
    let mut io = IoContext::new()?;
    chain(io.handle().clone(), 10);
    assert_eq!(io.run()?, 11);
    Ok(())
}

/// Case 14: an asynchronous wait is told of success once, not before its expiry, and `run` returns.
#[test]
fn a_wait_succeeds_once_and_not_early() -> io::Result<()> {
    let mut io = IoContext::new()?;
    let timer = Timer::new(&io);
    timer.expires_after(SHORT);
    let expiry = timer.expiry();
    timer.async_wait(move |waited| assert!(waited.is_ok() && Instant::now() >= expiry));
    assert_eq!(io.run()?, 1);
    Ok(())
}

/// Case 15: a timer set anew from its own expiry, three times, never gains time.
#[test]
fn a_timer_rearmed_from_its_expiry_never_gains_time() -> io::Result<()> {
    fn again(timer: Timer, left: u32) {
        timer.clone().async_wait(move |waited| {
            waited.unwrap();
            if left > 0 {
                timer.expires_at(timer.expiry() + SHORT);
                again(timer, left - 1);
            }
        });
    }
    let mut io = IoContext::new()?;
    let started = Instant::now();
    let timer = Timer::new(&io);
    timer.expires_after(Duration::ZERO);
    again(timer, 3);
    assert_eq!(io.run()?, 4);
    assert!(started.elapsed() >= 3 * SHORT);
    Ok(())
}

/// Cases 16 and 17: one timer cancels another, which is aborted; waited on again, it succeeds at its expiry.
#[test]
fn a_cancelled_wait_is_aborted_and_can_be_waited_again() -> io::Result<()> {
    let mut io = IoContext::new()?;
    let (slow, quick) = (Timer::new(&io), Timer::new(&io));
    slow.expires_after(LONG);
    slow.async_wait(|waited| assert!(error::is_aborted(&waited.unwrap_err())));
    quick.expires_after(Duration::from_millis(1));
    let cancelling = slow.clone();
    quick.async_wait(move |_| assert_eq!(cancelling.cancel(), 1));
    let started = Instant::now();
    assert_eq!(io.run()?, 2);
    assert!(started.elapsed() < LONG);
    slow.expires_after(SHORT);
    assert_eq!(slow.cancel(), 0);
    let expiry = slow.expiry();
    slow.async_wait(move |waited| assert!(waited.is_ok() && Instant::now() >= expiry));
    assert_eq!(io.run()?, 1);
    Ok(())
}

/// Case 18: of two waits `cancel_one` aborts the first, and the other succeeds.
#[test]
fn cancel_one_aborts_one_of_two_waits() -> io::Result<()> {
    let mut io = IoContext::new()?;
    let timer = Timer::new(&io);
    timer.expires_after(SHORT);
    let seen = Record::new();
    for n in 0..2 {
        let seen = seen.clone();
        timer.async_wait(move |waited| seen.push((n, waited.is_ok())));
    }
    assert_eq!(timer.cancel_one(), 1);
    assert_eq!(io.run()?, 2);
    assert_eq!(seen.take(), [(0, false), (1, true)]);
    Ok(())
}

/// Case 19: fifty timers that never expire, with twelve waits each: every cancel counts its own, nothing is left.
#[test]
fn waits_that_never_end_are_cancelled_one_by_one() -> io::Result<()> {
    let mut io = IoContext::new()?;
    let alive = Rc::new(());
    let timers: Vec<_> = (0..50).map(|_| Timer::new(&io)).collect();
    for timer in &timers {
        timer.expires_after(Duration::MAX);
        for _ in 0..12 {
            let held = Rc::clone(&alive);
            timer.async_wait(move |waited| {
                assert!(waited.is_err());
                drop(held);
            });
        }
    }
    for timer in &timers {
        assert!((0..12).all(|_| timer.cancel_one() == 1));
        assert_eq!(timer.cancel(), 0);
    }
    assert_eq!(io.run()?, 50 * 12);
    assert_eq!(Rc::strong_count(&alive), 1);
    Ok(())
}

/// Case 23: a long wait under a short limit ends at the limit; a short wait under a long one succeeds, and no work
/// lingers. (Asio reports `operation_aborted`; here it is `TimedOut`.)
#[test]
fn a_limit_ends_a_long_wait_and_leaves_a_short_one() -> io::Result<()> {
    let mut io = IoContext::new()?;
    let started = Instant::now();
    for (wait, limit) in [(LONG, SHORT), (SHORT, LONG)] {
        let timer = Timer::new(&io);
        timer.expires_after(wait);
        cancel_after(
            &io,
            limit,
            |done| timer.async_wait(done),
            move |waited| match waited {
                Ok(()) => assert!(wait < limit),
                Err(error) => assert!(limit < wait && error.kind() == ErrorKind::TimedOut),
            },
        );
        assert_eq!(io.run()?, 1);
    }
    assert!(started.elapsed() < LONG);
    Ok(())
}

/// Case 24: of nested limits the shorter wins, whichever is outer.
#[test]
fn the_shorter_of_two_limits_wins() -> io::Result<()> {
    for (outer, inner) in [(LONG, SHORT), (SHORT, LONG)] {
        let mut io = IoContext::new()?;
        let timer = Timer::new(&io);
        timer.expires_after(LONG);
        let limited = |done| cancel_after(&io, inner, |done| timer.async_wait(done), done);
        cancel_after(&io, outer, limited, |waited| assert_eq!(waited.unwrap_err().kind(), ErrorKind::TimedOut));
        assert_eq!(io.run()?, 1);
    }
    Ok(())
}

/// Case 26, by intent otherwise: reading some of nothing is refused, where Asio reports success with 0; reading all of
/// nothing succeeds on a quiet connection.
#[test]
fn reading_nothing_on_a_quiet_connection() -> io::Result<()> {
    let mut io = context();
    let (ours, _peer) = connection(&io)?;
    ours.async_read_some([], |(read, _)| assert_eq!(read.unwrap_err().kind(), ErrorKind::InvalidInput));
    ours.async_read([], |(read, _)| assert_eq!(read.unwrap(), 0));
    assert_eq!(finish(&mut io), 2);
    Ok(())
}

/// Case 27: writing some of nothing succeeds with 0.
#[test]
fn writing_nothing_succeeds() -> io::Result<()> {
    let mut io = context();
    let (ours, _peer) = connection(&io)?;
    ours.async_write_some([], |(wrote, _)| assert_eq!(wrote.unwrap(), 0));
    assert_eq!(finish(&mut io), 1);
    Ok(())
}

/// Case 28: a write and a read of the same size at the two ends: one handler each, and the same bytes.
#[test]
fn what_one_end_writes_the_other_reads() -> io::Result<()> {
    let mut io = context();
    let (ours, peer) = pair(&io)?;
    let message: Vec<u8> = (0..255).cycle().take(1_000_000).collect();
    let expected = message.clone();
    peer.async_write(message, |(wrote, _)| assert_eq!(wrote.unwrap(), 1_000_000));
    ours.async_read(vec![0; 1_000_000], move |(read, bytes)| {
        assert_eq!(read.unwrap(), 1_000_000);
        assert!(bytes == expected);
    });
    assert_eq!(finish(&mut io), 2);
    Ok(())
}

/// Case 29: a read without data stays outstanding over `poll`; cancelled, it is aborted with 0 bytes.
#[test]
fn a_pending_read_is_aborted_by_cancel_with_no_bytes() -> io::Result<()> {
    let mut io = context();
    let (ours, _peer) = connection(&io)?;
    ours.async_read([0; 8], |(read, _)| {
        let error = read.unwrap_err();
        assert!(error::is_aborted(&error));
        assert_eq!(error::transferred(&error), 0);
    });
    assert_eq!(io.poll()?, 0);
    ours.cancel()?;
    assert_eq!(finish(&mut io), 1);
    Ok(())
}

/// Case 30: a read is ended by the peer's close, with 0 bytes.
#[test]
fn a_pending_read_ends_when_the_peer_closes() -> io::Result<()> {
    let mut io = context();
    let (ours, peer) = connection(&io)?;
    ours.async_read([0; 8], |(read, _)| {
        let error = read.unwrap_err();
        assert_eq!((error.kind(), error::transferred(&error)), (ErrorKind::UnexpectedEof, 0));
    });
    assert_eq!(io.poll()?, 0);
    drop(peer);
    assert_eq!(finish(&mut io), 1);
    Ok(())
}

/// Case 31: the peer's endpoint, as accept tells it, is the client's own, and the server's remote one.
#[test]
fn accept_tells_the_endpoint_of_the_peer() -> io::Result<()> {
    let mut io = context();
    let acceptor = tcp::Acceptor::listen_on(&io, anywhere())?;
    let client = tcp::Socket::new(&io);
    client.connect(acceptor.local_endpoint()?)?;
    let (server, peer) = acceptor.accept()?;
    assert_eq!([peer, server.remote_endpoint()?], [client.local_endpoint()?; 2]);
    let client = tcp::Socket::new(&io);
    client.connect(acceptor.local_endpoint()?)?;
    acceptor.async_accept(move |accepted| {
        let (server, peer) = accepted.unwrap();
        assert_eq!([peer, server.remote_endpoint().unwrap()], [client.local_endpoint().unwrap(); 2]);
    });
    assert_eq!(finish(&mut io), 1);
    Ok(())
}

/// Case 32: a socket that was closed connects again.
#[test]
fn a_closed_socket_connects_again() -> io::Result<()> {
    let mut io = context();
    let acceptor = tcp::Acceptor::listen_on(&io, anywhere())?;
    let client = tcp::Socket::new(&io);
    for _ in 0..3 {
        client.async_connect(acceptor.local_endpoint()?, |connected| connected.unwrap());
        assert_eq!(finish(&mut io), 1);
        let (server, _) = acceptor.accept()?;
        client.write(b"x")?;
        assert_eq!(server.read(&mut [0; 1])?, 1);
        client.close();
        client.connect(acceptor.local_endpoint()?)?;
        client.close();
        acceptor.accept()?;
    }
    Ok(())
}

/// Case 34: an option reads back as it was set.
#[test]
fn an_option_reads_back_as_it_was_set() -> io::Result<()> {
    let io = context();
    let socket = tcp::Socket::with_protocol(&io, tcp::Protocol::v4())?;
    for on in [true, false] {
        socket.set_option(KeepAlive(on))?;
        socket.set_option(tcp::NoDelay(on))?;
        assert_eq!(socket.option::<KeepAlive>()?, KeepAlive(on));
        assert_eq!(socket.option::<tcp::NoDelay>()?, tcp::NoDelay(on));
    }
    Ok(())
}

/// Case 36: a write is one handler with the exact total, though the stream takes a few bytes at a time.
#[test]
fn a_write_to_a_slow_stream_is_one_handler() -> io::Result<()> {
    let mut io = context();
    let (ours, mut peer) = connection(&io)?;
    ours.set_option(SendBufferSize(1))?;
    let seen = Record::new();
    let told = seen.clone();
    let message: Vec<u8> = (0..1_000_000_u32).map(|n| n as u8).collect();
    ours.async_write(message.clone(), move |(wrote, _)| told.push(wrote.unwrap()));
    drop(ours);
    let reader = std::thread::spawn(move || -> io::Result<Vec<u8>> {
        let mut all = Vec::new();
        peer.read_to_end(&mut all)?;
        Ok(all)
    });
    assert_eq!(finish(&mut io), 1);
    assert_eq!(seen.take(), [1_000_000]);
    assert!(reader.join().expect("the reader")? == message);
    Ok(())
}

/// Case 37: a read of exactly 42 bytes that come in steps of ten is one handler with 42; of none, one with 0.
#[test]
fn a_read_of_exactly_so_many_bytes_gets_them() -> io::Result<()> {
    let mut io = context();
    let (ours, mut peer) = connection(&io)?;
    let buffer = Part::to(vec![0; 100], 42);
    ours.async_read(buffer, |(read, part)| {
        assert_eq!(read.unwrap(), 42);
        assert_eq!(part.into_inner().iter().filter(|byte| **byte == 1).count(), 42);
    });
    for _ in 0..5 {
        assert_eq!(io.poll()?, 0);
        peer.write_all(&[1; 10])?;
    }
    assert_eq!(finish(&mut io), 1);
    assert_eq!(ours.available()?, 8);
    ours.async_read([], |(read, _)| assert_eq!(read.unwrap(), 0));
    assert_eq!(finish(&mut io), 1);
    Ok(())
}
