//! Sealing what leaves: when a chat's group allows it, for the epoch that the group is in.

use std::time::Duration;

use client_crypto::MlsError;
use wire::{ChatId, ClientMsgId, Epoch, ErrorCode, Refusal};

use super::Client;
use crate::group::Stage;
use crate::io::{Now, StreamTag};
use crate::kept::{OutboxRow, Sealed, Write};

impl Client {
    /// Whether messages of a chat may leave now. If not, whatever they need is begun.
    pub(super) fn may_append(&mut self, chat: ChatId, now: Now) -> bool {
        let Some(state) = self.chats.get(&chat) else { return false };
        if state.blocked_until.is_some() || state.group.is_behind() {
            return false;
        }
        if state.gone {
            self.fail_unsealed(chat);
            return true;
        }
        match self.stage(chat) {
            Stage::Inside(_) => true,
            Stage::Outside | Stage::Creating => {
                self.want_group(chat, now);
                false
            }
        }
    }

    /// A message as it leaves: as it was sealed before, if that is for the group's epoch, else sealed anew. `None` if it
    /// cannot leave now.
    pub(super) fn sealed(&mut self, row: &OutboxRow, now: Now) -> Option<Sealed> {
        if self.chats.get(&row.chat).is_some_and(|state| state.gone) {
            return row.sealed.clone();
        }
        let Stage::Inside(epoch) = self.stage(row.chat) else { return None };
        if let Some(sealed) = row.sealed.clone().filter(|sealed| sealed.epoch == epoch) {
            return Some(sealed);
        }
        let (chat, client_msg_id) = (row.chat, row.client_msg_id);
        match self.crypto.seal(chat, epoch, client_msg_id, &row.content) {
            Ok(sealed) => {
                self.outbox.seal_next(chat, sealed.clone());
                self.persist(Write::Sealed { client_msg_id, sealed: sealed.clone() });
                self.update_if_needed(chat, now);
                Some(sealed)
            }
            Err(MlsError::UpdateFirst) => {
                self.blocked_until_epoch(chat, epoch.next(), now);
                self.needs_update(chat, now);
                None
            }
            Err(MlsError::TooLarge) => {
                self.fail(chat, client_msg_id, ErrorCode::ContentTooLarge.refuse());
                None
            }
            Err(error) => {
                self.broken(&error);
                None
            }
        }
    }

    fn update_if_needed(&mut self, chat: ChatId, now: Now) {
        match self.crypto.needs_update(chat) {
            Ok(true) => self.needs_update(chat, now),
            Ok(false) => {}
            Err(error) => self.broken(&error),
        }
    }

    fn needs_update(&mut self, chat: ChatId, now: Now) {
        let Some(state) = self.chats.get_mut(&chat) else { return };
        if !std::mem::replace(&mut state.group.needs.update, true) {
            self.work_within(chat, Duration::ZERO, now);
        }
    }

    fn blocked_until_epoch(&mut self, chat: ChatId, epoch: Epoch, now: Now) {
        if let Some(state) = self.chats.get_mut(&chat) {
            state.group.wait_for(epoch, &mut self.rng, now.instant);
        }
    }

    /// The log is in another epoch than the message was sealed for, or wants a commit first: nothing behind it was appended.
    /// It goes again under the same id, sealed anew, once the log has moved; nobody is told.
    pub(super) fn on_epoch_refused(
        &mut self,
        chat: ChatId,
        stream: StreamTag,
        refusal: Refusal,
        epoch: Epoch,
        now: Now,
    ) {
        self.end_up(chat, stream, Duration::ZERO, now);
        let Stage::Inside(own) = self.stage(chat) else { return };
        if refusal.code == ErrorCode::CommitFirst {
            self.blocked_until_epoch(chat, own.next(), now);
            self.tidy(chat, true, now);
        } else {
            self.blocked_until_epoch(chat, epoch, now);
        }
    }

    /// This account is out of a chat: what never left cannot. What has left may be in the log, and is said again as it was:
    /// the server knows.
    fn fail_unsealed(&mut self, chat: ChatId) {
        for client_msg_id in self.outbox.unsealed(chat) {
            self.fail(chat, client_msg_id, ErrorCode::NotMember.refuse());
        }
    }

    /// Everything that waits in a chat fails.
    pub(super) fn fail_all(&mut self, chat: ChatId, refusal: Refusal) {
        self.outbox.restart(chat);
        let ids: Vec<ClientMsgId> =
            std::iter::from_fn(|| self.outbox.start_next(chat).map(|row| row.client_msg_id)).collect();
        ids.into_iter().for_each(|id| self.fail(chat, id, refusal));
    }
}
