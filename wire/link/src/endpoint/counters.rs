//! What an endpoint counts.

use wire::CloseCode;

use crate::event::{CloseReason, Event};

/// What an endpoint has seen since it was made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Incoming connections whose handshake was begun.
    pub accepted: u64,
    /// Newcomers who had to prove their address first.
    pub retried: u64,
    /// Newcomers turned away: full, draining, their address over its limits, or their first datagram was broken.
    pub refused: u64,
    /// Those of `refused` whose address was over its limits ([`NewcomerLimits`](crate::NewcomerLimits)).
    pub refused_by_address: u64,
    /// Handshakes completed, in both directions.
    pub connected: u64,
    /// Those of `connected` whose early data was accepted.
    pub early_accepted: u64,
    /// Those of `connected` whose early data was refused, as far as TLS tells: on clients only.
    pub early_refused: u64,
    /// Probes asked for.
    pub probes: u64,
    /// Times that a peer's address changed.
    pub moved: u64,
    /// Links that ended, whatever the reason; those that never completed a handshake included.
    pub closed: u64,
    /// Whole frames handed to the owner.
    pub frames_in: u64,
    /// Frames taken from the owner.
    pub frames_out: u64,
    /// Links closed for a frame over the cap.
    pub oversized: u64,
}

impl Counters {
    /// Counts an event on its way to the owner.
    pub(super) fn count(&mut self, event: &Event) {
        match event {
            Event::Connected { early, .. } => {
                self.connected += 1;
                self.early_accepted += u64::from(*early == Some(true));
                self.early_refused += u64::from(*early == Some(false));
            }
            Event::Frame { .. } => self.frames_in += 1,
            Event::Moved { .. } => self.moved += 1,
            Event::Closed { reason: CloseReason::Here(CloseCode::TooLarge) } => self.oversized += 1,
            _ => {}
        }
    }
}
