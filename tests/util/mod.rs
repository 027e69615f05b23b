//! What the tests share.
#![allow(dead_code)] // Every test file takes what it needs.

use ioctx::mio::net::{TcpStream, UnixStream};
use ioctx::{Handle, IoContext};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use std::cell::RefCell;
use std::io::{self, ErrorKind, IoSlice, Read};
use std::mem::MaybeUninit;
use std::net::TcpListener;
use std::os::fd::AsFd;
use std::rc::Rc;
use std::time::Duration;

/// Longer than any test takes on a loaded machine, shorter than anybody's patience.
pub const STUCK: Duration = Duration::from_secs(30);

/// A loop that fails its test when it is stuck, instead of sleeping for ever.
#[track_caller]
pub fn context() -> IoContext {
    let io = IoContext::new().expect("a context");
    watch(&io);
    io
}

/// Makes the loop panic when it still runs after a long time; costs no outstanding work.
pub fn watch(io: &Handle) {
    io.background(io.after(STUCK, |waited| assert!(waited.is_err(), "the loop is stuck")));
}

/// What handlers did, in order. Clones share it.
pub struct Record<T>(Rc<RefCell<Vec<T>>>);

impl<T> Record<T> {
    pub fn new() -> Self {
        Record(Rc::default())
    }

    pub fn push(&self, value: T) {
        self.0.borrow_mut().push(value);
    }

    /// What was recorded since the last call.
    pub fn take(&self) -> Vec<T> {
        self.0.take()
    }

    pub fn len(&self) -> usize {
        self.0.borrow().len()
    }
}

impl<T> Clone for Record<T> {
    fn clone(&self) -> Self {
        Record(Rc::clone(&self.0))
    }
}

/// Records its name when it is dropped.
pub struct Tomb(pub &'static str, pub Record<&'static str>);

impl Drop for Tomb {
    fn drop(&mut self) {
        self.1.push(self.0);
    }
}

/// A connected pair of Unix streams: ours for the loop, theirs for the test, blocking.
#[track_caller]
pub fn unix_pair() -> (UnixStream, std::os::unix::net::UnixStream) {
    let (ours, theirs) = std::os::unix::net::UnixStream::pair().expect("a pair");
    ours.set_nonblocking(true).expect("non-blocking");
    (UnixStream::from_std(ours), theirs)
}

/// A TCP connection: ours for the loop, theirs for the test, blocking.
#[track_caller]
pub fn tcp_pair() -> (TcpStream, std::net::TcpStream) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a listener");
    let theirs = std::net::TcpStream::connect(listener.local_addr().expect("its address")).expect("a connection");
    let (ours, _) = listener.accept().expect("its other end");
    theirs.set_nodelay(true).expect("no delay");
    ours.set_nonblocking(true).expect("non-blocking");
    (TcpStream::from_std(ours), theirs)
}

/// Reads what is there: the bytes, and whether the stream has ended.
pub fn drain(mut source: impl Read) -> io::Result<(Vec<u8>, bool)> {
    let (mut bytes, mut chunk) = (Vec::new(), [0; 4096]);
    loop {
        match source.read(&mut chunk) {
            Ok(0) => return Ok((bytes, true)),
            Ok(n) => bytes.extend_from_slice(&chunk[..n]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok((bytes, false)),
            Err(error) => return Err(error),
        }
    }
}

/// Runs the loop, handler by handler, until `done`.
#[track_caller]
pub fn run_until(io: &mut IoContext, mut done: impl FnMut() -> bool) {
    while !done() {
        let ran = io.run_one().expect("the poller works");
        assert!(ran == 1 || done(), "the loop ran out of work too early");
    }
}

/// Sends bytes of which a descriptor travels along: no read goes on behind them.
pub fn send_with_descriptor(stream: &std::os::unix::net::UnixStream, bytes: &[u8]) {
    let descriptors = [stream.as_fd()];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    assert!(control.push(SendAncillaryMessage::ScmRights(&descriptors)));
    let sent = sendmsg(stream, &[IoSlice::new(bytes)], &mut control, SendFlags::empty());
    assert_eq!(sent, Ok(bytes.len()));
}
