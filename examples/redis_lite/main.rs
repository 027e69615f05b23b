//! A key-value server that speaks RESP2, so that `redis-cli` and `redis-benchmark` can talk to it.
//!
//!     cargo run --release --example redis_lite [ADDR] [--max-connections N] [--idle SECONDS] [--grace SECONDS]
//!
//! Read `session.rs` first: it is the server. `request.rs` reads commands from the bytes that are lent, without copying
//! them; `command.rs` carries them out on the keys in `store.rs`; `reply.rs` says what came of it.

#[macro_use]
#[path = "../cli/mod.rs"]
mod cli;
#[path = "../serving/mod.rs"]
mod serving;

mod request;
mod store;
mod reply;
mod command;
mod session;
#[cfg(test)]
mod tests;

use cli::Failure;
use ioctx::{Config, IoContext};
use serving::Options;
use session::Client;
use std::cell::RefCell;
use std::process::ExitCode;
use std::rc::Rc;
use std::time::Instant;
use store::Store;

const USAGE: &str = "\
usage: redis_lite [ADDR] [--max-connections N] [--idle SECONDS] [--grace SECONDS]

Serves keys and values to redis clients: PING ECHO GET SET DEL EXISTS INCR EXPIRE TTL DBSIZE FLUSHALL QUIT.

  ADDR                 IP:PORT to listen on, default 127.0.0.1:6379; port 0 takes a free one
  --max-connections N  with N clients connected, accept the next when one leaves; default no limit
  --idle SECONDS       close a connection on which nothing has moved for so long; default 60
  --grace SECONDS      on SIGINT or SIGTERM, how long replies may still be sent; default 1";

fn main() -> ExitCode {
    cli::run(USAGE, |arguments| serve(&Options::parse(arguments, 6379)?))
}

/// So much is read of a client at once, at most: what it asks may be answered with many times as much, and who does not
/// take that has all of it queued.
const READ: usize = 64 * 1024;

fn serve(options: &Options) -> Result<(), Failure> {
    let mut io = IoContext::with_config(Config::new().read_buffer(READ))?;
    let store = Rc::new(RefCell::new(Store::new(Instant::now)));
    store::sweep(&store, io.handle());
    let idle = options.idle;
    serving::begin(&io, options, move || Client::new(&store, idle))?;
    io.run()?;
    Ok(())
}
