//! Certificates for the tests.

use std::sync::Arc;

use rustls::RootCertStore;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use wire_link::tls::{self, Trust};

/// Serves one certificate.
#[derive(Debug)]
pub(crate) struct One(pub(crate) Arc<CertifiedKey>);

impl ResolvesServerCert for One {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.clone())
    }
}

/// A certificate that is its own authority.
pub(crate) fn certificate(name: &str) -> (CertificateDer<'static>, Arc<CertifiedKey>) {
    let made = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
    let der = made.cert.der().clone();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let certified = CertifiedKey::from_der(vec![der.clone()], key, &tls::provider()).unwrap();
    (der, Arc::new(certified))
}

/// Trusts this authority.
pub(crate) fn trusting(root: &CertificateDer<'static>) -> Trust {
    let mut roots = RootCertStore::empty();
    roots.add(root.clone()).unwrap();
    Trust::roots(roots)
}
