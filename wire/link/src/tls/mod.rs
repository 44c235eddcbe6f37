//! TLS for links, from rustls: TLS 1.3 only, aws-lc-rs, X25519MLKEM768 offered first, ALPN [`wire::ALPN`].
//!
//! What is made here draws keys from the system, as TLS must, and reads the clock to judge certificates; it is handed to
//! an [`Endpoint`](crate::Endpoint) from outside, and a simulation hands in `testing`'s instead.
//!
//! Early data (0-RTT) is on, both ways. A server remembers each session in a [`SessionStore`] and gives it out once: that
//! is what bounds replay, and why tickets that seal the session instead of naming it are not used (RFC 8446, section 8.1).
//! [`Event::Early`](crate::Event::Early) says how far it reaches.
//!
//! A server's TLS ends with the handshake: what rustls holds is then dropped, and a client that says anything more to TLS
//! loses its connection with the alert `unexpected_message`. A client's TLS lives as long as the connection, for tickets.

mod later_keys;
mod server_session;
mod sessions;

pub use sessions::{SessionStats, SessionStore};

use std::sync::Arc;

use quinn_proto::crypto;
use quinn_proto::crypto::rustls::{NoInitialCipherSuite, QuicClientConfig};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ClientSessionMemoryCache, Resumption, WebPkiServerVerifier};
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::{self, cipher_suite, kx_group};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ResolvesServerCert;
use rustls::{DigitallySignedStruct, RootCertStore, SignatureScheme};

use crate::config::ClientCrypto;
use server_session::ServerTls;

/// Tickets per handshake. rustls would send two, and a sleeping phone's server keeps each.
const TICKETS: usize = 1;

/// Sessions that a client remembers: rustls keeps up to eight of a server, so those of 32 servers, the newest.
const SESSIONS_MAX: usize = 256;

/// TLS' number for "early data is allowed": QUIC permits this one and 0 (RFC 9001, section 4.6.1). How much of it may come
/// is QUIC's to say, by the windows that the session remembers.
const EARLY_DATA_ALLOWED: u32 = u32::MAX;

/// Why TLS could not be set up. A mistake in configuration, found before anything is sent.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// rustls refused the settings.
    #[error("TLS cannot be set up")]
    Rustls(#[from] rustls::Error),
    /// No certificate authority to trust.
    #[error("no usable certificate authority to trust: give a PEM file with at least one CA certificate")]
    NoRoots(#[source] rustls::client::VerifierBuilderError),
    /// The provider lacks AES-128-GCM, which QUIC's first packets need (RFC 9001, section 5.2).
    #[error("the cryptographic provider lacks TLS13_AES_128_GCM_SHA256")]
    Suite(#[from] NoInitialCipherSuite),
}

/// Whom a client trusts.
#[derive(Debug, Clone)]
pub struct Trust {
    /// Authorities.
    pub roots: Arc<RootCertStore>,
    /// If set, the server's own certificate must also be exactly this one.
    pub pinned: Option<CertificateDer<'static>>,
}

impl Trust {
    /// Any server that one of these authorities vouches for.
    pub fn roots(roots: impl Into<Arc<RootCertStore>>) -> Trust {
        Trust { roots: roots.into(), pinned: None }
    }
}

/// The one cryptographic provider: aws-lc-rs with the post-quantum exchange first, and with AES-128-GCM first, whose SHA-256
/// most processors compute in hardware: a handshake costs a server about a tenth less than with rustls' own order, which begins
/// with SHA-384.
pub fn provider() -> Arc<CryptoProvider> {
    let kx_groups = vec![kx_group::X25519MLKEM768, kx_group::X25519, kx_group::SECP256R1];
    let cipher_suites = vec![
        cipher_suite::TLS13_AES_128_GCM_SHA256,
        cipher_suite::TLS13_AES_256_GCM_SHA384,
        cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
    ];
    Arc::new(CryptoProvider { kx_groups, cipher_suites, ..aws_lc_rs::default_provider() })
}

/// A server's TLS. `certificates` is asked at each handshake, so it may change them while connections go on; it is given
/// the server name that the client asked for. `sessions` is shared by all loops of a process (as what is made here
/// may be); a new one means that no client is remembered, which costs each a full handshake and no more.
///
/// # Errors
/// [`TlsError`].
pub fn server(
    certificates: Arc<dyn ResolvesServerCert>,
    sessions: Arc<SessionStore>,
) -> Result<Arc<dyn crypto::ServerConfig>, TlsError> {
    let mut config = rustls::ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_no_client_auth()
        .with_cert_resolver(certificates);
    config.alpn_protocols = vec![wire::ALPN.to_vec()];
    config.send_tls13_tickets = TICKETS;
    config.session_storage = sessions;
    config.max_early_data_size = EARLY_DATA_ALLOWED;
    Ok(Arc::new(ServerTls::new(config)?))
}

/// A client's TLS. It remembers sessions as long as it lives, in memory: make it once, not per connection.
///
/// # Errors
/// [`TlsError::NoRoots`] if `trust` has no authority; [`TlsError`] otherwise.
pub fn client(trust: Trust) -> Result<ClientCrypto, TlsError> {
    let inner = WebPkiServerVerifier::builder_with_provider(trust.roots, provider())
        .build()
        .map_err(TlsError::NoRoots)?;
    client_with(Arc::new(Verifier { inner, pinned: trust.pinned }))
}

/// The same with another judge of certificates: for tools that look at a server whom nobody would trust.
///
/// # Errors
/// [`TlsError`].
pub fn client_with(verifier: Arc<dyn ServerCertVerifier>) -> Result<ClientCrypto, TlsError> {
    let mut config = rustls::ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    config.alpn_protocols = vec![wire::ALPN.to_vec()];
    config.resumption = Resumption::store(Arc::new(ClientSessionMemoryCache::new(SESSIONS_MAX)));
    config.enable_early_data = true;
    // Clones share the memory.
    let mut without = config.clone();
    without.enable_early_data = false;
    Ok(ClientCrypto {
        with_early: Arc::new(QuicClientConfig::try_from(config)?),
        without_early: Arc::new(QuicClientConfig::try_from(without)?),
    })
}

/// rustls' verifier, and the pin on top of it.
#[derive(Debug)]
struct Verifier {
    inner: Arc<WebPkiServerVerifier>,
    pinned: Option<CertificateDer<'static>>,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let verified =
            self.inner.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)?;
        match &self.pinned {
            Some(pinned) if pinned != end_entity => {
                Err(rustls::CertificateError::ApplicationVerificationFailure.into())
            }
            _ => Ok(verified),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_post_quantum_exchange_is_offered_first() {
        let names: Vec<_> = provider().kx_groups.iter().map(|group| group.name()).collect();
        assert_eq!(names[0], rustls::NamedGroup::X25519MLKEM768);
        assert!(names.contains(&rustls::NamedGroup::X25519));
    }

    #[test]
    fn a_client_needs_an_authority() {
        let nobody = Trust::roots(RootCertStore::empty());
        assert!(matches!(client(nobody), Err(TlsError::NoRoots(_))));
    }
}
