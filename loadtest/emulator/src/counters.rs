//! What happened to packets, in numbers.

use std::time::{Duration, Instant};

/// One path since its network began. Every packet is in exactly one place: `packets_in + duplicated` is `packets_out`,
/// `under_way`, and the counts of what was dropped together.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Counters {
    /// Packets that came.
    pub packets_in: u64,
    /// Their bytes, IP headers included.
    pub bytes_in: u64,
    /// Packets that left at the other end, copies included.
    pub packets_out: u64,
    /// Their bytes, IP headers included.
    pub bytes_out: u64,
    /// Lost by [`Settings::loss`](crate::Settings::loss).
    pub lost: u64,
    /// Lost by [`Settings::burst`](crate::Settings::burst).
    pub lost_in_bursts: u64,
    /// Copies that were made.
    pub duplicated: u64,
    /// Packets that were held back. They also count as what became of them.
    pub reordered: u64,
    /// Dropped since the queue of [`Settings::rate`](crate::Settings::rate) was full.
    pub queue_dropped: u64,
    /// Dropped by [`Settings::blocked`](crate::Settings::blocked).
    pub blocked: u64,
    /// Dropped by [`Settings::packet_bytes_max`](crate::Settings::packet_bytes_max).
    pub too_large: u64,
    /// Dropped since [`UNDER_WAY_MAX`](crate::UNDER_WAY_MAX) packets were under way. A run in which it is not 0 did not
    /// measure what its settings say.
    pub overflowed: u64,
    /// Packets under way now, copies included.
    pub under_way: usize,
    /// Packets that wait for the bottleneck now.
    pub queue_packets: usize,
    /// Their bytes.
    pub queue_bytes: usize,
    /// When the first packet that left was due.
    pub first_due: Option<Instant>,
    /// The latest time at which one that left was due.
    pub last_due: Option<Instant>,
}

impl Counters {
    /// All that came and did not arrive.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.lost + self.lost_in_bursts + self.queue_dropped + self.blocked + self.too_large + self.overflowed
    }
}

/// One NAT since its host was put behind it, or behind another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct NatCounters {
    /// Mappings now.
    pub mappings: usize,
    /// Mappings that went since there were [`MAPPINGS_MAX`](crate::MAPPINGS_MAX).
    pub evicted: u64,
    /// Packets to the public address at a port of no mapping; dropped.
    pub unmapped: u64,
    /// Packets of other protocols than UDP and TCP, and fragments; dropped.
    pub untranslatable: u64,
}

/// A whole network since it began: what belongs to no path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Totals {
    /// Packets written to a host's device.
    pub delivered: u64,
    /// What hosts sent that was no IPv4 packet to a single address, such as the kernel's IPv6 router solicitations.
    pub foreign: u64,
    /// Packets to an address that no host has, after they had passed their sender's path.
    pub unroutable: u64,
    /// Packets that a host's device refused.
    pub undelivered: u64,
    /// The longest that a packet was delivered after it was due: the emulator's own error, from a machine that was busy.
    pub lateness_max: Duration,
}
