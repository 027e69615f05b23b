//! `stop`, `stopped` and `restart`.

mod util;

use ioctx::{Interest, IoContext, Next};
use std::io::{self, Write};
use std::thread;
use std::time::Duration;
use util::{Record, context, unix_pair};

/// P3: `stopped` says: asked to stop, or nothing outstanding; and only the first is sticky.
#[test]
fn stopped_is_true_exactly_after_stop_or_with_nothing_outstanding() -> io::Result<()> {
    let mut io = IoContext::new()?;
    assert!(io.stopped());
    io.post(|| {});
    assert!(!io.stopped());
    io.run()?;
    assert!(io.stopped());
    let wait = io.after(Duration::from_secs(60), |_| {});
    assert!(!io.stopped(), "new work revives the loop");
    io.stop();
    assert!(io.stopped());
    io.restart();
    assert!(!io.stopped());
    io.cancel(wait);
    assert_eq!(io.run()?, 1);
    assert!(io.stopped());
    io.remote().post(|_| {}).expect("the context is there");
    assert!(!io.stopped(), "what another thread posted is work");
    assert_eq!(io.run()?, 1);
    let guard = io.remote().work_guard();
    assert!(!io.stopped());
    drop(guard);
    assert!(io.stopped());
    Ok(())
}

/// P3: a stop before `run` is honoured, by every call, until `restart`.
#[test]
fn a_stop_before_run_holds_until_restart() -> io::Result<()> {
    let mut io = context();
    io.post(|| {});
    io.stop();
    for _ in 0..2 {
        assert_eq!(io.run()?, 0);
        assert_eq!(io.run_one()?, 0);
        assert_eq!(io.run_for(Duration::from_secs(60))?, 0);
        assert_eq!(io.poll()?, 0);
        assert_eq!(io.poll_one()?, 0);
        assert_eq!(io.poll_for(Duration::from_secs(60))?, 0);
    }
    io.restart();
    assert_eq!(io.run()?, 1);
    Ok(())
}

/// P3: after a stop the handler in progress is the last; those that were ready stay queued, and newcomers get in line.
#[test]
fn handlers_that_were_ready_stay_queued_over_a_stop() -> io::Result<()> {
    let mut io = context();
    let ran = Record::new();
    let (handle, first, second) = (io.handle().clone(), ran.clone(), ran.clone());
    io.post(move || {
        handle.stop();
        first.push("stopper");
    });
    io.post(move || second.push("ready"));
    assert_eq!(io.run()?, 1);
    assert_eq!(ran.take(), ["stopper"]);
    let third = ran.clone();
    io.post(move || third.push("new"));
    assert_eq!(io.run()?, 0);
    assert_eq!(ran.len(), 0);
    io.restart();
    assert_eq!(io.run()?, 2);
    assert_eq!(ran.take(), ["ready", "new"]);
    Ok(())
}

/// P3: stop ends the call at that handler in every step of the turn, and takes effect although work is outstanding.
#[test]
fn stop_works_from_a_callback_a_timer_and_a_message() -> io::Result<()> {
    let mut io = context();
    let _guard = io.work_guard();
    let (ours, mut theirs) = unix_pair();
    theirs.write_all(b"x")?;
    let handle = io.handle().clone();
    let registration = io.register(ours, Interest::READABLE, move |_, _| {
        handle.stop();
        Next::Keep
    })?;
    io.post(|| {});
    assert_eq!(io.run()?, 1, "the callback only");
    registration.release();
    io.restart();
    assert_eq!(io.run_one()?, 1, "the post");

    let handle = io.handle().clone();
    io.after(Duration::ZERO, move |_| handle.stop());
    assert_eq!(io.run()?, 1);
    io.restart();

    let handle = io.handle().clone();
    let sender = io.channel(move |(): ()| handle.stop());
    sender.send(()).and(sender.send(())).expect("the context is there");
    assert_eq!(io.run()?, 1);
    io.restart();
    assert_eq!(io.run()?, 1);
    Ok(())
}

/// P3, P9: a stop from another thread wakes a loop that sleeps, and is not lost in the moment when it falls asleep.
#[test]
fn a_remote_stop_always_ends_a_run_that_has_nothing_to_do() -> io::Result<()> {
    let mut io = context();
    let _guard = io.work_guard();
    let remote = io.remote();
    for spin in 0..200 {
        let remote = remote.clone();
        let stopper = thread::spawn(move || {
            (0..spin * 50).for_each(|_| std::hint::spin_loop());
            remote.stop();
        });
        assert_eq!(io.run()?, 0);
        stopper.join().expect("no panic");
        io.restart();
    }
    Ok(())
}
