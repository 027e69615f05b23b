//! `register_fd`: descriptors that are not ours to make non-blocking.

mod util;

use ioctx::{Descriptor, Interest, Io, Next, Ready};
use rustix::pipe::pipe;
use std::cell::{Cell, RefCell};
use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::OwnedFd;
use std::rc::Rc;
use util::{context, run_until};

/// A callback that reads what is there, and releases at the end.
fn collect(got: &Rc<RefCell<Vec<u8>>>) -> impl FnMut(&Io<Descriptor<OwnedFd>>, Ready) -> Next + use<> {
    let got = got.clone();
    move |source, _| match util::drain(source) {
        Ok((bytes, is_end)) => {
            got.borrow_mut().extend(bytes);
            if is_end { Next::Release } else { Next::Keep }
        }
        Err(error) => panic!("{error}"),
    }
}

/// P18: a pipe is read to its end, however often it falls empty, and what was in it before counts, too.
#[test]
fn a_pipe_is_read_to_its_end() -> io::Result<()> {
    let mut io = context();
    let (reader, writer) = pipe()?;
    let mut writer = File::from(writer);
    let got = Rc::new(RefCell::new(Vec::new()));
    writer.write_all(b"early ")?;
    io.register_fd(reader, Interest::READABLE, collect(&got))?;
    let mut expected = 6;
    for round in 0..20 {
        let text = format!("round {round} ");
        writer.write_all(text.as_bytes())?;
        expected += text.len();
        run_until(&mut io, || got.borrow().len() == expected);
        assert_eq!(io.poll()?, 0, "called with nothing to read");
    }
    writer.write_all(b"late")?;
    drop(writer);
    io.run()?;
    assert!(got.borrow().starts_with(b"early round 0 ") && got.borrow().ends_with(b"round 19 late"));
    Ok(())
}

/// Section 1: a foreign descriptor keeps its flags: it stays blocking for whoever shares it, and is never blocked on.
#[test]
fn a_foreign_descriptor_stays_blocking_and_never_blocks_the_loop() -> io::Result<()> {
    let mut io = context();
    let (reader, writer) = pipe()?;
    let shared = File::from(reader.try_clone()?);
    let calls = Rc::new(Cell::new(0));
    let counter = calls.clone();
    File::from(writer.try_clone()?).write_all(b"x")?;
    io.register_fd(reader, Interest::READABLE, move |source, _| {
        counter.set(counter.get() + 1);
        // Reads until the descriptor says that it would block: a blocking read would hang here.
        assert_eq!(util::drain(source).expect("a read").0, b"x");
        assert!(source.read(&mut [0]).is_err_and(|error| error.kind() == ErrorKind::WouldBlock));
        Next::Release
    })?;
    assert_eq!(io.run()?, 1);
    let flags = rustix::io::ioctl_fionread(&shared)?;
    assert_eq!((flags, calls.get()), (0, 1));
    // Still blocking: a read waits for the writer, instead of failing.
    let thread = std::thread::spawn(move || (&shared).read(&mut [0; 8]));
    File::from(writer).write_all(b"later")?;
    assert_eq!(thread.join().expect("no panic")?, 5);
    Ok(())
}

/// Section 1: a write takes at most what a writable pipe takes at once, so it never blocks, and goes on when read.
#[test]
fn a_full_pipe_does_not_block_the_writer() -> io::Result<()> {
    const BYTES: usize = 1 << 20;
    let mut io = context();
    let (reader, writer) = pipe()?;
    let (mut sent, filled) = (0, Rc::new(Cell::new(false)));
    let full = filled.clone();
    io.register_fd(writer, Interest::WRITABLE, move |pipe, _| {
        loop {
            match pipe.write(&vec![7; BYTES - sent]) {
                Ok(n) => sent += n,
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::WouldBlock);
                    full.set(true);
                    return Next::Keep;
                }
            }
            if sent == BYTES {
                return Next::Release;
            }
        }
    })?;
    while !filled.get() {
        // Turns of a budget each, until the pipe is full.
        assert_eq!(io.poll()?, 1);
        if io.next_timeout().is_none_or(|timeout| !timeout.is_zero()) {
            break;
        }
    }
    let thread = std::thread::spawn(move || {
        let mut got = Vec::new();
        File::from(reader).read_to_end(&mut got).map(|_| got)
    });
    io.run()?;
    assert_eq!(thread.join().expect("no panic")?, vec![7; BYTES]);
    Ok(())
}

/// Section 1: an eventfd is a descriptor like any other; what a read takes is not offered again.
#[cfg(target_os = "linux")]
#[test]
fn an_eventfd_calls_once_for_each_signal() -> io::Result<()> {
    use rustix::event::{EventfdFlags, eventfd};
    let mut io = context();
    let fd = eventfd(0, EventfdFlags::CLOEXEC)?;
    let signal = File::from(fd.try_clone()?);
    let counts = util::Record::new();
    let seen = counts.clone();
    let registration = io.register_fd(fd, Interest::READABLE, move |source, _| {
        let mut count = [0; 8];
        match source.read(&mut count) {
            Ok(8) => seen.push(u64::from_ne_bytes(count)),
            other => assert!(other.is_err_and(|error| error.kind() == ErrorKind::WouldBlock)),
        }
        Next::Keep
    })?;
    for round in 1..=3_u64 {
        (&signal).write_all(&round.to_ne_bytes())?;
        (&signal).write_all(&1_u64.to_ne_bytes())?;
        run_until(&mut io, || counts.len() == 1);
        assert_eq!(counts.take(), [round + 1]);
        io.poll()?; // The call that finds it empty again.
        assert_eq!((io.poll()?, counts.len()), (0, 0));
    }
    let fd = registration.into_source()?.into_inner();
    drop(fd);
    assert_eq!(io.run()?, 0);
    Ok(())
}

/// Section 1: a terminal works, too: lines as they are typed, and its end when the other side hangs up.
#[cfg(target_os = "linux")]
#[test]
fn a_terminal_delivers_its_lines() -> io::Result<()> {
    use rustix::fs::{Mode, OFlags};
    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
    let mut io = context();
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
    grantpt(&master)?;
    unlockpt(&master)?;
    let name = ptsname(&master, Vec::new())?;
    let terminal = rustix::fs::open(name, OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC, Mode::empty())?;
    let mut keyboard = File::from(master);
    let lines = util::Record::new();
    let seen = lines.clone();
    io.register_fd(terminal, Interest::READABLE, move |terminal, _| {
        let mut line = [0; 256];
        match terminal.read(&mut line) {
            Ok(0) => Next::Release,
            Ok(n) => {
                seen.push(String::from_utf8_lossy(&line[..n]).into_owned());
                Next::Keep
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => Next::Keep,
            Err(_) => Next::Release, // Hung up.
        }
    })?;
    keyboard.write_all(b"one\ntw")?;
    run_until(&mut io, || lines.len() == 1);
    assert_eq!(lines.take(), ["one\n"]);
    keyboard.write_all(b"o\n")?;
    run_until(&mut io, || lines.len() == 1);
    assert_eq!(lines.take(), ["two\n"]);
    drop(keyboard);
    io.run()?;
    Ok(())
}

/// Section 1: a regular file is always ready and cannot be polled: the error of the call says so.
#[cfg(all(target_os = "linux", not(mio_unsupported_force_poll_poll)))]
#[test]
fn a_regular_file_is_refused_with_a_reason() -> io::Result<()> {
    let mut io = context();
    let file = File::open("Cargo.toml")?;
    let never = |_: &Io<Descriptor<File>>, _: Ready| -> Next { unreachable!("not registered") };
    let refused = io.register_fd(file, Interest::READABLE, never).expect_err("a regular file");
    assert_eq!(refused.kind(), ErrorKind::InvalidInput);
    assert!(refused.to_string().contains("regular file"), "{refused}");
    assert!(io.outstanding().is_empty());
    assert_eq!(io.run()?, 0);
    Ok(())
}

/// Section 1: one descriptor can be registered once at a time: the second is refused, the first goes on.
#[cfg(all(target_os = "linux", not(mio_unsupported_force_poll_poll)))]
#[test]
fn a_descriptor_is_refused_while_it_is_registered() -> io::Result<()> {
    let mut io = context();
    let (reader, writer) = pipe()?;
    let reader = Rc::new(reader);
    let first = io.register_fd(reader.clone(), Interest::READABLE, |source, _| {
        assert_eq!(util::drain(source).expect("a read").0, b"x");
        Next::Release
    })?;
    let again = || io.register_fd(reader.clone(), Interest::READABLE, |_, _| unreachable!("refused"));
    let refused = again().expect_err("registered already");
    assert_eq!(refused.kind(), ErrorKind::AlreadyExists);
    assert_eq!(io.outstanding().len(), 1);
    File::from(writer).write_all(b"x")?;
    assert_eq!(io.run()?, 1);
    assert!(first.is_released());
    Ok(())
}

/// P18: a change of interest of a foreign descriptor is told to the poller: both directions of one work in turn.
#[test]
fn both_directions_of_a_foreign_descriptor_work_in_turn() -> io::Result<()> {
    let mut io = context();
    let (ours, mut theirs) = std::os::unix::net::UnixStream::pair()?;
    let mut echoed = 0;
    let mut unsent = Vec::new();
    io.register_fd(OwnedFd::from(ours), Interest::READABLE, move |source: &Io<Descriptor<OwnedFd>>, ready| {
        if ready.is_writable() {
            assert_eq!(source.write(&unsent).expect("room"), unsent.len());
            echoed += unsent.len();
            return if echoed < 30 { Next::Interest(Interest::READABLE) } else { Next::Release };
        }
        unsent = util::drain(source).expect("a read").0;
        Next::Interest(Interest::WRITABLE)
    })?;
    let thread = std::thread::spawn(move || -> io::Result<()> {
        for n in 0..3 {
            theirs.write_all(&[n; 10])?;
            let mut back = [0; 10];
            theirs.read_exact(&mut back)?;
            assert_eq!(back, [n; 10]);
        }
        Ok(())
    });
    io.run()?;
    thread.join().expect("no panic")
}

/// Section 1: an empty datagram is no end: what follows it is delivered.
#[test]
fn an_empty_datagram_does_not_end_a_foreign_descriptor() -> io::Result<()> {
    let mut io = context();
    let (ours, theirs) = std::os::unix::net::UnixDatagram::pair()?;
    let lengths = util::Record::new();
    let seen = lengths.clone();
    theirs.send(b"")?;
    theirs.send(b"x")?;
    io.register_fd(ours, Interest::READABLE, move |source, _| {
        loop {
            match source.read(&mut [0; 8]) {
                Ok(n) => seen.push(n),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Next::Keep,
                Err(error) => panic!("{error}"),
            }
        }
    })?;
    run_until(&mut io, || lengths.len() == 2);
    theirs.send(b"")?;
    run_until(&mut io, || lengths.len() == 3);
    theirs.send(b"xy")?;
    run_until(&mut io, || lengths.len() == 4);
    assert_eq!(lengths.take(), [0, 1, 0, 2]);
    Ok(())
}

/// Section 1: who asks a foreign descriptor for urgent data is called for it, and not for other data.
#[cfg(target_os = "linux")]
#[test]
fn urgent_data_calls_who_asked_for_it() -> io::Result<()> {
    let mut io = context();
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0))?;
    let mut peer = std::net::TcpStream::connect(listener.local_addr()?)?;
    let (ours, _) = listener.accept()?;
    io.register_fd(ours, Interest::PRIORITY, |_, ready| {
        assert!(ready.is_priority());
        Next::Release
    })?;
    peer.write_all(b"plain")?;
    assert_eq!(io.poll()? + io.poll()?, 0);
    socket2::SockRef::from(&peer).send_out_of_band(b"!")?;
    assert_eq!(io.run()?, 1);
    Ok(())
}
