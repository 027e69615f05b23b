//! An HTTP/1.1 server: keep-alive, pipelining, and answers of any length in bounded memory.
//!
//!     cargo run --release --example http_hello [ADDR] [--max-connections N] [--idle SECONDS] [--grace SECONDS]
//!
//! Open `http://127.0.0.1:8080/` in a browser. Read `session.rs` first: it is the server; the other files know HTTP.

#[macro_use]
#[path = "../cli/mod.rs"]
mod cli;
#[path = "../serving/mod.rs"]
mod serving;

mod request;
mod site;
mod response;
mod session;
#[cfg(test)]
mod tests;

use cli::Failure;
use ioctx::IoContext;
use serving::Options;
use session::Http;
use site::Site;
use std::process::ExitCode;
use std::rc::Rc;

const USAGE: &str = "\
usage: http_hello [ADDR] [--max-connections N] [--idle SECONDS] [--grace SECONDS]

Serves a small web site: /, /stats, and /bytes/N for an answer of N bytes.

  ADDR                 IP:PORT to listen on, default 127.0.0.1:8080; port 0 takes a free one
  --max-connections N  with N clients connected, accept the next when one leaves; default no limit
  --idle SECONDS       close a connection on which nothing has moved for so long; default 60
  --grace SECONDS      on SIGINT or SIGTERM, how long answers may still be sent; default 1";

fn main() -> ExitCode {
    cli::run(USAGE, |arguments| serve(&Options::parse(arguments, 8080)?))
}

fn serve(options: &Options) -> Result<(), Failure> {
    let mut io = IoContext::new()?;
    let site = Rc::new(Site::new());
    let (shared, idle) = (Rc::clone(&site), options.idle);
    let server = serving::begin(&io, options, move || Http::new(&shared, idle))?;
    site.count_for(server);
    io.run()?;
    Ok(())
}
