//! What the server's process has used, read from /proc.

use crate::failure::{Failure, failed};
use std::fs;
use std::io::ErrorKind::NotFound;
use std::thread::sleep;
use std::time::{Duration, Instant};

pub struct Process {
    pid: u32,
}

/// What all threads have used since they began.
#[derive(Clone, Copy, Default)]
pub struct Figures {
    cpu_ns: u64,
    user_ticks: u64,
    system_ticks: u64,
    wakeups: u64,
}

/// What was used between two readings.
pub struct Usage {
    pub cpu_ns: u64,
    /// User and system time, where the ticks of the system tell.
    pub split: Option<(u64, u64)>,
    pub wakeups: u64,
}

/// So long one waits for a server to fall asleep: it may have thousands of messages to deal with.
const PATIENCE: Duration = Duration::from_secs(5);

const NO_SUCH_PROCESS: i32 = rustix::io::Errno::SRCH.raw_os_error();

impl Process {
    pub fn new(pid: u32) -> Self {
        Process { pid }
    }

    /// The figures, once the process has dealt with what it has and sleeps: while it runs, the system counts only to the
    /// last tick, which may be milliseconds ago. Nothing is sent meanwhile, so it soon does.
    pub fn figures(&self) -> Result<Figures, Failure> {
        let begin = Instant::now();
        while self.is_at_work()? {
            if begin.elapsed() > PATIENCE {
                return Err(Failure::Failed(format!("process {}: it works on, with nothing to do", self.pid)));
            }
            sleep(Duration::from_micros(50));
        }
        let cpu_ns = self.cpu_ns()?;
        let (user_ticks, system_ticks) = ticks(&self.read("stat")?).ok_or_else(|| self.unreadable("stat"))?;
        let wakeups = self.sum_of_tasks("status", |status| line(status, "voluntary_ctxt_switches:"))?;
        Ok(Figures { cpu_ns, user_ticks, system_ticks, wakeups })
    }

    /// Resident memory in KiB, once it has stood still for a tenth of a second, or has not for two.
    pub fn settled_memory(&self) -> Result<u64, Failure> {
        let begin = Instant::now();
        let (mut kib, mut same) = (self.memory()?, 0);
        while same < 5 && begin.elapsed() < Duration::from_secs(2) {
            sleep(Duration::from_millis(20));
            let before = std::mem::replace(&mut kib, self.memory()?);
            same = if kib == before { same + 1 } else { 0 };
        }
        Ok(kib)
    }

    fn memory(&self) -> Result<u64, Failure> {
        line(&self.read("status")?, "VmRSS:").ok_or_else(|| self.unreadable("status"))
    }

    /// What all threads have used, up to the last tick.
    fn cpu_ns(&self) -> Result<u64, Failure> {
        self.sum_of_tasks("schedstat", |schedstat| schedstat.split_ascii_whitespace().next()?.parse().ok())
    }

    /// Whether any of its threads runs, or waits for the processor.
    fn is_at_work(&self) -> Result<bool, Failure> {
        let runs = |stat: &str| Some(u64::from(after_name(stat)?.starts_with('R')));
        Ok(self.sum_of_tasks("stat", runs)? > 0)
    }

    fn read(&self, file: &str) -> Result<String, Failure> {
        fs::read_to_string(format!("/proc/{}/{file}", self.pid)).map_err(failed(format!("process {}", self.pid)))
    }

    fn sum_of_tasks(&self, file: &str, value: impl Fn(&str) -> Option<u64>) -> Result<u64, Failure> {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.pid));
        let (mut sum, mut readable) = (0, 0);
        for task in tasks.map_err(failed(format!("process {}", self.pid)))? {
            let task = task.map_err(failed(format!("process {}", self.pid)))?;
            match fs::read_to_string(task.path().join(file)) {
                Ok(text) => {
                    sum += value(&text).ok_or_else(|| self.unreadable(file))?;
                    readable += 1;
                }
                // A thread that has just ended.
                Err(error) if error.kind() == NotFound || error.raw_os_error() == Some(NO_SUCH_PROCESS) => {}
                Err(error) => return Err(failed(format!("process {}", self.pid))(error)),
            }
        }
        // Not every kernel has every file; nothing at all would be a figure, too.
        if readable > 0 { Ok(sum) } else { Err(self.unreadable(file)) }
    }

    fn unreadable(&self, file: &str) -> Failure {
        Failure::Failed(format!("process {}: its {file} is not as expected", self.pid))
    }
}

impl Figures {
    /// What was used since an earlier reading. Ticks are coarse, nanoseconds are not: the ticks only tell how to share
    /// the nanoseconds.
    pub fn since(&self, earlier: &Figures) -> Usage {
        let cpu_ns = self.cpu_ns.saturating_sub(earlier.cpu_ns);
        let user = self.user_ticks.saturating_sub(earlier.user_ticks);
        let ticks = user + self.system_ticks.saturating_sub(earlier.system_ticks);
        let split = (ticks > 0).then(|| {
            let user_ns = (u128::from(cpu_ns) * u128::from(user) / u128::from(ticks)) as u64;
            (user_ns, cpu_ns - user_ns)
        });
        Usage { cpu_ns, split, wakeups: self.wakeups.saturating_sub(earlier.wakeups) }
    }
}

/// What a `stat` file tells from the state on. Before it is the name of the program, which is in brackets and may
/// contain anything.
fn after_name(stat: &str) -> Option<&str> {
    Some(stat.rsplit_once(')')?.1.trim_start())
}

/// User and system time from a `stat` file.
fn ticks(stat: &str) -> Option<(u64, u64)> {
    let mut fields = after_name(stat)?.split_ascii_whitespace().skip(11);
    Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
}

/// The number in the line that begins with this name.
fn line(status: &str, name: &str) -> Option<u64> {
    let value = status.lines().find_map(|line| line.strip_prefix(name))?;
    value.split_ascii_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own() -> Process {
        Process::new(std::process::id())
    }

    #[test]
    fn ticks_stand_after_the_name_whatever_it_is() {
        let stat = "42 (a) b (c) R 1 2 3 4 5 4194304 101 0 0 0 250 31 0 0 20 0 1 0 1184851 3133440 360";
        assert_eq!(ticks(stat), Some((250, 31)));
        assert_eq!(ticks("42 (a) R 1"), None);
    }

    #[test]
    fn a_line_of_status() {
        let status = "VmRSS:\t    2100 kB\nvoluntary_ctxt_switches:\t17\nnonvoluntary_ctxt_switches:\t3\n";
        assert_eq!(line(status, "VmRSS:"), Some(2100));
        assert_eq!(line(status, "voluntary_ctxt_switches:"), Some(17));
        assert_eq!(line(status, "VmSwap:"), None);
    }

    #[test]
    fn ticks_share_out_the_nanoseconds() {
        let figures = |cpu_ns, user_ticks, system_ticks| Figures { cpu_ns, user_ticks, system_ticks, wakeups: 0 };
        let usage = figures(1_000_500, 40, 80).since(&figures(500, 10, 20));
        assert_eq!((usage.cpu_ns, usage.split), (1_000_000, Some((333_333, 666_667))));
        assert_eq!(figures(700, 10, 20).since(&figures(500, 10, 20)).split, None);
    }

    #[test]
    fn one_that_sleeps_is_not_at_work() {
        assert!(own().is_at_work().unwrap(), "this thread");
        let mut sleeper = std::process::Command::new("sleep").arg("100").spawn().unwrap();
        let process = Process::new(sleeper.id());
        let end = Instant::now() + Duration::from_secs(10);
        while process.is_at_work().unwrap() && Instant::now() < end {
            std::thread::yield_now();
        }
        let is_asleep = !process.is_at_work().unwrap();
        sleeper.kill().unwrap();
        sleeper.wait().unwrap();
        assert!(is_asleep);
        assert!(own().sum_of_tasks("no-such-file", |_| Some(1)).is_err(), "nothing is not 0");
    }

    #[test]
    fn the_own_process_can_be_read() {
        let own = own();
        assert!(own.cpu_ns().unwrap() > 0);
        assert!(own.settled_memory().unwrap() > 0);
    }
}
