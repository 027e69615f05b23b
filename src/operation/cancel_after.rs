//! A limit on the time of any operation.

use crate::engine::state::Engine;
use crate::error;
use crate::handle::Handle;
use crate::key::{Cancel, Operation};
use std::cell::Cell;
use std::io;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// The value that an operation's handler receives, as far as a time limit must know it.
///
/// Sealed; implemented for `io::Result<T>`, and for `(io::Result<T>, B)`, where a buffer travels along.
pub trait Outcome: sealed::Sealed + 'static {
    #[doc(hidden)]
    fn map_error(self, map: impl FnOnce(io::Error) -> io::Error) -> Self;
}

mod sealed {
    pub trait Sealed {}
    impl<T> Sealed for std::io::Result<T> {}
    impl<T, B> Sealed for (std::io::Result<T>, B) {}
}

impl<T: 'static> Outcome for io::Result<T> {
    fn map_error(self, map: impl FnOnce(io::Error) -> io::Error) -> Self {
        self.map_err(map)
    }
}

impl<T: 'static, B: 'static> Outcome for (io::Result<T>, B) {
    fn map_error(self, map: impl FnOnce(io::Error) -> io::Error) -> Self {
        (self.0.map_err(map), self.1)
    }
}

/// Starts an operation that is cancelled if it takes longer than `limit`.
///
/// `initiate` is given the handler to start the operation with, and returns the operation's key. The handler given
/// here is called once, with the operation's own outcome, or with an error of kind
/// [`TimedOut`](io::ErrorKind::TimedOut) if the limit ended it: [`error::transferred`] tells how many bytes had moved.
/// An operation cancelled otherwise still ends as [aborted](error::is_aborted). Limits nest; the shorter wins.
///
/// `context` is anything that leads to the loop: a context, a handle, a socket, a timer.
/// Answers to `asio::cancel_after`. Costs two small allocations and a timer. (An idle timeout that every message pushes
/// back is cheaper as an [`Alarm`](crate::Alarm) of the connection.) A read that must not take long looks like this:
///
/// ```
/// # use ioctx::{cancel_after, ip::tcp};
/// # use std::io::ErrorKind::TimedOut;
/// # use std::time::Duration;
/// fn read_or_give_up(socket: tcp::Socket, buffer: Vec<u8>) {
///     let stream = socket.clone();
///     cancel_after(
///         &stream,
///         Duration::from_secs(30),
///         |done| stream.async_read_some(buffer, done),
///         move |(read, buffer)| match read {
///             Err(error) if error.kind() == TimedOut => socket.close(),
///             Ok(n) if n > 0 => read_or_give_up(socket, buffer), // having used buffer[..n]
///             _ => {}
///         },
///     );
/// }
/// ```
///
/// And around a wait like this:
///
/// ```
/// use ioctx::{IoContext, Timer, cancel_after};
/// use std::io::ErrorKind::TimedOut;
/// use std::time::Duration;
///
/// let mut io = IoContext::new()?;
/// let timer = Timer::new(&io);
/// timer.expires_after(Duration::from_secs(60));
/// cancel_after(
///     &io,
///     Duration::from_millis(1),
///     |done| timer.async_wait(done),
///     |waited| assert!(waited.is_err_and(|e| e.kind() == TimedOut)),
/// );
/// assert_eq!(io.run()?, 1);
/// # std::io::Result::Ok(())
/// ```
pub fn cancel_after<R: Outcome>(
    context: &impl AsRef<Handle>,
    limit: Duration,
    initiate: impl FnOnce(Box<dyn FnOnce(R)>) -> Operation,
    handler: impl FnOnce(R) + 'static,
) -> Operation {
    cancel_at(context, context.as_ref().engine.clock.after(limit), initiate, handler)
}

/// Starts an operation that is cancelled if it has not ended at `deadline`. As [`cancel_after`].
///
/// Answers to `asio::cancel_at`.
pub fn cancel_at<R: Outcome>(
    context: &impl AsRef<Handle>,
    deadline: Instant,
    initiate: impl FnOnce(Box<dyn FnOnce(R)>) -> Operation,
    handler: impl FnOnce(R) + 'static,
) -> Operation {
    let engine = &context.as_ref().engine;
    let limit = Rc::new(Limit::default());
    let done = {
        let (engine, limit) = (Rc::clone(engine), Rc::clone(&limit));
        move |outcome: R| {
            if let Some(key) = limit.timer.take() {
                drop(engine.disarm(key));
            }
            let expired = limit.expired.get();
            handler(outcome.map_error(|error| match error::is_aborted(&error) && expired {
                true => error::timed_out(error::transferred(&error)),
                false => error,
            }));
        }
    };
    let operation = initiate(Box::new(done));
    let expire = {
        let limit = Rc::clone(&limit);
        move |engine: &Rc<Engine>| {
            limit.timer.set(None);
            // If somebody else has cancelled it already, it ends as aborted.
            limit.expired.set(engine.cancel(operation) == Cancel::Requested);
        }
    };
    // Not counted as outstanding: the operation itself is.
    limit.timer.set(engine.arm_act(deadline, expire));
    operation
}

#[derive(Default)]
struct Limit {
    timer: Cell<Option<crate::engine::timer_queue::TimerKey>>,
    expired: Cell<bool>,
}
