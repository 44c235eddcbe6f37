//! A chat's group as the server knows it: read, fetched for a device that was added, left (R67).
//!
//! Invariant: who leaves is told to the others whether or not its connection is still there.

use bytes::Bytes;
use store::op::{GroupState, Leave, LeaveError, NoTree, NotMember, Op, OpOutput, Tree};
use wire::{AccountId, ChatId, ClientMsgId, Epoch, ErrorCode, Event, LogId};

use super::{Call, Identity, Step, mismatch};
use crate::cx::Cx;
use crate::fanout::Hint;
use crate::io::{Effect, EffectOutput};

/// `GetGroup`, `GetTree` and `LeaveGroup`.
#[derive(Debug)]
pub(crate) enum GroupCall {
    State,
    Tree,
    Leave { account: AccountId },
}

impl GroupCall {
    pub(super) fn state(who: Identity, chat: ChatId) -> Step {
        let op = Op::GroupState(GroupState { chat, account: who.account });
        Step::perform(Effect::Store(op), Call::Group(GroupCall::State))
    }

    pub(super) fn tree(who: Identity, chat: ChatId, epoch: Epoch) -> Step {
        let op = Op::Tree(Tree { log: LogId::Chat(chat), account: who.account, device: who.device, epoch });
        Step::perform(Effect::Store(op), Call::Group(GroupCall::Tree))
    }

    pub(super) fn leave(cx: &Cx, who: Identity, chat: ChatId, client_msg_id: ClientMsgId) -> Step {
        let (log, account, now) = (LogId::Chat(chat), who.account, cx.now.wall);
        let op = Op::Leave(Leave { log, account, client_msg_id, now });
        Step::perform(Effect::Store(op), Call::Group(GroupCall::Leave { account }))
    }

    pub(super) fn resume(self, cx: &mut Cx, output: EffectOutput) -> Step {
        match (self, output) {
            (GroupCall::State, EffectOutput::Store(OpOutput::GroupState(result))) => match result {
                Ok(group) => Step::answer(&Event::Group(group)),
                Err(NotMember) => ErrorCode::NotMember.into(),
            },
            (GroupCall::Tree, EffectOutput::Store(OpOutput::Tree(result))) => match result {
                Ok(pieces) => Step::Answer(parts(pieces)),
                Err(NoTree) => ErrorCode::NotFound.into(),
            },
            (GroupCall::Leave { account }, EffectOutput::Store(OpOutput::Leave(result))) => match result {
                Ok(left) => {
                    if let Some(hint) = Hint::of_left(left, &[account]) {
                        cx.publish(hint);
                    }
                    Step::answer(&Event::Done)
                }
                Err(LeaveError::NotMember) => ErrorCode::NotMember.into(),
                Err(LeaveError::IdUsed) => ErrorCode::IdUsed.into(),
                Err(LeaveError::Direct) => ErrorCode::CannotLeave.into(),
            },
            (_, other) => mismatch("a group op", &other),
        }
    }
}

/// An answer that is larger than a frame. At most a tree's bytes, which a stream's queue takes at once.
fn parts(pieces: Vec<Bytes>) -> Vec<Bytes> {
    let mut left = pieces.iter().map(Bytes::len).sum::<usize>();
    let part = |bytes: Bytes| {
        left -= bytes.len();
        Event::Part { bytes, left: u32::try_from(left).expect("a tree is bounded where it is stored") }
            .encode()
    };
    pieces.into_iter().map(part).collect()
}
