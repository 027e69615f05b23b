//! The outcomes that [`std::io::Error`] has no word for.
//!
//! Every call of this crate fails with a plain [`io::Error`], the `error_code` of Asio. What the operating system
//! reports keeps its [`ErrorKind`] and its [`raw_os_error`](io::Error::raw_os_error). The few conditions that only an
//! event loop knows are told apart by the functions here, never by their text.
//!
//! ```
//! use ioctx::{IoContext, Timer, error};
//! use std::time::Duration;
//!
//! let mut io = IoContext::new()?;
//! let timer = Timer::new(&io);
//! timer.expires_after(Duration::from_secs(60));
//! timer.async_wait(|waited| assert!(waited.is_err_and(|e| error::is_aborted(&e))));
//! assert_eq!(timer.cancel(), 1);
//! assert_eq!(io.run()?, 1);
//! # std::io::Result::Ok(())
//! ```

use rustix::io::Errno;
use std::error::Error;
use std::fmt;
use std::io::{self, ErrorKind};

/// Whether the operation ended because it was cancelled or its object was closed.
///
/// Answers to `asio::error::operation_aborted`. [`transferred`] tells how many bytes it had moved.
pub fn is_aborted(error: &io::Error) -> bool {
    error.raw_os_error() == Some(Errno::CANCELED.raw_os_error())
        || inner(error).is_some_and(|inner| matches!(inner.reason, Reason::Aborted))
}

/// Whether the call was refused because its [`IoContext`](crate::IoContext) has been dropped.
pub fn is_context_gone(error: &io::Error) -> bool {
    inner(error).is_some_and(|inner| matches!(inner.reason, Reason::ContextGone))
}

/// How many bytes a failed transfer had moved before it failed or was aborted; 0 if that is not known.
///
/// Asio hands the handler both an error and a count; here the count travels in the error.
///
/// ```
/// let error = std::io::Error::from(std::io::ErrorKind::ConnectionReset);
/// assert_eq!(ioctx::error::transferred(&error), 0);
/// ```
pub fn transferred(error: &io::Error) -> usize {
    inner(error).map_or(0, |inner| inner.transferred)
}

/// With nothing to remember it is `ECANCELED`, as Asio's is, and needs no memory: timers are cancelled by the million.
pub(crate) fn aborted(transferred: usize) -> io::Error {
    match transferred {
        0 => Errno::CANCELED.into(),
        n => build(ErrorKind::Other, Reason::Aborted, n),
    }
}

pub(crate) fn context_gone() -> io::Error {
    build(ErrorKind::Other, Reason::ContextGone, 0)
}

pub(crate) fn not_open() -> io::Error {
    build(ErrorKind::NotConnected, Reason::NotOpen, 0)
}

pub(crate) fn timed_out(transferred: usize) -> io::Error {
    build(ErrorKind::TimedOut, Reason::TimedOut, transferred)
}

/// The same error, knowing how many bytes had been moved before it.
pub(crate) fn with_transferred(error: io::Error, transferred: usize) -> io::Error {
    if transferred == 0 {
        return error;
    }
    if is_aborted(&error) {
        return aborted(transferred);
    }
    build(error.kind(), Reason::Failed(error), transferred)
}

fn build(kind: ErrorKind, reason: Reason, transferred: usize) -> io::Error {
    io::Error::new(kind, Inner { reason, transferred })
}

fn inner(error: &io::Error) -> Option<&Inner> {
    error.get_ref()?.downcast_ref()
}

#[derive(Debug)]
struct Inner {
    reason: Reason,
    /// Bytes.
    transferred: usize,
}

#[derive(Debug)]
enum Reason {
    Aborted,
    ContextGone,
    NotOpen,
    TimedOut,
    Failed(io::Error),
}

impl fmt::Display for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.reason {
            Reason::Aborted => f.write_str("the operation was aborted")?,
            Reason::ContextGone => f.write_str("the IoContext has been dropped")?,
            Reason::NotOpen => f.write_str("the object is not open")?,
            Reason::TimedOut => f.write_str("the operation took longer than it was given")?,
            Reason::Failed(error) => error.fmt(f)?,
        }
        match self.transferred {
            0 => Ok(()),
            n => write!(f, " (after {n} bytes)"),
        }
    }
}

impl Error for Inner {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match &self.reason {
            Reason::Failed(error) => Some(error),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_told_apart_and_keep_their_count() {
        let error = aborted(7);
        assert!(is_aborted(&error) && !is_context_gone(&error));
        assert!(is_aborted(&aborted(0)) && !is_aborted(&Errno::CONNABORTED.into()));
        assert_eq!(transferred(&error), 7);
        assert_eq!(timed_out(0).kind(), ErrorKind::TimedOut);
        assert!(!is_aborted(&timed_out(0)));
    }

    #[test]
    fn a_failure_after_some_bytes_keeps_its_kind_and_its_source() {
        let reset = io::Error::from_raw_os_error(104);
        let kind = reset.kind();
        let error = with_transferred(reset, 5);
        assert_eq!((error.kind(), transferred(&error)), (kind, 5));
        let source = error.source().and_then(|e| e.downcast_ref::<io::Error>());
        assert!(source.is_some_and(|e| e.raw_os_error() == Some(104)));
        let cancelled = with_transferred(aborted(0), 3);
        assert!(is_aborted(&cancelled) && transferred(&cancelled) == 3);
        assert_eq!(with_transferred(io::Error::from_raw_os_error(104), 0).raw_os_error(), Some(104));
    }
}
