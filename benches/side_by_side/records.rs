//! What was measured, one line each, in memory and in a file: all that is told is worked out from these.
//!
//! A line of the file has five fields, separated by tabs: workload, peer, round, figure, value. Two kinds of lines are
//! different: a fact about the run is `#`, name, value; and where something is missing, the figure is `failed`, `absent`
//! or `missing`, and the value says why.

use crate::say::tell;
use std::collections::{HashMap, HashSet};
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::path::Path;
use std::str::Utf8Error;

#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    pub workload: String,
    pub peer: String,
    pub round: u32,
    pub figure: String,
    pub value: f64,
}

/// Why there is no figure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lack {
    /// It went wrong.
    Failed,
    /// The peer has nothing of the kind.
    Absent,
    /// Something is not installed.
    Missing,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Note {
    pub workload: String,
    pub peer: String,
    pub round: u32,
    pub lack: Lack,
    pub why: String,
}

/// The fact that begins a run in a file of several.
pub const RUN: &str = "date";

/// What is said of records of several runs.
const SEVERAL: (&str, &str) =
    ("measured in", "several runs: of each workload the last; the above is true of the last run of all");

/// The workload under which it is noted that a peer could not be built.
pub const BUILD: &str = "build";

#[derive(Default)]
pub struct Records {
    pub facts: Vec<(String, String)>,
    pub records: Vec<Record>,
    pub notes: Vec<Note>,
    file: Option<File>,
}

impl Lack {
    const ALL: [(Self, &'static str); 3] =
        [(Self::Failed, "failed"), (Self::Absent, "absent"), (Self::Missing, "missing")];

    fn word(self) -> &'static str {
        Self::ALL.iter().find(|(lack, _)| *lack == self).map_or("failed", |(_, word)| word)
    }

    fn from_word(word: &str) -> Option<Self> {
        Self::ALL.iter().find(|(_, name)| *name == word).map(|(lack, _)| *lack)
    }
}

impl Records {
    /// Records that are also appended to this file, each as soon as it is there. What an interrupted run has left of a line is
    /// removed. One run at a time: two would disturb each other's figures, too.
    pub fn kept_in(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().create(true).append(true).open(path)?;
        // Not every file system has locks.
        if let Err(TryLockError::WouldBlock) = file.try_lock() {
            return Err(io::Error::other("another run is writing to it"));
        }
        file.set_len(finished(&std::fs::read(path)?) as u64)?;
        Ok(Self { file: Some(file), ..Self::default() })
    }

    pub fn fact(&mut self, name: &str, value: &str) -> io::Result<()> {
        self.append(&format!("#\t{name}\t{}", flat(value)))?;
        match self.facts.iter_mut().find(|(other, _)| other == name) {
            Some((_, old)) => *old = flat(value),
            None => self.facts.push((name.into(), flat(value))),
        }
        Ok(())
    }

    pub fn record(&mut self, workload: &str, peer: &str, round: u32, figure: &str, value: f64) -> io::Result<()> {
        self.append(&format!("{workload}\t{peer}\t{round}\t{figure}\t{value}"))?;
        let (workload, peer, figure) = (workload.into(), peer.into(), figure.into());
        self.records.push(Record { workload, peer, round, figure, value });
        Ok(())
    }

    pub fn note(&mut self, workload: &str, peer: &str, round: u32, lack: Lack, why: &str) -> io::Result<()> {
        self.append(&format!("{workload}\t{peer}\t{round}\t{}\t{}", lack.word(), flat(why)))?;
        self.notes.push(Note { workload: workload.into(), peer: peer.into(), round, lack, why: flat(why) });
        Ok(())
    }

    fn append(&mut self, line: &str) -> io::Result<()> {
        match &mut self.file {
            Some(file) => file.write_all(format!("{line}\n").as_bytes()),
            None => Ok(()),
        }
    }

    /// From a file. A last line that was not finished is left out, and told.
    pub fn read(path: &Path) -> Result<Self, String> {
        let mut text = std::fs::read(path).map_err(|error| error.to_string())?;
        let finished = finished(&text);
        if finished < text.len() {
            tell(&format!("{}: its last line was not finished, and is left out", path.display()));
            text.truncate(finished);
        }
        Self::parse(&String::from_utf8(text).map_err(|error| no_text(error.as_bytes(), &error.utf8_error()))?)
    }

    /// From a file's text. Where several runs have the same workload, the last one counts, with all its peers: figures
    /// of different runs are never set side by side.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut all = Self::default();
        let mut run = 0;
        let mut run_of = HashMap::new();
        for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.is_empty()) {
            let fields: Vec<&str> = line.split('\t').collect();
            match fields[..] {
                ["#", name, value] => {
                    if name == RUN {
                        run += 1;
                        all.forget(BUILD);
                    }
                    all.fact(name, value).map_err(|error| error.to_string())?;
                }
                [workload, peer, round, figure, value] => {
                    if run_of.insert(workload.to_string(), run).is_some_and(|before| before != run) {
                        all.forget(workload);
                    }
                    all.take(workload, peer, round, figure, value).ok_or_else(|| not_a_measurement(number, line))?;
                }
                _ => return Err(not_a_measurement(number, line)),
            }
        }
        let runs: HashSet<u32> = run_of.into_values().collect();
        if runs.len() > 1 {
            all.facts.push((SEVERAL.0.into(), SEVERAL.1.into()));
        }
        Ok(all)
    }

    fn take(&mut self, workload: &str, peer: &str, round: &str, figure: &str, value: &str) -> Option<()> {
        let round = round.parse().ok()?;
        match Lack::from_word(figure) {
            Some(lack) => self.note(workload, peer, round, lack, value).ok(),
            None => {
                let value = value.parse().ok().filter(|value: &f64| value.is_finite())?;
                self.record(workload, peer, round, figure, value).ok()
            }
        }
    }

    fn forget(&mut self, workload: &str) {
        self.records.retain(|record| record.workload != workload);
        self.notes.retain(|note| note.workload != workload);
    }

    /// Only these workloads.
    pub fn keep(&mut self, wanted: impl Fn(&str) -> bool) {
        self.records.retain(|record| wanted(&record.workload));
        self.notes.retain(|note| note.workload == BUILD || wanted(&note.workload));
    }

    pub fn has(&self, workload: &str) -> bool {
        self.records.iter().any(|record| record.workload == workload)
            || self.notes.iter().any(|note| note.workload == workload)
    }

    pub fn absent(&self, workload: &str, peer: &str) -> bool {
        self.notes.iter().any(|note| note.workload == workload && note.peer == peer && note.lack == Lack::Absent)
    }

    pub fn failures(&self, workload: &str, peer: &str) -> usize {
        let failed = |note: &&Note| note.workload == workload && note.peer == peer && note.lack == Lack::Failed;
        self.notes.iter().filter(failed).count()
    }

    /// The records of one peer in one workload, by round.
    pub fn rounds(&self, workload: &str, peer: &str) -> Vec<Vec<&Record>> {
        let mut rounds: Vec<Vec<&Record>> = Vec::new();
        for record in self.records.iter().filter(|record| record.workload == workload && record.peer == peer) {
            match rounds.iter_mut().find(|round| round[0].round == record.round) {
                Some(round) => round.push(record),
                None => rounds.push(vec![record]),
            }
        }
        rounds
    }

    /// A figure that is measured once.
    pub fn single(&self, workload: &str, peer: &str, figure: &str) -> Option<f64> {
        let wanted = |record: &&Record| record.workload == workload && record.peer == peer && record.figure == figure;
        self.records.iter().rev().find(wanted).map(|record| record.value)
    }
}

/// How much of a file's text, in bytes, is of lines that were finished. An interrupted run may leave a part of one.
fn finished(text: &[u8]) -> usize {
    text.iter().rposition(|&byte| byte == b'\n').map_or(0, |end| end + 1)
}

fn not_a_measurement(number: usize, line: &str) -> String {
    const SHOWN: usize = 60;
    let dots = if line.chars().count() > SHOWN { "..." } else { "" };
    let start: String = line.chars().take(SHOWN).collect();
    format!("not a file of measurements: line {} is {start:?}{dots}", number + 1)
}

fn no_text(bytes: &[u8], error: &Utf8Error) -> String {
    let before = &bytes[..error.valid_up_to()];
    let line = 1 + before.iter().filter(|&&byte| byte == b'\n').count();
    format!("not a file of measurements: line {line} has bytes that are no text")
}

/// One field of one line.
fn flat(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    const TWO_RUNS: &str = "#\tdate\tMonday\n#\trounds\t1\na\tepoll\t0\tns\t1.5\na\tuv\t0\tns\t2\nb\tepoll\t0\tns\t7\n\
                            #\tdate\tTuesday\na\tepoll\t0\tns\t3\na\tepoll\t1\tfailed\tit said no\n";

    #[test]
    fn the_last_run_of_a_workload_counts() {
        let records = Records::parse(TWO_RUNS).unwrap();
        let facts = [("date", "Tuesday"), ("rounds", "1"), SEVERAL].map(|(name, value)| (name.into(), value.into()));
        assert_eq!(records.facts, facts);
        assert_eq!(records.single("a", "epoll", "ns"), Some(3.0));
        assert_eq!(records.single("a", "uv", "ns"), None);
        assert_eq!(records.single("b", "epoll", "ns"), Some(7.0));
        assert_eq!((records.failures("a", "epoll"), records.notes[0].why.as_str()), (1, "it said no"));
    }

    #[test]
    fn what_is_written_is_read_back() {
        let path = std::env::temp_dir().join(format!("side_by_side_records_{}", std::process::id()));
        let mut written = Records::kept_in(&path).unwrap();
        written.fact(RUN, "today").unwrap();
        written.record("echo", "epoll", 2, "p50_ns", 1234.5).unwrap();
        written.note("echo", "asio", 0, Lack::Absent, "two\nlines\tand a tab").unwrap();
        let read = Records::read(&path).unwrap();
        assert_eq!((&read.facts, &read.records, &read.notes), (&written.facts, &written.records, &written.notes));
        assert!(read.absent("echo", "asio"));
        assert!(Records::kept_in(&path).is_err(), "another run would disturb this one");
        drop(written);

        let length = std::fs::metadata(&path).unwrap().len();
        OpenOptions::new().write(true).open(&path).unwrap().set_len(length - 1).unwrap();
        assert!(!Records::read(&path).unwrap().absent("echo", "asio"), "a line that was not finished");
        Records::kept_in(&path).unwrap().record("post", "asio", 0, "ns", 7.0).unwrap();
        let read = Records::read(&path).unwrap();
        std::fs::write(&path, b"a\tepoll\t0\tns\t1\na\xff\tepoll\t0\tns\t1\n").unwrap();
        assert!(Records::read(&path).is_err_and(|why| why.contains("line 2")));
        std::fs::remove_file(&path).unwrap();
        assert_eq!((read.single("post", "asio", "ns"), read.absent("echo", "asio")), (Some(7.0), false));
    }

    #[test]
    fn other_files_are_told() {
        assert!(Records::parse("# Performance\n").is_err());
        assert!(Records::parse("a\tb\t0\tns\tNaN\n").is_err());
        assert!(Records::parse(&"long".repeat(1000)).is_err_and(|why| why.len() < 200));
        assert!(Records::parse("a\tb\tnot a round\tns\t1\n").is_err());
    }
}
