//! One thread accepts, others serve: sockets are handed over from one context to another, by hand.
//!
//!     cargo run --example hand_over [ADDR] [--threads N] [--clients N]
//!
//! Each worker is a thread with a context of its own. It is reached through its `Remote`, which takes a closure to that
//! thread, and a file descriptor may travel in a closure. There it becomes a socket of the worker's context, and a
//! session adopts it; from then on the two threads have nothing in common. So each worker gets as many clients as the
//! others. Talk to it with `nc 127.0.0.1 7000`: it says which worker you got. `ioctx::ContextPool` does all this for
//! you, and the clean-up as well.

#[macro_use]
mod cli;

use cli::{Failure, failed};
use ioctx::ip::tcp::{Acceptor, Endpoint, Socket};
use ioctx::session::{self, Connection, Reason, Session};
use ioctx::{IoContext, Remote, RemoteWorkGuard};
use std::io;
use std::ops::Range;
use std::process::ExitCode;
use std::sync::mpsc;
use std::thread;

const USAGE: &str = "\
usage: hand_over [ADDR] [--threads N] [--clients N]

Accepts on one thread, and echoes on others.

  ADDR         IP:PORT to listen on, default 127.0.0.1:7000; port 0 takes a free one
  --threads N  how many threads serve; default 2
  --clients N  end after so many clients; default: never";

fn main() -> ExitCode {
    cli::run(USAGE, |arguments| hand_over(&Options::parse(arguments)?))
}

fn hand_over(options: &Options) -> Result<(), Failure> {
    let mut io = IoContext::new()?;
    let acceptor = Acceptor::listen_on(&io, options.endpoint).map_err(failed(options.endpoint))?;
    let mut workers = Vec::new();
    for number in 0..options.threads {
        workers.push(Worker::start(number).map_err(failed(format!("worker {number}")))?);
    }
    say!("listening on {}", acceptor.local_endpoint()?);
    let remotes = workers.iter().map(|worker| worker.remote.clone()).collect();
    accept(acceptor, remotes, 0..options.clients);
    io.run()?; // until the last client was accepted, and handed over
    workers.into_iter().try_for_each(Worker::finish)
}

/// Accepts one client after the other, for the workers in turn.
fn accept(acceptor: Acceptor, workers: Vec<Remote>, mut clients: Range<usize>) {
    let Some(client) = clients.next() else {
        return;
    };
    acceptor.clone().async_accept(move |accepted| {
        match accepted {
            Ok((socket, peer)) => give(&workers[client % workers.len()], &socket, peer),
            Err(error) => return log::error!("accept: {error}"),
        }
        accept(acceptor, workers, clients);
    });
}

/// The hand-over itself: out of one context, to the other thread, into the other context.
fn give(worker: &Remote, socket: &Socket, peer: Endpoint) {
    let descriptor = match socket.release() {
        Ok(descriptor) => descriptor,
        Err(error) => return log::warn!("{peer}: {error}"),
    };
    let given = worker.post(move |io| {
        let socket = Socket::new(io);
        let adopted = socket.assign(descriptor).and_then(|()| session::adopt(socket, Echo { peer }));
        if let Err(error) = adopted {
            log::warn!("{peer}: {error}");
        }
    });
    if let Err(task) = given {
        log::error!("{peer}: {task}"); // The worker has panicked. The task goes, and closes the socket.
    }
}

/// A thread with a context, as the accepting thread sees it.
struct Worker {
    remote: Remote,
    /// While this is held the worker's `run` does not return, though it has no client.
    guard: RemoteWorkGuard,
    thread: thread::JoinHandle<io::Result<usize>>,
}

impl Worker {
    fn start(number: usize) -> io::Result<Worker> {
        let (ready, is_ready) = mpsc::channel();
        let thread = thread::Builder::new().name(format!("worker {number}")).spawn(move || {
            let mut io = IoContext::new()?; // here, because a context never leaves its thread
            let _ = ready.send((io.remote(), io.remote().work_guard()));
            io.run()
        })?;
        match is_ready.recv() {
            Ok((remote, guard)) => Ok(Worker { remote, guard, thread }),
            Err(_) => Err(thread.join().ok().and_then(Result::err).unwrap_or(io::ErrorKind::Other.into())),
        }
    }

    /// Waits until its last client has left.
    fn finish(self) -> Result<(), Failure> {
        drop(self.guard);
        match self.thread.join() {
            Ok(ran) => ran.map(|handlers| say!("a worker ran {handlers} handlers")).map_err(failed("run")),
            Err(_) => Err(Failure::Failed("a worker panicked".into())),
        }
    }
}

/// A session on a worker's thread, where it might share an `Rc` with the others there.
struct Echo {
    peer: Endpoint,
}

impl Session for Echo {
    fn opened(&mut self, connection: &Connection) {
        let thread = thread::current();
        say!("{} is served by {}", self.peer, thread.name().unwrap_or("?"));
        connection.send(format!("{} serves you\n", thread.name().unwrap_or("?")).as_bytes());
    }

    fn received(&mut self, connection: &Connection, bytes: &[u8]) -> usize {
        connection.send(bytes);
        bytes.len()
    }

    fn closed(&mut self, _: &Connection, reason: Reason) {
        log::info!("{}: {reason}", self.peer);
    }
}

struct Options {
    endpoint: Endpoint,
    threads: usize,
    clients: usize,
}

impl Options {
    fn parse(mut arguments: lexopt::Parser) -> Result<Options, Failure> {
        use lexopt::prelude::*;
        let mut options = Options { endpoint: ([127, 0, 0, 1], 7000).into(), threads: 2, clients: usize::MAX };
        while let Some(argument) = arguments.next()? {
            match argument {
                Long("threads") => options.threads = arguments.value()?.parse()?,
                Long("clients") => options.clients = arguments.value()?.parse()?,
                Value(address) => options.endpoint = address.parse()?,
                _ => return Err(argument.unexpected().into()),
            }
        }
        if options.threads == 0 {
            return Err(Failure::Usage("--threads must be at least 1".into()));
        }
        Ok(options)
    }
}
