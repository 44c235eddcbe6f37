//! What can be wrong with a store, a backup, or the two together.

use store::parsed::Kind;
use store::record::{Closed, RecordError};
use store::{StoreError, closed};

/// Why a copy, backup or restore did not succeed. What it has done so far stays, and the same command goes on from there
/// or says why it cannot.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// There is no store where one is to be read.
    #[error("there is no store: no node has ever opened it")]
    NoStore,
    /// A newer Godwit has written to it.
    #[error("the store has schema version {found}, which this build does not know: use a newer one")]
    NewerSchema {
        /// The store's version.
        found: u64,
    },
    /// What is to be read is itself the unfinished target of a copy or restore.
    #[error("the store is not complete")]
    SourceIncomplete(#[source] closed::Incomplete),
    /// The source is closed by something that is no copy to this target.
    #[error("the store to copy is closed for writing, and not by the copy that is in the target: {}", .0.why)]
    ClosedByOther(Closed),
    /// The target holds data, and not a part of this copy or restore.
    #[error("the store to write to is not empty: {why}")]
    TargetNotEmpty {
        /// What is in it.
        why: String,
    },
    /// The target is no longer what this copy or restore made of it.
    #[error("the store to write to was changed by something else meanwhile")]
    TargetTaken,
    /// The two differ after everything was written.
    #[error(transparent)]
    Difference(#[from] Difference),
    /// A key that this build does not know: what of it belongs to a backup is not known.
    #[error(
        "the store holds a key that this build does not know (it begins with {letter:?}): use a newer one"
    )]
    UnknownKey {
        /// Its first byte.
        letter: char,
    },
    /// A stored value cannot be read.
    #[error("the store holds a value that cannot be read")]
    Record(#[from] RecordError),
    /// A store did not answer, for as long as it was asked.
    #[error("the {which} store does not answer")]
    Store {
        /// Which of the two.
        which: &'static str,
        /// Why.
        #[source]
        source: StoreError,
    },
    /// The place of the backup.
    #[error(transparent)]
    Object(#[from] ObjectError),
    /// The system gave no random bytes.
    #[error("the system gives no random bytes")]
    Random,
}

/// Two stores, or a store and a backup, that should hold the same and do not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the target differs from what it was made of: {what} of the kind {}", kind.name())]
pub struct Difference {
    /// What the first key that differs is about.
    pub kind: Kind,
    /// How it differs.
    pub what: Differs,
}

/// How a key differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Differs {
    /// It is not in the target.
    Missing,
    /// It is in the target alone.
    Extra,
    /// Its value is another.
    Value,
    /// The hash chain over a log's entries is another.
    Chain,
}

impl std::fmt::Display for Differs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Differs::Missing => "a key is missing",
            Differs::Extra => "there is a key too many",
            Differs::Value => "another value is stored at a key",
            Differs::Chain => "another hash chain of a log came out over keys",
        })
    }
}

/// What is wrong with a backup, or with its place.
#[derive(Debug, thiserror::Error)]
pub enum ObjectError {
    /// No place for backups can be named so.
    #[error("{place:?} names no place for backups: a folder, or s3://BUCKET/PATH")]
    Place {
        /// What was said.
        place: String,
        /// Why, if more is known.
        #[source]
        source: Option<Box<dyn std::error::Error + Send + Sync>>,
    },
    /// The place does not answer, or refuses.
    #[error("the backup's place cannot be used ({doing} {name:?})")]
    Io {
        /// What was being done.
        doing: &'static str,
        /// With which object.
        name: String,
        /// Why.
        #[source]
        source: object_store::Error,
    },
    /// Something lies there already.
    #[error("something lies at the backup's place already ({name:?}): take an empty one")]
    PlaceNotEmpty {
        /// One of the objects.
        name: String,
    },
    /// Nothing is there.
    #[error("there is no backup: nothing lies at its place")]
    NoBackup,
    /// Objects are there, and no manifest, which is written last.
    #[error("the backup is not complete: it has no manifest, which is written last")]
    NoManifest,
    /// The manifest is not one of ours, or damaged.
    #[error("the backup's manifest is damaged: {what}")]
    Manifest {
        /// What is wrong.
        what: &'static str,
    },
    /// A newer Godwit has written it.
    #[error("the backup has format {found}, and this build knows {known}: use a newer one", known = crate::FORMAT)]
    NewerFormat {
        /// Its format.
        found: u32,
    },
    /// An object that the manifest lists is not there.
    #[error("the backup's object {name:?} is missing")]
    Missing {
        /// Which.
        name: String,
    },
    /// An object is of another length than the manifest says.
    #[error(
        "the backup's object {name:?} has {found} bytes, and {expected} were written: it was cut off or added to"
    )]
    Length {
        /// Which.
        name: String,
        /// As the manifest says.
        expected: u64,
        /// As found.
        found: u64,
    },
    /// An object's bytes are not those that were written.
    #[error("the backup's object {name:?} is damaged: {what}")]
    Damaged {
        /// Which.
        name: String,
        /// What is wrong.
        what: &'static str,
    },
    /// The objects are whole, and are not what was read from the store.
    #[error("the backup's stream {stream:?} does not give what was read from the store: {kind}")]
    Digest {
        /// Which.
        stream: String,
        /// Of which kind.
        kind: String,
    },
    /// It is sealed, and no key was given.
    #[error("the backup is encrypted: give its key")]
    KeyNeeded,
    /// It is sealed by another key.
    #[error("the backup is encrypted with another key than the one that was given")]
    WrongKey,
    /// A key was given, and it is not sealed: not what whoever has the key expects.
    #[error("a key was given, and the backup is not encrypted: whoever wrote it did not have the key")]
    NotSealed,
}
