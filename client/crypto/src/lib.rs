//! End-to-end encryption: each chat is an MLS group (RFC 9420) of its members' devices. Pure: no socket, no clock, no randomness.
//!
//! [`Mls`] is a device's end of all its groups. It makes [key packages](Mls::key_packages), [creates](Mls::create) groups,
//! [commits](Mls::commit) adds, removes and updates, [joins](Mls::join) by a welcome, [encrypts](Mls::encrypt), and
//! [receives](Mls::receive) the entries of a log in their order. The server decides that order, and by its epoch rule which of several
//! commits for one epoch there is; so a commit is *pending* until it comes back, and an application message always comes before the
//! commit that ends its epoch.
//!
//! Invariants:
//! - A call succeeds as a whole or changes nothing. Its changes are rows, which the owner persists before it lets anything out.
//! - A peer's bytes never panic and never wedge a group: they are refused with an [`MlsError`], and the next right entry opens.
//! - Every leaf certifies itself (`wire_mls`), and every message is bound to group, sender's device and `client_msg_id`.
//! - A key is deleted once it was used, and with its epoch; nothing that was opened can be opened again from what is stored after.
//! - The same seed, the same stored state and the same calls give the same bytes. Wall time is an argument. (The library reads the clock
//!   where it checks a lifetime and where it notes when secrets came; the lifetimes it sees are endless, and the note is not kept.)
//!
//! It leaves out who may add whom: the server, and the client that compares [`Mls::look_at_commit`] with what the server says.
//!
//! # The same key signs elsewhere
//!
//! A leaf's signature key is the device's long-lived key, which also proves the device to the server. What MLS signs begins with a
//! length byte and `"MLS 1.0 "` (RFC 9420, 5.1.2), what a proof signs with `"godwit/1 "` (`wire::proof`), so neither stands for
//! the other. Whose a device is, is what the server says until there are safety codes.
//!
//! # Post-quantum
//!
//! [`SUITE`] is the classical one that every implementation has. The library has hybrids (X-Wing, that is ML-KEM-768 with X25519) behind a
//! feature named for the draft they come from, whose code points may still change, on implementations that their authors call
//! experimental; the other implementation that this was tried against has none of them. So nothing interoperates yet, and they are off. A
//! suite is a property of each group: new groups can have another as soon as there is one.

mod commit;
mod crypto;
mod device;
mod engine;
mod error;
mod form;
mod join;
mod key_package;
mod kv;
mod message;
mod notes;
mod provider;
mod receive;
mod storage;
#[cfg(test)]
mod vectors;

pub use commit::{Committed, Wanted};
pub use device::DeviceKey;
pub use engine::Mls;
pub use error::MlsError;
pub use join::Joined;
pub use key_package::Use;
pub use kv::{KEY_PREFIX, Kv, ReadError, Row};
pub use notes::Asked;
pub use receive::{Entry, Received};
pub use storage::StorageError;
pub use wire_mls::{Change, GroupName, Leaf, Leaves, Lifetime};

use openmls::prelude::Ciphersuite;

/// Every group's cipher suite; [`wire_mls::SUITE`] by its number.
pub const SUITE: Ciphersuite = Ciphersuite::MLS_128_DHKEMX25519_AES128GCM_SHA256_Ed25519;

/// Contents are padded to a multiple of this many bytes, together with the 83 to 86 that their length, signature and tag take.
///
/// So all of up to 45 bytes look alike, and all from there up to 172: nearly everything that people write is of one of two sizes, 208
/// and 336 bytes. With 64 a content of 100 bytes would be 272 and four sizes would tell it from its neighbours; with 256 the shortest would be
/// 336, too.
pub const PADDING_BYTES: usize = 128;

/// Largest content of an application message: encrypted, padded and framed it still fits `wire::limits::CONTENT_BYTES_MAX`.
pub const CONTENT_BYTES_MAX: usize = 511 * PADDING_BYTES - 86;

/// Key packages with private halves here at a time.
pub const KEY_PACKAGES_MAX: usize = 512;
