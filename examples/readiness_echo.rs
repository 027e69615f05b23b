//! The echo server on the bare readiness layer: the shortest way to see the slab and its callbacks.
//!
//!     cargo run --release --example readiness_echo [ADDR]
//!
//! One callback accepts, and registers one more callback per connection. What a peer does not take back yet waits in
//! that connection's buffer, and while it does, nothing more is read: a client that sends without reading cannot make
//! the server grow.

#[macro_use]
mod cli;

use cli::{Failure, failed};
use ioctx::mio::net::{TcpListener, TcpStream};
use ioctx::{Handle, Interest, Io, IoContext, Next, Ready};
use std::cell::RefCell;
use std::io::{self, ErrorKind::WouldBlock};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::rc::Rc;
use std::time::Duration;

const USAGE: &str = "\
usage: readiness_echo [ADDR]

Sends back what each TCP client sends.

  ADDR  IP:PORT to listen on, default 127.0.0.1:7000; port 0 takes a free one";

fn main() -> ExitCode {
    cli::run(USAGE, |arguments| serve(cli::address(arguments)?))
}

fn serve(address: SocketAddr) -> Result<(), Failure> {
    let mut io = IoContext::new()?;
    let listener = TcpListener::bind(address).map_err(failed(address))?;
    say!("listening on {}", listener.local_addr()?);
    let handle = io.handle().clone();
    // One read buffer for everybody: callbacks never nest, and an idle connection then holds none.
    let buffer = Rc::new(RefCell::new(vec![0; 64 * 1024]));
    io.register(listener, Interest::READABLE, move |listener, _| accept(&handle, listener, &buffer))?;
    io.run()?;
    Ok(())
}

fn accept(handle: &Handle, listener: &Io<TcpListener>, buffer: &Rc<RefCell<Vec<u8>>>) -> Next {
    loop {
        match listener.try_io(Interest::READABLE, |listener| listener.accept()) {
            Ok((stream, peer)) => {
                let _ = stream.set_nodelay(true);
                if let Err(error) = handle.register(stream, Interest::READABLE, echo(buffer.clone())) {
                    log::warn!("{peer}: {error}");
                }
            }
            Err(error) if error.kind() == WouldBlock => return Next::Keep,
            Err(error) => {
                // Out of descriptors, most likely: the backlog keeps the clients until some are free again.
                log::warn!("accept: {error}");
                return Next::Pause(Duration::from_millis(100));
            }
        }
    }
}

/// The callback of one connection: reads and writes back, until the peer is done.
fn echo(buffer: Rc<RefCell<Vec<u8>>>) -> impl FnMut(&Io<TcpStream>, Ready) -> Next {
    let mut unsent = Vec::new();
    move |stream, _| match echo_what_came(stream, &mut buffer.borrow_mut(), &mut unsent) {
        Ok(next) => next,
        Err(error) if error.kind() == WouldBlock => Next::Keep,
        Err(error) => {
            log::debug!("connection lost: {error}");
            Next::Release
        }
    }
}

fn echo_what_came(stream: &Io<TcpStream>, buffer: &mut [u8], unsent: &mut Vec<u8>) -> io::Result<Next> {
    if !unsent.is_empty() {
        let sent = stream.write(unsent)?;
        unsent.drain(..sent);
        return Ok(Next::Interest(if unsent.is_empty() { Interest::READABLE } else { Interest::WRITABLE }));
    }
    let n = match stream.read(buffer)? {
        0 => return Ok(Next::Release),
        n => n,
    };
    let sent = match stream.write(&buffer[..n]) {
        Err(error) if error.kind() == WouldBlock => 0,
        written => written?,
    };
    if sent == n {
        return Ok(Next::Keep); // and is called again at once if there is more to read
    }
    unsent.extend_from_slice(&buffer[sent..n]);
    Ok(Next::Interest(Interest::WRITABLE))
}
