//! A panic of a handler leaves through `run`, and costs that handler only.

mod util;

use ioctx::mio::net::UnixStream;
use ioctx::{Handle, Interest, Io, IoContext, Next, Ready};
use std::cell::Cell;
use std::io::{self, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::time::Duration;
use util::{Record, context, drain, unix_pair};

/// Runs the loop; tells the panic that came out of it.
#[track_caller]
fn run_into_panic(io: &mut IoContext) -> String {
    let panic = catch_unwind(AssertUnwindSafe(|| io.run())).expect_err("a panic of a handler");
    panic.downcast_ref::<&str>().expect("its text").to_string()
}

/// P6: Asio's own test: of five handlers two panic; the other three run, and nobody has to restart.
#[test]
fn run_goes_on_after_each_panic_without_restart() -> io::Result<()> {
    let mut io = context();
    let ran = Record::new();
    for (n, panics) in [true, false, false, true, false].into_iter().enumerate() {
        let ran = ran.clone();
        io.post(move || if panics { panic!("as planned") } else { ran.push(n) });
    }
    assert_eq!(run_into_panic(&mut io), "as planned");
    assert!(!io.stopped());
    assert_eq!(run_into_panic(&mut io), "as planned");
    assert_eq!(ran.take(), [1, 2]);
    assert_eq!(io.run()?, 1);
    assert_eq!(ran.take(), [4]);
    Ok(())
}

/// P5, P6: a one-shot handler that panicked is consumed: what it held is dropped, and it counts as work no more.
#[test]
fn a_one_shot_handler_that_panicked_is_gone() -> io::Result<()> {
    let starts: [fn(&Handle, Rc<()>); 4] = [
        |io, held| {
            io.post(move || {
                let _held = held;
                panic!("as planned")
            });
        },
        |io, held| {
            io.after(Duration::ZERO, move |_| {
                let _held = held;
                panic!("as planned")
            });
        },
        |io, held| {
            let wait = io.after(Duration::from_secs(60), move |_| {
                let _held = held;
                panic!("as planned")
            });
            io.cancel(wait);
        },
        |io, held| {
            let inner = io.clone();
            io.post(move || {
                inner.dispatch(move || {
                    let _held = held;
                    panic!("as planned")
                });
            });
        },
    ];
    for start in starts {
        let mut io = context();
        let alive = Rc::new(());
        start(&io, alive.clone());
        assert!(catch_unwind(AssertUnwindSafe(|| io.run())).is_err());
        assert_eq!(Rc::strong_count(&alive), 1);
        assert!(io.stopped() && io.outstanding().is_empty());
        assert_eq!(io.run()?, 0);
    }
    Ok(())
}

/// P6: a callback, a repetition and the handler of a channel are kept, and called again.
#[test]
fn what_is_called_again_and_again_survives_its_panic() -> io::Result<()> {
    fn first_panics(record: &Record<u32>) -> impl FnMut() + 'static + use<> {
        let (mut calls, record) = (0, record.clone());
        move || {
            calls += 1;
            if calls == 1 {
                panic!("as planned");
            }
            record.push(calls);
        }
    }
    let mut io = context();
    let calls = Record::new();

    let (ours, mut theirs) = unix_pair();
    theirs.write_all(b"x")?;
    let mut call = first_panics(&calls);
    let callback = move |stream: &Io<UnixStream>, _: Ready| {
        call();
        drain(stream).expect("still there, and still readable");
        Next::Release
    };
    let registration = io.register(ours, Interest::READABLE, callback)?;
    assert_eq!(run_into_panic(&mut io), "as planned");
    assert!(!registration.is_released());
    assert_eq!(io.run()?, 1, "with no new event");
    assert_eq!(calls.take(), [2]);

    let mut call = first_panics(&calls);
    let sender = io.channel(move |(): ()| call());
    sender.send(()).and(sender.send(())).expect("the context is there");
    assert_eq!(run_into_panic(&mut io), "as planned");
    assert_eq!(io.run()?, 1);
    assert_eq!(calls.take(), [2]);

    let repetition = io.every(Duration::from_millis(1), first_panics(&calls));
    assert_eq!(run_into_panic(&mut io), "as planned");
    assert_eq!(io.run_one()?, 1);
    assert_eq!(calls.take(), [2]);
    io.cancel(repetition);
    assert_eq!(io.run()?, 0);
    Ok(())
}

/// P6, P34: a panic in the middle of a batch loses none of the others, and they come before anything newer.
#[test]
fn the_rest_of_the_batch_is_delivered_after_a_panic() -> io::Result<()> {
    let mut io = context();
    let ran = Record::new();
    let (mut theirs, has_panicked) = (Vec::new(), Rc::new(Cell::new(false)));
    for _ in 0..3 {
        let (ours, mut peer) = unix_pair();
        peer.write_all(b"x")?;
        theirs.push(peer);
        let (ran, has_panicked) = (ran.clone(), has_panicked.clone());
        io.register(ours, Interest::READABLE, move |_, _| {
            if !has_panicked.replace(true) {
                panic!("as planned");
            }
            ran.push(("callback", 0));
            Next::Release
        })?;
    }
    for n in 0..2 {
        let ran = ran.clone();
        io.after(Duration::ZERO, move |_| ran.push(("timer", n)));
    }
    let seen = ran.clone();
    io.post(move || seen.push(("post", 0)));
    assert_eq!(run_into_panic(&mut io), "as planned");
    assert_eq!(io.next_timeout(), Some(Duration::ZERO));
    let seen = ran.clone();
    io.post(move || seen.push(("post", 1)));
    assert_eq!(io.poll()?, 7);
    let others = [("callback", 0); 2].into_iter();
    let handlers = [("timer", 0), ("timer", 1), ("post", 0), ("post", 1)];
    let order: Vec<_> = others.chain(handlers).chain([("callback", 0)]).collect();
    assert_eq!(ran.take(), order, "the one that panicked is called again last");
    Ok(())
}

/// P6: a callback that releases itself and then panics is released all the same: callback gone, source given back.
#[test]
fn a_release_from_inside_is_completed_by_a_panic() -> io::Result<()> {
    let mut io = context();
    let alive = Rc::new(());
    let slot = Rc::new(Cell::new(None::<ioctx::Registration<UnixStream>>));
    let (ours, mut theirs) = unix_pair();
    theirs.write_all(b"x")?;
    let (own, held) = (slot.clone(), alive.clone());
    let registration = io.register(ours, Interest::READABLE, move |_, _| {
        let _held = &held;
        let registration = own.take().expect("its registration");
        registration.release();
        own.set(Some(registration));
        panic!("as planned")
    })?;
    slot.set(Some(registration));
    assert_eq!(run_into_panic(&mut io), "as planned");
    assert!(io.stopped());
    assert_eq!(Rc::strong_count(&alive), 1, "the callback is still there");
    let source = slot.take().expect("its registration").into_source()?;
    // It has left the poller: it can be registered again.
    io.register(source, Interest::READABLE, |_, _| Next::Release)?;
    assert_eq!(io.run()?, 1);
    Ok(())
}

/// P6: after a panic `dispatch` knows that no handler runs any more, and other threads still reach the loop.
#[test]
fn the_loop_knows_after_a_panic_that_no_handler_runs() -> io::Result<()> {
    let mut io = context();
    io.post(|| panic!("as planned"));
    assert_eq!(run_into_panic(&mut io), "as planned");
    let ran = Record::new();
    let seen = ran.clone();
    io.dispatch(move || seen.push("dispatched"));
    assert_eq!(ran.len(), 0, "inline, outside any handler");
    let remote = io.remote();
    let _guard = io.work_guard();
    std::thread::spawn(move || remote.post(|io| io.stop())).join().expect("no panic").expect("the context is there");
    assert_eq!(io.run()?, 2);
    Ok(())
}

/// P6: dropping the context after a panic drops what was left of the turn.
#[test]
fn a_context_may_be_dropped_in_the_middle_of_a_turn() {
    let mut io = context();
    let alive = Rc::new(());
    io.post(|| panic!("as planned"));
    for _ in 0..3 {
        let held = alive.clone();
        io.post(move || drop(held));
    }
    assert_eq!(run_into_panic(&mut io), "as planned");
    drop(io);
    assert_eq!(Rc::strong_count(&alive), 1);
}
