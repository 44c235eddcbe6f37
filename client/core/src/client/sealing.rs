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
        if state.gone {
            self.fail_all(chat, ErrorCode::NotMember.refuse());
            return false;
        }
        if state.blocked_until.is_some() || state.group.is_behind() {
            return false;
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

    /// The server has nothing more of a chat for this account. What has left before may be in the log all the same: that comes,
    /// up to the entry by which this account went. If it does not come, all of it fails in the end.
    pub(super) fn on_not_member(&mut self, chat: ChatId, stream: StreamTag, refusal: Refusal, now: Now) {
        self.end_up(chat, stream, Duration::ZERO, now);
        let is_inside = matches!(self.stage(chat), Stage::Inside(_));
        let Some(state) = self.chats.get_mut(&chat) else { return };
        let waits = is_inside && !state.gone && self.outbox.is_unsure(chat);
        if !waits || !state.group.wait_for_the_end(&mut self.rng, now.instant) {
            self.fail_all(chat, refusal);
            self.release(chat, now);
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
