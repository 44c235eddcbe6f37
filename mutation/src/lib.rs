//! Promises that can be broken on purpose. A simulation that finds nothing is worth as much as its power to find
//! something: each [`Mutation`] is one mistake that somebody could make in the product's code, at the place where they
//! would make it, and a test shows that the simulation notices each within a few seeds.
//!
//! The code under test asks [`on`] at that place. A mutation is chosen at run time, for one thread and for as long as
//! its [`Planted`] lives, so one build plays the honest code and every mistake.
//!
//! Invariant: without the feature `planted`, and in every build without debug assertions, [`on`] is the constant `false`
//! and no trace of a mutation is left in the program. Only the simulation and tests ask for the feature.

#[cfg(all(feature = "planted", debug_assertions))]
mod planted;

#[cfg(all(feature = "planted", debug_assertions))]
pub use planted::{Planted, on};

/// Whether this mistake is to be made. This build makes none.
#[cfg(not(all(feature = "planted", debug_assertions)))]
#[inline(always)]
pub const fn on(_: Mutation) -> bool {
    false
}

/// One mistake.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mutation {
    /// `store`: an append does not look whether it was done before.
    NoIdempotencyRead,
    /// `store`: what a transaction answers is told although its commit failed.
    AckBeforeCommit,
    /// `store`: a log's head is read without a conflict: two processes take one place.
    HeadBySnapshot,
    /// `store`: what is on a device counts as read.
    DeliveredIsRead,
    /// `store`: a cursor is set, whatever it was.
    CursorMayGoBack,
    /// `store`: a device's cursor moves over its own message, wherever it was.
    OwnCursorJumps,
    /// `store`: a log's members are told to whoever asks.
    MembersForAnybody,
    /// `edge/proto`: a session reads heads first and registers for hints after.
    RouteAfterHeads,
    /// `edge/proto`: a device's cursor moves when an entry is sent to it.
    CursorOnSend,
    /// `edge/proto`: entries that lie before a hinted one are not read.
    HintWithoutReread,
    /// `edge/proto`: that hints were lost is nobody's business.
    LostHintsIgnored,
    /// `edge/proto`: nobody looks at the outbox.
    SweeperOff,
    /// `edge/proto`: the outbox's keys are cleared whether or not anybody took the hints.
    ClearUnhinted,
    /// `edge/proto`: early data is believed as if the handshake were complete.
    EarlyBelieved,
    /// `edge/proto`: a session sends whatever it owes, however much of it the stream still holds.
    SendWithoutRoom,
    /// `wire/link`: a datagram is handled by the loop that got it.
    NoSteering,
    /// `client/core`: a message is forgotten when it is sent, and not when it is acknowledged.
    OutboxForgetsOnSend,
    /// `client/core`: a message that is sent again is a new one.
    NewIdOnRetry,
    /// `client/core`: an entry that was there before is taken for the next.
    RepeatsKept,
    /// `client/core`: an entry that comes before the ack which stands for the one before it is taken for a gap.
    AckNotAwaited,
}

impl Mutation {
    /// Every mutation.
    pub const ALL: [Mutation; 20] = [
        Mutation::NoIdempotencyRead,
        Mutation::AckBeforeCommit,
        Mutation::HeadBySnapshot,
        Mutation::DeliveredIsRead,
        Mutation::CursorMayGoBack,
        Mutation::OwnCursorJumps,
        Mutation::MembersForAnybody,
        Mutation::RouteAfterHeads,
        Mutation::CursorOnSend,
        Mutation::HintWithoutReread,
        Mutation::LostHintsIgnored,
        Mutation::SweeperOff,
        Mutation::ClearUnhinted,
        Mutation::EarlyBelieved,
        Mutation::SendWithoutRoom,
        Mutation::NoSteering,
        Mutation::OutboxForgetsOnSend,
        Mutation::NewIdOnRetry,
        Mutation::RepeatsKept,
        Mutation::AckNotAwaited,
    ];
}
