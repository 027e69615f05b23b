//! What keeps the loop alive, one by one.

use super::state::{AtDeadline, Engine};
use crate::outstanding::{Outstanding, Work};

impl Engine {
    pub(crate) fn outstanding(&self) -> Outstanding {
        let mut all = Outstanding::default();
        for entry in self.reactor.entries() {
            entry.describe(&mut |work| all.push(work));
        }
        for then in self.timers.borrow().values().filter(|then| !then.is_background()) {
            match then {
                AtDeadline::Wait(wait) | AtDeadline::WaitInBackground(wait) => {
                    self.describe_kept(wait).into_iter().for_each(|work| all.push(work))
                }
                AtDeadline::Ring(alarm) | AtDeadline::RingInBackground(alarm) => {
                    let work = self.ringers.of(alarm).and_then(|alarms| alarms.describe(alarm.index));
                    work.into_iter().for_each(|work| all.push(work))
                }
                AtDeadline::Repeat(repeat) => all.push(Work::new("every", "Timer", None, repeat.origin)),
                AtDeadline::Internal(_) => {}
            }
        }
        self.scheduler.for_each(|queued| self.describe(queued).into_iter().for_each(|work| all.push(work)));
        for (_, origin) in &*self.guards.borrow() {
            all.push(Work::new("work_guard", "IoContext", None, *origin));
        }
        self.inbox
            .look(|mail, came| mail.piles.values().for_each(|pile| pile.describe(came, &mut |work| all.push(work))));
        self.inbox.describe_guards(|work| all.push(work));
        all
    }
}
