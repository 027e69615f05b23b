//! Alarms: callbacks whose deadline is set, moved and unset.

mod util;

use ioctx::{Alarm, Handle, IoContext};
use std::cell::{Cell, OnceCell, RefCell};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::time::{Duration, Instant};
use util::{Record, Tomb, context};

const LONG: Duration = Duration::from_secs(3600);

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// An alarm that records this when it rings.
fn recorder(io: &Handle, record: &Record<u32>, n: u32) -> Alarm {
    let record = record.clone();
    io.alarm(move || {
        record.push(n);
        None
    })
}

/// P11: no alarm rings before its deadline, whether it was set, moved, or sets itself.
#[test]
fn no_alarm_rings_early() -> io::Result<()> {
    let mut io = IoContext::new()?; // Without the watch: nothing else makes the loop look at its timers.
    for micros in [0, 1, 300, 999, 1_000, 1_001, 2_500, 10_300] {
        let delay = Duration::from_micros(micros);
        let since = Rc::new(Cell::new(Instant::now()));
        let (last, mut left) = (since.clone(), 2);
        let alarm = io.alarm(move || {
            assert!(last.get().elapsed() >= delay, "{:?} instead of {delay:?}", last.get().elapsed());
            last.set(Instant::now());
            left -= 1;
            (left > 0).then_some(delay)
        });
        alarm.set_at(Instant::now());
        since.set(Instant::now());
        alarm.set(delay);
    }
    assert_eq!(io.run_for(Duration::from_secs(30))?, 16);
    Ok(())
}

/// P12: alarms with one deadline ring in the order in which they were set, and one that is moved to it comes last.
#[test]
fn equal_deadlines_ring_in_the_order_set() -> io::Result<()> {
    let mut io = context();
    let rung = Record::new();
    let deadline = Instant::now() + ms(5);
    let alarms: Vec<_> = (0..100).map(|n| recorder(&io, &rung, n)).collect();
    alarms.iter().for_each(|alarm| alarm.set_at(deadline));
    alarms[0].set_at(deadline);
    alarms[1].set_at(deadline - ms(1));
    assert_eq!(io.run()?, 100);
    let expected: Vec<_> = [1].into_iter().chain(2..100).chain([0]).collect();
    assert_eq!(rung.take(), expected);
    Ok(())
}

/// P13: an alarm that is set by one that rings waits for the next turn, also with no delay or a deadline long past, and
/// also when it is its own.
#[test]
fn an_alarm_set_by_an_alarm_waits_for_the_next_turn() -> io::Result<()> {
    let mut io = context();
    let rung = Record::new();
    let other = recorder(&io, &rung, 2);
    let (record, past) = (rung.clone(), Instant::now() - ms(1));
    let alarm = io.alarm(move || {
        record.push(1);
        other.set_at(past);
        Some(Duration::ZERO)
    });
    alarm.set_at(past);
    for expected in [&[1][..], &[2, 1], &[2, 1], &[2, 1]] {
        io.poll()?;
        assert_eq!(rung.take(), expected);
    }
    Ok(())
}

/// P14: an alarm that is unset or moved before it rang does not ring for its old deadline, not even when it was due.
#[test]
fn a_due_alarm_that_is_unset_or_moved_does_not_ring() -> io::Result<()> {
    let mut io = context();
    let rung = Record::new();
    let past = Instant::now() - ms(1);
    let (unset, moved) = (recorder(&io, &rung, 1), recorder(&io, &rung, 2));
    let first = {
        let (unset, moved) = (unset.clone(), moved.clone());
        io.alarm(move || {
            assert!(unset.unset() && !unset.unset());
            moved.set(LONG);
            None
        })
    };
    for alarm in [&first, &unset, &moved] {
        alarm.set_at(past);
    }
    assert_eq!(io.poll()?, 1);
    assert_eq!(io.poll()?, 0);
    assert_eq!((unset.is_set(), moved.is_set(), rung.len()), (false, true, 0));
    Ok(())
}

/// P5: an alarm that is moved, or set and unset, again and again holds on to nothing but its callback.
#[test]
fn moving_an_alarm_holds_on_to_nothing() -> io::Result<()> {
    let io = context();
    let alive = Rc::new(());
    let held = alive.clone();
    let alarm = io.alarm(move || {
        let _held = &held;
        None
    });
    for n in 0..=100_000 {
        alarm.set(LONG);
        assert!(n % 3 > 0 || alarm.unset());
    }
    assert_eq!((io.outstanding().len(), Rc::strong_count(&alive)), (1, 2));
    drop(alarm);
    assert_eq!(Rc::strong_count(&alive), 2, "it is set");
    drop(io);
    assert_eq!(Rc::strong_count(&alive), 1);
    Ok(())
}

/// P1: an alarm is outstanding while it is set, and never in the background.
#[test]
fn a_set_alarm_keeps_run_alive_and_a_background_one_does_not() -> io::Result<()> {
    let mut io = context();
    let rung = Record::new();
    let alarm = recorder(&io, &rung, 1);
    assert_eq!(io.run()?, 0, "it is not set");
    io.restart();
    alarm.set(ms(1));
    let location = io.outstanding().iter().next().map(|work| (work.kind(), work.object(), work.location().file()));
    assert_eq!(location, Some(("alarm", "Alarm", file!())));
    assert_eq!(io.run()?, 1);
    io.restart();
    alarm.set(LONG);
    let alarm = alarm.background();
    assert!(io.outstanding().is_empty() && alarm.is_set());
    assert_eq!(io.run()?, 0);
    io.restart();
    alarm.unset();
    alarm.set(LONG);
    assert_eq!(io.run()?, 0);
    assert!(alarm.unset());
    Ok(())
}

/// P2, P8: an alarm may set, move, unset and drop itself from inside; each ring counts one.
#[test]
fn an_alarm_may_do_anything_to_itself() -> io::Result<()> {
    let mut io = context();
    let own: Rc<RefCell<Option<Alarm>>> = Rc::default();
    let alarm = {
        let (own, mut rings) = (own.clone(), 0);
        io.alarm(move || {
            rings += 1;
            let alarm = own.borrow().clone().expect("itself");
            assert!(!alarm.is_set());
            alarm.set(LONG);
            match rings {
                1 => Some(ms(1)), // Moves it.
                2 => {
                    alarm.set(ms(1)); // Is left as it is.
                    None
                }
                _ => {
                    assert!(alarm.unset());
                    own.take();
                    None
                }
            }
        })
    };
    own.replace(Some(alarm.clone()));
    alarm.set(Duration::ZERO);
    drop(alarm);
    assert_eq!(io.run()?, 3);
    assert!(own.borrow().is_none());
    Ok(())
}

/// P6: a callback that panicked is kept, and rings again when it is set again.
#[test]
fn an_alarm_survives_its_panic() -> io::Result<()> {
    let mut io = context();
    let mut calls = 0;
    let alarm = io.alarm(move || {
        calls += 1;
        assert!(calls > 1, "as planned");
        None
    });
    alarm.set(Duration::ZERO);
    assert!(catch_unwind(AssertUnwindSafe(|| io.run())).is_err());
    assert!(!alarm.is_set() && io.outstanding().is_empty());
    alarm.set(Duration::ZERO);
    assert_eq!(io.run()?, 1);
    Ok(())
}

/// P5: an alarm goes with its context unrung, set or not, also one that its own callback owns, and one that is held
/// afterwards does nothing more.
#[test]
fn an_alarm_goes_with_its_context() -> io::Result<()> {
    let io = IoContext::new()?;
    let graves = Record::new();
    let bury = |name| {
        let tomb = Tomb(name, graves.clone());
        io.alarm(move || {
            let tomb = &tomb;
            unreachable!("{} rang", tomb.0)
        })
    };
    bury("dropped").set(LONG);
    let (held, unset) = (bury("held"), bury("unset"));
    held.set(LONG);
    drop(bury("unused"));
    assert_eq!(graves.take(), ["unused"], "it goes with its last handle");
    for (name, is_set) in [("a ring", true), ("an unset ring", false)] {
        let ring: Rc<OnceCell<Alarm>> = Rc::default();
        let (tomb, own) = (Tomb(name, graves.clone()), ring.clone());
        let alarm = io.alarm(move || unreachable!("{:?} rang {:?}", own.get(), { &tomb }.0));
        if is_set {
            alarm.set(LONG);
        }
        ring.set(alarm).expect("set once");
    }
    let handle = io.handle().clone();
    drop(io);
    let mut gone = graves.take();
    gone.sort_unstable();
    assert_eq!(gone, ["a ring", "an unset ring", "dropped", "held", "unset"]);
    for alarm in [held, unset, handle.alarm(|| unreachable!("made without a context")).background()] {
        alarm.set(Duration::ZERO);
        assert!(!alarm.is_set() && !alarm.unset());
    }
    Ok(())
}

/// P5: an alarm that nobody has a handle of any more goes when it has rung and has not set itself anew, also when its
/// callback panics, and the loop is left with nothing to do.
#[test]
fn an_alarm_without_a_handle_goes_when_it_has_rung() -> io::Result<()> {
    let mut io = context();
    let graves = Record::new();
    for (name, panics) in [("rang", false), ("panicked", true)] {
        let (tomb, mut left) = (Tomb(name, graves.clone()), 2);
        let alarm = io.alarm(move || {
            let _tomb = &tomb;
            left -= 1;
            assert!(left > 0 || !panics, "on purpose");
            (left > 0).then_some(ms(1))
        });
        let clone = alarm.clone();
        alarm.set(ms(1));
        drop((alarm, clone));
        assert_eq!(io.run_one()?, 1);
        assert!(graves.take().is_empty(), "it has set itself anew");
        let ran = catch_unwind(AssertUnwindSafe(|| io.run()));
        assert_eq!(ran.is_err(), panics);
        assert_eq!(graves.take(), [name]);
        assert_eq!(io.run()?, 0);
    }
    Ok(())
}

/// P5: the callback stays as long as anybody has the alarm, whichever handle goes first.
#[test]
fn an_alarm_stays_until_its_last_handle_goes() -> io::Result<()> {
    let mut io = context();
    let graves = Record::new();
    let tomb = Tomb("rang", graves.clone());
    let first = io.alarm(move || {
        let _tomb = &tomb;
        None
    });
    let (second, third) = (first.clone(), first.clone());
    drop((first, third));
    assert!(graves.take().is_empty());
    let fourth = second.clone();
    drop(second);
    fourth.set(ms(1));
    assert_eq!(io.run()?, 1);
    assert!(graves.take().is_empty(), "one has it");
    drop(fourth);
    assert_eq!(graves.take(), ["rang"]);
    Ok(())
}

/// P8: an alarm may make more of its own kind while it rings, so many that all of them move in memory, and end others. What
/// its callback holds stays as it is, small or large.
#[test]
fn an_alarm_may_make_and_end_others_like_itself() -> io::Result<()> {
    fn like<const SIZE: usize>(io: &Handle, made: &Rc<RefCell<Vec<Alarm>>>, rings: &Record<usize>) -> Alarm {
        let (handle, made, rings) = (io.clone(), made.clone(), rings.clone());
        let (mut held, mut calls) = ([0; SIZE], 0);
        io.alarm(move || {
            assert!(held.iter().all(|byte| *byte == calls));
            calls += 1;
            held.fill(calls);
            rings.push(SIZE);
            let alarms: Vec<Alarm> = (0..2000).map(|_| like::<SIZE>(&handle, &made, &rings)).collect();
            let ended = made.replace(alarms);
            drop(ended);
            (calls < 3).then_some(Duration::ZERO)
        })
    }
    let mut io = context();
    let (made, rings) = (Rc::default(), Record::new());
    let (small, large) = (like::<8>(&io, &made, &rings), like::<1000>(&io, &made, &rings));
    small.set(Duration::ZERO);
    large.set(Duration::ZERO);
    assert_eq!(io.run()?, 6);
    assert_eq!(rings.take(), [8, 1000, 8, 1000, 8, 1000]);
    made.take().swap_remove(7).set(Duration::ZERO); // The last that was made: it keeps its callback.
    assert_eq!(io.run()?, 3);
    made.take();
    Ok(())
}

/// P8: what an alarm holds may make, set and end others like it when it is dropped, wherever that is.
#[test]
fn what_an_alarm_holds_may_do_anything_to_others_like_it() -> io::Result<()> {
    const ENOUGH: u32 = 500;

    /// Passes its alarms on to two new ones, until there have been enough.
    struct Heir {
        io: Handle,
        others: Vec<Alarm>,
        born: Rc<Cell<u32>>,
    }
    impl Drop for Heir {
        fn drop(&mut self) {
            let made: Vec<Alarm> = (0..2).map_while(|_| bear(&self.io, self.others.clone(), &self.born)).collect();
            made.iter().for_each(|alarm| alarm.set(ms(1)));
            self.others.iter().for_each(|alarm| _ = alarm.unset());
            self.others = made;
        }
    }
    fn bear(io: &Handle, others: Vec<Alarm>, born: &Rc<Cell<u32>>) -> Option<Alarm> {
        if born.get() == ENOUGH {
            return None;
        }
        born.set(born.get() + 1);
        let heir = Heir { io: io.clone(), others, born: born.clone() };
        Some(io.alarm(move || {
            let _heir = &heir;
            None
        }))
    }
    let born = Rc::new(Cell::new(0));
    let mut io = context();
    let unset = bear(&io, Vec::new(), &born).expect("the first");
    drop(unset); // Outside of the loop.
    let rings = io.run()?; // At the end of rings.
    assert!(rings > 0 && born.get() == ENOUGH, "{rings} rings of {}", born.get());
    assert!(io.outstanding().is_empty());

    born.set(ENOUGH - 10);
    let kept: Vec<_> = (0..5).map_while(|_| bear(&io, Vec::new(), &born)).collect();
    kept.iter().for_each(|alarm| alarm.set(LONG));
    drop(io); // With the context.
    assert!(kept.iter().all(|alarm| !alarm.is_set()));
    Ok(())
}

/// P1: an alarm that is put into the background twice, or by itself while it rings and sets itself anew, is counted
/// right.
#[test]
fn an_alarm_may_go_into_the_background_at_any_time() -> io::Result<()> {
    let mut io = context();
    let own: Rc<OnceCell<Alarm>> = Rc::default();
    let (inside, rings) = (Rc::downgrade(&own), Rc::new(Cell::new(0)));
    let counted = rings.clone();
    let alarm = io.alarm(move || {
        counted.set(counted.get() + 1);
        inside.upgrade()?.get().cloned().map(Alarm::background);
        Some(ms(1))
    });
    alarm.set(ms(1));
    own.set(alarm.clone()).expect("set once");
    assert_eq!((io.run()?, rings.get()), (1, 1), "in the background it does not keep the loop alive");
    let guard = io.work_guard();
    io.restart();
    io.run_one()?;
    let alarm = alarm.background().background();
    alarm.set(ms(1));
    drop(guard);
    io.restart();
    assert_eq!(io.run()?, 0, "nothing is outstanding");
    assert!(alarm.unset() && io.outstanding().is_empty());
    alarm.set(LONG);
    assert_eq!(io.run()?, 0);
    Ok(())
}

/// P8: an alarm that another unsets in the same turn, and drops, does not ring.
#[test]
fn an_alarm_may_be_dropped_by_another_when_both_are_due() -> io::Result<()> {
    let mut io = context();
    let graves = Record::new();
    let tomb = Tomb("second", graves.clone());
    let second = io.alarm(move || unreachable!("{} rang", { &tomb }.0));
    let victim = Rc::new(Cell::new(Some(second.clone())));
    let first = io.alarm(move || {
        assert!(victim.take().is_some_and(|alarm| alarm.unset()));
        None
    });
    first.set(Duration::ZERO);
    second.set(Duration::ZERO);
    drop(second);
    assert_eq!((io.run()?, graves.take()), (1, vec!["second"]));
    Ok(())
}

/// Section 1: it says whether it is set, also from inside its own call.
#[test]
fn an_alarm_tells_whether_it_is_set() -> io::Result<()> {
    let mut io = context();
    let own: Rc<OnceCell<Alarm>> = Rc::default();
    let inside = Rc::downgrade(&own); // Or the alarm, unset, would keep itself alive.
    let alarm = io.alarm(move || {
        let own = inside.upgrade().expect("the test has it");
        assert_eq!(format!("{:?}", own.get()), "Some(Alarm { is_set: false, .. })");
        None
    });
    own.set(alarm.clone()).expect("set once");
    alarm.set(ms(1));
    assert_eq!(format!("{alarm:?}"), "Alarm { is_set: true, .. }");
    assert_eq!(io.run()?, 1);
    Ok(())
}
