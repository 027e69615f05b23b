//! Straight mio and slab: no loop library at all, the floor in Rust.
//!
//! Edge-triggered, so everything goes on until a call is short or would block. One read buffer for all connections;
//! what a peer does not take waits in its connection, and while it does, nothing more is read from it.
#![forbid(unsafe_code)]

mod common;

use common::{BUFFER, Batch, Failure, Outcome, Pipes, PipesCount, Stopwatch, Workload};
use mio::event::Event;
use mio::net::{TcpListener, TcpStream, UnixStream};
use mio::{Events, Interest, Poll, Registry, Token};
use slab::Slab;
use std::io::{self, ErrorKind, Read, Write};
use std::net::Shutdown;
use std::process::ExitCode;
use std::time::Duration;

const EVENTS: usize = 1024;
const LISTENER: Token = Token(usize::MAX);
/// How long a listener without descriptors waits; mio will not tell of the clients that wait already.
const RETRY: Duration = Duration::from_millis(100);

fn main() -> ExitCode {
    common::run("mio", |workload| match workload {
        Workload::Echo { buffer, .. } => serve(buffer),
        Workload::WriteBatch(batch) => write_batch(batch),
        Workload::Pipes(pipes) => pass_on(pipes),
        Workload::EchoTimeout | Workload::TimersCancel(_) | Workload::TimersFire(_) => {
            Err(Failure::Nothing("mio has no timers"))
        }
        Workload::Post(_) => Err(Failure::Nothing("mio has no queue of handlers")),
        Workload::PostRemote(_) => Err(Failure::Nothing("mio has no queue of handlers; its Waker only wakes")),
    })
}

fn serve(buffer: usize) -> Outcome {
    let mut poll = Poll::new()?;
    let mut listener = TcpListener::from_std(common::listener()?);
    poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
    common::print_listening(listener.local_addr()?);
    let mut connections = Slab::new();
    let mut buffer = vec![0; buffer];
    let mut events = Events::with_capacity(EVENTS);
    let mut accepted_all = true;
    loop {
        wait(&mut poll, &mut events, (!accepted_all).then_some(RETRY))?;
        for event in &events {
            if event.token() == LISTENER {
                accepted_all = false;
            } else {
                serve_connection(&mut connections, event, &mut buffer);
            }
        }
        if !accepted_all {
            accepted_all = accept_all(&listener, poll.registry(), &mut connections);
        }
    }
}

fn wait(poll: &mut Poll, events: &mut Events, timeout: Option<Duration>) -> io::Result<()> {
    match poll.poll(events, timeout) {
        Err(error) if error.kind() == ErrorKind::Interrupted => Ok(()),
        polled => polled,
    }
}

/// Returns false if it was out of descriptors.
fn accept_all(listener: &TcpListener, registry: &Registry, connections: &mut Slab<Connection>) -> bool {
    loop {
        match listener.accept() {
            Ok((mut stream, _peer)) => {
                let _ = stream.set_nodelay(true);
                let entry = connections.vacant_entry();
                let interest = Interest::READABLE | Interest::WRITABLE;
                if registry.register(&mut stream, Token(entry.key()), interest).is_ok() {
                    entry.insert(Connection { stream, unsent: Vec::new() });
                }
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => return true,
            Err(error) if error.kind() == ErrorKind::ConnectionAborted => {}
            Err(_) => return false,
        }
    }
}

fn serve_connection(connections: &mut Slab<Connection>, event: &Event, buffer: &mut [u8]) {
    let key = event.token().0;
    let goes_on = |connection: &mut Connection| connection.goes_on(buffer, event.is_read_closed());
    if !connections.get_mut(key).is_none_or(goes_on) {
        connections.remove(key);
    }
}

struct Connection {
    stream: TcpStream,
    unsent: Vec<u8>,
}

impl Connection {
    /// Returns false when the connection has ended.
    fn goes_on(&mut self, buffer: &mut [u8], read_closed: bool) -> bool {
        match self.echo(buffer, read_closed) {
            Ok(goes_on) => goes_on,
            Err(error) => error.kind() == ErrorKind::WouldBlock,
        }
    }

    /// A short read has emptied the socket, unless the peer's end is behind it, of which no other event will tell.
    fn echo(&mut self, buffer: &mut [u8], read_closed: bool) -> io::Result<bool> {
        if !self.unsent.is_empty() {
            let sent = self.stream.write(&self.unsent)?;
            self.unsent.drain(..sent);
            if !self.unsent.is_empty() {
                return Ok(true); // Short, so another event will come.
            }
        }
        loop {
            let read = self.stream.read(buffer)?;
            if read == 0 {
                return Ok(false);
            }
            let sent = match self.stream.write(&buffer[..read]) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
                written => written?,
            };
            if sent < read {
                self.unsent.extend_from_slice(&buffer[sent..read]);
                return Ok(true);
            }
            if read < buffer.len() && !read_closed {
                return Ok(true);
            }
        }
    }
}

/// mio has no queue: a write is an append to one, and what is in it leaves when the socket takes it.
fn write_batch(batch: Batch) -> Outcome {
    let mut poll = Poll::new()?;
    let mut events = Events::with_capacity(EVENTS);
    let stream = std::net::TcpStream::connect(batch.endpoint)?;
    stream.set_nonblocking(true)?;
    stream.set_nodelay(true)?;
    let mut stream = TcpStream::from_std(stream);
    poll.registry().register(&mut stream, Token(0), Interest::READABLE | Interest::WRITABLE)?;
    let block = batch.block();
    let since = Stopwatch::wall();
    let mut queue = Vec::new();
    for _ in 0..batch.count {
        queue.extend_from_slice(&block);
    }
    let mut sent = 0;
    loop {
        match send_and_wait_for_end(&mut stream, &queue, &mut sent) {
            Ok(()) => break,
            Err(error) if error.kind() == ErrorKind::WouldBlock => wait(&mut poll, &mut events, None)?,
            Err(error) => return Err(error.into()),
        }
    }
    batch.print_result(since);
    Ok(())
}

fn send_and_wait_for_end(stream: &mut TcpStream, queue: &[u8], sent: &mut usize) -> io::Result<()> {
    while *sent < queue.len() {
        *sent += stream.write(&queue[*sent..])?;
        if *sent == queue.len() {
            stream.shutdown(Shutdown::Write)?;
        }
    }
    while stream.read(&mut [0; 1])? > 0 {}
    Ok(())
}

fn pass_on(pipes: Pipes) -> Outcome {
    let mut poll = Poll::new()?;
    let pairs = pipes.open()?;
    let starters = pipes.starters(&pairs)?;
    let mut ring = Ring { pipes, pairs: Vec::new(), buffer: vec![0; BUFFER], count: PipesCount::default() };
    for (token, pair) in pairs.into_iter().enumerate() {
        let mut reading = UnixStream::from_std(pair.reading);
        poll.registry().register(&mut reading, Token(token), Interest::READABLE)?;
        ring.pairs.push((reading, UnixStream::from_std(pair.writing)));
    }
    let mut events = Events::with_capacity(EVENTS);
    for _ in 0..common::PIPES_REPETITIONS {
        ring.count = PipesCount::default();
        starters.start()?;
        let since = Stopwatch::wall();
        while ring.count.read < pipes.total() {
            wait(&mut poll, &mut events, None)?;
            for event in &events {
                ring.read(event.token().0)?;
            }
        }
        ring.count.print_result(&pipes, since)?;
    }
    Ok(())
}

struct Ring {
    pipes: Pipes,
    /// Of each pair what is read from, and what is written into.
    pairs: Vec<(UnixStream, UnixStream)>,
    buffer: Vec<u8>,
    count: PipesCount,
}

impl Ring {
    /// A short read has emptied the socket.
    fn read(&mut self, pair: usize) -> io::Result<()> {
        loop {
            let read = match self.pairs[pair].0.read(&mut self.buffer) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                read => read?,
            };
            let next = &mut self.pairs[self.pipes.next(pair)].1;
            for _ in 0..self.count.note_read(read, &self.pipes) {
                next.write_all(b"e")?;
            }
            if read < self.buffer.len() {
                return Ok(());
            }
        }
    }
}
