//! Opening connections: where they come from, and enough descriptors for them.

use crate::failure::{Failure, failed};
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, connect, socket_with, sockopt};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

/// The ports that connections come from, on each of the sixteen addresses. They are counted through here, not chosen by
/// the system: it would take none of those that a finished connection holds for a minute, and run out. And they are
/// others than those the system chooses from, 32,768 and above: or a program that connects after us would run out.
const FIRST_PORT: u16 = 1_024;
const PORTS: u32 = 31_744;

/// How many taken ports in a row are bad luck. More are a reason to give up.
const ATTEMPTS: u32 = 5_000;

/// What the program itself has open: standard streams, epoll, a file or two of the server's process.
const OWN_DESCRIPTORS: u64 = 16;

pub struct Doors {
    server: SocketAddrV4,
    patience: Duration,
    next: u32,
}

impl Doors {
    /// With what is needed for so many connections at a time. A call that waits does so for at most `patience`.
    pub fn new(port: u16, connections: usize, patience: Duration) -> Result<Self, Failure> {
        reserve_descriptors(connections as u64)?;
        // Runs that follow each other begin elsewhere, past the ports just used.
        let next = std::process::id().wrapping_mul(7_919) % PORTS;
        Ok(Doors { server: SocketAddrV4::new(Ipv4Addr::LOCALHOST, port), patience, next })
    }

    pub fn patience(&self) -> Duration {
        self.patience
    }

    /// Opens connection `number`, from 127.0.0.(2 + number % 16).
    pub fn open(&mut self, number: usize) -> Result<OwnedFd, Failure> {
        let address = Ipv4Addr::new(127, 0, 0, 2 + (number % 16) as u8);
        let mut outcome = Err(Errno::ADDRINUSE);
        for _ in 0..ATTEMPTS {
            outcome = self.attempt(address);
            if !matches!(outcome, Err(Errno::ADDRINUSE | Errno::ADDRNOTAVAIL)) {
                break;
            }
        }
        outcome.map_err(|error| match error {
            // What a connect with a timeout says when it has passed.
            Errno::AGAIN | Errno::INPROGRESS => {
                Failure::Failed(format!("connection {number}: not accepted for {:?}", self.patience))
            }
            error => Failure::Failed(format!("connection {number} to {}: {error}", self.server)),
        })
    }

    fn attempt(&mut self, address: Ipv4Addr) -> Result<OwnedFd, Errno> {
        let port = FIRST_PORT + self.next as u16;
        self.next = (self.next + 1) % PORTS;
        let socket = socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
        sockopt::set_tcp_nodelay(&socket, true)?;
        // For the ports of connections that have ended already.
        sockopt::set_socket_reuseaddr(&socket, true)?;
        sockopt::set_socket_timeout(&socket, sockopt::Timeout::Send, Some(self.patience))?;
        sockopt::set_socket_timeout(&socket, sockopt::Timeout::Recv, Some(self.patience))?;
        bind(&socket, &SocketAddrV4::new(address, port))?;
        connect(&socket, &self.server)?;
        Ok(socket)
    }
}

fn reserve_descriptors(connections: u64) -> Result<(), Failure> {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    let needed = connections + OWN_DESCRIPTORS;
    if let Some(maximum) = maximum.filter(|maximum| *maximum < needed) {
        let text = format!("{connections} connections need {needed} descriptors, the hard limit is {maximum}");
        return Err(Failure::Failed(text));
    }
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).map_err(failed("limit of descriptors"))
}
