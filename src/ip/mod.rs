//! The Internet protocols. Asio's namespace `asio::ip`.
//!
//! The study notes behind this project write `boost::asio::tcp::socket`; in Asio, as here, it is `ip::tcp`.

pub mod tcp;

crate::option::options! {
    /// Restricts an IPv6 socket to IPv6, so that it does not serve IPv4 as well (`IPV6_V6ONLY`, ipv6(7)).
    /// `asio::ip::v6_only`.
    V6Only(bool): set_only_v6, only_v6;
}
