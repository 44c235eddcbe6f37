//! Whether a commit may be taken, by what the log knows of its group. It writes nothing.

use std::collections::BTreeSet;

use wire::{AccountId, DeviceId, LogId, MemberRole, Seq, limits};

use super::{Action, Commit, CommitError};
use crate::keys;
use crate::op::batch::Fold;
use crate::record::Leaf;

/// What a commit that is taken does to the members.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// Who joins, with the commit, and becomes what.
    pub(super) joins: Vec<(AccountId, MemberRole)>,
    /// Who goes.
    pub(super) ends: Vec<AccountId>,
    /// The 1:1 chat that it makes, with whom.
    pub(super) makes_direct: Option<AccountId>,
    /// Whether it is the first of its group, so that its committer gets leaf 0.
    pub(super) first: bool,
}

type Accounts = BTreeSet<AccountId>;

/// What is to come of a commit, or why it is refused.
pub(super) fn check(fold: &Fold, op: &Commit) -> Result<Plan, CommitError> {
    may_be_first(fold, op)?;
    let current = fold.head().epoch;
    if op.epoch != current {
        return Err(CommitError::StaleEpoch { current });
    }
    sizes(op)?;
    let plan = membership(fold, op)?;
    committer(fold, op, plan.first)?;
    removes(fold, op, &plan)?;
    adds(fold, op, &plan)?;
    room(fold, op, &plan)?;
    Ok(plan)
}

/// Membership, which of a chat that is to be made nobody has yet.
fn may_be_first(fold: &Fold, op: &Commit) -> Result<(), CommitError> {
    let LogId::Chat(chat) = op.log else { return Err(CommitError::NotMember) };
    match op.action {
        Action::Direct { peer } => {
            if chat != keys::direct_chat_id(op.sender, peer) {
                return Err(CommitError::WrongLog);
            }
            match (fold.has_account(op.sender), fold.has_account(peer)) {
                (false, _) => Err(CommitError::NotMember),
                (_, false) => Err(CommitError::RecipientUnknown),
                (true, true) => Ok(()),
            }
        }
        Action::Create { .. } => {
            if chat != keys::group_chat_id(op.sender, op.client_msg_id) {
                return Err(CommitError::WrongLog);
            }
            let is_new = fold.head().seq == Seq::ZERO && fold.group().record.is_none();
            if is_new { Ok(()) } else { Err(CommitError::ChatExists) }
        }
        Action::Add { .. } | Action::Remove { .. } | Action::Update => {
            if fold.is_member(op.sender) {
                Ok(())
            } else {
                Err(CommitError::NotMember)
            }
        }
    }
}

fn sizes(op: &Commit) -> Result<(), CommitError> {
    let within = |bytes: usize, max: usize| (1..=max).contains(&bytes);
    let fits = within(op.handshake.len(), limits::HANDSHAKE_BYTES_MAX)
        && op.tree.as_ref().is_none_or(|tree| within(tree.len(), limits::TREE_BYTES_MAX))
        && op.adds.iter().all(|add| within(add.welcome.len(), limits::WELCOME_BYTES_MAX))
        && op.adds.len() <= limits::COMMIT_ADDS_MAX
        && op.removes.len() <= limits::GROUP_LEAVES_MAX
        && op.blob_bytes() <= limits::COMMIT_BYTES_MAX;
    match fits {
        false => Err(CommitError::TooLarge),
        true if op.tree.is_some() == op.adds.is_empty() => Err(CommitError::Mismatch),
        true => Ok(()),
    }
}

/// Who joins and who goes, and whether those that the commit adds are whom was asked for.
fn membership(fold: &Fold, op: &Commit) -> Result<Plan, CommitError> {
    let added: Accounts = op.adds.iter().map(|add| add.account).collect();
    match &op.action {
        Action::Direct { peer } => {
            let both = Accounts::from([op.sender, *peer]);
            let is_whole = added.contains(peer) || *peer == op.sender;
            is_asked_for(is_whole && added.is_subset(&both))?;
            let makes_direct = (!fold.is_member(op.sender)).then_some(*peer);
            Ok(Plan { makes_direct, first: true, ..Plan::default() })
        }
        Action::Create { members, .. } => {
            let members = distinct(members)?;
            let others: Accounts = added.into_iter().filter(|account| *account != op.sender).collect();
            is_asked_for(others == members && !members.is_empty())?;
            let joins = members.into_iter().map(|account| (account, MemberRole::Member));
            let joins = std::iter::once((op.sender, MemberRole::Admin)).chain(joins).collect();
            Ok(Plan { joins, first: true, ..Plan::default() })
        }
        Action::Add { accounts } => {
            is_admin(fold, op)?;
            let accounts = distinct(accounts)?;
            if accounts.iter().any(|account| fold.member(*account).is_some()) {
                return Err(CommitError::AlreadyIn);
            }
            is_asked_for(accounts == added && !accounts.is_empty())?;
            let joins = accounts.into_iter().map(|account| (account, MemberRole::Member)).collect();
            Ok(Plan { joins, ..Plan::default() })
        }
        Action::Remove { accounts } => {
            is_admin(fold, op)?;
            let accounts = distinct(accounts)?;
            is_asked_for(accounts.iter().all(|account| fold.member(*account).is_some()))?;
            is_asked_for(!accounts.is_empty() && !accounts.contains(&op.sender))?;
            let stays = |account: &AccountId| fold.member(*account).is_some() && !accounts.contains(account);
            is_asked_for(added.iter().all(stays))?;
            Ok(Plan { ends: accounts.into_iter().collect(), ..Plan::default() })
        }
        Action::Update => {
            is_asked_for(added.iter().all(|account| fold.member(*account).is_some()))?;
            Ok(Plan::default())
        }
    }
}

fn is_asked_for(is: bool) -> Result<(), CommitError> {
    if is { Ok(()) } else { Err(CommitError::Mismatch) }
}

fn is_admin(fold: &Fold, op: &Commit) -> Result<(), CommitError> {
    let is_group = fold.group().record.is_some();
    let is_admin = fold.member(op.sender).is_some_and(|member| member.role == MemberRole::Admin);
    if is_group && is_admin { Ok(()) } else { Err(CommitError::NotAdmin) }
}

fn distinct(accounts: &[AccountId]) -> Result<Accounts, CommitError> {
    let set: Accounts = accounts.iter().copied().collect();
    if set.len() == accounts.len() { Ok(set) } else { Err(CommitError::Mismatch) }
}

/// The commit comes from a current device that has the leaf it says, and keeps it.
fn committer(fold: &Fold, op: &Commit, first: bool) -> Result<(), CommitError> {
    let group = fold.group();
    if group.devices.of((op.sender, op.device)).is_none() {
        return Err(CommitError::DeviceInvalid { device: op.device });
    }
    let is_own = |leaf: &Leaf| (leaf.account, leaf.device, leaf.pending) == (op.sender, op.device, false);
    let is_right = match op.leaf {
        None => first,
        Some(leaf) => !first && group.leaves.get(&leaf).is_some_and(is_own) && !op.removes.contains(&leaf),
    };
    if is_right { Ok(()) } else { Err(CommitError::WrongLeaf) }
}

/// Everything goes that is to go, and nothing else.
fn removes(fold: &Fold, op: &Commit, plan: &Plan) -> Result<(), CommitError> {
    let group = fold.group();
    let removes: BTreeSet<u32> = op.removes.iter().copied().collect();
    is_asked_for(removes.len() == op.removes.len())?;
    for (leaf, of) in &group.leaves {
        match removes.contains(leaf) {
            false if of.pending => return Err(CommitError::PendingStays { leaf: *leaf }),
            // All leaves of an account that goes.
            false => is_asked_for(!plan.ends.contains(&of.account))?,
            true => {}
        }
    }
    for leaf in removes {
        let of = group.leaves.get(&leaf).ok_or(CommitError::MayNotRemove { leaf })?;
        let goes = of.pending
            || plan.ends.contains(&of.account)
            || fold.member(of.account).is_none()
            || group.devices.of((of.account, of.device)).is_none();
        if !goes {
            return Err(CommitError::MayNotRemove { leaf });
        }
    }
    Ok(())
}

/// Each device that is added is a current one with the key of its leaf, and has no leaf yet.
fn adds(fold: &Fold, op: &Commit, plan: &Plan) -> Result<(), CommitError> {
    let group = fold.group();
    let staying = group.leaves.iter().filter(|(leaf, _)| !op.removes.contains(leaf));
    let mut inside: BTreeSet<DeviceId> = staying.map(|(_, leaf)| leaf.device).collect();
    if plan.first {
        inside.insert(op.device);
    }
    for add in &op.adds {
        let device = group.devices.of((add.account, add.device)).as_ref();
        if device.is_none_or(|device| device.key != add.key) {
            return Err(CommitError::DeviceInvalid { device: add.device });
        }
        if !inside.insert(add.device) {
            return Err(CommitError::AlreadyIn);
        }
    }
    Ok(())
}

fn room(fold: &Fold, op: &Commit, plan: &Plan) -> Result<(), CommitError> {
    let accounts = fold.roster().len() + plan.joins.len() - plan.ends.len();
    let leaves = fold.group().leaves.len() + usize::from(plan.first) + op.adds.len() - op.removes.len();
    let fits = accounts <= limits::GROUP_ACCOUNTS_MAX && leaves <= limits::GROUP_LEAVES_MAX;
    if fits { Ok(()) } else { Err(CommitError::Full) }
}
