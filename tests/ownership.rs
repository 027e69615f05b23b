//! Dropping the context ends everything outstanding, and leaves nothing behind.

mod util;

use ioctx::mio::net::UnixStream;
use ioctx::{Cancel, Handle, Interest, Io, IoContext, Next, Ready, Registration, Sender, Timer, cancel_after, error};
use std::cell::RefCell;
use std::io::{self, Read, Write};
use std::rc::Rc;
use std::time::Duration;
use util::{Record, Tomb, unix_pair};

const LONG: Duration = Duration::from_secs(3600);

/// Starts one of everything, each holding a clone of `held`.
fn start_one_of_everything(io: &Handle, held: &Rc<()>) -> io::Result<Vec<std::os::unix::net::UnixStream>> {
    let hold = || held.clone();
    let mut peers = Vec::new();
    let mut source = || {
        let (ours, theirs) = unix_pair();
        peers.push(theirs);
        ours
    };
    let callback = |held: Rc<()>| {
        move |_: &Io<UnixStream>, _: Ready| {
            let _held = &held;
            Next::Keep
        }
    };
    let held = hold();
    io.post(move || drop(held));
    let held = hold();
    io.after(LONG, move |_| drop(held));
    let held = hold();
    io.cancel(io.after(LONG, move |_| drop(held)));
    let held = hold();
    io.every(LONG, move || drop(held.clone()));
    let held = hold();
    io.background(io.after(LONG, move |_| drop(held)));
    let held = hold();
    let timer = Timer::new(io);
    timer.async_wait(move |_| drop(held));
    let held = hold();
    cancel_after(io, LONG, |done| io.after(LONG, done), move |_: io::Result<()>| drop(held));
    drop(io.register(source(), Interest::READABLE, callback(hold()))?);
    drop(io.register(source(), Interest::NONE, callback(hold()))?.background());
    // One that is paused, and one that is on the ready list: both run once before.
    let held = hold();
    io.register(source(), Interest::WRITABLE, move |_, _| {
        let _held = &held;
        Next::Pause(LONG)
    })?;
    drop(io.register(source(), Interest::WRITABLE, callback(hold()))?);
    let held = hold();
    let sender = io.channel(move |(): ()| drop(held.clone()));
    sender.send(()).expect("the context is there");
    // The sender itself lives in a handler: a ring, but for the context.
    io.after(LONG, move |_| drop(sender));
    Ok(peers)
}

/// P5: nothing leaks when the context goes with everything outstanding, before its first turn, after some, or in the
/// middle of one.
#[test]
fn dropping_the_context_drops_everything_outstanding_unrun() -> io::Result<()> {
    let stages: [fn(&mut IoContext) -> io::Result<usize>; 5] = [
        |_| Ok(0),
        IoContext::run_one,
        IoContext::poll,
        |io| Ok(io.poll()? + io.poll_one()?),
        |io| {
            io.stop();
            io.run()
        },
    ];
    for stage in stages {
        let mut io = IoContext::new()?;
        let alive = Rc::new(());
        let mut peers = start_one_of_everything(&io, &alive)?;
        assert!(Rc::strong_count(&alive) > 10);
        stage(&mut io)?;
        let handle = io.handle().clone();
        drop(io);
        assert_eq!(Rc::strong_count(&alive), 1, "leaked");
        assert!(handle.outstanding().is_empty());
        for peer in &mut peers {
            assert_eq!(peer.read(&mut [0])?, 0, "a source is still open");
        }
    }
    Ok(())
}

/// Section 1: every outstanding thing is reachable from the context: the listing, the count and the drops agree.
#[test]
fn every_outstanding_thing_is_listed_and_counted() -> io::Result<()> {
    let mut io = IoContext::new()?;
    let alive = Rc::new(());
    let _peers = start_one_of_everything(&io, &alive)?;
    let guard = (io.work_guard(), io.remote().work_guard());
    io.remote().post(|_| {}).expect("the context is there");
    let mut kinds: Vec<_> = io.outstanding().iter().map(|work| work.kind()).collect();
    kinds.sort_unstable();
    let expected = [
        "after",
        "after",
        "after",
        "after",
        "async_wait",
        "channel message",
        "every",
        "post",
        "registration",
        "registration",
        "registration",
        "remote post",
        "work_guard",
        "work_guard",
    ];
    assert_eq!(kinds, expected);
    // Ending each of them by itself empties the listing, and only then is the loop out of work.
    io.poll()?;
    assert!(!io.stopped());
    drop(guard);
    assert!(!io.stopped());
    drop(io);
    assert_eq!(Rc::strong_count(&alive), 1);
    Ok(())
}

/// Tries to start one of everything when it is dropped.
struct Restarter(Handle, Rc<()>, Record<&'static str>);

impl Drop for Restarter {
    fn drop(&mut self) {
        let Restarter(io, alive, refused) = self;
        let hold = || {
            let alive = alive.clone();
            move || drop(alive)
        };
        let (post, wait, tick, inline) = (hold(), hold(), hold(), hold());
        io.post(post);
        io.dispatch(inline);
        assert_eq!(io.cancel(io.after(Duration::ZERO, move |_| wait())), Cancel::AlreadyDone);
        let mut tick = Some(tick);
        io.every(Duration::ZERO, move || {
            if let Some(tick) = tick.take() {
                tick();
            }
        });
        let timer = Timer::new(io);
        let wait = hold();
        timer.async_wait(move |_| wait());
        assert_eq!((timer.cancel(), timer.cancel_one()), (0, 0));
        assert!(timer.wait().is_err_and(|e| error::is_context_gone(&e)));
        let held = hold();
        let (ours, _theirs) = unix_pair();
        let callback = move |_: &Io<UnixStream>, _: Ready| {
            let _held = &held;
            Next::Keep
        };
        let registered = io.register(ours, Interest::READABLE, callback);
        assert!(registered.is_err_and(|e| error::is_context_gone(&e)));
        let held = hold();
        let sender: Sender<u8> = io.channel(move |_| {
            let _held = &held;
        });
        assert_eq!(sender.send(7).expect_err("the context has gone").into_inner(), 7);
        assert!(io.remote().post(|_| {}).is_err());
        drop((io.work_guard(), io.remote().work_guard()));
        io.stop();
        refused.push("refused");
    }
}

/// Section 1: destructors that run while the context goes may try to start more: all of it is refused, handlers are
/// dropped unrun, and the emptying ends.
#[test]
fn destructors_may_try_to_start_more_while_the_context_goes() -> io::Result<()> {
    let mut io = IoContext::new()?;
    let (alive, refused) = (Rc::new(()), Record::new());
    let restarter = || Restarter(io.handle().clone(), alive.clone(), refused.clone());
    let held = restarter();
    io.post(move || drop(held));
    let held = restarter();
    io.after(LONG, move |_| drop(held));
    let held = restarter();
    let (ours, mut theirs) = unix_pair();
    io.register(ours, Interest::READABLE, move |_, _| {
        let _held = &held;
        Next::Keep
    })?;
    theirs.write_all(b"x")?;
    let held = restarter();
    let sender = io.channel(move |_: u8| {
        let _held = &held;
    });
    // Nested: what is dropped holds a registration, which holds a callback, which holds the next.
    let held = restarter();
    let (ours, _theirs) = unix_pair();
    let registration = io.register(ours, Interest::NONE, move |_, _| {
        let _held = &held;
        Next::Keep
    })?;
    io.after(LONG, move |_| drop(registration));
    io.run_one()?; // The callback, which ignores its data: it is on the list of those left over.
    drop(io);
    assert_eq!(refused.take().len(), 5);
    assert_eq!(Rc::strong_count(&alive), 1);
    drop(sender);
    Ok(())
}

/// Section 1: afterwards a handle is harmless: calls with a `Result` say that the context has gone, the others drop
/// their handler unrun, and nothing is outstanding.
#[test]
fn a_handle_that_outlives_its_context_is_harmless() -> io::Result<()> {
    let io = IoContext::new()?;
    let (alive, refused) = (Rc::new(()), Record::new());
    let handle = io.handle().clone();
    drop(io);
    drop(Restarter(handle.clone(), alive.clone(), refused.clone()));
    assert_eq!(refused.len(), 1);
    assert_eq!(Rc::strong_count(&alive), 1);
    assert!(handle.outstanding().is_empty());
    assert_eq!(handle.next_timeout(), None);
    assert!(handle.stopped());
    Ok(())
}

/// P3: with the context all work has gone: its handles say stopped, although nobody asked for a stop.
#[test]
fn a_handle_says_stopped_when_its_context_went_with_work_outstanding() -> io::Result<()> {
    let io = IoContext::new()?;
    let handle = io.handle().clone();
    io.after(LONG, |_| {});
    let _guard = io.work_guard();
    assert!(!handle.stopped());
    drop(io);
    assert!(handle.stopped());
    assert!(format!("{handle:?}").contains("alive: false"));
    Ok(())
}

/// Section 1: a registration that outlives the context gives nothing back and crashes nothing; its source was closed.
#[test]
fn a_registration_that_outlives_its_context_is_harmless() -> io::Result<()> {
    let io = IoContext::new()?;
    let registrations: Vec<(Registration<UnixStream>, _)> = (0..3)
        .map(|_| {
            let (ours, theirs) = unix_pair();
            let registration = io.register(ours, Interest::READABLE, |_, _| Next::Keep).expect("registered");
            (registration, theirs)
        })
        .collect();
    let timer = Timer::new(&io);
    let wait = timer.async_wait(|_| unreachable!("dropped unrun"));
    let guard = io.work_guard();
    let handle = io.handle().clone();
    drop(io);
    assert_eq!(handle.cancel(wait), Cancel::AlreadyDone);
    assert_eq!((timer.cancel(), timer.expires_after(LONG)), (0, 0));
    drop(guard);
    for (n, (registration, mut theirs)) in registrations.into_iter().enumerate() {
        assert_eq!(theirs.read(&mut [0])?, 0, "closed with the context");
        assert!(registration.is_released());
        assert!(registration.set_interest(Interest::WRITABLE).is_err());
        match n {
            0 => registration.release(),
            1 => drop(registration.background()),
            _ => assert!(registration.into_source().is_err_and(|e| error::is_context_gone(&e))),
        }
    }
    Ok(())
}

/// Section 1: user values are dropped while nothing internal is borrowed: their destructors may call anything.
/// Method: values whose destructors use the loop, dropped by a run handler, a cancel, a release and a replaced wait.
#[test]
fn destructors_of_handlers_may_use_the_loop() -> io::Result<()> {
    struct Poster(Handle, Record<&'static str>);
    impl Drop for Poster {
        fn drop(&mut self) {
            let record = self.1.clone();
            self.0.post(move || record.push("ran"));
            assert!(!self.0.outstanding().is_empty());
            self.0.cancel(self.0.after(LONG, |_| {}));
            assert_eq!(self.0.next_timeout(), Some(Duration::ZERO));
        }
    }
    let mut io = util::context();
    let ran = Record::new();
    let poster = || Poster(io.handle().clone(), ran.clone());
    let held = poster();
    io.post(move || drop(held));
    let held = poster();
    let tick = io.every(LONG, move || {
        let _held = &held;
    });
    let held = poster();
    let (ours, _theirs) = unix_pair();
    let registration = io.register(ours, Interest::READABLE, move |_, _| {
        let _held = &held;
        Next::Keep
    })?;
    let held = poster();
    let sender = io.channel(move |_: u8| {
        let _held = &held;
    });
    let held = poster();
    let (ours, theirs) = unix_pair();
    io.register(ours, Interest::READABLE, move |_, _| {
        let _held = &held;
        Next::Release
    })?;
    drop(theirs);
    io.cancel(tick);
    registration.release();
    drop(sender);
    io.run()?;
    assert_eq!(ran.take().len(), 5);
    Ok(())
}

/// Section 1: the context closes its own descriptors; what a host held on to is told apart from a crash.
#[test]
fn objects_may_be_dropped_after_the_context_in_any_order() -> io::Result<()> {
    let log = Record::new();
    let io = IoContext::new()?;
    let tombs = Rc::new(RefCell::new(vec![Tomb("kept by a friend", log.clone())]));
    let (friend, tomb) = (tombs.clone(), Tomb("in a task", log.clone()));
    io.post(move || drop((friend, tomb)));
    let (remote, handle, timer) = (io.remote(), io.handle().clone(), Timer::new(&io));
    drop(io);
    assert_eq!(log.take(), ["in a task"]);
    drop(handle);
    drop(timer);
    drop(remote);
    drop(tombs);
    assert_eq!(log.take(), ["kept by a friend"]);
    Ok(())
}
