//! SIGKILL of the node and of clients at random moments of bursts, by an independent witness: nothing acknowledged is lost,
//! nothing comes twice, order holds, cursors only advance (R50, R51, R141, R142, I1–I4, G21).
//!
//! Each round lets people talk, strikes, and then holds everything that any process has printed so far against the files of the
//! node, which is dead at that moment. `GODWIT_KILL_SEED` repeats a run's choices, `GODWIT_KILL_ROUNDS` makes it longer.
#![expect(clippy::disallowed_methods, reason = "a kill comes at a random moment of real time")]

mod disk;
mod journal;
mod plan;
mod planted;
mod stage;
#[path = "../support/mod.rs"]
mod support;
mod witness;

use std::time::SystemTime;

use plan::Plan;
use rand::SeedableRng;
use rand::rngs::StdRng;
use stage::Stage;

const ROUNDS: usize = 20;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name} is a number")))
}

#[test]
fn r51_r141_r142_sigkill_of_node_and_clients_in_bursts() {
    let clock =
        || SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970").subsec_nanos();
    let seed = number("GODWIT_KILL_SEED").unwrap_or_else(|| clock().into());
    let rounds = number("GODWIT_KILL_ROUNDS").map_or(ROUNDS, |n| n as usize);
    let mut stage = Stage::new(seed);
    for plan in Plan::all(&mut StdRng::seed_from_u64(seed), rounds) {
        stage.round(&plan);
    }
    stage.end();
    assert!(stage.acknowledged() > 5 * rounds, "the bursts were acknowledged in part at least");
}
