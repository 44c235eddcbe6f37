//! Ports that are free and stay free while nobody listens on them for a moment.

use std::collections::BTreeSet;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};

/// Below those that systems hand out by themselves, so that a server's port is not given to a connection while the server is
/// dead.
const PORTS: std::ops::Range<u16> = 12_000..32_000;

/// Ports tried until it is said that there is none.
const TRIES: usize = 1_000;

/// A number that differs from run to run.
pub(crate) fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}

/// Loopback addresses that nobody listens on, all different.
///
/// # Errors
/// There are not as many.
pub(crate) fn free(count: usize) -> io::Result<Vec<SocketAddr>> {
    let mut ports = BTreeSet::new();
    for _ in 0..TRIES {
        if ports.len() == count {
            break;
        }
        let span = u64::from(PORTS.end - PORTS.start);
        let port = PORTS.start + u16::try_from(random() % span).unwrap_or_default();
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            ports.insert(port);
        }
    }
    if ports.len() < count {
        return Err(io::Error::from(io::ErrorKind::AddrInUse));
    }
    Ok(ports.into_iter().map(|port| (Ipv4Addr::LOCALHOST, port).into()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_as_asked_for_all_different() {
        let addresses: BTreeSet<SocketAddr> = free(20).expect("free ports").into_iter().collect();
        assert_eq!(addresses.len(), 20);
        assert!(
            addresses.iter().all(|address| address.ip().is_loopback() && PORTS.contains(&address.port()))
        );
    }
}
