//! A run: every workload, in rounds, on every peer; records are all that comes out of it.

use crate::building::Unbuilt;
use crate::counts::{COUNTERS, INSTRUCTIONS, WITHOUT_LOG};
use crate::lab::Lab;
use crate::measure::measure;
use crate::options::Options;
use crate::peers::{Peer, SESSION};
use crate::process::{Outcome, Trouble};
use crate::records::{BUILD, Lack, Records};
use crate::say::tell;
use crate::tools::{Tools, missing};
use crate::workloads::{COUNTS, Task, Workload};
use fastrand::Rng;
use std::path::Path;

/// So many failures of a peer in a workload are enough: the next one would be the same, and take its minute again.
const ENOUGH: usize = 2;

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
        match peers.iter().find(|peer| is_counted && peer.name == SESSION) {
            Some(session) => match self.lab.places.build_without_log(session) {
                Ok(()) => Ok(()),
                Err(why) => self.lacks(COUNTS, session.name, 0, Lack::Failed, &format!("without log: {why}")),
            },
            None => Ok(()),
        }
    }

    /// Says how long it will take.
    pub fn announce(&self, options: &Options, workloads: &[Workload]) {
        let seconds: f64 = workloads.iter().map(|workload| expected(options, workload, options.peers.len())).sum();
        tell(&format!("building, then {} workloads, about {:.0} min", workloads.len(), (seconds / 60.0).ceil()));
    }

    pub fn workloads(&mut self, options: &Options, workloads: &[Workload], peers: &[&Peer]) -> Done {
        let expected = |workload: &Workload| expected(options, workload, peers.len());
        let mut left: f64 = workloads.iter().map(expected).sum();
        for (number, workload) in workloads.iter().enumerate() {
            let place = format!("{} of {}", number + 1, workloads.len());
            tell(&format!("{:<24} {place:>9}, about {:.0} min left", workload.name, (left / 60.0).ceil()));
            match workload.task {
                Task::Counted => self.all_counts(peers)?,
                _ => self.rounds(options, workload, peers)?,
            }
            left -= expected(workload);
        }
        Ok(())
    }

    /// In each round every peer has its turn, each time in another order: what changes on the machine meets all.
    fn rounds(&mut self, options: &Options, workload: &Workload, peers: &[&Peer]) -> Done {
        let (rounds, seconds) = workload.rounds(options.rounds, options.seconds);
        let mut order = peers.to_vec();
        for round in 0..rounds {
            self.random.shuffle(&mut order);
            for peer in &order {
                if self.worth_it(&workload.name, peer) {
                    let outcome = measure(self.lab, workload, peer, seconds);
                    self.keep(&workload.name, peer, round, outcome)?;
                }
            }
        }
        Ok(())
    }

    fn worth_it(&self, workload: &str, peer: &Peer) -> bool {
        !self.records.absent(workload, peer.name) && self.records.failures(workload, peer.name) < ENOUGH
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

    /// The counts of every peer, and what logging costs that is switched off.
    fn all_counts(&mut self, peers: &[&Peer]) -> Done {
        self.counts(peers)?;
        match peers.iter().find(|peer| peer.name == SESSION) {
            Some(session) if self.tools.valgrind => self.count_without_log(session),
            _ => Ok(()),
        }
    }

    pub fn counts(&mut self, peers: &[&Peer]) -> Done {
        for peer in peers {
            let program = self.lab.places.program(peer.executable);
            for counter in COUNTERS.iter().filter(|counter| counter.usable(self.tools)) {
                let count = counter.per_message(self.lab, peer, &program);
                self.keep_count(peer, counter.figure, count)?;
            }
        }
        Ok(())
    }

    fn count_without_log(&mut self, session: &Peer) -> Done {
        let program = self.lab.places.program_without_log(session.executable);
        let count = self.instructions(session, &program);
        self.keep_count(session, WITHOUT_LOG, count)
    }

    fn instructions(&self, peer: &Peer, program: &Path) -> Outcome<f64> {
        let counter = COUNTERS.iter().find(|counter| counter.figure == INSTRUCTIONS);
        counter.map_or_else(
            || Err(Trouble::Failed("nothing counts instructions".into())),
            |counter| counter.per_message(self.lab, peer, program),
        )
    }

    fn keep_count(&mut self, peer: &Peer, figure: &str, count: Outcome<f64>) -> Done {
        self.keep(COUNTS, peer, 0, count.map(|count| vec![(figure.into(), count)]))
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
