//! P24, in processes of its own (`harness = false`): a Rust program ignores SIGPIPE, a host may not.

use ioctx::ip::tcp;
use ioctx::mio::net::{TcpStream, UnixStream};
use ioctx::session::{self, Connection, Reason, Session};
use ioctx::{Interest, Io, IoContext, Next, local};
use std::cell::Cell;
use std::io::{self, IoSlice, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitStatus};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

const CHILD: &str = "IOCTX_TEST_CHILD";
const SIGPIPE: i32 = signal_hook::consts::SIGPIPE;

/// P24: no write raises SIGPIPE, in a process where that signal has its default action: to kill.
fn main() -> io::Result<()> {
    match std::env::var(CHILD).as_deref() {
        Ok("sockets") => write_to_peers_that_have_gone(),
        Ok("sessions") => send_to_peers_that_have_gone(),
        Ok("pipe") => write_to_a_broken_pipe(),
        _ => {
            let pipe = run("pipe")?;
            assert_eq!(pipe.signal(), Some(SIGPIPE), "the signal kills a child that asks for it: {pipe}");
            let sockets = run("sockets")?;
            assert!(sockets.success(), "a write to a socket raised SIGPIPE: {sockets}");
            let sessions = run("sessions")?;
            assert!(sessions.success(), "a session raised SIGPIPE: {sessions}");
            println!("no write to a socket raised SIGPIPE");
            Ok(())
        }
    }
}

fn run(child: &str) -> io::Result<ExitStatus> {
    Command::new(std::env::current_exe()?).env(CHILD, child).status()
}

/// From here on SIGPIPE does what it does by default.
fn mind_sigpipe() -> io::Result<()> {
    signal_hook::flag::register_conditional_default(SIGPIPE, Arc::new(AtomicBool::new(true)))?;
    Ok(())
}

fn write_to_a_broken_pipe() -> io::Result<()> {
    mind_sigpipe()?;
    let (reader, writer) = rustix::pipe::pipe()?;
    drop(reader);
    rustix::io::write(&writer, b"x")?;
    Ok(())
}

fn write_to_peers_that_have_gone() -> io::Result<()> {
    mind_sigpipe()?;
    let mut io = IoContext::new()?;
    for _ in 0..3 {
        let socket = tcp::Socket::from_std(&io, deserted()?)?;
        assert!(socket.write(b"x").is_err());
        assert!(socket.write_some(b"x").is_err());
        for _ in 0..2 {
            socket.async_write(b"x", |(wrote, _)| assert!(wrote.is_err()));
            socket.async_write_some(b"x", |(wrote, _)| assert!(wrote.is_err()));
        }
        assert_eq!(io.run()?, 4);
    }
    let (socket, peer) = local::stream::Socket::pair(&io)?;
    drop(peer);
    assert!(socket.write(b"x").is_err());
    assert!(socket.write_some(b"x").is_err());
    socket.async_write(b"x", |(wrote, _)| assert!(wrote.is_err()));
    socket.async_write_some(b"x", |(wrote, _)| assert!(wrote.is_err()));
    assert_eq!(io.run()?, 2);
    let stream = deserted()?;
    stream.set_nonblocking(true)?;
    let stream = TcpStream::from_std(stream);
    io.register(stream, Interest::WRITABLE, |stream: &Io<'_, TcpStream>, _| write_in_vain(stream))?;
    let (stream, peer) = UnixStream::pair()?;
    drop(peer);
    io.register(stream, Interest::WRITABLE, |stream: &Io<'_, UnixStream>, _| write_in_vain(stream))?;
    assert_eq!(io.run()?, 2);
    Ok(())
}

/// The session layer: each way of sending, from a method and from outside, to a peer that has gone.
fn send_to_peers_that_have_gone() -> io::Result<()> {
    type Way = fn(&Connection);
    const WAYS: [Way; 6] = [
        |connection| drop(format!("{:?}", connection.send(b"x"))),
        |connection| drop(format!("{:?}", connection.send(&[7; 100_000]))),
        |connection| drop(format!("{:?}", connection.send_shared(&Rc::from(&b"x"[..])))),
        |connection| drop(format!("{:?}", connection.send_shared(&Rc::from(&[7; 100_000][..])))),
        |connection| {
            connection.send(b"gathered");
            connection.send_vectored(&[IoSlice::new(&[7; 20_000]), IoSlice::new(b"y")]);
        },
        |connection| {
            connection.send_shared(&Rc::from(&b"x"[..]));
            connection.send_shared(&Rc::from(&b"y"[..]));
        },
    ];
    struct Sender(Option<Way>, Rc<Cell<usize>>);
    impl Session for Sender {
        fn opened(&mut self, connection: &Connection) {
            if let Some(send) = self.0 {
                send(connection);
            }
        }

        fn received(&mut self, _: &Connection, bytes: &[u8]) -> usize {
            bytes.len()
        }

        fn closed(&mut self, _: &Connection, reason: Reason) {
            assert!(matches!(reason, Reason::Error(_)), "{reason}");
            self.1.set(self.1.get() + 1);
        }
    }
    mind_sigpipe()?;
    let mut io = IoContext::new()?;
    let closed = Rc::new(Cell::new(0));
    for send in WAYS {
        for own in [false, true] {
            let socket = tcp::Socket::from_std(&io, deserted()?)?;
            let connection = session::adopt(socket, Sender(own.then_some(send), Rc::clone(&closed)))?;
            if !own {
                send(&connection);
            }
        }
    }
    io.run()?;
    assert_eq!(closed.get(), 2 * WAYS.len());
    Ok(())
}

/// The readiness layer: one buffer, and several.
fn write_in_vain(mut stream: impl Write) -> Next {
    assert!(stream.write(b"x").is_err());
    assert!(stream.write_vectored(&[IoSlice::new(b"x"), IoSlice::new(b"y")]).is_err());
    Next::Release
}

/// A connection that its peer has reset, and that knows it.
fn deserted() -> io::Result<std::net::TcpStream> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let peer = std::net::TcpStream::connect(listener.local_addr()?)?;
    let (ours, _) = listener.accept()?;
    socket2::SockRef::from(&peer).set_linger(Some(Duration::ZERO))?;
    drop(peer);
    while ours.take_error()?.is_none() {}
    Ok(ours)
}
