//! Processes of nodes: they start on their store, sweep it, and die.

use std::time::Duration;

use edge_proto::{Hint, Input};
use store::keys::OUTBOX_SHARDS;
use store::op::{Behind, ClearOutbox, Op, OpOutput, Sweep, Swept};
use store::testing::VirtualClock;
use store::{Clock, Store, StoreConfig};
use wire::LogId;

use super::World;
use crate::Sabotage;
use crate::outside::{Outcome, SimStore, Stores};
use crate::tamper::Tampered;

/// As in the real node's sweeper.
const GRACE: Duration = Duration::from_secs(5);
const ROUND: Duration = Duration::from_secs(1);
const SWEEP_KEYS_MAX: usize = 256;

impl World {
    pub(super) fn boot(&mut self, process: usize) {
        if self.alive[process] || !self.nodes.iter().any(|node| node.common.plan.process == process) {
            return;
        }
        self.alive[process] = true;
        let (backend, clock) = (self.backend.clone(), self.out.time.clock());
        let config = StoreConfig { seed: self.seed ^ process as u64, ..StoreConfig::default() };
        let is_blind = self.sabotage == Some(Sabotage::BlindEarly);
        self.out.tasks.spawn(process, async move {
            let store = opened(&backend, &config, &clock).await;
            let blind = if is_blind { Some(opened(&backend.blind(), &config, &clock).await) } else { None };
            Outcome::Booted { process, stores: Stores { store, blind } }
        });
    }

    pub(super) fn ended(&mut self, outcome: Outcome) {
        match outcome {
            Outcome::Done { node, no, op, result } => {
                self.out.counts.store_errors += u64::from(result.is_err());
                self.nodes[node].done(no, Input::Done { op, result });
            }
            Outcome::Booted { process, stores } => {
                self.out.say(format_args!("process {process} is up"));
                for node in self.nodes.iter_mut().filter(|node| node.common.plan.process == process) {
                    node.start(&self.out, &stores);
                    self.out.replay_all(node.common.index);
                }
                if self.sabotage != Some(Sabotage::NoHintsNoSweeper) {
                    self.sweep(process, stores.store, 0);
                }
            }
            Outcome::Swept { process, store, shard, swept } => {
                self.swept(process, store, shard, swept);
            }
            Outcome::Cleared { process, store, next } => self.sweep(process, store, next),
        }
    }

    /// Looks at one shard after a moment.
    fn sweep(&mut self, process: usize, store: SimStore, shard: u8) {
        let time = self.out.time.clone();
        self.out.tasks.spawn(process, async move {
            time.clock().sleep(ROUND / u32::from(OUTBOX_SHARDS)).await;
            let due = time.wall(Duration::ZERO) - GRACE;
            let swept = match store.execute(Op::Sweep(Sweep { shard, due, limit: SWEEP_KEYS_MAX })).await {
                Ok(OpOutput::Sweep(swept)) => Some(swept),
                _ => None,
            };
            Outcome::Swept { process, store, shard, swept }
        });
    }

    /// Clears what was looked at and hinted, then sweeps on.
    fn swept(&mut self, process: usize, store: SimStore, shard: u8, swept: Option<Swept>) {
        let next = (shard + 1) % OUTBOX_SHARDS;
        let Some(swept) = swept.filter(|swept| !swept.keys.is_empty()) else {
            return self.sweep(process, store, next);
        };
        let next = if swept.has_more { shard } else { next };
        let mut all_taken = true;
        for behind in swept.behind {
            all_taken &= self.hint(behind);
        }
        if !all_taken {
            // A loop that takes no more is given time, not more hints.
            return self.sweep(process, store, (shard + 1) % OUTBOX_SHARDS);
        }
        self.out.tasks.spawn(process, async move {
            let cleared = store.execute(Op::ClearOutbox(ClearOutbox { keys: swept.keys })).await;
            // What is not cleared is looked at again.
            drop(cleared);
            Outcome::Cleared { process, store, next }
        });
    }

    /// The sweeper's hints are for every node; false if a loop has no room for one.
    fn hint(&mut self, behind: Behind) -> bool {
        let LogId::Chat(chat) = behind.log else { return true };
        let (head, account, device) = (behind.head, behind.account, behind.device);
        self.out.counts.repairs += 1;
        let hint = Hint::Behind { chat, head, account, device };
        let mut all_taken = true;
        for node in &mut self.nodes {
            all_taken &= node.hint(&hint, &mut self.out);
        }
        all_taken
    }

    pub(super) fn kill_process(&mut self, process: usize, sessions_kept: bool) {
        self.alive[process] = false;
        self.out.tasks.kill(process);
        let its = self.nodes.iter_mut().filter(|node| node.common.plan.process == process);
        its.for_each(|node| node.die(sessions_kept));
        self.out.counts.node_crashes += 1;
        self.out.say(format_args!("process {process} is killed"));
    }
}

/// Opens the store, as often as it takes.
async fn opened(backend: &Tampered, config: &StoreConfig, clock: &VirtualClock) -> SimStore {
    loop {
        match Store::open(backend.clone(), config.clone(), clock.clone()).await {
            Ok(store) => return store,
            Err(_) => clock.sleep(Duration::from_millis(500)).await,
        }
    }
}
