//! A promise that was broken.

use wire::{ErrorCode, Seq};

use crate::client::name;

/// A promise that was broken: which, by the requirement's id, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// I1: an acknowledged message is not in the log, or elsewhere.
    #[error("I1: {} was told that a message is at {seq} in {chat}, and the log has it at {found:?}", name(*user))]
    AckLost {
        /// Who was told.
        user: usize,
        /// In which chat.
        chat: String,
        /// Where it was said to be.
        seq: Seq,
        /// Where it is.
        found: Option<Seq>,
    },
    /// I1: an entry is gone, or is another one than it was.
    #[error("I1: entry {seq} of {chat} has changed or is gone")]
    Changed {
        /// In which chat.
        chat: String,
        /// Which.
        seq: Seq,
    },
    /// I2: a log has a gap, or its head is not its last entry.
    #[error("I2: {chat} should go on with {expected} and has {found}")]
    LogGap {
        /// Which.
        chat: String,
        /// The next place.
        expected: Seq,
        /// What is there.
        found: Seq,
    },
    /// I2: a device got an entry that is not its next.
    #[error("I2: {} has {chat} up to {have} and stores {came}", name(*user))]
    Gap {
        /// Whose device.
        user: usize,
        /// In which chat.
        chat: String,
        /// What it has.
        have: Seq,
        /// What it stores.
        came: Seq,
    },
    /// I2: a device has another entry at a place than the log.
    #[error("I2: what {} has at {seq} in {chat} is not what the log has", name(*user))]
    Forged {
        /// Whose device.
        user: usize,
        /// In which chat.
        chat: String,
        /// Where.
        seq: Seq,
    },
    /// R11: a device that is in a chat's group cannot read an entry, or takes it for something else.
    #[error("R11: {} takes entry {seq} of {chat} for {what}", name(*user))]
    CannotRead {
        /// Whose device.
        user: usize,
        /// In which chat.
        chat: String,
        /// Where.
        seq: Seq,
        /// What it takes it for.
        what: String,
    },
    /// R11: what a device has stored of its groups is wrong, or it was added in a way that it can make nothing of.
    #[error("R11: {}: {what}", name(*user))]
    Undone {
        /// Whose device.
        user: usize,
        /// What it said.
        what: String,
    },
    /// I3: one message is in a log twice.
    #[error("I3: one message is in {chat} at {first} and at {second}")]
    Doubled {
        /// In which chat.
        chat: String,
        /// Its first place.
        first: Seq,
        /// Its second.
        second: Seq,
    },
    /// I3: a log has a message that its sender did not send.
    #[error("I3: nobody sent entry {seq} of {chat}")]
    Invented {
        /// In which chat.
        chat: String,
        /// Where.
        seq: Seq,
    },
    /// G21: a sender's messages are not in the order of sending.
    #[error("G21: {}'s message at {seq} in {chat} has overtaken an earlier one", name(*user))]
    OutOfOrder {
        /// Whose.
        user: usize,
        /// In which chat.
        chat: String,
        /// Where.
        seq: Seq,
    },
    /// I4: a stored cursor went back.
    #[error("I4: {who}'s cursors in {chat} went from {before:?} back to {now:?}")]
    CursorBack {
        /// Whose.
        who: &'static str,
        /// In which chat.
        chat: String,
        /// Delivered and read before.
        before: (Seq, Seq),
        /// And now.
        now: (Seq, Seq),
    },
    /// I4: read, and not delivered.
    #[error("I4: {who}'s cursors in {chat} are at {now:?}: read is past delivered")]
    ReadUndelivered {
        /// Whose.
        who: &'static str,
        /// In which chat.
        chat: String,
        /// Delivered and read.
        now: (Seq, Seq),
    },
    /// I4: the server thinks that a device has more than it has.
    #[error("I4: the server has {}'s cursors in {chat} at {cursor:?}, and its disk is at {disk:?}", name(*user))]
    CursorAhead {
        /// Whose.
        user: usize,
        /// In which chat.
        chat: String,
        /// Delivered and read, as the server has them.
        cursor: (Seq, Seq),
        /// Stored and read, as the disk has them.
        disk: (Seq, Seq),
    },
    /// G18: a connection that has not completed its handshake got more than early data may have, or a replayed one did
    /// complete it.
    #[error("G18: a connection is not proved, and {what}")]
    ReplayBelieved {
        /// What it got.
        what: &'static str,
    },
    /// I10: a connection was lost though nothing happened but that addresses changed.
    #[error("I10: {} lost its connection, and only addresses had changed: {reason}", name(*user))]
    LostByMoving {
        /// Whose.
        user: usize,
        /// What the client was told.
        reason: String,
    },
    /// G24: an app in the background sent something though it had nothing to do.
    #[error("G24: {} is in the background and {what}", name(*user))]
    NotQuiet {
        /// Whose.
        user: usize,
        /// What it did.
        what: &'static str,
    },
    /// R34: "types" changed something in the store.
    #[error("R34: \"types\" went to the store")]
    TypingStored,
    /// R34: "types" reached somebody who is no member.
    #[error("R34: {} is shown who types in {chat}, and should not be", name(*user))]
    TypingLeaked {
        /// Who was shown it.
        user: usize,
        /// In which chat.
        chat: String,
    },
    /// I5: something of a chat was sent to a phone whose person is no member.
    #[error("I5: {} is sent something of {chat}", name(*user))]
    Leaked {
        /// Whose.
        user: usize,
        /// Of which chat.
        chat: String,
    },
    /// I2: the server left entries out.
    #[error("I2: {} was sent entries with a gap between them", name(*user))]
    LeftOut {
        /// Whose phone.
        user: usize,
    },
    /// C29: a phone waited for the sweeper though no hint was lost.
    #[error("C29: {} is connected, nothing is bad, and of {chat} it has {have} and not yet {due}", name(*user))]
    Late {
        /// Whose.
        user: usize,
        /// Of which chat.
        chat: String,
        /// What it has.
        have: Seq,
        /// What it should have.
        due: Seq,
    },
    /// G15: more was sent on a chat's stream than one burst, before the stream had taken it.
    #[error("G15: {entries} entries wait for one stream of a chat")]
    Unbounded {
        /// How many.
        entries: usize,
    },
    /// R144: a node has taken on more than it may.
    #[error("R144: a loop has {effects} effects in work")]
    Overload {
        /// How many.
        effects: usize,
    },
    /// G21: an outbox with room did not take a message.
    #[error("G21: the outbox did not take a message")]
    NotTaken,
    /// A message was refused for good, though nothing was wrong with it.
    #[error("{}'s message was refused for good: {}", name(*user), code.text())]
    Refused {
        /// Whose.
        user: usize,
        /// Why.
        code: ErrorCode,
    },
    /// C1: a device lost its login, though nobody ended it.
    #[error("C1: {} was logged out", name(*user))]
    LoggedOut {
        /// Whose.
        user: usize,
    },
    /// R15: no code came.
    #[error("R15: {} got no code", name(*user))]
    NoCode {
        /// Who.
        user: usize,
    },
    /// R13: a registration without faults failed.
    #[error("R13: {} could not register", name(*user))]
    NotRegistered {
        /// Who.
        user: usize,
    },
    /// The faults are over, and still not everybody has everything.
    #[error("no convergence: {missing}")]
    NotConverged {
        /// What is missing.
        missing: String,
    },
    /// The store holds what this checker cannot read.
    #[error("the store holds something that cannot be read")]
    Unreadable,
}
