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
pub(crate) struct Moves {
    logs: BTreeMap<LogId, BTreeMap<DeviceId, Move>>,
    count: usize,
}

impl Moves {
    /// Whether a device's move in a log needs no room, or there is some for it.
    pub(crate) fn has_room(&self, log: LogId, device: DeviceId, count_max: usize) -> bool {
        self.count < count_max || self.logs.get(&log).is_some_and(|log| log.contains_key(&device))
    }

    /// Adds a move; `true` if it is its log's first, so that a timer is set.
    pub(crate) fn add(&mut self, mut new: Move) -> bool {
        let log = self.logs.entry(new.op.log).or_default();
        let first = log.is_empty();
        if let Some(old) = log.get(&new.op.device) {
            new.op.delivered = new.op.delivered.max(old.op.delivered);
            new.op.read = new.op.read.max(old.op.read);
            new.op.in_doubt |= old.op.in_doubt;
        }
        self.count += usize::from(log.insert(new.op.device, new).is_none());
        first
    }

    /// Takes one of the moves that were gathered for a log.
    pub(crate) fn take(&mut self, log: LogId) -> Option<Move> {
        let moves = self.logs.get_mut(&log)?;
        let taken = moves.pop_first().map(|(_, taken)| taken);
        if moves.is_empty() {
            self.logs.remove(&log);
        }
        self.count -= usize::from(taken.is_some());
        taken
    }

    /// Whether something is gathered for a log.
    pub(crate) fn has(&self, log: LogId) -> bool {
        self.logs.contains_key(&log)
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
                in_doubt: read > 0,
                now: WallTime(0),
            },
            link: LinkId(1),
            stream: StreamId(0),
        };
        let mut moves = Moves::default();
        assert!(moves.add(step(5, 0)));
        assert!(!moves.add(step(3, 2)));
        let device = DeviceId::new([3; 16]);
        assert!(moves.has_room(log, device, 1) && !moves.has_room(log, DeviceId::new([4; 16]), 1));
        let taken = moves.take(log).map(|m| m.op);
        assert!(taken.is_some_and(|op| (op.delivered, op.read, op.in_doubt) == (Seq(5), Seq(2), true)));
        assert!(moves.take(log).is_none() && !moves.has(log));
        assert!(moves.has_room(log, DeviceId::new([4; 16]), 1), "it counts what is there");
    }
}
