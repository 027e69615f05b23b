//! Who is compared. A new peer is one more line.

use Role::{Floor, Library, Ours};

/// How a peer is looked at: nobody builds an application on a floor, and we do not compete with ourselves.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Role {
    Floor,
    Library,
    Ours,
}

/// What is compiled here by its first line, not by cargo.
pub struct Source {
    pub file: &'static str,
    /// The Debian package of what it includes.
    pub package: &'static str,
}

pub struct Peer {
    /// On the command line and in the file of measurements.
    pub name: &'static str,
    /// In tables and plots.
    pub title: &'static str,
    pub role: Role,
    pub executable: &'static str,
    pub source: Option<Source>,
    pub colour: (u8, u8, u8),
}

pub const PEERS: &[Peer] = &[
    compiled("epoll", "epoll", Floor, "peer_epoll", "epoll.c", "libc6-dev", (0x50, 0x50, 0x50)),
    rust("mio", "mio", Floor, "peer_mio", (0xa8, 0xa8, 0xa8)),
    compiled("asio", "Boost.Asio", Library, "peer_asio", "asio.cpp", "libboost-dev", (0x1f, 0x77, 0xb4)),
    compiled("libuv", "libuv", Library, "peer_libuv", "libuv.c", "libuv1-dev", (0x2c, 0xa0, 0x2c)),
    compiled("libevent", "libevent", Library, "peer_libevent", "libevent.c", "libevent-dev", (0x94, 0x67, 0xbd)),
    rust("tokio", "tokio", Library, "peer_tokio", (0x17, 0xae, 0xbe)),
    rust("calloop", "calloop", Library, "peer_calloop", (0x8c, 0x56, 0x4b)),
    rust("session", "ioctx session", Ours, "peer_ioctx", (0xd6, 0x1f, 0x1f)),
    rust("operation", "ioctx operation", Ours, "peer_ioctx", (0xff, 0x7f, 0x0e)),
    rust("readiness", "ioctx readiness", Ours, "peer_ioctx", (0xe3, 0x77, 0xc2)),
];

/// What others are measured against.
pub const FLOOR: &str = "epoll";
/// The layer that is judged.
pub const SESSION: &str = "session";
/// Our layers, the one that is judged first.
pub const LAYERS: [&str; 3] = [SESSION, "operation", "readiness"];

type Colour = (u8, u8, u8);

const fn rust(name: &'static str, title: &'static str, role: Role, executable: &'static str, colour: Colour) -> Peer {
    Peer { name, title, role, executable, source: None, colour }
}

const fn compiled(
    name: &'static str,
    title: &'static str,
    role: Role,
    executable: &'static str,
    file: &'static str,
    package: &'static str,
    colour: Colour,
) -> Peer {
    Peer { name, title, role, executable, source: Some(Source { file, package }), colour }
}

impl Peer {
    /// What comes before the workload in its arguments: our program has all layers, and is told which.
    pub fn layer(&self) -> Option<&'static str> {
        (self.role == Ours).then_some(self.name)
    }
}

pub fn peer(name: &str) -> Option<&'static Peer> {
    PEERS.iter().find(|peer| peer.name == name)
}

/// What `--peer` may be given: a peer's name, or `ioctx` for all our layers.
pub fn named(name: &str) -> Vec<&'static Peer> {
    PEERS
        .iter()
        .filter(|peer| peer.name == name || peer.title == name || (name == "ioctx" && peer.role == Ours))
        .collect()
}
