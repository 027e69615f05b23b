//! `Handle`: what everything on the loop's thread holds.

use crate::engine::state::Engine;
use crate::key::{Cancel, Kind, Operation};
use crate::outstanding::Outstanding;
use std::fmt;
use std::panic::Location;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// A cheap, cloneable reference to an [`IoContext`](crate::IoContext), for everything that lives on its thread.
///
/// I/O objects and handlers hold a `Handle`, never the `IoContext` itself: the context is the one owner of everything
/// that is outstanding, and dropping it ends all of it, whoever still holds a handle. From then on a handle is
/// harmless: handlers given to it are dropped unrun, and calls that return a `Result` fail with
/// [`error::is_context_gone`](crate::error::is_context_gone).
///
/// Answers to Asio's executor. It does not keep [`run`](crate::IoContext::run) alive; see
/// [`work_guard`](Handle::work_guard).
///
/// ```
/// use ioctx::IoContext;
///
/// let mut io = IoContext::new()?;
/// let handle = io.handle().clone();
/// io.post(move || handle.post(|| println!("in the next turn")));
/// assert_eq!(io.run()?, 2);
/// # std::io::Result::Ok(())
/// ```
#[derive(Clone)]
pub struct Handle {
    pub(crate) engine: Rc<Engine>,
}

impl Handle {
    /// Queues a handler. It runs inside a later call of the run family, never inside this one, and after every
    /// handler that was queued before it.
    ///
    /// A handler posted while the handlers of a turn run waits for the next turn, so a handler that posts itself for
    /// ever cannot keep sockets and timers waiting. If the context has gone, the handler is dropped unrun.
    ///
    /// Answers to `asio::post`.
    ///
    /// ```
    /// # let mut io = ioctx::IoContext::new()?;
    /// io.post(|| println!("hello from the loop"));
    /// assert_eq!(io.run()?, 1);
    /// # std::io::Result::Ok(())
    /// ```
    #[track_caller]
    pub fn post(&self, handler: impl FnOnce() + 'static) {
        let kind = &Kind { name: "post", object: "Handle" };
        self.engine.post(kind, self.engine.origin(Location::caller()), handler);
    }

    /// Runs the handler at once if a handler of the same context is running now, and posts it otherwise.
    ///
    /// Answers to `asio::dispatch`. An inline call is part of the handler that makes it and is not counted.
    ///
    /// ```
    /// # let mut io = ioctx::IoContext::new()?;
    /// let handle = io.handle().clone();
    /// io.post(move || handle.dispatch(|| println!("inline")));
    /// assert_eq!(io.run()?, 1);
    /// # std::io::Result::Ok(())
    /// ```
    #[track_caller]
    pub fn dispatch(&self, handler: impl FnOnce() + 'static) {
        if self.engine.turn.in_handler() && self.engine.is_alive() {
            handler();
        } else {
            self.post(handler);
        }
    }

    /// Cancels one operation: its handler will be told that it was [aborted](crate::error::is_aborted), through the
    /// ready queue, with the bytes moved so far. A repetition started by [`every`](Handle::every) just ends.
    ///
    /// A key whose operation has ended changes nothing, however old it is.
    ///
    /// ```
    /// # use ioctx::{Cancel, IoContext, error};
    /// # use std::time::{Duration, Instant};
    /// let mut io = IoContext::new()?;
    /// let alarm = io.after(Duration::from_secs(60), |waited| {
    ///     assert!(waited.is_err_and(|e| error::is_aborted(&e)));
    /// });
    /// assert_eq!(io.cancel(alarm), Cancel::Requested);
    /// assert_eq!(io.cancel(alarm), Cancel::AlreadyDone);
    /// assert_eq!(io.run()?, 1);
    /// # std::io::Result::Ok(())
    /// ```
    pub fn cancel(&self, operation: Operation) -> Cancel {
        self.engine.cancel(operation)
    }

    /// Asks the loop to stop: the call of the run family in progress returns after the handler in progress, and later
    /// calls return at once, until [`restart`](crate::IoContext::restart). Handlers that were ready stay queued.
    ///
    /// A stop that comes before `run` is honoured too. Answers to `io_context::stop`.
    ///
    /// ```
    /// # let mut io = ioctx::IoContext::new()?;
    /// let handle = io.handle().clone();
    /// io.post(move || handle.stop());
    /// io.post(|| println!("not before restart"));
    /// assert_eq!(io.run()?, 1);
    /// io.restart();
    /// assert_eq!(io.run()?, 1);
    /// # std::io::Result::Ok(())
    /// ```
    pub fn stop(&self) {
        self.engine.inbox.stop();
    }

    /// Whether the loop has nothing to run for: [`stop`](Handle::stop) was asked for, or nothing is outstanding.
    ///
    /// Only the first is sticky; new work revives a loop that has run out of it.
    /// Answers to `io_context::stopped`, which is sticky in both cases.
    ///
    /// ```
    /// # let io = ioctx::IoContext::new()?;
    /// assert!(io.stopped());
    /// io.post(|| {});
    /// assert!(!io.stopped());
    /// # std::io::Result::Ok(())
    /// ```
    pub fn stopped(&self) -> bool {
        self.engine.inbox.stop_requested() || !self.engine.has_work()
    }

    /// How long a host that embeds the loop may sleep on its descriptor before it calls
    /// [`poll`](crate::IoContext::poll); `None` is for ever.
    ///
    /// Zero while anything is left to do. Ask anew before each sleep. After [`stop`](Handle::stop) it is `None`,
    /// because nothing will be done until `restart`.
    ///
    /// ```
    /// # let io = ioctx::IoContext::new()?;
    /// assert_eq!(io.next_timeout(), None);
    /// io.post(|| {});
    /// assert_eq!(io.next_timeout(), Some(std::time::Duration::ZERO));
    /// # std::io::Result::Ok(())
    /// ```
    pub fn next_timeout(&self) -> Option<Duration> {
        let engine = &self.engine;
        if engine.inbox.stop_requested() {
            return None;
        }
        let owes_a_look = engine.embedded.get() && engine.turn.owes_a_look();
        if engine.is_interrupted() || engine.is_busy() || engine.inbox.has_mail() || owes_a_look {
            return Some(Duration::ZERO);
        }
        let deadline = engine.earliest_timer()?;
        Some(deadline.saturating_duration_since(engine.clock.now()))
    }

    /// A fresh reading of the clock that deadlines are counted by: the system's monotonic clock, or, in a
    /// [`Harness`](crate::testing::Harness), the one that the test moves. For whatever keeps times of its own.
    pub fn now(&self) -> Instant {
        self.engine.clock.now()
    }

    /// Lists what keeps the loop alive: kind, object, endpoint, age, and the file and line that started it.
    ///
    /// Handlers that only a peer, another thread or time can make ready are listed like those already queued;
    /// work in the background is not. For people and tests: it allocates.
    ///
    /// ```
    /// # let io = ioctx::IoContext::new()?;
    /// let guard = io.work_guard();
    /// let listing = io.outstanding().to_string();
    /// assert!(listing.starts_with("work_guard on IoContext"), "{listing}");
    /// drop(guard);
    /// assert!(io.outstanding().is_empty());
    /// # std::io::Result::Ok(())
    /// ```
    pub fn outstanding(&self) -> Outstanding {
        self.engine.outstanding()
    }
}

impl AsRef<Handle> for Handle {
    fn as_ref(&self) -> &Handle {
        self
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle").field("alive", &self.engine.is_alive()).field("stopped", &self.stopped()).finish()
    }
}
