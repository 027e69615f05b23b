//! Nobody starves: every step of a turn is bounded, and so is every dispatch.

mod net;
mod util;

use ioctx::ip::tcp;
use ioctx::mio::net::{TcpListener, UnixStream};
use ioctx::{Config, Handle, Interest, Io, IoContext, Next};
use std::cell::{Cell, RefCell};
use std::io::{self, ErrorKind, Write};
use std::rc::Rc;
use std::time::Duration;
use util::{Record, context, unix_pair};

type Counters = [(&'static str, Rc<Cell<usize>>); 5];

fn count_up(counter: &Rc<Cell<usize>>) {
    counter.set(counter.get() + 1);
}

/// A context with a counter for each kind of work that never ends: a task that posts itself, a wait of no length that
/// starts itself again, a repetition of no length, a source that is always readable, a message that sends itself.
fn storms(io: &Handle) -> io::Result<(Counters, std::os::unix::net::UnixStream)> {
    fn post(io: &Handle, posted: Rc<Cell<usize>>) {
        let handle = io.clone();
        io.post(move || {
            count_up(&posted);
            post(&handle, posted);
        });
    }
    fn wait(io: &Handle, waited: Rc<Cell<usize>>) {
        let handle = io.clone();
        io.after(Duration::ZERO, move |_| {
            count_up(&waited);
            wait(&handle, waited);
        });
    }
    let counters = ["post", "wait", "tick", "flood", "message"].map(|name| (name, Rc::new(Cell::new(0))));
    let counter = |n: usize| counters[n].1.clone();
    post(io, counter(0));
    wait(io, counter(1));
    let ticks = counter(2);
    io.every(Duration::ZERO, move || count_up(&ticks));
    let (ours, mut theirs) = unix_pair();
    theirs.write_all(b"never read")?;
    let calls = counter(3);
    io.register(ours, Interest::READABLE, move |_, _| {
        count_up(&calls);
        Next::Keep
    })?;
    let slot = Rc::new(std::cell::OnceCell::<ioctx::Sender<()>>::new());
    let (own, messages) = (Rc::downgrade(&slot), counter(4));
    let sender = io.channel(move |()| {
        count_up(&messages);
        if let Some(sender) = own.upgrade().as_ref().and_then(|slot| slot.get()) {
            sender.send(()).expect("the context is there");
        }
    });
    sender.send(()).expect("the context is there");
    assert!(slot.set(sender).is_ok());
    io.after(Duration::from_secs(3600), move |_| drop(slot));
    Ok((counters, theirs))
}

/// P35: with storms of every kind together, each advances by exactly one in every turn.
#[test]
fn every_storm_advances_in_every_turn() -> io::Result<()> {
    let mut io = context();
    let (counters, _peer) = storms(&io)?;
    for turn in 1..=100 {
        assert_eq!(io.poll()?, counters.len(), "turn {turn}");
        for (name, counter) in &counters {
            assert_eq!(counter.get(), turn, "{name} in turn {turn}");
        }
    }
    Ok(())
}

/// P35: the same when the turns are made by `run_for` and by one handler at a time.
#[test]
fn no_storm_starves_another_however_the_loop_is_run() -> io::Result<()> {
    let mut io = context();
    let (counters, _peer) = storms(&io)?;
    for _ in 0..100 * counters.len() {
        assert_eq!(io.run_one()?, 1);
    }
    let ran = io.run_for(Duration::from_millis(20))?;
    assert!(ran > 0);
    let counts = counters.map(|(_, counter)| counter.get());
    let (least, most) = (counts.iter().min(), counts.iter().max());
    assert!(least >= Some(&100) && most <= least.map(|n| n + 1).as_ref(), "{counts:?}");
    Ok(())
}

/// P35, P9: tasks of other threads get in while storms rage.
#[test]
fn a_remote_task_gets_in_between_storms() -> io::Result<()> {
    let mut io = context();
    let (_counters, _peer) = storms(&io)?;
    let remote = io.remote();
    let thread = std::thread::spawn(move || remote.post(|io| io.stop()).expect("the context is there"));
    io.run()?;
    thread.join().expect("no panic");
    assert!(io.stopped());
    Ok(())
}

/// P30: one dispatch stays within the read budget; the rest is kept, and comes in later turns without a new event.
#[test]
fn a_dispatch_stays_within_the_read_budget_and_loses_nothing() -> io::Result<()> {
    const BYTES: usize = 1000;
    let mut io = IoContext::with_config(Config::new().read_budget(16, 1 << 20))?;
    util::watch(&io);
    let (ours, mut theirs) = unix_pair();
    theirs.write_all(&[7; BYTES])?;
    let reads = Record::new();
    let seen = reads.clone();
    io.register(ours, Interest::READABLE, move |stream, _| {
        let mut byte = [0];
        let n = (0..).take_while(|_| stream.read(&mut byte).is_ok_and(|n| n == 1)).count();
        seen.push(n);
        Next::Keep
    })?;
    let mut read = 0;
    while read < BYTES {
        assert_eq!(io.poll()?, 1, "stalled after {read}");
        let reads = reads.take();
        assert_eq!(reads, [16.min(BYTES - read)]);
        read += reads[0];
    }
    Ok(())
}

/// P30: the budget counts bytes, too.
#[test]
fn a_dispatch_stays_within_the_byte_budget() -> io::Result<()> {
    let mut io = IoContext::with_config(Config::new().read_budget(usize::MAX, 100))?;
    util::watch(&io);
    let (ours, mut theirs) = unix_pair();
    theirs.write_all(&[7; 400])?;
    let seen = Rc::new(Cell::new(0));
    let bytes = seen.clone();
    io.register(ours, Interest::READABLE, move |stream, _| {
        let mut chunk = [0; 40];
        while let Ok(n) = stream.read(&mut chunk) {
            bytes.set(bytes.get() + n);
        }
        Next::Keep
    })?;
    assert_eq!(io.poll()?, 1);
    assert_eq!(seen.get(), 120, "the read that spends the budget is the last");
    while seen.get() < 400 {
        assert_eq!(io.poll()?, 1);
    }
    Ok(())
}

/// P30: writes have a budget of their own, and what was kept back goes out in later turns.
#[test]
fn a_dispatch_stays_within_the_write_budget() -> io::Result<()> {
    let mut io = IoContext::with_config(Config::new().read_budget(3, 1 << 20))?;
    util::watch(&io);
    let (ours, _theirs) = unix_pair();
    let written = Record::new();
    let seen = written.clone();
    io.register(ours, Interest::WRITABLE, move |stream, _| {
        seen.push((0..).take_while(|_| stream.write(b"x").is_ok()).count());
        Next::Keep
    })?;
    assert_eq!(io.poll()? + io.poll()?, 2);
    assert_eq!(written.take(), [3, 3]);
    Ok(())
}

/// P30: a read that has shown that there is no more is not counted: it was the last in any case. So an answer fits into
/// the smallest budget.
#[test]
#[cfg(not(mio_unsupported_force_poll_poll))] // There, a short read shows nothing.
fn a_read_that_empties_a_socket_costs_nothing() -> io::Result<()> {
    let mut io = IoContext::with_config(Config::new().read_budget(1, 1))?;
    util::watch(&io);
    let (ours, mut theirs) = util::tcp_pair();
    theirs.write_all(b"three")?;
    let outcomes = Record::new();
    let seen = outcomes.clone();
    io.register(ours, Interest::READABLE, move |stream, _| {
        let mut bytes = [0; 16];
        let kind = |error: io::Error| error.kind();
        seen.push(stream.read(&mut bytes).map_err(kind));
        seen.push(stream.write(b"yes").map_err(kind));
        seen.push(stream.write(b"no").map_err(kind));
        Next::Release
    })?;
    assert_eq!(io.run()?, 1);
    assert_eq!(
        outcomes.take(),
        [Ok(5), Ok(3), Err(ErrorKind::WouldBlock)],
        "a write after which there is room is counted"
    );
    Ok(())
}

/// P30: nor is a write that has filled the socket.
#[test]
#[cfg(not(mio_unsupported_force_poll_poll))] // There, a short write shows nothing.
fn a_write_that_fills_a_socket_costs_nothing() -> io::Result<()> {
    let mut io = IoContext::with_config(Config::new().read_budget(1, 1))?;
    util::watch(&io);
    let (ours, mut theirs) = util::tcp_pair();
    theirs.write_all(b"x")?;
    let outcomes = Record::new();
    let seen = outcomes.clone();
    let much = vec![0; 64 << 20];
    io.register(ours, Interest::READABLE, move |stream, _| {
        let was_short = stream.write(&much).is_ok_and(|n| n < much.len());
        seen.push((was_short, stream.read(&mut [0; 16]).ok()));
        Next::Release
    })?;
    assert_eq!(io.run()?, 1);
    assert_eq!(outcomes.take(), [(true, Some(1))]);
    Ok(())
}

/// P30: reads at the end of a stream are counted, because it is shown to whoever asks anew.
#[test]
fn the_end_of_a_stream_is_not_read_for_ever_in_one_dispatch() -> io::Result<()> {
    const READS: usize = 100;
    fn read_on(socket: &tcp::Socket, reads: &Rc<Cell<usize>>) {
        let (same, counted) = (socket.clone(), reads.clone());
        socket.async_read_some([0; 16], move |(read, _)| {
            assert_eq!(read.map_err(|error| error.kind()), Ok(0));
            counted.set(counted.get() + 1);
            if counted.get() < READS {
                read_on(&same, &counted);
            }
        });
    }
    let config = Config::new().read_budget(16, 1 << 20).handlers_per_dispatch(usize::MAX);
    let mut io = IoContext::with_config(config)?;
    util::watch(&io);
    let (socket, theirs) = net::connection(&io)?;
    drop(theirs);
    let reads = Rc::new(Cell::new(0));
    read_on(&socket, &reads);
    while reads.get() < READS {
        let before = reads.get();
        io.poll()?;
        assert!(reads.get() - before <= 16, "{} in one dispatch", reads.get() - before);
    }
    Ok(())
}

/// P30: a flood of connections is taken in by the accept budget, the rest in later turns with no new connection.
#[test]
fn a_dispatch_stays_within_the_accept_budget_and_leaves_nobody_waiting() -> io::Result<()> {
    const CLIENTS: usize = 20;
    let mut io = IoContext::with_config(Config::new().accept_budget(3))?;
    util::watch(&io);
    let listener = TcpListener::bind(([127, 0, 0, 1], 0).into())?;
    let address = listener.local_addr()?;
    let clients: Vec<_> = (0..CLIENTS).map(|_| std::net::TcpStream::connect(address)).collect::<Result<_, _>>()?;
    let accepted = Record::new();
    let seen = accepted.clone();
    io.register(listener, Interest::READABLE, move |listener, _| {
        let mut n = 0;
        loop {
            match listener.try_io(Interest::READABLE, |listener| listener.accept()) {
                Ok(_) => n += 1,
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::WouldBlock);
                    break;
                }
            }
        }
        seen.push(n);
        Next::Keep
    })?;
    let mut served = 0;
    while served < CLIENTS {
        assert_eq!(io.run_one()?, 1);
        let n = accepted.take()[0];
        assert_eq!(n, 3.min(CLIENTS - served));
        served += n;
    }
    drop(clients);
    Ok(())
}

/// P30: between two dispatches of one source every other ready one has had its turn, also with an event batch of one.
#[test]
fn ready_sources_take_turns() -> io::Result<()> {
    const SOURCES: usize = 10;
    for batch in [1, 3, 1024] {
        let mut io = IoContext::with_config(Config::new().event_batch(batch))?;
        util::watch(&io);
        let order = Record::new();
        let mut peers = Vec::new();
        for n in 0..SOURCES {
            let (ours, mut theirs) = unix_pair();
            theirs.write_all(b"three")?;
            peers.push(theirs);
            let (order, mut calls) = (order.clone(), 0);
            io.register(ours, Interest::READABLE, move |_: &Io<UnixStream>, _| {
                order.push(n);
                calls += 1;
                if calls == 5 { Next::Release } else { Next::Keep }
            })?;
        }
        let mut calls = [0; SOURCES];
        while !io.stopped() {
            io.poll()?;
            let called = order.take();
            for (n, calls) in calls.iter_mut().enumerate() {
                let times = called.iter().filter(|other| **other == n).count();
                assert!(times <= 1, "{n} was called {times} times in one turn");
                assert!(times == 1 || *calls == 0 || *calls == 5, "{n} was passed over");
                *calls += times;
            }
        }
        assert_eq!(calls, [5; SOURCES]);
    }
    Ok(())
}

/// P35: more ready sources than the batch holds are all served, with no sleep in between.
#[test]
fn more_ready_sources_than_a_batch_holds_are_all_served() -> io::Result<()> {
    const SOURCES: usize = 300;
    let mut io = IoContext::with_config(Config::new().event_batch(7))?;
    util::watch(&io);
    let mut peers = Vec::new();
    for _ in 0..SOURCES {
        let (ours, mut theirs) = unix_pair();
        theirs.write_all(b"x")?;
        peers.push(theirs);
        io.register(ours, Interest::READABLE, |_, _| Next::Release)?;
    }
    assert_eq!(io.poll_for(Duration::from_secs(60))?, SOURCES);
    Ok(())
}

/// P35: two callbacks that wake each other for ever do not keep the turn from its end.
#[test]
fn callbacks_that_wake_each_other_do_not_hold_the_turn() -> io::Result<()> {
    type Pair = [Option<ioctx::Registration<UnixStream>>; 2];
    let mut io = context();
    let pair = Rc::new(RefCell::new(Pair::default()));
    let mut peers = Vec::new();
    for n in 0..2 {
        let (ours, mut theirs) = unix_pair();
        theirs.write_all(b"never read")?;
        peers.push(theirs);
        let both = pair.clone();
        let registration = io.register(ours, Interest::READABLE, move |_, _| {
            let other = &both.borrow()[1 - n];
            other.as_ref().expect("registered").set_interest(Interest::READABLE).expect("registered");
            Next::Interest(Interest::NONE)
        })?;
        pair.borrow_mut()[n] = Some(registration);
    }
    let waited = Rc::new(Cell::new(false));
    let flag = waited.clone();
    io.after(Duration::ZERO, move |_| flag.set(true));
    assert!(io.poll()? <= 5);
    assert!(waited.get());
    for _ in 0..100 {
        assert!((1..=3).contains(&io.poll()?));
    }
    Ok(())
}
