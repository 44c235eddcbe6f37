//! The FoundationDB backend passes the suite on a real cluster, of one process and of three, and with answers lost; and
//! what only a cluster does: to be shared, to be away, to lose a process.

#[path = "../on_cluster/mod.rs"]
mod on_cluster;
mod outages;
mod sharing;
mod writers;

use std::any::Any;
use std::panic::{catch_unwind, resume_unwind};
use std::time::Duration;

use loadtest_cluster::Shape;
use store::conformance::{self, Env};
use store::fdb::Fdb;
use store::testing::Doubtful;
use store::tx::{Backend, TxError};

use on_cluster::{Shared, TestClock, block_on, open};

static ONE: Shared = Shared::new(Shape::One);
static THREE: Shared = Shared::new(Shape::Three);

struct FdbEnv<B> {
    backend: B,
    clock: TestClock,
}

impl<B: Backend> Env for FdbEnv<B> {
    type Backend = B;
    type Clock = TestClock;

    fn backend(&self) -> B {
        self.backend.clone()
    }

    fn clock(&self) -> TestClock {
        self.clock.clone()
    }

    async fn advance(&self, duration: Duration) {
        self.clock.push(duration);
    }
}

fn run<B: Backend>(shared: &Shared, case: &str, with: impl FnOnce(Fdb) -> B) {
    let Some(cluster) = shared.get(case) else { return };
    let clock = TestClock::new();
    let backend = with(open(&cluster, clock.clone()));
    block_on(conformance::run(&FdbEnv { backend, clock }, case));
}

fn one(case: &str) {
    run(&ONE, case, |fdb| fdb);
}

fn three(case: &str) {
    run(&THREE, case, |fdb| fdb);
}

/// A case of transactions, which expects an answer to each commit. A cluster that has just started may recover once more
/// and leave one unknown; then, and for no other failure, the case is begun anew, in another place.
fn answered(case: &str, run: fn(&str)) {
    for _ in 1..4 {
        match catch_unwind(|| run(case)) {
            Ok(()) => return,
            Err(panic) if is_doubt(&*panic) => {}
            Err(panic) => resume_unwind(panic),
        }
    }
    run(case);
}

/// Whether a case ended because a commit's outcome was unknown.
fn is_doubt(panic: &(dyn Any + Send)) -> bool {
    let doubt = TxError::MaybeCommitted;
    let said = panic.downcast_ref::<String>();
    said.is_some_and(|said| said.contains(&doubt.to_string()) || said.contains(&format!("{doubt:?}")))
}

fn answered_by_one(case: &str) {
    answered(case, one);
}

fn answered_by_three(case: &str) {
    answered(case, three);
}

/// A fifth of all answers is lost.
fn in_doubt(case: &str) {
    for seed in 0..3 {
        run(&ONE, case, |fdb| Doubtful::new(fdb, 20, seed));
    }
}

mod transactions {
    store::conformance_tests!(super::answered_by_one);
}

mod ops {
    store::op_conformance_tests!(super::one);
}

mod transactions_on_three {
    store::conformance_tests!(super::answered_by_three);
}

mod ops_on_three {
    store::op_conformance_tests!(super::three);
}

mod ops_in_doubt {
    store::op_conformance_tests!(super::in_doubt);
}
