//! Who runs on which processor: the server on one, and the load on another, so that neither waits for the other's slice,
//! where a workload does not ask for one processor for both.

use crate::tools::Tools;
use std::ffi::OsString;
use std::path::Path;
use std::process::Command;

/// For how many microseconds a server of ours spins before each sleep.
pub const SPIN: &str = "IOCTX_SPIN";

/// Nothing is pinned when there is only one processor, or no tool for it.
#[derive(Default)]
pub struct Processors {
    pair: Option<(usize, usize)>,
    /// There is a tool that ends a program with the one that has started it.
    setpriv: bool,
    /// There is a tool that has those who share a processor take turns.
    chrt: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Place {
    Server,
    Load,
    /// On the server's, where nobody who wakes up takes it from the other before that sleeps, or its slice is over.
    InTurn,
    /// On either, for what has two threads.
    Both,
}

impl Processors {
    /// The first two that this process may use, with the tools that there are.
    pub fn find(tools: &Tools) -> Self {
        let allowed = std::fs::read_to_string("/proc/self/status").map(|status| allowed(&status)).unwrap_or_default();
        let pair = allowed.first().copied().zip(allowed.get(1).copied());
        Self { pair: pair.filter(|_| tools.taskset), setpriv: tools.setpriv, chrt: tools.chrt }
    }

    pub fn pinned(&self) -> bool {
        self.pair.is_some()
    }

    /// For the head of the tables.
    pub fn describe(&self) -> String {
        match self.pair {
            Some((server, load)) => format!("server on {server}, load on {load}"),
            None => "not pinned".into(),
        }
    }

    /// A command that runs there, and not longer than this process does, however that ends.
    pub fn command(&self, place: Place, program: impl AsRef<Path>) -> Command {
        let mut words: Vec<OsString> = Vec::new();
        if self.setpriv {
            words.extend(["setpriv", "--pdeathsig", "KILL"].map(OsString::from));
        }
        if let Some((server, load)) = self.pair {
            let list = match place {
                Place::Server | Place::InTurn => server.to_string(),
                Place::Load => load.to_string(),
                Place::Both => format!("{server},{load}"),
            };
            words.extend(["taskset", "-c", &list].map(OsString::from));
        }
        if self.chrt && place == Place::InTurn {
            words.extend(["chrt", "--batch", "0"].map(OsString::from));
        }
        words.push(program.as_ref().into());
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]);
        command.env_remove(SPIN); // All are measured as they are by default, unless a workload says otherwise.
        command
    }
}

/// The processors in `Cpus_allowed_list` of /proc/PID/status, such as `0-3,8`.
fn allowed(status: &str) -> Vec<usize> {
    let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).unwrap_or_default();
    let ranges = list.trim().split(',').filter_map(|range| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        Some(first.parse().ok()?..=last.parse().ok()?)
    });
    ranges.flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn allowed_processors() {
        assert_eq!(allowed("Name:\tx\nCpus_allowed_list:\t0-1\nMems:\t0\n"), [0, 1]);
        assert_eq!(allowed("Cpus_allowed_list:\t3,5-6,9\n"), [3, 5, 6, 9]);
        assert!(allowed("Name:\tx\n").is_empty());
    }
}
