//! The poller tells of each change once. All bytes, the end, and urgent data arrive all the same.

mod util;

use ioctx::mio::net::{TcpStream, UdpSocket, UnixStream};
use ioctx::{Interest, Io, Next, Ready};
use std::cell::{Cell, RefCell};
use std::io::{self, ErrorKind, Read, Write};
use std::net::Shutdown;
use std::rc::Rc;
use std::time::Duration;
use util::{Record, context, send_with_descriptor, tcp_pair, unix_pair};

/// A callback that makes one read per call, into a buffer of this size, and releases at the end of the stream.
fn one_read_a_call<S>(size: usize, got: &Rc<RefCell<Vec<u8>>>) -> impl FnMut(&Io<S>, Ready) -> Next + use<S>
where
    S: 'static,
    for<'s> &'s S: Read,
{
    let (got, mut buffer) = (got.clone(), vec![0; size]);
    move |stream, _| match stream.read(&mut buffer) {
        Ok(0) => Next::Release,
        Ok(n) => {
            got.borrow_mut().extend_from_slice(&buffer[..n]);
            Next::Keep
        }
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::WouldBlock);
            Next::Keep
        }
    }
}

/// P18: data and the end in one edge: all bytes, then the end once, whatever fits into one read.
#[test]
fn data_and_the_end_in_one_edge_both_arrive() -> io::Result<()> {
    for size in [1, 4, 5, 6, 4096] {
        let mut io = context();
        let got = Rc::new(RefCell::new(Vec::new()));
        let (ours, mut theirs) = tcp_pair();
        theirs.write_all(b"hello")?;
        drop(theirs);
        io.register(ours, Interest::READABLE, one_read_a_call::<TcpStream>(size, &got))?;
        io.run()?;
        assert_eq!(*got.borrow(), b"hello", "TCP, {size} bytes a read");

        let got = Rc::new(RefCell::new(Vec::new()));
        let (ours, mut theirs) = unix_pair();
        theirs.write_all(b"hello")?;
        drop(theirs);
        io.register(ours, Interest::READABLE, one_read_a_call::<UnixStream>(size, &got))?;
        io.run()?;
        assert_eq!(*got.borrow(), b"hello", "Unix, {size} bytes a read");
    }
    Ok(())
}

/// P18: a peer that writes and shuts down again and again never leaves a connection behind that waits for an edge.
/// Method: a thread writes while the loop reads, so that edges fall between reads in every way.
#[test]
fn no_byte_and_no_end_is_lost_however_edges_fall() -> io::Result<()> {
    let mut io = context();
    let mut threads = Vec::new();
    let mut all = Vec::new();
    for n in 0..20_usize {
        let (ours, mut theirs) = tcp_pair();
        let got = Rc::new(RefCell::new(Vec::new()));
        io.register(ours, Interest::READABLE, one_read_a_call::<TcpStream>(1 + n * 7, &got))?;
        all.push(got);
        threads.push(std::thread::spawn(move || {
            for m in 0..100_usize {
                theirs.write_all(&vec![n as u8; 1 + m % 13]).expect("the loop reads");
            }
        }));
    }
    io.run()?;
    threads.into_iter().for_each(|thread| thread.join().expect("no panic"));
    let bytes: usize = (0..100).map(|m| 1 + m % 13).sum();
    for (n, got) in all.iter().enumerate() {
        assert_eq!(*got.borrow(), vec![n as u8; bytes]);
    }
    Ok(())
}

/// P18: a source that was readable before it was registered does not wait for the next byte.
#[test]
fn a_source_that_is_already_readable_is_served() -> io::Result<()> {
    let mut io = context();
    let got = Rc::new(RefCell::new(Vec::new()));
    let (ours, mut theirs) = tcp_pair();
    theirs.write_all(b"early")?;
    theirs.shutdown(Shutdown::Write)?;
    assert_eq!(ours.peek(&mut [0; 8])?, 5, "it has arrived");
    io.register(ours, Interest::READABLE, one_read_a_call::<TcpStream>(64, &got))?;
    io.run()?;
    assert_eq!(*got.borrow(), b"early");
    Ok(())
}

/// P18: urgent data makes a read stop short, with no other event for what is behind it: nothing stalls.
#[cfg(any(target_os = "linux", target_os = "android"))]
#[test]
fn what_is_behind_urgent_data_arrives_without_another_event() -> io::Result<()> {
    for inline in [false, true] {
        let mut io = context();
        let got = Rc::new(RefCell::new(Vec::new()));
        let (ours, mut theirs) = tcp_pair();
        socket2::SockRef::from(&ours).set_out_of_band_inline(inline)?;
        theirs.write_all(b"before")?;
        assert_eq!(socket2::SockRef::from(&theirs).send_out_of_band(b"!")?, 1);
        theirs.write_all(b"behind")?;
        // All of it has arrived before the first edge is looked at.
        while !readable_bytes(&ours)?.starts_with(b"before") {}
        let (seen, expected) = (got.clone(), if inline { 13 } else { 12 });
        let mut read = one_read_a_call::<TcpStream>(64, &got);
        let registration = io.register(ours, Interest::READABLE, move |stream: &Io<TcpStream>, ready| {
            let next = read(stream, ready);
            if seen.borrow().len() == expected { Next::Release } else { next }
        })?;
        io.run()?;
        assert!(registration.is_released());
        assert_eq!(*got.borrow(), if inline { &b"before!behind"[..] } else { b"beforebehind" });
        drop(theirs);
    }
    Ok(())
}

#[cfg(any(target_os = "linux", target_os = "android"))]
fn readable_bytes(stream: &TcpStream) -> io::Result<Vec<u8>> {
    let mut bytes = [0; 64];
    match stream.peek(&mut bytes) {
        Ok(n) => Ok(bytes[..n].to_vec()),
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

/// P18: a read of a Unix socket stops short where a descriptor travels along, with no other event for what is behind it:
/// nothing stalls, also while the loop is kept busy by another source.
#[test]
fn what_is_behind_a_descriptor_arrives_without_another_event() -> io::Result<()> {
    for busy in [false, true] {
        let mut io = context();
        let got = Rc::new(RefCell::new(Vec::new()));
        let (ours, mut theirs) = unix_pair();
        theirs.write_all(b"before")?;
        send_with_descriptor(&theirs, b"with");
        theirs.write_all(b"behind")?;
        let (seen, mut read) = (got.clone(), one_read_a_call::<UnixStream>(64, &got));
        let registration = io.register(ours, Interest::READABLE, move |stream: &Io<UnixStream>, ready| {
            let next = read(stream, ready);
            if seen.borrow().len() == 16 { Next::Release } else { next }
        })?;
        let (storm, turns, seen) = (unix_pair(), Rc::new(Cell::new(0)), got.clone());
        (&storm.1).write_all(b"x")?;
        let (counter, mut back) = (turns.clone(), storm.1);
        io.register(storm.0, Interest::READABLE, move |stream: &Io<UnixStream>, _| {
            stream.read(&mut [0; 64]).expect("its byte");
            counter.set(counter.get() + 1);
            if !busy || seen.borrow().len() == 16 {
                return Next::Release;
            }
            back.write_all(b"x").expect("room for a byte");
            Next::Keep
        })?;
        io.run()?;
        assert!(registration.is_released());
        assert_eq!(*got.borrow(), b"beforewithbehind");
        assert!(turns.get() < 200, "{} turns", turns.get());
    }
    Ok(())
}

/// P18: what may be behind a short read of a Unix socket is looked at when there is nothing else to do, not in each turn.
#[test]
#[cfg(not(mio_unsupported_force_poll_poll))] // There, each short read is followed by another.
fn a_callback_that_reads_once_is_called_again_when_there_is_nothing_else_to_do() -> io::Result<()> {
    let mut io = context();
    let reads = [Record::new(), Record::new()];
    let mut peers = Vec::new();
    for seen in &reads {
        let (seen, (ours, theirs)) = (seen.clone(), unix_pair());
        io.register(ours, Interest::READABLE, move |stream: &Io<UnixStream>, _| {
            seen.push(stream.read(&mut [0; 64]).ok());
            Next::Keep
        })?;
        peers.push(theirs);
    }
    for _ in 0..10 {
        for peer in &mut peers {
            peer.write_all(b"x")?;
            assert_eq!(io.poll()?, 1, "the other one is not called for what it may have missed");
        }
    }
    assert_eq!((io.poll()?, io.poll()?), (2, 0), "both are, once, when no event comes");
    peers[0].write_all(b"x")?;
    assert_eq!(io.poll()?, 1);
    drop(peers.remove(0));
    assert_eq!((io.poll()?, io.poll()?), (1, 0), "after the end there is nothing to look for");
    let [first, second] = reads.map(|seen| seen.take());
    assert_eq!((&first[..10], &first[10..]), (&[Some(1); 10][..], &[None, Some(1), Some(0)][..]));
    assert_eq!((&second[..10], &second[10..]), (&[Some(1); 10][..], &[None][..]));
    Ok(())
}

/// P18: a callback that reads until there is nothing gets what is behind a descriptor in the same call, and is not called
/// again.
#[test]
fn who_reads_on_after_a_short_read_has_seen_everything() -> io::Result<()> {
    let mut io = context();
    let (ours, mut theirs) = unix_pair();
    let got = Record::new();
    let seen = got.clone();
    io.register(ours, Interest::READABLE, move |stream: &Io<UnixStream>, _| {
        seen.push(util::drain(stream).expect("a read"));
        Next::Keep
    })?;
    io.poll()?; // The first edge, writable, calls nobody.
    for _ in 0..3 {
        send_with_descriptor(&theirs, b"with");
        theirs.write_all(b"behind")?;
        assert_eq!(io.poll()?, 1);
        assert_ne!(io.next_timeout(), Some(Duration::ZERO), "nothing is left to look at");
        assert_eq!(got.take(), [(b"withbehind".to_vec(), false)]);
    }
    theirs.write_all(b"last")?;
    drop(theirs);
    assert_eq!(io.poll()?, 1);
    assert_eq!((got.take(), io.poll()?), (vec![(b"last".to_vec(), true)], 0));
    Ok(())
}

/// P18: the same, where the next calls are of the source's own, as to receive the descriptor would be.
#[test]
fn a_call_after_a_short_read_is_made() -> io::Result<()> {
    let mut io = context();
    let (ours, mut theirs) = unix_pair();
    send_with_descriptor(&theirs, b"with");
    theirs.write_all(b"behind")?;
    let got = Record::new();
    let seen = got.clone();
    io.register(ours, Interest::READABLE, move |stream: &Io<UnixStream>, _| {
        let mut bytes = [0; 64];
        seen.push(stream.read(&mut bytes).ok());
        for _ in 0..2 {
            seen.push(stream.try_io(Interest::READABLE, |mut stream| stream.read(&mut bytes)).ok());
        }
        Next::Keep
    })?;
    assert_eq!(io.poll()?, 1);
    assert_ne!(io.next_timeout(), Some(Duration::ZERO), "nothing is left to look at");
    assert_eq!((got.take(), io.poll()?), (vec![Some(4), Some(6), None], 0));
    Ok(())
}

/// P18: urgent data alone reaches whoever asks for it, and ends with the call that finds none.
#[cfg(all(target_os = "linux", not(mio_unsupported_force_poll_poll)))]
#[test]
fn urgent_data_calls_whoever_asks_for_it() -> io::Result<()> {
    let mut io = context();
    let (ours, theirs) = tcp_pair();
    let urgent = Record::new();
    let seen = urgent.clone();
    let receive = |stream: &TcpStream| {
        let mut byte = [std::mem::MaybeUninit::uninit()];
        match socket2::SockRef::from(stream).recv_out_of_band(&mut byte) {
            // Linux says EINVAL when there is none.
            Err(error) if error.kind() == ErrorKind::InvalidInput => Err(ErrorKind::WouldBlock.into()),
            result => result,
        }
    };
    io.register(ours, Interest::PRIORITY, move |stream, ready| {
        assert!(ready.is_priority());
        while let Ok(n) = stream.try_io(Interest::PRIORITY, receive) {
            seen.push(n);
        }
        Next::Keep
    })?;
    for _ in 0..2 {
        assert_eq!(socket2::SockRef::from(&theirs).send_out_of_band(b"!")?, 1);
        assert_eq!(io.run_one()?, 1);
        assert_eq!(urgent.take(), [1]);
        assert_eq!(io.poll()?, 0);
    }
    Ok(())
}

/// P21: an empty datagram is a datagram, not an end, and those behind it are seen.
#[test]
fn an_empty_datagram_is_received_like_any_other() -> io::Result<()> {
    let mut io = context();
    let socket = UdpSocket::bind(([127, 0, 0, 1], 0).into())?;
    let address = socket.local_addr()?;
    let peer = std::net::UdpSocket::bind(("127.0.0.1", 0))?;
    let got = Record::new();
    let seen = got.clone();
    io.register(socket, Interest::READABLE, move |socket, _| {
        while let Ok((n, _)) = socket.try_io(Interest::READABLE, |socket| socket.recv_from(&mut [0; 8])) {
            seen.push(n);
        }
        if seen.len() < 3 { Next::Keep } else { Next::Release }
    })?;
    for datagram in [&b""[..], b"four", b""] {
        peer.send_to(datagram, address)?;
    }
    io.run()?;
    assert_eq!(got.take(), [0, 4, 0]);
    Ok(())
}

/// P21: a read into an empty buffer is not taken for the end of the stream.
#[test]
fn a_read_into_nothing_is_not_the_end() -> io::Result<()> {
    let mut io = context();
    let (ours, mut theirs) = unix_pair();
    theirs.write_all(b"x")?;
    io.register(ours, Interest::READABLE, |stream: &Io<UnixStream>, _| {
        assert_eq!(stream.read(&mut []).expect("nothing of something"), 0);
        assert!(!stream.ready().is_read_closed() && stream.ready().is_readable());
        assert_eq!(stream.read(&mut [0; 8]).expect("a byte"), 1);
        Next::Release
    })?;
    assert_eq!(io.run()?, 1);
    Ok(())
}

/// P18: a writer that filled the socket is called again when the peer has read, and every byte arrives in order.
#[test]
fn a_writer_goes_on_when_there_is_room_again() -> io::Result<()> {
    const BYTES: usize = 4 << 20;
    for unix in [true, false] {
        let mut io = context();
        let (reader, full) = (Record::new(), Rc::new(Cell::new(0)));
        let read_all = |mut theirs: Box<dyn Read + Send>| {
            std::thread::spawn(move || {
                let mut got = Vec::new();
                theirs.read_to_end(&mut got).map(|_| got)
            })
        };
        fn write_all<S>(full: Rc<Cell<u32>>) -> impl FnMut(&Io<S>, Ready) -> Next
        where
            S: 'static,
            for<'s> &'s S: Write,
        {
            let bytes: Vec<u8> = (0..BYTES).map(|n| (n % 251) as u8).collect();
            let mut sent = 0;
            move |stream, _| {
                while sent < BYTES {
                    match stream.write(&bytes[sent..]) {
                        Ok(n) => sent += n,
                        Err(error) => {
                            assert_eq!(error.kind(), ErrorKind::WouldBlock);
                            full.set(full.get() + 1);
                            return Next::Keep;
                        }
                    }
                }
                Next::Release
            }
        }
        if unix {
            let (ours, theirs) = unix_pair();
            io.register(ours, Interest::WRITABLE, write_all::<UnixStream>(full.clone()))?;
            io.poll()?; // Fills the socket, before anybody reads.
            reader.push(read_all(Box::new(theirs)));
        } else {
            let (ours, theirs) = tcp_pair();
            io.register(ours, Interest::WRITABLE, write_all::<TcpStream>(full.clone()))?;
            io.poll()?;
            reader.push(read_all(Box::new(theirs)));
        }
        io.run()?;
        assert!(full.get() > 0, "it was never full: no test");
        let got = reader.take().remove(0).join().expect("no panic")?;
        assert!(got.len() == BYTES && got.iter().enumerate().all(|(n, byte)| *byte == (n % 251) as u8));
    }
    Ok(())
}

/// P18: a half-closed connection still takes bytes in the other direction.
#[test]
fn a_stream_can_be_written_after_its_end_was_read() -> io::Result<()> {
    let mut io = context();
    let (ours, mut theirs) = tcp_pair();
    theirs.write_all(b"question")?;
    theirs.shutdown(Shutdown::Write)?;
    let mut question = Vec::new();
    io.register(ours, Interest::READABLE, move |stream: &Io<TcpStream>, ready| {
        if ready.is_readable() {
            let mut buffer = [0; 64];
            match stream.read(&mut buffer) {
                Ok(0) => return Next::Interest(Interest::WRITABLE),
                Ok(n) => question.extend_from_slice(&buffer[..n]),
                Err(_) => return Next::Keep,
            }
            return Next::Keep;
        }
        question.reverse();
        assert_eq!(stream.write(&question).expect("room"), 8);
        Next::Release
    })?;
    io.run()?;
    let mut answer = String::new();
    theirs.read_to_string(&mut answer)?;
    assert_eq!(answer, "noitseuq");
    Ok(())
}
