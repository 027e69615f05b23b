//! A turn can be left at any handler; the next call goes on from there.

mod util;

use ioctx::{Interest, IoContext, Next};
use std::io::{self, Write};
use std::thread;
use std::time::{Duration, Instant};
use util::{Record, context, unix_pair};

type Order = Vec<(&'static str, u32)>;

/// A loop with two callbacks, two timers, two tasks and two messages ready, and what must run in which order.
fn loaded(ran: &Record<(&'static str, u32)>) -> io::Result<(IoContext, Vec<std::os::unix::net::UnixStream>, Order)> {
    let io = context();
    let mut peers = Vec::new();
    for _ in 0..2 {
        let (ours, mut peer) = unix_pair();
        peer.write_all(b"x")?;
        peers.push(peer);
        let ran = ran.clone();
        io.register(ours, Interest::READABLE, move |_, _| {
            ran.push(("callback", 0)); // Which of them is first is for the poller to say.
            Next::Release
        })?;
    }
    for n in 0..2 {
        let seen = ran.clone();
        io.after(Duration::ZERO, move |_| seen.push(("timer", n)));
        let seen = ran.clone();
        io.post(move || seen.push(("post", n)));
    }
    let seen = ran.clone();
    let sender = io.channel(move |n| seen.push(("message", n)));
    sender.send(0).and(sender.send(1)).expect("the context is there");
    let mut order = vec![("callback", 0); 2];
    order.extend(["timer", "post", "message"].into_iter().flat_map(|kind| [(kind, 0), (kind, 1)]));
    Ok((io, peers, order))
}

/// P34: one handler per call, by any mix of calls, gives the same handlers in the same order as one whole turn.
#[test]
fn a_turn_taken_one_handler_at_a_time_is_the_same_turn() -> io::Result<()> {
    let ran = Record::new();
    let (mut io, _peers, order) = loaded(&ran)?;
    assert_eq!(io.poll()?, 8);
    assert_eq!(ran.take(), order);

    let calls: [fn(&mut IoContext) -> io::Result<usize>; 4] = [
        IoContext::run_one,
        IoContext::poll_one,
        |io| io.run_one_for(Duration::from_secs(60)),
        |io| io.run_one_until(Instant::now() + Duration::from_secs(60)),
    ];
    let (mut io, _peers, order) = loaded(&ran)?;
    for n in 0..8 {
        assert_eq!(io.next_timeout(), Some(Duration::ZERO), "left with something to do");
        assert_eq!(calls[n % 4](&mut io)?, 1);
        assert_eq!(ran.len(), n + 1);
    }
    assert_eq!(ran.take(), order);
    assert_eq!(io.run()?, 0);
    Ok(())
}

/// P34: wherever a turn was left, what it had not reached comes before whatever became ready since.
#[test]
fn what_was_not_reached_comes_before_anything_newer() -> io::Result<()> {
    let ran = Record::new();
    for left_after in 1..8 {
        let (mut io, _peers, mut order) = loaded(&ran)?;
        for _ in 0..left_after {
            assert_eq!(io.run_one()?, 1);
        }
        let (ours, mut peer) = unix_pair();
        peer.write_all(b"x")?;
        let seen = ran.clone();
        io.register(ours, Interest::READABLE, move |_, _| {
            seen.push(("callback", 9));
            Next::Release
        })?;
        let seen = ran.clone();
        io.after(Duration::ZERO, move |_| seen.push(("timer", 9)));
        assert_eq!(io.poll()?, 10 - left_after);
        order.extend([("callback", 9), ("timer", 9)]);
        assert_eq!(ran.take(), order, "left after {left_after} handlers");
    }
    Ok(())
}

/// P34: timers that fall due while a turn is left are newer than what it had not reached, whoever asks for the time then.
#[test]
fn a_turn_that_was_left_fires_no_timer_that_falls_due_meanwhile() -> io::Result<()> {
    let mut io = IoContext::new()?;
    let ran = Record::new();
    for n in 0..2 {
        let (seen, handle) = (ran.clone(), io.handle().clone());
        io.after(Duration::ZERO, move |_| {
            seen.push(("due", n));
            handle.post(|| {}); // Which notes when.
        });
    }
    let seen = ran.clone();
    let later = Duration::from_millis(150);
    io.after(later, move |_| seen.push(("later", 0)));
    let seen = ran.clone();
    io.post(move || seen.push(("post", 0)));
    assert_eq!(io.poll_one()?, 1);
    thread::sleep(2 * later);
    assert_eq!(io.poll()?, 5);
    assert_eq!(ran.take(), [("due", 0), ("due", 1), ("post", 0), ("later", 0)]);
    Ok(())
}

/// P34: a stop in the middle of a turn keeps the rest of it for the call after `restart`.
#[test]
fn a_stop_in_the_middle_of_a_turn_loses_nothing() -> io::Result<()> {
    let ran = Record::new();
    let (mut io, _peers, order) = loaded(&ran)?;
    for n in 0..3 {
        io.run_one()?;
        io.stop();
        assert_eq!((io.run()?, io.poll()?), (0, 0));
        assert_eq!(io.next_timeout(), None, "nothing will be done before restart");
        assert_eq!(ran.len(), n + 1);
        io.restart();
    }
    assert_eq!(io.run()?, 5);
    assert_eq!(ran.take(), order);
    Ok(())
}

/// P34: a deadline that passes in mid-turn ends the call at that handler, and the next call goes on.
#[test]
fn a_deadline_in_the_middle_of_a_turn_loses_nothing() -> io::Result<()> {
    let ran = Record::new();
    let mut io = context();
    for n in 0..4 {
        let ran = ran.clone();
        io.post(move || {
            ran.push(n);
            let busy = Instant::now();
            while busy.elapsed() < Duration::from_millis(3) {}
        });
    }
    assert_eq!(io.run_for(Duration::from_millis(2))?, 1);
    assert_eq!(io.poll_for(Duration::from_millis(1))?, 1);
    assert_eq!(io.run_until(Instant::now() + Duration::from_millis(2))?, 1);
    assert_eq!(io.run()?, 1);
    assert_eq!(ran.take(), [0, 1, 2, 3]);
    Ok(())
}

/// P34: every wait due at the turn's one reading of the clock belongs to that turn, however often the turn is left.
#[test]
fn due_timers_survive_being_left_one_by_one() -> io::Result<()> {
    let mut io = context();
    let fired = Record::new();
    for n in 0..20 {
        let fired = fired.clone();
        io.after(Duration::ZERO, move |_| fired.push(n));
    }
    for n in 0..20 {
        let late = fired.clone();
        assert_eq!(io.poll_one()?, 1);
        io.after(Duration::ZERO, move |_| late.push(100 + n));
    }
    assert_eq!(fired.take(), (0..20).collect::<Vec<_>>());
    assert_eq!(io.run()?, 20);
    assert_eq!(fired.take(), (100..120).collect::<Vec<_>>());
    Ok(())
}

/// P34: a turn left among its events is gone on with at the next event: none is lost, and none is told twice.
#[test]
fn events_of_a_turn_that_was_left_are_told_exactly_once() -> io::Result<()> {
    const SOURCES: usize = 5;
    let mut io = IoContext::new()?; // Without the watch: `next_timeout` is looked at.
    let ran = Record::new();
    let mut peers = Vec::new();
    for n in 0..SOURCES {
        let (ours, mut peer) = unix_pair();
        peer.write_all(b"x")?;
        peers.push(peer);
        let ran = ran.clone();
        io.register(ours, Interest::READABLE, move |stream, _| {
            ran.push(n);
            util::drain(stream).expect("a read");
            Next::Keep
        })?;
    }
    for left in (0..SOURCES).rev() {
        assert_eq!(io.poll_one()?, 1);
        assert!(left == 0 || io.next_timeout() == Some(Duration::ZERO), "{left} events to go");
    }
    assert_eq!((io.poll()?, io.poll()?), (0, 0), "told twice");
    let mut ran = ran.take();
    ran.sort_unstable();
    assert_eq!(ran, (0..SOURCES).collect::<Vec<_>>());
    Ok(())
}
