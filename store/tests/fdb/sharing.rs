//! Several stores on one cluster, several nodes on one store, and a store that is closed for writing under them.

use bytes::Bytes;
use loadtest_cluster::Shape;
use store::fdb::{Fdb, FdbConfig};
use store::keys;
use store::tx::{Backend, Range, Tx, TxError};

use crate::on_cluster::{Shared, TestClock, block_on, open_as};

static CLUSTER: Shared = Shared::new(Shape::One);

fn b(text: &'static str) -> Bytes {
    Bytes::from_static(text.as_bytes())
}

async fn put(fdb: &Fdb, key: Bytes, value: &'static str) -> Result<(), TxError> {
    let mut tx = fdb.begin().await?;
    tx.set(key, b(value));
    tx.commit().await.map(drop)
}

/// Every key of a store, from the first that there may be to the last.
async fn all(fdb: &Fdb) -> Vec<(Bytes, Bytes)> {
    let tx = fdb.begin().await.unwrap();
    tx.range(Range::new(Bytes::new(), Bytes::from_static(&[0xff; 20]))).await.unwrap()
}

#[test]
fn stores_on_one_cluster_do_not_see_each_other() {
    let Some(cluster) = CLUSTER.get("stores_on_one_cluster…") else { return };
    block_on(async {
        let names = ["a", "ab", "a b", "b", "\u{ff}"];
        let stores = names.map(|name| open_as(&cluster, name, TestClock::new()));
        for (store, name) in stores.iter().zip(names) {
            for key in [&b"\x00"[..], b"k", b"\xff\xff"] {
                put(store, Bytes::copy_from_slice(key), name).await.unwrap();
            }
        }
        for (store, name) in stores.iter().zip(names) {
            let pairs = all(store).await;
            assert_eq!(pairs.len(), 3, "{name}");
            assert!(pairs.iter().all(|(_, value)| *value == name.as_bytes()), "{name}: {pairs:?}");
        }
        let mut tx = stores[0].begin().await.unwrap();
        tx.clear_range(Bytes::new(), Bytes::from_static(&[0xff; 20]));
        tx.commit().await.unwrap();
        for (store, left) in stores.iter().zip([0, 3, 3, 3, 3]) {
            assert_eq!(all(store).await.len(), left);
        }
    });
}

#[test]
fn a_store_that_is_closed_takes_no_more_writes_from_anybody() {
    let Some(cluster) = CLUSTER.get("a_store_that_is_closed…") else { return };
    block_on(async {
        let nodes = [(); 2].map(|()| open_as(&cluster, "closing", TestClock::new()));
        let neighbour = open_as(&cluster, "neighbour", TestClock::new());
        let config = FdbConfig {
            prefix: "closing".into(),
            even_if_closed: true,
            ..FdbConfig::new(cluster.cluster_file())
        };
        let tool = Fdb::open(&config, TestClock::new()).unwrap();
        for node in &nodes {
            put(node, b("before"), "1").await.unwrap();
        }
        for round in 0..3 {
            // Begun before the closing, committed after it: it must not slip through.
            let mut late = nodes[0].begin().await.unwrap();
            late.set(b("late"), b("1"));
            put(&tool, keys::closed(), "by a test").await.unwrap();
            assert!(matches!(late.commit().await, Err(TxError::Conflict)), "round {round}");
            for node in &nodes {
                assert!(matches!(put(node, b("after"), "1").await, Err(TxError::Closed)), "round {round}");
                let tx = node.begin().await.unwrap();
                assert_eq!(tx.get(b"before").await.unwrap(), Some(b("1")), "it can be read");
                tx.commit().await.unwrap();
            }
            put(&tool, b("copied"), "1").await.unwrap();
            put(&neighbour, b("k"), "1").await.unwrap();
            let mut tx = tool.begin().await.unwrap();
            tx.clear(keys::closed());
            tx.commit().await.unwrap();
            for node in &nodes {
                put(node, b("reopened"), "1").await.unwrap();
            }
        }
        let tx = nodes[0].begin().await.unwrap();
        assert_eq!((tx.get(b"late").await.unwrap(), tx.get(b"after").await.unwrap()), (None, None));
    });
}
