//! What should be true of everything that clients hear.
//!
//! - one place per message, and one message per place: the same for whoever sees it (I2, I3);
//! - chats, and what is in them, are told only to their members, and only after a `Hello` that proves who they are;
//! - a stream's entries follow each other, but for a device's own that an ack on the link stands for; no stream begins past
//!   what the device has, but for what it said itself;
//! - each commit ends the epoch it was made for, and what is between two of them is of the epoch between (I6); an account reads
//!   of a group what is from the commit that added it to the entry that ended its membership (I5);
//! - a device's inbox follows without a hole, and welcomes it to what it may read;
//! - READ implies DELIVERED, and nobody has read what is not there (I4).

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use bytes::Bytes;
use edge_proto::{LinkId, StreamId};
use store::keys::direct_chat_id;
use wire::event::{Connected, Cursor, Entry, EntryKind, InboxItem, Verified};
use wire::{AccountId, ChatId, ClientMsgId, Event, Request, Seq};

use super::group::Groups;
use super::link::{Asked, Kind};
use super::request::bytes_of;
use super::world::World;

/// One device: its key and what it was told.
pub(super) struct Device {
    pub(super) key: Ed25519KeyPair,
    pub(super) verified: Verified,
}

impl Device {
    pub(super) fn account(&self) -> AccountId {
        self.verified.account
    }

    pub(super) fn public(&self) -> [u8; 32] {
        bytes_of(self.key.public_key().as_ref())
    }
}

/// What was said, and what was seen of it.
#[derive(Debug, Default)]
pub(super) struct Model {
    /// What each account said in each chat under each id.
    said: BTreeMap<(ChatId, AccountId, ClientMsgId), BTreeSet<Bytes>>,
    /// Where each message is, as acknowledged or seen.
    pub(super) places: BTreeMap<(ChatId, AccountId, ClientMsgId), Seq>,
    /// What is at each place, as acknowledged or seen.
    owners: BTreeMap<(ChatId, Seq), (AccountId, ClientMsgId)>,
    pub(super) entries: BTreeMap<(ChatId, Seq), Entry>,
    /// How far each device ever said it has each chat.
    claimed: BTreeMap<(usize, ChatId), Seq>,
    /// How far each device ever said it has its inbox.
    inboxes: BTreeMap<usize, Seq>,
    pub(super) groups: Groups,
}

impl Model {
    pub(super) fn said(&mut self, chat: ChatId, sender: AccountId, id: ClientMsgId, content: &Bytes) {
        self.said.entry((chat, sender, id)).or_default().insert(content.clone());
    }

    /// A device says that it has everything up to here.
    fn claims(&mut self, devices: Range<usize>, chat: ChatId, seq: Seq) {
        for device in devices {
            let claimed = self.claimed.entry((device, chat)).or_default();
            *claimed = seq.max(*claimed);
        }
    }

    /// The same of its inbox.
    fn claims_inbox(&mut self, devices: Range<usize>, seq: Seq) {
        for device in devices {
            let claimed = self.inboxes.entry(device).or_default();
            *claimed = seq.max(*claimed);
        }
    }

    /// The last place that is known to be taken.
    pub(super) fn last(&self, chat: ChatId) -> Seq {
        let mut of_chat = self.owners.range((chat, Seq::ZERO)..=(chat, Seq(u64::MAX)));
        of_chat.next_back().map_or(Seq::ZERO, |((_, seq), _)| *seq)
    }

    fn is_at(&mut self, chat: ChatId, sender: AccountId, id: ClientMsgId, seq: Seq) {
        let place = *self.places.entry((chat, sender, id)).or_insert(seq);
        assert_eq!(place, seq, "I3: a message has one place");
        let owner = *self.owners.entry((chat, seq)).or_insert((sender, id));
        assert_eq!(owner, (sender, id), "I2: a place has one message");
    }

    /// Somebody sees an entry, or the store has it.
    pub(super) fn saw(&mut self, chat: ChatId, entry: Entry) {
        let said = self.said.get(&(chat, entry.sender, entry.client_msg_id));
        let is_said = said.is_some_and(|said| said.contains(&entry.content));
        assert!(
            is_said || matches!(entry.what, EntryKind::Control(_)),
            "somebody said it, or the server did"
        );
        assert_eq!(entry.epoch, self.groups.epoch_at(chat, entry.seq), "I6: all of an epoch is of it");
        self.is_at(chat, entry.sender, entry.client_msg_id, entry.seq);
        let first = self.entries.entry((chat, entry.seq)).or_insert_with(|| entry.clone());
        assert_eq!(*first, entry, "everybody sees the same entry");
    }
}

impl World {
    /// Whether an account is one of a chat's two, or is or was in its group.
    pub(super) fn is_member(&self, chat: ChatId, account: AccountId) -> bool {
        self.model.groups.was_member(chat, account) || self.is_of_two(chat, account)
    }

    /// Whether an account may read a place of a chat.
    fn may_read(&self, chat: ChatId, account: AccountId, seq: Seq) -> bool {
        self.model.groups.may_read(chat, account, seq) || self.is_of_two(chat, account)
    }

    fn is_of_two(&self, chat: ChatId, account: AccountId) -> bool {
        self.devices.iter().any(|other| direct_chat_id(account, other.account()) == chat)
    }

    /// A client says something: what can come of it.
    pub(super) fn note(&mut self, id: LinkId, stream: StreamId, request: &Request) {
        // What is said before `Hello` waits for it, whoever that will be.
        let anybody = 0..self.devices.len();
        let Some(link) = self.link(id) else { return };
        let claims = link.claims.map_or(anybody, |device| device..device + 1);
        // On the session's stream the first counts, whatever it is; elsewhere none does.
        let is_session = link.stream(stream).is_some_and(|stream| matches!(stream.kind, Kind::Session));
        link.greeted |= is_session && matches!(request, Request::Hello(_));
        let Some(found) = link.stream(stream) else { return };
        match (&mut found.kind, request) {
            (kind @ Kind::Other, Request::ChatUp { chat, .. }) => {
                *kind = Kind::Chat { chat: *chat, said: Vec::new() };
            }
            (kind @ Kind::Other, Request::InboxUp) => *kind = Kind::InboxUp,
            (Kind::InboxUp, Request::MoveCursor { delivered, .. }) => {
                self.model.claims_inbox(claims, *delivered);
            }
            (Kind::Chat { chat, said }, Request::Append(append)) => {
                said.push(append.client_msg_id);
                let chat = *chat;
                for device in claims {
                    let sender = self.devices[device].account();
                    self.model.said(chat, sender, append.client_msg_id, &append.content);
                }
            }
            (Kind::Chat { chat, .. }, Request::MoveCursor { delivered, read }) => {
                let chat = *chat;
                self.model.claims(claims, chat, *delivered.max(read));
            }
            (Kind::Session, Request::Hello(hello)) => {
                for (chat, seq) in &hello.cursors {
                    self.model.claims(claims.clone(), *chat, *seq);
                }
            }
            _ => {}
        }
    }

    /// A client hears something, on the stream at a place of its link.
    pub(super) fn heard(&mut self, id: LinkId, place: usize, event: Event) {
        let Some(at) = self.links.iter().position(|link| link.id == id) else { return };
        let link = &mut self.links[at];
        let claims = link.claims.map(|device| self.devices[device].account());
        match (&mut link.streams[place].kind, event) {
            (Kind::Session, event) => self.heard_on_session(at, event),
            (Kind::Down { .. }, event) => self.heard_of_chat(at, place, event),
            (Kind::InboxDown { .. }, event) => self.heard_of_inbox(at, place, event),
            (Kind::Chat { chat, said }, Event::AppendAck { client_msg_id, seq, delivered, .. }) => {
                assert!(said.contains(&client_msg_id), "an ack is for what was said on its stream");
                let chat = *chat;
                if delivered >= seq {
                    link.acked.insert((chat, seq));
                }
                let sender = claims.expect("only who proved who they are gets an ack");
                assert!(self.is_member(chat, sender), "only a member gets an ack");
                self.model.is_at(chat, sender, client_msg_id, seq);
            }
            (Kind::Chat { said, .. }, Event::AppendRefused { client_msg_id, .. }) => {
                assert!(said.contains(&client_msg_id), "a refusal is for what was said on its stream");
            }
            (_, Event::Refused(_)) => {}
            (Kind::Asked(asked), event) => {
                let asked = *asked;
                self.heard_answer(at, asked, event);
            }
            // A request on a stream that was opened for nothing is answered like any.
            (Kind::Other, event) => self.heard_answer(at, Asked::Else, event),
            (Kind::Chat { .. } | Kind::InboxUp, event) => self.heard_answer(at, Asked::Else, event),
        }
    }

    fn heard_on_session(&mut self, at: usize, event: Event) {
        let link = &mut self.links[at];
        match event {
            Event::Connected(Connected { identity: Some(identity), .. }) => {
                let device = link.claims.expect("only who proved it is told who they are");
                let Device { verified, .. } = &self.devices[device];
                assert_eq!(identity, (verified.account, verified.device), "the device that signed");
                assert!(link.complete, "a session begins with the handshake's end");
                link.connected = Some(Some(device));
            }
            Event::Connected(_) => {
                assert_eq!(link.claims, None, "who said who they are is somebody");
                link.connected = Some(None);
            }
            Event::Synced { .. } => {
                assert!(!link.synced, "a session is synced once");
                link.synced = true;
            }
            Event::Refused(refusal) | Event::Goodbye(refusal) => link.ended = Some(refusal.code),
            Event::Pong { .. } => assert!(link.connected.is_some(), "a session answers"),
            Event::DeviceAdded { .. } => assert!(matches!(link.connected, Some(Some(_)))),
            other => panic!("a session says no {other:?}"),
        }
    }

    fn heard_of_chat(&mut self, at: usize, place: usize, event: Event) {
        let link = &mut self.links[at];
        let device = link.connected.flatten().expect("a chat is told to a session");
        let account = self.devices[device].account();
        let Kind::Down { chat, begun, last, cursors } = &mut link.streams[place].kind else { return };
        let id = *chat;
        match event {
            Event::ChatDown { chat, from_seq, .. } => {
                assert!(!std::mem::replace(begun, true), "a stream begins once");
                assert_eq!(chat, id, "a stream is for its chat");
                *last = Seq(from_seq.0 - 1);
                let last = *last;
                let before = link.delivered.get(&chat).copied().unwrap_or_default();
                let claimed = self.model.claimed.get(&(device, chat)).copied().unwrap_or_default();
                let has = before.max(claimed).max(self.model.groups.floor(
                    chat,
                    account,
                    self.devices[device].verified.device,
                ));
                assert!(
                    self.says_all(device, chat, has, last),
                    "I2: nothing is passed over: {device} has {has}, begins at {last}"
                );
                assert!(self.is_member(chat, account), "a chat is told to its members");
            }
            Event::Entry(entry) => {
                assert!(*begun, "a stream says what it is first");
                assert!(entry.seq > *last, "I2: entries follow each other");
                let skipped =
                    (last.0 + 1..entry.seq.0).map(Seq).find(|&seq| !link.acked.contains(&(id, seq)));
                assert_eq!(skipped, None, "I2: and leave out what an ack stands for");
                *last = entry.seq;
                let delivered = link.delivered.entry(id).or_default();
                *delivered = entry.seq.max(*delivered);
                assert!(self.may_read(id, account, entry.seq), "I5: a member is told, while it is one");
                self.model.saw(id, entry);
            }
            Event::CursorMoved(cursor) => {
                assert!(*begun, "a stream says what it is first");
                let now = (cursor.delivered, cursor.read);
                cursors.insert(cursor.member, now);
                self.saw_cursor(id, &cursor);
            }
            Event::Typing { member, .. } => {
                assert!(*begun, "a stream says what it is first");
                assert!(self.is_member(id, member), "a member types");
            }
            other => panic!("a chat says no {other:?}"),
        }
    }

    fn heard_of_inbox(&mut self, at: usize, place: usize, event: Event) {
        let link = &mut self.links[at];
        let device = link.connected.flatten().expect("an inbox is told to a session");
        let Kind::InboxDown { begun, last } = &mut link.streams[place].kind else { return };
        match event {
            Event::InboxDown { from_seq } => {
                assert!(!std::mem::replace(begun, true), "a stream begins once");
                *last = Seq(from_seq.0 - 1);
                let has = self.model.inboxes.get(&device).copied().unwrap_or_default().max(link.inbox);
                assert!(*last <= has, "I2: nothing of an inbox is passed over");
            }
            Event::InboxEntry(entry) => {
                assert!(*begun, "a stream says what it is first");
                assert_eq!(entry.seq, last.next(), "I2: entries follow each other");
                *last = entry.seq;
                link.inbox = entry.seq.max(link.inbox);
                let account = self.devices[device].account();
                let InboxItem::Welcome(welcome) = entry.what else { panic!("an inbox holds welcomes") };
                assert!(self.may_read(welcome.chat, account, welcome.seq), "who is welcome may read");
                assert_eq!(welcome.epoch, self.model.groups.epoch_at(welcome.chat, welcome.seq.next()));
            }
            other => panic!("an inbox says no {other:?}"),
        }
    }

    /// Whether everything after one place of a chat and up to another was said on a device.
    fn says_all(&self, device: usize, chat: ChatId, after: Seq, through: Seq) -> bool {
        let said_on = self.devices[device].verified.device;
        let mut places = (after.0..through.0).map(|before| Seq(before + 1));
        places.all(|seq| {
            self.entry_at(chat, seq)
                .is_some_and(|entry| entry.device == said_on && entry.what == EntryKind::Message)
        })
    }

    fn saw_cursor(&self, chat: ChatId, cursor: &Cursor) {
        assert!(cursor.read <= cursor.delivered, "I4: READ implies DELIVERED");
        assert!(self.is_member(chat, cursor.member), "a cursor is a member's");
        let head = self.head(chat);
        assert!(cursor.delivered <= head, "nobody has what is not there");
    }

    fn heard_answer(&mut self, at: usize, asked: Asked, event: Event) {
        let claims = self.links[at].claims.map(|device| self.devices[device].account());
        match event {
            Event::Registered { registration, .. } => self.registrations.push(registration),
            Event::Verified(verified) => self.enrolled(verified),
            Event::Refreshed(tokens) => {
                if let Asked::Refresh { device } = asked {
                    self.devices[device].verified.tokens = tokens;
                }
            }
            Event::Entry(entry) => {
                let account = claims.expect("history is for who proved who they are");
                if let Asked::Messages(chat) = asked {
                    assert!(self.may_read(chat, account, entry.seq), "I5: history is for members");
                    self.model.saw(chat, entry);
                }
            }
            Event::Page(page) => {
                if let Asked::Messages(chat) = asked {
                    page.members.iter().for_each(|cursor| self.saw_cursor(chat, cursor));
                }
            }
            Event::Committed { seq, epoch, .. } => {
                let Asked::Commit(chat, id) = asked else { panic!("nobody asked for a commit") };
                let sender = claims.expect("only who proved who they are commits");
                self.model.is_at(chat, sender, id, seq);
                assert_eq!(epoch, self.model.groups.epoch_at(chat, seq.next()), "I6");
            }
            Event::Group(group) => {
                if let Asked::Group(chat) = asked {
                    assert_eq!(group.chat, chat, "the group that was asked for");
                }
                let account = claims.expect("a group is told to who proved who they are");
                assert!(self.is_member(group.chat, account), "a group is told to its members");
                assert!(group.members.iter().any(|member| member.account == account));
            }
            Event::Part { .. } | Event::KeyPackagesStored { .. } | Event::KeyPackages { .. } => {
                assert!(claims.is_some(), "answers are for who proved who they are");
            }
            Event::Devices(_) | Event::Chats { .. } | Event::Receipts(_) | Event::Found { .. } => {
                assert!(claims.is_some(), "answers are for who proved who they are");
            }
            Event::Done => assert!(claims.is_some(), "only somebody can end a device"),
            Event::Refused(_) => {}
            other => panic!("nobody answers {other:?}"),
        }
    }
}
