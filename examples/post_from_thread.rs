//! Other threads and the loop: they work, it sleeps; they post, it wakes up and runs what they posted.
//!
//!     cargo run --example post_from_thread
//!
//! A `Remote` takes a closure to the loop's thread. A channel takes values to a handler that lives there, so the
//! handler may hold what no thread could share: an `Rc`, a socket, the loop's `Handle`. Only the work guards keep
//! `run` from returning while the threads are still at work. With `RUST_LOG=ioctx=trace` the loop tells when it sleeps.

#[macro_use]
mod cli;

use cli::{Failure, failed};
use ioctx::{IoContext, Remote, RemoteWorkGuard, Sender};
use std::cell::Cell;
use std::ops::Range;
use std::process::ExitCode;
use std::rc::Rc;
use std::thread;
use std::time::Duration;

const USAGE: &str = "usage: post_from_thread\n\nThree threads work for one loop; takes a second.";

fn main() -> ExitCode {
    cli::run(USAGE, |arguments| {
        cli::no_arguments(arguments)?;
        collect_primes()
    })
}

fn collect_primes() -> Result<(), Failure> {
    let mut io = IoContext::new()?;
    let total = Rc::new(Cell::new(0));
    let found = io.channel({
        let total = Rc::clone(&total);
        move |Found { primes, range }| {
            total.set(total.get() + primes);
            say!("[{}] {primes} primes in {range:?}, {} in all so far", here(), total.get());
        }
    });
    for number in 1..=3 {
        let worker = Worker { remote: io.remote(), found: found.clone(), _guard: io.remote().work_guard() };
        let thread = thread::Builder::new().name(format!("worker {number}"));
        thread.spawn(move || worker.work(number)).map_err(failed("cannot start a thread"))?;
    }

    say!("[{}] run: asleep until somebody posts", here());
    let handlers = io.run()?; // until the last worker has dropped its guard
    say!("[{}] run returns: {handlers} handlers, {} primes", here(), total.get());
    Ok(())
}

struct Found {
    primes: usize,
    range: Range<u32>,
}

struct Worker {
    remote: Remote,
    found: Sender<Found>,
    /// Keeps `run` from returning until this worker is done, which a `Remote` and a `Sender` do not.
    _guard: RemoteWorkGuard,
}

impl Worker {
    fn work(self, number: u32) {
        for round in 0..2 {
            thread::sleep(Duration::from_millis(100) * number);
            let from = 3000 * round + 1000 * (number - 1);
            let range = from..from + 1000;
            say!("[{}] looks for primes in {range:?}", here());
            let primes = range.clone().filter(|n| is_prime(*n)).count();
            if self.found.send(Found { primes, range }).is_err() {
                return; // The loop has gone, and nobody wants to know.
            }
        }
        let worker = here();
        let _ = self.remote.post(move |io| {
            say!("[{}] a task of {worker}; still outstanding: {}", here(), io.outstanding().len());
        });
    }
}

fn is_prime(n: u32) -> bool {
    n > 1 && (2..).take_while(|factor| factor * factor <= n).all(|factor| n % factor != 0)
}

fn here() -> String {
    thread::current().name().unwrap_or("?").to_owned()
}
