//! What all programs share: the command line, exit statuses, the listener, clocks, the `result` line, pseudo-random
//! numbers. Nothing in here runs per message.
#![allow(dead_code)] // No program needs all of it.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::time::{ClockId, clock_gettime};
use socket2::{Domain, Socket, Type};
use std::fmt::Display;
use std::io::{self, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// The read buffer of a server.
pub const BUFFER: usize = 64 * 1024;

/// The read buffer of the workload `echo-4k`, which is `echo` otherwise.
const SMALL_BUFFER: usize = 4 * 1024;

/// After how much silence `echo-timeout` ends a connection.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(60);

/// How often `post`, `post-remote` and the timers are repeated.
pub const REPETITIONS: usize = 5;

/// So many timers are started and cancelled, if that takes more than [`REPETITIONS`]: a thousand are cancelled before
/// the processor knows the way.
const TIMERS_CANCELLED: usize = 1_000_000;

/// How often `pipes` is repeated.
pub const PIPES_REPETITIONS: usize = 25;

/// How many handlers of `post` are on the queue at a time.
pub const HANDLERS: u64 = 100;

/// What one `write-batch` sends is made of.
pub const BATCH_BYTE: u8 = b'x';

pub enum Workload {
    /// With a read buffer of so many bytes, which only grows where a library lets it by itself, and may.
    Echo {
        buffer: usize,
        may_grow: bool,
    },
    EchoTimeout,
    WriteBatch(Batch),
    Pipes(Pipes),
    Post(u64),
    PostRemote(u64),
    TimersCancel(Cancels),
    TimersFire(usize),
}

/// `shuffled`: not in the order in which they were started.
#[derive(Clone, Copy, Debug)]
pub struct Cancels {
    pub count: usize,
    pub shuffled: bool,
}

impl Cancels {
    pub fn repetitions(self) -> usize {
        REPETITIONS.max(TIMERS_CANCELLED / self.count.max(1))
    }
}

/// Why a program ends early.
pub enum Failure {
    /// The library has no counterpart.
    Nothing(&'static str),
    Usage(String),
    Failed(String),
}

pub type Outcome = Result<(), Failure>;

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Failure::Failed(error.to_string())
    }
}

/// Runs the workload that the command line names. `version` is answered here, out of the lock file.
pub fn run(library: &'static str, peer: impl FnOnce(Workload) -> Outcome) -> ExitCode {
    run_layer(library, "", std::env::args().skip(1), peer)
}

/// As `run`, with what is behind the version and with the arguments from the workload on.
pub fn run_layer(
    library: &'static str,
    layer: &str,
    arguments: impl Iterator<Item = String>,
    peer: impl FnOnce(Workload) -> Outcome,
) -> ExitCode {
    let arguments: Vec<String> = arguments.collect();
    if arguments == ["version"] {
        println!("{library} {}{layer}", version_of(library).unwrap_or("?"));
        return ExitCode::SUCCESS;
    }
    finish(Workload::parse(&arguments).and_then(|workload| {
        set_logger();
        raise_descriptor_limit()?;
        peer(workload)
    }))
}

pub fn finish(outcome: Outcome) -> ExitCode {
    let (status, why) = match outcome {
        Ok(()) => return ExitCode::SUCCESS,
        Err(Failure::Failed(why)) => (1, why),
        Err(Failure::Usage(why)) => (2, why),
        Err(Failure::Nothing(why)) => (3, why.into()),
    };
    eprintln!("{why}");
    ExitCode::from(status)
}

/// Ends the program from within a handler that cannot return an error.
pub fn fail(what: &str, error: impl Display) -> ! {
    eprintln!("{what}: {error}");
    std::process::exit(1)
}

/// A program with a logger, as most are. It says nothing unless the environment asks for more: so logging is switched off
/// at run time. Without a logger the compiler would see that nothing is ever logged, and leave the questions out.
struct Logger;

impl log::Log for Logger {
    fn enabled(&self, _: &log::Metadata) -> bool {
        true
    }

    fn log(&self, record: &log::Record) {
        eprintln!("{}", record.args());
    }

    fn flush(&self) {}
}

fn set_logger() {
    if log::set_logger(&Logger).is_ok() {
        let level = std::env::var("RUST_LOG").ok().and_then(|level| level.parse().ok());
        log::set_max_level(level.unwrap_or(log::LevelFilter::Off));
    }
}

fn raise_descriptor_limit() -> io::Result<()> {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit })?;
    Ok(())
}

fn version_of(package: &str) -> Option<&'static str> {
    let lock = include_str!("../Cargo.lock");
    let entry = lock.split("[[package]]").find(|entry| entry.contains(&format!("name = \"{package}\"\n")))?;
    entry.split("version = \"").nth(1)?.split('"').next()
}

impl Workload {
    fn parse(arguments: &[String]) -> Result<Workload, Failure> {
        let (name, numbers) = arguments.split_first().ok_or_else(usage)?;
        let number = |text: &String| text.parse().ok().filter(|&n: &usize| n > 0).ok_or_else(usage);
        let numbers = numbers.iter().map(number).collect::<Result<Vec<usize>, Failure>>()?;
        match (name.as_str(), numbers.as_slice()) {
            ("echo", []) => Ok(Workload::Echo { buffer: BUFFER, may_grow: true }),
            ("echo-64k", []) => Ok(Workload::Echo { buffer: BUFFER, may_grow: false }),
            ("echo-4k", []) => Ok(Workload::Echo { buffer: SMALL_BUFFER, may_grow: false }),
            ("echo-timeout", []) => Ok(Workload::EchoTimeout),
            ("write-batch", &[port, count, size]) => Batch::new(port, count, size).map(Workload::WriteBatch),
            ("pipes", &[pairs, active, writes]) => Pipes::new(pairs, active, writes).map(Workload::Pipes),
            ("post", &[count]) => Ok(Workload::Post(count as u64)),
            ("post-remote", &[count]) => Ok(Workload::PostRemote(count as u64)),
            ("timers-cancel", &[count]) => Ok(Workload::TimersCancel(Cancels { count, shuffled: false })),
            ("timers-shuffle", &[count]) => Ok(Workload::TimersCancel(Cancels { count, shuffled: true })),
            ("timers-fire", &[count]) => Ok(Workload::TimersFire(count)),
            _ => Err(usage()),
        }
    }
}

fn usage() -> Failure {
    Failure::Usage("usage: WORKLOAD [NUMBER...], see benches/README.md".into())
}

/// What `write-batch` sends: COUNT blocks of SIZE bytes.
pub struct Batch {
    pub endpoint: SocketAddr,
    pub count: usize,
    pub size: usize,
}

impl Batch {
    fn new(port: usize, count: usize, size: usize) -> Result<Batch, Failure> {
        let port = u16::try_from(port).map_err(|_| usage())?;
        Ok(Batch { endpoint: (Ipv4Addr::LOCALHOST, port).into(), count, size })
    }

    pub fn block(&self) -> Vec<u8> {
        vec![BATCH_BYTE; self.size]
    }

    pub fn print_result(&self, since: Stopwatch) {
        print_result(self.count as u64, since.elapsed());
    }
}

/// The sizes of `pipes`.
#[derive(Clone, Copy)]
pub struct Pipes {
    pub pairs: usize,
    pub active: usize,
    pub writes: usize,
}

impl Pipes {
    fn new(pairs: usize, active: usize, writes: usize) -> Result<Pipes, Failure> {
        if !(1..=pairs).contains(&active) {
            return Err(Failure::Usage("pipes: ACTIVE must be from 1 to PAIRS".into()));
        }
        Ok(Pipes { pairs, active, writes })
    }

    /// The pair that a reader writes into.
    pub fn next(&self, pair: usize) -> usize {
        if pair + 1 == self.pairs { 0 } else { pair + 1 }
    }

    pub fn total(&self) -> usize {
        self.active + self.writes
    }

    pub fn open(&self) -> io::Result<Vec<Pair>> {
        std::iter::repeat_with(Pair::open).take(self.pairs).collect()
    }

    /// Duplicates of the writing ends that the first bytes of a repetition go into, evenly spaced.
    pub fn starters(&self, pairs: &[Pair]) -> io::Result<Starters> {
        let ends = (0..self.active).map(|i| pairs[i * self.pairs / self.active].writing.try_clone());
        Ok(Starters { ends: ends.collect::<io::Result<_>>()? })
    }
}

pub struct Pair {
    pub reading: UnixStream,
    pub writing: UnixStream,
}

impl Pair {
    fn open() -> io::Result<Pair> {
        let (reading, writing) = UnixStream::pair()?;
        reading.set_nonblocking(true)?;
        writing.set_nonblocking(true)?;
        Ok(Pair { reading, writing })
    }
}

/// Stands outside of the loop, and gives it something to do.
pub struct Starters {
    ends: Vec<UnixStream>,
}

impl Starters {
    pub fn start(&self) -> io::Result<()> {
        self.ends.iter().try_for_each(|mut end| end.write_all(b"e"))
    }
}

/// The counts of one repetition of `pipes`.
#[derive(Clone, Copy, Default)]
pub struct PipesCount {
    pub read: usize,
    written: usize,
}

impl PipesCount {
    /// Counts bytes that a reader got. Returns how many it is to write into the next pair.
    pub fn note_read(&mut self, bytes: usize, pipes: &Pipes) -> usize {
        self.read += bytes;
        let writes = bytes.min(pipes.writes - self.written);
        self.written += writes;
        writes
    }

    pub fn print_result(&self, pipes: &Pipes, since: Stopwatch) -> Outcome {
        let elapsed = since.elapsed();
        check("bytes", self.read as u64, pipes.total() as u64)?;
        print_result(self.read as u64, elapsed);
        Ok(())
    }
}

/// Listens on a free port of 127.0.0.1. Non-blocking.
pub fn listener() -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into())?;
    socket.listen(4096)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

pub fn print_listening(endpoint: SocketAddr) {
    println!("listening on {endpoint}");
}

/// A clock that was read, to be read again.
#[derive(Clone, Copy)]
pub enum Stopwatch {
    Wall(Instant),
    /// The processor's time, of all threads.
    Cpu(Duration),
}

impl Stopwatch {
    pub fn wall() -> Stopwatch {
        Stopwatch::Wall(Instant::now())
    }

    pub fn cpu() -> Stopwatch {
        Stopwatch::Cpu(cpu_time())
    }

    pub fn elapsed(self) -> Duration {
        match self {
            Stopwatch::Wall(since) => since.elapsed(),
            Stopwatch::Cpu(since) => cpu_time().saturating_sub(since),
        }
    }
}

fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec as u32)
}

/// Prints what a repetition took, if it did all of its work exactly once.
pub fn print_checked(what: &str, done: u64, wanted: u64, since: Stopwatch) -> Outcome {
    let elapsed = since.elapsed();
    check(what, done, wanted)?;
    print_result(wanted, elapsed);
    Ok(())
}

fn check(what: &str, done: u64, wanted: u64) -> Outcome {
    if done == wanted {
        return Ok(());
    }
    Err(Failure::Failed(format!("{what}: {done} instead of {wanted}")))
}

fn print_result(operations: u64, elapsed: Duration) {
    println!("result {operations} {}", elapsed.as_nanos());
}

pub struct Random(u64);

impl Random {
    pub fn new() -> Random {
        Random(1)
    }

    pub fn below(&mut self, range: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) % range
    }
}

/// What the timers of one repetition wait, in the order in which they are started. Made before the time is taken.
pub fn delays_to_fire(count: usize) -> Vec<Duration> {
    let mut random = Random::new();
    (0..count).map(|_| Duration::from_millis(1 + random.below(100))).collect()
}

/// As `delays_to_fire`, for timers that are cancelled; and the order in which they are.
pub fn delays_to_cancel(cancels: Cancels) -> (Vec<Duration>, Vec<usize>) {
    let Cancels { count, shuffled } = cancels;
    let mut random = Random::new();
    let delays = (0..count).map(|_| Duration::from_millis(1000 + random.below(3_599_001))).collect();
    let mut order: Vec<usize> = (0..count).collect();
    for last in (1..count).rev().filter(|_| shuffled) {
        order.swap(last, random.below(last as u64 + 1) as usize);
    }
    (delays, order)
}
