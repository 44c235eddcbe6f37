//! A chat's group as this device has it: how far it is in it, and what there is to do.
//!
//! What is to be done is a set of needs, looked at anew whenever the chat's epoch has moved, and never a list of steps: of
//! several devices that want to do the same the epoch rule lets one, and for the others there is then nothing left.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use rand_chacha::ChaCha8Rng;
use wire::event::{self, Control, ControlKind, KeyPackage};
use wire::{AccountId, ChatId, DeviceId, Epoch};

use crate::backoff::Backoff;
use crate::kept::CommitRow;
use crate::plan::PlanRow;

/// How far this device is in a chat's group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Not in it: it was not added, is no longer in it, or there is no group yet.
    Outside,
    /// It has made one, and nobody has said that it was first.
    Creating,
    /// In it, in this epoch.
    Inside(Epoch),
}

/// A chat's group.
#[derive(Debug, Default)]
pub(crate) struct Group {
    /// As read last; `None` if it was not read in this process.
    pub(crate) stage: Option<Stage>,
    /// There is a group, and the log goes on where it does not reach: it is used no more, and kept until a welcome has proved
    /// that it leads further. Whoever makes one up takes nothing away.
    pub(crate) aside: bool,
    /// Until this epoch nothing is appended, or until then: the server said that the log is there.
    behind: Option<Behind>,
    pub(crate) needs: Needs,
    pub(crate) work: Work,
    /// Who has gone, as the log said it, and whose leaves are in the group still. Bounded by these.
    pub(crate) departed: Vec<Departed>,
    /// Attempts of work that failed in a row.
    pub(crate) attempts: Backoff,
    /// Refusals of an epoch in a row.
    refusals: Backoff,
    /// The chat has a log, which may have a group: this device asks before it makes one.
    pub(crate) is_there: bool,
}

#[derive(Debug, Clone, Copy)]
struct Behind {
    epoch: Epoch,
    until: Instant,
}

/// What the group needs somebody to commit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Needs {
    /// Leaves of who has gone are in it.
    pub(crate) tidy: bool,
    /// This device has said nearly all that it may say in one epoch.
    pub(crate) update: bool,
    /// Another device of this account may have no leaf.
    pub(crate) devices: bool,
}

impl Needs {
    pub(crate) fn any(self) -> bool {
        self.tidy || self.update || self.devices
    }
}

/// Somebody who has gone: an account, or one device of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Departed(AccountId, Option<DeviceId>);

impl Departed {
    pub(crate) fn is(self, account: AccountId, device: DeviceId) -> bool {
        self.0 == account && self.1.is_none_or(|own| own == device)
    }
}

/// What is kept of all chats' groups.
#[derive(Debug, Default)]
pub(crate) struct Groups {
    /// Commits on their way.
    pub(crate) commits: BTreeMap<ChatId, CommitRow>,
    /// Changes of members under way.
    pub(crate) plans: BTreeMap<ChatId, PlanRow>,
    /// Who was to be added by these, and has no key package.
    pub(crate) missing: BTreeMap<ChatId, BTreeSet<AccountId>>,
}

impl Groups {
    pub(crate) fn new(commits: Vec<CommitRow>, plans: Vec<PlanRow>) -> Groups {
        Groups {
            commits: commits.into_iter().map(|row| (row.request.chat, row)).collect(),
            plans: plans.into_iter().map(|row| (row.chat, row)).collect(),
            missing: BTreeMap::new(),
        }
    }

    /// Chats in which something kept is to go on.
    pub(crate) fn under_way(&self) -> BTreeSet<ChatId> {
        self.commits.keys().chain(self.plans.keys()).copied().collect()
    }
}

/// Where the work on a commit is.
#[derive(Debug, Default)]
pub(crate) enum Work {
    /// There is none.
    #[default]
    Idle,
    /// It begins then, from what the group needs by then.
    Due(Instant),
    /// It begins anew with the next connection.
    Again,
    /// The server was asked how the group stands. With the connection this is gone, as is the next.
    Looking,
    /// Key packages are asked for.
    Claiming(Claim),
    /// The server was asked to let this account go.
    Leaving,
    /// The commit is kept, and on its way: the log or a refusal settles it.
    Sent,
}

/// What a commit is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Goal {
    /// To make a 1:1 chat with this account.
    Direct(AccountId),
    /// To make a group, as its plan says.
    Group,
    /// To bring in these members.
    Add,
    /// To remove these members.
    Remove(Vec<AccountId>),
    /// To change nobody's membership.
    Update,
}

/// Key packages that are being asked for, and what for.
#[derive(Debug, Clone)]
pub(crate) struct Claim {
    pub(crate) goal: Goal,
    /// Whose.
    pub(crate) accounts: Vec<AccountId>,
    /// What came so far; bounded by the devices of those accounts, and by [`Claim::PACKAGES_MAX`].
    pub(crate) packages: Vec<KeyPackage>,
    /// Leaves that the commit is to remove.
    pub(crate) removes: Vec<DeviceId>,
}

impl Claim {
    pub(crate) fn new(goal: Goal, accounts: Vec<AccountId>) -> Claim {
        Claim { goal, accounts, packages: Vec::new(), removes: Vec::new() }
    }

    /// More than a commit adds: past it no more are asked for.
    pub(crate) const PACKAGES_MAX: usize = 2 * wire::limits::COMMIT_ADDS_MAX;

    /// Takes an answer; the device after which there are more, if they are to be asked for.
    pub(crate) fn take(
        &mut self,
        packages: Vec<KeyPackage>,
        has_more: bool,
    ) -> Option<(AccountId, DeviceId)> {
        let last = packages.last().map(|last| (last.account, last.device));
        self.packages.extend(packages.into_iter().filter(|package| self.accounts.contains(&package.account)));
        last.filter(|_| has_more && self.packages.len() < Claim::PACKAGES_MAX)
    }
}

impl Group {
    /// Of a chat that has a log already, or of which nothing is known.
    pub(crate) fn new(is_there: bool) -> Group {
        Group { is_there, ..Group::default() }
    }

    /// The epoch, if this device is in the group.
    pub(crate) fn epoch(&self) -> Option<Epoch> {
        match self.stage {
            Some(Stage::Inside(epoch)) => Some(epoch),
            _ => None,
        }
    }

    /// Whether entries are kept aside until a welcome says what they are. Of a group that was not looked up, none are.
    pub(crate) fn is_outside(&self) -> bool {
        self.stage == Some(Stage::Outside)
    }

    /// The device is this far now.
    pub(crate) fn set(&mut self, stage: Stage) {
        let moved = self.stage.replace(stage) != Some(stage);
        if let Stage::Inside(epoch) = stage {
            self.behind.take_if(|behind| behind.epoch <= epoch);
            if moved {
                self.refusals.reset();
            }
        }
    }

    /// Something was taken: what was refused before is no reason to wait any more.
    pub(crate) fn taken(&mut self) {
        self.refusals.reset();
    }

    /// Nothing is appended before the group is in this epoch, or before it is time to try all the same: no server that
    /// says nonsense is asked often, and none is believed for ever. If the group is there already, the log has moved while
    /// that was said, and it is tried at once; but only once, since the server may be behind this device for good.
    pub(crate) fn wait_for(&mut self, epoch: Epoch, rng: &mut ChaCha8Rng, now: Instant) {
        let is_first = self.refusals.failures() == 0;
        let until = now + self.refusals.next(rng, REFUSED_FOR);
        match self.epoch() {
            Some(own) if own >= epoch && is_first => {}
            Some(own) if own >= epoch => self.behind = Some(Behind { epoch: own.next(), until }),
            _ => self.behind = Some(Behind { epoch, until }),
        }
    }

    /// The server has nothing more for this account, and the log has not said so yet. `false` if that was waited for often
    /// enough.
    pub(crate) fn wait_for_the_end(&mut self, rng: &mut ChaCha8Rng, now: Instant) -> bool {
        let Some(epoch) = self.epoch().filter(|_| self.refusals.failures() < ENDS_MAX) else { return false };
        self.wait_for(epoch.next(), rng, now);
        true
    }

    /// Whether the log has to move first.
    pub(crate) fn is_behind(&self) -> bool {
        self.behind.is_some()
    }

    /// It has not to: nobody has gone. Where that is said again and again, it is no reason to try at once.
    pub(crate) fn go_on(&mut self) {
        self.behind.take_if(|_| self.refusals.failures() <= 1);
    }

    /// Whether it is time to try all the same.
    pub(crate) fn is_waited_for(&mut self, now: Instant) -> bool {
        self.behind.take_if(|behind| behind.until <= now).is_some()
    }

    /// Work is to begin then, unless some is under way or it begins earlier.
    pub(crate) fn due(&mut self, at: Instant) {
        match &mut self.work {
            Work::Idle => self.work = Work::Due(at),
            Work::Due(due) => *due = at.min(*due),
            Work::Again | Work::Looking | Work::Claiming(_) | Work::Leaving | Work::Sent => {}
        }
    }

    /// The next moment at which something is to be done.
    pub(crate) fn next(&self) -> Option<Instant> {
        let due = if let Work::Due(at) = self.work { Some(at) } else { None };
        [due, self.behind.map(|behind| behind.until)].into_iter().flatten().min()
    }

    /// The connection is gone, and with it every question.
    pub(crate) fn disconnected(&mut self) {
        if !matches!(self.work, Work::Idle | Work::Due(_)) {
            self.work = Work::Again;
        }
    }

    /// There is a connection: when work begins, if there is some.
    pub(crate) fn due_at(&self, now: Instant) -> Option<Instant> {
        match self.work {
            Work::Due(at) => Some(at),
            Work::Again => Some(now),
            _ => None,
        }
    }

    /// The log says that somebody has gone.
    pub(crate) fn departs(&mut self, control: &Control) {
        let departed = match control.kind {
            ControlKind::Left => Departed(control.account, None),
            ControlKind::DeviceEnded => Departed(control.account, control.device),
            ControlKind::Unsaid => return,
        };
        self.needs.tidy = true;
        if self.departed.len() < wire::limits::GROUP_LEAVES_MAX && !self.departed.contains(&departed) {
            self.departed.push(departed);
        }
    }

    /// Whether an account has gone, whose leaves are in the group still.
    pub(crate) fn has_departed(&self, account: AccountId) -> bool {
        self.departed.contains(&Departed(account, None))
    }

    /// Who is in the group, after a commit: of those who have gone only they are still of interest.
    pub(crate) fn remains(&mut self, members: impl Iterator<Item = (AccountId, DeviceId)> + Clone) {
        let had = !self.departed.is_empty();
        self.departed.retain(|gone| members.clone().any(|(account, device)| gone.is(account, device)));
        if had && self.departed.is_empty() {
            self.needs.tidy = false;
        }
    }
}

/// So often the log is waited for that says that this account is out.
const ENDS_MAX: u32 = 6;

/// At least this long nothing is appended after a refusal for the epoch, unless the log moves.
const REFUSED_FOR: Duration = Duration::from_secs(1);

/// Leaves that the server wants removed, and the accounts of these that are members still.
pub(crate) fn pending(group: &event::Group, own: DeviceId) -> (Vec<DeviceId>, Vec<AccountId>) {
    let pending = || group.leaves.iter().filter(|leaf| leaf.pending && leaf.device != own);
    let staying = |account: &AccountId| group.members.iter().any(|member| member.account == *account);
    let mut accounts: Vec<AccountId> =
        pending().map(|leaf| leaf.account).filter(|account| staying(account)).collect();
    accounts.sort_unstable();
    accounts.dedup();
    (pending().map(|leaf| leaf.device).collect(), accounts)
}
