//! A stand-in for TLS: the handshake's shape without its cryptography, so that a simulation can run thousands of
//! connections and repeat every byte.
//!
//! It keeps QUIC's four kinds of keys, its flights, and TLS' tickets: a server that remembers sessions gives one ticket
//! per connection, each good for one resumption and its early data. Each packet carries a checksum of its key, its number
//! and its bytes where TLS has a seal, so that a packet under other keys or a damaged one is dropped as under TLS. Nothing
//! is hidden, nobody is authenticated, and no clock is compared. The exporter is a checksum of both sides' transport
//! parameters, which hold random connection ids: as under TLS it is equal on both sides and different on every
//! connection.

mod keys;
mod memory;
mod session;

use std::sync::Arc;

use quinn_proto::crypto::{ClientConfig, Keys, ServerConfig, Session, UnsupportedVersion};
use quinn_proto::transport_parameters::TransportParameters;
use quinn_proto::{ConnectError, ConnectionId, Side};

use self::keys::{digest, initial_keys};
use self::memory::Tickets;
pub use self::memory::{EarlyPolicy, PlainSessions};
use self::session::PlainSession;
use crate::config::ClientCrypto;

/// TLS' seal is as long.
pub(super) const TAG_BYTES: usize = 16;

/// A server's stand-in for TLS. It remembers nobody: every handshake is a full one.
pub fn plain_server() -> Arc<dyn ServerConfig> {
    Arc::new(PlainServer { sessions: None })
}

/// As [`plain_server`], with sessions of its own to resume, and what becomes of their early data.
pub fn plain_server_with(policy: EarlyPolicy) -> Arc<dyn ServerConfig> {
    plain_server_sharing(PlainSessions::new(policy))
}

/// As [`plain_server`], with these sessions to resume.
pub fn plain_server_sharing(sessions: Arc<PlainSessions>) -> Arc<dyn ServerConfig> {
    Arc::new(PlainServer { sessions: Some(sessions) })
}

/// A client's stand-in for TLS. It trusts any server, and remembers those that give tickets for as long as it lives.
pub fn plain_client() -> ClientCrypto {
    let tickets = Arc::new(Tickets::default());
    ClientCrypto {
        with_early: Arc::new(PlainClient { tickets: tickets.clone(), offers_early: true }),
        without_early: Arc::new(PlainClient { tickets, offers_early: false }),
    }
}

struct PlainServer {
    sessions: Option<Arc<PlainSessions>>,
}

impl ServerConfig for PlainServer {
    fn initial_keys(&self, _: u32, dst_cid: &ConnectionId) -> Result<Keys, UnsupportedVersion> {
        Ok(initial_keys(dst_cid, Side::Server))
    }

    fn retry_tag(&self, _: u32, orig_dst_cid: &ConnectionId, packet: &[u8]) -> [u8; TAG_BYTES] {
        digest(&[b"retry", &orig_dst_cid[..], packet])
    }

    fn start_session(self: Arc<Self>, _: u32, params: &TransportParameters) -> Box<dyn Session> {
        Box::new(PlainSession::server(params, self.sessions.clone()))
    }
}

struct PlainClient {
    tickets: Arc<Tickets>,
    offers_early: bool,
}

impl ClientConfig for PlainClient {
    fn start_session(
        self: Arc<Self>,
        _: u32,
        server_name: &str,
        params: &TransportParameters,
    ) -> Result<Box<dyn Session>, ConnectError> {
        let (tickets, early) = (self.tickets.clone(), self.offers_early);
        Ok(Box::new(PlainSession::client(params, server_name, tickets, early)))
    }
}
