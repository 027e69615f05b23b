//! An event for something that was closed earlier in the turn is never delivered, to nobody.

mod util;

use ioctx::mio::net::UnixStream;
use ioctx::{Interest, Io, Next, Ready, Registration};
use std::cell::{Cell, RefCell};
use std::io::{self, Write};
use std::os::fd::{AsRawFd, RawFd};
use std::rc::Rc;
use util::{Record, context, drain, tcp_pair, unix_pair};

type Shared<T> = Rc<RefCell<T>>;

/// P8: two sources are ready in one batch; whichever is called first releases the other, which is not called.
#[test]
fn a_source_released_by_an_earlier_callback_of_the_batch_is_not_called() -> io::Result<()> {
    let mut io = context();
    let registrations: Shared<Vec<Registration<UnixStream>>> = Rc::default();
    let calls = Record::new();
    let mut peers = Vec::new();
    for n in 0..2 {
        let (ours, mut theirs) = unix_pair();
        theirs.write_all(b"x")?;
        peers.push(theirs);
        let (all, calls) = (registrations.clone(), calls.clone());
        let registration = io.register(ours, Interest::READABLE, move |_, _| {
            calls.push(n);
            all.take().iter().for_each(Registration::release);
            Next::Keep
        })?;
        registrations.borrow_mut().push(registration);
    }
    assert_eq!(io.run()?, 1);
    assert_eq!(calls.len(), 1);
    Ok(())
}

/// P8: libuv's `watcher_cross_stop`: of very many ready sources the first one called stops all the others.
#[test]
fn the_first_of_many_ready_sources_may_stop_all_the_others() -> io::Result<()> {
    const SOURCES: usize = 400;
    for take_back in [false, true] {
        let mut io = context();
        let registrations: Shared<Vec<Registration<UnixStream>>> = Rc::default();
        let (calls, alive) = (Rc::new(Cell::new(0)), Rc::new(()));
        let mut peers = Vec::new();
        for _ in 0..SOURCES {
            let (ours, mut theirs) = unix_pair();
            theirs.write_all(b"x")?;
            peers.push(theirs);
            let (all, calls, alive) = (registrations.clone(), calls.clone(), alive.clone());
            let registration = io.register(ours, Interest::READABLE, move |_, _| {
                let _alive = &alive;
                calls.set(calls.get() + 1);
                for registration in all.take() {
                    registration.release();
                    if take_back {
                        drop(registration.into_source());
                    }
                }
                Next::Keep
            })?;
            registrations.borrow_mut().push(registration);
        }
        assert_eq!(io.run()?, 1);
        assert_eq!((calls.get(), Rc::strong_count(&alive)), (1, 1));
    }
    Ok(())
}

/// P8: libuv's `tcp_close_accept`: a callback closes a connection that is later in the batch and opens a new one,
/// which gets the old one's descriptor and slot. The new one never sees the old one's event.
#[test]
fn a_reused_slot_and_descriptor_never_see_the_event_of_the_dead_connection() -> io::Result<()> {
    let mut io = context();
    let registrations: Shared<Vec<(RawFd, Registration<UnixStream>)>> = Rc::default();
    let (reused, quiet_peers) = (Rc::new(Cell::new(false)), Rc::new(RefCell::new(Vec::new())));
    let mut peers = Vec::new();
    for _ in 0..2 {
        let (ours, mut theirs) = unix_pair();
        theirs.write_all(b"x")?;
        peers.push(theirs);
        let fd = ours.as_raw_fd();
        let (all, handle) = (registrations.clone(), io.handle().clone());
        let (reused, quiet_peers) = (reused.clone(), quiet_peers.clone());
        let registration = io.register(ours, Interest::READABLE, move |own: &Io<UnixStream>, _| {
            let own = own.get_ref().as_raw_fd();
            let (mine, others) = all.take().into_iter().partition::<Vec<_>, _>(|(fd, _)| *fd == own);
            assert_eq!((mine.len(), others.len()), (1, 1));
            for (old_fd, old) in others {
                let slot = format!("{old:?}");
                drop(old.into_source().expect("its callback is not running"));
                let (new, peer) = unix_pair();
                reused.set(new.as_raw_fd() == old_fd || peer.as_raw_fd() == old_fd);
                let never = |_: &Io<UnixStream>, _: Ready| -> Next { unreachable!("an event of the dead") };
                let new = handle.register(new, Interest::READABLE, never).expect("a registration").background();
                let place = |text: &str| text.split(", ").next().map(str::to_owned);
                assert_eq!(place(&format!("{new:?}")), place(&slot), "the slot was not reused: no test");
                quiet_peers.borrow_mut().push(peer);
            }
            Next::Release
        })?;
        registrations.borrow_mut().push((fd, registration));
    }
    assert_eq!(io.run()?, 1);
    for _ in 0..3 {
        assert_eq!(io.poll()?, 0);
    }
    // Whether descriptors are reused is the kernel's affair, and other tests open some, too: nothing to assert.
    println!("descriptor reused: {}", reused.get());
    Ok(())
}

/// P8: a callback whose interest was taken away by an earlier one of the same batch is not called.
#[test]
fn interest_counts_at_the_moment_of_the_call() -> io::Result<()> {
    let mut io = context();
    let registrations: Shared<Vec<Registration<UnixStream>>> = Rc::default();
    let mut peers = Vec::new();
    for _ in 0..2 {
        let (ours, mut theirs) = unix_pair();
        theirs.write_all(b"x")?;
        peers.push(theirs);
        let all = registrations.clone();
        let registration = io.register(ours, Interest::READABLE, move |_, _| {
            for registration in &*all.borrow() {
                registration.set_interest(Interest::NONE).expect("registered");
            }
            Next::Keep
        })?;
        registrations.borrow_mut().push(registration);
    }
    assert_eq!((io.poll()?, io.poll()?), (1, 0));
    for registration in &*registrations.borrow() {
        registration.set_interest(Interest::READABLE)?;
    }
    assert_eq!(io.poll()?, 1, "nothing was lost");
    Ok(())
}

/// P8: a slot that is freed and taken a thousand times gives every owner its own events.
#[test]
fn a_slot_that_is_reused_again_and_again_never_mixes_its_owners() -> io::Result<()> {
    let mut io = context();
    for n in 0..1_000_u32 {
        let (ours, mut theirs) = unix_pair();
        theirs.write_all(&n.to_ne_bytes())?;
        let registration = io.register(ours, Interest::READABLE, move |stream, _| {
            assert_eq!(drain(stream).expect("a read").0, n.to_ne_bytes());
            Next::Release
        })?;
        if n % 3 == 0 {
            registration.release(); // Its event is on the way.
            assert_eq!(io.poll()?, 0);
        } else {
            assert_eq!(io.run()?, 1);
        }
    }
    Ok(())
}

/// P1, P8: a descriptor of which a duplicate stays open elsewhere leaves no events behind when it is released.
#[test]
fn a_released_source_is_silent_although_a_duplicate_stays_open() -> io::Result<()> {
    let mut io = context();
    let _guard = io.work_guard();
    let (ours, mut theirs) = unix_pair();
    let duplicate = std::os::fd::AsFd::as_fd(&ours).try_clone_to_owned()?;
    let registration = io.register(ours, Interest::READABLE, |_, _| unreachable!("released"))?;
    registration.release();
    drop(registration);
    theirs.write_all(b"x")?;
    #[cfg(all(target_os = "linux", not(mio_unsupported_force_poll_poll)))]
    {
        use rustix::event::{PollFd, PollFlags, Timespec, poll};
        let quiet = std::os::fd::AsFd::as_fd(&io);
        let mut wakes = [PollFd::from_borrowed_fd(quiet, PollFlags::IN)];
        assert_eq!(poll(&mut wakes, Some(&Timespec::default()))?, 0, "the poller has an event for nobody");
    }
    assert_eq!(io.poll()?, 0);
    drop(duplicate);
    Ok(())
}

/// P7: an error of one connection ends neither the turn nor the others: the reset one is told, the rest is served.
#[test]
fn a_reset_connection_harms_no_other() -> io::Result<()> {
    let mut io = context();
    let told = Record::new();
    let mut peers = Vec::new();
    for n in 0..3 {
        let (ours, theirs) = tcp_pair();
        peers.push(theirs);
        let told = told.clone();
        io.register(ours, Interest::READABLE, move |stream, _| match drain(stream) {
            Ok((bytes, true)) => {
                told.push((n, Ok(bytes)));
                Next::Release
            }
            Ok(_) => Next::Keep,
            Err(error) => {
                told.push((n, Err(error.kind())));
                Next::Release
            }
        })?;
    }
    assert_eq!(io.poll()?, 0);
    let reset = peers.remove(1);
    socket2::SockRef::from(&reset).set_linger(Some(std::time::Duration::ZERO))?;
    drop(reset);
    for mut peer in peers {
        peer.write_all(b"served")?;
    }
    io.run()?;
    let mut told = told.take();
    told.sort_by_key(|(n, _)| *n);
    let served = || Ok(b"served".to_vec());
    assert_eq!(told, [(0, served()), (1, Err(io::ErrorKind::ConnectionReset)), (2, served())]);
    Ok(())
}
