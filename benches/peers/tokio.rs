//! tokio on one thread: the `current_thread` runtime with a `LocalSet`, a task for each connection.
//!
//! Each task has a read buffer of its own, as in tokio's tutorial: a read borrows its buffer for as long as it waits. (Who
//! waits first and reads then could share one.)
#![forbid(unsafe_code)]

mod common;

use common::{
    BUFFER, Batch, Cancels, HANDLERS, IDLE_TIMEOUT, Outcome, Pipes, PipesCount, REPETITIONS, Stopwatch, Workload,
};
use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::io::{self, Write};
use std::os::unix::net as os;
use std::pin::Pin;
use std::process::ExitCode;
use std::rc::Rc;
use std::task::Poll;
use std::thread;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufWriter};
use tokio::net::{TcpListener, TcpStream, UnixStream, tcp::OwnedWriteHalf};
use tokio::sync::{Notify, mpsc};
use tokio::task::{LocalSet, spawn_local, unconstrained, yield_now};
use tokio::time::{Instant, Sleep, sleep, sleep_until, timeout};

/// As much as a reader of `pipes` ever finds.
const PIPES_BUFFER: usize = 1024;

fn main() -> ExitCode {
    common::run("tokio", |workload| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        LocalSet::new().block_on(&runtime, run(workload))
    })
}

async fn run(workload: Workload) -> Outcome {
    match workload {
        Workload::Echo { buffer, .. } => serve(|stream| async move { drop(echo(stream, buffer).await) }).await,
        Workload::EchoTimeout => serve(|stream| async move { drop(echo_with_timeout(stream).await) }).await,
        Workload::WriteBatch(batch) => write_batch(batch).await,
        Workload::Pipes(pipes) => pass_on(pipes).await,
        Workload::Post(count) => post(count).await,
        Workload::PostRemote(count) => post_remote(count).await,
        Workload::TimersCancel(cancels) => timers_cancel(cancels).await,
        Workload::TimersFire(count) => timers_fire(count).await,
    }
}

async fn serve<F: Future<Output = ()> + 'static>(connection: impl Fn(TcpStream) -> F) -> Outcome {
    let listener = TcpListener::from_std(common::listener()?)?;
    common::print_listening(listener.local_addr()?);
    loop {
        match listener.accept().await {
            Ok((stream, _peer)) => {
                let _ = stream.set_nodelay(true);
                spawn_local(connection(stream));
            }
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(_) => sleep(Duration::from_millis(100)).await, // Out of descriptors, most likely.
        }
    }
}

async fn echo(mut stream: TcpStream, buffer: usize) -> io::Result<()> {
    let mut buffer = vec![0; buffer];
    loop {
        let n = stream.read(&mut buffer).await?;
        if n == 0 {
            return Ok(());
        }
        stream.write_all(&buffer[..n]).await?;
    }
}

async fn echo_with_timeout(mut stream: TcpStream) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER];
    loop {
        let n = timeout(IDLE_TIMEOUT, stream.read(&mut buffer)).await??;
        if n == 0 {
            return Ok(());
        }
        stream.write_all(&buffer[..n]).await?;
    }
}

/// To write without waiting is to send to a task that writes. It flushes when it has nothing more to write.
async fn write_batch(batch: Batch) -> Outcome {
    let stream = TcpStream::connect(batch.endpoint).await?;
    stream.set_nodelay(true)?;
    let (mut reading, writing) = stream.into_split();
    let (queue, blocks) = mpsc::unbounded_channel();
    let writer = spawn_local(write(writing, blocks));
    let block: Rc<[u8]> = batch.block().into();
    let since = Stopwatch::wall();
    for _ in 0..batch.count {
        let _ = queue.send(Rc::clone(&block)); // If the task has ended, it says why.
    }
    drop(queue);
    writer.await.map_err(io::Error::other)??;
    while reading.read(&mut [0; 1]).await? > 0 {}
    batch.print_result(since);
    Ok(())
}

async fn write(writing: OwnedWriteHalf, mut blocks: mpsc::UnboundedReceiver<Rc<[u8]>>) -> io::Result<()> {
    let mut writing = BufWriter::with_capacity(BUFFER, writing);
    while let Some(block) = blocks.recv().await {
        writing.write_all(&block).await?;
        if blocks.is_empty() {
            writing.flush().await?;
        }
    }
    writing.shutdown().await
}

struct Ring {
    pipes: Pipes,
    count: Cell<PipesCount>,
    finished: Notify,
}

impl Ring {
    async fn pass_on(&self, mut reading: UnixStream, writing: os::UnixStream) -> io::Result<()> {
        let mut buffer = vec![0; PIPES_BUFFER];
        loop {
            let n = reading.read(&mut buffer).await?;
            let mut count = self.count.get();
            let writes = count.note_read(n, &self.pipes);
            self.count.set(count);
            if count.read >= self.pipes.total() {
                self.finished.notify_one();
            }
            for _ in 0..writes {
                (&writing).write_all(b"e")?; // There is always room for a byte.
            }
        }
    }
}

async fn pass_on(pipes: Pipes) -> Outcome {
    let pairs = pipes.open()?;
    let starters = pipes.starters(&pairs)?;
    let ring = Rc::new(Ring { pipes, count: Cell::default(), finished: Notify::new() });
    let (mut reading, mut writing) = (Vec::new(), Vec::new());
    for pair in pairs {
        reading.push(UnixStream::from_std(pair.reading)?);
        writing.push(pair.writing);
    }
    writing.rotate_left(1); // Each task writes into the next pair.
    for (reading, writing) in reading.into_iter().zip(writing) {
        let ring = Rc::clone(&ring);
        spawn_local(async move {
            if let Err(error) = ring.pass_on(reading, writing).await {
                common::fail("pipes", error);
            }
        });
    }
    for _ in 0..pipes.pairs {
        yield_now().await; // Every reader waits then.
    }
    for _ in 0..common::PIPES_REPETITIONS {
        ring.count.take();
        starters.start()?;
        let since = Stopwatch::wall();
        ring.finished.notified().await;
        ring.count.get().print_result(&pipes, since)?;
    }
    Ok(())
}

struct Chains {
    count: u64,
    posted: Cell<u64>,
    ran: Cell<u64>,
    finished: Notify,
}

impl Chains {
    /// A handler is a task that never waits.
    fn post_next(self: &Rc<Self>) {
        if self.posted.get() < self.count {
            self.posted.set(self.posted.get() + 1);
            let chains = Rc::clone(self);
            spawn_local(async move {
                chains.ran.set(chains.ran.get() + 1);
                chains.post_next();
                if chains.ran.get() == chains.count {
                    chains.finished.notify_one();
                }
            });
        }
    }
}

async fn post(count: u64) -> Outcome {
    for _ in 0..REPETITIONS {
        let chains = Rc::new(Chains { count, posted: Cell::new(0), ran: Cell::new(0), finished: Notify::new() });
        let since = Stopwatch::wall();
        for _ in 0..HANDLERS {
            chains.post_next();
        }
        chains.finished.notified().await;
        common::print_checked("handlers", chains.ran.get(), count, since)?;
    }
    Ok(())
}

type Handler = Box<dyn FnOnce(&mut u64) + Send>;

/// How many handlers are taken at a time.
const MANY: usize = 1024;

/// This task is the one that runs what the other thread sends.
async fn post_remote(count: u64) -> Outcome {
    for _ in 0..REPETITIONS {
        let (sender, mut handlers) = mpsc::unbounded_channel::<Handler>();
        let mut ran = 0;
        let since = Stopwatch::wall();
        let poster = thread::spawn(move || {
            let one = 1; // A handler carries something, so its box is not empty.
            (0..count).all(|_| sender.send(Box::new(move |ran| *ran += one)).is_ok())
        });
        let mut taken = Vec::new();
        while unconstrained(handlers.recv_many(&mut taken, MANY)).await > 0 {
            taken.drain(..).for_each(|handler| handler(&mut ran));
        }
        common::print_checked("handlers", ran, count, since)?;
        if !poster.join().unwrap_or(false) {
            return Err(common::Failure::Failed("the other thread could not post".into()));
        }
    }
    Ok(())
}

/// A timer is a `Sleep`, which starts when it is polled and is cancelled by dropping it, as `timeout` does. Tasks that
/// sleep and are aborted would cost more.
async fn timers_cancel(cancels: Cancels) -> Outcome {
    let count = cancels.count;
    let (delays, order) = common::delays_to_cancel(cancels);
    for _ in 0..cancels.repetitions() {
        let mut cancelled = 0;
        let since = Stopwatch::cpu();
        let mut timers = unconstrained(start(&delays)).await; // Within its budget a task may poll only 128.
        for &timer in &order {
            cancelled += u64::from(timers[timer].take().is_some());
        }
        common::print_checked("cancelled timers", cancelled, count as u64, since)?;
    }
    Ok(())
}

async fn start(delays: &[Duration]) -> Vec<Option<Pin<Box<Sleep>>>> {
    let mut timers = Vec::with_capacity(delays.len());
    let now = Instant::now();
    for delay in delays {
        let mut timer = Box::pin(sleep_until(now + *delay));
        if poll_fn(|context| Poll::Ready(timer.as_mut().poll(context).is_pending())).await {
            timers.push(Some(timer));
        }
    }
    timers
}

async fn timers_fire(count: usize) -> Outcome {
    let delays = common::delays_to_fire(count);
    for _ in 0..REPETITIONS {
        let (fired, finished) = (Rc::new(Cell::new(0)), Rc::new(Notify::new()));
        let since = Stopwatch::cpu();
        let now = Instant::now();
        for &delay in &delays {
            let (fired, finished) = (Rc::clone(&fired), Rc::clone(&finished));
            spawn_local(async move {
                sleep_until(now + delay).await;
                fired.set(fired.get() + 1);
                if fired.get() == count as u64 {
                    finished.notify_one();
                }
            });
        }
        finished.notified().await;
        common::print_checked("timers", fired.get(), count as u64, since)?;
    }
    Ok(())
}
