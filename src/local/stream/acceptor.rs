//! `Acceptor`: what listening Unix sockets can do beside what all listeners can.

use super::in_use::{Found, look_at};
use super::protocol::Protocol;
use crate::handle::Handle;
use crate::local::Endpoint;
use crate::socket::StreamAcceptor;
use std::io;

/// A listening Unix domain stream socket: Asio's `local::stream_protocol::acceptor`. All of its calls are those of
/// [`StreamAcceptor`], and one of its own.
///
/// The file that `bind` makes stays when the acceptor is closed, as everywhere on Unix. When a file is in the way of
/// `bind`, its error (`AddrInUse`) tells whether somebody listens there, or nobody does and the file can be removed. To
/// find out it connects to the file for a moment.
///
/// ```
/// use ioctx::{IoContext, local};
///
/// let path = std::env::temp_dir().join(format!("acceptor-{}.sock", std::process::id()));
/// let io = IoContext::new()?;
/// let endpoint = local::Endpoint::from_path(&path)?;
/// let acceptor = local::stream::Acceptor::new(&io);
/// acceptor.open(local::stream::Protocol)?;
/// acceptor.bind(endpoint.clone())?;
/// acceptor.listen(local::stream::Acceptor::MAX_LISTEN_CONNECTIONS)?;
/// acceptor.close();
///
/// let left_behind = local::stream::Acceptor::listen_on(&io, endpoint).unwrap_err();
/// assert_eq!(left_behind.kind(), std::io::ErrorKind::AddrInUse);
/// assert!(left_behind.to_string().contains("nobody listens there"));
/// std::fs::remove_file(path)?;
/// # std::io::Result::Ok(())
/// ```
pub type Acceptor = StreamAcceptor<Protocol>;

impl StreamAcceptor<Protocol> {
    /// An acceptor that listens, as by [`listen_on`](StreamAcceptor::listen_on), where a socket file that an earlier
    /// run left behind is removed first. Asio has no name for it.
    ///
    /// It removes a socket file where nobody listens, and nothing else. To find out it connects to the file for a
    /// moment, so a server that is alive sees a client come and go. A program that has bound its socket but does not
    /// listen *yet* looks like one that has gone: where two may start at the same moment, let a lock of their own
    /// decide.
    ///
    /// ```
    /// use ioctx::{IoContext, local};
    ///
    /// let path = std::env::temp_dir().join(format!("replacing-{}.sock", std::process::id()));
    /// let io = IoContext::new()?;
    /// let endpoint = local::Endpoint::from_path(&path)?;
    /// for _ in 0..2 {
    ///     local::stream::Acceptor::listen_on_replacing_stale(&io, endpoint.clone())?.close(); // the file stays
    /// }
    /// std::fs::remove_file(path)?;
    /// # std::io::Result::Ok(())
    /// ```
    ///
    /// # Errors
    ///
    /// Somebody listens there, or the file is no socket (`AddrInUse`); or it may not be removed; or as
    /// [`listen_on`](StreamAcceptor::listen_on).
    pub fn listen_on_replacing_stale(context: &impl AsRef<Handle>, endpoint: Endpoint) -> io::Result<Self> {
        context.as_ref().engine.check_alive()?;
        if let Some(path) = endpoint.as_pathname() {
            if let Ok(Found::Stale(file)) = look_at(path) {
                file.remove(path)?;
            }
        }
        Self::listen_on(context, endpoint)
    }
}
