//! The end of a run: everything that waited happens, everybody reads, and what is in the store, what is acknowledged and
//! what a device is told when it comes back are compared.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use edge_proto::LinkId;
use store::keys::direct_chat_id;
use store::op::{MemberCursors, Op, OpOutput, OpenSession, Tail, Tailed};
use wire::event::Entry;
use wire::{AccountId, ChatId, ErrorCode, Event, LogId, Seq, WallTime};

use super::world::World;

/// Longer than every lifetime of a session's timers: the access token's is an hour.
const ALL_TIMERS: Duration = Duration::from_secs(3 * 3600);

impl World {
    /// A tail of a chat, as an account may have it.
    fn tail(&self, chat: ChatId, account: AccountId, after: Seq, entries_max: usize) -> Tailed {
        let log = LogId::Chat(chat);
        let tail = Tail { log, account, member: None, after, entries_max, bytes_max: 1 << 20 };
        match self.execute(Op::Tail(tail)) {
            OpOutput::Tail(tailed) => tailed,
            other => panic!("a tail is answered by one, not {other:?}"),
        }
    }

    /// Who is in a chat, or was.
    fn readers(&self, chat: ChatId) -> BTreeSet<AccountId> {
        let accounts = self.devices.iter().map(|device| device.account());
        accounts.filter(|account| self.is_member(chat, *account)).collect()
    }

    /// The log's last place in the store.
    pub(super) fn head(&self, chat: ChatId) -> Seq {
        let heads = self.readers(chat).into_iter().map(|account| self.tail(chat, account, Seq::ZERO, 1).head);
        heads.max().unwrap_or_default()
    }

    /// What the store has at a place of a chat, if anybody may still read it.
    pub(super) fn entry_at(&self, chat: ChatId, seq: Seq) -> Option<Entry> {
        let after = Seq(seq.0.checked_sub(1)?);
        self.readers(chat).into_iter().find_map(|account| {
            let tailed = self.tail(chat, account, after, 1);
            match Event::decode(&wire::frame::body_of(&tailed.entries.first()?.frame)) {
                Ok(Event::Entry(entry)) if entry.seq == seq => Some(entry),
                _ => None,
            }
        })
    }

    /// Ends the run.
    pub(super) fn settle(&mut self) {
        self.release();
        self.holds_hints = false;
        self.hints.clear();
        self.read_everything();
        self.pass(Duration::from_secs(120));
        self.check_store();
        let everybody = self.links.iter().map(|link| link.id).collect::<Vec<LinkId>>();
        everybody.into_iter().for_each(|link| self.close(link));
        for device in 0..self.devices.len() {
            self.come_back(device);
        }
        self.nobody_is_left();
    }

    fn read_everything(&mut self) {
        for id in self.links.iter().map(|link| link.id).collect::<Vec<LinkId>>() {
            if let Some(link) = self.link(id) {
                link.stalls_new = false;
                link.streams.iter_mut().for_each(|stream| stream.stalled = false);
                let node = link.node;
                self.run(node);
                self.allow_streams(id, 64);
            }
        }
    }

    /// Every log is what was seen of it, and holds what was acknowledged.
    fn check_store(&mut self) {
        let accounts: Vec<_> = self.devices.iter().map(|device| device.account()).collect();
        let mut heads = BTreeMap::new();
        let of_two =
            accounts.iter().flat_map(|one| accounts.iter().map(|other| direct_chat_id(*one, *other)));
        let chats: BTreeSet<ChatId> = of_two.chain(self.model.groups.made.iter().copied()).collect();
        for chat in chats {
            heads.insert(chat, self.check_log(chat));
            for one in self.readers(chat) {
                let cursors = MemberCursors { log: LogId::Chat(chat), account: one, since: WallTime(0) };
                if let OpOutput::MemberCursors(Ok(cursors)) = self.execute(Op::MemberCursors(cursors)) {
                    for cursor in cursors {
                        assert!(cursor.read <= cursor.delivered, "I4: READ implies DELIVERED");
                        assert!(cursor.delivered <= heads[&chat], "nobody has what is not there");
                    }
                }
            }
        }
        for ((chat, _, id), seq) in &self.model.places {
            let head = heads.get(chat).copied().unwrap_or_default();
            assert!(*seq <= head, "I1: what was acknowledged is there: {id} at {seq} of {head}");
        }
    }

    fn check_log(&mut self, chat: ChatId) -> Seq {
        let head = self.head(chat);
        for place in 1..=head.0 {
            match self.entry_at(chat, Seq(place)) {
                Some(entry) => self.model.saw(chat, entry),
                // Who comes back to a group does not get what was before.
                None => assert!(self.model.groups.made.contains(&chat), "I2: a log has no hole"),
            }
        }
        head
    }

    /// Everybody goes, and the nodes hold nothing of them.
    fn nobody_is_left(&mut self) {
        for id in self.links.iter().map(|link| link.id).collect::<Vec<LinkId>>() {
            self.close(id);
        }
        self.pass(ALL_TIMERS);
        for node in &self.nodes {
            let stats = node.stats();
            assert_eq!((stats.connections, stats.accounts, stats.effects), (0, 0, 0), "nothing is left");
            assert_eq!(node.poll_timeout(), None, "no timer is left");
            let counters = node.counters();
            assert_eq!(counters.sessions_begun, counters.sessions_ended, "every session ended");
        }
    }

    /// A device that comes back is told everything after its cursor, and that this is all.
    fn come_back(&mut self, device: usize) {
        let (account, id) = (self.devices[device].account(), self.devices[device].verified.device);
        let open = OpenSession { account, device: id, receipts_since: WallTime(0) };
        let state = match self.execute(Op::OpenSession(open)) {
            OpOutput::OpenSession(state) => state,
            other => panic!("a session is answered by one, not {other:?}"),
        };
        if state.as_ref().is_ok_and(|state| state.chats.is_empty()) {
            return;
        }
        // A device can renew a token that has ended, unless it was ended itself.
        if self.devices[device].verified.tokens.access_expires <= self.now.wall {
            self.renew(device);
        }
        let Some(link) = self.connect(device % 2, false) else { return };
        self.allow_streams(link, 64);
        self.greet_as(link, device);
        let Some(found) = self.link(link) else { return };
        match (&state, found.ended) {
            (Ok(_), Some(ErrorCode::TokenExpired | ErrorCode::ShuttingDown | ErrorCode::TokenRevoked)) => {
                return;
            }
            (Err(_), Some(_)) => return,
            (_, ended) => assert_eq!(ended, None, "who may come back does"),
        }
        assert_eq!(found.connected, Some(Some(device)), "who comes back is greeted");
        assert!(found.synced, "and told when that is all");
        let (delivered, inbox) = (found.delivered.clone(), found.inbox);
        let state = state.expect("a session began");
        if state.inbox.head > state.inbox.delivered {
            assert_eq!(inbox, state.inbox.head, "everything of its inbox is delivered");
        }
        for chat in state.chats {
            if chat.head > chat.delivered {
                assert_eq!(delivered.get(&chat.chat), Some(&chat.head), "everything is delivered");
            }
        }
    }
}
