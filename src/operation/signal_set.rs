//! `SignalSet`: signals of the operating system as completions.
//!
//! The signal handler, signal-hook's, does the one thing that is safe in it: it writes a byte into a pipe of that
//! signal. The loop reads the pipe like any other source, counts the bytes, and completes the waits.

use crate::engine::dispatch::Dispatch;
use crate::engine::reactor::{Entry, Reactor};
use crate::engine::ready_state::State;
use crate::engine::state::Engine;
use crate::engine::trace::tell;
use crate::error;
use crate::handle::Handle;
use crate::key::{Kind, Operation, Origin, Place};
use crate::outstanding::Work;
use crate::ready::{Interest, Ready};
use mio::net::UnixStream;
use signal_hook::SigId;
use signal_hook::low_level::{pipe, unregister};
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::io::{self, ErrorKind, Read};
use std::panic::Location;
use std::rc::Rc;

/// A set of signals to wait for. Asio's `signal_set`.
///
/// Cheap to clone; clones are the same set. Signals that arrive while nobody waits are kept, one notification each,
/// and every set that contains a signal gets its own. An outstanding wait keeps the set.
///
/// A busy loop looks for signals in every turn. Where it has only one source that has more to read all the time, it does
/// in one of 16.
///
/// While a signal is in any set of the process its default action does not happen. After the last set has gone it
/// still does not: the signal is then ignored.
///
/// ```no_run
/// use ioctx::{IoContext, SignalSet};
///
/// let mut io = IoContext::new()?;
/// let signals = SignalSet::new(&io);
/// signals.add(2)?; // SIGINT
/// signals.add(15)?; // SIGTERM
/// let handle = io.handle().clone();
/// signals.async_wait(move |signal| {
///     println!("got signal {signal:?}");
///     handle.stop();
/// });
/// io.run()?;
/// # std::io::Result::Ok(())
/// ```
#[derive(Clone)]
pub struct SignalSet {
    set: Rc<Set>,
}

struct Set {
    handle: Handle,
    /// In the slab, without a source: so that its waits are found by their keys and by the context.
    waits: Rc<Waits>,
    watched: RefCell<BTreeMap<i32, Rc<SignalPipe>>>,
}

struct Waits {
    state: State,
    handle: Handle,
    background: Cell<bool>,
    queue: RefCell<VecDeque<Wait>>,
    /// Signals that arrived and were not waited for yet.
    arrived: RefCell<VecDeque<i32>>,
}

struct Wait {
    sequence: u64,
    origin: Origin,
    background: bool,
    handler: Box<dyn FnOnce(io::Result<i32>)>,
    /// Keeps the set, and so its signals, while the wait is outstanding.
    _set: Rc<Set>,
}

struct SignalPipe {
    state: State,
    signal: i32,
    /// The signal handler's writing end is registered under it.
    id: Cell<Option<SigId>>,
    source: RefCell<Option<UnixStream>>,
    waits: Rc<Waits>,
}

impl SignalSet {
    /// A set without signals.
    pub fn new(context: &impl AsRef<Handle>) -> SignalSet {
        let handle = context.as_ref().clone();
        let waits = Rc::new(Waits {
            state: State::default(),
            handle: handle.clone(),
            background: Cell::new(false),
            queue: RefCell::default(),
            arrived: RefCell::default(),
        });
        if handle.engine.is_alive() {
            let entry: Entry = waits.clone();
            handle.engine.reactor.insert(&entry);
        }
        let watched = RefCell::default();
        let set = Rc::new(Set { handle, waits, watched });
        SignalSet { set }
    }

    /// Its waits from here on are not counted as outstanding: they do not keep [`run`](crate::IoContext::run) alive.
    #[must_use = "this is the set"]
    pub fn background(self) -> SignalSet {
        self.set.waits.background.set(true);
        self
    }

    /// Adds a signal, by its number (signal(7); `signal_hook::consts` and `libc` have the names). Adding it again changes
    /// nothing. `add`
    ///
    /// # Errors
    ///
    /// The signal cannot be caught or must not be (`InvalidInput`: SIGKILL, SIGSTOP, SIGILL, SIGFPE, SIGSEGV), there
    /// is no such signal, no descriptor is free (each signal takes two), or the context has gone.
    pub fn add(&self, signal: i32) -> io::Result<()> {
        let Set { handle, waits, watched } = &*self.set;
        handle.engine.check_alive()?;
        if watched.borrow().contains_key(&signal) {
            return Ok(());
        }
        if signal_hook::consts::FORBIDDEN.contains(&signal) {
            let text = format!("signal {signal} cannot be waited for");
            return Err(io::Error::new(ErrorKind::InvalidInput, text));
        }
        let (ours, handlers) = std::os::unix::net::UnixStream::pair()?;
        ours.set_nonblocking(true)?;
        let source = UnixStream::from_std(ours);
        let pipe = Rc::new(SignalPipe {
            state: State::default(),
            signal,
            id: Cell::new(None),
            source: RefCell::new(Some(source)),
            waits: Rc::clone(waits),
        });
        pipe.register(&handle.engine)?;
        match pipe::register(signal, handlers) {
            Ok(id) => {
                pipe.id.set(Some(id));
                watched.borrow_mut().insert(signal, pipe);
                Ok(())
            }
            Err(error) => {
                pipe.unregister(&handle.engine);
                Err(error)
            }
        }
    }

    /// Calls `handler` with the number of the next signal of the set: at once, in a later step, if one has arrived
    /// since the last wait. `async_wait`
    #[track_caller]
    pub fn async_wait(&self, handler: impl FnOnce(io::Result<i32>) + 'static) -> Operation {
        let Set { handle, waits, .. } = &*self.set;
        let engine = &handle.engine;
        let Some(slot) = waits.state.slot() else {
            return Operation::ENDED; // The context has gone: the handler is dropped unrun.
        };
        let background = waits.background.get();
        if !background {
            engine.scheduler.work_started();
        }
        let sequence = engine.next_sequence();
        waits.queue.borrow_mut().push_back(Wait {
            sequence,
            origin: engine.origin(Location::caller()),
            background,
            handler: Box::new(handler),
            _set: Rc::clone(&self.set),
        });
        waits.deliver();
        Operation { place: Place::Slot(slot), sequence }
    }

    /// Ends every outstanding wait as [aborted](crate::error::is_aborted). Signals that have arrived stay. `cancel`
    pub fn cancel(&self) {
        let waits = &self.set.waits;
        let queue = waits.queue.take();
        for wait in queue {
            waits.complete(wait, Err(error::aborted(0)));
        }
    }
}

impl Waits {
    /// Gives each signal that has arrived to the wait that has waited longest.
    fn deliver(&self) {
        loop {
            let (wait, signal) = {
                let (mut queue, mut arrived) = (self.queue.borrow_mut(), self.arrived.borrow_mut());
                if queue.is_empty() || arrived.is_empty() {
                    return;
                }
                (queue.pop_front(), arrived.pop_front())
            };
            if let (Some(wait), Some(signal)) = (wait, signal) {
                self.complete(wait, Ok(signal));
            }
        }
    }

    fn complete(&self, wait: Wait, result: io::Result<i32>) {
        let engine = &self.handle.engine;
        if !wait.background {
            engine.scheduler.work_finished();
        }
        let handler = wait.handler;
        engine.post(&Kind { name: "async_wait", object: "SignalSet" }, wait.origin, move || handler(result));
    }
}

impl Dispatch for Waits {
    fn state(&self) -> &State {
        &self.state
    }

    fn reactor(&self) -> &Reactor {
        &self.handle.engine.reactor
    }

    fn can_wait(&self) -> bool {
        true
    }

    /// It is in the slab to be found, and has no source to be ready.
    fn dispatch(&self) {}

    fn cancel(&self, sequence: u64) -> bool {
        let wait = {
            let mut queue = self.queue.borrow_mut();
            let position = queue.iter().position(|wait| wait.sequence == sequence);
            position.and_then(|position| queue.remove(position))
        };
        let found = wait.is_some();
        if let Some(wait) = wait {
            self.complete(wait, Err(error::aborted(0)));
        }
        found
    }

    fn abandon(&self) {
        drop(self.queue.take());
    }

    fn describe(&self, tell: &mut dyn FnMut(Work)) {
        for wait in self.queue.borrow().iter().filter(|wait| !wait.background) {
            tell(Work::new("async_wait", "SignalSet", None, wait.origin));
        }
    }
}

impl SignalPipe {
    fn register(self: &Rc<Self>, engine: &Engine) -> io::Result<()> {
        let entry: Entry = self.clone();
        let token = engine.reactor.insert(&entry);
        self.state.set_interest(Interest::READABLE);
        let registered = match self.source.borrow_mut().as_mut() {
            Some(source) => engine.reactor.register(source, token, mio::Interest::READABLE),
            None => Ok(()),
        };
        if registered.is_err() {
            drop(engine.remove(&self.state));
        }
        registered
    }

    fn unregister(&self, engine: &Engine) {
        drop(engine.remove(&self.state));
        self.close(engine);
    }

    /// The handler goes first: it writes with no care for SIGPIPE.
    fn close(&self, engine: &Engine) {
        if let Some(id) = self.id.take() {
            unregister(id);
        }
        if let Some(mut source) = self.source.take() {
            let _ = engine.reactor.deregister(&mut source); // It is closed next, whatever this says.
        }
    }
}

impl Dispatch for SignalPipe {
    fn state(&self) -> &State {
        &self.state
    }

    fn reactor(&self) -> &Reactor {
        &self.waits.handle.engine.reactor
    }

    fn can_wait(&self) -> bool {
        true
    }

    /// Takes every byte that the signal handler wrote. Internal: the waits' handlers are what counts.
    fn dispatch(&self) {
        let mut bytes = [0; 64];
        let engine = &self.waits.handle.engine;
        loop {
            let read = match self.source.borrow_mut().as_mut() {
                Some(source) => source.read(&mut bytes),
                None => Ok(0),
            };
            match read {
                Ok(n) if n > 0 => {
                    tell!(engine, "signal {} arrived, {n} in its pipe", self.signal);
                    let mut arrived = self.waits.arrived.borrow_mut();
                    arrived.extend(std::iter::repeat_n(self.signal, n));
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                _ => break,
            }
        }
        self.state.clear(Ready::READABLE);
        self.waits.deliver();
    }

    fn cancel(&self, _sequence: u64) -> bool {
        false
    }

    fn abandon(&self) {
        self.close(&self.waits.handle.engine);
    }

    fn describe(&self, _tell: &mut dyn FnMut(Work)) {}
}

impl Drop for Set {
    fn drop(&mut self) {
        let engine = &self.handle.engine;
        for pipe in self.watched.get_mut().values() {
            pipe.unregister(engine);
        }
        drop(engine.remove(&self.waits.state));
        engine.descriptor_closed();
    }
}

impl AsRef<Handle> for SignalSet {
    fn as_ref(&self) -> &Handle {
        &self.set.handle
    }
}

impl fmt::Debug for SignalSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let signals: Vec<i32> = self.set.watched.borrow().keys().copied().collect();
        f.debug_struct("SignalSet").field("signals", &signals).finish()
    }
}
