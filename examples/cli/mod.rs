//! What every example does at its edges: `--help`, one line on stderr for what is wrong, and the exit status:
//! 2 for wrong usage, 1 for failure.

use std::fmt::Display;
use std::io;
use std::process::ExitCode;

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
#[allow(dead_code)] // Not every example has something to name.
pub fn failed<E: Display>(what: impl Display) -> impl FnOnce(E) -> Failure {
    move |error| Failure::Failed(format!("{what}: {error}"))
}

/// Runs a program: `usage` is printed for `--help`.
pub fn run(usage: &str, program: impl FnOnce(lexopt::Parser) -> Result<(), Failure>) -> ExitCode {
    env_logger::init();
    if std::env::args().skip(1).any(|argument| argument == "--help" || argument == "-h") {
        println!("{usage}");
        return ExitCode::SUCCESS;
    }
    let parser = lexopt::Parser::from_env();
    let name = parser.bin_name().unwrap_or("example").to_owned();
    let (problem, status) = match program(parser) {
        Ok(()) => return ExitCode::SUCCESS,
        Err(Failure::Usage(problem)) => (format!("{problem} (try --help)"), 2),
        Err(Failure::Failed(problem)) => (problem, 1),
    };
    eprintln!("{name}: {problem}");
    ExitCode::from(status)
}
