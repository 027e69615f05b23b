//! Echo: one message on its way on every connection.

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

/// What is compared in less time than it takes to read the clock.
const QUICKLY_COMPARED: usize = 1_024;

pub fn run(job: &Job) -> Result<Outcome, Failure> {
    let mut wire = Wire::new(job)?;
    let outcome = match job.length {
        Length::Rounds(rounds) => rounds::exchange(&mut wire, job, rounds)?,
        Length::Time { warm_up, measured } => {
            wire.open_and_greet(job.connections + job.idle, job.size)?;
            let window = Window::new(warm_up, measured, job.server())?;
            drive(&mut wire, job.connections, &mut Echo { size: job.size }, window)?.outcome()?
        }
    };
    wire.leave(0)?;
    Ok(outcome)
}

struct Echo {
    size: u64,
}

impl Workload for Echo {
    const TOLD: Told = Told::OnceForEach;

    fn begin(&mut self, link: &mut Link) {
        link.add(self.size);
        link.started = clock::now();
    }

    #[inline]
    fn arrived(
        &mut self,
        link: &mut Link,
        arrival: Arrival,
        _doors: &mut Doors,
        window: &mut Window,
    ) -> Result<Next, Failure> {
        if !link.complete() {
            return Ok(Next::Wait);
        }
        window.pass(arrival.at)?;
        window.record(link.started, arrival.at);
        window.count(1, self.size);
        if window.is_over() {
            return Ok(Next::Done);
        }
        link.add(self.size);
        // The next one is sent at once: between its beginning and the last arrival is only a quick comparison.
        link.started = if arrival.bytes <= QUICKLY_COMPARED { arrival.at } else { clock::now() };
        Ok(Next::Send)
    }
}
