//! A server by the page of the protocol: logs with epochs, who is in them, key packages, inboxes. It keeps all in memory
//! and looks only at what a server may see.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use aws_lc_rs::digest::{SHA256, digest};
use bytes::Bytes;
use client_crypto::DeviceKey;
use wire::event::{
    Control, ControlKind, Entry, EntryKind, Event, Group, GroupAbout, GroupLeaf, GroupMember, InboxEntry,
    InboxItem, KeyPackage, Kind, MemberRole, Welcome,
};
use wire::request::{Action, Append, CommitGroup, PublishKeyPackages};
use wire::{
    AccountId, ChatId, ClientMsgId, DeviceId, Epoch, ErrorCode, Refusal, RequestId, Seq, WallTime, limits,
};
use wire_mls::{Leaves, inspect};

/// A member, or somebody who was one.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Member {
    pub(crate) joined: Seq,
    /// The last entry that they may read.
    pub(crate) ended: Option<Seq>,
    pub(crate) admin: bool,
}

/// A chat.
#[derive(Default)]
pub(crate) struct Log {
    /// Each whole, however large.
    pub(crate) entries: Vec<Entry>,
    pub(crate) epoch: Epoch,
    pub(crate) members: BTreeMap<AccountId, Member>,
    pub(crate) leaves: Leaves,
    pub(crate) pending: BTreeSet<u32>,
    pub(crate) peers: Option<[AccountId; 2]>,
    about: Option<GroupAbout>,
    pub(crate) delivered: BTreeMap<DeviceId, Seq>,
    pub(crate) read: BTreeMap<AccountId, Seq>,
    pub(crate) places: BTreeMap<ClientMsgId, Seq>,
}

#[derive(Default)]
pub(crate) struct Server {
    pub(crate) at: WallTime,
    /// Current devices.
    pub(crate) devices: BTreeMap<DeviceId, AccountId>,
    pub(crate) keys: BTreeMap<DeviceId, [u8; 32]>,
    pub(crate) logs: BTreeMap<ChatId, Log>,
    pub(crate) packages: BTreeMap<DeviceId, (VecDeque<Bytes>, Option<Bytes>)>,
    pub(crate) published: BTreeMap<DeviceId, RequestId>,
    pub(crate) inboxes: BTreeMap<DeviceId, (Vec<InboxEntry>, Seq)>,
    pub(crate) trees: BTreeMap<(ChatId, Epoch), Bytes>,
    /// Answers to `GetTree` are wrong so often.
    pub(crate) wrong_trees: usize,
    /// Commits that were taken, by account.
    pub(crate) commits: Vec<(ChatId, AccountId)>,
    /// Requests that were refused for their epoch.
    pub(crate) stale: usize,
    pub(crate) claims: usize,
    /// All that is said is refused with this, and this epoch.
    pub(crate) refuses: Option<(ErrorCode, Epoch)>,
    /// How it lies about a group.
    pub(crate) about_group: Option<fn(&mut Group)>,
}

fn hashed(label: &[u8], a: &[u8; 16], b: &[u8; 16]) -> ChatId {
    let digest = digest(&SHA256, &[label, &a[..], &b[..]].concat());
    ChatId::new(*digest.as_ref().first_chunk().expect("it has 32 bytes"))
}

pub(crate) fn direct(a: AccountId, b: AccountId) -> ChatId {
    hashed(b"godwit direct chat\0", a.min(b).as_bytes(), a.max(b).as_bytes())
}

type Who = (AccountId, DeviceId);

impl Log {
    pub(crate) fn head(&self) -> Seq {
        Seq(self.entries.len() as u64)
    }

    pub(crate) fn is_member(&self, account: AccountId) -> bool {
        self.members.get(&account).is_some_and(|member| member.ended.is_none())
    }

    /// The other account of a 1:1 chat.
    pub(crate) fn peer_of(&self, account: AccountId) -> Option<AccountId> {
        let peers = self.peers.filter(|peers| peers.contains(&account))?;
        Some(if peers[0] == account { peers[1] } else { peers[0] })
    }

    fn everyone(&self) -> BTreeSet<AccountId> {
        self.members
            .iter()
            .filter(|(_, member)| member.ended.is_none())
            .map(|(account, _)| *account)
            .collect()
    }

    fn push(&mut self, who: Who, id: ClientMsgId, at: WallTime, what: EntryKind, content: Bytes) -> Seq {
        let (sender, device) = who;
        let (seq, epoch, kind) = (self.head().next(), self.epoch, Kind::Unsaid);
        let entry = Entry { seq, sender, device, client_msg_id: id, at, kind, content, what, epoch };
        self.entries.push(entry);
        self.places.insert(id, seq);
        seq
    }

    fn join(
        &mut self,
        account: AccountId,
        joined: Seq,
        admin: bool,
        devices: &BTreeMap<DeviceId, AccountId>,
    ) {
        self.members.insert(account, Member { joined, ended: None, admin });
        for (device, _) in devices.iter().filter(|(_, of)| **of == account) {
            let before = self.delivered.entry(*device).or_default();
            *before = (*before).max(Seq(joined.0 - 1));
        }
    }

    /// The device has what it says: its cursor moves over it, if it was just before.
    fn own_cursor(&mut self, device: DeviceId, seq: Seq) -> Seq {
        let cursor = self.delivered.entry(device).or_default();
        if *cursor > Seq::ZERO && cursor.next() == seq {
            *cursor = seq;
        }
        *cursor
    }
}

impl Server {
    /// A new device of an account: its logs begin with what comes.
    pub(crate) fn add_device(&mut self, account: AccountId, key: &DeviceKey) {
        let device = key.device();
        self.keys.insert(device, *key.public());
        self.devices.insert(device, account);
        for log in self.logs.values_mut().filter(|log| log.is_member(account)) {
            log.delivered.insert(device, log.head());
        }
    }

    pub(crate) fn end_device(&mut self, device: DeviceId, id: ClientMsgId) {
        let account = self.devices.remove(&device).expect("a device");
        self.packages.remove(&device);
        for log in self.logs.values_mut() {
            let of = |(at, leaf): (u32, &inspect::Leaf)| (leaf.device == device).then_some(at);
            let pending: Vec<u32> = log.leaves.iter().filter_map(of).collect();
            if !pending.is_empty() && log.is_member(account) {
                log.pending.extend(pending);
                let kind = ControlKind::DeviceEnded;
                let control = Control { kind, account, device: Some(device), admin: None };
                log.push((account, device), id, self.at, EntryKind::Control(control), Bytes::new());
            }
        }
    }

    pub(crate) fn append(
        &mut self,
        who: Who,
        chat: ChatId,
        append: Append,
    ) -> Result<(Seq, Seq), (Refusal, Epoch)> {
        let refuse = |code: ErrorCode| Err((code.refuse(), Epoch::ZERO));
        let Some(log) = self.logs.get_mut(&chat) else { return refuse(ErrorCode::NotMember) };
        if let Some(&seq) = log.places.get(&append.client_msg_id) {
            return Ok((seq, log.delivered.get(&who.1).copied().unwrap_or_default()));
        }
        if !log.is_member(who.0) {
            return refuse(ErrorCode::NotMember);
        }
        if let Some((code, epoch)) = self.refuses {
            self.stale += 1;
            return Err((code.refuse(), epoch));
        }
        if append.epoch != log.epoch {
            self.stale += 1;
            return Err((ErrorCode::StaleEpoch.refuse(), log.epoch));
        }
        if !log.pending.is_empty() {
            self.stale += 1;
            return Err((ErrorCode::CommitFirst.refuse(), log.epoch));
        }
        assert!(inspect::application(&append.content).is_ok(), "what leaves is sealed");
        let seq = log.push(who, append.client_msg_id, self.at, EntryKind::Message, append.content);
        Ok((seq, log.own_cursor(who.1, seq)))
    }

    pub(crate) fn commit(&mut self, who: Who, request: &CommitGroup, blob: &Bytes) -> Event {
        match self.try_commit(who, request, blob) {
            Ok((seq, epoch)) => Event::Committed { seq, at: self.at, epoch },
            Err(code) => {
                self.stale += usize::from(code == ErrorCode::StaleEpoch);
                Event::Refused(code.refuse())
            }
        }
    }

    fn try_commit(
        &mut self,
        who: Who,
        request: &CommitGroup,
        blob: &Bytes,
    ) -> Result<(Seq, Epoch), ErrorCode> {
        let (chat, id) = (request.chat, request.client_msg_id);
        let is = |is: bool, code: ErrorCode| if is { Ok(()) } else { Err(code) };
        if let Some((log, &seq)) = self.logs.get(&chat).and_then(|log| Some((log, log.places.get(&id)?))) {
            return Ok((seq, log.entries[seq.0 as usize - 1].epoch.next()));
        }
        let first = matches!(request.action, Action::MakeDirect { .. } | Action::MakeGroup { .. });
        match &request.action {
            Action::MakeDirect { peer } => is(chat == direct(who.0, *peer), ErrorCode::ChatMismatch)?,
            Action::MakeGroup { .. } => {
                let own = hashed(b"godwit group chat\0", who.0.as_bytes(), id.as_bytes());
                is(chat == own, ErrorCode::ChatMismatch)?;
                is(!self.logs.contains_key(&chat), ErrorCode::ChatExists)?;
            }
            _ => is(self.logs.get(&chat).is_some_and(|log| log.is_member(who.0)), ErrorCode::NotMember)?,
        }
        let log = self.logs.entry(chat).or_default();
        is(request.epoch == log.epoch, ErrorCode::StaleEpoch)?;
        let handshake = blob.slice(..request.commit_bytes as usize);
        let seen = inspect::commit(&handshake).map_err(|_| ErrorCode::CommitInvalid)?;
        is(seen.epoch == request.epoch.0 && seen.client_msg_id == id, ErrorCode::CommitInvalid)?;
        let mut leaves = log.leaves.clone();
        if first {
            let key = self.keys[&who.1];
            leaves = Leaves::created_by(inspect::Leaf { account: who.0, device: who.1, key });
        }
        let removes: BTreeSet<u32> = seen.removes.iter().copied().collect();
        let gone: Vec<Who> =
            seen.removes.iter().filter_map(|at| leaves.at(*at)).map(|l| (l.account, l.device)).collect();
        let change = leaves.fold(&seen).map_err(|_| ErrorCode::CommitInvalid)?;
        is((change.by.account, change.by.device) == who, ErrorCode::CommitInvalid)?;
        let stays = log.pending.iter().all(|at| removes.contains(at));
        is(stays, ErrorCode::CommitFirst)?;
        let added: Vec<Who> = seen.adds.iter().map(|add| (add.leaf.account, add.leaf.device)).collect();
        let asked: Vec<Who> = request.adds.iter().map(|add| (add.account, add.device)).collect();
        is(added == asked, ErrorCode::CommitInvalid)?;
        let current = |(account, device): &Who| self.devices.get(device) == Some(account);
        is(added.iter().all(current) && current(&who), ErrorCode::CommitInvalid)?;
        let accounts: BTreeSet<AccountId> = added.iter().map(|(account, _)| *account).collect();
        let ends = check_action(log, who.0, &request.action, &accounts)?;
        let may_go = |(at, (account, device)): (&u32, &Who)| {
            log.pending.contains(at)
                || ends.contains(account)
                || !log.is_member(*account)
                || self.devices.get(device) != Some(account)
        };
        is(seen.removes.iter().zip(&gone).all(may_go), ErrorCode::CommitInvalid)?;
        let all_gone =
            log.leaves.iter().all(|(at, leaf)| !ends.contains(&leaf.account) || removes.contains(&at));
        is(all_gone, ErrorCode::CommitInvalid)?;

        log.leaves = leaves;
        log.pending.clear();
        let seq = log.push(who, id, self.at, EntryKind::Commit { parts: 0 }, handshake);
        log.epoch = log.epoch.next();
        let epoch = log.epoch;
        make_members(log, who.0, request, &accounts, seq, &self.devices, self.at);
        for account in ends {
            log.members.get_mut(&account).expect("a member").ended = Some(seq);
        }
        self.give_welcomes(who, request, blob, seq, epoch);
        self.logs.get_mut(&chat).expect("a log").own_cursor(who.1, Seq::ZERO);
        self.commits.push((chat, who.0));
        Ok((seq, epoch))
    }

    fn give_welcomes(&mut self, who: Who, request: &CommitGroup, blob: &Bytes, seq: Seq, epoch: Epoch) {
        let mut rest = blob.slice(request.commit_bytes as usize..);
        let tree = rest.split_to(request.tree_bytes as usize);
        if !request.adds.is_empty() {
            self.trees.insert((request.chat, epoch), tree);
        }
        for add in &request.adds {
            let bytes = rest.split_to(add.welcome_bytes as usize);
            let (inbox, _) = self.inboxes.entry(add.device).or_default();
            let what = InboxItem::Welcome(Welcome { chat: request.chat, epoch, seq, adder: who, bytes });
            inbox.push(InboxEntry { seq: Seq(inbox.len() as u64 + 1), at: self.at, what });
        }
        assert!(rest.is_empty(), "all of it is for somebody");
    }

    pub(crate) fn leave(&mut self, who: Who, chat: ChatId, id: ClientMsgId) -> Event {
        let Some(log) = self.logs.get_mut(&chat) else {
            return Event::Refused(ErrorCode::NotMember.refuse());
        };
        if log.places.contains_key(&id) {
            return Event::Done;
        }
        if !log.is_member(who.0) {
            return Event::Refused(ErrorCode::NotMember.refuse());
        }
        if log.peers.is_some() {
            return Event::Refused(ErrorCode::CannotLeave.refuse());
        }
        let others = || log.members.iter().filter(|(account, m)| **account != who.0 && m.ended.is_none());
        let admin = if others().any(|(_, member)| member.admin) {
            None
        } else {
            others().min_by_key(|(account, member)| (member.joined, **account)).map(|(account, _)| *account)
        };
        let control = Control { kind: ControlKind::Left, account: who.0, device: None, admin };
        let seq =
            log.push((who.0, DeviceId::new([0; 16])), id, self.at, EntryKind::Control(control), Bytes::new());
        log.members.get_mut(&who.0).expect("a member").ended = Some(seq);
        if let Some(admin) = admin {
            log.members.get_mut(&admin).expect("a member").admin = true;
        }
        let of = |(at, leaf): (u32, &inspect::Leaf)| (leaf.account == who.0).then_some(at);
        log.pending.extend(log.leaves.iter().filter_map(of).collect::<Vec<_>>());
        Event::Done
    }

    pub(crate) fn group(&self, who: Who, chat: ChatId) -> Event {
        let Some(log) = self.logs.get(&chat).filter(|log| log.is_member(who.0)) else {
            return Event::Refused(ErrorCode::NotMember.refuse());
        };
        let role = |member: &Member| if member.admin { MemberRole::Admin } else { MemberRole::Member };
        let members = log.members.iter().filter(|(_, member)| member.ended.is_none());
        let members = members.map(|(&account, member)| GroupMember {
            account,
            joined: member.joined,
            role: role(member),
        });
        let leaves = log.leaves.iter().map(|(at, leaf)| GroupLeaf {
            leaf: at,
            account: leaf.account,
            device: leaf.device,
            pending: log.pending.contains(&at),
        });
        let mut group = Group {
            chat,
            epoch: log.epoch,
            commit_first: !log.pending.is_empty(),
            about: log.about.clone(),
            members: members.collect(),
            leaves: leaves.collect(),
        };
        self.about_group.into_iter().for_each(|lie| lie(&mut group));
        Event::Group(group)
    }

    pub(crate) fn tree(&mut self, chat: ChatId, epoch: Epoch) -> Vec<Event> {
        let wrong = self.wrong_trees > 0;
        self.wrong_trees = self.wrong_trees.saturating_sub(1);
        let Some(tree) = self.trees.get(&(chat, epoch)) else {
            return vec![Event::Refused(ErrorCode::NotFound.refuse())];
        };
        let mut tree = tree.to_vec();
        if wrong {
            // A tree with another key in it.
            let at = tree.len() / 2;
            tree[at] ^= 1;
        }
        let mut rest = Bytes::from(tree);
        let mut parts = Vec::new();
        while !rest.is_empty() {
            let bytes = rest.split_to(rest.len().min(limits::PART_BYTES_MAX));
            parts.push(Event::Part { bytes, left: rest.len() as u32 });
        }
        parts
    }

    pub(crate) fn publish(&mut self, who: Who, publish: PublishKeyPackages) -> Event {
        let (stored, resort) = self.packages.entry(who.1).or_default();
        // A repeat adds nothing: what was handed out stays so.
        if self.published.insert(who.1, publish.request) != Some(publish.request) {
            stored.extend(publish.packages);
            if publish.last_resort.is_some() {
                *resort = publish.last_resort;
            }
        }
        Event::KeyPackagesStored { count: stored.len() as u32 }
    }

    pub(crate) fn claim(&mut self, accounts: &[AccountId], after: Option<Who>, most: usize) -> Event {
        self.claims += 1;
        let mut of: Vec<Who> =
            self.devices.iter().filter(|(_, a)| accounts.contains(a)).map(|(d, a)| (*a, *d)).collect();
        of.sort_unstable();
        of.retain(|who| after.is_none_or(|after| *who > after));
        let has_more = of.len() > most;
        let package = |(account, device): Who| {
            let (stored, resort) = self.packages.entry(device).or_default();
            let once = stored.pop_front();
            let last_resort = once.is_none() && resort.is_some();
            KeyPackage { account, device, bytes: once.or_else(|| resort.clone()), last_resort }
        };
        Event::KeyPackages { packages: of.into_iter().take(most).map(package).collect(), has_more }
    }
}

/// Whether a commit does what was asked for; who goes by it.
fn check_action(
    log: &Log,
    by: AccountId,
    action: &Action,
    added: &BTreeSet<AccountId>,
) -> Result<BTreeSet<AccountId>, ErrorCode> {
    let is = |is: bool| if is { Ok(()) } else { Err(ErrorCode::CommitInvalid) };
    let admin = || match log.members.get(&by).is_some_and(|member| member.admin) {
        true => Ok(()),
        false => Err(ErrorCode::NotAdmin),
    };
    let mut ends = BTreeSet::new();
    match action {
        Action::MakeDirect { peer } => {
            is(added.contains(peer) || *peer == by)?;
            is(added.iter().all(|account| account == peer || *account == by))?;
        }
        Action::MakeGroup { members, .. } => {
            let others: BTreeSet<AccountId> =
                added.iter().copied().filter(|account| *account != by).collect();
            is(!others.is_empty() && others == members.iter().copied().collect())?;
        }
        Action::AddMembers { accounts } => {
            admin()?;
            let accounts: BTreeSet<AccountId> = accounts.iter().copied().collect();
            if accounts.iter().any(|account| log.is_member(*account)) {
                return Err(ErrorCode::AlreadyMember);
            }
            is(!accounts.is_empty() && accounts == *added)?;
        }
        Action::RemoveMembers { accounts } => {
            admin()?;
            ends = accounts.iter().copied().collect();
            is(ends.iter().all(|account| log.is_member(*account)) && !ends.contains(&by))?;
            is(added.iter().all(|account| log.is_member(*account) && !ends.contains(account)))?;
        }
        Action::Update => is(added.iter().all(|account| log.is_member(*account)))?,
    }
    Ok(ends)
}

fn make_members(
    log: &mut Log,
    by: AccountId,
    request: &CommitGroup,
    added: &BTreeSet<AccountId>,
    seq: Seq,
    devices: &BTreeMap<DeviceId, AccountId>,
    at: WallTime,
) {
    match &request.action {
        Action::MakeDirect { peer } => {
            log.peers = Some([by, *peer]);
            log.join(by, seq, false, devices);
            log.join(*peer, seq, false, devices);
        }
        Action::MakeGroup { name, description, .. } => {
            let (name, description) = (name.clone(), description.clone());
            log.about = Some(GroupAbout { name, description, created_by: by, created_at: at });
            log.join(by, seq, true, devices);
            added.iter().filter(|account| **account != by).for_each(|a| log.join(*a, seq, false, devices));
        }
        Action::AddMembers { .. } => added.iter().for_each(|a| log.join(*a, seq, false, devices)),
        Action::RemoveMembers { .. } | Action::Update => {}
    }
    assert!(log.everyone().len() <= limits::GROUP_ACCOUNTS_MAX);
}
