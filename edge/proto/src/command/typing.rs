//! Who types (R34, R35): said on a chat's up stream, told to the devices of its members that have the chat open, never
//! stored, and the first thing that is dropped under load.

use std::sync::Arc;
use std::time::{Duration, Instant};

use store::op::{Members, NotMember, Op};
use wire::{AccountId, ChatId, DeviceId, LogId};

use super::Identity;
use crate::cx::{Cx, Pending};
use crate::fanout::Hint;
use crate::io::{EffectError, LinkId, StreamId};

/// A stream's indicators come at most this often; more are dropped. An honest client sends one per 3 s and a stop.
const INTERVAL_MIN: Duration = Duration::from_millis(500);

/// A chat's members are known for this long, then read again.
const MEMBERS_KNOWN: Duration = Duration::from_secs(60);

/// What a chat's up stream knows for typing.
#[derive(Debug, Default)]
pub(crate) struct Typing {
    members: Option<(Instant, Arc<[AccountId]>)>,
    reading: bool,
    /// They have changed since that was begun: what it brings is told nobody.
    outdated: bool,
    next_at: Option<Instant>,
}

/// Where typing is said.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place {
    pub(crate) link: LinkId,
    pub(crate) stream: StreamId,
    pub(crate) chat: ChatId,
}

impl Typing {
    /// The device says that its person types, or has stopped.
    pub(crate) fn said(&mut self, cx: &mut Cx, who: Identity, place: Place, typing: bool) {
        let now = cx.now.instant;
        if cx.is_loaded() || self.reading || self.next_at.is_some_and(|next| now < next) {
            cx.counters.typing_dropped += 1;
            return;
        }
        self.next_at = Some(now + INTERVAL_MIN);
        if let Some((_, members)) = self.members.as_ref().filter(|(at, _)| now < *at + MEMBERS_KNOWN) {
            return tell(cx, who, place.chat, members.clone(), typing);
        }
        self.reading = true;
        let members = Members { log: LogId::Chat(place.chat), account: who.account };
        let Place { link, stream, .. } = place;
        cx.store(Op::Members(members), Pending::Members { link, stream, typing });
    }

    /// They are not as they were. A read that is on its way may be of before.
    pub(crate) fn members_changed(&mut self) {
        self.members = None;
        self.outdated = self.reading;
    }

    /// The chat's members were read. Somebody who is none tells nobody.
    pub(crate) fn members_read(
        &mut self,
        cx: &mut Cx,
        who: Identity,
        chat: ChatId,
        typing: bool,
        members: Result<Result<Vec<AccountId>, NotMember>, EffectError>,
    ) {
        self.reading = false;
        if std::mem::take(&mut self.outdated) {
            cx.counters.typing_dropped += 1;
            return;
        }
        let Ok(Ok(members)) = members else { return };
        let members: Arc<[AccountId]> = members.into();
        self.members = Some((cx.now.instant, members.clone()));
        tell(cx, who, chat, members, typing);
    }
}

fn tell(cx: &mut Cx, who: Identity, chat: ChatId, accounts: Arc<[AccountId]>, typing: bool) {
    cx.counters.typing_published += 1;
    let (member, except): (AccountId, DeviceId) = (who.account, who.device);
    cx.publish(Hint::Typing { chat, member, typing, except, accounts });
}
