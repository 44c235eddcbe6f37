//! What the entries of a log are, once they are opened: messages, commits, what the server says, and what cannot be read.
//!
//! Every entry takes its place, whatever it is: nobody's bytes can hold up what comes after them.

use client_crypto::{Change, MlsError, Received};
use wire::event::{Control, ControlKind, Entry, EntryKind};
use wire::{AccountId, ChatId, DeviceId};

use super::Client;
use crate::group::Stage;
use crate::io::{ClientEvent, Now};
use crate::kept::{MembersChange, Message, Passed, Unreadable, Write};

impl Client {
    /// Opens a chat's next entry.
    pub(super) fn open_entry(&mut self, chat: ChatId, stage: Stage, entry: Entry, now: Now) {
        match entry.what {
            EntryKind::Message if stage == Stage::Creating => self.passes(chat, &entry, Passed::Unknown, now),
            EntryKind::Message => self.open_message(chat, entry, now),
            EntryKind::Commit { .. } => self.open_commit(chat, stage, &entry, now),
            EntryKind::Control(control) => self.take_control(chat, &entry, &control, now),
            EntryKind::Unknown => self.passes(chat, &entry, Passed::Unknown, now),
        }
    }

    /// An entry takes its place, and there is no message in it.
    fn passes(&mut self, chat: ChatId, entry: &Entry, what: Passed, now: Now) {
        let (seq, sender, at) = (entry.seq, entry.sender, entry.at);
        self.moves(chat, seq, Write::Passed { chat, seq, sender, at, what }, now);
        self.notify(match what {
            Passed::Unreadable(why) => ClientEvent::Unreadable { chat, seq, sender: entry.sender, why },
            _ => ClientEvent::Passed { chat, seq, what },
        });
    }

    /// An entry could not be opened. Only what is kept here can be so wrong that nothing goes on: then the entry stays
    /// where it is.
    fn fails_to_open(&mut self, chat: ChatId, entry: &Entry, error: &MlsError, now: Now) {
        match error {
            MlsError::Storage(_) => self.broken(error),
            _ => self.passes(chat, entry, Passed::Unreadable(why(error)), now),
        }
    }

    fn open_message(&mut self, chat: ChatId, entry: Entry, now: Now) {
        match self.crypto.receive(chat, &entry) {
            Ok(Received::Message { content, .. }) => {
                let message = message_of(chat, &entry, content.into());
                self.arrived(message, now);
            }
            // One's own message may come back before its ack, or instead of one that was lost.
            Ok(Received::OwnMessage) => match self.outbox.remove(chat, entry.client_msg_id) {
                Some(row) => {
                    let message = message_of(chat, &entry, row.content);
                    self.persist(Write::Sent(message.clone()));
                    self.notify(ClientEvent::Sent(message.clone()));
                    self.arrived(message, now);
                }
                None => self.passes(chat, &entry, Passed::Own, now),
            },
            Ok(_) => self.passes(chat, &entry, Passed::Unreadable(Unreadable::Refused), now),
            Err(error) => self.fails_to_open(chat, &entry, &error, now),
        }
    }

    // ---- commits ----

    fn open_commit(&mut self, chat: ChatId, stage: Stage, entry: &Entry, now: Now) {
        let before = self.leaves(chat);
        if matches!(stage, Stage::Inside(_)) && !self.may_commit(chat, entry, now) {
            return;
        }
        match self.crypto.receive(chat, entry) {
            Ok(Received::OwnCommitted { change } | Received::Committed { change, lost: None }) => {
                self.passes(chat, entry, Passed::Commit, now);
                self.moved_on(chat, entry, &before, &change, now);
            }
            Ok(Received::Committed { change, lost: Some(_) }) => {
                self.passes(chat, entry, Passed::Commit, now);
                self.moved_on(chat, entry, &before, &change, now);
                // What was wanted may be done, or is to be done in another way.
                self.tidy(chat, true, now);
            }
            Ok(Received::CreationLost { .. }) => {
                self.passes(chat, entry, Passed::Commit, now);
                self.forget_commit(chat);
                self.look_up(chat);
            }
            Ok(Received::Removed { by }) => {
                self.passes(chat, entry, Passed::Commit, now);
                self.leave_behind(chat, by.account, now);
            }
            Ok(_) => self.passes(chat, entry, Passed::Unreadable(Unreadable::Refused), now),
            Err(error) => self.fails_to_open(chat, entry, &error, now),
        }
    }

    /// Whether a commit does what it may. Into a 1:1 chat nobody can be brought, by whatever server.
    fn may_commit(&mut self, chat: ChatId, entry: &Entry, now: Now) -> bool {
        match self.crypto.look_at_commit(chat, entry) {
            Ok(change) => {
                let added: Vec<AccountId> = change.adds.iter().map(|(_, leaf)| leaf.account).collect();
                let fits = self.fits_chat(chat, &added);
                if !fits {
                    self.passes(chat, entry, Passed::Unreadable(Unreadable::Stranger), now);
                }
                fits
            }
            Err(error) => {
                self.fails_to_open(chat, entry, &error, now);
                false
            }
        }
    }

    /// The chat's group is in its next epoch: whatever waited for that goes on, and what is left to do is looked at anew.
    fn moved_on(
        &mut self,
        chat: ChatId,
        entry: &Entry,
        before: &[(AccountId, DeviceId)],
        change: &Change,
        now: Now,
    ) {
        self.forget_commit(chat);
        self.look_up(chat);
        let after = self.leaves(chat);
        self.tell_members(chat, entry, before, &after, change.by.account);
        let plan = self.groups.plans.contains_key(&chat);
        let Some(state) = self.chats.get_mut(&chat) else { return };
        state.group.attempts.reset();
        // In a new epoch nothing was said yet.
        state.group.needs.update = false;
        state.group.remains(after.iter().copied());
        self.need_own_devices(chat, &after.iter().map(|(_, device)| *device).collect(), now);
        let needs = self.chats.get(&chat).is_some_and(|state| state.group.needs.any());
        if plan {
            self.work_within(chat, std::time::Duration::ZERO, now);
        } else if needs {
            self.tidy_again(chat, now);
        } else {
            self.own_devices_seen();
        }
    }

    fn tell_members(
        &mut self,
        chat: ChatId,
        entry: &Entry,
        before: &[(AccountId, DeviceId)],
        after: &[(AccountId, DeviceId)],
        by: AccountId,
    ) {
        let accounts = |leaves: &[(AccountId, DeviceId)]| -> std::collections::BTreeSet<AccountId> {
            leaves.iter().map(|(account, _)| *account).collect()
        };
        let (before, after) = (accounts(before), accounts(after));
        let added: Vec<AccountId> = after.difference(&before).copied().collect();
        // Of who left that was said then: whoever removes what is left of them has not sent them away.
        let left = |account: &&AccountId| {
            self.chats.get(&chat).is_some_and(|state| state.group.has_departed(**account))
        };
        let removed: Vec<AccountId> =
            before.difference(&after).filter(|account| !left(account)).copied().collect();
        if !added.is_empty() || !removed.is_empty() {
            let (seq, at) = (entry.seq, entry.at);
            self.members_changed(MembersChange { chat, seq, at, by, added, removed });
        }
    }

    /// A member has left. Its leaves stay in the group until a commit removes them.
    fn tell_left(&mut self, chat: ChatId, entry: &Entry, account: AccountId) {
        if self.leaves(chat).iter().any(|(member, _)| *member == account) {
            let (seq, at, added, removed) = (entry.seq, entry.at, Vec::new(), vec![account]);
            self.members_changed(MembersChange { chat, seq, at, by: account, added, removed });
        }
    }

    pub(super) fn members_changed(&mut self, change: MembersChange) {
        self.persist(Write::Members(change.clone()));
        self.notify(ClientEvent::MembersChanged(change));
    }

    // ---- what the server says ----

    fn take_control(&mut self, chat: ChatId, entry: &Entry, control: &Control, now: Now) {
        self.passes(chat, entry, Passed::Control, now);
        let own = self.own_account();
        if control.kind == ControlKind::Left && control.account == own {
            return self.leave_behind(chat, own, now);
        }
        if let (ControlKind::DeviceEnded, Some(device)) = (control.kind, control.device)
            && control.account == own
        {
            self.own_device_ended(device);
        }
        if control.kind == ControlKind::Left {
            self.tell_left(chat, entry, control.account);
        }
        let Some(state) = self.chats.get_mut(&chat) else { return };
        state.group.departs(control);
        if control.kind != ControlKind::Unsaid {
            self.tidy(chat, false, now);
        }
    }
}

fn message_of(chat: ChatId, entry: &Entry, content: bytes::Bytes) -> Message {
    let (seq, sender, client_msg_id, at) = (entry.seq, entry.sender, entry.client_msg_id, entry.at);
    Message { chat, seq, sender, client_msg_id, at, content }
}

fn why(error: &MlsError) -> Unreadable {
    match error {
        MlsError::WrongGroup | MlsError::WrongEpoch | MlsError::Relabelled => Unreadable::Relabelled,
        MlsError::StaleEpoch { .. }
        | MlsError::FutureEpoch { .. }
        | MlsError::NotMember
        | MlsError::Creating => Unreadable::Epoch,
        MlsError::Replayed | MlsError::TooFar => Unreadable::Replayed,
        _ => Unreadable::Refused,
    }
}
