//! Other threads reach the loop: `Remote`, `Sender`, remote guards.

mod util;

use ioctx::{Handle, IoContext, Remote};
use std::io;
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::mpsc::{self, TryRecvError};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};
use util::{Record, Tomb, context};

const ALIVE: &str = "the context is there";

fn is_send<T: Send>(_: &T) {}
fn is_sync<T: Sync>(_: &T) {}

/// P9: tasks and messages of one thread arrive in the order in which they were sent, whatever their types and sizes.
#[test]
fn tasks_of_every_type_and_messages_of_every_channel_come_in_the_order_sent() -> io::Result<()> {
    const SENT: u32 = 6_000;
    let mut io = context();
    let came = Arc::new(Mutex::new(Vec::new()));
    let tell = |n: u32| {
        let came = Arc::clone(&came);
        move || came.lock().expect("no panic").push(n)
    };
    let numbers = io.channel(|tell: Box<dyn FnOnce() + Send>| tell());
    let blocks = io.channel(|(tell, block): (Box<dyn FnOnce() + Send>, [u32; 200])| {
        assert_eq!(block, [block[0]; 200]);
        tell();
    });
    let (remote, guard) = (io.remote(), io.remote().work_guard());
    let ran = thread::scope(|scope| {
        scope.spawn(move || {
            let _guard = guard;
            for n in (0..SENT).step_by(5) {
                let (first, third, fifth) = (tell(n), tell(n + 2), tell(n + 4));
                let (block, text) = ([n; 1_000], n.to_string());
                assert!(remote.post(move |_| first()).is_ok());
                assert!(numbers.send(Box::new(tell(n + 1))).is_ok());
                let large = move |_: &Handle| {
                    assert_eq!(block, [n; 1_000]);
                    third();
                };
                assert!(remote.post(large).is_ok());
                assert!(blocks.send((Box::new(tell(n + 3)), [n; 200])).is_ok());
                let with_text = move |_: &Handle| {
                    assert_eq!(text, n.to_string());
                    fifth();
                };
                assert!(remote.post(with_text).is_ok());
            }
        });
        io.run()
    })?;
    assert_eq!(ran, SENT as usize);
    assert!(came.lock().expect("no panic").iter().copied().eq(0..SENT));
    Ok(())
}

/// P9: every accepted task runs once, those of one thread in the order posted, while the loop sleeps and wakes.
#[test]
fn tasks_of_many_threads_all_run_once_in_the_order_of_each_thread() -> io::Result<()> {
    const THREADS: usize = 4;
    const EACH: usize = 5_000;
    let mut io = context();
    let _guard = io.work_guard();
    // The handler lives on the loop, with state that is not `Send`.
    let seen = Rc::new(std::cell::RefCell::new(vec![0; THREADS]));
    let sender = io.channel({
        let (seen, io) = (seen.clone(), io.handle().clone());
        move |(thread, n): (usize, usize)| {
            let mut seen = seen.borrow_mut();
            assert_eq!(seen[thread], n, "thread {thread} out of order");
            seen[thread] += 1;
            if seen.iter().all(|n| *n == EACH) {
                io.stop();
            }
        }
    });
    is_send(&sender);
    is_sync(&sender);
    let posted = Arc::new(AtomicUsize::new(0));
    let threads: Vec<_> = (0..THREADS)
        .map(|thread| {
            let (sender, remote, posted) = (sender.clone(), io.remote(), posted.clone());
            thread::spawn(move || {
                for n in 0..EACH {
                    let posted = posted.clone();
                    let count = move |_: &Handle| assert!(posted.fetch_add(1, SeqCst) < THREADS * EACH);
                    remote.post(count).expect(ALIVE);
                    sender.send((thread, n)).expect(ALIVE);
                }
            })
        })
        .collect();
    io.run()?;
    threads.into_iter().for_each(|thread| thread.join().expect("no panic"));
    assert_eq!(*seen.borrow(), [EACH; THREADS]);
    assert_eq!(posted.load(SeqCst), THREADS * EACH, "each task was queued before its message");
    Ok(())
}

/// Races `act`, on another thread, against a call that is just falling asleep, with every delay around that moment.
/// `begin` makes, on the loop's thread, what `act` gets; `run` is the call.
fn race<T: Send + 'static>(
    mut io: IoContext,
    begin: impl Fn(&IoContext) -> T,
    act: impl Fn(T) + Send + 'static,
    mut run: impl FnMut(&mut IoContext) -> io::Result<()>,
) -> io::Result<()> {
    let (to_thread, from_loop) = mpsc::channel();
    let thread = thread::spawn(move || {
        for looks in 1_u32.. {
            match from_loop.try_recv() {
                Ok(value) => {
                    (0..looks % 256).for_each(|_| std::hint::spin_loop());
                    act(value);
                }
                Err(TryRecvError::Disconnected) => break,
                // Sleeping here would be too slow, but there may be one core for the two of us.
                Err(TryRecvError::Empty) if looks % 1_000 == 0 => thread::yield_now(),
                Err(TryRecvError::Empty) => {}
            }
        }
    });
    let started = Instant::now();
    while started.elapsed() < Duration::from_millis(500) {
        to_thread.send(begin(&io)).expect("the thread listens");
        run(&mut io)?;
    }
    drop(to_thread);
    thread.join().expect("no panic");
    Ok(())
}

/// P9: a task posted while the loop falls asleep is not slept over.
#[test]
fn a_task_posted_while_the_loop_falls_asleep_is_not_lost() -> io::Result<()> {
    let io = context();
    let _guard = io.work_guard();
    let post = |remote: Remote| remote.post(|_| {}).expect(ALIVE);
    race(
        io,
        |io| io.remote(),
        post,
        |io| {
            assert_eq!(io.run_one()?, 1);
            Ok(())
        },
    )
}

/// P3, P9: nor is a stop.
#[test]
fn a_stop_asked_for_while_the_loop_falls_asleep_is_not_lost() -> io::Result<()> {
    let io = context();
    let _guard = io.work_guard();
    race(
        io,
        |io| io.remote(),
        |remote| remote.stop(),
        |io| {
            assert_eq!(io.run()?, 0);
            io.restart();
            Ok(())
        },
    )
}

/// P1, P9: nor is the end of the last guard.
#[test]
fn run_never_sleeps_over_the_end_of_the_last_remote_guard() -> io::Result<()> {
    race(
        context(),
        |io| io.remote().work_guard(),
        drop,
        |io| {
            assert_eq!(io.run()?, 0);
            assert!(io.stopped());
            Ok(())
        },
    )
}

/// P9: a remote and a sender are no work; a task or a message that was accepted is.
#[test]
fn a_remote_does_not_keep_run_alive_but_its_task_does() -> io::Result<()> {
    let mut io = context();
    let (remote, sender) = (io.remote(), io.channel(|_: u8| {}));
    is_send(&remote);
    is_sync(&remote);
    assert_eq!(io.run()?, 0);
    assert!(io.stopped());
    remote.post(|_| {}).expect(ALIVE);
    assert_eq!(io.outstanding().len(), 1);
    assert_eq!(io.run()?, 1);
    sender.send(1).expect(ALIVE);
    assert_eq!(io.run()?, 1);
    Ok(())
}

/// P9: a task gets a handle, so it can start what belongs to the loop.
#[test]
fn a_posted_task_gets_a_handle_of_its_loop() -> io::Result<()> {
    let mut io = context();
    let remote = io.remote();
    let start = |io: &Handle| io.post(|| {});
    thread::spawn(move || remote.post(start)).join().expect("no panic").expect(ALIVE);
    assert_eq!(io.run()?, 2);
    Ok(())
}

/// P9: what was accepted is dropped unrun with its context; what comes later is handed back.
#[test]
fn tasks_are_dropped_with_the_context_and_refused_afterwards() -> io::Result<()> {
    let io = IoContext::new()?;
    let (remote, sender) = (io.remote(), io.channel(|_: Box<u8>| unreachable!("never run")));
    let alive = Arc::new(());
    let task = alive.clone();
    remote.post(move |_| unreachable!("never run {task:?}")).expect(ALIVE);
    sender.send(Box::new(1)).expect(ALIVE);
    assert_eq!(Arc::strong_count(&alive), 2);
    drop(io);
    assert_eq!(Arc::strong_count(&alive), 1, "dropped unrun");

    let task = alive.clone();
    let refused = remote.post(move |_| drop(task)).expect_err("the context has gone");
    assert!(refused.to_string().contains("dropped"), "{refused}");
    assert_eq!(Arc::strong_count(&alive), 2, "the task is in the error");
    drop(refused.into_inner());
    assert_eq!(Arc::strong_count(&alive), 1);
    assert_eq!(*sender.send(Box::new(7)).expect_err("the context has gone").into_inner(), 7);
    remote.stop();
    drop(remote.work_guard());
    Ok(())
}

/// P9: a channel's handler goes with the last sender, behind everything that was sent, on the loop's thread.
#[test]
fn the_handler_of_a_channel_goes_after_the_last_message_of_its_last_sender() -> io::Result<()> {
    let mut io = context();
    let log = Record::new();
    let (seen, tomb) = (log.clone(), Tomb("gone", log.clone()));
    let sender = io.channel(move |text: &'static str| {
        let _ = &tomb;
        seen.push(text);
    });
    let other = sender.clone();
    sender.send("one").expect(ALIVE);
    drop(sender);
    assert_eq!(io.run()?, 1);
    assert_eq!(log.take(), ["one"]);
    thread::spawn(move || other.send("two")).join().expect("no panic").expect(ALIVE);
    assert_eq!(io.run()?, 1);
    assert_eq!(log.take(), ["two", "gone"]);
    Ok(())
}

/// P9: a channel that takes the place of an ended one gets its own messages only.
#[test]
fn a_new_channel_never_gets_the_messages_of_an_ended_one() -> io::Result<()> {
    let mut io = context();
    let log = Record::new();
    let handle = io.handle().clone();
    let channel = |name: &'static str| {
        let log = log.clone();
        handle.channel(move |n: u8| log.push((name, n)))
    };
    let old = channel("old");
    old.send(1).expect(ALIVE);
    drop(old);
    let new = channel("new");
    new.send(2).expect(ALIVE);
    io.run()?;
    let newer = channel("newer");
    newer.send(3).and(new.send(4)).expect(ALIVE);
    io.run()?;
    assert_eq!(log.take(), [("old", 1), ("new", 2), ("newer", 3), ("new", 4)]);
    Ok(())
}

/// P4, P9: a message sent from inside the handler of its own channel is delivered later, not nested.
#[test]
fn a_message_sent_by_its_own_handler_is_delivered_in_a_later_call() -> io::Result<()> {
    let mut io = context();
    let slot = Rc::new(std::cell::RefCell::new(None::<ioctx::Sender<u32>>));
    let log = Record::new();
    let sender = io.channel({
        let (slot, log) = (slot.clone(), log.clone());
        move |n| {
            log.push(("begin", n));
            if let (Some(sender), true) = (slot.borrow().as_ref(), n < 2) {
                sender.send(n + 1).expect(ALIVE);
            }
            log.push(("end", n));
        }
    });
    sender.send(1).expect(ALIVE);
    slot.replace(Some(sender));
    assert_eq!(io.run()?, 2);
    assert_eq!(log.take(), [("begin", 1), ("end", 1), ("begin", 2), ("end", 2)]);
    Ok(())
}

/// P5: accepted is accepted, whenever the context goes: run once, or dropped with it.
/// Method: a thread posts while the context is dropped under it.
#[test]
fn every_accepted_task_is_run_or_dropped_while_the_context_goes() -> io::Result<()> {
    fn flood(remote: &Remote, task: &Arc<()>) -> usize {
        let post = || {
            let task = task.clone();
            remote.post(move |_| drop(task)).is_ok()
        };
        (0..).take_while(|_| post()).count()
    }
    for _ in 0..50 {
        let mut io = IoContext::new()?;
        let (remote, task) = (io.remote(), Arc::new(()));
        let held = task.clone();
        let (started, wait) = mpsc::channel();
        let thread = thread::spawn(move || {
            started.send(()).expect("the test waits");
            flood(&remote, &held)
        });
        wait.recv().expect("the thread runs");
        let ran = io.run_one()?;
        drop(io);
        let accepted = thread.join().expect("no panic");
        assert!(accepted >= ran);
        assert_eq!(Arc::strong_count(&task), 1, "leaked some of {accepted}");
    }
    Ok(())
}
