//! The node's certificates and its socket.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use certs::{CertError, Reloading};
use wire_link::{Config as LinkConfig, Endpoint, Secrets, ServerConfig};
use wire_udp::Driver;

use crate::config::Config;
use crate::secrets::NodeSecrets;

/// How often the certificate's file is looked at.
const RELOAD_INTERVAL: Duration = Duration::from_secs(30);

/// What handshakes are answered with.
#[derive(Debug, Clone)]
pub(crate) struct Tls {
    chain: Arc<Reloading>,
    /// What clients trust, if the node made its own certificates.
    pub(crate) ca: Option<PathBuf>,
}

impl Tls {
    /// Reads the configured chain, or makes development certificates.
    pub(crate) fn load(config: &Config) -> Result<Tls, CertError> {
        let (cert, key, ca) = match (&config.cert, &config.key) {
            (Some(cert), Some(key)) => (cert.clone(), key.clone(), None),
            _ => {
                let made = certs::make_development(&config.data_path("certs"), &config.names)?;
                (made.cert, made.key, Some(made.ca))
            }
        };
        // The first random number of a process costs 40 ms: better now than in the first client's handshake.
        let _ = wire_link::tls::provider().secure_random.fill(&mut [0]);
        Ok(Tls { chain: Arc::new(Reloading::new(cert, key)?), ca })
    }

    /// Binds the socket that clients connect to.
    pub(crate) fn bind(&self, config: &Config, secrets: &NodeSecrets, seed: [u8; 32]) -> io::Result<Driver> {
        let (reset_key, token_key) = (*secrets.reset.expose(), *secrets.retry.expose());
        // One loop: nobody else reads its connection ids.
        let secrets = Secrets { seed, reset_key, token_key, cid_key: seed };
        let link = LinkConfig { links_max: config.limits.connections, ..LinkConfig::server(secrets) };
        let sessions = Arc::new(wire_link::tls::SessionStore::default());
        let crypto = wire_link::tls::server(self.chain.clone(), sessions).map_err(io::Error::other)?;
        Driver::bind(config.listen, Endpoint::server(link, ServerConfig::new(crypto), Instant::now()))
    }

    /// Serves new certificates when their files change, for ever.
    pub(crate) async fn reload(self) {
        let mut tick = tokio::time::interval(RELOAD_INTERVAL);
        loop {
            tick.tick().await;
            match self.chain.reload_if_changed() {
                Ok(true) => tracing::info!("new certificate served"),
                Ok(false) => {}
                Err(error) => {
                    tracing::error!(%error, "the new certificate cannot be used; the old one is still served")
                }
            }
        }
    }
}
