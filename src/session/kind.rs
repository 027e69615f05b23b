//! The protocols that sessions run over: TCP and Unix sockets.

use super::endpoint::Endpoint;
use super::transport::Transport;
use crate::ip::tcp;
use crate::local;
use crate::socket::StreamProtocol;

/// A protocol that sessions run over: [`ip::tcp::Protocol`](crate::ip::tcp::Protocol), or
/// [`local::stream::Protocol`](crate::local::stream::Protocol). Sealed.
pub trait SessionProtocol: StreamProtocol<Endpoint: Into<Endpoint>> + sealed::Carried {}

pub(super) mod sealed {
    use super::*;

    pub trait Carried: StreamProtocol {
        #[doc(hidden)]
        fn into_transport(stream: Self::Stream) -> Transport;

        /// The stream in a transport, or the transport if it is of another protocol.
        #[doc(hidden)]
        fn from_transport(transport: Transport) -> Result<Self::Stream, Transport>;

        #[doc(hidden)]
        fn carries(transport: &Transport) -> bool;
    }
}

impl SessionProtocol for tcp::Protocol {}

impl sealed::Carried for tcp::Protocol {
    fn into_transport(stream: Self::Stream) -> Transport {
        let _ = stream.set_nodelay(true); // Sends are gathered already; without it they are only slower.
        Transport::Tcp(stream)
    }

    fn from_transport(transport: Transport) -> Result<Self::Stream, Transport> {
        match transport {
            Transport::Tcp(stream) => Ok(stream),
            other => Err(other),
        }
    }

    fn carries(transport: &Transport) -> bool {
        matches!(transport, Transport::Tcp(_))
    }
}

impl SessionProtocol for local::stream::Protocol {}

impl sealed::Carried for local::stream::Protocol {
    fn into_transport(stream: Self::Stream) -> Transport {
        Transport::Unix(stream)
    }

    fn from_transport(transport: Transport) -> Result<Self::Stream, Transport> {
        match transport {
            Transport::Unix(stream) => Ok(stream),
            other => Err(other),
        }
    }

    fn carries(transport: &Transport) -> bool {
        matches!(transport, Transport::Unix(_))
    }
}
