//! The numbers of an endpoint, and their translation into quinn-proto's.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use quinn_proto::{EndpointConfig, IdleTimeout, NoneTokenLog, NoneTokenStore, TransportConfig, VarInt};
use quinn_proto::{ValidationTokenConfig, crypto};

use crate::cid::{CidConfig, NumberedCids};
use crate::id::LinkId;
use crate::newcomers::NewcomerLimits;
use crate::seeded::{self, LogicalClock};

/// What every endpoint has, client or server. Windows are caps, not allocations.
#[derive(Debug, Clone)]
pub struct Config {
    /// Seed and keys. Two endpoints with equal ones behave equally, so only simulations repeat them.
    pub secrets: Secrets,
    /// What is inside our connection ids: the number of the loop that the endpoint belongs to. 0 by default, under
    /// [`Secrets::cid_key`].
    pub cids: CidConfig,
    /// Where the time inside Retry tokens is counted from: the same on all loops of a node, so that a token that one
    /// of them made is valid on the others, where the kernel may bring the answer. `None`: from the endpoint's making.
    pub epoch: Option<Instant>,
    /// Links at a time, those in handshake included.
    pub links_max: usize,
    /// A link on which nothing is heard for this long is closed.
    pub idle_timeout: Duration,
    /// A handshake that takes longer is given up.
    pub handshake_timeout: Duration,
    /// A ping is sent when nothing was for this long. `None`, the default: a phone in the background must not wake its
    /// radio (G24), and a ping costs a server 14 to 20 µs.
    pub keep_alive: Option<Duration>,
    /// Bidirectional streams that the peer may have open.
    pub peer_bidi: StreamLimits,
    /// Unidirectional streams that the peer may have open.
    pub peer_uni: StreamLimits,
    /// Bytes that the peer may send on one stream before the owner has read them.
    ///
    /// The connection's window follows from it: it grows with the number of streams, so that no number of unread
    /// streams can use it up and delay another.
    pub stream_window_bytes: u32,
    /// Bytes of ours that QUIC holds unacknowledged, per link: the bound of what a peer that acknowledges nothing costs.
    pub send_window_bytes: u64,
    /// Bytes that wait in one stream's queue in front of that window: the largest request, a commit with its tree and welcomes
    /// ([`COMMIT_BYTES_MAX`](wire::limits::COMMIT_BYTES_MAX)), and the largest answer, a page with a commit in it, go in at
    /// once. Past it, [`SendError::Full`](crate::SendError::Full).
    pub stream_queue_bytes_max: usize,
    /// The same, for all streams of a link together.
    pub link_queue_bytes_max: usize,
    /// Whether datagrams over 1,200 bytes are tried: worth it for bulk, not for messages, where the probes cost more
    /// than they bring. The driver must forbid fragmentation.
    pub mtu_discovery: bool,
}

/// How many streams the peer may have open: few at first, since each allowed one costs about 100 bytes, and doubled
/// each time that most of them are in use, up to `max`. A paused stream is not in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamLimits {
    /// At the start of a link.
    pub initial: u32,
    /// At most.
    pub max: u32,
}

/// The seed and the keys of an endpoint. `Debug` shows none of them.
#[derive(Clone, PartialEq, Eq)]
pub struct Secrets {
    /// Seeds packet numbers, connection ids and path challenges. Unpredictable in production, and never the same twice.
    pub seed: [u8; 32],
    /// Signs stateless resets (RFC 9000, section 10.3). The same on all nodes of a cluster and across restarts.
    pub reset_key: [u8; 32],
    /// Seals Retry tokens (RFC 9000, section 8.1). The same on all nodes of a cluster.
    pub token_key: [u8; 32],
    /// Hides the loop's number in connection ids ([`Steering`](crate::Steering)). The same on all loops of a node and
    /// across its restarts.
    pub cid_key: [u8; 32],
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secrets(..)")
    }
}

/// What a server has besides.
#[derive(Clone)]
pub struct ServerConfig {
    /// TLS, from [`tls::server`](crate::tls::server), or a simulation's stand-in.
    pub crypto: Arc<dyn crypto::ServerConfig>,
    /// Handshakes in work past which a newcomer must first prove its address by a Retry, one round trip more: a flood
    /// from forged addresses then costs no handshake.
    pub handshakes_before_retry: usize,
    /// Handshakes in work past which newcomers are refused.
    pub handshakes_max: usize,
    /// What one address may do before its handshakes are complete.
    pub newcomers: NewcomerLimits,
}

impl ServerConfig {
    /// The default numbers: Retry past 1,000 handshakes, refusal past 4,000, and [`NewcomerLimits::default`].
    pub fn new(crypto: Arc<dyn crypto::ServerConfig>) -> ServerConfig {
        ServerConfig {
            crypto,
            handshakes_before_retry: 1_000,
            handshakes_max: 4_000,
            newcomers: NewcomerLimits::default(),
        }
    }
}

impl fmt::Debug for ServerConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerConfig")
            .field("handshakes_before_retry", &self.handshakes_before_retry)
            .field("handshakes_max", &self.handshakes_max)
            .field("newcomers", &self.newcomers)
            .finish_non_exhaustive()
    }
}

/// What a client has besides.
#[derive(Clone)]
pub struct ClientConfig {
    /// TLS, from [`tls::client`](crate::tls::client), or a simulation's stand-in.
    pub crypto: ClientCrypto,
}

impl ClientConfig {
    /// With this TLS.
    pub fn new(crypto: impl Into<ClientCrypto>) -> ClientConfig {
        ClientConfig { crypto: crypto.into() }
    }
}

/// A client's TLS twice over, with one memory of sessions: quinn-proto's trait has no word for "this time without early
/// data", so [`Endpoint::connect_with`](crate::Endpoint::connect_with) chooses one of two.
#[derive(Clone)]
pub struct ClientCrypto {
    /// Offers early data if a remembered session allows it.
    pub with_early: Arc<dyn crypto::ClientConfig>,
    /// Offers none; it may still resume a session, which saves the certificates.
    pub without_early: Arc<dyn crypto::ClientConfig>,
}

impl<T: crypto::ClientConfig + 'static> From<Arc<T>> for ClientCrypto {
    /// One for both: early data is as that one has it.
    fn from(crypto: Arc<T>) -> ClientCrypto {
        ClientCrypto { with_early: crypto.clone(), without_early: crypto }
    }
}

impl From<Arc<dyn crypto::ClientConfig>> for ClientCrypto {
    /// As from one whose type is known.
    fn from(crypto: Arc<dyn crypto::ClientConfig>) -> ClientCrypto {
        ClientCrypto { with_early: crypto.clone(), without_early: crypto }
    }
}

impl fmt::Debug for ClientCrypto {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientCrypto").finish_non_exhaustive()
    }
}

impl fmt::Debug for ClientConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientConfig").finish_non_exhaustive()
    }
}

impl Config {
    /// A server's defaults: 4 bidirectional streams per client at first and 128 at most, no unidirectional ones.
    pub fn server(secrets: Secrets) -> Config {
        Config {
            cids: CidConfig { loop_no: 0, key: secrets.cid_key },
            epoch: None,
            secrets,
            links_max: 1_000_000,
            idle_timeout: Duration::from_secs(60),
            handshake_timeout: Duration::from_secs(10),
            keep_alive: None,
            peer_bidi: StreamLimits { initial: 4, max: 128 },
            peer_uni: StreamLimits { initial: 0, max: 0 },
            stream_window_bytes: 64 * 1024,
            send_window_bytes: 256 * 1024,
            stream_queue_bytes_max: 896 * 1024,
            link_queue_bytes_max: 2 * 1024 * 1024,
            mtu_discovery: false,
        }
    }

    /// A client's defaults: 4 unidirectional streams at first and 64 at most ([`wire::limits::CHAT_DOWN_STREAMS_MAX`]),
    /// no bidirectional ones.
    pub fn client(secrets: Secrets) -> Config {
        Config {
            links_max: 1024,
            peer_bidi: StreamLimits { initial: 0, max: 0 },
            peer_uni: StreamLimits { initial: 4, max: wire::limits::CHAT_DOWN_STREAMS_MAX as u32 },
            ..Config::server(secrets)
        }
    }

    /// The connection's receive window when this many streams may carry data to us.
    pub(crate) fn receive_window_bytes(&self, streams: u64) -> VarInt {
        let bytes = u64::from(self.stream_window_bytes).saturating_mul(streams.max(1));
        VarInt::from_u64(bytes).unwrap_or(VarInt::MAX)
    }

    pub(crate) fn link_capacity(&self) -> usize {
        self.links_max.min(LinkId::KEYS)
    }

    /// quinn-proto's transport numbers. GSO stays off: one message is one datagram, `sendmmsg` batches across links, and
    /// a link never holds a buffer of ten datagrams.
    pub(crate) fn transport(&self) -> Arc<TransportConfig> {
        let streams = u64::from(self.peer_bidi.initial) + u64::from(self.peer_uni.initial);
        let idle = IdleTimeout::try_from(self.idle_timeout).ok();
        let mut transport = TransportConfig::default();
        transport
            .max_concurrent_bidi_streams(self.peer_bidi.initial.into())
            .max_concurrent_uni_streams(self.peer_uni.initial.into())
            .max_idle_timeout(idle)
            .keep_alive_interval(self.keep_alive)
            .stream_receive_window(self.stream_window_bytes.into())
            .receive_window(self.receive_window_bytes(streams))
            .send_window(self.send_window_bytes)
            .datagram_receive_buffer_size(None)
            .datagram_send_buffer_size(0)
            .allow_spin(false)
            .enable_segmentation_offload(false);
        if !self.mtu_discovery {
            transport.mtu_discovery_config(None);
        }
        Arc::new(transport)
    }

    /// quinn-proto's endpoint numbers. The QUIC bit is never greased: the port also carries STUN, DTLS and SRTP, told
    /// apart by it (RFC 9443; G23).
    pub(crate) fn endpoint(&self) -> Arc<EndpointConfig> {
        let reset_key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, &self.secrets.reset_key);
        let cids = self.cids.clone();
        let cid_seed = seeded::derive(&self.secrets.seed, 1);
        let mut endpoint = EndpointConfig::new(Arc::new(reset_key));
        endpoint
            .rng_seed(Some(seeded::derive(&self.secrets.seed, 0)))
            .cid_generator(move || Box::new(NumberedCids::new(&cids, cid_seed)))
            .grease_quic_bit(false);
        Arc::new(endpoint)
    }

    pub(crate) fn quic_server(
        &self,
        server: &ServerConfig,
        clock: Arc<LogicalClock>,
    ) -> Arc<quinn_proto::ServerConfig> {
        let salt = aws_lc_rs::hkdf::Salt::new(aws_lc_rs::hkdf::HKDF_SHA256, &[]);
        let token_key = Arc::new(salt.extract(&self.secrets.token_key));
        let mut tokens = ValidationTokenConfig::default();
        tokens.sent(0).log(Arc::new(NoneTokenLog));
        let mut quic = quinn_proto::ServerConfig::new(server.crypto.clone(), token_key);
        quic.transport_config(self.transport())
            .validation_token_config(tokens)
            .migration(true)
            .time_source(clock);
        Arc::new(quic)
    }

    /// With early data, and without.
    pub(crate) fn quic_client(&self, client: &ClientConfig) -> [quinn_proto::ClientConfig; 2] {
        let first_ids = seeded::initial_dst_cids(seeded::derive(&self.secrets.seed, 2));
        [&client.crypto.with_early, &client.crypto.without_early].map(|crypto| {
            let mut quic = quinn_proto::ClientConfig::new(crypto.clone());
            quic.transport_config(self.transport())
                .token_store(Arc::new(NoneTokenStore))
                .initial_dst_cid_provider(first_ids.clone());
            quic
        })
    }
}
