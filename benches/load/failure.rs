//! Why the program ends early: one line on stderr, and the exit status.

use std::fmt::Display;
use std::io::Write;
use std::process::ExitCode;

#[derive(Debug)]
pub enum Failure {
    /// The command line is wrong.
    Usage(String),
    /// Something did not work, or the server is not right.
    Failed(String),
}

impl Failure {
    /// `eprintln!` would panic where nobody reads stderr any more.
    pub fn tell(self) -> ExitCode {
        let (text, status) = match self {
            Failure::Usage(text) => (text, 2),
            Failure::Failed(text) => (text, 1),
        };
        let _ = writeln!(std::io::stderr(), "load: {text}");
        ExitCode::from(status)
    }
}

impl From<lexopt::Error> for Failure {
    fn from(error: lexopt::Error) -> Self {
        Failure::Usage(error.to_string())
    }
}

/// Names the thing that failed: `.map_err(failed("epoll"))`.
pub fn failed<E: Display>(what: impl Display) -> impl FnOnce(E) -> Failure {
    move |error| Failure::Failed(format!("{what}: {error}"))
}
