//! Idle: connections that are open and do nothing. What they cost the server.

use crate::clock;
use crate::failure::Failure;
use crate::link::Found;
use crate::options::{Job, Length};
use crate::process::Process;
use crate::report::{Amount, Outcome};
use crate::window::Meter;
use crate::wire::Wire;
use rustix::net::RecvFlags;
use std::fmt::{self, Display, Formatter};
use std::thread::sleep;
use std::time::Duration;

pub struct Idle {
    memory: Option<Memory>,
    outcome: Outcome,
}

/// The server's resident memory at three moments.
struct Memory {
    before_kib: u64,
    open_kib: u64,
    after_kib: u64,
}

impl Display for Idle {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        if let Some(Memory { before_kib, open_kib, after_kib }) = self.memory {
            writeln!(f, "rss_before_kib={before_kib}\nrss_open_kib={open_kib}\nrss_after_kib={after_kib}")?;
        }
        if let Some(server) = &self.outcome.server {
            writeln!(f, "wakeups={}", server.wakeups)?;
        }
        self.outcome.fmt(f)
    }
}

pub fn run(job: &Job) -> Result<Idle, Failure> {
    let Length::Time { measured, .. } = job.length else {
        return Err(Failure::Usage("idle needs --seconds".to_string()));
    };
    let mut wire = Wire::new(job)?;
    let server = job.server();
    let before = memory(&server)?;
    wire.open(job.connections, job.size)?;
    let open = memory(&server)?;
    let outcome = leave_alone(job, measured)?;
    check_silence(&mut wire)?;
    wire.leave(0)?;
    let after = memory(&server)?;
    let memory = match (before, open, after) {
        (Some(before_kib), Some(open_kib), Some(after_kib)) => Some(Memory { before_kib, open_kib, after_kib }),
        _ => None,
    };
    Ok(Idle { memory, outcome })
}

fn memory(server: &Option<Process>) -> Result<Option<u64>, Failure> {
    server.as_ref().map(Process::settled_memory).transpose()
}

fn leave_alone(job: &Job, measured: Duration) -> Result<Outcome, Failure> {
    let meter = Meter::new(job.server())?;
    let begin = clock::now();
    sleep(measured);
    let nothing = Amount { messages: 0, bytes: 0, nanoseconds: clock::now() - begin };
    meter.end(nothing, nothing, None)
}

/// Nobody has said anything, or gone.
fn check_silence(wire: &mut Wire) -> Result<(), Failure> {
    for link in &wire.links {
        match link.receive(&mut wire.buffer, RecvFlags::DONTWAIT)? {
            Found::Nothing => {}
            Found::Bytes(bytes) => return Err(link.failure(format_args!("{bytes} bytes came that were not sent"))),
            Found::End => return Err(link.closed()),
        }
    }
    Ok(())
}
