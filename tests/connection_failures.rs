//! P6, P7: one connection's failure, one handler's panic, and everybody else.

mod net;
mod util;

use ioctx::IoContext;
use ioctx::ip::tcp;
use net::{anywhere, connection, finish};
use std::cell::Cell;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::time::Duration;
use util::{Record, context};

/// Runs until a handler panics.
#[track_caller]
fn run_into_panic(io: &mut IoContext) {
    let run = catch_unwind(AssertUnwindSafe(|| io.run_for(Duration::from_secs(20))));
    assert!(run.is_err(), "no handler panicked");
}

/// P6: the handler that panicked is gone, everything else is untouched, and the next `run` goes on.
#[test]
fn a_panic_in_a_handler_takes_along_only_that_handler() -> io::Result<()> {
    let mut io = context();
    let (ours, mut peer) = connection(&io)?;
    let (other, mut another) = connection(&io)?;
    let seen = Record::new();
    let dropped = Rc::new(());
    let held = Rc::clone(&dropped);
    ours.async_read([0; 1], move |_| panic!("on purpose {held:?}"));
    let (second, third, fourth) = (seen.clone(), seen.clone(), seen.clone());
    ours.async_read([0; 1], move |(read, byte)| second.push((read.unwrap(), byte[0])));
    ours.async_write(b"w", move |(wrote, _)| third.push((wrote.unwrap(), b'w')));
    other.async_read([0; 1], move |(read, byte)| fourth.push((read.unwrap(), byte[0])));
    peer.write_all(b"ab")?;
    another.write_all(b"c")?;
    run_into_panic(&mut io);
    assert_eq!(Rc::strong_count(&dropped), 1);
    while seen.len() < 3 {
        io.run_one()?;
    }
    assert_eq!(finish(&mut io), 0);
    let mut seen = seen.take();
    seen.sort_unstable();
    assert_eq!(seen, [(1, b'b'), (1, b'c'), (1, b'w')]);
    ours.async_read([0; 1], |(read, _)| assert_eq!(read.unwrap(), 1));
    peer.write_all(b"d")?;
    assert_eq!(finish(&mut io), 1);
    Ok(())
}

/// P6: the same for handlers of accepts, connects, aborts and failures; the loop counts on.
#[test]
fn a_panic_in_any_completion_leaves_the_loop_usable() -> io::Result<()> {
    let mut io = context();
    let acceptor = tcp::Acceptor::listen_on(&io, anywhere())?;
    let client = tcp::Socket::new(&io);
    client.async_connect(acceptor.local_endpoint()?, |_| panic!("on purpose"));
    run_into_panic(&mut io);
    acceptor.async_accept(|_| panic!("on purpose"));
    run_into_panic(&mut io);
    client.async_write([], |_| panic!("on purpose"));
    run_into_panic(&mut io);
    acceptor.async_accept(|_| panic!("on purpose"));
    acceptor.close();
    run_into_panic(&mut io);
    acceptor.async_accept(|_| panic!("on purpose"));
    run_into_panic(&mut io);
    assert_eq!(finish(&mut io), 0);
    assert!(io.stopped());
    Ok(())
}

/// P6: a panic in the code of a buffer takes along that operation, and the next one is served.
#[test]
fn a_panic_in_a_buffer_takes_along_only_its_operation() -> io::Result<()> {
    struct Bomb(Rc<Cell<u32>>);
    impl AsRef<[u8]> for Bomb {
        fn as_ref(&self) -> &[u8] {
            let calls = self.0.get();
            self.0.set(calls.saturating_sub(1));
            assert!(calls > 0, "on purpose");
            b"bomb"
        }
    }
    let mut io = context();
    let (ours, mut peer) = connection(&io)?;
    let fuse = Rc::new(Cell::new(1));
    ours.async_write(Bomb(Rc::clone(&fuse)), |_| unreachable!("it exploded"));
    ours.async_write(b"fine", |(wrote, _)| assert_eq!(wrote.unwrap(), 4));
    run_into_panic(&mut io);
    assert_eq!(Rc::strong_count(&fuse), 1);
    assert_eq!(finish(&mut io), 1);
    let mut bytes = [0; 4];
    peer.read_exact(&mut bytes)?;
    assert_eq!(&bytes, b"fine");
    Ok(())
}

/// P6, section 1: a socket whose last handle was in the handler that panicked is closed.
#[test]
fn a_panic_closes_the_socket_that_only_its_handler_held() -> io::Result<()> {
    let mut io = context();
    let (ours, mut peer) = connection(&io)?;
    let socket = ours.clone();
    ours.async_read_some([0; 1], move |_| panic!("on purpose {socket:?}"));
    drop(ours);
    peer.write_all(b"x")?;
    run_into_panic(&mut io);
    assert_eq!(peer.read(&mut [0; 1])?, 0);
    Ok(())
}

/// P7: clients that reset, vanish or never read do not disturb one that behaves.
#[test]
fn one_clients_failure_never_harms_another() -> io::Result<()> {
    let mut io = context();
    let acceptor = tcp::Acceptor::listen_on(&io, anywhere())?;
    let endpoint = acceptor.local_endpoint()?;
    serve(acceptor.clone());
    let clients = std::thread::spawn(move || -> io::Result<()> {
        let mut good = TcpStream::connect(endpoint)?;
        let never_reads = TcpStream::connect(endpoint)?;
        never_reads.set_nonblocking(true)?;
        while (&never_reads).write(&[0; 65536]).is_ok() {}
        for n in 0..50_u8 {
            let mut bad = TcpStream::connect(endpoint)?;
            if n % 2 == 0 {
                bad.write_all(&[0; 1000])?;
            }
            if n % 3 != 0 {
                socket2::SockRef::from(&bad).set_linger(Some(Duration::ZERO))?;
            }
            drop(bad);
            good.write_all(&[n])?;
            let mut echo = [0];
            good.read_exact(&mut echo)?;
            assert_eq!(echo, [n]);
        }
        Ok(())
    });
    while !clients.is_finished() {
        io.run_one_for(Duration::from_millis(10))?;
    }
    clients.join().expect("the clients")?;
    acceptor.close();
    finish(&mut io);
    Ok(())
}

fn serve(acceptor: tcp::Acceptor) {
    acceptor.clone().async_accept(move |accepted| {
        if let Ok((socket, _)) = accepted {
            echo(socket, vec![0; 4096]);
            serve(acceptor);
        }
    });
}

fn echo(socket: tcp::Socket, buffer: Vec<u8>) {
    socket.clone().async_read_some(buffer, move |(read, buffer)| match read {
        Ok(0) | Err(_) => {}
        Ok(n) => {
            socket.clone().async_write(ioctx::Part::to(buffer, n), move |(wrote, part)| {
                if wrote.is_ok() {
                    echo(socket, part.into_inner());
                }
            });
        }
    });
}

/// Bad input: reading and writing what is not connected, and what is not open, is an error of that operation.
#[test]
fn transfers_without_a_connection_are_errors() -> io::Result<()> {
    let mut io = context();
    let closed = tcp::Socket::new(&io);
    let open = tcp::Socket::with_protocol(&io, tcp::Protocol::v4())?;
    for socket in [closed, open] {
        assert!(socket.read_some(&mut [0; 1]).is_err());
        assert!(socket.write_some(&[0; 1]).is_err());
        assert!(socket.remote_endpoint().is_err());
        socket.async_read_some([0; 1], |(read, _)| assert!(read.is_err()));
        socket.async_read([0; 1], |(read, _)| assert!(read.is_err()));
        socket.async_write([0; 1], |(wrote, _)| assert!(wrote.is_err()));
        socket.async_write_some([0; 1], |(wrote, _)| assert!(wrote.is_err()));
        assert_eq!(finish(&mut io), 4);
        assert!(socket.shutdown(std::net::Shutdown::Both).is_err());
    }
    Ok(())
}

/// P6: a panic in the code of a buffer does not keep its socket open: the peer hears of the end without another turn.
#[test]
fn a_panic_in_a_buffer_closes_the_socket_that_nobody_holds() -> io::Result<()> {
    struct Bomb(u32, [u8; 4]);
    impl AsMut<[u8]> for Bomb {
        fn as_mut(&mut self) -> &mut [u8] {
            self.0 += 1; // It is asked for its size first.
            assert!(self.0 < 2, "on purpose");
            &mut self.1
        }
    }
    let mut io = context();
    let (ours, mut peer) = connection(&io)?;
    peer.write_all(b"x")?;
    ours.async_read_some(Bomb(0, [0; 4]), |_| unreachable!("it exploded"));
    drop(ours);
    run_into_panic(&mut io);
    peer.set_read_timeout(Some(Duration::from_secs(20)))?;
    match peer.read(&mut [0; 1]) {
        Ok(n) => assert_eq!(n, 0),
        Err(error) => assert_eq!(error.kind(), io::ErrorKind::ConnectionReset),
    }
    assert_eq!(finish(&mut io), 0);
    Ok(())
}
