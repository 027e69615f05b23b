//! A multi-client TCP echo server: one object per connection.
//!
//!     cargo run --release --example echo_server [ADDR] [--threads N] [--idle-timeout SECONDS]
//!                                               [--max-connections N] [--grace SECONDS]
//!
//! Talk to it with `nc 127.0.0.1 7000`. The session is three lines; the rest of this file is options, and an end in
//! good order. A client that sends without reading is not read from once 64 KiB wait for it, cannot make the server
//! grow, and gets every byte back once it reads. SIGINT or SIGTERM ends it gracefully, a second one at once.

#[macro_use]
mod cli;

use cli::{Failure, failed};
use ioctx::IoContext;
use ioctx::ip::tcp::{Acceptor, Endpoint};
use ioctx::session::{self, Connection, Session};
use std::process::ExitCode;
use std::time::Duration;

const USAGE: &str = "\
usage: echo_server [ADDR] [--threads N] [--idle-timeout SECONDS] [--max-connections N] [--grace SECONDS]

Sends back what each TCP client sends.

  ADDR                    IP:PORT to listen on, default 127.0.0.1:7000; port 0 takes a free one
  --threads N             serve on N threads, each with a loop of its own; default 1
  --idle-timeout SECONDS  end a connection on which nothing has moved for so long; default never
  --max-connections N     with N clients connected to a thread, it accepts the next when one leaves; default no limit
  --grace SECONDS         on SIGINT or SIGTERM, how long busy connections may finish; default 1";

struct Echo {
    idle_timeout: Option<Duration>,
}

impl Session for Echo {
    fn opened(&mut self, connection: &Connection) {
        connection.set_idle_timeout(self.idle_timeout);
    }

    fn received(&mut self, connection: &Connection, bytes: &[u8]) -> usize {
        connection.send(bytes);
        bytes.len()
    }
}

fn main() -> ExitCode {
    cli::run(USAGE, |arguments| serve(&Options::parse(arguments)?))
}

fn serve(options: &Options) -> Result<(), Failure> {
    let mut io = IoContext::new()?;
    let acceptor = Acceptor::listen_on(&io, options.endpoint).map_err(failed(options.endpoint))?;
    let endpoint = acceptor.local_endpoint()?;
    let idle_timeout = options.idle_timeout;
    let server = session::serve(acceptor, move |_peer| Echo { idle_timeout })?;
    server.set_max_connections(options.max_connections);
    let grace = options.grace;
    cli::on_signal(&io, move || server.shutdown(grace))?;
    say!("listening on {endpoint}"); // whoever waits for this line may send clients, and signals
    io.run()?; // until a signal has shut the server down and the last connection has ended
    Ok(())
}

struct Options {
    endpoint: Endpoint,
    idle_timeout: Option<Duration>,
    max_connections: usize,
    grace: Duration,
}

impl Options {
    fn parse(mut arguments: lexopt::Parser) -> Result<Options, Failure> {
        use lexopt::prelude::*;
        let mut options = Options {
            endpoint: ([127, 0, 0, 1], 7000).into(),
            idle_timeout: None,
            max_connections: usize::MAX,
            grace: Duration::from_secs(1),
        };
        while let Some(argument) = arguments.next()? {
            match argument {
                Long("idle-timeout") => options.idle_timeout = Some(cli::seconds("--idle-timeout", &mut arguments)?),
                Long("max-connections") => {
                    options.max_connections = cli::at_least_one("--max-connections", &mut arguments)?;
                }
                Long("grace") => options.grace = cli::seconds("--grace", &mut arguments)?,
                Value(address) => options.endpoint = address.parse()?,
                _ => return Err(argument.unexpected().into()),
            }
        }
        Ok(options)
    }
}
