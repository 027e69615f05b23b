//! The context's own descriptors, and what happens when the process has none left.
//!
//! Alone in its process, and one test at a time: the tests lower a limit of the process, and count what it has open.
#![cfg(target_os = "linux")]

mod util;

use ioctx::mio::net::{TcpListener, TcpStream};
use ioctx::{Interest, Io, IoContext, Next};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Read};
use std::rc::Rc;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

static ALONE: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What the process has open: number and what it is. Without what others have for a moment: this listing its directory,
/// and a thread that waits for its turn, once, when it first allocates, the C library's list of processors.
fn open() -> io::Result<BTreeMap<i32, String>> {
    let mut all = BTreeMap::new();
    for entry in fs::read_dir("/proc/self/fd")? {
        let entry = entry?;
        if let Ok(what) = fs::read_link(entry.path()) {
            let number = entry.file_name().to_string_lossy().parse().expect("a number");
            all.insert(number, what.to_string_lossy().into_owned());
        } // Else it has gone meanwhile.
    }
    all.retain(|_, what| !["/proc/", "/sys/"].iter().any(|passing| what.starts_with(passing)));
    Ok(all)
}

/// Gives the process no more than `spare` descriptors beyond those open, until dropped.
struct Limit(Rlimit);

impl Limit {
    fn spare(spare: u64) -> io::Result<Limit> {
        let former = getrlimit(Resource::Nofile);
        let highest = open()?.into_keys().max().unwrap_or_default() as u64;
        let current = Some(highest + 1 + spare);
        setrlimit(Resource::Nofile, Rlimit { current, ..former })?;
        Ok(Limit(former))
    }
}

impl Drop for Limit {
    fn drop(&mut self) {
        setrlimit(Resource::Nofile, self.0).expect("the limit it was");
    }
}

/// Takes all descriptors that are left.
fn exhaust() -> Vec<File> {
    std::iter::from_fn(|| File::open("/dev/null").ok()).collect()
}

/// P25: every descriptor that a context opens is close-on-exec, and goes with the context.
#[test]
fn the_descriptors_of_a_context_are_close_on_exec_and_go_with_it() -> io::Result<()> {
    let _alone = alone();
    let before = open()?;
    let mut io = IoContext::new()?;
    io.remote().post(|_| {}).expect("the context is there");
    io.run()?;
    let mut with = open()?;
    with.retain(|number, _| !before.contains_key(number));
    assert!((2..=4).contains(&with.len()), "{with:?}");
    for (number, what) in &with {
        let info = fs::read_to_string(format!("/proc/self/fdinfo/{number}"))?;
        let flags = info.lines().find_map(|line| line.strip_prefix("flags:")).expect("flags").trim().to_owned();
        let flags = u32::from_str_radix(&flags, 8).expect("octal");
        assert!(flags & rustix::fs::OFlags::CLOEXEC.bits() != 0, "{number} {what}: {info}");
    }
    let remote = io.remote();
    drop(io);
    let mut left = open()?;
    left.retain(|number, _| !before.contains_key(number));
    assert!(left.len() <= 2, "more than what a remote wakes the loop by: {left:?}");
    drop(remote);
    assert_eq!(open()?, before);
    Ok(())
}

/// Section 1: dropping the context closes what is registered, too, whoever holds what.
#[test]
fn a_thousand_contexts_leave_no_descriptor_behind() -> io::Result<()> {
    let _alone = alone();
    let before = open()?;
    for n in 0..1_000 {
        let mut io = IoContext::new()?;
        let (ours, theirs) = util::unix_pair();
        let registration = io.register(ours, Interest::WRITABLE, move |_, _| match n % 3 {
            0 => Next::Keep,
            1 => Next::Release,
            _ => Next::Pause(Duration::MAX),
        })?;
        io.poll()?;
        if n % 2 == 0 {
            drop(io);
            drop((registration, theirs));
        } else {
            drop((registration, theirs));
            drop(io);
        }
    }
    assert_eq!(open()?, before);
    Ok(())
}

/// P23: out of descriptors a listener of the readiness layer pauses, does not spin, and takes in the waiting clients
/// when there are some again, with no new connection needed.
#[test]
fn a_listener_out_of_descriptors_pauses_and_then_serves_those_who_waited() -> io::Result<()> {
    const CLIENTS: usize = 4;
    let _alone = alone();
    let mut io = util::context();
    let listener = TcpListener::bind(([127, 0, 0, 1], 0).into())?;
    let address = listener.local_addr()?;
    let mut clients: Vec<_> = (0..CLIENTS).map(|_| std::net::TcpStream::connect(address)).collect::<Result<_, _>>()?;
    let limit = Limit::spare(0)?;
    let hoard = Rc::new(RefCell::new(exhaust()));
    let (accepted, refused) = (Rc::new(RefCell::new(Vec::new())), Rc::new(Cell::new(0)));
    let (own_hoard, own_accepted, own_refused) = (hoard.clone(), accepted.clone(), refused.clone());
    io.register(listener, Interest::READABLE, move |listener: &Io<TcpListener>, _| {
        loop {
            match listener.try_io(Interest::READABLE, |listener| listener.accept()) {
                Ok((stream, _)) => own_accepted.borrow_mut().push(stream),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => {
                    assert_eq!(error.raw_os_error(), Some(rustix::io::Errno::MFILE.raw_os_error()));
                    own_refused.set(own_refused.get() + 1);
                    if own_refused.get() == 3 {
                        own_hoard.borrow_mut().clear(); // Somebody closes something.
                        setrlimit(Resource::Nofile, limit.0).expect("the limit it was");
                    }
                    return Next::Pause(Duration::from_millis(10));
                }
            }
        }
        if own_accepted.borrow().len() == CLIENTS { Next::Release } else { Next::Keep }
    })?;
    assert_eq!(io.run()?, 4, "three in vain, one that serves all");
    assert_eq!(refused.get(), 3);
    for stream in accepted.take() {
        drop::<TcpStream>(stream);
    }
    for client in &mut clients {
        assert_eq!(client.read(&mut [0])?, 0, "served, and closed");
    }
    Ok(())
}

/// Section 2: with no descriptors left a context is an error, not a panic, and leaks none of those it got.
#[test]
fn a_context_without_descriptors_is_an_error_that_leaks_nothing() -> io::Result<()> {
    let _alone = alone();
    let before = open()?;
    for spare in 0..2 {
        let limit = Limit::spare(spare)?;
        let mut hoard = exhaust();
        hoard.truncate(hoard.len() - spare as usize);
        let refused = IoContext::new().expect_err("too few descriptors");
        assert_eq!(refused.raw_os_error(), Some(rustix::io::Errno::MFILE.raw_os_error()));
        drop((hoard, limit));
        assert_eq!(open()?, before);
    }
    drop(IoContext::new()?);
    Ok(())
}

/// P9: a sleeping loop is woken by one system call however many tasks arrive before it looks, a busy one by none.
/// Method: the waker is an eventfd, whose count in /proc is the number of writes since it was last read: mio reads it
/// only before it overflows.
#[cfg(not(any(mio_unsupported_force_poll_poll, mio_unsupported_force_waker_pipe)))]
#[test]
fn a_loop_is_woken_once_however_many_tasks_arrive() -> io::Result<()> {
    let _alone = alone();
    let before = open()?;
    let mut io = IoContext::new()?;
    let mut waker = open()?;
    waker.retain(|number, what| !before.contains_key(number) && what.contains("eventfd"));
    assert_eq!(waker.len(), 1, "{waker:?}");
    let path = format!("/proc/self/fdinfo/{}", waker.into_keys().next().expect("just counted"));
    let wakes = move || {
        let info = fs::read_to_string(&path).expect("readable");
        let count = info.lines().find_map(|line| line.strip_prefix("eventfd-count:")).expect("a count").trim();
        u64::from_str_radix(count, 16).expect("hexadecimal")
    };
    let many = |io: &ioctx::Handle| {
        let (remote, sender) = (io.remote(), io.channel(|_: u32| {}));
        let thread = std::thread::spawn(move || {
            for n in 0..500 {
                remote.post(|_| {}).expect("the context is there");
                sender.send(n).expect("the context is there");
            }
        });
        thread.join().expect("no panic");
    };
    assert_eq!(wakes(), 0);
    many(&io);
    assert_eq!(wakes(), 1, "outside a turn");
    assert_eq!(io.run()?, 1000);
    assert_eq!(wakes(), 1);
    let handle = io.handle().clone();
    io.post(move || many(&handle));
    assert_eq!(io.run()?, 1001);
    assert_eq!(wakes(), 1, "while a handler runs");
    many(&io);
    many(&io);
    assert_eq!(wakes(), 2, "once for all of them");
    assert_eq!(io.run()?, 2000);
    Ok(())
}
