//! What is in the way where a Unix socket cannot be bound: somebody who listens, a file that was left behind, or a file
//! of another kind.

use crate::local::Endpoint;
use crate::socket::descriptor::{errno, new_socket};
use rustix::io::Errno;
use socket2::Domain;
use std::error::Error;
use std::fmt;
use std::fs::{self, Metadata};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

/// What is found at a path.
pub(super) enum Found {
    /// A socket file where nobody listens, and what told it from others. `bind` and `listen` are two calls, so its
    /// owner may have got only halfway.
    Stale(Identity),
    Listener,
    /// A socket of another type, or one that may not be asked.
    Socket,
    Other,
}

/// Looks at the path, and connects for a moment to whoever listens there.
pub(super) fn look_at(path: &Path) -> io::Result<Found> {
    let metadata = fs::symlink_metadata(path)?;
    if !metadata.file_type().is_socket() {
        return Ok(Found::Other);
    }
    let address = Endpoint::from_path(path)?.to_address()?;
    let connected = new_socket(Domain::UNIX, None)?.connect(&address);
    Ok(match connected.as_ref().map_err(errno) {
        Ok(()) => Found::Listener,
        Err(Some(Errno::AGAIN)) => Found::Listener, // Linux: its backlog is full.
        Err(Some(Errno::CONNREFUSED)) => Found::Stale(Identity::of(&metadata)),
        Err(_) => Found::Socket,
    })
}

/// Which file it is: another one at the same path differs in one of these.
#[derive(PartialEq, Eq)]
pub(super) struct Identity {
    device: u64,
    inode: u64,
    changed: (i64, i64),
}

impl Identity {
    fn of(metadata: &Metadata) -> Self {
        let changed = (metadata.ctime(), metadata.ctime_nsec());
        Identity { device: metadata.dev(), inode: metadata.ino(), changed }
    }

    /// Removes the file, if it is still this one.
    pub(super) fn remove(&self, path: &Path) -> io::Result<()> {
        match fs::symlink_metadata(path) {
            Ok(metadata) if Identity::of(&metadata) == *self => match fs::remove_file(path) {
                Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
                _ => Ok(()),
            },
            _ => Ok(()), // Somebody was faster. Binding tells.
        }
    }
}

/// Says what is in the way, if a bind failed with `AddrInUse`.
pub(super) fn explain(endpoint: &Endpoint, error: io::Error) -> io::Error {
    if error.kind() != ErrorKind::AddrInUse {
        return error;
    }
    let why = match endpoint.as_pathname() {
        None => "somebody has this name",
        Some(path) => match look_at(path) {
            Ok(Found::Stale(_)) => "nobody listens there: the file was left behind and can be removed",
            Ok(Found::Listener) => "somebody listens there",
            Ok(Found::Socket) => "there is a socket already",
            Ok(Found::Other) => "there is a file that is no socket",
            Err(_) => return error, // It has gone meanwhile, or may not be looked at.
        },
    };
    io::Error::new(ErrorKind::AddrInUse, InUse { endpoint: endpoint.clone(), why, error })
}

#[derive(Debug)]
struct InUse {
    endpoint: Endpoint,
    why: &'static str,
    error: io::Error,
}

impl fmt::Display for InUse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot bind {}: {}", self.endpoint, self.why)
    }
}

impl Error for InUse {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.error)
    }
}
