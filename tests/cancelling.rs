//! Cancelling and closing: all of an object, one operation by its key, from anywhere.

mod net;
mod util;

use ioctx::ip::tcp::{self, Wait};
use ioctx::{Cancel, error};
use net::{anywhere, connection, finish, narrow, pair};
use std::io::{self, Read, Write};
use std::rc::Rc;
use util::{Record, context};

fn is_aborted<T: std::fmt::Debug>(result: io::Result<T>) -> bool {
    error::is_aborted(&result.expect_err("an abort"))
}

/// P20: close aborts reads, writes and waits together, through the queue, with the bytes already transferred.
#[test]
fn close_aborts_everything_outstanding_through_the_queue() -> io::Result<()> {
    let mut io = context();
    let (ours, mut peer) = connection(&io)?;
    narrow(&ours, &peer)?;
    let seen = Record::new();
    let (read, some, write, wait, error) = (seen.clone(), seen.clone(), seen.clone(), seen.clone(), seen.clone());
    ours.async_read(vec![0; 8], move |(n, buffer)| {
        let aborted = n.unwrap_err();
        assert!(error::is_aborted(&aborted));
        assert_eq!((error::transferred(&aborted), &buffer[..3]), (3, &b"abc"[..]));
        read.push("read");
    });
    ours.async_read_some(vec![0; 8], move |(n, _)| some.push(if is_aborted(n) { "read_some" } else { "?" }));
    ours.async_write(vec![0; 10_000_000], move |(n, _)| {
        let aborted = n.unwrap_err();
        assert!(error::is_aborted(&aborted) && error::transferred(&aborted) > 0);
        write.push("write");
    });
    ours.async_wait(Wait::Write, move |waited| wait.push(if is_aborted(waited) { "wait" } else { "?" }));
    ours.async_wait(Wait::Error, move |waited| error.push(if is_aborted(waited) { "error" } else { "?" }));
    peer.write_all(b"abc")?;
    assert_eq!(io.run_for(std::time::Duration::from_millis(5))?, 0);
    ours.close();
    assert_eq!(seen.len(), 0); // P4: not inside `close`
    assert!(!ours.is_open());
    assert_eq!(finish(&mut io), 5);
    assert_eq!(seen.take(), ["read", "read_some", "write", "wait", "error"]);
    Ok(())
}

/// P20: cancel aborts what is outstanding and leaves the connection as it is.
#[test]
fn cancel_leaves_the_connection_usable() -> io::Result<()> {
    let mut io = context();
    let (ours, mut peer) = connection(&io)?;
    let seen = Record::new();
    for n in 0..3 {
        let seen = seen.clone();
        ours.async_read_some(vec![0; 8], move |(read, _)| seen.push((n, is_aborted(read))));
    }
    io.poll()?;
    ours.cancel()?;
    assert_eq!(seen.len(), 0);
    assert_eq!(finish(&mut io), 3);
    assert_eq!(seen.take(), [(0, true), (1, true), (2, true)]);
    ours.cancel()?; // nothing outstanding: nothing happens
    ours.async_read_some(vec![0; 8], |(read, _)| assert_eq!(read.unwrap(), 5));
    peer.write_all(b"still")?;
    assert_eq!(finish(&mut io), 1);
    Ok(())
}

/// P20: closing twice is fine, cancelling a closed socket is an error, and a closed socket can be opened again.
#[test]
fn close_twice_is_fine_and_open_after_close_works() -> io::Result<()> {
    let mut io = context();
    let (ours, mut peer) = connection(&io)?;
    ours.async_read_some(vec![0; 1], |(read, _)| assert!(is_aborted(read)));
    ours.close();
    ours.close();
    assert!(ours.cancel().is_err());
    assert_eq!(peer.read(&mut [0; 1])?, 0);
    let acceptor = tcp::Acceptor::listen_on(&io, anywhere())?;
    ours.connect(acceptor.local_endpoint()?)?;
    let (other, _) = acceptor.accept()?;
    ours.async_read_some(vec![0; 8], |(read, _)| assert_eq!(read.unwrap(), 5));
    other.write(b"again")?;
    assert_eq!(finish(&mut io), 2);
    Ok(())
}

/// P20: an operation that had finished keeps its result, though its object is cancelled right after.
#[test]
fn a_finished_operation_keeps_its_result() -> io::Result<()> {
    let mut io = context();
    let (ours, mut peer) = connection(&io)?;
    let seen = Record::new();
    let (first, second) = (seen.clone(), seen.clone());
    let socket = ours.clone();
    ours.async_read([0; 1], move |(read, _)| {
        socket.close();
        first.push(read.is_ok());
    });
    ours.async_read([0; 1], move |(read, _)| second.push(read.is_ok()));
    peer.write_all(b"xy")?;
    assert_eq!(finish(&mut io), 2);
    assert_eq!(seen.take(), [true, false]);
    Ok(())
}

/// P20, P14: what was cancelled before its handler ran never reports success, though its bytes had arrived.
#[test]
fn a_read_cancelled_while_its_bytes_wait_is_aborted_and_the_bytes_stay() -> io::Result<()> {
    let mut io = context();
    let (ours, mut peer) = connection(&io)?;
    let key = ours.async_read_some([0; 8], |(read, _)| {
        let aborted = read.unwrap_err();
        assert!(error::is_aborted(&aborted));
        assert_eq!(error::transferred(&aborted), 0);
    });
    peer.write_all(b"later")?;
    net::wait_readable(ours.try_clone_fd()?)?;
    assert_eq!(io.cancel(key), Cancel::Requested);
    ours.async_read_some([0; 8], |(read, bytes)| assert_eq!((read.unwrap(), &bytes[..5]), (5, &b"later"[..])));
    assert_eq!(finish(&mut io), 2);
    Ok(())
}

/// Section 1, operation keys: a key cancels its own operation and no other, whatever its kind.
#[test]
fn a_key_cancels_one_operation_of_any_kind() -> io::Result<()> {
    let mut io = context();
    let (ours, peer) = connection(&io)?;
    narrow(&ours, &peer)?;
    let acceptor = tcp::Acceptor::listen_on(&io, anywhere())?;
    // A connection attempt that stays open: the backlog of the other listener is full.
    let (_full, silent) = unanswered()?;
    let connecting = tcp::Socket::new(&io);
    let seen = Record::new();
    let tell = |name| {
        let seen = seen.clone();
        move |aborted: bool| seen.push((name, aborted))
    };
    let (read, some, write, more, wait, error) =
        (tell("read"), tell("some"), tell("write"), tell("more"), tell("wait"), tell("error"));
    let (accept, waiting, connect) = (tell("accept"), tell("waiting"), tell("connect"));
    let keys = [
        ours.async_read(vec![0; 8], move |(n, _)| read(is_aborted(n))),
        ours.async_read_some(vec![0; 8], move |(n, _)| some(is_aborted(n))),
        ours.async_write(vec![0; 10_000_000], move |(n, _)| write(is_aborted(n))),
        ours.async_write_some(vec![0; 8], move |(n, _)| more(is_aborted(n))),
        ours.async_wait(Wait::Read, move |waited| wait(is_aborted(waited))),
        ours.async_wait(Wait::Error, move |waited| error(is_aborted(waited))),
        acceptor.async_accept(move |accepted| accept(is_aborted(accepted))),
        acceptor.async_wait(Wait::Read, move |waited| waiting(is_aborted(waited))),
        connecting.async_connect(silent, move |connected| connect(is_aborted(connected))),
    ];
    assert_eq!(io.poll()?, 0);
    let names = ["read", "some", "write", "more", "wait", "error", "accept", "waiting", "connect"];
    for (key, name) in keys.into_iter().zip(names).rev() {
        assert_eq!(io.cancel(key), Cancel::Requested);
        assert_eq!(io.cancel(key), Cancel::AlreadyDone);
        assert_eq!(seen.len(), 0);
        assert_eq!(io.poll()?, 1);
        assert_eq!(seen.take(), [(name, true)]);
    }
    for key in keys {
        assert_eq!(io.cancel(key), Cancel::AlreadyDone);
    }
    assert_eq!(finish(&mut io), 0);
    Ok(())
}

/// A listener whose backlog is full, with the clients that fill it: connecting to it takes long.
fn unanswered() -> io::Result<(impl Sized, tcp::Endpoint)> {
    let listener = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None)?;
    listener.bind(&anywhere().into())?;
    listener.listen(0)?;
    let address = listener.local_addr()?;
    let mut clients = Vec::new();
    for _ in 0..8 {
        let client = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None)?;
        client.set_nonblocking(true)?;
        let _ = client.connect(&address);
        clients.push(client);
    }
    let endpoint = address.as_socket().expect("an address of the Internet");
    Ok(((listener, clients), endpoint))
}

/// Section 1, operation keys: a stale key cancels nothing, though its slot is used again.
#[test]
fn a_stale_key_never_cancels_a_newer_operation() -> io::Result<()> {
    let mut io = context();
    let mut stale = Vec::new();
    for _ in 0..20 {
        let (ours, mut peer) = connection(&io)?;
        let key = ours.async_read_some([0; 1], |(read, _)| assert_eq!(read.unwrap(), 1));
        for old in &stale {
            assert_eq!(io.cancel(*old), Cancel::AlreadyDone);
        }
        peer.write_all(b"x")?;
        assert_eq!(finish(&mut io), 1);
        stale.push(key);
        assert_eq!(io.cancel(key), Cancel::AlreadyDone);
    }
    Ok(())
}

/// Section 1, operation keys: from within its own handler an operation has ended already.
#[test]
fn a_handler_finds_its_own_operation_done() -> io::Result<()> {
    let mut io = context();
    let (ours, mut peer) = connection(&io)?;
    let key = Rc::new(std::cell::Cell::new(None));
    let (own, handle) = (Rc::clone(&key), io.handle().clone());
    let read = ours.async_read_some([0; 1], move |_| {
        assert_eq!(handle.cancel(own.get().expect("its key")), Cancel::AlreadyDone);
    });
    key.set(Some(read));
    peer.write_all(b"x")?;
    assert_eq!(finish(&mut io), 1);
    Ok(())
}

/// P10: aborts run in the order they became ready, among posted tasks too.
#[test]
fn aborts_and_posted_tasks_run_in_the_order_they_became_ready() -> io::Result<()> {
    let mut io = context();
    let (first, _peer) = connection(&io)?;
    let (second, _other) = connection(&io)?;
    let seen = Record::new();
    for (socket, name) in [(&first, "a"), (&second, "b"), (&first, "c")] {
        let seen = seen.clone();
        socket.async_read([0; 1], move |_| seen.push(name));
    }
    let post = |name| {
        let seen = seen.clone();
        io.post(move || seen.push(name));
    };
    post("1");
    second.cancel()?;
    post("2");
    first.close();
    post("3");
    assert_eq!(finish(&mut io), 6);
    assert_eq!(seen.take(), ["1", "b", "2", "a", "c", "3"]);
    Ok(())
}

/// P8: a handler may close, cancel, drop or start anything, the object it came from included.
#[test]
fn a_handler_may_do_anything_to_any_object() -> io::Result<()> {
    for close_both in [false, true] {
        let mut io = context();
        let (ours, peer) = pair(&io)?;
        let seen = Record::new();
        for (socket, other) in [(&ours, &peer), (&peer, &ours)] {
            // Both are ready in one batch; whichever is called first acts on both.
            let (tell, own, other) = (seen.clone(), socket.clone(), other.clone());
            let aborted = seen.clone();
            socket.async_read_some([0; 1], move |(read, _)| {
                tell.push(read.is_ok());
                if close_both {
                    other.close();
                    own.close();
                } else {
                    let _ = other.cancel();
                    let _ = own.cancel();
                }
                own.async_read_some([0; 1], |_| {});
                let _ = own.cancel();
                drop((own, other));
            });
            socket.async_read([0; 9], move |(read, _)| aborted.push(read.is_ok()));
        }
        ours.write(b"x")?;
        peer.write(b"x")?;
        net::wait_readable(ours.try_clone_fd()?)?;
        net::wait_readable(peer.try_clone_fd()?)?;
        drop((ours, peer));
        finish(&mut io);
        let seen = seen.take();
        assert_eq!(seen.len(), 4, "each handler once");
        assert_eq!(seen.iter().filter(|success| **success).count(), 1, "{seen:?}");
    }
    Ok(())
}

/// P8, P7: the first of many ready sockets closes all others: none of them reports success.
#[test]
fn sockets_closed_earlier_in_the_batch_are_never_served() -> io::Result<()> {
    const MANY: usize = 200;
    let mut io = context();
    let mut sockets = Vec::new();
    for _ in 0..MANY {
        sockets.push(pair(&io)?);
    }
    let all: Rc<Vec<_>> = Rc::new(sockets);
    let seen = Record::new();
    for (ours, peer) in &*all {
        let (all, seen) = (Rc::clone(&all), seen.clone());
        ours.async_read_some([0; 1], move |(read, _)| {
            seen.push(read.is_ok());
            all.iter().for_each(|(ours, _)| ours.close());
        });
        peer.write(b"x")?;
        net::wait_readable(ours.try_clone_fd()?)?;
    }
    assert_eq!(finish(&mut io), MANY);
    assert_eq!(seen.take().iter().filter(|success| **success).count(), 1);
    Ok(())
}

/// P20, section 1: a buffer is user code too: it may cancel or close the object while its operation is performed.
#[test]
fn an_operation_whose_buffer_ends_it_is_aborted() -> io::Result<()> {
    struct Saboteur(tcp::Socket, Rc<std::cell::Cell<u32>>, bool);
    impl AsRef<[u8]> for Saboteur {
        fn as_ref(&self) -> &[u8] {
            self.1.set(self.1.get() + 1);
            match self.2 {
                _ if self.1.get() != 2 => {} // asked for its size first
                true => self.0.close(),
                false => self.0.cancel().expect("an open socket"),
            }
            &[0; 10_000_000]
        }
    }
    for close in [true, false] {
        let mut io = context();
        let (ours, peer) = connection(&io)?;
        narrow(&ours, &peer)?;
        let calls = Rc::default();
        let buffer = Saboteur(ours.clone(), Rc::clone(&calls), close);
        ours.async_write(buffer, move |(wrote, _)| {
            let aborted = wrote.unwrap_err();
            assert!(error::is_aborted(&aborted), "{aborted}");
            assert_eq!(error::transferred(&aborted) == 0, close);
        });
        assert_eq!(finish(&mut io), 1);
        assert!(calls.get() >= 2);
    }
    Ok(())
}

/// Section 1: a key of another context cancels nothing, though its operation waits in the same place.
#[test]
fn the_key_of_another_context_cancels_nothing() -> io::Result<()> {
    let (mut mine, mut other) = (context(), context());
    let (ours, _peer) = connection(&mine)?;
    let (theirs, mut peer) = connection(&other)?;
    let key = ours.async_read_some([0; 1], |(read, _)| assert!(is_aborted(read)));
    theirs.async_read_some([0; 1], |(read, _)| assert_eq!(read.unwrap(), 1));
    assert_eq!(other.cancel(key), Cancel::AlreadyDone);
    peer.write_all(b"x")?;
    assert_eq!(finish(&mut other), 1);
    assert_eq!(mine.cancel(key), Cancel::Requested);
    assert_eq!(finish(&mut mine), 1);
    Ok(())
}

/// P20: a buffer that cancels its own operation and then fails it: it was cancelled.
#[test]
fn an_operation_whose_buffer_ends_and_fails_it_is_aborted() -> io::Result<()> {
    struct Saboteur(tcp::Socket, Option<[u8; 1]>);
    impl AsMut<[u8]> for Saboteur {
        fn as_mut(&mut self) -> &mut [u8] {
            match self.1 {
                Some([0]) => self.1 = Some([1]), // asked for its size first
                _ => {
                    self.0.cancel().expect("an open socket");
                    self.1 = None;
                }
            }
            self.1.as_mut().map_or(&mut [], |byte| byte)
        }
    }
    let mut io = context();
    let (ours, mut peer) = connection(&io)?;
    peer.write_all(b"x")?;
    ours.wait(Wait::Read)?;
    ours.async_read_some(Saboteur(ours.clone(), Some([0])), |(read, _)| assert!(is_aborted(read)));
    assert_eq!(finish(&mut io), 1);
    Ok(())
}
