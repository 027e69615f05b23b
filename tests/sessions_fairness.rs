//! Sessions take turns: no connection, and no session that keeps asking for something, holds the loop; and whatever a
//! turn did not reach is delivered by the next.

mod net;
mod scripted;
mod util;

use ioctx::ip::tcp;
use ioctx::local;
use ioctx::session::{self, Connection};
use ioctx::testing::Harness;
use ioctx::{Config, IoContext};
use net::{anywhere, finish, poll_until, wait_readable};
use scripted::{SOON, Script, adopted, pattern};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::time::Duration;
use util::{Record, context, run_until};

/// Several connections whose sessions note their number whenever they are called.
fn crowd(io: &IoContext, size: usize, order: &Record<usize>) -> io::Result<Vec<(Connection, TcpStream)>> {
    (0..size)
        .map(|n| {
            let order = order.clone();
            adopted(
                io,
                Script::new(&Record::new()).on_received(move |_, bytes| {
                    order.push(n);
                    bytes.len()
                }),
            )
        })
        .collect()
}

// Turns.

/// P30: between two calls of `received` of one connection, every other one that is ready has had its turn.
#[test]
fn ready_connections_take_turns() -> io::Result<()> {
    const SIZE: usize = 5;
    const ROUNDS: usize = 10;
    for batch in [1024, 2] {
        let mut io = IoContext::with_config(Config::new().read_buffer(100).event_batch(batch))?;
        util::watch(&io);
        let order = Record::new();
        let mut crowd = crowd(&io, SIZE, &order)?;
        while io.poll()? > 0 {}
        for (_, peer) in &mut crowd {
            peer.write_all(&[7; 100 * ROUNDS])?;
        }
        // All of it is there before the loop looks.
        poll_until(&mut io, || order.len() == SIZE * ROUNDS);
        let order = order.take();
        if batch == 1024 {
            for (n, round) in order.chunks(SIZE).enumerate() {
                let mut round = round.to_vec();
                round.sort_unstable();
                assert_eq!(round, [0, 1, 2, 3, 4], "round {n} of {order:?}");
            }
        } else {
            let counts = order.iter().fold(BTreeMap::new(), |mut counts, n| {
                *counts.entry(*n).or_insert(0) += 1;
                counts
            });
            assert!(counts.values().all(|count| *count == ROUNDS), "{counts:?}");
        }
    }
    Ok(())
}

/// P30: the same for one that becomes ready meanwhile.
#[test]
fn who_becomes_ready_meanwhile_is_next() -> io::Result<()> {
    let mut io = IoContext::with_config(Config::new().read_buffer(100))?;
    util::watch(&io);
    let order = Record::new();
    let note = |n, mut wake: Option<UnixStream>| {
        let order = order.clone();
        Script::new(&Record::new()).on_received(move |_, bytes| {
            order.push(n);
            if let Some(peer) = &mut wake {
                peer.write_all(b"x").expect("there is room");
            }
            bytes.len()
        })
    };
    let (ours, second_peer) = UnixStream::pair()?;
    session::adopt(local::stream::Socket::from_std(&io, ours)?, note(2, None))?;
    let (ours, mut first_peer) = UnixStream::pair()?;
    session::adopt(local::stream::Socket::from_std(&io, ours)?, note(1, Some(second_peer)))?;
    let _server = session::serve(tcp::Acceptor::listen_on(&io, anywhere())?, |_| Script::new(&Record::new()))?;
    first_peer.write_all(&[7; 5000])?;
    run_until(&mut io, || order.len() == 100);
    assert_eq!(order.take(), [1, 2].repeat(50));
    Ok(())
}

/// How often the only connection is called, which has more to read all the time, until a client is accepted that comes in
/// its first call; and once more for another client, when that one has gone.
fn calls_until_a_client_is_accepted(
    batch: usize,
    mut turn: impl FnMut(&mut IoContext) -> io::Result<usize>,
) -> io::Result<[usize; 2]> {
    let mut io = IoContext::with_config(Config::new().read_buffer(100).event_batch(batch))?;
    util::watch(&io);
    let listener = TcpListener::bind(anywhere())?;
    let (endpoint, there) = (listener.local_addr()?, listener.try_clone()?);
    let gone_at_once = |_| Script::new(&Record::new()).on_opened(Connection::abort);
    let server = session::serve(tcp::Acceptor::from_std(&io, listener)?, gone_at_once)?;
    let (ours, mut peer) = UnixStream::pair()?;
    let mut more = peer.try_clone()?;
    let (calls, awaited) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(false)));
    let (count, comes) = (Rc::clone(&calls), Rc::clone(&awaited));
    let mut clients = Vec::new();
    let script = Script::new(&Record::new()).on_received(move |_, bytes| {
        count.set(count.get() + 1);
        if comes.take() {
            count.set(1);
            more.write_all(b"and more").expect("there is room");
            clients.push(TcpStream::connect(endpoint).expect("somebody listens"));
            wait_readable(&there).expect("it can be waited for");
        }
        bytes.len()
    });
    session::adopt(local::stream::Socket::from_std(&io, ours)?, script)?;
    peer.write_all(&[7; 20_000])?;
    let mut waited = [0; 2];
    for (n, calls_until) in waited.iter_mut().enumerate() {
        awaited.set(true);
        while server.stats().accepted <= n as u64 {
            turn(&mut io)?;
        }
        *calls_until = calls.get();
        while server.stats().open > 0 {
            turn(&mut io)?;
        }
    }
    Ok(waited)
}

/// P30: a client that is to be accepted waits for the only connection, but one of 16 turns asks for it, and the next one if
/// the connection's own event fills the batch; with `poll` it does not wait.
#[test]
fn a_client_does_not_wait_long_for_the_only_connection() -> io::Result<()> {
    for (batch, most) in [(1024, 16), (1, 17)] {
        let calls = calls_until_a_client_is_accepted(batch, IoContext::run_one)?;
        assert!(calls.iter().all(|calls| (2..=most).contains(calls)), "{calls:?}");
    }
    assert_eq!(calls_until_a_client_is_accepted(1024, IoContext::poll_one)?, [1; 2]);
    Ok(())
}

/// P30: showing the rest of a connection that resumes is a turn of its own: what has arrived meanwhile comes after the
/// others.
#[test]
fn a_rest_that_is_shown_again_is_a_turn() -> io::Result<()> {
    let mut io = context();
    let order = Record::new();
    let seen = order.clone();
    let script = Script::new(&Record::new()).on_received(move |_, bytes| {
        seen.push(if bytes.len() > 4 { "rest and more" } else { "rest" });
        0
    });
    let (first, mut first_peer) = adopted(&io, script)?;
    let seen = order.clone();
    let script = Script::new(&Record::new()).on_received(move |_, bytes| {
        seen.push("other");
        bytes.len()
    });
    let (_second, mut second_peer) = adopted(&io, script)?;
    first_peer.write_all(b"rest")?;
    run_until(&mut io, || order.len() == 1);
    first.pause();
    while io.poll()? > 0 {}
    first_peer.write_all(b" and more")?;
    while io.poll()? > 0 {}
    order.take();
    second_peer.write_all(b"x")?;
    // Both are in one step: the first because it resumes, the second by its event.
    first.resume();
    poll_until(&mut io, || order.len() == 3);
    assert_ne!(order.take()[..2], ["rest", "rest and more"], "two turns, and the other had none between them");
    Ok(())
}

/// P30: one dispatch stays within the budget: a connection that is flooded is left after one read, also if there was
/// something else to tell it.
#[test]
fn a_flooded_connection_is_left_after_one_read() -> io::Result<()> {
    for notified in [false, true] {
        let mut io = IoContext::with_config(Config::new().read_buffer(1000))?;
        util::watch(&io);
        let order = Record::new();
        let mut crowd = crowd(&io, 1, &order)?;
        while io.poll()? > 0 {}
        crowd[0].1.write_all(&[7; 50_000])?;
        let (mut calls, mut turns) = (0, 0);
        while calls < 50 {
            if notified {
                crowd[0].0.notify();
            }
            io.poll()?;
            let now = order.take().len();
            assert!(now <= 1, "{now} calls in one turn");
            (calls, turns) = (calls + now, turns + 1);
        }
        assert!(turns >= 50);
    }
    Ok(())
}

/// P35, P30: a session that asks for the same call again and again, from the call itself, gets one a turn; everything
/// else goes on.
#[test]
fn a_session_that_keeps_asking_does_not_hold_the_loop() -> io::Result<()> {
    type Storm = fn(Script, Rc<Cell<usize>>) -> Script;
    let storms: [(&str, Storm); 3] = [
        ("notify", |script, calls| {
            script.on_notified(move |connection| {
                calls.set(calls.get() + 1);
                assert!(calls.get() < 100_000, "it never lets go");
                connection.notify();
            })
        }),
        ("pause and resume", |script, calls| {
            script.on_received(move |connection, _| {
                calls.set(calls.get() + 1);
                assert!(calls.get() < 100_000, "it never lets go");
                connection.pause();
                connection.resume();
                0
            })
        }),
        ("opened and notify", |script, calls| {
            let counter = Rc::clone(&calls);
            script.on_opened(|connection| connection.notify()).on_notified(move |connection| {
                counter.set(counter.get() + 1);
                assert!(counter.get() < 100_000, "it never lets go");
                connection.pause();
                connection.resume();
                connection.notify();
            })
        }),
    ];
    for (name, storm) in storms {
        let mut io = context();
        let (calls, told) = (Rc::new(Cell::new(0)), Record::new());
        let (connection, mut peer) = adopted(&io, storm(Script::new(&Record::new()), Rc::clone(&calls)))?;
        let (_other, mut other_peer) = adopted(&io, Script::new(&told))?;
        peer.write_all(b"x")?;
        connection.notify();
        poll_until(&mut io, || calls.get() > 0);
        let before = calls.get();
        other_peer.write_all(b"hello")?;
        let mut turns = 0;
        while told.len() < 2 || turns < 10 {
            io.poll()?;
            turns += 1;
        }
        let grown = calls.get() - before;
        assert!(grown <= turns && grown >= turns.min(10) - 1, "{name}: {grown} calls in {turns} turns");
    }
    Ok(())
}

/// P35: a source that is driven by `drained`, with a peer that takes everything at once, lets the others get on.
#[test]
fn an_endless_source_does_not_hold_the_loop() {
    let order = Record::new();
    let seen = order.clone();
    let peer = Harness::new(Script::new(&Record::new()).on_drained(move |connection| {
        seen.push("drained");
        if seen.len() <= 1000 {
            connection.send_shared(&Rc::from(&[7; 20_000][..]));
        }
    }));
    let seen = order.clone();
    let other = peer.beside(Script::new(&Record::new()).on_notified(move |_| seen.push("other")));
    peer.connection().set_watermarks(1000, 10_000);
    peer.peer_stalls();
    peer.connection().send(&[7; 20_000]);
    peer.settle();
    other.connection().notify();
    order.take();
    peer.peer_resumes();
    let order = order.take();
    let before = order.iter().position(|what| *what == "other");
    assert!(before.is_some_and(|before| before <= 3), "{before:?} of {}", order.len());
    assert_eq!(order.len(), 1001);
}

/// P35: a task that posts itself for ever, a timer without delay, a session that notifies itself and a connection that
/// is flooded each advance in every turn; and a new client gets in.
#[test]
fn storms_of_every_kind_advance_together() -> io::Result<()> {
    fn post(io: &ioctx::Handle, count: Rc<Cell<usize>>) {
        let handle = io.clone();
        io.post(move || {
            count.set(count.get() + 1);
            post(&handle, count);
        });
    }
    let mut io = IoContext::with_config(Config::new().read_buffer(100))?;
    util::watch(&io);
    let counters: [Rc<Cell<usize>>; 4] = Default::default();
    let counter = |n: usize| Rc::clone(&counters[n]);
    let (flooded, notified, ticks) = (counter(0), counter(1), counter(2));
    let quiet = Record::new();
    let (_flood, mut peer) = adopted(
        &io,
        Script::new(&quiet).on_received(move |_, bytes| {
            flooded.set(flooded.get() + 1);
            bytes.len()
        }),
    )?;
    let (storm, _second) = adopted(
        &io,
        Script::new(&quiet).on_notified(move |connection| {
            notified.set(notified.get() + 1);
            assert!(notified.get() < 100_000, "it never lets go");
            connection.notify();
        }),
    )?;
    while io.poll()? > 0 {}
    peer.write_all(&[7; 100_000])?;
    storm.notify();
    io.every(Duration::ZERO, move || ticks.set(ticks.get() + 1));
    post(&io, counter(3));
    io.poll()?;
    io.poll()?;
    let before = counters.clone().map(|counter| counter.get());
    for turn in 1..=100 {
        io.poll()?;
        for (n, counter) in counters.iter().enumerate() {
            assert_eq!(counter.get(), before[n] + turn, "storm {n} in turn {turn}");
        }
    }
    // A server and its client among them.
    let told = Record::new();
    let acceptor = ioctx::ip::tcp::Acceptor::listen_on(&io, anywhere())?;
    let endpoint = acceptor.local_endpoint()?;
    let log = told.clone();
    session::serve(acceptor, move |_| Script::echo(&log))?;
    let mut client = TcpStream::connect(endpoint)?;
    client.write_all(b"hello")?;
    for _ in 0..100 {
        io.poll()?;
    }
    assert_eq!(told.take(), ["opened", "received hello"]);
    Ok(())
}

// Leaving early.

/// P34, P2: a turn that is taken one handler at a time loses nothing and calls nobody twice.
#[test]
fn a_turn_taken_one_handler_at_a_time_is_the_same_turn() -> io::Result<()> {
    const SIZE: usize = 8;
    let mut io = context();
    let order = Record::new();
    let mut crowd = crowd(&io, SIZE, &order)?;
    while io.poll()? > 0 {}
    for round in 0..5 {
        for (connection, peer) in &mut crowd {
            peer.write_all(b"x")?;
            if round % 2 == 1 {
                connection.notify();
            }
        }
        let mut ran = 0;
        while order.len() < SIZE {
            ran += io.run_one()?;
        }
        let mut order = order.take();
        order.sort_unstable();
        assert_eq!(order, (0..SIZE).collect::<Vec<_>>());
        let expected = if round % 2 == 1 { SIZE..=2 * SIZE } else { SIZE..=SIZE };
        assert!(expected.contains(&ran), "{ran} handlers");
    }
    Ok(())
}

/// P34: `stop` and a panic in the middle of a dispatch, or between two, lose nothing: what is left comes next.
#[test]
fn a_stop_or_a_panic_in_the_middle_loses_nothing() -> io::Result<()> {
    for panics in [false, true] {
        let mut io = context();
        let told = Record::new();
        let mut peers = Vec::new();
        for n in 0..6 {
            let script = Script::new(&told).on_opened(move |connection| {
                connection.notify();
                if panics && n % 2 == 0 {
                    let handle = connection.as_ref().clone();
                    handle.post(|| panic!("in the middle"));
                }
                connection.as_ref().stop();
            });
            let (socket, mut peer) = net::connection(&io)?;
            peer.write_all(b"x")?;
            peer.shutdown(Shutdown::Write)?;
            session::adopt(socket, script)?;
            peers.push(peer);
        }
        let mut calls = 0;
        while !io.outstanding().is_empty() {
            io.restart();
            let outcome = catch_unwind(AssertUnwindSafe(|| io.run_for(SOON).expect("the poller works")));
            calls += 1;
            assert!(calls < 1000, "panics {panics}: {:?}", outcome.is_ok());
        }
        let told = told.take();
        for line in ["opened", "notified", "received x", "eof", "closed Finished", "dropped"] {
            assert_eq!(told.iter().filter(|told| *told == line).count(), 6, "{line}: {told:?}");
        }
        assert!(calls >= 6, "every stop was heeded");
    }
    Ok(())
}

/// P34, P3: a stop in a method is heeded before the next method of the same session, which comes with the next call.
#[test]
fn a_stop_in_a_method_is_heeded_before_the_next_method() -> io::Result<()> {
    let mut io = context();
    let told = Record::new();
    let (connection, _peer) = adopted(&io, Script::new(&told).on_opened(|connection| connection.as_ref().stop()))?;
    connection.notify();
    assert_eq!(io.run()?, 1);
    assert_eq!(told.take(), ["opened"]);
    assert_eq!(io.run()?, 0);
    io.restart();
    assert_eq!(io.run_one()?, 1);
    assert_eq!(told.take(), ["notified"]);
    Ok(())
}

// Doing anything.

/// P8: the first of many ready connections may end all the others: none of them is told of what had arrived for it.
#[test]
fn the_first_of_many_may_end_all_the_others() -> io::Result<()> {
    type End = fn(Connection);
    let ends: [(&str, End); 3] = [
        ("Aborted", |connection| connection.abort()),
        ("Taken", |connection| drop(connection.into_socket::<ioctx::ip::tcp::Protocol>())),
        ("Finished", |connection| connection.close_after_flush(SOON)),
    ];
    for (reason, end) in ends {
        let mut io = context();
        let (all, told) = (Rc::new(RefCell::new(Vec::<Connection>::new())), Record::new());
        let mut peers = Vec::new();
        for _ in 0..10 {
            let others = Rc::clone(&all);
            let script = Script::new(&told).on_received(move |own, bytes| {
                for other in others.take() {
                    if other != *own {
                        end(other);
                    }
                }
                bytes.len()
            });
            let (connection, peer) = adopted(&io, script)?;
            all.borrow_mut().push(connection);
            peers.push(peer);
        }
        while io.poll()? > 0 {}
        told.take();
        for peer in &mut peers {
            peer.write_all(b"x")?;
            peer.shutdown(Shutdown::Write)?;
        }
        finish(&mut io);
        let told = told.take();
        let count = |what: &str| told.iter().filter(|line| *line == what).count();
        assert_eq!(count("received x"), 1, "{reason}: {told:?}");
        assert_eq!(count("eof"), 1, "{reason}: {told:?}");
        let finished = if reason == "Finished" { 10 } else { 9 };
        assert_eq!(count(&format!("closed {reason}")), finished, "{told:?}");
        assert_eq!(count("dropped"), 10);
    }
    Ok(())
}

/// P8: a method may do anything to its own connection, in any order, and start anything else.
#[test]
fn a_method_may_do_anything() -> io::Result<()> {
    let mut io = context();
    let told = Record::new();
    let acceptor = ioctx::ip::tcp::Acceptor::listen_on(&io, anywhere())?;
    let endpoint = acceptor.local_endpoint()?;
    let (log, servers) = (told.clone(), Rc::new(RefCell::new(Vec::new())));
    let keep = Rc::clone(&servers);
    let server = session::serve(acceptor, move |_| {
        let (log, keep) = (log.clone(), Rc::clone(&keep));
        Script::new(&log).on_received(move |connection, bytes| {
            let acceptor = ioctx::ip::tcp::Acceptor::listen_on(connection, anywhere()).expect("a listener");
            let endpoint = acceptor.local_endpoint().expect("its endpoint");
            let log = log.clone();
            let inner = log.clone();
            keep.borrow_mut().push(session::serve(acceptor, move |_| Script::echo(&inner)).expect("a server"));
            let script = Script::new(&log).on_received(|connection, bytes| {
                connection.close_after_flush(SOON);
                bytes.len()
            });
            let client = session::connect(connection, endpoint, SOON, script);
            client.send(b"inner");
            connection.send(b"never sent");
            connection.close_after_flush(SOON);
            connection.abort();
            connection.close_after_flush(SOON);
            bytes.len()
        })
    })?;
    let mut client = TcpStream::connect(endpoint)?;
    client.write_all(b"outer")?;
    run_until(&mut io, || !servers.borrow().is_empty());
    server.shutdown(SOON);
    for _ in 0..20 {
        io.run_one_for(Duration::from_millis(20))?;
    }
    servers.take().iter().for_each(|server| server.shutdown(SOON));
    finish(&mut io);
    let told = told.take();
    for line in ["received outer", "closed Aborted"] {
        assert_eq!(told.iter().filter(|told| *told == line).count(), 1, "{line}: {told:?}");
    }
    assert_eq!(told.iter().filter(|told| *told == "received inner").count(), 2, "{told:?}");
    assert_eq!(told.iter().filter(|told| *told == "dropped").count(), 3);
    assert_eq!(client.read(&mut [0; 10]).unwrap_err().kind(), ErrorKind::ConnectionReset);
    Ok(())
}

/// P19, P30: a large transfer and small exchanges beside it: both get on.
#[test]
fn a_large_transfer_lets_small_ones_through() -> io::Result<()> {
    let mut io = context();
    let quiet = Record::new();
    let total = Rc::new(Cell::new(0));
    let sum = Rc::clone(&total);
    let (_bulk, mut bulk_peer) = adopted(
        &io,
        Script::new(&quiet).on_received(move |_, bytes| {
            sum.set(sum.get() + bytes.len());
            bytes.len()
        }),
    )?;
    let told = Record::new();
    let (_small, mut small_peer) = adopted(&io, Script::echo(&told))?;
    let sender = std::thread::spawn(move || {
        let chunk = pattern(0, 1 << 20);
        (0..30).try_for_each(|_| bulk_peer.write_all(&chunk))
    });
    let mut answer = [0; 1];
    for _ in 0..50 {
        small_peer.write_all(b"x")?;
        let before = told.len();
        run_until(&mut io, || told.len() > before.max(1));
        small_peer.read_exact(&mut answer)?;
    }
    poll_until(&mut io, || total.get() == 30 << 20);
    sender.join().expect("no panic")
}
