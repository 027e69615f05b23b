//! Timers: `Timer`, Asio's `steady_timer`, and `at`, `after` and `every` for those who need no object.

use crate::engine::ring::Repeat;
use crate::engine::state::AtDeadline;
use crate::engine::timer_queue::TimerKey;
use crate::engine::waits::Called;
use crate::handle::Handle;
use crate::key::{Kind, Operation, Place};
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::panic::Location;
use std::rc::Rc;
use std::thread;
use std::time::{Duration, Instant};

impl Handle {
    /// Calls `handler` once, after `delay`. Never early; a delay that does not fit the clock counts as thirty years.
    ///
    /// The wait is outstanding work and ends, like every operation, exactly once: with `Ok(())` when it is due, or as
    /// [aborted](crate::error::is_aborted) when it was cancelled by its key. It allocates nothing where as many with a handler
    /// of this type were outstanding lately, if that is no larger than 256 bytes.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # let mut io = ioctx::IoContext::new()?;
    /// io.after(Duration::from_millis(1), |waited| assert!(waited.is_ok()));
    /// assert_eq!(io.run()?, 1);
    /// # std::io::Result::Ok(())
    /// ```
    #[track_caller]
    pub fn after(&self, delay: Duration, handler: impl FnOnce(io::Result<()>) + 'static) -> Operation {
        let origin = self.engine.origin(Location::caller());
        let deadline = self.engine.clock.after(delay);
        operation(self.engine.arm_wait::<After, _>(deadline, origin, false, handler))
    }

    /// Calls `handler` once, when `deadline` has come; in the next turn if it has passed. Else as [`after`](Handle::after).
    ///
    /// For many at once it is the cheaper one, because a delay is counted from a reading of the clock, for each.
    ///
    /// ```
    /// # use std::time::{Duration, Instant};
    /// # let mut io = ioctx::IoContext::new()?;
    /// let deadline = Instant::now() + Duration::from_millis(1);
    /// io.at(deadline, move |waited| assert!(waited.is_ok() && Instant::now() >= deadline));
    /// assert_eq!(io.run()?, 1);
    /// # std::io::Result::Ok(())
    /// ```
    #[track_caller]
    pub fn at(&self, deadline: Instant, handler: impl FnOnce(io::Result<()>) + 'static) -> Operation {
        let origin = self.engine.origin(Location::caller());
        operation(self.engine.arm_wait::<At, _>(deadline, origin, false, handler))
    }

    /// Calls `callback` once a `period`, for the first time after one period, until it is cancelled by its key.
    ///
    /// A repetition that was held up does not catch up in a burst: what was missed is skipped, and the beat is kept.
    /// Each call counts as one handler. Cancelling drops the callback without a last call.
    ///
    /// ```
    /// # use std::cell::Cell;
    /// # use std::rc::Rc;
    /// # use std::time::Duration;
    /// # let mut io = ioctx::IoContext::new()?;
    /// let ticks = Rc::new(Cell::new(0));
    /// let handle = io.handle().clone();
    /// io.every(Duration::from_millis(1), move || {
    ///     ticks.set(ticks.get() + 1);
    ///     if ticks.get() == 3 {
    ///         handle.stop();
    ///     }
    /// });
    /// assert_eq!(io.run()?, 3);
    /// # std::io::Result::Ok(())
    /// ```
    #[track_caller]
    pub fn every(&self, period: Duration, callback: impl FnMut() + 'static) -> Operation {
        let origin = self.engine.origin(Location::caller());
        let callback: RefCell<Box<dyn FnMut()>> = RefCell::new(Box::new(callback));
        let repeat = Rc::new(Repeat { origin, period, background: Cell::new(false), callback });
        let deadline = self.engine.clock.after(period);
        operation(self.engine.arm(deadline, false, || AtDeadline::Repeat(repeat)))
    }

    /// Stops counting a wait started by [`at`](Handle::at), [`after`](Handle::after) or [`every`](Handle::every) as outstanding: it does
    /// not keep [`run`](crate::IoContext::run) alive. Returns the key again; other operations are left as they are.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # let mut io = ioctx::IoContext::new()?;
    /// io.background(io.every(Duration::from_secs(1), || println!("still alive")));
    /// assert_eq!(io.run()?, 0);
    /// # std::io::Result::Ok(())
    /// ```
    pub fn background(&self, operation: Operation) -> Operation {
        if let Operation { place: Place::Timer(slot), sequence } = operation {
            self.engine.put_into_background(TimerKey { slot, sequence });
        }
        operation
    }
}

struct At;
struct After;
struct AsyncWait;

impl Called for At {
    const KIND: Kind = Kind { name: "at", object: "Timer" };
}

impl Called for After {
    const KIND: Kind = Kind { name: "after", object: "Timer" };
}

impl Called for AsyncWait {
    const KIND: Kind = Kind { name: "async_wait", object: "Timer" };
}

fn operation(key: Option<TimerKey>) -> Operation {
    key.map_or(Operation::ENDED, |TimerKey { slot, sequence }| Operation { place: Place::Timer(slot), sequence })
}

/// A point in time to wait for, as often as you like.
///
/// Cheap to clone; clones are the same timer. Several waits may be outstanding on one: all end at its expiry, in the
/// order started. Setting a new expiry cancels the waits on the old one. A wait that was cancelled, or whose timer was
/// set anew, before its handler ran never reports success, not even when it was due.
///
/// Unlike Asio's, a timer whose last handle is dropped still fires: a wait is outstanding work of its own.
///
/// Answers to `asio::steady_timer`, on [`Instant`], the monotonic clock.
///
/// ```
/// use ioctx::{IoContext, Timer};
/// use std::time::Duration;
///
/// let mut io = IoContext::new()?;
/// let timer = Timer::new(&io);
/// timer.expires_after(Duration::from_millis(1));
/// timer.async_wait(|waited| assert!(waited.is_ok()));
/// assert_eq!(io.run()?, 1);
/// # std::io::Result::Ok(())
/// ```
#[derive(Clone)]
pub struct Timer {
    shared: Rc<Shared>,
}

struct Shared {
    handle: Handle,
    expiry: Cell<Instant>,
    background: Cell<bool>,
    waits: RefCell<Waits>,
}

/// The keys of the waits, oldest first. Those that ended by themselves stay until the next pruning, which comes when
/// the list has doubled: so the list is never more than twice what is outstanding, at no cost per wait.
#[derive(Default)]
struct Waits {
    keys: VecDeque<TimerKey>,
    prune_at: usize,
}

impl Timer {
    /// A timer that has expired just now.
    pub fn new(context: &impl AsRef<Handle>) -> Timer {
        let shared = Shared {
            handle: context.as_ref().clone(),
            expiry: Cell::new(context.as_ref().engine.clock.now()),
            background: Cell::new(false),
            waits: RefCell::default(),
        };
        Timer { shared: Rc::new(shared) }
    }

    /// Its waits from here on are not counted as outstanding: they do not keep [`run`](crate::IoContext::run) alive.
    #[must_use = "this is the timer"]
    pub fn background(self) -> Timer {
        self.shared.background.set(true);
        self
    }

    /// Sets the expiry to `delay` from now and cancels the waits on the old one. Returns how many it cancelled.
    pub fn expires_after(&self, delay: Duration) -> usize {
        self.expires_at(self.shared.handle.engine.clock.after(delay))
    }

    /// Sets the expiry and cancels the waits on the old one. Returns how many it cancelled.
    pub fn expires_at(&self, expiry: Instant) -> usize {
        let cancelled = self.cancel();
        self.shared.expiry.set(expiry);
        cancelled
    }

    /// When the timer expires, or expired.
    pub fn expiry(&self) -> Instant {
        self.shared.expiry.get()
    }

    /// Ends every outstanding wait as [aborted](crate::error::is_aborted). Returns how many there were.
    pub fn cancel(&self) -> usize {
        let keys = std::mem::take(&mut self.shared.waits.borrow_mut().keys);
        let engine = &self.shared.handle.engine;
        keys.into_iter().filter(|key| engine.cancel_timer(*key)).count()
    }

    /// Ends the oldest outstanding wait as [aborted](crate::error::is_aborted). Returns how many it ended: one or none.
    pub fn cancel_one(&self) -> usize {
        loop {
            let oldest = self.shared.waits.borrow_mut().keys.pop_front();
            match oldest {
                None => return 0,
                Some(oldest) if self.shared.handle.engine.cancel_timer(oldest) => return 1,
                Some(_) => {}
            }
        }
    }

    /// Blocks the thread until the timer expires. Returns at once if it has.
    ///
    /// Inside a handler this stops every client; the loop warns about it, once.
    ///
    /// # Errors
    ///
    /// The context has gone.
    #[track_caller]
    pub fn wait(&self) -> io::Result<()> {
        let engine = &self.shared.handle.engine;
        engine.check_alive()?;
        engine.warn_if_blocking("wait", Location::caller());
        loop {
            let left = self.expiry().saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            thread::sleep(left);
        }
    }

    /// Calls `handler` once, when the timer expires, never before; in a later turn if it has expired.
    #[track_caller]
    pub fn async_wait(&self, handler: impl FnOnce(io::Result<()>) + 'static) -> Operation {
        let Shared { handle: Handle { engine }, expiry, background, waits } = &*self.shared;
        let origin = engine.origin(Location::caller());
        let key = engine.arm_wait::<AsyncWait, _>(expiry.get(), origin, background.get(), handler);
        if let Some(key) = key {
            let mut waits = waits.borrow_mut();
            if waits.keys.len() >= waits.prune_at {
                let timers = engine.timers.borrow();
                waits.keys.retain(|key| timers.get(*key).is_some());
                waits.prune_at = (2 * waits.keys.len()).max(8);
            }
            waits.keys.push_back(key);
        }
        operation(key)
    }
}

impl AsRef<Handle> for Timer {
    fn as_ref(&self) -> &Handle {
        &self.shared.handle
    }
}

impl fmt::Debug for Timer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let left = self.expiry().saturating_duration_since(self.shared.handle.engine.clock.now());
        f.debug_struct("Timer").field("expires_in", &left).finish_non_exhaustive()
    }
}
