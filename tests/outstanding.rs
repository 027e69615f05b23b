//! What the listing of outstanding work says: kind, object, endpoint, age, file and line.

mod util;

use ioctx::mio::net::{TcpListener, UnixStream};
use ioctx::{Handle, Interest, IoContext, Next, Timer, Work, cancel_after};
use std::io::{self, Write};
use std::time::{Duration, Instant};
use util::{tcp_pair, unix_pair};

const LONG: Duration = Duration::from_secs(3600);

/// The one piece of work there is.
#[track_caller]
fn only(io: &Handle) -> Work {
    let outstanding = io.outstanding();
    assert_eq!(outstanding.len(), 1, "{outstanding}");
    outstanding.iter().next().expect("just counted").clone()
}

/// Section 1: every kind of work names the very line that started it; an ended one is not listed.
#[test]
fn each_piece_of_work_names_the_line_that_started_it() -> io::Result<()> {
    type Start = fn(&Handle) -> (u32, Box<dyn std::any::Any>);
    let starts: [(&str, &str, Start); 11] = [
        ("after", "Timer", |io| (line!(), Box::new(io.after(LONG, |_| {})))),
        ("at", "Timer", |io| (line!(), Box::new(io.at(Instant::now() + LONG, |_| {})))),
        ("alarm", "Alarm", |io| {
            let (line, alarm) = (line!(), io.alarm(|| None));
            alarm.set(LONG);
            (line, Box::new(alarm))
        }),
        ("every", "Timer", |io| (line!(), Box::new(io.every(LONG, || {})))),
        ("async_wait", "Timer", |io| (line!(), Box::new(Timer::new(io).async_wait(|_| {})))),
        ("after", "Timer", |io| {
            let (line, start) = (line!(), |done: Box<dyn FnOnce(io::Result<()>)>| io.after(LONG, done));
            (line, Box::new(cancel_after(io, LONG, start, |_| {})))
        }),
        ("work_guard", "IoContext", |io| (line!(), Box::new(io.work_guard()))),
        ("work_guard", "Remote", |io| (line!(), Box::new(io.remote().work_guard()))),
        ("remote post", "Remote", |io| (line!(), Box::new(io.remote().post(|_| {}).is_ok()))),
        ("post", "Handle", |io| {
            io.post(|| {});
            (line!() - 1, Box::new(()))
        }),
        ("registration", "UnixStream", |io| {
            let (ours, theirs) = unix_pair();
            let (line, registered) = (line!(), io.register(ours, Interest::NONE, |_, _| Next::Keep));
            (line, Box::new((registered.expect("a registration"), theirs)))
        }),
    ];
    for (kind, object, start) in starts {
        let io = IoContext::new()?;
        let (line, _keep) = start(&io);
        let work = only(&io);
        assert_eq!((work.kind(), work.object(), work.endpoint()), (kind, object, None));
        let location = work.location();
        assert!(location.file().ends_with("outstanding.rs"), "{location}");
        assert_eq!(location.line(), line, "{kind}");
        assert!(work.age() < Duration::from_secs(600));
        let text = work.to_string();
        assert!(text.starts_with(&format!("{kind} on {object}, ")), "{text}");
        assert!(text.contains(&format!("outstanding.rs:{line}:")), "{text}");
        assert!(format!("{io:#?}").contains(&format!("outstanding.rs:{line}:")), "{io:#?}");
    }
    Ok(())
}

/// Section 1: a posted handler names its own line and age, though it lies in the box of one that has run.
#[test]
fn a_posted_handler_names_its_own_line_whatever_ran_before() -> io::Result<()> {
    fn nothing() {}
    let posts: [fn(&Handle) -> u32; 2] = [
        |io| {
            io.post(nothing);
            line!() - 1
        },
        |io| {
            io.post(nothing);
            line!() - 1
        },
    ];
    let mut io = IoContext::new()?;
    for post in posts {
        let before = Instant::now();
        let line = post(&io);
        let work = only(&io);
        assert_eq!(work.location().line(), line);
        assert!(work.age() <= before.elapsed());
        assert_eq!(io.run()?, 1);
    }
    Ok(())
}

/// Section 1: what a handler starts is as old as it says, in a loop without timers, too, which need not know the time.
#[test]
fn what_a_handler_starts_is_young_however_long_the_loop_has_slept() -> io::Result<()> {
    const PAUSE: Duration = Duration::from_millis(300);
    let mut io = IoContext::new()?;
    let (ours, mut theirs) = unix_pair();
    let handle = io.handle().clone();
    let early = handle.clone();
    io.post(move || early.post(|| {})); // For which the loop looks at the clock, before it sleeps.
    let (tell_end, end) = std::sync::mpsc::channel();
    io.register(ours, Interest::READABLE, move |stream, _| {
        if stream.read(&mut [0; 8]).is_ok() {
            handle.post(|| {});
            let ages: Vec<Duration> = handle.outstanding().iter().map(Work::age).collect();
            let end: Instant = end.recv().expect("the writer tells before it writes");
            assert!(ages.iter().min() <= Some(&end.elapsed()) && ages.iter().max() >= Some(&PAUSE), "{ages:?}");
            return Next::Release;
        }
        Next::Keep
    })?;
    let other = std::thread::spawn(move || {
        std::thread::sleep(PAUSE);
        tell_end.send(Instant::now()).expect("the loop runs");
        theirs.write_all(b"x")
    });
    io.run()?;
    other.join().expect("no panic")
}

/// Section 1: what other threads have posted is as old as the oldest of it that the loop has not seen, in the inbox and
/// when it was taken out.
#[test]
fn remote_work_is_as_old_as_the_first_that_came() -> io::Result<()> {
    const PAUSE: Duration = Duration::from_millis(20);
    let mut io = IoContext::new()?;
    let (remote, handle) = (io.remote(), io.handle().clone());
    for _ in 0..2 {
        let older = |work: &Work| work.kind() == "remote post" && work.age() >= PAUSE;
        let task = |stops: bool| {
            move |io: &Handle| {
                if stops {
                    io.stop()
                }
            }
        }; // All of one type.
        assert!(remote.post(task(true)).is_ok());
        std::thread::sleep(PAUSE);
        assert!(remote.post(task(false)).is_ok());
        assert_eq!(io.outstanding().iter().filter(|work| older(work)).count(), 2);
        io.run()?;
        assert_eq!(handle.outstanding().iter().filter(|work| older(work)).count(), 1);
        io.restart();
        io.run()?;
    }
    Ok(())
}

/// Section 1: a connection is listed with its peer, a listener with its own address.
#[test]
fn sockets_are_listed_with_their_endpoint() -> io::Result<()> {
    let io = IoContext::new()?;
    let (ours, theirs) = tcp_pair();
    let connection = io.register(ours, Interest::READABLE, |_, _| Next::Keep)?;
    let work = only(&io);
    assert_eq!((work.object(), work.endpoint()), ("TcpStream", Some(&*theirs.local_addr()?.to_string())));
    connection.release();
    let listener = TcpListener::bind(([127, 0, 0, 1], 0).into())?;
    let address = listener.local_addr()?.to_string();
    io.register(listener, Interest::READABLE, |_, _| Next::Keep)?;
    let work = only(&io);
    assert_eq!((work.object(), work.endpoint()), ("TcpListener", Some(&*address)));
    assert!(work.to_string().contains(&address));
    Ok(())
}

/// Section 1: a handler that runs is not outstanding any more; a callback that runs is.
#[test]
fn work_stops_being_outstanding_before_its_call() -> io::Result<()> {
    let mut io = IoContext::new()?;
    let handle = io.handle().clone();
    io.post(move || assert!(handle.outstanding().is_empty() && handle.stopped()));
    assert_eq!(io.run()?, 1);
    let handle = io.handle().clone();
    io.after(Duration::ZERO, move |_| assert!(handle.outstanding().is_empty() && handle.stopped()));
    assert_eq!(io.run()?, 1);
    let (handle, (ours, _theirs)) = (io.handle().clone(), unix_pair());
    let callback = move |_: &ioctx::Io<UnixStream>, _: ioctx::Ready| {
        assert_eq!(only(&handle).kind(), "registration");
        Next::Release
    };
    io.register(ours, Interest::WRITABLE, callback)?;
    assert_eq!(io.run()?, 1);
    Ok(())
}

/// Section 1: the listing is one line per piece of work, and empty when nothing is outstanding.
#[test]
fn the_listing_has_one_line_for_each() -> io::Result<()> {
    let io = IoContext::new()?;
    assert!(io.outstanding().is_empty() && io.outstanding().to_string().is_empty());
    let _guards = [io.work_guard(), io.work_guard(), io.work_guard()];
    assert_eq!(io.outstanding().to_string().lines().count(), 3);
    Ok(())
}
