//! Performs what the [`Sweeper`] decides: on this process' store, and for the sessions of its loops.

use edge_proto::Hint;
use edge_proto::sweeper::{Step, Sweeper};
use store::op::{Op, OpOutput};

use crate::clock::wall_now;
use crate::drive::LoopHandle;
use crate::perform::{Performer, chain};

/// Sweeps for ever.
pub(crate) async fn run(performer: Performer, loops: Vec<LoopHandle>) {
    let mut sweeper = Sweeper::default();
    loop {
        match sweeper.next(wall_now()) {
            Step::Wait(pause) => tokio::time::sleep(pause).await,
            Step::Store(op) => sweeper.stored(store(&performer, op).await),
            Step::Hint(hints) => {
                performer.metrics.work().behind.increment(hints.len() as u64);
                let mut all_taken = true;
                for hint in &hints {
                    all_taken &= give(&performer, &loops, hint);
                }
                sweeper.hinted(all_taken);
            }
        }
    }
}

/// `None` if the store did not answer, which is logged.
async fn store(performer: &Performer, op: Op) -> Option<OpOutput> {
    let work = performer.metrics.work();
    match performer.store(op).await {
        Ok(OpOutput::ClearOutbox(keys)) => {
            work.swept.increment(keys as u64);
            Some(OpOutput::ClearOutbox(keys))
        }
        Ok(output) => Some(output),
        Err(error) => {
            work.sweeps_failed.increment(1);
            tracing::warn!(error = chain(&error), "sweep failed; the next round tries again");
            None
        }
    }
}

/// Tells every loop that the account is on; `false` if one of them does not take it.
fn give(performer: &Performer, loops: &[LoopHandle], hint: &Hint) -> bool {
    let on = performer.registry.loops(hint.accounts());
    let mut all_taken = true;
    for handle in loops.iter().filter(|handle| on.contains(handle.loop_no())) {
        let taken = handle.offer(hint.clone());
        performer.metrics.work().hints_untaken.increment(u64::from(!taken));
        all_taken &= taken;
    }
    all_taken
}
