//! Talking to the user. `println!` and `eprintln!` panic when nobody reads.

use std::io::{self, ErrorKind, Write};

/// One line about what is going on.
pub fn tell(line: &str) {
    let _ = writeln!(io::stderr(), "{line}");
}

/// What was asked for. A reader who has seen enough is no failure.
pub fn print(text: &str) -> Result<(), String> {
    let mut out = io::stdout();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(format!("standard output: {error}")),
        _ => Ok(()),
    }
}
