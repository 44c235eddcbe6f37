//! Commits of made-up devices, one after another, on a table of leaves and on a plain row of seats.

use arbitrary::{Arbitrary, Unstructured};
use wire::{AccountId, ChatId, ClientMsgId};
use wire_mls::inspect::{self, Added, Commit, InspectError};
use wire_mls::{FoldError, GroupName, Leaf, Leaves, device_of};

use super::{judge, rows, unreferenced, write};

/// Commits of one input.
const COMMITS_MAX: usize = 64;

/// One commit. Leaves and devices are numbers; many mean nobody.
#[derive(Debug, Arbitrary)]
struct Step {
    sender: u8,
    adds: Vec<u8>,
    removes: Vec<u8>,
    path: Path,
    /// A byte of the commit that is another one.
    damage: Option<(u16, u8)>,
}

/// Whose new leaf the path has.
#[derive(Debug, Arbitrary)]
enum Path {
    None,
    Own,
    Of(u8),
}

pub(super) fn run(data: &[u8]) {
    let mut input = Unstructured::new(data);
    let mut seats = vec![Some(device(0))];
    let mut table = Leaves::created_by(device(0));
    for epoch in 0..COMMITS_MAX {
        if input.is_empty() {
            break;
        }
        let Ok(step) = Step::arbitrary(&mut input) else { break };
        crate::show(&step);
        let commit = commit(&step, epoch as u64, &seats);
        let Some(seen) = through_bytes(&commit, step.damage) else { continue };
        let before = table.clone();
        let expected = sit(&seats, &seen);
        match (table.fold(&seen), expected) {
            (Ok(change), Ok(now)) => {
                assert_eq!(change.adds.len(), seen.adds.len());
                assert_eq!(change.removes.iter().map(|(at, _)| *at).collect::<Vec<_>>(), seen.removes);
                assert!(change.adds.iter().all(|(at, leaf)| table.at(*at) == Some(leaf)));
                seats = now;
            }
            (result, expected) => {
                assert_eq!(result.err(), expected.err());
                assert_eq!(table, before, "a commit that does not fit changes nothing");
            }
        }
        let taken = (0..).zip(&seats).filter_map(|(at, seat)| seat.map(|leaf| (at, leaf)));
        assert_eq!(rows(&table), taken.collect::<Vec<_>>(), "the table is the row of seats");
    }
    assert_eq!(inspect::tree(&write::tree(&table)), Ok(table), "and what a tree with these leaves says");
}

fn device(number: u8) -> Leaf {
    let key = [number; 32];
    Leaf { account: AccountId::new([number / 4; 16]), device: device_of(&key), key }
}

fn commit(step: &Step, epoch: u64, seats: &[Option<Leaf>]) -> Commit {
    let sender = u32::from(step.sender);
    let own = seats.get(sender as usize).copied().flatten();
    let added = |number: &u8| Added { leaf: device(*number), reference: [0; 32] };
    Commit {
        group: GroupName::Chat(ChatId::new([9; 16])),
        epoch,
        sender,
        client_msg_id: ClientMsgId::new([step.sender; 16]),
        adds: step.adds.iter().map(added).collect(),
        removes: step.removes.iter().map(|leaf| u32::from(*leaf)).collect(),
        path: match step.path {
            Path::None => None,
            Path::Own => own,
            Path::Of(number) => Some(device(number)),
        },
    }
}

/// What a server reads of a commit, if it takes it.
fn through_bytes(commit: &Commit, damage: Option<(u16, u8)>) -> Option<Commit> {
    let mut bytes = write::commit(commit);
    if let Some((at, by)) = damage {
        let at = usize::from(at) % bytes.len();
        bytes[at] ^= by;
        judge(&bytes);
        return None;
    }
    let seen = inspect::commit(&bytes);
    let may_be = if commit.adds.len() > wire::limits::COMMIT_ADDS_MAX {
        Err(InspectError::Oversize)
    } else if commit.path.is_none() && (commit.adds.is_empty() || !commit.removes.is_empty()) {
        Err(InspectError::NoPath)
    } else {
        Ok(commit.clone())
    };
    assert_eq!(seen.clone().map(unreferenced), may_be, "a commit is read as it was written");
    seen.ok()
}

/// Who sits where after a commit (RFC 9420, 12.3 and 7.7), or why nobody moves.
fn sit(seats: &[Option<Leaf>], commit: &Commit) -> Result<Vec<Option<Leaf>>, FoldError> {
    let at = |seats: &[Option<Leaf>], leaf: u32| seats.get(leaf as usize).copied().flatten();
    let by = at(seats, commit.sender).ok_or(FoldError::Blank(commit.sender))?;
    if commit.path.is_some_and(|leaf| leaf != by) {
        return Err(FoldError::Identity);
    }
    let mut now = seats.to_vec();
    for (n, leaf) in commit.removes.iter().enumerate() {
        if *leaf == commit.sender || commit.removes[..n].contains(leaf) {
            return Err(FoldError::Removal(*leaf));
        }
        at(&now, *leaf).ok_or(FoldError::Blank(*leaf))?;
        now[*leaf as usize] = None;
    }
    for added in &commit.adds {
        if now.iter().flatten().any(|leaf| leaf.device == added.leaf.device) {
            return Err(FoldError::Duplicate(added.leaf.device));
        }
        match now.iter_mut().find(|seat| seat.is_none()) {
            Some(seat) => *seat = Some(added.leaf),
            None => now.push(Some(added.leaf)),
        }
    }
    Ok(now)
}
