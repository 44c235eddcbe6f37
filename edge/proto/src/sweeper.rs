//! The sweeper: repairs lost hints. Outbox keys past their grace time name devices that are behind; those that are
//! connected are hinted again, the others will be for push. The cost is per message, not per session.
//!
//! Like [`Node`](crate::Node) it decides and does nothing: its driver asks for the [next](Sweeper::next) step, performs
//! it, and says what came of it.
//!
//! Invariant: a key is cleared only after every hint that follows from it was taken, so neither a crash nor a full queue
//! between the two leaves a device behind for good.

use std::time::Duration;

use bytes::Bytes;
use mutation::Mutation;
use store::keys::OUTBOX_SHARDS;
use store::op::{Behind, ClearOutbox, Op, OpOutput, Sweep, Swept};
use wire::{LogId, WallTime};

use crate::Hint;

/// An entry that is not delivered by then is looked at (C29).
pub const GRACE: Duration = Duration::from_secs(5);

/// All shards are looked at once in this time, one after another, so that no moment is a burst.
const ROUND: Duration = Duration::from_secs(1);

/// Keys of one transaction.
const KEYS_MAX: usize = 256;

/// What a driver does next for a [`Sweeper`].
#[derive(Debug)]
pub enum Step {
    /// Wait so long; there is nothing to say about it.
    Wait(Duration),
    /// Perform a store op; answer with [`Sweeper::stored`].
    Store(Op),
    /// Give these hints to the loops that their accounts are on; answer with [`Sweeper::hinted`].
    Hint(Vec<Hint>),
}

/// Looks at one shard of the outbox after another, for ever.
#[derive(Debug, Default)]
pub struct Sweeper {
    shard: u8,
    stage: Stage,
}

#[derive(Debug, Default)]
enum Stage {
    /// The shard is looked at after a pause.
    #[default]
    Pausing,
    /// The shard is looked at now.
    Due,
    Looking,
    Found(Swept),
    Hinting {
        keys: Vec<Bytes>,
        has_more: bool,
    },
    Hinted {
        keys: Vec<Bytes>,
        has_more: bool,
    },
    Clearing {
        has_more: bool,
    },
}

impl Sweeper {
    /// What is to be done now. Asked again before it was told what came of a step, it starts over with the shard.
    pub fn next(&mut self, now: WallTime) -> Step {
        match std::mem::take(&mut self.stage) {
            Stage::Due if !mutation::on(Mutation::SweeperOff) => {
                self.stage = Stage::Looking;
                Step::Store(Op::Sweep(Sweep { shard: self.shard, due: now - GRACE, limit: KEYS_MAX }))
            }
            Stage::Found(swept) => {
                let hints = swept.behind.iter().filter_map(hint).collect();
                self.stage = Stage::Hinting { keys: swept.keys, has_more: swept.has_more };
                Step::Hint(hints)
            }
            Stage::Hinted { keys, has_more } => {
                self.stage = Stage::Clearing { has_more };
                Step::Store(Op::ClearOutbox(ClearOutbox { keys }))
            }
            Stage::Due | Stage::Pausing | Stage::Looking | Stage::Hinting { .. } | Stage::Clearing { .. } => {
                self.stage = Stage::Due;
                Step::Wait(ROUND / u32::from(OUTBOX_SHARDS))
            }
        }
    }

    /// What came of a [`Step::Store`]; `None` if the store did not answer: the next round tries again.
    pub fn stored(&mut self, output: Option<OpOutput>) {
        self.stage = match (std::mem::take(&mut self.stage), output) {
            (Stage::Looking, Some(OpOutput::Sweep(swept))) if !swept.keys.is_empty() => Stage::Found(swept),
            (Stage::Clearing { has_more: true }, Some(_)) => Stage::Due,
            _ => self.pass_on(),
        };
    }

    /// Whether every loop that a hint was for took it. One that takes no more is given time, not more hints.
    pub fn hinted(&mut self, all_taken: bool) {
        let done = all_taken || mutation::on(Mutation::ClearUnhinted);
        self.stage = match std::mem::take(&mut self.stage) {
            Stage::Hinting { keys, has_more } if done => Stage::Hinted { keys, has_more },
            _ => self.pass_on(),
        };
    }

    fn pass_on(&mut self) -> Stage {
        self.shard = (self.shard + 1) % OUTBOX_SHARDS;
        Stage::Pausing
    }
}

/// What a device that is behind is told. Sessions carry chats and the device's inbox; calls have no entries yet.
fn hint(behind: &Behind) -> Option<Hint> {
    let Behind { log, head, account, device } = *behind;
    match log {
        LogId::Chat(_) | LogId::Device(_) => Some(Hint::Behind { log, head, account, device }),
        LogId::Call(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use wire::{AccountId, ChatId, DeviceId, Seq};

    use super::*;

    fn found(keys: usize, has_more: bool) -> Option<OpOutput> {
        let behind = Behind {
            log: LogId::Chat(ChatId::new([1; 16])),
            head: Seq(3),
            account: AccountId::new([2; 16]),
            device: DeviceId::new([3; 16]),
        };
        let keys = vec![Bytes::from_static(b"o"); keys];
        Some(OpOutput::Sweep(Swept { behind: vec![behind], ended: Vec::new(), keys, has_more }))
    }

    /// Waits, and looks at the shard that is returned.
    fn look(sweeper: &mut Sweeper) -> u8 {
        assert!(matches!(sweeper.next(WallTime(9_000_000)), Step::Wait(_)));
        match sweeper.next(WallTime(9_000_000)) {
            Step::Store(Op::Sweep(sweep)) => sweep.shard,
            other => panic!("{other:?}"),
        }
    }

    fn hints(sweeper: &mut Sweeper) -> usize {
        match sweeper.next(WallTime(0)) {
            Step::Hint(hints) => hints.len(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn i7_keys_are_cleared_only_after_every_hint_was_taken() {
        let mut sweeper = Sweeper::default();
        assert_eq!(look(&mut sweeper), 0);
        sweeper.stored(found(2, false));
        assert_eq!(hints(&mut sweeper), 1);
        sweeper.hinted(false);
        assert_eq!(look(&mut sweeper), 1, "nothing was cleared");
        sweeper.stored(found(2, false));
        hints(&mut sweeper);
        sweeper.hinted(true);
        match sweeper.next(WallTime(0)) {
            Step::Store(Op::ClearOutbox(clear)) => assert_eq!(clear.keys.len(), 2),
            other => panic!("{other:?}"),
        }
        sweeper.stored(Some(OpOutput::ClearOutbox(2)));
        assert_eq!(look(&mut sweeper), 2);
    }

    #[test]
    fn i7_a_device_is_told_of_its_inbox_as_of_a_chat() {
        let (account, device, head) = (AccountId::new([2; 16]), DeviceId::new([3; 16]), Seq(3));
        for log in [LogId::Chat(ChatId::new([1; 16])), LogId::Device(device)] {
            let told = hint(&Behind { log, head, account, device });
            assert!(
                matches!(told, Some(Hint::Behind { log: of, head: Seq(3), .. }) if of == log),
                "{told:?}"
            );
        }
    }

    #[test]
    fn i7_a_full_shard_is_looked_at_again_at_once_and_a_silent_store_later() {
        let mut sweeper = Sweeper::default();
        assert_eq!(look(&mut sweeper), 0);
        sweeper.stored(found(256, true));
        hints(&mut sweeper);
        sweeper.hinted(true);
        assert!(matches!(sweeper.next(WallTime(0)), Step::Store(Op::ClearOutbox(_))));
        sweeper.stored(Some(OpOutput::ClearOutbox(256)));
        assert!(matches!(sweeper.next(WallTime(0)), Step::Store(Op::Sweep(Sweep { shard: 0, .. }))));
        sweeper.stored(None);
        for shard in 1..OUTBOX_SHARDS {
            assert_eq!(look(&mut sweeper), shard);
            sweeper.stored(found(0, false));
        }
        assert_eq!(look(&mut sweeper), 0, "and all the others in between");
    }
}
