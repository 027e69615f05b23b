//! `ContextPool`: one context per thread. Every test runs with both ways to balance, unless it is about one of them.

mod net;
mod util;

use ioctx::pool::{Balance, Builder, ContextPool, PoolRemote};
use ioctx::session::{Connection, Reason, Server, Session};
use ioctx::{Handle, IoContext, Remote, ip::tcp};
use net::anywhere;
use std::cell::Cell;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::rc::Rc;
use std::sync::{Arc, Barrier, Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};
use util::STUCK;

/// The ways to balance that this platform has.
fn balances() -> Vec<Balance> {
    if Balance::default() == Balance::Kernel {
        vec![Balance::Kernel, Balance::HandOver]
    } else {
        vec![Balance::HandOver]
    }
}

/// `!` is a bug. Everything else comes back, behind the number of the thread and of the sessions it has seen.
struct Numbered {
    thread: usize,
    seen: Rc<Cell<u8>>,
}

impl Session for Numbered {
    fn received(&mut self, connection: &Connection, bytes: &[u8]) -> usize {
        assert!(!bytes.contains(&b'!'), "a bug");
        connection.send(&[self.thread as u8, self.seen.get()]);
        connection.send(bytes);
        bytes.len()
    }
}

/// The state of a thread is no more than an `Rc`.
fn numbered(_: &Handle, thread: usize) -> impl FnMut(tcp::Endpoint) -> Numbered + use<> {
    let seen = Rc::new(Cell::new(0));
    move |_peer| {
        seen.set(seen.get() + 1);
        Numbered { thread, seen: seen.clone() }
    }
}

fn pool(threads: usize, balance: Balance) -> ContextPool {
    ContextPool::builder(threads).balance(balance).serve(anywhere(), numbered).expect("a pool")
}

fn connect(pool: &ContextPool) -> TcpStream {
    let client = TcpStream::connect(pool.local_endpoint().expect("an endpoint")).expect("a connection");
    client.set_read_timeout(Some(STUCK)).expect("a timeout");
    client
}

/// Says a byte. Which thread has answered, and how many sessions that has seen.
fn say(client: &mut TcpStream, byte: u8) -> io::Result<(usize, u8)> {
    client.write_all(&[byte])?;
    let mut answer = [0; 3];
    client.read_exact(&mut answer)?;
    assert_eq!(answer[2], byte);
    Ok((answer[0].into(), answer[1]))
}

/// It ended: with nothing more to read, or by a reset.
fn assert_ended(client: &mut TcpStream) {
    match client.read(&mut [0]) {
        Ok(0) => {}
        Err(error) if matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe) => {}
        other => panic!("{other:?} instead of the end"),
    }
}

/// Waits until the context behind `remote` has gone.
fn wait_until_gone(remote: &Remote) {
    let start = Instant::now();
    while remote.post(|_| {}).is_ok() {
        assert!(start.elapsed() < STUCK, "the context does not go");
        thread::yield_now();
    }
}

/// The pool ends, and every thread without a panic or an error.
#[track_caller]
fn end(pool: ContextPool) {
    pool.shutdown(STUCK);
    for outcome in pool.join() {
        outcome.expect("no panic").expect("no error");
    }
}

#[test]
fn every_client_is_served() -> io::Result<()> {
    for balance in balances() {
        for threads in 1..=4 {
            let pool = pool(threads, balance);
            assert_eq!((pool.threads(), pool.remotes().len()), (threads, threads));
            let mut clients: Vec<_> = (0..24).map(|_| connect(&pool)).collect();
            let mut served = vec![0; threads];
            for (n, client) in clients.iter_mut().enumerate() {
                served[say(client, n as u8)?.0] += 1;
            }
            assert_eq!(served.iter().sum::<usize>(), 24, "{served:?}");
            drop(clients);
            end(pool);
        }
    }
    Ok(())
}

#[test]
fn hand_over_spreads_evenly() -> io::Result<()> {
    let pool = pool(4, Balance::HandOver);
    let mut served = [0; 4];
    let mut clients = Vec::new();
    for _ in 0..20 {
        let mut client = connect(&pool);
        served[say(&mut client, 1)?.0] += 1;
        clients.push(client);
    }
    assert_eq!(served, [5; 4]);
    drop(clients);
    end(pool);
    Ok(())
}

/// Goal: what the sessions of one thread share is not shared with those of another.
/// Method: each thread counts its sessions; the counts are those of its own, not of all.
#[test]
fn threads_share_nothing() -> io::Result<()> {
    for balance in balances() {
        let pool = pool(3, balance);
        let mut counts = [0; 3];
        let mut clients = Vec::new();
        for _ in 0..12 {
            let mut client = connect(&pool);
            let (thread, seen) = say(&mut client, 1)?;
            counts[thread] += 1;
            assert_eq!(seen, counts[thread]);
            clients.push(client);
        }
        drop(clients);
        end(pool);
    }
    Ok(())
}

#[test]
fn all_listen_on_one_free_port_or_on_the_one_asked_for() -> io::Result<()> {
    for balance in balances() {
        let endpoint = net::nobody()?;
        let exact = ContextPool::builder(3).balance(balance).serve(endpoint, numbered)?;
        assert_eq!(exact.local_endpoint(), Some(endpoint));
        let first = pool(3, balance);
        let second = pool(3, balance);
        assert_ne!(first.local_endpoint(), second.local_endpoint());
        assert_ne!(first.local_endpoint().map(|endpoint| endpoint.port()), Some(0));
        for pool in [exact, first, second] {
            say(&mut connect(&pool), 1)?;
            end(pool);
        }
    }
    Ok(())
}

#[test]
fn an_endpoint_in_use_is_an_error_of_the_call() -> io::Result<()> {
    let taken = TcpListener::bind(anywhere())?;
    for balance in balances() {
        // Whoever holds it: a listener that does not share its port, or one that does.
        let other = pool(2, balance);
        for endpoint in [taken.local_addr()?, other.local_endpoint().expect("an endpoint")] {
            let refused = ContextPool::builder(2).name("refused").balance(balance).serve(endpoint, numbered);
            assert_eq!(refused.expect_err("in use").kind(), ErrorKind::AddrInUse);
        }
        end(other);
        let foreign = ContextPool::builder(2).balance(balance).serve(([192, 0, 2, 1], 0).into(), numbered);
        assert_eq!(foreign.expect_err("not of this machine").kind(), ErrorKind::AddrNotAvailable);
        let nobody = ContextPool::builder(0).balance(balance).serve(anywhere(), numbered);
        assert_eq!(nobody.expect_err("no thread").kind(), ErrorKind::InvalidInput);
    }
    assert_no_thread_is_called("refused");
    Ok(())
}

/// Goal: if one thread cannot be set up, none is left, and none has run.
#[test]
fn all_threads_start_or_none() {
    let ran = Arc::new(Mutex::new(false));
    let start = |fail: fn()| {
        let ran = ran.clone();
        ContextPool::builder(3).name("none").start(move |io, thread| {
            let ran = ran.clone();
            io.post(move || *ran.lock().unwrap() = true);
            if thread == 1 {
                fail();
                return Err(io::Error::other("no luck"));
            }
            Ok(|_| ())
        })
    };
    assert_eq!(start(|| {}).expect_err("it fails").to_string(), "no luck");
    let panic =
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| start(|| panic!("a bug")))).expect_err("it panics");
    assert_eq!(panic.downcast_ref(), Some(&"a bug"));
    assert!(!*ran.lock().unwrap());
    assert_no_thread_is_called("none");
}

#[cfg(target_os = "linux")]
fn assert_no_thread_is_called(name: &str) {
    let is_there = || {
        let threads = std::fs::read_dir("/proc/self/task").expect("threads").flatten();
        let mut names = threads.filter_map(|thread| std::fs::read_to_string(thread.path().join("comm")).ok());
        names.any(|thread| thread.starts_with(&format!("{name} ")))
    };
    let start = Instant::now();
    while is_there() {
        assert!(start.elapsed() < STUCK); // One that was joined is listed for a moment longer.
        thread::yield_now();
    }
}

#[cfg(not(target_os = "linux"))]
fn assert_no_thread_is_called(_: &str) {}

#[test]
fn threads_are_called_by_name() -> io::Result<()> {
    let (told, names) = mpsc::channel();
    let setup = move |_: &Handle, _| {
        told.send(thread::current().name().map(str::to_owned)).map_err(io::Error::other)?;
        Ok(|_| ())
    };
    let pool = ContextPool::builder(2).name("a\0b").start(setup)?;
    end(pool);
    let mut names: Vec<_> = names.iter().flatten().collect();
    names.sort();
    assert_eq!(names, ["ab 0", "ab 1"]);
    Ok(())
}

/// Says goodbye when it is asked to stop, and ends when its peer does.
struct Polite;

impl Session for Polite {
    fn received(&mut self, connection: &Connection, bytes: &[u8]) -> usize {
        connection.send(bytes);
        bytes.len()
    }

    fn stopping(&mut self, connection: &Connection) {
        connection.send(b"bye");
    }
}

#[test]
fn a_shutdown_from_another_thread_lets_sessions_finish() -> io::Result<()> {
    for balance in balances() {
        let pool =
            ContextPool::builder(2).balance(balance).serve(anywhere(), |_: &Handle, _| |_: tcp::Endpoint| Polite)?;
        let mut clients: Vec<_> = (0..6).map(|_| connect(&pool)).collect();
        for client in &mut clients {
            client.write_all(b"x")?;
            client.read_exact(&mut [0])?;
        }
        let remote = pool.remote();
        thread::spawn(move || remote.shutdown(Duration::MAX)).join().expect("no panic");
        for client in &mut clients {
            let mut word = [0; 3];
            client.read_exact(&mut word)?;
            assert_eq!(&word, b"bye");
        }
        // It is not over before they are, and they may still talk.
        for mut client in clients {
            client.write_all(b"y")?;
            client.read_exact(&mut [0])?;
            client.shutdown(std::net::Shutdown::Write)?;
            assert_ended(&mut client);
        }
        let endpoint = pool.local_endpoint().expect("an endpoint");
        for outcome in pool.join() {
            outcome.expect("no panic")?;
        }
        assert_eq!(TcpStream::connect(endpoint).expect_err("nobody listens").kind(), ErrorKind::ConnectionRefused);
    }
    Ok(())
}

/// Never ends by itself, and tells why it did.
struct Stubborn(mpsc::Sender<Option<Reason>>);

impl Session for Stubborn {
    fn opened(&mut self, _: &Connection) {
        let _ = self.0.send(None);
    }

    fn received(&mut self, _: &Connection, bytes: &[u8]) -> usize {
        bytes.len()
    }

    fn stopping(&mut self, _: &Connection) {}

    fn closed(&mut self, _: &Connection, reason: Reason) {
        let _ = self.0.send(Some(reason));
    }
}

/// Goal: at the deadline sessions are told that it has passed, and whatever else is outstanding ends too.
/// Method: stubborn sessions, and a timer that repeats for ever; a second shutdown brings the deadline forward.
#[test]
fn the_deadline_cuts() -> io::Result<()> {
    for balance in balances() {
        let (told, reasons) = mpsc::channel();
        let pool = ContextPool::builder(2).balance(balance).serve(anywhere(), move |io: &Handle, _| {
            io.every(Duration::from_secs(1000), || {});
            let told = told.clone();
            move |_: tcp::Endpoint| Stubborn(told.clone())
        })?;
        let _clients: Vec<_> = (0..4).map(|_| connect(&pool)).collect();
        (0..4).for_each(|_| assert!(reasons.recv().expect("opened").is_none()));
        pool.shutdown(Duration::MAX);
        pool.shutdown(Duration::from_millis(20));
        for outcome in pool.join() {
            outcome.expect("no panic")?;
        }
        let reasons: Vec<_> = reasons.iter().flatten().collect();
        assert!(matches!(reasons[..], [Reason::DeadlinePassed, _, _, Reason::DeadlinePassed]), "{reasons:?}");
    }
    Ok(())
}

/// Goal: a panic ends its own thread only, closes its connections, and comes back from `join`; new clients go to the
/// others.
#[test]
fn a_panic_ends_one_thread_and_comes_back() -> io::Result<()> {
    for balance in balances() {
        let pool = pool(3, balance);
        let mut clients: Vec<_> = (0..24).map(|_| connect(&pool)).collect();
        let mut threads = Vec::new();
        for client in &mut clients {
            threads.push(say(client, 1)?.0);
        }
        let victim = threads[0];
        clients[0].write_all(b"!")?;
        for (client, thread) in clients.iter_mut().zip(&threads) {
            if *thread == victim {
                assert_ended(client);
            } else {
                assert_eq!(say(client, 2)?.0, *thread);
            }
        }
        wait_until_gone(&pool.remotes()[victim]);
        for _ in 0..12 {
            let mut client = connect(&pool);
            assert_ne!(say(&mut client, 3)?.0, victim);
        }
        assert_eq!(pool.stats().accepted, 24 + 12);
        drop(clients);
        pool.shutdown(STUCK);
        for (thread, outcome) in pool.join().into_iter().enumerate() {
            match outcome {
                Ok(ran) => drop(ran?),
                Err(payload) => assert_eq!((thread, payload.downcast_ref()), (victim, Some(&"a bug"))),
            }
        }
    }
    Ok(())
}

/// Panics, and once more when it is dropped for that.
struct Bomb;

impl Session for Bomb {
    fn received(&mut self, _: &Connection, _: &[u8]) -> usize {
        panic!("first");
    }
}

impl Drop for Bomb {
    fn drop(&mut self) {
        panic!("second");
    }
}

#[test]
fn a_destructor_that_panics_as_well_does_not_abort() -> io::Result<()> {
    let pool = ContextPool::serve(1, anywhere(), |_: &Handle, _| |_: tcp::Endpoint| Bomb)?;
    let mut client = connect(&pool);
    client.write_all(b"x")?;
    assert_ended(&mut client);
    let outcome = pool.join().remove(0);
    assert_eq!(outcome.expect_err("a panic").downcast_ref(), Some(&"first"));
    Ok(())
}

/// Goal: when the last serving thread has gone, nobody listens, and the accepting thread ends too.
#[test]
fn nobody_listens_when_no_thread_is_left() -> io::Result<()> {
    for balance in balances() {
        let pool = pool(2, balance);
        for remote in pool.remotes() {
            remote.stop();
            wait_until_gone(remote);
        }
        let endpoint = pool.local_endpoint().expect("an endpoint");
        // With hand-over it is noticed when the next one is accepted.
        while let Ok(mut client) = TcpStream::connect(endpoint) {
            assert_ended(&mut client);
        }
        for outcome in pool.join() {
            outcome.expect("no panic")?;
        }
    }
    Ok(())
}

#[test]
fn the_statistics_add_up() -> io::Result<()> {
    for balance in balances() {
        let pool = pool(3, balance);
        let mut clients: Vec<_> = (0..9).map(|_| connect(&pool)).collect();
        for client in &mut clients {
            say(client, 1)?;
        }
        let stats = pool.stats();
        assert_eq!((stats.accepted, stats.open, stats.shed), (9, 9, 0));
        assert_eq!((stats.bytes_received, stats.bytes_sent), (9, 27));
        for mut client in clients {
            client.shutdown(std::net::Shutdown::Write)?;
            assert_ended(&mut client);
        }
        let remote = pool.remote();
        pool.shutdown(STUCK);
        pool.join();
        // The threads have gone, their numbers have not.
        let stats = remote.stats();
        assert_eq!((stats.accepted, stats.open), (9, 0));
        assert_eq!((stats.bytes_received, stats.bytes_sent), (9, 27));
    }
    Ok(())
}

/// A loop that is held up by a handler.
struct Held(Arc<Barrier>);

impl Held {
    fn hold(remote: &Remote) -> Held {
        let barrier = Arc::new(Barrier::new(2));
        let held = barrier.clone();
        let hold = move |_: &Handle| {
            held.wait();
            held.wait();
        };
        remote.post(hold).expect("it runs");
        barrier.wait();
        Held(barrier)
    }

    fn let_go(self) {
        self.0.wait();
    }
}

/// Goal: `stats` returns although a thread is busy, or is the one that asks.
#[test]
fn the_statistics_wait_for_nobody_for_long() -> io::Result<()> {
    let pool = pool(2, Balance::default());
    say(&mut connect(&pool), 1)?;
    assert_eq!(pool.stats().accepted, 1);
    let held = Held::hold(&pool.remotes()[0]);
    assert_eq!(pool.stats().accepted, 1);
    held.let_go();
    let (remote, (told, count)) = (pool.remote(), mpsc::channel());
    pool.remotes()[1].post(move |_| told.send(remote.stats().accepted).unwrap()).expect("posted");
    assert_eq!(count.recv(), Ok(1));
    end(pool);
    Ok(())
}

/// Goal: with hand-over, whoever was accepted before a shutdown gets a session before it.
/// Method: the first of two threads is held up while it is handed a client. The second thread has answered the next
/// client by the time of the shutdown, so the first client was handed over before.
#[test]
fn a_shutdown_is_behind_the_clients_that_were_handed_over() -> io::Result<()> {
    let builder = ContextPool::builder(2).balance(Balance::HandOver);
    let pool = builder.serve(anywhere(), |_: &Handle, _| |_: tcp::Endpoint| Polite)?;
    let held = Held::hold(&pool.remotes()[0]);
    let (mut first, mut second) = (connect(&pool), connect(&pool));
    second.write_all(b"x")?;
    second.read_exact(&mut [0])?;
    pool.shutdown(STUCK);
    held.let_go();
    for mut client in [first.try_clone()?, second.try_clone()?] {
        let mut word = [0; 3];
        client.read_exact(&mut word)?;
        assert_eq!(&word, b"bye");
    }
    for client in [&mut first, &mut second] {
        client.shutdown(std::net::Shutdown::Write)?;
        assert_ended(client);
    }
    assert!(pool.join().into_iter().all(|outcome| outcome.is_ok_and(|ran| ran.is_ok())));
    Ok(())
}

#[test]
fn each_server_is_seen_before_its_first_client() -> io::Result<()> {
    for balance in balances() {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let servers = seen.clone();
        let builder = ContextPool::builder(2).balance(balance).each_server(move |server: &Server, thread| {
            assert_eq!(server.stats(), ioctx::session::Stats::default());
            servers.lock().unwrap().push(thread);
        });
        let pool = builder.serve(anywhere(), numbered)?;
        let mut seen = std::mem::take(&mut *seen.lock().unwrap());
        seen.sort();
        assert_eq!(seen, [0, 1]);
        end(pool);
    }
    Ok(())
}

/// Goal: a pool that is dropped serves on; when nobody can end it any more, idle contexts return.
#[test]
fn a_dropped_pool_is_detached() -> io::Result<()> {
    for balance in balances() {
        let pool = pool(2, balance);
        let (remote, endpoint) = (pool.remote(), pool.local_endpoint().expect("an endpoint"));
        drop(pool);
        say(&mut TcpStream::connect(endpoint)?, 1)?;
        remote.shutdown(STUCK);
        remote.remotes().iter().for_each(wait_until_gone);
    }
    let pool = ContextPool::start(1, |_, _| Ok(|_| ()))?;
    let context = pool.remotes()[0].clone();
    context.post(|_| {}).expect("it waits to be shut down");
    drop(pool);
    wait_until_gone(&context);
    Ok(())
}

#[test]
fn a_pool_without_a_server_runs_until_it_is_shut_down() -> io::Result<()> {
    let (told, ends) = mpsc::channel();
    let pool = ContextPool::start(2, move |_, thread| {
        let told = told.clone();
        Ok(move |deadline| told.send((thread, deadline)).unwrap())
    })?;
    assert_eq!(pool.local_endpoint(), None);
    assert_eq!(pool.stats(), ioctx::session::Stats::default());
    let (posted, got) = mpsc::channel();
    for remote in pool.remotes() {
        let posted = posted.clone();
        remote.post(move |_| posted.send(thread::current().id()).unwrap()).expect("it runs");
    }
    assert_ne!(got.recv(), got.recv());
    pool.shutdown(STUCK);
    assert!(pool.join().into_iter().all(|outcome| outcome.is_ok_and(|ran| ran.is_ok())));
    let mut ends: Vec<_> = ends.iter().collect();
    ends.sort();
    assert_eq!(ends, [(0, STUCK), (1, STUCK)]);
    Ok(())
}

#[test]
fn everything_can_be_shown_and_sent() {
    fn is<T: std::fmt::Debug + Send + Sync>() {}
    is::<ContextPool>();
    is::<Builder>();
    is::<PoolRemote>();
    is::<Balance>();
}

// `Server::adopt`, on which hand-over stands.

#[test]
fn an_adopted_connection_is_one_of_its_server() -> io::Result<()> {
    let mut io = util::context();
    let server = Server::without_listener(&io);
    assert_eq!(server.local_endpoint(), None);
    assert_eq!(io.outstanding().len(), 1);
    server.set_max_connections(0); // No limit on what was accepted elsewhere.
    let (socket, mut peer) = net::connection(&io)?;
    server.adopt(socket, Polite)?;
    assert_eq!((server.stats().accepted, server.stats().open), (1, 1));
    server.shutdown(Duration::MAX);
    net::poll_until(&mut io, || server.stats().bytes_sent == 3);
    let mut word = [0; 3];
    peer.read_exact(&mut word)?;
    assert_eq!(&word, b"bye");
    peer.shutdown(std::net::Shutdown::Write)?;
    net::finish(&mut io);
    assert_eq!((server.stats().open, server.stats().bytes_sent), (0, 3));
    Ok(())
}

#[test]
fn a_server_adopts_nothing_foreign_and_nothing_late() -> io::Result<()> {
    let (io, other) = (IoContext::new()?, IoContext::new()?);
    let server = Server::without_listener(&io);
    let (socket, mut peer) = net::connection(&other)?;
    assert_eq!(server.adopt(socket, Polite).expect_err("foreign").kind(), ErrorKind::InvalidInput);
    assert_ended(&mut peer);
    server.shutdown(Duration::ZERO);
    let (socket, mut peer) = net::connection(&io)?;
    assert_eq!(server.adopt(socket, Polite).expect_err("late").kind(), ErrorKind::NotConnected);
    assert_ended(&mut peer);
    let (socket, _peer) = net::connection(&io)?;
    drop(io);
    assert!(server.adopt(socket, Polite).is_err());
    Ok(())
}
