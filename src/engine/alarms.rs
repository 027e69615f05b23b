//! Alarms: their callbacks, those of one type side by side in a slab.
//!
//! So an alarm has no box of its own, and the million callbacks of a million alarms lie in the order in which they were
//! made, not wherever the allocator had room. A callback is taken out of the slab while it runs, for it may make more
//! alarms: the slab may grow and move.

use super::kept::{Kept, LARGE};
use super::places::Places;
use super::ring::Ringers;
use super::state::{AtDeadline, Engine};
use super::timer_queue::TimerKey;
use crate::key::Origin;
use crate::outstanding::Work;
use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Duration, Instant};

struct Ringing<F> {
    origin: Origin,
    /// How many `Alarm`s have it.
    handles: usize,
    /// `None` while it runs.
    callback: Option<F>,
}

/// The alarms whose callbacks are of one type.
struct Alarms<F>(Places<Ringing<F>>);

impl Engine {
    /// Makes an alarm, which one has; drops the callback and returns `None` if the context has gone.
    pub(crate) fn add_alarm<F>(&self, origin: Origin, callback: F) -> Option<TimerKey>
    where
        F: FnMut() -> Option<Duration> + 'static,
    {
        if !self.is_alive() {
            return None;
        }
        let callback = Some(callback);
        let alarm = if size_of::<F>() > LARGE {
            self.keep_alarm(Ringing { origin, handles: 1, callback: callback.map(Box::new) })?
        } else {
            self.keep_alarm(Ringing { origin, handles: 1, callback })?
        };
        Some(self.timers.borrow_mut().insert_unarmed(self.next_sequence(), AtDeadline::Ring(alarm)))
    }

    fn keep_alarm<F: FnMut() -> Option<Duration> + 'static>(&self, alarm: Ringing<F>) -> Option<Kept> {
        let (keeper, alarms) = self.ringers.find(|alarms: Rc<RefCell<Alarms<F>>>| alarms)?;
        let mut alarms = alarms.borrow_mut();
        alarms.0.tidy();
        Some(Kept { keeper, index: alarms.0.insert_with(|| alarm) })
    }

    /// Sets the alarm's deadline, whether it has one or not. Does nothing if it has gone with its context.
    pub(crate) fn set_alarm(&self, key: TimerKey, deadline: Instant) {
        self.kick_if_earlier(deadline);
        self.may_have_timers.set(true);
        let is_new_work = |was_armed: bool, then: &AtDeadline| !was_armed && !then.is_background();
        if self.timers.borrow_mut().rearm(key, deadline, self.next_sequence(), is_new_work) == Some(true) {
            self.scheduler.work_started();
        }
    }

    /// Takes the alarm's deadline away; `false` if it had none.
    pub(crate) fn unset_alarm(&self, key: TimerKey) -> bool {
        let was_work = self.timers.borrow_mut().unset(key, |then| !then.is_background());
        if was_work == Some(true) {
            self.work_finished();
        }
        was_work.is_some()
    }

    /// One more has the alarm.
    pub(crate) fn hold_alarm(&self, key: TimerKey) {
        if let Some((alarms, index)) = self.find_alarm(key) {
            alarms.hold(index);
        }
    }

    /// One less has it. Of an alarm that has no deadline, the callback goes with the last.
    pub(crate) fn let_alarm_go(&self, key: TimerKey) {
        if let Some((alarms, index)) = self.find_alarm(key) {
            alarms.let_go(index, key, self);
        }
    }

    fn find_alarm(&self, key: TimerKey) -> Option<(Rc<dyn Ringers<Engine>>, u32)> {
        match self.timers.borrow().get(key)? {
            AtDeadline::Ring(alarm) | AtDeadline::RingInBackground(alarm) => {
                Some((self.ringers.of(alarm)?, alarm.index))
            }
            _ => None,
        }
    }

    /// Takes the timer away that an alarm has; `false` if it is armed.
    fn end_alarm_if_unset(&self, key: TimerKey) -> bool {
        let is_unset = !self.timers.borrow().is_armed(key);
        if is_unset {
            self.timers.borrow_mut().remove(key);
            self.give_back();
        }
        is_unset
    }
}

impl<F> Default for Alarms<F> {
    fn default() -> Self {
        Alarms(Places::new())
    }
}

/// Drops an alarm that nobody has, unless it has a deadline.
fn end_if_unset<F>(alarms: &RefCell<Alarms<F>>, index: u32, key: TimerKey, engine: &Engine) {
    if engine.end_alarm_if_unset(key) {
        let gone = alarms.borrow_mut().0.take_and_give_back(index);
        drop(gone); // When nothing is borrowed: it is the user's.
    }
}

/// An alarm whose callback runs. At the end of that, or when it panics, the callback goes back to its place; and the alarm
/// goes if nobody has it.
struct Running<'a, F> {
    callback: Option<F>,
    alarms: &'a RefCell<Alarms<F>>,
    index: u32,
    key: TimerKey,
    engine: &'a Engine,
}

impl<F> Drop for Running<'_, F> {
    fn drop(&mut self) {
        let is_held = {
            let mut alarms = self.alarms.borrow_mut();
            let Some(alarm) = alarms.0.get_mut(self.index) else { return };
            alarm.callback = self.callback.take();
            alarm.handles > 0
        };
        if !is_held {
            end_if_unset(self.alarms, self.index, self.key, self.engine);
        }
    }
}

impl<F: FnMut() -> Option<Duration> + 'static> Ringers<Engine> for RefCell<Alarms<F>> {
    fn ring(&self, index: u32, key: TimerKey, engine: &Engine) {
        let taken = {
            let mut alarms = self.borrow_mut();
            alarms.0.get_mut(index).map(|alarm| (alarm.origin, alarm.callback.take()))
        };
        let Some((origin, callback)) = taken else { return };
        let mut running = Running { callback, alarms: self, index, key, engine };
        engine.unset_alarm(key);
        let next = {
            let _call = engine.begin_call("alarm", &origin);
            running.callback.as_mut().and_then(|callback| callback())
        };
        if let Some(delay) = next {
            engine.set_alarm(key, engine.clock.after(delay));
        }
    }

    fn hold(&self, index: u32) {
        if let Some(alarm) = self.borrow_mut().0.get_mut(index) {
            alarm.handles += 1;
        }
    }

    fn let_go(&self, index: u32, key: TimerKey, engine: &Engine) {
        let is_unused = {
            let mut alarms = self.borrow_mut();
            let Some(alarm) = alarms.0.get_mut(index) else { return };
            alarm.handles -= 1;
            alarm.handles == 0 && alarm.callback.is_some()
        };
        if is_unused {
            end_if_unset(self, index, key, engine);
        }
    }

    fn describe(&self, index: u32) -> Option<Work> {
        let alarms = self.borrow();
        let alarm = alarms.0.get(index)?;
        Some(Work::new("alarm", "Alarm", None, alarm.origin))
    }

    fn trim(&self) {
        self.borrow_mut().0.trim();
    }

    /// Two of its fields, which may lie in two lines of the cache.
    fn touch(&self, indices: &[u32]) -> usize {
        let alarms = self.borrow();
        let ringing = indices.iter().filter_map(|&index| alarms.0.get(index));
        ringing.fold(0, |read, alarm| read ^ alarm.handles ^ usize::from(alarm.callback.is_some()))
    }
}
