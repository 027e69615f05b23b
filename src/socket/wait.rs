//! What can be waited for.

use crate::operation::object::Direction;

/// What [`StreamSocket::wait`](super::StreamSocket::wait), [`StreamSocket::async_wait`](super::StreamSocket::async_wait)
/// and those of acceptors wait for. `asio::socket_base::wait_type`.
///
/// ```
/// use ioctx::{IoContext, local, socket::Wait};
///
/// let io = IoContext::new()?;
/// let (ours, theirs) = local::stream::Socket::pair(&io)?;
/// ours.wait(Wait::Write)?;
/// ours.write(b"x")?;
/// theirs.wait(Wait::Read)?;
/// # std::io::Result::Ok(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Wait {
    /// A read, or an accept, would not block.
    Read,
    /// A write would not block.
    Write,
    /// There is urgent data, or an error.
    Error,
}

impl Wait {
    pub(super) fn direction(self) -> Direction {
        match self {
            Wait::Read => Direction::Read,
            Wait::Write => Direction::Write,
            Wait::Error => Direction::Exception,
        }
    }
}
