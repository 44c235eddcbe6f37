//! Who waits for a key to change.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use futures_channel::oneshot;

use crate::tx::TxError;

/// Watches that a store keeps at most, as many as FoundationDB lets one client have by default.
const WATCHES_MAX: usize = 10_000;

/// The watches of one store.
#[derive(Debug, Default)]
pub(crate) struct Watches(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    keys: BTreeMap<Bytes, Vec<oneshot::Sender<()>>>,
    count: usize,
}

impl Watches {
    /// Registers a watch. Whoever calls this then checks whether the key has changed already: a change is either seen
    /// by that check, or wakes the watch.
    pub(crate) fn register(&self, key: Bytes) -> Result<oneshot::Receiver<()>, TxError> {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if inner.count >= WATCHES_MAX {
            inner.forget_dropped();
        }
        if inner.count >= WATCHES_MAX {
            return Err(TxError::TooManyWatches);
        }
        let (sender, receiver) = oneshot::channel();
        inner.keys.entry(key).or_default().push(sender);
        inner.count += 1;
        Ok(receiver)
    }

    /// Wakes the watches of keys that changed.
    pub(crate) fn wake<'a>(&self, keys: impl Iterator<Item = &'a Bytes>) {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if inner.count == 0 {
            return;
        }
        for key in keys {
            let Some(senders) = inner.keys.remove(key) else { continue };
            inner.count -= senders.len();
            for sender in senders {
                // A watch whose future was dropped needs no waking.
                let _ = sender.send(());
            }
        }
    }
}

impl Inner {
    fn forget_dropped(&mut self) {
        self.keys.retain(|_, senders| {
            senders.retain(|sender| !sender.is_canceled());
            !senders.is_empty()
        });
        self.count = self.keys.values().map(Vec::len).sum();
    }
}
