//! Unix domain stream sockets: each step of a server and a client, names, files left behind, and what all streams do.

mod net;
mod util;

use ioctx::local::Endpoint;
use ioctx::local::stream::{Acceptor, Protocol, Socket, Wait};
use ioctx::option::SendBufferSize;
use ioctx::session::{self, Connection, Session};
use ioctx::{Config, Interest, Io, IoContext, Next, Part, error, mio};
use net::finish;
use std::cell::{Cell, RefCell};
use std::io::{self, ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;
use std::{fs, process};
use util::{Record, context, send_with_descriptor, unix_pair};

static COUNTER: AtomicUsize = AtomicUsize::new(0);

fn unique() -> String {
    format!("ioctx-{}-{}", process::id(), COUNTER.fetch_add(1, Relaxed))
}

/// A folder that goes with its test.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        let folder = std::env::temp_dir().join(unique());
        fs::create_dir(&folder).expect("a folder");
        Folder(folder)
    }

    fn path(&self) -> PathBuf {
        self.0.join(unique())
    }

    fn endpoint(&self) -> Endpoint {
        Endpoint::from_path(self.path()).expect("a short path")
    }

    /// One endpoint of each kind that can be listened on.
    fn endpoints(&self) -> Vec<Endpoint> {
        vec![
            self.endpoint(),
            #[cfg(any(target_os = "linux", target_os = "android"))]
            Endpoint::from_abstract_name(unique().as_bytes()).expect("a short name"),
        ]
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn path_of(endpoint: &Endpoint) -> &Path {
    endpoint.as_pathname().expect("a path")
}

/// A connected pair: ours on the loop, theirs for the test, blocking.
fn connection(io: &IoContext) -> io::Result<(Socket, UnixStream)> {
    let (ours, theirs) = UnixStream::pair()?;
    Ok((Socket::from_std(io, ours)?, theirs))
}

/// Section 2: every step of a server and of a client is a call of its own, blocking.
#[test]
fn each_step_works_on_its_own_blocking() -> io::Result<()> {
    let folder = Folder::new();
    for endpoint in folder.endpoints() {
        let io = context();
        let acceptor = Acceptor::new(&io);
        acceptor.open(endpoint.clone().into())?;
        acceptor.bind(endpoint.clone())?;
        acceptor.listen(Acceptor::MAX_LISTEN_CONNECTIONS)?;
        assert_eq!(acceptor.local_endpoint()?, endpoint);
        let client = Socket::new(&io);
        client.open(Protocol)?;
        client.connect(endpoint.clone())?;
        assert_eq!(client.remote_endpoint()?, endpoint);
        acceptor.wait(Wait::Read)?;
        let (server, peer) = acceptor.accept()?;
        assert!(peer.is_unnamed() && server.remote_endpoint()?.is_unnamed());
        assert_eq!(server.local_endpoint()?, endpoint);
        assert_eq!(client.write(b"ping")?, 4);
        assert_eq!(server.available()?, 4);
        let mut buffer = [0; 4];
        assert_eq!(server.read(&mut buffer)?, 4);
        assert_eq!(&buffer, b"ping");
        assert_eq!(server.write_some(b"pong")?, 4);
        client.wait(Wait::Read)?;
        assert_eq!(client.read_some(&mut buffer)?, 4);
        assert_eq!(&buffer, b"pong");
        assert_eq!(client.connect(endpoint).unwrap_err().raw_os_error(), EISCONN);
        client.close();
        assert_eq!(server.read_some(&mut buffer)?, 0);
    }
    Ok(())
}

const EISCONN: Option<i32> = Some(rustix::io::Errno::ISCONN.raw_os_error());

/// P4, P22: the same steps asynchronous: handlers run later, in `run`, each once.
#[test]
fn each_step_works_on_its_own_asynchronously() -> io::Result<()> {
    let folder = Folder::new();
    for endpoint in folder.endpoints() {
        let mut io = context();
        let acceptor = Acceptor::listen_on(&io, endpoint.clone())?;
        let seen = Record::new();
        let (accepted, connected, got) = (seen.clone(), seen.clone(), seen.clone());
        acceptor.async_accept(move |result| {
            accepted.push("accepted");
            let (server, peer) = result.unwrap();
            assert!(peer.is_unnamed());
            server.clone().async_read_some(vec![0; 64], move |(read, buffer)| {
                server.async_write(Part::to(buffer, read.unwrap()), |(wrote, _)| assert_eq!(wrote.unwrap(), 5));
            });
        });
        let client = Socket::new(&io);
        client.async_connect(endpoint, move |result| {
            result.unwrap();
            connected.push("connected");
        });
        client.async_write_some("hello", |(wrote, _)| assert_eq!(wrote.unwrap(), 5));
        client.async_read([0; 5], move |(read, bytes)| {
            assert_eq!((read.unwrap(), &bytes), (5, b"hello"));
            got.push("echoed");
        });
        assert_eq!(seen.len(), 0);
        assert_eq!(finish(&mut io), 6);
        let seen = seen.take();
        assert!(seen.len() == 3 && seen[2] == "echoed", "{seen:?}");
    }
    Ok(())
}

/// Section 2: a client that was bound has a name at the server.
#[test]
fn a_bound_client_has_a_name() -> io::Result<()> {
    let (folder, io) = (Folder::new(), context());
    for (server, own) in folder.endpoints().into_iter().zip(folder.endpoints()) {
        let acceptor = Acceptor::listen_on(&io, server.clone())?;
        let client = Socket::with_protocol(&io, Protocol)?;
        client.bind(own.clone())?;
        client.connect(server)?;
        let (accepted, peer) = acceptor.accept()?;
        assert_eq!((&peer, accepted.remote_endpoint()?), (&own, own.clone()));
    }
    Ok(())
}

/// Section 2: on Linux, no name at all takes a free abstract one, as port 0 does.
#[test]
#[cfg(any(target_os = "linux", target_os = "android"))]
fn binding_to_no_name_takes_a_free_abstract_one() -> io::Result<()> {
    let io = context();
    let acceptor = Acceptor::listen_on(&io, Endpoint::unnamed())?;
    let endpoint = acceptor.local_endpoint()?;
    assert!(endpoint.as_abstract_name().is_some(), "{endpoint}");
    Socket::new(&io).connect(endpoint.clone())?;
    let taken = Acceptor::listen_on(&io, endpoint.clone()).unwrap_err();
    assert_eq!(taken.kind(), ErrorKind::AddrInUse);
    assert!(taken.to_string().contains(&endpoint.to_string()), "{taken}");
    Ok(())
}

/// Section 2: a pair is connected, both ways, and knows who is at the other end.
#[test]
fn a_pair_is_connected_both_ways() -> io::Result<()> {
    let mut io = context();
    let (one, two) = Socket::pair(&io)?;
    let seen = Record::new();
    for (from, to) in [(&one, &two), (&two, &one)] {
        from.async_write(b"hello", |(wrote, _)| assert_eq!(wrote.unwrap(), 5));
        let seen = seen.clone();
        to.async_read([0; 5], move |(read, bytes)| seen.push((read.unwrap(), bytes)));
    }
    assert_eq!(finish(&mut io), 4);
    assert_eq!(seen.take(), [(5, *b"hello"); 2]);
    assert!(one.remote_endpoint()?.is_unnamed());
    Ok(())
}

/// Section 2: who is at the other end, where the system tells, and only if somebody is.
#[test]
fn a_connected_socket_tells_whose_the_peer_is() -> io::Result<()> {
    let io = context();
    let (socket, _theirs) = connection(&io)?;
    if cfg!(any(target_os = "linux", target_os = "android")) {
        let peer = socket.peer_credentials()?;
        assert_eq!(peer.pid, process::id());
        assert_eq!((peer.uid, peer.gid), (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw()));
    } else {
        assert_eq!(socket.peer_credentials().unwrap_err().kind(), ErrorKind::Unsupported);
    }
    assert!(Socket::with_protocol(&io, Protocol)?.peer_credentials().is_err());
    assert!(Socket::new(&io).peer_credentials().is_err());
    Ok(())
}

/// Section 2: what is in the way of a bind is told: a file left behind, a server, another kind of file.
#[test]
fn the_error_of_bind_says_what_is_in_the_way() -> io::Result<()> {
    let (folder, io) = (Folder::new(), context());
    let told = |endpoint: &Endpoint, expected: &str| {
        let acceptor = Acceptor::with_protocol(&io, Protocol).unwrap();
        let error = acceptor.bind(endpoint.clone()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AddrInUse, "{error}");
        let text = error.to_string();
        assert!(text.contains(expected) && text.contains(&endpoint.to_string()), "{text}");
    };
    let endpoint = folder.endpoint();
    let acceptor = Acceptor::listen_on(&io, endpoint.clone())?;
    told(&endpoint, "somebody listens there");
    acceptor.close();
    assert!(path_of(&endpoint).exists(), "the file stays");
    told(&endpoint, "nobody listens there");
    told(&endpoint, "can be removed");
    let datagram = folder.endpoint();
    let _socket = UnixDatagram::bind(path_of(&datagram))?;
    told(&datagram, "a socket already");
    let file = folder.endpoint();
    fs::write(path_of(&file), "precious")?;
    told(&file, "no socket");
    let missing = Endpoint::from_path(folder.path().join("missing"))?;
    assert_eq!(Acceptor::listen_on(&io, missing).unwrap_err().kind(), ErrorKind::NotFound);
    Ok(())
}

/// Section 2: only a socket file where nobody listens is replaced.
#[test]
fn only_what_was_left_behind_is_replaced() -> io::Result<()> {
    let (folder, mut io) = (Folder::new(), context());
    for endpoint in folder.endpoints() {
        drop(Acceptor::listen_on_replacing_stale(&io, endpoint.clone())?); // nothing there yet
        let acceptor = Acceptor::listen_on_replacing_stale(&io, endpoint.clone())?;
        let alive = Acceptor::listen_on_replacing_stale(&io, endpoint.clone()).unwrap_err();
        assert_eq!(alive.kind(), ErrorKind::AddrInUse, "{alive}");
        // The server is still the one, and works: after the clients who only looked comes a real one.
        let client = Socket::new(&io);
        client.connect(endpoint.clone())?;
        client.write(b"x")?;
        while acceptor.accept()?.0.read_some(&mut [0; 1])? == 0 {}
    }
    let file = folder.endpoint();
    fs::write(path_of(&file), "precious")?;
    assert_eq!(Acceptor::listen_on_replacing_stale(&io, file.clone()).unwrap_err().kind(), ErrorKind::AddrInUse);
    assert_eq!(fs::read_to_string(path_of(&file))?, "precious");
    assert_eq!(finish(&mut io), 0);
    Ok(())
}

/// Bad input: a path that does not fit is told before any system call, with the limit.
#[test]
fn a_path_that_does_not_fit_is_invalid_input() {
    let error = Endpoint::from_path("x".repeat(200)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    let (text, limit) = (error.to_string(), if cfg!(target_os = "linux") { "107" } else { "103" });
    assert!(text.contains(limit) && text.contains("200"), "{text}");
    assert_eq!(Endpoint::from_path("zero\0byte").unwrap_err().kind(), ErrorKind::InvalidInput);
    assert_eq!(Endpoint::from_path("").unwrap_err().kind(), ErrorKind::InvalidInput);
}

/// P22: nobody there, or nobody any more, is told to the handler and to the blocking caller.
#[test]
fn a_failed_connect_is_told_and_the_socket_can_try_again() -> io::Result<()> {
    let (folder, mut io) = (Folder::new(), context());
    let (missing, stale) = (folder.endpoint(), folder.endpoint());
    drop(Acceptor::listen_on(&io, stale.clone())?);
    let socket = Socket::new(&io);
    for (endpoint, kind) in [(missing, ErrorKind::NotFound), (stale, ErrorKind::ConnectionRefused)] {
        let seen = Record::new();
        let told = seen.clone();
        socket.async_connect(endpoint.clone(), move |connected| told.push(connected.unwrap_err().kind()));
        assert_eq!((seen.len(), finish(&mut io)), (0, 1));
        assert_eq!(seen.take(), [kind]);
        assert_eq!(socket.connect(endpoint).unwrap_err().kind(), kind);
    }
    let endpoint = folder.endpoint();
    let _acceptor = Acceptor::listen_on(&io, endpoint.clone())?;
    socket.async_connect(endpoint, |connected| connected.unwrap());
    assert_eq!(finish(&mut io), 1);
    Ok(())
}

/// Reads until the end, and counts how often the end is told.
fn read_to_end(socket: Socket, buffer: Vec<u8>, got: Record<Vec<u8>>, ends: Rc<Cell<u32>>) {
    socket.clone().async_read_some(buffer, move |(read, buffer)| match read.unwrap() {
        0 => ends.set(ends.get() + 1),
        n => {
            got.push(buffer[..n].to_vec());
            read_to_end(socket, buffer, got, ends);
        }
    });
}

/// P18: all bytes before the end, the end once, though both were there before the first read.
#[test]
fn the_end_comes_after_all_bytes_and_once() -> io::Result<()> {
    let mut io = context();
    for size in [1, 3, 64, 4096] {
        let (ours, mut theirs) = connection(&io)?;
        let bytes: Vec<u8> = (0..10_000).map(|n| n as u8).collect();
        theirs.write_all(&bytes)?;
        drop(theirs);
        let (got, ends) = (Record::new(), Rc::default());
        read_to_end(ours, vec![0; size], got.clone(), Rc::clone(&ends));
        finish(&mut io);
        assert_eq!(ends.get(), 1);
        assert!(got.take().concat() == bytes);
    }
    Ok(())
}

/// P20: close aborts what is outstanding, through the queue; what is moved so far is told.
#[test]
fn close_and_cancel_abort_what_is_outstanding() -> io::Result<()> {
    let (folder, mut io) = (Folder::new(), context());
    for close in [false, true] {
        let (ours, mut theirs) = connection(&io)?;
        theirs.write_all(b"abc")?;
        let acceptor = Acceptor::listen_on(&io, folder.endpoint())?;
        let seen = Record::new();
        let (read, wrote, accepted) = (seen.clone(), seen.clone(), seen.clone());
        let note = |error: io::Error| (error::is_aborted(&error), error::transferred(&error));
        ours.async_read([0; 8], move |(result, _)| read.push(note(result.unwrap_err())));
        ours.async_write(vec![7; 10_000_000], move |(result, _)| wrote.push(note(result.unwrap_err())));
        acceptor.async_accept(move |result| accepted.push(note(result.unwrap_err())));
        assert_eq!(io.poll()?, 0);
        if close {
            ours.close();
            acceptor.close();
            ours.close();
        } else {
            ours.cancel()?;
            acceptor.cancel()?;
        }
        assert_eq!(seen.len(), 0, "not inside the call");
        assert_eq!(finish(&mut io), 3);
        let seen = seen.take();
        assert!(seen.iter().all(|(aborted, _)| *aborted), "{seen:?}");
        assert!(seen[0].1 == 3 && (1..10_000_000).contains(&seen[1].1) && seen[2].1 == 0, "{seen:?}");
        assert_eq!((ours.is_open(), acceptor.is_open()), (!close, !close));
    }
    Ok(())
}

/// P7: writes to a peer that has gone fail one by one, blocking and not.
#[test]
fn writes_to_a_peer_that_has_gone_are_errors() -> io::Result<()> {
    let mut io = context();
    let (ours, theirs) = connection(&io)?;
    drop(theirs);
    assert_eq!(ours.write(b"x").unwrap_err().kind(), ErrorKind::BrokenPipe);
    for _ in 0..2 {
        ours.async_write(b"x", |(wrote, _)| assert_eq!(wrote.unwrap_err().kind(), ErrorKind::BrokenPipe));
        ours.async_write_some(b"x", |(wrote, _)| assert_eq!(wrote.unwrap_err().kind(), ErrorKind::BrokenPipe));
    }
    assert_eq!(finish(&mut io), 4);
    Ok(())
}

/// P18: one direction may end while the other goes on.
#[test]
fn a_half_closed_socket_still_reads() -> io::Result<()> {
    let mut io = context();
    let (ours, theirs) = Socket::pair(&io)?;
    ours.async_write(b"question", |(wrote, _)| assert_eq!(wrote.unwrap(), 8));
    assert_eq!(finish(&mut io), 1);
    ours.shutdown(Shutdown::Write)?;
    let (got, ends) = (Record::new(), Rc::default());
    read_to_end(theirs.clone(), vec![0; 64], got.clone(), Rc::clone(&ends));
    finish(&mut io);
    assert_eq!((got.take().concat(), ends.get()), (b"question".to_vec(), 1));
    theirs.async_write(b"answer", |(wrote, _)| assert_eq!(wrote.unwrap(), 6));
    ours.async_read([0; 6], |(read, bytes)| assert_eq!((read.unwrap(), &bytes), (6, b"answer")));
    assert_eq!(finish(&mut io), 2);
    assert!(ours.write(b"more").is_err());
    Ok(())
}

/// P18: what is behind a descriptor that travels along is read, by an operation and by a session, also while the loop is
/// kept busy by another source.
#[test]
fn what_is_behind_a_descriptor_is_read() -> io::Result<()> {
    struct Reader(Rc<RefCell<Vec<u8>>>);
    impl Session for Reader {
        fn received(&mut self, connection: &Connection, bytes: &[u8]) -> usize {
            self.0.borrow_mut().extend_from_slice(bytes);
            if self.0.borrow().len() == 16 {
                connection.close_after_flush(Duration::ZERO);
            }
            bytes.len()
        }
    }
    let mut io = context();
    for (by_session, busy) in [(false, false), (true, false), (false, true), (true, true)] {
        let (ours, mut theirs) = UnixStream::pair()?;
        theirs.write_all(b"before")?;
        send_with_descriptor(&theirs, b"with");
        theirs.write_all(b"behind")?;
        let got = Rc::new(RefCell::new(Vec::new()));
        let socket = Socket::from_std(&io, ours)?;
        if by_session {
            session::adopt(socket, Reader(Rc::clone(&got)))?;
        } else {
            read_all(socket, Rc::clone(&got));
        }
        let turns = Rc::new(Cell::new(0));
        if busy {
            keep_busy(&io, Rc::clone(&got), Rc::clone(&turns))?;
        }
        finish(&mut io);
        assert_eq!(*got.borrow(), b"beforewithbehind");
        assert!(turns.get() < 200, "{} turns", turns.get());
    }
    Ok(())
}

fn read_all(socket: Socket, got: Rc<RefCell<Vec<u8>>>) {
    socket.clone().async_read_some([0; 64], move |(read, bytes)| {
        got.borrow_mut().extend_from_slice(&bytes[..read.unwrap()]);
        if got.borrow().len() < 16 {
            read_all(socket, got);
        }
    });
}

/// Has the poller tell of something in every turn, until all 16 bytes are there.
fn keep_busy(io: &IoContext, got: Rc<RefCell<Vec<u8>>>, turns: Rc<Cell<u32>>) -> io::Result<()> {
    let (ours, mut back) = unix_pair();
    back.write_all(b"x")?;
    io.register(ours, Interest::READABLE, move |stream: &Io<mio::net::UnixStream>, _| {
        stream.read(&mut [0; 64]).expect("its byte");
        turns.set(turns.get() + 1);
        if got.borrow().len() == 16 {
            return Next::Release;
        }
        back.write_all(b"x").expect("room for a byte");
        Next::Keep
    })?;
    Ok(())
}

/// P18, P19: megabytes arrive byte for byte, in order, whatever fits into the socket, and two writes never mix.
#[test]
fn a_big_transfer_arrives_byte_for_byte() -> io::Result<()> {
    const SIZE: usize = 3_000_001;
    let mut io = context();
    for narrow in [false, true] {
        let (ours, theirs) = Socket::pair(&io)?;
        if narrow {
            ours.set_option(SendBufferSize(1))?;
            let SendBufferSize(bytes) = ours.option()?;
            assert!(bytes < 100_000);
        }
        let bytes = |seed: usize| (0..SIZE).map(move |n| (n * 31 / 7 + seed) as u8).collect::<Vec<u8>>();
        for seed in 0..2 {
            ours.async_write(bytes(seed), |(wrote, _)| assert_eq!(wrote.unwrap(), SIZE));
        }
        let (got, ends) = (Record::new(), Rc::default());
        read_to_end(theirs, vec![0; 50_000], got.clone(), Rc::clone(&ends));
        drop(ours); // it closes when both are written
        finish(&mut io);
        assert!(got.take().concat() == [bytes(0), bytes(1)].concat());
        assert_eq!(ends.get(), 1);
    }
    Ok(())
}

/// P22: a full backlog is a clear error of `async_connect`, and the same socket connects when there is room.
#[test]
#[cfg(any(target_os = "linux", target_os = "android"))]
fn a_full_backlog_is_told_to_the_handler() -> io::Result<()> {
    let (folder, mut io) = (Folder::new(), context());
    let (acceptor, endpoint, clients) = full(&folder, &io)?;
    let socket = Socket::new(&io);
    let seen = Record::new();
    for connects in [false, true] {
        let told = seen.clone();
        socket.async_connect(endpoint.clone(), move |connected| told.push(connected));
        assert_eq!(finish(&mut io), 1);
        let [connected] = &seen.take()[..] else { panic!("one handler") };
        assert_eq!(connected.is_ok(), connects);
        if let Err(error) = connected {
            assert_eq!(error.kind(), ErrorKind::WouldBlock);
            let text = error.to_string();
            assert!(text.contains("full") && text.contains(&endpoint.to_string()), "{text}");
            for _ in &clients {
                acceptor.accept()?;
            }
        }
    }
    Ok(())
}

/// P22: the blocking `connect` sleeps while the backlog is full, and the socket is non-blocking afterwards.
#[test]
#[cfg(any(target_os = "linux", target_os = "android"))]
fn a_blocking_connect_waits_for_room_in_the_backlog() -> io::Result<()> {
    use rustix::fs::{OFlags, fcntl_getfl};
    use std::thread;
    let (folder, mut io) = (Folder::new(), context());
    let (acceptor, endpoint, _clients) = full(&folder, &io)?;
    let socket = Socket::with_protocol(&io, Protocol)?;
    let is_non_blocking =
        |descriptor: &std::os::fd::OwnedFd| fcntl_getfl(descriptor).is_ok_and(|flags| flags.contains(OFlags::NONBLOCK));
    let (watched, listener) = (socket.try_clone_fd()?, UnixListener::from(acceptor.try_clone_fd()?));
    let server = thread::spawn(move || {
        while is_non_blocking(&watched) {
            thread::yield_now(); // The other thread has not found the backlog to be full yet.
        }
        listener.accept().map(drop)
    });
    socket.connect(endpoint)?;
    server.join().expect("the server")?;
    assert!(is_non_blocking(&socket.try_clone_fd()?));
    socket.async_write(b"x", |(wrote, _)| assert_eq!(wrote.unwrap(), 1));
    assert_eq!(finish(&mut io), 1);
    Ok(())
}

/// An acceptor whose backlog is full, with the clients that fill it.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn full(folder: &Folder, io: &IoContext) -> io::Result<(Acceptor, Endpoint, Vec<socket2::Socket>)> {
    let (endpoint, acceptor) = (folder.endpoint(), Acceptor::with_protocol(io, Protocol)?);
    acceptor.bind(endpoint.clone())?;
    acceptor.listen(1)?;
    let address = socket2::SockAddr::unix(path_of(&endpoint))?;
    let mut clients = Vec::new();
    loop {
        let client = socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None)?;
        client.set_nonblocking(true)?;
        match client.connect(&address) {
            Ok(()) => clients.push(client),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok((acceptor, endpoint, clients)),
            Err(error) => return Err(error),
        }
    }
}

/// P18, P30: with one accept per dispatch a whole backlog is still served, in order, without a new connection.
#[test]
fn a_backlog_is_emptied_though_the_budget_is_small() -> io::Result<()> {
    let folder = Folder::new();
    let mut io = IoContext::with_config(Config::new().accept_budget(1).handlers_per_dispatch(1))?;
    util::watch(&io);
    let listener = UnixListener::bind(folder.path())?;
    let endpoint = Endpoint::from(listener.local_addr()?);
    let acceptor = Acceptor::from_std(&io, listener)?;
    let mut clients = Vec::new();
    for n in 0..50 {
        let mut client = UnixStream::connect(path_of(&endpoint))?;
        client.write_all(&[n])?;
        clients.push(client);
        acceptor.async_accept(move |accepted| {
            let mut byte = [0];
            assert_eq!(accepted.unwrap().0.read_some(&mut byte).unwrap(), 1);
            assert_eq!(byte, [n]);
        });
    }
    assert_eq!(finish(&mut io), 50);
    for mut client in clients {
        assert_eq!(client.read(&mut [0; 1])?, 0);
    }
    Ok(())
}

/// Section 2: waits tell of readiness and move nothing; in non-blocking mode plain calls answer `WouldBlock`.
#[test]
fn waits_and_non_blocking_calls() -> io::Result<()> {
    let mut io = context();
    let (ours, mut theirs) = connection(&io)?;
    ours.set_non_blocking(true);
    assert_eq!(ours.read_some(&mut [0; 1]).unwrap_err().kind(), ErrorKind::WouldBlock);
    let seen = Record::new();
    for wait in [Wait::Read, Wait::Write] {
        let seen = seen.clone();
        ours.async_wait(wait, move |waited| seen.push((wait, waited.is_ok())));
    }
    assert_eq!(io.run_one()?, 1);
    assert_eq!(seen.take(), [(Wait::Write, true)]);
    theirs.write_all(b"x")?;
    assert_eq!(finish(&mut io), 1);
    assert_eq!(seen.take(), [(Wait::Read, true)]);
    assert_eq!(ours.read_some(&mut [0; 8])?, 1);
    assert_eq!(ours.read_some(&mut []).unwrap_err().kind(), ErrorKind::InvalidInput);
    Ok(())
}

/// Section 2: sockets of the standard library become ours and go back; the wrong kind is refused.
#[test]
fn sockets_are_given_and_taken() -> io::Result<()> {
    let (folder, mut io) = (Folder::new(), context());
    let (ours, mut theirs) = connection(&io)?;
    ours.async_read([0; 1], |(read, _)| assert!(error::is_aborted(&read.unwrap_err())));
    let mut taken = ours.into_std()?;
    assert_eq!(finish(&mut io), 1);
    theirs.write_all(b"still here")?;
    taken.read_exact(&mut [0; 10])?; // it blocks again
    let endpoint = folder.endpoint();
    let listener = Acceptor::listen_on(&io, endpoint.clone())?.into_std()?;
    let _client = UnixStream::connect(path_of(&endpoint))?;
    listener.accept()?;
    let invalid = |result: io::Result<()>| assert_eq!(result.unwrap_err().kind(), ErrorKind::InvalidInput);
    let (socket, acceptor) = (Socket::new(&io), Acceptor::new(&io));
    invalid(socket.assign(UnixDatagram::unbound()?));
    invalid(socket.assign(std::net::TcpListener::bind(net::anywhere())?));
    invalid(acceptor.assign(UnixStream::pair()?.0));
    invalid(acceptor.assign(std::net::TcpListener::bind(net::anywhere())?));
    invalid(ioctx::ip::tcp::Socket::new(&io).assign(UnixStream::pair()?.0));
    if cfg!(not(target_vendor = "apple")) {
        invalid(socket.assign(listener));
    }
    socket.assign(taken)?;
    assert_eq!(socket.open(Protocol).unwrap_err().kind(), ErrorKind::AlreadyExists);
    assert_eq!(rustix::io::fcntl_getfd(socket.release()?)?, rustix::io::FdFlags::CLOEXEC);
    Ok(())
}

/// P5: with the context everything outstanding goes, handlers unrun, and later calls say so.
#[test]
fn sockets_outlive_their_context_harmlessly() -> io::Result<()> {
    let (folder, io) = (Folder::new(), context());
    let (ours, theirs) = Socket::pair(&io)?;
    let acceptor = Acceptor::listen_on(&io, folder.endpoint())?;
    ours.async_read([0; 1], |_| panic!("it never runs"));
    acceptor.async_accept(|_| panic!("it never runs"));
    drop(io);
    for error in [ours.write(b"x").unwrap_err(), acceptor.accept().unwrap_err(), Socket::pair(&theirs).unwrap_err()] {
        assert!(error::is_context_gone(&error));
    }
    let late = Acceptor::listen_on_replacing_stale(&theirs, folder.endpoint()).unwrap_err();
    assert!(error::is_context_gone(&late));
    Ok(())
}

/// Section 2: what is outstanding is listed with the name of its kind, and where.
#[test]
fn the_listing_names_unix_sockets() -> io::Result<()> {
    let (folder, io) = (Folder::new(), context());
    let endpoint = folder.endpoint();
    let acceptor = Acceptor::listen_on(&io, endpoint.clone())?;
    let client = Socket::new(&io);
    client.connect(endpoint.clone())?;
    let (server, _) = acceptor.accept()?;
    acceptor.async_accept(drop);
    client.async_read([0; 1], drop);
    server.async_read([0; 1], drop);
    let listing = io.outstanding().to_string();
    assert_eq!(listing.matches("local::stream::Socket").count(), 2, "{listing}");
    assert_eq!(listing.matches("local::stream::Acceptor").count(), 1, "{listing}");
    assert_eq!(listing.matches(&endpoint.to_string()).count(), 3, "{listing}");
    Ok(())
}

/// P1: a peer that reads wakes nobody, for it makes room that nobody waits for.
#[test]
#[cfg(not(mio_unsupported_force_poll_poll))]
fn a_reading_peer_wakes_the_loop_only_when_it_was_waited_for() -> io::Result<()> {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let mut io = context();
    let (ours, mut theirs) = connection(&io)?;
    let is_awake = |io: &IoContext| {
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        poll(&mut [PollFd::new(io, PollFlags::IN)], Some(&now)).map(|ready| ready > 0)
    };
    ours.async_write(*b"hello", |(wrote, _)| assert_eq!(wrote.unwrap(), 5));
    finish(&mut io);
    theirs.read_exact(&mut [0; 5])?;
    assert!(!is_awake(&io)?);
    ours.async_write(vec![7; 1_000_000], |(wrote, _)| assert_eq!(wrote.unwrap(), 1_000_000));
    while io.next_timeout() == Some(std::time::Duration::ZERO) {
        io.poll()?;
    }
    assert!(!is_awake(&io)?);
    let reader = std::thread::spawn(move || theirs.read_exact(&mut vec![0; 1_000_000]));
    finish(&mut io);
    reader.join().expect("no panic")
}

/// P19: whichever call has found that there is no room, an operation that waits for some gets it.
#[test]
fn room_is_told_whoever_found_that_there_was_none() -> io::Result<()> {
    for is_started_first in [true, false] {
        let mut io = context();
        let (ours, mut theirs) = connection(&io)?;
        ours.set_non_blocking(true);
        ours.async_write(*b"known to the poller", |(wrote, _)| assert!(wrote.is_ok()));
        finish(&mut io);
        let start = || ours.async_write(*b"!", |(wrote, _)| assert!(wrote.is_ok()));
        if is_started_first {
            start();
        }
        while ours.write_some(&[7; 100_000]).is_ok() {}
        if !is_started_first {
            start();
        }
        assert_eq!(io.poll()?, 0);
        theirs.set_nonblocking(true)?;
        while theirs.read(&mut [0; 100_000]).is_ok() {}
        assert_eq!(finish(&mut io), 1);
    }
    Ok(())
}

/// P6: a write that has found no room goes on when there is some, though a handler has panicked in the same dispatch.
#[test]
fn a_write_without_room_outlives_a_panic_beside_it() -> io::Result<()> {
    const BYTES: usize = 1_000_000;
    let mut io = context();
    let (ours, mut theirs) = UnixStream::pair()?;
    theirs.write_all(b"x")?;
    let ours = Socket::from_std(&io, ours)?;
    ours.async_read_some([0; 1], |_| panic!("as planned"));
    ours.async_write(vec![7; BYTES], |(wrote, _)| assert_eq!(wrote.unwrap(), BYTES));
    catch_unwind(AssertUnwindSafe(|| io.run())).unwrap_err();
    let reader = std::thread::spawn(move || theirs.read_exact(&mut vec![0; BYTES]));
    assert_eq!(finish(&mut io), 1);
    reader.join().expect("a reader")
}
