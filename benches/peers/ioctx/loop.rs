//! What belongs to no layer: posting, from the loop's thread and from another.
//!
//! `run` returns when nothing is outstanding, so no workload needs a word to end it.

use crate::common::{self, Failure, HANDLERS, Outcome, REPETITIONS, Stopwatch, Workload};
use ioctx::{Handle, IoContext, Remote};
use std::cell::Cell;
use std::rc::Rc;
use std::thread;

pub fn run(workload: Workload) -> Outcome {
    match workload {
        Workload::Post(count) => post(count),
        Workload::PostRemote(count) => post_remote(count, post_from_afar::<0>),
        Workload::TimersCancel(_) | Workload::TimersFire(_) => {
            Err(Failure::Nothing("see operation for waits, readiness for alarms"))
        }
        _ => Err(Failure::Nothing("this belongs to a layer")),
    }
}

pub fn see_session() -> Outcome {
    Err(Failure::Nothing("belongs to no layer; see session"))
}

struct Chains {
    handle: Handle,
    count: u64,
    posted: Cell<u64>,
    ran: Cell<u64>,
}

impl Chains {
    fn post_next(self: Rc<Self>) {
        if self.posted.get() < self.count {
            self.posted.set(self.posted.get() + 1);
            let chains = Rc::clone(&self);
            self.handle.post(move || {
                chains.ran.set(chains.ran.get() + 1);
                chains.post_next();
            });
        }
    }
}

fn post(count: u64) -> Outcome {
    let mut io = IoContext::new()?;
    for _ in 0..REPETITIONS {
        let handle = io.handle().clone();
        let chains = Rc::new(Chains { handle, count, posted: Cell::new(0), ran: Cell::new(0) });
        let since = Stopwatch::wall();
        for _ in 0..HANDLERS {
            Rc::clone(&chains).post_next();
        }
        io.run()?;
        common::print_checked("handlers", chains.ran.get(), count, since)?;
    }
    Ok(())
}

thread_local! {
    /// Of the loop's thread. A task from another thread is `Send` and cannot hold an `Rc`.
    static RAN: Cell<u64> = const { Cell::new(0) };
}

/// Posts what counts that it ran. Each `TYPE` is a type of its own.
pub fn post_from_afar<const TYPE: usize>(remote: &Remote) -> bool {
    let one = 1;
    remote.post(move |_| RAN.set(RAN.get() + one)).is_ok()
}

pub fn post_remote(count: u64, post: impl Fn(&Remote) -> bool + Copy + Send + 'static) -> Outcome {
    let mut io = IoContext::new()?;
    for _ in 0..REPETITIONS {
        RAN.set(0);
        let (remote, guard) = (io.remote(), io.remote().work_guard());
        let since = Stopwatch::wall();
        let poster = thread::spawn(move || {
            let _guard = guard; // `run` goes on until all are posted.
            (0..count).all(|_| post(&remote))
        });
        io.run()?;
        common::print_checked("handlers", RAN.get(), count, since)?;
        if !poster.join().unwrap_or(false) {
            return Err(Failure::Failed("the other thread could not post".into()));
        }
    }
    Ok(())
}
