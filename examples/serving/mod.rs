//! What the servers of the session layer share: their options, how they begin, and how they end.

use crate::cli::{Failure, failed};
use ioctx::ip::tcp::{Acceptor, Endpoint};
use ioctx::session::{self, Server, Session};
use ioctx::{IoContext, SignalSet};
use std::io;
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
                    options.max_connections = arguments.value()?.parse()?;
                    if options.max_connections == 0 {
                        return Err(Failure::Usage("--max-connections must be at least 1".into()));
                    }
                }
                Long("idle") => {
                    options.idle = seconds("--idle", arguments.value()?.parse()?)?;
                    if options.idle.is_zero() {
                        return Err(Failure::Usage("--idle must be more than 0".into()));
                    }
                }
                Long("grace") => options.grace = seconds("--grace", arguments.value()?.parse()?)?,
                Value(address) => options.endpoint = address.parse()?,
                _ => return Err(argument.unexpected().into()),
            }
        }
        Ok(options)
    }
}

fn seconds(option: &str, seconds: f64) -> Result<Duration, Failure> {
    Duration::try_from_secs_f64(seconds).map_err(|error| Failure::Usage(format!("{option} {seconds}: {error}")))
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
    end_on_signal(&server, options.grace)?;
    say!("listening on {endpoint}"); // whoever waits for this line may send clients, and signals
    Ok(server)
}

/// SIGINT or SIGTERM ends the server gracefully, a second one at once.
fn end_on_signal(server: &Server, grace: Duration) -> io::Result<()> {
    let signals = SignalSet::new(server).background();
    signals.add(signal_hook::consts::SIGINT)?;
    signals.add(signal_hook::consts::SIGTERM)?;
    let server = server.clone();
    signals.clone().async_wait(move |_| {
        server.shutdown(grace);
        signals.async_wait(move |_| server.as_ref().stop());
    });
    Ok(())
}
