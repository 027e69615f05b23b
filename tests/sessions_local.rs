//! Sessions over Unix sockets: the same session layer, another transport.

mod net;
mod scripted;
mod util;

use ioctx::session::{self, Connection, Endpoint, Sent, Session};
use ioctx::testing::Harness;
use ioctx::{Config, IoContext, local};
use net::finish;
use scripted::{SOON, Script, pattern};
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;
use util::{Record, context, run_until};

/// P18: a write that fails in the middle of a message does not keep the peer's last words from the session.
#[test]
fn the_last_words_of_a_peer_that_vanished_meanwhile_are_received() -> io::Result<()> {
    let mut io = context();
    let (ours, mut peer) = UnixStream::pair()?;
    peer.write_all(b"first")?;
    let (told, peer) = (Record::new(), std::cell::RefCell::new(Some(peer)));
    let script = Script::new(&told).on_received(move |connection, bytes| {
        if let Some(mut peer) = peer.take() {
            peer.write_all(b"last words").expect("there is room");
        }
        connection.send(b"an answer that nobody is there to read");
        bytes.len()
    });
    session::adopt(local::stream::Socket::from_std(&io, ours)?, script)?;
    finish(&mut io);
    let told = told.take();
    assert_eq!(told[1..3], ["received first", "received last words"], "{told:?}");
    Ok(())
}

/// P18: an end, or a reset, that a read of several pieces comes upon is told after all of its bytes, which are shown at once;
/// and no end is known of before that.
#[test]
fn what_is_behind_whole_pieces_is_told_after_them() -> io::Result<()> {
    const PIECES: usize = 128 * 1024;
    for (resets, pauses) in [(false, false), (false, true), (true, false), (true, true)] {
        let mut io = IoContext::with_config(Config::new().read_buffer(2 * PIECES))?;
        util::watch(&io);
        let (ours, mut peer) = UnixStream::pair()?;
        let told = Record::new();
        let script = Script::new(&told).on_received(move |connection, bytes| {
            assert!(!connection.peer_has_ended());
            let answer = connection.send(b"an answer");
            assert_eq!((answer == Sent::Gone, connection.is_open()), (resets, !resets));
            bytes.len()
        });
        let connection = session::adopt(local::stream::Socket::from_std(&io, ours)?, script)?;
        run_until(&mut io, || told.len() == 1);
        if pauses {
            connection.pause();
        }
        if resets {
            connection.send(b"who leaves this unread resets");
            io.poll()?;
        }
        peer.write_all(&pattern(0, PIECES))?;
        let _peer = if resets {
            drop(peer);
            None
        } else {
            peer.shutdown(Shutdown::Write)?;
            Some(peer)
        };
        if pauses {
            connection.resume(); // Else it is the short way of a message that comes upon it.
        }
        finish(&mut io);
        let ends: &[&str] = if resets { &["closed ConnectionReset"] } else { &["eof", "closed Finished"] };
        assert_eq!(told.take(), [&["opened", "received 131072 bytes"], ends, &["dropped"]].concat());
    }
    Ok(())
}

/// P18: a large send arrives byte for byte, wherever the socket is full, and however soon it is not any more.
#[test]
fn a_large_send_arrives_in_order_while_the_peer_reads() -> io::Result<()> {
    const SIZE: usize = 2 * 1024 * 1024;
    let mut io = context();
    let bytes = pattern(0, SIZE);
    for _ in 0..10 {
        let (ours, mut peer) = UnixStream::pair()?;
        let sent = bytes.clone();
        let script = Script::new(&Record::new()).on_opened(move |connection| {
            connection.send(&sent);
            connection.close_after_flush(SOON);
        });
        session::adopt(local::stream::Socket::from_std(&io, ours)?, script)?;
        std::thread::scope(|scope| {
            let reader = scope.spawn(move || {
                let mut received = Vec::new();
                peer.read_to_end(&mut received).map(|_| received)
            });
            finish(&mut io);
            assert!(reader.join().expect("no panic").is_ok_and(|received| received == bytes));
        });
    }
    Ok(())
}

/// P29: what a connection that closes comes upon is thrown away, also in front of a reset.
#[test]
fn nobody_is_shown_what_arrives_in_front_of_a_reset_while_closing() -> io::Result<()> {
    let mut io = IoContext::with_config(Config::new().read_buffer(256 * 1024))?;
    util::watch(&io);
    let (ours, mut peer) = UnixStream::pair()?;
    let told = Record::new();
    let connection = session::adopt(local::stream::Socket::from_std(&io, ours)?, Script::new(&told))?;
    run_until(&mut io, || told.len() == 1);
    connection.send(b"who leaves this unread resets");
    io.poll()?;
    peer.write_all(&[7; 128 * 1024])?;
    drop(peer);
    connection.close_after_flush(SOON);
    finish(&mut io);
    assert_eq!(told.take(), ["opened", "closed ConnectionReset", "dropped"]);
    Ok(())
}

/// A path that nobody else has.
fn path(name: &str) -> PathBuf {
    std::env::temp_dir().join(format!("ioctx-{name}-{}", std::process::id()))
}

/// P18, P29: a server on a path echoes to many clients at once, byte for byte, and ends in good order.
#[test]
fn a_server_on_a_path_echoes_everything_and_the_end() -> io::Result<()> {
    const SIZE: usize = 300_000;
    let mut io = context();
    let path = path("sessions-echo");
    let acceptor = local::stream::Acceptor::listen_on(&io, local::Endpoint::from_path(&path)?)?;
    let told = Record::new();
    let log = told.clone();
    let server = session::serve(acceptor, move |peer: local::Endpoint| {
        assert!(peer.is_unnamed());
        Script::echo(&log)
    })?;
    assert_eq!(server.local_endpoint().map(|endpoint| endpoint.to_string()), Some(path.display().to_string()));
    let clients: Vec<_> = (0..8)
        .map(|n| {
            let mut stream = UnixStream::connect(&path).expect("connected");
            std::thread::spawn(move || {
                let mut reading = stream.try_clone().expect("a clone");
                let writer = std::thread::spawn(move || {
                    stream.write_all(&pattern(n, SIZE)).expect("written");
                    stream.shutdown(Shutdown::Write).expect("ended");
                });
                let mut back = Vec::new();
                reading.read_to_end(&mut back).expect("read");
                writer.join().expect("no panic");
                assert!(back == pattern(n, SIZE), "client {n}: {} bytes", back.len());
            })
        })
        .collect();
    while !clients.iter().all(|client| client.is_finished()) {
        io.run_one_for(Duration::from_millis(1))?;
    }
    for client in clients {
        client.join().expect("no panic");
    }
    server.shutdown(SOON);
    finish(&mut io);
    let stats = server.stats();
    assert_eq!((stats.accepted, stats.open), (8, 0));
    assert_eq!((stats.bytes_received, stats.bytes_sent), (8 * SIZE as u64, 8 * SIZE as u64));
    assert_eq!(told.take().iter().filter(|line| *line == "closed Finished").count(), 8);
    std::fs::remove_file(path)
}

/// P22: a client session connects to a path; where nobody listens, `closed` is told.
#[test]
fn a_client_connects_to_a_path_or_is_told_why_not() -> io::Result<()> {
    let mut io = context();
    let path = path("sessions-client");
    let endpoint = local::Endpoint::from_path(&path)?;
    let told = Record::new();
    session::connect(&io, endpoint.clone(), SOON, Script::new(&told));
    run_until(&mut io, || told.len() == 2);
    assert_eq!(told.take(), ["closed NotFound", "dropped"]);

    let acceptor = local::stream::Acceptor::listen_on(&io, endpoint.clone())?;
    let server = session::serve(acceptor, |_| Script::echo(&Record::new()))?;
    let client = session::connect(&io, endpoint.clone(), SOON, Script::new(&told));
    assert_eq!(client.send(b"hello"), Sent::Accepted);
    run_until(&mut io, || told.len() == 2);
    assert_eq!(told.take(), ["opened", "received hello"]);
    assert_eq!(client.remote_endpoint(), Some(Endpoint::Local(endpoint)));
    client.close_after_flush(SOON);
    server.shutdown(SOON);
    finish(&mut io);
    assert_eq!(told.take(), ["closed Finished", "dropped"]);
    std::fs::remove_file(path)
}

/// A pair is adopted, and taken out again with what was not consumed.
#[test]
fn a_pair_is_adopted_and_taken_out_again() -> io::Result<()> {
    let mut io = context();
    let (ours, theirs) = local::stream::Socket::pair(&io)?;
    let told = Record::new();
    let connection = session::adopt(ours, Script::new(&told).on_received(|_, _| 2))?;
    theirs.write(b"abcde")?;
    run_until(&mut io, || told.len() == 2);
    let wrong = connection.clone().into_socket::<ioctx::ip::tcp::Protocol>();
    assert_eq!(wrong.map(drop).unwrap_err().kind(), io::ErrorKind::InvalidInput);
    let (socket, unread) = connection.into_socket::<local::stream::Protocol>()?;
    assert_eq!(unread, b"cde");
    finish(&mut io);
    assert_eq!(told.take(), ["opened", "received abcde", "closed Taken", "dropped"]);
    socket.write(b"plain")?;
    let mut back = [0; 5];
    theirs.read(&mut back)?;
    assert_eq!(&back, b"plain");
    Ok(())
}

/// One end is adopted, the other is the peer.
fn adopted(io: &IoContext, session: impl Session) -> io::Result<(Connection, UnixStream)> {
    let (ours, peer) = UnixStream::pair()?;
    Ok((session::adopt(local::stream::Socket::from_std(io, ours)?, session)?, peer))
}

/// P19: what a session sends to another leaves when its method returns, in one piece, and before anybody's next turn;
/// also if the other does not read, or has nothing more to read.
#[test]
fn what_is_sent_to_another_leaves_when_the_method_returns() -> io::Result<()> {
    let mut io = context();
    for (pauses, has_ended) in [(false, false), (true, false), (false, true)] {
        let told = Record::new();
        let (target, mut target_peer) = adopted(&io, Script::new(&told).on_eof(|_| ()))?;
        let sends_to = target.clone();
        let (source, mut source_peer) = adopted(
            &io,
            Script::new(&told).on_received(move |_, bytes| {
                assert_eq!(sends_to.send(b"one "), Sent::Accepted);
                assert_eq!(sends_to.send(b"two"), Sent::Accepted);
                assert_eq!(sends_to.queued(), 7);
                bytes.len()
            }),
        )?;
        run_until(&mut io, || told.len() == 2);
        if pauses {
            target.pause();
            io.poll()?;
        }
        if has_ended {
            target_peer.shutdown(Shutdown::Write)?;
            run_until(&mut io, || told.len() == 3);
        }
        target_peer.set_nonblocking(true)?;
        source_peer.write_all(b"a")?;
        assert_eq!(io.run_one()?, 1);
        let mut got = [0; 100];
        let n = target_peer.read(&mut got)?;
        assert_eq!(String::from_utf8_lossy(&got[..n]), "one two");
        target.abort();
        source.abort();
        finish(&mut io);
    }
    Ok(())
}

/// P19: what does not leave at once stays in order, and what is asked meanwhile comes after it.
#[test]
fn what_is_sent_to_another_waits_for_room_and_comes_before_its_end() {
    let told = Record::new();
    let target = Harness::new(Script::echo(&told));
    let connection = target.connection().clone();
    let source = target.beside(Script::new(&told).on_received(move |_, bytes| {
        connection.send(bytes);
        connection.send_shared(&Rc::from(&b"|"[..]));
        if bytes == b"last" {
            connection.close_after_flush(SOON);
        }
        bytes.len()
    }));
    target.peer_takes(3);
    source.receive(b"first");
    target.receive(b"echo");
    assert_eq!((target.sent(), target.connection().queued()), (b"fir".to_vec(), 7));
    source.receive(b"last");
    target.peer_resumes();
    assert_eq!(target.sent(), b"st|echolast|");
    assert!(target.saw_eof());
}

/// P1: a peer that reads wakes nobody, unless it was waited for; then it does.
#[test]
#[cfg(not(mio_unsupported_force_poll_poll))]
fn a_reading_peer_wakes_the_loop_only_when_it_was_waited_for() -> io::Result<()> {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let mut io = context();
    let told = Record::new();
    let (connection, mut peer) = adopted(&io, Script::new(&told))?;
    io.poll()?;
    connection.send(b"hello");
    io.poll()?;
    peer.read_exact(&mut [0; 5])?;
    let is_awake = |io: &IoContext| {
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        poll(&mut [PollFd::new(io, PollFlags::IN)], Some(&now)).map(|ready| ready > 0)
    };
    assert!(!is_awake(&io)?);
    let flood = pattern(0, 4_000_000);
    connection.send(&flood);
    while io.next_timeout() == Some(Duration::ZERO) {
        io.poll()?;
    }
    assert!(connection.queued() > 0 && !is_awake(&io)?);
    let mut got = vec![0; flood.len()];
    let mut at = 0;
    while at < got.len() {
        at += peer.read(&mut got[at..])?;
        io.poll()?;
    }
    assert!(got == flood);
    assert_eq!(connection.queued(), 0);
    Ok(())
}
