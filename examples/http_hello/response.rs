//! An answer, as it goes over the wire.

use crate::request::{Afterwards, Request};
use crate::site::{Answer, Body, Site, Status};
use ioctx::session::{Connection, Sent};
use std::io::IoSlice;

pub const CONTINUE: &str = "HTTP/1.1 100 Continue\r\n\r\n";

#[derive(Debug)]
pub struct Response {
    answer: Answer,
    pub afterwards: Afterwards,
    /// It answers `HEAD`, which wants to know all about the body but not the body.
    head_only: bool,
}

impl Response {
    pub fn to(request: &Request<'_>, site: &Site) -> Response {
        Response {
            answer: site.answer(request.method, request.path),
            afterwards: request.afterwards,
            head_only: request.method == "HEAD",
        }
    }

    /// Where the request ends is not known, so the connection must end with the answer.
    pub fn refusal(status: Status) -> Response {
        Response { answer: Answer::status(status), afterwards: Afterwards::Close, head_only: false }
    }

    /// Sends all of it, except for filler. Tells how many bytes of that are to follow.
    pub fn send(&self, connection: &Connection) -> (Sent, u64) {
        let head = self.head();
        match &self.answer.body {
            Body::Text(text) if !self.head_only => {
                (connection.send_vectored(&[IoSlice::new(head.as_bytes()), IoSlice::new(text.as_bytes())]), 0)
            }
            Body::Filler(length) if !self.head_only => (connection.send(head.as_bytes()), *length),
            _ => (connection.send(head.as_bytes()), 0),
        }
    }

    fn head(&self) -> String {
        let Answer { status, media_type, body } = &self.answer;
        let allow = if *status == Status::METHOD_NOT_ALLOWED { "Allow: GET, HEAD\r\n" } else { "" };
        let connection = match self.afterwards {
            Afterwards::Stay => "",
            Afterwards::StayAsAsked => "Connection: keep-alive\r\n",
            Afterwards::Close => "Connection: close\r\n",
        };
        format!(
            "HTTP/1.1 {}\r\nContent-Type: {media_type}\r\nContent-Length: {}\r\n{allow}{connection}\r\n",
            status.0,
            body.len()
        )
    }
}
