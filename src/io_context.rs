//! `IoContext`: the owner of a loop, and the calls that run it.

use crate::config::Config;
use crate::engine::clock::deadline_after;
use crate::engine::poller::Poller;
use crate::engine::sleep::Patience;
use crate::engine::state::Engine;
use crate::engine::turn::Left;
use crate::handle::Handle;
use crate::outstanding::Outstanding;
use std::fmt;
use std::io;
use std::ops::Deref;
use std::time::{Duration, Instant};

/// A loop: the poller, the timers, the ready queue, and everything that is outstanding on them.
///
/// `IoContext` is the one owner. It is neither `Clone` nor `Send`; everything else holds a [`Handle`], to which it
/// dereferences, so whatever a handle can do, an `IoContext` can do too. The calls that run the loop take
/// `&mut self`: a handler cannot nest them.
///
/// Do not put the `IoContext` into shared state or into a handler: a handler lives inside the context, and neither
/// would ever be dropped. Give objects a `Handle`.
///
/// Dropping the context drops every outstanding handler unrun, closes every object that has been used
/// asynchronously, and then the poller. The other objects close with their last handle.
///
/// Answers to `asio::io_context`.
///
/// ```
/// use ioctx::IoContext;
///
/// let mut io = IoContext::new()?;
/// io.post(|| println!("hello from the loop"));
/// assert_eq!(io.run()?, 1);
/// # std::io::Result::Ok(())
/// ```
pub struct IoContext {
    handle: Handle,
    poller: Poller,
}

impl IoContext {
    /// A loop with the default [`Config`].
    ///
    /// # Errors
    ///
    /// The process has no descriptors left: a context needs three on Linux (`epoll_create1(2)`, a duplicate of it,
    /// `eventfd(2)`).
    pub fn new() -> io::Result<IoContext> {
        Self::with_config(Config::new())
    }

    /// A loop with limits of your own.
    ///
    /// # Errors
    ///
    /// As [`new`](IoContext::new).
    pub fn with_config(config: Config) -> io::Result<IoContext> {
        let poller = Poller::new(&config)?;
        let engine = Engine::new(config, poller.registry())?;
        let handle = Handle { engine };
        Ok(IoContext { handle, poller })
    }

    /// The handle to give to objects and handlers.
    pub fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Runs handlers until nothing is outstanding or [`stop`](Handle::stop) is asked for, and sleeps while work is
    /// outstanding and none is ready. Returns how many handlers it ran.
    ///
    /// A completion, a timer wait, a posted task and a channel message count one each, and so does one dispatch of a
    /// readiness callback; what the loop does for itself counts none. With nothing outstanding it returns 0 at once.
    ///
    /// Answers to `io_context::run`.
    ///
    /// # Errors
    ///
    /// The poller failed; the context stays usable. An error of one connection is told to that connection's
    /// handler, never here.
    ///
    /// # Panics
    ///
    /// A panic of a handler leaves through this call. That handler is gone (a callback is kept), everything else is
    /// untouched, and the next call goes on where this one was.
    pub fn run(&mut self) -> io::Result<usize> {
        self.run_while(usize::MAX, None)
    }

    /// Like [`run`](IoContext::run), but returns after the first handler.
    ///
    /// # Errors
    ///
    /// As [`run`](IoContext::run).
    pub fn run_one(&mut self) -> io::Result<usize> {
        self.run_while(1, None)
    }

    /// Like [`run`](IoContext::run), but for no longer than `time`.
    ///
    /// # Errors
    ///
    /// As [`run`](IoContext::run).
    pub fn run_for(&mut self, time: Duration) -> io::Result<usize> {
        self.run_until(deadline_after(time))
    }

    /// Like [`run`](IoContext::run), but returns at `deadline`; at once, having run nothing, if that is past.
    ///
    /// # Errors
    ///
    /// As [`run`](IoContext::run).
    pub fn run_until(&mut self, deadline: Instant) -> io::Result<usize> {
        self.run_while(usize::MAX, Some(deadline))
    }

    /// Like [`run_one`](IoContext::run_one), but for no longer than `time`.
    ///
    /// # Errors
    ///
    /// As [`run`](IoContext::run).
    pub fn run_one_for(&mut self, time: Duration) -> io::Result<usize> {
        self.run_one_until(deadline_after(time))
    }

    /// Like [`run_one`](IoContext::run_one), but returns at `deadline`.
    ///
    /// # Errors
    ///
    /// As [`run`](IoContext::run).
    pub fn run_one_until(&mut self, deadline: Instant) -> io::Result<usize> {
        self.run_while(1, Some(deadline))
    }

    /// Runs what is ready, in one turn, and never sleeps. A turn that was left early is finished first.
    ///
    /// This is the call for a host that embeds the loop. Asio's `poll` goes on until nothing is ready, which a
    /// handler that posts itself makes for ever; this one is bounded. Background work runs even when nothing else
    /// is outstanding.
    ///
    /// # Errors
    ///
    /// As [`run`](IoContext::run).
    pub fn poll(&mut self) -> io::Result<usize> {
        self.poll_turn(usize::MAX)
    }

    /// Like [`poll`](IoContext::poll), but returns after the first handler.
    ///
    /// # Errors
    ///
    /// As [`run`](IoContext::run).
    pub fn poll_one(&mut self) -> io::Result<usize> {
        self.poll_turn(1)
    }

    /// Runs what is ready until nothing is, or until `budget` is spent, and never sleeps.
    ///
    /// For a host with a frame to draw: the budget is looked at after every handler, so even one of zero runs the
    /// first. What was not reached is first in line at the next call. Asio has no such call.
    ///
    /// ```
    /// # use std::time::Duration;
    /// let mut io = ioctx::IoContext::new()?;
    /// io.post(|| println!("between two frames"));
    /// assert_eq!(io.poll_for(Duration::from_millis(2))?, 1);
    /// # std::io::Result::Ok(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`run`](IoContext::run).
    pub fn poll_for(&mut self, budget: Duration) -> io::Result<usize> {
        let mut call = Call::begin(self, usize::MAX, Some(deadline_after(budget)));
        loop {
            let before = call.ran();
            // The end of a turn that was left early has not looked at the sources.
            let looks = !call.engine.is_interrupted();
            if call.turn(Patience::None)? == Turn::Left || call.engine.must_leave() {
                break;
            }
            if looks && call.ran() == before && !call.engine.is_busy() && !call.engine.inbox.has_mail() {
                break;
            }
        }
        Ok(call.ran())
    }

    /// Lifts a [`stop`](Handle::stop), so that the run family runs again.
    ///
    /// Answers to `io_context::restart`; needed after a stop only, not after running out of work.
    pub fn restart(&mut self) {
        self.handle.engine.inbox.clear_stop();
    }

    fn run_while(&mut self, limit: usize, deadline: Option<Instant>) -> io::Result<usize> {
        let mut call = Call::begin(self, limit, deadline);
        let patience = deadline.map_or(Patience::Forever, Patience::Until);
        while call.engine.has_work() && !call.engine.must_leave() {
            if call.turn(patience)? == Turn::Left {
                break;
            }
        }
        Ok(call.ran())
    }

    fn poll_turn(&mut self, limit: usize) -> io::Result<usize> {
        let mut call = Call::begin(self, limit, None);
        if call.engine.is_interrupted() && call.turn(Patience::None)? == Turn::Left {
            return Ok(call.ran());
        }
        call.turn(Patience::None)?;
        Ok(call.ran())
    }
}

/// One call of the run family.
struct Call<'a> {
    engine: &'a std::rc::Rc<Engine>,
    poller: &'a mut Poller,
}

#[derive(PartialEq, Eq)]
enum Turn {
    Ended,
    /// The call has had what it asked for.
    Left,
}

impl<'a> Call<'a> {
    fn begin(io: &'a mut IoContext, limit: usize, deadline: Option<Instant>) -> Self {
        let engine = &io.handle.engine;
        engine.turn.begin_call(limit, deadline);
        engine.inbox.looked_closer(engine.turn.is_bounded());
        engine.inbox.awake();
        let poller = &mut io.poller;
        let call = Call { engine, poller };
        engine.reactor.flush(); // What a panic has left.
        call
    }

    fn turn(&mut self, patience: Patience) -> io::Result<Turn> {
        if self.engine.inbox.stop_requested() {
            return Ok(Turn::Left);
        }
        match self.engine.turn(self.poller, patience) {
            Ok(()) => Ok(Turn::Ended),
            Err(Left::Early) => Ok(Turn::Left),
            Err(Left::Error(error)) => Err(error),
        }
    }

    fn ran(&self) -> usize {
        self.engine.turn.ran()
    }
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        self.engine.turn.end_call();
        self.engine.give_back();
        // From here on whoever posts must wake the descriptor: a host may be about to sleep on it.
        self.engine.inbox.fall_asleep();
    }
}

impl Deref for IoContext {
    type Target = Handle;

    fn deref(&self) -> &Handle {
        &self.handle
    }
}

impl AsRef<Handle> for IoContext {
    fn as_ref(&self) -> &Handle {
        &self.handle
    }
}

/// The loop's descriptor, for a host that sleeps in a loop of its own.
///
/// It becomes readable when the loop has something to do. The host sleeps on it for at most
/// [`next_timeout`](Handle::next_timeout), asked anew before each sleep, then calls [`poll`](IoContext::poll).
/// Level- and edge-triggered hosts both work. The implementation does not exist where mio polls without a
/// descriptor of its own (its poll(2) backend).
///
/// ```
/// use rustix::event::{PollFd, PollFlags, Timespec, poll};
/// use std::os::fd::AsFd;
/// use std::time::Duration;
///
/// let mut io = ioctx::IoContext::new()?;
/// io.after(Duration::from_millis(1), |_| println!("a timer, in the host's loop"));
/// while !io.stopped() {
///     let timeout = io.next_timeout().map(|t| Timespec::try_from(t).expect("fits"));
///     let fd = io.as_fd();
///     poll(&mut [PollFd::from_borrowed_fd(fd, PollFlags::IN)], timeout.as_ref())?;
///     io.poll()?;
/// }
/// # std::io::Result::Ok(())
/// ```
#[cfg(not(mio_unsupported_force_poll_poll))]
impl std::os::fd::AsFd for IoContext {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.handle.engine.embedded.set(true);
        self.poller.registry().as_fd()
    }
}

impl Drop for IoContext {
    fn drop(&mut self) {
        self.handle.engine.close();
    }
}

/// Lists what is outstanding; read it with `{:#?}`.
impl fmt::Debug for IoContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let outstanding: Outstanding = self.outstanding();
        f.debug_struct("IoContext")
            .field("stopped", &self.stopped())
            .field("next_timeout", &self.next_timeout())
            .field("outstanding", &outstanding)
            .finish()
    }
}
