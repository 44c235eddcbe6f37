//! What was read of some subjects, each of them once.

use std::future::Future;

use futures_util::future::try_join_all;

use crate::run::OpError;

/// A value for each of some keys, which are known before: whoever asks for another has forgotten to read it.
#[derive(Debug)]
pub(super) struct Table<K, V> {
    /// Sorted, each once.
    keys: Vec<K>,
    /// In the order of the keys.
    values: Vec<V>,
}

impl<K: Ord + Copy, V> Table<K, V> {
    /// Of no keys.
    pub(super) fn none() -> Self {
        Table { keys: Vec::new(), values: Vec::new() }
    }

    /// Reads the values of all keys together: one round trip, however many there are.
    ///
    /// # Errors
    /// The first that a read met.
    pub(super) async fn read<F, R>(mut keys: Vec<K>, read: F) -> Result<Self, OpError>
    where
        F: Fn(K) -> R,
        R: Future<Output = Result<V, OpError>>,
    {
        keys.sort_unstable();
        keys.dedup();
        let values = match keys[..] {
            [] => Vec::new(),
            [key] => vec![read(key).await?],
            _ => try_join_all(keys.iter().map(|key| read(*key))).await?,
        };
        Ok(Table { keys, values })
    }

    /// The value of a key.
    ///
    /// # Panics
    /// If the key is none of those that were read.
    pub(super) fn of(&self, key: K) -> &V {
        let at = self.keys.binary_search(&key).expect("whatever the fold asks for was gathered before");
        &self.values[at]
    }

    /// Replaces the value of a key, if it is one of those that were read: of others nobody will ask.
    pub(super) fn set(&mut self, key: K, value: V) {
        if let Ok(at) = self.keys.binary_search(&key) {
            self.values[at] = value;
        }
    }

    /// Every value, to be completed.
    pub(super) fn values_mut(&mut self) -> impl Iterator<Item = &mut V> {
        self.values.iter_mut()
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[test]
    fn each_key_is_read_once() {
        let read = std::cell::RefCell::new(Vec::new());
        let table = Table::read(vec![3, 1, 3, 2, 1], |key: u8| {
            read.borrow_mut().push(key);
            async move { Ok(10 * key) }
        });
        let mut table = table.now_or_never().unwrap().unwrap();
        assert_eq!([1, 2, 3].map(|key| *table.of(key)), [10, 20, 30]);
        table.set(2, 7);
        table.set(9, 7);
        assert_eq!([1, 2, 3].map(|key| *table.of(key)), [10, 7, 30]);
        assert_eq!(*read.borrow(), [1, 2, 3]);
    }
}
