//! What every measurement needs: the programs, the processors, a place for outputs; and how a server is run.

use crate::building::Places;
use crate::peers::Peer;
use crate::process::{Outcome, Running, Scratch};
use crate::processors::{Place, Processors};
use std::process::Command;
use std::time::Duration;

/// The longest that a measurement may take.
pub const LIMIT: Duration = Duration::from_secs(60);

pub struct Lab {
    pub places: Places,
    pub processors: Processors,
    pub scratch: Scratch,
}

impl Lab {
    /// A peer's program with its arguments.
    pub fn peer(&self, place: Place, peer: &Peer, arguments: &[String]) -> Command {
        let mut command = self.processors.command(place, self.places.program(peer.executable));
        command.args(peer.layer()).args(arguments);
        command
    }

    /// Runs the load generator against a server's port.
    pub fn load(&self, place: Place, port: u16, arguments: &[String]) -> Outcome<String> {
        let mut command = self.processors.command(place, self.places.program("load"));
        command.args(arguments).arg("--port").arg(port.to_string());
        Running::start(command, "load", &self.scratch)?.output(LIMIT)
    }

    /// The load generator as a server, whose client must send so many bytes.
    pub fn sink(&self, bytes: u64) -> Outcome<Running> {
        let mut command = self.processors.command(Place::Load, self.places.program("load"));
        command.args(["sink", "--bytes", &bytes.to_string()]);
        Running::start(command, "load sink", &self.scratch)
    }

    /// What a program prints, alone.
    pub fn alone(&self, command: Command, what: &str) -> Outcome<String> {
        Running::start(command, what, &self.scratch)?.output(LIMIT)
    }
}
