//! Building the peers: those in Rust by cargo, the others by the first line of their source.

use crate::peers::{Peer, Source};
use crate::say::tell;
use crate::tools::{missing, not_installed};
use std::collections::BTreeSet;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Where everything is.
pub struct Places {
    /// This package.
    package: PathBuf,
    /// Cargo's target directory: what is told and drawn is kept there.
    pub target: PathBuf,
}

/// Why a peer is left out.
pub enum Unbuilt {
    Missing(String),
    Failed(String),
}

impl Places {
    /// The target directory is the one that this program runs from, wherever cargo was told to put it.
    pub fn find() -> Result<Self, String> {
        let program = std::env::current_exe().map_err(|error| format!("where this program is: {error}"))?;
        let target = program.parent().and_then(Path::parent).ok_or("this program is in no target directory")?;
        Ok(Self { package: env!("CARGO_MANIFEST_DIR").into(), target: target.into() })
    }

    pub fn repository(&self) -> PathBuf {
        self.package.join("..")
    }

    pub fn program(&self, name: &str) -> PathBuf {
        self.target.join("release").join(name)
    }

    /// The same program with its logging compiled out.
    pub fn program_without_log(&self, name: &str) -> PathBuf {
        self.without_log().join("release").join(name)
    }

    fn without_log(&self) -> PathBuf {
        self.target.join("no-log")
    }

    /// The load generator and the peers in Rust.
    pub fn build_rust(&self, peers: &[&Peer]) -> Result<(), String> {
        let mut programs = BTreeSet::from(["load"]);
        programs.extend(peers.iter().filter(|peer| peer.source.is_none()).map(|peer| peer.executable));
        let mut arguments = Vec::new();
        programs.iter().for_each(|program| arguments.extend(["--bin", program]));
        self.cargo(&self.target, &arguments)
    }

    pub fn build_without_log(&self, peer: &Peer) -> Result<(), String> {
        self.cargo(&self.without_log(), &["--bin", peer.executable, "--features", "no-log"])
    }

    fn cargo(&self, target: &Path, arguments: &[&str]) -> Result<(), String> {
        let mut command = Command::new(std::env::var_os("CARGO").unwrap_or("cargo".into()));
        command.args(["build", "--release", "--quiet", "--manifest-path"]).arg(self.package.join("Cargo.toml"));
        command.arg("--target-dir").arg(target).args(arguments).stdin(Stdio::null());
        match command.status() {
            Ok(status) if status.success() => Ok(()),
            Ok(_) => Err("cargo build failed".into()),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                Err("cargo is not installed: see https://rustup.rs".into())
            }
            Err(error) => Err(format!("cargo: {error}")),
        }
    }

    /// A peer in C or C++. The compiler's messages are shown when it is not just that something is not installed.
    pub fn compile(&self, peer: &Peer, source: &Source) -> Result<(), Unbuilt> {
        let directory = self.package.join("peers");
        let text = fs::read_to_string(directory.join(source.file))
            .map_err(|error| Unbuilt::Failed(format!("{}: {error}", source.file)))?;
        let program = self.program(peer.executable);
        let Some((compiler, arguments)) = build_line(&text, &program) else {
            return Err(Unbuilt::Failed(format!("{}: its first line does not tell how it is built", source.file)));
        };
        let mut command = Command::new(&compiler);
        command.args(arguments).current_dir(directory).stdin(Stdio::null());
        command.env("LC_ALL", "C"); // What it says is looked at.
        let output = command.output();
        match output {
            Err(error) if error.kind() == ErrorKind::NotFound => Err(Unbuilt::Missing(missing(&compiler))),
            Err(error) => Err(Unbuilt::Failed(format!("{compiler}: {error}"))),
            Ok(output) if output.status.success() => Ok(()),
            Ok(output) => Err(unbuilt(peer, source, &String::from_utf8_lossy(&output.stderr))),
        }
    }
}

fn unbuilt(peer: &Peer, source: &Source, messages: &str) -> Unbuilt {
    if lacks_something(messages) {
        return Unbuilt::Missing(not_installed(peer.title, source.package));
    }
    tell(messages.trim_end());
    Unbuilt::Failed(format!("{} does not compile", source.file))
}

/// Whether a header or a library was not found, or the compiler proper.
fn lacks_something(messages: &str) -> bool {
    messages.lines().any(|line| {
        (line.contains("fatal error") && line.contains("No such file or directory")) || line.contains("cannot find -l")
    })
}

/// The command in a source's first line, `// build: COMMAND ARGUMENT... -o OUT`.
fn build_line(text: &str, out: &Path) -> Option<(String, Vec<PathBuf>)> {
    let mut words = text.lines().next()?.strip_prefix("// build: ")?.split_whitespace();
    let compiler = words.next()?.to_string();
    let arguments: Vec<PathBuf> = words.map(|word| if word == "OUT" { out.into() } else { word.into() }).collect();
    arguments.iter().any(|argument| argument == out).then_some((compiler, arguments))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_tells_how_to_build() {
        let out = Path::new("/target/a place/peer");
        let (compiler, arguments) = build_line("// build: gcc -O2 x.c -o OUT -luv\n// more\n", out).unwrap();
        assert_eq!(compiler, "gcc");
        assert_eq!(arguments, ["-O2", "x.c", "-o", "/target/a place/peer", "-luv"].map(PathBuf::from));
        assert!(build_line("// build: gcc x.c\n", out).is_none());
        assert!(build_line("#include <x.h>\n", out).is_none());
    }

    #[test]
    fn what_is_not_installed_is_told_from_mistakes() {
        assert!(lacks_something("libuv.c:3:10: fatal error: uv.h: No such file or directory\n 3 | #include <uv.h>"));
        assert!(lacks_something("/usr/bin/ld: cannot find -luv: No such file or directory"));
        assert!(!lacks_something("libuv.c:9:1: error: unknown type name 'x'"));
    }
}
