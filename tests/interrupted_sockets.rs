//! P25, alone in its process, because signals are for all of it: `harness = false`.

use ioctx::IoContext;
use ioctx::ip::tcp::{self, Wait};
use std::io::{self, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::{Child, Command};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};

/// P25: however many signals arrive, nobody sees `Interrupted`: neither blocking calls nor operations nor `run`.
fn main() -> io::Result<()> {
    let signals = Signals::start()?;
    blocking_calls(&signals)?;
    run_until_a_timer(&signals)?;
    waits_without_a_buffer()?;
    transfers()?;
    println!("no signal was seen");
    Ok(())
}

/// Another process that sends this one a signal again and again.
struct Signals {
    arrived: Arc<AtomicBool>,
    sender: Child,
}

impl Signals {
    fn start() -> io::Result<Signals> {
        let arrived = Arc::new(AtomicBool::new(false));
        signal_hook::flag::register(signal_hook::consts::SIGUSR1, Arc::clone(&arrived))?;
        let sender = Command::new("sh").args(["-c", "while kill -USR1 $PPID; do :; done"]).spawn()?;
        let signals = Signals { arrived, sender };
        signals.wait_for(1);
        Ok(signals)
    }

    fn wait_for(&self, signals: usize) {
        await_signals(&self.arrived, signals);
    }
}

fn await_signals(arrived: &AtomicBool, signals: usize) {
    for _ in 0..signals {
        arrived.store(false, SeqCst);
        while !arrived.load(SeqCst) {
            thread::yield_now();
        }
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        let _ = self.sender.kill();
        let _ = self.sender.wait();
    }
}

fn blocking_calls(signals: &Signals) -> io::Result<()> {
    let io = IoContext::new()?;
    let acceptor = tcp::Acceptor::listen_on(&io, (Ipv4Addr::LOCALHOST, 0).into())?;
    let endpoint = acceptor.local_endpoint()?;
    let arrived = Arc::clone(&signals.arrived);
    let peer = thread::spawn(move || -> io::Result<()> {
        await_signals(&arrived, 20);
        let mut stream = TcpStream::connect(endpoint)?;
        for _ in 0..3 {
            await_signals(&arrived, 20);
            stream.write_all(b"hello")?;
        }
        let second = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        stream.write_all(&second.local_addr()?.port().to_be_bytes())?;
        drop(second.accept()?);
        Ok(())
    });
    let (socket, _) = acceptor.accept()?;
    assert_eq!(socket.read(&mut [0; 5])?, 5);
    socket.wait(Wait::Read)?;
    assert!(socket.read_some(&mut [0; 5])? > 0);
    let mut rest = [0; 7];
    assert_eq!(socket.read(&mut rest)?, 7);
    let port = u16::from_be_bytes([rest[5], rest[6]]);
    tcp::Socket::new(&io).connect((Ipv4Addr::LOCALHOST, port).into())?;
    peer.join().expect("the peer")
}

fn run_until_a_timer(signals: &Signals) -> io::Result<()> {
    let mut io = IoContext::new()?;
    let delay = Duration::from_millis(200);
    let started = Instant::now();
    signals.arrived.store(false, SeqCst);
    io.after(delay, |waited| waited.unwrap());
    assert_eq!(io.run()?, 1);
    assert!(started.elapsed() >= delay && signals.arrived.load(SeqCst));
    Ok(())
}

/// The loop remembers that the socket was readable, the plain read has taken everything: so the wait asks the kernel.
fn waits_without_a_buffer() -> io::Result<()> {
    let mut io = IoContext::new()?;
    let (socket, mut peer) = connection(&io)?;
    peer.set_nodelay(true)?;
    let started = Instant::now();
    while started.elapsed() < Duration::from_millis(500) {
        socket.async_wait(Wait::Write, |waited| waited.unwrap());
        peer.write_all(b"x")?;
        socket.async_wait(Wait::Read, |waited| waited.unwrap());
        assert_eq!(io.run()?, 2);
        assert_eq!(socket.read_some(&mut [0; 1])?, 1);
        socket.async_wait(Wait::Read, |waited| assert!(ioctx::error::is_aborted(&waited.unwrap_err())));
        io.poll()?;
        socket.cancel()?;
        io.run()?;
    }
    Ok(())
}

fn transfers() -> io::Result<()> {
    const SIZE: usize = 20_000_000;
    let mut io = IoContext::new()?;
    let (socket, peer) = connection(&io)?;
    let peer = tcp::Socket::from_std(&io, peer)?;
    socket.async_write(vec![1; SIZE], |(wrote, _)| assert_eq!(wrote.unwrap(), SIZE));
    peer.async_read(vec![0; SIZE], |(read, _)| assert_eq!(read.unwrap(), SIZE));
    assert_eq!(io.run()?, 2);
    Ok(())
}

fn connection(io: &IoContext) -> io::Result<(tcp::Socket, TcpStream)> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let peer = TcpStream::connect(listener.local_addr()?)?;
    Ok((tcp::Socket::from_std(io, listener.accept()?.0)?, peer))
}
