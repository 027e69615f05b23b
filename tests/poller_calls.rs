//! P26: how often a socket bothers the poller. `harness = false`: it runs itself again, watched.

use ioctx::ip::tcp;
use ioctx::session::{self, Connection, Session};
use ioctx::{IoContext, Part};
use std::io;
use std::net::Ipv4Addr;
use std::process::{Command, Stdio};
use std::rc::Rc;

const MESSAGES: u32 = 1000;
const CHILD: &str = "IOCTX_TEST_CHILD";

/// P26: no `epoll_ctl` per operation: an echo of a thousand messages makes as many as an echo of one.
/// Section 1, one I/O path: and each message costs one read and one write at either end, however many sends a method of
/// a session makes.
fn main() -> io::Result<()> {
    if let Ok(child) = std::env::var(CHILD) {
        let (layer, messages) = child.split_once(' ').expect("two words");
        return echo(layer, messages.parse().expect("a number"));
    }
    for layer in LAYERS {
        if cfg!(not(target_os = "linux")) || cfg!(mio_unsupported_force_poll_poll) {
            println!("skipped: no epoll");
            echo(layer, MESSAGES)?;
            continue;
        }
        let (Some(one), Some(many)) = (calls_of(layer, 1)?, calls_of(layer, MESSAGES)?) else {
            println!("skipped: strace is not there, or may not watch");
            echo(layer, MESSAGES)?;
            continue;
        };
        assert!(one.epoll_ctl > 0, "the sockets are registered: {one:?}");
        assert_eq!(one.epoll_ctl, many.epoll_ctl, "{layer}: {one:?} {many:?}");
        let transfers = f64::from(many.transfers - one.transfers) / f64::from(MESSAGES - 1);
        // A sanitizer's runtime makes some dozens of reads of its own, not always as many; messages are received.
        assert!(many.reads < MESSAGES / 10, "{layer}: {many:?}");
        assert!(transfers <= 4.0, "{layer}: {transfers} reads and writes per message, two ends");
        println!("{layer}: {} epoll_ctl for any number of messages, {transfers} transfers each", many.epoll_ctl);
    }
    Ok(())
}

const LAYERS: [&str; 2] = ["operations", "sessions"];

/// A client and a server on one loop.
fn echo(layer: &str, messages: u32) -> io::Result<()> {
    if layer == "sessions" { echo_by_sessions(messages) } else { echo_by_operations(messages) }
}

#[derive(Debug)]
struct Calls {
    epoll_ctl: u32,
    /// But for those by read(2).
    transfers: u32,
    reads: u32,
}

/// The system calls of a child that echoes, as strace counts them; `None` if it cannot.
fn calls_of(layer: &str, messages: u32) -> io::Result<Option<Calls>> {
    let watched = Command::new("strace")
        .args(["-f", "-c", "-e", "trace=epoll_ctl,sendto,recvfrom,read,write,send,recv,sendmsg,recvmsg"])
        .arg(std::env::current_exe()?)
        .env(CHILD, format!("{layer} {messages}"))
        .stdout(Stdio::null())
        .output();
    let Ok(output) = watched else {
        return Ok(None);
    };
    let table = String::from_utf8_lossy(&output.stderr);
    let count = |names: &[&str]| -> u32 {
        let rows = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
        let rows = rows.filter(|row| row.last().is_some_and(|name| names.contains(name)));
        rows.filter_map(|row| row.get(3)?.parse::<u32>().ok()).sum()
    };
    let epoll_ctl = count(&["epoll_ctl"]);
    let transfers = count(&["sendto", "recvfrom", "write", "send", "recv", "sendmsg", "recvmsg"]);
    let reads = count(&["read"]);
    Ok((output.status.success() && epoll_ctl > 0).then_some(Calls { epoll_ctl, transfers, reads }))
}

/// Sends each answer in pieces: eight bytes that are gathered, a shared slice among them, in one write.
struct Echo;

impl Session for Echo {
    fn received(&mut self, connection: &Connection, bytes: &[u8]) -> usize {
        for piece in bytes.chunks(8) {
            connection.send(piece);
        }
        bytes.len()
    }
}

struct Asker {
    left: u32,
}

impl Session for Asker {
    fn opened(&mut self, connection: &Connection) {
        connection.set_idle_timeout(Some(std::time::Duration::from_secs(3600)));
        connection.send(&[7; 64]);
    }

    fn received(&mut self, connection: &Connection, bytes: &[u8]) -> usize {
        assert_eq!(bytes.len(), 64, "one write, so one read");
        self.left -= 1;
        if self.left == 0 {
            connection.close_after_flush(std::time::Duration::MAX);
        } else {
            connection.send(&[7; 32]);
            connection.send_shared(&Rc::from(&[7; 32][..]));
        }
        bytes.len()
    }
}

fn echo_by_sessions(messages: u32) -> io::Result<()> {
    let mut io = IoContext::new()?;
    let acceptor = tcp::Acceptor::listen_on(&io, (Ipv4Addr::LOCALHOST, 0).into())?;
    let endpoint = acceptor.local_endpoint()?;
    let server = session::serve(acceptor, |_| Echo)?;
    session::connect(&io, endpoint, std::time::Duration::from_secs(60), Asker { left: messages });
    let limit = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while server.stats().accepted == 0 || server.stats().open > 0 {
        io.run_one_until(limit)?;
        assert!(std::time::Instant::now() < limit, "stuck: {io:#?}");
    }
    server.shutdown(std::time::Duration::ZERO);
    io.run()?;
    Ok(())
}

fn echo_by_operations(messages: u32) -> io::Result<()> {
    let mut io = IoContext::new()?;
    let acceptor = tcp::Acceptor::listen_on(&io, (Ipv4Addr::LOCALHOST, 0).into())?;
    let client = tcp::Socket::new(&io);
    client.clone().async_connect(acceptor.local_endpoint()?, move |connected| {
        connected.expect("a connection");
        ask(client, vec![0; 4096], messages);
    });
    acceptor.async_accept(|accepted| answer(accepted.expect("a client").0, vec![0; 4096]));
    io.run_for(std::time::Duration::from_secs(60))?;
    assert!(io.stopped(), "stuck: {io:#?}");
    Ok(())
}

fn ask(socket: tcp::Socket, buffer: Vec<u8>, messages: u32) {
    if messages == 0 {
        return;
    }
    socket.clone().async_write(Part::to(buffer, 64), move |(wrote, part)| {
        wrote.expect("a write");
        socket.clone().async_read_some(part.into_inner(), move |(read, buffer)| {
            assert_eq!(read.expect("an answer"), 64);
            ask(socket, buffer, messages - 1);
        });
    });
}

fn answer(socket: tcp::Socket, buffer: Vec<u8>) {
    socket.clone().async_read_some(buffer, move |(read, buffer)| match read {
        Ok(0) | Err(_) => {}
        Ok(n) => {
            socket.clone().async_write(Part::to(buffer, n), move |(wrote, part)| {
                wrote.expect("a write");
                answer(socket, part.into_inner());
            });
        }
    });
}
