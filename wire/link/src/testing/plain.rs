//! A stand-in for TLS: the handshake's shape without its cryptography, so that a simulation can run thousands of
//! connections and repeat every byte.
//!
//! It keeps QUIC's three levels of keys and its flights. Each packet carries a checksum of its key, its number and its
//! bytes where TLS has a seal, so that a packet under other keys or a damaged one is dropped as under TLS. Nothing is
//! hidden and nobody is authenticated. The exporter is a checksum of both sides' transport parameters, which hold
//! random connection ids: as under TLS it is equal on both sides and different on every connection.

use std::any::Any;
use std::io::Cursor;
use std::sync::Arc;

use bytes::BytesMut;
use quinn_proto::crypto::{
    ClientConfig, CryptoError, ExportKeyingMaterialError, HeaderKey, KeyPair, Keys, PacketKey, ServerConfig,
    Session, UnsupportedVersion,
};
use quinn_proto::transport_parameters::TransportParameters;
use quinn_proto::{ConnectError, ConnectionId, Side, TransportError, TransportErrorCode};

/// TLS' seal is as long.
const TAG_BYTES: usize = 16;

/// A server's stand-in for TLS.
pub fn plain_server() -> Arc<dyn ServerConfig> {
    Arc::new(Plain)
}

/// A client's stand-in for TLS. It trusts any server.
pub fn plain_client() -> Arc<dyn ClientConfig> {
    Arc::new(Plain)
}

struct Plain;

impl ServerConfig for Plain {
    fn initial_keys(&self, _: u32, dst_cid: &ConnectionId) -> Result<Keys, UnsupportedVersion> {
        Ok(initial_keys(dst_cid, Side::Server))
    }

    fn retry_tag(&self, _: u32, orig_dst_cid: &ConnectionId, packet: &[u8]) -> [u8; TAG_BYTES] {
        digest(&[b"retry", &orig_dst_cid[..], packet])
    }

    fn start_session(self: Arc<Self>, _: u32, params: &TransportParameters) -> Box<dyn Session> {
        Box::new(PlainSession::new(Side::Server, params))
    }
}

impl ClientConfig for Plain {
    fn start_session(
        self: Arc<Self>,
        _: u32,
        _: &str,
        params: &TransportParameters,
    ) -> Result<Box<dyn Session>, ConnectError> {
        Ok(Box::new(PlainSession::new(Side::Client, params)))
    }
}

/// What a side has to write next. Client: hello, then finished. Server: hello (Initial), the rest (Handshake).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// The client's hello; the server waits for it.
    Hello,
    /// The client waits for the server's.
    Wait,
    /// Handshake keys are next.
    HandshakeKeys,
    /// The finish, and then 1-RTT keys.
    Finish,
    /// Nothing more; the server still waits for the client's finish.
    Done,
}

struct PlainSession {
    side: Side,
    own: Vec<u8>,
    peer: Option<Vec<u8>>,
    read: Vec<u8>,
    step: Step,
    peer_finished: bool,
    /// Of 1-RTT keys; they begin with 0.
    next_generation: u64,
}

/// A handshake message: `kind`, its body's length, its body.
const HELLO: u8 = 1;
const FINISHED: u8 = 2;
const HEADER_BYTES: usize = 3;

impl PlainSession {
    fn new(side: Side, params: &TransportParameters) -> PlainSession {
        let mut own = Vec::new();
        params.write(&mut own);
        let step = Step::Hello;
        PlainSession {
            side,
            own,
            peer: None,
            read: Vec::new(),
            step,
            peer_finished: false,
            next_generation: 1,
        }
    }

    fn message(kind: u8, body: &[u8]) -> Vec<u8> {
        let mut message = vec![kind];
        message.extend_from_slice(&(body.len() as u16).to_be_bytes());
        message.extend_from_slice(body);
        message
    }

    /// The secret of this connection, the same on both sides.
    fn secret(&self) -> [u8; TAG_BYTES] {
        let peer = self.peer.as_deref().unwrap_or_default();
        match self.side {
            Side::Client => digest(&[b"secret", &self.own, peer]),
            Side::Server => digest(&[b"secret", peer, &self.own]),
        }
    }

    fn keys(&self, level: &[u8]) -> Keys {
        keys_from(&digest(&[level, &self.secret()]), self.side)
    }
}

impl Session for PlainSession {
    fn initial_keys(&self, dst_cid: &ConnectionId, side: Side) -> Keys {
        initial_keys(dst_cid, side)
    }

    fn handshake_data(&self) -> Option<Box<dyn Any>> {
        None
    }

    fn peer_identity(&self) -> Option<Box<dyn Any>> {
        None
    }

    fn early_crypto(&self) -> Option<(Box<dyn HeaderKey>, Box<dyn PacketKey>)> {
        None
    }

    fn early_data_accepted(&self) -> Option<bool> {
        Some(false)
    }

    fn is_handshaking(&self) -> bool {
        self.step != Step::Done || !self.peer_finished
    }

    fn read_handshake(&mut self, buf: &[u8]) -> Result<bool, TransportError> {
        self.read.extend_from_slice(buf);
        while self.read.len() >= HEADER_BYTES {
            let body_bytes = usize::from(u16::from_be_bytes([self.read[1], self.read[2]]));
            if self.read.len() < HEADER_BYTES + body_bytes {
                break;
            }
            let kind = self.read[0];
            let body = self.read[HEADER_BYTES..HEADER_BYTES + body_bytes].to_vec();
            self.read.drain(..HEADER_BYTES + body_bytes);
            match (kind, &self.peer) {
                (HELLO, None) => {
                    self.peer = Some(body);
                    self.step = Step::HandshakeKeys;
                }
                (FINISHED, Some(_)) => self.peer_finished = true,
                _ => return Err(unexpected()),
            }
        }
        Ok(false)
    }

    fn transport_parameters(&self) -> Result<Option<TransportParameters>, TransportError> {
        let Some(peer) = &self.peer else { return Ok(None) };
        Ok(Some(TransportParameters::read(self.side, &mut Cursor::new(peer))?))
    }

    fn write_handshake(&mut self, buf: &mut Vec<u8>) -> Option<Keys> {
        match (self.step, self.side) {
            (Step::Hello, Side::Client) => {
                buf.extend(PlainSession::message(HELLO, &self.own));
                self.step = Step::Wait;
                None
            }
            (Step::HandshakeKeys, side) => {
                if side == Side::Server {
                    buf.extend(PlainSession::message(HELLO, &self.own));
                }
                self.step = Step::Finish;
                Some(self.keys(b"handshake"))
            }
            // The client answers the server's finish; the server's goes out with its hello.
            (Step::Finish, side) if side == Side::Server || self.peer_finished => {
                buf.extend(PlainSession::message(FINISHED, &[]));
                self.step = Step::Done;
                Some(self.keys(b"1-rtt 0"))
            }
            _ => None,
        }
    }

    fn next_1rtt_keys(&mut self) -> Option<KeyPair<Box<dyn PacketKey>>> {
        let keys = self.keys(format!("1-rtt {}", self.next_generation).as_bytes());
        self.next_generation += 1;
        Some(keys.packet)
    }

    fn is_valid_retry(&self, orig_dst_cid: &ConnectionId, header: &[u8], payload: &[u8]) -> bool {
        let Some(at) = payload.len().checked_sub(TAG_BYTES) else { return false };
        let (body, tag) = payload.split_at(at);
        digest(&[b"retry", &orig_dst_cid[..], &[header, body].concat()])[..] == *tag
    }

    fn export_keying_material(
        &self,
        output: &mut [u8],
        label: &[u8],
        context: &[u8],
    ) -> Result<(), ExportKeyingMaterialError> {
        for (i, part) in output.chunks_mut(TAG_BYTES).enumerate() {
            let value = digest(&[b"export", &self.secret(), label, context, &[i as u8]]);
            part.copy_from_slice(&value[..part.len()]);
        }
        Ok(())
    }
}

fn unexpected() -> TransportError {
    let reason = "unexpected handshake message".to_owned();
    TransportError { code: TransportErrorCode::PROTOCOL_VIOLATION, frame: None, reason }
}

fn initial_keys(dst_cid: &ConnectionId, side: Side) -> Keys {
    keys_from(&digest(&[b"initial", &dst_cid[..]]), side)
}

fn keys_from(secret: &[u8], side: Side) -> Keys {
    let client = u64::from_le_bytes(digest(&[secret, b"client"])[..8].try_into().expect("eight bytes"));
    let server = u64::from_le_bytes(digest(&[secret, b"server"])[..8].try_into().expect("eight bytes"));
    let (local, remote) = if side == Side::Client { (client, server) } else { (server, client) };
    Keys {
        header: KeyPair { local: Box::new(NoHeader), remote: Box::new(NoHeader) },
        packet: KeyPair { local: Box::new(Sum(local)), remote: Box::new(Sum(remote)) },
    }
}

/// Headers are left as they are.
struct NoHeader;

impl HeaderKey for NoHeader {
    fn decrypt(&self, _: usize, _: &mut [u8]) {}

    fn encrypt(&self, _: usize, _: &mut [u8]) {}

    fn sample_size(&self) -> usize {
        TAG_BYTES
    }
}

/// Packets get a checksum under this key.
struct Sum(u64);

impl Sum {
    fn tag(&self, packet: u64, header: &[u8], payload: &[u8]) -> [u8; TAG_BYTES] {
        digest(&[&self.0.to_le_bytes(), &packet.to_le_bytes(), header, payload])
    }
}

impl PacketKey for Sum {
    fn encrypt(&self, packet: u64, buf: &mut [u8], header_len: usize) {
        let (header, rest) = buf.split_at_mut(header_len);
        let (payload, tag) = rest.split_at_mut(rest.len() - TAG_BYTES);
        tag.copy_from_slice(&self.tag(packet, header, payload));
    }

    fn decrypt(&self, packet: u64, header: &[u8], payload: &mut BytesMut) -> Result<(), CryptoError> {
        let at = payload.len().checked_sub(TAG_BYTES).ok_or(CryptoError)?;
        let tag = payload.split_off(at);
        if self.tag(packet, header, payload)[..] == tag[..] { Ok(()) } else { Err(CryptoError) }
    }

    fn tag_len(&self) -> usize {
        TAG_BYTES
    }

    fn confidentiality_limit(&self) -> u64 {
        u64::MAX
    }

    fn integrity_limit(&self) -> u64 {
        u64::MAX
    }
}

/// FNV-1a over eight bytes at a time, twice: fast, and enough against accidents.
fn digest(parts: &[&[u8]]) -> [u8; TAG_BYTES] {
    const PRIME: u64 = 0x0000_0100_0000_01b3;
    let mut hash = 0xcbf2_9ce4_8422_2325u64;
    for part in parts {
        hash = (hash ^ part.len() as u64).wrapping_mul(PRIME);
        for word in part.chunks(8) {
            let mut bytes = [0; 8];
            bytes[..word.len()].copy_from_slice(word);
            hash = (hash ^ u64::from_le_bytes(bytes)).wrapping_mul(PRIME).rotate_left(23);
        }
    }
    let second = (hash ^ hash >> 31).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut out = [0; TAG_BYTES];
    out[..8].copy_from_slice(&hash.to_le_bytes());
    out[8..].copy_from_slice(&(second ^ second >> 29).to_le_bytes());
    out
}
