//! Messages that wait to be sent: ordered per chat, each at most once under way.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use wire::{ChatId, ClientMsgId, limits};

use crate::kept::{OutboxRow, Sealed};

/// Messages that may wait, in all chats together; past it, sending is refused.
pub const OUTBOX_MAX: usize = 10_000;

/// Bytes of one chat under way, the last message aside: what a stream's queue holds with room to spare.
const UNDER_WAY_BYTES_MAX: usize = 128 * 1024;

/// The outbox. Of each chat's queue the first `under_way` are on the chat's stream, unanswered, and the first `said` were
/// on one before: they may be committed, and nobody heard of it. Invariant: `under_way` is at most `said`.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    chats: BTreeMap<ChatId, Queue>,
    ids: BTreeSet<ClientMsgId>,
}

#[derive(Debug, Default)]
struct Queue {
    rows: VecDeque<OutboxRow>,
    under_way: usize,
    said: usize,
}

impl Outbox {
    pub(crate) fn len(&self) -> usize {
        self.ids.len()
    }

    /// Adds a message behind the others of its chat; `false` if it is here already.
    pub(crate) fn push(&mut self, row: OutboxRow) -> bool {
        let new = self.ids.insert(row.client_msg_id);
        if new {
            self.chats.entry(row.chat).or_default().rows.push_back(row);
        }
        new
    }

    /// Adds a message that an earlier process has queued, and may have said.
    pub(crate) fn push_kept(&mut self, row: OutboxRow) {
        let chat = row.chat;
        self.push(row);
        if let Some(queue) = self.chats.get_mut(&chat) {
            queue.said = queue.rows.len();
        }
    }

    /// Whether messages of a chat may be committed without an answer.
    pub(crate) fn is_unsure(&self, chat: ChatId) -> bool {
        self.chats.get(&chat).is_some_and(|queue| queue.said > 0)
    }

    /// The chats of which that is true.
    pub(crate) fn unsure(&self) -> impl Iterator<Item = ChatId> {
        self.chats.iter().filter(|(_, queue)| queue.said > 0).map(|(&chat, _)| chat)
    }

    /// Chats with messages that are not under way.
    pub(crate) fn waiting(&self) -> impl Iterator<Item = ChatId> {
        self.chats.iter().filter(|(_, queue)| queue.under_way < queue.rows.len()).map(|(&chat, _)| chat)
    }

    /// The other account of a chat, if a waiting message names it.
    pub(crate) fn peer(&self, chat: ChatId) -> Option<wire::AccountId> {
        self.chats.get(&chat)?.rows.front()?.peer
    }

    pub(crate) fn under_way(&self, chat: ChatId) -> usize {
        self.chats.get(&chat).map_or(0, |queue| queue.under_way)
    }

    /// Whether another message may be under way: few enough are, and few enough bytes.
    pub(crate) fn may_start(&self, chat: ChatId) -> bool {
        let Some(queue) = self.chats.get(&chat) else { return false };
        let bytes: usize = queue.rows.iter().take(queue.under_way).map(|row| row.content.len()).sum();
        queue.under_way < limits::APPENDS_IN_FLIGHT_MAX && bytes < UNDER_WAY_BYTES_MAX
    }

    /// The next message of a chat that is not under way.
    pub(crate) fn peek_next(&self, chat: ChatId) -> Option<&OutboxRow> {
        let queue = self.chats.get(&chat)?;
        queue.rows.get(queue.under_way)
    }

    /// What that one was sealed as.
    pub(crate) fn seal_next(&mut self, chat: ChatId, sealed: Sealed) {
        let next = self.chats.get_mut(&chat).and_then(|queue| queue.rows.get_mut(queue.under_way));
        next.into_iter().for_each(|row| row.sealed = Some(sealed.clone()));
    }

    /// Whether a chat has messages at all.
    pub(crate) fn has(&self, chat: ChatId) -> bool {
        self.chats.contains_key(&chat)
    }

    /// The next message of a chat, now under way.
    pub(crate) fn start_next(&mut self, chat: ChatId) -> Option<&OutboxRow> {
        let queue = self.chats.get_mut(&chat)?;
        let row = queue.rows.get(queue.under_way)?;
        queue.under_way += 1;
        queue.said = queue.said.max(queue.under_way);
        Some(row)
    }

    /// The chat's stream is gone: whatever was under way goes again, in order.
    pub(crate) fn restart(&mut self, chat: ChatId) {
        if let Some(queue) = self.chats.get_mut(&chat) {
            queue.under_way = 0;
        }
    }

    /// The connection is gone.
    pub(crate) fn restart_all(&mut self) {
        if mutation::on(mutation::Mutation::NewIdOnRetry) {
            self.forget_ids();
        }
        self.chats.values_mut().for_each(|queue| queue.under_way = 0);
    }

    /// A mistake, if it is chosen: what may have been sent gets another id.
    fn forget_ids(&mut self) {
        for queue in self.chats.values_mut() {
            for row in queue.rows.iter_mut().take(queue.under_way) {
                self.ids.remove(&row.client_msg_id);
                row.client_msg_id = ClientMsgId::new(row.client_msg_id.as_bytes().map(|byte| !byte));
                self.ids.insert(row.client_msg_id);
            }
        }
    }

    /// Takes a message out: it was answered, or cancelled.
    pub(crate) fn remove(&mut self, chat: ChatId, id: ClientMsgId) -> Option<OutboxRow> {
        let queue = self.chats.get_mut(&chat)?;
        let place = queue.rows.iter().position(|row| row.client_msg_id == id)?;
        if place < queue.under_way {
            queue.under_way -= 1;
        }
        if place < queue.said {
            queue.said -= 1;
        }
        let row = queue.rows.remove(place);
        if queue.rows.is_empty() {
            self.chats.remove(&chat);
        }
        self.ids.remove(&id);
        row
    }

    /// Where a message that was never said waits.
    pub(crate) fn cancellable(&self, id: ClientMsgId) -> Option<ChatId> {
        let waits = |queue: &Queue| queue.rows.iter().skip(queue.said).any(|row| row.client_msg_id == id);
        self.chats.iter().find(|(_, queue)| waits(queue)).map(|(&chat, _)| chat)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(n: u8) -> OutboxRow {
        let (client_msg_id, chat) = (ClientMsgId::new([n; 16]), ChatId::new([1; 16]));
        OutboxRow { client_msg_id, chat, peer: None, content: bytes::Bytes::new(), sealed: None }
    }

    #[test]
    fn g21_order_is_kept_over_lost_streams_and_answers_out_of_turn() {
        let (mut outbox, chat) = (Outbox::default(), ChatId::new([1; 16]));
        (1..=4).for_each(|n| assert!(outbox.push(row(n))));
        assert!(!outbox.push(row(3)), "it waits already");
        let next = |outbox: &mut Outbox| outbox.start_next(chat).map(|row| row.client_msg_id.as_bytes()[0]);
        assert_eq!([next(&mut outbox), next(&mut outbox), next(&mut outbox)], [Some(1), Some(2), Some(3)]);
        outbox.remove(chat, ClientMsgId::new([2; 16]));
        outbox.restart(chat);
        assert_eq!(outbox.cancellable(ClientMsgId::new([4; 16])), Some(chat));
        assert_eq!(outbox.cancellable(ClientMsgId::new([1; 16])), None, "it may be committed");
        assert_eq!([next(&mut outbox), next(&mut outbox)], [Some(1), Some(3)]);
        assert_eq!(outbox.cancellable(ClientMsgId::new([3; 16])), None, "it may be committed");
        assert_eq!((next(&mut outbox), next(&mut outbox)), (Some(4), None));
        assert_eq!(outbox.len(), 3);
    }

    #[test]
    fn i4_a_chat_is_unsure_from_what_was_said_until_that_is_answered() {
        let (mut outbox, chat) = (Outbox::default(), ChatId::new([1; 16]));
        outbox.push(row(1));
        assert!(!outbox.is_unsure(chat), "nothing was said");
        outbox.start_next(chat);
        outbox.push(row(2));
        outbox.restart_all();
        assert!(outbox.is_unsure(chat));
        outbox.remove(chat, ClientMsgId::new([1; 16]));
        assert!(!outbox.is_unsure(chat), "what waits was not said");
        outbox.push_kept(row(3));
        assert!(outbox.is_unsure(chat), "an earlier process may have said it");
        assert_eq!(outbox.unsure().collect::<Vec<_>>(), [chat]);
    }
}
