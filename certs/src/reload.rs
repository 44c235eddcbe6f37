//! A chain that is served from files and taken anew when they change.

use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::SystemTime;

use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use crate::{CertError, load_chain};

/// Resolves every handshake to the chain in two files. [`Reloading::reload_if_changed`] is for whoever has a timer.
#[derive(Debug)]
pub struct Reloading {
    cert: PathBuf,
    key: PathBuf,
    current: RwLock<(Arc<CertifiedKey>, Option<SystemTime>)>,
}

impl Reloading {
    /// Reads the chain for the first time.
    ///
    /// # Errors
    /// [`CertError`] names the file.
    pub fn new(cert: PathBuf, key: PathBuf) -> Result<Reloading, CertError> {
        let changed = changed_at(&cert);
        let current = RwLock::new((load_chain(&cert, &key)?, changed));
        Ok(Reloading { cert, key, current })
    }

    /// Reads the chain again if its file has changed; `true` if it did. Handshakes from then on get the new one.
    ///
    /// # Errors
    /// [`CertError`]: the new files cannot be used, and the old chain is still served.
    pub fn reload_if_changed(&self) -> Result<bool, CertError> {
        let changed = changed_at(&self.cert);
        if self.current.read().unwrap_or_else(PoisonError::into_inner).1 == changed {
            return Ok(false);
        }
        let fresh = load_chain(&self.cert, &self.key)?;
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = (fresh, changed);
        Ok(true)
    }
}

impl ResolvesServerCert for Reloading {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current.read().unwrap_or_else(PoisonError::into_inner).0.clone())
    }
}

fn changed_at(path: &PathBuf) -> Option<SystemTime> {
    std::fs::metadata(path).and_then(|meta| meta.modified()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r150_new_files_are_served_and_broken_ones_are_not() {
        let dir = tempfile::tempdir().unwrap();
        let made = crate::make_development(dir.path(), &["localhost".to_owned()]).unwrap();
        let served = Reloading::new(made.cert.clone(), made.key).unwrap();
        let chain = || served.current.read().unwrap().0.cert.clone();
        let first = chain();
        assert!(!served.reload_if_changed().unwrap());
        let later = SystemTime::now() + std::time::Duration::from_secs(5);
        let set_time = |time| std::fs::File::open(&made.cert).unwrap().set_modified(time).unwrap();
        crate::make_development(dir.path(), &["127.0.0.1".to_owned()]).unwrap();
        set_time(later);
        assert!(served.reload_if_changed().unwrap());
        let second = chain();
        assert_ne!(first, second);
        std::fs::write(&made.cert, "broken").unwrap();
        assert!(served.reload_if_changed().is_err());
        assert_eq!(chain(), second);
    }
}
