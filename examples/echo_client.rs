//! Drives an echo server with many connections on one `IoContext`, and checks every byte that comes back.
//!
//!     cargo run --release --example echo_client ADDR [--connections N] [--messages M] [--size BYTES]
//!
//! Each connection sends a message, reads until all of it has come back, and only then sends the next. The buffers
//! travel through the operations and back, so a message costs no allocation.

#[macro_use]
mod cli;

use cli::Failure;
use ioctx::ip::tcp::{Endpoint, NoDelay, Socket};
use ioctx::{Handle, IoContext};
use std::cell::{Cell, RefCell};
use std::fmt::Display;
use std::io::{self, Write};
use std::net::Ipv4Addr;
use std::num::NonZeroU32;
use std::process::ExitCode;
use std::rc::Rc;
use std::time::{Duration, Instant};

const USAGE: &str = "\
usage: echo_client ADDR [--connections N] [--messages M] [--size BYTES]

Sends messages to a TCP echo server, checks what comes back, and prints the rate and the latencies.

  ADDR             IP:PORT of the server
  --connections N  how many connections to open, all at the same time; default 16
  --messages M     how many messages each connection sends, one after the other; default 10000
  --size BYTES     length of a message, at most 16777216; default 64

The exit status is 1 if a connection is refused or ends early, or if one byte comes back wrong.";

/// More would overrun the backlog of a server that accepts slowly, and each overrun costs a second.
const CONNECTS_AT_ONCE: u32 = 128;
const SIZE_MAX: u32 = 16 * 1024 * 1024;

fn main() -> ExitCode {
    cli::run(USAGE, |arguments| drive(Options::parse(arguments)?))
}

fn drive(options: Options) -> Result<(), Failure> {
    let mut io = IoContext::new()?;
    let client = Client::new(&io, options);
    io.background(io.every(Duration::from_secs(1), {
        let client = Rc::clone(&client);
        move || client.show_progress()
    }));

    let connecting = Instant::now();
    for _ in 0..CONNECTS_AT_ONCE {
        client.connect_next();
    }
    io.run()?; // until nothing is outstanding: everybody is connected
    client.outcome()?;
    let connected = connecting.elapsed();

    let exchanging = Instant::now();
    for connection in client.connected.take() {
        let buffer = || vec![0; client.options.size];
        connection.exchange(buffer(), buffer());
    }
    io.run()?; // until the last connection has had its last echo
    client.outcome()?;
    Ok(client.report(connected, exchanging.elapsed())?)
}

struct Client {
    handle: Handle,
    options: Options,
    /// The number of the next connection to open.
    next: Cell<u32>,
    connected: RefCell<Vec<Rc<Connection>>>,
    echoed: Cell<u64>,
    latencies: RefCell<Latencies>,
    failure: Cell<Option<String>>,
}

impl Client {
    fn new(io: &IoContext, options: Options) -> Rc<Client> {
        Rc::new(Client {
            handle: io.handle().clone(),
            options,
            next: Cell::new(0),
            connected: RefCell::default(),
            echoed: Cell::new(0),
            latencies: RefCell::default(),
            failure: Cell::new(None),
        })
    }

    /// Opens the next connection, if there is one left to open, and then the one after it.
    fn connect_next(self: &Rc<Self>) {
        let number = self.next.get();
        if number == self.options.connections {
            return;
        }
        self.next.set(number + 1);
        let client = Rc::clone(self);
        let socket = Socket::new(&self.handle);
        if let Err(error) = self.options.source(number).map_or(Ok(()), |source| bind(&socket, source)) {
            return self.fail(format_args!("connection {number}"), error);
        }
        socket.clone().async_connect(self.options.server, move |connected| {
            if let Err(error) = connected.and_then(|()| socket.set_option(NoDelay(true))) {
                return client.fail(format_args!("{}: connection {number}", client.options.server), error);
            }
            client.connected.borrow_mut().push(Rc::new(Connection {
                client: Rc::clone(&client),
                number,
                socket,
                sequence: Cell::new(0),
                started: Cell::new(Instant::now()),
                message: Cell::default(),
            }));
            client.connect_next();
        });
    }

    /// Notes the first failure, and ends the run.
    fn fail(&self, what: impl Display, why: impl Display) {
        let first = self.failure.take();
        self.failure.set(first.or_else(|| Some(format!("{what}: {why}"))));
        self.handle.stop();
    }

    fn outcome(&self) -> Result<(), Failure> {
        self.failure.take().map_or(Ok(()), |failure| Err(Failure::Failed(failure)))
    }

    fn show_progress(&self) {
        let Options { connections, messages, .. } = self.options;
        let _ = match self.echoed.get() {
            0 => writeln!(io::stderr(), "{} of {connections} connections begun", self.next.get()),
            n => writeln!(io::stderr(), "{n} of {} messages", u64::from(connections) * u64::from(messages)),
        };
    }

    fn report(&self, connected: Duration, elapsed: Duration) -> io::Result<()> {
        let Options { connections, size, .. } = self.options;
        let (echoed, latencies) = (self.echoed.get(), self.latencies.borrow());
        let out = &mut io::stdout();
        writeln!(out, "{connections} connections in {connected:.3?}")?;
        writeln!(out, "{echoed} messages of {size} bytes in {elapsed:.3?}")?;
        writeln!(out, "{:.0} messages/s", echoed as f64 / elapsed.as_secs_f64())?;
        write!(out, "latency")?;
        for (name, share) in [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999)] {
            write!(out, "  {name} {:.1?}", latencies.percentile(share))?;
        }
        writeln!(out, "  max {:.1?}", latencies.max)
    }
}

/// Kept alive by the handlers of its outstanding operations; after its last message there are none, and it closes.
struct Connection {
    client: Rc<Client>,
    number: u32,
    socket: Socket,
    /// The number of the message on its way.
    sequence: Cell<u32>,
    started: Cell<Instant>,
    /// The message that has been sent, until its echo is there to compare with; empty while it is being written.
    message: Cell<Vec<u8>>,
}

impl Connection {
    /// Sends one message and reads its echo, in the same two buffers again and again.
    fn exchange(self: Rc<Self>, mut message: Vec<u8>, echo: Vec<u8>) {
        fill(&mut message, self.number, self.sequence.get());
        self.started.set(Instant::now());
        let writer = Rc::clone(&self);
        self.socket.async_write(message, move |(wrote, message)| match wrote {
            Ok(_) => writer.message.set(message),
            Err(error) => writer.fail(error),
        });
        // At the same time, not after the write: the first bytes of a large message come back while its last ones
        // are still to be written, and the server waits until somebody takes them.
        self.socket.clone().async_read(echo, move |(read, echo)| match read {
            Ok(_) => self.check(echo),
            Err(error) => self.fail(error),
        });
    }

    fn check(self: Rc<Self>, echo: Vec<u8>) {
        let client = &self.client;
        let message = self.message.take();
        if message != echo {
            return self.fail(difference(&message, &echo));
        }
        client.latencies.borrow_mut().record(self.started.get().elapsed());
        client.echoed.set(client.echoed.get() + 1);
        self.sequence.set(self.sequence.get() + 1);
        if self.sequence.get() < client.options.messages {
            self.exchange(message, echo);
        }
    }

    fn fail(&self, why: impl Display) {
        self.client.fail(format_args!("connection {}, message {}", self.number, self.sequence.get()), why);
    }
}

fn bind(socket: &Socket, source: Endpoint) -> io::Result<()> {
    socket.open(source.into())?;
    socket.bind(source)
}

/// Fills a message with bytes that no other message of any connection has in the same places (SplitMix64).
fn fill(message: &mut [u8], connection: u32, sequence: u32) {
    let mut state = (u64::from(connection) << 32) | u64::from(sequence);
    for chunk in message.chunks_mut(8) {
        state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        chunk.copy_from_slice(&(mixed ^ (mixed >> 31)).to_le_bytes()[..chunk.len()]);
    }
}

fn difference(message: &[u8], echo: &[u8]) -> String {
    match message.iter().zip(echo).position(|(sent, came)| sent != came) {
        Some(at) => format!("byte {at} came back as {:#04x}, not {:#04x}", echo[at], message[at]),
        None => "an echo came before the message was sent".into(),
    }
}

/// Counts durations in buckets: exact below 128 ns, and at most 1/64 wider than the truth above.
struct Latencies {
    counts: Vec<u64>,
    total: u64,
    max: Duration,
}

impl Latencies {
    fn record(&mut self, latency: Duration) {
        let ns = latency.as_nanos() as u64; // Enough for 584 years.
        let shift = ns.max(64).ilog2() - 6; // Leaves the seven leading bits.
        self.counts[(shift * 64) as usize + (ns >> shift) as usize] += 1;
        self.total += 1;
        self.max = self.max.max(latency);
    }

    /// The latency that `share` of the messages did not exceed.
    fn percentile(&self, share: f64) -> Duration {
        let wanted = (self.total as f64 * share).ceil() as u64;
        let mut seen = 0;
        let bucket = self.counts.iter().position(|count| {
            seen += count;
            seen >= wanted
        });
        let bucket = bucket.unwrap_or(0) as u64;
        let shift = (bucket / 64).saturating_sub(1);
        let longest = Duration::from_nanos(((bucket - shift * 64 + 1) << shift) - 1);
        longest.min(self.max)
    }
}

impl Default for Latencies {
    fn default() -> Self {
        Latencies { counts: vec![0; 59 * 64 + 64], total: 0, max: Duration::ZERO }
    }
}

struct Options {
    server: Endpoint,
    connections: u32,
    messages: u32,
    size: usize,
}

impl Options {
    /// Where a connection comes from, if the system is not to choose. One address has some 28,000 ports for outgoing
    /// connections, and Linux searches long for those of the second half: so that many come from several addresses,
    /// which the loopback network of Linux has.
    fn source(&self, number: u32) -> Option<Endpoint> {
        let may_choose = cfg!(target_os = "linux") && self.server.ip() == Ipv4Addr::LOCALHOST;
        let address = [127, 0, 1, (number / 10_000) as u8];
        (may_choose && self.connections > 10_000).then(|| (address, 0).into())
    }

    fn parse(mut arguments: lexopt::Parser) -> Result<Options, Failure> {
        use lexopt::prelude::*;
        let mut server = None;
        let (mut connections, mut messages, mut size) = (16, 10_000, 64);
        while let Some(argument) = arguments.next()? {
            match argument {
                Long("connections") => connections = arguments.value()?.parse::<NonZeroU32>()?.get(),
                Long("messages") => messages = arguments.value()?.parse::<NonZeroU32>()?.get(),
                Long("size") => size = arguments.value()?.parse::<NonZeroU32>()?.get(),
                Value(address) => server = Some(address.parse()?),
                _ => return Err(argument.unexpected().into()),
            }
        }
        if size > SIZE_MAX {
            return Err(Failure::Usage(format!("--size must be at most {SIZE_MAX}")));
        }
        let server = server.ok_or_else(|| Failure::Usage("which server?".into()))?;
        Ok(Options { server, connections, messages, size: size as usize })
    }
}
