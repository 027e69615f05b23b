//! When the handlers of sockets run, in which order, and how they are counted.

mod net;
mod util;

use ioctx::ip::tcp::{self, Wait};
use ioctx::{Config, IoContext};
use net::{anywhere, connection, finish, nobody, pair};
use std::cell::Cell;
use std::io::{self, Write};
use std::rc::Rc;
use util::{Record, context};

/// P2: `run` counts one for every completion, success or not, and none for what the operation does in between.
#[test]
fn every_completion_counts_one() -> io::Result<()> {
    let mut io = context();
    let acceptor = tcp::Acceptor::listen_on(&io, anywhere())?;
    let client = tcp::Socket::new(&io);
    client.async_connect(acceptor.local_endpoint()?, |connected| connected.unwrap());
    let server = Rc::new(Cell::new(None));
    let accepted = Rc::clone(&server);
    acceptor.async_accept(move |result| accepted.set(Some(result.unwrap().0)));
    assert_eq!(finish(&mut io), 2);
    let server = server.take().expect("a connection");
    // Many reads and writes, and two operations.
    client.async_write(vec![0; 10_000_000], |(wrote, _)| assert_eq!(wrote.unwrap(), 10_000_000));
    server.async_read(vec![0; 10_000_000], |(read, _)| assert_eq!(read.unwrap(), 10_000_000));
    assert_eq!(finish(&mut io), 2);
    // Three aborts, one failure, one wait.
    for _ in 0..3 {
        server.async_read_some([0; 1], |(read, _)| assert!(read.is_err()));
    }
    server.cancel()?;
    tcp::Socket::new(&io).async_connect(nobody()?, |connected| assert!(connected.is_err()));
    server.async_wait(Wait::Write, |waited| waited.unwrap());
    assert_eq!(finish(&mut io), 5);
    Ok(())
}

/// P2: wake-ups for nothing, and data that nobody reads, are no handlers; the loop sleeps.
#[test]
fn data_that_nobody_reads_wakes_nobody() -> io::Result<()> {
    let mut io = context();
    let (ours, mut peer) = connection(&io)?;
    ours.async_wait(Wait::Write, |waited| waited.unwrap()); // from here on it is registered
    assert_eq!(finish(&mut io), 1);
    let _guard = io.work_guard();
    peer.write_all(&[0; 1000])?;
    io.poll()?;
    for _ in 0..10 {
        assert_eq!(io.poll()?, 0);
        assert!(io.next_timeout() > Some(std::time::Duration::from_secs(1)), "only the watchdog is left");
    }
    Ok(())
}

/// P2: `run_one` returns after the first completion, though one event completes several.
#[test]
fn run_one_returns_after_the_first_of_several_completions() -> io::Result<()> {
    let mut io = context();
    let (ours, mut peer) = connection(&io)?;
    let seen = Record::new();
    for n in 0..3 {
        let seen = seen.clone();
        ours.async_read([0; 1], move |_| seen.push(n));
    }
    peer.write_all(b"abc")?;
    for n in 0..3 {
        assert_eq!(io.run_one()?, 1);
        assert_eq!(seen.take(), [n]);
    }
    assert_eq!(io.run()?, 0);
    Ok(())
}

/// P34: a stop between two completions of one object loses neither.
#[test]
fn a_stop_between_two_completions_keeps_the_second() -> io::Result<()> {
    let mut io = context();
    let (ours, mut peer) = connection(&io)?;
    let (handle, seen) = (io.handle().clone(), Record::new());
    let (first, second) = (seen.clone(), seen.clone());
    ours.async_read([0; 1], move |_| {
        handle.stop();
        first.push(1);
    });
    ours.async_read([0; 1], move |_| second.push(2));
    peer.write_all(b"ab")?;
    net::wait_readable(ours.try_clone_fd()?)?;
    assert_eq!(io.run()?, 1);
    assert_eq!(io.run()?, 0);
    assert_eq!(seen.take(), [1]);
    io.restart();
    assert_eq!(finish(&mut io), 1);
    assert_eq!(seen.take(), [2]);
    Ok(())
}

/// P4: no handler runs inside the call that starts its operation, however ready everything is, nor inside another's.
#[test]
fn no_handler_runs_inside_the_call_that_started_it() -> io::Result<()> {
    let mut io = context();
    let (ours, mut peer) = connection(&io)?;
    let acceptor = tcp::Acceptor::listen_on(&io, anywhere())?;
    let _client = std::net::TcpStream::connect(acceptor.local_endpoint()?)?;
    peer.write_all(&[0; 100])?;
    net::wait_readable(ours.try_clone_fd()?)?;
    ours.async_wait(Wait::Read, |_| {}); // the loop knows that it is ready
    io.run_one()?;
    let inside = Inside::default();
    inside.start_everything(&ours, &acceptor);
    assert_eq!(io.run_for(std::time::Duration::from_secs(20))?, 8);
    // And from within a handler.
    let _another = std::net::TcpStream::connect(acceptor.local_endpoint()?)?;
    ours.clone().async_read_some([0; 1], move |_| inside.start_everything(&ours, &acceptor));
    assert_eq!(finish(&mut io), 9);
    Ok(())
}

/// Set while user code is inside a call of the library, or a handler runs.
#[derive(Clone, Default)]
struct Inside(Rc<Cell<bool>>);

impl Inside {
    fn start_everything(&self, ours: &tcp::Socket, acceptor: &tcp::Acceptor) {
        self.0.set(true);
        let check = || {
            let Inside(inside) = self.clone();
            move || {
                assert!(!inside.replace(true), "a handler runs inside something else");
                inside.set(false);
            }
        };
        let checks = [check(), check(), check(), check(), check(), check(), check(), check()];
        let [read_some, read, write, write_some, wait, nothing, accept, failed] = checks;
        ours.async_read_some([0; 1], move |_| read_some());
        ours.async_read([0; 1], move |_| read());
        ours.async_write([0; 1], move |_| write());
        ours.async_write_some([0; 1], move |_| write_some());
        ours.async_wait(Wait::Read, move |_| wait());
        ours.async_read_some([], move |_| nothing());
        acceptor.async_accept(move |_| accept());
        let unopened = tcp::Socket::new(ours);
        unopened.async_read_some([0; 1], move |_| failed());
        unopened.close();
        self.0.set(false);
    }
}

/// P10: completions of one object and direction come in the order started, whatever their kinds.
#[test]
fn completions_of_one_direction_come_in_the_order_started() -> io::Result<()> {
    let mut io = context();
    let (ours, peer) = pair(&io)?;
    let seen = Record::new();
    for n in 0..60 {
        let seen = seen.clone();
        let done = move || seen.push(n);
        match n % 3 {
            0 => ours.async_write(vec![0; 100_000], move |_| done()),
            1 => ours.async_write_some(vec![0; 10], move |_| done()),
            _ => ours.async_wait(Wait::Write, move |_| done()),
        };
    }
    drop(ours);
    sink(peer);
    finish(&mut io);
    assert_eq!(seen.take(), (0..60).collect::<Vec<_>>());
    Ok(())
}

/// Reads until the end and throws it away.
fn sink(socket: tcp::Socket) {
    socket.clone().async_read_some(vec![0; 65536], move |(read, _)| {
        if read.unwrap() > 0 {
            sink(socket);
        }
    });
}

/// P8, P10: an operation started by a handler of its own object is served behind those that were waiting.
#[test]
fn an_operation_started_by_a_handler_queues_behind_the_others() -> io::Result<()> {
    let mut io = context();
    let (ours, mut peer) = connection(&io)?;
    let seen = Record::new();
    let (first, third, socket) = (seen.clone(), seen.clone(), ours.clone());
    ours.async_read([0; 1], move |(_, byte)| {
        first.push(byte[0]);
        socket.async_read([0; 1], move |(_, byte)| third.push(byte[0]));
    });
    let second = seen.clone();
    ours.async_read([0; 1], move |(_, byte)| second.push(byte[0]));
    peer.write_all(b"123")?;
    assert_eq!(finish(&mut io), 3);
    assert_eq!(seen.take(), *b"123");
    Ok(())
}

/// P35 at the operation layer: two sockets that always have something to do, a task and a timer all advance.
#[test]
fn busy_sockets_leave_tasks_and_timers_their_turn() -> io::Result<()> {
    let mut io = context();
    let (ours, peer) = pair(&io)?;
    let stop = Rc::new(Cell::new(false));
    ping(ours.clone(), peer.clone(), Rc::clone(&stop));
    ping(peer, ours, Rc::clone(&stop));
    let rounds = Rc::new(Cell::new(0));
    let (count, handle, end) = (Rc::clone(&rounds), io.handle().clone(), Rc::clone(&stop));
    tick(handle, count, end);
    finish(&mut io);
    assert_eq!(rounds.get(), 50);
    Ok(())
}

fn ping(from: tcp::Socket, to: tcp::Socket, stop: Rc<Cell<bool>>) {
    from.clone().async_write([0; 1000], |_| {});
    to.clone().async_read_some(vec![0; 1000], move |(read, _)| {
        if read.is_ok() && !stop.get() {
            ping(from, to, stop);
        }
    });
}

fn tick(handle: ioctx::Handle, count: Rc<Cell<u32>>, stop: Rc<Cell<bool>>) {
    let again = handle.clone();
    handle.after(std::time::Duration::ZERO, move |_| {
        let next = again.clone();
        again.post(move || {
            count.set(count.get() + 1);
            if count.get() < 50 {
                tick(next, count, stop);
            } else {
                stop.set(true);
            }
        });
    });
}

/// P35: reads and writes of one object that can all be done take turns.
#[test]
fn reads_and_writes_of_one_object_take_turns() -> io::Result<()> {
    let mut io = context();
    let (ours, mut peer) = connection(&io)?;
    peer.write_all(b"abc")?;
    ours.wait(Wait::Read)?;
    let seen = Record::new();
    for _ in 0..3 {
        let (read, wrote) = (seen.clone(), seen.clone());
        ours.async_read([0; 1], move |_| read.push("read"));
        ours.async_write(b"x", move |_| wrote.push("wrote"));
    }
    assert_eq!(finish(&mut io), 6);
    assert_eq!(seen.take(), ["wrote", "read", "wrote", "read", "wrote", "read"]);
    Ok(())
}

/// P30: a dispatch calls so many handlers of one object, and the others in the turns that follow.
#[test]
fn a_dispatch_stays_within_its_number_of_handlers() -> io::Result<()> {
    let mut io = IoContext::with_config(Config::new().handlers_per_dispatch(2))?;
    util::watch(&io);
    let (ours, mut peer) = connection(&io)?;
    peer.write_all(b"abcde")?;
    ours.wait(Wait::Read)?;
    for _ in 0..5 {
        ours.async_read([0; 1], |(read, _)| assert_eq!(read.unwrap(), 1));
    }
    assert_eq!((io.poll()?, io.poll()?, io.poll()?), (2, 2, 1));
    assert_eq!(finish(&mut io), 0);
    Ok(())
}
