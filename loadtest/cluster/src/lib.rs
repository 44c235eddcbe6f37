//! Real FoundationDB clusters on loopback, for tests and benchmarks: the servers of FoundationDB's own packages, in processes that
//! can be killed, stopped and started again.
//!
//! ```no_run
//! use loadtest_cluster::{Cluster, Shape};
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let mut cluster = Cluster::start(Shape::Three)?;
//! let coordinators = cluster.with_role("coordinator")?;
//! cluster.kill(coordinators[0])?;
//! assert!(cluster.status()?.is_available());
//! cluster.start_again(coordinators[0])?;
//! cluster.wait_healthy(std::time::Duration::from_secs(60))?;
//! # Ok(()) }
//! ```
//!
//! Invariants: a cluster's processes and files go with it, also when a test panics or its process is killed; every wait is
//! bounded, and one that was in vain says how the servers' logs end; servers listen on 127.0.0.1 alone. Left out: downloading
//! anything. Where the programs are missing, [`can_run`] says so.
#![cfg(unix)]

mod cli;
mod cluster;
mod disk;
mod error;
mod keeper;
mod of_node;
mod port;
mod process;
mod programs;
mod range;
mod required;
mod status;

pub use cluster::{Cluster, PATIENCE, Shape};
pub use disk::OnDisk;
pub use error::ClusterError;
pub use of_node::{STORE_VARIABLE, StoreOfNode, store_of_node};
pub use programs::{BIN_VARIABLE, LIBRARY_VARIABLE, Missing, Programs, RELEASES};
pub use range::Pair;
pub use required::{NOT_RUN_VARIABLE, REQUIRED_VARIABLE, can_run, note_not_run};
pub use status::Status;
