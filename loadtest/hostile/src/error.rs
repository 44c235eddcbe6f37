//! Why an attack could not go on. What the node does to it is no error.

use std::io;

/// Why an attack could not go on.
#[derive(Debug, thiserror::Error)]
pub enum HostileError {
    /// The system gives no socket here, or one has failed.
    #[error("a socket cannot be used")]
    Socket(#[from] io::Error),
    /// The server's name or address cannot be connected to.
    #[error("a connection cannot be begun")]
    Connect(#[from] wire_link::ConnectError),
}
