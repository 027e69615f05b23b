//! Sessions and peers that read slowly, or not at all: bounded memory, and every byte in its place.

mod net;
mod scripted;
mod util;

use ioctx::session::{self, Connection, Sent, Session};
use ioctx::testing::Harness;
use ioctx::{Config, IoContext};
use net::{anywhere, finish, poll_until};
use scripted::{SOON, Script, adopted, narrow, pattern};
use std::cell::{Cell, RefCell};
use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::net::TcpStream;
use std::rc::Rc;
use std::time::Duration;
use util::{Record, context, run_until};

// Watermarks.

/// P28: up to the high watermark a send is accepted; above it `send` says so and reading pauses; at the low one reading
/// resumes and `drained` is told, once for each crossing.
#[test]
fn the_watermarks_pause_and_resume() {
    let told = Record::new();
    let peer = Harness::new(Script::new(&told).on_opened(|connection| connection.set_watermarks(100, 200)));
    peer.peer_stalls();
    for round in 0..3 {
        assert_eq!(peer.connection().send(&[7; 200]), Sent::Accepted);
        peer.receive(b"read");
        assert_eq!(peer.connection().send(&[7; 1]), Sent::AboveHigh);
        assert_eq!(peer.connection().send(&[7; 1]), Sent::AboveHigh);
        peer.settle();
        peer.receive(b"not read");
        peer.peer_takes(101);
        peer.receive(b" yet");
        assert_eq!(peer.connection().queued(), 101);
        let expected: &[&str] = if round == 0 { &["opened", "received read"] } else { &["received read"] };
        assert_eq!(told.take(), expected);
        peer.peer_takes(1);
        assert_eq!(told.take(), ["drained", "received not read yet"], "round {round}");
        peer.peer_takes(1000);
        assert_eq!(told.take(), [""; 0]);
        peer.peer_stalls();
        peer.sent();
    }
    // Between the two nothing is told, whichever way it goes.
    peer.connection().send(&[7; 200]);
    peer.settle();
    peer.peer_takes(150);
    peer.connection().send(&[7; 100]);
    peer.peer_takes(50);
    assert_eq!(told.take(), [""; 0]);
}

/// P28: what the peer does not take of a large send waits, wherever in it the peer stops, and leaves when it goes on.
#[test]
fn a_large_send_stops_where_the_peer_does() {
    const SIZE: usize = 300 * 1024;
    for takes in [0, 1, 64 * 1024, 100 * 1024, 128 * 1024, SIZE] {
        let script = Script::new(&Record::new()).on_received(|connection, bytes| {
            connection.send(&pattern(0, SIZE));
            bytes.len()
        });
        let peer = Harness::new(script);
        peer.peer_takes(takes);
        peer.receive(b"all of it, please");
        assert_eq!((peer.connection().queued(), peer.sent()), (SIZE - takes, pattern(0, takes)));
        peer.peer_resumes();
        peer.settle();
        assert_eq!((peer.connection().queued(), peer.sent()), (0, pattern(takes, SIZE - takes)));
    }
}

/// P28: the same when the session itself sends, in each way of sending.
#[test]
fn every_way_of_sending_heeds_the_watermarks() {
    let ways: [fn(&Connection, &[u8]) -> Sent; 3] = [
        |connection, bytes| connection.send(bytes),
        |connection, bytes| connection.send_vectored(&[IoSlice::new(&bytes[..1]), IoSlice::new(&bytes[1..])]),
        |connection, bytes| connection.send_shared(&Rc::from(bytes)),
    ];
    for (n, send) in ways.into_iter().enumerate() {
        for size in [300, 40_000] {
            let (told, answers) = (Record::new(), Record::new());
            let seen = answers.clone();
            let script = Script::new(&told).on_received(move |connection, bytes| {
                seen.push(send(connection, &pattern(0, size)));
                seen.push(send(connection, &pattern(size, size)));
                bytes.len()
            });
            let peer = Harness::new(script);
            peer.connection().set_watermarks(size / 2, size);
            peer.peer_stalls();
            peer.receive(b"x");
            let answers = answers.take();
            assert_eq!(answers[1], Sent::AboveHigh, "way {n}, size {size}");
            assert_eq!(peer.connection().queued(), 2 * size);
            peer.receive(b"not read");
            assert_eq!(told.take(), ["opened", "received x"]);
            peer.peer_takes(2 * size - size / 2 - 1);
            assert_eq!(told.take(), [""; 0], "way {n}, size {size}");
            peer.peer_takes(1);
            assert_eq!(told.take()[..2], ["drained", "received not read"], "way {n}, size {size}");
            assert!(peer.sent().starts_with(&pattern(0, size)));
        }
    }
}

/// P28: `drained` may fill the queue again, as often as it likes.
#[test]
fn a_source_is_driven_by_drained() -> io::Result<()> {
    const TOTAL: usize = 8_000_000;
    const PIECE: usize = 100_000;
    let mut io = context();
    let (told, at, most) = (Record::new(), Rc::new(Cell::new(0)), Rc::new(Cell::new(0)));
    let (place, highest) = (Rc::clone(&at), Rc::clone(&most));
    let fill = move |connection: &Connection| {
        loop {
            if place.get() == TOTAL {
                return connection.close_after_flush(SOON);
            }
            let answer = connection.send(&pattern(place.get(), PIECE));
            place.set(place.get() + PIECE);
            highest.set(highest.get().max(connection.queued()));
            if answer == Sent::AboveHigh {
                return;
            }
            assert_eq!(answer, Sent::Accepted);
        }
    };
    let fill = Rc::new(fill);
    let again = Rc::clone(&fill);
    let script = Script::new(&told).on_opened(move |connection| fill(connection));
    let (_connection, mut peer) = narrow(&io, script.on_drained(move |connection| again(connection)))?;
    let reader = std::thread::spawn(move || {
        let (mut at, mut chunk) = (0, vec![0; 100_000]);
        loop {
            let n = peer.read(&mut chunk).expect("a read");
            if n == 0 {
                return at;
            }
            assert!(chunk[..n] == pattern(at, n), "at {at}");
            at += n;
        }
    });
    finish(&mut io);
    assert_eq!(reader.join().expect("no panic"), TOTAL);
    assert!(most.get() <= 64 * 1024 + PIECE, "at most one piece above the watermark: {}", most.get());
    assert_eq!(at.get(), TOTAL);
    Ok(())
}

// Limits.

/// P28: past the hard limit the connection ends, with its own reason; up to it, not.
#[test]
fn the_hard_limit_ends_a_sender_that_does_not_heed() {
    for own in [false, true] {
        for shared in [false, true] {
            let (told, answers) = (Record::new(), Record::new());
            let seen = answers.clone();
            let flood = move |connection: &Connection| {
                for _ in 0..5 {
                    seen.push(match shared {
                        true => connection.send_shared(&Rc::from(&[7; 250][..])),
                        false => connection.send(&[7; 250]),
                    });
                }
            };
            let flood = Rc::new(flood);
            let act = Rc::clone(&flood);
            let peer = Harness::new(Script::new(&told).on_notified(move |connection| act(connection)));
            peer.connection().set_watermarks(100, 200);
            peer.connection().set_write_limit(1000);
            peer.peer_stalls();
            match own {
                true => peer.connection().notify(),
                false => flood(peer.connection()),
            }
            peer.settle();
            assert_eq!(answers.take(), [[Sent::AboveHigh; 4].as_slice(), &[Sent::Gone]].concat(), "{own} {shared}");
            let told = told.take();
            assert_eq!(told[told.len() - 2..], ["closed WriteLimit", "dropped"]);
        }
    }
}

/// P28: a broadcast to many peers that never read is held in memory once; the receivers that do read get all.
/// Method: whoever holds the shared slice is counted.
#[test]
fn a_broadcast_is_not_copied_and_cuts_off_who_does_not_read() -> io::Result<()> {
    const PEERS: usize = 200;
    const MESSAGE: usize = 100_000;
    let mut io = IoContext::with_config(Config::new().write_limit(5 * MESSAGE))?;
    util::watch(&io);
    let told = Record::new();
    let mut members = Vec::new();
    for _ in 0..PEERS {
        members.push(narrow(&io, Script::new(&told))?);
    }
    while io.poll()? > 0 {}
    assert_eq!(told.take().len(), PEERS);
    let message: Rc<[u8]> = pattern(0, MESSAGE).into();
    for _ in 0..5 {
        for (member, _) in &members {
            assert_ne!(member.send_shared(&message), Sent::Gone);
        }
    }
    assert_eq!(Rc::strong_count(&message), 1 + 5 * PEERS, "queued, not copied");
    assert!(members.iter().all(|(member, _)| member.queued() == 5 * MESSAGE));
    io.poll()?;
    // One reads, the others do not.
    let (reads, mut reader) = members.pop().expect("one");
    reader.set_nonblocking(true)?;
    let (mut got, mut chunk) = (0, vec![0; 200_000]);
    poll_until(&mut io, || {
        while let Ok(n) = reader.read(&mut chunk) {
            got += n;
        }
        got == 5 * MESSAGE
    });
    for _ in 0..5 {
        for (member, _) in &members {
            member.send_shared(&message);
        }
        io.poll()?;
    }
    while io.poll()? > 0 {}
    let ends = told.take();
    assert_eq!(ends.iter().filter(|line| *line == "closed WriteLimit").count(), PEERS - 1);
    assert_eq!(Rc::strong_count(&message), 1, "nothing is held for those who are gone");
    assert_eq!(reads.send(b"still here"), Sent::Accepted);
    Ok(())
}

/// Lets this process have so many descriptors more than most tests need.
fn allow_descriptors(count: u64) -> io::Result<()> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let maximum = getrlimit(Resource::Nofile).maximum;
    let current = Some(maximum.map_or(count, |maximum| count.min(maximum)));
    Ok(setrlimit(Resource::Nofile, Rlimit { current, maximum })?)
}

/// P28: a thousand peers that send, and never read what is sent back, take bounded memory: each connection stops
/// reading above its watermark.
#[test]
fn peers_that_never_read_take_bounded_memory() -> io::Result<()> {
    const PEERS: usize = 1000; // Two descriptors each.
    allow_descriptors(4096)?;
    const QUEUE: usize = 20_000;
    let mut io = IoContext::with_config(Config::new().watermarks(1000, QUEUE).read_buffer(4096))?;
    util::watch(&io);
    let told = Record::new();
    let mut connections = Vec::new();
    for _ in 0..PEERS {
        let (socket, peer) = net::connection(&io)?;
        net::narrow(&socket, &peer)?;
        peer.set_nonblocking(true)?;
        let echo = Script::echo(&told);
        connections.push((session::adopt(socket, echo)?, peer));
    }
    let flood = pattern(0, 100_000);
    let mut quiet = 0;
    while quiet < 3 {
        let mut sent = 0;
        for (_, peer) in &mut connections {
            match peer.write(&flood) {
                Ok(n) => sent += n,
                Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
            }
        }
        let ran = io.poll()?;
        quiet = if sent == 0 && ran == 0 { quiet + 1 } else { 0 };
    }
    let queued: Vec<usize> = connections.iter().map(|(connection, _)| connection.queued()).collect();
    assert!(queued.iter().all(|queued| *queued <= QUEUE + 4096), "{queued:?}");
    assert!(queued.iter().all(|queued| *queued > QUEUE), "reading pauses only above the watermark: {queued:?}");
    assert!(connections.iter().all(|(connection, _)| connection.is_open()));
    Ok(())
}

/// P28: many small shared slices do not cost more than they weigh: they are put together.
#[test]
fn small_shared_slices_are_put_together() {
    let told = Record::new();
    let peer = Harness::new(Script::new(&told));
    peer.peer_stalls();
    let byte: Rc<[u8]> = Rc::from(&b"x"[..]);
    (0..1000).for_each(|_| assert_eq!(peer.connection().send_shared(&byte), Sent::Accepted));
    assert_eq!((peer.connection().queued(), Rc::strong_count(&byte)), (1000, 1));
    peer.peer_resumes();
    assert_eq!(peer.sent(), [b'x'; 1000]);
}

// Order.

/// P19: bytes never interleave or change places, whoever sends them and however, with a reader that is slow; nothing is
/// lost and nothing doubled.
#[test]
fn bytes_keep_their_order_however_they_are_sent() -> io::Result<()> {
    for seed in 1..=4 {
        let mut io = IoContext::with_config(Config::new().watermarks(10_000, 40_000))?;
        util::watch(&io);
        let mut random = Random(seed);
        let (told, expected) = (Record::new(), Rc::new(RefCell::new(Vec::new())));
        let rng = Rc::new(RefCell::new(Random(seed + 100)));
        let sender = {
            let (expected, random) = (Rc::clone(&expected), Rc::clone(&rng));
            move |connection: &Connection| {
                send_something(connection, &mut random.borrow_mut(), &mut expected.borrow_mut())
            }
        };
        let sender = Rc::new(sender);
        let own = Rc::clone(&sender);
        let script = Script::new(&told).on_notified(move |connection| (0..4).for_each(|_| own(connection)));
        let (connection, mut peer) = narrow(&io, script)?;
        peer.set_nonblocking(true)?;
        let (mut got, mut chunk) = (Vec::new(), vec![0; 70_000]);
        for _ in 0..300 {
            match random.below(4) {
                0 => connection.notify(),
                1 => sender(&connection),
                2 => drop(io.poll()?),
                _ => {
                    let size = random.below(chunk.len()) + 1;
                    match peer.read(&mut chunk[..size]) {
                        Ok(n) => got.extend_from_slice(&chunk[..n]),
                        Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
                    }
                }
            }
        }
        connection.as_ref().post(|| {});
        while io.poll()? > 0 {}
        connection.shutdown_send();
        let mut ended = false;
        poll_until(&mut io, || {
            loop {
                match peer.read(&mut chunk) {
                    Ok(0) => ended = true,
                    Ok(n) => {
                        got.extend_from_slice(&chunk[..n]);
                        continue;
                    }
                    Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
                }
                return ended;
            }
        });
        let expected = expected.borrow();
        let differs = got.iter().zip(expected.iter()).position(|(a, b)| a != b);
        assert!(expected.len() > 500_000 && differs.is_none(), "seed {seed}: differs at {differs:?}");
        assert_eq!(got.len(), expected.len(), "seed {seed}");
    }
    Ok(())
}

/// Sends a random amount in a random way.
fn send_something(connection: &Connection, random: &mut Random, expected: &mut Vec<u8>) {
    let size = match random.below(4) {
        0 => random.below(3),
        1 => random.below(2_000),
        2 => random.below(20_000),
        _ => 16_384 + random.below(60_000),
    };
    let bytes = pattern(expected.len(), size);
    let answer = match random.below(4) {
        0 => connection.send_shared(&Rc::from(&bytes[..])),
        1 => {
            let cut = size / (random.below(20) + 1) + 1;
            let parts: Vec<IoSlice<'_>> = bytes.chunks(cut).map(IoSlice::new).collect();
            connection.send_vectored(&parts)
        }
        _ => connection.send(&bytes),
    };
    assert_ne!(answer, Sent::Gone);
    expected.extend_from_slice(&bytes);
}

/// A small generator, so that a failure can be repeated.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % limit
    }
}

/// P19: any number of slices, more than one system call takes, from outside and from a method.
#[test]
fn any_number_of_slices_can_be_sent() -> io::Result<()> {
    for own in [false, true] {
        for (slices, size) in [(0, 0), (1, 0), (3, 5), (20, 1000), (1025, 16), (5000, 10), (3000, 100)] {
            let mut io = context();
            let told = Record::new();
            let bytes = pattern(0, slices * size);
            let sent = bytes.clone();
            let act = move |connection: &Connection| {
                let parts: Vec<IoSlice<'_>> = match size {
                    0 => vec![IoSlice::new(&[]); slices],
                    size => sent.chunks(size).map(IoSlice::new).collect(),
                };
                assert_ne!(connection.send_vectored(&parts), Sent::Gone);
                connection.send(b">");
                connection.close_after_flush(SOON);
            };
            let act = Rc::new(act);
            let method = Rc::clone(&act);
            let (connection, mut peer) = adopted(&io, Script::new(&told).on_notified(move |link| method(link)))?;
            run_until(&mut io, || told.len() == 1);
            while io.poll()? > 0 {}
            if own {
                connection.notify()
            } else {
                act(&connection)
            }
            let mut got = Vec::new();
            peer.set_nonblocking(true)?;
            poll_until(&mut io, || peer.read_to_end(&mut got).is_ok());
            drop(peer);
            finish(&mut io);
            assert!(got == [&bytes[..], b">"].concat(), "{slices} slices of {size}, own: {own}");
            assert!(told.take().contains(&"closed Finished".into()));
        }
    }
    Ok(())
}

/// P19: what one session sends to another, and timers, posted tasks and channels do, leaves without waiting for
/// anything else, in the order of the calls.
#[test]
fn what_is_sent_from_elsewhere_leaves_at_once() -> io::Result<()> {
    let mut io = context();
    let told = Record::new();
    let (target, mut peer) = adopted(&io, Script::new(&told))?;
    let other = target.clone();
    let (source, mut other_peer) = adopted(
        &io,
        Script::new(&told).on_received(move |_, bytes| {
            other.send(bytes);
            bytes.len()
        }),
    )?;
    run_until(&mut io, || told.len() == 2);
    let mut expect = |io: &mut IoContext, text: &str| -> io::Result<()> {
        // Each step sleeps at most once, for what starts it; the loop must be done with it then.
        while io.next_timeout() == Some(Duration::ZERO) {
            io.poll()?;
        }
        net::wait_readable(&peer)?;
        let mut bytes = vec![0; text.len()];
        peer.read_exact(&mut bytes)?;
        assert_eq!(String::from_utf8_lossy(&bytes), text);
        Ok(())
    };
    let by = |target: &Connection, text: &'static str| {
        let target = target.clone();
        move || assert_eq!(target.send(text.as_bytes()), Sent::Accepted)
    };
    io.post(by(&target, "posted"));
    io.run_one()?;
    expect(&mut io, "posted")?;
    let timer = by(&target, "timer");
    io.after(Duration::from_millis(1), move |_| timer());
    io.run_one()?;
    expect(&mut io, "timer")?;
    let channel = by(&target, "message");
    let sender = io.channel(move |()| channel());
    sender.send(()).expect("the context is there");
    io.run_one()?;
    expect(&mut io, "message")?;
    other_peer.write_all(b"from another")?;
    io.run_one()?;
    expect(&mut io, "from another")?;
    target.send(b"from outside");
    expect(&mut io, "from outside")?;
    target.abort();
    source.abort();
    finish(&mut io);
    Ok(())
}

/// P19: a peer that reads byte by byte gets what was sent.
#[test]
fn a_reader_of_single_bytes_gets_everything() {
    let told = Record::new();
    let peer = Harness::new(Script::echo(&told));
    peer.peer_stalls();
    let text = pattern(0, 3000);
    peer.receive_bytewise(&text[..1500]);
    peer.connection().send_shared(&Rc::from(&text[1500..]));
    let mut got = Vec::new();
    while got.len() < text.len() {
        peer.peer_takes(1);
        got.extend(peer.sent());
    }
    assert!(got == text);
    assert_eq!(peer.connection().queued(), 0);
}

/// P28: a server whose clients stop reading answers the others.
#[test]
fn a_slow_reader_keeps_nobody_waiting() -> io::Result<()> {
    let mut io = context();
    let told = Record::new();
    let acceptor = ioctx::ip::tcp::Acceptor::listen_on(&io, anywhere())?;
    let endpoint = acceptor.local_endpoint()?;
    let log = told.clone();
    let server = session::serve(acceptor, move |_| Script::echo(&log))?;
    let mut slow = TcpStream::connect(endpoint)?;
    slow.set_nonblocking(true)?;
    let flood = vec![7; 1 << 20];
    let mut stuck = 0;
    while stuck < 10 {
        match slow.write(&flood) {
            Ok(_) => stuck = 0,
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::WouldBlock);
                stuck += 1;
            }
        }
        io.poll()?;
    }
    told.take();
    let mut quick = TcpStream::connect(endpoint)?;
    quick.write_all(b"hello")?;
    run_until(&mut io, || told.take().contains(&"received hello".into()));
    let mut answer = [0; 5];
    quick.read_exact(&mut answer)?;
    assert_eq!(&answer, b"hello");
    assert!(server.stats().bytes_sent < server.stats().bytes_received);
    Ok(())
}

/// P28, P27: `drained` is told before the rest is shown again, also when it is due twice in one dispatch.
#[test]
fn the_rest_is_not_shown_before_drained_however_fast_the_peer_takes() {
    const BLOCKS: usize = 40;
    struct Sender {
        left: usize,
        sending: bool,
    }
    impl Sender {
        fn send(&mut self, connection: &Connection) {
            let mut sent = Sent::Accepted;
            while self.left > 0 && sent == Sent::Accepted {
                sent = connection.send_shared(&Rc::from(&[b'.'; 50_000][..]));
                self.left -= 1;
            }
            self.sending = sent != Sent::Accepted;
        }
    }
    impl Session for Sender {
        fn received(&mut self, connection: &Connection, bytes: &[u8]) -> usize {
            match bytes.first() {
                Some(b'a') => self.send(connection),
                _ if self.sending => return 0,
                _ => assert_eq!(connection.send(b"!"), Sent::Accepted),
            }
            1
        }

        fn drained(&mut self, connection: &Connection) {
            self.send(connection);
        }
    }
    let peer = Harness::new(Sender { left: BLOCKS, sending: false });
    peer.peer_stalls();
    peer.receive(b"a");
    peer.receive(b"b");
    peer.peer_resumes();
    let sent = peer.sent();
    assert_eq!((sent.len(), sent.last()), (BLOCKS * 50_000 + 1, Some(&b'!')));
}
