//! Connections that break while somebody else's code sends to them.

mod util;

use ioctx::ip::tcp::Socket;
use ioctx::session::{self, Connection, Reason, Session};
use std::io::{self, Write};
use std::net::Shutdown;
use std::time::Duration;
use util::{Record, context, tcp_pair};

/// Stays when its peer ends; records what it is told.
struct Patient(Record<String>);

impl Session for Patient {
    fn received(&mut self, connection: &Connection, bytes: &[u8]) -> usize {
        self.0.push("received".into());
        connection.pause();
        bytes.len()
    }

    fn eof(&mut self, _: &Connection) {
        self.0.push("eof".into());
    }

    fn closed(&mut self, _: &Connection, reason: Reason) {
        self.0.push(reason.to_string());
    }
}

/// Goal: the write that fails is made from outside, when nothing is read any more: after the peer's end, or paused. The
/// kernel tells of the reset there and not again, so the connection must end by that.
#[test]
fn a_large_send_that_fails_ends_the_connection() -> io::Result<()> {
    for ends in [true, false] {
        let mut io = context();
        let told = Record::new();
        let (ours, mut theirs) = tcp_pair();
        let connection = session::adopt(Socket::from_std(&io, ours.into())?, Patient(told.clone()))?;
        if ends {
            theirs.shutdown(Shutdown::Write)?
        } else {
            theirs.write_all(b"pause")?
        }
        while told.len() == 0 {
            io.run_one()?;
        }
        assert_eq!(told.take(), [if ends { "eof" } else { "received" }]);

        socket2::SockRef::from(&theirs).set_linger(Some(Duration::ZERO))?;
        drop(theirs); // The reset is there at once.
        connection.send(&[0; 100_000]);
        io.run()?;
        assert_eq!(told.len(), 1, "how it has ended");
        assert!(!connection.is_open());
    }
    Ok(())
}
