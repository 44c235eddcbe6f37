//! The end: what is still missing before everybody has everything, and who waits too long before that.

use std::time::Duration;

use wire::{AccountId, ChatId, Seq};

use super::log::ChatLog;
use super::{Checker, PROMPT, Violation};
use crate::client::name;
use crate::disk::Disk;

impl Checker {
    /// The phones of those who are in a chat.
    fn phones_in<'a>(&'a self, log: &'a ChatLog) -> impl Iterator<Item = usize> + 'a {
        self.phones.iter().filter(|(_, (account, _))| log.is_member(*account)).map(|(&phone, _)| phone)
    }

    /// What is still missing before everybody has everything, and the server knows: the first thing found, in words. Of
    /// read cursors only if all are to be `read`.
    pub(crate) fn missing(&self, disks: &[&Disk], read: bool) -> Option<String> {
        for (&chat, log) in &self.chats {
            let head = Seq(log.entries.len() as u64);
            for user in self.phones_in(log) {
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
            for user in self.phones_in(log) {
                let have = self.have(disks[user], chat, user);
                // Nothing is here before a device is brought in, by another one of its own perhaps.
                if disks[user].have(chat) == Seq::ZERO {
                    continue;
                }
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
            let log = &self.chats[&chat];
            for user in self.phones_in(log).filter(|_| log.is_member(account)) {
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
