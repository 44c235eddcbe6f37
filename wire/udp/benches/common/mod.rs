//! TLS for the benchmarks.

use std::sync::Arc;

use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use wire_link::tls::{self, SessionStore, Trust};
use wire_link::{ClientCrypto, crypto};

/// Serves one certificate.
#[derive(Debug)]
pub(crate) struct One(pub(crate) Arc<CertifiedKey>);

impl ResolvesServerCert for One {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.clone())
    }
}

/// A certificate for this name that is its own authority.
pub(crate) fn certificate(name: &str) -> (CertificateDer<'static>, Arc<CertifiedKey>) {
    let made = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let der = made.cert.der().clone();
    let certified = CertifiedKey::from_der(vec![der.clone()], key, &tls::provider()).unwrap();
    (der, Arc::new(certified))
}

/// TLS of a server that remembers its clients there.
pub(crate) fn server_tls(certificate: One, sessions: Arc<SessionStore>) -> Arc<dyn crypto::ServerConfig> {
    tls::server(Arc::new(certificate), sessions).unwrap()
}

/// TLS of a client that trusts this authority.
pub(crate) fn client_tls(root: impl Into<CertificateDer<'static>>) -> ClientCrypto {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(root.into()).unwrap();
    tls::client(Trust::roots(roots)).unwrap()
}
