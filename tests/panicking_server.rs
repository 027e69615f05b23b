//! A server whose sessions panic on command, under load: each panic leaves through `run`, costs its own connection, and
//! nobody else notices.

use ioctx::IoContext;
use ioctx::ip::tcp::Acceptor;
use ioctx::session::{self, Connection, Idle, Reason, Session};
use std::cell::Cell;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

const ROUNDS: usize = 200;
const CLIENTS: usize = 4;
/// Longer than anything takes on a loaded machine.
const STUCK: Duration = Duration::from_secs(30);

/// What panics, and the client's message that makes it.
const COMMANDS: [&[u8]; 9] =
    [b"received", b"tail", b"drained", b"notified", b"idle", b"eof", b"closed", b"make", b"open"];

/// As `panic!`, without the noise.
fn panic_as_planned() -> ! {
    resume_unwind(Box::new("as planned"))
}

/// What the next client meets.
#[derive(Clone, Copy, Default, PartialEq)]
enum Trap {
    #[default]
    None,
    Factory,
    Opened,
}

/// Echoes digits, and obeys commands.
struct Panicking {
    alive: Arc<AtomicUsize>,
    trap: Rc<Cell<Trap>>,
    command: Vec<u8>,
}

impl Panicking {
    fn new(alive: &Arc<AtomicUsize>, trap: &Rc<Cell<Trap>>) -> Panicking {
        if trap.get() == Trap::Factory {
            trap.take();
            panic_as_planned();
        }
        alive.fetch_add(1, SeqCst);
        Panicking { alive: Arc::clone(alive), trap: Rc::clone(trap), command: Vec::new() }
    }

    fn panic_if(&self, command: &[u8]) {
        if self.command == command {
            panic_as_planned();
        }
    }
}

impl Drop for Panicking {
    fn drop(&mut self) {
        self.alive.fetch_sub(1, SeqCst);
    }
}

impl Session for Panicking {
    fn opened(&mut self, _: &Connection) {
        if self.trap.get() == Trap::Opened {
            self.trap.take();
            panic_as_planned();
        }
    }

    fn received(&mut self, connection: &Connection, bytes: &[u8]) -> usize {
        if bytes[0].is_ascii_digit() {
            connection.send(bytes);
            return bytes.len();
        }
        if self.command == b"tail" {
            panic_as_planned(); // It was shown what it has left.
        }
        self.command = bytes.to_vec();
        match bytes {
            b"received" => {
                connection.send(b"never sent");
                panic_as_planned();
            }
            b"tail" => {
                connection.notify();
                return 0;
            }
            b"drained" => {
                connection.set_watermarks(0, 1);
                connection.send_shared(&Rc::from(&[b'x'; 1 << 20][..]));
            }
            b"notified" => connection.notify(),
            b"idle" => connection.set_idle_timeout(Some(Duration::from_millis(1))),
            b"closed" => connection.abort(),
            b"make" => self.trap.set(Trap::Factory),
            b"open" => self.trap.set(Trap::Opened),
            _ => {}
        }
        if matches!(bytes, b"make" | b"open") {
            connection.send(b"ready");
        }
        bytes.len()
    }

    fn drained(&mut self, _: &Connection) {
        self.panic_if(b"drained");
    }

    fn notified(&mut self, connection: &Connection) {
        self.panic_if(b"notified");
        connection.pause();
        connection.resume(); // What is left is shown again.
    }

    fn idle(&mut self, _: &Connection) -> Idle {
        self.panic_if(b"idle");
        Idle::Close
    }

    fn eof(&mut self, connection: &Connection) {
        self.panic_if(b"eof");
        connection.close_after_flush(Duration::MAX);
    }

    fn closed(&mut self, _: &Connection, _: Reason) {
        self.panic_if(b"closed");
    }
}

/// What the server's thread says: where it is reached, and how it is ended; then each panic.
enum Said {
    Listens(SocketAddr, ioctx::Sender<()>),
    Panicked,
}

/// The server's thread: runs its loop again after each panic.
fn serve(alive: &Arc<AtomicUsize>, says: &mpsc::Sender<Said>) -> io::Result<()> {
    let mut io = IoContext::new()?;
    let acceptor = Acceptor::listen_on(&io, ([127, 0, 0, 1], 0).into())?;
    let endpoint = acceptor.local_endpoint()?;
    let (alive, trap) = (Arc::clone(alive), Rc::default());
    let server = session::serve(acceptor, move |_| Panicking::new(&alive, &trap))?;
    let ending = io.channel(move |()| server.shutdown(STUCK));
    says.send(Said::Listens(endpoint, ending)).expect("somebody waits for it");
    loop {
        match catch_unwind(AssertUnwindSafe(|| io.run())) {
            Ok(ran) => {
                assert!(io.outstanding().is_empty(), "{:?}", io.outstanding());
                return ran.map(drop);
            }
            Err(panic) => {
                assert_eq!(panic.downcast_ref(), Some(&"as planned"));
                says.send(Said::Panicked).expect("somebody waits for it");
            }
        }
    }
}

fn connect(endpoint: SocketAddr) -> io::Result<TcpStream> {
    let client = TcpStream::connect(endpoint)?;
    client.set_nodelay(true)?;
    client.set_read_timeout(Some(STUCK))?;
    Ok(client)
}

/// One of the others: every byte that it sends comes back, once at least, until it is told to end.
fn talk(mut client: TcpStream, ended: &AtomicBool) -> io::Result<usize> {
    let mut messages = 0;
    while messages == 0 || !ended.load(SeqCst) {
        let message: Vec<u8> = (0..100).map(|n| b'0' + ((n + messages) % 10) as u8).collect();
        client.write_all(&message)?;
        let mut echo = vec![0; message.len()];
        client.read_exact(&mut echo)?;
        assert_eq!(echo, message);
        messages += 1;
    }
    client.shutdown(Shutdown::Write)?;
    assert_eq!(client.read(&mut [0])?, 0);
    Ok(messages)
}

/// Makes the server panic, and sees its connection end.
fn provoke(endpoint: SocketAddr, command: &[u8]) -> io::Result<()> {
    let mut client = connect(endpoint)?;
    client.write_all(command)?;
    if matches!(command, b"make" | b"open") {
        client.read_exact(&mut [0; 5])?;
        let next = connect(endpoint)?;
        assert_eq!(read_to_end(next)?, 0, "{}", String::from_utf8_lossy(command));
        return Ok(());
    }
    if command == b"eof" {
        client.shutdown(Shutdown::Write)?;
    }
    let sent = if command == b"drained" { 1 << 20 } else { 0 };
    assert_eq!(read_to_end(client)?, sent, "{}", String::from_utf8_lossy(command));
    Ok(())
}

/// How many bytes come before the end, which may be a reset.
fn read_to_end(mut client: TcpStream) -> io::Result<usize> {
    let (mut count, mut buffer) = (0, [0; 65536]);
    loop {
        match client.read(&mut buffer) {
            Ok(0) => return Ok(count),
            Ok(n) => count += n,
            Err(error) if error.kind() == ErrorKind::ConnectionReset => return Ok(count),
            Err(error) => return Err(error),
        }
    }
}

/// Goal: whichever method panics, under load: its connection ends, the others are served on, and nothing is left.
#[test]
fn panics_of_sessions_harm_nobody_else() -> io::Result<()> {
    let (alive, ended) = (Arc::<AtomicUsize>::default(), Arc::<AtomicBool>::default());
    let (says, said) = mpsc::channel();
    let counted = Arc::clone(&alive);
    let server = thread::spawn(move || serve(&counted, &says));
    let Ok(Said::Listens(endpoint, ending)) = said.recv_timeout(STUCK) else {
        panic!("no server");
    };
    let mut others = Vec::new();
    for _ in 0..CLIENTS {
        let client = connect(endpoint)?; // Here, or it might come late, into a trap that was set for another.
        let ended = Arc::clone(&ended);
        others.push(thread::spawn(move || talk(client, &ended)));
    }
    for command in COMMANDS.into_iter().cycle().take(ROUNDS) {
        provoke(endpoint, command)?;
        let panicked = said.recv_timeout(STUCK);
        assert!(matches!(panicked, Ok(Said::Panicked)), "no panic by {}", String::from_utf8_lossy(command));
    }
    ended.store(true, SeqCst);
    for other in others {
        assert!(other.join().expect("no panic")? > 0, "nobody is served");
    }
    ending.send(()).expect("it runs");
    drop(ending);
    server.join().expect("only the panics that were planned")?;
    assert_eq!((said.try_iter().count(), alive.load(SeqCst)), (0, 0), "panics and sessions beyond that");
    Ok(())
}
