//! The ops hold while FoundationDB's own client fails on purpose ("buggify", as in its simulation): commits of unknown
//! result, old versions, futures that come late.

#[path = "on_cluster/mod.rs"]
mod on_cluster;

use std::sync::Once;
use std::time::Duration;

use bytes::Bytes;
use loadtest_cluster::Shape;
use store::conformance::{self, Env};
use store::fdb::{Faults, Fdb};
use store::tx::{Backend, Tx, TxError};

use on_cluster::{Shared, TestClock, block_on, open};

static ONE: Shared = Shared::new(Shape::One);
static FAULTS: Once = Once::new();

struct FdbEnv {
    backend: Fdb,
    clock: TestClock,
}

impl Env for FdbEnv {
    type Backend = Fdb;
    type Clock = TestClock;

    fn backend(&self) -> Fdb {
        self.backend.clone()
    }

    fn clock(&self) -> TestClock {
        self.clock.clone()
    }

    async fn advance(&self, duration: Duration) {
        self.clock.push(duration);
    }
}

fn fail_on_purpose() {
    FAULTS.call_once(|| {
        Fdb::inject_faults(Faults { sections_percent: 50, fired_percent: 10 }).unwrap();
    });
}

fn run(case: &str) {
    fail_on_purpose();
    let Some(cluster) = ONE.get(case) else { return };
    let clock = TestClock::new();
    let backend = open(&cluster, clock.clone());
    block_on(conformance::run(&FdbEnv { backend, clock }, case));
}

store::op_conformance_tests!(run);

/// The suite above would prove nothing with a client that works.
#[test]
fn the_client_does_fail() {
    fail_on_purpose();
    let Some(cluster) = ONE.get("the_client_does_fail") else { return };
    let backend = open(&cluster, TestClock::new());
    block_on(async {
        let mut failures = std::collections::BTreeMap::<String, u32>::new();
        for n in 0..1_000u32 {
            let result: Result<_, TxError> = async {
                let mut tx = backend.begin().await?;
                tx.get(b"k").await?;
                tx.set(Bytes::from_static(b"k"), Bytes::copy_from_slice(&n.to_be_bytes()));
                tx.commit().await
            }
            .await;
            if let Err(error) = result {
                assert!(error.is_retryable(), "{error}");
                *failures.entry(error.to_string()).or_default() += 1;
            }
        }
        eprintln!("of 1000 transactions failed: {failures:?}");
        assert!(!failures.is_empty());
    });
}
