//! Which store the nodes that tests start are to have: their own on disk, or a place of their own in one FoundationDB.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::Path;

use crate::error::ClusterError;
use crate::range::{self, Pair};

/// In the environment of tests: the store of the nodes that they start, written as the setting `store` is, for instance
/// `fdb:/tmp/fdb.cluster`. Without it nodes keep the default, a store in their data folder.
pub const STORE_VARIABLE: &str = "GODWIT_TEST_STORE";

/// The settings of one node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreOfNode {
    /// For the setting `store`.
    pub store: String,
    /// For the setting `store_prefix`; each data folder has its own, the same for every node that is started on it.
    pub prefix: String,
}

impl StoreOfNode {
    /// The settings as a node's environment.
    pub fn env(&self) -> [(&'static str, &str); 2] {
        [("GODWIT_STORE", &self.store), ("GODWIT_STORE_PREFIX", &self.prefix)]
    }

    /// Everything that nodes with these settings have stored, in the order of keys and as of one moment, read with `fdbcli`
    /// alone. Keys are without the prefix, which is a tuple of one string.
    ///
    /// # Errors
    /// [`ClusterError`]; a store that is not in FoundationDB is [`ClusterError::NotFdb`].
    pub fn read(&self) -> Result<Vec<Pair>, ClusterError> {
        let file = self.store.strip_prefix("fdb:").ok_or_else(|| ClusterError::NotFdb(self.store.clone()))?;
        let prefix = [b"\x02", self.prefix.as_bytes(), b"\x00"].concat();
        range::read(Path::new(file), &prefix)
    }
}

/// The store that a test's node with this data folder is to have, if the environment has [`STORE_VARIABLE`]. A node that is
/// started again on the folder gets the same one and finds its data.
pub fn store_of_node(data: &Path) -> Option<StoreOfNode> {
    of_node(std::env::var(STORE_VARIABLE).ok()?, data)
}

fn of_node(store: String, data: &Path) -> Option<StoreOfNode> {
    // A path that cannot be made absolute is one that no node can be started on either.
    let data = std::path::absolute(data).ok()?;
    let mut hasher = DefaultHasher::new();
    data.hash(&mut hasher);
    Some(StoreOfNode { store, prefix: format!("godwit-test/{:016x}", hasher.finish()) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_data_folder_has_a_prefix_of_its_own_and_keeps_it() {
        let of = |data: &str| of_node("fdb:/x".into(), Path::new(data)).expect("a path");
        assert_eq!(of("/tmp/a"), of("/tmp/a"));
        assert_ne!(of("/tmp/a").prefix, of("/tmp/b").prefix);
        let env = of("/tmp/a");
        assert_eq!(env.env()[0], ("GODWIT_STORE", "fdb:/x"));
        assert!(env.env()[1].1.starts_with("godwit-test/"), "{env:?}");
    }
}
