//! What can be wrong with a cluster.

use std::io;
use std::time::Duration;

use crate::programs::Missing;

/// Why there is no cluster, or it does not do what it was asked for.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// FoundationDB is not on this machine.
    #[error(transparent)]
    Missing(#[from] Missing),
    /// The system refused something.
    #[error("{what}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// What it said.
        #[source]
        source: io::Error,
    },
    /// A server ended by itself.
    #[error("server {process} ended: {status}; its log ends: {log}")]
    Ended {
        /// Which one.
        process: usize,
        /// How.
        status: String,
        /// The end of its log.
        log: String,
    },
    /// The cluster was not well in time.
    #[error("the cluster is not {wanted} after {waited:.1?}: {found}; the servers' logs end: {log}")]
    Late {
        /// What was waited for.
        wanted: &'static str,
        /// For how long.
        waited: Duration,
        /// How it was at the end.
        found: String,
        /// The end of the logs of all servers.
        log: String,
    },
    /// `fdbcli` did not end in time, or ended with a failure.
    #[error("fdbcli `{command}`: {said}")]
    Cli {
        /// What was asked of it.
        command: String,
        /// What it printed.
        said: String,
    },
    /// What is to be read of a cluster is elsewhere.
    #[error("{0} is no `fdb:CLUSTERFILE`")]
    NotFdb(String),
    /// There is no such server.
    #[error("there is no server {0}")]
    NoProcess(usize),
    /// A server that is to be started runs, or one that is to be stopped does not.
    #[error("server {process} {state}")]
    WrongState {
        /// Which one.
        process: usize,
        /// What it does instead.
        state: &'static str,
    },
}

/// Gives an error of the system its place.
pub(crate) fn io(what: &'static str) -> impl FnOnce(io::Error) -> ClusterError {
    move |source| ClusterError::Io { what, source }
}
