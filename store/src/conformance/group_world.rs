//! Groups, for the cases of ops: what commits say, without the cryptography.

use bytes::Bytes;
use wire::event::{Group, InboxEntry};
use wire::{ChatId, Description, Epoch, Event, GroupName, LogId, Seq, WallTime, frame};

use super::Env;
use super::world::{Person, T0, World, answer, msg};
use crate::keys::group_chat_id;
use crate::op::*;

/// Bytes of a commit that changes little.
const COMMIT: &[u8] = b"a public message";

/// A commit of somebody's, made for an epoch.
pub(super) fn commit(log: LogId, who: &Person, n: u64, epoch: u64, action: Action) -> Commit {
    Commit {
        log,
        sender: who.account,
        device: who.device,
        client_msg_id: msg(n).client_msg_id,
        epoch: Epoch(epoch),
        handshake: Bytes::from_static(COMMIT),
        action,
        adds: Vec::new(),
        removes: Vec::new(),
        leaf: None,
        tree: None,
        now: T0,
    }
}

/// The same, adding devices.
pub(super) fn adding(commit: Commit, devices: &[Person]) -> Commit {
    let add = |device: &Person| NewLeaf {
        key: device.key(),
        account: device.account,
        device: device.device,
        welcome: Bytes::from(format!("welcome {}", device.device)),
    };
    let tree = (!devices.is_empty()).then(|| Bytes::from_static(b"a tree"));
    Commit { adds: devices.iter().map(add).collect(), tree, ..commit }
}

/// The first commit of a group that is to be made.
pub(super) fn create(creator: &Person, n: u64, members: &[Person]) -> Commit {
    let chat = group_chat_id(creator.account, msg(n).client_msg_id);
    let action = Action::Create {
        name: GroupName::parse("Walkers").unwrap(),
        description: Description::parse("on Sundays").unwrap(),
        members: members.iter().map(|member| member.account).collect(),
    };
    adding(commit(LogId::Chat(chat), creator, n, 0, action), members)
}

/// The first commit of a 1:1 chat.
pub(super) fn make_direct(who: &Person, peer: &Person, n: u64) -> Commit {
    let action = Action::Direct { peer: peer.account };
    adding(commit(who.log(peer), who, n, 0, action), &[*peer])
}

pub(super) fn accounts(people: &[Person]) -> Vec<wire::AccountId> {
    people.iter().map(|person| person.account).collect()
}

pub(super) fn chat_of(log: LogId) -> ChatId {
    match log {
        LogId::Chat(chat) => chat,
        other => panic!("no chat: {other:?}"),
    }
}

/// A message that is sealed for an epoch.
pub(super) fn sealed(n: u64, epoch: u64) -> Message {
    Message { epoch: Epoch(epoch), ..msg(n) }
}

impl<E: Env> World<E> {
    /// Makes a group; it is at epoch 1.
    pub(super) async fn group(&self, creator: &Person, n: u64, members: &[Person]) -> LogId {
        let op = create(creator, n, members);
        let (log, committed) = (op.log, answer!(self, Commit, op).unwrap());
        assert_eq!((committed.seq, committed.epoch), (Seq(1), Epoch(1)));
        log
    }

    /// A group, as a member is told of it.
    pub(super) async fn told(&self, who: &Person, log: LogId) -> Group {
        answer!(self, GroupState, GroupState { chat: chat_of(log), account: who.account }).unwrap()
    }

    /// A device's leaf.
    pub(super) async fn leaf(&self, asker: &Person, log: LogId, of: &Person) -> u32 {
        let group = self.told(asker, log).await;
        group.leaves.iter().find(|leaf| leaf.device == of.device).expect("it has a leaf").leaf
    }

    /// A commit of a member's device, which names its leaf.
    pub(super) async fn by(&self, who: &Person, log: LogId, n: u64, epoch: u64, action: Action) -> Commit {
        let leaf = Some(self.leaf(who, log, who).await);
        Commit { leaf, ..commit(log, who, n, epoch, action) }
    }

    /// Says something in a group, for an epoch.
    pub(super) async fn says(
        &self,
        who: &Person,
        log: LogId,
        message: Message,
        now: WallTime,
    ) -> Result<Appended, AppendError> {
        let (sender, device, messages) = (who.account, who.device, vec![message]);
        answer!(self, Append, Append { log, peer: None, sender, device, messages, now }).remove(0)
    }

    /// A chat, as somebody's session sees it.
    pub(super) async fn opened(&self, who: &Person, log: LogId) -> Result<ChatState, NotMember> {
        let (account, device) = (who.account, who.device);
        answer!(self, OpenChat, OpenChat { account, device, chat: chat_of(log) })
    }

    /// What a device's inbox holds.
    pub(super) async fn inbox(&self, of: &Person) -> Vec<InboxEntry> {
        let (log, account, after) = (LogId::Device(of.device), of.account, Seq::ZERO);
        let op = Tail { log, account, member: None, after, entries_max: 100, bytes_max: usize::MAX };
        let entries = answer!(self, Tail, op).entries;
        let entry = |stored: StoredEntry| match Event::decode(&frame::body_of(&stored.frame)) {
            Ok(Event::InboxEntry(entry)) => entry,
            other => panic!("no entry of an inbox: {other:?}"),
        };
        entries.into_iter().map(entry).collect()
    }
}
