//! P23, alone in its process, because it takes all descriptors there are: `harness = false`.

use ioctx::ip::tcp;
use ioctx::session::{self, Connection, Server, Session};
use ioctx::{Config, IoContext, local};
use log::{Level, LevelFilter, Log, Metadata, Record};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::cell::Cell;
use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};

const EMFILE: i32 = rustix::io::Errno::MFILE.raw_os_error();
const STUCK: Duration = Duration::from_secs(20);

fn main() -> io::Result<()> {
    log::set_logger(&Counter).expect("the first logger");
    log::set_max_level(LevelFilter::Trace);
    waits_without_spinning_and_says_so_once()?;
    is_served_when_this_context_closes_a_descriptor()?;
    serves_a_backlog_through_one_free_descriptor()?;
    the_blocking_call_returns_the_error()?;
    cancel_ends_an_accept_that_waits_for_a_descriptor()?;
    a_unix_acceptor_waits_for_a_descriptor_too()?;
    a_server_waits_without_spinning_and_says_so_once()?;
    a_server_is_served_when_this_context_closes_a_descriptor()?;
    a_server_serves_a_backlog_through_one_descriptor()?;
    a_server_sheds_through_its_reserve()?;
    println!("an acceptor without descriptors waits, and serves everybody in the end");
    Ok(())
}

/// P23: the accept stays outstanding, warns once, wakes at most 15 times a second, and is served soon after somebody
/// else freed a descriptor, with no new connection needed.
fn waits_without_spinning_and_says_so_once() -> io::Result<()> {
    let mut io = IoContext::new()?;
    let (acceptor, _client) = acceptor_with_client(&io)?;
    let served = accept(&acceptor);
    let mut taken = Taken::all()?;
    let (warnings, turns, sleeps) = (WARNINGS.load(SeqCst), TURNS.load(SeqCst), SLEEPS.load(SeqCst));
    let started = Instant::now();
    assert_eq!(io.run_for(Duration::from_secs(1))?, 0);
    let seconds = started.elapsed().as_secs_f64();
    let (turns, woken) = (TURNS.load(SeqCst) - turns, SLEEPS.load(SeqCst) - sleeps);
    assert!((woken as f64) <= 15.0 * seconds + 1.0, "{woken} wake-ups in {seconds} s");
    assert!((turns as f64) <= 30.0 * seconds + 2.0, "{turns} turns in {seconds} s");
    assert!(woken >= 3, "it tries again: {woken} wake-ups");
    assert_eq!(WARNINGS.load(SeqCst) - warnings, 1);
    assert_eq!((io.outstanding().len(), served.get()), (1, 0));
    taken.free_one();
    assert_eq!(io.run_for(STUCK)?, 1);
    assert_eq!(served.get(), 1);
    Ok(())
}

/// P23: a descriptor closed by this context is used at once, however long the retry is. An episode lasts until nobody
/// waits any more, and a new one warns anew.
fn is_served_when_this_context_closes_a_descriptor() -> io::Result<()> {
    let mut io = IoContext::with_config(Config::new().accept_retry(Duration::from_secs(3600)))?;
    let (acceptor, _client) = acceptor_with_client(&io)?;
    let _another = TcpStream::connect(acceptor.local_endpoint()?)?;
    let closed = tcp::Socket::with_protocol(&io, tcp::Protocol::v4())?;
    let dropped = tcp::Acceptor::with_protocol(&io, tcp::Protocol::v4())?;
    let late = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None)?;
    let _taken = Taken::all()?;
    let warnings = WARNINGS.load(SeqCst);
    let served = accept_and_keep(&acceptor);
    assert_eq!(io.poll()? + io.poll()?, 0);
    assert_eq!(WARNINGS.load(SeqCst) - warnings, 1);
    closed.close();
    assert_eq!(io.run_for(STUCK)?, 1);
    let more = accept_and_keep(&acceptor);
    assert_eq!(io.poll()? + io.poll()?, 0);
    drop(dropped);
    assert_eq!(io.run_for(STUCK)?, 1);
    let _second = more.take().expect("an accepted socket");
    assert_eq!(WARNINGS.load(SeqCst) - warnings, 1, "it is still the same episode");
    let _third = accept_and_keep(&acceptor);
    drop(served.take());
    assert_eq!(io.poll()? + io.poll()?, 0, "nobody waits");
    let _again = File::open("/dev/null")?;
    late.connect(&acceptor.local_endpoint()?.into())?;
    assert_eq!(io.poll()? + io.poll()?, 0);
    assert_eq!(WARNINGS.load(SeqCst) - warnings, 2);
    Ok(())
}

/// P23: one free descriptor is enough to serve every client that waits, one after the other.
fn serves_a_backlog_through_one_free_descriptor() -> io::Result<()> {
    let mut io = IoContext::with_config(Config::new().accept_retry(Duration::from_secs(3600)))?;
    let (acceptor, client) = acceptor_with_client(&io)?;
    let mut clients = vec![client];
    for _ in 0..9 {
        clients.push(TcpStream::connect(acceptor.local_endpoint()?)?);
    }
    let mut taken = Taken::all()?;
    let served: Vec<_> = clients.iter().map(|_| accept(&acceptor)).collect();
    assert_eq!(io.poll()? + io.poll()?, 0);
    taken.free_one();
    let spare = tcp::Socket::with_protocol(&io, tcp::Protocol::v4())?;
    drop(spare); // tells the acceptor
    assert_eq!(io.run_for(STUCK)?, 10);
    assert!(served.iter().all(|served| served.get() == 1));
    for mut client in clients {
        assert_eq!(client.read(&mut [0; 1])?, 0);
    }
    Ok(())
}

/// P23: the blocking call does not wait for descriptors.
fn the_blocking_call_returns_the_error() -> io::Result<()> {
    let io = IoContext::new()?;
    let (acceptor, _client) = acceptor_with_client(&io)?;
    let socket = tcp::Socket::new(&io);
    let taken = Taken::all()?;
    assert_eq!(acceptor.accept().unwrap_err().raw_os_error(), Some(EMFILE));
    assert_eq!(socket.open(tcp::Protocol::v4()).unwrap_err().raw_os_error(), Some(EMFILE));
    assert_eq!(IoContext::new().unwrap_err().raw_os_error(), Some(EMFILE));
    drop(taken);
    acceptor.accept()?;
    Ok(())
}

/// P20, P23: waiting for a descriptor is waiting: it can be cancelled, and leaves nothing behind.
fn cancel_ends_an_accept_that_waits_for_a_descriptor() -> io::Result<()> {
    let mut io = IoContext::with_config(Config::new().accept_retry(Duration::from_secs(3600)))?;
    let (acceptor, _client) = acceptor_with_client(&io)?;
    let _taken = Taken::all()?;
    for close in [false, true] {
        acceptor.async_accept(|accepted| assert!(ioctx::error::is_aborted(&accepted.unwrap_err())));
        assert_eq!(io.poll()? + io.poll()?, 0);
        if close {
            acceptor.close();
        } else {
            acceptor.cancel()?;
        }
        assert_eq!(io.run_for(STUCK)?, 1);
        assert!(io.stopped());
    }
    Ok(())
}

/// P23: Unix sockets do the same.
fn a_unix_acceptor_waits_for_a_descriptor_too() -> io::Result<()> {
    let mut io = IoContext::with_config(Config::new().accept_retry(Duration::from_secs(3600)))?;
    let path = std::env::temp_dir().join(format!("ioctx-out-of-descriptors-{}", std::process::id()));
    let acceptor = local::stream::Acceptor::listen_on(&io, local::Endpoint::from_path(&path)?)?;
    let client = local::stream::Socket::new(&io);
    client.connect(acceptor.local_endpoint()?)?;
    std::fs::remove_file(path)?;
    let spare = local::stream::Socket::with_protocol(&io, local::stream::Protocol)?;
    let _taken = Taken::all()?;
    let warnings = WARNINGS.load(SeqCst);
    assert_eq!(acceptor.accept().unwrap_err().raw_os_error(), Some(EMFILE));
    acceptor.async_accept(|accepted| drop(accepted.expect("a client")));
    assert_eq!(io.poll()? + io.poll()?, 0);
    assert_eq!(WARNINGS.load(SeqCst) - warnings, 1);
    spare.close();
    assert_eq!(io.run_for(STUCK)?, 1);
    assert_eq!(client.read_some(&mut [0; 1])?, 0);
    Ok(())
}

// Servers.

/// Greets; ends when its peer does.
struct Greeter;

impl Session for Greeter {
    fn opened(&mut self, connection: &Connection) {
        connection.send(b"hello");
    }

    fn received(&mut self, _: &Connection, bytes: &[u8]) -> usize {
        bytes.len()
    }
}

/// A server, and clients that wait for it.
fn server_with_clients(io: &IoContext, clients: usize) -> io::Result<(Server, tcp::Endpoint, Vec<TcpStream>)> {
    let acceptor = tcp::Acceptor::listen_on(io, (Ipv4Addr::LOCALHOST, 0).into())?;
    let endpoint = acceptor.local_endpoint()?;
    let server = session::serve(acceptor, |_| Greeter)?;
    let clients = (0..clients).map(|_| TcpStream::connect(endpoint)).collect::<io::Result<_>>()?;
    Ok((server, endpoint, clients))
}

/// P23: a server out of descriptors neither spins nor goes deaf: at most 15 wake-ups a second, one warning, the
/// established connections are served meanwhile, and the waiting client soon after somebody else freed a descriptor.
fn a_server_waits_without_spinning_and_says_so_once() -> io::Result<()> {
    let mut io = IoContext::new()?;
    let (server, endpoint, mut clients) = server_with_clients(&io, 1)?;
    while server.stats().accepted == 0 {
        io.poll()?;
    }
    while io.poll()? > 0 {}
    clients.push(TcpStream::connect(endpoint)?);
    let mut taken = Taken::all()?;
    let (warnings, turns, sleeps) = (WARNINGS.load(SeqCst), TURNS.load(SeqCst), SLEEPS.load(SeqCst));
    let started = Instant::now();
    assert_eq!(io.run_for(Duration::from_secs(1))?, 0);
    let seconds = started.elapsed().as_secs_f64();
    let (turns, woken) = (TURNS.load(SeqCst) - turns, SLEEPS.load(SeqCst) - sleeps);
    assert!((woken as f64) <= 15.0 * seconds + 1.0, "{woken} wake-ups in {seconds} s");
    assert!((turns as f64) <= 30.0 * seconds + 2.0, "{turns} turns in {seconds} s");
    assert!(woken >= 3, "it tries again: {woken} wake-ups");
    assert_eq!(WARNINGS.load(SeqCst) - warnings, 1);
    clients[0].write_all(b"x")?;
    assert_eq!(io.run_one_for(STUCK)?, 1, "who is there is served");
    assert_eq!(server.stats().bytes_received, 1);
    taken.free_one();
    let started = Instant::now();
    while server.stats().accepted == 1 {
        io.run_one_for(STUCK)?;
    }
    assert!(started.elapsed() < Duration::from_secs(5), "it looks again by itself");
    assert_eq!(WARNINGS.load(SeqCst) - warnings, 1);
    Ok(())
}

/// P23: a descriptor that this context closes is used at once, however long the retry is: one of a session that ends,
/// and one of an object of another kind.
fn a_server_is_served_when_this_context_closes_a_descriptor() -> io::Result<()> {
    for budget in [1, 64] {
        serve_when_a_descriptor_is_closed(budget)?;
    }
    Ok(())
}

fn serve_when_a_descriptor_is_closed(accept_budget: usize) -> io::Result<()> {
    let config = Config::new().accept_retry(Duration::from_secs(3600)).accept_budget(accept_budget);
    let mut io = IoContext::with_config(config)?;
    let (server, endpoint, mut clients) = server_with_clients(&io, 1)?;
    while server.stats().accepted == 0 {
        io.poll()?;
    }
    clients.extend([TcpStream::connect(endpoint)?, TcpStream::connect(endpoint)?]);
    let other = tcp::Socket::with_protocol(&io, tcp::Protocol::v4())?;
    let taken = Taken::all()?;
    let warnings = WARNINGS.load(SeqCst);
    for _ in 0..5 {
        io.poll()?;
    }
    assert_eq!((server.stats().accepted, WARNINGS.load(SeqCst) - warnings), (1, 1));
    other.close();
    for _ in 0..5 {
        io.poll()?;
    }
    assert_eq!(server.stats().accepted, 2);
    assert_eq!(WARNINGS.load(SeqCst) - warnings, 1, "it is still the same episode");
    let first = clients.remove(0); // Kept open: its descriptor is not the one that is given.
    first.shutdown(std::net::Shutdown::Write)?;
    while server.stats().accepted < 3 {
        assert!(io.run_one_for(STUCK)? > 0, "nobody is served: {:?}", server.stats());
    }
    assert_eq!(WARNINGS.load(SeqCst) - warnings, 1, "it is still the same episode");
    drop(taken);
    while io.poll()? > 0 {}
    for client in &mut clients {
        client.read_exact(&mut [0; 5])?;
    }
    Ok(())
}

/// P23: one free descriptor serves a whole backlog, one client after the other, and it is one episode, also when little
/// is accepted per turn.
fn a_server_serves_a_backlog_through_one_descriptor() -> io::Result<()> {
    struct Brief;
    impl Session for Brief {
        fn opened(&mut self, connection: &Connection) {
            connection.send(b"hello");
            connection.abort();
        }

        fn received(&mut self, _: &Connection, bytes: &[u8]) -> usize {
            bytes.len()
        }
    }
    for budget in [1, 64] {
        let config = Config::new().accept_retry(Duration::from_secs(3600)).accept_budget(budget);
        let mut io = IoContext::with_config(config)?;
        let acceptor = tcp::Acceptor::listen_on(&io, (Ipv4Addr::LOCALHOST, 0).into())?;
        let endpoint = acceptor.local_endpoint()?;
        let server = session::serve(acceptor, |_| Brief)?;
        let spare = tcp::Socket::with_protocol(&io, tcp::Protocol::v4())?;
        let _clients = (0..10).map(|_| TcpStream::connect(endpoint)).collect::<io::Result<Vec<_>>>()?;
        let _taken = Taken::all()?;
        let warnings = WARNINGS.load(SeqCst);
        io.poll()?;
        io.poll()?;
        drop(spare);
        while server.stats().accepted < 10 || server.stats().open > 0 {
            assert!(io.run_one_for(STUCK)? > 0, "nobody is served: {:?}", server.stats());
        }
        assert_eq!(WARNINGS.load(SeqCst) - warnings, 1, "accept budget {budget}");
    }
    Ok(())
}

/// P23: a server that sheds closes waiting clients at once, through the descriptor that it keeps back, without spinning;
/// and serves again when there are descriptors.
fn a_server_sheds_through_its_reserve() -> io::Result<()> {
    let mut io = IoContext::with_config(Config::new().accept_retry(Duration::from_secs(3600)))?;
    let (server, endpoint, _) = server_with_clients(&io, 0)?;
    server.set_shedding(true);
    io.poll()?;
    let (mut served, warnings) = (Vec::new(), WARNINGS.load(SeqCst));
    for round in 1..=3 {
        let mut clients = (0..4).map(|_| TcpStream::connect(endpoint)).collect::<io::Result<Vec<_>>>()?;
        let taken = Taken::all()?;
        for _ in 0..5 {
            io.poll()?;
        }
        assert_eq!((server.stats().shed, server.stats().accepted), (4 * round, round - 1), "round {round}");
        for client in &mut clients {
            assert!(!client.read(&mut [0; 1]).is_ok_and(|n| n > 0), "shed");
        }
        drop(taken);
        let mut late = TcpStream::connect(endpoint)?;
        for _ in 0..5 {
            io.poll()?;
        }
        late.set_read_timeout(Some(STUCK))?;
        late.read_exact(&mut [0; 5])?;
        assert_eq!(server.stats().accepted, round);
        served.push(late); // If it ended, its descriptor would be free.
    }
    assert_eq!(WARNINGS.load(SeqCst) - warnings, 0, "nobody was kept waiting");
    // Asked for when there is none, the reserve comes as soon as there is one.
    server.set_shedding(false);
    let taken = Taken::all()?;
    server.set_shedding(true);
    drop(taken);
    served.push(TcpStream::connect(endpoint)?);
    while server.stats().accepted < 4 {
        io.poll()?;
    }
    let _more = TcpStream::connect(endpoint)?;
    let _taken = Taken::all()?;
    for _ in 0..5 {
        io.poll()?;
    }
    assert_eq!(server.stats().shed, 13);
    Ok(())
}

fn acceptor_with_client(io: &IoContext) -> io::Result<(tcp::Acceptor, TcpStream)> {
    let acceptor = tcp::Acceptor::listen_on(io, (Ipv4Addr::LOCALHOST, 0).into())?;
    let client = TcpStream::connect(acceptor.local_endpoint()?)?;
    Ok((acceptor, client))
}

/// Accepts one client, counts it and closes it.
fn accept(acceptor: &tcp::Acceptor) -> Rc<Cell<usize>> {
    let served = Rc::new(Cell::new(0));
    let count = Rc::clone(&served);
    acceptor.async_accept(move |accepted| {
        accepted.expect("a client");
        count.set(count.get() + 1);
    });
    served
}

/// Accepts one client and keeps its connection.
fn accept_and_keep(acceptor: &tcp::Acceptor) -> Rc<Cell<Option<tcp::Socket>>> {
    let served = Rc::new(Cell::new(None));
    let kept = Rc::clone(&served);
    acceptor.async_accept(move |accepted| kept.set(Some(accepted.expect("a client").0)));
    served
}

/// Every descriptor that this process may still open.
struct Taken(Vec<File>);

impl Taken {
    fn all() -> io::Result<Taken> {
        let limit = getrlimit(Resource::Nofile);
        setrlimit(Resource::Nofile, Rlimit { current: Some(100), ..limit })?;
        let mut files = Vec::new();
        loop {
            match File::open("/dev/null") {
                Ok(file) => files.push(file),
                Err(error) if error.raw_os_error() == Some(EMFILE) => return Ok(Taken(files)),
                Err(error) => return Err(error),
            }
        }
    }

    fn free_one(&mut self) {
        self.0.pop();
    }
}

static WARNINGS: AtomicUsize = AtomicUsize::new(0);
static TURNS: AtomicUsize = AtomicUsize::new(0);
static SLEEPS: AtomicUsize = AtomicUsize::new(0);

/// Counts the warnings, and the turns and sleeps by the line that the trace tells of each decision to sleep.
struct Counter;

impl Log for Counter {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == "ioctx"
    }

    fn log(&self, record: &Record<'_>) {
        let text = record.args().to_string();
        if record.level() == Level::Warn {
            WARNINGS.fetch_add(1, SeqCst);
        } else if text.contains("| 2 decide sleep") {
            TURNS.fetch_add(1, SeqCst);
            if !text.contains("| no sleep,") {
                SLEEPS.fetch_add(1, SeqCst);
            }
        }
    }

    fn flush(&self) {}
}
