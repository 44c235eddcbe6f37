//! A link before its handshake is complete, and whether a silent one lives.

use std::collections::{BTreeSet, VecDeque};

use quinn_proto::{FrameStats, Side};

use super::{Link, Stage};
use crate::event::Event;

impl Link {
    /// The owner may speak, or will hear, before the handshake is complete. On a server a stream can have been opened
    /// only by 0-RTT data: QUIC reads nothing of 1-RTT before then.
    pub(super) fn begin_early(&mut self) {
        self.stage = Stage::Early;
        self.events.push_back(Event::Early { remote: self.remote });
    }

    /// What became of early data, now that the handshake is complete. A server's connection has early keys only if TLS
    /// has accepted.
    pub(super) fn early_outcome(&self) -> Option<bool> {
        if !self.connection.has_0rtt() {
            return None;
        }
        Some(self.connection.side() == Side::Server || self.connection.accepted_0rtt())
    }

    /// quinn-proto has forgotten every stream that we opened before the server refused early data, and the peer has never
    /// heard of them: neither do we know them any more. The peer can have opened none yet. An owner who has not been told
    /// of early data by now is not told: what it opens from here on stays.
    pub(super) fn undo_early(&mut self) {
        self.streams = Vec::new();
        self.readable = VecDeque::new();
        self.readable_uni = BTreeSet::new();
        self.events.retain(|event| *event == Event::Alive);
        self.queued_bytes = 0;
        self.own_bidi = 0;
    }

    /// An owner who met the remembered limit of streams may try again under the present one: quinn-proto does not say
    /// whether that is higher.
    pub(super) fn retry_exhausted(&mut self) {
        if std::mem::take(&mut self.wants_streams).contains(&true) {
            self.events.push_back(Event::StreamsAvailable);
        }
    }

    /// Asks for a sign of life.
    pub(crate) fn probe(&mut self) {
        self.connection.ping();
        self.probed_at = Some(frames(&self.connection.stats().frame_rx));
    }

    /// For tests: changes the keys that packets are sealed with (RFC 9001, section 6).
    #[cfg(any(test, feature = "testing"))]
    pub(crate) fn update_keys(&mut self) {
        self.connection.force_key_update();
    }

    /// quinn-proto counts a frame only in a packet that opened under the connection's keys and is no repetition, so what
    /// somebody else sends is no life.
    pub(super) fn notice_life(&mut self) {
        if let Some(before) = self.probed_at
            && frames(&self.connection.stats().frame_rx) != before
        {
            self.probed_at = None;
            if !self.is_closed() {
                self.events.push_back(Event::Alive);
            }
        }
    }
}

/// All frames but padding.
fn frames(stats: &FrameStats) -> u64 {
    [
        stats.acks,
        stats.ack_frequency,
        stats.crypto,
        stats.connection_close,
        stats.data_blocked,
        stats.datagram,
        stats.handshake_done.into(),
        stats.immediate_ack,
        stats.max_data,
        stats.max_stream_data,
        stats.max_streams_bidi,
        stats.max_streams_uni,
        stats.new_connection_id,
        stats.new_token,
        stats.path_challenge,
        stats.path_response,
        stats.ping,
        stats.reset_stream,
        stats.retire_connection_id,
        stats.stream_data_blocked,
        stats.streams_blocked_bidi,
        stats.streams_blocked_uni,
        stats.stop_sending,
        stats.stream,
    ]
    .iter()
    .sum()
}
