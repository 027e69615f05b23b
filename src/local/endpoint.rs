//! `Endpoint`: where a Unix socket is found.

use socket2::SockAddr;
use std::fmt;
use std::io::{self, ErrorKind};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// A path in the file system, an abstract name (Linux, Android), or no name at all.
/// `asio::local::stream_protocol::endpoint`.
///
/// ```
/// use ioctx::local::Endpoint;
/// use std::path::Path;
///
/// let endpoint = Endpoint::from_path("/run/echo.sock")?;
/// assert_eq!(endpoint.as_pathname(), Some(Path::new("/run/echo.sock")));
/// assert_eq!(endpoint.to_string(), "/run/echo.sock");
/// # std::io::Result::Ok(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Endpoint(Name);

#[derive(Clone, PartialEq, Eq, Hash)]
enum Name {
    None,
    Path(PathBuf),
    Abstract(Vec<u8>),
}

impl Endpoint {
    /// A path in the file system. `endpoint ep("/run/echo.sock");`
    ///
    /// # Errors
    ///
    /// `InvalidInput`: the path is empty, contains a zero byte, or is longer than the system allows (107 bytes on
    /// Linux, unix(7)).
    pub fn from_path(path: impl AsRef<Path>) -> io::Result<Endpoint> {
        let path = path.as_ref();
        let bytes = path.as_os_str().as_bytes();
        if bytes.is_empty() {
            return invalid("the path of a Unix socket is empty".to_owned());
        }
        if bytes.contains(&0) {
            return invalid(format!("the path of a Unix socket contains a zero byte: {path:?}"));
        }
        let endpoint = Endpoint(Name::Path(path.to_owned()));
        endpoint.checked(bytes.len(), "the path of a Unix socket")
    }

    /// An abstract name: any bytes, in no file system, gone with the last socket that has it. Asio's
    /// `endpoint ep("\0name")`.
    ///
    /// ```
    /// use ioctx::local::Endpoint;
    ///
    /// let endpoint = Endpoint::from_abstract_name(b"echo")?;
    /// assert_eq!(endpoint.as_abstract_name(), Some(&b"echo"[..]));
    /// assert_eq!(endpoint.to_string(), "@echo");
    /// # std::io::Result::Ok(())
    /// ```
    ///
    /// # Errors
    ///
    /// `InvalidInput`: the name is empty, or has more than 107 bytes (unix(7)).
    #[cfg(any(target_os = "linux", target_os = "android"))]
    pub fn from_abstract_name(name: &[u8]) -> io::Result<Endpoint> {
        if name.is_empty() {
            return invalid("an abstract name is empty".to_owned());
        }
        Endpoint(Name::Abstract(name.to_vec())).checked(name.len(), "an abstract name")
    }

    /// No name: that of a socket that was not bound. Binding to it takes a free abstract name on Linux, as port 0 does
    /// of TCP, and is an error elsewhere. `endpoint ep;`
    ///
    /// ```
    /// let endpoint = ioctx::local::Endpoint::unnamed();
    /// assert!(endpoint.is_unnamed());
    /// assert_eq!(endpoint.to_string(), "(unnamed)");
    /// ```
    pub fn unnamed() -> Endpoint {
        Endpoint(Name::None)
    }

    /// The path, if that is what it is. `path`
    pub fn as_pathname(&self) -> Option<&Path> {
        match &self.0 {
            Name::Path(path) => Some(path),
            _ => None,
        }
    }

    /// The abstract name, if that is what it is; only ever on Linux and Android.
    pub fn as_abstract_name(&self) -> Option<&[u8]> {
        match &self.0 {
            Name::Abstract(name) => Some(name),
            _ => None,
        }
    }

    /// Whether it has no name.
    pub fn is_unnamed(&self) -> bool {
        matches!(self.0, Name::None)
    }

    /// This endpoint, if its name fits into an address of the system.
    fn checked(self, length: usize, what: &str) -> io::Result<Endpoint> {
        if self.to_address().is_err() {
            let limit = longest_name();
            return invalid(format!("{what} has {length} bytes, and {limit} fit: {self}"));
        }
        Ok(self)
    }

    pub(super) fn to_address(&self) -> io::Result<SockAddr> {
        match &self.0 {
            Name::None => SockAddr::unix(""),
            Name::Path(path) => SockAddr::unix(path),
            Name::Abstract(name) => {
                let bytes = [b"\0", &name[..]].concat();
                SockAddr::unix(std::ffi::OsStr::from_bytes(&bytes))
            }
        }
    }

    /// # Errors
    ///
    /// It is the address of another family.
    pub(super) fn from_address(address: &SockAddr) -> io::Result<Endpoint> {
        if !address.is_unix() {
            return Err(io::Error::new(ErrorKind::InvalidData, "not an address of a Unix socket"));
        }
        // Asked first: elsewhere than on Linux nothing may come as a path of zeros.
        if address.is_unnamed() {
            return Ok(Endpoint::unnamed());
        }
        let path = address.as_pathname().map(|path| Name::Path(path.to_owned()));
        let name = path.or_else(|| address.as_abstract_namespace().map(|name| Name::Abstract(name.to_vec())));
        Ok(Endpoint(name.unwrap_or(Name::None)))
    }
}

impl From<std::os::unix::net::SocketAddr> for Endpoint {
    fn from(address: std::os::unix::net::SocketAddr) -> Self {
        if let Some(path) = address.as_pathname() {
            return Endpoint(Name::Path(path.to_owned()));
        }
        #[cfg(target_os = "linux")]
        if let Some(name) = std::os::linux::net::SocketAddrExt::as_abstract_name(&address) {
            return Endpoint(Name::Abstract(name.to_vec()));
        }
        #[cfg(target_os = "android")]
        if let Some(name) = std::os::android::net::SocketAddrExt::as_abstract_name(&address) {
            return Endpoint(Name::Abstract(name.to_vec()));
        }
        Endpoint::unnamed()
    }
}

/// How many bytes a path or an abstract name may have: what the system's address holds beside one zero byte.
fn longest_name() -> usize {
    (1..256).take_while(|length| SockAddr::unix("x".repeat(*length)).is_ok()).last().unwrap_or(0)
}

fn invalid<T>(what: String) -> io::Result<T> {
    Err(io::Error::new(ErrorKind::InvalidInput, what))
}

/// An abstract name begins with `@`, as in the listings of ss(8).
impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Name::None => f.write_str("(unnamed)"),
            Name::Path(path) => write!(f, "{}", path.display()),
            Name::Abstract(name) => write!(f, "@{}", name.escape_ascii()),
        }
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Name::Path(path) => path.fmt(f),
            _ => write!(f, "{self}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_that_is_too_long_names_the_limit() {
        let longest = "x".repeat(longest_name());
        assert!(Endpoint::from_path(&longest).is_ok_and(|endpoint| endpoint.to_address().is_ok()));
        #[cfg(any(target_os = "linux", target_os = "android"))]
        assert!(Endpoint::from_abstract_name(&[7; 108]).is_err());
        let error = Endpoint::from_path(longest + "x").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert!(error.to_string().contains(&longest_name().to_string()), "{error}");
        for path in ["", "a\0b"] {
            assert_eq!(Endpoint::from_path(path).unwrap_err().kind(), ErrorKind::InvalidInput);
        }
    }

    #[test]
    fn an_endpoint_survives_the_way_through_an_address() -> io::Result<()> {
        let endpoints = [
            Endpoint::unnamed(),
            Endpoint::from_path("a b")?,
            Endpoint::from_path("/tmp/ä")?,
            #[cfg(any(target_os = "linux", target_os = "android"))]
            Endpoint::from_abstract_name(b"\0\xff")?,
            #[cfg(any(target_os = "linux", target_os = "android"))]
            Endpoint::from_abstract_name(&[7; 107])?,
        ];
        for endpoint in endpoints {
            assert_eq!(Endpoint::from_address(&endpoint.to_address()?)?, endpoint);
        }
        Ok(())
    }
}
