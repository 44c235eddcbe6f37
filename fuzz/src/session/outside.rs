//! What goes wrong around the nodes: effects and their answers, hints, and the sweeper that repairs lost ones.

use std::collections::VecDeque;
use std::time::Duration;

use edge_proto::{Hint, Input};
use store::keys::OUTBOX_SHARDS;
use store::op::{Behind, ClearOutbox, Op, OpOutput, Sweep};

use super::act::Act;
use super::world::{World, failure};

/// Hints that are kept to be told again.
const HINTS_MAX: usize = 64;

impl World {
    /// Acts of the world around the nodes.
    pub(super) fn outside(&mut self, act: Act) {
        match act {
            Act::Hold(true) => self.holds = true,
            Act::Hold(false) | Act::Release => self.release(),
            Act::Perform { effect } => {
                if let Some((node, op, effect)) = take(&mut self.effects, effect) {
                    let result = self.perform(effect);
                    self.answers.push_back((node, op, result));
                }
            }
            Act::Fail { effect, happened } => {
                if let Some((node, op, effect)) = take(&mut self.effects, effect) {
                    if happened {
                        drop(self.perform(effect));
                    }
                    self.answer((node, op, Err(failure(happened))));
                }
            }
            Act::Answer { answer } => {
                if let Some(answer) = take(&mut self.answers, answer) {
                    self.answer(answer);
                }
            }
            Act::HoldHints(holds) => {
                self.holds_hints = holds;
                while !holds && let Some((node, hint)) = self.hints.pop_front() {
                    self.input(node, Input::Hint(hint));
                }
            }
            Act::Hint { hint } => {
                if let Some((node, hint)) = take(&mut self.hints, hint) {
                    self.hints.push_back((node, hint.clone()));
                    self.hints.truncate(HINTS_MAX);
                    self.input(node, Input::Hint(hint));
                }
            }
            Act::LoseHints => self.hints.clear(),
            _ => {}
        }
    }

    /// What `edge/node/src/sweeper.rs` does, in one round.
    pub(super) fn sweep(&mut self) {
        for shard in 0..OUTBOX_SHARDS {
            let due = self.now.wall - Duration::from_secs(5);
            let OpOutput::Sweep(swept) = self.execute(Op::Sweep(Sweep { shard, due, limit: 256 })) else {
                continue;
            };
            for behind in swept.behind {
                let Behind { log, head, account, device } = behind;
                for node in 0..2 {
                    self.input(node, Input::Hint(Hint::Behind { log, head, account, device }));
                }
            }
            if !swept.keys.is_empty() {
                self.execute(Op::ClearOutbox(ClearOutbox { keys: swept.keys }));
            }
        }
    }
}

fn take<T>(queue: &mut VecDeque<T>, number: u8) -> Option<T> {
    queue.remove(usize::from(number) % queue.len().max(1))
}
