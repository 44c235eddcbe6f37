//! Whole stores: [`copy()`] moves one to another backend, [`backup()`] writes one to a folder or a bucket while nodes serve
//! from it, [`restore()`] makes one of a backup, [`reopen`] ends what a copy leaves.
//!
//! Transactions are short and small on every backend, and a read version lives five seconds, so there is no snapshot of a
//! whole store. A copy therefore closes its source for writing. A backup does not: it is a *prefix* of each log, as
//! `logs.rs` says, and what else it holds was read after the logs.
//!
//! Invariants: a target cannot be opened by a node before it is complete and was compared with its source; whatever is
//! interrupted is completed by running the same again; nothing is repaired silently: a difference or a damage is an
//! error that names it.

mod access;
mod backup;
mod copy;
mod digest;
mod error;
mod logs;
mod manifest;
mod object;
mod people;
mod place;
mod restore;
mod seal;
mod target;

pub use access::{Progress, Reporter};
pub use backup::{BackupConfig, backup, describe, verify};
pub use copy::copy;
pub use digest::{Digests, KindDigest};
pub use error::{BackupError, Difference, Differs, ObjectError};
pub use manifest::{FORMAT, Manifest, Object, Stream};
pub use place::Place;
pub use restore::restore;
pub use seal::{Key, KeyError};
pub use target::{Compared, reopen};
