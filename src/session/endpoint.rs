//! Where a connection leads: an endpoint of either kind.

use crate::ip::tcp;
use std::fmt;

/// The endpoint of a connection's peer, or its own.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Endpoint {
    /// Of a TCP connection.
    Tcp(tcp::Endpoint),
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Endpoint::Tcp(endpoint) => endpoint.fmt(f),
        }
    }
}

impl From<tcp::Endpoint> for Endpoint {
    fn from(endpoint: tcp::Endpoint) -> Self {
        Endpoint::Tcp(endpoint)
    }
}
