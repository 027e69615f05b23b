//! The command line.

use crate::peers::{PEERS, Peer, named};
use crate::workloads::{COUNTS, Workload, all};
use lexopt::{Arg, Parser, ValueExt};
use std::path::PathBuf;

pub const HELP: &str = "\
Measures ioctx and its peers side by side, and prints the tables.

    cargo run --release --manifest-path benches/Cargo.toml -- [OPTION...]

  --rounds N      rounds of each workload, and three times as many of what differs most from
                  one to the next; in a round every peer has its turn (20)
  --seconds S     how long a server is measured in a round, in four pieces, each after a
                  warm-up (0.15); where that takes long to prepare, twice as long, in one
                  piece, and four times where 1,000 connections or more are at work
  --only TEXT     only the workload of that name, or those whose names contain TEXT;
                  may be repeated
  --peer NAME     only this peer, or `ioctx` for all our layers; may be repeated
  --counts        only what is counted: instructions, system calls, allocations
  --check         counts of ours and of the floor alone; status 1 when one is over its limit
  --from FILE     measures nothing; tells what an earlier run has written to its file of measurements
  --write         also puts tables and plots into docs/performance.md and docs/performance/
  --list          names the peers and the workloads
  --help          this text
";

const ROUNDS: &str = "--rounds must be a whole number between 1 and 1000";
const SECONDS: &str = "--seconds must be a number between 0.01 and 5";

/// What to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    Measure,
    Check,
    List,
    Help,
}

pub struct Options {
    pub mode: Mode,
    pub rounds: u32,
    pub seconds: f64,
    /// One of these two was given.
    is_timed: bool,
    pub only: Vec<String>,
    pub peers: Vec<&'static Peer>,
    pub counts: bool,
    pub from: Option<PathBuf>,
    pub write: bool,
}

impl Options {
    /// From the arguments after the program's name; what is wrong with them in one line.
    pub fn parse(mut arguments: Parser) -> Result<Self, String> {
        let mut options = Self::default();
        while let Some(argument) = arguments.next().map_err(one_line)? {
            match argument {
                Arg::Long(name) => {
                    let name = name.to_string();
                    options.take(&name, &mut arguments)?;
                }
                Arg::Short('h') => options.turn_to(Mode::Help)?,
                other => return Err(format!("{}; --help tells what there is", one_line(other.unexpected()))),
            }
        }
        options.complete()
    }

    fn take(&mut self, name: &str, arguments: &mut Parser) -> Result<(), String> {
        match name {
            "rounds" => (self.rounds, self.is_timed) = (number(arguments, ROUNDS)?, true),
            "seconds" => (self.seconds, self.is_timed) = (number(arguments, SECONDS)?, true),
            "only" => self.add_only(text(arguments)?)?,
            "peer" => self.add_peer(&text(arguments)?)?,
            "counts" => self.counts = true,
            "check" => self.turn_to(Mode::Check)?,
            "from" => self.from = Some(arguments.value().map_err(one_line)?.into()),
            "write" => self.write = true,
            "list" => self.turn_to(Mode::List)?,
            "help" => self.turn_to(Mode::Help)?,
            other => return Err(format!("there is no option --{other}; --help tells what there is")),
        }
        Ok(())
    }

    /// Whoever asks for help gets it, whatever else is asked for.
    fn turn_to(&mut self, mode: Mode) -> Result<(), String> {
        if mode == Mode::Help || self.mode == Mode::Measure {
            self.mode = mode;
        } else if self.mode != Mode::Help && self.mode != mode {
            return Err("--check and --list cannot be combined".into());
        }
        Ok(())
    }

    fn add_only(&mut self, text: String) -> Result<(), String> {
        if text.is_empty() {
            return Err("--only needs a part of a workload's name; --list names them".into());
        }
        self.only.push(text);
        Ok(())
    }

    fn add_peer(&mut self, name: &str) -> Result<(), String> {
        let peers = named(name);
        if peers.is_empty() {
            return Err(format!("no peer is called {name:?}; --list names them"));
        }
        self.peers.extend(peers);
        Ok(())
    }

    fn complete(mut self) -> Result<Self, String> {
        if self.mode == Mode::Help {
            return Ok(self);
        }
        if !(1..=1_000).contains(&self.rounds) {
            return Err(ROUNDS.into());
        }
        if !(self.seconds >= 0.01 && self.seconds <= 5.0) {
            return Err(SECONDS.into());
        }
        let filtered = !self.only.is_empty() || !self.peers.is_empty();
        let has_others = filtered || self.counts || self.write || self.from.is_some() || self.is_timed;
        if self.mode != Mode::Measure && has_others {
            return Err("--check measures what it needs, --list names everything: they take no other option".into());
        }
        if self.from.is_some() && self.is_timed {
            return Err("--from measures nothing: --rounds and --seconds are for measuring".into());
        }
        if self.write && (filtered || self.counts) {
            return Err(
                "--write is for whole tables; parts can be measured first, then written by --from and --write".into()
            );
        }
        if self.counts && !self.only.is_empty() {
            return Err("--counts and --only cannot be combined".into());
        }
        if self.workloads().is_empty() {
            return Err(format!("no workload's name contains {:?}; --list names them", self.only.join(" or ")));
        }
        self.in_order();
        Ok(self)
    }

    /// The peers as their table has them, each once; all of them when none was asked for.
    fn in_order(&mut self) {
        let chosen = std::mem::take(&mut self.peers);
        let wanted = |peer: &Peer| chosen.is_empty() || chosen.iter().any(|other| other.name == peer.name);
        self.peers = PEERS.iter().filter(|peer| wanted(peer)).collect();
    }

    /// The workloads that were asked for.
    pub fn workloads(&self) -> Vec<Workload> {
        let mut all = all();
        let names: Vec<String> = all.iter().map(|workload| workload.name.clone()).collect();
        // A name in full means no other.
        let means = |text: &String, name: &String| match names.contains(text) {
            true => name == text,
            false => name.contains(text),
        };
        let wanted = |name: &String| match self.counts {
            true => name == COUNTS,
            false => self.only.is_empty() || self.only.iter().any(|text| means(text, name)),
        };
        all.retain(|workload| wanted(&workload.name));
        all
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            mode: Mode::Measure,
            rounds: 20,
            seconds: 0.15,
            is_timed: false,
            only: Vec::new(),
            peers: Vec::new(),
            counts: false,
            from: None,
            write: false,
        }
    }
}

fn number<T: std::str::FromStr>(arguments: &mut Parser, expected: &str) -> Result<T, String> {
    text(arguments)?.parse().map_err(|_| expected.to_string())
}

fn text(arguments: &mut Parser) -> Result<String, String> {
    arguments.value().and_then(|value| value.string()).map_err(one_line)
}

fn one_line(error: lexopt::Error) -> String {
    error.to_string().replace('\n', " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(arguments: &[&str]) -> Result<Options, String> {
        Options::parse(Parser::from_args(arguments.iter().copied()))
    }

    #[test]
    fn nothing_given_is_everything() {
        let options = parse(&[]).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!((options.mode, options.rounds, options.peers.len()), (Mode::Measure, 20, PEERS.len()));
        assert_eq!(options.workloads().len(), all().len());
    }

    #[test]
    fn filters_add_up() {
        let options =
            parse(&["--only", "pipes-100-", "--only=post", "--only=post-r", "--peer", "ioctx", "--peer=epoll"])
                .ok()
                .unwrap();
        let names: Vec<_> = options.workloads().into_iter().map(|workload| workload.name).collect();
        assert_eq!(names, ["pipes-100-of-100", "pipes-100-of-1000", "pipes-100-of-9000", "post", "post-remote"]);
        assert_eq!(parse(&["--only", "post"]).ok().unwrap().workloads().len(), 1, "a name means no other");
        let peers: Vec<_> = options.peers.iter().map(|peer| peer.name).collect();
        assert_eq!(peers, ["epoll", "session", "operation", "readiness"]);
    }

    #[test]
    fn mistakes_are_one_line() {
        let mistakes: [&[&str]; 17] = [
            &["--rounds", "0"],
            &["--rounds", "many"],
            &["--rounds", "1001"],
            &["--seconds", "nan"],
            &["--only", "nothing of that name"],
            &["--peer", "nobody"],
            &["--check", "--write"],
            &["--check", "--rounds", "30"],
            &["--check", "--list"],
            &["--list", "--only", "echo"],
            &["--from", "file", "--seconds", "1"],
            &["--only", ""],
            &["-x"],
            &["--write", "--only", "echo"],
            &["--from"],
            &["--what"],
            &["what"],
        ];
        for mistake in mistakes {
            let error = parse(mistake).err().unwrap_or_else(|| panic!("{mistake:?} is taken"));
            assert_eq!(error.lines().count(), 1, "{error}");
        }
    }
}
