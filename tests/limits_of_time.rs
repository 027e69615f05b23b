//! `cancel_after` and `cancel_at`.

mod util;

use ioctx::{Cancel, Timer, cancel_after, cancel_at, error};
use std::io::{self, ErrorKind::TimedOut};
use std::time::{Duration, Instant};
use util::{Record, context};

const LONG: Duration = Duration::from_secs(3600);
const SHORT: Duration = Duration::from_millis(5);

fn kind(waited: io::Result<()>) -> &'static str {
    match waited {
        Ok(()) => "success",
        Err(error) if error.kind() == TimedOut && !error::is_aborted(&error) => "timed out",
        Err(error) if error::is_aborted(&error) => "aborted",
        Err(error) => panic!("{error}"),
    }
}

/// Section 2: an operation that takes too long ends once, as timed out, told apart from aborted; not before its limit.
#[test]
fn an_operation_that_takes_too_long_times_out() -> io::Result<()> {
    let mut io = context();
    let told = Record::new();
    let timer = Timer::new(&io);
    timer.expires_after(LONG);
    let started = Instant::now();
    let (by_duration, by_instant) = (told.clone(), told.clone());
    cancel_after(&io, SHORT, |done| timer.async_wait(done), move |waited| by_duration.push(kind(waited)));
    cancel_at(&io, started + SHORT, |done| timer.async_wait(done), move |waited| by_instant.push(kind(waited)));
    assert_eq!(io.run()?, 2);
    assert!(started.elapsed() >= SHORT);
    assert_eq!(told.take(), ["timed out", "timed out"]);
    Ok(())
}

/// Section 2: an operation that ends in time takes its limit along: nothing lingers.
#[test]
fn an_operation_in_time_leaves_no_limit_behind() -> io::Result<()> {
    let mut io = ioctx::IoContext::new()?;
    let told = Record::new();
    let seen = told.clone();
    cancel_after(&io, LONG, |done| io.after(SHORT, done), move |waited| seen.push(kind(waited)));
    assert_eq!(io.run()?, 1);
    assert_eq!(told.take(), ["success"]);
    assert_eq!(io.next_timeout(), None, "the limit is still armed");
    Ok(())
}

/// Section 2: cancelled by its key it is aborted, not timed out, and the limit goes too.
#[test]
fn a_limited_operation_that_is_cancelled_is_aborted() -> io::Result<()> {
    let mut io = ioctx::IoContext::new()?;
    let told = Record::new();
    let seen = told.clone();
    let key = cancel_after(&io, LONG, |done| io.after(LONG, done), move |waited| seen.push(kind(waited)));
    assert_eq!(io.cancel(key), Cancel::Requested);
    assert_eq!(io.cancel(key), Cancel::AlreadyDone);
    assert_eq!(io.run()?, 1);
    assert_eq!(told.take(), ["aborted"]);
    assert_eq!(io.next_timeout(), None);
    Ok(())
}

/// Section 2: limits nest, and the shorter wins, whichever is outside.
#[test]
fn nested_limits_let_the_shorter_win() -> io::Result<()> {
    let mut io = context();
    for (outer, inner) in [(LONG, SHORT), (SHORT, LONG)] {
        let told = Record::new();
        let seen = told.clone();
        let started = Instant::now();
        let handle = io.handle().clone();
        cancel_after(
            &io,
            outer,
            |done| cancel_after(&handle, inner, |done| handle.after(LONG, done), done),
            move |waited| seen.push(kind(waited)),
        );
        assert_eq!(io.run()?, 1);
        assert!(started.elapsed() < LONG);
        assert_eq!(told.take(), ["timed out"]);
    }
    Ok(())
}

/// P14: an operation that is due in the same turn as its limit ends once, and one way.
#[test]
fn an_operation_due_together_with_its_limit_ends_once() -> io::Result<()> {
    let mut io = context();
    let told = Record::new();
    let seen = told.clone();
    let timer = Timer::new(&io);
    let expiry = Instant::now();
    timer.expires_at(expiry);
    cancel_at(&io, expiry, |done| timer.async_wait(done), move |waited| seen.push(kind(waited)));
    assert_eq!(io.run()?, 1);
    assert_eq!(told.len(), 1);
    Ok(())
}
