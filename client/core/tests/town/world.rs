//! Phones and their server, and what goes between them: in turn, or in random order from a seed.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use bytes::Bytes;
use client_core::{ClientEvent, Now, Passed, StreamTag};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use wire::event::{Connected, Cursor, Device, EntryKind, EntryPart, Event};
use wire::request::Request;
use wire::{AccountId, ChatId, ClientMsgId, Epoch, ErrorCode, Role, Seq, WallTime, limits};

use crate::phone::Phone;
use crate::server::Server;

pub(crate) struct World {
    pub(crate) now: Now,
    pub(crate) rng: ChaCha8Rng,
    pub(crate) server: Server,
    pub(crate) phones: Vec<Phone>,
    /// What each message says that was typed.
    pub(crate) typed: BTreeMap<ClientMsgId, (ChatId, usize, Bytes)>,
    /// The ids in the order in which a phone's person typed them in a chat.
    order: BTreeMap<(ChatId, usize), Vec<ClientMsgId>>,
    /// What a server in the middle does to entries as it hands them out.
    pub(crate) tamper: Option<fn(&mut wire::event::Entry)>,
    /// The server refuses some messages, for a while or for good, and sends entries twice.
    pub(crate) faults: bool,
    /// Messages that it refuses for good.
    pub(crate) refused: BTreeSet<ClientMsgId>,
    /// Devices in one answer to a claim.
    pub(crate) claim_page: usize,
    ids: u64,
}

/// Key packages that a phone publishes at a time.
pub(crate) const KEY_PACKAGES: usize = 8;

pub(crate) fn account(number: u8) -> AccountId {
    AccountId::new([number + 1; 16])
}

impl World {
    /// Phones of these people, connected and quiet.
    pub(crate) fn of(people: &[u8]) -> World {
        let mut world = World::asleep(people);
        (0..world.phones.len()).for_each(|phone| world.phones[phone].start(world.now));
        world.settle();
        world
    }

    /// The same, before any of them is started.
    pub(crate) fn asleep(people: &[u8]) -> World {
        #[expect(clippy::disallowed_methods, reason = "a test begins at some time")]
        let now = Now { instant: Instant::now(), wall: WallTime(1_700_000_000_000) };
        let mut world = World {
            now,
            rng: ChaCha8Rng::seed_from_u64(1),
            server: Server { at: now.wall, ..Server::default() },
            phones: Vec::new(),
            typed: BTreeMap::new(),
            order: BTreeMap::new(),
            tamper: None,
            faults: false,
            refused: BTreeSet::new(),
            claim_page: limits::CLAIM_DEVICES_MAX,
            ids: 0,
        };
        for &person in people {
            world.add(person);
        }
        world
    }

    /// A new phone of a person, not started.
    pub(crate) fn add(&mut self, person: u8) -> usize {
        let phone = Phone::new(self.phones.len() as u8, account(person), self.now);
        self.server.add_device(phone.account, &phone.key());
        self.phones.push(phone);
        self.phones.len() - 1
    }

    pub(crate) fn id(&mut self) -> ClientMsgId {
        self.ids += 1;
        ClientMsgId::new([[0xEE; 8], self.ids.to_be_bytes()].concat().try_into().expect("16 bytes"))
    }

    pub(crate) fn say(
        &mut self,
        phone: usize,
        chat: ChatId,
        peer: Option<AccountId>,
        text: &str,
    ) -> Option<ClientMsgId> {
        let content = Bytes::from(text.to_owned());
        let said = content.clone();
        let id = self.phones[phone]
            .with(self.now, |client, now| client.send(chat, peer, content, now).expect("there is room"))?;
        // A process that died before it was kept has forgotten it.
        let disk = &self.phones[phone].disk;
        let is_kept = disk.kept.outbox.iter().any(|row| row.client_msg_id == id)
            || disk.sent.contains_key(&id)
            || disk.failed.contains(&id);
        if is_kept {
            self.typed.insert(id, (chat, phone, said));
            self.order.entry((chat, phone)).or_default().push(id);
        }
        is_kept.then_some(id)
    }

    // ---- the server's side ----

    /// The server takes the next thing of a stream; `false` if there is none.
    pub(crate) fn serve(&mut self, at: usize, tag: StreamTag) -> bool {
        let phone = &mut self.phones[at];
        let who = (phone.account, phone.device());
        let Some(stream) = phone.stream(tag) else { return false };
        let Some(request) = stream.up.pop_front() else {
            let over = stream.over_by_client && !stream.over && stream.role == Role::ChatUp;
            if over {
                stream.over = true;
                stream.down.push_back(None);
            }
            return over;
        };
        if stream.ended {
            return true;
        }
        let (chat, is_inbox) = (stream.chat, stream.inbox);
        let answer = match request {
            Request::Hello(hello) => {
                self.hello(at, tag, &hello);
                return true;
            }
            Request::Ping { client_time } => {
                let server_time = self.now.wall;
                phone.answer(tag, Event::Pong { client_time, server_time });
                return true;
            }
            Request::ChatUp { chat, .. } => {
                stream.chat = Some(chat);
                return true;
            }
            Request::InboxUp => {
                stream.inbox = true;
                return true;
            }
            Request::Append(append) => {
                let chat = chat.expect("a chat");
                self.append(at, tag, chat, append);
                return true;
            }
            Request::MoveCursor { delivered, .. } if is_inbox => {
                let (_, cursor) = self.server.inboxes.entry(who.1).or_default();
                assert!(delivered <= phone.disk.kept.inbox, "kept before it is said");
                *cursor = delivered.max(*cursor);
                return true;
            }
            Request::MoveCursor { delivered, read } => {
                let chat = chat.expect("a chat");
                assert!(delivered.max(read) <= phone.disk.have(chat), "I4: kept before it is said");
                if let Some(log) = self.server.logs.get_mut(&chat) {
                    let was = log.read.entry(who.0).or_default();
                    *was = read.max(*was);
                    let cursor = log.delivered.entry(who.1).or_default();
                    *cursor = delivered.max(*cursor);
                }
                return true;
            }
            Request::CommitGroup(commit) => {
                assert!(commit.blob_bytes().is_some(), "it may be as large as it is");
                stream.commit = Some((commit, Vec::new()));
                return true;
            }
            Request::Part { bytes, left } => {
                let (_, blob) = stream.commit.as_mut().expect("a commit");
                blob.extend_from_slice(&bytes);
                if left > 0 {
                    return true;
                }
                let (commit, blob) = stream.commit.take().expect("it was just there");
                assert_eq!(Some(blob.len()), commit.blob_bytes());
                vec![self.server.commit(who, &commit, &blob.into())]
            }
            Request::LeaveGroup { chat, client_msg_id } => vec![self.server.leave(who, chat, client_msg_id)],
            Request::GetGroup { chat } => vec![self.server.group(who, chat)],
            Request::GetTree { chat, epoch } => self.server.tree(chat, epoch),
            Request::PublishKeyPackages(publish) => vec![self.server.publish(who, publish)],
            Request::ClaimKeyPackages(claim) => {
                vec![self.server.claim(&claim.accounts, claim.after, self.claim_page)]
            }
            Request::ListDevices => {
                let own = self.server.devices.iter().filter(|(_, of)| **of == who.0);
                let device = |(&device, _): (&wire::DeviceId, _)| Device {
                    device,
                    name: String::new(),
                    added_at: WallTime(0),
                    current: device == who.1,
                };
                vec![Event::Devices(own.map(device).collect())]
            }
            other => panic!("nobody says {other:?} here"),
        };
        self.phones[at].answer_all(tag, answer);
        true
    }

    fn append(&mut self, at: usize, tag: StreamTag, chat: ChatId, append: wire::request::Append) {
        let phone = &mut self.phones[at];
        let (client_msg_id, who) = (append.client_msg_id, (phone.account, phone.device()));
        let is_there = self.server.logs.get(&chat).is_some_and(|log| log.places.contains_key(&client_msg_id));
        let fate = if self.faults && !is_there { self.rng.random_range(0..30) } else { 30 };
        if fate == 0 || self.refused.contains(&client_msg_id) {
            self.refused.insert(client_msg_id);
            let refusal = ErrorCode::RecipientUnknown.refuse();
            return phone.answer(tag, Event::AppendRefused { client_msg_id, refusal, epoch: Epoch::ZERO });
        }
        let answer = match fate {
            1 => Err((ErrorCode::RateLimited.after(Duration::from_millis(700)), Epoch::ZERO)),
            _ => self.server.append(who, chat, append),
        };
        match answer {
            Ok((seq, delivered)) => {
                let sent = phone.sent_down.entry(chat).or_default();
                if delivered == seq && sent.next() == seq {
                    *sent = seq;
                }
                let at = self.now.wall;
                phone.answer(tag, Event::AppendAck { client_msg_id, seq, at, delivered });
            }
            Err((refusal, epoch)) => {
                phone.answer(tag, Event::AppendRefused { client_msg_id, refusal, epoch });
                if refusal.code != ErrorCode::NotMember {
                    let stream = phone.stream(tag).expect("it was just there");
                    (stream.ended, stream.over) = (true, true);
                    stream.down.push_back(None);
                }
            }
        }
    }

    fn hello(&mut self, at: usize, tag: StreamTag, hello: &wire::request::Hello) {
        let phone = &mut self.phones[at];
        let device = phone.device();
        let stated: BTreeMap<_, _> = hello.cursors.iter().copied().collect();
        phone.sent_down.clear();
        for (chat, log) in &self.server.logs {
            if let Some(member) = log.members.get(&phone.account) {
                let told = log.delivered.get(&device).copied().unwrap_or_default();
                let from = stated.get(chat).copied().unwrap_or(told);
                phone.sent_down.insert(*chat, from.max(Seq(member.joined.0 - 1)));
            }
        }
        phone.inbox_sent = self.server.inboxes.get(&device).map_or(Seq::ZERO, |(_, cursor)| *cursor);
        let packages = self.server.packages.get(&device).map_or(0, |(stored, _)| stored.len());
        let connected = Connected {
            version: 1,
            identity: Some((phone.account, device)),
            server_time: self.now.wall,
            token_expires: self.now.wall + Duration::from_secs(10_000_000),
            chats: 1,
            refresh: false,
            key_packages: packages as u32,
        };
        phone.answer(tag, Event::Connected(connected));
        phone.answer(tag, Event::Synced { through: self.now.wall });
        phone.greeted = true;
        self.tell_cursors(at);
    }

    /// Where this person's cursors stand is owed.
    fn tell_cursors(&mut self, at: usize) {
        let phone = &mut self.phones[at];
        let (member, device, now) = (phone.account, phone.device(), self.now.wall);
        for (chat, log) in self.server.logs.iter().filter(|(_, log)| log.is_member(member)) {
            let delivered = log.delivered.get(&device).copied().unwrap_or_default();
            let read = log.read.get(&member).copied().unwrap_or_default();
            let withheld = Vec::new();
            let cursor = Cursor { member, delivered, delivered_at: now, read, read_at: now, withheld };
            let from_seq = phone.sent_down[chat].next();
            let peer = log.peer_of(member);
            let down = phone.down_stream(Some(*chat), Event::ChatDown { chat: *chat, from_seq, peer });
            phone.answer(down, Event::CursorMoved(cursor));
        }
    }

    /// Puts the next entry of a chat, or of the inbox, on its way to a phone; `false` if there is none.
    pub(crate) fn deliver(&mut self, at: usize, chat: Option<ChatId>) -> bool {
        let phone = &mut self.phones[at];
        if !phone.greeted || phone.streams.is_none() {
            return false;
        }
        match chat {
            Some(chat) => self.deliver_chat(at, chat),
            None => {
                let Some((inbox, _)) = self.server.inboxes.get(&phone.device()) else { return false };
                let Some(entry) = inbox.get(phone.inbox_sent.0 as usize).cloned() else { return false };
                phone.inbox_sent = entry.seq;
                let tag = phone.down_stream(None, Event::InboxDown { from_seq: entry.seq });
                phone.answer(tag, Event::InboxEntry(entry));
                true
            }
        }
    }

    fn deliver_chat(&mut self, at: usize, chat: ChatId) -> bool {
        let phone = &mut self.phones[at];
        let log = &self.server.logs[&chat];
        let Some(member) = log.members.get(&phone.account) else { return false };
        // A session that hears of a chat only now begins with what its account may read.
        let base = Seq(member.joined.0 - 1);
        let mut sent = phone.sent_down.get(&chat).copied().unwrap_or_default().max(base);
        if self.faults && sent > base && self.rng.random_ratio(1, 10) {
            sent = Seq(sent.0 - 1);
        }
        let last = member.ended.unwrap_or(log.head());
        if sent >= last {
            return false;
        }
        let mut entry = log.entries[sent.0 as usize].clone();
        if let Some(tamper) = self.tamper {
            tamper(&mut entry);
        }
        let peer = log.peer_of(phone.account);
        let down = phone.down_stream(Some(chat), Event::ChatDown { chat, from_seq: entry.seq, peer });
        let seq = entry.seq;
        phone.sent_down.insert(chat, seq);
        let whole = entry.content.clone();
        let pieces: Vec<Bytes> = whole.chunks(limits::PART_BYTES_MAX).map(Bytes::copy_from_slice).collect();
        if let (EntryKind::Commit { parts }, [first, ..]) = (&mut entry.what, &pieces[..]) {
            *parts = pieces.len() as u16 - 1;
            entry.content = first.clone();
        }
        let parts = entry.what.parts();
        phone.answer(down, Event::Entry(entry));
        for part in 1..=parts {
            let bytes = pieces[usize::from(part)].clone();
            phone.answer(down, Event::EntryPart(EntryPart { seq, part, bytes }));
        }
        true
    }

    // ---- time ----

    /// Carries everything that is on its way one step on; `true` if there was something.
    pub(crate) fn carry(&mut self) -> bool {
        let mut busy = false;
        for at in 0..self.phones.len() {
            if self.phones[at].away {
                continue;
            }
            for tag in self.phones[at].tags() {
                busy |= self.serve(at, tag);
                busy |= self.phones[at].hear(tag, self.now);
            }
            busy |= self.deliver(at, None);
            let chats: Vec<ChatId> = self.server.logs.keys().copied().collect();
            for chat in chats {
                busy |= self.deliver(at, Some(chat));
            }
        }
        busy
    }

    pub(crate) fn pass(&mut self, time: Duration) {
        self.now = Now { instant: self.now.instant + time, wall: self.now.wall + time };
        self.server.at = self.now.wall;
        for phone in self.phones.iter_mut().filter(|phone| !phone.away) {
            phone.pass(self.now);
        }
    }

    /// Everything works: all of it comes to rest, for long enough that nobody has anything left to do. Processes that died
    /// are started again.
    pub(crate) fn settle(&mut self) {
        let mut quiet = 0;
        for _ in 0..6000 {
            for phone in &mut self.phones {
                if phone.client.is_none() && !phone.away && phone.drains > 0 {
                    phone.start(self.now);
                }
            }
            let busy = self.carry();
            let settled =
                self.phones.iter().all(|phone| phone.away || phone.client.is_none() || phone.is_settled());
            quiet = if busy || !settled { 0 } else { quiet + 1 };
            if quiet > 12 {
                return;
            }
            self.pass(Duration::from_millis(if busy { 1 } else { 200 }));
        }
        let who: Vec<usize> = (0..self.phones.len()).filter(|at| !self.phones[*at].is_settled()).collect();
        for &at in &who {
            let kept = &self.phones[at].disk.kept;
            eprintln!("phone {at}: {:?} {:?} {:?}", kept.outbox, kept.commits.len(), kept.plans);
            let noteworthy = |event: &&ClientEvent| {
                !matches!(event, ClientEvent::Arrived(_) | ClientEvent::Sent(_) | ClientEvent::Cursor { .. })
            };
            eprintln!("told: {:?}", self.phones[at].told.iter().filter(noteworthy).collect::<Vec<_>>());
            let inbox = self.server.inboxes.get(&self.phones[at].device());
            eprintln!("inbox: {:?} of {:?}", kept.inbox, inbox.map(|(all, cursor)| (all.len(), cursor)));
            for row in &kept.outbox {
                let log = self.server.logs.get(&row.chat);
                eprintln!(
                    "log: {:?}",
                    log.map(|log| (log.head(), log.epoch, &log.members, &log.pending, &log.leaves))
                );
                eprintln!("row: {:?}", kept.chat(row.chat));
            }
        }
        panic!("it never comes to rest: {who:?}");
    }

    // ---- what must be true ----

    /// All that everybody typed is in the logs, once and in order; every member has read all of it that came since it was
    /// added, and nothing that came after it went.
    pub(crate) fn check(&self) {
        for (id, (chat, phone, _)) in &self.typed {
            let failed = self.phones[*phone].disk.failed.contains(id);
            let place = self.server.logs.get(chat).and_then(|log| log.places.get(id));
            assert_eq!(place.is_none(), failed, "phone {phone} has typed {id:?}");
        }
        for (chat, log) in &self.server.logs {
            for (at, phone) in self.phones.iter().enumerate() {
                self.check_order(*chat, log, at);
                self.check_phone(*chat, log, at, phone);
            }
        }
    }

    /// What one phone's person typed in a chat is there in the order in which they did.
    fn check_order(&self, chat: ChatId, log: &crate::server::Log, at: usize) {
        let own = log.entries.iter().filter(|entry| entry.device == self.phones[at].device());
        let own = own.filter(|entry| self.typed.contains_key(&entry.client_msg_id));
        let mut order = self.order.get(&(chat, at)).into_iter().flatten();
        for entry in own {
            let found = order.any(|id| *id == entry.client_msg_id);
            assert!(found, "phone {at} did not say {} in this order", entry.seq);
        }
    }

    fn check_phone(&self, chat: ChatId, log: &crate::server::Log, at: usize, phone: &Phone) {
        let Some(member) = log.members.get(&phone.account) else {
            return assert!(phone.read(chat).is_empty(), "phone {at} is no member");
        };
        let is_inside = log.leaves.iter().any(|(_, leaf)| leaf.device == phone.device());
        if phone.away || phone.client.is_none() {
            return;
        }
        let last = member.ended.unwrap_or(log.head());
        if is_inside && member.ended.is_none() {
            assert_eq!(phone.disk.have(chat), last, "phone {at} has all of the log");
        }
        assert!(phone.disk.have(chat) <= last, "phone {at} has what is not for it");
        for entry in &log.entries {
            let key = (chat, entry.seq);
            let Some((_, _, said)) = self.typed.get(&entry.client_msg_id) else { continue };
            if let Some(message) = phone.disk.messages.get(&key) {
                assert_eq!(
                    (&message.content, message.sender),
                    (said, entry.sender),
                    "phone {at} at {}",
                    entry.seq
                );
            } else if let Some(Passed::Own) = phone.disk.passed.get(&key) {
                assert_eq!(phone.disk.sent.get(&entry.client_msg_id).map(|sent| &sent.content), Some(said));
            } else if let Some(what) = phone.disk.passed.get(&key) {
                panic!("phone {at} could not read {}: {what:?}", entry.seq);
            }
        }
    }

    /// Whether a phone was told something.
    pub(crate) fn was_told(&self, phone: usize, is: impl Fn(&ClientEvent) -> bool) -> bool {
        self.phones[phone].told.iter().any(is)
    }

    pub(crate) fn random(&mut self, most: usize) -> usize {
        self.rng.random_range(0..most)
    }
}
