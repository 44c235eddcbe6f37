//! What groups need: who works on it and when, and how far a chat's group is.

use std::time::Duration;

use client_crypto::MlsError;
use rand::Rng;
use wire::event::Event;
use wire::request::{ClaimKeyPackages, Request};
use wire::{AccountId, ChatId, DeviceId, Epoch, ErrorCode, Refusal, Retry};

use super::errands::Errand;
use super::{Client, Phase};
use crate::group::{Claim, Goal, Stage, Work};
use crate::io::{ClientEvent, GroupFailure, Now};
use crate::kept::Write;
use crate::plan::Plan;

/// Chats in which the server is asked something at a time.
const WORKING_MAX: usize = 4;

/// When there is no room among these, it is looked again after this.
const ROOM_AFTER: Duration = Duration::from_millis(50);

/// Of many devices that have the same to do, each begins within this time, and most find it done.
const TIDY_WITHIN: Duration = Duration::from_secs(2);

/// One that somebody waits for begins sooner.
const BLOCKED_WITHIN: Duration = Duration::from_millis(200);

/// Who has published no key package is not asked for one more often than this.
const UNREACHABLE_FOR: Duration = Duration::from_secs(5);

impl Client {
    /// How far this device is in a chat's group.
    pub(super) fn stage(&mut self, chat: ChatId) -> Stage {
        if let Some(stage) = self.chats.get(&chat).and_then(|state| state.group.stage) {
            return stage;
        }
        self.look_up(chat)
    }

    /// The same, as it is now: the epoch may have moved.
    pub(super) fn look_up(&mut self, chat: ChatId) -> Stage {
        match self.crypto.stage(chat) {
            Ok(stage) => {
                let Some(state) = self.chats.get_mut(&chat) else { return stage };
                let stage = if state.group.aside { Stage::Outside } else { stage };
                state.group.set(stage);
                stage
            }
            Err(error) => {
                self.broken(&error);
                Stage::Outside
            }
        }
    }

    /// What is kept cannot be read or is not what it was: nothing that is done from here on could be right.
    pub(super) fn broken(&mut self, error: &MlsError) {
        if matches!(self.phase, Phase::Stopped) {
            return;
        }
        self.stop();
        let reason = match std::error::Error::source(error) {
            Some(source) => format!("{error}: {source}"),
            None => error.to_string(),
        };
        self.notify(ClientEvent::StorageFailed { reason });
    }

    /// Everybody in a chat's group: account and device. Nobody, if this device is not in it.
    pub(super) fn leaves(&mut self, chat: ChatId) -> Vec<(AccountId, DeviceId)> {
        match self.crypto.members(chat) {
            Ok(leaves) => leaves.iter().map(|(_, leaf)| (leaf.account, leaf.device)).collect(),
            Err(error @ MlsError::Storage(_)) => {
                self.broken(&error);
                Vec::new()
            }
            Err(_) => Vec::new(),
        }
    }

    // ---- when ----

    /// The group needs a commit: at a moment within a time, so that of many devices not all begin at once.
    pub(super) fn work_within(&mut self, chat: ChatId, within: Duration, now: Now) {
        let after = within.mul_f64(self.rng.random_range(0.0..1.0));
        if let Some(state) = self.chats.get_mut(&chat) {
            state.group.due(now.instant + after);
        }
        if after.is_zero() {
            self.work_due(now);
        }
    }

    /// The same, where the log itself says what is to be done.
    pub(super) fn tidy(&mut self, chat: ChatId, blocked: bool, now: Now) {
        let Some(state) = self.chats.get_mut(&chat) else { return };
        state.group.needs.tidy = true;
        self.work_within(chat, if blocked { BLOCKED_WITHIN } else { TIDY_WITHIN }, now);
    }

    /// What was to be done before the epoch moved is looked at anew, if anything of it is left.
    pub(super) fn tidy_again(&mut self, chat: ChatId, now: Now) {
        self.work_within(chat, TIDY_WITHIN, now);
    }

    /// Work in a chat has failed for now: again after a while.
    pub(super) fn work_again(&mut self, chat: ChatId, at_least: Duration, now: Now) {
        if let Some(state) = self.chats.get_mut(&chat) {
            let wait = state.group.attempts.next(&mut self.rng, at_least);
            state.group.work = Work::Due(now.instant + wait);
        }
    }

    /// Begins what is due, in as many chats at a time as there is room for.
    pub(super) fn work_due(&mut self, now: Now) {
        if !self.is_identified() {
            return;
        }
        let is_asking = |work: &Work| matches!(work, Work::Looking | Work::Claiming(_) | Work::Leaving);
        let mut room =
            WORKING_MAX.saturating_sub(self.chats.values().filter(|c| is_asking(&c.group.work)).count());
        let (mut begin, mut go_on) = (Vec::new(), Vec::new());
        for (&chat, state) in &mut self.chats {
            if state.group.is_waited_for(now.instant) {
                go_on.push(chat);
            }
            if state.group.due_at(now.instant).is_none_or(|at| at > now.instant) {
                continue;
            }
            if room > 0 {
                room -= 1;
                state.group.work = Work::Idle;
                begin.push(chat);
            } else {
                state.group.work = Work::Due(now.instant + ROOM_AFTER);
            }
        }
        begin.into_iter().for_each(|chat| self.begin_work(chat, now));
        go_on.into_iter().for_each(|chat| self.pump_chat(chat, now));
    }

    /// Does the next thing that the chat's group needs, if it needs anything.
    fn begin_work(&mut self, chat: ChatId, now: Now) {
        if self.groups.commits.contains_key(&chat) {
            return self.send_commit(chat, now);
        }
        let stage = self.stage(chat);
        let plan = self.groups.plans.get(&chat).map(|row| row.plan.clone());
        match (stage, plan) {
            (_, Some(Plan::Leave)) => self.ask_to_leave(chat, now),
            (Stage::Outside, Some(Plan::Create { members, .. })) => {
                let accounts = self.first_members(&members);
                self.claim(chat, Claim::new(Goal::Group, accounts), now);
            }
            (Stage::Outside, Some(_)) => self.plan_fails(chat, GroupFailure::NotMember),
            (Stage::Outside, None) => self.begin_outside(chat, now),
            (Stage::Inside(_), plan) => {
                let needs = self.chats.get(&chat).is_some_and(|state| state.group.needs.any());
                if needs || plan.is_some() || self.is_blocked_by_epoch(chat) {
                    self.look_at_group(chat, now);
                }
            }
            // A group that is being made has its commit kept beside it; without one it never left.
            (Stage::Creating, _) => {
                self.drop_commit(chat);
                self.work_within(chat, Duration::ZERO, now);
            }
        }
    }

    fn is_blocked_by_epoch(&self, chat: ChatId) -> bool {
        self.chats.get(&chat).is_some_and(|state| state.group.is_behind())
    }

    /// Something waits to be said in a chat in whose group this device is not. A chat of two that has no log yet gets its
    /// group; of any other it is to be known whether this account is in it, and then another device brings this one in.
    fn begin_outside(&mut self, chat: ChatId, now: Now) {
        if !self.is_wanted_in(chat) {
            return;
        }
        let is_there = self.chats.get(&chat).is_some_and(|state| state.group.is_there);
        match self.peer_in(chat).filter(|_| !is_there) {
            Some(peer) => self.claim_direct(chat, peer, now),
            None => self.look_at_group(chat, now),
        }
    }

    fn is_wanted_in(&self, chat: ChatId) -> bool {
        self.outbox.has(chat) && self.chats.get(&chat).is_some_and(|state| !state.gone)
    }

    /// The other account of a 1:1 chat.
    fn peer_in(&self, chat: ChatId) -> Option<AccountId> {
        self.chats.get(&chat).and_then(|state| state.peer).or_else(|| self.outbox.peer(chat))
    }

    /// A message waits in a chat without a group.
    pub(super) fn want_group(&mut self, chat: ChatId, now: Now) {
        if self.is_wanted_in(chat) {
            self.work_within(chat, Duration::ZERO, now);
        }
    }

    fn claim_direct(&mut self, chat: ChatId, peer: AccountId, now: Now) {
        let mut accounts = vec![peer];
        accounts.extend(self.own_account_with_others().filter(|own| *own != peer));
        if peer == self.own_account() && self.own_account_with_others().is_none() {
            accounts.clear();
        }
        self.claim(chat, Claim::new(Goal::Direct(peer), accounts), now);
    }

    // ---- how the group stands ----

    fn look_at_group(&mut self, chat: ChatId, now: Now) {
        self.set_work(chat, Work::Looking);
        self.run(Errand::Look(chat), &Request::GetGroup { chat }, now);
    }

    pub(super) fn set_work(&mut self, chat: ChatId, work: Work) {
        if let Some(state) = self.chats.get_mut(&chat) {
            state.group.work = work;
        }
    }

    /// Ends a step of the work in a chat. `false` if that is at another one by now: then what came is of no use.
    pub(super) fn end_work(&mut self, chat: ChatId, is: impl Fn(&Work) -> bool) -> bool {
        let Some(state) = self.chats.get_mut(&chat).filter(|state| is(&state.group.work)) else {
            return false;
        };
        state.group.work = Work::Idle;
        true
    }

    /// The server said how a chat's group stands.
    pub(super) fn on_group(&mut self, chat: ChatId, events: &[Event], now: Now) {
        if !self.end_work(chat, |work| matches!(work, Work::Looking)) {
            return;
        }
        let stage = self.stage(chat);
        match (events, stage) {
            ([Event::Group(group)], Stage::Inside(epoch)) if group.epoch == epoch => {
                self.commit_what_is_needed(chat, group, now);
            }
            // The log will say what came between; and if nothing waits for it, it is looked at again then.
            ([Event::Group(_)], Stage::Inside(_)) => self.work_again(chat, Duration::ZERO, now),
            // Somebody was first, and adds this device, or another one of its account will.
            ([Event::Group(group)], Stage::Outside) if group.epoch > Epoch::ZERO => {
                if self.is_wanted_in(chat) {
                    self.work_again(chat, UNREACHABLE_FOR, now);
                }
            }
            ([Event::Group(_)], Stage::Outside) => self.chat_is_free(chat, now),
            ([Event::Refused(refusal)], Stage::Outside) if is_absent(*refusal) => {
                self.chat_is_free(chat, now);
            }
            ([Event::Refused(refusal)], Stage::Inside(_)) if refusal.code == ErrorCode::NotMember => {
                self.plan_fails(chat, GroupFailure::NotMember);
                if let Some(state) = self.chats.get_mut(&chat) {
                    state.group.needs = Default::default();
                }
            }
            (_, Stage::Creating) => {}
            ([Event::Refused(refusal)], _) => self.refused_for_now(chat, *refusal, now),
            _ => self.work_again(chat, Duration::ZERO, now),
        }
    }

    /// There is no group that this account is in. A chat of two is made; in another nothing can be said.
    fn chat_is_free(&mut self, chat: ChatId, now: Now) {
        if !self.is_wanted_in(chat) {
            return;
        }
        match self.peer_in(chat) {
            Some(peer) => self.claim_direct(chat, peer, now),
            None => self.fail_all(chat, ErrorCode::NotMember.refuse()),
        }
    }

    /// A question about a chat's group was refused, and may be asked again.
    pub(super) fn refused_for_now(&mut self, chat: ChatId, refusal: Refusal, now: Now) {
        match refusal.retry {
            Retry::After(after) => self.work_again(chat, after, now),
            Retry::Reauthenticate => self.on_hello_refused(ErrorCode::TokenExpired.refuse(), now),
            Retry::Never => self.work_again(chat, UNREACHABLE_FOR, now),
        }
    }

    // ---- key packages of others ----

    pub(super) fn claim(&mut self, chat: ChatId, claim: Claim, now: Now) {
        if claim.accounts.is_empty() {
            return self.make_commit(chat, claim, now);
        }
        let request = ClaimKeyPackages { accounts: claim.accounts.clone(), after: None };
        self.set_work(chat, Work::Claiming(claim));
        self.run(Errand::Claim(chat), &Request::ClaimKeyPackages(request), now);
    }

    pub(super) fn on_claimed(&mut self, chat: ChatId, events: Vec<Event>, now: Now) {
        let Some(state) = self.chats.get_mut(&chat) else { return };
        let Work::Claiming(claim) = &mut state.group.work else { return };
        let mut claim = std::mem::replace(claim, Claim::new(Goal::Update, Vec::new()));
        state.group.work = Work::Idle;
        match <[Event; 1]>::try_from(events) {
            Ok([Event::KeyPackages { packages, has_more }]) => match claim.take(packages, has_more) {
                Some(after) => {
                    let request = ClaimKeyPackages { accounts: claim.accounts.clone(), after: Some(after) };
                    self.set_work(chat, Work::Claiming(claim));
                    self.run(Errand::Claim(chat), &Request::ClaimKeyPackages(request), now);
                }
                None => {
                    self.note_own_devices(&claim, has_more);
                    self.make_commit(chat, claim, now);
                }
            },
            Ok([Event::Refused(refusal)]) => self.refused_for_now(chat, refusal, now),
            _ => self.work_again(chat, Duration::ZERO, now),
        }
    }

    /// An answer names every device of an account, whether or not it has published something.
    fn note_own_devices(&mut self, claim: &Claim, cut: bool) {
        let own = self.own_account();
        if claim.accounts.contains(&own) && !cut {
            let mine = claim.packages.iter().filter(|package| package.account == own);
            self.own_devices_are(mine.map(|package| package.device));
        }
    }

    /// None of those who are needed has a key package.
    pub(super) fn unreachable(&mut self, chat: ChatId, now: Now) {
        self.notify(ClientEvent::Unreachable { chat });
        self.work_again(chat, UNREACHABLE_FOR, now);
    }

    // ---- out ----

    /// This account is in the chat no longer.
    pub(super) fn leave_behind(&mut self, chat: ChatId, by: AccountId, now: Now) {
        if let Err(error) = self.crypto.forget(chat) {
            return self.broken(&error);
        }
        self.forget_commit(chat);
        match self.groups.plans.get(&chat).map(|row| &row.plan) {
            Some(Plan::Leave) => self.plan_is_done(chat),
            _ => self.plan_fails(chat, GroupFailure::NotMember),
        }
        let Some(state) = self.chats.get_mut(&chat) else { return };
        state.group = Default::default();
        state.group.set(Stage::Outside);
        state.held.clear();
        state.gone = true;
        let at = self.server_now(now);
        self.persist(Write::Gone { chat, by, at });
        self.notify(ClientEvent::Gone { chat, by });
        self.pump_chat(chat, now);
    }
}

/// There is no such chat, as far as this account may know.
fn is_absent(refusal: Refusal) -> bool {
    matches!(refusal.code, ErrorCode::NotMember | ErrorCode::NotFound)
}
