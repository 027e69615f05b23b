//! One client: requests come in, answers go out, one after the other.
//!
//! ```text
//! Reading   a head is there              -> Skipping
//!           it is garbage                -> Closing, after a refusal
//! Skipping  the body has gone by         -> the answer is sent; then Reading, or Closing if it was the last,
//!                                           or first Sending, if it is more than the client takes now
//! Sending   the client has taken it all  -> Reading, or Closing
//! ```

use crate::request::{self, Afterwards, HEAD_MAX};
use crate::response::{CONTINUE, Response};
use crate::site::{Site, Status};
use ioctx::session::{Connection, Sent, Session};
use std::rc::Rc;
use std::time::Duration;

/// How long the client may take for what is queued when its connection closes.
const LINGER: Duration = Duration::from_secs(10);

pub struct Http {
    site: Rc<Site>,
    idle: Duration,
    doing: Doing,
}

enum Doing {
    /// Waiting for the head of a request; the first `seen` bytes are known to be no whole one.
    Reading { seen: usize },
    /// The body of a request goes by, `left` bytes of it; the response is ready.
    Skipping { left: u64, response: Response },
    /// The client must take what is queued first; then `left` bytes of filler follow.
    Sending { left: u64, afterwards: Afterwards },
    /// The last answer is given.
    Closing,
}

impl Http {
    pub fn new(site: &Rc<Site>, idle: Duration) -> Http {
        Http { site: Rc::clone(site), idle, doing: Doing::Reading { seen: 0 } }
    }
}

impl Session for Http {
    fn opened(&mut self, connection: &Connection) {
        connection.set_idle_timeout(Some(self.idle));
    }

    /// Answers all requests that are there. What is left is the beginning of one, or has to wait for
    /// [`drained`](Session::drained); either way it is shown again.
    fn received(&mut self, connection: &Connection, bytes: &[u8]) -> usize {
        let mut consumed = 0;
        while consumed < bytes.len() {
            let rest = &bytes[consumed..];
            let step = match self.doing {
                Doing::Reading { seen } => self.read_head(connection, rest, seen),
                Doing::Skipping { ref mut left, .. } => {
                    let skipped = skip(left, rest);
                    self.answer_after_body(connection);
                    skipped
                }
                Doing::Sending { .. } => 0,
                Doing::Closing => rest.len(),
            };
            if step == 0 {
                break;
            }
            consumed += step;
        }
        consumed
    }

    fn drained(&mut self, connection: &Connection) {
        if let Doing::Sending { left, afterwards } = self.doing {
            self.send_filler(connection, left, afterwards);
        }
    }

    /// An answer that is due is given in full before the connection closes.
    fn stopping(&mut self, connection: &Connection) {
        match &mut self.doing {
            Doing::Reading { .. } | Doing::Closing => connection.close_after_flush(LINGER),
            Doing::Skipping { response, .. } => response.afterwards = Afterwards::Close,
            Doing::Sending { afterwards, .. } => *afterwards = Afterwards::Close,
        }
    }
}

impl Http {
    /// Takes the head of the next request, if all of it is there. Returns its length, or 0.
    fn read_head(&mut self, connection: &Connection, bytes: &[u8], seen: usize) -> usize {
        if let Some(length) = blank_lines(bytes) {
            return length;
        }
        // A head that arrives in small pieces is looked at once per line, not once per piece.
        let is_worth_it = seen == 0 || bytes.len() >= HEAD_MAX || bytes[seen..].contains(&b'\n');
        let parsed = if is_worth_it { request::parse(bytes) } else { Ok(None) };
        match parsed {
            Ok(Some((request, length))) => {
                if request.awaits_continue && bytes.len() == length {
                    connection.send(CONTINUE.as_bytes());
                }
                self.doing = Doing::Skipping { left: request.body, response: Response::to(&request, &self.site) };
                self.answer_after_body(connection);
                length
            }
            Ok(None) => {
                self.doing = Doing::Reading { seen: bytes.len() };
                0
            }
            Err(status) => self.refuse(connection, status, bytes),
        }
    }

    fn answer_after_body(&mut self, connection: &Connection) {
        if let Doing::Skipping { left: 0, response } = &self.doing {
            let (afterwards, (sent, filler)) = (response.afterwards, response.send(connection));
            if sent == Sent::Accepted {
                self.send_filler(connection, filler, afterwards);
            } else {
                self.doing = Doing::Sending { left: filler, afterwards };
            }
        }
    }

    /// Sends filler until the client has enough to do with it. The blocks are queued, not copied.
    fn send_filler(&mut self, connection: &Connection, mut left: u64, afterwards: Afterwards) {
        let block = &self.site.filler;
        let mut sent = Sent::Accepted;
        while left > 0 && sent == Sent::Accepted {
            let length = usize::try_from(left).unwrap_or(usize::MAX).min(block.len());
            sent =
                if length == block.len() { connection.send_shared(block) } else { connection.send(&block[..length]) };
            left -= length as u64;
        }
        self.doing = if sent != Sent::Accepted {
            Doing::Sending { left, afterwards }
        } else if afterwards == Afterwards::Close {
            connection.close_after_flush(LINGER);
            Doing::Closing
        } else {
            Doing::Reading { seen: 0 }
        };
    }

    /// Nothing that follows can be understood: it is thrown away, and the connection closes.
    fn refuse(&mut self, connection: &Connection, status: Status, bytes: &[u8]) -> usize {
        Response::refusal(status).send(connection);
        connection.close_after_flush(LINGER);
        self.doing = Doing::Closing;
        bytes.len()
    }
}

/// How many of the bytes belong to a body of which so much is left.
fn skip(left: &mut u64, bytes: &[u8]) -> usize {
    let skipped = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
    *left -= skipped as u64;
    skipped
}

/// The length of the line ends before a request, which are allowed, if there are any.
fn blank_lines(bytes: &[u8]) -> Option<usize> {
    let length = bytes.iter().position(|byte| !matches!(byte, b'\r' | b'\n')).unwrap_or(bytes.len());
    (length > 0).then_some(length)
}
