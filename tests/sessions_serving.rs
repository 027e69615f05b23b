//! Servers: accepting, limits, shedding, counting, and shutting down.

mod net;
mod scripted;
mod util;

use ioctx::ip::tcp;
use ioctx::session::{self, Connection, Sent, Server};
use ioctx::{Config, IoContext};
use net::{anywhere, finish, poll_until};
use rustix::io::{FdFlags, fcntl_getfd};
use scripted::{SOON, Script, calling_nobody};
use std::cell::{Cell, OnceCell, RefCell};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::time::{Duration, Instant};
use util::{Record, context, run_until};

fn serve(io: &IoContext, mut make: impl FnMut() -> Script + 'static) -> io::Result<(Server, tcp::Endpoint)> {
    let acceptor = tcp::Acceptor::listen_on(io, anywhere())?;
    let endpoint = acceptor.local_endpoint()?;
    Ok((session::serve(acceptor, move |_| make())?, endpoint))
}

fn client(endpoint: tcp::Endpoint) -> io::Result<TcpStream> {
    let client = TcpStream::connect(endpoint)?;
    client.set_read_timeout(Some(util::STUCK))?;
    Ok(client)
}

fn count(told: &[String], what: &str) -> usize {
    told.iter().filter(|line| *line == what).count()
}

// The life of a server.

/// P1: `run` goes on while a server or a connection is there, and returns when the server is shut down and its last
/// connection has ended.
#[test]
fn run_returns_when_the_last_connection_of_a_server_has_ended() -> io::Result<()> {
    let mut io = context();
    let told = Record::new();
    let log = told.clone();
    let (server, endpoint) = serve(&io, move || Script::echo(&log).on_stopping(|_| {}))?;
    assert_eq!(server.local_endpoint(), Some(endpoint.into()));
    assert!(!io.stopped() && io.outstanding().len() == 1);
    assert_eq!(io.run_for(Duration::from_millis(5))?, 0);
    let peer = client(endpoint)?;
    run_until(&mut io, || told.len() == 1);
    assert_eq!(io.outstanding().len(), 2);
    server.shutdown(Duration::MAX);
    assert_eq!((server.local_endpoint(), io.outstanding().len()), (None, 1));
    assert!(io.run_for(Duration::from_millis(5))? <= 1);
    assert!(!io.stopped(), "a connection is there");
    drop(peer);
    let started = Instant::now();
    io.run()?;
    assert!(started.elapsed() < SOON && io.stopped());
    assert_eq!(told.take(), ["opened", "stopping", "eof", "closed Finished", "dropped"]);
    Ok(())
}

/// P1: a server that is dropped goes on, detached; whoever holds one of its connections may end that.
#[test]
fn a_dropped_server_goes_on() -> io::Result<()> {
    let mut io = context();
    let told = Record::new();
    let log = told.clone();
    let (server, endpoint) = serve(&io, move || Script::echo(&log))?;
    drop(server);
    let mut peer = client(endpoint)?;
    peer.write_all(b"hello")?;
    run_until(&mut io, || told.len() == 2);
    peer.read_exact(&mut [0; 5])?;
    Ok(())
}

/// P29: a shutdown refuses new clients, tells every session once, and lets it finish; by default that is at once.
#[test]
fn a_shutdown_lets_the_sessions_finish() -> io::Result<()> {
    let mut io = context();
    let (told, kept) = (Record::new(), Rc::new(RefCell::new(None::<Connection>)));
    let (log, keep, first) = (told.clone(), Rc::clone(&kept), Cell::new(true));
    let (server, endpoint) = serve(&io, move || {
        let keep = Rc::clone(&keep);
        match first.replace(false) {
            true => Script::echo(&log),
            false => Script::echo(&log).on_stopping(move |connection| {
                connection.send(b"one moment ");
                keep.replace(Some(connection.clone()));
            }),
        }
    })?;
    let (mut quick, mut slow) = (client(endpoint)?, client(endpoint)?);
    run_until(&mut io, || told.len() == 2);
    slow.write_all(b"before ")?;
    calling_nobody(|| {
        server.shutdown(SOON);
        server.shutdown(SOON);
    });
    assert_eq!(TcpStream::connect(endpoint).unwrap_err().kind(), ErrorKind::ConnectionRefused);
    run_until(&mut io, || kept.borrow().is_some());
    let mut text = String::new();
    quick.read_to_string(&mut text)?;
    assert_eq!(text, "");
    drop(quick);
    let connection = kept.take().expect("kept");
    slow.write_all(b"after ")?;
    poll_until(&mut io, || told.take().iter().any(|line| line.contains("after")));
    connection.send(b"done");
    connection.close_after_flush(SOON);
    io.poll()?;
    slow.read_to_string(&mut text)?;
    assert!(text == "before one moment after done" || text == "one moment before after done", "{text}");
    drop(slow);
    finish(&mut io);
    let told = told.take();
    assert_eq!(count(&told, "closed Finished"), 1, "the other was taken before");
    Ok(())
}

/// P29: `stopping` is told when all that has arrived was shown; at the deadline the rest ends, with that reason.
#[test]
fn the_deadline_of_a_shutdown_ends_whoever_is_left() -> io::Result<()> {
    let mut io = context();
    let told = Record::new();
    let log = told.clone();
    let (server, endpoint) = serve(&io, move || Script::new(&log).on_stopping(|_| {}))?;
    let mut peers: Vec<_> = (0..5).map(|_| client(endpoint)).collect::<io::Result<_>>()?;
    run_until(&mut io, || told.len() == 5);
    while io.poll()? > 0 {}
    for peer in &mut peers {
        peer.write_all(b"arrived")?;
    }
    let started = Instant::now();
    let deadline = Duration::from_millis(50);
    server.shutdown(Duration::from_secs(3600));
    server.shutdown(deadline);
    server.shutdown(Duration::MAX);
    finish(&mut io);
    assert!(started.elapsed() >= deadline, "too early");
    let told = told.take();
    assert_eq!((count(&told, "stopping"), count(&told, "closed DeadlinePassed")), (5, 5), "the first deadline holds");
    let last_shown = told.iter().rposition(|line| line == "received arrived");
    let first_stopped = told.iter().position(|line| line == "stopping");
    assert!(count(&told, "received arrived") == 5 && (last_shown < first_stopped || io.stopped()), "{told:?}");
    for mut peer in peers {
        let _ = peer.read(&mut [0; 1]).map(|n| assert_eq!(n, 0));
    }
    Ok(())
}

/// P8, P1: the factory may shut its own server down: the connection that it is making is told like all others, and
/// `run` returns.
#[test]
fn a_factory_may_shut_its_server_down() -> io::Result<()> {
    for deadline in [Duration::MAX, Duration::from_millis(20)] {
        let mut io = context();
        let (told, slot) = (Record::new(), Rc::new(OnceCell::<Server>::new()));
        let (log, server) = (told.clone(), Rc::downgrade(&slot));
        let stays = deadline != Duration::MAX;
        let (made, endpoint) = serve(&io, move || {
            let server = server.upgrade().expect("there");
            server.get().expect("set").shutdown(deadline);
            let script = Script::new(&log);
            if stays { script.on_stopping(|_| {}) } else { script }
        })?;
        assert!(slot.set(made).is_ok());
        let (_first, _second) = (client(endpoint)?, client(endpoint)?);
        finish(&mut io);
        let told = told.take();
        assert_eq!(told[..2], ["opened", "stopping"], "{told:?}");
        let end = if stays { "closed DeadlinePassed" } else { "closed Finished" };
        assert_eq!(told[2..], [end, "dropped"], "{deadline:?}");
        assert_eq!(slot.get().expect("set").stats().accepted, 1);
    }
    Ok(())
}

/// P7, P6: a factory that panics takes along the one connection, which is not counted; the next client is served.
#[test]
fn a_factory_that_panics_loses_one_client() -> io::Result<()> {
    let mut io = context();
    let (told, calls) = (Record::new(), Cell::new(0));
    let log = told.clone();
    let (server, endpoint) = serve(&io, move || {
        calls.set(calls.get() + 1);
        assert!(calls.get() != 1, "the first");
        Script::echo(&log)
    })?;
    let mut first = client(endpoint)?;
    let mut second = client(endpoint)?;
    second.write_all(b"hello")?;
    assert!(catch_unwind(AssertUnwindSafe(|| io.run())).is_err());
    assert!(!first.read(&mut [0; 1]).is_ok_and(|n| n > 0), "the end, or a reset");
    run_until(&mut io, || told.len() == 2);
    second.read_exact(&mut [0; 5])?;
    let stats = server.stats();
    assert_eq!((stats.accepted, stats.open), (1, 1));
    Ok(())
}

// Limits.

/// P28: beyond the limit clients wait in the backlog, and are served when there is room; raising the limit makes room.
#[test]
fn clients_beyond_the_limit_wait_for_room() -> io::Result<()> {
    let mut io = context();
    let told = Record::new();
    let log = told.clone();
    let (server, endpoint) = serve(&io, move || Script::echo(&log))?;
    server.set_max_connections(0);
    let mut peers: Vec<_> = (0..10).map(|_| client(endpoint)).collect::<io::Result<_>>()?;
    for _ in 0..5 {
        io.poll()?;
    }
    assert_eq!((server.stats().open, server.stats().accepted), (0, 0), "nobody");
    server.set_max_connections(2);
    poll_until(&mut io, || told.len() == 2);
    for served in 1..=7 {
        for _ in 0..3 {
            io.poll()?;
        }
        assert_eq!(server.stats().open, 2);
        drop(peers.remove(0));
        poll_until(&mut io, || server.stats().accepted == 2 + served);
    }
    while io.poll()? > 0 {}
    assert_eq!(io.next_timeout().map(|left| left.is_zero()), Some(false), "it waits without turning");
    server.set_max_connections(usize::MAX);
    poll_until(&mut io, || server.stats().open == 3);
    server.set_max_connections(1);
    drop(peers);
    poll_until(&mut io, || server.stats().open == 0);
    let _late = client(endpoint)?;
    poll_until(&mut io, || server.stats().open == 1);
    assert_eq!(server.stats().accepted, 11);
    Ok(())
}

/// P28: a server that sheds closes whom it has no room for, at once, and counts them.
#[test]
fn a_server_that_sheds_keeps_nobody_waiting() -> io::Result<()> {
    let mut io = context();
    let told = Record::new();
    let log = told.clone();
    let (server, endpoint) = serve(&io, move || Script::echo(&log))?;
    server.set_max_connections(2);
    let mut peers: Vec<_> = (0..5).map(|_| client(endpoint)).collect::<io::Result<_>>()?;
    poll_until(&mut io, || told.len() == 2);
    assert_eq!(server.stats().shed, 0, "at first they wait");
    server.set_shedding(true);
    poll_until(&mut io, || server.stats().shed == 3);
    for peer in &mut peers[2..] {
        assert!(!peer.read(&mut [0; 1]).is_ok_and(|n| n > 0));
    }
    drop(peers.remove(0));
    poll_until(&mut io, || server.stats().open == 1);
    let mut late = client(endpoint)?;
    late.write_all(b"served")?;
    poll_until(&mut io, || told.take().contains(&"received served".into()));
    let stats = server.stats();
    assert_eq!((stats.accepted, stats.open, stats.shed), (3, 2, 3));
    Ok(())
}

/// P30: accepting takes a bounded number per turn, and the established connections are served in between.
#[test]
fn accepting_is_bounded_and_misses_nobody() -> io::Result<()> {
    let mut io = IoContext::with_config(Config::new().accept_budget(3))?;
    util::watch(&io);
    let told = Record::new();
    let log = told.clone();
    let (server, endpoint) = serve(&io, move || Script::new(&log))?;
    let _peers: Vec<_> = (0..20).map(|_| client(endpoint)).collect::<io::Result<_>>()?;
    let mut before = 0;
    while server.stats().accepted < 20 {
        io.poll()?;
        let now = server.stats().accepted;
        assert!(now - before <= 3, "{} in one turn", now - before);
        before = now;
    }
    poll_until(&mut io, || told.len() == 20);
    Ok(())
}

/// P2, P34: one accept a handler, with `run_one`; nobody is lost.
#[test]
fn accepting_one_handler_at_a_time_misses_nobody() -> io::Result<()> {
    let mut io = context();
    let told = Record::new();
    let log = told.clone();
    let (server, endpoint) = serve(&io, move || Script::new(&log))?;
    let _peers: Vec<_> = (0..10).map(|_| client(endpoint)).collect::<io::Result<_>>()?;
    let mut ran = 0;
    while told.len() < 10 {
        let before = server.stats().accepted;
        assert_eq!(io.run_one()?, 1);
        assert!(server.stats().accepted - before <= 1, "it returned after the first");
        ran += 1;
    }
    assert_eq!((ran, server.stats().accepted), (20, 10), "the factory and `opened`, each");
    Ok(())
}

/// P23: clients that gave up in the backlog are passed over.
#[test]
fn clients_that_gave_up_are_passed_over() -> io::Result<()> {
    let mut io = context();
    let told = Record::new();
    let log = told.clone();
    let (_server, endpoint) = serve(&io, move || Script::echo(&log))?;
    for _ in 0..5 {
        let gone = client(endpoint)?;
        socket2::SockRef::from(&gone).set_linger(Some(Duration::ZERO))?;
    }
    let mut there = client(endpoint)?;
    there.write_all(b"hello")?;
    poll_until(&mut io, || told.take().contains(&"received hello".into()));
    Ok(())
}

// Counting.

/// Section 1: what a server counts adds up, whatever became of its connections.
#[test]
fn the_counts_of_a_server_add_up() -> io::Result<()> {
    let mut io = context();
    let told = Record::new();
    let log = told.clone();
    let (server, endpoint) = serve(&io, move || {
        Script::new(&log).on_received(|connection, bytes| {
            connection.send(b"<");
            connection.send(&vec![7; 40_000]);
            connection.send_shared(&Rc::from(&b"shared"[..]));
            connection.send_vectored(&[io::IoSlice::new(b"ab"), io::IoSlice::new(b"c")]);
            bytes.len()
        })
    })?;
    let (mut received, mut sent) = (0, 0);
    for size in [1, 100, 30_000] {
        let mut peer = client(endpoint)?;
        peer.write_all(&vec![1; size])?;
        peer.shutdown(Shutdown::Write)?;
        received += size as u64;
        let reader = std::thread::spawn(move || {
            let mut all = Vec::new();
            peer.read_to_end(&mut all).map(|_| all.len() as u64)
        });
        poll_until(&mut io, || reader.is_finished());
        sent += reader.join().expect("no panic")?;
    }
    poll_until(&mut io, || server.stats().open == 0);
    let stats = server.stats();
    assert_eq!((stats.accepted, stats.open, stats.shed), (3, 0, 0));
    assert_eq!((stats.bytes_received, stats.bytes_sent), (received, sent));
    assert!(format!("{server:?}").contains("accepted: 3"));
    Ok(())
}

/// P25: accepted and connected sockets are close-on-exec.
#[test]
fn the_sockets_of_sessions_are_close_on_exec() -> io::Result<()> {
    let mut io = context();
    let (told, sockets) = (Record::new(), Record::new());
    let take = |sockets: &Record<tcp::Socket>| {
        let sockets = sockets.clone();
        move |connection: &Connection| sockets.push(connection.clone().into_socket().expect("a socket").0)
    };
    let (log, accepted) = (told.clone(), sockets.clone());
    let (_server, endpoint) = serve(&io, move || Script::new(&log).on_opened(take(&accepted)))?;
    session::connect(&io, endpoint, SOON, Script::new(&told).on_opened(take(&sockets)));
    poll_until(&mut io, || sockets.len() == 2);
    for socket in sockets.take() {
        assert_eq!(fcntl_getfd(socket.release()?)?, FdFlags::CLOEXEC);
    }
    Ok(())
}

/// Section 1: a server and its clients in one loop.
#[test]
fn a_server_and_its_clients_share_a_loop() -> io::Result<()> {
    const MESSAGES: usize = 100;
    let mut io = context();
    let (told, done) = (Record::new(), Rc::new(Cell::new(0)));
    let log = told.clone();
    let (server, endpoint) = serve(&io, move || Script::echo(&log))?;
    for _ in 0..10 {
        let (done, left) = (Rc::clone(&done), Cell::new(MESSAGES));
        let script = Script::new(&told)
            .on_opened(|connection| assert_eq!(connection.send(b"ping"), Sent::Accepted))
            .on_received(move |connection, bytes| {
                if bytes.len() < 4 {
                    return 0;
                }
                left.set(left.get() - 1);
                if left.get() > 0 {
                    connection.send(b"ping");
                } else {
                    done.set(done.get() + 1);
                    connection.close_after_flush(SOON);
                }
                4
            });
        session::connect(&io, endpoint, SOON, script);
    }
    run_until(&mut io, || done.get() == 10);
    server.shutdown(SOON);
    finish(&mut io);
    assert_eq!(server.stats().bytes_received, 10 * MESSAGES as u64 * 4);
    assert_eq!(count(&told.take(), "closed Finished"), 20);
    Ok(())
}
