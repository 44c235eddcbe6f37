//! Hints: what somebody says is new, told on at once where it is the next thing that a session is owed.
//!
//! Invariant: a hint is believed in that there is something to look at, and that the frame it carries is that entry's; what is
//! between is read.

use std::collections::BTreeMap;

use bytes::Bytes;
use mutation::Mutation;
use store::op::MemberCursor;
use wire::{AccountId, ChatId, DeviceId, LogId, Seq, WallTime, limits};

use super::{Down, LogDelivery, confirm_unasked, handed};
use crate::conn::{Conn, Stage, Up};
use crate::cx::Cx;

impl Conn {
    /// A hint: the log has an entry at `seq`, perhaps with it.
    pub(crate) fn hint_entry(
        &mut self,
        cx: &mut Cx,
        log: LogId,
        seq: Seq,
        at: WallTime,
        frame: Option<&Bytes>,
    ) {
        let (now, link) = (cx.now.instant, self.link);
        let is_active = self.session().is_some();
        let Some(session) = self.hinted_session() else { return };
        let Some(delivery) = session.logs.get_mut(&log) else {
            let mut delivery = match log {
                LogId::Device(_) if is_active => LogDelivery::inbox(seq, session.inbox_sent, now),
                _ => LogDelivery::unknown(seq, at, now),
            };
            delivery.hinted = frame.map(|_| (seq, at));
            session.logs.insert(log, delivery);
            return self.open_log(cx, log);
        };
        if seq > delivery.head {
            // A repeat, which the sweeper's hints often are, makes an old chat no newer than others.
            delivery.head = seq;
            delivery.last_at = delivery.last_at.max(at);
        }
        let follows =
            seq == delivery.sent.next() || seq > delivery.sent && mutation::on(Mutation::HintWithoutReread);
        let next = !delivery.opening && !delivery.tailing && !delivery.ended && follows;
        if let (Down::Open { stream, full: false }, Some(frame), true) = (delivery.down, frame, next) {
            delivery.sent = seq;
            confirm_unasked(cx, (session.account, session.device), (link, stream), log, seq);
            delivery.active_at = now;
            delivery.down = Down::Open { stream, full: true };
            handed(cx, Some(at));
            return cx.send_frame(link, stream, frame.clone());
        }
        // The sweeper's hint comes without an entry and says nothing of a commit.
        if frame.is_some() && seq > delivery.sent {
            delivery.hinted.get_or_insert((seq, at));
        }
        self.pump(cx, log);
    }

    /// A hint: there is an entry in several frames, or one that ended somebody's membership, perhaps this account's: it is read.
    pub(crate) fn hint_to_read(&mut self, cx: &mut Cx, log: LogId, seq: Seq, at: WallTime) {
        self.hint_entry(cx, log, seq, at, None);
        if let Some(session) = self.hinted_session()
            && let Some(delivery) = session.logs.get_mut(&log)
            && seq > delivery.sent
        {
            delivery.hinted.get_or_insert((seq, at));
        }
    }

    /// What a session should have been hinted on of the device's own inbox.
    pub(crate) fn hint_inbox(&mut self, cx: &mut Cx, head: Seq) {
        let Some(session) = self.session() else { return };
        let log = LogId::Device(session.device);
        let sent = session.logs.get(&log).map_or(session.inbox_sent, |delivery| delivery.sent);
        if head > sent {
            self.hint_entry(cx, log, head, cx.now.wall, None);
        }
    }

    /// A hint: a member's cursors moved.
    pub(crate) fn hint_cursor(&mut self, cx: &mut Cx, log: LogId, moved: MemberCursor, except: DeviceId) {
        let now = cx.now;
        let Some(session) = self.hinted_session() else { return };
        if session.device == except {
            return;
        }
        let known = session.logs.contains_key(&log);
        let unknown = || LogDelivery::unknown(Seq::ZERO, now.wall, now.instant);
        let delivery = session.logs.entry(log).or_insert_with(unknown);
        if delivery.ended {
            return;
        }
        keep_newest(&mut delivery.cursors, moved);
        if known { self.pump(cx, log) } else { self.open_log(cx, log) }
    }

    /// A hint: a member types, or has stopped. Only who has the chat open hears it, and only what goes at once; nobody
    /// hears of oneself, on whichever device.
    pub(crate) fn hint_typing(
        &mut self,
        cx: &mut Cx,
        chat: ChatId,
        member: AccountId,
        typing: bool,
        except: DeviceId,
    ) {
        let is_open = self.streams.values().any(|up| matches!(up, Up::Chat(up) if up.is_open(chat)));
        let log = LogId::Chat(chat);
        let now = cx.now;
        let Stage::Active(session) = &mut self.stage else { return };
        if !is_open || session.device == except || session.account == member {
            return;
        }
        if cx.is_loaded() {
            cx.counters.typing_dropped += 1;
            return;
        }
        let full = session.downs >= limits::CHAT_DOWN_STREAMS_MAX;
        let known = session.logs.contains_key(&log);
        let unknown = || LogDelivery::unknown(Seq::ZERO, now.wall, now.instant);
        let delivery = session.logs.entry(log).or_insert_with(unknown);
        match delivery.down {
            _ if delivery.ended => return,
            Down::Open { full: false, .. } => {}
            Down::Closed | Down::Opening if !full => {}
            _ => {
                cx.counters.typing_dropped += 1;
                return;
            }
        }
        delivery.typing.insert(member, typing);
        if known { self.pump(cx, log) } else { self.open_log(cx, log) }
    }
}

pub(super) fn keep_newest(cursors: &mut BTreeMap<AccountId, MemberCursor>, moved: MemberCursor) {
    let kept = cursors.entry(moved.member).or_insert(moved);
    if (moved.delivered, moved.read) >= (kept.delivered, kept.read) {
        *kept = moved;
    }
}
