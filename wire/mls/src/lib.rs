//! What of MLS (RFC 9420) a server may see: how groups and devices are named, and what a commit, a key package, a welcome or
//! an application message says without a key.
//!
//! Every chat is an MLS group whose members are devices. Handshakes are PublicMessages, so [`inspect::commit`] tells from the bytes
//! alone which epoch a commit was made for, by whom, and whom it adds and removes; [`Leaves`] folds that over a table from
//! leaf to device. A server compares both with the membership that was asked for; a client looks before it lets MLS look.
//!
//! Invariants: no panic on a peer's bytes, nothing allocated that the bytes do not hold, one encoding for each value. What is said here
//! is **not authenticated**: no signature, tag or hash of a tree is checked. Whoever holds the group's secrets checks those.
//!
//! A device's leaf certifies itself: its signature key is the device's long-lived Ed25519 key, the one that signs `Hello`, and its
//! credential names account and device, the latter being that key's hash ([`device_of`]). MLS signs `"MLS 1.0 "` and a label behind a
//! length byte (RFC 9420, 5.1.2), proofs begin with `"godwit/1 "` (`wire::proof`): no signature of one kind is one of the other.

pub mod inspect;
mod leaves;
mod name;
#[cfg(feature = "testing")]
pub mod testing;
mod tls;

pub use inspect::{InspectError, Leaf, Lifetime};
pub use leaves::{Change, FoldError, Leaves};
pub use name::{ACCOUNT_AND_DEVICE_BYTES, Binding, GroupName, device_of, identity, parse_identity};

/// The MLS cipher suite of every group: MLS_128_DHKEMX25519_AES128GCM_SHA256_Ed25519 (RFC 9420, 17.1).
pub const SUITE: u16 = 0x0001;

/// The extension of a key package that says how long it may be used to add its device: two 64-bit big-endian wall times in
/// seconds, from and until. Of the range for private use (RFC 9420, 17.3).
///
/// MLS has a lifetime of its own in the leaf, which members check whenever they process a commit: a device that reads its log months
/// later would then refuse what was right when it was said. Ours is for the adder alone; the one in the leaf is endless.
pub const LIFETIME_EXTENSION: u16 = 0xF0D0;
