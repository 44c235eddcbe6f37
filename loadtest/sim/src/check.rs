//! What must always hold, checked against the bytes in the store and on the disks by code that shares nothing with the
//! code under test but the schema of an entry.
//!
//! - I1: what a user saw acknowledged is in the log, at that place, for ever; a log never loses or changes an entry.
//! - I2, R141: a log's places are 1, 2, 3 … without gaps; each device stores exactly the log's next entry.
//! - I3: a `client_msg_id` has one place, and nothing is there that nobody sent.
//! - I4: cursors never go back; READ implies DELIVERED; none passes what is stored on a device.
//! - G21: entries of one sender in one chat are in the order of its outbox.

mod store;
mod violation;

use std::collections::BTreeMap;

use bytes::Bytes;
use client_core::{Message, OutboxRow};
use wire::{AccountId, ChatId, ClientMsgId, DeviceId, Seq};

pub(crate) use self::store::Window;
pub use self::violation::Violation;
use crate::client::name;
use crate::disk::Disk;

/// What was seen so far, and what follows from it.
#[derive(Debug, Default)]
pub(crate) struct Checker {
    users: BTreeMap<AccountId, usize>,
    devices: Vec<(AccountId, DeviceId)>,
    pub(crate) chats: BTreeMap<ChatId, ChatLog>,
    /// What each user queued in each chat, in order.
    queues: BTreeMap<(ChatId, AccountId), Vec<(ClientMsgId, Bytes)>>,
    acked: BTreeMap<ClientMsgId, (usize, ChatId, Seq)>,
    /// Seen since the store was last looked at.
    fresh: Vec<Fresh>,
    /// Where the store had each member's cursors, delivered and read.
    cursors: BTreeMap<(ChatId, AccountId), (Seq, Seq)>,
    device_cursors: BTreeMap<(ChatId, DeviceId), Seq>,
}

/// A chat's log as the store has shown it.
#[derive(Debug)]
pub(crate) struct ChatLog {
    name: String,
    pub(crate) members: [usize; 2],
    pub(crate) entries: Vec<Logged>,
    /// Where each message is.
    places: BTreeMap<ClientMsgId, Seq>,
    /// How many of each member's messages are in.
    said: [usize; 2],
}

/// One entry.
#[derive(Debug)]
pub(crate) struct Logged {
    /// The stored bytes.
    value: Bytes,
    sender: AccountId,
    client_msg_id: ClientMsgId,
    content: Bytes,
}

/// Something to be compared with the store.
#[derive(Debug)]
enum Fresh {
    Acked(usize, ChatId, Seq, ClientMsgId),
    Stored(usize, Message),
}

impl Checker {
    // ---- what is told to it ----

    /// A user has an account.
    pub(crate) fn registered(&mut self, user: usize, account: AccountId, device: DeviceId) {
        self.users.insert(account, user);
        self.devices.resize(self.devices.len().max(user + 1), (account, device));
        self.devices[user] = (account, device);
    }

    /// Two users may chat.
    pub(crate) fn may_chat(&mut self, chat: ChatId, members: [usize; 2]) {
        let name = format!("{}-{}", name(members[0]), name(members[1]));
        let log = ChatLog { name, members, entries: Vec::new(), places: BTreeMap::new(), said: [0; 2] };
        self.chats.insert(chat, log);
    }

    /// A message is in a user's outbox, on its disk.
    pub(crate) fn queued(&mut self, user: usize, row: &OutboxRow) {
        let account = self.devices[user].0;
        self.queues.entry((row.chat, account)).or_default().push((row.client_msg_id, row.content.clone()));
    }

    /// A user saw a message's tick.
    pub(crate) fn acked(&mut self, user: usize, message: &Message) {
        self.fresh.push(Fresh::Acked(user, message.chat, message.seq, message.client_msg_id));
    }

    /// A device is about to store an entry, and has everything up to `have`.
    ///
    /// # Errors
    /// [`Violation::Gap`] if it is not the next one.
    pub(crate) fn stored(&mut self, user: usize, have: Seq, message: &Message) -> Result<(), Violation> {
        if message.seq != have.next() {
            let chat = self.chat_name(message.chat).to_owned();
            return Err(Violation::Gap { user, chat, have, came: message.seq });
        }
        self.fresh.push(Fresh::Stored(user, message.clone()));
        Ok(())
    }

    /// A device is shown that somebody types.
    ///
    /// # Errors
    /// [`Violation::TypingLeaked`] unless both are members.
    pub(crate) fn typing_seen(&self, user: usize, chat: ChatId, member: AccountId) -> Result<(), Violation> {
        let members = self.chats.get(&chat).map_or(&[][..], |log| &log.members);
        let other = self.users.get(&member);
        if members.contains(&user) && other.is_some_and(|other| *other != user && members.contains(other)) {
            return Ok(());
        }
        Err(Violation::TypingLeaked { user, chat: self.chat_name(chat).to_owned() })
    }

    pub(crate) fn has_news(&self) -> bool {
        !self.fresh.is_empty()
    }

    // ---- names ----

    pub(crate) fn chat_name(&self, chat: ChatId) -> &str {
        self.chats.get(&chat).map_or("an unknown chat", |log| &log.name)
    }

    pub(crate) fn account_name(&self, account: AccountId) -> &'static str {
        self.users.get(&account).map_or("a stranger", |&user| name(user))
    }

    // ---- what is compared ----

    /// Compares what was seen since the last look with the logs, which were read after it.
    fn judge(&mut self) -> Result<(), Violation> {
        for fresh in std::mem::take(&mut self.fresh) {
            match fresh {
                Fresh::Acked(user, chat, seq, id) => self.judge_ack(user, chat, seq, id)?,
                Fresh::Stored(user, message) => self.judge_stored(user, &message)?,
            }
        }
        Ok(())
    }

    fn judge_ack(&mut self, user: usize, chat: ChatId, seq: Seq, id: ClientMsgId) -> Result<(), Violation> {
        let log = &self.chats[&chat];
        if log.places.get(&id) != Some(&seq) {
            let found = log.places.get(&id).copied();
            return Err(Violation::AckLost { user, chat: log.name.clone(), seq, found });
        }
        self.acked.insert(id, (user, chat, seq));
        Ok(())
    }

    fn judge_stored(&self, user: usize, message: &Message) -> Result<(), Violation> {
        let log = &self.chats[&message.chat];
        let logged = usize::try_from(message.seq.0).ok().and_then(|seq| log.entries.get(seq.checked_sub(1)?));
        let same = logged.is_some_and(|logged| {
            (logged.sender, logged.client_msg_id) == (message.sender, message.client_msg_id)
                && logged.content == message.content
        });
        if same { Ok(()) } else { Err(Violation::Forged { user, chat: log.name.clone(), seq: message.seq }) }
    }

    /// Adds an entry that the store shows for the first time.
    fn learn(&mut self, chat: ChatId, seq: Seq, logged: Logged) -> Result<(), Violation> {
        let Some(log) = self.chats.get_mut(&chat) else { return Err(Violation::Unreadable) };
        let expected = Seq(log.entries.len() as u64 + 1);
        let name = || log.name.clone();
        if seq != expected {
            return Err(Violation::LogGap { chat: name(), expected, found: seq });
        }
        if let Some(&first) = log.places.get(&logged.client_msg_id) {
            return Err(Violation::Doubled { chat: name(), first, second: seq });
        }
        let place = log.members.iter().position(|&user| self.devices[user].0 == logged.sender);
        let Some(place) = place else { return Err(Violation::Invented { chat: name(), seq }) };
        let queue = self.queues.get(&(chat, logged.sender)).map_or(&[][..], |queue| queue);
        match queue.get(log.said[place]) {
            Some((id, content)) if *id == logged.client_msg_id && *content == logged.content => {}
            _ if queue.iter().any(|(id, _)| *id == logged.client_msg_id) => {
                return Err(Violation::OutOfOrder { user: log.members[place], chat: name(), seq });
            }
            _ => return Err(Violation::Invented { chat: name(), seq }),
        }
        log.said[place] += 1;
        log.places.insert(logged.client_msg_id, seq);
        log.entries.push(logged);
        Ok(())
    }

    /// Where the store has a member's cursors.
    fn see_cursors(&mut self, chat: ChatId, account: AccountId, now: (Seq, Seq)) -> Result<(), Violation> {
        let before = self.cursors.insert((chat, account), now).unwrap_or_default();
        let (who, chat) = (self.account_name(account), self.chat_name(chat).to_owned());
        if now.0 < before.0 || now.1 < before.1 {
            return Err(Violation::CursorBack { who, chat, before, now });
        }
        if now.1 > now.0 {
            return Err(Violation::ReadUndelivered { who, chat, now });
        }
        Ok(())
    }

    /// Compares the store's cursors with the disks they speak of.
    fn judge_cursors(&self, disks: &[&Disk]) -> Result<(), Violation> {
        for (&(chat, account), &(delivered, read)) in &self.cursors {
            let Some(&user) = self.users.get(&account) else { continue };
            let (have, has_read) = (disks[user].have(chat), disks[user].read(chat));
            if delivered > have || read > has_read {
                let chat = self.chat_name(chat).to_owned();
                return Err(Violation::CursorAhead {
                    user,
                    chat,
                    cursor: (delivered, read),
                    disk: (have, has_read),
                });
            }
        }
        for (&(chat, device), &delivered) in &self.device_cursors {
            let Some(user) = self.devices.iter().position(|&(_, d)| d == device) else { continue };
            let have = disks[user].have(chat);
            if delivered > have {
                let (chat, zero) = (self.chat_name(chat).to_owned(), Seq::ZERO);
                return Err(Violation::CursorAhead {
                    user,
                    chat,
                    cursor: (delivered, zero),
                    disk: (have, zero),
                });
            }
        }
        Ok(())
    }

    // ---- the end ----

    /// What is still missing before everybody has everything, and the server knows: the first thing found, in words. Of
    /// read cursors only if all are to be `read`.
    pub(crate) fn missing(&self, disks: &[&Disk], read: bool) -> Option<String> {
        for (&chat, log) in &self.chats {
            let head = Seq(log.entries.len() as u64);
            for (place, &user) in log.members.iter().enumerate() {
                let (who, disk, account) = (name(user), disks[user], self.devices[user].0);
                let queued = self.queues.get(&(chat, account)).map_or(0, Vec::len);
                if log.said[place] < queued {
                    return Some(format!(
                        "{} of {who}'s {queued} messages are in {}",
                        log.said[place], log.name
                    ));
                }
                if disk.have(chat) < head {
                    return Some(format!("{who} has {} of {head} in {}", disk.have(chat), log.name));
                }
                let told = self.cursors.get(&(chat, account)).copied().unwrap_or_default();
                let device =
                    self.device_cursors.get(&(chat, self.devices[user].1)).copied().unwrap_or_default();
                if (told.0, device) != (head, head) || read && told.1 != head {
                    let name = &log.name;
                    return Some(format!("{who} has all {head} of {name}, and the server knows of {told:?}"));
                }
            }
        }
        None
    }

    /// Whose ticks do not show what the server knows, in words.
    pub(crate) fn stale_ticks(&self, disks: &[&Disk]) -> Option<String> {
        for (&(chat, account), cursors) in &self.cursors {
            for &user in &self.chats[&chat].members {
                let shown = disks[user].cursors.get(&(chat, account)).copied().unwrap_or_default();
                if self.devices[user].0 != account && shown != *cursors {
                    let (who, member) = (name(user), self.account_name(account));
                    let chat = self.chat_name(chat);
                    return Some(format!(
                        "{who} sees {member} in {chat} at {shown:?}, and not at {cursors:?}"
                    ));
                }
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r34_who_is_shown_typing_and_is_no_member_is_noticed() {
        let mut checker = Checker::default();
        let account = |user: usize| AccountId::new([user as u8 + 1; 16]);
        for user in 0..3 {
            checker.registered(user, account(user), DeviceId::new([user as u8 + 1; 16]));
        }
        let chat = ChatId::new([9; 16]);
        checker.may_chat(chat, [0, 1]);
        assert_eq!(checker.typing_seen(0, chat, account(1)), Ok(()));
        for (user, member) in [(2, 0), (0, 2), (0, 0)] {
            let seen = checker.typing_seen(user, chat, account(member));
            assert!(matches!(seen, Err(Violation::TypingLeaked { .. })), "{user} sees {member}");
        }
    }
}
