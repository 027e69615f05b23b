//! Alone in its process, because it collects the log: `harness = false`.

use ioctx::ip::tcp;
use ioctx::{IoContext, Timer};
use log::{Level, LevelFilter, Log, Metadata, Record};
use std::io;
use std::net::Ipv4Addr;
use std::sync::Mutex;

/// Section 2: a blocking call inside a handler stops every client: the loop warns, once, and names the line.
fn main() -> io::Result<()> {
    log::set_logger(&Warnings).expect("the first logger");
    log::set_max_level(LevelFilter::Warn);
    let mut io = IoContext::new()?;
    let acceptor = tcp::Acceptor::listen_on(&io, (Ipv4Addr::LOCALHOST, 0).into())?;
    let client = tcp::Socket::new(&io);
    client.connect(acceptor.local_endpoint()?)?;
    let (server, _) = acceptor.accept()?;
    server.write(b"outside of a handler: fine")?;
    assert_eq!(warnings(), [""; 0]);
    client.set_non_blocking(true);
    let (socket, timer) = (client.clone(), Timer::new(&io));
    io.post(move || {
        socket.read_some(&mut [0; 1]).expect("non-blocking mode: fine");
    });
    assert_eq!(io.run()?, 1);
    assert_eq!(warnings(), [""; 0]);
    client.set_non_blocking(false);
    let line = line!() + 2;
    io.post(move || {
        client.read_some(&mut [0; 1]).expect("a byte");
        server.write(b"x").expect("a write");
        timer.wait().expect("a wait");
    });
    assert_eq!(io.run()?, 1);
    let warnings = warnings();
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    let place = format!("{}:{line}", file!());
    assert!(warnings[0].contains("read_some") && warnings[0].contains(&place), "{warnings:?} {place}");
    println!("a blocking call inside a handler was warned about, once");
    Ok(())
}

fn warnings() -> Vec<String> {
    WARNINGS.lock().expect("a lock").clone()
}

static WARNINGS: Mutex<Vec<String>> = Mutex::new(Vec::new());

struct Warnings;

impl Log for Warnings {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        if record.level() == Level::Warn {
            WARNINGS.lock().expect("a lock").push(record.args().to_string());
        }
    }

    fn flush(&self) {}
}
