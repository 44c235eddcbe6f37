//! What must always hold, checked against the bytes in the store and on the disks by code that shares nothing with the
//! code under test but the schema of an entry.
//!
//! - I1: what a user saw acknowledged is in the log, at that place, for ever; a log never loses or changes an entry.
//! - I2, R141: a log's places are 1, 2, 3 … without gaps; each device stores exactly the log's next entry.
//! - I3: a `client_msg_id` has one place, and nothing is there that nobody sent.
//! - I4: cursors never go back; READ implies DELIVERED; none passes what is stored on a device (a member's: on one of its
//!   devices), but a device's own may lie past it over messages that it said itself, and holds in its outbox or as sent.
//! - I5: nothing of a chat reaches a phone whose person is no member.
//! - G21: entries of one phone in one chat are in the order of its outbox.
//! - C29: a phone that has long been connected, while nothing is bad, has what was committed without waiting for the sweeper.

mod store;
mod violation;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use client_core::{Message, OutboxRow};
use loadtest_workload::Phone;
use wire::{AccountId, ChatId, ClientMsgId, DeviceId, Seq};

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
    queues: BTreeMap<(ChatId, usize), Vec<(ClientMsgId, Bytes)>>,
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

/// A chat's log as the store has shown it.
#[derive(Debug)]
pub(crate) struct ChatLog {
    name: String,
    pub(crate) members: [usize; 2],
    pub(crate) entries: Vec<Logged>,
    /// Where each message is.
    places: BTreeMap<ClientMsgId, Seq>,
    /// How many of each phone's messages are in.
    said: BTreeMap<usize, usize>,
}

/// One entry.
#[derive(Debug)]
pub(crate) struct Logged {
    /// The stored bytes.
    value: Bytes,
    sender: AccountId,
    device: DeviceId,
    client_msg_id: ClientMsgId,
    content: Bytes,
    /// When it was first seen.
    at: Duration,
}

/// Something to be compared with the store.
#[derive(Debug)]
enum Fresh {
    Acked(usize, ChatId, Seq, ClientMsgId),
    /// Whether it is the device's first entry of the chat.
    Stored(usize, Message, bool),
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
    /// for its own messages, over which it has moved since.
    fn begins(&mut self, chat: ChatId, device: DeviceId, at: Seq, disks: &[&Disk]) {
        let phone = self.phones.iter().find(|(_, is)| is.1 == device).map(|(&phone, _)| phone);
        let is_late = self.late.contains(&device);
        if phone.is_none_or(|phone| is_late && disks[phone].have(chat) == Seq::ZERO) {
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
    pub(crate) fn may_chat(&mut self, chat: ChatId, members: [usize; 2]) {
        let name = format!("{}-{}", name(members[0]), name(members[1]));
        let (entries, places, said) = (Vec::new(), BTreeMap::new(), BTreeMap::new());
        let log = ChatLog { name, members, entries, places, said };
        self.chats.insert(chat, log);
    }

    /// A message is in a phone's outbox, on its disk.
    pub(crate) fn queued(&mut self, phone: usize, row: &OutboxRow) {
        self.queues.entry((row.chat, phone)).or_default().push((row.client_msg_id, row.content.clone()));
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
        // The first one's place is compared with where the device begins.
        if message.seq != have.next() && have != Seq::ZERO {
            let chat = self.chat_name(message.chat).to_owned();
            return Err(Violation::Gap { user, chat, have, came: message.seq });
        }
        self.fresh.push(Fresh::Stored(user, message.clone(), have == Seq::ZERO));
        Ok(())
    }

    /// A device is shown that somebody types.
    ///
    /// # Errors
    /// [`Violation::TypingLeaked`] unless both are members.
    pub(crate) fn typing_seen(&self, user: usize, chat: ChatId, member: AccountId) -> Result<(), Violation> {
        let members = self.chats.get(&chat).map_or(&[][..], |log| &log.members);
        let (other, person) = (self.people.get(&member), self.person(user));
        if members.contains(&person) && other.is_some_and(|other| *other != person && members.contains(other))
        {
            return Ok(());
        }
        Err(Violation::TypingLeaked { user, chat: self.chat_name(chat).to_owned() })
    }

    /// A phone is sent something of a chat.
    ///
    /// # Errors
    /// [`Violation::Leaked`] unless its person is a member.
    pub(crate) fn sent_of(&self, user: usize, chat: ChatId) -> Result<(), Violation> {
        let is_member = self.chats.get(&chat).is_some_and(|log| log.members.contains(&self.person(user)));
        let leaked = || Violation::Leaked { user, chat: self.chat_name(chat).to_owned() };
        if is_member { Ok(()) } else { Err(leaked()) }
    }

    /// Where a phone's log of a chat begins.
    fn start(&self, chat: ChatId, phone: usize) -> Seq {
        let device = self.phones.get(&phone).map(|&(_, device)| device);
        device.and_then(|device| self.starts.get(&(chat, device))).copied().unwrap_or_default()
    }

    /// Up to where a phone has a chat.
    fn have(&self, disk: &Disk, chat: ChatId, phone: usize) -> Seq {
        disk.have(chat).max(self.start(chat, phone))
    }

    fn person(&self, phone: usize) -> usize {
        let account = self.phones.get(&phone).map(|(account, _)| account);
        account.and_then(|account| self.people.get(account)).copied().unwrap_or(usize::MAX)
    }

    /// The phones whose person is one of these.
    fn phones_of<'a>(&'a self, people: &'a [usize]) -> impl Iterator<Item = usize> + 'a {
        self.phones.keys().copied().filter(|&phone| people.contains(&self.person(phone)))
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
                Fresh::Stored(user, message, is_first) => {
                    self.judge_stored(user, &message, is_first, disks[user])?
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

    fn judge_stored(
        &self,
        user: usize,
        message: &Message,
        is_first: bool,
        disk: &Disk,
    ) -> Result<(), Violation> {
        let log = &self.chats[&message.chat];
        let logged = usize::try_from(message.seq.0).ok().and_then(|seq| log.entries.get(seq.checked_sub(1)?));
        let same = logged.is_some_and(|logged| {
            (logged.sender, logged.client_msg_id) == (message.sender, message.client_msg_id)
                && logged.content == message.content
        });
        if !same {
            return Err(Violation::Forged { user, chat: log.name.clone(), seq: message.seq });
        }
        // A new device's log may begin after what it has itself said before anything arrived.
        let start = self.start(message.chat, user);
        let before = Seq(message.seq.0.saturating_sub(1));
        if is_first && (before < start || !self.has_own(user, message.chat, start, before, disk)) {
            return Err(Violation::Gap { user, chat: log.name.clone(), have: start, came: message.seq });
        }
        Ok(())
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
        let phone = self
            .phones
            .iter()
            .find(|(_, is)| **is == (logged.sender, logged.device))
            .map(|(&phone, _)| phone);
        let Some(phone) = phone else { return Err(Violation::Invented { chat: name(), seq }) };
        let queue = self.queues.get(&(chat, phone)).map_or(&[][..], |queue| queue);
        let said = log.said.entry(phone).or_default();
        match queue.get(*said) {
            Some((id, content)) if *id == logged.client_msg_id && *content == logged.content => {}
            _ if queue.iter().any(|(id, _)| *id == logged.client_msg_id) => {
                return Err(Violation::OutOfOrder { user: phone, chat: name(), seq });
            }
            _ => return Err(Violation::Invented { chat: name(), seq }),
        }
        *said += 1;
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
            let own = || self.phones_of(std::slice::from_ref(&person));
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

    // ---- the end ----

    /// What is still missing before everybody has everything, and the server knows: the first thing found, in words. Of
    /// read cursors only if all are to be `read`.
    pub(crate) fn missing(&self, disks: &[&Disk], read: bool) -> Option<String> {
        for (&chat, log) in &self.chats {
            let head = Seq(log.entries.len() as u64);
            for user in self.phones_of(&log.members) {
                let (who, disk, (account, device)) = (name(user), disks[user], self.phones[&user]);
                let queued = self.queues.get(&(chat, user)).map_or(0, Vec::len);
                let said = log.said.get(&user).copied().unwrap_or_default();
                if said < queued {
                    return Some(format!("{said} of {who}'s {queued} messages are in {}", log.name));
                }
                let have = self.have(disk, chat, user);
                if have < head {
                    return Some(format!("{who} has {have} of {head} in {}", log.name));
                }
                let told = self.cursors.get(&(chat, account)).copied().unwrap_or_default();
                let device = self.device_cursors.get(&(chat, device)).copied().unwrap_or_default();
                // What a person has got is what others said: their own messages move nothing but the device's cursor.
                let lacks = self.between(chat, told.0, head).any(|logged| logged.sender != account);
                if lacks || device != head || read && told.1 != head {
                    let name = &log.name;
                    return Some(format!(
                        "{who} has all {head} of {name}, and the server knows of {told:?} and {device}"
                    ));
                }
            }
        }
        None
    }

    /// Whether a phone that has long been connected lacks what was committed long ago. Only for seeds in which nothing is
    /// bad: `since` is when each phone became ready, if it is.
    ///
    /// # Errors
    /// [`Violation::Late`].
    pub(crate) fn prompt(
        &self,
        disks: &[&Disk],
        since: &[Option<Duration>],
        now: Duration,
    ) -> Result<(), Violation> {
        let Some(then) = now.checked_sub(PROMPT) else { return Ok(()) };
        for (&chat, log) in &self.chats {
            let due = Seq(log.entries.iter().take_while(|logged| logged.at <= then).count() as u64);
            for user in self.phones_of(&log.members) {
                let have = self.have(disks[user], chat, user);
                if since[user].is_some_and(|since| since <= then) && have < due {
                    return Err(Violation::Late { user, chat: log.name.clone(), have, due });
                }
            }
        }
        Ok(())
    }

    /// Whether a member's cursors, as somebody is shown them, make other ticks than those in the store: between the two lies
    /// what others said. One's own messages have no tick for oneself.
    fn is_stale(&self, chat: ChatId, member: AccountId, shown: (Seq, Seq), stored: (Seq, Seq)) -> bool {
        let lacks = self.between(chat, shown.0, stored.0).any(|logged| logged.sender != member);
        shown.0 > stored.0 || shown.1 != stored.1 || lacks
    }

    /// Whose ticks do not show what the server knows, in words.
    pub(crate) fn stale_ticks(&self, disks: &[&Disk]) -> Option<String> {
        for (&(chat, account), cursors) in &self.cursors {
            for user in self.phones_of(&self.chats[&chat].members) {
                let shown = disks[user].cursors.get(&(chat, account)).copied().unwrap_or_default();
                if self.phones[&user].0 == account {
                    // One's own: what one has read is read on every phone that has it.
                    let has = disks[user].have(chat) >= cursors.1;
                    if has && disks[user].read(chat) < cursors.1 {
                        let (who, chat) = (name(user), self.chat_name(chat));
                        return Some(format!("{who} does not know that {chat} is read up to {}", cursors.1));
                    }
                } else if self.is_stale(chat, account, shown, *cursors) {
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
        for number in 0..3 {
            let phone = Phone { number, person: number };
            checker.registered(phone, account(number), DeviceId::new([number as u8 + 1; 16]), false);
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
