//! A pool as other threads see it.

use super::hand_over::LastOrder;
use super::member::Seat;
use crate::ip::tcp;
use crate::remote::{Remote, Sender};
use crate::session::Stats;
use std::fmt;
use std::sync::{Arc, mpsc};
use std::time::Duration;

/// The half of a [`ContextPool`](super::ContextPool) that any thread may hold, to look at it and to end it: `Clone`,
/// `Send` and `Sync`. For a signal handler, an admin page, a session of the pool itself.
///
/// It outlives the pool's threads, and is harmless then.
///
/// ```
/// use ioctx::ContextPool;
/// use std::time::Duration;
///
/// let pool = ContextPool::start(2, |_io, _thread| Ok(|_deadline| ()))?;
/// let remote = pool.remote();
/// std::thread::spawn(move || remote.shutdown(Duration::from_secs(1)));
/// assert_eq!(pool.join().len(), 2); // returns when the other thread has shut the pool down
/// # std::io::Result::Ok(())
/// ```
#[derive(Clone)]
pub struct PoolRemote {
    pub(super) table: Arc<Table>,
}

/// Where the members of a pool sit.
pub(super) struct Table {
    pub(super) seats: Vec<Seat>,
    pub(super) remotes: Vec<Remote>,
    /// The way to the accepting thread, if there is one.
    pub(super) accepting: Option<Sender<LastOrder>>,
    pub(super) endpoint: Option<tcp::Endpoint>,
}

/// How long [`PoolRemote::stats`] waits for threads that are busy: long for a handler, short for who asks.
const PATIENCE: Duration = Duration::from_secs(1);

impl PoolRemote {
    /// As [`ContextPool::shutdown`](super::ContextPool::shutdown).
    pub fn shutdown(&self, deadline: Duration) {
        let members = self.table.seats.iter().map(|seat| seat.orders.clone()).collect();
        let last = LastOrder { members, deadline };
        match &self.table.accepting {
            Some(accepting) => drop(accepting.send(last)),
            None => drop(last),
        }
    }

    /// As [`ContextPool::stats`](super::ContextPool::stats).
    pub fn stats(&self) -> Stats {
        let (answer, answers) = mpsc::channel();
        for seat in &self.table.seats {
            seat.ask_for_count(answer.clone());
        }
        drop(answer);
        let _ = answers.recv_timeout(PATIENCE); // Nobody sends: it returns when all have answered, or in time.
        let mut sum = Stats::default();
        for seat in &self.table.seats {
            sum += seat.counted();
        }
        sum
    }

    /// As [`ContextPool::remotes`](super::ContextPool::remotes).
    pub fn remotes(&self) -> &[Remote] {
        &self.table.remotes
    }

    /// As [`ContextPool::local_endpoint`](super::ContextPool::local_endpoint).
    pub fn local_endpoint(&self) -> Option<tcp::Endpoint> {
        self.table.endpoint
    }
}

impl fmt::Debug for PoolRemote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PoolRemote").field("local", &self.table.endpoint).field("remotes", &self.table.remotes).finish()
    }
}
