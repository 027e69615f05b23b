//! Signals interrupt the loop's sleep; nobody notices. Alone in its process: one test, because a signal goes to any
//! thread of it.
#![cfg(all(target_os = "linux", feature = "signal"))]

use ioctx::IoContext;
use rustix::process::{Signal, getpid, kill_process};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};

/// P25: EINTR is never seen: `run` goes on sleeping, deadlines are kept, nothing runs early and nothing twice.
/// Method: a thread that blocks no signal is not the only candidate, so it sends many until a timer has had its time.
#[test]
fn signals_during_the_sleep_are_not_seen() -> io::Result<()> {
    let caught = Arc::new(AtomicBool::new(false));
    signal_hook::flag::register(signal_hook::consts::SIGUSR1, caught.clone())?;
    let mut io = IoContext::new()?;
    let (ended, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let (is_ended, count) = (ended.clone(), sent.clone());
    let sender = thread::spawn(move || {
        while !is_ended.load(SeqCst) {
            kill_process(getpid(), Signal::USR1).expect("our own process");
            count.fetch_add(1, SeqCst);
            thread::sleep(Duration::from_micros(200)); // So that the loop falls asleep again in between.
        }
    });
    let delay = Duration::from_millis(200);
    let started = Instant::now();
    io.after(delay, move |waited| assert!(waited.is_ok() && started.elapsed() >= delay));
    let ran = io.run();
    let again = io.run_for(Duration::from_millis(10));
    let _guard = io.work_guard();
    let idle = io.run_for(Duration::from_millis(50));
    ended.store(true, SeqCst);
    sender.join().expect("no panic");
    assert_eq!((ran?, again?, idle?), (1, 0, 0));
    assert!(caught.load(SeqCst) && sent.load(SeqCst) > 1);
    Ok(())
}
