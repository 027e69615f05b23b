//! Sessions that panic: the panic leaves through `run`, the connection ends, and everything else goes on.

mod net;
mod scripted;
mod util;

use ioctx::session::{self, Connection, Idle};
use ioctx::testing::Harness;
use net::finish;
use scripted::{SOON, Script, adopted};
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;
use util::{Record, context, run_until};

const METHODS: [&str; 8] = ["opened", "received", "drained", "eof", "idle", "notified", "stopping", "closed"];

/// Panics in one of its methods, after it has sent something there.
fn bomb(told: &Record<String>, method: &'static str) -> Script {
    let bang = |name: &'static str| {
        move |connection: &Connection| {
            if name == method {
                connection.send(b"never sent");
                panic!("{name}");
            }
        }
    };
    let (received, idle, closed) = (bang("received"), bang("idle"), bang("closed"));
    Script::new(told)
        .on_opened(bang("opened"))
        .on_drained(bang("drained"))
        .on_eof(bang("eof"))
        .on_notified(bang("notified"))
        .on_stopping(bang("stopping"))
        .on_received(move |connection, bytes| {
            received(connection);
            bytes.len()
        })
        .on_idle(move |connection| {
            idle(connection);
            Idle::Keep
        })
        .on_closed(move |connection, _| closed(connection))
}

/// Runs the loop until something panics.
fn panics(io: &mut ioctx::IoContext) -> bool {
    catch_unwind(AssertUnwindSafe(|| io.run_for(SOON))).is_err()
}

/// P6, P7, P29: a panic in any method leaves through `run`; the peer sees the end, `closed` is not told, the session is
/// dropped once, what the method had sent is not, and the neighbours are served.
#[test]
fn a_panic_in_any_method_takes_along_only_its_connection() -> io::Result<()> {
    for method in METHODS {
        let mut io = context();
        let (told, neighbour) = (Record::new(), Record::new());
        let acceptor = ioctx::ip::tcp::Acceptor::listen_on(&io, net::anywhere())?;
        let endpoint = acceptor.local_endpoint()?;
        let log = told.clone();
        let server = session::serve(acceptor, move |_| bomb(&log, method))?;
        let (_other, mut other) = adopted(&io, Script::echo(&neighbour))?;
        run_until(&mut io, || neighbour.len() == 1);
        let mut peer = std::net::TcpStream::connect(endpoint)?;
        peer.set_read_timeout(Some(util::STUCK))?;
        if method == "opened" {
            assert!(panics(&mut io), "{method}");
        } else {
            run_until(&mut io, || told.len() == 1);
            match method {
                "received" => peer.write_all(b"x")?,
                "eof" | "closed" => peer.shutdown(Shutdown::Write)?,
                "stopping" => server.shutdown(SOON),
                _ => continue, // The next test has these.
            }
            if method == "closed" {
                // By the library's own `eof`: this one's does not close.
                server.shutdown(Duration::ZERO);
            }
            assert!(panics(&mut io), "{method}");
        }
        other.write_all(b"still here")?;
        run_until(&mut io, || neighbour.len() == 2);
        io.poll()?; // The end of the turn that was left, and the next.
        let mut answer = [0; 10];
        other.read_exact(&mut answer)?;
        assert_eq!(&answer, b"still here");
        let mut bytes = Vec::new();
        let _ = peer.read_to_end(&mut bytes); // The end, or a reset.
        assert!(bytes.is_empty(), "{method}: {}", bytes.escape_ascii());
        let told = told.take();
        assert_eq!(told.iter().filter(|line| *line == "dropped").count(), 1, "{method}: {told:?}");
        assert_eq!(told.iter().any(|line| line.starts_with("closed")), method == "closed", "{told:?}");
        assert_eq!(server.stats().open, 0);
        drop(other);
        server.shutdown(Duration::ZERO);
        finish(&mut io);
    }
    Ok(())
}

/// P6: the same for the methods that need a clock or a stalled peer.
#[test]
fn a_panic_in_a_method_ends_the_connection_in_the_next_turn() {
    for method in METHODS {
        let (told, neighbour) = (Record::new(), Record::new());
        let other = Harness::new(Script::echo(&neighbour));
        let quiet = if method == "opened" { "notified" } else { method };
        let peer = other.beside(bomb(&told, quiet));
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            match quiet {
                "received" => peer.receive(b"x"),
                "drained" => {
                    peer.connection().set_watermarks(20, 30);
                    peer.peer_stalls();
                    peer.connection().send(&[7; 31]);
                    peer.settle();
                    peer.peer_resumes();
                }
                "eof" => peer.peer_eof(),
                "idle" => {
                    peer.connection().set_idle_timeout(Some(SOON));
                    peer.advance(SOON);
                }
                "notified" => peer.connection().notify(),
                "stopping" => panic!("only a server does that"),
                "closed" => peer.connection().abort(),
                other => unreachable!("{other}"),
            }
            peer.settle();
        }));
        assert!(outcome.is_err(), "{quiet}");
        peer.settle();
        if quiet == "stopping" {
            continue;
        }
        assert!(!peer.is_open(), "{quiet}");
        assert_eq!(peer.sent(), if quiet == "drained" { &[7; 31][..] } else { b"" }, "{quiet}");
        let told = told.take();
        assert_eq!(told.last().map(String::as_str), Some("dropped"));
        assert_eq!(told.iter().any(|line| line.starts_with("closed")), quiet == "closed", "{told:?}");
        other.receive(b"still here");
        assert_eq!(other.sent(), b"still here");
    }
}

/// P6: connections that are ready together and all panic: each panic leaves through a call of its own, and nobody is
/// forgotten.
#[test]
fn every_panic_of_a_batch_leaves_by_itself() -> io::Result<()> {
    let mut io = context();
    let told = Record::new();
    let mut peers = Vec::new();
    for n in 0..6 {
        let method = if n % 2 == 0 { "received" } else { "none" };
        peers.push(adopted(&io, bomb(&told, method))?);
    }
    while io.poll()? > 0 {}
    for (_, peer) in &mut peers {
        peer.write_all(b"x")?;
    }
    told.take();
    let mut seen = 0;
    while told.len() < 6 + 3 {
        seen += usize::from(catch_unwind(AssertUnwindSafe(|| io.poll())).is_err());
    }
    assert_eq!(seen, 3);
    let told = told.take();
    assert_eq!(told.iter().filter(|line| *line == "received x").count(), 6);
    assert_eq!(told.iter().filter(|line| *line == "dropped").count(), 3);
    Ok(())
}

/// P6: a session whose destructor panics: the same, and the connection is gone.
#[test]
fn a_destructor_that_panics_loses_nothing_else() -> io::Result<()> {
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            panic!("in the destructor");
        }
    }
    let mut io = context();
    let (told, other) = (Record::new(), Record::new());
    let bomb = Bomb;
    let (connection, mut peer) = adopted(
        &io,
        Script::new(&told).on_notified(move |_| {
            let _ = &bomb;
        }),
    )?;
    let (_second, mut survivor) = adopted(&io, Script::echo(&other))?;
    while io.poll()? > 0 {}
    connection.abort();
    survivor.write_all(b"x")?;
    assert!(panics(&mut io));
    run_until(&mut io, || other.len() == 2);
    assert!(peer.read(&mut [0; 1]).is_err(), "a reset");
    assert_eq!(told.take(), ["opened", "closed Aborted", "dropped"]);
    drop(survivor);
    finish(&mut io);
    Ok(())
}

/// P6: another session's connection may be ended by the one that panics; both ends are told what is theirs.
#[test]
fn what_a_panicking_method_did_before_holds() {
    let (first, second) = (Record::new(), Record::new());
    let other = Harness::new(Script::new(&second));
    let target = other.connection().clone();
    let peer = other.beside(Script::new(&first).on_notified(move |own| {
        target.send(b"bye");
        target.close_after_flush(SOON);
        own.abort();
        panic!("after that");
    }));
    peer.connection().notify();
    assert!(catch_unwind(AssertUnwindSafe(|| peer.settle())).is_err());
    peer.settle();
    assert_eq!(first.take(), ["opened", "notified", "dropped"]);
    assert!(peer.saw_reset() && !peer.is_open());
    assert_eq!(other.sent(), b"bye");
    other.peer_eof();
    assert_eq!(second.take(), ["opened", "closed Finished", "dropped"]);
}

/// P6: what it has sent to another leaves all the same.
#[test]
fn what_a_panicking_method_sent_to_another_leaves() {
    let other = Harness::new(Script::new(&Record::new()));
    let target = other.connection().clone();
    let peer = other.beside(Script::new(&Record::new()).on_received(move |_, _| {
        target.send(b"bye");
        panic!("after that");
    }));
    assert!(catch_unwind(AssertUnwindSafe(|| peer.receive(b"x"))).is_err());
    assert_eq!(other.sent(), b"bye");
}
