//! A terminal for the chat room: what you type goes there, what the others say comes here.
//!
//!     cargo run --example chat_client [ADDR] [--name NAME]
//!
//! One loop serves both: the connection has a session, `screen.rs`, and stdin is one more source, `keyboard.rs`. When
//! stdin ends (^D), so does the stream to the server, and what still comes is printed. The exit status is 0 when the
//! conversation ended properly, no matter who ended it, and 1 when it broke.

#[macro_use]
#[path = "../cli/mod.rs"]
mod cli;
mod keyboard;
mod screen;
#[cfg(test)]
mod tests;

use cli::{Failure, failed};
use ioctx::ip::tcp::Endpoint;
use ioctx::{IoContext, session};
use keyboard::Keyboard;
use screen::{Outcome, Screen};
use std::process::ExitCode;
use std::rc::Rc;
use std::time::Duration;

const USAGE: &str = "\
usage: chat_client [ADDR] [--name NAME]

Talks to a chat_server. /nick NAME, /who and /quit are commands; the end of stdin ends it too.

  ADDR         IP:PORT of the server, default 127.0.0.1:7000
  --name NAME  who you are; otherwise your first line says it";

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

fn main() -> ExitCode {
    cli::run(USAGE, |arguments| chat(&Options::parse(arguments)?))
}

struct Options {
    server: Endpoint,
    name: Option<String>,
}

fn chat(options: &Options) -> Result<(), Failure> {
    let mut io = IoContext::new()?;
    let outcome = Outcome::default();
    let keyboard = Rc::new(Keyboard::default());
    let screen = Screen::new(std::io::stdout(), &keyboard, &outcome);
    let connection = session::connect(&io, options.server, CONNECT_TIMEOUT, screen);
    if let Some(name) = &options.name {
        connection.send(format!("{name}\n").as_bytes()); // It is queued until the connection is there.
    }
    keyboard.start(&connection).map_err(failed("stdin"))?;
    io.run()?; // until the connection has ended
    outcome.take().map_err(failed(options.server))
}

impl Options {
    fn parse(mut arguments: lexopt::Parser) -> Result<Options, Failure> {
        use lexopt::prelude::*;
        let mut options = Options { server: ([127, 0, 0, 1], 7000).into(), name: None };
        while let Some(argument) = arguments.next()? {
            match argument {
                Long("name") => options.name = Some(arguments.value()?.string()?),
                Value(address) => options.server = address.parse()?,
                _ => return Err(argument.unexpected().into()),
            }
        }
        Ok(options)
    }
}
