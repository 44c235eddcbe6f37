//! The keys of a server's later key phases (RFC 9001, section 6).
//!
//! quinn-proto wants the next phase's keys from the beginning, since the peer may change to them at any time. That holds for the
//! key that opens packets: it must be there before, so that no time that is measured tells of a change (RFC 9001, section 9.5).
//! The one that seals is used only once the phase has begun, which few connections live to see, and an AES context is 0.6 kB:
//! so it is made then.
//!
//! Invariant: each phase's keys are those that rustls' `Secrets` would have given in the same order.

use std::sync::{Arc, OnceLock};

use bytes::BytesMut;
use quinn_proto::crypto::{self, CryptoError, KeyPair};
use rustls::quic::{PacketKey, Secrets};

/// Gives each phase's keys, in order.
pub(super) enum LaterKeys {
    /// Of the first phase to give out.
    Fresh(Box<Secrets>),
    /// The phase that was given out last.
    Given(Arc<Phase>),
}

impl LaterKeys {
    pub(super) fn new(secrets: Secrets) -> LaterKeys {
        LaterKeys::Fresh(Box::new(secrets))
    }

    /// Asked for when the phase before begins: that one's key to seal with is then made.
    pub(super) fn next(&mut self) -> KeyPair<Box<dyn crypto::PacketKey>> {
        let secrets = match self {
            LaterKeys::Fresh(secrets) => (**secrets).clone(),
            LaterKeys::Given(begun) => begun.begin(),
        };
        let keys = secrets.clone().next_packet_keys();
        let phase = Arc::new(Phase::new(secrets, &*keys.local));
        *self = LaterKeys::Given(phase.clone());
        KeyPair { local: Box::new(Sealing(phase)), remote: Box::new(keys.remote) }
    }
}

/// One key phase.
pub(super) struct Phase {
    secrets: Secrets,
    /// Seals, once it is needed.
    local: OnceLock<Box<dyn crypto::PacketKey>>,
    tag_bytes: usize,
    confidentiality_limit: u64,
    integrity_limit: u64,
}

impl Phase {
    /// `local` is only asked for its limits.
    fn new(secrets: Secrets, local: &dyn PacketKey) -> Phase {
        Phase {
            secrets,
            local: OnceLock::new(),
            tag_bytes: local.tag_len(),
            confidentiality_limit: local.confidentiality_limit(),
            integrity_limit: local.integrity_limit(),
        }
    }

    /// Makes the key, and the secrets of the phase after this.
    fn begin(&self) -> Secrets {
        let mut secrets = self.secrets.clone();
        let keys = secrets.next_packet_keys();
        self.local.get_or_init(|| Box::new(keys.local));
        secrets
    }

    fn local(&self) -> &dyn crypto::PacketKey {
        &**self.local.get_or_init(|| Box::new(self.secrets.clone().next_packet_keys().local))
    }
}

/// A phase's key that seals.
struct Sealing(Arc<Phase>);

impl crypto::PacketKey for Sealing {
    fn encrypt(&self, packet: u64, buf: &mut [u8], header_len: usize) {
        self.0.local().encrypt(packet, buf, header_len);
    }

    fn decrypt(&self, packet: u64, header: &[u8], payload: &mut BytesMut) -> Result<(), CryptoError> {
        self.0.local().decrypt(packet, header, payload)
    }

    fn tag_len(&self) -> usize {
        self.0.tag_bytes
    }

    fn confidentiality_limit(&self) -> u64 {
        self.0.confidentiality_limit
    }

    fn integrity_limit(&self) -> u64 {
        self.0.integrity_limit
    }
}
