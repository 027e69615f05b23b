//! What a command is answered with, and how that is sent.

use crate::request::Malformed;
use ioctx::session::{Connection, Sent};
use std::io::IoSlice;
use std::rc::Rc;

#[derive(Debug, PartialEq, Eq)]
pub enum Reply<'a> {
    Simple(&'static str),
    Error(String),
    Integer(i64),
    /// There is no such value.
    Nil,
    /// A part of the request.
    Echo(&'a [u8]),
    Value(Rc<[u8]>),
    EmptyArray,
}

/// A value of this size is worth sharing: while it waits for the client it is the one in the store, not a copy.
const LARGE: usize = 16 * 1024;

impl Reply<'_> {
    pub fn count(count: usize) -> Self {
        Reply::Integer(i64::try_from(count).unwrap_or(i64::MAX))
    }

    pub fn send(&self, connection: &Connection) -> Sent {
        match self {
            Reply::Simple(text) => send(connection, [b"+", text.as_bytes(), b"\r\n"]),
            Reply::Error(text) => send(connection, [b"-", in_one_line(text).as_bytes(), b"\r\n"]),
            Reply::Integer(number) => send(connection, [b":", number.to_string().as_bytes(), b"\r\n"]),
            Reply::Nil => connection.send(b"$-1\r\n"),
            Reply::Echo(bytes) => send(connection, [&length(bytes), bytes, b"\r\n"]),
            Reply::Value(value) if value.len() < LARGE => send(connection, [&length(value), value, b"\r\n"]),
            Reply::Value(value) => {
                connection.send(&length(value));
                connection.send_shared(value);
                connection.send(b"\r\n")
            }
            Reply::EmptyArray => connection.send(b"*0\r\n"),
        }
    }
}

impl From<Malformed> for Reply<'_> {
    fn from(malformed: Malformed) -> Self {
        let what = match malformed {
            Malformed::ArrayLength => "invalid multibulk length".to_owned(),
            Malformed::StringLength => "invalid bulk length".to_owned(),
            Malformed::NoString(byte) => format!("expected '$', got '{}'", char::from(byte)),
            Malformed::LongLine => "too big inline request".to_owned(),
        };
        Reply::Error(format!("ERR Protocol error: {what}"))
    }
}

fn send(connection: &Connection, parts: [&[u8]; 3]) -> Sent {
    connection.send_vectored(&parts.map(IoSlice::new))
}

/// The line before a string.
fn length(string: &[u8]) -> Vec<u8> {
    format!("${}\r\n", string.len()).into_bytes()
}

/// An error may quote what a client has sent; a line end in it would begin another reply.
fn in_one_line(text: &str) -> String {
    text.replace(['\r', '\n'], " ")
}
