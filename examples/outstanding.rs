//! "What keeps my loop alive?": everything that is outstanding, each with the file and line that started it.
//!
//!     cargo run --example outstanding
//!
//! `run` returns when nothing is outstanding. One piece of work of each kind is started here, and then ended, the
//! list printed in between. An open socket without an operation is not work, and neither is what runs in the background.

#[macro_use]
mod cli;

use ioctx::ip::tcp::{Acceptor, Socket};
use ioctx::{Interest, IoContext, Next, error, mio};
use std::io;
use std::net::Ipv4Addr;
use std::process::ExitCode;
use std::time::Duration;

const USAGE: &str = "usage: outstanding\n\nShows what keeps a loop alive, and how each of it ends.";

fn main() -> ExitCode {
    cli::run(USAGE, |arguments| {
        cli::no_arguments(arguments)?;
        Ok(start_and_end(IoContext::new()?)?)
    })
}

fn start_and_end(mut io: IoContext) -> io::Result<()> {
    let acceptor = Acceptor::listen_on(&io, (Ipv4Addr::LOCALHOST, 0).into())?;
    let client = Socket::new(&io);
    client.connect(acceptor.local_endpoint()?)?;
    show(&io, "two open sockets, no operation");

    let (_server, _peer) = acceptor.accept()?;
    acceptor.async_accept(|accepted| ended("accept", accepted));
    client.async_read_some(vec![0; 64], |(read, _buffer)| ended("read", read));
    let alarm = io.after(Duration::from_secs(3600), |waited| ended("wait", waited));
    let datagrams = mio::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0).into())?;
    let registration = io.register(datagrams, Interest::READABLE, |_, _| Next::Keep)?;
    io.background(io.every(Duration::from_secs(3600), || say!("an hour has passed")));
    let guard = io.work_guard();
    show(&io, "one of each kind, and a timer in the background");
    say!("\n{io:#?}");

    acceptor.cancel()?;
    show(&io, "the accept has been cancelled: its handler has yet to be told");
    io.poll()?;
    client.cancel()?;
    io.poll()?;
    show(&io, "the read has been cancelled, too");
    io.cancel(alarm);
    io.poll()?;
    show(&io, "the wait has been cancelled by its key");
    registration.release();
    show(&io, "the registration has been released");
    drop(guard);
    show(&io, "the guard has been dropped");

    say!("\nrun returns {}: the background timer does not keep it", io.run()?);
    Ok(())
}

fn show(io: &IoContext, when: &str) {
    let outstanding = io.outstanding();
    say!("\n{when}: {}", outstanding.len());
    for work in outstanding.iter() {
        say!("  {work}");
    }
}

fn ended<T>(what: &str, outcome: io::Result<T>) {
    match outcome {
        Ok(_) => say!("  -> {what}: done"),
        Err(error) if error::is_aborted(&error) => say!("  -> {what}: {error}"),
        Err(error) => say!("  -> {what}: failed, {error}"),
    }
}
