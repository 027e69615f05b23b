//! An exact number of messages, one connection after the other in a fixed order: two runs that differ in their number
//! of rounds differ in nothing else, so that the difference of their counts is what the messages cost.

use crate::clock;
use crate::failure::Failure;
use crate::options::Job;
use crate::report::{Amount, Outcome};
use crate::window::Meter;
use crate::wire::Wire;

/// Messages on connections that stay open. The first round goes along with the opening.
pub fn exchange(wire: &mut Wire, job: &Job, rounds: u64) -> Result<Outcome, Failure> {
    measure(wire, job, rounds, |wire| {
        let begin = wire.links.len();
        wire.open(job.connections, job.size)?;
        for _ in 1..rounds {
            wire.exchange(begin, job.size)?;
        }
        Ok(())
    })
}

/// Opens the idle connections, then measures the work.
pub fn measure(
    wire: &mut Wire,
    job: &Job,
    rounds: u64,
    work: impl FnOnce(&mut Wire) -> Result<(), Failure>,
) -> Result<Outcome, Failure> {
    wire.open_and_greet(job.idle, job.size)?;
    let meter = Meter::new(job.server())?;
    let begin = clock::now();
    work(wire)?;
    let messages = rounds * job.connections as u64;
    let all = Amount { messages, bytes: messages * job.size, nanoseconds: clock::now() - begin };
    meter.end(all, all, None)
}
