//! What a path does to packets. Values only: [`Path`](crate::Path) applies them.

use std::time::Duration;

/// No delay, jitter or holding back is longer: what is asked for beyond it is cut to it.
pub const DELAY_MAX: Duration = Duration::from_secs(60 * 60);

/// One direction of one host's link. The default is a perfect link: nothing is lost, late, or limited.
///
/// Probabilities are per packet, from 0 to 1; what lies outside is taken as the nearer end, and what is no number as 0.
/// For all of them a packet takes the same draws from the path's generator, so that a change of one setting leaves alone
/// what the others do to the packets that follow.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Settings {
    /// Every packet is under way for at least so long, after it has left the [`rate`](Settings::rate)'s queue.
    pub delay: Duration,
    /// A packet's delay is longer by up to so much, evenly spread. Order is kept: a packet that drew less than the one
    /// before it arrives right behind that one.
    pub jitter: Duration,
    /// The probability that a packet is lost, independent of all others.
    pub loss: f64,
    /// Loss of many packets in a row, in addition to [`loss`](Settings::loss).
    pub burst: Option<Burst>,
    /// The probability that a packet arrives twice, the copy right behind it. A copy takes none of the rate.
    pub duplicate: f64,
    /// The probability that a packet is held back by [`reorder_by`](Settings::reorder_by), so that later ones overtake it.
    pub reorder: f64,
    /// By how much a packet is held back that is reordered. Below the time between two packets it changes no order.
    pub reorder_by: Duration,
    /// How fast packets pass, and how many may wait for it; without one there is no limit.
    pub rate: Option<Rate>,
    /// What does not pass at all. What was under way when it began arrives.
    pub blocked: Blocked,
    /// Larger packets, in bytes of IP, vanish without a word, as where a tunnel narrows the path and ICMP is filtered.
    pub packet_bytes_max: Option<usize>,
}

impl Settings {
    /// A link that does nothing but take its time.
    #[must_use]
    pub fn delayed(delay: Duration) -> Settings {
        Settings { delay, ..Settings::default() }
    }
}

/// Loss in bursts (the model of Gilbert): while a burst lasts nothing passes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Burst {
    /// The probability that a burst begins with a packet, when none is on.
    pub begin: f64,
    /// How many packets a burst takes in the mean; lengths are distributed geometrically, and are one at least.
    pub packets_mean: f64,
}

/// A bottleneck with a queue in front of it that drops at its tail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Bits of IP packets a second; 0 is taken as 1.
    pub bits_per_second: u64,
    /// What may wait, in bytes, including the packet that is being sent. One packet may always.
    pub queue_bytes: usize,
}

/// What a path stops.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Blocked {
    /// Nothing.
    #[default]
    Nothing,
    /// UDP, as some networks of companies and hotels do; TCP and ICMP pass.
    Udp,
    /// Everything: a tunnel, a lift.
    All,
}
