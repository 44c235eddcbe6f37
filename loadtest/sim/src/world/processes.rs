//! Processes of nodes: they start on their store, sweep it, and die.

use std::time::Duration;

use edge_proto::{Hint, Input};
use store::keys::OUTBOX_SHARDS;
use store::op::{Behind, ClearOutbox, Op, OpOutput, Sweep, Swept};
use store::{Clock, Store, StoreConfig};
use wire::LogId;

use super::{NODES, World};
use crate::Sabotage;
use crate::outside::{Outcome, SimStore};

/// As in the real node's sweeper.
const GRACE: Duration = Duration::from_secs(5);
const ROUND: Duration = Duration::from_secs(1);
const SWEEP_KEYS_MAX: usize = 256;

impl World {
    pub(super) fn boot(&mut self, process: usize) {
        if self.alive[process] || !self.nodes.iter().any(|node| node.process == process) {
            return;
        }
        self.alive[process] = true;
        let (backend, clock) = (self.backend.clone(), self.out.time.clock());
        let config = StoreConfig { seed: self.seed ^ process as u64, ..StoreConfig::default() };
        self.out.tasks.spawn(process, async move {
            loop {
                match Store::open(backend.clone(), config.clone(), clock.clone()).await {
                    Ok(store) => return Outcome::Booted { process, store },
                    Err(_) => clock.sleep(Duration::from_millis(500)).await,
                }
            }
        });
    }

    pub(super) fn ended(&mut self, outcome: Outcome) {
        match outcome {
            Outcome::Done { node, op, result } => {
                self.out.counts.store_errors += u64::from(result.is_err());
                self.nodes[node].input(&mut self.out, NODES, Input::Done { op, result });
            }
            Outcome::Booted { process, store } => {
                self.out.say(format_args!("process {process} is up"));
                for node in self.nodes.iter_mut().filter(|node| node.process == process) {
                    node.start(&self.out, store.clone());
                }
                if self.sabotage != Some(Sabotage::NoHintsNoSweeper) {
                    self.sweep(process, store, 0);
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
        swept.behind.into_iter().for_each(|behind| self.hint(behind));
        self.out.tasks.spawn(process, async move {
            let cleared = store.execute(Op::ClearOutbox(ClearOutbox { keys: swept.keys })).await;
            // What is not cleared is looked at again.
            drop(cleared);
            Outcome::Cleared { process, store, next }
        });
    }

    /// The sweeper's hints are for every loop, and are not lost.
    fn hint(&mut self, behind: Behind) {
        let LogId::Chat(chat) = behind.log else { return };
        let (head, account, device) = (behind.head, behind.account, behind.device);
        self.out.counts.repairs += 1;
        for node in 0..NODES {
            let hint = Hint::Behind { chat, head, account, device };
            self.out.bus.post_surely(self.out.time.instant(), node, hint);
        }
    }

    pub(super) fn kill_process(&mut self, process: usize) {
        self.alive[process] = false;
        self.out.tasks.kill(process);
        self.nodes.iter_mut().filter(|node| node.process == process).for_each(|node| node.up = None);
        self.out.counts.node_crashes += 1;
        self.out.say(format_args!("process {process} is killed"));
    }
}
