//! One handshake of the stand-in.
//!
//! A message is its kind, its body's length and its body: each side's hello, each side's finish, and the server's
//! ticket after that. A hello's body is a flag, a session's name or zeroes, and transport parameters. The client's flag
//! says that early data follows, the server's that it is taken.

use std::any::Any;
use std::io::Cursor;
use std::sync::Arc;

use quinn_proto::crypto::{ExportKeyingMaterialError, HeaderKey, KeyPair, Keys, PacketKey, Session};
use quinn_proto::transport_parameters::TransportParameters;
use quinn_proto::{ConnectionId, Side, TransportError, TransportErrorCode};

use super::TAG_BYTES;
use super::keys::{digest, early_keys, initial_keys, keys_from};
use super::memory::{Id, PlainSessions, Ticket, Tickets};

const HELLO: u8 = 1;
const FINISHED: u8 = 2;
const TICKET: u8 = 3;
const HEADER_BYTES: usize = 3;

/// The flag and the session's name in front of a hello's parameters.
const HELLO_BYTES: usize = 1 + TAG_BYTES;

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
    /// Nothing more but the server's ticket, once the client has finished.
    Done,
}

/// What the sides differ in.
enum Part {
    Client { server_name: String, tickets: Arc<Tickets>, ticket: Option<Ticket> },
    Server { sessions: Option<Arc<PlainSessions>>, owes_ticket: bool },
}

pub(super) struct PlainSession {
    part: Part,
    /// Hellos' bodies.
    own: Vec<u8>,
    peer: Option<Vec<u8>>,
    /// The secret of early data: on a client if it was offered, on a server if it was taken.
    early: Option<Id>,
    read: Vec<u8>,
    step: Step,
    peer_finished: bool,
    /// Of 1-RTT keys; they begin with 0.
    next_generation: u64,
}

impl PlainSession {
    pub(super) fn client(
        params: &TransportParameters,
        server_name: &str,
        tickets: Arc<Tickets>,
        offers_early: bool,
    ) -> PlainSession {
        let ticket = tickets.take(server_name);
        let id = ticket.as_ref().map_or([0; TAG_BYTES], |ticket| ticket.id);
        let is_early = offers_early && ticket.is_some();
        let own = hello(is_early, &id, params);
        let early = ticket.as_ref().filter(|_| is_early).map(|t| early_secret(&t.secret, &own));
        PlainSession::new(Part::Client { server_name: server_name.to_owned(), tickets, ticket }, own, early)
    }

    pub(super) fn server(params: &TransportParameters, sessions: Option<Arc<PlainSessions>>) -> PlainSession {
        let own = hello(false, &[0; TAG_BYTES], params);
        let owes_ticket = sessions.is_some();
        PlainSession::new(Part::Server { sessions, owes_ticket }, own, None)
    }

    fn new(part: Part, own: Vec<u8>, early: Option<Id>) -> PlainSession {
        PlainSession {
            part,
            own,
            peer: None,
            early,
            read: Vec::new(),
            step: Step::Hello,
            peer_finished: false,
            next_generation: 1,
        }
    }

    fn side(&self) -> Side {
        match self.part {
            Part::Client { .. } => Side::Client,
            Part::Server { .. } => Side::Server,
        }
    }

    fn receive(&mut self, kind: u8, body: Vec<u8>) -> Result<(), TransportError> {
        match (kind, self.peer.is_some()) {
            (HELLO, false) if body.len() >= HELLO_BYTES => {
                self.resume(&body);
                self.peer = Some(body);
                self.step = Step::HandshakeKeys;
            }
            (FINISHED, true) => self.peer_finished = true,
            (TICKET, true) => self.remember(&body)?,
            _ => return Err(unexpected()),
        }
        Ok(())
    }

    /// On a server: takes the session that the client names, and its early data if that is the policy.
    fn resume(&mut self, hello: &[u8]) {
        let Part::Server { sessions: Some(sessions), .. } = &self.part else { return };
        let Some((&flag, rest)) = hello.split_first() else { return };
        let Some(id) = rest.first_chunk() else { return };
        let Some((secret, takes_early)) = sessions.take(id) else { return };
        if flag == 1 && takes_early {
            self.early = Some(early_secret(&secret, hello));
            self.own[0] = 1;
        }
    }

    /// On a client: keeps the ticket that the server gave.
    fn remember(&mut self, id: &[u8]) -> Result<(), TransportError> {
        let secret = self.secret();
        let id = Id::try_from(id).map_err(|_| unexpected())?;
        let (Part::Client { server_name, tickets, .. }, Some(peer)) = (&self.part, &self.peer) else {
            return Err(unexpected());
        };
        let params = peer[HELLO_BYTES..].to_vec();
        tickets.put(server_name, Ticket { id, secret: resumption_secret(&secret), params });
        Ok(())
    }

    /// On a server whose client has finished: the ticket, once.
    fn write_ticket(&mut self, buf: &mut Vec<u8>) {
        let secret = self.secret();
        if let Part::Server { sessions: Some(sessions), owes_ticket } = &mut self.part
            && self.peer_finished
            && std::mem::take(owes_ticket)
        {
            let id = digest(&[b"ticket", &secret]);
            sessions.put(id, resumption_secret(&secret));
            buf.extend(message(TICKET, &id));
        }
    }

    /// The secret of this connection, the same on both sides.
    fn secret(&self) -> Id {
        let peer = self.peer.as_deref().unwrap_or_default();
        match self.side() {
            Side::Client => digest(&[b"secret", &self.own, peer]),
            Side::Server => digest(&[b"secret", peer, &self.own]),
        }
    }

    fn keys(&self, level: &[u8]) -> Keys {
        keys_from(&digest(&[level, &self.secret()]), self.side())
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
        self.early.as_ref().map(|secret| early_keys(secret))
    }

    fn early_data_accepted(&self) -> Option<bool> {
        let peer = self.peer.as_deref()?;
        (self.side() == Side::Client).then(|| self.early.is_some() && peer.first() == Some(&1))
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
            self.receive(kind, body)?;
        }
        Ok(false)
    }

    /// The peer's, or until it has said them, those that a client remembers.
    fn transport_parameters(&self) -> Result<Option<TransportParameters>, TransportError> {
        let remembered = match &self.part {
            Part::Client { ticket, .. } => ticket.as_ref().map(|ticket| &ticket.params[..]),
            Part::Server { .. } => None,
        };
        let Some(params) = self.peer.as_ref().map(|peer| &peer[HELLO_BYTES..]).or(remembered) else {
            return Ok(None);
        };
        Ok(Some(TransportParameters::read(self.side(), &mut Cursor::new(params))?))
    }

    fn write_handshake(&mut self, buf: &mut Vec<u8>) -> Option<Keys> {
        match (self.step, self.side()) {
            (Step::Hello, Side::Client) => {
                buf.extend(message(HELLO, &self.own));
                self.step = Step::Wait;
                None
            }
            (Step::HandshakeKeys, side) => {
                if side == Side::Server {
                    buf.extend(message(HELLO, &self.own));
                }
                self.step = Step::Finish;
                Some(self.keys(b"handshake"))
            }
            // The client answers the server's finish; the server's goes out with its hello.
            (Step::Finish, side) if side == Side::Server || self.peer_finished => {
                buf.extend(message(FINISHED, &[]));
                self.step = Step::Done;
                Some(self.keys(b"1-rtt 0"))
            }
            (Step::Done, Side::Server) => {
                self.write_ticket(buf);
                None
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

fn hello(flag: bool, id: &Id, params: &TransportParameters) -> Vec<u8> {
    let mut body = vec![u8::from(flag)];
    body.extend_from_slice(id);
    params.write(&mut body);
    body
}

fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut message = vec![kind];
    message.extend_from_slice(&(body.len() as u16).to_be_bytes());
    message.extend_from_slice(body);
    message
}

/// The client's hello is inside, so no two connections share it.
fn early_secret(resumption: &Id, client_hello: &[u8]) -> Id {
    digest(&[b"early", resumption, client_hello])
}

fn resumption_secret(secret: &Id) -> Id {
    digest(&[b"resumption", secret])
}

fn unexpected() -> TransportError {
    let reason = "unexpected handshake message".to_owned();
    TransportError { code: TransportErrorCode::PROTOCOL_VIOLATION, frame: None, reason }
}
