//! One real connection: a QUIC handshake, an anonymous `Hello`, a few pings.
//!
//! The certificate is kept and judged afterwards ([`super::certificate`]), whatever it is: a client that is told "the
//! certificate is expired" wants to know whether its own clock is wrong, and only a server that it goes on talking to can
//! tell. Nothing is said on the connection that is not for everybody.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{DigitallySignedStruct, RootCertStore, SignatureScheme};
use wire::event::Event as WireEvent;
use wire::request::{Hello, Request};
use wire::{CloseCode, Refusal, Role, WallTime};
use wire_link::{ClientConfig, CloseReason, Config, Endpoint, Event, LinkId, Secrets, StreamId};
use wire_udp::Driver;

use crate::session::random;

/// Pings for the round trip; the shortest counts.
const PINGS: usize = 3;

/// What a TLS stack says of a peer that shares no protocol with it (RFC 7301, section 3.2).
const NO_APPLICATION_PROTOCOL: u8 = 120;

/// What a connection showed.
#[derive(Debug)]
pub(super) struct Met {
    /// Why there was none; `None` if the handshake was completed.
    pub(super) ended: Option<Ended>,
    /// From the first datagram to the end of the handshake.
    pub(super) took: Duration,
    /// The server's certificate, if it came so far.
    pub(super) leaf: Option<Leaf>,
    /// What the server said, if the handshake was completed.
    pub(super) answer: Option<Answer>,
    /// Our clock at the time.
    pub(super) wall: SystemTime,
}

/// Why there was no connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Ended {
    /// No protocol in common.
    OtherProtocol,
    /// Nothing came.
    Silence,
    /// It takes no newcomers.
    Refused,
    /// For people.
    Other(String),
}

/// A certificate and the verdict of the verifier that a real client has.
#[derive(Debug, Clone)]
pub(super) struct Leaf {
    pub(super) der: Vec<u8>,
    /// `None` if there was no CA to judge it by.
    pub(super) verdict: Option<Result<(), rustls::Error>>,
}

/// What the server said to an anonymous `Hello`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Answer {
    /// It welcomes us.
    Connected {
        version: u16,
        /// The server's clock minus ours.
        ahead_ms: i64,
        round_trip: Duration,
    },
    Refused(Refusal),
    /// Something that we cannot read.
    Unclear,
    Silence,
}

/// Connects, asks, and leaves.
///
/// # Errors
/// This machine has no socket or no randomness for it.
pub(super) fn handshake(
    address: SocketAddr,
    name: &str,
    roots: Option<RootCertStore>,
    patience: Duration,
) -> Result<Met, Box<dyn std::error::Error + Send + Sync>> {
    let witness = Arc::new(Witness::new(roots)?);
    let mut driver = bind(address, witness.clone(), patience)?;
    let begun = Instant::now();
    let link = driver.endpoint().connect(begun, address, name)?;
    let mut visit = Visit { driver, link, closed: None };
    let ended = visit.connect(begun + patience)?;
    let took = begun.elapsed();
    let answer = match ended {
        None => Some(visit.ask(patience)?),
        Some(_) => None,
    };
    visit.leave();
    Ok(Met { ended, took, leaf: witness.leaf(), answer, wall: SystemTime::now() })
}

fn bind(
    address: SocketAddr,
    witness: Arc<Witness>,
    patience: Duration,
) -> Result<Driver, Box<dyn std::error::Error + Send + Sync>> {
    let secrets = Secrets { seed: random()?, reset_key: random()?, token_key: random()?, cid_key: random()? };
    let config = Config { handshake_timeout: patience, ..Config::client(secrets) };
    let client = ClientConfig::new(wire_link::tls::client_with(witness)?);
    let local: SocketAddr = match address {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    Ok(Driver::bind(local, Endpoint::client(config, client, Instant::now()))?)
}

/// A connection that is being looked at.
struct Visit {
    driver: Driver,
    link: LinkId,
    closed: Option<CloseReason>,
}

impl Visit {
    /// Waits for the handshake; says why there was none.
    fn connect(&mut self, deadline: Instant) -> std::io::Result<Option<Ended>> {
        loop {
            if let Some(event) = self.next(deadline)? {
                if matches!(event, Event::Connected { .. }) {
                    return Ok(None);
                }
            } else if let Some(reason) = &self.closed {
                return Ok(Some(ended(reason)));
            } else if Instant::now() >= deadline {
                return Ok(Some(Ended::Silence));
            }
        }
    }

    /// Says `Hello` without a name, then pings.
    fn ask(&mut self, patience: Duration) -> std::io::Result<Answer> {
        let deadline = Instant::now() + patience;
        let Ok(stream) = self.driver.endpoint().open(self.link, Role::Session) else {
            return Ok(Answer::Silence);
        };
        let hello = Hello {
            version: wire::VERSION,
            credentials: None,
            receipts_since: WallTime(0),
            cursors: Vec::new(),
            client: concat!("godwit doctor ", env!("CARGO_PKG_VERSION")).to_owned(),
        };
        let (said, took, heard) = match self.exchange(stream, Request::Hello(hello).encode(), deadline)? {
            Ok((WireEvent::Connected(connected), took, heard)) => (connected, took, heard),
            Ok((WireEvent::Refused(refusal) | WireEvent::Goodbye(refusal), ..)) => {
                return Ok(Answer::Refused(refusal));
            }
            Ok(_) => return Ok(Answer::Unclear),
            Err(silence) => return Ok(silence),
        };
        // The server read its clock about half way.
        let ours = heard.checked_sub(took / 2).unwrap_or(heard);
        let ours_ms = ours.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
        let theirs_ms = i128::from(said.server_time.as_millis());
        let ahead = theirs_ms - i128::try_from(ours_ms).unwrap_or(i128::MAX);
        let ahead_ms = ahead.clamp(i64::MIN.into(), i64::MAX.into()) as i64;
        let mut round_trip = took;
        for n in 0..PINGS {
            let ping = Request::Ping { client_time: WallTime(n as u64) };
            match self.exchange(stream, ping.encode(), deadline)? {
                Ok((WireEvent::Pong { .. }, took, _)) => round_trip = round_trip.min(took),
                _ => break,
            }
        }
        Ok(Answer::Connected { version: said.version, ahead_ms, round_trip })
    }

    /// Sends one frame and waits for one: what it says, after how long, and when by our clock.
    fn exchange(
        &mut self,
        stream: StreamId,
        frame: Bytes,
        deadline: Instant,
    ) -> std::io::Result<Result<(WireEvent, Duration, SystemTime), Answer>> {
        let begun = Instant::now();
        if self.driver.endpoint().send(self.link, stream, frame).is_err() {
            return Ok(Err(Answer::Silence));
        }
        loop {
            match self.next(deadline)? {
                Some(Event::Frame { stream: on, body }) if on == stream => {
                    return Ok(match WireEvent::decode(&body) {
                        Ok(event) => Ok((event, begun.elapsed(), SystemTime::now())),
                        Err(_) => Err(Answer::Unclear),
                    });
                }
                Some(_) => {}
                None if self.closed.is_some() || Instant::now() >= deadline => {
                    return Ok(Err(Answer::Silence));
                }
                None => {}
            }
        }
    }

    /// The next event, waiting until `deadline` at most. `None`: the wait ended, or the link is closed.
    fn next(&mut self, deadline: Instant) -> std::io::Result<Option<Event>> {
        for wait in [false, true] {
            if wait && self.closed.is_none() {
                self.driver.flush()?;
                self.driver.wait(Some(deadline))?;
            }
            while let Some((link, event)) = self.driver.endpoint().poll_event() {
                match event {
                    _ if link != self.link => {}
                    Event::Closed { reason } => self.closed = Some(reason),
                    event => return Ok(Some(event)),
                }
            }
        }
        Ok(None)
    }

    fn leave(mut self) {
        self.driver.endpoint().close_all(CloseCode::Done, "");
        // A goodbye is nice to have.
        let _ = self.driver.linger(Duration::from_millis(100));
    }
}

fn ended(reason: &CloseReason) -> Ended {
    match reason {
        CloseReason::TimedOut => Ended::Silence,
        _ if reason.tls_alert() == Some(NO_APPLICATION_PROTOCOL) => Ended::OtherProtocol,
        // RFC 9000, section 20.1: CONNECTION_REFUSED.
        CloseReason::Transport { code: 0x2, .. } => Ended::Refused,
        other => Ended::Other(other.to_string()),
    }
}

/// Notes the certificate and what a real client's verifier says of it, and lets the handshake go on. The signature of
/// the handshake is checked: whoever answers has the certificate's key.
#[derive(Debug)]
struct Witness {
    provider: Arc<CryptoProvider>,
    inner: Option<Arc<WebPkiServerVerifier>>,
    seen: Mutex<Option<Leaf>>,
}

impl Witness {
    fn new(roots: Option<RootCertStore>) -> Result<Witness, rustls::client::VerifierBuilderError> {
        let provider = wire_link::tls::provider();
        let build =
            |roots| WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone()).build();
        let inner = roots.map(build).transpose()?;
        Ok(Witness { provider, inner, seen: Mutex::new(None) })
    }

    fn leaf(&self) -> Option<Leaf> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl ServerCertVerifier for Witness {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let verdict = self.inner.as_ref().map(|inner| {
            inner.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now).map(|_| ())
        });
        let leaf = Leaf { der: end_entity.to_vec(), verdict };
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = Some(leaf);
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::PeerIncompatible::Tls12NotOfferedOrEnabled.into())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, cert, dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
