//! `register` and what a `Registration` can do, from outside and from inside a callback.

mod util;

use ioctx::mio::event::Source;
use ioctx::mio::net::UnixStream;
use ioctx::mio::{self, Registry, Token};
use ioctx::{Interest, Io, IoContext, Next, Ready, Registration};
use std::cell::{Cell, RefCell};
use std::io::{self, ErrorKind, Read, Write};
use std::rc::Rc;
use std::time::{Duration, Instant};
use util::{Record, context, drain, run_until, unix_pair};

/// P4: registering a source that is ready calls nobody before the loop runs.
#[test]
fn register_never_calls_the_callback_itself() -> io::Result<()> {
    let mut io = context();
    let calls = Record::new();
    let (ours, mut theirs) = unix_pair();
    theirs.write_all(b"x")?;
    let seen = calls.clone();
    let registration = io.register(ours, Interest::NONE, move |_, ready| {
        seen.push(ready.is_readable());
        Next::Release
    })?;
    assert_eq!(io.poll()?, 0, "nobody asked to be called");
    registration.set_interest(Interest::READABLE)?;
    assert_eq!(calls.len(), 0);
    assert_eq!(io.run()?, 1, "the readiness was remembered");
    assert_eq!(calls.take(), [true]);
    Ok(())
}

/// Section 1: while something asked for is ready, the callback is called again, turn after turn, with no new event.
#[test]
fn a_callback_that_ignores_its_data_is_called_again() -> io::Result<()> {
    let mut io = context();
    let (ours, mut theirs) = unix_pair();
    theirs.write_all(b"x")?;
    let mut calls = 0;
    io.register(ours, Interest::READABLE, move |stream, _| {
        calls += 1;
        match calls {
            1..=4 => Next::Keep,
            _ => {
                assert_eq!(drain(stream).expect("a read").0, b"x");
                Next::Release
            }
        }
    })?;
    for turn in 1..=5 {
        assert_eq!(io.poll()?, 1, "turn {turn}");
    }
    assert!(io.stopped());
    Ok(())
}

/// Section 1: the callback is told what is ready of what it asked for, and nothing else.
#[test]
fn only_what_was_asked_for_calls_and_is_told() -> io::Result<()> {
    let mut io = context();
    let told = Record::new();
    let (ours, mut theirs) = unix_pair();
    theirs.write_all(b"x")?;
    let seen = told.clone();
    io.register(ours, Interest::WRITABLE, move |stream, ready| {
        seen.push((ready.is_readable(), ready.is_writable()));
        match seen.len() {
            1 => Next::Interest(Interest::READABLE),
            2 => Next::Interest(Interest::READABLE | Interest::WRITABLE),
            3 => {
                drain(stream).expect("a read");
                Next::Keep
            }
            4 => Next::Interest(Interest::NONE),
            _ => unreachable!("asked for nothing"),
        }
    })?;
    for _ in 0..10 {
        io.poll()?;
    }
    assert_eq!(told.take(), [(false, true), (true, false), (true, true), (false, true)]);
    Ok(())
}

/// Section 1: a callback that does not read for a while, and asks again later, gets what came meanwhile.
#[test]
fn data_that_came_while_nobody_asked_is_delivered_when_somebody_does() -> io::Result<()> {
    let mut io = context();
    let (ours, mut theirs) = unix_pair();
    let got = Rc::new(RefCell::new(Vec::new()));
    let seen = got.clone();
    let registration = io.register(ours, Interest::READABLE, move |stream, _| {
        seen.borrow_mut().extend(drain(stream).expect("a read").0);
        Next::Keep
    })?;
    theirs.write_all(b"one ")?;
    run_until(&mut io, || got.borrow().len() == 4);
    registration.set_interest(Interest::NONE)?;
    theirs.write_all(b"two ")?;
    for _ in 0..3 {
        assert_eq!(io.poll()?, 0);
    }
    theirs.write_all(b"three")?;
    registration.set_interest(Interest::READABLE)?;
    run_until(&mut io, || got.borrow().len() == 13);
    assert_eq!(*got.borrow(), b"one two three");
    Ok(())
}

/// P18: the end of the stream is shown again to whoever asks for it again.
#[test]
fn the_end_of_a_stream_is_shown_to_whoever_asks_anew() -> io::Result<()> {
    let mut io = context();
    let ends = Record::new();
    let (ours, theirs) = unix_pair();
    drop(theirs);
    let seen = ends.clone();
    let registration = io.register(ours, Interest::READABLE, move |stream, _| {
        assert_eq!(stream.read(&mut [0; 8]).expect("the end"), 0);
        assert!(stream.ready().is_read_closed());
        seen.push(());
        Next::Keep
    })?;
    for _ in 0..4 {
        io.poll()?;
    }
    assert_eq!(ends.take().len(), 1, "told once");
    registration.set_interest(Interest::NONE)?;
    registration.set_interest(Interest::READABLE)?;
    assert_eq!(io.poll()?, 1);
    assert_eq!(ends.take().len(), 1);
    Ok(())
}

/// Section 1: dropping the registration detaches it: the callback lives on in the loop.
#[test]
fn dropping_the_registration_detaches_it() -> io::Result<()> {
    let mut io = context();
    let (ours, theirs) = unix_pair();
    drop(io.register(ours, Interest::READABLE, |_, _| Next::Release)?);
    assert_eq!(io.outstanding().len(), 1);
    drop(theirs);
    assert_eq!(io.run()?, 1);
    Ok(())
}

/// Section 1: `Next::Release` drops the callback and closes the source when nobody holds the registration.
#[test]
fn a_released_source_is_closed_when_nobody_holds_its_registration() -> io::Result<()> {
    let mut io = context();
    let (ours, mut theirs) = unix_pair();
    let alive = Rc::new(());
    let held = alive.clone();
    theirs.write_all(b"x")?;
    io.register(ours, Interest::READABLE, move |stream, _| {
        let _held = &held;
        drain(stream).expect("a read");
        Next::Release
    })?;
    assert_eq!(io.run()?, 1);
    assert_eq!(Rc::strong_count(&alive), 1);
    assert_eq!(theirs.read(&mut [0; 8])?, 0, "the peer sees the end");
    Ok(())
}

/// Section 1: `into_source` gives the source back: released from outside, or by its callback before.
#[test]
fn into_source_gives_the_source_back() -> io::Result<()> {
    let mut io = context();
    let (ours, mut theirs) = unix_pair();
    let never = |_: &Io<UnixStream>, _: Ready| -> Next { unreachable!("released before") };
    let registration = io.register(ours, Interest::READABLE, never)?;
    theirs.write_all(b"x")?;
    assert!(!registration.is_released());
    let source = registration.into_source()?;
    assert_eq!(io.run()?, 0, "not outstanding any more");

    let registration = io.register(source, Interest::READABLE, |_, _| Next::Release)?;
    assert_eq!(io.run()?, 1);
    assert!(registration.is_released());
    let mut source = registration.into_source()?;
    assert_eq!(source.read(&mut [0; 8])?, 1);
    source.write_all(b"back")?;
    assert_eq!(theirs.read(&mut [0; 8])?, 4);
    Ok(())
}

/// Section 1: a released registration says so, and every call on it is harmless.
#[test]
fn a_released_registration_is_harmless() -> io::Result<()> {
    let mut io = context();
    let (ours, _theirs) = unix_pair();
    let registration = io.register(ours, Interest::WRITABLE, |_, _| Next::Release)?;
    registration.release();
    registration.release();
    assert!(registration.is_released() && io.stopped());
    let refused = registration.set_interest(Interest::READABLE).expect_err("released");
    assert_eq!(refused.kind(), ErrorKind::NotConnected);
    let registration = registration.background();
    assert!(io.stopped() && io.outstanding().is_empty(), "the count stays in balance");
    assert_eq!(io.run()?, 0);
    assert!(registration.into_source().is_ok());
    Ok(())
}

/// P8: a callback may release its own registration, from inside: whatever it returns, it is not called again, and dropped
/// on its return.
#[test]
fn a_callback_may_release_itself() -> io::Result<()> {
    let pause = Next::Pause(Duration::from_secs(3600));
    for next in [Next::Keep, Next::Interest(Interest::READABLE), pause, Next::Release] {
        let mut io = IoContext::new()?; // Without the watch: `next_timeout` is looked at.
        let (ours, mut theirs) = unix_pair();
        theirs.write_all(b"xx")?;
        let (alive, slot) = (Rc::new(()), Rc::new(RefCell::new(None::<Registration<UnixStream>>)));
        let (held, own, handle) = (alive.clone(), slot.clone(), io.handle().clone());
        let registration = io.register(ours, Interest::READABLE, move |stream, _| {
            own.borrow().as_ref().expect("its registration").release();
            assert_eq!(Rc::strong_count(&held), 2, "alive until it returns");
            assert!(handle.outstanding().is_empty());
            assert_eq!(stream.read(&mut [0; 1]).expect("the source is there until it returns"), 1);
            next
        })?;
        slot.replace(Some(registration));
        assert_eq!(io.run()?, 1);
        assert_eq!(Rc::strong_count(&alive), 1);
        io.restart();
        assert_eq!(io.next_timeout(), None, "{next:?}: there is nothing left to do");
        let registration = slot.take().expect("its registration");
        assert!(registration.is_released());
        assert!(registration.into_source().is_ok());
    }
    Ok(())
}

/// P8: from inside its own callback a source cannot be given back: the error says what to do instead.
#[test]
fn into_source_from_inside_its_own_callback_is_refused() -> io::Result<()> {
    let mut io = context();
    let (ours, _theirs) = unix_pair();
    let slot = Rc::new(Cell::new(None::<Registration<UnixStream>>));
    let own = slot.clone();
    let registration = io.register(ours, Interest::WRITABLE, move |_, _| {
        let refused = own.take().expect("its registration").into_source().expect_err("in use");
        assert_eq!(refused.kind(), ErrorKind::ResourceBusy);
        Next::Release
    })?;
    slot.set(Some(registration));
    assert_eq!(io.run()?, 1);
    Ok(())
}

/// P8: a callback may change its own interest by its registration; what it returns has the last word.
#[test]
fn a_callback_may_set_its_own_interest() -> io::Result<()> {
    let mut io = context();
    let (ours, _theirs) = unix_pair();
    let slot = Rc::new(RefCell::new(None::<Registration<UnixStream>>));
    let own = slot.clone();
    let mut calls = 0;
    let registration = io.register(ours, Interest::WRITABLE, move |_, _| {
        calls += 1;
        let set = |interest| own.borrow().as_ref().expect("its registration").set_interest(interest);
        set(Interest::NONE).expect("registered");
        match calls {
            1 => Next::Interest(Interest::WRITABLE),
            _ => Next::Keep,
        }
    })?;
    slot.replace(Some(registration));
    assert_eq!((io.poll()?, io.poll()?, io.poll()?), (1, 1, 0));
    Ok(())
}

/// P8: a callback may register, release, take back and change others; what it starts comes one pass later at most.
#[test]
fn a_callback_may_do_anything_to_other_registrations() -> io::Result<()> {
    let mut io = context();
    let ran = Record::new();
    let (quiet, mut quiet_peer) = unix_pair();
    let (other, mut other_peer) = unix_pair();
    let (ours, mut theirs) = unix_pair();
    for peer in [&mut quiet_peer, &mut other_peer, &mut theirs] {
        peer.write_all(b"x")?;
    }
    let seen = ran.clone();
    let quiet = io.register(quiet, Interest::NONE, move |_, _| {
        seen.push("woken");
        Next::Release
    })?;
    let other = io.register(other, Interest::NONE, |_, _| unreachable!("taken back"))?;
    io.poll()?; // The events are in: what follows is about remembered readiness.
    let (handle, seen) = (io.handle().clone(), ran.clone());
    let mut other = Some(other);
    io.register(ours, Interest::READABLE, move |_, _| {
        quiet.set_interest(Interest::READABLE).expect("registered");
        let source = other.take().expect("once").into_source().expect("its callback is not running");
        let seen_again = seen.clone();
        let again = move |_: &Io<UnixStream>, _: Ready| {
            seen_again.push("registered again");
            Next::Release
        };
        handle.register(source, Interest::READABLE, again).expect("it had left the poller");
        seen.push("doer");
        Next::Release
    })?;
    assert_eq!(io.poll()?, 2, "the one that was woken runs in the second pass of the same step");
    assert_eq!(ran.take(), ["doer", "woken"]);
    assert_eq!(io.run()?, 1);
    assert_eq!(ran.take(), ["registered again"]);
    Ok(())
}

/// Section 1: `Next::Pause` calls nobody for its time, whatever is ready, and then goes on with no new event.
#[test]
fn a_pause_keeps_quiet_and_then_delivers_what_came() -> io::Result<()> {
    let mut io = context();
    let pause = Duration::from_millis(30);
    let (ours, mut theirs) = unix_pair();
    theirs.write_all(b"x")?;
    let mut paused_at = None;
    let registration = io.register(ours, Interest::READABLE, move |stream, _| match paused_at {
        None => {
            paused_at = Some(Instant::now());
            Next::Pause(pause)
        }
        Some(at) => {
            assert!(at.elapsed() >= pause, "called during its pause");
            assert_eq!(drain(stream).expect("a read").0, b"xy");
            Next::Release
        }
    })?;
    assert_eq!(io.run_one()?, 1);
    theirs.write_all(b"y")?;
    registration.set_interest(Interest::READABLE | Interest::WRITABLE)?; // Asking does not end the pause.
    assert_eq!(io.poll()?, 0);
    assert!(io.next_timeout().is_some_and(|timeout| timeout <= pause));
    assert!(!io.stopped(), "a paused registration is work");
    assert_eq!(io.run()?, 1);
    Ok(())
}

/// P8: a registration released during its pause is gone at once: nothing holds its source or waits for the end.
#[test]
fn a_release_during_a_pause_leaves_nothing_behind() -> io::Result<()> {
    let mut io = IoContext::new()?; // Without the watch: `next_timeout` is looked at.
    let (ours, mut theirs) = unix_pair();
    let registration = io.register(ours, Interest::WRITABLE, |_, _| Next::Pause(Duration::MAX))?;
    assert_eq!(io.run_one()?, 1);
    registration.release();
    drop(registration);
    assert_eq!(io.poll()?, 0);
    assert_eq!(io.next_timeout(), None, "the end of the pause is still armed");
    theirs.set_read_timeout(Some(util::STUCK))?;
    assert_eq!(theirs.read(&mut [0; 8])?, 0, "the source was closed");
    Ok(())
}

/// Section 1: a registration in the background balances the count, whichever way it ends.
#[test]
fn background_registrations_keep_the_count_in_balance() -> io::Result<()> {
    let mut io = context();
    let guard = io.work_guard();
    for inside in [true, false] {
        let (ours, _theirs) = unix_pair();
        let registration = io.register(ours, Interest::WRITABLE, |_, _| Next::Release)?.background().background();
        assert_eq!(io.outstanding().len(), 1, "the guard");
        if inside {
            assert_eq!(io.run_one()?, 1);
        } else {
            registration.release();
        }
        assert!(registration.is_released() && !io.stopped());
    }
    drop(guard);
    assert!(io.stopped());
    Ok(())
}

/// A source of the user's own. It does something before it is registered anew, and claims to have moved more than it has.
struct Custom {
    stream: UnixStream,
    before: Box<dyn Fn()>,
}

impl Custom {
    fn new(stream: UnixStream, before: impl Fn() + 'static) -> Self {
        Custom { stream, before: Box::new(before) }
    }
}

impl Source for Custom {
    fn register(&mut self, registry: &Registry, token: Token, interest: mio::Interest) -> io::Result<()> {
        self.stream.register(registry, token, interest)
    }

    fn reregister(&mut self, registry: &Registry, token: Token, interest: mio::Interest) -> io::Result<()> {
        (self.before)();
        self.stream.reregister(registry, token, interest)
    }

    fn deregister(&mut self, registry: &Registry) -> io::Result<()> {
        self.stream.deregister(registry)
    }
}

impl Read for &Custom {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        (&self.stream).read(buffer).map(|n| n + 1000)
    }
}

impl Write for &Custom {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        (&self.stream).write(bytes).map(|n| n + 1000)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// P8: a source that releases its own registration while the poller is told of it is given back out of the poller, and the
/// callback is gone.
#[test]
fn a_source_may_release_its_registration_while_it_is_registered_anew() -> io::Result<()> {
    type Slot = Rc<RefCell<Option<Registration<Custom>>>>;
    for turn_between in [false, true] {
        let mut io = context();
        let (ours, _theirs) = unix_pair();
        let (slot, alive) = (Slot::default(), Rc::new(()));
        let held = alive.clone();
        let own = slot.clone();
        let release = move || own.borrow().as_ref().expect("its registration").release();
        let registration = io.register(Custom::new(ours, release), Interest::READABLE, move |_, _| {
            let _held = &held;
            unreachable!("nothing comes")
        })?;
        slot.replace(Some(registration));
        slot.borrow().as_ref().expect("just put there").set_interest(Interest::WRITABLE)?;
        if turn_between {
            io.poll()?;
            assert_eq!(Rc::strong_count(&alive), 1, "the callback is still there");
        }
        let registration = slot.take().expect("its registration");
        let source = registration.into_source()?;
        assert_eq!(Rc::strong_count(&alive), 1, "the callback is still there");
        io.register(source, Interest::READABLE, |_, _| Next::Release)?; // It has left the poller.
    }
    Ok(())
}

/// Section 1: a source of the user's own that claims to have moved more than it was given is taken at what it was given.
#[test]
fn a_source_that_exaggerates_is_taken_at_what_it_was_given() -> io::Result<()> {
    let mut io = context();
    let (ours, mut theirs) = unix_pair();
    theirs.write_all(b"hello")?;
    io.register(Custom::new(ours, || {}), Interest::READABLE | Interest::WRITABLE, |source, ready| {
        if !ready.is_readable() {
            return Next::Keep;
        }
        assert_eq!(source.write(b"hi").expect("there is room"), 2);
        assert_eq!(source.read(&mut [0; 8]).expect("bytes are there"), 8);
        Next::Release
    })?;
    io.run()?;
    Ok(())
}

/// Section 1: a source that the poller refuses is an error of the call, leaves nothing outstanding and no source open.
#[test]
fn a_source_that_cannot_be_registered_is_an_error_of_the_call() -> io::Result<()> {
    struct Refused(UnixStream);
    impl Source for Refused {
        fn register(&mut self, _: &Registry, _: Token, _: mio::Interest) -> io::Result<()> {
            Err(ErrorKind::OutOfMemory.into())
        }
        fn reregister(&mut self, _: &Registry, _: Token, _: mio::Interest) -> io::Result<()> {
            unreachable!("was never registered")
        }
        fn deregister(&mut self, _: &Registry) -> io::Result<()> {
            unreachable!("was never registered")
        }
    }
    let mut io = context();
    let alive = Rc::new(());
    let held = alive.clone();
    let (ours, mut theirs) = unix_pair();
    let callback = move |source: &Io<Refused>, _: Ready| {
        let _held = (&held, &source.get_ref().0);
        Next::Keep
    };
    let refused = io.register(Refused(ours), Interest::READABLE, callback).expect_err("refused");
    assert_eq!(refused.kind(), ErrorKind::OutOfMemory);
    assert!(io.stopped() && io.outstanding().is_empty());
    assert_eq!(Rc::strong_count(&alive), 1);
    assert_eq!(theirs.read(&mut [0; 8])?, 0, "the source was closed");
    assert_eq!(io.run()?, 0);
    Ok(())
}

/// Section 1: reads and writes of `Io` answer `WouldBlock` when the source is known not to be ready, and go wherever
/// `Read` and `Write` are asked for.
#[test]
fn io_is_a_reader_and_a_writer_that_never_blocks() -> io::Result<()> {
    fn would_block<T>(result: io::Result<T>) -> bool {
        result.is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
    }
    let mut io = context();
    let (ours, mut theirs) = unix_pair();
    let callback = |mut stream: &Io<UnixStream>, ready: Ready| {
        assert!(ready.is_writable() && !ready.is_readable());
        assert!(would_block(stream.read(&mut [0; 8])));
        let unreached = |_: &UnixStream| -> io::Result<()> { unreachable!("not readable") };
        assert!(would_block(stream.try_io(Interest::READABLE, unreached)));
        write!(stream, "hello {}", 7).expect("room");
        stream.flush().expect("nothing to do");
        Next::Release
    };
    io.register(ours, Interest::WRITABLE, callback)?;
    assert_eq!(io.run()?, 1);
    let mut got = String::new();
    theirs.read_to_string(&mut got)?;
    assert_eq!(got, "hello 7");
    Ok(())
}

/// P18: a call that is not mio's own counts like one: the callback goes on to be told.
#[test]
fn a_call_that_is_not_mios_own_keeps_being_told() -> io::Result<()> {
    use rustix::net::{RecvFlags, recv};
    let mut io = context();
    let (ours, mut theirs) = unix_pair();
    let got = Record::new();
    let seen = got.clone();
    io.register(ours, Interest::READABLE, move |stream, _| {
        loop {
            let mut byte = [0; 1];
            let received =
                stream.try_io(Interest::READABLE, |stream| Ok(recv(stream, &mut byte[..], RecvFlags::empty())?.0));
            match received {
                Ok(0) => return Next::Release,
                Ok(_) => seen.push(byte[0]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Next::Keep,
                Err(error) => panic!("{error}"),
            }
        }
    })?;
    for n in 0..5 {
        theirs.write_all(&[n])?;
        run_until(&mut io, || got.len() == usize::from(n) + 1);
        assert_eq!(io.poll()?, 0, "told with nothing to read");
    }
    drop(theirs);
    assert_eq!(io.run()?, 1);
    assert_eq!(got.take(), [0, 1, 2, 3, 4]);
    Ok(())
}

/// Section 1: the registration that could not give its source back lives on, and so does its callback.
#[test]
fn a_registration_lives_on_when_it_refused_to_give_its_source_back() -> io::Result<()> {
    let mut io = context();
    let (ours, mut theirs) = unix_pair();
    let slot = Rc::new(Cell::new(None::<Registration<UnixStream>>));
    let (own, got) = (slot.clone(), Record::new());
    let seen = got.clone();
    let registration = io.register(ours, Interest::READABLE, move |stream, _| {
        if let Some(registration) = own.take() {
            let refused = registration.into_source().expect_err("in use");
            assert_eq!(refused.kind(), ErrorKind::ResourceBusy);
        }
        let (bytes, is_end) = drain(stream).expect("still open");
        seen.push(bytes);
        if is_end { Next::Release } else { Next::Keep }
    })?;
    slot.set(Some(registration));
    for text in [b"one", b"two"] {
        theirs.write_all(text)?;
        run_until(&mut io, || got.len() == 1);
        assert_eq!(got.take(), [text]);
        assert_eq!(io.outstanding().len(), 1);
    }
    drop(theirs);
    assert_eq!(io.run()?, 1);
    Ok(())
}
