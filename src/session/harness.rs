//! `testing::Harness`: a session under test, its peer a puppet, its clock standing still.

use super::Session;
use super::endpoint::Endpoint;
use super::flow::Phase;
use super::link::{Connection, Link};
use super::transport::Transport;
use super::wire::Wire;
use crate::engine::reactor::Entry;
use crate::handle::Handle;
use crate::io_context::IoContext;
use crate::ready::Ready;
use std::cell::RefCell;
use std::fmt;
use std::panic::Location;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// Drives a [`Session`] without a socket, a thread or a sleep: the test plays the peer, and moves the clock.
///
/// The session runs in a real loop, over the code that serves real connections (but for the short cut of a TCP
/// connection that has nothing else to do); only the bytes come from here, and the time. Every method returns when the loop has nothing more to do.
///
/// ```
/// use ioctx::session::{Connection, Session};
/// use ioctx::testing::Harness;
/// use std::time::Duration;
///
/// struct Lines;
///
/// impl Session for Lines {
///     fn opened(&mut self, connection: &Connection) {
///         connection.set_idle_timeout(Some(Duration::from_secs(60)));
///     }
///
///     fn received(&mut self, connection: &Connection, bytes: &[u8]) -> usize {
///         let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
///         connection.send(&bytes[..whole]);
///         whole
///     }
/// }
///
/// let peer = Harness::new(Lines);
/// peer.receive(b"one\ntw");
/// assert_eq!(peer.sent(), b"one\n");
/// peer.receive(b"o\n");
/// assert_eq!(peer.sent(), b"two\n");
/// peer.advance(Duration::from_secs(59));
/// assert!(peer.is_open());
/// peer.advance(Duration::from_secs(1));
/// assert!(!peer.is_open());
/// ```
pub struct Harness {
    context: Rc<RefCell<Context>>,
    wire: Rc<Wire>,
    connection: Connection,
}

struct Context {
    io: IoContext,
    now: Instant,
}

/// Turns after which a loop that still has something to do is taken to be in a circle.
const TURNS: usize = 100_000;

impl Harness {
    /// Opens a connection for `session`.
    ///
    /// # Panics
    ///
    /// The system gives no context: no descriptor is free.
    #[track_caller]
    pub fn new(session: impl Session) -> Harness {
        Harness::build(|_| session)
    }

    /// Opens a connection for a session that needs a [`Handle`], for timers or channels.
    ///
    /// # Panics
    ///
    /// As [`new`](Harness::new).
    #[track_caller]
    pub fn build<S: Session>(make: impl FnOnce(&Handle) -> S) -> Harness {
        let io = IoContext::new().expect("a context for the test");
        let now = Instant::now();
        io.handle().engine.clock.hold(now);
        let context = Rc::new(RefCell::new(Context { io, now }));
        Harness::open(context, Phase::Open, make)
    }

    /// Opens one more connection in the same loop: for sessions that send to each other.
    #[track_caller]
    pub fn beside(&self, session: impl Session) -> Harness {
        Harness::open(Rc::clone(&self.context), Phase::Open, |_| session)
    }

    #[track_caller]
    fn open<S: Session>(context: Rc<RefCell<Context>>, phase: Phase, make: impl FnOnce(&Handle) -> S) -> Harness {
        let handle = context.borrow().io.handle().clone();
        let origin = handle.engine.origin(Location::caller());
        let remote = Endpoint::from(std::net::SocketAddr::from(([192, 0, 2, 1], 1)));
        let link = Link::new(&handle, origin, Some(remote), phase, None);
        let wire = Rc::new(Wire::default());
        wire.set_connecting(phase == Phase::Connecting);
        let session = Box::new(make(&handle));
        let transport = Transport::Wire(Rc::clone(&wire));
        let begun = match phase {
            Phase::Connecting => link.begin_connecting(Ok(transport), session),
            _ => link.begin(transport, session),
        };
        begun.expect("a living context");
        let harness = Harness { context, wire, connection: Connection { link } };
        harness.settle();
        harness
    }

    /// Begins to connect one more connection in the same loop, as [`session::connect`](super::connect) does: it is there
    /// when the peer [takes it](Harness::peer_accepts), and fails when it [does not](Harness::reset).
    #[track_caller]
    pub fn connecting(&self, session: impl Session) -> Harness {
        Harness::open(Rc::clone(&self.context), Phase::Connecting, |_| session)
    }

    /// The peer takes the connection that is [being made](Harness::connecting).
    pub fn peer_accepts(&self) {
        self.wire.set_connecting(false);
        self.tell(Ready::WRITABLE);
    }

    /// The server shuts down: the session is told that it is [`stopping`](Session::stopping).
    pub fn server_shuts_down(&self) {
        self.connection.link.ask_to_stop();
        self.settle();
    }

    /// The peer sends bytes, in one piece.
    pub fn receive(&self, bytes: &[u8]) {
        self.wire.peer_sends(bytes);
        self.tell(Ready::READABLE);
    }

    /// The peer sends bytes one by one.
    pub fn receive_bytewise(&self, bytes: &[u8]) {
        for byte in bytes {
            self.receive(std::slice::from_ref(byte));
        }
    }

    /// What the session has sent since the last call, as far as the peer took it.
    pub fn sent(&self) -> Vec<u8> {
        self.wire.peer_takes()
    }

    /// Moves the clock, from deadline to deadline: what is due on the way happens on the way.
    pub fn advance(&self, duration: Duration) {
        let end = self.handle().engine.clock.after(duration);
        loop {
            let step = {
                let context = self.context.borrow();
                let left = end - context.now;
                context.io.next_timeout().map_or(left, |next| next.min(left))
            };
            let now = {
                let mut context = self.context.borrow_mut();
                context.now += step;
                context.now
            };
            self.handle().engine.clock.hold(now);
            self.settle();
            if now == end {
                break;
            }
        }
    }

    /// The peer ends its stream.
    pub fn peer_eof(&self) {
        self.wire.peer_ends();
        self.tell(Ready::READABLE);
    }

    /// From here on the peer takes nothing: what is sent stays queued.
    pub fn peer_stalls(&self) {
        self.wire.set_room(Some(0));
    }

    /// From here on the peer takes this many bytes, and then stalls.
    pub fn peer_takes(&self, bytes: usize) {
        self.wire.set_room(Some(bytes));
        self.tell(Ready::WRITABLE);
    }

    /// The peer takes everything again.
    pub fn peer_resumes(&self) {
        self.wire.set_room(None);
        self.tell(Ready::WRITABLE);
    }

    /// The peer resets the connection, or refuses it.
    pub fn reset(&self) {
        self.wire.peer_resets();
        self.tell(Ready::READABLE | Ready::WRITABLE | Ready::ERROR);
    }

    /// The connection, for whatever else is to be done with it. Call [`settle`](Harness::settle) afterwards.
    pub fn connection(&self) -> &Connection {
        &self.connection
    }

    /// Lets the loop do what is to be done.
    ///
    /// # Panics
    ///
    /// There is no end to it: a session that keeps on asking for something. And whatever a session panics with.
    pub fn settle(&self) {
        let mut context = self.context.borrow_mut();
        for _ in 0..TURNS {
            context.io.poll().expect("the poller works");
            if context.io.next_timeout() != Some(Duration::ZERO) {
                return;
            }
        }
        panic!("the loop is still busy after {TURNS} turns");
    }

    /// Whether the connection has not ended yet.
    pub fn is_open(&self) -> bool {
        self.connection.link.flow.phase.get() != Phase::Ended
    }

    /// Whether the session's side has ended its stream: the peer of a socket would read the end now.
    pub fn saw_eof(&self) -> bool {
        self.wire.has_session_ended() || (!self.is_open() && !self.wire.has_session_reset())
    }

    /// Whether the session's side has [aborted](Connection::abort): the peer of a socket would see a reset now.
    pub fn saw_reset(&self) -> bool {
        self.wire.has_session_reset()
    }

    fn handle(&self) -> Handle {
        self.context.borrow().io.handle().clone()
    }

    /// An event, as the poller would tell it.
    fn tell(&self, ready: Ready) {
        self.connection.link.state.set(ready);
        let entry: Entry = self.connection.link.clone();
        self.connection.link.engine().enqueue(&entry);
        self.settle();
    }
}

impl fmt::Debug for Harness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Harness").field("connection", &self.connection).finish_non_exhaustive()
    }
}
