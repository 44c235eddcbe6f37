//! An embedded store that is open, read by another process: a backup is made while the node goes on serving.
//!
//! The process that has the store open listens on a Unix-domain socket beside its files ([`ReadServer`]). Another one on the
//! same machine has transactions over it ([`Remote`]): each begins at the newest version and reads that one snapshot, for as long
//! as any transaction may. They write nothing.
//!
//! Who may: the socket is its owner's alone, and the kernel is asked who the other side is: the same user, or root. What is
//! read reaches no log.
//!
//! Bounds, since a reader is not to hold up a node, and may be stopped or broken: [`CONNECTIONS_MAX`] connections, each one
//! thread with at most one snapshot; a snapshot lives [`LIFETIME_MAX`](crate::tx::LIFETIME_MAX); frames are as long as what
//! they may hold, answers about a megabyte; who does not take an answer is left.
//!
//! The protocol is private to one machine and carries a version; there is no promise between versions but that they say so.

mod frame;
mod incoming;
mod peer;
mod remote;
mod server;
mod socket;

use std::io;
use std::path::PathBuf;
use std::time::Duration;

pub use remote::Remote;
pub use server::ReadServer;

/// The socket's name in the store's directory.
pub const SOCKET_NAME: &str = "reads.sock";

/// Connections at a time, each a thread and at most a snapshot; one more is told that the node is busy. A backup has at
/// most as many as it reads parts at once, four.
pub const CONNECTIONS_MAX: usize = 8;

/// How long a connection without a transaction is kept.
const IDLE_MAX: Duration = Duration::from_secs(30);

/// How long an answer is waited for.
const PATIENCE: Duration = Duration::from_secs(10);

/// Why a store that another process has open cannot be read from here.
#[derive(Debug, thiserror::Error)]
pub enum ReadsError {
    /// Nobody listens.
    #[error("nothing answers at {}: it is no node, or one of an earlier version, or its log says why", path.display())]
    NotServed {
        /// Where the socket should be.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// It is another user's.
    #[error("it answers its own user and root alone: run this as the user of the node")]
    Denied,
    /// It has as many readers as it takes.
    #[error("as many others read from it as it lets: try again later")]
    Busy,
    /// It has a Godwit of another version.
    #[error(
        "it speaks version {theirs} of the protocol and this program version {ours}: use the node's program"
    )]
    Version {
        /// Its version.
        theirs: u16,
        /// Ours.
        ours: u16,
    },
    /// It says what no Godwit says.
    #[error("it does not answer as a node does")]
    Malformed(#[source] Malformed),
    /// It ended, or does not answer in time.
    #[error("it does not answer")]
    Io(#[source] io::Error),
}

/// Bytes that mean nothing here; what they were is not kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a frame that means nothing: {0}")]
pub struct Malformed(pub(crate) &'static str);
