//! Sessions, servers and connections whose context has gone.

mod net;
mod scripted;
mod util;

use ioctx::IoContext;
use ioctx::ip::tcp;
use ioctx::session::{self, Connection, Sent};
use net::{anywhere, connection};
use scripted::{SOON, Script, adopted};
use std::cell::RefCell;
use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::time::Duration;
use util::{Record, Tomb};

fn everything(connection: &Connection) {
    assert_eq!(connection.send(b"x"), Sent::Gone);
    assert_eq!(connection.send(&[7; 100_000]), Sent::Gone);
    assert_eq!(connection.send_shared(&Rc::from(&b"x"[..])), Sent::Gone);
    connection.notify();
    connection.pause();
    connection.resume();
    connection.set_idle_timeout(Some(SOON));
    connection.shutdown_send();
    connection.close_after_flush(SOON);
    connection.abort();
    assert!(!connection.is_open() && connection.queued() == 0);
    assert!(connection.clone().into_socket::<tcp::Protocol>().is_err());
}

/// P5, P29: sessions in every state go with their context: dropped once, told nothing, and the peers see the end.
#[test]
fn sessions_of_every_state_go_with_the_context() -> io::Result<()> {
    let mut io = util::context();
    let (told, tombs) = (Record::new(), Record::new());
    let script = |name: &'static str| {
        let tomb = Tomb(name, tombs.clone());
        Script::new(&told).on_received(|_, bytes| bytes.len() / 2).on_idle(move |_| unreachable!("{:?}", { &tomb }.0))
    };
    let acceptor = tcp::Acceptor::listen_on(&io, anywhere())?;
    let endpoint = acceptor.local_endpoint()?;
    let make = (Tomb("factory", tombs.clone()), script("served"));
    let mut first = Some(make);
    let server = session::serve(acceptor, move |_| first.take().expect("one client").1)?;
    server.set_max_connections(1);
    let mut peers = vec![TcpStream::connect(endpoint)?, TcpStream::connect(endpoint)?]; // the second waits
    let mut connections = Vec::new();
    for name in ["rest", "queued", "closing", "idle", "notified", "aborted", "paused"] {
        let (connection, peer) = adopted(&io, script(name))?;
        connections.push(connection);
        peers.push(peer);
    }
    for _ in 0..5 {
        io.poll()?;
    }
    peers[2].write_all(b"half of it")?;
    io.poll()?;
    connections[1].send(&vec![7; 15_000_000]);
    connections[2].send(&vec![7; 15_000_000]);
    connections[2].close_after_flush(SOON);
    connections[3].set_idle_timeout(Some(SOON));
    connections[6].pause();
    io.poll()?;
    connections[4].notify();
    connections[5].abort();
    let connecting = session::connect(&io, endpoint, SOON, script("connecting"));
    let refused = session::connect(&io, net::nobody()?, SOON, script("refused"));
    connecting.send(b"x");
    server.shutdown(SOON);
    told.take();
    drop(io);
    let mut told = told.take();
    told.retain(|line| line != "dropped");
    assert_eq!(told, [""; 0], "nobody is told");
    let mut tombs = tombs.take();
    tombs.sort_unstable();
    let mut expected = vec!["rest", "queued", "closing", "idle", "notified", "aborted", "paused"];
    expected.extend(["connecting", "refused", "served", "factory"]);
    expected.sort_unstable();
    assert_eq!(tombs, expected, "each is dropped once");
    for connection in connections.iter().chain([&connecting, &refused]) {
        everything(connection);
    }
    for (n, peer) in peers.iter_mut().enumerate() {
        peer.set_read_timeout(Some(SOON))?;
        let end = peer.read_to_end(&mut Vec::new());
        let timed_out = end.is_err_and(|error| matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut));
        assert!(!timed_out, "peer {n} sees no end");
    }
    server.shutdown(SOON);
    server.set_max_connections(5);
    server.set_shedding(true);
    assert_eq!((server.stats().open, server.local_endpoint()), (0, None));
    Ok(())
}

/// P5, P8: destructors of sessions may use every connection there is, and may try to start more, while the context goes.
#[test]
fn destructors_may_do_anything_while_the_context_goes() -> io::Result<()> {
    struct Busy(Rc<RefCell<Vec<Connection>>>, tcp::Endpoint, Record<&'static str>);
    impl Drop for Busy {
        fn drop(&mut self) {
            let all = self.0.borrow().clone();
            for connection in &all {
                connection.send(b"x");
                connection.send(&[7; 50_000]);
                connection.notify();
                connection.pause();
                connection.resume();
                connection.set_idle_timeout(Some(SOON));
                connection.close_after_flush(SOON);
                connection.abort();
            }
            let handle = all[0].as_ref();
            let log = Record::new();
            let connection = session::connect(handle, self.1, SOON, Script::new(&log));
            everything(&connection);
            let acceptor = tcp::Acceptor::listen_on(handle, ([127, 0, 0, 1], 0).into());
            let served = acceptor.and_then(|acceptor| session::serve(acceptor, |_| Script::new(&Record::new())));
            assert!(served.is_err_and(|error| ioctx::error::is_context_gone(&error)));
            self.2.push("dropped");
        }
    }
    let mut io = util::context();
    let (all, dropped, told) = (Rc::new(RefCell::new(Vec::new())), Record::new(), Record::new());
    let endpoint = net::nobody()?;
    let mut peers = Vec::new();
    for _ in 0..4 {
        let busy = Busy(Rc::clone(&all), endpoint, dropped.clone());
        let script = Script::new(&told)
            .on_eof(move |_| assert!(busy.1.ip().is_ipv4() && busy.2.len() == 0 && busy.0.borrow().len() > 9));
        let (connection, peer) = adopted(&io, script)?;
        all.borrow_mut().push(connection);
        peers.push(peer);
    }
    io.poll()?;
    drop(io);
    assert_eq!(dropped.take().len(), 4);
    all.borrow().iter().for_each(everything);
    Ok(())
}

/// P5: a session that is started for a context that has gone is dropped; the call says so if it can.
#[test]
fn nothing_starts_after_the_context() -> io::Result<()> {
    let io = IoContext::new()?;
    let (told, handle) = (Record::new(), io.handle().clone());
    let acceptor = tcp::Acceptor::listen_on(&io, anywhere())?;
    let endpoint = acceptor.local_endpoint()?;
    let (socket, mut peer) = connection(&io)?;
    drop(io);
    let served = session::serve(acceptor, |_| Script::new(&Record::new()));
    assert!(served.is_err_and(|error| ioctx::error::is_context_gone(&error)));
    let adopted = session::adopt(socket, Script::new(&told));
    assert!(adopted.is_err_and(|error| ioctx::error::is_context_gone(&error)));
    assert_eq!(peer.read(&mut [0; 1])?, 0);
    let connection = session::connect(&handle, endpoint, SOON, Script::new(&told));
    everything(&connection);
    assert_eq!(told.take(), ["dropped", "dropped"]);
    Ok(())
}

/// P5, P6: a session whose destructor panics while the context goes keeps nothing else from going.
#[test]
fn a_destructor_that_panics_keeps_nothing_else() -> io::Result<()> {
    struct Bomb(Tomb);
    impl Drop for Bomb {
        fn drop(&mut self) {
            panic!("{}", self.0.0);
        }
    }
    let mut io = util::context();
    let (tombs, quiet) = (Record::new(), Record::new());
    let mut peers = Vec::new();
    for n in 0..5 {
        let tomb = Tomb("session", tombs.clone());
        let bomb = (n == 2).then(|| Bomb(Tomb("bomb", tombs.clone())));
        let script = Script::new(&quiet).on_idle(move |_| unreachable!("{:?}", (&tomb.1.len(), bomb.is_some())));
        peers.push(adopted(&io, script)?);
    }
    io.poll()?;
    assert!(catch_unwind(AssertUnwindSafe(|| drop(io))).is_err());
    let mut told = tombs.take();
    told.sort_unstable();
    assert_eq!(told, ["bomb", "session", "session", "session", "session", "session"]);
    for (connection, peer) in &mut peers {
        assert!(!connection.is_open());
        peer.set_read_timeout(Some(Duration::from_secs(10)))?;
        assert_eq!(peer.read(&mut [0; 1])?, 0);
    }
    Ok(())
}
