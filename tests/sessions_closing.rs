//! How sessions end: gracefully, at once, by a deadline, by idleness; and what `closed` is told.

mod net;
mod scripted;
mod util;

use ioctx::ip::tcp;
use ioctx::option::Linger;
use ioctx::session::{self, Connection, Idle, Sent};
use ioctx::testing::Harness;
use ioctx::{Config, IoContext};
use net::{finish, poll_until};
use scripted::{SOON, Script, adopted, pattern};
use std::cell::Cell;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::rc::Rc;
use std::time::{Duration, Instant};
use util::{Record, Tomb, context, run_until};

const GRACE: Duration = Duration::from_secs(1);
const AGES: Duration = Duration::from_secs(3600);
const TICK: Duration = Duration::from_millis(1);

fn count(told: &[String], what: &str) -> usize {
    told.iter().filter(|line| line.starts_with(what)).count()
}

// Gracefully.

/// P29: everything queued is sent, then the end; the peer's end finishes the connection.
#[test]
fn a_graceful_close_sends_everything_first() -> io::Result<()> {
    const SIZE: usize = 3_000_000;
    let mut io = context();
    let told = Record::new();
    let script = Script::new(&told).on_received(|connection, bytes| {
        assert_eq!(connection.send(&pattern(0, SIZE)), Sent::AboveHigh);
        connection.close_after_flush(AGES);
        assert_eq!(connection.send(b"too late"), Sent::Gone);
        assert!(!connection.is_open());
        bytes.len()
    });
    let (_connection, mut peer) = scripted::narrow(&io, script)?;
    let reader = std::thread::spawn(move || {
        let mut all = Vec::new();
        peer.write_all(b"go").expect("written");
        peer.read_to_end(&mut all).map(|_| (all, peer))
    });
    run_until(&mut io, || told.len() == 2);
    while !reader.is_finished() {
        io.run_one_for(TICK)?;
    }
    let (all, peer) = reader.join().expect("no panic")?;
    assert!(all == pattern(0, SIZE));
    assert_eq!(told.take(), ["opened", "received go"], "it waits for the peer's end");
    drop(peer);
    finish(&mut io);
    assert_eq!(told.take(), ["closed Finished", "dropped"]);
    Ok(())
}

/// P29: while it closes, what arrives is thrown away, and no method but `closed` is called.
#[test]
fn nobody_is_called_while_it_closes() {
    let told = Record::new();
    let peer = Harness::new(Script::new(&told));
    peer.peer_stalls();
    peer.connection().send(b"stuck");
    peer.connection().close_after_flush(AGES);
    peer.receive(b"ignored");
    peer.connection().notify();
    peer.settle();
    assert!(peer.is_open() && !peer.saw_eof());
    peer.peer_resumes();
    assert!(peer.saw_eof());
    assert_eq!(peer.sent(), b"stuck");
    peer.receive(b"ignored too");
    peer.peer_eof();
    assert_eq!(told.take(), ["opened", "closed Finished", "dropped"]);
}

/// P29: a peer that takes nothing: the deadline ends it, not earlier, not later.
#[test]
fn the_deadline_ends_a_close_that_gets_stuck() {
    let told = Record::new();
    let peer = Harness::new(Script::new(&told));
    peer.peer_stalls();
    peer.connection().send(b"stuck");
    peer.connection().close_after_flush(Duration::from_secs(5));
    peer.advance(Duration::from_secs(5) - TICK);
    assert!(peer.is_open());
    peer.advance(TICK);
    assert_eq!(told.take(), ["opened", "closed DeadlinePassed", "dropped"]);
}

/// P29: once everything is sent the peer has the grace to close too, whatever is left of the deadline; then it is
/// finished.
#[test]
fn a_peer_that_never_closes_is_waited_for_as_long_as_the_grace() {
    for deadline in [Duration::ZERO, TICK, AGES, Duration::MAX] {
        let told = Record::new();
        let peer = Harness::new(Script::new(&told));
        peer.connection().send(b"all");
        peer.connection().close_after_flush(deadline);
        peer.settle();
        assert!(peer.is_open() && peer.saw_eof(), "{deadline:?}");
        peer.advance(GRACE - TICK);
        assert!(peer.is_open(), "{deadline:?}");
        peer.advance(TICK);
        assert_eq!(told.take(), ["opened", "closed Finished", "dropped"], "{deadline:?}");
    }
}

/// P20, P29: to close again changes the deadline while something is queued, and nothing afterwards.
#[test]
fn closing_again_is_harmless() {
    let told = Record::new();
    let peer = Harness::new(Script::new(&told));
    peer.connection().close_after_flush(AGES);
    peer.settle();
    peer.advance(GRACE / 2);
    for _ in 0..3 {
        peer.connection().close_after_flush(Duration::MAX);
        peer.connection().shutdown_send();
        peer.settle();
    }
    peer.advance(GRACE / 2);
    assert_eq!(told.take(), ["opened", "closed Finished", "dropped"], "the grace stays what it was");

    let peer = Harness::new(Script::new(&told));
    peer.peer_stalls();
    peer.connection().send(b"stuck");
    peer.connection().close_after_flush(AGES);
    peer.connection().close_after_flush(Duration::from_secs(5));
    peer.advance(Duration::from_secs(5));
    assert_eq!(told.take(), ["opened", "closed DeadlinePassed", "dropped"], "the last deadline holds");
}

/// P29: a connection whose stream was ended before it closes waits as long as any other.
#[test]
fn closing_after_a_half_close_gives_the_same_grace() {
    for deadline in [Duration::ZERO, AGES, Duration::MAX] {
        let told = Record::new();
        let peer = Harness::new(Script::new(&told));
        peer.connection().shutdown_send();
        peer.settle();
        assert!(peer.saw_eof());
        peer.advance(AGES);
        peer.receive(b"still read");
        assert_eq!(told.take(), ["opened", "received still read"]);
        peer.connection().close_after_flush(deadline);
        peer.settle();
        peer.advance(GRACE - TICK);
        assert!(peer.is_open(), "{deadline:?}");
        peer.advance(TICK);
        assert_eq!(told.take(), ["closed Finished", "dropped"], "{deadline:?}");
    }
}

/// P29: what was sent before the connection was there is sent also if it closes before that.
#[test]
fn a_client_may_send_and_close_at_once() -> io::Result<()> {
    let mut io = context();
    let told = Record::new();
    let listener = std::net::TcpListener::bind(net::anywhere())?;
    let connection = session::connect(&io, listener.local_addr()?, SOON, Script::new(&told));
    connection.send(b"hello, and good bye");
    connection.shutdown_send();
    let (mut peer, _) = listener.accept()?;
    run_until(&mut io, || told.len() == 1);
    io.poll()?;
    let mut text = String::new();
    peer.read_to_string(&mut text)?;
    assert_eq!(text, "hello, and good bye");
    drop(peer);
    finish(&mut io);
    assert_eq!(told.take(), ["opened", "eof", "closed Finished", "dropped"]);
    Ok(())
}

/// P29: the default end: the peer has ended its stream, everything queued is sent, and no time is lost.
#[test]
fn an_ended_stream_is_answered_and_finished() -> io::Result<()> {
    let mut io = context();
    let told = Record::new();
    let (_connection, mut peer) = adopted(&io, Script::echo(&told))?;
    peer.write_all(b"echo")?;
    peer.shutdown(Shutdown::Write)?;
    let started = Instant::now();
    finish(&mut io);
    assert!(started.elapsed() < GRACE, "it did not wait for anything");
    let mut text = String::new();
    peer.read_to_string(&mut text)?;
    assert_eq!(text, "echo");
    assert_eq!(told.take(), ["opened", "received echo", "eof", "closed Finished", "dropped"]);
    Ok(())
}

/// P29: a peer that has ended gets a large answer to the last byte, then an end and no reset; nobody waits for the grace.
#[test]
fn a_peer_that_has_ended_gets_everything_and_a_proper_end() -> io::Result<()> {
    const SIZE: usize = 3_000_000;
    let mut io = context();
    let told = Record::new();
    let script = Script::new(&told).on_eof(|connection| {
        assert_eq!(connection.send(&pattern(0, SIZE)), Sent::AboveHigh);
        connection.close_after_flush(AGES);
    });
    let (_connection, mut peer) = scripted::narrow(&io, script)?;
    peer.shutdown(Shutdown::Write)?;
    let reader = std::thread::spawn(move || {
        let mut all = Vec::new();
        peer.read_to_end(&mut all).map(|_| all)
    });
    finish(&mut io);
    let all = reader.join().expect("no panic")?;
    assert!(all == pattern(0, SIZE));
    assert_eq!(told.take(), ["opened", "eof", "closed Finished", "dropped"]);
    Ok(())
}

/// P29, P34: a call that ends right after `eof`, before the close, does not leave the peer waiting for our end.
#[test]
fn our_end_leaves_although_the_call_ends_before_the_close() -> io::Result<()> {
    let mut io = context();
    let told = Record::new();
    let handle = io.handle().clone();
    let script = Script::new(&told).on_eof(move |connection| {
        connection.close_after_flush(AGES);
        handle.stop();
    });
    let (_connection, mut peer) = adopted(&io, script)?;
    peer.shutdown(Shutdown::Write)?;
    io.run()?;
    assert_eq!(told.take(), ["opened", "eof"]);
    assert_eq!(peer.read(&mut [0; 1])?, 0);
    io.restart();
    finish(&mut io);
    assert_eq!(told.take(), ["closed Finished", "dropped"]);
    Ok(())
}

/// P29: our end does not wait until the session may be told of the peer's.
#[test]
fn our_end_does_not_wait_until_the_peers_is_told() {
    let told = Record::new();
    let mut calls = 0;
    let peer = Harness::new(Script::new(&told).on_received(move |connection, bytes| {
        calls += 1;
        if calls == 2 {
            connection.pause();
        }
        if calls < 3 { 0 } else { bytes.len() }
    }));
    peer.receive(b"rest");
    peer.peer_eof(); // Seen, and what was left is shown once more.
    peer.connection().shutdown_send();
    peer.settle();
    assert!(peer.is_open() && peer.saw_eof());
    assert_eq!(count(&told.take(), "eof"), 0);
    peer.connection().resume();
    peer.settle();
    assert_eq!(told.take(), ["received rest", "eof", "closed Finished", "dropped"]);
}

/// P29: a session ends as its methods say, whatever its socket, or its acceptor, was told of lingering.
#[test]
fn a_session_does_not_linger() -> io::Result<()> {
    let mut io = context();
    let (told, handle) = (Record::new(), io.handle().clone());
    let mut ends_properly = |mut peer: TcpStream| -> io::Result<()> {
        peer.set_read_timeout(Some(SOON))?;
        peer.shutdown(Shutdown::Write)?;
        poll_until(&mut io, || told.len() == 4);
        assert_eq!(told.take(), ["opened", "eof", "closed Finished", "dropped"]);
        assert_eq!(peer.read(&mut [0; 1])?, 0, "an end, not a reset");
        Ok(())
    };

    let (socket, peer) = net::connection(&handle)?;
    socket.set_option(Linger(Some(Duration::ZERO)))?;
    session::adopt(socket, Script::new(&told))?;
    ends_properly(peer)?;

    let acceptor = tcp::Acceptor::listen_on(&handle, net::anywhere())?;
    acceptor.set_option(Linger(Some(Duration::ZERO)))?;
    let peer = TcpStream::connect(acceptor.local_endpoint()?)?;
    let script = told.clone();
    let _server = session::serve(acceptor, move |_| Script::new(&script))?;
    ends_properly(peer)
}

// At once.

/// P29: an abort throws away what is queued, and the peer sees a reset.
#[test]
fn an_abort_resets() -> io::Result<()> {
    for from_a_method in [false, true] {
        let mut io = context();
        let told = Record::new();
        let script = Script::new(&told).on_notified(|connection| {
            connection.send(b"never sent");
            connection.abort();
            assert_eq!(connection.send(b"x"), Sent::Gone);
        });
        let (connection, mut peer) = adopted(&io, script)?;
        run_until(&mut io, || told.len() == 1);
        if from_a_method {
            connection.notify();
        } else {
            connection.send(b"never sent");
            connection.abort();
        }
        finish(&mut io);
        let mut bytes = Vec::new();
        let end = peer.read_to_end(&mut bytes);
        assert_eq!(end.map_err(|error| error.kind()), Err(ErrorKind::ConnectionReset));
        assert!(bytes.is_empty(), "{}", bytes.escape_ascii());
        let told = told.take();
        assert_eq!(told[told.len() - 2..], ["closed Aborted", "dropped"]);
    }
    Ok(())
}

/// P29: nothing leaves after an abort, although there would be room.
#[test]
fn nothing_leaves_after_an_abort() {
    let told = Record::new();
    let peer = Harness::new(Script::new(&told));
    peer.connection().send(b"queued");
    peer.connection().abort();
    peer.settle();
    assert_eq!(peer.sent(), b"");
    assert!(peer.saw_reset());
    assert_eq!(told.take(), ["opened", "closed Aborted", "dropped"]);
}

/// P20, P29: abort in any state, again and again: told once, with the first reason.
#[test]
fn the_first_reason_is_the_one_that_is_told() {
    type End = fn(&Connection);
    let ends: [(End, &str); 3] = [
        (|connection| connection.abort(), "closed Aborted"),
        (|connection| connection.set_write_limit(0), "closed WriteLimit"),
        (|connection| connection.close_after_flush(Duration::ZERO), "closed Aborted"),
    ];
    for (end, expected) in ends {
        let told = Record::new();
        let peer = Harness::new(Script::new(&told));
        peer.peer_stalls();
        end(peer.connection());
        peer.connection().send(b"x");
        for _ in 0..2 {
            peer.connection().abort();
            peer.connection().close_after_flush(Duration::ZERO);
            peer.connection().abort();
        }
        peer.reset();
        assert_eq!(told.take(), ["opened", expected, "dropped"]);
    }
}

// Every reason.

/// P29, P5: `closed` is told once, with each reason, is the last call, and the session is dropped once.
#[test]
fn every_reason_is_told_exactly_once() {
    type End = fn(&Harness);
    let ends: [(&str, End); 8] = [
        ("Finished", |peer| peer.peer_eof()),
        ("Finished", |peer| {
            peer.connection().close_after_flush(SOON);
            peer.settle();
            peer.advance(GRACE);
        }),
        ("Aborted", |peer| peer.connection().abort()),
        ("Idle", |peer| {
            peer.connection().set_idle_timeout(Some(SOON));
            peer.advance(SOON);
        }),
        ("DeadlinePassed", |peer| {
            peer.peer_stalls();
            peer.connection().send(b"x");
            peer.connection().close_after_flush(SOON);
            peer.advance(SOON);
        }),
        ("WriteLimit", |peer| {
            peer.peer_stalls();
            peer.connection().set_write_limit(9);
            assert_eq!(peer.connection().send(&[7; 9]), Sent::Accepted);
            assert_eq!(peer.connection().send(&[7; 1]), Sent::Gone);
        }),
        ("UnconsumedLimit", |peer| {
            peer.connection().set_unconsumed_limit(2);
            peer.receive(b"abc");
        }),
        ("ConnectionReset", |peer| peer.reset()),
    ];
    for (reason, end) in ends {
        let (told, tombs) = (Record::new(), Record::new());
        let tomb = Tomb("session", tombs.clone());
        let seen = told.clone();
        let peer = Harness::new(Script::new(&told).on_received(move |_, _| usize::from(seen.len() > 1000)).on_closed(
            move |connection, _| {
                assert_eq!({ &tomb }.0, "session");
                connection.send(b"x");
                connection.notify();
                connection.abort();
            },
        ));
        assert_eq!(told.take(), ["opened"]);
        end(&peer);
        peer.settle();
        peer.advance(AGES);
        assert!(!peer.is_open());
        let told = told.take();
        assert_eq!(told[told.len() - 2..], [format!("closed {reason}"), "dropped".into()]);
        assert_eq!((count(&told, "closed"), count(&told, "dropped")), (1, 1), "{told:?}");
        assert_eq!(tombs.take(), ["session"]);
    }
}

/// P29, P7: a reset by the peer is told as an error.
#[test]
fn a_reset_by_the_peer_is_told() -> io::Result<()> {
    let mut io = context();
    let told = Record::new();
    let (_first, peer) = adopted(&io, Script::new(&told))?;
    let other = Record::new();
    let (_second, mut survivor) = adopted(&io, Script::echo(&other))?;
    run_until(&mut io, || told.len() == 1 && other.len() == 1);
    socket2::SockRef::from(&peer).set_linger(Some(Duration::ZERO))?;
    drop(peer);
    run_until(&mut io, || told.len() >= 2);
    assert_eq!(told.take(), ["opened", "closed ConnectionReset", "dropped"]);
    survivor.write_all(b"still here")?;
    run_until(&mut io, || other.len() == 2);
    assert_eq!(other.take(), ["opened", "received still here"]);
    Ok(())
}

// Connecting.

/// P22: a connection that is refused is told to `closed`, and `opened` is not called.
#[test]
fn a_refused_connection_is_told() -> io::Result<()> {
    let mut io = context();
    let told = Record::new();
    let connection = session::connect(&io, net::nobody()?, SOON, Script::new(&told));
    assert_eq!(connection.send(b"queued"), Sent::Accepted);
    finish(&mut io);
    assert_eq!(told.take(), ["closed ConnectionRefused", "dropped"]);
    assert_eq!(connection.send(b"x"), Sent::Gone);
    Ok(())
}

/// P22: a connection that takes too long ends at its limit, not earlier.
/// Method: nobody accepts, and the backlog is full: further attempts are not answered. Where the system does not do
/// that, they succeed, and nothing is tested.
#[test]
fn a_connection_that_takes_too_long_ends_at_its_limit() -> io::Result<()> {
    const LIMIT: Duration = Duration::from_millis(50);
    let mut io = context();
    let acceptor = tcp::Acceptor::with_protocol(&io, tcp::Protocol::v4())?;
    acceptor.bind(net::anywhere())?;
    acceptor.listen(0)?;
    let endpoint = acceptor.local_endpoint()?;
    let told = Record::new();
    let started = Instant::now();
    for _ in 0..20 {
        session::connect(&io, endpoint, LIMIT, Script::new(&told));
    }
    let unlimited = Record::new();
    let patient = session::connect(&io, endpoint, Duration::MAX, Script::new(&unlimited));
    run_until(&mut io, || count(&told_lines(&told), "closed") + count(&told_lines(&told), "opened") == 20);
    let told = told.take();
    if count(&told, "opened") < 20 {
        assert!(started.elapsed() >= LIMIT);
    }
    assert_eq!(count(&told, "closed"), count(&told, "closed DeadlinePassed"), "{told:?}");
    if cfg!(target_os = "linux") {
        assert!(count(&told, "closed") > 0, "the backlog is not full: {told:?}");
        assert_eq!(unlimited.len(), 0, "without a limit it goes on");
    }
    patient.abort();
    run_until(&mut io, || unlimited.len() >= 2);
    assert_eq!(unlimited.take().last().map(String::as_str), Some("dropped"));
    Ok(())
}

/// What was recorded so far, without forgetting it.
fn told_lines(told: &Record<String>) -> Vec<String> {
    let lines = told.take();
    lines.iter().for_each(|line| told.push(line.clone()));
    lines
}

/// P22: what is sent before the connection is there is queued, in order, and leaves when it is.
#[test]
fn what_is_sent_while_connecting_leaves_in_order() -> io::Result<()> {
    let mut io = context();
    let told = Record::new();
    let listener = std::net::TcpListener::bind(net::anywhere())?;
    let script = Script::new(&told).on_opened(|connection| {
        connection.send(b"three");
        connection.close_after_flush(SOON);
    });
    let connection = session::connect(&io, listener.local_addr()?, SOON, script);
    assert_eq!(connection.send(b"one "), Sent::Accepted);
    assert_eq!(connection.send(&pattern(0, 50_000)), Sent::Accepted);
    assert_eq!(connection.send_shared(&Rc::from(&b"two "[..])), Sent::Accepted);
    assert_eq!(connection.queued(), 50_008);
    let (mut peer, _) = listener.accept()?;
    run_until(&mut io, || told.len() == 1);
    io.poll()?;
    let mut bytes = Vec::new();
    peer.read_to_end(&mut bytes)?;
    let expected = [b"one ", &pattern(0, 50_000)[..], b"two three"].concat();
    assert!(bytes == expected);
    drop(peer);
    finish(&mut io);
    Ok(())
}

// Idleness.

/// P31, P11: the timeout ends a connection when nothing has moved for so long, never earlier; whatever moves begins it
/// anew; `Keep` begins it anew, too.
#[test]
fn idleness_counts_from_the_last_byte_that_moved() {
    const IDLE: Duration = Duration::from_secs(60);
    let (told, keeps) = (Record::new(), Rc::new(Cell::new(3)));
    let left = Rc::clone(&keeps);
    let script = Script::new(&told).on_opened(|connection| connection.set_idle_timeout(Some(IDLE)));
    let peer = Harness::new(script.on_idle(move |_| {
        left.set(left.get() - 1);
        if left.get() > 0 { Idle::Keep } else { Idle::Close }
    }));
    assert_eq!(told.take(), ["opened"]);
    for pause in [1, 10, 59, 30, 59, 59] {
        peer.advance(Duration::from_secs(pause));
        if pause % 2 == 0 {
            peer.connection().send(b"x");
            peer.settle();
        } else {
            peer.receive(b"x");
        }
    }
    assert_eq!(count(&told.take(), "idle"), 0);
    for _ in 0..2 {
        peer.advance(IDLE - TICK);
        assert!(told.take().is_empty(), "too early");
        peer.advance(TICK);
        assert_eq!(told.take(), ["idle"]);
    }
    peer.advance(IDLE);
    assert_eq!(told.take(), ["idle", "closed Idle", "dropped"]);
}

/// P31: a timeout that is set anew counts from now; one that is switched off never comes; `idle` may do that itself.
#[test]
fn an_idle_timeout_can_be_changed_at_any_time() {
    let told = Record::new();
    let peer = Harness::new(Script::new(&told).on_idle(|connection| {
        connection.set_idle_timeout(None);
        Idle::Keep
    }));
    peer.connection().set_idle_timeout(Some(SOON));
    peer.advance(SOON - TICK);
    peer.connection().set_idle_timeout(Some(2 * SOON));
    peer.advance(2 * SOON - TICK);
    assert_eq!(told.take(), ["opened"]);
    peer.connection().set_idle_timeout(None);
    peer.advance(AGES);
    peer.connection().set_idle_timeout(Some(SOON));
    peer.advance(SOON / 2);
    peer.connection().set_idle_timeout(Some(SOON / 4));
    peer.advance(SOON / 4);
    assert_eq!(told.take(), ["idle"]);
    peer.advance(AGES);
    assert!(peer.is_open());
    peer.connection().set_idle_timeout(Some(Duration::MAX));
    peer.advance(AGES);
    assert!(peer.is_open() && told.len() == 0);
}

/// P31: over a socket, bytes that move every moment keep a connection, and silence ends it; never early.
#[test]
fn silence_ends_a_connection_and_traffic_keeps_it() -> io::Result<()> {
    const IDLE: Duration = Duration::from_millis(40);
    let mut io = context();
    let (told, ended) = (Record::new(), Rc::new(Cell::new(None)));
    let end = Rc::clone(&ended);
    let script = Script::new(&told)
        .on_opened(|connection| connection.set_idle_timeout(Some(IDLE)))
        .on_closed(move |_, _| end.set(Some(Instant::now())));
    let (_connection, mut peer) = adopted(&io, script)?;
    let started = Instant::now();
    let (mut sent, mut last) = (0, started);
    while started.elapsed() < 3 * IDLE && ended.get().is_none() {
        last = Instant::now();
        peer.write_all(b"x")?;
        sent += 1;
        run_until(&mut io, || told.len() > sent || ended.get().is_some());
    }
    finish(&mut io);
    let silence = ended.get().expect("closed") - last;
    assert!(silence >= IDLE, "{silence:?}");
    assert_eq!(count(&told.take(), "closed Idle"), 1);
    Ok(())
}

/// P31: a message costs no timer operation: the one timer of an idle timeout stays where it is while bytes move, and is
/// armed again, once, when it fires.
/// Method: `next_timeout` tells when the only timer of the loop is due.
#[test]
fn a_message_moves_no_timer() -> io::Result<()> {
    let mut io = IoContext::new()?; // without a watch: there is no other timer
    let told = Record::new();
    let script = Script::echo(&told).on_opened(|connection| connection.set_idle_timeout(Some(AGES)));
    let (_connection, mut peer) = adopted(&io, script)?;
    while io.poll()? > 0 {}
    let due = Instant::now() + io.next_timeout().expect("the idle timer");
    let started = Instant::now();
    let mut answer = [0; 1];
    while started.elapsed() < Duration::from_millis(50) {
        peer.write_all(b"x")?;
        io.run_one()?;
        peer.read_exact(&mut answer)?;
        while io.poll()? > 0 {}
    }
    let now_due = Instant::now() + io.next_timeout().expect("the idle timer");
    assert!(now_due.max(due) - now_due.min(due) < Duration::from_millis(10), "it was armed {:?} later", now_due - due);
    assert!(told.len() > 2);
    Ok(())
}

/// P20: deadlines that were not needed leave nothing behind: no timer outlives its connection.
#[test]
fn no_timer_outlives_its_connection() -> io::Result<()> {
    let mut io = IoContext::new()?;
    let told = Record::new();
    let script = Script::new(&told).on_opened(|connection| connection.set_idle_timeout(Some(AGES)));
    let (connection, peer) = adopted(&io, script)?;
    io.run_one()?;
    connection.close_after_flush(AGES);
    io.poll()?;
    assert!(io.next_timeout().is_some());
    drop(peer);
    poll_until(&mut io, || told.len() == 3);
    io.poll()?;
    assert_eq!(io.next_timeout(), None);
    let listener = std::net::TcpListener::bind(net::anywhere())?;
    let connection = session::connect(&io, listener.local_addr()?, AGES, Script::new(&told));
    poll_until(&mut io, || told.len() == 4);
    io.poll()?;
    assert_eq!(io.next_timeout(), None, "the limit of a connect ends with it");
    connection.abort();
    finish(&mut io);
    Ok(())
}

/// P29: what a configuration says of the grace holds over a socket.
#[test]
fn a_peer_that_keeps_its_end_open_does_not_hold_us() -> io::Result<()> {
    let grace = Duration::from_millis(30);
    let mut io = IoContext::with_config(Config::new().grace(grace))?;
    util::watch(&io);
    let told = Record::new();
    let (connection, mut peer) = adopted(&io, Script::new(&told))?;
    run_until(&mut io, || told.len() == 1);
    connection.send(b"bye");
    connection.close_after_flush(AGES);
    let started = Instant::now();
    finish(&mut io);
    assert!(started.elapsed() >= grace);
    let mut text = String::new();
    TcpStream::read_to_string(&mut peer, &mut text)?;
    assert_eq!(text, "bye");
    assert_eq!(told.take(), ["opened", "closed Finished", "dropped"]);
    Ok(())
}

/// P29: a connection that closes is given its grace, whatever its idle timeout.
#[test]
fn an_idle_timeout_does_not_shorten_the_grace() {
    let told = Record::new();
    let peer = Harness::new(Script::new(&told));
    peer.connection().set_idle_timeout(Some(Duration::from_millis(500)));
    peer.connection().send(b"bye");
    peer.connection().close_after_flush(SOON);
    peer.advance(Duration::from_secs(1));
    assert_eq!(told.take(), ["opened", "closed Finished", "dropped"]);
}

/// P29, P22: a client that sends and closes before it is connected: what it sent arrives, then the end; if it cannot be
/// connected, or not in time, that is told.
#[test]
fn a_client_may_close_gracefully_before_it_is_connected() -> io::Result<()> {
    let mut io = context();
    let told = Record::new();
    let listener = std::net::TcpListener::bind(net::anywhere())?;
    let connection = session::connect(&io, listener.local_addr()?, Duration::from_millis(20), Script::new(&told));
    connection.send(b"hello, and good bye");
    connection.close_after_flush(AGES);
    assert!(!connection.is_open() && connection.send(b"too late") == Sent::Gone);
    let (mut peer, _) = listener.accept()?;
    peer.set_read_timeout(Some(SOON))?;
    poll_until(&mut io, || connection.queued() == 0);
    let mut text = String::new();
    peer.read_to_string(&mut text)?;
    assert_eq!(text, "hello, and good bye");
    drop(peer);
    finish(&mut io);
    assert_eq!(told.take(), ["closed Finished", "dropped"]);
    let refused = session::connect(&io, net::nobody()?, SOON, Script::new(&told));
    refused.send(b"x");
    refused.close_after_flush(AGES);
    finish(&mut io);
    assert_eq!(told.take(), ["closed ConnectionRefused", "dropped"]);
    let nothing = session::connect(&io, listener.local_addr()?, SOON, Script::new(&told));
    nothing.close_after_flush(AGES);
    finish(&mut io);
    assert_eq!(told.take(), ["closed Finished", "dropped"]);
    Ok(())
}

/// P31, P11: a slow handler earlier in the same turn does not make a connection idle that has just spoken.
#[test]
fn idleness_never_comes_early_though_a_turn_was_long() -> io::Result<()> {
    const IDLE: Duration = Duration::from_millis(50);
    let mut io = context();
    let (slow, told) = (Record::new(), Record::new());
    let busy = Script::new(&slow).on_received(|_, bytes| {
        let started = Instant::now();
        while started.elapsed() < IDLE {} // It works.
        bytes.len()
    });
    let (_a, mut a) = adopted(&io, busy)?;
    let (b, mut b_peer) = adopted(&io, Script::new(&told))?;
    while io.poll()? > 0 {}
    b.set_idle_timeout(Some(IDLE));
    a.write_all(b"x")?;
    b_peer.write_all(b"x")?;
    run_until(&mut io, || told.len() == 2);
    let spoke = Instant::now();
    run_until(&mut io, || told.len() > 2);
    assert!(spoke.elapsed() >= IDLE, "{:?}", spoke.elapsed());
    Ok(())
}

/// P29: a peer that never ceases to send does not put off `stopping` for ever.
#[test]
fn a_flood_does_not_keep_a_session_from_being_told_to_stop() -> io::Result<()> {
    let mut io = IoContext::with_config(ioctx::Config::new().read_buffer(100))?;
    let told = Record::new();
    let acceptor = tcp::Acceptor::listen_on(&io, net::anywhere())?;
    let mut peer = TcpStream::connect(acceptor.local_endpoint()?)?;
    let log = told.clone();
    let server = session::serve(acceptor, move |_| Script::new(&log))?;
    peer.write_all(&[7; 50_000])?;
    run_until(&mut io, || told.len() > 2);
    server.shutdown(Duration::MAX);
    for _ in 0..1000 {
        io.poll()?;
        peer.write_all(&[7; 100])?;
    }
    assert!(told.take().contains(&"stopping".into()));
    Ok(())
}
