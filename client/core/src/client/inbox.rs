//! The device's inbox: welcomes, and the groups that they bring this device into.

use std::time::Duration;

use bytes::BytesMut;
use client_crypto::{Joined, Leaves, MlsError};
use wire::event::{Event, InboxItem, Welcome};
use wire::request::Request;
use wire::{AccountId, ChatId, Epoch, ErrorCode, Retry, Role, Seq, limits};

use super::errands::Errand;
use super::plans::direct_chat_id;
use super::{Client, Stream};
use crate::group::{Group, Stage};
use crate::inbox::{Step, Up};
use crate::io::{ClientEvent, Now, StreamTag};
use crate::kept::{MembersChange, Passed, Write};

impl Client {
    pub(super) fn on_inbox_begin(&mut self, stream: StreamTag, from_seq: Seq) {
        self.streams.insert(stream, Stream::InboxDown);
        if self.inbox.begin(from_seq) {
            let have = self.inbox.have;
            self.persist(Write::Inbox { have });
        }
    }

    pub(super) fn on_inbox_down(&mut self, event: Event, now: Now) {
        let Event::InboxEntry(entry) = event else { return };
        if let InboxItem::Welcome(welcome) = &entry.what {
            self.expect_welcome(welcome);
        }
        if !self.inbox.push(entry, now.instant) {
            self.close();
            return self.on_lost("entries of the inbox are missing".into(), Duration::ZERO, now);
        }
        self.see_to_inbox(now);
    }

    /// A welcome to a group in which this device still is: it was removed, and the log that says so is not for it any more.
    /// What comes of the chat waits for the welcome.
    fn expect_welcome(&mut self, welcome: &Welcome) {
        let chat = welcome.chat;
        self.know_chat(chat, None);
        let is_new = self.chats.get(&chat).is_some_and(|state| welcome.seq > state.have);
        if let Stage::Inside(epoch) = self.stage(chat)
            && is_new
            && epoch < welcome.epoch
        {
            self.set_aside(chat);
        }
    }

    /// The group that there is may be over. The chat waits for a welcome.
    pub(super) fn set_aside(&mut self, chat: ChatId) {
        if let Some(state) = self.chats.get_mut(&chat) {
            state.group.aside = true;
            state.group.set(Stage::Outside);
        }
    }

    /// No welcome takes the group's place: it goes on, if its log does.
    pub(super) fn take_back(&mut self, chat: ChatId, now: Now) {
        let Some(state) = self.chats.get_mut(&chat).filter(|state| state.group.aside) else { return };
        if self.inbox.welcomes(chat) {
            return;
        }
        state.group.aside = false;
        state.held.begin(now.instant);
        self.look_up(chat);
        self.release(chat, now);
        self.pump_chat(chat, now);
    }

    /// Deletes what there is of a chat's group. The chat waits for a welcome.
    pub(super) fn forget_group(&mut self, chat: ChatId) {
        if let Err(error) = self.crypto.forget(chat) {
            return self.broken(&error);
        }
        self.forget_commit(chat);
        if let Some(state) = self.chats.get_mut(&chat) {
            state.group = Default::default();
            state.group.set(Stage::Outside);
        }
    }

    /// Sees to the entries that wait, as far as nothing has to be asked for.
    pub(super) fn see_to_inbox(&mut self, now: Now) {
        while self.is_identified() {
            let (Step::Fresh | Step::Again) = self.inbox.step else { return };
            let Some(entry) = self.inbox.first() else { break };
            let again = self.inbox.step == Step::Again;
            match entry.what.clone() {
                InboxItem::Welcome(welcome) if self.is_wanted(&welcome) => {
                    let (chat, epoch) = (welcome.chat, welcome.epoch);
                    self.inbox.step = Step::Asked { again };
                    return self.run(Errand::Tree(chat, epoch), &Request::GetTree { chat, epoch }, now);
                }
                InboxItem::Welcome(Welcome { chat, .. }) => {
                    self.seen_in_inbox(now);
                    self.take_back(chat, now);
                }
                InboxItem::Unknown => self.seen_in_inbox(now),
            }
        }
        if self.inbox.overflowed && self.is_identified() {
            // The rest is sent again from where this device is now.
            self.tell_inbox(now);
            self.close();
            self.on_lost("more of the inbox is to come".into(), Duration::ZERO, now);
        }
    }

    /// Whether a welcome says something new: not one that was taken before a crash.
    fn is_wanted(&mut self, welcome: &Welcome) -> bool {
        !matches!(self.stage(welcome.chat), Stage::Inside(_))
    }

    fn seen_in_inbox(&mut self, now: Now) {
        self.inbox.seen(now.instant);
        let have = self.inbox.have;
        self.persist(Write::Inbox { have });
    }

    /// The tree of the first welcome's epoch came, or not.
    pub(super) fn on_tree(&mut self, chat: ChatId, epoch: Epoch, events: &[Event], now: Now) {
        let Step::Asked { again } = self.inbox.step else { return };
        let welcome = match self.inbox.first().map(|entry| entry.what.clone()) {
            Some(InboxItem::Welcome(welcome)) if (welcome.chat, welcome.epoch) == (chat, epoch) => welcome,
            _ => return,
        };
        match events {
            [] => self.tree_later(Duration::ZERO, now),
            [Event::Refused(refusal)] => match refusal.retry {
                Retry::After(after) => self.tree_later(after, now),
                Retry::Reauthenticate => self.on_hello_refused(ErrorCode::TokenExpired.refuse(), now),
                // Removed meanwhile, or this device is past it.
                Retry::Never => self.welcome_fails(chat, now),
            },
            _ => match tree_of(events) {
                Some(tree) => self.join(&welcome, &tree, again, now),
                None => self.wrong_tree(chat, again, now),
            },
        }
        self.see_to_inbox(now);
    }

    fn tree_later(&mut self, at_least: Duration, now: Now) {
        let wait = self.inbox.attempts.next(&mut self.rng, at_least);
        self.inbox.step = Step::Due(now.instant + wait);
    }

    fn wrong_tree(&mut self, chat: ChatId, again: bool, now: Now) {
        if again { self.welcome_fails(chat, now) } else { self.inbox.step = Step::Again }
    }

    /// Nothing can be made of a welcome. Who wants this device in the chat adds it anew.
    fn welcome_fails(&mut self, chat: ChatId, now: Now) {
        self.notify(ClientEvent::WelcomeUnreadable { chat });
        self.seen_in_inbox(now);
        self.take_back(chat, now);
    }

    fn join(&mut self, welcome: &Welcome, tree: &[u8], again: bool, now: Now) {
        let chat = welcome.chat;
        let two = self.two_of(chat);
        let may = |members: &Leaves| {
            let accounts: Vec<AccountId> = members.iter().map(|(_, leaf)| leaf.account).collect();
            two.fit(&accounts)
        };
        match self.crypto.join(chat, &welcome.bytes, tree, may) {
            Ok(joined) => self.joined(welcome, &joined, now),
            Err(MlsError::Tree) => self.wrong_tree(chat, again, now),
            Err(MlsError::AlreadyMember) => {
                self.seen_in_inbox(now);
                self.take_back(chat, now);
            }
            Err(error @ MlsError::Storage(_)) => self.broken(&error),
            Err(_) => self.welcome_fails(chat, now),
        }
    }

    fn joined(&mut self, welcome: &Welcome, joined: &Joined, now: Now) {
        let (chat, own) = (welcome.chat, self.own_account());
        let mut accounts: Vec<AccountId> = joined.members.iter().map(|(_, leaf)| leaf.account).collect();
        accounts.sort_unstable();
        accounts.dedup();
        let others: Vec<AccountId> = accounts.iter().copied().filter(|account| *account != own).collect();
        if let [other] = others[..]
            && direct_chat_id(own, other) == chat
        {
            self.know_chat(chat, Some(other));
        }
        // A group that this device was making has given way, or one that it was in; and with it what that needed.
        self.forget_commit(chat);
        if let Some(state) = self.chats.get_mut(&chat) {
            state.group = Group::new(true);
        }
        self.look_up(chat);
        self.persist(Write::Joined { chat, seq: welcome.seq });
        // The loser of a race for a chat's first commit has passed the winner's by the log.
        if self.chats.get(&chat).is_none_or(|state| welcome.seq > state.have) {
            self.notify(ClientEvent::Passed { chat, seq: welcome.seq, what: Passed::Commit });
        }
        if let Some(state) = self.chats.get_mut(&chat) {
            let before = state.read;
            state.join(welcome.seq, now.instant);
            let read = state.read;
            self.persist_read(chat, before, read);
        }
        self.seen_in_inbox(now);
        let (seq, by, at, removed) = (welcome.seq, joined.by.account, self.server_now(now), Vec::new());
        self.members_changed(MembersChange { chat, seq, at, by, added: accounts, removed });
        if self.groups.plans.contains_key(&chat) {
            self.work_within(chat, Duration::ZERO, now);
        }
        self.release(chat, now);
        self.pump_chat(chat, now);
        let inside = joined.members.iter().map(|(_, leaf)| leaf.device).collect();
        self.need_own_devices(chat, &inside, now);
    }

    /// Whether these accounts may be in a chat.
    pub(super) fn fits_chat(&self, chat: ChatId, accounts: &[AccountId]) -> bool {
        self.two_of(chat).fit(accounts)
    }

    fn two_of(&self, chat: ChatId) -> Two {
        let peer = self.chats.get(&chat).and_then(|state| state.peer);
        Two { chat, own: self.own_account(), peer }
    }

    // ---- its cursor ----

    pub(super) fn inbox_due(&mut self, now: Now) {
        if let Step::Due(at) = self.inbox.step
            && at <= now.instant
        {
            self.inbox.step = Step::Fresh;
            self.see_to_inbox(now);
        }
        if self.inbox.tell_at.is_some_and(|at| at <= now.instant) {
            self.tell_inbox(now);
        }
        let is_idle = |up: &mut Up| up.used_at + limits::CHAT_STREAM_IDLE <= now.instant;
        if let Some(up) = self.inbox.up.take_if(is_idle) {
            self.finish(up.stream);
        }
    }

    fn tell_inbox(&mut self, now: Now) {
        let Some(delivered) = self.inbox.tell() else { return };
        let stream = match &mut self.inbox.up {
            Some(up) => {
                up.used_at = now.instant;
                up.stream
            }
            None => {
                let stream = self.open(Role::ChatUp, Stream::InboxUp);
                self.say(stream, &Request::InboxUp);
                self.inbox.up = Some(Up { stream, used_at: now.instant });
                stream
            }
        };
        self.say(stream, &Request::MoveCursor { delivered, read: Seq::ZERO });
    }

    /// The inbox' stream is over: if what was told on it was not heard, what it covers comes again with the next connection.
    pub(super) fn inbox_up_ended(&mut self, stream: StreamTag) {
        self.inbox.up.take_if(|up| up.stream == stream);
    }
}

/// Who may be in a chat: in a 1:1 chat nobody but its two. Which chat is one its id says, too.
struct Two {
    chat: ChatId,
    own: AccountId,
    /// The other one, if it is known.
    peer: Option<AccountId>,
}

impl Two {
    fn fit(&self, accounts: &[AccountId]) -> bool {
        let named =
            || accounts.iter().copied().find(|account| direct_chat_id(self.own, *account) == self.chat);
        let Some(peer) = self.peer.or_else(named) else { return true };
        accounts.iter().all(|account| *account == self.own || *account == peer)
    }
}

/// A tree out of its parts; `None` if they are not whole, or larger than a tree.
fn tree_of(events: &[Event]) -> Option<BytesMut> {
    let mut tree = BytesMut::new();
    let mut after = None;
    for event in events {
        let Event::Part { bytes, left } = event else { return None };
        let left = *left as usize;
        if after.is_some_and(|after: usize| after != bytes.len() + left)
            || tree.len() + bytes.len() + left > limits::TREE_BYTES_MAX
        {
            return None;
        }
        tree.extend_from_slice(bytes);
        after = Some(left);
    }
    (after == Some(0)).then_some(tree)
}
