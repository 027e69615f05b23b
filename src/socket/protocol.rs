//! The protocols of connected byte streams, and the few calls in which they differ.

use std::fmt::{Debug, Display};
use std::hash::Hash;
use std::os::fd::OwnedFd;

/// A protocol of connected byte streams: TCP ([`ip::tcp::Protocol`](crate::ip::tcp::Protocol)), or Unix sockets
/// ([`local::stream::Protocol`](crate::local::stream::Protocol)). Sealed. Asio's `Protocol` requirements.
///
/// ```
/// use ioctx::socket::{StreamAcceptor, StreamProtocol};
/// use ioctx::{IoContext, ip::tcp};
///
/// fn listen<P: StreamProtocol>(io: &IoContext, endpoint: P::Endpoint) -> std::io::Result<StreamAcceptor<P>> {
///     println!("listening on {endpoint}");
///     StreamAcceptor::listen_on(io, endpoint)
/// }
///
/// let io = IoContext::new()?;
/// let acceptor: tcp::Acceptor = listen(&io, ([127, 0, 0, 1], 0).into())?;
/// assert!(acceptor.is_open());
/// # std::io::Result::Ok(())
/// ```
pub trait StreamProtocol: sealed::Family<<Self as StreamProtocol>::Endpoint> + Copy + Debug + Eq + 'static {
    /// The address of one end. `Protocol::endpoint`
    type Endpoint: Clone + Debug + Display + Eq + Hash + 'static;
    /// The standard library's type for a connected stream.
    type StdStream: From<OwnedFd> + Into<OwnedFd>;
    /// The standard library's type for a listener.
    type StdListener: From<OwnedFd> + Into<OwnedFd>;
}

pub(crate) mod sealed {
    use crate::operation::object::Descriptor;
    use crate::stream::Stream;
    use socket2::{Domain, SockAddr, Socket};
    use std::io;
    use std::os::fd::OwnedFd;

    /// What `StreamSocket` and `StreamAcceptor` ask of a protocol.
    pub trait Family<Endpoint>: Sized {
        /// What messages call a socket of it.
        const NAME: &'static str;
        /// mio's type for a connected stream.
        type Stream: Descriptor + Stream + From<OwnedFd> + Into<OwnedFd>;
        /// mio's type for a listener.
        type Listener: Descriptor + From<OwnedFd> + Into<OwnedFd>;

        /// Which protocol an endpoint belongs to.
        fn of(endpoint: &Endpoint) -> Self;

        /// socket(2): non-blocking, close-on-exec, and never raising SIGPIPE.
        fn socket(self) -> io::Result<Socket>;

        fn has_domain(domain: Domain) -> bool;

        fn to_address(endpoint: &Endpoint) -> io::Result<SockAddr>;

        fn from_address(address: &SockAddr) -> io::Result<Endpoint>;

        /// accept(2).
        fn accept(listener: &Self::Listener) -> io::Result<(Self::Stream, Endpoint)>;

        /// Says more of why bind(2) failed.
        fn explain_bind(_endpoint: &Endpoint, error: io::Error) -> io::Error {
            error
        }

        /// Whether connect(2) failed because the listener's backlog is full, which passes.
        fn is_backlog_full(_error: &io::Error) -> bool {
            false
        }
    }
}
