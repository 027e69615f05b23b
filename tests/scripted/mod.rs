//! A session that notes what it is told, does what a test says, and notices when it is called where it must not be.
#![allow(dead_code)] // Every test file takes what it needs.

use crate::util::Record;
use ioctx::Handle;
use ioctx::session::{self, Connection, Idle, Reason, Session};
use std::cell::Cell;
use std::io;
use std::net::TcpStream;
use std::time::Duration;

thread_local! {
    /// A method of some session runs, or a call into the library that must call none.
    static BUSY: Cell<bool> = const { Cell::new(false) };
}

/// Marks this thread as busy, until dropped, by a panic too.
struct Busy(bool);

impl Busy {
    fn begin(what: &str) -> Busy {
        assert!(!BUSY.replace(true), "P4: {what} was called inside a call");
        Busy(false)
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        BUSY.set(self.0);
    }
}

/// Makes calls into the library, from outside of all sessions; fails if one of them calls a method of a session.
pub fn calling_nobody<R>(calls: impl FnOnce() -> R) -> R {
    let _busy = Busy::begin("the test");
    calls()
}

type Act<R = ()> = Box<dyn FnMut(&Connection) -> R>;
type Receive = Box<dyn FnMut(&Connection, &[u8]) -> usize>;
type End = Box<dyn FnMut(&Connection, &Reason)>;

/// By default it consumes everything, and leaves the rest to the library.
pub struct Script {
    told: Record<String>,
    opened: Option<Act>,
    received: Option<Receive>,
    drained: Option<Act>,
    eof: Option<Act>,
    idle: Option<Act<Idle>>,
    notified: Option<Act>,
    stopping: Option<Act>,
    closed: Option<End>,
}

macro_rules! setters {
    ($($method:ident: $field:ident, $($argument:ty),* $(=> $result:ty)?;)*) => { $(
        pub fn $method(mut self, act: impl FnMut($($argument),*) $(-> $result)? + 'static) -> Self {
            self.$field = Some(Box::new(act));
            self
        }
    )* };
}

impl Script {
    /// What it is told goes into `told`, one line each: `opened`, `received abc`, `closed finished`, `dropped`.
    pub fn new(told: &Record<String>) -> Script {
        let told = told.clone();
        let (opened, received, drained, eof) = (None, None, None, None);
        let (idle, notified, stopping, closed) = (None, None, None, None);
        Script { told, opened, received, drained, eof, idle, notified, stopping, closed }
    }

    /// Sends back what arrives.
    pub fn echo(told: &Record<String>) -> Script {
        Script::new(told).on_received(|connection, bytes| {
            connection.send(bytes);
            bytes.len()
        })
    }

    setters! {
        on_opened: opened, &Connection;
        on_received: received, &Connection, &[u8] => usize;
        on_drained: drained, &Connection;
        on_eof: eof, &Connection;
        on_idle: idle, &Connection => Idle;
        on_notified: notified, &Connection;
        on_stopping: stopping, &Connection;
        on_closed: closed, &Connection, &Reason;
    }
}

/// The library's own behaviour.
struct Plain;

impl Session for Plain {
    fn received(&mut self, _: &Connection, bytes: &[u8]) -> usize {
        bytes.len()
    }
}

impl Session for Script {
    fn opened(&mut self, connection: &Connection) {
        let _busy = Busy::begin("opened");
        self.told.push("opened".into());
        self.opened.as_mut().map_or_else(|| Plain.opened(connection), |act| act(connection));
    }

    fn received(&mut self, connection: &Connection, bytes: &[u8]) -> usize {
        let _busy = Busy::begin("received");
        assert!(!bytes.is_empty(), "received nothing");
        self.told.push(match bytes.len() {
            ..=40 => format!("received {}", bytes.escape_ascii()),
            many => format!("received {many} bytes"),
        });
        self.received.as_mut().map_or(bytes.len(), |act| act(connection, bytes))
    }

    fn drained(&mut self, connection: &Connection) {
        let _busy = Busy::begin("drained");
        self.told.push("drained".into());
        self.drained.as_mut().map_or_else(|| Plain.drained(connection), |act| act(connection));
    }

    fn eof(&mut self, connection: &Connection) {
        let _busy = Busy::begin("eof");
        self.told.push("eof".into());
        self.eof.as_mut().map_or_else(|| Plain.eof(connection), |act| act(connection));
    }

    fn idle(&mut self, connection: &Connection) -> Idle {
        let _busy = Busy::begin("idle");
        self.told.push("idle".into());
        self.idle.as_mut().map_or_else(|| Plain.idle(connection), |act| act(connection))
    }

    fn notified(&mut self, connection: &Connection) {
        let _busy = Busy::begin("notified");
        self.told.push("notified".into());
        self.notified.as_mut().map_or_else(|| Plain.notified(connection), |act| act(connection));
    }

    fn stopping(&mut self, connection: &Connection) {
        let _busy = Busy::begin("stopping");
        self.told.push("stopping".into());
        self.stopping.as_mut().map_or_else(|| Plain.stopping(connection), |act| act(connection));
    }

    fn closed(&mut self, connection: &Connection, reason: Reason) {
        let _busy = Busy::begin("closed");
        self.told.push(match &reason {
            Reason::Error(error) => format!("closed {:?}", error.kind()),
            reason => format!("closed {reason:?}"),
        });
        if let Some(act) = &mut self.closed {
            act(connection, &reason);
        }
    }
}

impl Drop for Script {
    fn drop(&mut self) {
        self.told.push("dropped".into());
    }
}

/// A TCP connection with a session at our end; the peer's is for the test, blocking, but not for ever.
pub fn adopted(context: &impl AsRef<Handle>, session: impl Session) -> io::Result<(Connection, TcpStream)> {
    let (socket, peer) = crate::net::connection(context)?;
    peer.set_read_timeout(Some(crate::util::STUCK))?;
    peer.set_write_timeout(Some(crate::util::STUCK))?;
    Ok((calling_nobody(|| session::adopt(socket, session))?, peer))
}

/// The same, with little memory between the two, so that a large write has to wait for its reader.
pub fn narrow(context: &impl AsRef<Handle>, session: impl Session) -> io::Result<(Connection, TcpStream)> {
    let (socket, peer) = crate::net::connection(context)?;
    socket.set_option(ioctx::option::SendBufferSize(64 * 1024))?;
    socket2::SockRef::from(&peer).set_recv_buffer_size(128 * 1024)?;
    peer.set_read_timeout(Some(crate::util::STUCK))?;
    Ok((session::adopt(socket, session)?, peer))
}

/// Bytes of which each tells its place.
pub fn pattern(start: usize, len: usize) -> Vec<u8> {
    (start..start + len).map(|n| (n % 251) as u8 ^ (n / 251 % 256) as u8).collect()
}

pub const SOON: Duration = Duration::from_secs(10);
