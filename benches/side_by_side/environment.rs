//! Facts about the run: where and with what it was made.

use crate::lab::Lab;
use crate::options::Options;
use crate::peers::{Peer, Role};
use crate::records::{RUN, Records};
use rustix::process::{Resource, getrlimit};
use std::io;
use std::path::Path;
use std::process::Command;

/// What goes before a peer's title in the name of the fact that tells its version.
pub const VERSION_OF: &str = "version of ";

/// The first line of a run.
pub fn begin(records: &mut Records) -> io::Result<()> {
    records.fact(RUN, &first_line("date", &["-u", "+%Y-%m-%d, %H:%M UTC"]).unwrap_or_else(unknown))
}

/// Everything else, once the peers are there.
pub fn note_down(lab: &Lab, options: &Options, peers: &[&Peer], records: &mut Records) -> io::Result<()> {
    records.fact("commit", &commit(&lab.places.repository()).unwrap_or_else(unknown))?;
    records.fact("processor", &processor().unwrap_or_else(unknown))?;
    records.fact("kernel", &kernel().unwrap_or_else(unknown))?;
    records.fact("rustc", &first_line("rustc", &["--version"]).unwrap_or_else(unknown))?;
    for (program, option) in [("gcc", "--version"), ("g++", "--version"), ("valgrind", "--version"), ("strace", "-V")] {
        if let Some(version) = first_line(program, &[option]) {
            records.fact(program, &version)?;
        }
    }
    records.fact("C library", &first_line("ldd", &["--version"]).unwrap_or_else(unknown))?;
    records.fact("rounds", &options.rounds.to_string())?;
    records.fact("seconds", &options.seconds.to_string())?;
    records.fact("processors", &lab.processors.describe())?;
    records.fact("read buffer", "64 KiB (of sessions up to 512 KiB, as by default)")?;
    let mut ours_told = false;
    for peer in peers {
        let ours = peer.role == Role::Ours;
        if !(ours && std::mem::replace(&mut ours_told, true)) {
            let title = if ours { "ioctx" } else { peer.title };
            records.fact(&format!("{VERSION_OF}{title}"), &version(lab, peer).unwrap_or_else(unknown))?;
        }
    }
    Ok(())
}

/// How many descriptors a process may have, if that is limited: programs raise their own limit as far.
pub fn descriptors() -> Option<u64> {
    getrlimit(Resource::Nofile).maximum
}

fn version(lab: &Lab, peer: &Peer) -> Option<String> {
    let mut command = Command::new(lab.places.program(peer.executable));
    command.args(peer.layer()).arg("version");
    let printed = lab.alone(command, peer.title).ok()?;
    let line = printed.lines().next()?;
    // Ours says which layer, which is of no interest here.
    Some(line.split(", ").next().filter(|_| peer.role == Role::Ours).unwrap_or(line).into())
}

fn unknown() -> String {
    "unknown".into()
}

/// What was measured, as far as git knows.
fn commit(repository: &Path) -> Option<String> {
    let git = |arguments: &[&str]| {
        let output = Command::new("git").arg("-C").arg(repository).args(arguments).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_string())
    };
    let number = git(&["rev-parse", "--short=10", "HEAD"])?;
    let is_changed = !git(&["status", "--porcelain"])?.is_empty();
    Some(number + if is_changed { " and what is changed since" } else { "" })
}

fn processor() -> Option<String> {
    let text = std::fs::read_to_string("/proc/cpuinfo").ok()?;
    let values = |name: &'static str| {
        text.lines().filter_map(move |line| line.split_once(':').filter(|(key, _)| key.trim() == name))
    };
    let model = values("model name").next().map_or("unknown model", |(_, model)| model.trim());
    Some(format!("{model}, {} processors", values("processor").count()))
}

fn kernel() -> Option<String> {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").ok()?;
    let number = release.split(|letter: char| letter != '.' && !letter.is_ascii_digit()).next()?;
    Some(format!("Linux {number}"))
}

fn first_line(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).output().ok()?;
    Some(String::from_utf8_lossy(&output.stdout).lines().next()?.to_string())
}
