//! Repairs lost hints: outbox keys past their grace time name devices that are behind. Those that are connected are
//! hinted again; the others will be for push, which comes with its own issue. The cost is per message, not per session.

use std::time::Duration;

use edge_proto::Hint;
use store::keys::OUTBOX_SHARDS;
use store::op::{Op, OpOutput, Sweep, Swept};
use wire::LogId;

use crate::clock::wall_now;
use crate::drive::LoopHandle;
use crate::perform::Performer;

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

/// Sweeps one shard once; `true` if there is more.
async fn sweep(performer: &Performer, loops: &[LoopHandle], shard: u8) -> bool {
    let op = Op::Sweep(Sweep { shard, due: wall_now() - GRACE, limit: KEYS_MAX });
    match performer.store.execute(op).await {
        Ok(OpOutput::Sweep(swept)) => {
            let more = swept.has_more;
            hint(performer, loops, swept);
            more
        }
        Ok(_) => false,
        Err(error) => {
            tracing::warn!(shard, %error, "sweep failed; the next round tries again");
            false
        }
    }
}

fn hint(performer: &Performer, loops: &[LoopHandle], swept: Swept) {
    for behind in swept.behind {
        let LogId::Chat(chat) = behind.log else { continue };
        let (head, account, device) = (behind.head, behind.account, behind.device);
        let on = performer.registry.loops([&account]);
        for handle in loops.iter().filter(|handle| on.contains(handle.loop_no())) {
            handle.hint(Hint::Behind { chat, head, account, device });
        }
    }
}
