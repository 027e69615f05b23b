//! `Alarm`: a callback and a deadline that is set, moved and unset again and again, at no allocation.

use crate::engine::state::Engine;
use crate::engine::timer_queue::TimerKey;
use crate::handle::Handle;
use std::fmt;
use std::panic::Location;
use std::time::{Duration, Instant};

impl Handle {
    /// Makes an alarm: a callback that is called when a deadline has come. It has none until one is
    /// [set](Alarm::set).
    ///
    /// What the callback returns sets the alarm anew: `Some(delay)` so long after the return; `None` leaves it as it
    /// is, which is unset, unless the callback has set it itself. Each call counts as one handler. A callback that
    /// panics leaves it unset, and can be set again.
    ///
    /// The callback goes with the last handle of an alarm that is not set, and with the context, set or not. So one
    /// that owns the alarm, by way of a connection for instance, stays as long as the context, unless it holds a
    /// [`Weak`](std::rc::Weak).
    ///
    /// ```
    /// # use std::time::Duration;
    /// # let mut io = ioctx::IoContext::new()?;
    /// let mut left = 3;
    /// let alarm = io.alarm(move || {
    ///     left -= 1;
    ///     (left > 0).then_some(Duration::from_millis(1))
    /// });
    /// alarm.set(Duration::from_millis(1));
    /// assert_eq!(io.run()?, 3);
    /// # std::io::Result::Ok(())
    /// ```
    #[track_caller]
    pub fn alarm(&self, callback: impl FnMut() -> Option<Duration> + 'static) -> Alarm {
        let origin = self.engine.origin(Location::caller());
        Alarm { key: self.engine.add_alarm(origin, callback), handle: self.clone() }
    }
}

/// A callback with a deadline, made by [`Handle::alarm`].
///
/// For deadlines that nearly always move before they come, such as the idle timeout of a connection: setting, moving
/// and unsetting one allocates nothing, once the loop has had as many, and whoever unsets it is told, not the callback.
/// Where each wait is to end in a handler of its own, take [`Handle::after`] or [`Timer`](crate::Timer).
///
/// Cheap to clone; clones are the same alarm. A set alarm is outstanding work, and keeps its callback although its last
/// handle is dropped. Never early; equal deadlines come in the order in which they were set; one that is set by a
/// timer's handler or by an alarm comes in the next turn at the earliest.
///
/// Answers to libuv's `uv_timer_t`.
///
/// ```
/// use ioctx::IoContext;
/// use std::time::Duration;
///
/// let mut io = IoContext::new()?;
/// let idle = io.alarm(|| {
///     println!("nothing was heard for a minute");
///     None
/// });
/// idle.set(Duration::from_secs(60));
/// idle.set(Duration::from_secs(60)); // Something was heard.
/// assert!(idle.unset());
/// assert_eq!(io.run()?, 0);
/// # std::io::Result::Ok(())
/// ```
pub struct Alarm {
    handle: Handle,
    /// Of its timer, which is armed while the alarm is set; `None` if the context had gone.
    key: Option<TimerKey>,
}

impl Alarm {
    /// Sets the deadline to `delay` from now, whether there is one or not. A delay that does not fit the clock counts
    /// as thirty years. Does nothing if the context has gone.
    pub fn set(&self, delay: Duration) {
        self.set_at(self.engine().clock.after(delay));
    }

    /// Sets the deadline, whether there is one or not. One that has passed comes in the next turn. Does nothing if the
    /// context has gone.
    pub fn set_at(&self, deadline: Instant) {
        if let Some(key) = self.key {
            self.engine().set_alarm(key, deadline);
        }
    }

    /// Takes the deadline away: the callback is kept, and not called, not even if it is due in this turn. `false` if
    /// there was none.
    pub fn unset(&self) -> bool {
        self.key.is_some_and(|key| self.engine().unset_alarm(key))
    }

    /// Whether there is a deadline for which it has not been called.
    pub fn is_set(&self) -> bool {
        self.key.is_some_and(|key| self.engine().timers.borrow().is_armed(key))
    }

    /// Stops counting the alarm as outstanding, now and whenever it is set: it does not keep
    /// [`run`](crate::IoContext::run) alive.
    #[must_use = "this is the alarm"]
    pub fn background(self) -> Alarm {
        if let Some(key) = self.key {
            self.engine().put_into_background(key);
        }
        self
    }

    fn engine(&self) -> &Engine {
        &self.handle.engine
    }
}

impl Clone for Alarm {
    fn clone(&self) -> Self {
        if let Some(key) = self.key {
            self.engine().hold_alarm(key);
        }
        Alarm { handle: self.handle.clone(), key: self.key }
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        if let Some(key) = self.key {
            self.engine().let_alarm_go(key);
        }
    }
}

impl fmt::Debug for Alarm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Alarm").field("is_set", &self.is_set()).finish_non_exhaustive()
    }
}
