//! What an owner may ask an endpoint; nothing here changes it.

use std::net::SocketAddr;

use quinn_proto::ConnectionStats;

use super::{Counters, Endpoint};
use crate::id::LinkId;

impl Endpoint {
    /// The peer's address. It never reaches a log.
    pub fn remote_address(&self, link: LinkId) -> Option<SocketAddr> {
        Some(self.links[self.key(link)?].remote_address())
    }

    /// QUIC's figures of one link: round-trip time, losses, congestion window, frames and datagrams.
    pub fn link_stats(&self, link: LinkId) -> Option<ConnectionStats> {
        Some(self.links[self.key(link)?].stats())
    }

    /// What this endpoint has seen.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// Links at this time: in handshake, open, and closed ones that still absorb late datagrams.
    pub fn links(&self) -> usize {
        self.links.len()
    }

    /// Handshakes in work.
    pub fn handshakes(&self) -> usize {
        self.handshakes
    }

    /// Bytes that wait in a link's queues in front of QUIC's send window.
    pub fn queued_bytes(&self, link: LinkId) -> Option<usize> {
        Some(self.links[self.key(link)?].queued_bytes())
    }
}
