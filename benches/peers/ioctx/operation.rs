//! The operation layer: one call per step, each with a handler, and buffers that travel along.
//!
//! A connection has a read buffer of its own, because the operation that is outstanding owns it.

use crate::common::{self, BUFFER, Batch, Cancels, IDLE_TIMEOUT, Outcome, Pipes, PipesCount, REPETITIONS};
use crate::common::{Stopwatch, Workload};
use crate::no_layer;
use crate::shared::{context, standing_delays};
use ioctx::{Alarm, Config, Handle, IoContext, Operation, Part, ip::tcp, local};
use std::cell::{Cell, RefCell};
use std::io;
use std::net::Shutdown;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// As much as a reader of `pipes` ever finds.
const PIPES_BUFFER: usize = 1024;

pub fn run(workload: Workload) -> Outcome {
    match workload {
        Workload::Echo { buffer, .. } => serve(buffer, welcome),
        Workload::EchoTimeout => serve(BUFFER, welcome_for_a_while),
        Workload::WriteBatch(batch) => write_batch(batch),
        Workload::Pipes(pipes) => pass_on(pipes),
        Workload::TimersCancel(cancels) => timers_cancel(cancels, wait::<0, false>),
        Workload::TimersFire(count) => timers_fire(count, wait::<0, true>),
        _ => no_layer::see_session(),
    }
}

/// What becomes of a client, whose read buffer has so many bytes.
type Welcome = fn(tcp::Socket, usize);

fn serve(buffer: usize, welcome: Welcome) -> Outcome {
    let mut io = context(Config::new())?;
    let acceptor = tcp::Acceptor::from_std(&io, common::listener()?)?;
    let endpoint = acceptor.local_endpoint()?;
    accept(acceptor, buffer, welcome);
    common::print_listening(endpoint);
    io.run()?;
    Ok(())
}

fn accept(acceptor: tcp::Acceptor, buffer: usize, welcome: Welcome) {
    acceptor.clone().async_accept(move |accepted| {
        match accepted {
            Ok((socket, _peer)) if socket.set_option(tcp::NoDelay(true)).is_ok() => welcome(socket, buffer),
            Ok(_) => {} // It has gone already.
            Err(error) => common::fail("accept", error),
        }
        accept(acceptor, buffer, welcome);
    });
}

fn welcome(socket: tcp::Socket, buffer: usize) {
    read(socket, vec![0; buffer]);
}

fn read(socket: tcp::Socket, buffer: Vec<u8>) {
    socket.clone().async_read_some(buffer, move |(read, buffer)| {
        if let Ok(n @ 1..) = read {
            echo(socket, buffer, n);
        } // Else the last handle of the socket goes, and it closes.
    });
}

/// Writes back what was read, and reads on.
fn echo(socket: tcp::Socket, buffer: Vec<u8>, n: usize) {
    socket.clone().async_write(Part::to(buffer, n), move |(wrote, bytes)| {
        if wrote.is_ok() {
            read(socket, bytes.into_inner());
        }
    });
}

fn welcome_for_a_while(socket: tcp::Socket, buffer: usize) {
    let closing = socket.clone();
    let idle = socket.as_ref().alarm(move || {
        closing.close();
        None
    });
    idle.set(IDLE_TIMEOUT);
    read_for_a_while(socket, vec![0; buffer], idle);
}

/// As `read`, but every message moves the alarm, and the end unsets it.
fn read_for_a_while(socket: tcp::Socket, buffer: Vec<u8>, idle: Alarm) {
    socket.clone().async_read_some(buffer, move |(read, buffer)| match read {
        Ok(n @ 1..) => {
            idle.set(IDLE_TIMEOUT);
            echo_for_a_while(socket, buffer, n, idle);
        }
        _ => _ = idle.unset(),
    });
}

fn echo_for_a_while(socket: tcp::Socket, buffer: Vec<u8>, n: usize, idle: Alarm) {
    socket.clone().async_write(Part::to(buffer, n), move |(wrote, bytes)| match wrote {
        Ok(_) => read_for_a_while(socket, bytes.into_inner(), idle),
        Err(_) => _ = idle.unset(),
    });
}

/// While some bytes are written, what comes next is gathered.
struct Writer {
    socket: tcp::Socket,
    gathered: RefCell<Vec<u8>>,
    is_writing: Cell<bool>,
    has_ended: Cell<bool>,
}

impl Writer {
    fn write(self: &Rc<Self>, block: &[u8]) {
        self.gathered.borrow_mut().extend_from_slice(block);
        if !self.is_writing.get() {
            self.write_gathered(Vec::new());
        }
    }

    /// `empty`: whose memory serves again.
    fn write_gathered(self: &Rc<Self>, mut empty: Vec<u8>) {
        self.is_writing.set(true);
        empty.clear();
        let bytes = self.gathered.replace(empty);
        let writer = Rc::clone(self);
        self.socket.async_write(bytes, move |(wrote, bytes)| {
            done("write", wrote);
            if !writer.gathered.borrow().is_empty() {
                return writer.write_gathered(bytes);
            }
            writer.is_writing.set(false);
            if writer.has_ended.get() {
                done("shutdown", writer.socket.shutdown(Shutdown::Write));
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
    let (gathered, is_writing, has_ended) = Default::default();
    let writer = Rc::new(Writer { socket: socket.clone(), gathered, is_writing, has_ended });
    let block = batch.block();
    let since = Stopwatch::wall();
    for _ in 0..batch.count {
        writer.write(&block);
    }
    writer.has_ended.set(true);
    socket.async_read_some([0; 1], move |(read, _)| {
        if done("read", read) == 0 {
            batch.print_result(since);
        }
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
        let next = &self.writing[self.pipes.next(pair)];
        for _ in 0..count.note_read(bytes, &self.pipes) {
            done("write", next.write_some(b"e"));
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
        let socket = local::stream::Socket::from_std(&io, pair.writing)?;
        socket.set_non_blocking(true);
        writing.push(socket);
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

/// Counts the waits that end as they should, by themselves or cancelled. Each `TYPE` has handlers of a type of its own.
pub fn wait<const TYPE: usize, const FIRES: bool>(
    handle: &Handle,
    deadline: Instant,
    counter: &Rc<Cell<u64>>,
) -> Operation {
    let counter = Rc::clone(counter);
    handle.at(deadline, move |waited| counter.set(counter.get() + u64::from(waited.is_ok() == FIRES)))
}

/// A timer is a wait of its own, whose handler is told how it ended. They are started by a handler, as in most
/// programs, and their deadlines are counted from one reading of the clock. Others stand throughout, some
/// among all of these: a queue that empties, or a part of it, is spared its sweeping.
pub fn timers_cancel(
    cancels: Cancels,
    wait: impl Fn(&Handle, Instant, &Rc<Cell<u64>>) -> Operation + Copy + 'static,
) -> Outcome {
    let mut io = IoContext::new()?;
    let (delays, order) = common::delays_to_cancel(cancels);
    for delay in standing_delays() {
        io.background(io.after(delay, |_| common::fail("timer", "it was far away")));
    }
    let waits = RefCell::new(Vec::with_capacity(cancels.count));
    let plan = Rc::new((delays, order, waits));
    for _ in 0..cancels.repetitions() {
        let aborted = Rc::new(Cell::new(0));
        let (handle, plan, counter) = (io.handle().clone(), Rc::clone(&plan), Rc::clone(&aborted));
        let since = Stopwatch::cpu();
        io.post(move || {
            let now = Instant::now();
            let start = |delay: &Duration| wait(&handle, now + *delay, &counter);
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

pub fn timers_fire(
    count: usize,
    wait: impl Fn(&Handle, Instant, &Rc<Cell<u64>>) -> Operation + Copy + 'static,
) -> Outcome {
    let mut io = IoContext::new()?;
    let delays = Rc::new(common::delays_to_fire(count));
    for _ in 0..REPETITIONS {
        let fired = Rc::new(Cell::new(0));
        let (handle, delays, counter) = (io.handle().clone(), Rc::clone(&delays), Rc::clone(&fired));
        let since = Stopwatch::cpu();
        io.post(move || {
            let now = Instant::now();
            for delay in delays.iter() {
                wait(&handle, now + *delay, &counter);
            }
        });
        io.run()?;
        common::print_checked("timers", fired.get(), count as u64, since)?;
    }
    Ok(())
}
