//! A program with a poll(2) loop of its own takes an echo server in.
//!
//!     cargo run --example embed_in_poll_loop [ADDR]
//!
//! The host sleeps on its own descriptors and on the loop's, for no longer than the loop's `next_timeout`, and then
//! calls `poll`, which makes one bounded turn. It never calls `run`. Here it watches stdin, whose end or whose line
//! `quit` ends the program, and has a tick of its own.

#[macro_use]
mod cli;

use cli::{Failure, failed};
use ioctx::ip::tcp::{Acceptor, Socket};
use ioctx::{IoContext, Part, error};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use std::cell::Cell;
use std::io::{self, BufRead, ErrorKind, StdinLock, stdin};
use std::net::SocketAddr;
use std::os::fd::BorrowedFd;
use std::process::ExitCode;
use std::rc::Rc;
use std::time::{Duration, Instant};

const USAGE: &str = "\
usage: embed_in_poll_loop [ADDR]

A host with a poll(2) loop of its own, and an echo server inside. `quit` or the end of stdin ends it.

  ADDR  IP:PORT to listen on, default 127.0.0.1:7000; port 0 takes a free one";

const TICK: Duration = Duration::from_millis(100);

fn main() -> ExitCode {
    cli::run(USAGE, |arguments| host(cli::address(arguments)?))
}

fn host(address: SocketAddr) -> Result<(), Failure> {
    let mut io = IoContext::new()?;
    descriptor(&io)?;
    let acceptor = Acceptor::listen_on(&io, address).map_err(failed(address))?;
    say!("listening on {}", acceptor.local_endpoint()?);
    let echoed = Rc::new(Cell::new(0));
    accept(acceptor, &echoed);

    let mut input = Input::new();
    let mut next_tick = Instant::now() + TICK;
    let mut told = 0;
    loop {
        let until_tick = next_tick.saturating_duration_since(Instant::now());
        // Asked anew each time: whatever ran since may have armed a timer or left something to do.
        let sleep = io.next_timeout().map_or(until_tick, |timeout| timeout.min(until_tick));
        if sleep_until_ready(&io, &input, sleep)? && input.asks_to_quit()? {
            return Ok(());
        }
        io.poll()?;
        if next_tick <= Instant::now() {
            next_tick = Instant::now() + TICK;
            if told != echoed.get() {
                told = echoed.get();
                say!("{told} bytes echoed");
            }
        }
    }
}

/// Sleeps until stdin or the loop has something to do. Returns whether stdin has.
fn sleep_until_ready(io: &IoContext, input: &Input, sleep: Duration) -> io::Result<bool> {
    let sleep = Timespec::try_from(sleep).map_err(io::Error::other)?;
    let mut descriptors =
        [PollFd::new(&input.stdin, PollFlags::IN), PollFd::from_borrowed_fd(descriptor(io)?, PollFlags::IN)];
    match poll(&mut descriptors, Some(&sleep)) {
        Err(Errno::INTR) => Ok(false),
        Err(error) => Err(error.into()),
        Ok(_) => Ok(!descriptors[0].revents().is_empty()), // Its end and its errors, too, come as events.
    }
}

#[cfg(not(mio_unsupported_force_poll_poll))]
fn descriptor(io: &IoContext) -> io::Result<BorrowedFd<'_>> {
    Ok(std::os::fd::AsFd::as_fd(io))
}

/// Where mio itself polls with poll(2), there is nothing to sleep on: `AsFd` does not exist.
#[cfg(mio_unsupported_force_poll_poll)]
fn descriptor(_: &IoContext) -> io::Result<BorrowedFd<'_>> {
    Err(io::Error::new(ErrorKind::Unsupported, "on this platform the loop has no descriptor to sleep on"))
}

struct Input {
    stdin: StdinLock<'static>,
    line: Vec<u8>,
}

impl Input {
    fn new() -> Input {
        let (stdin, line) = (stdin().lock(), Vec::new());
        Input { stdin, line }
    }

    /// Takes what has come, with one read, and leaves nothing in the buffer: poll(2) does not know of it.
    fn asks_to_quit(&mut self) -> io::Result<bool> {
        let bytes = match self.stdin.fill_buf() {
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => return Ok(false),
            bytes => bytes?,
        };
        let n = bytes.len();
        let mut quit = n == 0;
        for byte in bytes {
            match byte {
                b'\n' => quit |= self.line.trim_ascii() == b"quit",
                _ if self.line.len() < 80 => self.line.push(*byte),
                _ => {} // Nothing that we know is so long.
            }
            if *byte == b'\n' {
                self.line.clear();
            }
        }
        self.stdin.consume(n);
        Ok(quit)
    }
}

fn accept(acceptor: Acceptor, echoed: &Rc<Cell<usize>>) {
    let echoed = Rc::clone(echoed);
    acceptor.clone().async_accept(move |accepted| {
        match accepted {
            Ok((socket, _peer)) => echo(socket, vec![0; 4096], Rc::clone(&echoed)),
            Err(error) if error::is_aborted(&error) => return,
            Err(error) => log::warn!("accept: {error}"),
        }
        accept(acceptor, &echoed);
    });
}

fn echo(socket: Socket, buffer: Vec<u8>, echoed: Rc<Cell<usize>>) {
    socket.clone().async_read_some(buffer, move |(read, buffer)| match read {
        Ok(0) | Err(_) => {} // The last handle to the socket goes: it closes.
        Ok(n) => {
            socket.clone().async_write(Part::to(buffer, n), move |(wrote, part)| {
                if wrote.is_ok() {
                    echoed.set(echoed.get() + n);
                    echo(socket, part.into_inner(), echoed);
                }
            });
        }
    });
}
