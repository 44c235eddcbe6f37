//! Groups: commits as devices make them, of their public part alone, which is all that a node looks at; and who may read what.

use std::collections::BTreeMap;

use bytes::Bytes;
use edge_proto::LinkId;
use store::keys::{direct_chat_id, group_chat_id};
use store::op::{self, GroupState, Op, OpOutput};
use wire::event::Group;
use wire::request::{Action, CommitGroup, NewDevice, Request};
use wire::{AccountId, ChatId, ClientMsgId, DeviceId, Epoch, LogId, Seq};
use wire_mls::inspect::{self, Added, Commit};
use wire_mls::{GroupName, Leaf, Leaves};

use super::act::{Change, Fault};
use super::client::NUMBERS;
use super::link::{Asked, Kind, Said};
use super::world::World;
use crate::mls::write;

/// What became of groups, by the answers of the store.
#[derive(Debug, Default)]
pub(super) struct Groups {
    /// Those that were made.
    pub(super) made: Vec<ChatId>,
    /// What each account that is in a group, or was, may read: from which place, and up to which.
    spans: BTreeMap<(ChatId, AccountId), Vec<(Seq, Seq)>>,
    /// The place before the last commit that added each device. What is before it, it could not open; what was said before
    /// there was a group it could.
    added: BTreeMap<(ChatId, DeviceId), Seq>,
    /// Where the commits of each chat are.
    commits: BTreeMap<ChatId, Vec<Seq>>,
}

impl Groups {
    /// An op was executed.
    pub(super) fn happened(&mut self, op: &Op, output: &OpOutput) {
        match (op, output) {
            (Op::Commit(op), OpOutput::Commit(Ok(done))) if !done.repeat => self.committed(op, done),
            (Op::Leave(op), OpOutput::Leave(Ok(left))) if !left.repeat => {
                self.end(op.log, op.account, left.seq);
            }
            _ => {}
        }
    }

    fn committed(&mut self, op: &op::Commit, done: &op::Committed) {
        let LogId::Chat(chat) = op.log else { panic!("a commit is a chat's") };
        let commits = self.commits.entry(chat).or_default();
        assert_eq!(op.epoch.0, commits.len() as u64, "I6: a commit ends the epoch that it was made for");
        commits.push(done.seq);
        assert_eq!(done.epoch.0, commits.len() as u64, "I6: and begins the next");
        if op.epoch > Epoch::ZERO {
            let before = Seq(done.seq.0 - 1);
            self.added.extend(op.adds.iter().map(|add| ((chat, add.device), before)));
        }
        match &op.action {
            op::Action::Create { members, .. } => {
                self.made.push(chat);
                members.iter().chain([&op.sender]).for_each(|account| self.begin(chat, *account, done.seq));
            }
            op::Action::Add { accounts } => {
                accounts.iter().for_each(|account| self.begin(chat, *account, done.seq));
            }
            op::Action::Remove { accounts } => {
                accounts.iter().for_each(|account| self.end(op.log, *account, done.seq));
            }
            op::Action::Direct { .. } | op::Action::Update => {}
        }
    }

    fn begin(&mut self, chat: ChatId, account: AccountId, at: Seq) {
        self.spans.entry((chat, account)).or_default().push((at, Seq(u64::MAX)));
    }

    fn end(&mut self, log: LogId, account: AccountId, at: Seq) {
        let LogId::Chat(chat) = log else { panic!("a membership is a chat's") };
        let span = self.spans.get_mut(&(chat, account)).and_then(|spans| spans.last_mut());
        span.expect("who goes was there").1 = at;
    }

    pub(super) fn was_member(&self, chat: ChatId, account: AccountId) -> bool {
        self.spans.contains_key(&(chat, account))
    }

    /// Whether an account may read a place of a group (I5).
    pub(super) fn may_read(&self, chat: ChatId, account: AccountId, seq: Seq) -> bool {
        let spans = self.spans.get(&(chat, account));
        spans.is_some_and(|spans| spans.iter().any(|(from, to)| (*from..=*to).contains(&seq)))
    }

    /// The place before the first of a chat that a device is owed, whatever it has: where its account last joined, or it was added.
    pub(super) fn floor(&self, chat: ChatId, account: AccountId, device: DeviceId) -> Seq {
        let last = self.spans.get(&(chat, account)).and_then(|spans| spans.last());
        let joined = last.map_or(Seq::ZERO, |(from, _)| Seq(from.0 - 1));
        self.added.get(&(chat, device)).copied().unwrap_or_default().max(joined)
    }

    /// The epoch of what is at a place of a chat: as many commits are before it.
    pub(super) fn epoch_at(&self, chat: ChatId, seq: Seq) -> Epoch {
        let commits = self.commits.get(&chat).map_or(&[][..], Vec::as_slice);
        Epoch(commits.partition_point(|at| *at < seq) as u64)
    }
}

/// A commit as it is asked for: its header, and the bytes that follow.
struct Ask {
    header: CommitGroup,
    blobs: Vec<u8>,
}

/// What is to change, and with whom.
struct Wanted {
    chat: ChatId,
    action: Action,
    adds: Vec<usize>,
    goes: Vec<AccountId>,
}

impl World {
    /// A chat by number: of the groups that were made, or the 1:1 chat with somebody.
    pub(super) fn group(&self, me: AccountId, number: u8) -> ChatId {
        let made = &self.model.groups.made;
        let place = usize::from(number) % (made.len() + NUMBERS.len());
        made.get(place).copied().unwrap_or_else(|| direct_chat_id(me, self.account(number)))
    }

    /// A chat's group as a member is told of it.
    pub(super) fn group_state(&self, chat: ChatId, account: AccountId) -> Option<Group> {
        match self.execute(Op::GroupState(GroupState { chat, account })) {
            OpOutput::GroupState(state) => state.ok(),
            other => panic!("a group is answered by one, not {other:?}"),
        }
    }

    pub(super) fn leaf(&self, device: usize) -> Leaf {
        let of = &self.devices[device];
        Leaf { account: of.account(), device: of.verified.device, key: of.public() }
    }

    fn leaf_of(&self, device: DeviceId) -> Option<Leaf> {
        (0..self.devices.len()).map(|n| self.leaf(n)).find(|leaf| leaf.device == device)
    }

    /// A device commits: says a header and its parts, on a stream of their own.
    pub(super) fn commit(&mut self, link: LinkId, group: u8, id: u8, change: &Change, fault: &Fault) {
        let me = self.link(link).and_then(|link| link.claims).unwrap_or_default();
        let wanted = self.wanted(me, group, id, change);
        let mut ask = self.made(me, wanted, id);
        ask.spoil(fault);
        let Ask { header, blobs } = ask;
        let content = Bytes::copy_from_slice(&blobs[..header.commit_bytes as usize]);
        for device in 0..self.devices.len() {
            // Before `Hello` nobody knows whose it will be.
            let sender = self.devices[device].account();
            self.model.said(header.chat, sender, header.client_msg_id, &content);
        }
        let asked = Asked::Commit(header.chat, header.client_msg_id);
        let first = self.link(link).is_some_and(|link| link.streams.is_empty());
        let kind = if first { Kind::Session } else { Kind::Asked(asked) };
        let Some(stream) = self.open(link, kind) else { return };
        self.tell(link, stream, &Request::CommitGroup(header));
        let mut left = blobs.len();
        for piece in blobs.chunks(blobs.len().div_ceil(fault.pieces())) {
            left -= piece.len();
            if left == 0 && matches!(fault, Fault::Stops) {
                return;
            }
            let lie = u32::from(left == 0 && matches!(fault, Fault::Lies));
            let (bytes, left) = (Bytes::copy_from_slice(piece), left as u32 + lie);
            self.tell(link, stream, &Request::Part { bytes, left });
        }
        self.say(link, stream, Said::Finished);
    }

    fn wanted(&self, me: usize, group: u8, id: u8, change: &Change) -> Wanted {
        let account = self.devices[me].account();
        let account_of = |device: &usize| self.devices[*device].account();
        let chat = self.group(account, group);
        let (adds, goes) = (Vec::new(), Vec::new());
        match change {
            Change::Direct => {
                let peer = self.account(group);
                let is_in = |n: &usize| *n != me && [account, peer].contains(&account_of(n));
                let adds = (0..self.devices.len()).filter(is_in).collect();
                let (chat, action) = (direct_chat_id(account, peer), Action::MakeDirect { peer });
                Wanted { chat, action, adds, goes }
            }
            Change::Create { with } => {
                let mut adds: Vec<usize> =
                    with.iter().map(|n| self.device(*n)).filter(|n| *n != me).collect();
                adds.sort_unstable();
                adds.dedup();
                let mut members: Vec<_> = adds.iter().map(account_of).filter(|of| *of != account).collect();
                members.dedup();
                let (name, description) = ("Friends".to_owned(), String::new());
                let chat = group_chat_id(account, ClientMsgId::new([id; 16]));
                Wanted { chat, action: Action::MakeGroup { name, description, members }, adds, goes }
            }
            Change::Add { who } => {
                let device = self.device(*who);
                let action = Action::AddMembers { accounts: vec![account_of(&device)] };
                Wanted { chat, action, adds: vec![device], goes }
            }
            Change::Remove { who } => {
                let goes = vec![self.account(*who)];
                Wanted { chat, action: Action::RemoveMembers { accounts: goes.clone() }, adds, goes }
            }
            Change::Update { adds: more } => {
                let adds = more.iter().map(|n| self.device(*n)).collect();
                Wanted { chat, action: Action::Update, adds, goes }
            }
        }
    }

    /// The commit that does this in the chat's epoch, as far as that can be done.
    fn made(&self, me: usize, wanted: Wanted, id: u8) -> Ask {
        let Wanted { chat, action, adds, goes } = wanted;
        let own = self.leaf(me);
        let is_first = matches!(action, Action::MakeDirect { .. } | Action::MakeGroup { .. });
        let state = self.group_state(chat, own.account).filter(|_| !is_first);
        let leaves = || state.iter().flat_map(|state| &state.leaves);
        let rows = leaves().filter_map(|row| Some((row.leaf, self.leaf_of(row.device)?)));
        let mut table = if is_first { Leaves::created_by(own) } else { Leaves::from_rows(rows) };
        let sender = table.iter().find(|(_, leaf)| leaf.device == own.device).map_or(0, |(at, _)| at);
        let is_to_go = |row: &&wire::event::GroupLeaf| row.pending || goes.contains(&row.account);
        let removes: Vec<u32> =
            leaves().filter(is_to_go).map(|row| row.leaf).filter(|leaf| *leaf != sender).collect();
        let needs_path = adds.is_empty() || !removes.is_empty();
        let commit = Commit {
            group: GroupName::Chat(chat),
            epoch: state.as_ref().map_or(0, |state| state.epoch.0),
            sender,
            client_msg_id: ClientMsgId::new([id; 16]),
            adds: adds.iter().map(|n| Added { leaf: self.leaf(*n), reference: [0; 32] }).collect(),
            removes,
            path: needs_path.then_some(own),
        };
        let bytes = write::commit(&commit);
        let seen = inspect::commit(&bytes).expect("a commit is one");
        // If it does not fit, the node is to say so.
        drop(table.fold(&seen));
        let tree = if adds.is_empty() { Vec::new() } else { write::tree(&table) };
        let welcomes: Vec<Vec<u8>> = seen.adds.iter().map(|add| write::welcome(&add.reference)).collect();
        let new = |(add, welcome): (&Added, &Vec<u8>)| NewDevice {
            account: add.leaf.account,
            device: add.leaf.device,
            welcome_bytes: welcome.len() as u32,
        };
        let header = CommitGroup {
            chat,
            client_msg_id: commit.client_msg_id,
            epoch: Epoch(commit.epoch),
            action,
            adds: seen.adds.iter().zip(&welcomes).map(new).collect(),
            commit_bytes: bytes.len() as u32,
            tree_bytes: tree.len() as u32,
        };
        Ask { header, blobs: [bytes, tree, welcomes.concat()].concat() }
    }
}

impl Ask {
    fn spoil(&mut self, fault: &Fault) {
        match fault {
            Fault::None | Fault::Pieces(_) | Fault::Stops | Fault::Lies => {}
            Fault::Epoch => self.header.epoch = self.header.epoch.next(),
            Fault::Id(id) => self.header.client_msg_id = ClientMsgId::new([*id; 16]),
            Fault::Chat(id) => self.header.chat = ChatId::new([*id; 16]),
            Fault::Update => self.header.action = Action::Update,
            Fault::Another => drop(self.header.adds.pop()),
            Fault::Damage { at, by } => {
                let at = usize::from(*at) % self.blobs.len();
                self.blobs[at] ^= by;
            }
        }
    }
}
