//! Work guards: what keeps `run` alive although nothing is outstanding.

use crate::engine::inbox::Inbox;
use crate::engine::state::{Engine, Mail};
use crate::handle::Handle;
use std::fmt;
use std::panic::Location;
use std::rc::Rc;
use std::sync::Arc;

/// Counts as outstanding work until it is dropped, so that [`run`](crate::IoContext::run) does not return.
///
/// For a loop that waits for other threads, or that a host embeds. Made by [`Handle::work_guard`].
/// Answers to `executor_work_guard`; the opposite is `.background()` on timers, signal sets and registrations.
#[must_use = "the guard holds only while it lives"]
pub struct WorkGuard {
    engine: Rc<Engine>,
    index: usize,
}

impl Handle {
    /// Keeps [`run`](crate::IoContext::run) from returning for want of work until the guard is dropped.
    ///
    /// ```
    /// # let mut io = ioctx::IoContext::new()?;
    /// let guard = io.work_guard();
    /// io.post(move || drop(guard));
    /// assert_eq!(io.run()?, 1);
    /// # std::io::Result::Ok(())
    /// ```
    #[track_caller]
    pub fn work_guard(&self) -> WorkGuard {
        let engine = Rc::clone(&self.engine);
        let index = engine.hold(engine.origin(Location::caller()));
        WorkGuard { engine, index }
    }
}

impl Drop for WorkGuard {
    fn drop(&mut self) {
        self.engine.let_go(self.index);
    }
}

impl fmt::Debug for WorkGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WorkGuard").field("alive", &self.engine.is_alive()).finish()
    }
}

/// A work guard that may be held, and dropped, on any thread.
/// Made by [`Remote::work_guard`](crate::Remote::work_guard).
#[must_use = "the guard holds only while it lives"]
pub struct RemoteWorkGuard {
    pub(crate) inbox: Arc<Inbox<Mail>>,
    pub(crate) index: usize,
}

impl Drop for RemoteWorkGuard {
    fn drop(&mut self) {
        self.inbox.let_go(self.index);
    }
}

impl fmt::Debug for RemoteWorkGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RemoteWorkGuard").field("alive", &!self.inbox.is_closed()).finish()
    }
}
