//! The session without a socket and without a clock: the test plays the client.

use crate::request::HEAD_MAX;
use crate::session::Http;
use crate::site::Site;
use ioctx::session::{Connection, Session};
use ioctx::testing::Harness;
use std::rc::Rc;
use std::time::Duration;

const IDLE: Duration = Duration::from_secs(60);

fn client() -> Harness {
    Harness::new(Http::new(&Rc::new(Site::new()), IDLE))
}

/// What a fresh server sends for these bytes, which come in one piece.
fn answer_to(request: &str) -> String {
    let client = client();
    client.receive(request.as_bytes());
    text(client.sent())
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).expect("the site is text")
}

/// A server shuts down when its test notifies the session.
struct Stopping(Http);

impl Session for Stopping {
    fn received(&mut self, connection: &Connection, bytes: &[u8]) -> usize {
        self.0.received(connection, bytes)
    }

    fn drained(&mut self, connection: &Connection) {
        self.0.drained(connection);
    }

    fn notified(&mut self, connection: &Connection) {
        self.0.stopping(connection);
    }
}

/// What is sent to a client that says `before`, and `after` when the server shuts down.
#[track_caller]
fn stopped_between(before: &str, after: &str) -> String {
    let client = Harness::new(Stopping(Http::new(&Rc::new(Site::new()), IDLE)));
    client.peer_takes(100_000);
    client.receive(before.as_bytes());
    client.connection().notify();
    client.settle();
    client.peer_resumes();
    client.receive(after.as_bytes());
    let sent = text(client.sent());
    assert!(client.saw_eof(), "the connection closes: {sent}");
    sent
}

/// The status lines among the lines sent.
fn statuses(sent: &str) -> Vec<&str> {
    sent.lines().filter_map(|line| line.strip_prefix("HTTP/1.1 ")).collect()
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: here\r\n\r\n")
}

/// The server answers with this status, and closes when that is sent.
#[track_caller]
fn expect_refusal(request: &[u8], status: &str) {
    let client = client();
    client.receive(request);
    let sent = text(client.sent());
    assert_eq!(statuses(&sent), [status]);
    assert!(sent.contains("\r\nConnection: close\r\n"), "{sent}");
    assert!(client.saw_eof() && client.is_open(), "it waits until the client has read that");
    client.peer_eof();
    assert!(!client.is_open());
}

#[test]
fn a_page_is_answered_and_the_connection_stays() {
    let client = client();
    for _ in 0..2 {
        client.receive(get("/").as_bytes());
        let sent = text(client.sent());
        let (head, body) = sent.split_once("\r\n\r\n").expect("a head");
        assert_eq!(
            head,
            format!("HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\nContent-Length: {}", body.len())
        );
        assert_eq!(body, include_str!("hello.html"));
    }
    assert!(client.is_open() && !client.saw_eof());
}

#[test]
fn a_request_may_come_byte_by_byte() {
    let client = client();
    client.receive_bytewise(get("/?query").as_bytes());
    assert_eq!(statuses(&text(client.sent())), ["200 OK"]);
}

fn pipeline() -> String {
    [
        "\r\n",
        &get("/"),
        "POST / HTTP/1.1\nHost: here\nContent-Length: 5\n\nGET /",
        "HEAD /bytes/7 HTTP/1.1\r\nhost: here\r\n\r\n",
        &get("/nowhere"),
        &get("/bytes/3"),
    ]
    .concat()
}

#[test]
fn a_pipeline_may_be_cut_anywhere() {
    let pipeline = pipeline();
    let whole = answer_to(&pipeline);
    let expected = ["200 OK", "405 Method Not Allowed", "200 OK", "404 Not Found", "200 OK"];
    assert_eq!(statuses(&whole), expected);
    for cut in 0..pipeline.len() {
        let client = client();
        client.receive(&pipeline.as_bytes()[..cut]);
        client.receive(&pipeline.as_bytes()[cut..]);
        assert_eq!(text(client.sent()), whole, "cut at {cut}");
    }
}

#[test]
fn head_tells_the_length_and_sends_no_body() {
    let sent = answer_to("HEAD /bytes/1000 HTTP/1.1\r\nHost: here\r\n\r\n");
    assert!(sent.contains("Content-Length: 1000\r\n") && sent.ends_with("\r\n\r\n"), "{sent}");
    let sent = answer_to("HEAD /nowhere HTTP/1.1\r\nHost: here\r\n\r\n");
    assert!(sent.starts_with("HTTP/1.1 404 Not Found\r\n") && sent.ends_with("\r\n\r\n"), "{sent}");
}

#[test]
fn other_methods_are_told_which_are_allowed() {
    let sent = answer_to("DELETE / HTTP/1.1\r\nHost: here\r\n\r\n");
    assert!(sent.starts_with("HTTP/1.1 405 ") && sent.contains("\r\nAllow: GET, HEAD\r\n"), "{sent}");
}

#[test]
fn the_client_says_whether_the_connection_stays() {
    for (request, line, stays) in [
        ("GET / HTTP/1.1\r\nHost: h\r\n\r\n", None, true),
        ("GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade, CLOSE\r\n\r\n", Some("Connection: close"), false),
        ("GET / HTTP/1.0\r\n\r\n", Some("Connection: close"), false),
        ("GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n", Some("Connection: keep-alive"), true),
        ("GET / HTTP/1.0\r\nConnection: keep-alive\r\nConnection: close\r\n\r\n", Some("Connection: close"), false),
    ] {
        let client = client();
        client.receive(request.as_bytes());
        client.receive(get("/stats").as_bytes());
        let sent = text(client.sent());
        assert_eq!(sent.lines().find(|line| line.starts_with("Connection")), line, "{request}");
        assert_eq!(statuses(&sent).len(), if stays { 2 } else { 1 }, "{request}");
        assert_eq!(client.saw_eof(), !stays, "{request}");
    }
}

#[test]
fn what_cannot_be_understood_is_refused() {
    expect_refusal(b"\x16\x03\x01\x02\x00\x01", "400 Bad Request"); // TLS, to the wrong port
    expect_refusal(b"hello?\r\n", "400 Bad Request");
    expect_refusal(b"GET / HTTP/1.1\r\n\r\n", "400 Bad Request"); // no Host
    expect_refusal(b"GET / HTTP/2.0\r\n", "505 HTTP Version Not Supported");
    for length in ["+1", "-1", "1x", "", "1, 1", "99999999999999999999"] {
        let request = format!("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: {length}\r\n\r\n");
        expect_refusal(request.as_bytes(), "400 Bad Request");
    }
    expect_refusal(b"POST / HTTP/1.0\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", "400 Bad Request");
    expect_refusal(b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "411 Length Required");
}

#[test]
fn requests_before_garbage_are_answered_and_those_behind_are_not() {
    let sent = answer_to(&[&get("/"), "garbage\r\n\r\n", &get("/")].concat());
    assert_eq!(statuses(&sent), ["200 OK", "400 Bad Request"]);
}

#[test]
fn a_head_has_its_limits() {
    let long = format!("GET / HTTP/1.1\r\nHost: h\r\nX: {}", "x".repeat(HEAD_MAX));
    expect_refusal(long.as_bytes(), "431 Request Header Fields Too Large");
    expect_refusal(format!("{long}\r\n\r\n").as_bytes(), "431 Request Header Fields Too Large");
    let many = format!("GET / HTTP/1.1\r\n{}", "X: x\r\n".repeat(100));
    expect_refusal(many.as_bytes(), "431 Request Header Fields Too Large");
    let client = client();
    client.receive_bytewise(&long.as_bytes()[..HEAD_MAX - 1]);
    assert_eq!(client.sent(), b"");
    client.receive(b"x");
    assert_eq!(statuses(&text(client.sent())), ["431 Request Header Fields Too Large"]);
}

#[test]
fn a_body_of_any_length_goes_by_before_the_answer() {
    let client = client();
    let body = vec![b'x'; 1 << 20];
    client.receive(format!("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: {}\r\n\r\n", 4 << 20).as_bytes());
    for _ in 0..4 {
        assert_eq!(client.sent(), b"");
        client.receive(&body);
    }
    assert_eq!(statuses(&text(client.sent())), ["405 Method Not Allowed"]);
    client.receive(get("/").as_bytes());
    assert_eq!(statuses(&text(client.sent())), ["200 OK"]);
}

#[test]
fn a_client_that_asks_before_it_sends_a_body_is_told_to_go_on() {
    let client = client();
    client.receive(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n");
    assert_eq!(client.sent(), b"HTTP/1.1 100 Continue\r\n\r\n");
    client.receive(b"ab");
    assert_eq!(statuses(&text(client.sent())), ["405 Method Not Allowed"]);
}

#[test]
fn a_long_answer_waits_for_its_client_in_bounded_memory() {
    const LENGTH: usize = 10_000_000;
    let client = client();
    client.peer_stalls();
    client.receive([get(&format!("/bytes/{LENGTH}")), get("/stats")].concat().as_bytes());
    let mut sent = Vec::new();
    for _ in 0..100 {
        assert!((1..200_000).contains(&client.connection().queued()), "{}", client.connection().queued());
        client.peer_takes(50_000);
        sent.extend(client.sent());
    }
    assert_eq!(sent.len(), 100 * 50_000);
    client.peer_resumes();
    sent.extend(client.sent());
    let sent = text(sent);
    assert_eq!(statuses(&sent), ["200 OK", "200 OK"], "the next request had to wait");
    let (_, body) = sent.split_once("\r\n\r\n").expect("a head");
    assert!(body[..LENGTH].split_inclusive('\n').all(|line| body.starts_with(line)), "the same line again and again");
    assert!(body[LENGTH..].starts_with("HTTP/1.1"));
}

#[test]
fn a_pipeline_whose_answers_nobody_reads_waits() {
    const REQUESTS: usize = 10_000;
    let client = client();
    client.peer_stalls();
    client.receive(get("/").repeat(REQUESTS).as_bytes());
    assert!(client.connection().queued() < 200_000, "{}", client.connection().queued());
    client.peer_resumes();
    assert_eq!(statuses(&text(client.sent())).len(), REQUESTS);
}

#[test]
fn a_client_that_has_said_all_still_gets_its_answers() {
    let client = client();
    client.peer_stalls();
    client.receive([get("/bytes/1000000"), get("/")].concat().as_bytes());
    client.peer_eof();
    client.peer_resumes();
    assert_eq!(statuses(&text(client.sent())), ["200 OK", "200 OK"]);
    assert!(!client.is_open());
}

#[test]
fn the_end_amid_a_request_ends_the_connection() {
    for part in ["GET / HT", "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\nabc"] {
        let client = client();
        client.receive(part.as_bytes());
        client.peer_eof();
        assert_eq!(client.sent(), b"");
        assert!(!client.is_open());
    }
}

#[test]
fn a_silent_client_is_let_go() {
    let client = client();
    client.advance(IDLE - Duration::from_secs(1));
    client.receive(get("/").as_bytes());
    client.advance(IDLE - Duration::from_secs(1));
    assert!(client.is_open());
    client.advance(Duration::from_secs(1));
    assert!(!client.is_open());
}

#[test]
fn a_client_that_does_not_read_is_let_go() {
    let client = client();
    client.peer_takes(1000);
    client.receive(get("/bytes/1000000").as_bytes());
    client.advance(IDLE);
    assert!(!client.is_open());
}

#[test]
fn a_reset_amid_an_answer_ends_the_connection() {
    let client = client();
    client.peer_stalls();
    client.receive(get("/bytes/1000000").as_bytes());
    client.reset();
    assert!(!client.is_open());
}

#[test]
fn a_server_that_shuts_down_gives_the_answers_that_are_due() {
    assert_eq!(stopped_between("", ""), "");
    assert_eq!(statuses(&stopped_between(&get("/"), &get("/"))), ["200 OK"]);
    let sent = stopped_between(&get("/bytes/1000000"), &get("/"));
    assert_eq!(statuses(&sent), ["200 OK"]);
    assert!(sent.len() > 1_000_000);
    let sent = stopped_between("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\nab", "cd");
    assert!(sent.contains("Connection: close\r\n"), "{sent}");
}

/// Goal: no bytes make a panic, and the pieces they come in make no difference. Method: a pipeline with some bytes
/// changed, in one piece and in random ones.
#[test]
fn garbage_is_answered_the_same_in_whatever_pieces_it_comes() {
    let mut state = 1_u64;
    let mut random = move |below: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % below
    };
    for _ in 0..300 {
        let mut bytes = pipeline().into_bytes();
        for _ in 0..random(4) {
            let at = random(bytes.len());
            bytes[at] = b"\r\n \0:*$-19Gx\xff"[random(13)];
        }
        bytes.push(b'\n'); // A head is looked at when a line of it has ended.
        let (whole, pieces) = (client(), client());
        whole.receive(&bytes);
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let (piece, behind) = rest.split_at(1 + random(rest.len().min(40)));
            pieces.receive(piece);
            rest = behind;
        }
        let sent = whole.sent();
        assert_eq!(text(pieces.sent()), text(sent), "{}", bytes.escape_ascii());
        assert_eq!(pieces.saw_eof(), whole.saw_eof(), "{}", bytes.escape_ascii());
    }
}
