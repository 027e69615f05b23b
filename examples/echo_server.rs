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
use ioctx::ip::tcp::{Acceptor, Endpoint};
use ioctx::session::{self, Connection, Server, Session};
use ioctx::{ContextPool, IoContext};
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

struct Echo;

impl Session for Echo {
    fn received(&mut self, connection: &Connection, bytes: &[u8]) -> usize {
        connection.send(bytes);
        bytes.len()
    }
}

fn main() -> ExitCode {
    cli::run(USAGE, |arguments| {
        let options = Options::parse(arguments)?;
        if options.threads == 1 { serve(options) } else { serve_on_threads(options) }
    })
}

/// On this thread, with one loop.
fn serve(options: Options) -> Result<(), Failure> {
    let mut io = IoContext::new()?;
    let acceptor = Acceptor::listen_on(&io, options.endpoint).map_err(failed(options.endpoint))?;
    let endpoint = acceptor.local_endpoint()?;
    let server = session::serve(acceptor, |_peer| Echo)?;
    options.limit(&server);
    cli::on_signal(&io, move || server.shutdown(options.grace))?;
    say!("listening on {endpoint}"); // whoever waits for this line may send clients, and signals
    io.run()?; // until a signal has shut the server down and the last connection has ended
    Ok(())
}

/// On several threads, each with a loop of its own. The loop of this one waits for signals, and for the end.
fn serve_on_threads(options: Options) -> Result<(), Failure> {
    let pool = ContextPool::builder(options.threads)
        .each_server(move |server, _thread| options.limit(server))
        .serve(options.endpoint, |_io, _thread| |_peer| Echo)
        .map_err(failed(options.endpoint))?;
    let mut io = IoContext::new()?;
    let ending = pool.remote();
    cli::on_signal(&io, move || ending.shutdown(options.grace))?;
    if let Some(endpoint) = pool.local_endpoint() {
        say!("listening on {endpoint}");
    }
    let (remote, guard) = (io.remote(), io.work_guard());
    let joined = std::thread::spawn(move || {
        let outcomes = pool.join();
        remote.stop();
        outcomes.into_iter().all(|outcome| matches!(outcome, Ok(Ok(_))))
    });
    io.run()?; // until the last thread has ended, or a second signal
    drop(guard);
    if joined.is_finished() && !joined.join().unwrap_or(false) {
        return Err(Failure::Failed("a thread has failed".into()));
    }
    Ok(())
}

#[derive(Clone, Copy)]
struct Options {
    endpoint: Endpoint,
    threads: usize,
    idle_timeout: Option<Duration>,
    max_connections: usize,
    grace: Duration,
}

impl Options {
    fn limit(&self, server: &Server) {
        server.set_max_connections(self.max_connections);
        server.set_idle_timeout(self.idle_timeout);
    }

    fn parse(mut arguments: lexopt::Parser) -> Result<Options, Failure> {
        use lexopt::prelude::*;
        let mut options = Options {
            endpoint: ([127, 0, 0, 1], 7000).into(),
            threads: 1,
            idle_timeout: None,
            max_connections: usize::MAX,
            grace: Duration::from_secs(1),
        };
        while let Some(argument) = arguments.next()? {
            match argument {
                Long("threads") => options.threads = cli::at_least_one("--threads", &mut arguments)?,
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
