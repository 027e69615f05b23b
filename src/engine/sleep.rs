//! Step 2 of the turn: how long to sleep.

use super::progress::Step;
use super::state::Engine;
use std::fmt;
use std::time::{Duration, Instant};

/// How long the caller lets the loop sleep.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Patience {
    Forever,
    Until(Instant),
    /// Not at all: `poll`.
    None,
}

/// The decision.
pub(super) enum Sleep {
    /// Not at all; the kernel is nearly always asked all the same, so that busy handlers do not keep sockets waiting.
    None(Why),
    /// Longer than nothing.
    AtMost(Duration, Why),
    Forever,
}

#[derive(Clone, Copy)]
pub(super) enum Why {
    WorkIsReady,
    Asked,
    AnotherThread,
    NextTimer,
    CallersDeadline,
}

impl Sleep {
    pub(super) fn is_none(&self) -> bool {
        matches!(self, Sleep::None(_))
    }

    /// As a poller wants it.
    pub(super) fn timeout(&self) -> Option<Duration> {
        match self {
            Sleep::None(_) => Some(Duration::ZERO),
            Sleep::AtMost(limit, _) => Some(*limit),
            Sleep::Forever => None,
        }
    }
}

impl Engine {
    pub(super) fn decide_sleep(&self, patience: Patience) -> Sleep {
        self.turn.enter(Step::DecideSleep);
        let sleep = self.sleep_allowed(patience);
        // If it may sleep, a sender must wake us from here on. So look once more: into the inbox, and whether another
        // thread has let go of the last guard.
        if sleep.is_none() || (self.inbox.fall_asleep() && self.has_work()) {
            return sleep;
        }
        Sleep::None(Why::AnotherThread)
    }

    fn sleep_allowed(&self, patience: Patience) -> Sleep {
        if self.is_busy() {
            return Sleep::None(Why::WorkIsReady);
        }
        let caller = match patience {
            Patience::None => return Sleep::None(Why::Asked),
            Patience::Forever => None,
            Patience::Until(deadline) => Some(deadline),
        };
        match (caller, self.earliest_timer()) {
            (Some(caller), Some(timer)) if caller <= timer => self.sleep_until(caller, Why::CallersDeadline),
            (_, Some(timer)) => self.sleep_until(timer, Why::NextTimer),
            (Some(caller), None) => self.sleep_until(caller, Why::CallersDeadline),
            (None, None) => Sleep::Forever,
        }
    }

    fn sleep_until(&self, deadline: Instant, why: Why) -> Sleep {
        // A fresh reading: handlers may have taken long since the turn's own.
        let limit = deadline.saturating_duration_since(self.clock.now());
        if limit.is_zero() { Sleep::None(why) } else { Sleep::AtMost(limit, why) }
    }

    /// Whether something can be done without sleeping.
    pub(crate) fn is_busy(&self) -> bool {
        self.scheduler.len() > 0 || self.reactor.is_busy() || self.turn.was_batch_full()
    }
}

impl fmt::Display for Sleep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Sleep::None(why) => write!(f, "no sleep, {why}"),
            Sleep::AtMost(limit, why) => write!(f, "sleep at most {limit:.3?}, {why}"),
            Sleep::Forever => f.write_str("sleep for ever, until an event"),
        }
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Why::WorkIsReady => "work is ready",
            Why::Asked => "asked not to sleep",
            Why::AnotherThread => "another thread was here",
            Why::NextTimer => "until the next timer",
            Why::CallersDeadline => "until the caller's deadline",
        })
    }
}
