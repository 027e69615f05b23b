//! Stream: as many bytes as the window on their way on every connection. What comes back is sent on.

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
    let outcome = match job.length {
        // A round is a window there and back.
        Length::Rounds(rounds) => rounds::exchange(&mut wire, job, rounds)?,
        Length::Time { warm_up, measured } => {
            wire.open_and_greet(job.connections + job.idle, job.size)?;
            let window = Window::new(warm_up, measured, job.server())?.with_turns(job.connections);
            let outcome = drive(&mut wire, job.connections, &mut Stream { window: job.size }, window)?.outcome()?;
            let [measured, metered] = [outcome.measured, outcome.metered].map(|amount| amount.in_messages_of(job.size));
            Outcome { measured, metered, ..outcome }
        }
    };
    wire.leave(0)?;
    Ok(outcome)
}

struct Stream {
    window: u64,
}

impl Workload for Stream {
    const TOLD: Told = Told::WhileReady;

    fn begin(&mut self, link: &mut Link) {
        link.add(self.window);
    }

    #[inline]
    fn arrived(
        &mut self,
        link: &mut Link,
        arrival: Arrival,
        _doors: &mut Doors,
        window: &mut Window,
    ) -> Result<Next, Failure> {
        window.pass(arrival.at)?;
        window.came(link.number(), arrival.at, arrival.bytes as u64);
        if window.is_over() {
            return Ok(if link.complete() { Next::Done } else { Next::Wait });
        }
        link.add(arrival.bytes as u64);
        Ok(Next::Send)
    }
}
