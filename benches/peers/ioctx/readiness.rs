//! The readiness layer: a callback per source, called when it is ready. What the peer does not take waits in a queue of
//! the callback's own, and while it does, nothing more is read.

use crate::common::{self, BUFFER, Batch, Cancels, IDLE_TIMEOUT, Outcome, Pipes, PipesCount, REPETITIONS};
use crate::common::{Stopwatch, Workload};
use crate::no_layer;
use crate::shared::{context, standing_delays};
use ioctx::mio::net::{TcpListener, TcpStream, UnixStream};
use ioctx::{Alarm, Config, Handle, Interest, Io, IoContext, Next, Registration};
use std::cell::{Cell, OnceCell, RefCell};
use std::io::{self, ErrorKind::WouldBlock, Write};
use std::net::Shutdown;
use std::rc::Rc;
use std::time::{Duration, Instant};

pub fn run(workload: Workload) -> Outcome {
    match workload {
        Workload::Echo { buffer, .. } => serve(buffer, welcome),
        Workload::EchoTimeout => serve(BUFFER, welcome_for_a_while),
        Workload::WriteBatch(batch) => write_batch(batch),
        Workload::Pipes(pipes) => pass_on(pipes),
        Workload::TimersCancel(cancels) => timers_cancel(cancels),
        Workload::TimersFire(count) => timers_fire(count),
        _ => no_layer::see_session(),
    }
}

/// One for everybody: callbacks never nest.
type Buffer = Rc<RefCell<Vec<u8>>>;

fn new_buffer(size: usize) -> Buffer {
    Rc::new(RefCell::new(vec![0; size]))
}

/// What becomes of a client.
type Welcome = fn(&Handle, TcpStream, &Buffer) -> io::Result<()>;

fn serve(buffer: usize, welcome: Welcome) -> Outcome {
    let mut io = context(Config::new())?;
    let listener = TcpListener::from_std(common::listener()?);
    let endpoint = listener.local_addr()?;
    let (handle, buffer) = (io.handle().clone(), new_buffer(buffer));
    io.register(listener, Interest::READABLE, move |listener, _| accept(&handle, listener, &buffer, welcome))?;
    common::print_listening(endpoint);
    io.run()?;
    Ok(())
}

fn accept(handle: &Handle, listener: &Io<TcpListener>, buffer: &Buffer, welcome: Welcome) -> Next {
    loop {
        match listener.try_io(Interest::READABLE, |listener| listener.accept()) {
            Ok((stream, _peer)) => {
                let _ = stream.set_nodelay(true);
                let _ = welcome(handle, stream, buffer);
            }
            Err(error) if error.kind() == WouldBlock => return Next::Keep,
            Err(_) => return Next::Pause(Duration::from_millis(100)), // Out of descriptors, most likely.
        }
    }
}

fn welcome(handle: &Handle, stream: TcpStream, buffer: &Buffer) -> io::Result<()> {
    let (buffer, mut unsent) = (Rc::clone(buffer), Vec::new());
    handle.register(stream, Interest::READABLE, move |stream, _| echo(stream, &buffer, &mut unsent))?;
    Ok(())
}

/// Ends the connection when nothing has come for a while: every message moves its alarm.
fn welcome_for_a_while(handle: &Handle, stream: TcpStream, buffer: &Buffer) -> io::Result<()> {
    let registration = Rc::new(OnceCell::<Registration<TcpStream>>::new());
    let to_end = Rc::clone(&registration);
    let idle = handle.alarm(move || {
        to_end.get().inspect(|registration| registration.release());
        None
    });
    idle.set(IDLE_TIMEOUT);
    let (buffer, mut unsent) = (Rc::clone(buffer), Vec::new());
    let registered = handle.register(stream, Interest::READABLE, move |stream, _| {
        let next = echo(stream, &buffer, &mut unsent);
        if next == Next::Release {
            idle.unset();
        } else {
            idle.set(IDLE_TIMEOUT);
        }
        next
    })?;
    let _ = registration.set(registered);
    Ok(())
}

#[inline(always)] // As a program's one callback would be.
fn echo(stream: &Io<TcpStream>, buffer: &Buffer, unsent: &mut Vec<u8>) -> Next {
    match echo_what_came(stream, &mut buffer.borrow_mut(), unsent) {
        Ok(next) => next,
        Err(error) if error.kind() == WouldBlock => Next::Keep,
        Err(_) => Next::Release,
    }
}

/// Is called again at once if there is more to read.
#[inline(always)]
fn echo_what_came(stream: &Io<TcpStream>, buffer: &mut [u8], unsent: &mut Vec<u8>) -> io::Result<Next> {
    if !unsent.is_empty() {
        let sent = stream.write(unsent)?;
        unsent.drain(..sent);
        return Ok(Next::Interest(if unsent.is_empty() { Interest::READABLE } else { Interest::WRITABLE }));
    }
    let n = match stream.read(buffer)? {
        0 => return Ok(Next::Release),
        n => n,
    };
    let sent = match stream.write(&buffer[..n]) {
        Err(error) if error.kind() == WouldBlock => 0,
        written => written?,
    };
    if sent == n {
        return Ok(Next::Keep);
    }
    unsent.extend_from_slice(&buffer[sent..n]);
    Ok(Next::Interest(Interest::WRITABLE))
}

/// The layer has no queue: a write is an append to one, and what is in it leaves when the socket takes it.
fn write_batch(batch: Batch) -> Outcome {
    let mut io = IoContext::new()?;
    let stream = std::net::TcpStream::connect(batch.endpoint)?;
    stream.set_nonblocking(true)?;
    stream.set_nodelay(true)?;
    let block = batch.block();
    let since = Stopwatch::wall();
    let mut queue = Vec::new();
    for _ in 0..batch.count {
        queue.extend_from_slice(&block);
    }
    let mut sent = 0;
    io.register(TcpStream::from_std(stream), Interest::WRITABLE, move |stream, _| {
        match send_and_wait_for_end(stream, &queue, &mut sent) {
            Ok(Next::Release) => {
                batch.print_result(since);
                Next::Release
            }
            Ok(next) => next,
            Err(error) if error.kind() == WouldBlock => Next::Keep,
            Err(error) => common::fail("write-batch", error),
        }
    })?;
    io.run()?;
    Ok(())
}

fn send_and_wait_for_end(stream: &Io<TcpStream>, queue: &[u8], sent: &mut usize) -> io::Result<Next> {
    while *sent < queue.len() {
        *sent += stream.write(&queue[*sent..])?;
        if *sent == queue.len() {
            stream.get_ref().shutdown(Shutdown::Write)?;
            return Ok(Next::Interest(Interest::READABLE));
        }
    }
    match stream.read(&mut [0; 1])? {
        0 => Ok(Next::Release),
        _ => Ok(Next::Keep),
    }
}

struct Ring {
    handle: Handle,
    pipes: Pipes,
    buffer: Buffer,
    writing: Vec<std::os::unix::net::UnixStream>,
    count: Cell<PipesCount>,
}

impl Ring {
    fn read(&self, pair: usize, stream: &Io<UnixStream>) -> io::Result<Next> {
        let mut count = self.count.get();
        let bytes = stream.read(&mut self.buffer.borrow_mut())?;
        let mut next = &self.writing[self.pipes.next(pair)];
        for _ in 0..count.note_read(bytes, &self.pipes) {
            next.write_all(b"e").unwrap_or_else(|error| common::fail("write", error));
        }
        self.count.set(count);
        if count.read >= self.pipes.total() {
            self.handle.stop();
        }
        Ok(Next::Keep)
    }
}

fn pass_on(pipes: Pipes) -> Outcome {
    let mut io = IoContext::new()?;
    let pairs = pipes.open()?;
    let starters = pipes.starters(&pairs)?;
    let (mut reading, mut writing) = (Vec::new(), Vec::new());
    for pair in pairs {
        reading.push(UnixStream::from_std(pair.reading));
        writing.push(pair.writing);
    }
    let (handle, buffer) = (io.handle().clone(), new_buffer(BUFFER));
    let ring = Rc::new(Ring { handle, pipes, buffer, writing, count: Cell::default() });
    for (pair, stream) in reading.into_iter().enumerate() {
        let ring = Rc::clone(&ring);
        io.register(stream, Interest::READABLE, move |stream, _| match ring.read(pair, stream) {
            Ok(next) => next,
            Err(error) if error.kind() == WouldBlock => Next::Keep,
            Err(error) => common::fail("read", error),
        })?;
    }
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

/// One alarm for each timer, as one would have one for each connection: set, unset, and set again. Deadlines are
/// counted from one reading of the clock. Others stand throughout, some among all of these: a queue that empties, or
/// a part of it, is spared its sweeping.
fn timers_cancel(cancels: Cancels) -> Outcome {
    let mut io = IoContext::new()?;
    let (delays, order) = common::delays_to_cancel(cancels);
    let new_alarm = |_| io.alarm(|| common::fail("alarm", "it was unset"));
    let alarms: Vec<Alarm> = (0..cancels.count).map(new_alarm).collect();
    let standing: Vec<Alarm> = standing_delays().map(|_| new_alarm(0).background()).collect();
    standing.iter().zip(standing_delays()).for_each(|(alarm, delay)| alarm.set(delay));
    for _ in 0..cancels.repetitions() {
        let mut unset = 0;
        let since = Stopwatch::cpu();
        let now = Instant::now();
        for (alarm, delay) in alarms.iter().zip(&delays) {
            alarm.set_at(now + *delay);
        }
        for &alarm in &order {
            unset += u64::from(alarms[alarm].unset());
        }
        io.run()?; // Nothing is outstanding.
        common::print_checked("cancelled timers", unset, cancels.count as u64, since)?;
    }
    Ok(())
}

fn timers_fire(count: usize) -> Outcome {
    let mut io = IoContext::new()?;
    let delays = common::delays_to_fire(count);
    let fired = Rc::new(Cell::new(0));
    let ring = || {
        let fired = Rc::clone(&fired);
        move || {
            fired.set(fired.get() + 1);
            None
        }
    };
    let alarms: Vec<Alarm> = (0..count).map(|_| io.alarm(ring())).collect();
    for _ in 0..REPETITIONS {
        fired.set(0);
        let since = Stopwatch::cpu();
        let now = Instant::now();
        for (alarm, delay) in alarms.iter().zip(&delays) {
            alarm.set_at(now + *delay);
        }
        io.run()?;
        common::print_checked("timers", fired.get(), count as u64, since)?;
    }
    Ok(())
}
