//! What the tests of sockets share.
#![allow(dead_code)] // Every test file takes what it needs.

use ioctx::ip::tcp;
use ioctx::{Handle, IoContext};
use std::io;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

/// Any free port of this machine.
pub fn anywhere() -> tcp::Endpoint {
    (Ipv4Addr::LOCALHOST, 0).into()
}

/// A connection: our end for the loop, the peer's for the test, blocking and without delay.
pub fn connection(context: &impl AsRef<Handle>) -> io::Result<(tcp::Socket, TcpStream)> {
    let listener = TcpListener::bind(anywhere())?;
    let peer = TcpStream::connect(listener.local_addr()?)?;
    peer.set_nodelay(true)?;
    let socket = tcp::Socket::from_std(context, listener.accept()?.0)?;
    socket.set_option(tcp::NoDelay(true))?;
    Ok((socket, peer))
}

/// A connection with both ends on the loop.
pub fn pair(context: &impl AsRef<Handle>) -> io::Result<(tcp::Socket, tcp::Socket)> {
    let (ours, peer) = connection(context)?;
    Ok((ours, tcp::Socket::from_std(context, peer)?))
}

/// An endpoint where nobody listens, now.
pub fn nobody() -> io::Result<tcp::Endpoint> {
    TcpListener::bind(anywhere())?.local_addr()
}

/// Lets the system keep few bytes only, so that a write has to wait for its reader.
pub fn narrow(ours: &tcp::Socket, peer: &TcpStream) -> io::Result<()> {
    ours.set_option(ioctx::option::SendBufferSize(1))?;
    socket2::SockRef::from(peer).set_recv_buffer_size(1)
}

/// Waits until the kernel has bytes, or the end of the stream, for `descriptor`: what was sent over the loopback is
/// there a moment later.
pub fn wait_readable(descriptor: impl AsFd) -> io::Result<()> {
    use rustix::event::{PollFd, PollFlags, poll};
    loop {
        match poll(&mut [PollFd::new(&descriptor, PollFlags::IN)], None) {
            Err(rustix::io::Errno::INTR) => {}
            waited => return Ok(waited.map(|_| ())?),
        }
    }
}

/// Runs the loop until it has nothing to do; fails if that takes longer than any test may.
/// Returns how many handlers ran.
#[track_caller]
pub fn finish(io: &mut IoContext) -> usize {
    let ran = io.run_for(Duration::from_secs(20)).expect("the poller works");
    let left = io.outstanding();
    assert!(left.is_empty(), "still outstanding:\n{left}");
    ran
}

/// Makes turns without sleeping until `condition` holds.
#[track_caller]
pub fn poll_until(io: &mut IoContext, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        io.poll().expect("the poller works");
        assert!(start.elapsed() < Duration::from_secs(20), "it did not come to pass");
    }
}
