//! What is said to people about a chat beside its messages: who came and went, what cannot be read.

use client_core::{GroupFailure, MembersChange, Passed, Unreadable};
use client_db::{Notice, Said};
use wire::{AccountId, ErrorCode, Seq};

/// Said where the log begins for a device that was added later.
pub(crate) const FROM_HERE: &str =
    "this device reads from here on; what was said before stays on your other devices";

/// Said of what came before a device was added.
pub(crate) const BEFORE: &str = "from before this device was added: your other devices have it";

/// Said of what should be on this device and is not.
pub(crate) const MISSING: &str = "not on this device";

/// A chat as its notices see it.
pub(crate) struct Scene<'a> {
    /// Whose device this is.
    pub(crate) me: AccountId,
    /// Whether it is a chat of two: of these nobody is told who is in it.
    pub(crate) is_direct: bool,
    /// What somebody is called.
    pub(crate) name_of: &'a dyn Fn(AccountId) -> String,
}

impl Scene<'_> {
    /// What a notice says; `None` if it says nothing to anybody.
    pub(crate) fn words(&self, notice: &Notice) -> Option<String> {
        match &notice.what {
            Said::Members(by, added, removed) => self.members(notice.seq, *by, added, removed),
            Said::Gone(by) if *by == self.me => Some("you left".into()),
            Said::Gone(by) => Some(format!("{} removed you", self.name(*by))),
            Said::Unreadable(sender, why) => {
                Some(format!("a message from {} cannot be read: {}", self.name(*sender), reason(*why)))
            }
        }
    }

    /// The same of a change that has just come.
    pub(crate) fn change(&self, change: &MembersChange) -> Option<String> {
        self.members(change.seq, change.by, &change.added, &change.removed)
    }

    fn members(&self, seq: Seq, by: AccountId, added: &[AccountId], removed: &[AccountId]) -> Option<String> {
        let is_first = seq <= Seq(1);
        let by_me = by == self.me;
        let who = if by_me { "you".to_owned() } else { self.name(by) };
        if added.contains(&self.me) {
            return match (self.is_direct, by_me) {
                (true, _) if is_first => None,
                (true, _) | (false, true) => Some(FROM_HERE.into()),
                (false, false) if is_first => {
                    Some(format!("{who} made the group with {}", self.names(added, by)))
                }
                (false, false) => {
                    Some(format!("{who} added you; what was said before is not for you to read"))
                }
            };
        }
        if self.is_direct {
            return None;
        }
        match (added, removed) {
            ([], [one]) if *one == by => Some(format!("{who} left")),
            ([], removed) => Some(format!("{who} removed {}", self.names(removed, by))),
            (added, []) if is_first => Some(format!("{who} made the group with {}", self.names(added, by))),
            (added, []) => Some(format!("{who} added {}", self.names(added, by))),
            (added, removed) => {
                Some(format!("{who} added {} and removed {}", self.names(added, by), self.names(removed, by)))
            }
        }
    }

    fn name(&self, account: AccountId) -> String {
        if account == self.me { "you".into() } else { (self.name_of)(account) }
    }

    /// All but one: the one who did it.
    fn names(&self, accounts: &[AccountId], but: AccountId) -> String {
        let names: Vec<String> =
            accounts.iter().filter(|account| **account != but).map(|account| self.name(*account)).collect();
        match &names[..] {
            [before @ .., one, last] => {
                let before: String = before.iter().map(|name| format!("{name}, ")).collect();
                format!("{before}{one} and {last}")
            }
            names => names.concat(),
        }
    }
}

/// Why nothing came of a change of a group's members.
pub(crate) fn failure(why: GroupFailure) -> String {
    match why {
        GroupFailure::Refused(refusal) => match refusal.code {
            ErrorCode::NotAdmin => "only an admin of the group may do that".into(),
            ErrorCode::GroupFull => "the group is full: it has at most 256 members".into(),
            _ => format!("refused: {refusal}"),
        },
        GroupFailure::Unreachable => {
            "nobody could be added: no device of theirs can be encrypted for yet".into()
        }
        GroupFailure::NotMember => "you are not in this group".into(),
        GroupFailure::TooLarge => "the group is too large for that".into(),
    }
}

/// Why an entry cannot be read, for people.
pub(crate) fn reason(why: Unreadable) -> &'static str {
    match why {
        Unreadable::Relabelled => "it is not what the server says it is",
        Unreadable::Epoch => "this device does not have its keys",
        Unreadable::Replayed => "it was said before",
        Unreadable::Refused => "it is damaged or not authentic",
        Unreadable::Stranger => "it would have brought a stranger into this chat",
    }
}

/// The same, for scripts.
pub(crate) fn reason_code(why: Unreadable) -> &'static str {
    match why {
        Unreadable::Relabelled => "relabelled",
        Unreadable::Epoch => "epoch",
        Unreadable::Replayed => "replayed",
        Unreadable::Refused => "refused",
        Unreadable::Stranger => "stranger",
    }
}

/// What an entry is that is no message, for people.
pub(crate) fn passed(what: Passed) -> String {
    match what {
        Passed::Commit => "the keys of this chat changed".into(),
        Passed::Control => "somebody's device or account has gone".into(),
        Passed::Own => "said by this device, which keeps it no more".into(),
        Passed::Unknown => "something that this version does not know".into(),
        Passed::Unreadable(why) => format!("this cannot be read: {}", reason(why)),
    }
}

/// The same, for scripts.
pub(crate) fn passed_code(what: Passed) -> &'static str {
    match what {
        Passed::Commit => "commit",
        Passed::Control => "control",
        Passed::Own => "own",
        Passed::Unknown => "unknown",
        Passed::Unreadable(_) => "unreadable",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ME: AccountId = AccountId::new([1; 16]);
    const ANA: AccountId = AccountId::new([2; 16]);
    const BOB: AccountId = AccountId::new([3; 16]);

    fn said(
        is_direct: bool,
        seq: u64,
        by: AccountId,
        added: &[AccountId],
        removed: &[AccountId],
    ) -> Option<String> {
        let name_of = |account| if account == ANA { "Ana".to_owned() } else { "Bob".to_owned() };
        Scene { me: ME, is_direct, name_of: &name_of }.members(Seq(seq), by, added, removed)
    }

    #[test]
    fn r65_r67_who_came_and_went_is_said_in_plain_words() {
        let table = [
            (said(false, 1, ME, &[ANA, BOB], &[]), "you made the group with Ana and Bob"),
            (said(false, 1, ANA, &[ME, ANA, BOB], &[]), "Ana made the group with you and Bob"),
            (said(false, 7, ANA, &[BOB], &[]), "Ana added Bob"),
            (said(false, 7, ANA, &[], &[BOB]), "Ana removed Bob"),
            (said(false, 7, BOB, &[], &[BOB]), "Bob left"),
            (
                said(false, 7, ANA, &[ME, ANA], &[]),
                "Ana added you; what was said before is not for you to read",
            ),
            (said(false, 7, ME, &[ME, ANA], &[]), FROM_HERE),
            (said(true, 7, ANA, &[ME, ANA], &[]), FROM_HERE),
        ];
        for (said, words) in table {
            assert_eq!(said.as_deref(), Some(words));
        }
        assert_eq!(said(true, 1, ANA, &[ME, ANA], &[]), None, "of a chat of two it goes without saying");
        assert_eq!(said(true, 1, ME, &[ANA], &[]), None);
    }
}
