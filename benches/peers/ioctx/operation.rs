//! The operation layer: one call per step, each with a handler, and buffers that travel along.
//!
//! A connection has a read buffer of its own, because the operation that is outstanding owns it.

use crate::common::{self, BUFFER, Batch, Cancels, IDLE_TIMEOUT, Outcome, Pipes, PipesCount, REPETITIONS};
use crate::common::{Stopwatch, Workload};
use crate::no_layer;
use ioctx::{Handle, IoContext, Part, cancel_after, ip::tcp, local};
use std::cell::{Cell, RefCell};
use std::io;
use std::net::Shutdown;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// As much as a reader of `pipes` ever finds.
const PIPES_BUFFER: usize = 1024;

pub fn run(workload: Workload) -> Outcome {
    match workload {
        Workload::Echo => serve(read),
        Workload::EchoTimeout => serve(read_or_give_up),
        Workload::WriteBatch(batch) => write_batch(batch),
        Workload::Pipes(pipes) => pass_on(pipes),
        Workload::TimersCancel(cancels) => timers_cancel(cancels),
        Workload::TimersFire(count) => timers_fire(count),
        _ => no_layer::see_session(),
    }
}

/// How a connection goes on: with its buffer, to the next message.
type Read = fn(tcp::Socket, Vec<u8>);

fn serve(read: Read) -> Outcome {
    let mut io = IoContext::new()?;
    let acceptor = tcp::Acceptor::from_std(&io, common::listener()?)?;
    let endpoint = acceptor.local_endpoint()?;
    accept(acceptor, read);
    common::print_listening(endpoint);
    io.run()?;
    Ok(())
}

fn accept(acceptor: tcp::Acceptor, read: Read) {
    acceptor.clone().async_accept(move |accepted| {
        match accepted {
            Ok((socket, _peer)) => welcome(socket, read),
            Err(error) => common::fail("accept", error),
        }
        accept(acceptor, read);
    });
}

fn welcome(socket: tcp::Socket, read: Read) {
    if socket.set_option(tcp::NoDelay(true)).is_ok() {
        read(socket, vec![0; BUFFER]);
    }
}

fn read(socket: tcp::Socket, buffer: Vec<u8>) {
    socket.clone().async_read_some(buffer, move |(read, buffer)| echo(socket, read, buffer, self::read));
}

/// As the documentation of `cancel_after` has it for an idle timeout.
fn read_or_give_up(socket: tcp::Socket, buffer: Vec<u8>) {
    let stream = socket.clone();
    cancel_after(
        &stream,
        IDLE_TIMEOUT,
        |done| stream.async_read_some(buffer, done),
        move |(read, buffer)| echo(socket, read, buffer, read_or_give_up),
    );
}

/// Writes back what was read. When no operation follows, the last handle of the socket goes, and it closes.
#[inline]
fn echo(
    socket: tcp::Socket,
    read: io::Result<usize>,
    buffer: Vec<u8>,
    go_on: impl FnOnce(tcp::Socket, Vec<u8>) + 'static,
) {
    if let Ok(n @ 1..) = read {
        socket.clone().async_write(Part::to(buffer, n), move |(wrote, bytes)| {
            if wrote.is_ok() {
                go_on(socket, bytes.into_inner());
            }
        });
    }
}

fn write_batch(batch: Batch) -> Outcome {
    let mut io = IoContext::new()?;
    let socket = tcp::Socket::new(&io);
    socket.open(batch.endpoint.into())?;
    socket.set_option(tcp::NoDelay(true))?;
    socket.connect(batch.endpoint)?;
    let block: Rc<[u8]> = batch.block().into();
    let since = Stopwatch::wall();
    for _ in 1..batch.count {
        socket.async_write(Rc::clone(&block), |(wrote, _)| _ = done("write", wrote));
    }
    socket.clone().async_write(block, move |(wrote, _)| {
        done("write", wrote);
        done("shutdown", socket.shutdown(Shutdown::Write));
        socket.async_read_some([0; 1], move |(read, _)| {
            if done("read", read) == 0 {
                batch.print_result(since);
            }
        });
    });
    io.run()?;
    Ok(())
}

fn done<T>(what: &str, outcome: io::Result<T>) -> T {
    outcome.unwrap_or_else(|error| common::fail(what, error))
}

struct Ring {
    handle: Handle,
    pipes: Pipes,
    writing: Vec<local::stream::Socket>,
    count: Cell<PipesCount>,
}

impl Ring {
    fn read(self: Rc<Self>, pair: usize, socket: local::stream::Socket, buffer: Vec<u8>) {
        socket.clone().async_read_some(buffer, move |(read, buffer)| {
            self.pass_on(pair, done("read", read));
            self.read(pair, socket, buffer);
        });
    }

    fn pass_on(&self, pair: usize, bytes: usize) {
        let mut count = self.count.get();
        for _ in 0..count.note_read(bytes, &self.pipes) {
            self.writing[self.pipes.next(pair)].async_write(b"e", |(wrote, _)| _ = done("write", wrote));
        }
        self.count.set(count);
        if count.read >= self.pipes.total() {
            self.handle.stop();
        }
    }
}

fn pass_on(pipes: Pipes) -> Outcome {
    let mut io = IoContext::new()?;
    let pairs = pipes.open()?;
    let starters = pipes.starters(&pairs)?;
    let (mut reading, mut writing) = (Vec::new(), Vec::new());
    for pair in pairs {
        reading.push(local::stream::Socket::from_std(&io, pair.reading)?);
        writing.push(local::stream::Socket::from_std(&io, pair.writing)?);
    }
    let ring = Rc::new(Ring { handle: io.handle().clone(), pipes, writing, count: Cell::default() });
    for (pair, socket) in reading.into_iter().enumerate() {
        Rc::clone(&ring).read(pair, socket, vec![0; PIPES_BUFFER]);
    }
    io.poll()?; // Every reader waits.
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

/// A timer is a wait of its own, whose handler is told how it ended. They are started by a handler, as in most programs,
/// and their deadlines are counted from one reading of the clock.
fn timers_cancel(cancels: Cancels) -> Outcome {
    let mut io = IoContext::new()?;
    let (delays, order) = common::delays_to_cancel(cancels);
    let waits = RefCell::new(Vec::with_capacity(cancels.count));
    let plan = Rc::new((delays, order, waits));
    for _ in 0..REPETITIONS {
        let aborted = Rc::new(Cell::new(0));
        let (handle, plan, counter) = (io.handle().clone(), Rc::clone(&plan), Rc::clone(&aborted));
        let since = Stopwatch::cpu();
        io.post(move || {
            let now = Instant::now();
            let start = |delay: &Duration| {
                let aborted = Rc::clone(&counter);
                handle.at(now + *delay, move |waited| aborted.set(aborted.get() + u64::from(waited.is_err())))
            };
            let (delays, order, waits) = &*plan;
            let mut waits = waits.borrow_mut();
            waits.clear();
            waits.extend(delays.iter().map(start));
            for &wait in order {
                handle.cancel(waits[wait]);
            }
        });
        io.run()?; // The handlers are told.
        common::print_checked("cancelled timers", aborted.get(), cancels.count as u64, since)?;
    }
    Ok(())
}

fn timers_fire(count: usize) -> Outcome {
    let mut io = IoContext::new()?;
    let delays = Rc::new(common::delays_to_fire(count));
    for _ in 0..REPETITIONS {
        let fired = Rc::new(Cell::new(0));
        let (handle, delays, counter) = (io.handle().clone(), Rc::clone(&delays), Rc::clone(&fired));
        let since = Stopwatch::cpu();
        io.post(move || {
            let now = Instant::now();
            for delay in delays.iter() {
                let fired = Rc::clone(&counter);
                handle.at(now + *delay, move |waited| fired.set(fired.get() + u64::from(waited.is_ok())));
            }
        });
        io.run()?;
        common::print_checked("timers", fired.get(), count as u64, since)?;
    }
    Ok(())
}
