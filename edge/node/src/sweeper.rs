//! Repairs lost hints: outbox keys past their grace time name devices that are behind. Those that are connected are
//! hinted again; the others will be for push, which comes with its own issue. The cost is per message, not per session.

use std::time::Duration;

use edge_proto::Hint;
use store::StoreError;
use store::keys::OUTBOX_SHARDS;
use store::op::{Behind, ClearOutbox, Op, OpOutput, Sweep};
use wire::LogId;

use crate::clock::wall_now;
use crate::drive::LoopHandle;
use crate::perform::{Performer, chain};

/// An entry that is not delivered by then is looked at (C29).
pub(crate) const GRACE: Duration = Duration::from_secs(5);

/// All shards are looked at once in this time, one after another, so that no moment is a burst.
const ROUND: Duration = Duration::from_secs(1);

/// Keys of one transaction.
const KEYS_MAX: usize = 256;

/// Sweeps for ever.
pub(crate) async fn run(performer: Performer, loops: Vec<LoopHandle>) {
    let mut tick = tokio::time::interval(ROUND / u32::from(OUTBOX_SHARDS));
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    for shard in (0..OUTBOX_SHARDS).cycle() {
        tick.tick().await;
        while sweep(&performer, &loops, shard).await {}
    }
}

/// Sweeps one shard once; `true` if there is more to be done at once.
async fn sweep(performer: &Performer, loops: &[LoopHandle], shard: u8) -> bool {
    match look_and_clear(performer, loops, shard).await {
        Ok(more) => more,
        Err(error) => {
            performer.metrics.work().sweeps_failed.increment(1);
            tracing::warn!(shard, error = chain(&error), "sweep failed; the next round tries again");
            false
        }
    }
}

/// The hints come first: keys that are cleared will not be looked at again.
async fn look_and_clear(performer: &Performer, loops: &[LoopHandle], shard: u8) -> Result<bool, StoreError> {
    let op = Op::Sweep(Sweep { shard, due: wall_now() - GRACE, limit: KEYS_MAX });
    let OpOutput::Sweep(swept) = performer.store(op).await? else { return Ok(false) };
    let work = performer.metrics.work();
    work.behind.increment(swept.behind.len() as u64);
    let mut all_taken = true;
    for behind in swept.behind {
        all_taken &= hint(performer, loops, behind);
    }
    // A loop that takes no more is given time, not more hints.
    if swept.keys.is_empty() || !all_taken {
        return Ok(false);
    }
    let keys = swept.keys.len() as u64;
    performer.store(Op::ClearOutbox(ClearOutbox { keys: swept.keys })).await?;
    work.swept.increment(keys);
    Ok(swept.has_more)
}

/// Tells every loop that the account is on; `false` if one of them does not take it.
fn hint(performer: &Performer, loops: &[LoopHandle], behind: Behind) -> bool {
    let LogId::Chat(chat) = behind.log else { return true };
    let (head, account, device) = (behind.head, behind.account, behind.device);
    let on = performer.registry.loops([&account]);
    let mut all_taken = true;
    for handle in loops.iter().filter(|handle| on.contains(handle.loop_no())) {
        let taken = handle.hint(Hint::Behind { chat, head, account, device });
        performer.metrics.work().hints_untaken.increment(u64::from(!taken));
        all_taken &= taken;
    }
    all_taken
}
