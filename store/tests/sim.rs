//! The simulated backend passes the suite: quiet, and its ops with everything going wrong.

#![cfg(feature = "testing")]

use std::time::Duration;

use store::Clock;
use store::conformance::{self, Env};
use store::sim::{Faults, Sim};
use store::testing::{Executor, VirtualClock};

struct SimEnv {
    sim: Sim<VirtualClock>,
    clock: VirtualClock,
}

impl Env for SimEnv {
    type Backend = Sim<VirtualClock>;
    type Clock = VirtualClock;

    fn backend(&self) -> Sim<VirtualClock> {
        self.sim.clone()
    }

    fn clock(&self) -> VirtualClock {
        self.clock.clone()
    }

    async fn advance(&self, duration: Duration) {
        self.clock.sleep(duration).await;
    }
}

fn run(case: &str, seed: u64, faults: Faults) {
    let mut executor = Executor::new(seed);
    let clock = executor.clock();
    let sim = Sim::new(seed, clock.clone());
    sim.set_faults(faults);
    executor.block_on(conformance::run(&SimEnv { sim, clock }, case));
}

fn quiet(case: &str) {
    run(case, 1, Faults::NONE);
}

fn hostile(case: &str) {
    for seed in 0..10 {
        run(case, seed, Faults::HOSTILE);
    }
}

mod transactions {
    store::conformance_tests!(super::quiet);
}

mod ops {
    store::op_conformance_tests!(super::quiet);
}

mod ops_with_faults {
    store::op_conformance_tests!(super::hostile);
}
