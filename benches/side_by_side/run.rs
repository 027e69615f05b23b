//! A run: every workload, in rounds, on every peer; records are all that comes out of it.

use crate::building::Unbuilt;
use crate::counts::{BESIDE_IDLE, COUNTERS, INSTRUCTIONS, WITHOUT_LOG};
use crate::lab::Lab;
use crate::measure::{Server, measure};
use crate::options::Options;
use crate::peers::{LAYERS, Peer, SESSION};
use crate::process::{Outcome, Trouble};
use crate::records::{BUILD, Lack, Records};
use crate::say::tell;
use crate::tools::{Tools, missing};
use crate::workloads::{COUNTS, Task, Workload};
use fastrand::Rng;
use std::path::Path;

/// So many failures of a peer in a workload are enough: the next one would be the same, and take its minute again.
const FAILURES: usize = 2;

pub struct Run<'a> {
    pub lab: &'a Lab,
    pub tools: &'a Tools,
    pub records: Records,
    pub random: Rng,
}

type Done = Result<(), String>;

impl Run<'_> {
    /// Builds what the peers need, and returns those that are there.
    pub fn build(&mut self, peers: &[&'static Peer]) -> Result<Vec<&'static Peer>, String> {
        for tool in self.tools.missing() {
            self.lacks(BUILD, tool, 0, Lack::Missing, &missing(tool))?;
        }
        self.lab.places.build_rust(peers)?;
        let mut built = Vec::new();
        for &peer in peers {
            match peer.source.as_ref().map_or(Ok(()), |source| self.lab.places.compile(peer, source)) {
                Ok(()) => built.push(peer),
                Err(Unbuilt::Missing(why)) => self.lacks(BUILD, peer.name, 0, Lack::Missing, &why)?,
                Err(Unbuilt::Failed(why)) => self.lacks(BUILD, peer.name, 0, Lack::Failed, &why)?,
            }
        }
        Ok(built)
    }

    /// Builds the program without `log`, if it will be counted: now, from what all the others are built from.
    pub fn build_without_log(&mut self, workloads: &[Workload], peers: &[&Peer]) -> Done {
        let is_counted = self.tools.valgrind && workloads.iter().any(|workload| matches!(workload.task, Task::Counted));
        match layers(peers).next().filter(|_| is_counted) {
            Some(ours) => match self.lab.places.build_without_log(ours) {
                Ok(()) => Ok(()),
                Err(why) => self.lacks(COUNTS, ours.name, 0, Lack::Failed, &format!("without log: {why}")),
            },
            None => Ok(()),
        }
    }

    /// Says how long it will take.
    pub fn announce(&self, options: &Options, workloads: &[Workload]) {
        let seconds: f64 = workloads.iter().map(|workload| expected(options, workload, options.peers.len())).sum();
        tell(&format!("building, then {} workloads, about {:.0} min", workloads.len(), (seconds / 60.0).ceil()));
    }

    pub fn workloads(&mut self, options: &Options, workloads: &[Workload], peers: &[&'static Peer]) -> Done {
        let expected = |workload: &Workload| expected(options, workload, peers.len());
        let mut left: f64 = workloads.iter().map(expected).sum();
        let mut done = 0;
        for family in workloads.chunk_by(|one, next| one.family == next.family) {
            let names = first_and_last(family);
            done += family.len();
            tell(&format!("{names:<48} {done:>2} of {}, about {:.0} min left", workloads.len(), (left / 60.0).ceil()));
            match family {
                [Workload { task: Task::Counted, .. }] => self.all_counts(peers)?,
                _ => self.rounds(options, family, peers)?,
            }
            left -= family.iter().map(expected).sum::<f64>();
        }
        Ok(())
    }

    /// The workloads of a family take turns, and in each round of them every peer, each time in another order: what changes
    /// on the machine meets all that is told in one table.
    fn rounds(&mut self, options: &Options, family: &[Workload], peers: &[&'static Peer]) -> Done {
        let of = |workload: &Workload| workload.rounds(options.rounds, options.seconds);
        // Who has more rounds has several in a turn.
        let turns = family.iter().map(|workload| of(workload).0).min().unwrap_or(0);
        let mut order = peers.to_vec();
        for turn in 0..turns {
            for workload in family {
                let (rounds, seconds) = of(workload);
                for round in turn * rounds / turns..(turn + 1) * rounds / turns {
                    self.random.shuffle(&mut order);
                    match workload.pieces() {
                        1 => self.round(workload, round, seconds, &order)?,
                        pieces => self.round_in_pieces(workload, round, seconds, pieces, &order)?,
                    }
                }
            }
        }
        Ok(())
    }

    fn round(&mut self, workload: &Workload, round: u32, seconds: f64, peers: &[&'static Peer]) -> Done {
        for &peer in peers {
            if self.worth_it(&workload.name, peer) {
                let outcome = measure(self.lab, workload, peer, seconds);
                self.keep(&workload.name, peer, round, outcome)?;
            }
        }
        Ok(())
    }

    /// The servers of all peers are there at the same time, and have their turns piece by piece, each time in another
    /// order: what changes within a round meets all of them, too.
    fn round_in_pieces(
        &mut self,
        workload: &Workload,
        round: u32,
        seconds: f64,
        pieces: u32,
        peers: &[&'static Peer],
    ) -> Done {
        let mut servers = Vec::new();
        for &peer in peers {
            if self.worth_it(&workload.name, peer) {
                match Server::start(self.lab, workload, peer) {
                    Ok(server) => servers.push(server),
                    Err(trouble) => self.keep(&workload.name, peer, round, Err(trouble))?,
                }
            }
        }
        for _ in 0..pieces {
            for server in std::mem::take(&mut servers) {
                let figures = server.measure(self.lab, seconds / f64::from(pieces));
                let peer = server.peer;
                if figures.is_ok() {
                    servers.push(server); // Otherwise it ends here.
                }
                self.keep(&workload.name, peer, round, figures)?;
            }
            self.random.shuffle(&mut servers);
        }
        for server in servers {
            let peer = server.peer;
            if let Err(trouble) = server.end() {
                self.keep(&workload.name, peer, round, Err(trouble))?;
            }
        }
        Ok(())
    }

    fn worth_it(&self, workload: &str, peer: &Peer) -> bool {
        !self.records.absent(workload, peer.name) && self.records.failures(workload, peer.name) < FAILURES
    }

    fn keep(&mut self, workload: &str, peer: &Peer, round: u32, outcome: Outcome<Vec<(String, f64)>>) -> Done {
        match outcome {
            Ok(figures) => {
                for (figure, value) in figures {
                    self.records.record(workload, peer.name, round, &figure, value).map_err(unwritten)?;
                }
                Ok(())
            }
            Err(Trouble::Absent(why)) => {
                self.records.note(workload, peer.name, round, Lack::Absent, &why).map_err(unwritten)
            }
            Err(Trouble::Failed(why)) => self.lacks(workload, peer.name, round, Lack::Failed, &why),
        }
    }

    fn lacks(&mut self, workload: &str, peer: &str, round: u32, lack: Lack, why: &str) -> Done {
        tell(&if workload == BUILD { format!("  {why}") } else { format!("  {peer}, round {}: {why}", round + 1) });
        self.records.note(workload, peer, round, lack, why).map_err(unwritten)
    }

    /// The counts of every peer; of ours, what logging costs that is switched off; and of sessions, what idle connections
    /// do.
    fn all_counts(&mut self, peers: &[&Peer]) -> Done {
        self.counts(peers)?;
        if !self.tools.valgrind {
            return Ok(());
        }
        layers(peers).try_for_each(|layer| self.count_without_log(layer))?;
        let session = peers.iter().find(|peer| peer.name == SESSION);
        session.map_or(Ok(()), |session| self.count_beside_idle(session))
    }

    pub fn counts(&mut self, peers: &[&Peer]) -> Done {
        for peer in peers {
            let program = self.lab.places.program(peer.executable);
            for counter in COUNTERS.iter().filter(|counter| counter.usable(self.tools)) {
                let count = counter.per_message(self.lab, peer, &program, 0);
                self.keep_count(peer, counter.figure, count)?;
            }
        }
        Ok(())
    }

    fn count_without_log(&mut self, layer: &Peer) -> Done {
        let program = self.lab.places.program_without_log(layer.executable);
        let count = self.instructions(layer, &program, 0);
        self.keep_count(layer, WITHOUT_LOG, count)
    }

    fn count_beside_idle(&mut self, session: &Peer) -> Done {
        let program = self.lab.places.program(session.executable);
        for (idle, figure) in BESIDE_IDLE {
            let count = self.instructions(session, &program, idle);
            self.keep_count(session, figure, count)?;
        }
        Ok(())
    }

    fn instructions(&self, peer: &Peer, program: &Path, idle: usize) -> Outcome<f64> {
        let counter = COUNTERS.iter().find(|counter| counter.figure == INSTRUCTIONS);
        counter.map_or_else(
            || Err(Trouble::Failed("nothing counts instructions".into())),
            |counter| counter.per_message(self.lab, peer, program, idle),
        )
    }

    fn keep_count(&mut self, peer: &Peer, figure: &str, count: Outcome<f64>) -> Done {
        self.keep(COUNTS, peer, 0, count.map(|count| vec![(figure.into(), count)]))
    }
}

/// Ours.
fn layers<'a>(peers: &[&'a Peer]) -> impl Iterator<Item = &'a Peer> {
    peers.iter().copied().filter(|peer| LAYERS.contains(&peer.name))
}

fn first_and_last(family: &[Workload]) -> String {
    match family {
        [first, .., last] => format!("{} to {}", first.name, last.name),
        _ => family.iter().map(|workload| workload.name.as_str()).collect(),
    }
}

/// The same orders in every run.
pub fn random() -> Rng {
    Rng::with_seed(0)
}

fn expected(options: &Options, workload: &Workload, peers: usize) -> f64 {
    workload.expected_seconds(options.rounds, options.seconds, peers)
}

fn unwritten(error: std::io::Error) -> String {
    format!("the file of measurements: {error}")
}
