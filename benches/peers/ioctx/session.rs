//! The session layer: an object per connection, which is lent what arrives and sends through its `Connection`.

use crate::common::{self, Batch, IDLE_TIMEOUT, Outcome, Pipes, PipesCount, Stopwatch, Workload};
use crate::no_layer;
use crate::shared::context;
use ioctx::session::{self, Connection, Reason, Sent, Session};
use ioctx::{Config, Handle, IoContext, ip::tcp, local};
use std::cell::Cell;
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::time::Duration;

pub fn run(workload: Workload) -> Outcome {
    match workload {
        Workload::Echo { may_grow: true, .. } => serve(Config::new(), None), // From 64 KiB: that is the default.
        Workload::Echo { buffer, .. } => serve(Config::new().read_buffer(buffer), None),
        Workload::EchoTimeout => serve(Config::new(), Some(IDLE_TIMEOUT)),
        Workload::WriteBatch(batch) => write_batch(batch),
        Workload::Pipes(pipes) => pass_on(pipes),
        other => no_layer::run(other),
    }
}

struct Echo;

impl Session for Echo {
    fn received(&mut self, connection: &Connection, bytes: &[u8]) -> usize {
        connection.send(bytes);
        bytes.len()
    }
}

fn serve(config: Config, idle_timeout: Option<Duration>) -> Outcome {
    let mut io = context(config)?;
    let acceptor = tcp::Acceptor::from_std(&io, common::listener()?)?;
    let endpoint = acceptor.local_endpoint()?;
    let server = session::serve(acceptor, |_peer| Echo)?;
    server.set_idle_timeout(idle_timeout);
    common::print_listening(endpoint);
    io.run()?;
    Ok(())
}

/// Sends all blocks when it is connected, ends its side, and waits for the other.
struct Client {
    batch: Batch,
    since: Option<Stopwatch>,
}

impl Session for Client {
    fn opened(&mut self, connection: &Connection) {
        connection.set_write_limit(usize::MAX); // All of it may wait.
        let block = self.batch.block();
        self.since = Some(Stopwatch::wall());
        for _ in 0..self.batch.count {
            if connection.send(&block) == Sent::Gone {
                return; // `closed` is told why.
            }
        }
        connection.shutdown_send();
    }

    fn received(&mut self, _connection: &Connection, bytes: &[u8]) -> usize {
        bytes.len()
    }

    fn closed(&mut self, _connection: &Connection, reason: Reason) {
        match (reason, self.since) {
            (Reason::Finished, Some(since)) => self.batch.print_result(since),
            (reason, _) => common::fail("write-batch", reason),
        }
    }
}

fn write_batch(batch: Batch) -> Outcome {
    let mut io = IoContext::new()?;
    session::connect(&io, batch.endpoint, Duration::MAX, Client { batch, since: None });
    io.run()?;
    Ok(())
}

/// Reads its pair, and writes into the next one. Nothing ever arrives at a writing end, and there is always room for
/// a byte: so it is a plain descriptor, as in the other programs.
struct Reader {
    ring: Rc<Ring>,
    pair: usize,
}

struct Ring {
    handle: Handle,
    pipes: Pipes,
    writing: Vec<UnixStream>,
    count: Cell<PipesCount>,
}

impl Session for Reader {
    fn received(&mut self, _connection: &Connection, bytes: &[u8]) -> usize {
        let ring = &*self.ring;
        let mut count = ring.count.get();
        let mut next = &ring.writing[ring.pipes.next(self.pair)];
        for _ in 0..count.note_read(bytes.len(), &ring.pipes) {
            next.write_all(b"e").unwrap_or_else(|error| common::fail("write", error));
        }
        ring.count.set(count);
        if count.read >= ring.pipes.total() {
            ring.handle.stop();
        }
        bytes.len()
    }
}

fn pass_on(pipes: Pipes) -> Outcome {
    let mut io = IoContext::new()?;
    let pairs = pipes.open()?;
    let starters = pipes.starters(&pairs)?;
    let (reading, writing): (Vec<_>, Vec<_>) = pairs.into_iter().map(|pair| (pair.reading, pair.writing)).unzip();
    let ring = Rc::new(Ring { handle: io.handle().clone(), pipes, writing, count: Cell::default() });
    for (pair, reading) in reading.into_iter().enumerate() {
        let socket = local::stream::Socket::from_std(&io, reading)?;
        session::adopt(socket, Reader { ring: Rc::clone(&ring), pair })?;
    }
    io.poll()?; // Every session has been told that it is open.
    for _ in 0..common::PIPES_REPETITIONS {
        ring.count.take();
        starters.start()?;
        let since = Stopwatch::wall();
        io.run()?;
        ring.count.get().print_result(&pipes, since)?;
        io.restart();
    }
    Ok(())
}
