//! A chat room for everybody who connects: lines in, lines out, and a policy for those who read too slowly.
//!
//!     cargo run --release --example chat_server [ADDR] [--slow skip|drop] [--idle-timeout SECONDS] [--grace SECONDS]
//!
//! Join with `cargo run --example chat_client`, or with `nc 127.0.0.1 7000`. `room.rs` knows who is there and passes on
//! what one says; `member.rs` is the session, one object per connection: it takes the bytes apart into lines. SIGINT or
//! SIGTERM ends the server gracefully, a second one at once.

#[macro_use]
#[path = "../cli/mod.rs"]
mod cli;
mod member;
mod room;
#[cfg(test)]
mod tests;

use cli::{Failure, failed};
use ioctx::ip::tcp::{Acceptor, Endpoint};
use ioctx::{Config, IoContext, session};
use member::Member;
use room::{Room, Slow};
use std::process::ExitCode;
use std::rc::Rc;
use std::time::Duration;

const USAGE: &str = "\
usage: chat_server [ADDR] [--slow skip|drop] [--idle-timeout SECONDS] [--grace SECONDS]

A chat room. A client's first line is its name; then every line goes to all the others.
/nick NAME, /who and /quit are commands.

  ADDR                    IP:PORT to listen on, default 127.0.0.1:7000; port 0 takes a free one
  --slow skip             who reads too slowly misses lines, and is told how many; the default
  --slow drop             who reads too slowly is disconnected
  --idle-timeout SECONDS  disconnects whom nothing came from and nothing went to for so long; default never
  --grace SECONDS         on SIGINT or SIGTERM, how long the last lines may take to leave; default 1";

fn main() -> ExitCode {
    cli::run(USAGE, |arguments| serve(&Options::parse(arguments)?))
}

struct Options {
    endpoint: Endpoint,
    slow: Slow,
    idle_timeout: Option<Duration>,
    grace: Duration,
}

fn serve(options: &Options) -> Result<(), Failure> {
    let mut io = IoContext::with_config(Config::new().read_buffer(room::READ))?;
    let acceptor = Acceptor::listen_on(&io, options.endpoint).map_err(failed(options.endpoint))?;
    let endpoint = acceptor.local_endpoint()?;
    let room = Rc::new(Room::new(options.slow));
    let idle_timeout = options.idle_timeout;
    let server = session::serve(acceptor, move |_peer| Member::new(&room, idle_timeout))?;
    let grace = options.grace;
    cli::on_signal(&io, move || server.shutdown(grace))?;
    say!("listening on {endpoint}"); // whoever waits for this line may send clients, and signals
    io.run()?; // until a signal has shut the server down and the last connection has ended
    Ok(())
}

impl Options {
    fn parse(mut arguments: lexopt::Parser) -> Result<Options, Failure> {
        use lexopt::prelude::*;
        let mut options = Options {
            endpoint: ([127, 0, 0, 1], 7000).into(),
            slow: Slow::Skip,
            idle_timeout: None,
            grace: Duration::from_secs(1),
        };
        while let Some(argument) = arguments.next()? {
            match argument {
                Long("slow") => {
                    options.slow = match arguments.value()?.string()?.as_str() {
                        "skip" => Slow::Skip,
                        "drop" => Slow::Drop,
                        other => return Err(Failure::Usage(format!("--slow {other}: is neither skip nor drop"))),
                    }
                }
                Long("idle-timeout") => options.idle_timeout = Some(cli::seconds("--idle-timeout", &mut arguments)?),
                Long("grace") => options.grace = cli::seconds("--grace", &mut arguments)?,
                Value(address) => options.endpoint = address.parse()?,
                _ => return Err(argument.unexpected().into()),
            }
        }
        Ok(options)
    }
}
