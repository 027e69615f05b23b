//! What a reader of the session layer found: resets that looked like ends, limits that were lost, bytes of another
//! connection.

mod net;
mod scripted;
mod util;

use ioctx::ip::tcp;
use ioctx::session::{self, Connection, Sent, Server, Session};
use ioctx::testing::Harness;
use ioctx::{Config, IoContext, local};
use net::{anywhere, finish, wait_readable};
use scripted::{SOON, Script, adopted};
use std::cell::{Cell, RefCell};
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::time::{Duration, Instant};
use util::{Record, context, run_until, send_with_descriptor};

/// Sends `bytes`, and resets the connection.
fn say_and_reset(mut peer: TcpStream, bytes: &[u8]) -> io::Result<()> {
    peer.write_all(bytes)?;
    socket2::SockRef::from(&peer).set_linger(Some(Duration::ZERO))
}

/// P18, P7: a reset is never told as an end, also when our own end is sent after it; what came before it is shown.
#[test]
fn a_reset_is_not_an_end_though_our_own_end_is_sent_after_it() -> io::Result<()> {
    let mut io = context();
    let told = Record::new();
    let (socket, peer) = net::connection(&io)?;
    let fd = socket.try_clone_fd()?;
    say_and_reset(peer, b"hello")?;
    wait_readable(&fd)?;
    let script = Script::new(&told).on_opened(|connection| connection.shutdown_send()).on_eof(|_| {});
    session::adopt(socket, script)?;
    run_until(&mut io, || told.len() > 1);
    finish(&mut io);
    let told = told.take();
    assert!(!told.contains(&"eof".into()), "{told:?}");
    assert!(told.contains(&"closed ConnectionReset".into()) || told.contains(&"closed BrokenPipe".into()), "{told:?}");
    Ok(())
}

/// P29: a large send from elsewhere that fails ends a connection that nobody reads any more.
#[test]
fn a_large_send_that_fails_ends_a_half_closed_connection() -> io::Result<()> {
    let mut io = context();
    let told = Record::new();
    let (ours, theirs) = UnixStream::pair()?;
    let ours = local::stream::Socket::from_std(&io, ours)?;
    let connection = session::adopt(ours, Script::new(&told).on_eof(|_| {}))?;
    drop(theirs);
    run_until(&mut io, || told.len() == 2);
    io.post(move || assert_eq!(connection.send(&[0; 20_000]), Sent::Gone));
    run_until(&mut io, || told.len() == 4);
    assert_eq!(told.take(), ["opened", "eof", "closed BrokenPipe", "dropped"]);
    Ok(())
}

/// P6: what a session has sent before it went wrong reaches nobody else.
#[test]
fn what_a_session_gathered_is_never_sent_to_another() -> io::Result<()> {
    struct Liar;
    impl Session for Liar {
        fn received(&mut self, connection: &Connection, bytes: &[u8]) -> usize {
            connection.send(b"secret");
            bytes.len() + 1
        }
    }
    let mut io = context();
    let (socket, mut liar) = net::connection(&io)?;
    session::adopt(socket, Liar)?;
    let told = Record::new();
    let (_echo, mut peer) = adopted(&io, Script::echo(&told))?;
    run_until(&mut io, || told.len() == 1);
    liar.write_all(b"x")?;
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        while io.run_one_for(Duration::from_millis(100)).expect("the poller works") > 0 {}
    }));
    assert_eq!(outcome.is_err(), cfg!(debug_assertions), "the claim is noticed in debug builds");
    peer.write_all(b"mine")?;
    run_until(&mut io, || told.len() == 2);
    let mut back = [0; 16];
    let n = peer.read(&mut back)?;
    assert_eq!(&back[..n], b"mine");
    Ok(())
}

/// P29: a server that is shut down makes no connections any more.
#[test]
fn a_server_that_is_shut_down_connects_to_nobody() -> io::Result<()> {
    let mut io = context();
    let listener = TcpListener::bind(anywhere())?;
    let server = Server::without_listener(&io);
    server.shutdown(Duration::ZERO);
    let told = Record::new();
    server.connect(listener.local_addr()?, Duration::MAX, Script::new(&told));
    finish(&mut io);
    assert_eq!(told.take(), ["closed DeadlinePassed", "dropped"]);
    assert_eq!(server.stats().open, 0);
    Ok(())
}

#[test]
#[cfg(not(target_vendor = "apple"))]
fn a_socket_that_does_not_listen_is_not_served() -> io::Result<()> {
    let io = context();
    let acceptor = tcp::Acceptor::with_protocol(&io, tcp::Protocol::v4())?;
    acceptor.bind(anywhere())?;
    let served = session::serve(acceptor, |_| Script::new(&Record::new()));
    assert_eq!(served.map(drop).unwrap_err().kind(), io::ErrorKind::InvalidInput);
    Ok(())
}

/// A listener whose backlog is full, so that nobody gets through to it.
fn full_backlog() -> io::Result<(socket2::Socket, tcp::Endpoint, Vec<socket2::Socket>)> {
    let stream = || socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None);
    let listener = stream()?;
    listener.bind(&anywhere().into())?;
    listener.listen(0)?;
    let endpoint = listener.local_addr()?.as_socket().expect("an IP address");
    let mut clients = Vec::new();
    for _ in 0..4 {
        let client = stream()?;
        client.set_nonblocking(true)?;
        let _ = client.connect(&endpoint.into()); // It may still be in progress.
        clients.push(client);
    }
    Ok((listener, endpoint, clients))
}

/// P22: the limit on connecting holds, whatever was asked for meanwhile; and so does that on closing.
#[test]
fn a_close_before_it_is_connected_does_not_lift_the_limit() -> io::Result<()> {
    const LIMIT: Duration = Duration::from_millis(50);
    const AGES: Duration = Duration::from_secs(3600);
    let mut io = context();
    let (_listener, endpoint, _clients) = full_backlog()?;
    for (limit, deadline) in [(LIMIT, Duration::MAX), (LIMIT, AGES), (AGES, LIMIT)] {
        let told = Record::new();
        let started = Instant::now();
        let connection = session::connect(&io, endpoint, limit, Script::new(&told));
        connection.send(b"bye");
        connection.close_after_flush(deadline);
        run_until(&mut io, || told.len() == 2);
        assert_eq!(told.take(), ["closed DeadlinePassed", "dropped"]);
        assert!(started.elapsed() >= LIMIT);
    }
    Ok(())
}

/// An idle timeout is for connections: it does not end an attempt to make one.
#[test]
fn an_idle_timeout_begins_when_the_connection_is_there() -> io::Result<()> {
    let mut io = context();
    let (_listener, endpoint, _clients) = full_backlog()?;
    let server = Server::without_listener(&io);
    server.set_idle_timeout(Some(Duration::from_millis(10)));
    let told = Record::new();
    server.connect(endpoint, Duration::from_millis(100), Script::new(&told));
    run_until(&mut io, || told.len() == 2);
    assert_eq!(told.take(), ["closed DeadlinePassed", "dropped"]);
    server.shutdown(SOON);
    finish(&mut io);
    Ok(())
}

/// P35: what is notified in `notified` comes in the next turn, also when the end of the stream comes in this one.
#[test]
fn notified_is_told_once_a_turn() -> io::Result<()> {
    let mut io = context();
    let told = Record::new();
    let (ours, theirs) = UnixStream::pair()?;
    let script = Script::new(&told).on_notified(|connection| connection.notify()).on_eof(|_| {});
    let connection = session::adopt(local::stream::Socket::from_std(&io, ours)?, script)?;
    while io.poll()? > 0 {}
    drop(theirs);
    connection.notify();
    told.take();
    for _ in 0..4 {
        io.poll()?;
        assert!(told.take().iter().filter(|line| *line == "notified").count() <= 1);
    }
    Ok(())
}

/// P29: `stopping` is told when everything that had arrived was shown, however small the pieces.
#[test]
fn stopping_comes_after_all_that_had_arrived() -> io::Result<()> {
    let mut io = IoContext::with_config(Config::new().read_buffer(1024))?;
    let (socket, mut peer) = net::connection(&io)?;
    let server = Server::without_listener(&io);
    let (told, shown, total) = (Record::new(), Record::new(), Rc::new(Cell::new(0)));
    let (counts, sum) = (shown.clone(), Rc::clone(&total));
    let script = Script::new(&told).on_received(move |_, bytes| {
        counts.push(bytes.len());
        sum.set(sum.get() + bytes.len());
        bytes.len()
    });
    peer.set_nonblocking(true)?;
    while peer.write(&[7; 65536]).is_ok() {}
    let arrived = socket.available()?;
    assert!(arrived > 50 * 1024, "{arrived}");
    server.adopt(socket, script)?;
    server.shutdown(SOON);
    run_until(&mut io, || total.get() >= arrived);
    drop(peer);
    finish(&mut io);
    let told = told.take();
    let stop = told.iter().position(|line| line == "stopping").expect("told");
    let before = told[..stop].iter().filter(|line| line.starts_with("received")).count();
    let shown: usize = shown.take()[..before].iter().sum();
    assert!(shown >= arrived, "{shown} of {arrived} bytes");
    Ok(())
}

/// P29: also what is behind a descriptor that travels along, where a read of a Unix socket stops short.
#[test]
fn stopping_comes_after_what_is_behind_a_descriptor() -> io::Result<()> {
    let mut io = context();
    let (ours, mut peer) = UnixStream::pair()?;
    peer.write_all(b"before")?;
    send_with_descriptor(&peer, b"with");
    peer.write_all(b"behind")?;
    let server = Server::without_listener(&io);
    let told = Record::new();
    server.adopt(local::stream::Socket::from_std(&io, ours)?, Script::new(&told))?;
    server.shutdown(SOON);
    while told.len() < 3 {
        io.poll()?; // Not one handler at a time: all in one dispatch.
    }
    drop(peer);
    finish(&mut io);
    let told = told.take();
    let stop = told.iter().position(|line| line == "stopping").expect("told");
    let before = told[..stop].iter().filter_map(|line| line.strip_prefix("received "));
    assert_eq!(before.collect::<String>(), "beforewithbehind", "{told:?}");
    Ok(())
}

/// P5: a factory that shuts its server down and panics is dropped.
#[test]
fn a_factory_that_ends_its_server_and_panics_is_dropped() -> io::Result<()> {
    let mut io = context();
    let acceptor = tcp::Acceptor::listen_on(&io, anywhere())?;
    let endpoint = acceptor.local_endpoint()?;
    let server: Rc<RefCell<Option<Server>>> = Rc::default();
    let (kept, alive) = (Rc::clone(&server), Rc::new(()));
    let held = Rc::clone(&alive);
    let made = session::serve(acceptor, move |_| -> Script {
        let _held = &held;
        if let Some(server) = &*kept.borrow() {
            server.shutdown(SOON);
        }
        panic!("in the factory");
    })?;
    *server.borrow_mut() = Some(made);
    let _client = TcpStream::connect(endpoint)?;
    assert!(catch_unwind(AssertUnwindSafe(|| io.run_one())).is_err());
    drop((server, io));
    assert_eq!(Rc::strong_count(&alive), 1);
    Ok(())
}

/// P16: a harness moves its clock as far as clocks go.
#[test]
fn a_harness_advances_for_ages() {
    let peer = Harness::new(Script::echo(&Record::new()));
    peer.advance(Duration::MAX);
    peer.receive(b"still here");
    assert_eq!(peer.sent(), b"still here");
}
