//! Commits: made from what a group needs, kept before they are sent, settled by the log or by a refusal.

use std::collections::BTreeSet;
use std::time::Duration;

use client_crypto::{Committed, MlsError};
use wire::event::{self, Event};
use wire::request::{Action, Request};
use wire::{AccountId, ChatId, ClientMsgId, DeviceId, ErrorCode, Refusal, Retry, limits};

use super::Client;
use super::errands::Errand;
use crate::group::{Claim, Goal, Stage, Work, pending};
use crate::io::{GroupFailure, Now, Output};
use crate::kept::{CommitRow, Write};
use crate::plan::Plan;

/// A commit whose outcome the log did not say is asked about again after this.
const ASK_AGAIN: Duration = Duration::from_secs(5);

/// A commit that the server does not take, and that changes nobody's membership, is made anew after this.
const DENIED_FOR: Duration = Duration::from_secs(60);

/// So often a commit that does not fit is made anew, since devices come and go meanwhile.
const TRIES_MAX: u32 = 5;

/// A device that may be added, and its key package.
struct Candidate {
    account: AccountId,
    device: DeviceId,
    bytes: Vec<u8>,
}

impl Client {
    /// Finds what a group needs, of which the server has just said how it stands, and begins it.
    pub(super) fn commit_what_is_needed(&mut self, chat: ChatId, group: &event::Group, now: Now) {
        let leaves = self.leaves(chat);
        let inside: BTreeSet<DeviceId> = leaves.iter().map(|(_, device)| *device).collect();
        let (mut removes, mut back) = pending(group, self.device());
        // Nobody is brought in because the server says so: whose devices come back is in the group.
        back.retain(|account| leaves.iter().any(|(inside, _)| inside == account));
        removes.retain(|device| inside.contains(device));
        let lacks_own = self.lacks_own_devices(&inside);
        let own = self.own_account();
        let Some(state) = self.chats.get_mut(&chat) else { return };
        let update = state.group.needs.update;
        state.group.needs.tidy = false;
        state.group.needs.devices &= lacks_own;
        let devices = state.group.needs.devices;
        if !group.commit_first {
            state.group.go_on();
        }
        back.extend((devices && !back.contains(&own)).then_some(own));
        let claim = if !removes.is_empty() || update {
            Some(Claim { removes, ..Claim::new(Goal::Update, back) })
        } else if let Some(claim) = self.next_of_plan(chat, group, &leaves) {
            Some(claim)
        } else {
            devices.then(|| Claim::new(Goal::Update, vec![own]))
        };
        match claim {
            Some(claim) => self.claim(chat, claim, now),
            None => self.own_devices_seen(),
        }
        self.pump_chat(chat, now);
    }

    /// The next commit of a chat's plan; a plan of which nothing is left is done.
    fn next_of_plan(
        &mut self,
        chat: ChatId,
        group: &event::Group,
        leaves: &[(AccountId, DeviceId)],
    ) -> Option<Claim> {
        let own = self.own_account();
        let plan = &self.groups.plans.get(&chat)?.plan;
        let is_in = |account: &AccountId| group.members.iter().any(|member| member.account == *account);
        let missing = self.groups.missing.get(&chat);
        let claim = match plan {
            Plan::Create { members, .. } | Plan::Add(members) => {
                let wanted = members.iter().filter(|account| {
                    !is_in(account) && missing.is_none_or(|missing| !missing.contains(account))
                });
                Claim::new(Goal::Add, wanted.copied().take(limits::CLAIM_ACCOUNTS_MAX).collect())
            }
            Plan::Remove(accounts) => {
                let is_meant = |account: &AccountId| accounts.contains(account) && *account != own;
                let theirs = leaves.iter().filter(|(account, _)| is_meant(account));
                let removes: Vec<DeviceId> = theirs.map(|(_, device)| *device).collect();
                let accounts: Vec<AccountId> =
                    accounts.iter().copied().filter(|account| is_in(account) && is_meant(account)).collect();
                // Who is no member any more, as the server says, and can read on all the same, goes, too.
                let goal = if accounts.is_empty() { Goal::Update } else { Goal::Remove(accounts) };
                Claim { removes, ..Claim::new(goal, Vec::new()) }
            }
            Plan::Leave => return None,
        };
        let is_over = match &claim.goal {
            Goal::Remove(_) => false,
            _ => claim.accounts.is_empty() && claim.removes.is_empty(),
        };
        if is_over {
            self.plan_is_done(chat);
            return None;
        }
        Some(claim)
    }

    /// Of a group that is to be made, those whom its first commit adds.
    pub(super) fn first_members(&self, members: &[AccountId]) -> Vec<AccountId> {
        let own = self.own_account_with_others();
        let room = limits::CLAIM_ACCOUNTS_MAX - usize::from(own.is_some());
        members.iter().copied().take(room).chain(own).collect()
    }

    /// Makes the commit that was claimed for, as far as the packages go.
    pub(super) fn make_commit(&mut self, chat: ChatId, mut claim: Claim, now: Now) {
        if self.groups.commits.contains_key(&chat) {
            return self.send_commit(chat, now);
        }
        if self.chats.get(&chat).is_some_and(|state| state.group.is_outside() && !state.held.is_empty()) {
            // Meanwhile the log of another's group has come.
            return self.work_again(chat, Duration::ZERO, now);
        }
        let leaves = self.leaves(chat);
        let mut adds = self.candidates(&claim, &leaves);
        let id = match (&claim.goal, self.groups.plans.get(&chat)) {
            (Goal::Group, Some(row)) => row.client_msg_id,
            _ => ClientMsgId::new(self.id_by_time(now.wall)),
        };
        loop {
            let Some(action) = self.action_of(chat, &claim, &adds) else {
                return self.nothing_to_commit(chat, &claim, now);
            };
            let packages: Vec<Vec<u8>> = adds.iter().map(|add| add.bytes.clone()).collect();
            let seconds = self.server_now(now).as_millis() / 1000;
            let made = match &claim.goal {
                Goal::Direct(_) | Goal::Group => self.crypto.create(chat, &packages, id, seconds),
                _ => self.crypto.commit(chat, &packages, &claim.removes, id, seconds),
            };
            match made {
                Ok(made) => {
                    self.note_missing(chat, &claim, &adds);
                    return self.keep_commit(chat, id, action, &made, now);
                }
                Err(
                    MlsError::KeyPackage(device) | MlsError::Lifetime(device) | MlsError::Duplicate(device),
                ) => adds.retain(|add| add.device != device),
                Err(MlsError::CannotRemove(device)) => claim.removes.retain(|other| *other != device),
                Err(MlsError::TooLarge | MlsError::TooMany) if halve(&mut adds) => {}
                // One of them fits no group, or none with the others, and the library does not say which.
                Err(MlsError::Library(_)) if halve(&mut adds) => {}
                Err(MlsError::Library(_)) if !adds.is_empty() => {
                    claim.packages.retain(|package| package.account != adds[0].account);
                    adds = self.candidates(&claim, &leaves);
                }
                Err(error) => return self.not_committed(chat, &error, now),
            }
        }
    }

    fn not_committed(&mut self, chat: ChatId, error: &MlsError, now: Now) {
        match error {
            MlsError::Storage(_) => self.broken(error),
            MlsError::TooLarge | MlsError::TooMany => self.plan_fails(chat, GroupFailure::TooLarge),
            // The group is another one than it was, or has a commit that never left: it is looked at anew.
            _ => {
                if matches!(error, MlsError::Pending | MlsError::Creating) {
                    self.drop_commit(chat);
                }
                self.look_up(chat);
                self.work_again(chat, Duration::ZERO, now);
            }
        }
    }

    /// Devices that can be added: those whose key package is what the server says it is. At most as many as a commit adds,
    /// each account with all of its devices.
    fn candidates(&self, claim: &Claim, leaves: &[(AccountId, DeviceId)]) -> Vec<Candidate> {
        let mut inside: BTreeSet<DeviceId> = leaves.iter().map(|(_, device)| *device).collect();
        inside.retain(|device| !claim.removes.contains(device));
        inside.insert(self.device());
        let mut adds: Vec<Candidate> = Vec::new();
        for package in &claim.packages {
            let Some(bytes) = package.bytes.as_ref() else { continue };
            let is_right = wire_mls::inspect::key_package(bytes)
                .is_ok_and(|seen| (seen.leaf.account, seen.leaf.device) == (package.account, package.device));
            if is_right && inside.insert(package.device) {
                let (account, device) = (package.account, package.device);
                adds.push(Candidate { account, device, bytes: bytes.to_vec() });
            }
        }
        if let Some(over) = adds.get(limits::COMMIT_ADDS_MAX).map(|add| add.account) {
            adds.truncate(limits::COMMIT_ADDS_MAX);
            adds.retain(|add| add.account != over);
        }
        adds
    }

    /// What a commit asks for, if it does anything.
    fn action_of(&self, chat: ChatId, claim: &Claim, adds: &[Candidate]) -> Option<Action> {
        let own = self.own_account();
        let accounts: BTreeSet<AccountId> = adds.iter().map(|add| add.account).collect();
        match &claim.goal {
            Goal::Direct(peer) => {
                (accounts.contains(peer) || *peer == own).then_some(Action::MakeDirect { peer: *peer })
            }
            Goal::Group => {
                let Plan::Create { name, description, .. } = &self.groups.plans.get(&chat)?.plan else {
                    return None;
                };
                let members: Vec<AccountId> =
                    accounts.into_iter().filter(|account| *account != own).collect();
                let (name, description) = (name.clone(), description.clone());
                (!members.is_empty()).then_some(Action::MakeGroup { name, description, members })
            }
            Goal::Add => {
                let accounts: Vec<AccountId> = accounts.into_iter().collect();
                (!accounts.is_empty()).then_some(Action::AddMembers { accounts })
            }
            Goal::Remove(accounts) => Some(Action::RemoveMembers { accounts: accounts.clone() }),
            Goal::Update => {
                let update = self.chats.get(&chat).is_some_and(|state| state.group.needs.update);
                let is_something = update || !adds.is_empty() || !claim.removes.is_empty();
                is_something.then_some(Action::Update)
            }
        }
    }

    fn nothing_to_commit(&mut self, chat: ChatId, claim: &Claim, now: Now) {
        match claim.goal {
            Goal::Direct(_) => self.unreachable(chat, now),
            Goal::Group => self.plan_fails(chat, GroupFailure::Unreachable),
            Goal::Add => {
                self.note_missing(chat, claim, &[]);
                self.work_within(chat, Duration::ZERO, now);
            }
            Goal::Update => {
                let inside = self.leaves(chat).into_iter().map(|(_, device)| device).collect();
                let lacks = self.lacks_own_devices(&inside);
                if let Some(state) = self.chats.get_mut(&chat) {
                    state.group.needs.devices &= lacks;
                }
                if lacks {
                    // One has published nothing yet.
                    self.work_again(chat, ASK_AGAIN, now);
                } else {
                    self.own_devices_seen();
                }
            }
            Goal::Remove(_) => {}
        }
    }

    /// Who of a plan has no key package is not asked for one again, and is named at the end.
    fn note_missing(&mut self, chat: ChatId, claim: &Claim, adds: &[Candidate]) {
        if !matches!(claim.goal, Goal::Group | Goal::Add) {
            return;
        }
        // Those for whom there was no room have packages, and come next.
        let has = |account: &AccountId| {
            claim.packages.iter().any(|package| package.account == *account && package.bytes.is_some())
                || adds.iter().any(|add| add.account == *account)
        };
        let added_none = adds.is_empty();
        let own = self.own_account();
        let missing =
            claim.accounts.iter().filter(|account| **account != own && (added_none || !has(account)));
        let missing: Vec<AccountId> = missing.copied().collect();
        if !missing.is_empty() {
            self.groups.missing.entry(chat).or_default().extend(missing);
        }
    }

    // ---- on its way ----

    fn keep_commit(&mut self, chat: ChatId, id: ClientMsgId, action: Action, made: &Committed, now: Now) {
        let (request, bytes) = made.request(chat, id, action);
        let row = CommitRow { request, bytes: bytes.into() };
        self.know_chat(
            chat,
            if let Action::MakeDirect { peer } = row.request.action { Some(peer) } else { None },
        );
        self.persist(Write::Commit(row.clone()));
        self.groups.commits.insert(chat, row);
        self.look_up(chat);
        if let Some(state) = self.chats.get_mut(&chat) {
            state.group.needs.update = false;
        }
        self.send_commit(chat, now);
    }

    pub(super) fn send_commit(&mut self, chat: ChatId, now: Now) {
        let Some(row) = self.groups.commits.get(&chat).cloned() else { return };
        self.set_work(chat, Work::Sent);
        let stream = self.open_errand(Errand::Commit(chat, row.request.client_msg_id), now);
        self.say(stream, &Request::CommitGroup(row.request));
        let mut bytes = row.bytes;
        while !bytes.is_empty() {
            let part = bytes.split_to(bytes.len().min(limits::PART_BYTES_MAX));
            self.say(stream, &Request::Part { bytes: part, left: bytes.len() as u32 });
        }
        self.out.push_back(Output::Finish { stream });
    }

    pub(super) fn on_commit_answer(&mut self, chat: ChatId, id: ClientMsgId, events: &[Event], now: Now) {
        // The log was faster: it is settled.
        if self.groups.commits.get(&chat).is_none_or(|row| row.request.client_msg_id != id) {
            return;
        }
        match events {
            // What it does is done when it comes in its place.
            [Event::Committed { .. }] => self.set_work(chat, Work::Sent),
            [Event::Refused(refusal)] => self.on_commit_refused(chat, *refusal, now),
            _ => self.work_again(chat, Duration::ZERO, now),
        }
    }

    fn on_commit_refused(&mut self, chat: ChatId, refusal: Refusal, now: Now) {
        let creating = self.stage(chat) == Stage::Creating;
        match (refusal.code, refusal.retry) {
            (_, Retry::After(_) | Retry::Reauthenticate) => self.refused_for_now(chat, refusal, now),
            // Another's was first. Its welcome brings this device in, or the log says what is left to do.
            (ErrorCode::StaleEpoch | ErrorCode::ChatExists, _) if creating => {
                self.drop_commit(chat);
                if let Some(state) = self.chats.get_mut(&chat) {
                    state.group.is_there = true;
                }
            }
            // Of a group that is over, the log says nothing more.
            (ErrorCode::StaleEpoch, _) if self.stage(chat) == Stage::Outside => self.drop_commit(chat),
            (ErrorCode::StaleEpoch, _) => self.work_again(chat, ASK_AGAIN, now),
            (ErrorCode::CommitFirst, _) => {
                self.drop_commit(chat);
                self.tidy(chat, true, now);
            }
            _ => self.on_commit_denied(chat, refusal, now),
        }
    }

    /// The server takes no such commit. Devices come and go, so another one may be taken.
    fn on_commit_denied(&mut self, chat: ChatId, refusal: Refusal, now: Now) {
        let action = self.groups.commits.get(&chat).map(|row| row.request.action.clone());
        self.drop_commit(chat);
        let may_change = matches!(
            refusal.code,
            ErrorCode::CommitInvalid | ErrorCode::AlreadyMember | ErrorCode::KeyPackageInvalid
        );
        let tries = self.chats.get(&chat).map_or(0, |state| state.group.attempts.failures());
        if may_change && tries < TRIES_MAX {
            return self.work_again(chat, Duration::ZERO, now);
        }
        match action {
            // What the group needs it still needs, and somebody else may see to it meanwhile.
            Some(Action::Update) => {
                // It may be what a removal comes to, of who is no member as the server says.
                if matches!(self.groups.plans.get(&chat).map(|row| &row.plan), Some(Plan::Remove(_))) {
                    self.plan_fails(chat, GroupFailure::Refused(refusal));
                }
                self.work_again(chat, DENIED_FOR, now);
            }
            Some(Action::MakeDirect { .. }) => self.fail_all(chat, refusal),
            _ => {
                self.plan_fails(chat, GroupFailure::Refused(refusal));
                self.work_within(chat, Duration::ZERO, now);
            }
        }
    }

    /// The chat's commit will not be taken: what it would have done is undone, and where it made a group, that is gone.
    pub(super) fn drop_commit(&mut self, chat: ChatId) {
        if let Err(error) = self.crypto.drop_pending(chat) {
            return self.broken(&error);
        }
        self.forget_commit(chat);
        self.look_up(chat);
    }

    /// The chat's commit is settled.
    pub(super) fn forget_commit(&mut self, chat: ChatId) {
        if self.groups.commits.remove(&chat).is_some() {
            self.persist(Write::CommitDone { chat });
        }
        self.end_work(chat, |work| matches!(work, Work::Sent));
    }
}

/// Leaves out the later half of those who are to be added, each with all devices; `false` if that is nobody.
fn halve(adds: &mut Vec<Candidate>) -> bool {
    let (Some(first), Some(middle)) = (adds.first(), adds.get(adds.len() / 2)) else { return false };
    let (first, middle, all) = (first.account, middle.account, adds.len());
    adds.retain(|add| add.account < middle || add.account == first);
    adds.len() < all
}
