//! Development certificates: a CA that clients trust, and a leaf that a node serves. Code that makes them, never a key.
//!
//! [`make_development`] keeps what is valid and renews what is not, so it may run at every start. [`Reloading`] serves
//! a chain from files and takes a new one when the files change, with no connection dropped. Keys are ECDSA P-256, in
//! files that only their owner reads.
//!
//! In production a CA of the operator's (or a public one) issues the leaf; nothing else changes.

mod development;
mod inspect;
mod reload;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;

pub use development::{Development, make_development};
pub use inspect::{CertificateInfo, day, inspect, inspect_der};
pub use reload::Reloading;

/// Certificates that cannot be made or used. Its text says what to do.
#[derive(Debug, thiserror::Error)]
pub enum CertError {
    /// A file or directory.
    #[error("cannot use {}", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file that holds no PEM of the wanted kind.
    #[error("{} holds no {wanted} in PEM form", path.display())]
    Pem {
        /// Which.
        path: PathBuf,
        /// What was looked for.
        wanted: &'static str,
    },
    /// A certificate that is not one, or a key that does not fit it.
    #[error("the certificate in {} cannot be used with its key", path.display())]
    Unusable {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: rustls::Error,
    },
    /// A certificate that does not parse.
    #[error("{} holds something that is no X.509 certificate", path.display())]
    NotX509 {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: x509_parser::nom::Err<x509_parser::error::X509Error>,
    },
    /// A name that no certificate can hold.
    #[error("{name:?} is neither a host name nor an IP address")]
    Name {
        /// The name.
        name: String,
        /// Why.
        #[source]
        source: rcgen::Error,
    },
    /// A CA that cannot be read: delete its folder to have a new one.
    #[error("the development CA in {} cannot be used; delete the folder to have a new one made", path.display())]
    Ca {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: rcgen::Error,
    },
}

/// Reads a chain and its key, and checks that they fit.
///
/// # Errors
/// [`CertError`] names the file.
pub fn load_chain(cert: &Path, key: &Path) -> Result<Arc<CertifiedKey>, CertError> {
    let chain = read_certificates(cert)?;
    let key_der = PrivateKeyDer::from_pem_file(key).map_err(|e| pem_error(key, "private key", e))?;
    let unusable = |source| CertError::Unusable { path: cert.to_owned(), source };
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let signing_key = provider.key_provider.load_private_key(key_der).map_err(unusable)?;
    let certified = CertifiedKey::new(chain, signing_key);
    certified.keys_match().map_err(unusable)?;
    Ok(Arc::new(certified))
}

/// Reads what a client trusts.
///
/// # Errors
/// [`CertError`] names the file.
pub fn load_roots(ca: &Path) -> Result<RootCertStore, CertError> {
    let mut roots = RootCertStore::empty();
    for certificate in read_certificates(ca)? {
        roots.add(certificate).map_err(|source| CertError::Unusable { path: ca.to_owned(), source })?;
    }
    Ok(roots)
}

/// Reads one certificate, the first of a file: what a client pins.
///
/// # Errors
/// [`CertError`] names the file.
pub fn load_certificate(cert: &Path) -> Result<CertificateDer<'static>, CertError> {
    Ok(read_certificates(cert)?.remove(0))
}

fn read_certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, CertError> {
    let all = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let all = all.map_err(|e| pem_error(path, "certificate", e))?;
    if all.is_empty() {
        return Err(CertError::Pem { path: path.to_owned(), wanted: "certificate" });
    }
    Ok(all)
}

fn pem_error(path: &Path, wanted: &'static str, error: rustls::pki_types::pem::Error) -> CertError {
    let path = path.to_owned();
    match error {
        rustls::pki_types::pem::Error::Io(source) => CertError::Io { path, source },
        _ => CertError::Pem { path, wanted },
    }
}
