//! What must always hold, checked against the bytes in the store and on the disks by code that shares nothing with the
//! code under test but the schema of an entry.
//!
//! - I1: what a user saw acknowledged is in the log, at that place, for ever; a log never loses or changes an entry.
//! - I2, R141: a log's places are 1, 2, 3 … without gaps; each device stores exactly the log's next entry.
//! - I3: a `client_msg_id` has one place, and nothing is there that nobody sent.
//! - I4: cursors never go back; READ implies DELIVERED; none passes what is stored on a device (a member's: on one of its
//!   devices), but a device's own may lie past it over messages that it said itself, and holds in its outbox or as sent.
//! - I5: nothing of a chat reaches a phone whose person is no member, and nothing of it is read there from before they came
//!   or after they went.
//! - R11, R37: whoever is in a chat's group reads every message, as it was typed, from where it joined on; nothing is
//!   unreadable.
//! - G21: entries of one phone in one chat are in the order of its outbox.
//! - C29: a phone that has long been connected, while nothing is bad, has what was committed without waiting for the sweeper.

mod end;
mod log;
mod store;
mod violation;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use client_core::{Message, OutboxRow, Passed};
use loadtest_workload::Phone;
use wire::{AccountId, ChatId, ClientMsgId, DeviceId, ErrorCode, Seq};

use self::log::{ChatLog, Logged};
pub(crate) use self::store::Window;
pub use self::violation::Violation;
use crate::client::name;
use crate::disk::Disk;

/// Within this time a connected phone has what was committed: much less than the sweeper's grace time, so that it cannot
/// hide what hints missed, and seldom the next message either.
const PROMPT: Duration = Duration::from_secs(2);

/// What was seen so far, and what follows from it.
#[derive(Debug, Default)]
pub(crate) struct Checker {
    people: BTreeMap<AccountId, usize>,
    /// By number; see [`loadtest_workload::Phone`].
    phones: BTreeMap<usize, (AccountId, DeviceId)>,
    /// Those that were added while things went wrong.
    late: BTreeSet<DeviceId>,
    pub(crate) chats: BTreeMap<ChatId, ChatLog>,
    /// What each phone queued in each chat, in order.
    queues: BTreeMap<(ChatId, usize), Vec<ClientMsgId>>,
    /// What each of them says, as it was typed.
    typed: BTreeMap<ClientMsgId, Bytes>,
    /// Commits, and departures, that phones have kept to be sent.
    asked: BTreeSet<ClientMsgId>,
    acked: BTreeMap<ClientMsgId, (usize, ChatId, Seq)>,
    /// Seen since the store was last looked at.
    fresh: Vec<Fresh>,
    has_new_phone: bool,
    /// Where the store had each member's cursors, delivered and read.
    cursors: BTreeMap<(ChatId, AccountId), (Seq, Seq)>,
    device_cursors: BTreeMap<(ChatId, DeviceId), Seq>,
    /// Where a late device's log of a chat begins: where its cursor was before it had an entry.
    starts: BTreeMap<(ChatId, DeviceId), Seq>,
}

/// Something to be compared with the store.
#[derive(Debug)]
enum Fresh {
    Acked(usize, ChatId, Seq, ClientMsgId),
    Stored(usize, Message),
    /// What a phone has at a place that is no message.
    Passed(usize, ChatId, Seq, Passed),
    /// A phone has joined with the commit at this place.
    Joined(usize, ChatId, Seq),
    /// A phone was sent something of a chat.
    Sent(usize, ChatId),
}

impl Checker {
    // ---- what is told to it ----

    /// A phone is a device of an account.
    pub(crate) fn registered(&mut self, phone: Phone, account: AccountId, device: DeviceId, late: bool) {
        self.people.insert(account, phone.person);
        self.phones.insert(phone.number, (account, device));
        if late {
            // Where it begins is to be seen before it has anything.
            self.has_new_phone |= self.late.insert(device);
        }
    }

    /// Takes note of the cursor of a device that is being added: until it has its first entry, it is where it begins, but
    /// for its own messages, over which it has moved since. A commit that adds it lets it begin there, also if it has something of
    /// before: of another's first commit, when it was making the chat's group itself.
    fn begins(&mut self, chat: ChatId, device: DeviceId, at: Seq, disks: &[&Disk]) {
        let phone = self.phones.iter().find(|(_, is)| is.1 == device).map(|(&phone, _)| phone);
        let is_late = self.late.contains(&device);
        if self.logged(chat, at.next()).is_some_and(|commit| commit.adds.contains(&device)) {
            self.starts.insert((chat, device), at);
        } else if phone.is_none_or(|phone| is_late && disks[phone].have(chat) == Seq::ZERO) {
            let own =
                self.between(chat, Seq::ZERO, at).rev().take_while(|logged| logged.device == device).count();
            self.starts.insert((chat, device), Seq(at.0 - own as u64));
        }
    }

    /// Whether every entry after one place and up to another was said on a phone, and is on its disk as such.
    fn has_own(&self, phone: usize, chat: ChatId, after: Seq, through: Seq, disk: &Disk) -> bool {
        let is_own = |logged: &Logged| {
            self.phones.get(&phone).is_some_and(|&(_, device)| logged.device == device)
                && disk.has_own(logged.client_msg_id)
        };
        let all = self.between(chat, after, through);
        all.filter(|logged| is_own(logged)).count() as u64 == through.0.saturating_sub(after.0)
    }

    /// The entries after one place, up to another.
    fn between(&self, chat: ChatId, after: Seq, through: Seq) -> impl DoubleEndedIterator<Item = &Logged> {
        let entries = self.chats.get(&chat).map_or(&[][..], |log| &log.entries);
        let place = |seq: Seq| usize::try_from(seq.0).map_or(entries.len(), |at| at.min(entries.len()));
        entries[place(after)..place(through).max(place(after))].iter()
    }

    /// Two people may chat.
    pub(crate) fn may_chat(&mut self, chat: ChatId, of: [(usize, AccountId); 2]) {
        let name = format!("{}-{}", name(of[0].0), name(of[1].0));
        let peers = Some(of.map(|(_, account)| account));
        self.chats.insert(chat, ChatLog::new(name, peers));
    }

    /// A phone makes a group.
    pub(crate) fn may_group(&mut self, chat: ChatId, phone: usize) {
        let name = format!("{}'s group {}", name(phone), self.chats.len());
        self.chats.entry(chat).or_insert(ChatLog::new(name, None));
    }

    /// The groups that there are, or will be.
    pub(crate) fn groups(&self) -> Vec<ChatId> {
        self.chats.iter().filter(|(_, log)| log.peers.is_none()).map(|(chat, _)| *chat).collect()
    }

    /// A commit or a departure is kept, to be sent.
    pub(crate) fn asked(&mut self, id: ClientMsgId) {
        self.asked.insert(id);
    }

    /// A message is in a phone's outbox, on its disk.
    pub(crate) fn queued(&mut self, phone: usize, row: &OutboxRow) {
        self.queues.entry((row.chat, phone)).or_default().push(row.client_msg_id);
        self.typed.insert(row.client_msg_id, row.content.clone());
    }

    /// A message of a group was refused for good, and waits no more. That happens to who is no member any more.
    ///
    /// # Errors
    /// [`Violation::Refused`] for whom it must not happen to.
    pub(crate) fn failed(&mut self, user: usize, id: ClientMsgId, code: ErrorCode) -> Result<(), Violation> {
        let queue = self.queues.iter_mut().find(|((_, phone), ids)| *phone == user && ids.contains(&id));
        match queue {
            Some(((chat, _), ids)) if self.chats[chat].peers.is_none() && code == ErrorCode::NotMember => {
                ids.retain(|other| *other != id);
                Ok(())
            }
            _ => Err(Violation::Refused { user, code }),
        }
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
        self.is_next(user, message.chat, have, message.seq)?;
        self.fresh.push(Fresh::Stored(user, message.clone()));
        Ok(())
    }

    /// A device is about to store that an entry is no message. As [`Checker::stored`].
    ///
    /// # Errors
    /// As [`Checker::stored`].
    pub(crate) fn passed(
        &mut self,
        user: usize,
        have: Seq,
        (chat, seq): (ChatId, Seq),
        what: Passed,
    ) -> Result<(), Violation> {
        self.is_next(user, chat, have, seq)?;
        self.fresh.push(Fresh::Passed(user, chat, seq, what));
        Ok(())
    }

    fn is_next(&self, user: usize, chat: ChatId, have: Seq, came: Seq) -> Result<(), Violation> {
        let gap = || Violation::Gap { user, chat: self.chat_name(chat).to_owned(), have, came };
        if came == have.next() { Ok(()) } else { Err(gap()) }
    }

    /// A device has joined a chat's group.
    pub(crate) fn joined(&mut self, user: usize, chat: ChatId, seq: Seq) {
        self.fresh.push(Fresh::Joined(user, chat, seq));
    }

    /// A device is shown that somebody types.
    ///
    /// # Errors
    /// [`Violation::TypingLeaked`] unless both are members.
    pub(crate) fn typing_seen(&self, user: usize, chat: ChatId, member: AccountId) -> Result<(), Violation> {
        let log = self.chats.get(&chat);
        let own = self.phones.get(&user).map(|(account, _)| *account);
        let is_in =
            |account: AccountId| log.is_some_and(|log| log.was_member(account) || log.peers.is_none());
        if own.is_some_and(|own| own != member && is_in(own)) && is_in(member) {
            return Ok(());
        }
        Err(Violation::TypingLeaked { user, chat: self.chat_name(chat).to_owned() })
    }

    /// A phone is sent something of a chat: whether it may be is seen when the log is.
    pub(crate) fn sent_of(&mut self, user: usize, chat: ChatId) {
        self.fresh.push(Fresh::Sent(user, chat));
    }

    /// Where a phone's log of a chat begins.
    fn start(&self, chat: ChatId, phone: usize) -> Seq {
        let device = self.phones.get(&phone).map(|&(_, device)| device);
        device.and_then(|device| self.starts.get(&(chat, device))).copied().unwrap_or_default()
    }

    /// Up to where a phone has a chat.
    fn have(&self, disk: &Disk, chat: ChatId, phone: usize) -> Seq {
        let account = self.phones.get(&phone).map(|(account, _)| *account);
        let before = account.zip(self.chats.get(&chat)).map(|(account, log)| log.before(account));
        disk.have(chat).max(self.start(chat, phone)).max(before.unwrap_or_default())
    }

    fn person(&self, phone: usize) -> usize {
        let account = self.phones.get(&phone).map(|(account, _)| account);
        account.and_then(|account| self.people.get(account)).copied().unwrap_or(usize::MAX)
    }

    /// The phones of a person.
    fn phones_of(&self, person: usize) -> impl Iterator<Item = usize> {
        self.phones.keys().copied().filter(move |&phone| self.person(phone) == person)
    }

    pub(crate) fn has_news(&self) -> bool {
        !self.fresh.is_empty() || self.has_new_phone
    }

    // ---- names ----

    pub(crate) fn chat_name(&self, chat: ChatId) -> &str {
        self.chats.get(&chat).map_or("an unknown chat", |log| &log.name)
    }

    pub(crate) fn account_name(&self, account: AccountId) -> &'static str {
        self.people.get(&account).map_or("a stranger", |&user| name(user))
    }

    // ---- what is compared ----

    /// Compares what was seen since the last look with the logs, which were read after it.
    fn judge(&mut self, disks: &[&Disk]) -> Result<(), Violation> {
        self.has_new_phone = false;
        for fresh in std::mem::take(&mut self.fresh) {
            match fresh {
                Fresh::Acked(user, chat, seq, id) => self.judge_ack(user, chat, seq, id)?,
                Fresh::Stored(user, message) => self.judge_stored(user, &message)?,
                Fresh::Passed(user, chat, seq, what) => {
                    self.judge_passed(user, (chat, seq), what, disks[user])?
                }
                Fresh::Joined(user, chat, seq) => self.judge_joined(user, chat, seq)?,
                Fresh::Sent(user, chat) => {
                    let account = self.phones.get(&user).map(|(account, _)| *account);
                    let log = self.chats.get(&chat);
                    if !account.is_some_and(|account| log.is_some_and(|log| log.was_member(account))) {
                        return Err(Violation::Leaked { user, chat: self.chat_name(chat).to_owned() });
                    }
                }
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
        let (account, _) = self.phones[&user];
        let chat = || log.name.clone();
        let same = self.logged(message.chat, message.seq).is_some_and(|logged| {
            (logged.sender, logged.client_msg_id) == (message.sender, message.client_msg_id)
                && logged.is_message()
                && self.typed.get(&message.client_msg_id) == Some(&message.content)
        });
        if !same {
            return Err(Violation::Forged { user, chat: chat(), seq: message.seq });
        }
        if !log.may_read(account, message.seq) {
            return Err(Violation::Leaked { user, chat: chat() });
        }
        Ok(())
    }

    fn judge_passed(
        &self,
        user: usize,
        (chat, seq): (ChatId, Seq),
        what: Passed,
        disk: &Disk,
    ) -> Result<(), Violation> {
        let (_, device) = self.phones[&user];
        let logged = self.logged(chat, seq);
        let is_right = logged.is_some_and(|logged| {
            let is_kept = what != Passed::Own || disk.has_own(logged.client_msg_id);
            logged.is_passed_for(what, device) && is_kept
        });
        let what = format!("{what:?}");
        let cannot = || Violation::CannotRead { user, chat: self.chat_name(chat).to_owned(), seq, what };
        if is_right { Ok(()) } else { Err(cannot()) }
    }

    /// A device may skip what lies before the commit that added it, and nothing else.
    fn judge_joined(&self, user: usize, chat: ChatId, seq: Seq) -> Result<(), Violation> {
        let (_, device) = self.phones[&user];
        let adds = self.logged(chat, seq).is_some_and(|logged| logged.adds.contains(&device));
        let chat = || self.chat_name(chat).to_owned();
        if adds { Ok(()) } else { Err(Violation::Gap { user, chat: chat(), have: Seq::ZERO, came: seq }) }
    }

    fn logged(&self, chat: ChatId, seq: Seq) -> Option<&Logged> {
        let at = usize::try_from(seq.0).ok()?.checked_sub(1)?;
        self.chats.get(&chat)?.entries.get(at)
    }

    /// Adds an entry that the store shows for the first time.
    fn learn(&mut self, chat: ChatId, seq: Seq, mut logged: Logged) -> Result<(), Violation> {
        let Some(log) = self.chats.get_mut(&chat) else { return Err(Violation::Unreadable) };
        let expected = Seq(log.entries.len() as u64 + 1);
        let name = || log.name.clone();
        if seq != expected {
            return Err(Violation::LogGap { chat: name(), expected, found: seq });
        }
        if let Some(&first) = log.places.get(&logged.client_msg_id) {
            return Err(Violation::Doubled { chat: name(), first, second: seq });
        }
        let phone = self
            .phones
            .iter()
            .find(|(_, is)| **is == (logged.sender, logged.device))
            .map(|(&phone, _)| phone);
        if logged.is_message() {
            let Some(phone) = phone else { return Err(Violation::Invented { chat: name(), seq }) };
            let queue = self.queues.get(&(chat, phone)).map_or(&[][..], |queue| queue);
            let said = log.said.entry(phone).or_default();
            match queue.get(*said) {
                Some(id) if *id == logged.client_msg_id => {}
                _ if queue.contains(&logged.client_msg_id) => {
                    return Err(Violation::OutOfOrder { user: phone, chat: name(), seq });
                }
                _ => return Err(Violation::Invented { chat: name(), seq }),
            }
            *said += 1;
        } else if !self.asked.contains(&logged.client_msg_id) {
            return Err(Violation::Invented { chat: name(), seq });
        }
        if !log.follow(seq, &mut logged) {
            return Err(Violation::Unreadable);
        }
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
            let Some(&person) = self.people.get(&account) else { continue };
            let own = || self.phones_of(person);
            let have = own().map(|phone| self.have(disks[phone], chat, phone)).max().unwrap_or_default();
            let has_read = own().map(|phone| disks[phone].read(chat)).max().unwrap_or_default();
            let user = person;
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
            let Some(user) = self.phones.iter().find(|(_, is)| is.1 == device).map(|(&phone, _)| phone)
            else {
                continue;
            };
            let have = self.have(disks[user], chat, user);
            if delivered > have && !self.has_own(user, chat, have, delivered, disks[user]) {
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
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r34_who_is_shown_typing_and_is_no_member_is_noticed() {
        let mut checker = Checker::default();
        let account = |user: usize| AccountId::new([user as u8 + 1; 16]);
        for number in 0..3 {
            let phone = Phone { number, person: number };
            checker.registered(phone, account(number), DeviceId::new([number as u8 + 1; 16]), false);
        }
        let chat = ChatId::new([9; 16]);
        checker.may_chat(chat, [(0, account(0)), (1, account(1))]);
        assert_eq!(checker.typing_seen(0, chat, account(1)), Ok(()));
        for (user, member) in [(2, 0), (0, 2), (0, 0)] {
            let seen = checker.typing_seen(user, chat, account(member));
            assert!(matches!(seen, Err(Violation::TypingLeaked { .. })), "{user} sees {member}");
        }
    }
}
