//! The multi-client TCP echo server in the style of Asio: operations, each with a handler.
//!
//!     cargo run --release --example async_echo [ADDR] [--max-connections N] [--grace SECONDS]
//!
//! Talk to it with `nc 127.0.0.1 7000`. Each connection reads into a buffer of its own, writes all of it back, and
//! only then reads again: so a client that sends without reading is not read from, cannot make the server grow, and
//! gets every byte back once it reads. SIGINT or SIGTERM ends it gracefully, a second one at once.

#[macro_use]
mod cli;

use cli::{Failure, failed};
use ioctx::ip::tcp::{Acceptor, Endpoint, NoDelay, Socket};
use ioctx::{Handle, IoContext, Part, SignalSet};
use slab::Slab;
use std::cell::{Cell, RefCell};
use std::io;
use std::process::ExitCode;
use std::rc::{Rc, Weak};
use std::time::Duration;

const USAGE: &str = "\
usage: async_echo [ADDR] [--max-connections N] [--grace SECONDS]

Sends back what each TCP client sends.

  ADDR                 IP:PORT to listen on, default 127.0.0.1:7000; port 0 takes a free one
  --max-connections N  with N clients connected, accept the next when one leaves; default no limit
  --grace SECONDS      on SIGINT or SIGTERM, how long busy connections may finish; default 1";

const BUFFER: usize = 16 * 1024;

fn main() -> ExitCode {
    cli::run(USAGE, |arguments| serve(&Options::parse(arguments)?))
}

struct Options {
    endpoint: Endpoint,
    max_connections: usize,
    grace: Duration,
}

fn serve(options: &Options) -> Result<(), Failure> {
    let mut io = IoContext::new()?;
    let acceptor = Acceptor::listen_on(&io, options.endpoint).map_err(failed(options.endpoint))?;
    let endpoint = acceptor.local_endpoint()?;
    let server = Server::new(&io, acceptor, options);
    server.end_on_signal(options.grace)?;
    server.accept();
    say!("listening on {endpoint}"); // whoever waits for this line may send clients, and signals
    io.run()?; // until a signal has closed the acceptor and the last connection has ended
    Ok(())
}

struct Server {
    handle: Handle,
    acceptor: Acceptor,
    max_connections: usize,
    connections: RefCell<Slab<Weak<Connection>>>,
    accepting: Cell<bool>,
    ending: Cell<bool>,
}

impl Server {
    fn new(io: &IoContext, acceptor: Acceptor, options: &Options) -> Rc<Server> {
        Rc::new(Server {
            handle: io.handle().clone(),
            acceptor,
            max_connections: options.max_connections,
            connections: RefCell::default(),
            accepting: Cell::new(false),
            ending: Cell::new(false),
        })
    }

    /// Accepts one client after the other, as long as there is room.
    fn accept(self: &Rc<Self>) {
        let full = self.connections.borrow().len() >= self.max_connections;
        if full || self.ending.get() || self.accepting.replace(true) {
            return;
        }
        let server = Rc::clone(self);
        self.acceptor.async_accept(move |accepted| {
            server.accepting.set(false);
            match accepted {
                Ok((socket, _)) => server.welcome(socket),
                Err(error) if ioctx::error::is_aborted(&error) => return,
                Err(error) => log::warn!("accept: {error}"),
            }
            server.accept();
        });
    }

    fn welcome(self: &Rc<Self>, socket: Socket) {
        if let Err(error) = socket.set_option(NoDelay(true)) {
            log::debug!("no TCP_NODELAY: {error}"); // It is only slower.
        }
        let mut connections = self.connections.borrow_mut();
        let entry = connections.vacant_entry();
        let connection =
            Rc::new(Connection { server: Rc::clone(self), id: entry.key(), socket, idle: Cell::new(true) });
        entry.insert(Rc::downgrade(&connection));
        drop(connections);
        connection.read(vec![0; BUFFER]);
    }

    fn end_on_signal(self: &Rc<Self>, grace: Duration) -> io::Result<()> {
        let signals = SignalSet::new(&self.handle).background();
        signals.add(signal_hook::consts::SIGINT)?;
        signals.add(signal_hook::consts::SIGTERM)?;
        let server = Rc::clone(self);
        signals.clone().async_wait(move |_| {
            server.end(grace);
            let handle = server.handle.clone();
            signals.async_wait(move |_| handle.stop());
        });
        Ok(())
    }

    /// Stops accepting, closes who is idle, and gives the others some time.
    fn end(self: &Rc<Self>, grace: Duration) {
        self.ending.set(true);
        self.acceptor.close();
        self.close_connections(Connection::is_idle);
        let server = Rc::clone(self);
        let deadline = self.handle.after(grace, move |_| server.close_connections(|_| true));
        self.handle.background(deadline);
    }

    fn close_connections(&self, which: impl Fn(&Connection) -> bool) {
        let connections: Vec<_> = self.connections.borrow().iter().filter_map(|(_, c)| c.upgrade()).collect();
        for connection in connections.iter().filter(|connection| which(connection)) {
            connection.socket.close();
        }
    }
}

/// One client. Kept alive by the handler of its one outstanding operation; when no handler starts another, it ends.
struct Connection {
    server: Rc<Server>,
    id: usize,
    socket: Socket,
    /// Nothing is on its way back to the client.
    idle: Cell<bool>,
}

impl Connection {
    fn read(self: Rc<Self>, buffer: Vec<u8>) {
        self.idle.set(true);
        if self.server.ending.get() && self.is_idle() {
            return;
        }
        self.socket.clone().async_read_some(buffer, move |(read, buffer)| match read {
            Ok(0) => {}
            Ok(n) => self.write(Part::to(buffer, n)),
            Err(error) => log::debug!("read: {error}"),
        });
    }

    /// Whether nothing is on its way: neither back to the client, nor in the kernel, still to be read.
    fn is_idle(&self) -> bool {
        self.idle.get() && self.socket.available().unwrap_or(0) == 0
    }

    fn write(self: Rc<Self>, bytes: Part<Vec<u8>>) {
        self.idle.set(false);
        self.socket.clone().async_write(bytes, move |(wrote, bytes)| match wrote {
            Ok(_) => self.read(bytes.into_inner()),
            Err(error) => log::debug!("write: {error}"),
        });
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.server.connections.borrow_mut().remove(self.id);
        self.server.accept();
    }
}

impl Options {
    fn parse(mut arguments: lexopt::Parser) -> Result<Options, Failure> {
        use lexopt::prelude::*;
        let mut options = Options {
            endpoint: ([127, 0, 0, 1], 7000).into(),
            max_connections: usize::MAX,
            grace: Duration::from_secs(1),
        };
        while let Some(argument) = arguments.next()? {
            match argument {
                Long("max-connections") => {
                    options.max_connections = cli::at_least_one("--max-connections", &mut arguments)?;
                }
                Long("grace") => options.grace = cli::seconds("--grace", &mut arguments)?,
                Value(address) => options.endpoint = address.parse()?,
                _ => return Err(argument.unexpected().into()),
            }
        }
        Ok(options)
    }
}
