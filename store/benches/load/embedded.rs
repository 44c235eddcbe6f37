//! An embedded store to write to.

use std::path::Path;
use std::time::Instant;

use store::embedded::{Embedded, EmbeddedConfig};
use store::{Store, StoreConfig};

use super::load::{LOGS, TokioClock, people};

pub(crate) type EmbeddedStore = Store<Embedded, TokioClock>;

/// A fresh one with all people of [`LOGS`] chats in it.
pub(crate) async fn open(directory: &Path) -> EmbeddedStore {
    let clock = TokioClock(Instant::now());
    let opened =
        Store::open_embedded(directory, &EmbeddedConfig::default(), StoreConfig::default(), clock).await;
    let store = opened.expect("a fresh store opens");
    people(&store, LOGS).await;
    store
}
