//! How entries of a chat get here, each once and in order: on its stream, or, one's own, by their acks.

use std::time::Duration;

use mutation::Mutation;
use wire::event::Entry;
use wire::{ChatId, ClientMsgId, Epoch, Seq, WallTime};

use super::Client;
use crate::chat::Arrival;
use crate::group::Stage;
use crate::io::{ClientEvent, Now};
use crate::kept::{Message, Write};

/// A message is committed.
pub(super) struct Ack {
    pub(super) client_msg_id: ClientMsgId,
    pub(super) seq: Seq,
    pub(super) at: WallTime,
    /// Where the store has this device's cursor: from `seq` on, the ack stands for the entry.
    pub(super) delivered: Seq,
}

impl Client {
    /// A chat's stream begins. What comes before it is here, or comes by answers that are still due; for a device that has
    /// nothing of the chat yet it begins there, or with what it has itself said before, which the answers will say.
    pub(super) fn on_begin(&mut self, chat: ChatId, from_seq: Seq, now: Now) {
        if self.chats.get(&chat).is_some_and(|state| from_seq <= state.have.next()) {
            self.take_back(chat, now);
        }
        let stage = self.stage(chat);
        let Some(state) = self.chats.get_mut(&chat) else { return };
        state.group.is_there = true;
        if !matches!(stage, Stage::Inside(_)) {
            // Where the log begins for this device is said by a welcome, or by its own commit, which is the first entry.
            return;
        }
        let unsure = self.outbox.is_unsure(chat);
        if !unsure {
            state.begin_at(from_seq);
        }
        if from_seq <= state.have.next() {
            return;
        }
        if unsure {
            // A later stream follows the first one, whose entries are held as long as nothing is here.
            if state.have > Seq::ZERO || state.held.through() == Seq::ZERO {
                state.held.wait(Seq(from_seq.0 - 1), now.instant);
            }
        } else if self.stated.contains(&chat) || self.inbox.welcomes(chat) {
            // The server knows what is here, and nothing between is for this account any more: it was removed, and a
            // welcome brings it in again.
            self.set_aside(chat);
        } else {
            self.on_gap(chat, now);
        }
    }

    pub(super) fn on_entry(&mut self, chat: ChatId, entry: Entry, now: Now) {
        self.take_entry(chat, entry, now);
        self.release(chat, now);
    }

    fn take_entry(&mut self, chat: ChatId, entry: Entry, now: Now) {
        if self.stage(chat) == Stage::Creating
            && (entry.epoch > Epoch::ZERO || self.arrival(chat, entry.seq) == Arrival::Gap)
        {
            // Another's group is there already: what this device made is not it.
            self.drop_commit(chat);
        }
        let stage = self.stage(chat);
        let Some(state) = self.chats.get_mut(&chat) else { return };
        match state.arrival(entry.seq) {
            Arrival::Repeat => state.repeat(entry.seq, now.instant),
            _ if stage == Stage::Outside => state.held.keep(entry, now.instant),
            Arrival::Gap => self.on_early(chat, entry, now),
            Arrival::Next => {
                self.on_typing(chat, entry.sender, false, now);
                self.open_entry(chat, stage, entry, now);
                // A message that is answered this way makes room for the next.
                self.pump_chat(chat, now);
            }
        }
    }

    fn arrival(&self, chat: ChatId, seq: Seq) -> Arrival {
        self.chats.get(&chat).map_or(Arrival::Gap, |state| state.arrival(seq))
    }

    /// A chat's next entry is a message.
    pub(super) fn arrived(&mut self, message: Message, now: Now) {
        let chat = message.chat;
        self.moves(chat, message.seq, Write::Arrived(message.clone()), now);
        self.notify(ClientEvent::Arrived(message));
    }

    /// A chat's next entry is here, and this is what is kept of it.
    pub(super) fn moves(&mut self, chat: ChatId, seq: Seq, write: Write, now: Now) {
        let Some(state) = self.chats.get_mut(&chat) else { return };
        let read_before = state.read;
        state.arrive(seq, now.instant);
        let read = state.read;
        self.persist(write);
        self.persist_read(chat, read_before, read);
    }

    pub(super) fn persist_read(&mut self, chat: ChatId, before: Seq, read: Seq) {
        if read > before {
            self.persist(Write::Read { chat, read });
        }
    }

    /// An own message is committed: one tick.
    pub(super) fn on_ack(&mut self, chat: ChatId, ack: &Ack, now: Now) {
        let Some(row) = self.outbox.remove(chat, ack.client_msg_id) else { return };
        let Some((sender, _)) = self.identity() else { return };
        let &Ack { client_msg_id, seq, at, delivered } = ack;
        let message = Message { chat, seq, sender, client_msg_id, at, content: row.content };
        self.persist(Write::Sent(message.clone()));
        self.notify(ClientEvent::Sent(message.clone()));
        if let Some(state) = self.chats.get_mut(&chat) {
            state.group.taken();
        }
        if delivered >= seq {
            self.take_own(message, now);
        }
        self.release(chat, now);
        self.pump_chat(chat, now);
    }

    /// The ack stands for the entry.
    fn take_own(&mut self, message: Message, now: Now) {
        let chat = message.chat;
        let Some(state) = self.chats.get_mut(&chat) else { return };
        let read_before = state.read;
        match state.arrive_by_ack(message.seq) {
            // The server's cursor was moved over something that is not here.
            Arrival::Gap => self.on_gap(chat, now),
            Arrival::Repeat => {}
            Arrival::Next => {
                let (delivered, read, read_now) = (state.told.0, state.read_known, state.read);
                self.persist(Write::Arrived(message.clone()));
                self.persist_read(chat, read_before, read_now);
                self.notify(ClientEvent::Arrived(message));
                self.persist(Write::Told { chat, delivered, read });
            }
        }
    }

    /// An entry came, and what is before it is not here: an ack that is due may fill the place.
    fn on_early(&mut self, chat: ChatId, entry: Entry, now: Now) {
        let waits = self.outbox.is_unsure(chat) && !mutation::on(Mutation::AckNotAwaited);
        let state = self.chats.get_mut(&chat).filter(|_| waits);
        if !state.is_some_and(|state| state.held.push(entry, now.instant)) {
            self.on_gap(chat, now);
        }
    }

    /// Takes what was held as far as the places before it are filled. If no answer is due any more that could fill the
    /// rest, that is missing.
    pub(super) fn release(&mut self, chat: ChatId, now: Now) {
        while let Some(state) = self.chats.get_mut(&chat) {
            if state.group.is_outside() {
                return;
            }
            if let Some(entry) = state.held.next(state.have) {
                self.take_entry(chat, entry, now);
            } else if !state.held.waits(state.have) || self.outbox.is_unsure(chat) {
                return;
            } else if state.have < state.held.through() && state.have == Seq::ZERO {
                // Nothing of this device's own lies before the stream.
                state.begin_at(state.held.through().next());
            } else {
                return self.on_gap(chat, now);
            }
        }
    }

    /// An answer that others wait for does not come: the next connection begins after what is here. `true` if so.
    pub(super) fn give_up_held(&mut self, now: Now) -> bool {
        let is_over = |chat: &crate::chat::Chat| chat.held_ends_at().is_some_and(|at| at <= now.instant);
        let over: Vec<ChatId> =
            self.chats.iter().filter(|(_, state)| is_over(state)).map(|(&chat, _)| chat).collect();
        let gives_up = !over.is_empty();
        // A device that has nothing of a chat has nothing to state: it begins where the server says.
        let begun = |chat: &ChatId| self.chats.get(chat).is_some_and(|state| state.have > Seq::ZERO);
        self.gaps.extend(over.into_iter().filter(begun));
        if gives_up {
            self.close();
            self.on_lost("an answer is missing".into(), Duration::ZERO, now);
        }
        gives_up
    }

    /// Entries are missing: the next `Hello` says from where.
    fn on_gap(&mut self, chat: ChatId, now: Now) {
        self.gaps.insert(chat);
        self.close();
        self.on_lost("entries are missing".into(), Duration::ZERO, now);
    }
}
