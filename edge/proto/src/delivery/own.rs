//! A device's own messages: it has them, and its ack stands for the entry (ARCHITECTURE.md, section 8).
//!
//! Invariant: an entry counts as sent without being sent only if the store says that the device's cursor covers it, and
//! nothing before it is still owed. In every other case it is delivered like any.

use std::time::Instant;

use store::op::Appended;
use wire::{ChatId, LogId, Seq, WallTime};

use super::LogDelivery;
use crate::conn::{Conn, Stage};
use crate::io::Now;

impl Conn {
    /// A message that this device said is committed and acknowledged; `true` if the device has it by that, so that its
    /// session needs no hint. A quiet chat stays forgotten.
    pub(crate) fn has_own(&mut self, now: Now, chat: ChatId, appended: &Appended) -> bool {
        let (seq, at) = (appended.seq, appended.at);
        if appended.delivered < seq {
            return false;
        }
        match &mut self.stage {
            Stage::Active(session) => {
                let delivery = session.logs.get_mut(&LogId::Chat(chat));
                delivery.is_none_or(|delivery| delivery.skip_own(seq, at, now.instant))
            }
            // What it stated when it had not said this yet is what delivery begins with.
            Stage::Early(session) => {
                let stated = session.stated.get_mut(&chat).filter(|stated| stated.next() == seq);
                stated.map(|stated| *stated = seq).is_some()
            }
            _ => false,
        }
    }
}

impl LogDelivery {
    /// Counts an entry as sent that the device has, if it is the next; `true` if it was.
    fn skip_own(&mut self, seq: Seq, at: WallTime, now: Instant) -> bool {
        if self.opening || self.sent.next() != seq {
            return false;
        }
        self.sent = seq;
        self.head = self.head.max(seq);
        self.last_at = self.last_at.max(at);
        self.hinted = self.hinted.filter(|(hinted, _)| *hinted > seq);
        self.active_at = now;
        true
    }
}
