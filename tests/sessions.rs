//! Sessions: what they are lent, when they are told, and that nothing is told inside a call.

mod net;
mod scripted;
mod util;

use ioctx::ip::tcp;
use ioctx::session::{self, Connection, Reason, Sent};
use ioctx::testing::Harness;
use ioctx::{Config, IoContext};
use net::{anywhere, finish, poll_until};
use scripted::{SOON, Script, adopted, calling_nobody, pattern};
use std::cell::{Cell, RefCell};
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::thread;
use std::time::Duration;
use util::{Record, context, run_until};

/// Takes whole lines, and leaves the last, incomplete one.
fn lines(_: &Connection, bytes: &[u8]) -> usize {
    bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1)
}

// What is lent.

/// P27: what was not consumed is shown again, at the front of what follows, and only when something follows.
#[test]
fn the_rest_is_shown_again_with_what_follows() {
    let told = Record::new();
    let peer = Harness::new(Script::new(&told).on_received(lines));
    peer.receive(b"one\ntw");
    peer.settle();
    peer.receive(b"o");
    peer.receive(b"\nthree\n");
    peer.receive(b"four\n");
    assert_eq!(
        told.take(),
        ["opened", "received one\\ntw", "received two", "received two\\nthree\\n", "received four\\n",]
    );
}

/// P27: the same over a socket, byte by byte and in pieces: every line arrives once and whole.
#[test]
fn lines_arrive_whole_however_they_are_cut() -> io::Result<()> {
    let text: String = (0..500).map(|n| format!("{n} {}\n", "x".repeat(n * 7 % 90))).collect();
    for cut in [1, 7, 64, 1000, 1 << 20] {
        let mut io = IoContext::with_config(Config::new().read_buffer(100))?;
        util::watch(&io);
        let (told, whole) = (Record::new(), Rc::new(RefCell::new(Vec::new())));
        let seen = Rc::clone(&whole);
        let script = Script::new(&told).on_received(move |connection, bytes| {
            let consumed = lines(connection, bytes);
            seen.borrow_mut().extend_from_slice(&bytes[..consumed]);
            consumed
        });
        let (_connection, mut peer) = adopted(&io, script)?;
        for piece in text.as_bytes().chunks(cut) {
            peer.write_all(piece)?;
            if cut > 1 {
                io.poll()?;
            }
        }
        peer.shutdown(Shutdown::Write)?;
        finish(&mut io);
        assert!(*whole.borrow() == text.as_bytes(), "cut by {cut}");
    }
    Ok(())
}

/// P27: where as much waits as the loop's buffer takes, it becomes larger, up to 512 KiB, so that a stream is shown in
/// fewer and larger pieces; a buffer whose size was set keeps it. P30: no more is read than the budget of a dispatch allows.
#[test]
fn a_stream_is_shown_in_larger_pieces() -> io::Result<()> {
    const KIB: usize = 1024;
    let (small, bounded) = (Config::new().read_buffer(KIB), Config::new().read_buffer(512 * KIB));
    let bounded = bounded.read_budget(16, 100 * KIB);
    for (config, least, most) in
        [(Config::new(), 65 * KIB, 512 * KIB), (small, KIB, KIB), (bounded, 64 * KIB, 100 * KIB)]
    {
        let mut io = IoContext::with_config(config)?;
        util::watch(&io);
        let (sizes, received) = (Record::new(), Rc::new(RefCell::new(Vec::new())));
        let (seen, whole) = (sizes.clone(), Rc::clone(&received));
        let script = Script::new(&Record::new()).on_received(move |_, bytes| {
            seen.push(bytes.len());
            whole.borrow_mut().extend_from_slice(bytes);
            bytes.len()
        });
        let (_connection, mut peer) = adopted(&io, script)?;
        peer.set_write_timeout(Some(SOON))?;
        let bytes = pattern(0, 8 * KIB * KIB);
        thread::scope(|scope| {
            let stream = &bytes;
            scope.spawn(move || peer.write_all(stream).expect("written"));
            run_until(&mut io, || received.borrow().len() == bytes.len());
        });
        assert!(*received.borrow() == bytes);
        let largest = sizes.take().into_iter().max().expect("pieces");
        assert!((least..=most).contains(&largest), "the largest piece has {largest} bytes");
    }
    Ok(())
}

/// P27: the rest is shown when reading resumes, once, although nothing has arrived; without a rest nothing is shown.
#[test]
fn the_rest_is_shown_once_when_reading_resumes() {
    let told = Record::new();
    let peer = Harness::new(Script::new(&told).on_received(lines));
    peer.receive(b"rest");
    peer.connection().pause();
    peer.receive(b" and more");
    peer.settle();
    assert_eq!(told.take(), ["opened", "received rest"], "nothing while it is paused");
    assert!(peer.connection().is_paused());
    peer.connection().resume();
    peer.settle();
    let shown = told.take();
    assert_eq!(shown.last().map(String::as_str), Some("received rest and more"));
    assert!(shown.len() <= 2, "{shown:?}");
    peer.connection().resume();
    peer.settle();
    assert!(told.take().is_empty(), "it was not paused");
    for _ in 0..2 {
        peer.connection().pause();
        peer.connection().resume();
        peer.settle();
        assert_eq!(told.take(), ["received rest and more"]);
    }
    peer.receive(b"\n");
    told.take();
    peer.connection().pause();
    peer.connection().resume();
    peer.settle();
    assert!(told.take().is_empty(), "there is no rest");
}

/// P27: and when reading resumes because the queue has drained.
#[test]
fn the_rest_is_shown_when_the_queue_has_drained() {
    let told = Record::new();
    let peer = Harness::new(Script::new(&told).on_received(|connection, _| {
        connection.send(&[7; 100_000]);
        0
    }));
    peer.peer_stalls();
    peer.receive(b"rest");
    peer.receive(b" and more");
    assert_eq!(told.take(), ["opened", "received rest"]);
    peer.peer_resumes();
    let shown = told.take();
    assert_eq!(shown[..2], ["drained", "received rest"], "{shown:?}");
    assert_eq!(shown.last().map(String::as_str), Some("received rest and more"));
}

/// P27, P18: the rest is shown once more before `eof`, which comes once and last; also if the end came while reading
/// was paused.
#[test]
fn the_rest_is_shown_once_before_the_end() {
    for paused in [false, true] {
        let told = Record::new();
        let peer = Harness::new(Script::new(&told).on_received(lines).on_eof(|_| {}));
        peer.receive(b"rest");
        if paused {
            peer.connection().pause();
        }
        peer.peer_eof();
        if paused {
            assert_eq!(told.take(), ["opened", "received rest"]);
            peer.connection().resume();
            peer.settle();
            // Shown because reading resumes, and, as the end is only found then, once more before it.
            assert_eq!(told.take(), ["received rest", "received rest", "eof"]);
        } else {
            assert_eq!(told.take(), ["opened", "received rest", "received rest", "eof"]);
        }
        peer.peer_eof();
        peer.connection().notify();
        peer.settle();
        assert_eq!(told.take(), ["notified"]);
        peer.connection().shutdown_send();
        peer.settle();
        assert_eq!(told.take(), ["closed Finished", "dropped"]);
    }
}

/// P27: too much unconsumed ends the connection with a reason of its own; as much as the limit does not.
#[test]
fn a_limit_ends_a_connection_that_leaves_too_much() {
    for piece in [1, 3, 100] {
        let told = Record::new();
        let script = Script::new(&told).on_opened(|connection| connection.set_unconsumed_limit(100));
        let peer = Harness::new(script.on_received(|_, _| 0));
        for _ in 0..100 / piece {
            peer.receive(&vec![7; piece]);
        }
        peer.receive(&vec![7; 100 % piece]);
        assert!(peer.is_open(), "in pieces of {piece}");
        peer.receive(&[7]);
        assert!(!peer.is_open(), "in pieces of {piece}");
        let told = told.take();
        assert_eq!(told[told.len() - 2..], ["closed UnconsumedLimit", "dropped"]);
    }
    // The default of the context, over a socket.
    let mut io = IoContext::with_config(Config::new().unconsumed_limit(1000)).expect("a context");
    let told = Record::new();
    let (_connection, mut peer) = adopted(&io, Script::new(&told).on_received(|_, _| 0)).expect("a connection");
    peer.write_all(&[7; 1001]).expect("written");
    finish(&mut io);
    assert!(told.take().contains(&"closed UnconsumedLimit".into()));
}

/// P27: what is consumed later does not count; and a session that closes may leave as much as it likes.
#[test]
fn a_session_that_closes_may_leave_what_it_likes() {
    let told = Record::new();
    let script = Script::new(&told).on_received(|connection, bytes| {
        if bytes.len() >= 8 {
            connection.send(b"too long");
            connection.close_after_flush(SOON);
        }
        0
    });
    let peer = Harness::new(script);
    peer.connection().set_unconsumed_limit(5);
    peer.receive(b"12345");
    peer.receive(b"67890");
    assert_eq!(peer.sent(), b"too long");
    peer.peer_eof();
    assert_eq!(told.take(), ["opened", "received 12345", "received 1234567890", "closed Finished", "dropped"]);
}

/// P27: claiming more than was lent counts as all of it; debug builds assert.
#[test]
fn claiming_more_than_was_lent_counts_as_all() {
    let told = Record::new();
    let claim = Rc::new(Cell::new(0));
    let claimed = Rc::clone(&claim);
    let peer = Harness::new(Script::new(&told).on_received(move |_, _| claimed.get()));
    peer.receive(b"a");
    claim.set(100);
    let outcome = catch_unwind(AssertUnwindSafe(|| peer.receive(b"b")));
    assert_eq!(outcome.is_err(), cfg!(debug_assertions));
    if outcome.is_ok() {
        peer.receive(b"c");
        assert_eq!(told.take(), ["opened", "received a", "received ab", "received c"]);
    }
}

// What arrives.

/// P18: bytes and the end in one edge: all the bytes, then the end, once.
#[test]
fn bytes_and_the_end_in_one_edge_both_arrive() -> io::Result<()> {
    for size in [1, 1000, 65_536, 65_537, 200_000] {
        let mut io = context();
        let (told, got) = (Record::new(), Rc::new(RefCell::new(Vec::new())));
        let seen = Rc::clone(&got);
        let script = Script::new(&told).on_received(move |_, bytes| {
            seen.borrow_mut().extend_from_slice(bytes);
            bytes.len()
        });
        let (socket, mut peer) = net::connection(&io)?;
        let sender = std::thread::spawn(move || {
            peer.write_all(&pattern(0, size)).expect("written");
            peer
        });
        if size < 100_000 {
            drop(sender.join().expect("no panic")); // All of it is there before the loop looks.
            session::adopt(socket, script)?;
        } else {
            session::adopt(socket, script)?;
            poll_until(&mut io, || got.borrow().len() == size);
            drop(sender.join().expect("no panic"));
        }
        finish(&mut io);
        assert!(*got.borrow() == pattern(0, size), "{size} bytes");
        let told = told.take();
        assert_eq!(told[told.len() - 3..], ["eof", "closed Finished", "dropped"]);
        assert_eq!(told.iter().filter(|line| *line == "eof").count(), 1);
    }
    Ok(())
}

/// P18: a peer that sends and vanishes while we write to it: its last words are received, before the error is told.
#[test]
fn the_last_words_of_a_peer_that_vanished_are_received() -> io::Result<()> {
    let mut io = context();
    let told = Record::new();
    let script = Script::new(&told).on_received(|connection, bytes| {
        assert_eq!(connection.send(b"an answer nobody reads"), Sent::Accepted);
        bytes.len()
    });
    let (connection, mut peer) = adopted(&io, script)?;
    run_until(&mut io, || told.len() == 1);
    // The peer has unread bytes when it closes, so it resets; its own come first.
    connection.send(b"never read");
    io.poll()?;
    net::wait_readable(&peer)?;
    peer.write_all(b"last words")?;
    drop(peer);
    // Whatever the write finds out first, reading is not given up.
    finish(&mut io);
    let told = told.take();
    assert_eq!(told[..2], ["opened", "received last words"], "{told:?}");
    assert_eq!(told.last().map(String::as_str), Some("dropped"));
    assert_eq!(told.iter().filter(|line| line.starts_with("closed")).count(), 1);
    Ok(())
}

/// P18: a write that fails does not keep what had arrived before from its session; then the error is told.
#[test]
fn what_arrived_before_a_failed_write_is_received() -> io::Result<()> {
    for large in [false, true] {
        let mut io = IoContext::with_config(Config::new().read_buffer(1000))?;
        util::watch(&io);
        let (told, total) = (Record::new(), Rc::new(Cell::new(0)));
        let sum = Rc::clone(&total);
        let script = Script::new(&told).on_received(move |_, bytes| {
            sum.set(sum.get() + bytes.len());
            bytes.len()
        });
        let (connection, mut peer) = adopted(&io, script)?;
        run_until(&mut io, || told.len() == 1);
        connection.send(b"never read");
        io.poll()?;
        net::wait_readable(&peer)?;
        peer.write_all(&pattern(0, 5000))?;
        drop(peer); // resets, because of the unread bytes
        // The write comes before the read: in a turn that has not looked at the socket yet.
        let bytes = vec![7; if large { 100_000 } else { 10 }];
        connection.send(&bytes);
        finish(&mut io);
        let told = told.take();
        assert_eq!(total.get(), 5000, "large: {large}, {told:?}");
        assert!(
            told.iter().any(|line| line.starts_with("closed Broken") || line.starts_with("closed Conn")),
            "{told:?}"
        );
    }
    Ok(())
}

/// P18: urgent data in the middle does not stall a connection.
#[test]
fn urgent_data_in_the_middle_never_stalls() -> io::Result<()> {
    let mut io = context();
    let (told, got) = (Record::new(), Rc::new(RefCell::new(Vec::new())));
    let seen = Rc::clone(&got);
    let script = Script::new(&told).on_received(move |_, bytes| {
        seen.borrow_mut().extend_from_slice(bytes);
        bytes.len()
    });
    let (_connection, mut peer) = adopted(&io, script)?;
    io.poll()?;
    for n in 0..20 {
        peer.write_all(b"before")?;
        socket2::SockRef::from(&peer).send_out_of_band(b"!")?;
        peer.write_all(b"behind")?;
        if n % 2 == 0 {
            io.poll()?;
        }
    }
    peer.shutdown(Shutdown::Write)?;
    finish(&mut io);
    let text: String = got.borrow().iter().map(|byte| char::from(*byte)).filter(|c| *c != '!').collect();
    assert_eq!(text, "beforebehind".repeat(20));
    Ok(())
}

/// P18: half-close: the peer's end is told, and what is sent afterwards still arrives.
#[test]
fn a_session_may_go_on_sending_behind_the_end() -> io::Result<()> {
    let mut io = context();
    let told = Record::new();
    let script = Script::new(&told).on_eof(|connection| {
        connection.send(b"behind ");
        let later = connection.clone();
        connection.as_ref().after(Duration::ZERO, move |_| {
            later.send(b"the end");
            later.shutdown_send();
        });
    });
    let (_connection, mut peer) = adopted(&io, script)?;
    peer.shutdown(Shutdown::Write)?;
    finish(&mut io);
    let mut text = String::new();
    peer.read_to_string(&mut text)?;
    assert_eq!(text, "behind the end");
    assert_eq!(told.take(), ["opened", "eof", "closed Finished", "dropped"]);
    Ok(())
}

// When it is told.

/// P4: no method runs inside a call that user code makes, from outside or from a method of any session.
/// Method: `Script` fails when it is called while another call is in progress.
#[test]
fn no_method_runs_inside_a_call() -> io::Result<()> {
    let mut io = context();
    let (told, all) = (Record::new(), Rc::new(RefCell::new(Vec::<Connection>::new())));
    let everything = |connection: &Connection| {
        connection.pause();
        connection.resume();
        connection.notify();
        connection.send(b"small");
        connection.send(&[7; 50_000]);
        connection.send_vectored(&[io::IoSlice::new(b"two"), io::IoSlice::new(b"parts")]);
        connection.send_shared(&Rc::from(&b"shared"[..]));
        connection.set_idle_timeout(Some(Duration::ZERO));
        connection.set_idle_timeout(None);
        connection.set_watermarks(1, 2);
        connection.shutdown_send();
        connection.close_after_flush(Duration::ZERO);
        connection.abort();
    };
    let acceptor = tcp::Acceptor::listen_on(&io, anywhere())?;
    let endpoint = acceptor.local_endpoint()?;
    let (log, links) = (told.clone(), Rc::clone(&all));
    let server = calling_nobody(|| {
        session::serve(acceptor, move |_| {
            let links = Rc::clone(&links);
            Script::new(&log).on_received(move |own, bytes| {
                let links = links.take();
                links.iter().for_each(everything);
                everything(own);
                bytes.len()
            })
        })
    })?;
    for n in 0..3 {
        let (log, links) = (told.clone(), Rc::clone(&all));
        let script = Script::new(&log).on_opened(move |connection| {
            links.borrow_mut().push(connection.clone());
            if links.borrow().len() == 3 {
                connection.send(b"go");
            }
        });
        let connection = calling_nobody(|| session::connect(&io, endpoint, SOON, script));
        if n == 0 {
            calling_nobody(|| connection.notify());
        }
    }
    run_until(&mut io, || told.take().iter().any(|line| line.starts_with("received")));
    let (connection, _peer) = adopted(&io, Script::new(&told))?;
    calling_nobody(|| {
        everything(&connection);
        server.set_max_connections(5);
        server.set_shedding(true);
        server.shutdown(Duration::ZERO);
    });
    finish(&mut io);
    assert!(told.len() > 5);
    Ok(())
}

/// P4: not even a close, a failed connect or the taking of the socket is told inside the call.
#[test]
fn ends_are_told_from_the_loop() -> io::Result<()> {
    let mut io = context();
    let told = Record::new();
    let nobody = net::nobody()?;
    let refused = calling_nobody(|| session::connect(&io, nobody, SOON, Script::new(&told)));
    let unspeakable: tcp::Endpoint = ([0, 0, 0, 0, 0, 0xffff, 0xffff, 0xffff], 1).into(); // no such address
    let failed = calling_nobody(|| session::connect(&io, unspeakable, SOON, Script::new(&told)));
    let (aborted, _first) = adopted(&io, Script::new(&told))?;
    let (taken, _second) = adopted(&io, Script::new(&told))?;
    assert!(refused.is_open() && aborted.is_open());
    calling_nobody(|| aborted.abort());
    let (socket, unread): (tcp::Socket, _) = calling_nobody(|| taken.into_socket())?;
    assert!(told.len() == 0 && unread.is_empty() && socket.is_open());
    assert!(!aborted.is_open());
    finish(&mut io);
    assert!(!refused.is_open() && !failed.is_open());
    let mut told = told.take();
    told.sort();
    assert_eq!(told[..2], ["closed Aborted", "closed ConnectionRefused"]);
    assert!(told[2].starts_with("closed ") && told[3] == "closed Taken", "{told:?}");
    assert_eq!(told[4..], ["dropped"; 4], "and nobody was told of an opening that never was");
    Ok(())
}

/// P2: what the loop does for itself counts none.
#[test]
fn only_dispatches_with_user_code_count() -> io::Result<()> {
    let mut io = IoContext::new()?;
    let told = Record::new();
    let (connection, mut peer) = adopted(&io, Script::echo(&told))?;
    assert_eq!(io.run_one()?, 1, "opened");
    assert_eq!(told.take(), ["opened"]);
    assert_eq!(io.poll()?, 0);
    connection.send(b"from outside");
    assert_eq!(io.poll()?, 0, "a write is no handler");
    connection.pause();
    connection.resume();
    assert_eq!(io.poll()?, 0, "nothing to show");
    for _ in 0..3 {
        peer.write_all(b"x")?;
        assert_eq!(io.run_one()?, 1);
    }
    assert_eq!(told.take(), ["received x"; 3]);
    connection.notify();
    connection.notify();
    peer.write_all(b"x")?;
    let mut ran = 0;
    while told.len() < 2 {
        ran += io.run_one()?;
    }
    assert_eq!((ran, told.take()), (2, vec!["notified".into(), "received x".into()]), "one a call");
    connection.abort();
    assert_eq!(io.run()?, 1, "closed, and nothing is outstanding");
    assert_eq!(told.take(), ["closed Aborted", "dropped"]);
    Ok(())
}

/// P2: one dispatch that tells several things counts one.
#[test]
fn several_methods_in_one_dispatch_count_one() -> io::Result<()> {
    let mut io = IoContext::new()?;
    let told = Record::new();
    let (socket, mut peer) = net::connection(&io)?;
    peer.write_all(b"x")?;
    net::wait_readable(TcpStream::try_clone(&socket.try_clone_fd()?.into())?)?;
    let connection = session::adopt(socket, Script::new(&told))?;
    connection.notify();
    let mut counts = vec![];
    while told.len() < 3 {
        counts.push(io.poll()?);
    }
    assert!(
        counts.iter().sum::<usize>() <= 2,
        "opened and notified in one, received in the same or another: {counts:?}"
    );
    assert_eq!(told.take(), ["opened", "notified", "received x"]);
    Ok(())
}

/// P8: `notify` reaches a session once, however often it was called before; and again afterwards.
#[test]
fn notifications_before_the_call_are_one() {
    let told = Record::new();
    let peer = Harness::new(Script::new(&told));
    for _ in 0..3 {
        for _ in 0..10 {
            peer.connection().notify();
        }
        peer.settle();
    }
    assert_eq!(told.take(), ["opened", "notified", "notified", "notified"]);
}

// Who it is.

/// P20: a connection that has ended is harmless: it takes nothing, changes nothing, and can still be told apart.
#[test]
fn a_connection_that_has_ended_is_harmless() -> io::Result<()> {
    let mut io = context();
    let (told, outcome) = (Record::new(), Record::new());
    let seen = outcome.clone();
    let script = Script::new(&told).on_closed(move |connection, reason| {
        assert!(matches!(reason, Reason::Aborted));
        seen.push(connection.send(b"x"));
        connection.notify();
        connection.pause();
        connection.abort();
    });
    let (connection, mut peer) = adopted(&io, script)?;
    let (other, _peer) = adopted(&io, Script::new(&told))?;
    let (id, remote) = (connection.id(), connection.remote_endpoint());
    assert_eq!(remote, Some(peer.local_addr()?.into()));
    assert_eq!(connection.local_endpoint(), Some(peer.peer_addr()?.into()));
    assert!(connection == connection.clone() && connection != other && connection.id() != other.id());
    connection.abort();
    run_until(&mut io, || outcome.len() == 1);
    assert_eq!(outcome.take(), [Sent::Gone]);
    while io.poll()? > 0 {} // The other one is opened.
    told.take();
    assert!(peer.read(&mut [0; 1]).is_err(), "a reset");
    for _ in 0..2 {
        assert_eq!(connection.send(b"x"), Sent::Gone);
        assert_eq!(connection.send(&[7; 100_000]), Sent::Gone);
        assert_eq!(connection.send_shared(&Rc::from(&b"x"[..])), Sent::Gone);
        assert_eq!(connection.send_vectored(&[io::IoSlice::new(b"x")]), Sent::Gone);
        connection.pause();
        connection.resume();
        connection.notify();
        connection.set_idle_timeout(Some(Duration::ZERO));
        connection.set_watermarks(1, 2);
        connection.set_write_limit(0);
        connection.set_unconsumed_limit(0);
        connection.shutdown_send();
        connection.close_after_flush(Duration::ZERO);
        connection.abort();
        assert_eq!(io.next_timeout().map(|left| left.is_zero()), Some(false), "it asks for nothing");
        assert_eq!(io.poll()?, 0);
    }
    assert!(!connection.is_open() && connection.queued() == 0);
    assert_eq!((connection.id(), connection.remote_endpoint()), (id, remote));
    assert_eq!(connection.local_endpoint(), None);
    assert!(connection.clone().into_socket::<tcp::Protocol>().is_err());
    assert!(format!("{connection:?}").contains("open: false"));
    assert!(told.take().is_empty());
    other.abort();
    finish(&mut io);
    Ok(())
}

// In and out.

/// P18, P27: the socket goes out with the bytes that were not consumed, and comes back with whatever followed.
#[test]
fn a_socket_goes_out_and_comes_back_without_losing_a_byte() -> io::Result<()> {
    let mut io = context();
    let (told, got) = (Record::new(), Rc::new(RefCell::new(Vec::new())));
    let mut expected = Vec::new();
    let (socket, mut peer) = net::connection(&io)?;
    let mut socket = Some(socket);
    for round in 0..20 {
        let log = told.clone();
        let connection = session::adopt(socket.take().expect("taken"), Script::new(&log).on_received(|_, _| 0))?;
        let (a, b) = (format!("round {round}, "), format!("unseen {round}\n"));
        peer.write_all(a.as_bytes())?;
        run_until(&mut io, || told.take().iter().any(|line| line.starts_with("received")));
        peer.write_all(b.as_bytes())?;
        connection.send(b"ok");
        poll_until(&mut io, || connection.queued() == 0);
        told.take();
        let (taken, unread) = connection.into_socket::<tcp::Protocol>()?;
        got.borrow_mut().extend_from_slice(&unread);
        expected.extend_from_slice(a.as_bytes());
        expected.extend_from_slice(b.as_bytes());
        let mut answer = [0; 2];
        peer.read_exact(&mut answer)?;
        assert_eq!(&answer, b"ok");
        // The rest by an operation.
        let left = expected.len() - got.borrow().len();
        let more = Rc::clone(&got);
        let done = Rc::new(Cell::new(false));
        let is_done = Rc::clone(&done);
        taken.async_read(vec![0; left], move |(read, bytes)| {
            read.expect("the rest");
            more.borrow_mut().extend_from_slice(&bytes);
            done.set(true);
        });
        run_until(&mut io, || is_done.get() && told.len() >= 2);
        assert_eq!(told.take(), ["closed Taken", "dropped"]);
        socket = Some(taken);
    }
    assert!(*got.borrow() == expected);
    Ok(())
}

/// P29: bytes or an end that are still to be sent keep the socket in.
#[test]
fn a_socket_stays_in_while_something_is_to_be_sent() -> io::Result<()> {
    let mut io = context();
    let (told, answers) = (Record::new(), Record::new());
    let seen = answers.clone();
    let script = Script::new(&told).on_received(move |connection, bytes| {
        connection.send(b"last words");
        connection.shutdown_send();
        seen.push(connection.clone().into_socket::<tcp::Protocol>().map_err(|error| error.kind()).map(drop));
        bytes.len()
    });
    let (_connection, mut peer) = adopted(&io, script)?;
    peer.write_all(b"x")?;
    run_until(&mut io, || answers.len() == 1);
    let answer = answers.take();
    while io.poll()? > 0 {}
    peer.set_nonblocking(true)?;
    let mut text = String::new();
    poll_until(&mut io, || peer.read_to_string(&mut text).is_ok());
    assert_eq!(text, "last words", "{answer:?}");
    assert!(answer[0].is_err());
    let (queued, _peer) = adopted(&io, Script::new(&told))?;
    queued.send(b"x");
    let error = queued.clone().into_socket::<tcp::Protocol>().unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ResourceBusy);
    io.poll()?;
    assert!(queued.into_socket::<tcp::Protocol>().is_ok());
    Ok(())
}
