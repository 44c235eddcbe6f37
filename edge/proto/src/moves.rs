//! Cursor moves, gathered per log for a moment so that many of them are one transaction.

use std::collections::BTreeMap;

use store::op::MoveCursor;
use wire::{DeviceId, LogId};

use crate::io::{LinkId, StreamId};

/// A gathered move, and where its refusal would go.
#[derive(Debug)]
pub(crate) struct Move {
    pub(crate) op: MoveCursor,
    pub(crate) link: LinkId,
    pub(crate) stream: StreamId,
}

/// At most one move per (log, device): the furthest.
#[derive(Debug, Default)]
pub(crate) struct Moves(BTreeMap<LogId, BTreeMap<DeviceId, Move>>);

impl Moves {
    /// Adds a move; `true` if it is its log's first, so that a timer is set.
    pub(crate) fn add(&mut self, mut new: Move) -> bool {
        let log = self.0.entry(new.op.log).or_default();
        let first = log.is_empty();
        if let Some(old) = log.get(&new.op.device) {
            new.op.delivered = new.op.delivered.max(old.op.delivered);
            new.op.read = new.op.read.max(old.op.read);
        }
        log.insert(new.op.device, new);
        first
    }

    /// Takes what was gathered for a log.
    pub(crate) fn take(&mut self, log: LogId) -> impl Iterator<Item = Move> {
        self.0.remove(&log).unwrap_or_default().into_values()
    }
}

#[cfg(test)]
mod tests {
    use wire::{AccountId, ChatId, Seq, WallTime};

    use super::*;

    #[test]
    fn i4_a_gathered_move_is_the_furthest_of_both() {
        let log = LogId::Chat(ChatId::new([1; 16]));
        let step = |delivered, read| Move {
            op: MoveCursor {
                log,
                account: AccountId::new([2; 16]),
                device: DeviceId::new([3; 16]),
                delivered: Seq(delivered),
                read: Seq(read),
                now: WallTime(0),
            },
            link: LinkId(1),
            stream: StreamId(0),
        };
        let mut moves = Moves::default();
        assert!(moves.add(step(5, 0)));
        assert!(!moves.add(step(3, 2)));
        let taken: Vec<_> = moves.take(log).map(|m| (m.op.delivered, m.op.read)).collect();
        assert_eq!(taken, [(Seq(5), Seq(2))]);
        assert_eq!(moves.take(log).count(), 0);
    }
}
