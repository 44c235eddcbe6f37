//! Appends: the transaction that decides a message's place (ARCHITECTURE.md, idea 3).
//!
//! In this order: the idempotency record, then membership, then whether a commit must come first, then the epoch, then `seq`,
//! the entry, the record, the outbox key. A repeat is answered before anything else is asked, so that it gets its first answer
//! whatever has changed since.
//!
//! The epoch rule (I6): what is sealed for another epoch than the log's is not appended. The epoch lies in the head, which
//! every append reads to write it; so whoever moves it meanwhile conflicts.
//!
//! The device that appends has what it says. So if its cursor is right before the new entry, the same transaction moves
//! it over that entry, and the device needs no copy of it. It is the device's cursor alone: what its member has got of
//! others did not change, and there is no receipt for one's own message.

use bytes::Bytes;
use mutation::Mutation;
use wire::event::{Entry, EntryKind, Kind};
use wire::{AccountId, ChatId, ClientMsgId, DeviceId, Epoch, LogId, MemberRole, Seq, WallTime};

use super::batch::{Fold, Place};
use crate::keys;
use crate::record::{self, AccountChat, Idempotency, Member, Present, Record};
use crate::tx::Tx;

/// Appends one device's messages to a log, in this order and in one transaction: a store error appended none of them.
/// One result per message, in the same order. A refusal of one does not touch the others, but that nothing new is appended
/// after what was sealed for another epoch, so that a device's messages keep their order when it seals them again.
#[derive(Debug, Clone)]
pub struct Append {
    /// The log.
    pub log: LogId,
    /// The other account of a 1:1 chat, if the sender named it: the first append creates the chat for both.
    /// Whoever asks has checked that the log's id is [`direct_chat_id`](crate::keys::direct_chat_id) of the two.
    pub peer: Option<AccountId>,
    /// Who says it.
    pub sender: AccountId,
    /// From which device.
    pub device: DeviceId,
    /// What it says. Whoever asks keeps to 64 messages and 512 KiB of content in all; more may go over the limits of a
    /// transaction, which is then refused whole.
    pub messages: Vec<Message>,
    /// The server's wall time; entries of one log never go backwards (a later one is at least the head's time).
    pub now: WallTime,
}

/// One message of an [`Append`].
#[derive(Debug, Clone)]
pub struct Message {
    /// The idempotency key.
    pub client_msg_id: ClientMsgId,
    /// The sender's coarse hint.
    pub kind: Kind,
    /// Ciphertext, 1 to 65,535 bytes (checked when decoded).
    pub content: Bytes,
    /// The epoch it is sealed for; zero in a chat without a group.
    pub epoch: Epoch,
}

/// A committed entry.
#[derive(Debug, Clone)]
pub struct Appended {
    /// Its place.
    pub seq: Seq,
    /// Its time.
    pub at: WallTime,
    /// The entry as a frame, prefix included: the bytes every recipient gets. Empty for a repeat.
    pub frame: Bytes,
    /// Every member account at the commit, the sender's too: whom fan-out hints. Empty for a repeat.
    pub members: Vec<AccountId>,
    /// Whether this `client_msg_id` had been appended before: then `seq` and `at` are the first ones.
    pub repeat: bool,
    /// The appending device's cursor after it; zero if it has none yet. If it is at least `seq`, the device has all before
    /// this entry or will by its answers, and is owed no copy of it.
    pub delivered: Seq,
}

/// Why nothing was appended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// The sender is not a member, and no peer was named that would make the chat.
    #[error("the sender is not a member of this log")]
    NotMember,
    /// The named peer has no account.
    #[error("the recipient has no account")]
    RecipientUnknown,
    /// Somebody has left the chat whose leaves are still in its group: a commit that removes them comes first.
    #[error("a commit that removes who has left must come first")]
    CommitFirst,
    /// The sender used this `client_msg_id` for a commit, or to leave.
    #[error("its id was used for something that is no message")]
    IdUsed,
    /// It is sealed for another epoch than the log's.
    #[error("sealed for another epoch than the log's, {current}")]
    StaleEpoch {
        /// The log's.
        current: Epoch,
    },
}

/// Appends the messages of one op; the fold holds what was read, and what earlier ops of the same transaction did.
///
/// Shape: per message `l log e seq`, `l log i account client_msg_id` and `o …`, and once `l log d account device` if it
/// moved; the head is written after the fold.
/// Cost: one read per message, and once per transaction the device's cursor, the member, the head and all members.
pub(super) fn append<T: Tx>(tx: &mut T, fold: &mut Fold, op: &Append) -> Vec<Result<Appended, AppendError>> {
    let mut own = OwnCursor::new(fold.device(op.sender, op.device));
    let mut refused = None;
    let mut results = Vec::with_capacity(op.messages.len());
    for message in &op.messages {
        let appended = match fold.place(op.sender, message.client_msg_id) {
            Some(place) if place.entry().is_none_or(|entry| entry.what == EntryKind::Message) => {
                Ok(repeat(fold, place))
            }
            Some(_) => Err(AppendError::IdUsed),
            None => {
                let admitted = refused.map_or_else(|| admit(fold, op, message), Err);
                refused = admitted.err();
                admitted.map(|makes| {
                    if let Some((chat, peer)) = makes {
                        make_direct(tx, fold, chat, (op.sender, peer));
                    }
                    let appended = write(tx, fold, op, message);
                    own.appended(appended.seq);
                    appended
                })
            }
        };
        results.push(appended.map(|appended| Appended { delivered: own.delivered(), ..appended }));
    }
    if let Some(delivered) = own.moved() {
        fold.move_device(tx, op.sender, op.device, delivered);
    }
    results
}

/// The appending device's cursor, moved along by what it says.
///
/// Invariant: it moves over an entry only from right before it, and never where there was none: a device that is new to a
/// chat learns where the chat begins for it by being sent its first entry.
pub(super) struct OwnCursor {
    stored: Option<Seq>,
    now: Option<Seq>,
}

impl OwnCursor {
    pub(super) fn new(stored: Option<Seq>) -> OwnCursor {
        OwnCursor { stored, now: stored }
    }

    /// The device's own entry is at `seq`.
    pub(super) fn appended(&mut self, seq: Seq) {
        let follows = |at: Seq| at.next() == seq || mutation::on(Mutation::OwnCursorJumps);
        if self.now.is_some_and(follows) {
            self.now = Some(seq);
        }
    }

    pub(super) fn delivered(&self) -> Seq {
        self.now.unwrap_or_default()
    }

    pub(super) fn moved(&self) -> Option<Seq> {
        self.now.filter(|_| self.now != self.stored)
    }
}

/// The answer to a message that is in the log, without the device's cursor. If it may be there because of a lost answer
/// to this very request, it is answered as if for the first time, so that fan-out is not lost with the answer.
fn repeat(fold: &Fold, place: &Place) -> Appended {
    let (seq, at, delivered) = (place.seq, place.at, Seq::ZERO);
    if fold.maybe_committed() {
        let frame = place.frame.clone();
        Appended { seq, at, frame, members: fold.everyone(), repeat: false, delivered }
    } else {
        Appended { seq, at, frame: Bytes::new(), members: Vec::new(), repeat: true, delivered }
    }
}

/// Whether the sender may append a message: it is a member, and the message sealed for the log's epoch. If it would be the
/// first of a 1:1 chat, which chat, and with whom.
fn admit(fold: &Fold, op: &Append, message: &Message) -> Result<Option<(ChatId, AccountId)>, AppendError> {
    // Into an inbox nobody says anything, not even whose it is.
    let makes = match (op.log, op.peer) {
        (LogId::Chat(_) | LogId::Call(_), _) if fold.is_member(op.sender) => None,
        (LogId::Chat(chat), Some(peer)) if fold.has_account(op.sender) => Some((chat, peer)),
        _ => return Err(AppendError::NotMember),
    };
    if makes.is_some_and(|(_, peer)| !fold.has_account(peer)) {
        return Err(AppendError::RecipientUnknown);
    }
    in_epoch(fold, message)?;
    Ok(makes)
}

/// Makes a 1:1 chat for both.
pub(super) fn make_direct<T: Tx>(
    tx: &mut T,
    fold: &mut Fold,
    chat: ChatId,
    (one, other): (AccountId, AccountId),
) {
    for (account, peer) in [(one, other), (other, one)] {
        let member = Member { joined: Seq::ZERO, peer: Some(peer), role: MemberRole::Member };
        fold.join(tx, account, member);
        tx.set(keys::account_chat(account, chat), AccountChat { peer: Some(peer) }.encode());
    }
}

/// Whether a message is sealed for the log's epoch, and that epoch's members are those of the log.
fn in_epoch(fold: &Fold, message: &Message) -> Result<(), AppendError> {
    let head = fold.head();
    match message.epoch == head.epoch {
        _ if head.commit_first => Err(AppendError::CommitFirst),
        true => Ok(()),
        false => Err(AppendError::StaleEpoch { current: head.epoch }),
    }
}

/// Writes one message, and says so without the device's cursor.
fn write<T: Tx>(tx: &mut T, fold: &mut Fold, op: &Append, message: &Message) -> Appended {
    let entry = Entry {
        seq: fold.head().seq.next(),
        sender: op.sender,
        device: op.device,
        client_msg_id: message.client_msg_id,
        at: op.now.max(fold.head().last_at),
        kind: message.kind,
        content: message.content.clone(),
        what: EntryKind::Message,
        epoch: message.epoch,
    };
    let (seq, at, frame) = (entry.seq, entry.at, write_entry(tx, fold, op.log, &entry, Vec::new()));
    Appended { seq, at, frame, members: fold.everyone(), repeat: false, delivered: Seq::ZERO }
}

/// Gives an entry the log's next place, which it names already, and its record and outbox key; answers its frame.
///
/// Shape: `l log e seq`, `l log x seq part`, `l log i account client_msg_id`, `o …`.
pub(super) fn write_entry<T: Tx>(
    tx: &mut T,
    fold: &mut Fold,
    log: LogId,
    entry: &Entry,
    parts: Vec<Bytes>,
) -> Bytes {
    let Entry { seq, at, sender, client_msg_id, .. } = *entry;
    let parts_bytes = parts.iter().map(Bytes::len).sum::<usize>();
    let parts_bytes = u32::try_from(parts_bytes).expect("an entry's parts are bounded where they are made");
    let (value, frame) = record::encode_entry_in_parts(&entry.encode(), parts_bytes);
    tx.set(keys::entry(log, seq), value);
    for (part, frame) in (1..).zip(&parts) {
        tx.set(keys::entry_part(log, seq, part), record::encode_entry(frame).0);
    }
    let record = Idempotency::encode_stamped(seq, at, fold.incarnation());
    tx.set_stamped_value(keys::idempotency(log, sender, client_msg_id), record);
    tx.set(keys::outbox(at, log, seq), Present.encode());
    let place = Place { seq, at, frame: frame.clone(), parts };
    fold.appended(sender, client_msg_id, place);
    frame
}
