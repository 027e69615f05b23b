//! What is tunable, and why each default is what it is.

use std::time::Duration;

/// Limits of one [`IoContext`](crate::IoContext), given to [`IoContext::with_config`](crate::IoContext::with_config).
///
/// Every bound exists so that one busy source cannot keep the others waiting. A zero counts as one, where it does not say
/// otherwise.
///
/// ```
/// use ioctx::{Config, IoContext};
/// use std::time::Duration;
///
/// let config = Config::new().event_batch(64).slow_handler(Duration::from_millis(10));
/// let io = IoContext::with_config(config)?;
/// # std::io::Result::Ok(())
/// ```
#[derive(Clone, Debug)]
pub struct Config {
    pub(crate) event_batch: usize,
    /// `None`: where that seems to pay.
    pub(crate) spin_before_sleep: Option<Duration>,
    /// What one source may move in one dispatch, in bytes; see `Budget`.
    pub(crate) dispatch_bytes: usize,
    /// What a read or a write costs at least, in bytes.
    pub(crate) least_transfer: usize,
    /// What another call costs, in bytes.
    pub(crate) least_call: usize,
    accept_budget: usize,
    pub(crate) handlers_per_dispatch: usize,
    pub(crate) accept_retry: Duration,
    pub(crate) read_buffer: usize,
    /// What it grows to, within the read budget.
    largest_read: usize,
    pub(crate) low_watermark: usize,
    pub(crate) high_watermark: usize,
    pub(crate) write_limit: usize,
    pub(crate) unconsumed_limit: usize,
    pub(crate) grace: Duration,
    pub(crate) slow_handler: Option<Duration>,
}

impl Config {
    /// The defaults.
    pub fn new() -> Self {
        Config {
            event_batch: 1024,
            spin_before_sleep: None,
            dispatch_bytes: 0,
            least_transfer: 0,
            least_call: 0,
            accept_budget: 64,
            handlers_per_dispatch: 16,
            accept_retry: Duration::from_millis(100),
            read_buffer: 64 * 1024,
            largest_read: 512 * 1024,
            low_watermark: 16 * 1024,
            high_watermark: 64 * 1024,
            write_limit: 16 * 1024 * 1024,
            unconsumed_limit: 1024 * 1024,
            grace: Duration::from_secs(1),
            slow_handler: None,
        }
        .read_budget(16, 1024 * 1024)
    }

    /// Events taken from the poller in one turn. Default 1,024: 12 KiB of memory, and a wait with 18,000 busy
    /// connections costs 18 system calls instead of 18,000, while timers still get their turn in between. At most
    /// 65,536.
    #[must_use]
    pub fn event_batch(mut self, events: usize) -> Self {
        self.event_batch = events.clamp(1, 65_536);
        self
    }

    /// For how long the loop spins before each sleep, that is, asks the kernel again and again until there is an event; at
    /// most a millisecond. Zero: never, as in other libraries. Default: where that seems to pay, which is in two cases.
    ///
    /// - Events come a few at a time, eight at most, as those of clients do that wait for each answer. The loop tries what an
    ///   event takes of this thread's processor time with sleeps, and with spins of 50 µs at most, and looks again after 8 to
    ///   256 times 32 waits. As long as it is less than a quarter more with spins, and at least half of them find something, it
    ///   spins; once four more of 32 have found nothing than something, that is over. So a trial in vain takes four spins,
    ///   0.2 ms of the processor, where nothing is found at all, and 32 at most, 1.6 ms; each doubles the time until the
    ///   next, up to 1,024 times 32 waits. Where there is a read of 32 KiB or more for every second wait, as of fast
    ///   streams, it does not spin (at the readiness layer and for operations, if that fills the buffer): it would find
    ///   smaller pieces, and take more of the processor for a byte. Messages from other threads are not counted.
    /// - Connections come and go: a client on the same machine sends as soon as it is connected. It spins for 20 µs at most, up
    ///   to three times for each that has come or gone, as long as that finds something, and tries again as seldom if not.
    ///
    /// It pays where sleeps are dear: on a virtual machine a client that ran on it, too, was answered about three times as
    /// often. What other threads and machines would do with a processor is not in it: a
    /// thread that spins looks busy to `top`, and so does each of a pool. To wake it, other threads make a system call, as if
    /// it slept.
    ///
    /// To set a time is for servers that should be quick whatever it costs. A spin in vain costs processor time, at most
    /// the limit for each sleep: 10 % of a processor with 100 µs and a thousand sleeps a second. It spins before it sleeps
    /// until a timer, too. Whatever is set, a busy loop, which finds events at once, does not spin, and the `poll` family
    /// never does.
    ///
    /// Linux has the like for single sockets, as `net.core.busy_poll`.
    #[must_use]
    pub fn spin_before_sleep(mut self, limit: Duration) -> Self {
        self.spin_before_sleep = Some(limit.min(Duration::from_millis(1)));
        self
    }

    /// Reads and writes of one source in one dispatch. Default 16 of them or 1 MiB, whichever comes first: enough that
    /// a fast stream pays for a turn only now and then, little enough that the others hardly wait. One that has shown that
    /// the source is not ready any more, as a short read of a TCP socket does, is not counted. Calls of `Io::try_io` are
    /// paid from the same purse, each with its share. What a session is shown at once, and what it sends at once, counts as
    /// one transfer, though it is read and written in pieces of 64 KiB, as many as the bytes allow.
    #[must_use]
    pub fn read_budget(mut self, transfers: usize, bytes: usize) -> Self {
        self.dispatch_bytes = bytes.max(1);
        self.least_transfer = share(self.dispatch_bytes, transfers);
        self.least_call = share(self.dispatch_bytes, self.accept_budget);
        self
    }

    /// Calls of `Io::try_io` (an `accept`, say) of one source in one dispatch. Default 64: a flood of connections
    /// is taken in quickly, and the established ones are served in between. (Where only one is established, and has more to
    /// read all the time, the kernel is asked for new ones in one of 16 turns.)
    #[must_use]
    pub fn accept_budget(mut self, calls: usize) -> Self {
        self.accept_budget = calls.max(1);
        self.least_call = share(self.dispatch_bytes, self.accept_budget);
        self
    }

    /// Handlers of one object run in one dispatch. Default 16, for the same reason as the read budget.
    #[must_use]
    pub fn handlers_per_dispatch(mut self, handlers: usize) -> Self {
        self.handlers_per_dispatch = handlers.max(1);
        self
    }

    /// How long an `async_accept` that found no free descriptor waits before it tries again, if no descriptor of
    /// this context is closed before. Default 100 ms: ten attempts a second cost nothing, and nobody waits long.
    #[must_use]
    pub fn accept_retry(mut self, pause: Duration) -> Self {
        self.accept_retry = pause.max(Duration::from_millis(1));
        self
    }

    /// The loop's one read buffer, which sessions are lent in turn; at most this much is shown to a session at once.
    /// Default 64 KiB, which is more than most messages have, and stays in the processor's cache. Where as much is waiting
    /// when a connection's turn is over, the default doubles, up to 512 KiB, for good: a stream gets through faster when more
    /// of it is shown at once. A buffer whose size is set here keeps it: choose it if a session answers with many times what
    /// it is shown.
    #[must_use]
    pub fn read_buffer(mut self, bytes: usize) -> Self {
        self.read_buffer = bytes.max(1);
        self.largest_read = self.read_buffer;
        self
    }

    /// Queued bytes of a session's connection at which its own reading resumes, and above which it pauses. Default
    /// 16 KiB and 64 KiB: as much as the kernel takes in one write, so that the socket never runs dry while the session
    /// is being told. On top of `high` comes what a session sends when it is shown one more
    /// [read buffer](Config::read_buffer). `low` above `high` counts as `high`. See
    /// [`Connection::set_watermarks`](crate::session::Connection::set_watermarks).
    #[must_use]
    pub fn watermarks(mut self, low: usize, high: usize) -> Self {
        self.low_watermark = low.min(high);
        self.high_watermark = high;
        self
    }

    /// Queued bytes of a session's connection above which it ends, for senders that do not heed the watermarks. Default
    /// 16 MiB: a receiver of a broadcast that is this far behind will not catch up. 4 GiB and more are no limit.
    #[must_use]
    pub fn write_limit(mut self, bytes: usize) -> Self {
        self.write_limit = bytes;
        self
    }

    /// Bytes that a session may leave unconsumed. Default 1 MiB: a longer message is more likely an attack than a
    /// message.
    #[must_use]
    pub fn unconsumed_limit(mut self, bytes: usize) -> Self {
        self.unconsumed_limit = bytes;
        self
    }

    /// How long a session's connection that has closed, and has sent everything, waits for its peer to close too.
    /// Default 1 s: a living peer needs a round trip, and a dead one is not waited for.
    #[must_use]
    pub fn grace(mut self, grace: Duration) -> Self {
        self.grace = grace;
        self
    }

    /// Warns, in one log line that names the offender by file and line, when a handler takes longer than this.
    /// Default off, because it reads the clock twice around every handler. The time of a callback of
    /// [`register`](crate::Handle::register) includes what it asks for by what it returns: the end of its registration, say,
    /// with the destructors of what it holds.
    #[must_use]
    pub fn slow_handler(mut self, threshold: Duration) -> Self {
        self.slow_handler = Some(threshold);
        self
    }

    /// What the read buffer grows to.
    pub(crate) fn largest_read(&self) -> usize {
        self.largest_read.min(self.dispatch_bytes).max(self.read_buffer)
    }
}

/// One of `parts` equal parts of `whole`, rounded up.
fn share(whole: usize, parts: usize) -> usize {
    whole.div_ceil(parts.max(1))
}

impl Default for Config {
    fn default() -> Self {
        Self::new()
    }
}
