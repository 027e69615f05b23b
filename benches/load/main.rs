//! The load generator: the other end of every server. It sends, compares every byte that comes back, and tells how long
//! it took and what it cost the server. What it does is in `benches/README.md`.
//!
//! The order of the modules is the reading order: what everything uses first, the workloads last.

#![forbid(unsafe_code)]

mod failure;
mod options;
mod clock;
mod pattern;
mod buffer;
mod doors;
mod link;
mod wire;
mod process;
mod turns;
mod window;
mod report;
mod poller;
mod driver;
mod rounds;
mod echo;
mod stream;
mod churn;
mod idle;
mod sink;

use failure::Failure;
use options::Command;
use std::process::ExitCode;

fn main() -> ExitCode {
    match options::parse(lexopt::Parser::from_env()).and_then(run) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.tell(),
    }
}

fn run(command: Command) -> Result<(), Failure> {
    match command {
        Command::Help => report::print(options::USAGE),
        Command::Echo(job) => report::print(echo::run(&job)?),
        Command::Stream(job) => report::print(stream::run(&job)?),
        Command::Churn(job) => report::print(churn::run(&job)?),
        Command::Idle(job) => report::print(idle::run(&job)?),
        Command::Sink { bytes } => sink::run(bytes)?,
    }
    Ok(())
}
