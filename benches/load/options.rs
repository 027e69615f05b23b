//! The command line.

use crate::failure::Failure;
use crate::process::Process;
use lexopt::prelude::*;
use std::time::Duration;

pub const USAGE: &str = "\
usage: load WORKLOAD OPTION...

Loads an echo server on 127.0.0.1, compares every byte, and prints name=value lines.

workloads:
  echo    every connection sends a message, reads it back, sends the next
  stream  every connection keeps a window of bytes on their way
  churn   connections that connect, have one message echoed, end and come again
  idle    connections that are open and silent: the server's memory and wake-ups
  sink    a server: reads, compares with 'x', closes at the client's end

options:
  --port P         the server's port
  --connections N  connections at a time, default 1
  --size B         bytes of a message, default 64 (echo, churn, idle)
  --window B       bytes on their way, default 16384 (stream)
  --seconds T      measure for so long
  --warm-up W      after so many seconds, default 0
  --rounds N       instead of --seconds: exactly N messages per connection, one
                   connection after the other (echo, stream, churn)
  --idle N         so many more connections that stay idle, default 0
  --pid PID        the server: its figures are printed, too
  --bytes N        sink: each client must have sent exactly so many
  --help           this text";

/// A connection on which nothing moves for so long is an error. Under rounds the server may run under a tool.
const PATIENCE: Duration = Duration::from_secs(30);
const PATIENCE_FOR_ROUNDS: Duration = Duration::from_secs(60);

#[derive(Debug, PartialEq)]
pub enum Command {
    Help,
    Echo(Job),
    Stream(Job),
    Churn(Job),
    Idle(Job),
    Sink { bytes: Option<u64> },
}

#[derive(Debug, PartialEq)]
pub struct Job {
    pub port: u16,
    pub connections: usize,
    /// Of a message, or the window.
    pub size: u64,
    pub idle: usize,
    pub length: Length,
    pid: Option<u32>,
}

#[derive(Debug, PartialEq, Clone, Copy)]
pub enum Length {
    Time { warm_up: Duration, measured: Duration },
    Rounds(u64),
}

impl Job {
    /// Where to read what the server has used.
    pub fn server(&self) -> Option<Process> {
        self.pid.map(Process::new)
    }

    pub fn patience(&self) -> Duration {
        match self.length {
            Length::Time { .. } => PATIENCE,
            Length::Rounds(_) => PATIENCE_FOR_ROUNDS,
        }
    }
}

/// What was given.
#[derive(Default)]
struct Given {
    port: Option<u64>,
    connections: Option<u64>,
    size: Option<u64>,
    window: Option<u64>,
    seconds: Option<Duration>,
    warm_up: Option<Duration>,
    rounds: Option<u64>,
    idle: Option<u64>,
    pid: Option<u64>,
    bytes: Option<u64>,
}

pub fn parse(mut arguments: lexopt::Parser) -> Result<Command, Failure> {
    let mut workload = None;
    let mut given = Given::default();
    while let Some(argument) = arguments.next()? {
        match argument {
            Long("help") | Short('h') => return Ok(Command::Help),
            Long("port") => given.port = Some(number(&mut arguments, "--port", 1..=65_535)?),
            Long("connections") => given.connections = Some(number(&mut arguments, "--connections", 1..=1_000_000)?),
            Long("size") => given.size = Some(number(&mut arguments, "--size", 1..=1 << 30)?),
            Long("window") => given.window = Some(number(&mut arguments, "--window", 1..=1 << 30)?),
            Long("seconds") => given.seconds = Some(seconds(&mut arguments, "--seconds")?),
            Long("warm-up") => given.warm_up = Some(seconds(&mut arguments, "--warm-up")?),
            Long("rounds") => given.rounds = Some(number(&mut arguments, "--rounds", 1..=1 << 40)?),
            Long("idle") => given.idle = Some(number(&mut arguments, "--idle", 0..=1_000_000)?),
            Long("pid") => given.pid = Some(number(&mut arguments, "--pid", 1..=u64::from(u32::MAX))?),
            Long("bytes") => given.bytes = Some(number(&mut arguments, "--bytes", 0..=u64::MAX)?),
            Value(value) if workload.is_none() => workload = Some(value.string()?),
            _ => return Err(argument.unexpected().into()),
        }
    }
    command(workload.as_deref(), given)
}

fn command(workload: Option<&str>, given: Given) -> Result<Command, Failure> {
    match workload {
        Some("echo") => given.job(64).map(Command::Echo),
        Some("stream") => given.streaming_job(16_384).map(Command::Stream),
        Some("churn") => given.job(64).map(Command::Churn),
        Some("idle") => given.idle_job(64).map(Command::Idle),
        Some("sink") => given.sink(),
        Some(other) => usage(format!("no workload is called {other:?}; --help lists them")),
        None => usage("which workload? --help lists them"),
    }
}

impl Given {
    fn job(mut self, size: u64) -> Result<Job, Failure> {
        refuse("--window", self.window)?;
        self.window = self.size.or(Some(size));
        self.any_job()
    }

    fn streaming_job(mut self, window: u64) -> Result<Job, Failure> {
        refuse("--size", self.size)?;
        self.window = self.window.or(Some(window));
        self.any_job()
    }

    fn idle_job(self, size: u64) -> Result<Job, Failure> {
        refuse("--rounds", self.rounds)?;
        refuse("--warm-up", self.warm_up)?;
        refuse("--idle", self.idle)?;
        self.job(size)
    }

    fn any_job(self) -> Result<Job, Failure> {
        refuse("--bytes", self.bytes)?;
        let Some(port) = self.port else { return usage("--port is missing") };
        Ok(Job {
            port: port as u16,
            connections: self.connections.unwrap_or(1) as usize,
            size: self.window.unwrap_or(1),
            idle: self.idle.unwrap_or(0) as usize,
            length: self.length()?,
            pid: self.pid.map(|pid| pid as u32),
        })
    }

    fn length(&self) -> Result<Length, Failure> {
        match (self.seconds, self.rounds) {
            (Some(measured), None) => Ok(Length::Time { warm_up: self.warm_up.unwrap_or_default(), measured }),
            (None, Some(rounds)) => {
                refuse("--warm-up together with --rounds", self.warm_up).map(|()| Length::Rounds(rounds))
            }
            (Some(_), Some(_)) => usage("--seconds or --rounds, not both"),
            (None, None) => usage("--seconds or --rounds is missing"),
        }
    }

    fn sink(self) -> Result<Command, Failure> {
        let numbers = [self.port, self.connections, self.size, self.window, self.rounds, self.idle, self.pid];
        if numbers.iter().any(Option::is_some) || self.seconds.or(self.warm_up).is_some() {
            return usage("sink has no options but --bytes");
        }
        Ok(Command::Sink { bytes: self.bytes })
    }
}

fn refuse<T>(option: &str, value: Option<T>) -> Result<(), Failure> {
    if value.is_some() { usage(format!("{option} means nothing to this workload")) } else { Ok(()) }
}

fn usage<T>(text: impl Into<String>) -> Result<T, Failure> {
    Err(Failure::Usage(text.into()))
}

fn number(arguments: &mut lexopt::Parser, option: &str, range: std::ops::RangeInclusive<u64>) -> Result<u64, Failure> {
    let value: u64 = arguments.value()?.parse()?;
    if range.contains(&value) { Ok(value) } else { usage(format!("{option} {value}: not within {range:?}")) }
}

fn seconds(arguments: &mut lexopt::Parser, option: &str) -> Result<Duration, Failure> {
    let value: f64 = arguments.value()?.parse()?;
    // A day is longer than anybody measures, and far from any overflow.
    if !(0.0..=86_400.0).contains(&value) {
        return usage(format!("{option} {value}: not within 0..=86400"));
    }
    Ok(Duration::from_secs_f64(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Command, Failure> {
        parse(lexopt::Parser::from_args(line.split_whitespace()))
    }

    #[track_caller]
    fn refused(line: &str) {
        assert!(matches!(parsed(line), Err(Failure::Usage(_))), "{line}");
    }

    #[test]
    fn a_whole_job() {
        let line = "echo --port 7000 --connections 10 --size 100 --seconds 1.5 --warm-up 0.5 --idle 3 --pid 42";
        let length = Length::Time { warm_up: Duration::from_millis(500), measured: Duration::from_millis(1_500) };
        let job = Job { port: 7_000, connections: 10, size: 100, idle: 3, length, pid: Some(42) };
        assert_eq!(parsed(line).unwrap(), Command::Echo(job));
    }

    #[test]
    fn what_is_not_given_has_a_default() {
        let job = Job { port: 1, connections: 1, size: 16_384, idle: 0, length: Length::Rounds(9), pid: None };
        assert_eq!(parsed("stream --port 1 --rounds 9").unwrap(), Command::Stream(job));
        assert_eq!(parsed("sink").unwrap(), Command::Sink { bytes: None });
        assert_eq!(parsed("echo --help").unwrap(), Command::Help);
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for line in [
            "",
            "talk --port 1 --rounds 1",
            "echo echo --port 1 --rounds 1",
            "echo --rounds 1",
            "echo --port 1",
            "echo --port 1 --rounds 1 --seconds 1",
            "echo --port 1 --rounds 1 --warm-up 1",
            "echo --port 0 --rounds 1",
            "echo --port 65536 --rounds 1",
            "echo --port 1 --rounds 0",
            "echo --port 1 --rounds -1",
            "echo --port 1 --seconds inf",
            "echo --port 1 --seconds NaN",
            "echo --port 1 --rounds 1 --size 0",
            "echo --port 1 --rounds 1 --window 1",
            "stream --port 1 --rounds 1 --size 1",
            "idle --port 1 --rounds 1",
            "idle --port 1 --seconds 1 --idle 1",
            "churn --port 1 --rounds 1 --bytes 1",
            "sink --port 1",
            "echo --port 1 --rounds 1 --loud",
        ] {
            refused(line);
        }
    }
}
