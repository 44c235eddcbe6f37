//! A server's side of TLS, which forgets the handshake when that is over.
//!
//! [`ServerTls`] and its sessions follow quinn-proto 0.11.19's own (`QuicServerConfig` and `TlsSession` in
//! `src/crypto/rustls.rs`; Apache-2.0 or MIT), and differ in one thing. quinn-proto's keeps rustls' connection for the
//! connection's whole life, because a client may still get tickets. A server has said the last that TLS has to say when it
//! has answered the client's Finished: what rustls then holds (buffers, record keys, its state) would only be carried along by
//! each sleeping phone. What is used later is kept: the secrets that key updates go on from ([`LaterKeys`]), and one exporter value.
//!
//! Invariant: once the handshake is complete and the ticket is written, nothing of rustls' connection is left, and every
//! byte that a client says to TLS from then on ends the connection (RFC 9001, sections 4.4 and 6).
//!
//! Left out, since no client has a certificate and nobody asks: the peer's identity and quinn-proto's handshake data.

use std::any::Any;
use std::io::Cursor;
use std::sync::Arc;

use quinn_proto::crypto::rustls::{NoInitialCipherSuite, QuicServerConfig};
use quinn_proto::crypto::{
    self, ExportKeyingMaterialError, HeaderKey, KeyPair, Keys, PacketKey, UnsupportedVersion,
};
use quinn_proto::transport_parameters::TransportParameters;
use quinn_proto::{ConnectionId, Side, TransportError, TransportErrorCode};
use rustls::AlertDescription;
use rustls::quic::{Connection, KeyChange, ServerConnection, Version};
use wire::proof::{EXPORTER_LABEL, Exporter};

use super::later_keys::LaterKeys;

/// What the sessions of a server have in common.
pub(super) struct ServerTls {
    rustls: Arc<rustls::ServerConfig>,
    /// Makes what needs no session: the keys of first packets, and the tags of Retry.
    quinn: QuicServerConfig,
}

impl ServerTls {
    /// From rustls' settings, which must allow TLS 1.3, and early data either not at all or without a limit.
    pub(super) fn new(rustls: rustls::ServerConfig) -> Result<ServerTls, NoInitialCipherSuite> {
        let rustls = Arc::new(rustls);
        Ok(ServerTls { quinn: QuicServerConfig::try_from(rustls.clone())?, rustls })
    }
}

impl crypto::ServerConfig for ServerTls {
    fn initial_keys(&self, version: u32, dst_cid: &ConnectionId) -> Result<Keys, UnsupportedVersion> {
        self.quinn.initial_keys(version, dst_cid)
    }

    fn retry_tag(&self, version: u32, orig_dst_cid: &ConnectionId, packet: &[u8]) -> [u8; 16] {
        self.quinn.retry_tag(version, orig_dst_cid, packet)
    }

    fn start_session(
        self: Arc<Self>,
        version: u32,
        params: &TransportParameters,
    ) -> Box<dyn crypto::Session> {
        let mut own = Vec::new();
        params.write(&mut own);
        let tls = ServerConnection::new(self.rustls.clone(), rustls_version(version), own)
            .expect("the settings are QUIC's: made in `tls::server` only");
        let handshake = Box::new(Handshake { tls: tls.into(), version, config: self });
        Box::new(ServerSession { stage: Stage::Handshake(handshake), later: None })
    }
}

/// QUIC's number of a version, as rustls calls it. quinn-proto starts no session of another.
fn rustls_version(version: u32) -> Version {
    match version {
        0xff00_001d..=0xff00_0020 => Version::V1Draft,
        _ => Version::V1,
    }
}

/// One connection's TLS.
struct ServerSession {
    stage: Stage,
    /// The keys after those in use.
    later: Option<LaterKeys>,
}

enum Stage {
    Handshake(Box<Handshake>),
    /// TLS has said and heard all it will. Without the value if rustls could not derive it.
    Over(Option<Exporter>),
}

/// What a session has until the handshake is over. It alone refers to the [`ServerTls`], so a count of references is one
/// of these.
struct Handshake {
    /// Always a server's; only this type of rustls' has the exporter.
    tls: Connection,
    version: u32,
    config: Arc<ServerTls>,
}

impl Handshake {
    fn read(&mut self, buf: &[u8]) -> Result<(), TransportError> {
        self.tls.read_hs(buf).map_err(|error| {
            let code = match self.tls.alert() {
                Some(alert) => TransportErrorCode::crypto(alert.into()),
                None => TransportErrorCode::PROTOCOL_VIOLATION,
            };
            TransportError { code, frame: None, reason: format!("TLS error: {error}") }
        })
    }

    fn exporter(&self) -> Option<Exporter> {
        self.tls.export_keying_material([0; 32], EXPORTER_LABEL, Some(&[])).ok()
    }
}

impl ServerSession {
    fn handshake(&self) -> Option<&Handshake> {
        match &self.stage {
            Stage::Handshake(handshake) => Some(handshake),
            Stage::Over(_) => None,
        }
    }
}

impl crypto::Session for ServerSession {
    fn initial_keys(&self, dst_cid: &ConnectionId, _: Side) -> Keys {
        let handshake =
            self.handshake().expect("a connection asks as it begins; another Retry is for clients");
        match crypto::ServerConfig::initial_keys(&*handshake.config, handshake.version, dst_cid) {
            Ok(keys) => keys,
            Err(UnsupportedVersion) => unreachable!("no session is started of such a version"),
        }
    }

    fn handshake_data(&self) -> Option<Box<dyn Any>> {
        None
    }

    fn peer_identity(&self) -> Option<Box<dyn Any>> {
        None
    }

    fn early_crypto(&self) -> Option<(Box<dyn HeaderKey>, Box<dyn PacketKey>)> {
        let keys = self.handshake()?.tls.zero_rtt_keys()?;
        Some((Box::new(keys.header), Box::new(keys.packet)))
    }

    fn early_data_accepted(&self) -> Option<bool> {
        None
    }

    fn is_handshaking(&self) -> bool {
        self.handshake().is_some_and(|handshake| handshake.tls.is_handshaking())
    }

    fn read_handshake(&mut self, buf: &[u8]) -> Result<bool, TransportError> {
        match &mut self.stage {
            Stage::Handshake(handshake) => handshake.read(buf)?,
            Stage::Over(_) if buf.is_empty() => {}
            Stage::Over(_) => return Err(after_the_end()),
        }
        // No handshake data is ever there.
        Ok(false)
    }

    fn transport_parameters(&self) -> Result<Option<TransportParameters>, TransportError> {
        let Some(params) = self.handshake().and_then(|handshake| handshake.tls.quic_transport_parameters())
        else {
            return Ok(None);
        };
        Ok(Some(TransportParameters::read(Side::Server, &mut Cursor::new(params))?))
    }

    /// quinn-proto asks until there is nothing more, and so at least once after the client's Finished.
    fn write_handshake(&mut self, buf: &mut Vec<u8>) -> Option<Keys> {
        let Stage::Handshake(handshake) = &mut self.stage else { return None };
        let written = buf.len();
        let Some(change) = handshake.tls.write_hs(buf) else {
            if buf.len() == written && !handshake.tls.is_handshaking() {
                self.stage = Stage::Over(handshake.exporter());
            }
            return None;
        };
        let keys = match change {
            KeyChange::Handshake { keys } => keys,
            KeyChange::OneRtt { keys, next } => {
                self.later = Some(LaterKeys::new(next));
                keys
            }
        };
        Some(Keys {
            header: KeyPair { local: Box::new(keys.local.header), remote: Box::new(keys.remote.header) },
            packet: KeyPair { local: Box::new(keys.local.packet), remote: Box::new(keys.remote.packet) },
        })
    }

    fn next_1rtt_keys(&mut self) -> Option<KeyPair<Box<dyn PacketKey>>> {
        Some(self.later.as_mut()?.next())
    }

    /// Retry is a server's to send: none is valid here.
    fn is_valid_retry(&self, _: &ConnectionId, _: &[u8], _: &[u8]) -> bool {
        false
    }

    /// Of a handshake that is over there is one value: 32 bytes under the label of devices' proofs, without context.
    fn export_keying_material(
        &self,
        output: &mut [u8],
        label: &[u8],
        context: &[u8],
    ) -> Result<(), ExportKeyingMaterialError> {
        match &self.stage {
            Stage::Handshake(handshake) => {
                let exported = handshake.tls.export_keying_material(output, label, Some(context));
                exported.map(|_| ()).map_err(|_| ExportKeyingMaterialError)
            }
            Stage::Over(Some(exporter))
                if label == EXPORTER_LABEL && context.is_empty() && output.len() == exporter.len() =>
            {
                output.copy_from_slice(exporter);
                Ok(())
            }
            Stage::Over(_) => Err(ExportKeyingMaterialError),
        }
    }
}

/// A client has nothing to say to TLS after its Finished: it has no certificate to show, and QUIC has its own key updates.
fn after_the_end() -> TransportError {
    TransportError {
        code: TransportErrorCode::crypto(AlertDescription::UnexpectedMessage.into()),
        frame: None,
        reason: "TLS error: a message after the handshake".to_owned(),
    }
}

#[cfg(test)]
mod tests;
