//! P5: what becomes of sockets, handlers and buffers when their context goes.

mod net;
mod util;

use ioctx::ip::tcp::{self, Wait};
use ioctx::option::KeepAlive;
use ioctx::{Cancel, IoContext, cancel_after, error};
use net::{anywhere, connection};
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// A buffer that knows how many of it there are.
struct Buffer(#[allow(dead_code)] Rc<()>, [u8; 8]);

impl AsMut<[u8]> for Buffer {
    fn as_mut(&mut self) -> &mut [u8] {
        &mut self.1
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        &self.1
    }
}

/// P5: handlers and buffers of everything outstanding are dropped, each once and unrun, and the connections close.
#[test]
fn everything_outstanding_is_dropped_unrun_with_the_context() -> io::Result<()> {
    let io = IoContext::new()?;
    let alive = Rc::new(());
    let (ours, mut peer) = connection(&io)?;
    let acceptor = tcp::Acceptor::listen_on(&io, anywhere())?;
    let connecting = tcp::Socket::new(&io);
    let buffer = || Buffer(Rc::clone(&alive), [0; 8]);
    // Every handler also keeps its own socket, as handlers do.
    let unrun = || {
        let (alive, ours, acceptor) = (Rc::clone(&alive), ours.clone(), acceptor.clone());
        move || unreachable!("run without a context: {alive:?} {ours:?} {acceptor:?}")
    };
    let (a, b, c, d, e, f, g) = (unrun(), unrun(), unrun(), unrun(), unrun(), unrun(), unrun());
    ours.async_read(buffer(), move |_| a());
    ours.async_read_some(buffer(), move |_| b());
    ours.async_wait(Wait::Error, move |_| c());
    acceptor.async_accept(move |_| d());
    connecting.async_connect(acceptor.local_endpoint()?, move |_| e());
    ours.async_write(buffer(), move |_| f());
    cancel_after(&io, Duration::ZERO, |done| ours.async_read(buffer(), done), move |_| g());
    let (h, i) = (unrun(), unrun());
    let aborted = ours.async_read(buffer(), move |_| h());
    io.cancel(aborted); // its handler is in the ready queue
    tcp::Socket::new(&io).async_read(buffer(), move |_| i()); // failed: likewise
    drop((connecting, unrun));
    drop(io);
    assert_eq!(Rc::strong_count(&alive), 1);
    assert_eq!(peer.read(&mut [0; 1])?, 0); // nothing was written, and it is closed
    Ok(())
}

/// P5: the same in the middle of a turn that was left, with completions not yet delivered.
#[test]
fn a_context_left_in_mid_turn_drops_the_rest() -> io::Result<()> {
    let mut io = IoContext::new()?;
    let alive = Rc::new(());
    let (ours, mut peer) = connection(&io)?;
    for _ in 0..5 {
        let held = Rc::clone(&alive);
        ours.async_read([0; 1], move |_| drop(held));
    }
    peer.write_all(&[0; 5])?;
    assert_eq!(io.run_one()? + io.run_one()?, 2);
    assert_eq!(Rc::strong_count(&alive), 4);
    drop(io);
    assert_eq!(Rc::strong_count(&alive), 1);
    Ok(())
}

/// Section 1, ownership: destructors that start more work while the context goes find it gone, and nothing leaks.
#[test]
fn destructors_may_start_operations_in_vain() -> io::Result<()> {
    struct Restless(tcp::Socket, tcp::Acceptor, Rc<()>);
    impl Drop for Restless {
        fn drop(&mut self) {
            let (held, more) = (Rc::clone(&self.2), Rc::clone(&self.2));
            self.0.async_read_some([0; 1], move |_| drop(held));
            self.1.async_accept(move |_| drop(more));
            self.0.close();
            let _ = self.1.cancel();
        }
    }
    let io = IoContext::new()?;
    let alive = Rc::new(());
    let (ours, _peer) = connection(&io)?;
    let acceptor = tcp::Acceptor::listen_on(&io, anywhere())?;
    for _ in 0..3 {
        let restless = Restless(ours.clone(), acceptor.clone(), Rc::clone(&alive));
        ours.async_read_some([0; 1], move |_| drop(restless));
    }
    drop(io);
    assert_eq!(Rc::strong_count(&alive), 1);
    Ok(())
}

/// Section 1, ownership: afterwards every call is harmless: it says that the context has gone, or does nothing.
#[test]
fn every_call_without_a_context_is_harmless() -> io::Result<()> {
    let io = IoContext::new()?;
    let (ours, _peer) = connection(&io)?;
    let acceptor = tcp::Acceptor::listen_on(&io, anywhere())?;
    let unopened = tcp::Socket::new(&io);
    let endpoint = acceptor.local_endpoint()?;
    let key = ours.async_read_some([0; 1], |_| unreachable!());
    acceptor.async_accept(|_| unreachable!());
    let handle = io.handle().clone();
    drop(io);
    for socket in [&ours, &unopened, &tcp::Socket::new(&handle)] {
        gone(socket.open(tcp::Protocol::v4()));
        gone(socket.bind(endpoint));
        gone(socket.connect(endpoint));
        gone(socket.read_some(&mut [0; 1]));
        gone(socket.write_some(&[0; 1]));
        gone(socket.read(&mut [0; 1]));
        gone(socket.write(&[0; 1]));
        gone(socket.wait(Wait::Read));
        gone(socket.cancel());
        gone(socket.shutdown(Shutdown::Both));
        gone(socket.local_endpoint());
        gone(socket.remote_endpoint());
        gone(socket.available());
        gone(socket.set_option(KeepAlive(true)));
        gone(socket.option::<KeepAlive>());
        gone(socket.try_clone_fd());
        socket.set_non_blocking(true);
        assert!(socket.non_blocking());
        // Dropped unrun.
        socket.async_connect(endpoint, |_| unreachable!());
        socket.async_read_some([0; 1], |_| unreachable!());
        socket.async_read([0; 1], |_| unreachable!());
        socket.async_write([0; 1], |_| unreachable!());
        socket.async_write_some([0; 1], |_| unreachable!());
        socket.async_wait(Wait::Write, |_| unreachable!());
        assert!(!format!("{socket:?}").is_empty());
        socket.close();
        assert!(!socket.is_open());
    }
    for socket in [&ours, &unopened] {
        gone(socket.release());
        gone(socket.clone().into_std());
    }
    for acceptor in [&acceptor, &tcp::Acceptor::new(&handle)] {
        gone(acceptor.release());
        gone(acceptor.open(tcp::Protocol::v4()));
        gone(acceptor.bind(endpoint));
        gone(acceptor.listen(1));
        gone(acceptor.accept());
        gone(acceptor.wait(Wait::Read));
        gone(acceptor.cancel());
        gone(acceptor.local_endpoint());
        gone(acceptor.set_option(KeepAlive(true)));
        gone(acceptor.option::<KeepAlive>());
        gone(acceptor.try_clone_fd());
        acceptor.async_accept(|_| unreachable!());
        acceptor.async_wait(Wait::Read, |_| unreachable!());
        acceptor.close();
    }
    gone(tcp::Acceptor::listen_on(&handle, endpoint));
    gone(tcp::Socket::with_protocol(&handle, tcp::Protocol::v4()));
    gone(tcp::Socket::from_std(&handle, std::net::TcpStream::connect(listening()?.local_addr()?)?));
    gone(tcp::Acceptor::from_std(&handle, listening()?));
    assert_eq!(handle.cancel(key), Cancel::AlreadyDone);
    cancel_after(&handle, Duration::ZERO, |done| ours.async_read([0; 1], done), |_| unreachable!());
    assert!(handle.outstanding().is_empty() && handle.stopped());
    Ok(())
}

fn listening() -> io::Result<std::net::TcpListener> {
    std::net::TcpListener::bind(anywhere())
}

#[track_caller]
fn gone<T: std::fmt::Debug>(result: io::Result<T>) {
    let error = result.expect_err("refused");
    assert!(error::is_context_gone(&error), "{error}");
}

/// P5: a destructor that panics while the context goes does not keep the others: all is dropped, all peers see the end.
#[test]
fn a_destructor_that_panics_keeps_nothing_else() -> io::Result<()> {
    struct Bomb(bool);
    impl Drop for Bomb {
        fn drop(&mut self) {
            assert!(!self.0, "on purpose");
        }
    }
    for armed in 0..23 {
        let mut io = IoContext::new()?;
        let alive = Arc::new(());
        let mut number = 0;
        let mut unrun = || {
            let held = (Bomb(number == armed), Arc::clone(&alive));
            number += 1;
            move || {
                let _held = &held;
                unreachable!("run without a context")
            }
        };
        let mut peers = Vec::new();
        for _ in 0..4 {
            let (ours, peer) = connection(&io)?;
            let (a, b, socket) = (unrun(), unrun(), ours.clone());
            ours.async_read([0; 4], move |_| a());
            ours.async_wait(Wait::Error, move |_| {
                let _socket = &socket;
                b()
            });
            peers.push(peer);
        }
        // Tasks of one type are kept side by side. Two have come to the loop, behind the one that stops it, two have not.
        let remote = io.remote();
        let stop = io.remote();
        let post = |task: Box<dyn FnOnce() + Send>| remote.post(move |_| task()).expect("the context is there");
        post(Box::new(move || stop.stop()));
        (0..2).for_each(|_| post(Box::new(unrun())));
        io.run()?;
        io.post(unrun());
        (0..2).for_each(|_| post(Box::new(unrun())));
        for n in 0..6 {
            let wait = unrun();
            let key = io.after(Duration::from_secs(60), move |_| wait()); // So are waits.
            if n % 2 == 0 {
                io.cancel(key); // It is in the ready queue.
            }
        }
        let mut alarms = Vec::new();
        for n in 0..4 {
            let ring = unrun();
            let alarm = io.alarm(move || {
                ring();
                None
            });
            if n % 2 == 0 {
                alarm.set(Duration::from_secs(60));
            }
            alarms.push(alarm);
        }
        assert_eq!(number, 23, "each is armed once");
        let dropped = catch_unwind(AssertUnwindSafe(|| drop(io)));
        assert!(dropped.is_err(), "no destructor panicked");
        assert_eq!(Arc::strong_count(&alive), 1, "bomb {armed}");
        for peer in &mut peers {
            peer.set_read_timeout(Some(Duration::from_secs(20)))?;
            assert_eq!(peer.read(&mut [0; 1])?, 0, "bomb {armed}");
        }
    }
    Ok(())
}
