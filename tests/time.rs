//! Timers: when they fire, in which order, and what cancelling says.

mod util;

use ioctx::{Cancel, Handle, IoContext, Operation, Timer, error};
use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use std::thread;
use std::time::{Duration, Instant};
use util::{Record, context};

const LONG: Duration = Duration::from_secs(3600);

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn is_aborted(waited: &io::Result<()>) -> bool {
    waited.as_ref().is_err_and(error::is_aborted)
}

/// P11: no wait of any kind ends before its time, by the clock of whoever asked.
#[test]
fn no_wait_ends_early() -> io::Result<()> {
    let mut io = context();
    for micros in [0, 1, 300, 999, 1_000, 1_001, 2_500, 10_300] {
        let delay = Duration::from_micros(micros);
        let started = Instant::now();
        let check = move |waited: io::Result<()>| {
            waited.expect("not cancelled");
            assert!(started.elapsed() >= delay, "{:?} instead of {delay:?}", started.elapsed());
        };
        io.after(delay, check);
        io.at(started + delay, check);
        let timer = Timer::new(&io);
        timer.expires_after(delay);
        assert!(timer.expiry() >= started + delay);
        timer.async_wait(check);
        timer.wait()?;
        assert!(started.elapsed() >= delay);
    }
    assert_eq!(io.run()?, 24);
    Ok(())
}

/// P11: nor does one while the loop is busy, turn after turn, so that some turn begins just before the deadline.
#[test]
fn no_wait_ends_early_in_a_busy_loop() -> io::Result<()> {
    fn storm(io: &Handle) {
        let handle = io.clone();
        io.post(move || {
            if !handle.outstanding().is_empty() {
                storm(&handle);
            }
        });
    }
    let mut io = IoContext::new()?; // Without the watch, which is no work but a deadline.
    for micros in (500..10_000).step_by(500) {
        let delay = Duration::from_micros(micros);
        let started = Instant::now();
        io.after(delay, move |_| assert!(started.elapsed() >= delay, "{:?}", started.elapsed()));
    }
    storm(&io);
    assert!(io.run()? > 20);
    Ok(())
}

/// P11: a delay counts from the call, also when the handler that makes the call has been busy for long.
#[test]
fn a_delay_counts_from_the_moment_of_the_call() -> io::Result<()> {
    let mut io = context();
    let handle = io.handle().clone();
    io.post(move || {
        thread::sleep(ms(30)); // A handler that computes for long.
        let started = Instant::now();
        handle.after(ms(20), move |_| assert!(started.elapsed() >= ms(20)));
    });
    assert_eq!(io.run()?, 2);
    Ok(())
}

/// P12: equal deadlines fire in the order armed, whatever came and went between them.
#[test]
fn equal_deadlines_fire_in_the_order_armed() -> io::Result<()> {
    let mut io = context();
    let fired = Record::new();
    let expiry = Instant::now() + ms(5);
    let mut between = Vec::new();
    for n in 0..100 {
        let (timer, fired) = (Timer::new(&io), fired.clone());
        timer.expires_at(expiry);
        timer.async_wait(move |_| fired.push(n));
        between.push(timer.async_wait(|waited| assert!(waited.is_err())));
    }
    for operation in between {
        assert_eq!(io.cancel(operation), Cancel::Requested);
    }
    assert_eq!(io.run()?, 200);
    assert_eq!(fired.take(), (0..100).collect::<Vec<_>>());
    Ok(())
}

/// P12: an earlier deadline fires first, although armed later.
#[test]
fn earlier_deadlines_fire_first() -> io::Result<()> {
    let mut io = context();
    let fired = Record::new();
    let base = Instant::now();
    for n in [7, 2, 9, 4, 1, 8, 3, 6, 5] {
        let (timer, fired) = (Timer::new(&io), fired.clone());
        timer.expires_at(base + ms(n));
        timer.async_wait(move |_| fired.push(n));
    }
    assert_eq!(io.run()?, 9);
    assert_eq!(fired.take(), [1, 2, 3, 4, 5, 6, 7, 8, 9]);
    Ok(())
}

/// P13: a timer armed by a timer handler waits for the next turn, also with zero delay or a deadline long past.
#[test]
fn a_timer_armed_by_a_timer_waits_for_the_next_turn() -> io::Result<()> {
    fn chain(io: &Handle, timer: Timer, turns: Record<u32>, n: u32) {
        let handle = io.clone();
        timer.clone().async_wait(move |_| {
            turns.push(n);
            chain(&handle, timer, turns, n + 1);
        });
    }
    let mut io = context();
    let turns = Record::new();
    let past = Timer::new(&io);
    past.expires_at(Instant::now() - ms(1));
    chain(io.handle(), past, turns.clone(), 0);
    for n in 0..10 {
        assert_eq!(io.poll()?, 1);
        assert_eq!(turns.take(), [n]);
    }
    let handle = io.handle().clone();
    io.after(Duration::ZERO, move |_| {
        handle.after(Duration::ZERO, |_| {});
    });
    assert_eq!(io.poll()?, 2, "the chain and the first of the two");
    Ok(())
}

/// P13: a timer armed by a timer that is due does not keep an older due timer from its turn.
#[test]
fn a_newcomer_never_hides_a_due_timer() -> io::Result<()> {
    let mut io = context();
    let fired = Record::new();
    let due = Instant::now() + ms(2);
    let timer = |name: &'static str, at: Instant| {
        let (timer, fired) = (Timer::new(&io), fired.clone());
        timer.expires_at(at);
        (timer.clone(), move |_: io::Result<()>| fired.push(name))
    };
    let (first, first_fired) = timer("first", due);
    let (second, second_fired) = timer("second", due + ms(1));
    let (ancient, ancient_fired) = timer("newcomer", due - ms(1));
    first.async_wait(move |waited| {
        first_fired(waited);
        ancient.async_wait(ancient_fired);
    });
    second.async_wait(second_fired);
    thread::sleep(ms(5)); // Both are due when the turn begins.
    assert_eq!(io.poll()?, 2);
    assert_eq!(fired.take(), ["first", "second"]);
    assert_eq!(io.poll()?, 1);
    assert_eq!(fired.take(), ["newcomer"]);
    Ok(())
}

/// P14: a wait that was due, but cancelled by a handler that came before it in the same turn, is aborted.
#[test]
fn a_due_wait_cancelled_before_its_handler_ran_is_aborted() -> io::Result<()> {
    let mut io = context();
    let expiry = Instant::now();
    let told = Record::new();
    let (first, second) = (Timer::new(&io), Timer::new(&io));
    first.expires_at(expiry);
    second.expires_at(expiry);
    let victim = second.clone();
    first.async_wait(move |_| assert_eq!(victim.cancel(), 1));
    let seen = told.clone();
    second.async_wait(move |waited| seen.push(is_aborted(&waited)));
    assert_eq!(io.run()?, 2);
    assert_eq!(told.take(), [true]);
    Ok(())
}

/// P14: the same for a wait whose timer was set anew, and for one ended by its key.
#[test]
fn a_due_wait_whose_timer_was_set_anew_never_reports_success() -> io::Result<()> {
    let mut io = context();
    let told = Record::new();
    let (first, second) = (Timer::new(&io), Timer::new(&io));
    first.expires_at(Instant::now());
    second.expires_at(Instant::now());
    let third = Rc::new(Cell::new(None::<Operation>));
    let (victim, handle, by_key) = (second.clone(), io.handle().clone(), third.clone());
    first.async_wait(move |_| {
        assert_eq!(victim.expires_after(Duration::ZERO), 1);
        assert_eq!(handle.cancel(by_key.take().expect("its key")), Cancel::Requested);
    });
    let seen = told.clone();
    second.async_wait(move |waited| seen.push(is_aborted(&waited)));
    let seen = told.clone();
    third.set(Some(io.after(Duration::ZERO, move |waited| seen.push(is_aborted(&waited)))));
    assert_eq!(io.run()?, 3);
    assert_eq!(told.take(), [true, true]);
    Ok(())
}

/// P14: expiry, cancel and cancel_one tell how many waits they ended; a wait that fired is none of them.
#[test]
fn cancels_tell_how_many_waits_they_ended() -> io::Result<()> {
    let mut io = context();
    let told = Record::new();
    let timer = Timer::new(&io);
    timer.expires_after(LONG);
    let wait = |n: u8| {
        let told = told.clone();
        timer.async_wait(move |waited| told.push((n, is_aborted(&waited))))
    };
    let operations = [wait(1), wait(2), wait(3), wait(4)];
    assert_eq!(timer.cancel_one(), 1, "the oldest");
    assert_eq!(io.cancel(operations[2]), Cancel::Requested);
    assert_eq!(io.cancel(operations[0]), Cancel::AlreadyDone);
    assert_eq!(timer.expires_after(Duration::ZERO), 2);
    assert_eq!((timer.cancel(), timer.cancel_one()), (0, 0));
    assert_eq!(io.run()?, 4);
    assert_eq!(told.take(), [(1, true), (3, true), (2, true), (4, true)]);
    wait(5);
    assert_eq!(io.run()?, 1);
    assert_eq!(told.take(), [(5, false)]);
    assert_eq!((timer.cancel(), timer.cancel_one()), (0, 0), "the wait has ended");
    Ok(())
}

/// Section 2, Asio's own test: a timer cancelled by another may be waited for again.
#[test]
fn a_cancelled_timer_waited_for_again_succeeds_at_its_expiry() -> io::Result<()> {
    let mut io = context();
    let timer = Timer::new(&io);
    timer.expires_after(ms(15));
    let expiry = timer.expiry();
    let again = timer.clone();
    timer.async_wait(move |waited| {
        assert!(is_aborted(&waited));
        again.async_wait(move |waited| assert!(waited.is_ok() && Instant::now() >= expiry));
    });
    let other = timer.clone();
    io.after(ms(1), move |_| assert_eq!(other.cancel(), 1));
    drop(timer);
    assert_eq!(io.run()?, 3);
    Ok(())
}

/// Section 1: a wait is work of its own: a timer whose last handle is gone still fires.
#[test]
fn a_timer_without_handles_still_fires() -> io::Result<()> {
    let mut io = context();
    let timer = Timer::new(&io);
    timer.expires_after(ms(1));
    timer.async_wait(|waited| assert!(waited.is_ok()));
    drop(timer);
    assert_eq!(io.run()?, 1);
    Ok(())
}

/// P15: a repetition held up for many periods is called once for all of them, and then keeps its beat.
#[test]
fn a_late_repetition_does_not_catch_up_in_a_burst() -> io::Result<()> {
    let mut io = context();
    let period = ms(50);
    let started = Instant::now();
    let repetition = io.every(period, || {});
    let armed = Instant::now();
    thread::sleep(ms(110)); // The loop is held up for more than two periods.
    let missed = (armed.elapsed().as_millis() / period.as_millis()) as u32;
    assert_eq!(io.poll()?, 1);
    assert_eq!(io.run_one()?, 1);
    assert!(started.elapsed() >= period * (missed + 1), "caught up");
    assert_eq!(io.cancel(repetition), Cancel::Requested);
    assert_eq!(io.run()?, 0, "cancelling calls nobody");
    Ok(())
}

/// P8, P15: a repetition may cancel itself from inside; its callback is dropped, and not called again.
#[test]
fn a_repetition_may_cancel_itself() -> io::Result<()> {
    let mut io = context();
    let alive = Rc::new(());
    let key = Rc::new(Cell::new(None));
    let (handle, own, held) = (io.handle().clone(), key.clone(), alive.clone());
    key.set(Some(io.every(Duration::ZERO, move || {
        let _ = &held;
        assert_eq!(handle.cancel(own.get().expect("its key")), Cancel::Requested);
    })));
    assert_eq!(io.run()?, 1);
    assert_eq!(Rc::strong_count(&alive), 1);
    Ok(())
}

/// P16: huge durations saturate, in every call that takes one, and do not fire.
#[test]
fn huge_durations_saturate() -> io::Result<()> {
    let mut io = context();
    let timer = Timer::new(&io);
    for huge in [Duration::MAX, Duration::from_millis(u64::MAX), Duration::from_secs(1 << 40)] {
        assert_eq!(timer.expires_after(huge), 0);
        assert!(timer.expiry() > Instant::now() + LONG);
        let operations = [
            timer.async_wait(|waited| assert!(is_aborted(&waited))),
            io.after(huge, |waited| assert!(is_aborted(&waited))),
            io.every(huge, || unreachable!("fired")),
        ];
        assert_eq!(io.poll()?, 0);
        assert!(io.next_timeout().is_some_and(|timeout| timeout > Duration::ZERO));
        for operation in operations {
            assert_eq!(io.cancel(operation), Cancel::Requested);
        }
        assert_eq!(io.run_for(huge)?, 2);
    }
    io.post(|| {});
    assert_eq!(io.run_one_for(Duration::MAX)?, 1);
    io.post(|| {});
    assert_eq!(io.poll_for(Duration::MAX)?, 1);
    Ok(())
}

/// P16: the loop sleeps through a huge timeout, too: it neither spins nor forgets what else is going on.
#[test]
fn a_loop_with_only_a_huge_timer_is_still_woken() -> io::Result<()> {
    let mut io = IoContext::new()?; // Without the watch, whose deadline is near.
    io.after(Duration::MAX, |_| {});
    let remote = io.remote();
    let thread = thread::spawn(move || remote.post(|io| io.stop()).expect("the context is there"));
    assert_eq!(io.run()?, 1);
    thread.join().expect("no panic");
    Ok(())
}

/// P17: what an ended wait held is dropped at once, however often a timer is re-armed.
#[test]
fn rearming_holds_on_to_nothing() -> io::Result<()> {
    let mut io = context();
    let alive = Rc::new(());
    let timer = Timer::new(&io);
    for _ in 0..1_000 {
        timer.expires_after(LONG);
        let held = alive.clone();
        timer.async_wait(move |_| drop(held));
        io.poll()?;
        assert!(Rc::strong_count(&alive) <= 2, "the last wait is outstanding, the others have ended");
    }
    assert_eq!(io.outstanding().len(), 1);
    timer.cancel();
    io.run()?;
    assert_eq!(Rc::strong_count(&alive), 1);
    Ok(())
}

/// P17: many timers cost no more than a logarithm each, to start and to cancel in any way.
/// Method: each part takes a few hundredths of a second; anything quadratic would take many times the limit.
#[test]
fn many_timers_are_started_and_cancelled_quickly() -> io::Result<()> {
    const TIMERS: usize = 200_000;
    let quickly = |part: &mut dyn FnMut()| {
        let started = Instant::now();
        part();
        assert!(started.elapsed() < Duration::from_secs(4), "{:?}", started.elapsed());
    };
    let mut io = context();
    let count = Rc::new(Cell::new(0));
    let timer = Timer::new(&io);
    timer.expires_after(LONG);
    let mut keys = Vec::new();
    for n in 0..TIMERS {
        let count = [count.clone(), count.clone()];
        let [one, other] = count.map(|count| {
            move |waited: io::Result<()>| {
                assert!(is_aborted(&waited));
                count.set(count.get() + 1);
            }
        });
        timer.async_wait(one);
        keys.push(io.after(LONG - Duration::from_millis((n * 7919 % TIMERS) as u64), other));
    }
    quickly(&mut || keys.iter().for_each(|key| assert_eq!(io.cancel(*key), Cancel::Requested)));
    quickly(&mut || (0..TIMERS).for_each(|_| assert_eq!(timer.cancel_one(), 1)));
    assert_eq!(io.run()?, 2 * TIMERS);
    assert_eq!(count.get(), 2 * TIMERS);
    keys.iter().for_each(|key| assert_eq!(io.cancel(*key), Cancel::AlreadyDone));
    Ok(())
}

/// P5, P10: waits that were cancelled in any order are told in that order, each once, whatever their types.
#[test]
fn many_waits_are_told_in_the_order_in_which_they_were_cancelled() -> io::Result<()> {
    const WAITS: usize = 10_000;
    let mut io = context();
    let told = Record::new();
    let keys: Vec<_> = (0..WAITS)
        .map(|n| {
            let [one, other] = [told.clone(), told.clone()];
            match n % 2 {
                0 => io.after(LONG, move |waited| one.push((n, is_aborted(&waited)))),
                _ => io.after(LONG, move |waited| other.push((n, is_aborted(&waited)))),
            }
        })
        .collect();
    let mut order: Vec<_> = (0..WAITS).map(|n| n * 7919 % WAITS).collect();
    order.sort_by_key(|n| n % 2); // A long row of each type is looked at ahead.
    order.iter().for_each(|&n| assert_eq!(io.cancel(keys[n]), Cancel::Requested));
    assert_eq!(io.run()?, WAITS);
    assert_eq!(told.take(), order.into_iter().map(|n| (n, true)).collect::<Vec<_>>());
    Ok(())
}

/// P5: a stale key cancels nothing, although its place in the queue has been taken by another timer.
#[test]
fn a_stale_key_never_cancels_the_timer_that_took_its_place() -> io::Result<()> {
    let mut io = context();
    let old = io.after(Duration::ZERO, |_| {});
    assert_eq!(io.run()?, 1);
    let new = io.after(ms(1), |waited| assert!(waited.is_ok()));
    assert_ne!(old, new);
    assert_eq!(io.cancel(old), Cancel::AlreadyDone);
    assert_eq!(io.run()?, 1);
    Ok(())
}

/// P5: every handler runs exactly once, whatever its type and its size, in the order of the deadlines or of the cancels.
#[test]
fn waits_with_handlers_of_every_size_end_once_and_in_order() -> io::Result<()> {
    let mut io = context();
    let ended = Record::new();
    let told = |name: usize| {
        let ended = ended.clone();
        move |waited: io::Result<()>| ended.push((name, waited.is_ok()))
    };
    let deadline = Instant::now() + ms(1);
    let mut keys = Vec::new();
    for round in 0..100 {
        let (small, large, huge) = (told(round * 4 + 1), told(round * 4 + 2), told(round * 4 + 3));
        let (some, many) = ([round; 31], [round; 1000]);
        keys.push(io.at(deadline, told(round * 4)));
        keys.push(io.at(deadline, small));
        keys.push(io.at(deadline, move |waited| {
            assert_eq!(some, [round; 31]);
            large(waited);
        }));
        keys.push(io.at(deadline, move |waited| {
            assert_eq!(many, [round; 1000]);
            huge(waited);
        }));
    }
    let cancelled: Vec<usize> = (0..400).rev().filter(|wait| wait % 3 == 0).collect();
    for &wait in &cancelled {
        assert_eq!(io.cancel(keys[wait]), Cancel::Requested);
    }
    assert_eq!(io.outstanding().len(), 400);
    assert_eq!(io.run()?, 400);
    let fired = (0..400).filter(|wait| wait % 3 > 0).map(|wait| (wait, true));
    let (mut ok, mut aborted) = (Vec::new(), Vec::new());
    for end in ended.take() {
        if end.1 { ok.push(end) } else { aborted.push(end.0) }
    }
    assert_eq!(ok, fired.collect::<Vec<_>>());
    assert_eq!(aborted, cancelled);
    assert!(keys.iter().all(|&key| io.cancel(key) == Cancel::AlreadyDone));
    Ok(())
}

/// P1: what is in the background keeps no run alive, however often it was put there, and leaves nothing behind when it ends.
#[test]
fn waits_and_repetitions_in_the_background_are_not_counted() -> io::Result<()> {
    let mut io = context();
    let beats = Rc::new(Cell::new(0));
    let counted = beats.clone();
    let every = io.every(ms(1), move || counted.set(counted.get() + 1));
    let wait = io.after(LONG, |waited| assert!(is_aborted(&waited)));
    for key in [every, wait, every, wait] {
        io.background(key);
    }
    assert_eq!((io.outstanding().len(), io.run()?), (0, 0));
    io.after(ms(20), |waited| assert!(waited.is_ok()));
    assert!(io.run()? > 1 && beats.get() > 0, "it beats while something else keeps the loop alive");
    assert_eq!((io.outstanding().len(), io.run()?), (0, 0));
    assert_eq!((io.cancel(every), io.cancel(wait)), (Cancel::Requested, Cancel::Requested));
    assert_eq!(io.run()?, 1, "the wait is told");
    io.after(ms(1), |waited| assert!(waited.is_ok()));
    assert_eq!((io.outstanding().len(), io.run()?, io.run()?), (1, 1, 0));
    Ok(())
}

/// P8: a wait may cancel itself, start itself again, and drop its timer, from inside.
#[test]
fn a_wait_may_do_anything_to_its_own_timer() -> io::Result<()> {
    let mut io = context();
    let timer = Rc::new(RefCell::new(Some(Timer::new(&io))));
    let own = timer.clone();
    let handle = io.handle().clone();
    let key = Rc::new(Cell::new(None));
    let own_key = key.clone();
    let wait = move |waited: io::Result<()>| {
        assert!(waited.is_ok());
        assert_eq!(handle.cancel(own_key.take().expect("its key")), Cancel::AlreadyDone);
        let timer = own.take().expect("its timer");
        assert_eq!(timer.cancel(), 0);
        timer.async_wait(|waited| assert!(waited.is_ok()));
        drop(timer);
    };
    key.set(timer.borrow().as_ref().map(|timer| timer.async_wait(wait)));
    assert_eq!(io.run()?, 2);
    Ok(())
}

/// Section 1: a key means nothing in another context: it cancels nothing there, and puts nothing in the background.
#[test]
fn the_key_of_another_context_means_nothing() -> io::Result<()> {
    let (mine, mut other) = (IoContext::new()?, IoContext::new()?);
    let fired = Record::new();
    let seen = fired.clone();
    // The first of each: the same slot, so only its number tells whose it is.
    let key = mine.after(LONG, |_| unreachable!("not that long"));
    other.after(ms(1), move |waited| seen.push(waited.is_ok()));
    assert_eq!(other.cancel(key), Cancel::AlreadyDone);
    other.background(key);
    assert_eq!(other.outstanding().len(), 1);
    assert_eq!(other.run()?, 1);
    assert_eq!(fired.take(), [true]);
    assert_eq!(mine.cancel(key), Cancel::Requested);
    Ok(())
}
