//! The backend that an operator chose: one type over all of them, so that a node is built once and told where to store.

use std::fmt;
use std::future::Future;
use std::path::PathBuf;
use std::str::FromStr;

use bytes::Bytes;

use crate::buffer::BufferedTx;
use crate::embedded::{Embedded, EmbeddedConfig, EmbeddedError};
#[cfg(feature = "fdb")]
use crate::fdb::{Fdb, FdbConfig, FdbOpenError};
use crate::run::Clock;
use crate::tx::{Atomic, Backend, Range, Stamped, Tx, TxError, Versionstamp};

/// Where a store is. As text: `embedded:DIRECTORY` or `fdb:CLUSTERFILE`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Location {
    /// A directory on local disk.
    Embedded(PathBuf),
    /// A FoundationDB cluster, by the file that names its coordinators.
    Fdb(PathBuf),
}

/// What is no [`Location`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("say `embedded:DIRECTORY` or `fdb:CLUSTERFILE`")]
pub struct NotALocation;

impl FromStr for Location {
    type Err = NotALocation;

    fn from_str(text: &str) -> Result<Location, NotALocation> {
        match text.split_once(':') {
            Some((_, "")) | None => Err(NotALocation),
            Some(("embedded", path)) => Ok(Location::Embedded(path.into())),
            Some(("fdb", path)) => Ok(Location::Fdb(path.into())),
            Some(_) => Err(NotALocation),
        }
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Location::Embedded(path) => write!(f, "embedded:{}", path.display()),
            Location::Fdb(path) => write!(f, "fdb:{}", path.display()),
        }
    }
}

/// What a store at any place is opened with; each backend takes its part.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AnyConfig {
    /// For the embedded backend.
    pub embedded: EmbeddedConfig,
    /// For FoundationDB: which of the Godwits on the cluster it is, `fdb::PREFIX_DEFAULT` if not chosen.
    pub prefix: Option<String>,
    /// For tools that write to a store which is closed for writing.
    pub even_if_closed: bool,
}

/// Why a backend was not opened.
#[derive(Debug, thiserror::Error)]
pub enum AnyOpenError {
    /// The embedded backend.
    #[error(transparent)]
    Embedded(#[from] EmbeddedError),
    /// FoundationDB.
    #[cfg(feature = "fdb")]
    #[error(transparent)]
    Fdb(#[from] FdbOpenError),
    /// This build has no FoundationDB.
    #[error("this build has no FoundationDB in it: build with `--features fdb`")]
    NoFdb,
}

/// A store's backend, whichever it is.
#[derive(Debug, Clone)]
pub enum AnyBackend {
    /// On local disk.
    Embedded(Embedded),
    /// On a cluster.
    #[cfg(feature = "fdb")]
    Fdb(Fdb),
}

impl AnyBackend {
    /// Opens the backend of a place. The embedded one blocks on the disk; FoundationDB is not waited for.
    ///
    /// # Errors
    /// [`AnyOpenError`].
    pub fn open(
        location: &Location,
        config: &AnyConfig,
        clock: impl Clock,
    ) -> Result<AnyBackend, AnyOpenError> {
        match location {
            Location::Embedded(path) => {
                Ok(AnyBackend::Embedded(Embedded::open(path, &config.embedded, clock)?))
            }
            #[cfg(feature = "fdb")]
            Location::Fdb(cluster_file) => {
                let mut chosen = FdbConfig::new(cluster_file);
                chosen.even_if_closed = config.even_if_closed;
                if let Some(prefix) = &config.prefix {
                    chosen.prefix.clone_from(prefix);
                }
                Ok(AnyBackend::Fdb(Fdb::open(&chosen, clock)?))
            }
            #[cfg(not(feature = "fdb"))]
            Location::Fdb(_) => Err(AnyOpenError::NoFdb),
        }
    }

    /// The embedded backend, if it is that.
    pub fn embedded(&self) -> Option<&Embedded> {
        match self {
            AnyBackend::Embedded(embedded) => Some(embedded),
            #[cfg(feature = "fdb")]
            AnyBackend::Fdb(_) => None,
        }
    }
}

/// Ends what backends keep running in a process. A program calls it after its last store is gone, before it ends.
pub fn shut_down() {
    #[cfg(feature = "fdb")]
    Fdb::shut_down();
}

impl Backend for AnyBackend {
    type Tx = AnyTx;

    async fn begin(&self) -> Result<AnyTx, TxError> {
        match self {
            AnyBackend::Embedded(backend) => Ok(AnyTx::Embedded(backend.begin().await?)),
            #[cfg(feature = "fdb")]
            AnyBackend::Fdb(backend) => Ok(AnyTx::Fdb(backend.begin().await?)),
        }
    }

    fn exclusive(&self) -> bool {
        match self {
            AnyBackend::Embedded(backend) => backend.exclusive(),
            #[cfg(feature = "fdb")]
            AnyBackend::Fdb(backend) => backend.exclusive(),
        }
    }
}

/// A transaction of [`AnyBackend`].
pub enum AnyTx {
    /// On local disk.
    Embedded(BufferedTx<Embedded>),
    /// On a cluster.
    #[cfg(feature = "fdb")]
    Fdb(BufferedTx<Fdb>),
}

/// The same call on whichever it is.
macro_rules! each {
    ($self:expr, $tx:ident => $call:expr) => {
        match $self {
            AnyTx::Embedded($tx) => $call,
            #[cfg(feature = "fdb")]
            AnyTx::Fdb($tx) => $call,
        }
    };
}

impl Tx for AnyTx {
    async fn get(&self, key: &[u8]) -> Result<Option<Bytes>, TxError> {
        each!(self, tx => tx.get(key).await)
    }

    async fn get_snapshot(&self, key: &[u8]) -> Result<Option<Bytes>, TxError> {
        each!(self, tx => tx.get_snapshot(key).await)
    }

    async fn range(&self, range: Range) -> Result<Vec<(Bytes, Bytes)>, TxError> {
        each!(self, tx => tx.range(range).await)
    }

    fn set(&mut self, key: Bytes, value: Bytes) {
        each!(self, tx => tx.set(key, value));
    }

    fn clear(&mut self, key: Bytes) {
        each!(self, tx => tx.clear(key));
    }

    fn clear_range(&mut self, begin: Bytes, end: Bytes) {
        each!(self, tx => tx.clear_range(begin, end));
    }

    fn atomic(&mut self, op: Atomic, key: Bytes, operand: u64) {
        each!(self, tx => tx.atomic(op, key, operand));
    }

    fn set_stamped_key(&mut self, key: Stamped, value: Bytes) {
        each!(self, tx => tx.set_stamped_key(key, value));
    }

    fn set_stamped_value(&mut self, key: Bytes, value: Stamped) {
        each!(self, tx => tx.set_stamped_value(key, value));
    }

    #[cfg(feature = "fdb")]
    fn watch(&self, key: &[u8]) -> impl Future<Output = Result<(), TxError>> + Send + 'static {
        use futures_util::future::Either;
        match self {
            AnyTx::Embedded(tx) => Either::Left(tx.watch(key)),
            AnyTx::Fdb(tx) => Either::Right(tx.watch(key)),
        }
    }

    #[cfg(not(feature = "fdb"))]
    fn watch(&self, key: &[u8]) -> impl Future<Output = Result<(), TxError>> + Send + 'static {
        let AnyTx::Embedded(tx) = self;
        tx.watch(key)
    }

    async fn commit(self) -> Result<Option<Versionstamp>, TxError> {
        each!(self, tx => tx.commit().await)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_location_is_written_as_it_is_read() {
        for (text, location) in [
            ("embedded:godwit-data/store", Ok(Location::Embedded("godwit-data/store".into()))),
            ("fdb:/etc/foundationdb/fdb.cluster", Ok(Location::Fdb("/etc/foundationdb/fdb.cluster".into()))),
            ("embedded:C:\\store", Ok(Location::Embedded("C:\\store".into()))),
            ("fdb:", Err(NotALocation)),
            ("", Err(NotALocation)),
            ("/var/lib/godwit", Err(NotALocation)),
            ("redis:x", Err(NotALocation)),
        ] {
            let parsed: Result<Location, _> = text.parse();
            assert_eq!(parsed, location);
            assert!(parsed.is_err() || parsed.is_ok_and(|location| location.to_string() == text));
        }
    }
}
