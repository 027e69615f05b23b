//! What is served: the pages, and what is said of those that do not exist.

use crate::request::number;
use ioctx::session::Server;
use std::borrow::Cow;
use std::cell::{Cell, OnceCell};
use std::rc::Rc;

/// Shared by all connections.
pub struct Site {
    server: OnceCell<Server>,
    requests: Cell<u64>,
    /// The lines that `/bytes/N` repeats.
    pub filler: Rc<[u8]>,
}

/// What a request is answered with.
#[derive(Debug)]
pub struct Answer {
    pub status: Status,
    pub media_type: &'static str,
    pub body: Body,
}

#[derive(Debug)]
pub enum Body {
    Text(Cow<'static, str>),
    /// So many bytes of the site's filler, over and over.
    Filler(u64),
}

/// The number and the words of a status line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status(pub &'static str);

impl Status {
    pub const OK: Status = Status("200 OK");
    pub const BAD_REQUEST: Status = Status("400 Bad Request");
    pub const NOT_FOUND: Status = Status("404 Not Found");
    pub const METHOD_NOT_ALLOWED: Status = Status("405 Method Not Allowed");
    pub const LENGTH_REQUIRED: Status = Status("411 Length Required");
    pub const HEAD_TOO_LARGE: Status = Status("431 Request Header Fields Too Large");
    pub const VERSION_NOT_SUPPORTED: Status = Status("505 HTTP Version Not Supported");
}

const LINE: &str = "The quick brown fox jumps over the lazy dog, 0123456789 times.\r\n";
const LINES: usize = 1024;

const HTML: &str = "text/html; charset=utf-8";
const PLAIN: &str = "text/plain; charset=utf-8";

impl Site {
    pub fn new() -> Site {
        Site { server: OnceCell::new(), requests: Cell::new(0), filler: Rc::from(LINE.repeat(LINES).as_bytes()) }
    }

    /// `/stats` tells what this server has counted.
    pub fn count_for(&self, server: Server) {
        let _ = self.server.set(server); // There is one.
    }

    pub fn answer(&self, method: &str, path: &str) -> Answer {
        self.requests.set(self.requests.get() + 1);
        if !matches!(method, "GET" | "HEAD") {
            return Answer::status(Status::METHOD_NOT_ALLOWED);
        }
        match path {
            "/" => Answer::ok(HTML, Body::Text(include_str!("hello.html").into())),
            "/stats" => Answer::ok(PLAIN, Body::Text(self.stats().into())),
            _ => match path.strip_prefix("/bytes/").and_then(|digits| number(digits.as_bytes())) {
                Some(length) => Answer::ok(PLAIN, Body::Filler(length)),
                None => Answer::status(Status::NOT_FOUND),
            },
        }
    }

    fn stats(&self) -> String {
        let stats = self.server.get().map(Server::stats).unwrap_or_default();
        format!(
            "requests {}\naccepted {}\nopen {}\nbytes received {}\nbytes sent {}\n",
            self.requests.get(),
            stats.accepted,
            stats.open,
            stats.bytes_received,
            stats.bytes_sent
        )
    }
}

impl Answer {
    fn ok(media_type: &'static str, body: Body) -> Answer {
        Answer { status: Status::OK, media_type, body }
    }

    /// A status that speaks for itself.
    pub fn status(status: Status) -> Answer {
        Answer { status, media_type: PLAIN, body: Body::Text(format!("{}\n", status.0).into()) }
    }
}

impl Body {
    pub fn len(&self) -> u64 {
        match self {
            Body::Text(text) => text.len() as u64,
            Body::Filler(length) => *length,
        }
    }
}
