//! What the servers of the session layer share: their options, how they begin, and how they end.

use crate::cli::{self, Failure, failed};
use ioctx::IoContext;
use ioctx::ip::tcp::{Acceptor, Endpoint};
use ioctx::session::{self, Server, Session};
use std::time::Duration;

pub struct Options {
    pub endpoint: Endpoint,
    pub max_connections: usize,
    pub idle: Duration,
    pub grace: Duration,
}

impl Options {
    pub fn parse(mut arguments: lexopt::Parser, port: u16) -> Result<Options, Failure> {
        use lexopt::prelude::*;
        let mut options = Options {
            endpoint: ([127, 0, 0, 1], port).into(),
            max_connections: usize::MAX,
            idle: Duration::from_secs(60),
            grace: Duration::from_secs(1),
        };
        while let Some(argument) = arguments.next()? {
            match argument {
                Long("max-connections") => {
                    options.max_connections = cli::at_least_one("--max-connections", &mut arguments)?;
                }
                Long("idle") => {
                    options.idle = cli::seconds("--idle", &mut arguments)?;
                    if options.idle.is_zero() {
                        return Err(Failure::Usage("--idle must be more than 0".into()));
                    }
                }
                Long("grace") => options.grace = cli::seconds("--grace", &mut arguments)?,
                Value(address) => options.endpoint = address.parse()?,
                _ => return Err(argument.unexpected().into()),
            }
        }
        Ok(options)
    }
}

/// Begins to serve TCP clients, each with a session of its own. The context's `run` returns when a signal has ended the
/// server and the last connection is closed.
pub fn begin<S: Session>(
    io: &IoContext,
    options: &Options,
    mut session: impl FnMut() -> S + 'static,
) -> Result<Server, Failure> {
    let acceptor = Acceptor::listen_on(io, options.endpoint).map_err(failed(options.endpoint))?;
    let endpoint = acceptor.local_endpoint()?;
    let server = session::serve(acceptor, move |_peer| session())?;
    server.set_max_connections(options.max_connections);
    let (ending, grace) = (server.clone(), options.grace);
    cli::on_signal(io, move || ending.shutdown(grace))?;
    say!("listening on {endpoint}"); // whoever waits for this line may send clients, and signals
    Ok(server)
}
