//! What the loop tells: its trace and its warnings. The trace also shows when the loop woke up, and for what.
//!
//! Alone in its process, because of its logger. Every test runs on a thread of its own, and so do its lines.

mod util;

use ioctx::ip::tcp;
use ioctx::session::{self, Connection, Session};
use ioctx::{Config, Handle, Interest, IoContext, Next, Timer};
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io::{self, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::{Arc, Mutex, Once, mpsc};
use std::time::{Duration, Instant};
use util::{Record, drain, tcp_pair, unix_pair};

struct Collector;

thread_local! {
    static LINES: RefCell<Vec<(log::Level, String)>> = const { RefCell::new(Vec::new()) };
    /// Asked what is outstanding at every line, if there.
    static CURIOUS: RefCell<Option<Handle>> = const { RefCell::new(None) };
    /// Nobody listens.
    static DEAF: Cell<bool> = const { Cell::new(false) };
    /// The first line with this in it panics.
    static ALLERGIC: Cell<Option<&'static str>> = const { Cell::new(None) };
    /// Each line with "fired" or "started" in it calls the next of these.
    static MEDDLING: RefCell<VecDeque<Box<dyn FnOnce()>>> = const { RefCell::new(VecDeque::new()) };
}

impl log::Log for Collector {
    fn enabled(&self, metadata: &log::Metadata) -> bool {
        metadata.target().starts_with("ioctx") && !DEAF.get()
    }

    fn log(&self, record: &log::Record) {
        CURIOUS.with_borrow(|handle| handle.as_ref().map(|handle| handle.outstanding().to_string()));
        let line = record.args().to_string();
        if line.contains("fired") || line.contains("started") {
            let meddle = MEDDLING.with_borrow_mut(VecDeque::pop_front);
            meddle.into_iter().for_each(|meddle| meddle());
        }
        if let Some(what) = ALLERGIC.get().filter(|what| record.args().to_string().contains(what)) {
            ALLERGIC.set(None);
            panic!("{what}");
        }
        if self.enabled(record.metadata()) {
            LINES.with_borrow_mut(|lines| lines.push((record.level(), record.args().to_string())));
        }
    }

    fn flush(&self) {}
}

fn collect() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        log::set_logger(&Collector).expect("the only logger");
        log::set_max_level(log::LevelFilter::Trace);
    });
    LINES.take();
}

/// The lines since the last call, of this thread.
fn lines(level: log::Level) -> Vec<String> {
    LINES.take().into_iter().filter(|(l, _)| *l == level).map(|(_, line)| line).collect()
}

fn count(lines: &[String], what: &str) -> usize {
    lines.iter().filter(|line| line.contains(what)).count()
}

/// How many waits have ended.
fn waits(lines: &[String]) -> usize {
    count(lines, "| slept") + count(lines, "| spun")
}

/// P1: the loop sleeps without one wake-up while nothing is ready, whatever is outstanding.
/// Method: it tells each time that it goes to sleep; over a while with connections, guards and channels it does so
/// once.
#[test]
fn an_idle_loop_goes_to_sleep_once() -> io::Result<()> {
    collect();
    let mut io = IoContext::new()?;
    let _guards = (io.work_guard(), io.remote().work_guard());
    let _sender = io.channel(|_: u8| {});
    let mut peers = Vec::new();
    for interest in [Interest::READABLE, Interest::NONE, Interest::READABLE] {
        let (ours, theirs) = tcp_pair();
        io.register(ours, interest, |stream, _| {
            assert!(drain(stream).expect("a read").0.is_empty());
            Next::Keep
        })?;
        peers.push(theirs);
    }
    while io.poll_for(Duration::from_secs(60))? > 0 {} // The first edge of each: writable.
    io.poll()?;
    lines(log::Level::Trace);
    let (started, window) = (Instant::now(), Duration::from_millis(250));
    assert_eq!(io.run_for(window)?, 0);
    assert!(started.elapsed() >= window);
    let told = lines(log::Level::Trace);
    assert_eq!(waits(&told), 1, "{told:#?}");
    // The same without a deadline, until another thread ends it, a while after it has begun.
    let remote = io.remote();
    let (begin, has_begun) = mpsc::channel();
    let thread = std::thread::spawn(move || {
        has_begun.recv().expect("the loop");
        std::thread::sleep(window);
        remote.stop();
    });
    io.post(move || {
        lines(log::Level::Trace);
        begin.send(()).expect("the other thread");
    });
    assert_eq!(io.run()?, 1);
    thread.join().expect("no panic");
    let told = lines(log::Level::Trace);
    assert_eq!(waits(&told), 1, "{told:#?}");
    Ok(())
}

/// P1: a server and its idle connections, some with timeouts, with a rest, paused, or with peers that do not read: the
/// loop sleeps without one wake-up.
#[test]
fn idle_sessions_do_not_keep_the_loop_awake() -> io::Result<()> {
    struct Half;
    impl Session for Half {
        fn received(&mut self, _: &Connection, bytes: &[u8]) -> usize {
            bytes.len() / 2
        }
    }
    collect();
    let mut io = IoContext::new()?;
    let acceptor = tcp::Acceptor::listen_on(&io, (std::net::Ipv4Addr::LOCALHOST, 0).into())?;
    let endpoint = acceptor.local_endpoint()?;
    let server = session::serve(acceptor, |_| Half)?;
    server.set_max_connections(20);
    let mut peers: Vec<_> = (0..22).map(|_| std::net::TcpStream::connect(endpoint)).collect::<io::Result<_>>()?;
    for peer in &mut peers {
        peer.write_all(b"half of it is left")?;
    }
    let mut connections = Vec::new();
    for n in 0..3 {
        let (ours, mut theirs) = std_pair()?;
        let connection = session::adopt(tcp::Socket::from_std(&io, ours)?, Half)?;
        theirs.write_all(b"unread")?;
        match n {
            0 => connection.pause(),
            1 => connection.set_idle_timeout(Some(Duration::from_secs(3600))),
            _ => drop(format!("{:?}", connection.send(&vec![7; 15_000_000]))),
        }
        peers.push(theirs);
        connections.push(connection);
    }
    while server.stats().open < 20 {
        io.poll()?;
    }
    while io.poll_for(Duration::from_secs(60))? > 0 {}
    io.poll()?;
    assert!(connections[2].queued() > 0);
    // The kernel goes on taking a little of what is not read, with acknowledgements that it delays.
    let mut told = Vec::new();
    let is_quiet = |told: &Vec<String>| waits(told) == 1;
    for _ in 0..20 {
        lines(log::Level::Trace);
        assert_eq!(io.run_for(Duration::from_millis(250))?, 0);
        told = lines(log::Level::Trace);
        if is_quiet(&told) {
            break;
        }
    }
    assert!(is_quiet(&told), "{told:#?}");
    Ok(())
}

fn std_pair() -> io::Result<(std::net::TcpStream, std::net::TcpStream)> {
    let listener = std::net::TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, 0))?;
    let theirs = std::net::TcpStream::connect(listener.local_addr()?)?;
    Ok((listener.accept()?.0, theirs))
}

/// P26, P19: what a method sends leaves in one write, and a change of what a connection is watched for is no system
/// call: an echo, a pause and a resume make none beside the reads and writes.
#[test]
fn a_method_makes_one_write_however_many_sends() -> io::Result<()> {
    struct Pieces;
    impl Session for Pieces {
        fn received(&mut self, connection: &Connection, bytes: &[u8]) -> usize {
            connection.pause();
            for _ in 0..100 {
                connection.send(b"piece of a hundred");
            }
            connection.resume();
            bytes.len()
        }
    }
    collect();
    let mut io = IoContext::new()?;
    let (ours, mut theirs) = std_pair()?;
    session::adopt(tcp::Socket::from_std(&io, ours)?, Pieces)?;
    while io.poll_for(Duration::from_secs(60))? > 0 {}
    for _ in 0..5 {
        theirs.write_all(b"x")?;
        lines(log::Level::Trace);
        assert_eq!(io.run_one()?, 1);
        while io.poll()? > 0 {}
        let told = lines(log::Level::Trace);
        assert_eq!(count(&told, " wrote "), 1, "{told:#?}");
        assert_eq!(count(&told, "wrote 1800 of 1800 bytes"), 1, "{told:#?}");
    }
    Ok(())
}

/// P1: bytes that nobody asked for wake the loop once, not again and again.
#[test]
fn unread_bytes_do_not_keep_the_loop_awake() -> io::Result<()> {
    collect();
    let mut io = IoContext::new()?;
    let (ours, mut theirs) = tcp_pair();
    io.register(ours, Interest::NONE, |_, _| Next::Keep)?;
    io.poll()?;
    theirs.write_all(b"unexpected")?;
    socket2::SockRef::from(&theirs).send_out_of_band(b"!")?;
    drop(theirs);
    lines(log::Level::Trace);
    assert_eq!(io.run_for(Duration::from_millis(100))?, 0);
    let lines = lines(log::Level::Trace);
    // One for each change at most: bytes, urgent data, the end.
    assert!(waits(&lines) <= 4, "{lines:#?}");
    Ok(())
}

/// Section 1, one I/O path: under load a message over a Unix socket costs a session one read. The one that shows that
/// nothing is behind it is made when the poller has told of nothing, and once.
#[cfg(not(mio_unsupported_force_poll_poll))]
#[test]
fn a_short_read_of_a_unix_socket_is_looked_behind_when_the_loop_is_quiet() -> io::Result<()> {
    struct Reader;
    impl Session for Reader {
        fn received(&mut self, _: &Connection, bytes: &[u8]) -> usize {
            bytes.len()
        }
    }
    collect();
    let mut io = IoContext::new()?;
    let (ours, mut theirs) = std::os::unix::net::UnixStream::pair()?;
    session::adopt(ioctx::local::stream::Socket::from_std(&io, ours)?, Reader)?;
    while io.poll()? > 0 {}
    lines(log::Level::Trace);
    for _ in 0..10 {
        theirs.write_all(b"x")?;
        assert_eq!(io.poll()?, 1);
    }
    let under_load = lines(log::Level::Trace);
    assert_eq!(
        (count(&under_load, "token 0 read 1 of "), count(&under_load, "token 0 read ")),
        (10, 10),
        "{under_load:#?}"
    );
    assert_eq!(io.next_timeout(), Some(Duration::ZERO), "something is left to do");
    io.poll()?;
    assert_ne!(io.next_timeout(), Some(Duration::ZERO));
    io.poll()?;
    let quiet = lines(log::Level::Trace);
    assert_eq!((count(&quiet, "token 0 read nothing"), count(&quiet, "token 0 read ")), (1, 1), "{quiet:#?}");
    Ok(())
}

/// P26: a change of interest on a stream or a listener is no system call.
/// Method: being told anew what to watch for, an edge-triggered poller reports again what is already so.
#[test]
fn a_change_of_interest_on_a_stream_is_no_system_call() -> io::Result<()> {
    collect();
    let mut io = IoContext::new()?;
    let (tcp, mut tcp_peer) = tcp_pair();
    let (unix, mut unix_peer) = unix_pair();
    tcp_peer.write_all(b"x")?;
    unix_peer.write_all(b"x")?;
    let tcp = io.register(tcp, Interest::NONE, |_, _| Next::Interest(Interest::NONE))?;
    let unix = io.register(unix, Interest::NONE, |_, _| Next::Interest(Interest::NONE))?;
    while io.poll_for(Duration::from_secs(60))? > 0 {}
    for interest in [Interest::READABLE, Interest::WRITABLE, Interest::READABLE | Interest::WRITABLE, Interest::NONE] {
        lines(log::Level::Trace);
        tcp.set_interest(interest)?;
        unix.set_interest(interest)?;
        let expected = if interest == Interest::NONE { 0 } else { 2 };
        assert_eq!(io.poll()?, expected, "the readiness is remembered");
        io.poll()?;
        let lines = lines(log::Level::Trace);
        assert_eq!((count(&lines, "0 events"), count(&lines, " events")), (2, 2), "{lines:#?}");
    }
    Ok(())
}

/// Section 3: the lines of one turn carry its number and the steps in order, and name what ran by file and line.
#[test]
fn the_trace_tells_a_turn_step_by_step() -> io::Result<()> {
    collect();
    let mut io = IoContext::new()?;
    let (ours, mut theirs) = unix_pair();
    theirs.write_all(b"x")?;
    io.register(ours, Interest::READABLE, |_, _| Next::Release)?;
    io.after(Duration::ZERO, |_| {});
    io.remote().post(|_| {}).expect("the context is there");
    let line = line!() + 1;
    io.post(|| {});
    assert_eq!(io.run()?, 4);
    let lines = lines(log::Level::Trace);
    let turn: Vec<_> = lines.iter().filter(|line| line.starts_with("turn 1 | ")).collect();
    let steps: Vec<_> = turn.iter().filter_map(|line| line.split(" | ").nth(1)?.split(' ').next()).collect();
    assert!(steps.is_sorted(), "{turn:#?}");
    let expected = [
        " | 1 take posted        | remote post from ",
        " | 3 wait               | ",
        " | 4 read clock         | ",
        " | 5 dispatch readiness | token ",
        " | 6 complete timers    | run after from ",
        " | 7 run handlers       | run remote post from ",
        &format!(" | 7 run handlers       | run post from tests/trace.rs:{line}:"),
    ];
    for expected in expected {
        assert!(turn.iter().any(|line| line.contains(expected)), "no {expected:?} in {turn:#?}");
    }
    Ok(())
}

/// Section 2: a handler that takes longer than the threshold is named by file and line; the quick ones are not.
#[test]
fn a_slow_handler_is_named() -> io::Result<()> {
    collect();
    let mut io = IoContext::with_config(Config::new().slow_handler(Duration::from_millis(10)))?;
    let slow = || std::thread::sleep(Duration::from_millis(15)); // Takes its time.
    let (ours, _theirs) = unix_pair();
    let first = line!() + 1;
    io.post(slow);
    io.after(Duration::ZERO, move |_| slow());
    io.register(ours, Interest::WRITABLE, move |_, _| {
        slow();
        Next::Release
    })?;
    let socket = tcp::Socket::from_std(&io, std_pair()?.0)?;
    let second = line!() + 1;
    socket.async_write(b"x", move |_| slow());
    socket.async_read_some([0; 1], move |_| slow());
    socket.async_wait(tcp::Wait::Error, |_| {});
    io.after(Duration::ZERO, move |_| socket.close());
    assert_eq!(io.run()?, 7);
    let warnings = lines(log::Level::Warn);
    assert_eq!(warnings.len(), 5, "{warnings:#?}");
    let operations = [(second - first, "async_write"), (second - first + 1, "async_read_some")];
    for (n, kind) in [(0, "post"), (1, "after"), (2, "callback")].into_iter().chain(operations) {
        let place = format!("slow handler: {kind} from tests/trace.rs:{}:", first + n);
        assert_eq!(count(&warnings, &place), 1, "no {place} in {warnings:#?}");
    }
    let mut io = IoContext::with_config(Config::new().slow_handler(Duration::from_secs(600)))?;
    io.post(slow);
    io.run()?;
    assert!(lines(log::Level::Warn).is_empty());
    Ok(())
}

/// Section 2: a callback is timed in every call, by an event or because something was left over, together with the end of
/// its registration, if it asks for that; which it gets even if the logger does not survive the warning.
#[test]
fn every_call_of_a_callback_is_timed_with_what_it_asks_for() -> io::Result<()> {
    struct SlowToDrop;
    impl Drop for SlowToDrop {
        fn drop(&mut self) {
            std::thread::sleep(Duration::from_millis(15)); // Takes its time.
        }
    }
    collect();
    let mut io = IoContext::with_config(Config::new().slow_handler(Duration::from_millis(10)))?;
    let warnings = || count(&lines(log::Level::Warn), "slow handler: callback from tests/trace.rs:");
    let (ours, mut theirs) = tcp_pair();
    let (read, held) = (Rc::new(Cell::new(0)), SlowToDrop);
    let reads = read.clone();
    io.register(ours, Interest::READABLE, move |stream, _| {
        let _ = &held;
        reads.set(reads.get() + stream.read(&mut [0]).unwrap_or_default());
        match reads.get() {
            2 => std::thread::sleep(Duration::from_millis(15)), // Takes its time, too.
            3 => return Next::Release,
            _ => {}
        }
        Next::Keep
    })?;
    theirs.write_all(b"ab")?;
    while read.get() < 2 {
        assert_eq!(warnings(), 0);
        io.poll_one()?;
    }
    assert_eq!(warnings(), 1, "what was left over took long");
    theirs.write_all(b"c")?;
    ALLERGIC.set(Some("slow handler"));
    assert!(catch_unwind(AssertUnwindSafe(|| io.run())).is_err(), "the logger's panic");
    assert_eq!((ALLERGIC.take(), io.run()?), (None, 0), "the registration has ended");
    Ok(())
}

/// Section 2: a blocking call inside a handler is warned about, once; outside it is fine.
#[test]
fn a_blocking_call_inside_a_handler_is_warned_about_once() -> io::Result<()> {
    collect();
    let mut io = IoContext::new()?;
    let timer = Timer::new(&io);
    timer.wait()?;
    assert!(lines(log::Level::Warn).is_empty());
    let mut line = 0;
    for _ in 0..2 {
        let timer = timer.clone();
        line = line!() + 1;
        io.post(move || timer.wait().expect("the context is there"));
    }
    io.run()?;
    let warnings = lines(log::Level::Warn);
    assert_eq!(warnings.len(), 1, "{warnings:#?}");
    assert!(warnings[0].contains(&format!("tests/trace.rs:{line}:")), "{warnings:#?}");
    Ok(())
}

/// Section 3: a logger may ask the loop whatever it likes, whichever line it is told.
#[test]
fn a_logger_may_ask_what_is_outstanding() -> io::Result<()> {
    collect();
    let mut io = IoContext::new()?;
    CURIOUS.set(Some(io.handle().clone()));
    let (ours, mut theirs) = tcp_pair();
    let (stream, _peer) = unix_pair();
    io.post(|| {});
    io.after(Duration::ZERO, |_| {});
    io.remote().post(|_| {}).expect("the context is there");
    io.register(stream, Interest::WRITABLE, |_, _| Next::Release)?;
    let acceptor = tcp::Acceptor::listen_on(&io, (std::net::Ipv4Addr::LOCALHOST, 0).into())?;
    let client = tcp::Socket::new(&io);
    acceptor.async_accept(|accepted| drop(accepted.expect("a client")));
    client.async_connect(acceptor.local_endpoint()?, |connected| connected.expect("a connection"));
    io.register(ours, Interest::READABLE, |stream, _| {
        drain(stream).expect("a read");
        Next::Release
    })?;
    theirs.write_all(b"x")?;
    assert_eq!(io.run()?, 7);
    drop((acceptor, client));
    assert!(io.outstanding().is_empty());
    CURIOUS.take();
    assert!(lines(log::Level::Trace).len() > 10);
    Ok(())
}

/// P9, P34: a logger that panics while the loop takes what other threads posted loses none of it.
#[test]
fn a_panic_of_the_logger_loses_no_posted_task() -> io::Result<()> {
    collect();
    let mut io = IoContext::new()?;
    let (remote, ran) = (io.remote(), Arc::new(Mutex::new(Vec::new())));
    for n in 0..3 {
        let ran = Arc::clone(&ran);
        let posted = remote.post(move |_| ran.lock().expect("no panic").push(n));
        posted.expect("the context is there");
    }
    ALLERGIC.set(Some("remote post from"));
    assert!(catch_unwind(AssertUnwindSafe(|| io.run())).is_err(), "the logger's panic");
    assert_eq!(ALLERGIC.take(), None, "once");
    assert_eq!(io.run()?, 3);
    assert_eq!(*ran.lock().expect("no panic"), [0, 1, 2]);
    Ok(())
}

/// Registers a callback for two bytes that are there, of which it reads one in each call, and tells that it has.
fn read_one_at_a_time(io: &IoContext, mut has_read: impl FnMut() + 'static) -> io::Result<std::net::TcpStream> {
    let (ours, mut theirs) = tcp_pair();
    let _ = io
        .register(ours, Interest::READABLE, move |stream, _| {
            if stream.read(&mut [0]).is_ok_and(|n| n == 1) {
                has_read();
            }
            Next::Keep
        })?
        .background();
    theirs.write_all(b"ab")?;
    Ok(theirs)
}

/// Section 2: the trace tells of every call of a callback, by an event or because something was left over, and of no
/// call when there is none.
#[test]
fn the_trace_tells_of_every_call_of_a_callback() -> io::Result<()> {
    collect();
    let mut io = util::context();
    let (unread, _peer) = tcp_pair();
    let _ = io.register(unread, Interest::READABLE, |_, _| unreachable!("nothing was sent"))?.background();
    io.poll()?; // There is room to write.
    let lines_before = lines(log::Level::Trace);
    assert_eq!((count(&lines_before, " ready: writable"), count(&lines_before, "run callback")), (1, 0));

    let bytes = Rc::new(Cell::new(0));
    let counted = bytes.clone();
    let _theirs = read_one_at_a_time(&io, move || counted.set(counted.get() + 1))?;
    while bytes.get() < 2 {
        io.poll_one()?; // It leaves its turn early.
    }
    let lines = lines(log::Level::Trace);
    let told =
        ["run callback from tests/trace.rs:", " ready: read", "still ready: read"].map(|what| count(&lines, what));
    assert_eq!(told, [2, 2, 1], "{lines:#?}");
    Ok(())
}

/// P34: a logger that panics loses no event, and nothing that was left over.
#[test]
fn a_panicking_logger_loses_no_event() -> io::Result<()> {
    collect();
    // It panics when it is told of the batch or its event, or, after the first byte, of what was left over.
    let of_event = ["slept", "since the last reading", "ready: read", "run callback"].map(|what| (what, 0));
    let of_rest = ["still ready", "run callback"].map(|what| (what, 1));
    for (what, after) in of_event.into_iter().chain(of_rest) {
        let mut io = util::context();
        io.poll()?; // From here on the trace is known to be read.
        let bytes = Rc::new(Cell::new(0));
        let counted = bytes.clone();
        let _theirs = read_one_at_a_time(&io, move || {
            counted.set(counted.get() + 1);
            if counted.get() == after {
                ALLERGIC.set(Some(what));
            }
        })?;
        if after == 0 {
            ALLERGIC.set(Some(what));
        }
        let panics = (0..10).filter(|_| catch_unwind(AssertUnwindSafe(|| io.poll())).is_err()).count();
        assert_eq!((panics, ALLERGIC.take(), bytes.get()), (1, None, 2), "{what:?} after byte {after}");
    }
    Ok(())
}

/// P5: a logger that panics loses no handler, neither of a wait that is cancelled nor of one that fires.
#[test]
fn a_panicking_logger_loses_no_wait() -> io::Result<()> {
    collect();
    let mut io = util::context();
    io.post(|| {});
    io.run()?; // From here on the trace is known to be read.
    let told = Record::new();
    let (first, second) = (told.clone(), told.clone());
    let wait = io.after(Duration::from_secs(3600), move |waited| first.push(waited.is_ok()));
    ALLERGIC.set(Some("posted after"));
    assert!(catch_unwind(AssertUnwindSafe(|| io.cancel(wait))).is_err(), "the logger's panic");
    assert_eq!(io.run()?, 1);
    io.after(Duration::ZERO, move |waited| second.push(waited.is_ok()));
    ALLERGIC.set(Some("fired"));
    assert!(catch_unwind(AssertUnwindSafe(|| io.run())).is_err(), "the logger's panic");
    assert_eq!(io.run()?, 1);
    assert_eq!((ALLERGIC.take(), told.take()), (None, vec![false, true]));
    Ok(())
}

/// P11, P14: what a logger cancels, unsets or moves while it is told that it fires does not fire, and an alarm that
/// nobody has any more goes.
#[test]
fn a_logger_may_stop_what_fires() -> io::Result<()> {
    collect();
    let mut io = util::context();
    io.post(|| {});
    io.run()?; // From here on the trace is known to be read.
    let alive = Rc::new(());
    let alarm = || {
        let callback = alive.clone();
        let alarm = io.alarm(move || unreachable!("{callback:?} rang"));
        alarm.set(Duration::ZERO);
        alarm
    };
    let (unset, moved, dropped) = (alarm(), alarm(), alarm());
    let (held, later) = (unset.clone(), moved.clone());
    let repeated = io.every(Duration::ZERO, || unreachable!("repeated"));
    let cancelled = Record::new();
    let told = cancelled.clone();
    let wait = io.after(Duration::ZERO, move |waited| told.push(waited.is_err()));
    let (io_of_repeat, io_of_wait) = (io.handle().clone(), io.handle().clone());
    // In the order in which they fire: each is stopped when it is told.
    let stops: [Box<dyn FnOnce()>; 5] = [
        Box::new(move || assert!(unset.unset())),
        Box::new(move || moved.set(Duration::from_secs(3600))),
        Box::new(move || assert!(dropped.unset())),
        Box::new(move || _ = io_of_repeat.cancel(repeated)),
        Box::new(move || _ = io_of_wait.cancel(wait)),
    ];
    MEDDLING.set(stops.into());
    assert_eq!((io.poll()?, cancelled.take()), (1, vec![true]));
    assert!(MEDDLING.take().is_empty() && !held.is_set() && later.is_set());
    assert_eq!(Rc::strong_count(&alive), 3, "the one that was dropped has gone");
    Ok(())
}

/// P20: an operation whose object a logger closes while it is told that it starts ends, and harms nothing.
#[test]
fn a_logger_may_close_what_starts() -> io::Result<()> {
    collect();
    let mut io = IoContext::new()?;
    let (ours, _theirs) = std_pair()?;
    let socket = tcp::Socket::from_std(&io, ours)?;
    let told = Record::new();
    let start = |socket: &tcp::Socket| {
        let told = told.clone();
        socket.async_read_some([0; 8], move |(read, _)| told.push(read.map_err(|error| error.kind())));
    };
    let close_when_told = |socket: &tcp::Socket| {
        let closing = socket.clone();
        MEDDLING.with_borrow_mut(|meddling| meddling.push_back(Box::new(move || closing.close())));
    };
    close_when_told(&socket);
    start(&socket); // Its first one.
    assert_eq!((io.run()?, told.take()), (1, vec![Err(io::ErrorKind::NotConnected)]));

    let (ours, _theirs) = std_pair()?;
    let socket = tcp::Socket::from_std(&io, ours)?;
    io.restart();
    start(&socket);
    close_when_told(&socket);
    start(&socket);
    let ended = (io.run()?, told.take());
    assert_eq!(ended.0, 2);
    assert!(ended.1.iter().all(Result::is_err) && ended.1.contains(&Err(io::ErrorKind::NotConnected)), "{ended:?}");
    assert!(MEDDLING.take().is_empty());
    Ok(())
}

/// Section 2: each operation that starts is told, in a turn and outside, and what it transfers, too.
#[test]
fn the_start_and_the_transfers_of_an_operation_are_told() -> io::Result<()> {
    collect();
    let mut io = IoContext::new()?;
    let (ours, mut theirs) = std_pair()?;
    let socket = tcp::Socket::from_std(&io, ours)?;
    theirs.write_all(b"abc")?;
    socket.wait(tcp::Wait::Read)?;
    let writing = socket.clone();
    socket.async_read_some([0; 8], move |(read, _)| {
        assert_eq!(read.unwrap(), 3);
        writing.async_write(b"hello", |(wrote, _)| assert_eq!(wrote.unwrap(), 5));
        writing.async_write(b"again", |(wrote, _)| assert_eq!(wrote.unwrap(), 5));
    });
    assert_eq!(io.run()?, 3);
    let lines = lines(log::Level::Trace);
    let started = |what| count(&lines, &format!("started {what} on token"));
    assert_eq!((started("async_read_some"), started("async_write")), (1, 2), "{lines:#?}");
    assert_eq!((count(&lines, "read 3 of 8 bytes"), count(&lines, "wrote 5 of 5 bytes")), (1, 2), "{lines:#?}");
    Ok(())
}

/// P20: whether somebody listens changes nothing: operations that a buffer ends in their midst are aborted in the
/// same order.
#[test]
fn a_trace_changes_no_order() -> io::Result<()> {
    struct Closing(tcp::Socket, Cell<u32>);
    impl AsRef<[u8]> for Closing {
        fn as_ref(&self) -> &[u8] {
            self.1.set(self.1.get() + 1);
            if self.1.get() == 2 {
                self.0.close(); // It was asked for its size first.
            }
            b"x"
        }
    }
    collect();
    let order = |listened: bool| {
        let mut io = IoContext::new()?;
        let (ours, _theirs) = std_pair()?;
        let socket = tcp::Socket::from_std(&io, ours)?;
        let seen = Record::new();
        let (first, second, posted) = (seen.clone(), seen.clone(), seen.clone());
        socket.async_write(Closing(socket.clone(), Cell::new(0)), move |_| first.push("first"));
        socket.async_write(b"y", move |_| second.push("second"));
        io.post(move || posted.push("posted"));
        DEAF.set(!listened);
        let ran = io.run();
        DEAF.set(false);
        assert_eq!(ran?, 3);
        io::Result::Ok(seen.take())
    };
    let silent = order(false)?;
    assert_eq!(silent.len(), 3);
    assert_eq!(order(true)?, silent);
    Ok(())
}
