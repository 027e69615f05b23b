//! Sink: a server that reads, compares, and closes at the client's end.

use crate::buffer::Buffer;
use crate::failure::{Failure, failed};
use crate::pattern::LONGEST;
use crate::poller::{Poller, Told};
use crate::report;
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SocketFlags, accept_with, recv};
use std::net::{Ipv4Addr, TcpListener};

const EXPECTED: u8 = b'x';

/// The place of the listener among what is watched; the clients have the others.
const LISTENER: usize = usize::MAX;

/// Serves until it is ended from outside, or a client is not right. With `bytes`, each must have sent exactly so many.
pub fn run(bytes: Option<u64>) -> Result<(), Failure> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(failed("listen"))?;
    // Another client may be gone before it is accepted.
    listener.set_nonblocking(true).map_err(failed("listen"))?;
    let mut sink = Sink {
        poller: Poller::new()?,
        clients: Vec::new(),
        buffer: Buffer::new(),
        expected: vec![EXPECTED; LONGEST],
        bytes,
    };
    sink.poller.watch(&listener, LISTENER, Told::WhileReady)?;
    report::print(format_args!("listening on {}", listener.local_addr().map_err(failed("listen"))?));
    loop {
        for number in 0..sink.poller.wait()? {
            match sink.poller.ready(number).index {
                LISTENER => sink.accept(&listener)?,
                client => sink.receive(client)?,
            }
        }
    }
}

struct Sink {
    poller: Poller,
    clients: Vec<Option<Client>>,
    buffer: Buffer,
    expected: Vec<u8>,
    bytes: Option<u64>,
}

struct Client {
    socket: OwnedFd,
    received: u64,
}

impl Sink {
    fn accept(&mut self, listener: &TcpListener) -> Result<(), Failure> {
        let socket = match accept_with(listener, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK) {
            Ok(socket) => socket,
            Err(Errno::AGAIN | Errno::CONNABORTED | Errno::INTR) => return Ok(()),
            Err(error) => return Err(failed("accept")(error)),
        };
        let free = self.clients.iter().position(Option::is_none).unwrap_or(self.clients.len());
        if free == self.clients.len() {
            self.clients.push(None);
        }
        self.poller.watch(&socket, free, Told::WhileReady)?;
        self.clients[free] = Some(Client { socket, received: 0 });
        Ok(())
    }

    fn receive(&mut self, index: usize) -> Result<(), Failure> {
        let Some(client) = &mut self.clients[index] else { return Ok(()) };
        match recv(&client.socket, &mut self.buffer[..], RecvFlags::empty()) {
            Ok((_, 0)) => {
                // First: a client that has seen the end takes the run for done.
                let received = client.received;
                self.check_all(index, received)?;
                self.clients[index] = None;
                Ok(())
            }
            Ok((_, length)) => {
                if self.buffer[..length] != self.expected[..length] {
                    return Err(mismatch(index, client.received, &self.buffer[..length]));
                }
                client.received += length as u64;
                Ok(())
            }
            Err(Errno::AGAIN | Errno::INTR) => Ok(()),
            Err(error) => Err(Failure::Failed(format!("client {index}, {} bytes received: {error}", client.received))),
        }
    }

    fn check_all(&self, index: usize, received: u64) -> Result<(), Failure> {
        match self.bytes {
            Some(bytes) if bytes != received => {
                Err(Failure::Failed(format!("client {index}: ended after {received} bytes instead of {bytes}")))
            }
            _ => Ok(()),
        }
    }
}

#[cold]
fn mismatch(index: usize, received: u64, bytes: &[u8]) -> Failure {
    let wrong = bytes.iter().position(|byte| *byte != EXPECTED).unwrap_or_default();
    let (position, byte) = (received + wrong as u64, bytes[wrong]);
    Failure::Failed(format!("client {index}: byte {position} is {byte:#04x} instead of {EXPECTED:#04x}"))
}
