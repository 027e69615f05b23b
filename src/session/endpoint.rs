//! Where a connection leads: an endpoint of either protocol.

use crate::ip::tcp;
use crate::local;
use std::fmt;

/// The endpoint of a connection's peer, or its own.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Endpoint {
    /// Of a TCP connection.
    Tcp(tcp::Endpoint),
    /// Of a Unix connection; the one of a client is nearly always unnamed.
    Local(local::Endpoint),
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Endpoint::Tcp(endpoint) => endpoint.fmt(f),
            Endpoint::Local(endpoint) => endpoint.fmt(f),
        }
    }
}

impl From<tcp::Endpoint> for Endpoint {
    fn from(endpoint: tcp::Endpoint) -> Self {
        Endpoint::Tcp(endpoint)
    }
}

impl From<local::Endpoint> for Endpoint {
    fn from(endpoint: local::Endpoint) -> Self {
        Endpoint::Local(endpoint)
    }
}
