//! The list of what is outstanding on sockets: kind, object, endpoint, and the line that started it.

mod net;
mod util;

use ioctx::IoContext;
use ioctx::ip::tcp::{self, Wait};
use net::{anywhere, connection};
use std::io;

/// Section 1: every operation is listed while it is outstanding, and names the line that started it.
#[test]
fn every_operation_is_listed_with_the_line_that_started_it() -> io::Result<()> {
    let io = IoContext::new()?;
    let (ours, peer) = connection(&io)?;
    let acceptor = tcp::Acceptor::listen_on(&io, anywhere())?;
    let (peer, own) = (peer.local_addr()?.to_string(), acceptor.local_endpoint()?.to_string());
    let first = line!() + 1;
    ours.async_read([0; 1], |_| {});
    ours.async_read_some([0; 1], |_| {});
    ours.async_wait(Wait::Read, |_| {});
    ours.async_write([0; 1], |_| {});
    ours.async_write_some([0; 1], |_| {});
    ours.async_wait(Wait::Error, |_| {});
    acceptor.async_accept(|_| {});
    let expected = [
        ("async_read", "tcp::Socket", &peer),
        ("async_read_some", "tcp::Socket", &peer),
        ("async_wait", "tcp::Socket", &peer),
        ("async_write", "tcp::Socket", &peer),
        ("async_write_some", "tcp::Socket", &peer),
        ("async_wait", "tcp::Socket", &peer),
        ("async_accept", "tcp::Acceptor", &own),
    ];
    let outstanding = io.outstanding();
    let mut listed: Vec<_> = outstanding.iter().collect();
    listed.sort_by_key(|work| work.location().line());
    assert_eq!(listed.len(), expected.len(), "{outstanding}");
    for (line, (work, (kind, object, endpoint))) in (first..).zip(listed.into_iter().zip(expected)) {
        assert_eq!((work.kind(), work.object(), work.endpoint()), (kind, object, Some(&**endpoint)));
        assert_eq!((work.location().file(), work.location().line()), (file!(), line));
    }
    Ok(())
}

/// Section 1: a connecting socket is listed; a cancelled one until it is told; one that has ended is gone.
#[test]
fn an_operation_is_listed_until_its_handler_runs() -> io::Result<()> {
    let mut io = IoContext::new()?;
    let acceptor = tcp::Acceptor::listen_on(&io, anywhere())?;
    let socket = tcp::Socket::new(&io);
    let handle = io.handle().clone();
    socket.async_connect(acceptor.local_endpoint()?, move |_| assert!(handle.outstanding().is_empty()));
    let kinds = |io: &IoContext| io.outstanding().iter().map(|work| (work.kind(), work.object())).collect::<Vec<_>>();
    assert_eq!(kinds(&io), [("async_connect", "tcp::Socket")]);
    assert_eq!(io.run()?, 1);
    assert!(io.outstanding().is_empty());
    let key = socket.async_read_some([0; 1], |_| {});
    io.cancel(key);
    assert_eq!(kinds(&io), [("async_read_some", "tcp::Socket")]);
    assert!(io.outstanding().to_string().contains(file!()));
    assert_eq!(io.run()?, 1);
    assert!(io.outstanding().is_empty());
    Ok(())
}
