//! Durable truth: an ordered log per chat, and cursors into it.
//!
//! [`Store`] performs [`Op`](op::Op)s. An op is a function of a transaction ([`tx::Tx`]), safe to run twice; retry lives
//! outside it ([`run`]), and so does what makes one log fast: appends that wait together commit together, and what was
//! just said is in memory ([`recent`]). Keys are in [`keys`], values in [`record`].
//!
//! Backends: [`embedded`] (one node, local disk), `fdb` (feature `fdb`: a FoundationDB cluster), `sim` (feature `testing`). What may be lost is in
//! [`ephemeral`]. [`reads`] lets another process read an embedded store that is open.
//!
//! Invariants: nothing here reads a clock or draws a random number of its own; only backends name a disk or a thread;
//! phone numbers and content reach no log line.

pub mod any;
mod batch;
mod buffer;
pub mod closed;
#[cfg(feature = "testing")]
pub mod conformance;
pub mod durable;
pub mod embedded;
pub mod ephemeral;
#[cfg(feature = "fdb")]
pub mod fdb;
pub mod keys;
pub mod op;
pub mod parsed;
#[cfg(unix)]
pub mod reads;
pub mod recent;
pub mod record;
mod resolver;
pub mod run;
#[cfg(any(test, feature = "testing"))]
pub mod sim;
mod stage;
mod stats;
mod store;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod tx;
mod watch;

pub use batch::BatchConfig;
pub use run::{Budget, Clock, StoreError};
pub use stats::StoreStats;
pub use store::{OpenError, Store, StoreConfig};
