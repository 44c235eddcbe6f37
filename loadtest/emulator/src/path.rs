//! One direction of a link, without IO: what becomes of each packet, and why.
//!
//! Invariant: the fate of the n-th packet follows from the seed, the path's place, n, the settings and the times and
//! sizes of the packets before it, and from nothing else. Packets leave in the order of their arrival, but for those
//! that were chosen to be reordered.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

use crate::counters::Counters;
use crate::settings::{Blocked, DELAY_MAX, Rate, Settings};

/// Packets under way on one path at a time; a packet that comes when so many are is dropped, and counted
/// ([`Counters::overflowed`]). At 50,000 packets a second it is more than half a second of them.
pub const UNDER_WAY_MAX: usize = 32 * 1024;

/// `IPPROTO_UDP`.
const UDP: u8 = 17;

/// Which way along a host's link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Direction {
    /// From the host into the network.
    Up,
    /// From the network to the host.
    Down,
}

/// What becomes of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It leaves the path at `due`. The caller tells [`Path::leave`], once per copy.
    Passed {
        /// When: never before it came.
        due: Instant,
        /// There are two of it, both due then.
        is_duplicated: bool,
        /// It was held back, so that later ones may overtake it.
        is_reordered: bool,
    },
    /// It does not arrive.
    Dropped(Cause),
}

/// Why a packet does not arrive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// [`Settings::blocked`].
    Blocked,
    /// [`Settings::packet_bytes_max`].
    TooLarge,
    /// [`Settings::loss`].
    Lost,
    /// [`Settings::burst`].
    Burst,
    /// The queue of [`Settings::rate`] was full.
    Queue,
    /// [`UNDER_WAY_MAX`].
    Overflow,
}

/// One direction of one host's link: its settings, its queue, its generator.
#[derive(Debug)]
pub struct Path {
    settings: Settings,
    generator: ChaCha8Rng,
    is_in_burst: bool,
    /// When the bottleneck has sent all that waits for it.
    idle_at: Option<Instant>,
    /// What waits for the bottleneck: when it will have been sent, and its bytes.
    queue: VecDeque<(Instant, usize)>,
    queue_bytes: usize,
    /// When the last packet is due that was not reordered.
    last_due: Option<Instant>,
    counters: Counters,
}

impl Path {
    /// A perfect path, for one direction of a network's `host`-th host, counted from 0.
    #[must_use]
    pub fn new(seed: u64, host: usize, direction: Direction) -> Path {
        let mut generator = ChaCha8Rng::seed_from_u64(seed);
        generator.set_stream(host as u64 * 2 + direction as u64);
        Path {
            settings: Settings::default(),
            generator,
            is_in_burst: false,
            idle_at: None,
            queue: VecDeque::new(),
            queue_bytes: 0,
            last_due: None,
            counters: Counters::default(),
        }
    }

    /// What it does to the packets that come from now on. Those that came before leave when they would have.
    pub fn set(&mut self, settings: Settings) {
        self.settings = settings;
    }

    /// What it does to packets.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Decides what becomes of a packet of `bytes` bytes of IP and that protocol (the number in its header), which comes
    /// at `now`. Times must not go backwards.
    pub fn decide(&mut self, now: Instant, bytes: usize, protocol: u8) -> Fate {
        self.counters.packets_in += 1;
        self.counters.bytes_in += bytes as u64;
        let draws = Draws::take(&mut self.generator);
        let fate = match self.refusal(&draws, bytes, protocol) {
            Some(why) => Fate::Dropped(why),
            None => self.pass(&draws, now, bytes),
        };
        self.count(fate);
        fate
    }

    /// A packet leaves that was due then.
    pub fn leave(&mut self, due: Instant, bytes: usize) {
        let counters = &mut self.counters;
        counters.under_way = counters.under_way.saturating_sub(1);
        counters.packets_out += 1;
        counters.bytes_out += bytes as u64;
        counters.first_due.get_or_insert(due);
        counters.last_due = counters.last_due.max(Some(due));
    }

    /// What has happened here so far, as seen at `now`.
    pub fn counters(&mut self, now: Instant) -> Counters {
        self.send_queued(now);
        let (queue_bytes, queue_packets) = (self.queue_bytes, self.queue.len());
        Counters { queue_bytes, queue_packets, ..self.counters.clone() }
    }

    fn refusal(&mut self, draws: &Draws, bytes: usize, protocol: u8) -> Option<Cause> {
        let is_in_burst = self.step_burst(draws.burst);
        let settings = &self.settings;
        let is_blocked = match settings.blocked {
            Blocked::Nothing => false,
            Blocked::Udp => protocol == UDP,
            Blocked::All => true,
        };
        if is_blocked {
            Some(Cause::Blocked)
        } else if settings.packet_bytes_max.is_some_and(|max| bytes > max) {
            Some(Cause::TooLarge)
        } else if is_in_burst {
            Some(Cause::Burst)
        } else if draws.loss < settings.loss {
            Some(Cause::Lost)
        } else if self.counters.under_way >= UNDER_WAY_MAX {
            Some(Cause::Overflow)
        } else {
            None
        }
    }

    /// Whether this packet falls into a burst; the next one's may be another answer.
    fn step_burst(&mut self, draw: f64) -> bool {
        let Some(burst) = self.settings.burst else {
            self.is_in_burst = false;
            return false;
        };
        // One packet less than the mean goes on after the first: a geometric distribution from one upwards.
        let goes_on = 1.0 - 1.0 / burst.packets_mean.max(1.0);
        self.is_in_burst = draw < if self.is_in_burst { goes_on } else { burst.begin };
        self.is_in_burst
    }

    fn pass(&mut self, draws: &Draws, now: Instant, bytes: usize) -> Fate {
        let Some(sent_at) = self.send(now, bytes) else { return Fate::Dropped(Cause::Queue) };
        let Settings { delay, jitter, duplicate, reorder, reorder_by, .. } = self.settings;
        let delay = delay.min(DELAY_MAX) + jitter.min(DELAY_MAX).mul_f64(draws.jitter);
        let due = self.last_due.map_or(sent_at + delay, |last| last.max(sent_at + delay));
        let is_reordered = draws.reorder < reorder;
        let is_duplicated = draws.duplicate < duplicate && self.counters.under_way + 1 < UNDER_WAY_MAX;
        let due = if is_reordered {
            due + reorder_by.min(DELAY_MAX)
        } else {
            self.last_due = Some(due);
            due
        };
        Fate::Passed { due, is_duplicated, is_reordered }
    }

    /// When the bottleneck has sent a packet that comes now; `None` if its queue is full.
    fn send(&mut self, now: Instant, bytes: usize) -> Option<Instant> {
        self.send_queued(now);
        let Some(Rate { bits_per_second, queue_bytes }) = self.settings.rate else { return Some(now) };
        if !self.queue.is_empty() && self.queue_bytes + bytes > queue_bytes {
            return None;
        }
        let sent_at = self.idle_at.map_or(now, |at| at.max(now)) + time_to_send(bytes, bits_per_second);
        self.idle_at = Some(sent_at);
        self.queue.push_back((sent_at, bytes));
        self.queue_bytes += bytes;
        Some(sent_at)
    }

    fn send_queued(&mut self, now: Instant) {
        while let Some(&(sent_at, bytes)) = self.queue.front()
            && sent_at <= now
        {
            self.queue.pop_front();
            self.queue_bytes -= bytes;
        }
    }

    fn count(&mut self, fate: Fate) {
        let counters = &mut self.counters;
        match fate {
            Fate::Passed { is_duplicated, is_reordered, .. } => {
                counters.under_way += 1 + usize::from(is_duplicated);
                counters.duplicated += u64::from(is_duplicated);
                counters.reordered += u64::from(is_reordered);
            }
            Fate::Dropped(Cause::Blocked) => counters.blocked += 1,
            Fate::Dropped(Cause::TooLarge) => counters.too_large += 1,
            Fate::Dropped(Cause::Lost) => counters.lost += 1,
            Fate::Dropped(Cause::Burst) => counters.lost_in_bursts += 1,
            Fate::Dropped(Cause::Queue) => counters.queue_dropped += 1,
            Fate::Dropped(Cause::Overflow) => counters.overflowed += 1,
        }
    }
}

/// How long a packet occupies the bottleneck, rounded up to a nanosecond, at most [`DELAY_MAX`].
fn time_to_send(bytes: usize, bits_per_second: u64) -> Duration {
    let nanos = (bytes as u64 * 8).saturating_mul(1_000_000_000).div_ceil(bits_per_second.max(1));
    Duration::from_nanos(nanos).min(DELAY_MAX)
}

/// The random part of one packet's fate, evenly from 0 to below 1. All are drawn for every packet.
struct Draws {
    loss: f64,
    burst: f64,
    duplicate: f64,
    reorder: f64,
    jitter: f64,
}

impl Draws {
    fn take(generator: &mut ChaCha8Rng) -> Draws {
        // 53 bits: what the mantissa holds.
        let mut draw = || (generator.next_u64() >> 11) as f64 / (1u64 << 53) as f64;
        Draws { loss: draw(), burst: draw(), duplicate: draw(), reorder: draw(), jitter: draw() }
    }
}

#[cfg(test)]
mod tests;
