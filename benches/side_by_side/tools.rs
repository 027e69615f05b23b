//! The tools that are not ours: whether they are there, and who brings them.

use std::process::{Command, Stdio};

/// Commands and their Debian packages.
const PACKAGES: &[(&str, &str)] = &[
    ("taskset", "util-linux"),
    ("setpriv", "util-linux"),
    ("chrt", "util-linux"),
    ("valgrind", "valgrind"),
    ("strace", "strace"),
    ("gcc", "gcc"),
    ("g++", "g++"),
];

/// Which of them were found.
pub struct Tools {
    pub taskset: bool,
    pub setpriv: bool,
    pub chrt: bool,
    pub valgrind: bool,
    pub strace: bool,
}

impl Tools {
    pub fn find() -> Self {
        let [taskset, valgrind, strace] = ["taskset", "valgrind", "strace"].map(runs);
        // Not every program of that name can do what is needed, and not everybody may.
        let setpriv = succeeds("setpriv", &["--pdeathsig", "KILL", "true"]);
        let chrt = succeeds("chrt", &["--batch", "0", "true"]);
        Self { taskset, setpriv, chrt, valgrind, strace }
    }

    /// The names of the others.
    pub fn missing(&self) -> Vec<&'static str> {
        let all = [
            ("taskset", self.taskset),
            ("setpriv", self.setpriv),
            ("chrt", self.chrt),
            ("valgrind", self.valgrind),
            ("strace", self.strace),
        ];
        all.iter().filter(|(_, found)| !found).map(|(tool, _)| *tool).collect()
    }
}

/// `strace is not installed: apt-get install strace`.
pub fn missing(command: &str) -> String {
    let package = PACKAGES.iter().find(|(name, _)| *name == command).map_or(command, |(_, package)| package);
    not_installed(command, package)
}

pub fn not_installed(what: &str, package: &str) -> String {
    format!("{what} is not installed: apt-get install {package}")
}

fn succeeds(command: &str, arguments: &[&str]) -> bool {
    let status = Command::new(command).args(arguments).stdout(Stdio::null()).stderr(Stdio::null()).status();
    status.is_ok_and(|status| status.success())
}

fn runs(command: &str) -> bool {
    let mut command = Command::new(command);
    command.arg("--version").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok()
}
