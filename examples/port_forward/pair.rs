//! A client and the target it is forwarded to: two sessions, which carry over to each other what their peers do.
//!
//! | what one end does | what the other end sees |
//! |---|---|
//! | sends | the same bytes |
//! | does not read | it cannot send: reading from it pauses until the queue has drained |
//! | ends its stream | the end of the stream, behind all bytes; the other direction goes on |
//! | resets, or cannot be reached | a reset |
//!
//! The two directions do not wait for each other: an end that does not read is still read from. Two ends that first
//! send, and read afterwards, would otherwise wait for ever.

use ioctx::session::{Connection, Idle, Reason, Sent, Session};
use slab::Slab;
use std::cell::{Cell, OnceCell, RefCell};
use std::rc::{Rc, Weak};
use std::time::Duration;

/// What the two sides share.
pub struct Pair {
    /// The client's connection and the target's, each as soon as there is one.
    connections: [OnceCell<Connection>; 2],
    /// One of the two has ended.
    over: Cell<bool>,
    pairs: Rc<Pairs>,
    key: usize,
}

const CLIENT: usize = 0;
const TARGET: usize = 1;

impl Pair {
    /// The sessions of a new pair: the client's and the target's.
    pub fn sides(pairs: &Rc<Pairs>) -> (Side, Side) {
        let mut all = pairs.all.borrow_mut();
        let entry = all.vacant_entry();
        let (pairs, key) = (Rc::clone(pairs), entry.key());
        let pair = Rc::new(Pair { connections: Default::default(), over: Cell::new(false), pairs, key });
        entry.insert(Rc::downgrade(&pair));
        (Side::new(&pair, CLIENT), Side::new(&pair, TARGET))
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        self.pairs.all.borrow_mut().remove(self.key);
    }
}

/// All pairs of which a side has not ended.
pub struct Pairs {
    idle_timeout: Option<Duration>,
    all: RefCell<Slab<Weak<Pair>>>,
}

impl Pairs {
    pub fn new(idle_timeout: Option<Duration>) -> Rc<Pairs> {
        Rc::new(Pairs { idle_timeout, all: RefCell::default() })
    }

    /// Ends them: all clients and all targets see a reset.
    pub fn abort(&self) {
        let pairs: Vec<_> = self.all.borrow().iter().filter_map(|(_, pair)| pair.upgrade()).collect();
        for connection in pairs.iter().flat_map(|pair| &pair.connections).filter_map(OnceCell::get) {
            connection.abort();
        }
    }
}

/// The session of one of the two connections.
pub struct Side {
    pair: Rc<Pair>,
    which: usize,
    /// Its peer can be reached.
    opened: bool,
    /// Its peer has ended its stream.
    ended: bool,
}

impl Side {
    fn new(pair: &Rc<Pair>, which: usize) -> Side {
        Side { pair: Rc::clone(pair), which, opened: false, ended: false }
    }

    /// Tells this side of the other one's connection, which need not be open yet: it queues what it is sent.
    pub fn knows(&self, other: Connection) {
        let _ = self.pair.connections[1 - self.which].set(other);
    }

    fn other(&self) -> Option<&Connection> {
        self.pair.connections[1 - self.which].get()
    }
}

impl Session for Side {
    fn opened(&mut self, connection: &Connection) {
        self.opened = true;
        connection.set_idle_timeout(self.pair.pairs.idle_timeout);
        connection.set_pause_above_high(false);
        let _ = self.pair.connections[self.which].set(connection.clone());
        match self.other() {
            _ if self.pair.over.get() => connection.abort(),
            Some(other) => other.resume(),
            None => connection.pause(), // There is nobody yet to send to.
        }
    }

    fn received(&mut self, connection: &Connection, bytes: &[u8]) -> usize {
        if self.other().is_some_and(|other| other.send(bytes) == Sent::AboveHigh) {
            connection.pause();
        }
        bytes.len()
    }

    fn drained(&mut self, _: &Connection) {
        if let Some(other) = self.other() {
            other.resume();
        }
    }

    fn eof(&mut self, _: &Connection) {
        self.ended = true;
        if let Some(other) = self.other() {
            other.shutdown_send();
        }
    }

    /// The peer has gone without a word, or waits for one that has.
    fn idle(&mut self, connection: &Connection) -> Idle {
        connection.abort();
        Idle::Keep
    }

    /// Only the two ends know when they are done; so they go on, until `Pairs::abort`.
    fn stopping(&mut self, _: &Connection) {}

    fn closed(&mut self, connection: &Connection, reason: Reason) {
        self.pair.over.set(true);
        self.log(connection, &reason);
        match (self.other(), reason) {
            (None, _) | (_, Reason::Finished) => {} // What is still queued for the other end leaves.
            // It had said all that it had to say, and that still arrives. What the other end says has no reader now.
            (Some(other), Reason::Error(_)) if self.ended => other.close_after_flush(Duration::MAX),
            (Some(other), _) => other.abort(),
        }
    }
}

impl Side {
    fn log(&self, connection: &Connection, reason: &Reason) {
        let peer = connection.remote_endpoint();
        let peer = peer.as_ref().map_or("?".into(), ToString::to_string);
        if self.opened {
            log::debug!("{peer}: {reason}");
        } else {
            log::error!("cannot connect to {peer}: {reason}");
        }
    }
}
