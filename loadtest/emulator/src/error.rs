//! What can go wrong while a network is built.

use std::io;
use std::net::Ipv4Addr;

/// Networks of ours cannot be made on this machine by this user: say so, loudly, and do not pass for tested.
#[derive(Debug, thiserror::Error)]
#[error(
    "no network of ours can be made here: {what} does not work (needs Linux, /dev/net/tun and CAP_NET_ADMIN with CAP_SYS_ADMIN)"
)]
pub struct Unavailable {
    /// The step that failed.
    pub what: &'static str,
    /// What the system says about it.
    #[source]
    pub why: io::Error,
}

/// A host could not be attached, or its address not be changed.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// Nothing of the kind works on this machine.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
    /// The address is not a host's in [`NETWORK`](crate::NETWORK).
    #[error("{0} is no host's address within 10.77.0.0/16")]
    Outside(Ipv4Addr),
    /// Another host has the address, or another NAT.
    #[error("{0} is taken")]
    Taken(Ipv4Addr),
    /// The network has [`HOSTS_MAX`](crate::HOSTS_MAX) hosts.
    #[error("the network is full")]
    Full,
    /// The host is behind no NAT.
    #[error("the host is behind no NAT")]
    NoNat,
    /// The host's device could not be set up.
    #[error("the host's device could not be set up: {what}")]
    Device {
        /// The step that failed.
        what: &'static str,
        /// What the system says about it.
        #[source]
        source: io::Error,
    },
}
