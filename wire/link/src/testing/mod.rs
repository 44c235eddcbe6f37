//! The test bench, for this crate and others (feature `testing`): two endpoints joined by an emulated network in virtual
//! time ([`Pair`], [`Network`]), keys without cryptography ([`plain_server`], [`plain_client`]), and a look into the packets
//! sealed with those ([`transparent`], [`FirstCarriers`]). And what real endpoints hear ([`tap`]).
//!
//! Everything follows from a seed: the same one gives the same run, datagram for datagram.

mod carriers;
mod network;
mod pair;
mod plain;
pub mod tap;
pub mod transparent;

pub use carriers::{Carried, FirstCarriers};
pub use network::{Conditions, Datagram, Network};
pub use pair::Pair;
pub use plain::{
    EarlyPolicy, PlainSessions, plain_client, plain_server, plain_server_sharing, plain_server_with,
};

use crate::Secrets;

/// Secrets that follow from a seed.
pub fn secrets(seed: u64) -> Secrets {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    Secrets { seed: bytes, reset_key: [1; 32], token_key: [2; 32], cid_key: [3; 32] }
}
