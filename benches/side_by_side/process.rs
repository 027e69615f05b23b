//! Programs that are run and watched: none outlives its time, nor this program, whether that ends by itself, by a panic or
//! from the terminal, whose signals all of them get, or is killed (where there is `setpriv`: see `processors.rs`).

use rustix::process::{Pid, Signal, kill_process};
use std::fs::{self, File};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// How long a server may take until it listens; under valgrind everything takes its time.
const START: Duration = Duration::from_secs(30);
/// How long a program may take to end when it is told to.
const END: Duration = Duration::from_secs(30);
/// How often one looks. It is a few microseconds each time.
const LOOK: Duration = Duration::from_millis(5);

/// What a peer's program says when the library has no counterpart.
const NO_COUNTERPART: i32 = 3;

/// Why there is no measurement.
#[derive(Debug)]
pub enum Trouble {
    Absent(String),
    Failed(String),
}

pub type Outcome<T> = Result<T, Trouble>;

pub fn failed<T>(why: impl Into<String>) -> Outcome<T> {
    Err(Trouble::Failed(why.into()))
}

/// How the names of such directories begin; then comes the number of the process.
const SCRATCH: &str = "side_by_side.";

/// A directory that ends with its owner.
pub struct Scratch(PathBuf);

impl Scratch {
    pub fn new(parent: &Path) -> Result<Self, String> {
        remove_leftovers(parent);
        let path = parent.join(format!("{SCRATCH}{}", std::process::id()));
        fs::create_dir_all(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(Self(path))
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Removes the directories of runs that were killed. If that fails, they stay: they are in nobody's way.
fn remove_leftovers(parent: &Path) {
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let process = name.to_str().and_then(|name| name.strip_prefix(SCRATCH)?.parse::<u32>().ok());
        if process.is_some_and(|process| !Path::new("/proc").join(process.to_string()).exists()) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// A program that was started. It is killed when it is dropped, and when this process is killed: see `processors.rs`.
pub struct Running {
    child: Child,
    what: String,
    out: PathBuf,
    err: PathBuf,
}

impl Running {
    /// Starts it, `what` being its name in messages. What it prints goes to files: a pipe could fill up.
    pub fn start(mut command: Command, what: &str, scratch: &Scratch) -> Outcome<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let (out, err) = (scratch.path(&format!("out.{number}")), scratch.path(&format!("err.{number}")));
        let file = |path: &Path| File::create(path).map_err(|error| Trouble::Failed(format!("{what}: {error}")));
        command.stdin(Stdio::null()).stdout(file(&out)?).stderr(file(&err)?);
        match command.spawn() {
            Ok(child) => Ok(Self { child, what: what.into(), out, err }),
            Err(error) => failed(format!("{what}: cannot be started: {error}")),
        }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The port of a server, once it listens.
    pub fn port(&mut self) -> Outcome<u16> {
        let end = Instant::now() + START;
        loop {
            // Asked before its output is read: what it said before it ended is then not missed.
            let status = self.status()?;
            let out = self.printed();
            // Only a whole line has the whole number.
            let line = out.split_once('\n').and_then(|(line, _)| line.strip_prefix("listening on "));
            if let Some(port) = line.and_then(|address| address.rsplit_once(':')?.1.parse().ok()) {
                return Ok(port);
            }
            match status {
                Some(status) => return Err(self.trouble(status)),
                None if Instant::now() > end => return failed(format!("{}: does not listen", self.what)),
                None => sleep(LOOK),
            }
        }
    }

    /// What it printed until it ended, which must be a success and in time.
    pub fn output(&mut self, limit: Duration) -> Outcome<String> {
        match self.wait(limit)? {
            Some(status) if status.success() => Ok(self.printed()),
            Some(status) => Err(self.trouble(status)),
            None => failed(format!("{}: not done after {} s", self.what, limit.as_secs())),
        }
    }

    /// Ends a server with SIGTERM, which it must not have caught. One that has already ended has failed.
    pub fn terminate(&mut self) -> Outcome<()> {
        if let Some(status) = self.status()? {
            return Err(self.trouble(status));
        }
        if let Some(pid) = Pid::from_raw(self.pid() as i32) {
            let _ = kill_process(pid, Signal::TERM);
        }
        match self.wait(END)? {
            Some(status) if status.signal() == Some(Signal::TERM.as_raw()) => Ok(()),
            Some(status) => Err(self.trouble(status)), // It had failed by itself, just before.
            None => failed(format!("{}: does not end", self.what)),
        }
    }

    fn wait(&mut self, limit: Duration) -> Outcome<Option<ExitStatus>> {
        let end = Instant::now() + limit;
        loop {
            match self.status()? {
                None if Instant::now() < end => sleep(LOOK),
                status => return Ok(status),
            }
        }
    }

    fn status(&mut self) -> Outcome<Option<ExitStatus>> {
        self.child.try_wait().map_err(|error| Trouble::Failed(format!("{}: {error}", self.what)))
    }

    fn printed(&self) -> String {
        fs::read(&self.out).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
    }

    /// Why it ended, in its own words if it had any.
    fn trouble(&self, status: ExitStatus) -> Trouble {
        let err = fs::read(&self.err).unwrap_or_default();
        let err = String::from_utf8_lossy(&err);
        let last = err.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("without a word");
        match (status.code(), status.signal()) {
            (Some(NO_COUNTERPART), _) => Trouble::Absent(last.into()),
            (Some(code), _) => Trouble::Failed(format!("{}: status {code}: {last}", self.what)),
            (None, signal) => Trouble::Failed(format!("{}: signal {}: {last}", self.what, signal.unwrap_or(0))),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_file(&self.out);
        let _ = fs::remove_file(&self.err);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str, scratch: &Scratch) -> Running {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        Running::start(command, "sh", scratch).unwrap()
    }

    fn scratch(name: &str) -> Scratch {
        let parent = std::env::temp_dir().join(format!("side_by_side_{name}"));
        Scratch::new(&parent).unwrap()
    }

    #[test]
    fn a_port_is_read_and_the_server_ended() {
        let scratch = scratch("port");
        let mut server = shell("echo listening on 127.0.0.1:4711; exec sleep 100", &scratch);
        assert_eq!(server.port().unwrap(), 4711);
        server.terminate().unwrap();
    }

    #[test]
    fn a_server_that_has_ended_is_a_failure() {
        let scratch = scratch("ended");
        let mut server = shell("echo listening on 127.0.0.1:1; echo oh >&2; exit 1", &scratch);
        assert_eq!(server.port().unwrap(), 1);
        server.wait(END).unwrap();
        assert!(matches!(server.terminate(), Err(Trouble::Failed(why)) if why == "sh: status 1: oh"));
    }

    #[test]
    fn no_counterpart_is_no_failure() {
        let scratch = scratch("absent");
        let mut server = shell("echo it has none >&2; exit 3", &scratch);
        assert!(matches!(server.port(), Err(Trouble::Absent(why)) if why == "it has none"));
    }

    #[test]
    fn time_is_limited() {
        let scratch = scratch("limit");
        let mut program = shell("exec sleep 100", &scratch);
        assert!(matches!(program.output(Duration::from_millis(20)), Err(Trouble::Failed(_))));
    }

    #[test]
    fn the_scratch_of_a_run_that_was_killed_is_removed() {
        let parent = std::env::temp_dir().join(format!("side_by_side_parent_{}", std::process::id()));
        let [dead, other] = [format!("{SCRATCH}{}", u32::MAX), "something else".into()].map(|name| parent.join(name));
        for directory in [&dead, &other] {
            fs::create_dir_all(directory).unwrap();
        }
        let mine = Scratch::new(&parent).unwrap();
        assert_eq!([dead.exists(), other.exists(), mine.0.exists()], [false, true, true]);
        let again = Scratch::new(&parent).unwrap();
        assert!(again.0.exists(), "its process lives");
        drop((mine, again));
        fs::remove_dir_all(&parent).unwrap();
    }
}
