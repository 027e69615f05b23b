//! Forwards every TCP connection to another endpoint.
//!
//!     cargo run --release --example port_forward LISTEN TARGET [OPTIONS]
//!
//! Each client gets a connection to the target, and the two a pair of sessions, which know each other's connection:
//! `pair.rs`. All that the one end does is carried over to the other: bytes, the end of the stream, a reset, and not
//! reading. SIGINT or SIGTERM ends the forwarder gracefully, a second one at once.

#[macro_use]
#[path = "../cli/mod.rs"]
mod cli;
mod pair;
#[cfg(test)]
mod tests;

use cli::{Failure, failed};
use ioctx::ip::tcp::{Acceptor, Endpoint};
use ioctx::session::Server;
use ioctx::{Handle, IoContext, session};
use pair::{Pair, Pairs};
use std::process::ExitCode;
use std::rc::Rc;
use std::time::Duration;

const USAGE: &str = "\
usage: port_forward LISTEN TARGET [--connect-timeout SECONDS] [--idle-timeout SECONDS] [--grace SECONDS]

Forwards every TCP connection to another endpoint.

  LISTEN                     IP:PORT to listen on; port 0 takes a free one
  TARGET                     IP:PORT to forward to
  --connect-timeout SECONDS  how long the target may take to accept a connection; default 10
  --idle-timeout SECONDS     resets connections on which no byte has moved for so long; default never
  --grace SECONDS            on SIGINT or SIGTERM, how long connections may finish; default 1";

fn main() -> ExitCode {
    cli::run(USAGE, |arguments| forward(&Options::parse(arguments)?))
}

struct Options {
    listen: Endpoint,
    target: Endpoint,
    connect_timeout: Duration,
    idle_timeout: Option<Duration>,
    grace: Duration,
}

fn forward(options: &Options) -> Result<(), Failure> {
    let mut io = IoContext::new()?;
    let acceptor = Acceptor::listen_on(&io, options.listen).map_err(failed(options.listen))?;
    let endpoint = acceptor.local_endpoint()?;
    let pairs = Pairs::new(options.idle_timeout);
    let server = serve(&io, acceptor, &pairs, options)?;
    let (handle, grace) = (io.handle().clone(), options.grace);
    cli::on_signal(&io, move || end(&handle, &server, pairs, grace))?;
    say!("listening on {endpoint}"); // whoever waits for this line may send clients, and signals
    io.run()?; // until a signal has shut the server down and the last connection has ended
    Ok(())
}

/// Makes a pair for every client that is accepted: the one side is returned, the other one connects to the target.
fn serve(io: &IoContext, acceptor: Acceptor, pairs: &Rc<Pairs>, options: &Options) -> std::io::Result<Server> {
    let (handle, pairs) = (io.handle().clone(), Rc::clone(pairs));
    let (target, connect_timeout) = (options.target, options.connect_timeout);
    session::serve(acceptor, move |_client| {
        let (client_side, target_side) = Pair::sides(&pairs);
        client_side.knows(session::connect(&handle, target, connect_timeout, target_side));
        client_side
    })
}

/// Stops accepting, and gives the pairs some time. The server knows only the clients' sides; so it is told of no
/// deadline, and whole pairs are aborted.
fn end(handle: &Handle, server: &Server, pairs: Rc<Pairs>, grace: Duration) {
    server.shutdown(Duration::MAX);
    let deadline = handle.after(grace, move |_| pairs.abort());
    handle.background(deadline);
}

impl Options {
    fn parse(mut arguments: lexopt::Parser) -> Result<Options, Failure> {
        use lexopt::prelude::*;
        let mut endpoints = Vec::new();
        let (mut connect_timeout, mut grace) = (Duration::from_secs(10), Duration::from_secs(1));
        let mut idle_timeout = None;
        while let Some(argument) = arguments.next()? {
            match argument {
                Long("connect-timeout") => connect_timeout = cli::seconds("--connect-timeout", &mut arguments)?,
                Long("idle-timeout") => idle_timeout = Some(cli::seconds("--idle-timeout", &mut arguments)?),
                Long("grace") => grace = cli::seconds("--grace", &mut arguments)?,
                Value(endpoint) => endpoints.push(endpoint.parse()?),
                _ => return Err(argument.unexpected().into()),
            }
        }
        let &[listen, target] = endpoints.as_slice() else {
            return Err(Failure::Usage("LISTEN and TARGET are both needed, and nothing else".into()));
        };
        Ok(Options { listen, target, connect_timeout, idle_timeout, grace })
    }
}
