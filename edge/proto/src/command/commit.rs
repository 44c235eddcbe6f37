//! A commit: counted, looked at, committed, told (I6).
//!
//! Of MLS only public bytes are looked at (`wire-mls`): that the commit is what its header says, for this chat, this epoch, this
//! device and this `client_msg_id`. Whether it does what may be done, the store's op decides, by the leaves that it knows.
//!
//! Invariant: members are told of what was committed whether or not the connection is still there.

use bytes::Bytes;
use store::ephemeral::{Bucket, EphemeralOp, Take};
use store::op::{self, CommitError, Committed, NewLeaf, Op, OpOutput, Welcomed};
use wire::request::{Action, CommitGroup};
use wire::{AccountId, ChatId, Description, ErrorCode, Event, GroupName, LogId, WallTime};
use wire_mls::inspect;

use super::{Call, Caller, Identity, Step, mismatch, taken};
use crate::collect::{Room, Whole};
use crate::cx::{Cx, Pending};
use crate::fanout::Hint;
use crate::io::{Effect, EffectError, EffectOutput};
use crate::limits::Rates;

/// `CommitGroup`, once all of it is there.
#[derive(Debug)]
pub(crate) struct CommitCall {
    who: Identity,
    chat: ChatId,
    /// Whether it makes a group, which is counted.
    makes_group: bool,
    /// Whose membership it ends.
    ends: Vec<AccountId>,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    /// It is being counted.
    Counting(Whole),
    /// It is being committed; its bytes are the op's.
    Committing { _room: Room },
}

impl CommitCall {
    pub(crate) fn begin(cx: &Cx, caller: &Caller, whole: Whole) -> Step {
        let Some(who) = caller.identity else { return ErrorCode::Unauthenticated.into() };
        let header = &whole.header;
        let ends = match &header.action {
            Action::RemoveMembers { accounts } => accounts.clone(),
            Action::MakeDirect { .. }
            | Action::MakeGroup { .. }
            | Action::AddMembers { .. }
            | Action::Update => Vec::new(),
        };
        let makes_group = matches!(header.action, Action::MakeGroup { .. });
        let rates = &cx.limits.rates;
        let commits =
            Take { bucket: Bucket::Commits(who.account), rate: Rates::per_minute(rates.commits_per_minute) };
        let takes =
            std::iter::once(commits).chain(makes_group.then(|| group_take(cx, who.account))).collect();
        let (chat, stage) = (header.chat, Stage::Counting(whole));
        let call = CommitCall { who, chat, makes_group, ends, stage };
        Step::perform(Effect::Ephemeral(EphemeralOp::Take(takes)), Call::Commit(Box::new(call)))
    }

    pub(super) fn resume(self, cx: &mut Cx, output: EffectOutput) -> Step {
        match (self.stage, output) {
            (Stage::Counting(whole), output) => {
                if let Err(refusal) = taken(&output) {
                    return Step::Refuse(refusal);
                }
                let CommitCall { who, chat, makes_group, ends, .. } = self;
                let Whole { header, bytes, room } = whole;
                let op = match read(who, header, bytes, cx.now.wall) {
                    Ok(op) => op,
                    Err(code) => {
                        refund(cx, who.account, makes_group);
                        return code.into();
                    }
                };
                let stage = Stage::Committing { _room: room };
                let call = CommitCall { who, chat, makes_group, ends, stage };
                Step::perform(Effect::Store(Op::Commit(Box::new(op))), Call::Commit(Box::new(call)))
            }
            (Stage::Committing { .. }, EffectOutput::Store(OpOutput::Commit(result))) => match result {
                Ok(committed) => {
                    refund(cx, self.who.account, self.makes_group && committed.repeat);
                    let (seq, at, epoch) = (committed.seq, committed.at, committed.epoch);
                    tell(cx, self.chat, committed, &self.ends);
                    Step::answer(&Event::Committed { seq, at, epoch })
                }
                Err(error) => {
                    refund(cx, self.who.account, self.makes_group);
                    tracing::debug!(%error, "commit refused");
                    commit_code(error).into()
                }
            },
            (Stage::Committing { .. }, other) => mismatch("Commit", &other),
        }
    }

    /// The store did not answer. What may be committed stays counted: a repeat gets it back.
    pub(super) fn failed(&self, cx: &mut Cx, error: EffectError) {
        let is_committing = matches!(self.stage, Stage::Committing { .. });
        refund(cx, self.who.account, self.makes_group && is_committing && !error.maybe_done);
    }
}

fn group_take(cx: &Cx, account: AccountId) -> Take {
    Take { bucket: Bucket::Groups(account), rate: Rates::per_day(cx.limits.rates.groups_per_day) }
}

/// Gives back what a group was charged that was not made, or made before.
fn refund(cx: &mut Cx, account: AccountId, is_due: bool) {
    if is_due {
        let take = group_take(cx, account);
        cx.ephemeral(EphemeralOp::Refund(take), Pending::Nothing);
    }
}

/// What is asked of the store, if the bytes are what the header says.
///
/// Cost: nothing but the hashes of keys and key packages, and each byte looked at at most once: 20 ns a byte without optimisation, that
/// is 16 ms for as much as there may be, and a small part of that with it.
fn read(
    who: Identity,
    header: CommitGroup,
    mut bytes: Bytes,
    now: WallTime,
) -> Result<op::Commit, ErrorCode> {
    let handshake = bytes.split_to(header.commit_bytes as usize);
    let tree = bytes.split_to(header.tree_bytes as usize);
    let welcomes: Vec<Bytes> =
        header.adds.iter().map(|add| bytes.split_to(add.welcome_bytes as usize)).collect();
    let seen = inspect::commit(&handshake).map_err(|error| {
        tracing::debug!(%error, "a commit that is none");
        ErrorCode::CommitInvalid
    })?;
    let is_first = matches!(header.action, Action::MakeDirect { .. } | Action::MakeGroup { .. });
    let fits = is_what_it_says(&seen, who, &header, is_first)
        && are_for(&seen, &welcomes)
        && (header.adds.is_empty() || has_all(&seen, who, &tree));
    if !fits {
        return Err(ErrorCode::CommitInvalid);
    }
    let leaves = seen.adds.iter().map(|add| add.leaf).zip(welcomes);
    let adds = leaves.map(|(leaf, welcome)| {
        let (key, account, device) = (leaf.key, leaf.account, leaf.device);
        NewLeaf { key, account, device, welcome }
    });
    Ok(op::Commit {
        log: LogId::Chat(header.chat),
        sender: who.account,
        device: who.device,
        client_msg_id: header.client_msg_id,
        epoch: header.epoch,
        handshake,
        action: action(header.action)?,
        adds: adds.collect(),
        removes: seen.removes,
        leaf: (!is_first).then_some(seen.sender),
        tree: (!tree.is_empty()).then_some(tree),
        now,
    })
}

/// Whether the commit is for this chat, epoch and message, by this device, and adds whom the header names.
fn is_what_it_says(seen: &inspect::Commit, who: Identity, header: &CommitGroup, is_first: bool) -> bool {
    let stated = header.adds.iter().map(|add| (add.account, add.device));
    let added = seen.adds.iter().map(|add| (add.leaf.account, add.leaf.device));
    seen.group == wire_mls::GroupName::Chat(header.chat)
        && seen.epoch == header.epoch.0
        && seen.client_msg_id == header.client_msg_id
        && seen.path.is_none_or(|leaf| (leaf.account, leaf.device) == (who.account, who.device))
        && (!is_first || seen.sender == 0)
        && added.eq(stated)
}

/// Whether each welcome is for the key package that adds its device, and for no other.
fn are_for(seen: &inspect::Commit, welcomes: &[Bytes]) -> bool {
    let of = |(add, welcome): (&inspect::Added, &Bytes)| inspect::welcome(welcome) == Ok(add.reference);
    seen.adds.len() == welcomes.len() && seen.adds.iter().zip(welcomes).all(of)
}

/// Whether a tree holds the committer where it says, and each device that is added. Whether it is the right one, its hash
/// tells those who join.
fn has_all(seen: &inspect::Commit, who: Identity, tree: &[u8]) -> bool {
    let Ok(leaves) = inspect::tree(tree) else { return false };
    let is_committer =
        leaves.at(seen.sender).is_some_and(|leaf| (leaf.account, leaf.device) == (who.account, who.device));
    let inside: std::collections::BTreeSet<_> = leaves.iter().map(|(_, leaf)| leaf.key).collect();
    is_committer && seen.adds.iter().all(|add| inside.contains(&add.leaf.key))
}

fn action(action: Action) -> Result<op::Action, ErrorCode> {
    Ok(match action {
        Action::MakeDirect { peer } => op::Action::Direct { peer },
        Action::MakeGroup { name, description, members } => op::Action::Create {
            name: GroupName::parse(&name).map_err(|_| ErrorCode::NameInvalid)?,
            description: Description::parse(&description).map_err(|_| ErrorCode::NameInvalid)?,
            members,
        },
        Action::AddMembers { accounts } => op::Action::Add { accounts },
        Action::RemoveMembers { accounts } => op::Action::Remove { accounts },
        Action::Update => op::Action::Update,
    })
}

/// Tells the members of a commit, those whom it has removed and added included, and each device that it has added.
fn tell(cx: &mut Cx, chat: ChatId, committed: Committed, ends: &[AccountId]) {
    let Committed { seq, at, entry, members, inboxes, .. } = committed;
    if let Some(entry) = entry {
        let frame = entry.parts.is_empty().then_some(entry.frame);
        let (accounts, ended) = (members.into(), ends.into());
        cx.publish(Hint::Entry { chat, seq, at, frame, accounts, ended });
    }
    for Welcomed { account, device, seq, at, frame } in inboxes {
        cx.publish(Hint::Inbox { account, device, seq, at, frame });
    }
}

fn commit_code(error: CommitError) -> ErrorCode {
    match error {
        CommitError::NotMember => ErrorCode::NotMember,
        CommitError::RecipientUnknown => ErrorCode::RecipientUnknown,
        CommitError::StaleEpoch { .. } => ErrorCode::StaleEpoch,
        CommitError::WrongLog => ErrorCode::ChatMismatch,
        CommitError::ChatExists => ErrorCode::ChatExists,
        CommitError::IdUsed => ErrorCode::IdUsed,
        CommitError::NotAdmin => ErrorCode::NotAdmin,
        CommitError::PendingStays { .. } => ErrorCode::CommitFirst,
        CommitError::AlreadyIn => ErrorCode::AlreadyMember,
        CommitError::Full => ErrorCode::GroupFull,
        CommitError::TooLarge => ErrorCode::CommitTooLarge,
        CommitError::WrongLeaf
        | CommitError::MayNotRemove { .. }
        | CommitError::Mismatch
        | CommitError::DeviceInvalid { .. } => ErrorCode::CommitInvalid,
    }
}
