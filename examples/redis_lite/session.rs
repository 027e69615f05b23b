//! One client: each request is carried out and replied to, in order.

use crate::command::execute;
use crate::reply::Reply;
use crate::request::{REQUEST_MAX, Reader};
use crate::store::Store;
use ioctx::session::{Connection, Sent, Session};
use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

/// How long the client may take for what is queued when its connection closes.
const LINGER: Duration = Duration::from_secs(10);

pub struct Client {
    store: Rc<RefCell<Store>>,
    idle: Duration,
    reader: Reader,
}

/// What comes after a request.
#[derive(PartialEq, Eq)]
enum Next {
    GoOn,
    /// The client must read before it is served any further; what it has sent is shown again then.
    Wait,
    Close,
}

impl Client {
    pub fn new(store: &Rc<RefCell<Store>>, idle: Duration) -> Client {
        Client { store: Rc::clone(store), idle, reader: Reader::default() }
    }
}

impl Session for Client {
    fn opened(&mut self, connection: &Connection) {
        connection.set_idle_timeout(Some(self.idle));
        connection.set_unconsumed_limit(2 * REQUEST_MAX); // The reader has its limits; this one is never reached.
    }

    fn received(&mut self, connection: &Connection, bytes: &[u8]) -> usize {
        let mut consumed = 0;
        let mut next = Next::GoOn;
        while next == Next::GoOn && consumed < bytes.len() {
            let rest = &bytes[consumed..];
            match self.reader.read(rest) {
                Ok(Some(length)) => {
                    next = self.carry_out(connection, &rest[..length]);
                    consumed += length;
                }
                Ok(None) => break,
                Err(malformed) => {
                    Reply::from(malformed).send(connection);
                    next = Next::Close;
                }
            }
        }
        if next == Next::Close {
            connection.close_after_flush(LINGER);
            return bytes.len();
        }
        consumed
    }
}

impl Client {
    fn carry_out(&self, connection: &Connection, request: &[u8]) -> Next {
        let arguments: Vec<&[u8]> = self.reader.arguments(request).collect();
        let Some((name, arguments)) = arguments.split_first() else {
            return Next::GoOn; // An empty line, or an empty array: redis says nothing to that.
        };
        let reply = execute(&mut self.store.borrow_mut(), name, arguments);
        match reply.send(connection) {
            _ if name.eq_ignore_ascii_case(b"quit") => Next::Close,
            Sent::Accepted => Next::GoOn,
            _ => Next::Wait,
        }
    }
}
