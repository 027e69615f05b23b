//! Readiness and interest: what a source is ready for, and what its owner wants to hear of.

use std::fmt;
use std::ops::{BitOr, BitOrAssign};

// The first four lie where epoll(7) has them, so that to read an event is to mask it.
const READABLE: u8 = 1;
const PRIORITY: u8 = 2;
const WRITABLE: u8 = 4;
const ERROR: u8 = 8;
const READ_CLOSED: u8 = 16;
const WRITE_CLOSED: u8 = 32;
/// Not from the poller: an operation that waits for nothing asks for a call.
const DEMANDED: u8 = 64;
/// Not from the poller either: a read was short, and that does not prove that nothing is behind it.
const DOUBTFUL: u8 = 128;

/// What a source is ready for, as remembered by the loop.
///
/// The poller tells of a change once (it is edge-triggered), so the loop remembers: a bit is set by an event and
/// cleared only when a call has shown that the source is not ready any more.
/// `is_read_closed`, `is_write_closed` and `is_error` are hints: the truth is what a read, a write or the
/// pending socket error says.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Ready(u8);

impl Ready {
    /// Ready for nothing.
    pub const NONE: Ready = Ready(0);
    /// A read, or an accept, will not block.
    pub const READABLE: Ready = Ready(READABLE);
    /// A write will not block, or a connection attempt has ended.
    pub const WRITABLE: Ready = Ready(WRITABLE);
    /// Urgent (out-of-band) data was seen; Linux and Android only.
    pub const PRIORITY: Ready = Ready(PRIORITY);

    pub(crate) const ERROR: Ready = Ready(ERROR);
    pub(crate) const READ_CLOSED: Ready = Ready(READ_CLOSED);
    pub(crate) const WRITE_CLOSED: Ready = Ready(WRITE_CLOSED);
    pub(crate) const DEMANDED: Ready = Ready(DEMANDED);
    pub(crate) const DOUBTFUL: Ready = Ready(DOUBTFUL);

    /// Whether a read or an accept will not block.
    pub fn is_readable(self) -> bool {
        self.contains(Self::READABLE)
    }

    /// Whether a write will not block.
    pub fn is_writable(self) -> bool {
        self.contains(Self::WRITABLE)
    }

    /// Whether urgent data was seen.
    pub fn is_priority(self) -> bool {
        self.contains(Self::PRIORITY)
    }

    /// Whether the poller told of an error on the source.
    pub fn is_error(self) -> bool {
        self.contains(Self::ERROR)
    }

    /// Whether the peer will send no more.
    pub fn is_read_closed(self) -> bool {
        self.contains(Self::READ_CLOSED)
    }

    /// Whether nothing more can be sent.
    pub fn is_write_closed(self) -> bool {
        self.contains(Self::WRITE_CLOSED)
    }

    pub(crate) fn contains(self, other: Ready) -> bool {
        self.0 & other.0 == other.0
    }

    pub(crate) fn without(self, other: Ready) -> Ready {
        Ready(self.0 & !other.0)
    }

    /// The part of this readiness that `interest` asks for.
    pub(crate) fn of(self, interest: Interest) -> Ready {
        Ready(self.0 & interest.0)
    }

    pub(crate) fn is_none(self) -> bool {
        self.0 == 0
    }
}

impl BitOr for Ready {
    type Output = Ready;
    fn bitor(self, other: Ready) -> Ready {
        Ready(self.0 | other.0)
    }
}

impl BitOrAssign for Ready {
    fn bitor_assign(&mut self, other: Ready) {
        self.0 |= other.0;
    }
}

/// What the owner of a source wants to be called for.
///
/// Bookkeeping of the loop: changing it costs no system call on a stream or a listener.
///
/// ```
/// use ioctx::Interest;
/// let both = Interest::READABLE | Interest::WRITABLE;
/// assert!(both.is_readable() && both.is_writable());
/// assert!(!Interest::NONE.is_readable());
/// ```
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Interest(u8);

impl Interest {
    /// Nothing: the source stays registered and its readiness is remembered, but nobody is called. (The poller goes on
    /// to watch for what it watched for last, so a datagram socket still wakes the loop.)
    pub const NONE: Interest = Interest(0);
    /// Data to read, a connection to accept, or the end of the stream.
    pub const READABLE: Interest = Interest(READABLE);
    /// Room to write, or the end of a connection attempt.
    pub const WRITABLE: Interest = Interest(WRITABLE);
    /// Urgent (out-of-band) data; Linux and Android only.
    pub const PRIORITY: Interest = Interest(PRIORITY);

    /// Errors alone.
    pub(crate) const ERROR: Interest = Interest(ERROR);
    /// Errors and urgent data, what `wait` calls the error condition.
    pub(crate) const EXCEPTION: Interest = Interest(PRIORITY | ERROR);
    pub(crate) const DEMANDED: Interest = Interest(DEMANDED);
    /// Everything, demands too.
    pub(crate) const ALL: Interest = Interest(u8::MAX);

    /// Whether reading is asked for.
    pub fn is_readable(self) -> bool {
        self.0 & READABLE != 0
    }

    /// Whether writing is asked for.
    pub fn is_writable(self) -> bool {
        self.0 & WRITABLE != 0
    }

    /// Whether urgent data is asked for.
    pub fn is_priority(self) -> bool {
        self.0 & PRIORITY != 0
    }

    pub(crate) fn intersects(self, other: Interest) -> bool {
        self.0 & other.0 != 0
    }

    pub(crate) fn is_all_in(self, ready: Ready) -> bool {
        self.0 & ready.0 == self.0
    }

    /// The part of this interest that is in the other one.
    pub(crate) fn of(self, other: Interest) -> Interest {
        Interest(self.0 & other.0)
    }

    pub(crate) fn without(self, other: Interest) -> Interest {
        Interest(self.0 & !other.0)
    }

    /// The same bits, read as readiness.
    pub(crate) fn as_ready(self) -> Ready {
        Ready(self.0)
    }
}

impl BitOr for Interest {
    type Output = Interest;
    fn bitor(self, other: Interest) -> Interest {
        Interest(self.0 | other.0)
    }
}

impl BitOrAssign for Interest {
    fn bitor_assign(&mut self, other: Interest) {
        self.0 |= other.0;
    }
}

impl fmt::Debug for Ready {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_bits(self.0, f)
    }
}

impl fmt::Debug for Interest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_bits(self.0, f)
    }
}

fn write_bits(bits: u8, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    const NAMES: [(u8, &str); 8] = [
        (READABLE, "readable"),
        (WRITABLE, "writable"),
        (PRIORITY, "priority"),
        (ERROR, "error"),
        (READ_CLOSED, "read-closed"),
        (WRITE_CLOSED, "write-closed"),
        (DEMANDED, "demanded"),
        (DOUBTFUL, "perhaps-readable"),
    ];
    if bits == 0 {
        return f.write_str("nothing");
    }
    let mut separator = "";
    for (_, name) in NAMES.iter().filter(|(bit, _)| bits & bit != 0) {
        write!(f, "{separator}{name}")?;
        separator = "+";
    }
    Ok(())
}
