//! The session without a socket: the test plays the client, and holds the clock.

use crate::request::{LINE_MAX, REQUEST_MAX};
use crate::session::Client;
use crate::store::{self, Store};
use ioctx::testing::Harness;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};

const IDLE: Duration = Duration::from_secs(60);
const SECOND: Duration = Duration::from_secs(1);

/// A server with one client.
struct Served {
    client: Harness,
    store: Rc<RefCell<Store>>,
    clock: Rc<Cell<Instant>>,
}

impl Served {
    fn new() -> Served {
        let clock = Rc::new(Cell::new(Instant::now()));
        let now = Rc::clone(&clock);
        let store = Rc::new(RefCell::new(Store::new(move || now.get())));
        let client = Harness::build(|handle| {
            store::sweep(&store, handle);
            Client::new(&store, IDLE)
        });
        Served { client, store, clock }
    }

    fn another_client(&self) -> Harness {
        self.client.beside(Client::new(&self.store, IDLE))
    }

    fn advance(&self, duration: Duration) {
        self.clock.set(self.clock.get() + duration);
        self.client.advance(duration);
    }

    /// Types a line, and reads what comes back.
    #[track_caller]
    fn expect(&self, line: &str, reply: &str) {
        self.client.receive(format!("{line}\r\n").as_bytes());
        assert_eq!(text(self.client.sent()), format!("{reply}\r\n"), "{line}");
    }
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).expect("text")
}

/// A request as programs send it.
fn array(arguments: &[&str]) -> String {
    let strings: String = arguments.iter().map(|word| format!("${}\r\n{word}\r\n", word.len())).collect();
    format!("*{}\r\n{strings}", arguments.len())
}

/// The server says what is wrong, and closes when that is sent.
#[track_caller]
fn expect_malformed(request: &[u8], problem: &str) {
    let client = Served::new().client;
    client.receive(request);
    assert_eq!(text(client.sent()), format!("-ERR Protocol error: {problem}\r\n"));
    assert!(client.saw_eof() && client.is_open(), "it waits until the client has read that");
    client.peer_eof();
    assert!(!client.is_open());
}

const PIPELINE_REPLIES: &str = "+PONG\r\n+OK\r\n$5\r\nb\r\n c\r\n:1\r\n$-1\r\n$0\r\n\r\n$2\r\nhi\r\n";

fn pipeline() -> String {
    [
        "PING\r\n",
        "\r\n", // an empty line and empty arrays are passed over
        &array(&["SET", "a", "b\r\n c"]),
        "*0\r\n*-1\r\n",
        &array(&["get", "a"]),
        &array(&["DEL", "a"]),
        "get  a\n",
        &array(&["ECHO", ""]),
        &array(&["PING", "hi"]),
    ]
    .concat()
}

#[test]
fn a_pipeline_may_come_byte_by_byte() {
    let client = Served::new().client;
    client.receive_bytewise(pipeline().as_bytes());
    assert_eq!(text(client.sent()), PIPELINE_REPLIES);
}

#[test]
fn a_pipeline_may_be_cut_anywhere() {
    let pipeline = pipeline();
    for cut in 0..=pipeline.len() {
        let client = Served::new().client;
        client.receive(&pipeline.as_bytes()[..cut]);
        client.receive(&pipeline.as_bytes()[cut..]);
        assert_eq!(text(client.sent()), PIPELINE_REPLIES, "cut at {cut}");
    }
}

#[test]
fn keys_are_shared_by_all_clients() {
    let served = Served::new();
    let other = served.another_client();
    served.expect("SET greeting hello", "+OK");
    other.receive(b"GET greeting\r\n");
    assert_eq!(other.sent(), b"$5\r\nhello\r\n");
}

#[test]
fn set_has_its_conditions() {
    let served = Served::new();
    served.expect("SET k 1 XX", "$-1");
    served.expect("SET k 1 NX", "+OK");
    served.expect("SET k 2 nx", "$-1");
    served.expect("SET k 3 xx", "+OK");
    served.expect("GET k", "$1\r\n3");
    served.expect("SET k 4 NX XX", "-ERR syntax error");
    served.expect("SET k 4 EX", "-ERR syntax error");
    served.expect("SET k 4 EX 1 PX 1", "-ERR syntax error");
    served.expect("SET k 4 EX soon", "-ERR value is not an integer or out of range");
    for amount in ["EX 0", "PX -1", "EX 9223372036854775807"] {
        served.expect(&format!("SET k 4 {amount}"), "-ERR invalid expire time in 'set' command");
    }
    served.expect("GET k", "$1\r\n3");
}

#[test]
fn numbers_count_up() {
    let served = Served::new();
    served.expect("INCR n", ":1");
    served.expect("INCR n", ":2");
    served.expect("SET n -1", "+OK");
    served.expect("INCR n", ":0");
    for word in ["one", "+1", "01", "1.0", "9223372036854775808"] {
        served.expect(&format!("SET n {word}"), "+OK");
        served.expect("INCR n", "-ERR value is not an integer or out of range");
    }
    served.expect("SET n 9223372036854775807", "+OK");
    served.expect("INCR n", "-ERR increment or decrement would overflow");
}

#[test]
fn keys_are_counted_and_removed() {
    let served = Served::new();
    served.expect("SET a 1", "+OK");
    served.expect("SET b 1 EX 100", "+OK");
    served.expect("EXISTS a b c a", ":3");
    served.expect("DBSIZE", ":2");
    served.expect("DEL a a c", ":1");
    served.expect("DBSIZE", ":1");
    served.expect("FLUSHALL", "+OK");
    served.expect("DBSIZE", ":0");
    served.expect("TTL b", ":-2");
}

#[test]
fn a_key_ends_at_its_deadline() {
    let served = Served::new();
    served.expect("SET s x EX 2", "+OK");
    served.expect("SET m x PX 1500", "+OK");
    served.expect("SET e x", "+OK");
    served.expect("TTL e", ":-1");
    served.expect("EXPIRE e 3", ":1");
    served.expect("EXPIRE nothing 3", ":0");
    served.expect("TTL e", ":3");
    served.advance(SECOND);
    served.expect("TTL m", ":1"); // half a second, rounded
    served.advance(SECOND / 2);
    served.expect("EXISTS s m e", ":2");
    served.advance(SECOND / 2);
    served.expect("EXISTS s m e", ":1");
    served.expect("INCR s", ":1");
    served.expect("TTL s", ":-1");
    served.expect("EXPIRE e -1", ":1");
    served.expect("TTL e", ":-2");
    served.expect("EXPIRE s 9223372036854775807", "-ERR invalid expire time in 'expire' command");
}

#[test]
fn a_deadline_may_be_changed_and_lifted() {
    let served = Served::new();
    served.expect("SET k 1 EX 1", "+OK");
    served.expect("EXPIRE k 10", ":1");
    served.advance(2 * SECOND);
    served.expect("INCR k", ":2");
    served.expect("TTL k", ":8"); // as it was
    served.expect("SET k 1", "+OK");
    served.advance(20 * SECOND);
    served.expect("TTL k", ":-1");
}

#[test]
fn what_has_expired_is_swept_away_though_nobody_asks_for_it() {
    const KEYS: usize = 25_000; // more than one sweep takes
    let served = Served::new();
    let requests: String = (0..KEYS).map(|key| format!("SET {key} x PX {}\r\n", key % 1000 + 1)).collect();
    served.client.receive(requests.as_bytes());
    assert_eq!(text(served.client.sent()), "+OK\r\n".repeat(KEYS));
    served.expect("SET stays x", "+OK");
    assert_eq!(served.store.borrow().len(), KEYS + 1);
    served.advance(2 * SECOND);
    assert_eq!(served.store.borrow().len(), 1);
}

#[test]
fn a_key_is_gone_before_it_is_swept_away() {
    let served = Served::new();
    served.expect("SET k x PX 1", "+OK");
    served.clock.set(served.clock.get() + Duration::from_millis(1)); // The loop's clock stands still: no sweep.
    assert_eq!(served.store.borrow().len(), 1);
    served.expect("GET k", "$-1");
    assert_eq!(served.store.borrow().len(), 0);
}

#[test]
fn wrong_commands_are_told_why_and_the_connection_stays() {
    let served = Served::new();
    served.expect("GET", "-ERR wrong number of arguments for 'get' command");
    served.expect("SET k", "-ERR wrong number of arguments for 'set' command");
    served.expect("PING a b", "-ERR wrong number of arguments for 'ping' command");
    served.expect("FOO", "-ERR unknown command 'FOO', with args beginning with: ");
    served.expect("foo a b", "-ERR unknown command 'foo', with args beginning with: 'a' 'b' ");
    served.expect("HELLO 3", "-NOPROTO unsupported protocol version");
    served.expect("CONFIG GET save", "*0");
    served.expect("COMMAND DOCS", "*0");
    served.client.receive(array(&["a\r\n+b"]).as_bytes());
    assert_eq!(
        served.client.sent(),
        b"-ERR unknown command 'a  +b', with args beginning with: \r\n",
        "what a client sends cannot end a reply"
    );
    served.expect("PING", "+PONG");
}

#[test]
fn what_is_no_request_ends_the_connection() {
    expect_malformed(b"*x\r\n", "invalid multibulk length");
    expect_malformed(b"*\r\n", "invalid multibulk length");
    expect_malformed(b"*1048577\r\n", "invalid multibulk length");
    expect_malformed(b"*1\r\n:1\r\n", "expected '$', got ':'");
    expect_malformed(b"*1\r\n\r\n", "expected '$', got ' '");
    expect_malformed(b"*1\r\n$x\r\n", "invalid bulk length");
    expect_malformed(b"*1\r\n$-1\r\n", "invalid bulk length");
    expect_malformed(format!("*1\r\n${REQUEST_MAX}\r\n").as_bytes(), "invalid bulk length");
    expect_malformed(b"*1\r\n$99999999999999999999\r\n", "invalid bulk length");
    expect_malformed(&vec![b'x'; LINE_MAX + 1], "too big inline request");
    expect_malformed(&[b"*".to_vec(), vec![b'1'; LINE_MAX]].concat(), "too big inline request");
}

#[test]
fn requests_before_garbage_are_replied_to_and_those_behind_are_not() {
    let client = Served::new().client;
    client.receive(b"PING\r\n*x\r\nPING\r\n");
    assert_eq!(text(client.sent()), "+PONG\r\n-ERR Protocol error: invalid multibulk length\r\n");
}

#[test]
fn quit_is_the_last_request() {
    let client = Served::new().client;
    client.receive(b"QUIT\r\nPING\r\n");
    assert_eq!(client.sent(), b"+OK\r\n");
    assert!(client.saw_eof());
}

/// All of it is shown again with each piece; to look at all of it again each time would take minutes.
#[test]
fn a_large_request_may_come_in_small_pieces() {
    let client = Served::new().client;
    let value = "x".repeat(2_000_000);
    for piece in array(&["SET", "k", &value]).as_bytes().chunks(100) {
        client.receive(piece);
    }
    assert_eq!(client.sent(), b"+OK\r\n");
    client.receive(b"GET k\r\n");
    assert_eq!(text(client.sent()), format!("${}\r\n{value}\r\n", value.len()));
}

#[test]
fn many_arguments_may_come_in_small_pieces() {
    let served = Served::new();
    let request = array(&vec!["key"; 10_000]).replacen("$3\r\nkey", "$3\r\nDEL", 1);
    for piece in request.as_bytes().chunks(7) {
        served.client.receive(piece);
    }
    assert_eq!(served.client.sent(), b":0\r\n");
}

#[test]
fn replies_that_nobody_reads_wait_in_the_store() {
    const GETS: usize = 1000;
    let served = Served::new();
    let value = "x".repeat(100_000);
    served.client.receive(array(&["SET", "k", &value]).as_bytes());
    assert_eq!(served.client.sent(), b"+OK\r\n");
    served.client.peer_stalls();
    served.client.receive("GET k\r\n".repeat(GETS).as_bytes());
    served.client.receive(b"INCR n\r\n");
    assert!(served.client.connection().queued() < 200_000, "{}", served.client.connection().queued());
    assert_eq!(served.store.borrow().len(), 1, "what follows is not carried out yet");
    served.client.peer_takes(1000);
    let mut sent = text(served.client.sent());
    served.client.peer_resumes();
    sent += &text(served.client.sent());
    assert!(sent == format!("$100000\r\n{value}\r\n").repeat(GETS) + ":1\r\n");
}

#[test]
fn a_value_that_is_on_its_way_may_be_replaced() {
    let served = Served::new();
    let value = "x".repeat(100_000);
    let other = served.another_client();
    served.client.receive(array(&["SET", "k", &value]).as_bytes());
    served.client.peer_stalls();
    served.client.receive(b"GET k\r\n");
    other.receive(b"SET k new\r\n");
    served.client.peer_resumes();
    assert!(text(served.client.sent()) == format!("+OK\r\n$100000\r\n{value}\r\n"));
}

#[test]
fn the_end_amid_a_request_ends_the_connection() {
    for part in ["PI", "*2\r\n$4\r\nECHO\r\n$5\r\nhel"] {
        let client = Served::new().client;
        client.receive(part.as_bytes());
        client.peer_eof();
        assert_eq!(client.sent(), b"");
        assert!(!client.is_open());
    }
}

#[test]
fn a_client_that_has_said_all_still_gets_its_replies() {
    let client = Served::new().client;
    client.peer_stalls();
    client.receive("PING\r\n".repeat(100_000).as_bytes());
    client.peer_eof();
    client.peer_resumes();
    assert_eq!(text(client.sent()), "+PONG\r\n".repeat(100_000));
    assert!(!client.is_open());
}

#[test]
fn a_silent_client_is_let_go() {
    let served = Served::new();
    served.advance(IDLE - SECOND);
    served.expect("PING", "+PONG");
    served.advance(IDLE - SECOND);
    assert!(served.client.is_open());
    served.advance(SECOND);
    assert!(!served.client.is_open());
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
        let (whole, pieces) = (Served::new().client, Served::new().client);
        whole.receive(&bytes);
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let (piece, behind) = rest.split_at(1 + random(rest.len().min(40)));
            pieces.receive(piece);
            rest = behind;
        }
        let sent = whole.sent();
        assert!(pieces.sent() == sent, "{}", bytes.escape_ascii());
        assert_eq!(pieces.saw_eof(), whole.saw_eof(), "{}", bytes.escape_ascii());
    }
}
