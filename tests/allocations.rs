//! Section 5, alone in its process, because it counts what the whole of it allocates: `harness = false`.

use ioctx::ip::tcp;
use ioctx::mio::net::TcpStream;
use ioctx::session::{self, Connection, Session};
use ioctx::{Interest, Io, IoContext, Next, Part};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use std::alloc::System;
use std::cell::Cell;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::rc::Rc;
use std::time::Duration;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const WARM_UP: usize = 100;
const MEASURED: usize = 1000;

/// Section 5: in the steady state a message costs no heap allocation, over operations, readiness and sessions; nor does a
/// timer or a post. And after a burst its memory goes back.
fn main() -> io::Result<()> {
    over_operations()?;
    over_readiness()?;
    over_sessions()?;
    over_timers_and_posts()?;
    after_bursts()?;
    println!("no allocation per message, and no memory kept after a burst");
    Ok(())
}

/// Sends and awaits one message after the other, and returns how often memory was asked for meanwhile.
fn allocations_of(io: &mut IoContext, peer: &mut std::net::TcpStream) -> io::Result<usize> {
    allocations_of_messages(io, peer, 64)
}

fn allocations_of_messages(io: &mut IoContext, peer: &mut std::net::TcpStream, size: usize) -> io::Result<usize> {
    let (message, mut answer) = (vec![7; size], vec![0; size]);
    let mut region = Region::new(ALLOCATOR);
    for n in 0..WARM_UP + MEASURED {
        if n == WARM_UP {
            region.reset();
        }
        answer.fill(0);
        let (mut put, mut got) = (0, 0);
        while got < answer.len() {
            put += moved(peer.write(&message[put..]))?;
            io.poll()?;
            got += moved(peer.read(&mut answer[got..]))?;
        }
        assert!(answer == message);
    }
    let change = region.change();
    Ok(change.allocations + change.reallocations)
}

fn moved(result: io::Result<usize>) -> io::Result<usize> {
    match result {
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(0),
        result => result,
    }
}

fn connection() -> io::Result<(std::net::TcpStream, std::net::TcpStream)> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let peer = std::net::TcpStream::connect(listener.local_addr()?)?;
    peer.set_nodelay(true)?;
    peer.set_nonblocking(true)?;
    Ok((listener.accept()?.0, peer))
}

fn over_operations() -> io::Result<()> {
    let mut io = IoContext::new()?;
    let (ours, mut peer) = connection()?;
    echo(tcp::Socket::from_std(&io, ours)?, vec![0; 4096]);
    assert_eq!(allocations_of(&mut io, &mut peer)?, 0, "over operations");
    Ok(())
}

fn echo(socket: tcp::Socket, buffer: Vec<u8>) {
    socket.clone().async_read_some(buffer, move |(read, buffer)| match read {
        Ok(0) | Err(_) => {}
        Ok(n) => {
            socket.clone().async_write(Part::to(buffer, n), move |(wrote, part)| {
                wrote.expect("a write");
                echo(socket, part.into_inner());
            });
        }
    });
}

fn over_readiness() -> io::Result<()> {
    let mut io = IoContext::new()?;
    let (ours, mut peer) = connection()?;
    ours.set_nonblocking(true)?;
    let ours = TcpStream::from_std(ours);
    let mut buffer = vec![0; 4096];
    io.register(ours, Interest::READABLE, move |stream: &Io<'_, TcpStream>, _| match stream.read(&mut buffer) {
        Ok(0) => Next::Release,
        Ok(n) => {
            assert_eq!(stream.write(&buffer[..n]).expect("room"), n);
            Next::Keep
        }
        Err(_) => Next::Keep,
    })?;
    assert_eq!(allocations_of(&mut io, &mut peer)?, 0, "over readiness");
    Ok(())
}

/// The largest messages are sent straight from the loop's read buffer, which the socket's buffers have room for.
fn over_sessions() -> io::Result<()> {
    struct Echo(Option<Duration>);
    impl Session for Echo {
        fn opened(&mut self, connection: &Connection) {
            connection.set_idle_timeout(self.0);
        }

        fn received(&mut self, connection: &Connection, bytes: &[u8]) -> usize {
            connection.send(bytes);
            bytes.len()
        }
    }
    /// Takes whole messages: what is left in between lives in memory that is used again.
    struct Whole(usize);
    impl Session for Whole {
        fn received(&mut self, connection: &Connection, bytes: &[u8]) -> usize {
            if bytes.len() < self.0 {
                return 0;
            }
            connection.send(&bytes[..1]);
            connection.send(&bytes[1..]);
            self.0
        }
    }
    for timeout in [None, Some(Duration::from_secs(3600))] {
        for size in [64, 4096, 65_536] {
            let mut io = IoContext::new()?;
            let (ours, mut peer) = connection()?;
            session::adopt(tcp::Socket::from_std(&io, ours)?, Echo(timeout))?;
            let allocations = allocations_of_messages(&mut io, &mut peer, size)?;
            assert_eq!(allocations, 0, "over sessions: {size} bytes, idle timeout {timeout:?}");
        }
    }
    let mut io = IoContext::new()?;
    let (ours, mut peer) = connection()?;
    session::adopt(tcp::Socket::from_std(&io, ours)?, Whole(64))?;
    let mut region = Region::new(ALLOCATOR);
    for n in 0..WARM_UP + MEASURED {
        if n == WARM_UP {
            region.reset();
        }
        let (mut answer, mut got) = ([0; 64], 0);
        for half in [&[7; 24][..], &[7; 40]] {
            peer.write_all(half)?;
            io.poll()?;
        }
        while got < answer.len() {
            io.poll()?;
            got += moved(peer.read(&mut answer[got..]))?;
        }
        assert_eq!(answer, [7; 64]);
    }
    let change = region.change();
    assert_eq!(change.allocations + change.reallocations, 0, "over sessions, in two pieces");
    Ok(())
}

/// A repetition costs nothing once it is armed, an alarm that is moved nothing, a wait and a post
/// from another thread nothing where there were as many, and neither does a handler that posts its successor.
fn over_timers_and_posts() -> io::Result<()> {
    let mut io = IoContext::new()?;
    let count = Rc::new(Cell::new(0));
    let ticks = Rc::clone(&count);
    let key = io.every(Duration::ZERO, move || ticks.set(ticks.get() + 1));
    let mut region = Region::new(ALLOCATOR);
    while count.get() < WARM_UP + MEASURED {
        if count.get() == WARM_UP {
            region.reset();
        }
        io.run_one()?;
    }
    let change = region.change();
    assert_eq!(change.allocations + change.reallocations, 0, "over a repetition");
    io.cancel(key);
    io.restart();
    fn chain(handle: ioctx::Handle, left: usize) {
        if left > 0 {
            handle.clone().post(move || chain(handle, left - 1));
        }
    }
    for is_warm in [false, true] {
        let region = Region::new(ALLOCATOR);
        chain(io.handle().clone(), MEASURED);
        assert_eq!(io.run()?, MEASURED);
        let change = region.change();
        assert!(!is_warm || change.allocations + change.reallocations == 0, "to post a successor: {change:?}");
    }
    let alarm = io.alarm(|| None);
    alarm.set(Duration::from_secs(3600));
    for is_warm in [false, true] {
        let region = Region::new(ALLOCATOR);
        for n in 0..MEASURED as u64 {
            alarm.set(Duration::from_secs(60 + n));
            assert!(n % 3 > 0 || alarm.unset());
        }
        let change = region.change();
        assert!(!is_warm || change.allocations + change.reallocations == 0, "to move an alarm: {change:?}");
    }
    alarm.unset();
    let mut waits = Vec::with_capacity(MEASURED);
    for is_warm in [false, false, true] {
        let wait = |_| io.after(Duration::from_secs(3600), |waited| assert!(waited.is_err()));
        let region = Region::new(ALLOCATOR);
        waits.extend((0..MEASURED).map(wait));
        waits.drain(..).for_each(|wait| _ = io.cancel(wait));
        assert_eq!(io.run()?, MEASURED);
        let change = region.change();
        assert!(!is_warm || change.allocations + change.reallocations == 0, "to start and cancel waits: {change:?}");
    }
    for is_warm in [false, true] {
        let region = Region::new(ALLOCATOR);
        for _ in 0..MEASURED {
            io.after(Duration::ZERO, |waited| assert!(waited.is_ok()));
            assert_eq!(io.run()?, 1);
        }
        let change = region.change();
        assert!(!is_warm || change.allocations + change.reallocations == 0, "to start waits that end: {change:?}");
    }
    for is_warm in [false, false, true] {
        let region = Region::new(ALLOCATOR);
        let remote = io.remote();
        (0..MEASURED).for_each(|n| assert!(remote.post(move |_| assert!(n < MEASURED)).is_ok()));
        assert_eq!(io.run()?, MEASURED);
        let change = region.change();
        assert!(!is_warm || change.allocations + change.reallocations == 0, "to post remotely: {change:?}");
    }
    Ok(())
}

/// After a burst its memory goes back: at once that of posts from other threads, and when there are few timers again,
/// that of waits, even if one of them stays.
fn after_bursts() -> io::Result<()> {
    const MANY: usize = 100_000;
    const LARGE: usize = 200;
    let hour = Duration::from_secs(3600);
    let mut io = IoContext::new()?;
    let region = Region::new(ALLOCATOR);
    let held = || {
        let change = region.change();
        change.bytes_allocated.saturating_sub(change.bytes_deallocated)
    };
    let ballast = [7_u8; LARGE];
    let remote = io.remote();
    (0..MANY).for_each(|_| assert!(remote.post(move |_| assert_eq!(ballast, [7; LARGE])).is_ok()));
    assert!(held() >= MANY * LARGE);
    assert_eq!(io.run()?, MANY);
    assert!(held() < MANY * LARGE / 4, "{} bytes after a burst of posts", held());

    let handle = io.handle().clone();
    let waits: Vec<_> = (0..MANY).map(|_| io.after(hour, move |_| assert_eq!(ballast, [7; LARGE]))).collect();
    let before = held();
    io.post(move || waits.iter().for_each(|wait| _ = handle.cancel(*wait)));
    assert_eq!(io.run()?, MANY + 1);
    let handle = io.handle().clone();
    io.post(move || drop(handle.alarm(|| None))); // One timer, where there were many.
    assert_eq!(io.run()?, 1);
    assert!(held() < before / 4, "{} of {before} bytes when `run` has ended", held());

    // An alarm keeps its slot, and its place among those like it, while it is not set. If that is the last, the others cannot go,
    // but the handlers of waits.
    let like_the_others = |io: &IoContext| {
        io.alarm(move || {
            assert_eq!(ballast, [7; LARGE]);
            None
        })
    };
    for (is_last, limit) in [(false, MANY * LARGE / 4), (true, 2 * MANY * LARGE)] {
        let before = held();
        let first = like_the_others(&io);
        let alarms: Vec<_> = (0..MANY).map(|_| like_the_others(&io)).collect();
        alarms.iter().for_each(|alarm| alarm.set(hour));
        let wait = |_| io.after(hour, move |waited| assert!(waited.is_err() && ballast == [7; LARGE]));
        let waits: Vec<_> = (0..MANY).map(wait).collect();
        assert!(held() - before >= 2 * MANY * LARGE);
        let alarm = if is_last { like_the_others(&io) } else { first };
        waits.into_iter().for_each(|wait| _ = io.cancel(wait));
        assert!(alarms.iter().all(|alarm| alarm.unset()));
        drop(alarms);
        assert_eq!(io.run()?, MANY);
        for _ in 0..4 {
            alarm.set(hour);
            assert!(alarm.unset());
        }
        io.poll()?;
        let left = held().saturating_sub(before);
        assert!(left < limit, "{left} bytes beside an alarm, the last: {is_last}");
    }

    for keeps_one in [false, true] {
        let before = held();
        let wait = |_| io.after(hour, move |waited| assert!(waited.is_err() && ballast == [7; LARGE]));
        let mut waits: Vec<_> = (0..MANY).map(wait).collect();
        assert!(held() - before >= MANY * LARGE);
        let kept = keeps_one.then(|| waits.remove(0));
        waits.drain(..).for_each(|wait| _ = io.cancel(wait));
        drop(waits);
        assert_eq!(io.poll()?, MANY - usize::from(keeps_one));
        // Of another type. As long as one of the many stays, memory is looked at once in many times only.
        for _ in 0..if keeps_one { MANY } else { 1 } {
            io.cancel(io.after(hour, |waited| assert!(waited.is_err())));
            assert_eq!(io.poll()?, 1);
        }
        assert!(held() < MANY * LARGE / 4, "{} bytes after a burst of waits, one kept: {keeps_one}", held());
        kept.map(|wait| io.cancel(wait));
        io.poll()?;
    }
    Ok(())
}
