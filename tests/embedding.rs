//! The loop inside another loop: the host sleeps on the descriptor for at most `next_timeout`, then calls `poll`.

mod util;

use ioctx::{Config, Interest, IoContext, Next};
use std::io::{self, Write};
use std::time::Duration;

/// P32: `next_timeout` is zero while anything is left to do, else the time to the next deadline, else none.
#[test]
fn next_timeout_tells_how_long_the_host_may_sleep() -> io::Result<()> {
    let zero = Some(Duration::ZERO);
    let mut io = IoContext::new()?;
    assert_eq!(io.next_timeout(), None);
    let guard = io.work_guard();
    assert_eq!(io.next_timeout(), None, "a guard is nothing to do");
    io.post(|| {});
    io.post(|| {});
    assert_eq!(io.next_timeout(), zero);
    io.run_one()?;
    assert_eq!(io.next_timeout(), zero);
    io.poll()?;
    assert_eq!(io.next_timeout(), None);
    io.remote().post(|_| {}).expect("the context is there");
    assert_eq!(io.next_timeout(), zero);
    io.poll()?;
    let far = io.after(Duration::from_secs(100), |_| {});
    assert!(io.next_timeout() > Some(Duration::from_secs(90)) && io.next_timeout() <= Some(Duration::from_secs(100)));
    let near = io.after(Duration::from_secs(10), |_| {});
    assert!(io.next_timeout() <= Some(Duration::from_secs(10)));
    io.cancel(near);
    assert_eq!(io.next_timeout(), zero, "the abort is ready");
    io.poll()?;
    assert!(io.next_timeout() > Some(Duration::from_secs(90)));
    io.stop();
    assert_eq!(io.next_timeout(), None, "nothing will be done");
    io.restart();
    io.cancel(far);
    io.poll()?;
    io.after(Duration::ZERO, |_| {});
    assert_eq!(io.next_timeout(), zero, "a deadline in the past");
    assert_eq!(io.poll()?, 1);
    drop(guard);
    assert_eq!(io.next_timeout(), None);
    Ok(())
}

/// P32: `next_timeout` is zero while the poller may have more events than fitted into the batch.
#[test]
fn next_timeout_is_zero_after_a_full_batch() -> io::Result<()> {
    let mut io = IoContext::with_config(Config::new().event_batch(2))?;
    let mut peers = Vec::new();
    for _ in 0..5 {
        let (ours, mut theirs) = util::unix_pair();
        theirs.write_all(b"x")?;
        peers.push(theirs);
        io.register(ours, Interest::READABLE, |_, _| Next::Release)?;
    }
    let mut ran = io.poll()?;
    while !io.stopped() {
        assert_eq!(io.next_timeout(), Some(Duration::ZERO), "left asleep after {ran}");
        ran += io.poll()?;
    }
    assert_eq!(ran, 5);
    Ok(())
}

/// P32: a host with no time to spare gets something done all the same: a budget of zero runs one ready handler.
#[test]
fn a_budget_of_zero_runs_a_handler() -> io::Result<()> {
    let mut io = IoContext::new()?;
    let (ours, mut theirs) = util::unix_pair();
    io.register(ours, Interest::READABLE, |stream, _| match util::drain(stream) {
        Ok((_, false)) => Next::Keep,
        _ => Next::Release,
    })?;
    io.poll_for(Duration::ZERO)?; // The first edge, writable, calls nobody.
    theirs.write_all(b"x")?;
    assert_eq!(io.poll_for(Duration::ZERO)?, 1, "a source");
    for _ in 0..3 {
        io.post(|| {});
    }
    let mut ran = 0;
    while io.next_timeout() == Some(Duration::ZERO) {
        let now = io.poll_for(Duration::ZERO)?;
        assert!(now > 0 || ran == 3, "nothing ran behind {ran}");
        ran += now;
    }
    assert_eq!(ran, 3);
    drop(theirs);
    while !io.stopped() {
        io.poll_for(Duration::ZERO)?;
    }
    Ok(())
}

/// Section 1: a batch of any size makes a context.
#[test]
fn a_batch_of_any_size_makes_a_context() -> io::Result<()> {
    for size in [0, 1, usize::MAX] {
        let mut io = IoContext::with_config(Config::new().event_batch(size))?;
        let (ours, _theirs) = util::unix_pair();
        io.register(ours, Interest::WRITABLE, |_, _| Next::Release)?;
        assert_eq!(io.run()?, 1, "{size}");
    }
    Ok(())
}

#[cfg(not(mio_unsupported_force_poll_poll))]
mod by_descriptor {
    use crate::util::{Record, unix_pair};
    use ioctx::mio::unix::SourceFd;
    use ioctx::mio::{self, Token};
    use ioctx::{Config, Handle, Interest, IoContext, Next};
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    use std::cell::Cell;
    use std::io::{self, Write};
    use std::os::fd::{AsFd, AsRawFd};
    use std::rc::Rc;
    use std::thread;
    use std::time::{Duration, Instant};

    const STUCK: Duration = crate::util::STUCK;

    /// A host's loop: sleeps on the loop's descriptor, and never for longer than it may.
    trait Host {
        /// Sleeps; `false` if it slept for as long as a test lasts at most.
        fn sleep(&mut self, io: &IoContext) -> io::Result<bool>;

        fn run(&mut self, io: &mut IoContext) -> io::Result<usize> {
            let mut ran = 0;
            while !io.stopped() {
                assert!(self.sleep(io)?, "the host was left asleep");
                ran += io.poll()?;
            }
            Ok(ran)
        }
    }

    fn allowed(io: &IoContext) -> (Duration, bool) {
        match io.next_timeout() {
            Some(timeout) if timeout < STUCK => (timeout, true),
            _ => (STUCK, false),
        }
    }

    /// Level-triggered: poll(2).
    struct Level;

    impl Host for Level {
        fn sleep(&mut self, io: &IoContext) -> io::Result<bool> {
            let (timeout, is_short) = allowed(io);
            let timeout = Timespec::try_from(timeout).expect("fits");
            let ready = poll(&mut [PollFd::from_borrowed_fd(io.as_fd(), PollFlags::IN)], Some(&timeout))?;
            Ok(ready > 0 || is_short)
        }
    }

    /// Edge-triggered: a poller of mio's, which holds the loop's descriptor.
    struct Edge(mio::Poll, mio::Events);

    impl Edge {
        fn new(io: &IoContext) -> io::Result<Edge> {
            let poll = mio::Poll::new()?;
            let fd = io.as_fd().as_raw_fd();
            poll.registry().register(&mut SourceFd(&fd), Token(0), mio::Interest::READABLE)?;
            Ok(Edge(poll, mio::Events::with_capacity(1)))
        }
    }

    impl Host for Edge {
        fn sleep(&mut self, io: &IoContext) -> io::Result<bool> {
            let (timeout, is_short) = allowed(io);
            self.0.poll(&mut self.1, Some(timeout))?;
            Ok(!self.1.is_empty() || is_short)
        }
    }

    fn with_each_host(
        config: &Config,
        test: impl Fn(&mut IoContext, &mut dyn Host) -> io::Result<()>,
    ) -> io::Result<()> {
        let mut io = IoContext::with_config(config.clone())?;
        test(&mut io, &mut Level)?;
        let mut io = IoContext::with_config(config.clone())?;
        let mut host = Edge::new(&io)?;
        test(&mut io, &mut host)
    }

    /// Section 2: the doc's loop; `&mut dyn Host` has no generic `run`, so it is spelled out once more here.
    fn drive(io: &mut IoContext, host: &mut dyn Host) -> io::Result<usize> {
        host.run(io)
    }

    /// P32: a turn takes back what had woken the descriptor, also where there is no source to ask for: a host that is told of
    /// a level would turn for ever.
    #[test]
    fn the_descriptor_is_quiet_after_a_turn() -> io::Result<()> {
        let mut io = IoContext::new()?;
        let is_up = |io: &IoContext| -> io::Result<bool> {
            Ok(poll(&mut [PollFd::from_borrowed_fd(io.as_fd(), PollFlags::IN)], Some(&Timespec::default()))? > 0)
        };
        assert!(!is_up(&io)?);
        io.post(|| {});
        assert!(is_up(&io)?);
        assert_eq!(io.poll()?, 1);
        assert!(!is_up(&io)?);
        Ok(())
    }

    /// P32: timers, tasks, other threads, sources and storms of posts are all served, whichever kind of host sleeps.
    #[test]
    fn every_kind_of_work_is_served_by_every_kind_of_host() -> io::Result<()> {
        fn chain(io: &Handle, left: u32) {
            let handle = io.clone();
            io.post(move || {
                if left > 1 {
                    chain(&handle, left - 1)
                }
            });
        }
        with_each_host(&Config::new(), |io, host| {
            let (ours, mut theirs) = unix_pair();
            theirs.write_all(b"before")?;
            let writer = thread::spawn(move || {
                for _ in 0..10 {
                    theirs.write_all(b"more").expect("room");
                    thread::yield_now();
                }
            });
            let got = Rc::new(Cell::new(0));
            let bytes = got.clone();
            io.register(ours, Interest::READABLE, move |stream, _| {
                loop {
                    match stream.read(&mut [0; 3]) {
                        Ok(0) => return Next::Release,
                        Ok(n) => bytes.set(bytes.get() + n),
                        Err(_) => return Next::Keep,
                    }
                }
            })?;
            chain(io, 10);
            let started = Instant::now();
            io.after(Duration::from_millis(20), move |_| assert!(started.elapsed() >= Duration::from_millis(20)));
            let (remote, guard) = (io.remote(), io.remote().work_guard());
            let poster = thread::spawn(move || {
                (0..10).for_each(|_| remote.post(|_| {}).expect("the context is there"));
                drop(guard);
            });
            let ran = drive(io, host)?;
            assert!(ran > 10 + 1 + 10, "{ran}");
            assert_eq!(got.get(), 6 + 10 * 4);
            writer.join().expect("no panic");
            poster.join().expect("no panic");
            Ok(())
        })
    }

    /// P32: what does not fit into one batch of events, or one dispatch, does not wait for another event.
    #[test]
    fn a_host_is_not_left_asleep_by_full_batches_and_spent_budgets() -> io::Result<()> {
        with_each_host(&Config::new().event_batch(2).read_budget(2, 1 << 20), |io, host| {
            let mut peers = Vec::new();
            for _ in 0..20 {
                let (ours, mut theirs) = unix_pair();
                theirs.write_all(b"ten bytes!")?;
                peers.push(theirs);
                let mut left = 10;
                io.register(ours, Interest::READABLE, move |stream, _| {
                    while stream.read(&mut [0]).is_ok() {
                        left -= 1;
                    }
                    if left == 0 { Next::Release } else { Next::Keep }
                })?;
            }
            drive(io, host)?;
            Ok(())
        })
    }

    /// P32: a turn that the host leaves early, handler by handler, is gone on with.
    #[test]
    fn a_host_that_takes_one_handler_at_a_time_is_not_left_asleep() -> io::Result<()> {
        with_each_host(&Config::new(), |io, host| {
            let ran = Record::new();
            let mut peers = Vec::new();
            for n in 0..5 {
                let (ours, mut theirs) = unix_pair();
                theirs.write_all(b"x")?;
                peers.push(theirs);
                let (post, callback) = (ran.clone(), ran.clone());
                io.post(move || post.push(n));
                io.register(ours, Interest::READABLE, move |_, _| {
                    callback.push(n);
                    Next::Release
                })?;
            }
            while !io.stopped() {
                assert!(host.sleep(io)?, "the host was left asleep");
                io.poll_one()?;
            }
            assert_eq!(ran.len(), 10);
            Ok(())
        })
    }

    /// P32: work queued, a deadline shortened, and readiness remembered outside a turn wake the descriptor, for a
    /// host that looked at `next_timeout` before.
    #[test]
    fn work_made_outside_a_turn_wakes_the_descriptor() -> io::Result<()> {
        fn is_awake(io: &IoContext) -> io::Result<bool> {
            let mut descriptors = [PollFd::from_borrowed_fd(io.as_fd(), PollFlags::IN)];
            Ok(poll(&mut descriptors, Some(&Timespec::default()))? > 0)
        }
        let (ours, mut theirs) = unix_pair();
        let mut io = IoContext::new()?;
        let _guard = io.work_guard();
        let wait = io.after(Duration::from_secs(3600), |_| {});
        let registration = io.register(ours, Interest::NONE, |_, _| Next::Interest(Interest::NONE))?;
        theirs.write_all(b"x")?;
        assert!(is_awake(&io)?);
        io.poll()?;
        io.poll()?;
        assert!(!is_awake(&io)?, "awake with nothing to do");

        type Act<'a> = (&'static str, usize, Box<dyn Fn(&IoContext) + 'a>);
        let alarm = io.alarm(|| None);
        alarm.set(Duration::from_secs(600));
        io.poll()?;
        io.poll()?;
        let acts: [Act; 8] = [
            ("post", 1, Box::new(|io| io.post(|| {}))),
            ("dispatch", 1, Box::new(|io| io.dispatch(|| {}))),
            ("remembered readiness", 1, Box::new(|_| registration.set_interest(Interest::READABLE).expect("there"))),
            ("task of a thread", 1, Box::new(|io| io.remote().post(|_| {}).expect("there"))),
            ("abort", 1, Box::new(move |io| drop(format!("{:?}", io.cancel(wait))))),
            ("alarm moved", 0, Box::new(|_| alarm.set(Duration::from_secs(120)))),
            ("alarm set", 0, Box::new(|io| io.alarm(|| None).set(Duration::from_secs(100)))),
            (
                "nearer deadline",
                0,
                Box::new(|io| {
                    io.after(Duration::from_secs(60), |_| {});
                }),
            ),
        ];
        for (what, handlers, act) in acts {
            act(&io);
            assert!(is_awake(&io)?, "{what} left the host asleep");
            assert_eq!(io.poll()?, handlers, "{what}");
            io.poll()?;
            assert!(!is_awake(&io)?, "awake after {what}");
        }
        Ok(())
    }

    /// P32: the end of the last guard on another thread, and a stop, wake the host, too.
    #[test]
    fn a_host_notices_the_end_of_the_last_guard_and_a_stop() -> io::Result<()> {
        with_each_host(&Config::new(), |io, host| {
            let guard = io.remote().work_guard();
            let thread = thread::spawn(move || drop(guard));
            assert_eq!(drive(io, host)?, 0);
            thread.join().expect("no panic");

            let _guard = io.work_guard();
            let remote = io.remote();
            let thread = thread::spawn(move || remote.stop());
            assert_eq!(drive(io, host)?, 0);
            thread.join().expect("no panic");
            io.restart();
            Ok(())
        })
    }

    /// P32: a loop inside a loop: one context serves as the host of another, by `register_fd` of its descriptor.
    #[test]
    fn one_context_can_host_another() -> io::Result<()> {
        let mut outer = crate::util::context();
        let mut inner = IoContext::new()?;
        let ran = Record::new();
        let (ours, mut theirs) = unix_pair();
        let seen = ran.clone();
        inner.register(ours, Interest::READABLE, move |_, _| {
            seen.push("inner");
            Next::Release
        })?;
        let fd = inner.as_fd().try_clone_to_owned()?;
        outer.register_fd(fd, Interest::READABLE, move |_, _| {
            inner.poll().expect("the poller works");
            if inner.stopped() { Next::Release } else { Next::Keep }
        })?;
        outer.poll()?;
        theirs.write_all(b"x")?;
        outer.run()?;
        assert_eq!(ran.take(), ["inner"]);
        Ok(())
    }
    /// Makes a loop that keeps what arrives, and a host that has been told all there was to tell so far.
    fn quiet(io: &mut IoContext) -> io::Result<(Edge, std::os::unix::net::UnixStream)> {
        let mut host = Edge::new(io)?;
        let (ours, theirs) = unix_pair();
        io.register(ours, Interest::READABLE, |stream, _| {
            crate::util::drain(stream).expect("a read");
            Next::Keep
        })?;
        loop {
            io.poll()?;
            host.0.poll(&mut host.1, Some(Duration::ZERO))?;
            if host.1.is_empty() {
                return Ok((host, theirs));
            }
        }
    }

    /// P32: an edge that was spent on a call which did not look at the sources is made up for.
    #[test]
    fn an_edge_spent_on_a_stopped_loop_is_not_lost() -> io::Result<()> {
        let mut io = IoContext::new()?;
        let (mut host, mut theirs) = quiet(&mut io)?;
        io.stop();
        theirs.write_all(b"x")?;
        host.0.poll(&mut host.1, Some(STUCK))?;
        assert!(!host.1.is_empty(), "the edge");
        assert_eq!(io.poll()?, 0, "stopped");
        io.restart();
        assert_eq!(io.next_timeout(), Some(Duration::ZERO), "the host would sleep over it");
        let mut ran = 0;
        while ran == 0 {
            assert!(host.sleep(&io)?, "the host was left asleep");
            ran = io.poll()?;
        }
        assert_eq!(ran, 1);
        Ok(())
    }

    /// P32: nor is one that was spent on a call with no time to spare.
    #[test]
    fn an_edge_spent_on_a_budget_of_zero_is_not_lost() -> io::Result<()> {
        let mut io = IoContext::new()?;
        let (mut host, mut theirs) = quiet(&mut io)?;
        for _ in 0..3 {
            theirs.write_all(b"x")?;
            let mut ran = 0;
            while ran == 0 {
                assert!(host.sleep(&io)?, "the host was left asleep");
                ran = io.poll_for(Duration::ZERO)?;
            }
            assert_eq!(ran, 1);
        }
        Ok(())
    }

    /// P32: the end of the last guard wakes a host that sleeps, also when it is dropped on the loop's own thread.
    #[test]
    fn a_guard_dropped_outside_a_turn_wakes_the_host() -> io::Result<()> {
        with_each_host(&Config::new(), |io, host| {
            assert!(io.as_fd().as_raw_fd() >= 0, "there is a host");
            let guards = (io.work_guard(), io.work_guard());
            while io.next_timeout().is_some() {
                io.poll()?;
            }
            drop(guards.0);
            io.poll()?;
            drop(guards.1);
            assert!(io.stopped());
            assert!(host.sleep(io)?, "the host was left asleep");
            Ok(())
        })
    }

    /// P32: the end of a deadline without a handler, outside of a turn, is seen by the host if it was the last work.
    #[test]
    fn a_deadline_taken_away_outside_a_turn_wakes_the_host() -> io::Result<()> {
        const LONG: Duration = Duration::from_secs(3600);
        with_each_host(&Config::new(), |io, host| {
            assert!(io.as_fd().as_raw_fd() >= 0, "there is a host");
            let alarm = io.alarm(|| None);
            for by_key in [false, true] {
                let key = by_key.then(|| io.every(LONG, || {}));
                alarm.set(LONG);
                assert!(host.sleep(io)?, "a deadline was set");
                io.poll()?;
                alarm.unset();
                key.map(|key| io.cancel(key));
                assert!(io.stopped());
                assert!(host.sleep(io)?, "the host was left asleep");
                io.poll()?;
                io.restart();
            }
            Ok(())
        })
    }
}
