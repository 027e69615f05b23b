//! `Socket`: what Unix streams can do beside what all streams can.

use super::protocol::Protocol;
use crate::handle::Handle;
use crate::socket::StreamSocket;
use socket2::{Domain, Type};
use std::io;
use std::os::fd::OwnedFd;

/// A Unix domain stream socket: Asio's `local::stream_protocol::socket`. All of its calls are those of
/// [`StreamSocket`], and a few of its own.
///
/// ```
/// use ioctx::{IoContext, local};
///
/// let io = IoContext::new()?;
/// let socket = local::stream::Socket::new(&io);
/// let refused = socket.connect(local::Endpoint::from_path("/nobody/listens/there")?);
/// assert!(refused.is_err());
/// # std::io::Result::Ok(())
/// ```
pub type Socket = StreamSocket<Protocol>;

impl StreamSocket<Protocol> {
    /// Two sockets that are connected with each other (socketpair(2)). `connect_pair`
    ///
    /// ```
    /// use ioctx::{IoContext, local};
    ///
    /// let mut io = IoContext::new()?;
    /// let (ours, theirs) = local::stream::Socket::pair(&io)?;
    /// ours.async_write(b"hello", |(wrote, _)| assert_eq!(wrote.unwrap(), 5));
    /// theirs.async_read([0; 5], |(read, bytes)| assert_eq!((read.unwrap(), &bytes), (5, b"hello")));
    /// assert_eq!(io.run()?, 2);
    /// # std::io::Result::Ok(())
    /// ```
    ///
    /// # Errors
    ///
    /// No two descriptors are free, or the context has gone.
    pub fn pair(context: &impl AsRef<Handle>) -> io::Result<(Self, Self)> {
        let handle = context.as_ref();
        handle.engine.check_alive()?;
        let (ours, theirs) = socket2::Socket::pair(Domain::UNIX, Type::STREAM, None)?;
        let socket = |socket: socket2::Socket| {
            socket.set_nonblocking(true)?;
            Self::accepted(handle, OwnedFd::from(socket).into(), false)
        };
        Ok((socket(ours)?, socket(theirs)?))
    }

    /// Who connected, listened or made the pair at the other end, as the kernel noted it then (`SO_PEERCRED`, unix(7)).
    /// Asio has no name for it.
    ///
    /// ```
    /// use ioctx::{IoContext, local};
    ///
    /// let io = IoContext::new()?;
    /// let (ours, _theirs) = local::stream::Socket::pair(&io)?;
    /// # #[cfg(any(target_os = "linux", target_os = "android"))]
    /// assert_eq!(ours.peer_credentials()?.pid, std::process::id());
    /// # std::io::Result::Ok(())
    /// ```
    ///
    /// # Errors
    ///
    /// The socket is not open or not connected, or the system is not Linux (`Unsupported`).
    pub fn peer_credentials(&self) -> io::Result<PeerCredentials> {
        self.remote_endpoint()?; // Linux answers without a peer too, and then with nothing that means something.
        self.object.with(credentials)
    }
}

/// The process at the other end, and for whom it ran, when it connected, listened or made the pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct PeerCredentials {
    /// The process; 0 if it cannot be seen from here, as from inside a container. It may have ended meanwhile, and its
    /// number may be another's now.
    pub pid: u32,
    /// Its effective user.
    pub uid: u32,
    /// Its effective group.
    pub gid: u32,
}

#[cfg(any(target_os = "linux", target_os = "android"))]
fn credentials(stream: &mio::net::UnixStream) -> io::Result<PeerCredentials> {
    let peer = rustix::net::sockopt::socket_peercred(stream)?;
    let pid = u32::try_from(peer.pid.as_raw_pid()).unwrap_or(0);
    Ok(PeerCredentials { pid, uid: peer.uid.as_raw(), gid: peer.gid.as_raw() })
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn credentials(_stream: &mio::net::UnixStream) -> io::Result<PeerCredentials> {
    Err(io::ErrorKind::Unsupported.into())
}
