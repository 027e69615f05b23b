//! What hardly depends on how busy the machine is: instructions, system calls and allocations for each message.
//!
//! Each is the difference of two runs that differ only in their number of rounds, divided by the messages between them:
//! start-up and shutdown cancel out, but for how often a loop of ours asks while it spins, when connections come and go.
//! That is up to the clock, so the messages are many. Server and load share one processor, in turn: then nearly each
//! wait of the server finds a message of every connection. Where the one that is woken may take the processor from the
//! other, some waits find fewer, and the same program counts up to one instruction more, up to the kernel's mood.

use crate::lab::Lab;
use crate::peers::Peer;
use crate::process::{Outcome, Running, failed};
use crate::processors::Place;
use crate::summaries;
use crate::tools::Tools;
use crate::workloads::MANY_IDLE;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

pub const INSTRUCTIONS: &str = "instructions";
pub const SYSTEM_CALLS: &str = "system_calls";
pub const ALLOCATIONS: &str = "allocations";
/// Instructions when logging is compiled out, which users see as a switch of the library `log`.
pub const WITHOUT_LOG: &str = "instructions_without_log";

/// Instructions beside so many connections of which nothing comes.
pub const BESIDE_IDLE: [(usize, &str); 3] =
    [(100, "instructions_beside_100"), (1_000, "instructions_beside_1000"), (MANY_IDLE, "instructions_beside_many")];

const CONNECTIONS: u32 = 16;
const FEW: u32 = 250;
const MANY: u32 = 5_250;

/// The tool that counts, and how it is read.
#[derive(Clone, Copy)]
pub struct Counter {
    pub figure: &'static str,
    tool: &'static str,
    options: &'static [&'static str],
    /// The option that takes the name of the file for what it found.
    file: &'static str,
    read: fn(&str) -> Option<f64>,
}

pub const COUNTERS: [Counter; 3] = [
    Counter {
        figure: INSTRUCTIONS,
        tool: "valgrind",
        options: &["--tool=callgrind"],
        file: "--callgrind-out-file=",
        read: summaries::instructions,
    },
    Counter {
        // -D: the server itself is our child, strace watches from the side and outlives it by a moment.
        figure: SYSTEM_CALLS,
        tool: "strace",
        options: &["-D", "-f", "-qq", "-c", "-U", "calls,name"],
        file: "--output=",
        read: summaries::system_calls,
    },
    Counter {
        figure: ALLOCATIONS,
        tool: "valgrind",
        options: &["--tool=memcheck", "--undef-value-errors=no", "--leak-check=no"],
        file: "--log-file=",
        read: summaries::allocations,
    },
];

impl Counter {
    pub fn usable(&self, tools: &Tools) -> bool {
        if self.tool == "strace" { tools.strace } else { tools.valgrind }
    }

    /// For one message that a peer's server echoes, beside so many idle connections.
    pub fn per_message(&self, lab: &Lab, peer: &Peer, program: &Path, idle: usize) -> Outcome<f64> {
        let few = self.whole_run(lab, peer, program, FEW, idle)?;
        let many = self.whole_run(lab, peer, program, MANY, idle)?;
        Ok((many - few) / f64::from((MANY - FEW) * CONNECTIONS))
    }

    fn whole_run(&self, lab: &Lab, peer: &Peer, program: &Path, rounds: u32, idle: usize) -> Outcome<f64> {
        let file = lab.scratch.path("count");
        let mut server = Running::start(self.command(lab, peer, program, &file), peer.title, &lab.scratch)?;
        let port = server.port()?;
        let load = format!("echo --connections {CONNECTIONS} --size 64 --rounds {rounds} --idle {idle}");
        lab.load(Place::InTurn, port, &load.split(' ').map(String::from).collect::<Vec<_>>())?;
        server.terminate()?;
        self.found(&file, peer)
    }

    fn command(&self, lab: &Lab, peer: &Peer, program: &Path, file: &Path) -> Command {
        let mut command = lab.processors.command(Place::InTurn, self.tool);
        command.args(self.options).arg(format!("{}{}", self.file, file.display()));
        command.arg(program).args(peer.layer()).arg("echo");
        command
    }

    /// What is in the tool's file, which may be a moment late.
    fn found(&self, file: &Path, peer: &Peer) -> Outcome<f64> {
        let end = Instant::now() + Duration::from_secs(10);
        loop {
            let count = fs::read_to_string(file).ok().and_then(|text| (self.read)(&text));
            match count {
                Some(count) => {
                    let _ = fs::remove_file(file);
                    return Ok(count);
                }
                None if Instant::now() > end => return failed(format!("{}: {} said nothing", peer.title, self.tool)),
                None => sleep(Duration::from_millis(10)),
            }
        }
    }
}
