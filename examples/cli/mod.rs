//! What every example does at its edges: `--help`, one line on stderr for what is wrong, and the exit status:
//! 2 for wrong usage, 1 for failure.

#![allow(dead_code)] // Each example uses a part of this.

#[cfg(feature = "signal")]
use ioctx::{Handle, SignalSet};
use std::fmt::Display;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

/// Prints a line, as `println!`, which panics when nobody reads any more: `program | head -1`.
#[allow(unused_macros)]
macro_rules! say {
    ($($line:tt)*) => {{
        use std::io::Write as _;
        let _ = writeln!(std::io::stdout(), $($line)*);
    }};
}

/// Why a program ends early.
pub enum Failure {
    /// The command line is wrong.
    Usage(String),
    /// Something did not work.
    Failed(String),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Failure::Failed(error.to_string())
    }
}

impl From<lexopt::Error> for Failure {
    fn from(error: lexopt::Error) -> Self {
        Failure::Usage(error.to_string())
    }
}

/// Names the thing that failed: `.map_err(failed("127.0.0.1:7000"))`.
pub fn failed<E: Display>(what: impl Display) -> impl FnOnce(E) -> Failure {
    move |error| Failure::Failed(format!("{what}: {error}"))
}

/// For a program without arguments.
pub fn no_arguments(mut arguments: lexopt::Parser) -> Result<(), Failure> {
    arguments.next()?.map_or(Ok(()), |argument| Err(argument.unexpected().into()))
}

/// For a server whose one argument is where to listen: 127.0.0.1:7000 if it is not given.
pub fn address(mut arguments: lexopt::Parser) -> Result<SocketAddr, Failure> {
    use lexopt::prelude::*;
    let mut address = ([127, 0, 0, 1], 7000).into();
    while let Some(argument) = arguments.next()? {
        match argument {
            Value(value) => address = value.parse()?,
            _ => return Err(argument.unexpected().into()),
        }
    }
    Ok(address)
}

/// The value of an option that is a time: a number of seconds, which may have a fraction.
pub fn seconds(option: &str, arguments: &mut lexopt::Parser) -> Result<Duration, Failure> {
    use lexopt::prelude::*;
    let seconds: f64 = arguments.value()?.parse()?;
    Duration::try_from_secs_f64(seconds).map_err(|error| Failure::Usage(format!("{option} {seconds}: {error}")))
}

/// The value of an option that is a number, and not 0.
pub fn at_least_one(option: &str, arguments: &mut lexopt::Parser) -> Result<usize, Failure> {
    use lexopt::prelude::*;
    match arguments.value()?.parse()? {
        0 => Err(Failure::Usage(format!("{option} must be at least 1"))),
        number => Ok(number),
    }
}

/// SIGINT or SIGTERM calls `end`, which ends the program in its own time; a second one stops the loop at once.
#[cfg(feature = "signal")]
pub fn on_signal(context: &impl AsRef<Handle>, end: impl FnOnce() + 'static) -> io::Result<()> {
    let signals = SignalSet::new(context).background();
    signals.add(signal_hook::consts::SIGINT)?;
    signals.add(signal_hook::consts::SIGTERM)?;
    let handle = context.as_ref().clone();
    signals.clone().async_wait(move |_| {
        end();
        signals.async_wait(move |_| handle.stop());
    });
    Ok(())
}

/// Runs a program: `usage` is printed for `--help`.
pub fn run(usage: &str, program: impl FnOnce(lexopt::Parser) -> Result<(), Failure>) -> ExitCode {
    env_logger::init();
    if std::env::args_os().skip(1).any(|argument| argument == "--help" || argument == "-h") {
        say!("{usage}");
        return ExitCode::SUCCESS;
    }
    let parser = lexopt::Parser::from_env();
    let path = parser.bin_name().unwrap_or("example").to_owned();
    let name = path.rsplit('/').next().unwrap_or(&path);
    let (problem, status) = match program(parser) {
        Ok(()) => return ExitCode::SUCCESS,
        Err(Failure::Usage(problem)) => (format!("{problem} (try --help)"), 2),
        Err(Failure::Failed(problem)) => (problem, 1),
    };
    let _ = writeln!(io::stderr(), "{name}: {problem}");
    ExitCode::from(status)
}
