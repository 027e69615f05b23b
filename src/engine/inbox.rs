//! The inbox: the one door through which other threads reach the loop.
//!
//! ```text
//!   any thread:    lock, push, filled = true, unlock      then, if asleep is true: asleep = false, wake
//!   loop thread:   asleep = true, then look at filled     then, if it was false: sleep
//! ```
//!
//! Each side writes its own flag before it reads the other's, both sequentially consistent, so at least one of them
//! sees the other: either the loop sees the item and does not sleep, or the sender sees the sleeper and wakes it.
//! `filled` is written for the first item only: whoever finds one there, under the lock, comes after that.
//! `stop` is noticed in the same way: it is written before `looks_closer`, which the loop reads after every handler; and
//! where the loop takes `looks_closer` down, it reads `stop` after that.
//!
//! The sender that takes `asleep` down pays for the system call, every later one does not, and a loop that runs
//! handlers is never woken at all.

use crate::key::Origin;
use crate::outstanding::Work;
use slab::Slab;
use std::mem;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed, Ordering::SeqCst};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// `M` is what it holds.
pub(crate) struct Inbox<M> {
    /// Apart from the flags, one of which the loop looks at after every handler: otherwise each look would take the cache
    /// line away from the threads that push.
    queue: Apart<Mutex<Queue<M>>>,
    /// Whether there is mail; written with the queue locked.
    filled: AtomicBool,
    /// Whether the loop sleeps, spins, is about to, or is outside its turn: whether a sender must wake it.
    asleep: AtomicBool,
    /// Asked to stop; sticky until `restart`.
    stop: AtomicBool,
    /// Whether there is something to look at after a handler: the stop above, the bounds of the call in progress, or
    /// something that was left to be done then. One flag, because it is asked for after every handler.
    looks_closer: AtomicBool,
    /// Work guards held on other threads.
    guards: Mutex<Slab<Origin>>,
    guards_held: AtomicUsize,
    waker: mio::Waker,
}

/// In cache lines of its own. Of two, because processors fetch them in pairs.
#[repr(align(128))]
struct Apart<T>(T);

struct Queue<M> {
    mail: M,
    /// Whether that is something.
    filled: bool,
    /// When the first of it came. All is said to be as old as that: a reading of the clock costs more than the rest
    /// of sending.
    since: Instant,
    /// The context has gone: nothing is accepted any more.
    closed: bool,
}

impl<M: Default> Inbox<M> {
    pub(crate) fn new(waker: mio::Waker) -> Self {
        Inbox {
            queue: Apart(Mutex::new(Queue { mail: M::default(), filled: false, since: Instant::now(), closed: false })),
            filled: AtomicBool::new(false),
            asleep: AtomicBool::new(true),
            stop: AtomicBool::new(false),
            looks_closer: AtomicBool::new(false),
            guards: Mutex::new(Slab::new()),
            guards_held: AtomicUsize::new(0),
            waker,
        }
    }

    // Any thread.

    /// Puts `item` to the rest, and wakes the loop if it sleeps. Gives it back if the context has gone.
    #[inline]
    pub(crate) fn push<I>(&self, item: I, put: impl FnOnce(&mut M, I)) -> Result<(), I> {
        let mut queue = lock(&self.queue.0);
        if queue.closed {
            return Err(item);
        }
        if !queue.filled {
            queue.filled = true;
            queue.since = Instant::now();
            self.filled.store(true, SeqCst);
        }
        put(&mut queue.mail, item);
        drop(queue);
        self.wake();
        Ok(())
    }

    pub(crate) fn is_closed(&self) -> bool {
        lock(&self.queue.0).closed
    }

    pub(crate) fn stop(&self) {
        self.stop.store(true, SeqCst);
        self.looks_closer.store(true, SeqCst);
        self.wake();
    }

    pub(crate) fn hold(&self, origin: Origin) -> usize {
        self.guards_held.fetch_add(1, SeqCst);
        lock(&self.guards).insert(origin)
    }

    pub(crate) fn let_go(&self, guard: usize) {
        lock(&self.guards).remove(guard);
        if self.guards_held.fetch_sub(1, SeqCst) == 1 {
            self.wake(); // Perhaps this was all that kept `run` from returning.
        }
    }

    /// Wakes the loop if it sleeps; one system call at most until it looks.
    #[inline]
    pub(crate) fn wake(&self) {
        if self.asleep.load(SeqCst) {
            self.wake_sleeper();
        }
    }

    #[cold]
    fn wake_sleeper(&self) {
        if self.asleep.swap(false, SeqCst) {
            if let Err(error) = self.waker.wake() {
                log::error!(target: "ioctx", "cannot wake the loop: {error}");
            }
        }
    }

    // The loop's thread.

    /// Declares that the loop will sleep or leave its turn; `false` if it has mail and must not sleep.
    pub(crate) fn fall_asleep(&self) -> bool {
        self.asleep.store(true, SeqCst);
        !self.has_mail() && !self.stop_requested()
    }

    pub(crate) fn awake(&self) {
        self.asleep.store(false, SeqCst);
    }

    pub(crate) fn has_mail(&self) -> bool {
        self.filled.load(SeqCst)
    }

    /// Moves everything queued into `mail`, which is empty; the two swap places, so the memory of neither is freed.
    /// Returns when the first of it came.
    pub(crate) fn take(&self, mail: &mut M) -> Instant {
        let mut queue = lock(&self.queue.0);
        queue.filled = false;
        self.filled.store(false, SeqCst);
        mem::swap(&mut queue.mail, mail);
        queue.since
    }

    /// Refuses everything from now on and hands out what is queued, for the caller to drop unlocked.
    pub(crate) fn close(&self) -> M {
        let mut queue = lock(&self.queue.0);
        queue.closed = true;
        queue.filled = false;
        self.filled.store(false, SeqCst);
        mem::take(&mut queue.mail)
    }

    pub(crate) fn stop_requested(&self) -> bool {
        self.stop.load(SeqCst)
    }

    pub(crate) fn clear_stop(&self) {
        self.stop.store(false, SeqCst);
    }

    #[inline]
    pub(crate) fn looks_closer(&self) -> bool {
        self.looks_closer.load(SeqCst)
    }

    /// Something is to be done when the handler in progress has returned.
    pub(crate) fn look_closer(&self) {
        self.looks_closer.store(true, Relaxed);
    }

    /// It was done. `still`: whether to look after every handler of this call.
    pub(crate) fn looked_closer(&self, still: bool) {
        self.looks_closer.store(still, SeqCst);
        // `stop` writes its own flag first: so one of the two stores is seen by whoever comes second.
        if self.stop_requested() {
            self.look_closer();
        }
    }

    pub(crate) fn guards_held(&self) -> usize {
        self.guards_held.load(SeqCst)
    }

    /// Shows what is queued, and when the first of it came.
    pub(crate) fn look(&self, show: impl FnOnce(&M, Instant)) {
        let queue = lock(&self.queue.0);
        show(&queue.mail, queue.since);
    }

    /// The guards on other threads.
    pub(crate) fn describe_guards(&self, mut all: impl FnMut(Work)) {
        lock(&self.guards).iter().for_each(|(_, origin)| all(Work::new("work_guard", "Remote", None, *origin)));
    }
}

/// No user code runs under these locks, so a poisoned one protects nothing broken.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;

    fn inbox() -> (mio::Poll, Inbox<Vec<u32>>) {
        let poll = mio::Poll::new().unwrap();
        let waker = mio::Waker::new(poll.registry(), mio::Token(0)).unwrap();
        (poll, Inbox::new(waker))
    }

    #[test]
    fn a_sleeper_with_mail_does_not_sleep() {
        let (_poll, inbox) = inbox();
        inbox.awake();
        assert_eq!(inbox.push(1, Vec::push), Ok(()));
        assert!(!inbox.fall_asleep());
        let mut mail = Vec::new();
        inbox.take(&mut mail);
        assert_eq!(mail, [1]);
        assert!(inbox.fall_asleep());
    }

    #[test]
    fn a_closed_inbox_takes_nothing_and_hands_out_what_it_held() {
        let (_poll, inbox) = inbox();
        assert_eq!(inbox.push(1, Vec::push), Ok(()));
        assert_eq!(inbox.close(), [1]);
        assert_eq!(inbox.push(2, |_, _| unreachable!("the inbox is closed")), Err(2));
    }

    #[test]
    fn a_loop_looks_closer_until_it_has_and_for_as_long_as_it_is_to_stop() {
        let (_poll, inbox) = inbox();
        assert!(!inbox.looks_closer());
        inbox.look_closer();
        assert!(inbox.looks_closer());
        inbox.looked_closer(true);
        assert!(inbox.looks_closer(), "the call is bounded");
        inbox.looked_closer(false);
        assert!(!inbox.looks_closer());
        inbox.stop();
        inbox.looked_closer(false);
        assert!(inbox.looks_closer(), "the stop has not been heeded");
        inbox.clear_stop();
        inbox.looked_closer(false);
        assert!(!inbox.looks_closer());
    }

    /// Goal: a stop that comes while the loop looks is not overlooked.
    /// Method: two threads begin each round together, one stops and one looks, sooner or later.
    #[test]
    fn no_stop_is_overlooked_by_a_loop_that_looks_just_then() {
        const ROUNDS: usize = 50_000;
        let (_poll, inbox) = inbox();
        let (begun, ended) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let wait_for = |counter: &AtomicUsize, round| {
            for spins in 1_u32.. {
                if counter.load(SeqCst) == round {
                    return;
                }
                if spins % 1024 == 0 {
                    std::thread::yield_now(); // There may be one processor for the two.
                }
            }
        };
        let overlooked = std::thread::scope(|scope| {
            scope.spawn(|| {
                for round in 1..=ROUNDS {
                    wait_for(&begun, round);
                    inbox.stop();
                    ended.store(round, SeqCst);
                }
            });
            let overlooked = (1..=ROUNDS).filter(|&round| {
                inbox.clear_stop();
                begun.store(round, SeqCst);
                (0..round % 64).for_each(|_| std::hint::spin_loop());
                inbox.looked_closer(false);
                wait_for(&ended, round);
                !inbox.looks_closer()
            });
            overlooked.count()
        });
        assert_eq!(overlooked, 0);
    }

    /// Goal: no item is lost however senders and a sleeping loop interleave.
    /// Method: four senders, a loop that sleeps without limit whenever it may, and every item counted.
    #[test]
    fn no_item_is_lost_between_senders_and_a_sleeper() -> io::Result<()> {
        const EACH: usize = 20_000;
        let (mut poll, inbox) = inbox();
        let mut events = mio::Events::with_capacity(8);
        let mut mail = Vec::new();
        let mut seen = 0;
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..EACH).for_each(|n| assert_eq!(inbox.push(n as u32, Vec::push), Ok(()))));
            }
            while seen < 4 * EACH {
                if inbox.fall_asleep() {
                    poll.poll(&mut events, None)?;
                }
                inbox.awake();
                inbox.take(&mut mail);
                seen += mail.drain(..).count();
            }
            Ok(())
        })
    }
}
