//! Churn: connections that come, have one message echoed, and go.

use crate::clock;
use crate::doors::Doors;
use crate::driver::{Arrival, Next, Workload, drive};
use crate::failure::Failure;
use crate::link::Link;
use crate::options::{Job, Length};
use crate::poller::Told;
use crate::report::Outcome;
use crate::rounds;
use crate::window::Window;
use crate::wire::Wire;

pub fn run(job: &Job) -> Result<Outcome, Failure> {
    let mut wire = Wire::new(job)?;
    match job.length {
        Length::Rounds(rounds) => {
            let outcome = rounds::measure(&mut wire, job, rounds, |wire| in_rounds(wire, job, rounds))?;
            wire.leave(0)?;
            Ok(outcome)
        }
        Length::Time { warm_up, measured } => {
            wire.connect(0..job.connections)?;
            wire.open_and_greet(job.idle, job.size)?;
            let window = Window::new(warm_up, measured, job.server())?;
            let mut churn = Churn { size: job.size, opened: job.connections };
            let outcome = drive(&mut wire, job.connections, &mut churn, window)?.outcome()?;
            // The others have ended.
            wire.leave(job.connections)?;
            Ok(outcome)
        }
    }
}

fn in_rounds(wire: &mut Wire, job: &Job, rounds: u64) -> Result<(), Failure> {
    let begin = wire.links.len();
    let mut opened = begin;
    for _ in 0..rounds {
        wire.connect(opened..opened + job.connections)?;
        opened += job.connections;
        wire.exchange(begin, job.size)?;
        wire.leave(begin)?;
    }
    Ok(())
}

struct Churn {
    size: u64,
    /// How many connections there were so far.
    opened: usize,
}

impl Workload for Churn {
    const TOLD: Told = Told::OnceForEach;

    fn begin(&mut self, link: &mut Link) {
        link.add(self.size);
        link.started = clock::now();
    }

    #[inline]
    fn arrived(
        &mut self,
        link: &mut Link,
        _arrival: Arrival,
        _doors: &mut Doors,
        _window: &mut Window,
    ) -> Result<Next, Failure> {
        if link.complete() {
            link.end()?;
            return Ok(Next::AwaitEnd);
        }
        Ok(Next::Wait)
    }

    fn ended(
        &mut self,
        link: &mut Link,
        arrived: u64,
        doors: &mut Doors,
        window: &mut Window,
    ) -> Result<Next, Failure> {
        if !link.complete() {
            return Err(link.closed());
        }
        window.pass(arrived)?;
        window.record(link.started, arrived);
        window.count(1, self.size);
        if window.is_over() {
            return Ok(Next::Done);
        }
        link.started = arrived;
        link.reopen(doors.open(self.opened)?);
        self.opened += 1;
        link.add(self.size);
        Ok(Next::Reopened)
    }
}
