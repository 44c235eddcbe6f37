//! The account's chats, page by page.

use store::op::{Chats, ListedChat, Op, OpOutput};
use wire::event::Chat;
use wire::{ChatId, Event, limits};

use super::{Call, Identity, Step, mismatch};
use crate::io::{Effect, EffectOutput};

/// `GetChats`.
#[derive(Debug)]
pub(crate) struct ChatsCall;

impl ChatsCall {
    pub(super) fn begin(who: Identity, after: Option<ChatId>) -> Step {
        let op = Op::Chats(Chats { account: who.account, after, limit: limits::CHATS_PAGE_MAX });
        Step::perform(Effect::Store(op), Call::Chats(ChatsCall))
    }

    pub(super) fn resume(self, output: EffectOutput) -> Step {
        let page = match output {
            EffectOutput::Store(OpOutput::Chats(page)) => page,
            other => mismatch("Chats", &other),
        };
        let chats = page.chats.into_iter().map(chat).collect();
        Step::answer(&Event::Chats { chats, has_more: page.has_more })
    }
}

fn chat(info: ListedChat) -> Chat {
    Chat {
        chat: info.chat,
        peer: info.peer.map(|peer| (peer.account, peer.name.as_str().to_owned())),
        head: info.head,
        read: info.read,
        last_at: info.last_at,
        name: info.name,
    }
}
