//! `SignalSet`, alone in its process, because signals are for all of it: `harness = false`.

use ioctx::{Cancel, Handle, IoContext, SignalSet, error};
use rustix::process::{Signal, getpid, kill_process};
use std::cell::RefCell;
use std::io::{self, ErrorKind};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

const USR1: i32 = signal_hook::consts::SIGUSR1;
const USR2: i32 = signal_hook::consts::SIGUSR2;
const STUCK: Duration = Duration::from_secs(20);

fn main() -> io::Result<()> {
    a_raised_signal_completes_the_wait()?;
    signals_raised_before_the_wait_are_kept_one_by_one()?;
    waits_are_served_in_the_order_started()?;
    every_set_gets_its_own_notification()?;
    a_wait_keeps_run_alive_and_a_background_one_does_not()?;
    impossible_signals_are_errors()?;
    cancel_ends_the_waits_and_keeps_the_signals()?;
    an_outstanding_wait_keeps_its_set()?;
    a_set_and_its_waits_go_with_the_context()?;
    a_signal_behind_the_end_of_the_context_does_no_harm()?;
    a_signal_wakes_a_sleeping_loop()?;
    println!("signals arrive as completions");
    Ok(())
}

fn raise(signal: Signal) -> io::Result<()> {
    Ok(kill_process(getpid(), signal)?)
}

type Seen = Rc<RefCell<Vec<i32>>>;

/// Waits once, and notes the signal, or 0 for an abort.
fn wait(set: &SignalSet, seen: &Seen) -> ioctx::Operation {
    let seen = Rc::clone(seen);
    set.async_wait(move |signal| match signal {
        Ok(signal) => seen.borrow_mut().push(signal),
        Err(error) => {
            assert!(error::is_aborted(&error));
            seen.borrow_mut().push(0);
        }
    })
}

fn set_of(io: &Handle, signals: &[i32]) -> io::Result<SignalSet> {
    let set = SignalSet::new(io);
    signals.iter().try_for_each(|signal| set.add(*signal))?;
    Ok(set)
}

/// Section 2: a wait ends with the number of the signal; P4: never inside the call.
fn a_raised_signal_completes_the_wait() -> io::Result<()> {
    let mut io = IoContext::new()?;
    let seen = Seen::default();
    let set = set_of(&io, &[USR1, USR2])?;
    wait(&set, &seen);
    assert_eq!(io.poll()?, 0);
    raise(Signal::USR2)?;
    assert!(seen.borrow().is_empty());
    assert_eq!(io.run_for(STUCK)?, 1);
    assert_eq!(seen.take(), [USR2]);
    Ok(())
}

/// Section 2: what is raised while nobody waits is kept, each raise once.
fn signals_raised_before_the_wait_are_kept_one_by_one() -> io::Result<()> {
    let mut io = IoContext::new()?;
    let seen = Seen::default();
    let set = set_of(&io, &[USR1])?;
    raise(Signal::USR1)?;
    raise(Signal::USR1)?;
    for expected in [USR1, USR1] {
        wait(&set, &seen);
        assert!(seen.borrow().is_empty());
        assert_eq!(io.run_for(STUCK)?, 1);
        assert_eq!(seen.take(), [expected]);
    }
    wait(&set, &seen);
    assert_eq!(io.poll()? + io.poll()?, 0);
    Ok(())
}

/// P10: several waits on one set.
fn waits_are_served_in_the_order_started() -> io::Result<()> {
    let mut io = IoContext::new()?;
    let order = Rc::new(RefCell::new(Vec::new()));
    let set = set_of(&io, &[USR1])?;
    for n in 0..3 {
        let order = Rc::clone(&order);
        set.async_wait(move |_| order.borrow_mut().push(n));
    }
    for n in 1..=3 {
        raise(Signal::USR1)?;
        assert_eq!(io.run_one_for(STUCK)?, 1);
        assert_eq!(order.borrow().len(), n);
    }
    assert_eq!(order.take(), [0, 1, 2]);
    Ok(())
}

/// Section 2: two sets of one context, and one of another, all hear of one signal; adding twice changes nothing.
fn every_set_gets_its_own_notification() -> io::Result<()> {
    let mut io = IoContext::new()?;
    let mut other = IoContext::new()?;
    let seen = Seen::default();
    let sets = [set_of(&io, &[USR1, USR1])?, set_of(&io, &[USR2, USR1])?, set_of(&other, &[USR1])?];
    for set in &sets {
        wait(set, &seen);
    }
    raise(Signal::USR1)?;
    assert_eq!(io.run_for(STUCK)? + other.run_for(STUCK)?, 3);
    assert_eq!(seen.take(), [USR1; 3]);
    let [first, second, third] = sets;
    drop(first);
    wait(&second, &seen);
    wait(&third, &seen);
    raise(Signal::USR1)?;
    assert_eq!(io.run_for(STUCK)? + other.run_for(STUCK)?, 2);
    Ok(())
}

/// P1: a wait is outstanding; one in the background is not, but is served while something else is.
fn a_wait_keeps_run_alive_and_a_background_one_does_not() -> io::Result<()> {
    let mut io = IoContext::new()?;
    let seen = Seen::default();
    let set = set_of(&io, &[USR1])?;
    assert!(io.stopped(), "a set without a wait is no work");
    let key = wait(&set, &seen);
    assert_eq!(io.outstanding().len(), 1);
    assert_eq!(io.cancel(key), Cancel::Requested);
    assert_eq!(io.run_for(STUCK)?, 1);
    assert_eq!(seen.take(), [0]);

    let set = set_of(&io, &[USR2])?.background();
    wait(&set, &seen);
    assert!(io.stopped() && io.outstanding().is_empty());
    assert_eq!(io.run()?, 0);
    let guard = io.work_guard();
    raise(Signal::USR2)?;
    assert_eq!(io.run_one_for(STUCK)?, 1);
    drop(guard);
    assert_eq!(io.run()?, 0);
    assert_eq!(seen.take(), [USR2]);
    Ok(())
}

/// Bad input: signals that cannot be caught, and numbers that are no signals.
fn impossible_signals_are_errors() -> io::Result<()> {
    let mut io = IoContext::new()?;
    let set = SignalSet::new(&io);
    for forbidden in [Signal::KILL, Signal::STOP, Signal::ILL, Signal::FPE, Signal::SEGV] {
        assert_eq!(set.add(forbidden.as_raw()).unwrap_err().kind(), ErrorKind::InvalidInput);
    }
    for impossible in [0, -1, 1000, i32::MAX, i32::MIN] {
        assert!(set.add(impossible).is_err(), "{impossible}");
    }
    // And the set goes on working.
    set.add(USR1)?;
    let seen = Seen::default();
    wait(&set, &seen);
    raise(Signal::USR1)?;
    assert_eq!(io.run_for(STUCK)?, 1);
    Ok(())
}

/// P20: cancel ends all waits, through the queue; signals that have arrived stay for the next wait.
fn cancel_ends_the_waits_and_keeps_the_signals() -> io::Result<()> {
    let mut io = IoContext::new()?;
    let seen = Seen::default();
    let set = set_of(&io, &[USR1])?;
    let key = wait(&set, &seen);
    wait(&set, &seen);
    set.cancel();
    assert!(seen.borrow().is_empty());
    assert_eq!(io.cancel(key), Cancel::AlreadyDone);
    assert_eq!(io.run_for(STUCK)?, 2);
    assert_eq!(seen.take(), [0, 0]);
    raise(Signal::USR1)?;
    io.poll()?;
    set.cancel();
    wait(&set, &seen);
    assert_eq!(io.run_for(STUCK)?, 1);
    assert_eq!(seen.take(), [USR1]);
    Ok(())
}

/// Section 1, ownership: the last handle of a set may go while a wait is outstanding.
fn an_outstanding_wait_keeps_its_set() -> io::Result<()> {
    let mut io = IoContext::new()?;
    let seen = Seen::default();
    let set = set_of(&io, &[USR1])?;
    wait(&set, &seen);
    drop(set);
    raise(Signal::USR1)?;
    assert_eq!(io.run_for(STUCK)?, 1);
    assert_eq!(seen.take(), [USR1]);
    Ok(())
}

/// P5: waits are dropped unrun with the context; the set is harmless from then on, and all descriptors are closed.
fn a_set_and_its_waits_go_with_the_context() -> io::Result<()> {
    let before = descriptors()?;
    let io = IoContext::new()?;
    let seen = Seen::default();
    let set = set_of(&io, &[USR1, USR2])?;
    wait(&set, &seen);
    let counted = Rc::strong_count(&seen);
    drop(io);
    assert_eq!(Rc::strong_count(&seen), counted - 1);
    raise(Signal::USR1)?;
    wait(&set, &seen);
    set.cancel();
    assert!(error::is_context_gone(&set.add(Signal::HUP.as_raw()).unwrap_err()));
    assert!(error::is_context_gone(&set.add(USR1).unwrap_err()));
    drop(set);
    assert_eq!((Rc::strong_count(&seen), seen.borrow().len()), (1, 0));
    assert_eq!(descriptors()?, before);
    Ok(())
}

#[cfg(target_os = "linux")]
fn descriptors() -> io::Result<usize> {
    Ok(std::fs::read_dir("/proc/self/fd")?.count())
}

#[cfg(not(target_os = "linux"))]
fn descriptors() -> io::Result<usize> {
    Ok(0)
}

/// P1, P25: a loop that sleeps without limit is woken by the signal, and the interruption is never seen.
fn a_signal_wakes_a_sleeping_loop() -> io::Result<()> {
    let mut io = IoContext::new()?;
    let seen = Seen::default();
    let set = set_of(&io, &[USR1])?;
    wait(&set, &seen);
    let killer = std::process::Command::new("sh").args(["-c", "sleep 0.1; kill -USR1 $PPID"]).spawn();
    let mut killer = killer?;
    assert_eq!(io.run_for(STUCK)?, 1);
    assert_eq!(seen.take(), [USR1]);
    killer.wait()?;
    Ok(())
}

/// Section 1: a set that outlives its context does no harm when its signal comes: there is no SIGPIPE.
fn a_signal_behind_the_end_of_the_context_does_no_harm() -> io::Result<()> {
    let broken = Arc::new(AtomicBool::new(false));
    let id = signal_hook::flag::register(signal_hook::consts::SIGPIPE, Arc::clone(&broken))?;
    let io = IoContext::new()?;
    let set = set_of(&io, &[USR1])?;
    let with_a_wait = set_of(&io, &[USR2])?;
    wait(&with_a_wait, &Seen::default());
    drop(io);
    raise(Signal::USR1)?;
    raise(Signal::USR2)?;
    assert!(!broken.load(Ordering::SeqCst), "a broken pipe was written to");
    drop((set, with_a_wait));
    raise(Signal::USR1)?;
    assert!(!broken.load(Ordering::SeqCst), "a broken pipe was written to");
    signal_hook::low_level::unregister(id);
    Ok(())
}
