//! The ops hold while FoundationDB's own client fails on purpose ("buggify", as in its simulation): commits of unknown
//! result, old versions, futures that come late.

#[path = "on_cluster/mod.rs"]
mod on_cluster;

use std::sync::Once;
use std::time::Duration;

use loadtest_cluster::Shape;
use store::conformance::{self, Env};
use store::fdb::{Faults, Fdb};

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

fn run(case: &str) {
    FAULTS.call_once(|| {
        Fdb::inject_faults(Faults { sections_percent: 50, fired_percent: 10 }).unwrap();
    });
    let Some(cluster) = ONE.get(case) else { return };
    let clock = TestClock::new();
    let backend = open(&cluster, clock.clone());
    block_on(conformance::run(&FdbEnv { backend, clock }, case));
}

store::op_conformance_tests!(run);
