//! Where a server is: its name, and every address that the name has.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};

use crate::error::CliError;

/// A server's addresses, all of one family as the socket sees them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    /// What its certificate must be for.
    pub(crate) name: String,
    addresses: Vec<SocketAddr>,
}

/// Finds a `HOST:PORT`.
///
/// # Errors
/// [`CliError::Usage`] if it is none, [`CliError::Connect`] if the name has no address.
pub(crate) fn resolve(server: &str) -> Result<Target, CliError> {
    let Some((host, port)) =
        server.rsplit_once(':').filter(|(host, port)| !host.is_empty() && !port.is_empty())
    else {
        return Err(CliError::Usage("--server is HOST:PORT, like 127.0.0.1:4433 or [::1]:4433"));
    };
    if port.parse::<u16>().is_err() {
        return Err(CliError::Usage("the port of --server is a number, like 4433"));
    }
    let wrong = |source| CliError::Connect { server: server.to_owned(), source };
    let found = server.to_socket_addrs().map_err(|error| wrong(error.into()))?.collect();
    let name = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    Target::new(name, found).ok_or_else(|| wrong("the name has no address".into()))
}

impl Target {
    /// IPv4 loopback goes first, since a development node listens there, then the order of the resolver. With both
    /// families the socket is an IPv6 one, which reaches IPv4 by mapped addresses (RFC 4291, section 2.5.5.2).
    fn new(name: String, mut found: Vec<SocketAddr>) -> Option<Target> {
        found.sort_by_key(|address| address.ip() != IpAddr::V4(Ipv4Addr::LOCALHOST));
        let mut addresses: Vec<SocketAddr> = Vec::new();
        let is_mixed = found.iter().any(SocketAddr::is_ipv6) && found.iter().any(SocketAddr::is_ipv4);
        for address in found {
            let address = match address {
                SocketAddr::V4(v4) if is_mixed => (v4.ip().to_ipv6_mapped(), v4.port()).into(),
                other => other,
            };
            if !addresses.contains(&address) {
                addresses.push(address);
            }
        }
        (!addresses.is_empty()).then_some(Target { name, addresses })
    }

    /// The address of the nth attempt: each has its turn.
    pub(crate) fn address(&self, attempt: usize) -> SocketAddr {
        self.addresses[attempt % self.addresses.len()]
    }

    /// What to bind: any address of the same family, any port.
    pub(crate) fn local(&self) -> SocketAddr {
        match self.addresses[0] {
            SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
            SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(addresses: &[&str]) -> Option<Target> {
        Target::new("host".into(), addresses.iter().map(|text| text.parse().expect("an address")).collect())
    }

    #[test]
    fn every_address_has_its_turn_and_both_families_share_a_socket() {
        let both = target(&["[::1]:4433", "127.0.0.1:4433", "[::1]:4433"]).expect("addresses");
        assert_eq!(both.local().to_string(), "[::]:0");
        let turns: Vec<_> = (0..3).map(|n| both.address(n).to_string()).collect();
        assert_eq!(turns, ["[::ffff:127.0.0.1]:4433", "[::1]:4433", "[::ffff:127.0.0.1]:4433"]);
        let one = target(&["10.0.0.1:4433"]).expect("addresses");
        assert_eq!(
            (one.local().to_string(), one.address(5).to_string()),
            ("0.0.0.0:0".into(), "10.0.0.1:4433".into())
        );
        assert_eq!(target(&[]), None);
    }

    #[test]
    fn what_is_no_address_says_how_one_looks() {
        for text in ["localhost", ":4433", "localhost:", "localhost:port", ""] {
            assert!(matches!(resolve(text), Err(CliError::Usage(_))), "{text:?}");
        }
        let named = resolve("[::1]:4433").expect("an address");
        assert_eq!((named.name.as_str(), named.address(0).to_string()), ("::1", "[::1]:4433".into()));
    }
}
