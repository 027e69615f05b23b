//! What `run` and its kin wait for, and what they count.

mod util;

use ioctx::mio::net::UnixStream;
use ioctx::{Config, Handle, Interest, Io, IoContext, Next};
use std::cell::Cell;
use std::io::{self, Read, Write};
use std::rc::Rc;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};
use util::{Record, context, drain, unix_pair};

const LONG: Duration = Duration::from_secs(3600);

/// P1: with nothing outstanding there is nothing to wait for.
#[test]
fn every_call_returns_zero_at_once_when_nothing_is_outstanding() -> io::Result<()> {
    let mut io = IoContext::new()?;
    let started = Instant::now();
    assert_eq!(io.run()?, 0);
    assert_eq!(io.run_one()?, 0);
    assert_eq!(io.run_for(LONG)?, 0);
    assert_eq!(io.run_one_for(LONG)?, 0);
    assert_eq!(io.run_until(Instant::now() + LONG)?, 0);
    assert_eq!(io.poll()?, 0);
    assert_eq!(io.poll_one()?, 0);
    assert_eq!(io.poll_for(LONG)?, 0);
    assert!(started.elapsed() < LONG);
    Ok(())
}

/// P1: a registered callback is work, until it is released.
#[test]
fn run_goes_on_until_the_last_registration_is_released() -> io::Result<()> {
    let mut io = context();
    let (ours, mut theirs) = unix_pair();
    io.register(ours, Interest::READABLE, |stream, _| match drain(stream) {
        Ok((_, false)) => Next::Keep,
        _ => Next::Release,
    })?;
    assert!(!io.stopped());
    assert_eq!(io.poll()?, 0);
    theirs.write_all(b"x")?;
    assert_eq!(io.run_one()?, 1);
    drop(theirs);
    assert_eq!(io.run()?, 1);
    assert!(io.stopped());
    Ok(())
}

/// P1: the background does not keep `run` alive, and is served while something else does.
#[test]
fn background_work_is_served_but_does_not_keep_run_alive() -> io::Result<()> {
    let mut io = context();
    let ran = Record::new();
    let (ours, mut theirs) = unix_pair();
    let seen = ran.clone();
    let callback = move |stream: &Io<UnixStream>, _| {
        drain(stream).expect("a read");
        seen.push("callback");
        Next::Keep
    };
    drop(io.register(ours, Interest::READABLE, callback)?.background());
    theirs.write_all(b"x")?;
    assert!(io.stopped() && io.outstanding().is_empty());
    assert_eq!(io.run()?, 0);
    let guard = io.work_guard();
    let seen = ran.clone();
    io.background(io.after(Duration::ZERO, move |_| seen.push("timer")));
    assert_eq!(io.run_one()? + io.run_one()?, 2);
    drop(guard);
    assert_eq!(io.run()?, 0);
    assert_eq!(ran.take(), ["callback", "timer"]);
    // `poll` serves it even when nothing else is outstanding.
    theirs.write_all(b"y")?;
    assert_eq!(io.poll()?, 1);
    assert_eq!(ran.take(), ["callback"]);
    Ok(())
}

/// P1: a guard is work until it is dropped; dropping it twice over a loop's life balances.
#[test]
fn a_guard_keeps_run_waiting_and_its_end_lets_it_return() -> io::Result<()> {
    let mut io = context();
    let guard = io.work_guard();
    assert_eq!(io.run_for(Duration::from_millis(5))?, 0);
    assert!(!io.stopped());
    io.after(Duration::from_millis(1), move |_| drop(guard));
    assert_eq!(io.run()?, 1);
    assert!(io.stopped());
    Ok(())
}

/// P2: one each for a posted task, a posted task of another thread, a channel message, a wait and a dispatch of a
/// callback; nothing for inline dispatches, the end of a pause, the end of a channel.
#[test]
fn run_counts_handlers_and_nothing_else() -> io::Result<()> {
    let mut io = context();
    io.post(|| {});
    assert_eq!(io.run()?, 1, "a posted task");

    io.remote().post(|_| {}).expect("the context is there");
    assert_eq!(io.run()?, 1, "a task of another thread");

    let sender = io.channel(|_: u8| {});
    sender.send(1).and(sender.send(2)).expect("the context is there");
    assert_eq!(io.run()?, 2, "two messages");
    drop(sender);
    assert_eq!(io.run()?, 0, "the end of a channel");

    io.after(Duration::ZERO, |_| {});
    let cancelled = io.after(LONG, |_| {});
    io.cancel(cancelled);
    assert_eq!(io.run()?, 2, "two waits");

    let handle = io.handle().clone();
    io.post(move || {
        let inner = handle.clone();
        handle.dispatch(move || inner.dispatch(|| {}));
    });
    assert_eq!(io.run()?, 1, "inline dispatches are part of their handler");

    let (ours, mut theirs) = unix_pair();
    theirs.write_all(b"two reads, one dispatch")?;
    let mut paused = false;
    io.register(ours, Interest::READABLE, move |stream, _| {
        if !paused {
            paused = true;
            return Next::Pause(Duration::from_millis(1));
        }
        let mut byte = [0];
        assert!(stream.read(&mut byte).is_ok() && stream.read(&mut byte).is_ok());
        Next::Release
    })?;
    assert_eq!(io.run()?, 2, "two dispatches; the end of the pause is the loop's own");
    Ok(())
}

/// P2: `run_one` and `poll_one` return after the first handler, whatever its kind.
#[test]
fn run_one_and_poll_one_return_after_the_first_handler() -> io::Result<()> {
    let mut io = context();
    let ran = Record::new();
    for n in 0..4 {
        let ran = ran.clone();
        io.post(move || ran.push(n));
    }
    assert_eq!(io.run_one()?, 1);
    assert_eq!(ran.take(), [0]);
    assert_eq!(io.poll_one()?, 1);
    assert_eq!(ran.take(), [1]);
    assert_eq!(io.run_one_for(LONG)?, 1);
    assert_eq!(ran.take(), [2]);
    assert_eq!(io.run_one_until(Instant::now() + LONG)?, 1);
    assert_eq!(ran.take(), [3]);
    let (first, second) = (ran.clone(), ran.clone());
    io.after(Duration::ZERO, move |_| first.push(4));
    io.after(Duration::ZERO, move |_| second.push(5));
    assert_eq!(io.run_one()?, 1);
    assert_eq!(ran.take(), [4]);
    assert_eq!(io.run()?, 1);
    Ok(())
}

/// P2: `run` returns only after the last handler of a chain, having counted every link.
#[test]
fn run_follows_a_handler_that_posts_itself() -> io::Result<()> {
    fn again(io: ioctx::Handle, left: u32) {
        if left > 0 {
            let handle = io.clone();
            io.post(move || again(handle, left - 1));
        }
    }
    let mut io = context();
    again(io.handle().clone(), 10);
    assert_eq!(io.run()?, 10);
    Ok(())
}

/// Section 2: a deadline ends the call, not the work; it is never early, and one in the past runs nothing.
#[test]
fn a_deadline_ends_the_call_and_leaves_the_work() -> io::Result<()> {
    let mut io = context();
    let _guard = io.work_guard();
    for call in [IoContext::run_for, IoContext::run_one_for] {
        let started = Instant::now();
        assert_eq!(call(&mut io, Duration::from_millis(20))?, 0);
        assert!(started.elapsed() >= Duration::from_millis(20));
    }
    io.post(|| {});
    assert_eq!(io.run_until(Instant::now())?, 0);
    assert_eq!(io.run_for(Duration::ZERO)?, 0);
    assert_eq!(io.run_for(Duration::from_millis(1))?, 1);
    assert!(!io.stopped());
    Ok(())
}

/// P4: `post` never runs inline, not even inside a handler.
#[test]
fn post_never_runs_inside_the_call_that_posted() -> io::Result<()> {
    let mut io = context();
    let ran = Record::new();
    let (handle, inner, outer) = (io.handle().clone(), ran.clone(), ran.clone());
    io.post(move || {
        handle.post(move || inner.push("posted"));
        outer.push("poster");
    });
    assert_eq!(ran.len(), 0);
    assert_eq!(io.run()?, 2);
    assert_eq!(ran.take(), ["poster", "posted"]);
    Ok(())
}

/// P4: `dispatch` runs inline in a handler of every kind, and posts everywhere else.
#[test]
fn dispatch_is_inline_inside_any_handler_and_posts_outside() -> io::Result<()> {
    let mut io = context();
    let ran = Rc::new(Cell::new(0));
    let handle = io.handle().clone();
    let inline = {
        let ran = ran.clone();
        move || {
            let (before, counter) = (ran.get(), ran.clone());
            handle.dispatch(move || counter.set(counter.get() + 1));
            assert_eq!(ran.get(), before + 1, "not inline");
        }
    };
    io.dispatch({
        let ran = ran.clone();
        move || ran.set(ran.get() + 1)
    });
    assert_eq!(ran.get(), 0, "inline outside a handler");
    assert_eq!(io.run()?, 1);

    io.post(inline.clone());
    let check = inline.clone();
    io.after(Duration::ZERO, move |_| check());
    let check = inline.clone();
    let sender = io.channel(move |_: u8| check());
    sender.send(0).expect("the context is there");
    let (ours, mut theirs) = unix_pair();
    theirs.write_all(b"x")?;
    io.register(ours, Interest::READABLE, move |_, _| {
        inline();
        Next::Release
    })?;
    assert_eq!(io.run()?, 4);
    assert_eq!(ran.get(), 5);
    Ok(())
}

/// P4: "inside a handler" is told per context: a task dispatched to a second loop waits for that loop.
#[test]
fn dispatch_to_another_context_waits_for_that_context() -> io::Result<()> {
    let (mut first, mut second) = (context(), context());
    let ran = Record::new();
    let (other, seen) = (second.handle().clone(), ran.clone());
    first.post(move || other.dispatch(move || seen.push("second")));
    assert_eq!(first.run()?, 1);
    assert_eq!(ran.len(), 0);
    assert_eq!(second.run()?, 1);
    assert_eq!(ran.take(), ["second"]);
    Ok(())
}

/// P10: tasks and aborts share one queue, first come, first served.
#[test]
fn posted_tasks_and_aborts_run_in_the_order_they_became_ready() -> io::Result<()> {
    let mut io = context();
    let ran = Record::new();
    let record = |name: &'static str| {
        let ran = ran.clone();
        move || ran.push(name)
    };
    let wait = |name| {
        let done = record(name);
        io.after(LONG, move |waited| {
            assert!(waited.is_err_and(|e| ioctx::error::is_aborted(&e)));
            done();
        })
    };
    let (first, second) = (wait("abort 1"), wait("abort 2"));
    io.post(record("post 1"));
    io.cancel(second);
    io.post(record("post 2"));
    io.cancel(first);
    io.post(record("post 3"));
    assert_eq!(io.run()?, 5);
    assert_eq!(ran.take(), ["post 1", "abort 2", "post 2", "abort 1", "post 3"]);
    Ok(())
}

/// Section 2: `poll` is one bounded turn, `poll_for` goes on until nothing is ready or its budget is spent.
#[test]
fn poll_is_one_turn_and_poll_for_goes_on_until_nothing_is_ready() -> io::Result<()> {
    fn chain(io: ioctx::Handle, left: u32) {
        let handle = io.clone();
        io.post(move || {
            if left > 1 {
                chain(handle, left - 1)
            }
        });
    }
    let mut io = context();
    chain(io.handle().clone(), 5);
    assert_eq!(io.poll()?, 1);
    assert_eq!(io.poll_for(LONG)?, 4);

    chain(io.handle().clone(), u32::MAX);
    let started = Instant::now();
    assert!(io.poll_for(Duration::from_millis(5))? > 0);
    assert!(started.elapsed() >= Duration::from_millis(5), "gave up its budget with work left");
    assert_eq!(io.next_timeout(), Some(Duration::ZERO));
    Ok(())
}

/// Section 2: `poll_for` looks at the sources, too, when all it had to do first was to end a turn that was left.
#[test]
fn poll_for_serves_a_source_that_became_ready_after_a_turn_was_left() -> io::Result<()> {
    let mut io = context();
    let (ours, mut theirs) = unix_pair();
    let callback = |stream: &Io<UnixStream>, _| {
        drain(stream).expect("a read");
        Next::Keep
    };
    drop(io.register(ours, Interest::READABLE, callback)?.background());
    io.post(|| {});
    assert_eq!(io.run_one()?, 1);
    theirs.write_all(b"x")?;
    assert_eq!(io.poll_for(LONG)?, 1);
    Ok(())
}

/// P16: a loop that spins before it sleeps, always, or where it seems to pay, misses nothing: neither a timer, nor a task,
/// nor a stop from another thread.
#[test]
fn a_loop_that_spins_misses_nothing() -> io::Result<()> {
    const PATIENCE: Duration = Duration::from_secs(30);
    let always = [Duration::from_micros(20), Duration::MAX].map(|spin| Config::new().spin_before_sleep(spin));
    for config in always.into_iter().chain([Config::new()]) {
        let mut io = IoContext::with_config(config)?;
        let _guard = io.work_guard();
        let (order, since) = (Record::new(), Instant::now());
        let (ring, rang) = mpsc::channel();
        for delay in [5, 0, 3].map(Duration::from_millis) {
            let (order, ring) = (order.clone(), ring.clone());
            io.at(since + delay, move |_| {
                assert!(since.elapsed() >= delay);
                order.push(delay);
                ring.send(()).expect("the other thread");
            });
        }
        let remote = io.remote();
        let other = thread::spawn(move || {
            let (done, is_done) = mpsc::channel();
            for _ in 0..1_000 {
                let done = done.clone();
                remote.post(move |_: &Handle| done.send(()).expect("the other thread")).expect("the loop is there");
                is_done.recv_timeout(PATIENCE).expect("it runs");
            }
            (0..3).for_each(|_| rang.recv_timeout(PATIENCE).expect("it rings"));
            remote.stop();
        });
        assert_eq!(io.run()?, 1_003);
        other.join().expect("no panic");
        assert_eq!(order.take(), [0, 3, 5].map(Duration::from_millis));
    }
    Ok(())
}

/// P16: a loop that spins, always, or where it seems to pay, answers each message of a client that waits for each answer.
#[test]
fn a_loop_that_spins_answers_every_message() -> io::Result<()> {
    for config in [Config::new().spin_before_sleep(Duration::from_micros(20)), Config::new()] {
        let mut io = IoContext::with_config(config)?;
        let (ours, mut theirs) = unix_pair();
        let echo = |stream: &Io<UnixStream>, _| {
            let (bytes, _) = drain(stream).expect("a read");
            (&*stream).write_all(&bytes).expect("there is room");
            Next::Keep
        };
        drop(io.register(ours, Interest::READABLE, echo)?.background());
        let _guard = io.work_guard();
        let remote = io.remote();
        let client = thread::spawn(move || {
            theirs.set_read_timeout(Some(Duration::from_secs(30)))?;
            for n in 0..2_000_u32 {
                theirs.write_all(&[n as u8])?;
                let mut answer = [0];
                theirs.read_exact(&mut answer)?;
                assert_eq!(answer, [n as u8]);
            }
            remote.stop();
            io::Result::Ok(())
        });
        assert!(io.run()? >= 2_000);
        client.join().expect("no panic")?;
    }
    Ok(())
}

/// P16: a loop that may spin does not where it is asked not to wait.
#[test]
fn poll_does_not_spin() -> io::Result<()> {
    let mut io = IoContext::with_config(Config::new().spin_before_sleep(Duration::MAX))?; // A millisecond.
    let (ours, _theirs) = unix_pair();
    io.register(ours, Interest::READABLE, |_, _| Next::Keep)?; // Or the kernel would not be asked at all.
    let mut twenty_polls = || {
        let since = Instant::now();
        (0..20).for_each(|_| assert_eq!(io.poll().expect("no error"), 0));
        since.elapsed()
    };
    let quickest = (0..10).map(|_| twenty_polls()).min();
    assert!(quickest < Some(Duration::from_millis(10)), "{quickest:?}: twenty spins take twenty milliseconds");
    Ok(())
}
