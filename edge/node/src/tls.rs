//! The node's certificates.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use certs::{CertError, Reloading};
use wire_link::crypto;
use wire_link::tls::SessionStore;

use crate::config::Config;

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

    /// What all loops shake hands with, and what they remember.
    pub(crate) fn crypto(&self, sessions: Arc<SessionStore>) -> io::Result<Arc<dyn crypto::ServerConfig>> {
        wire_link::tls::server(self.chain.clone(), sessions).map_err(io::Error::other)
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
