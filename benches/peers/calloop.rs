//! calloop: an event source for each connection, level-triggered, which is calloop's usual mode.
//!
//! A connection is a source of its own around a `Generic`, as the documentation has it for those that change what they
//! wait for. All share one read buffer. What a peer does not take waits in its connection, and while it does, nothing
//! more is read from it.
#![forbid(unsafe_code)]

mod common;

use calloop::channel::{Event, channel};
use calloop::generic::Generic;
use calloop::timer::{TimeoutAction, Timer};
use calloop::{
    EventLoop, EventSource, Interest, LoopHandle, Mode, Poll, PostAction, Readiness, RegistrationToken, Token,
    TokenFactory,
};
use common::{
    BUFFER, Batch, Cancels, Failure, HANDLERS, IDLE_TIMEOUT, Outcome, PIPES_REPETITIONS, Pipes, PipesCount,
    REPETITIONS, Stopwatch, Workload,
};
use std::cell::{Cell, RefCell};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::rc::Rc;
use std::thread;
use std::time::{Duration, Instant};

/// To start a timer, calloop looks for a free place among all sources, one by one; to cancel one, it goes through all
/// timers. So ten times as many take a hundred times as long, and more than this would hold up the whole bench.
const MOST_TIMERS: usize = 10_000;

fn main() -> ExitCode {
    common::run("calloop", |workload| match workload {
        Workload::Echo { buffer, .. } => serve(buffer, false),
        Workload::EchoTimeout => serve(BUFFER, true),
        Workload::WriteBatch(batch) => write_batch(batch),
        Workload::Pipes(pipes) => pass_on(pipes),
        Workload::Post(count) => post(count),
        Workload::PostRemote(count) => post_remote(count),
        Workload::TimersCancel(Cancels { count, .. }) | Workload::TimersFire(count) if count > MOST_TIMERS => Err(
            Failure::Nothing("calloop's time grows with the square of the timers: more than 10000 would take too long"),
        ),
        Workload::TimersCancel(cancels) => timers_cancel(cancels),
        Workload::TimersFire(count) => timers_fire(count),
    })
}

impl From<calloop::Error> for Failure {
    fn from(error: calloop::Error) -> Self {
        Failure::Failed(error.to_string())
    }
}

impl<T> From<calloop::InsertError<T>> for Failure {
    fn from(error: calloop::InsertError<T>) -> Self {
        error.error.into()
    }
}

struct Server {
    handle: LoopHandle<'static, Server>,
    buffer: Rc<RefCell<Vec<u8>>>,
    times_out: bool,
}

fn serve(buffer: usize, times_out: bool) -> Outcome {
    let mut event_loop = EventLoop::try_new()?;
    let handle = event_loop.handle();
    let listener = common::listener()?;
    common::print_listening(listener.local_addr()?);
    handle.insert_source(Generic::new(listener, Interest::READ, Mode::Level), |_, listener, server: &mut Server| {
        server.accept(listener)
    })?;
    let buffer = Rc::new(RefCell::new(vec![0; buffer]));
    event_loop.run(None, &mut Server { handle, buffer, times_out }, |_| {})?;
    Ok(())
}

impl Server {
    fn accept(&self, listener: &TcpListener) -> io::Result<PostAction> {
        loop {
            match listener.accept() {
                Ok((stream, _peer)) => self.welcome(stream)?,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(PostAction::Continue),
                Err(error) if error.kind() == ErrorKind::ConnectionAborted => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn welcome(&self, stream: TcpStream) -> io::Result<()> {
        stream.set_nonblocking(true)?;
        let _ = stream.set_nodelay(true);
        let source = Generic::new(stream, Interest::READ, Mode::Level);
        let connection = Connection { source, buffer: Rc::clone(&self.buffer), unsent: Vec::new() };
        let clock = if self.times_out { Some(Clock::start(&self.handle)?) } else { None };
        let watched = clock.as_ref().map(|clock| Rc::clone(&clock.watched));
        let inserted = self.handle.insert_source(connection, move |progress, _, server| {
            if let Some(clock) = &clock {
                clock.note(progress, &server.handle);
            }
        });
        let token = inserted.map_err(|error| io::Error::other(error.error))?;
        if let Some(watched) = watched {
            watched.set(Some(token));
        }
        Ok(())
    }
}

struct Connection {
    source: Generic<TcpStream>,
    buffer: Rc<RefCell<Vec<u8>>>,
    unsent: Vec<u8>,
}

/// The event of a connection.
enum Progress {
    Moved,
    Ended,
}

impl EventSource for Connection {
    type Event = Progress;
    type Metadata = ();
    type Ret = ();
    type Error = io::Error;

    fn process_events<F>(&mut self, readiness: Readiness, token: Token, mut callback: F) -> io::Result<PostAction>
    where
        F: FnMut(Progress, &mut ()),
    {
        let Connection { source, buffer, unsent } = self;
        let action = source.process_events(readiness, token, |_, stream| {
            let goes_on = match echo(stream, &mut buffer.borrow_mut(), unsent) {
                Ok(goes_on) => goes_on,
                Err(error) => error.kind() == ErrorKind::WouldBlock,
            };
            Ok(if goes_on { PostAction::Continue } else { PostAction::Remove })
        })?;
        if action == PostAction::Remove {
            callback(Progress::Ended, &mut ());
            return Ok(action);
        }
        callback(Progress::Moved, &mut ());
        let waits_to_write = !unsent.is_empty();
        if source.interest.writable == waits_to_write {
            return Ok(PostAction::Continue);
        }
        source.interest = if waits_to_write { Interest::WRITE } else { Interest::READ };
        Ok(PostAction::Reregister)
    }

    fn register(&mut self, poll: &mut Poll, tokens: &mut TokenFactory) -> calloop::Result<()> {
        self.source.register(poll, tokens)
    }

    fn reregister(&mut self, poll: &mut Poll, tokens: &mut TokenFactory) -> calloop::Result<()> {
        self.source.reregister(poll, tokens)
    }

    fn unregister(&mut self, poll: &mut Poll) -> calloop::Result<()> {
        self.source.unregister(poll)
    }
}

/// Returns false at the end. Goes on while reads are full: the loop would tell of the rest, but after another wait.
fn echo(mut stream: &TcpStream, buffer: &mut [u8], unsent: &mut Vec<u8>) -> io::Result<bool> {
    if !unsent.is_empty() {
        let sent = stream.write(unsent)?;
        unsent.drain(..sent);
        return Ok(true);
    }
    loop {
        let read = stream.read(buffer)?;
        if read == 0 {
            return Ok(false);
        }
        let sent = match stream.write(&buffer[..read]) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
            written => written?,
        };
        unsent.extend_from_slice(&buffer[sent..read]);
        if sent < read || read < buffer.len() {
            return Ok(true);
        }
    }
}

/// The idle timeout of a connection. A message only notes the time; the timer looks at that when it fires. (To move a
/// timer for every message would be a walk through all timers each time.)
struct Clock {
    token: RegistrationToken,
    active: Rc<Cell<Instant>>,
    /// The connection that it ends.
    watched: Rc<Cell<Option<RegistrationToken>>>,
}

impl Clock {
    fn start(handle: &LoopHandle<'static, Server>) -> calloop::Result<Clock> {
        let (watched, active) = (Rc::new(Cell::new(None)), Rc::new(Cell::new(Instant::now())));
        let (connection, last) = (Rc::clone(&watched), Rc::clone(&active));
        let token = handle.insert_source(Timer::from_duration(IDLE_TIMEOUT), move |now, _, server: &mut Server| {
            let end = last.get() + IDLE_TIMEOUT;
            if end > now {
                return TimeoutAction::ToInstant(end);
            }
            if let Some(connection) = connection.get() {
                server.handle.remove(connection);
            }
            TimeoutAction::Drop
        })?;
        Ok(Clock { token, active, watched })
    }

    fn note(&self, progress: Progress, handle: &LoopHandle<'static, Server>) {
        match progress {
            Progress::Moved => self.active.set(Instant::now()),
            Progress::Ended => handle.remove(self.token),
        }
    }
}

/// calloop has no queue: a write is an append to one, and what is in it leaves when the socket takes it.
fn write_batch(batch: Batch) -> Outcome {
    let mut event_loop = EventLoop::try_new()?;
    let stream = Rc::new(TcpStream::connect(batch.endpoint)?);
    stream.set_nonblocking(true)?;
    stream.set_nodelay(true)?;
    let block = batch.block();
    let since = Stopwatch::wall();
    let mut queue = Vec::new();
    for _ in 0..batch.count {
        queue.extend_from_slice(&block);
    }
    let mut sent = 0;
    let source = Generic::new(Rc::clone(&stream), Interest::WRITE, Mode::Level);
    event_loop.handle().insert_source(source, move |_, stream, is_over: &mut bool| {
        sent += (&***stream).write(&queue[sent..])?;
        *is_over = sent == queue.len();
        Ok(if *is_over { PostAction::Remove } else { PostAction::Continue })
    })?;
    dispatch_until_over(&mut event_loop)?;
    stream.shutdown(Shutdown::Write)?;
    event_loop.handle().insert_source(Generic::new(stream, Interest::READ, Mode::Level), |_, stream, is_over| {
        *is_over = (&***stream).read(&mut [0; 1])? == 0;
        Ok(if *is_over { PostAction::Remove } else { PostAction::Continue })
    })?;
    dispatch_until_over(&mut event_loop)?;
    batch.print_result(since);
    Ok(())
}

fn dispatch_until_over(event_loop: &mut EventLoop<'static, bool>) -> calloop::Result<()> {
    let mut is_over = false;
    while !is_over {
        event_loop.dispatch(None, &mut is_over)?;
    }
    Ok(())
}

struct Ring {
    pipes: Pipes,
    writing: Vec<UnixStream>,
    buffer: Vec<u8>,
    count: PipesCount,
}

impl Ring {
    /// One read: the loop tells again if there is more.
    fn read(&mut self, pair: usize, mut stream: &UnixStream) -> io::Result<PostAction> {
        let read = stream.read(&mut self.buffer)?;
        let next = &mut self.writing[self.pipes.next(pair)];
        for _ in 0..self.count.note_read(read, &self.pipes) {
            next.write_all(b"e")?;
        }
        Ok(PostAction::Continue)
    }
}

fn pass_on(pipes: Pipes) -> Outcome {
    let mut event_loop = EventLoop::try_new()?;
    let pairs = pipes.open()?;
    let starters = pipes.starters(&pairs)?;
    let mut ring = Ring { pipes, writing: Vec::new(), buffer: vec![0; BUFFER], count: PipesCount::default() };
    for (index, pair) in pairs.into_iter().enumerate() {
        ring.writing.push(pair.writing);
        let source = Generic::new(pair.reading, Interest::READ, Mode::Level);
        event_loop.handle().insert_source(source, move |_, stream, ring: &mut Ring| ring.read(index, stream))?;
    }
    for _ in 0..PIPES_REPETITIONS {
        ring.count = PipesCount::default();
        starters.start()?;
        let since = Stopwatch::wall();
        while ring.count.read < pipes.total() {
            event_loop.dispatch(None, &mut ring)?;
        }
        ring.count.print_result(&pipes, since)?;
    }
    Ok(())
}

struct Chains {
    handle: LoopHandle<'static, Chains>,
    count: u64,
    posted: u64,
    ran: u64,
}

impl Chains {
    fn post_next(&mut self) {
        if self.posted < self.count {
            self.posted += 1;
            self.handle.insert_idle(|chains: &mut Chains| {
                chains.ran += 1;
                chains.post_next();
            });
        }
    }
}

/// Idle callbacks do not keep the loop from sleeping, so it is told not to.
fn post(count: u64) -> Outcome {
    let mut event_loop = EventLoop::try_new()?;
    for _ in 0..REPETITIONS {
        let mut chains = Chains { handle: event_loop.handle(), count, posted: 0, ran: 0 };
        let since = Stopwatch::wall();
        for _ in 0..HANDLERS {
            chains.post_next();
        }
        while chains.ran < count {
            event_loop.dispatch(Duration::ZERO, &mut chains)?;
        }
        common::print_checked("handlers", chains.ran, count, since)?;
    }
    Ok(())
}

#[derive(Default)]
struct Remote {
    ran: u64,
    is_over: bool,
}

type Handler = Box<dyn FnOnce(&mut Remote) + Send>;

fn post_remote(count: u64) -> Outcome {
    let mut event_loop = EventLoop::try_new()?;
    for _ in 0..REPETITIONS {
        let (sender, receiver) = channel::<Handler>();
        event_loop.handle().insert_source(receiver, |event, _, remote: &mut Remote| match event {
            Event::Msg(handler) => handler(remote),
            Event::Closed => remote.is_over = true,
        })?;
        let mut remote = Remote::default();
        let since = Stopwatch::wall();
        let poster = thread::spawn(move || {
            let one = 1; // A handler carries something, so its box is not empty.
            (0..count).all(|_| sender.send(Box::new(move |remote| remote.ran += one)).is_ok())
        });
        while !remote.is_over {
            event_loop.dispatch(None, &mut remote)?;
        }
        common::print_checked("handlers", remote.ran, count, since)?;
        if !poster.join().unwrap_or(false) {
            return Err(Failure::Failed("the other thread could not post".into()));
        }
    }
    Ok(())
}

fn timers_cancel(cancels: Cancels) -> Outcome {
    let count = cancels.count;
    let mut event_loop = EventLoop::try_new()?;
    let handle = event_loop.handle();
    let (delays, order) = common::delays_to_cancel(cancels);
    for _ in 0..cancels.repetitions() {
        let mut timers = Vec::with_capacity(count);
        let mut fired = 0;
        let since = Stopwatch::cpu();
        let now = Instant::now();
        for delay in &delays {
            timers.push(handle.insert_source(Timer::from_deadline(now + *delay), count_firing)?);
        }
        for &timer in &order {
            handle.remove(timers[timer]);
        }
        event_loop.dispatch(Duration::ZERO, &mut fired)?;
        common::print_checked("cancelled timers", count as u64 - fired, count as u64, since)?;
    }
    Ok(())
}

fn timers_fire(count: usize) -> Outcome {
    let mut event_loop = EventLoop::try_new()?;
    let handle = event_loop.handle();
    let delays = common::delays_to_fire(count);
    for _ in 0..REPETITIONS {
        let mut fired = 0;
        let since = Stopwatch::cpu();
        let now = Instant::now();
        for delay in &delays {
            handle.insert_source(Timer::from_deadline(now + *delay), count_firing)?;
        }
        while fired < count as u64 {
            event_loop.dispatch(None, &mut fired)?;
        }
        common::print_checked("timers", fired, count as u64, since)?;
    }
    Ok(())
}

fn count_firing(_: Instant, _: &mut (), fired: &mut u64) -> TimeoutAction {
    *fired += 1;
    TimeoutAction::Drop
}
