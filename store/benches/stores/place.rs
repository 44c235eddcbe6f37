//! Where a store is, and what it takes up there.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Instant;

use loadtest_cluster::{Cluster, OnDisk, Shape, Status};
use store::any::{AnyBackend, AnyConfig, Location};
use store::embedded::{Embedded, EmbeddedConfig, Tuning};
use store::{Store, StoreConfig};

use super::load::TokioClock;

pub(crate) type AnyStore = Store<AnyBackend, TokioClock>;

/// What engines add to a key of ours on a cluster under the default prefix, the tuple `("godwit",)`. Those here have names
/// as long.
pub(crate) const PREFIX_BYTES: u64 = 8;

/// Which store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Embedded,
    One,
    Three,
}

impl Kind {
    pub(crate) const ALL: [Kind; 3] = [Kind::Embedded, Kind::One, Kind::Three];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Kind::Embedded => "embedded",
            Kind::One => "FoundationDB, one server",
            Kind::Three => "FoundationDB, three servers, two copies",
        }
    }

    /// The name of one of its figures.
    pub(crate) fn key(self, figure: &str) -> String {
        let store = match self {
            Kind::Embedded => "embedded",
            Kind::One => "one",
            Kind::Three => "three",
        };
        format!("fdb_{store}_{figure}")
    }
}

/// A place for stores: a folder, or a cluster that runs as long as this is there. Stores are dropped before it.
pub(crate) struct Place {
    pub(crate) kind: Kind,
    cluster: Option<Cluster>,
    folder: tempfile::TempDir,
}

impl Place {
    pub(crate) fn start(kind: Kind) -> Place {
        let start = |shape| Cluster::start(shape).expect("a cluster starts");
        let cluster = match kind {
            Kind::Embedded => None,
            Kind::One => Some(start(Shape::One)),
            Kind::Three => Some(start(Shape::Three)),
        };
        Place { kind, cluster, folder: tempfile::tempdir().expect("a folder") }
    }

    /// The processes that are the store, beside this one.
    pub(crate) fn pids(&self) -> Vec<u32> {
        self.cluster.as_ref().map(Cluster::pids).unwrap_or_default()
    }

    /// A store that was not there before, as a node has it. The name is of six letters ([`PREFIX_BYTES`]).
    pub(crate) async fn open(&self, name: &str) -> AnyStore {
        assert_eq!(name.len() as u64 + 2, PREFIX_BYTES, "{name}");
        let location = match &self.cluster {
            None => Location::Embedded(self.folder.path().join(name)),
            Some(cluster) => Location::Fdb(cluster.cluster_file().to_owned()),
        };
        let config = AnyConfig { prefix: Some(name.to_owned()), ..AnyConfig::default() };
        let clock = TokioClock(Instant::now());
        opened(AnyBackend::open(&location, &config, clock).expect("a store opens")).await
    }

    /// The same, but that an embedded one writes its tables early, so that a test of some minutes has many of them.
    pub(crate) async fn open_with_small_tables(&self, name: &str) -> AnyStore {
        if self.cluster.is_some() {
            return self.open(name).await;
        }
        let (path, tuning) =
            (self.folder.path().join(name), Tuning { memtable_bytes: 1 << 20, ..Tuning::default() });
        let clock = TokioClock(Instant::now());
        let embedded = Embedded::open_tuned(&path, &EmbeddedConfig::default(), tuning, clock);
        opened(AnyBackend::Embedded(embedded.expect("a store opens"))).await
    }

    /// What the store of this name takes up on disk; of a cluster, what all of it does.
    pub(crate) fn on_disk(&self, name: &str) -> OnDisk {
        match &self.cluster {
            Some(cluster) => cluster.on_disk().expect("its files can be looked at"),
            None => {
                let mut found = OnDisk::default();
                add_files(&self.folder.path().join(name), &mut found).expect("its files can be looked at");
                found
            }
        }
    }

    /// What a cluster says of itself.
    pub(crate) fn status(&self) -> Option<Status> {
        self.cluster.as_ref().map(|cluster| cluster.status().expect("it answers"))
    }
}

async fn opened(backend: AnyBackend) -> AnyStore {
    Store::open(backend, StoreConfig::default(), TokioClock(Instant::now()))
        .await
        .expect("a fresh store opens")
}

/// Files of the embedded engine: journals, which are removed once what they hold is in tables, and the rest.
fn add_files(folder: &Path, found: &mut OnDisk) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let metadata = match entry.metadata() {
            Ok(metadata) => metadata,
            // The engine removes files that it needs no more.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        if metadata.is_dir() {
            add_files(&entry.path(), found)?;
        } else if entry.path().extension().is_some_and(|ending| ending == "jnl") {
            found.logs += metadata.blocks() * 512;
        } else {
            found.storage += metadata.blocks() * 512;
        }
    }
    Ok(())
}
