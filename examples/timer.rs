//! A tour of timers: wait, wait asynchronously, repeat without drift, cancel, and limit the time of an operation.
//!
//!     cargo run --example timer
//!
//! Each part starts its waits and then runs the loop until nothing is outstanding; the next part revives it.

#[macro_use]
mod cli;

use ioctx::ip::tcp::Acceptor;
use ioctx::{IoContext, Timer, cancel_after, error};
use std::io::{self, ErrorKind};
use std::net::Ipv4Addr;
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

const USAGE: &str = "usage: timer\n\nShows what timers can do; takes two seconds.";

const BEAT: Duration = Duration::from_millis(100);

fn main() -> ExitCode {
    cli::run(USAGE, |arguments| {
        cli::no_arguments(arguments)?;
        Ok(tour(&mut IoContext::new()?)?)
    })
}

fn tour(io: &mut IoContext) -> io::Result<()> {
    blocking_wait(io)?;
    asynchronous_wait(io)?;
    repetition_without_drift(io)?;
    cancellation(io)?;
    without_an_object(io)?;
    limited_operation(io)
}

fn blocking_wait(io: &IoContext) -> io::Result<()> {
    say!("wait: the thread sleeps, and needs no loop");
    let since = Instant::now();
    let timer = Timer::new(io);
    timer.expires_after(BEAT);
    timer.wait()?;
    say!("  {:.1?}: expired", since.elapsed());
    Ok(())
}

fn asynchronous_wait(io: &mut IoContext) -> io::Result<()> {
    say!("async_wait: the loop sleeps, and calls back");
    let since = Instant::now();
    for beats in [2, 1] {
        let timer = Timer::new(io);
        timer.expires_after(BEAT * beats);
        timer.async_wait(move |waited| say!("  {:.1?}: {beats} beats, {waited:?}", since.elapsed()));
    } // Dropping a timer does not end its wait: that is outstanding work of its own.
    let handlers = io.run()?;
    say!("  {:.1?}: run has called {handlers} handlers and returns", since.elapsed());
    Ok(())
}

fn repetition_without_drift(io: &mut IoContext) -> io::Result<()> {
    say!("expires_at(expiry() + beat): a handler that takes 30 ms, and the beat is kept");
    let timer = Timer::new(io);
    timer.expires_after(BEAT);
    tick(timer, 4, Instant::now());
    io.run()?;
    Ok(())
}

fn tick(timer: Timer, left: u32, since: Instant) {
    if left == 0 {
        return;
    }
    timer.clone().async_wait(move |_| {
        say!("  {:.1?}: tick", since.elapsed());
        thread::sleep(Duration::from_millis(30));
        timer.expires_at(timer.expiry() + BEAT); // From the last expiry, not from now: that would add the 30 ms.
        tick(timer, left - 1, since);
    });
}

fn cancellation(io: &mut IoContext) -> io::Result<()> {
    say!("cancel: the waits end early, as aborted");
    let timer = Timer::new(io);
    timer.expires_after(BEAT);
    for wait in 1..=3 {
        timer.async_wait(move |waited| match waited {
            Err(error) if error::is_aborted(&error) => say!("  wait {wait}: {error}"),
            waited => say!("  wait {wait}: {waited:?}"),
        });
    }
    say!("  cancel_one() ends {} wait", timer.cancel_one());
    say!("  a new expiry ends the {} others", timer.expires_after(BEAT));
    say!("  cancel() finds {}", timer.cancel());
    io.run()?;
    Ok(())
}

fn without_an_object(io: &mut IoContext) -> io::Result<()> {
    say!("every and after: for those who need no timer object");
    let since = Instant::now();
    let repetition = io.every(BEAT, move || say!("  {:.1?}: every beat", since.elapsed()));
    let handle = io.handle().clone();
    io.after(BEAT * 7 / 2, move |_| {
        say!("  {:.1?}: after 3.5 beats, cancel: {:?}", since.elapsed(), handle.cancel(repetition));
    });
    io.run()?;
    Ok(())
}

fn limited_operation(io: &mut IoContext) -> io::Result<()> {
    say!("cancel_after: a limit for any operation, here an accept that nobody connects to");
    let since = Instant::now();
    let acceptor = Acceptor::listen_on(io, (Ipv4Addr::LOCALHOST, 0).into())?;
    cancel_after(
        io,
        BEAT,
        |done| acceptor.async_accept(done),
        move |accepted| match accepted {
            Err(error) if error.kind() == ErrorKind::TimedOut => say!("  {:.1?}: {error}", since.elapsed()),
            accepted => say!("  {:.1?}: {accepted:?}", since.elapsed()),
        },
    );
    io.run()?;
    Ok(())
}
