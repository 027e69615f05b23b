//! The head of a request: what an answer depends on, borrowed from the bytes that have arrived.

use crate::site::Status;
use httparse::{EMPTY_HEADER, Error, Header};

/// The longest head that is read, and the most header lines.
pub const HEAD_MAX: usize = 16 * 1024;
const HEADERS_MAX: usize = 64;

#[derive(Debug)]
pub struct Request<'a> {
    pub method: &'a str,
    pub path: &'a str,
    pub afterwards: Afterwards,
    /// The length of the body that follows the head.
    pub body: u64,
    /// The client sends the body only when it is told to.
    pub awaits_continue: bool,
}

/// What becomes of the connection after the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Afterwards {
    /// HTTP/1.1: it stays open.
    Stay,
    /// HTTP/1.0: it stays open, since the client asked for it and is told so.
    StayAsAsked,
    Close,
}

/// Reads a request's head. Returns it with its length; `None` if it is not there as a whole yet.
///
/// # Errors
///
/// The status to refuse it with.
pub fn parse(bytes: &[u8]) -> Result<Option<(Request<'_>, usize)>, Status> {
    let mut headers = [EMPTY_HEADER; HEADERS_MAX];
    let mut request = httparse::Request::new(&mut headers);
    let length = match request.parse(bytes).map_err(status)? {
        httparse::Status::Complete(length) if length <= HEAD_MAX => length,
        httparse::Status::Partial if bytes.len() < HEAD_MAX => return Ok(None),
        _ => return Err(Status::HEAD_TOO_LARGE),
    };
    let (Some(method), Some(target), Some(version)) = (request.method, request.path, request.version) else {
        return Err(Status::BAD_REQUEST);
    };
    let said = Said::by(request.headers)?;
    let is_modern = version == 1;
    if is_modern && said.hosts != 1 {
        return Err(Status::BAD_REQUEST); // HTTP/1.1 demands it.
    }
    let path = target.split_once('?').map_or(target, |(path, _)| path);
    let afterwards = match (said.close, is_modern, said.keep_alive) {
        (true, ..) | (false, false, false) => Afterwards::Close,
        (false, true, _) => Afterwards::Stay,
        (false, false, true) => Afterwards::StayAsAsked,
    };
    let body = said.length.unwrap_or(0);
    let awaits_continue = is_modern && said.awaits_continue && body > 0;
    Ok(Some((Request { method, path, afterwards, body, awaits_continue }, length)))
}

fn status(error: Error) -> Status {
    match error {
        Error::TooManyHeaders => Status::HEAD_TOO_LARGE,
        Error::Version => Status::VERSION_NOT_SUPPORTED,
        _ => Status::BAD_REQUEST,
    }
}

/// What the header lines say, as far as it matters here.
#[derive(Default)]
struct Said {
    close: bool,
    keep_alive: bool,
    length: Option<u64>,
    awaits_continue: bool,
    hosts: usize,
}

impl Said {
    fn by(headers: &[Header<'_>]) -> Result<Said, Status> {
        let mut said = Said::default();
        for Header { name, value } in headers {
            let is = |known: &str| name.eq_ignore_ascii_case(known);
            if is("connection") {
                said.close |= has_token(value, "close");
                said.keep_alive |= has_token(value, "keep-alive");
            } else if is("content-length") {
                let length = number(value).ok_or(Status::BAD_REQUEST)?;
                if said.length.replace(length).is_some_and(|former| former != length) {
                    return Err(Status::BAD_REQUEST); // Two readers might disagree on where the next request begins.
                }
            } else if is("transfer-encoding") {
                return Err(Status::LENGTH_REQUIRED);
            } else if is("expect") {
                said.awaits_continue |= has_token(value, "100-continue");
            } else if is("host") {
                said.hosts += 1;
            }
        }
        Ok(said)
    }
}

/// Whether a comma-separated list has this token.
fn has_token(list: &[u8], token: &str) -> bool {
    list.split(|byte| *byte == b',').any(|part| part.trim_ascii().eq_ignore_ascii_case(token.as_bytes()))
}

/// Digits only: `parse` alone would take `+1`.
pub fn number(digits: &[u8]) -> Option<u64> {
    let is_plain = digits.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(digits).ok().filter(|_| is_plain)?.parse().ok()
}
