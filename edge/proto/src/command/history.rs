//! Reading the log: pages of history (R47) and the receipts of one message (C15), for members only.

use bytes::Bytes;
use store::op::{
    History, HistoryPage, MemberCursor, NotMember, Op, OpOutput, Page, Receipts, ReceiptsError, StoredEntry,
};
use wire::event::{Cursor, Receipt};
use wire::{ChatId, ErrorCode, Event, LogId, Seq, limits, request};

use super::{Call, Identity, Step, mismatch};
use crate::io::{Effect, EffectOutput};

/// Bytes of entries in one page; a page of large messages ends early and says that there is more.
const PAGE_BYTES_MAX: usize = 256 * 1024;

/// `GetMessages` and `GetReceipts`.
#[derive(Debug)]
pub(crate) enum HistoryCall {
    Messages { page: Page },
    Receipts,
}

impl HistoryCall {
    pub(super) fn messages(who: Identity, request: &request::GetMessages) -> Step {
        let page = match (request.before, request.after) {
            (Seq::ZERO, Seq::ZERO) => Page::Newest,
            (before, Seq::ZERO) => Page::Before(before),
            (Seq::ZERO, after) => Page::After(after),
            _ => return ErrorCode::PageInvalid.into(),
        };
        if request.limit == 0 || request.limit > limits::HISTORY_PAGE_MAX {
            return ErrorCode::PageInvalid.into();
        }
        let op = Op::History(History {
            log: LogId::Chat(request.chat),
            account: who.account,
            page,
            limit: request.limit.into(),
            bytes_max: PAGE_BYTES_MAX,
        });
        Step::perform(Effect::Store(op), Call::History(HistoryCall::Messages { page }))
    }

    pub(super) fn receipts(who: Identity, chat: ChatId, seq: Seq) -> Step {
        let op = Op::Receipts(Receipts { log: LogId::Chat(chat), account: who.account, seq });
        Step::perform(Effect::Store(op), Call::History(HistoryCall::Receipts))
    }

    pub(super) fn resume(self, output: EffectOutput) -> Step {
        match (self, output) {
            (HistoryCall::Messages { page }, EffectOutput::Store(OpOutput::History(result))) => {
                match result {
                    Ok(found) => Step::Answer(page_frames(page, found)),
                    Err(NotMember) => ErrorCode::NotMember.into(),
                }
            }
            (HistoryCall::Receipts, EffectOutput::Store(OpOutput::Receipts(result))) => match result {
                Ok(receipts) => Step::answer(&Event::Receipts(receipts.into_iter().map(receipt).collect())),
                Err(ReceiptsError::NotMember) => ErrorCode::NotMember.into(),
                Err(ReceiptsError::NoEntry) => ErrorCode::NotFound.into(),
            },
            (_, other) => mismatch("a history op", &other),
        }
    }
}

fn page_frames(page: Page, found: HistoryPage) -> Vec<Bytes> {
    let next = match page {
        Page::After(after) => found.entries.last().map_or(after, |entry| entry.seq),
        Page::Newest | Page::Before(_) => found.entries.first().map_or(Seq::ZERO, |entry| entry.seq),
    };
    let end = Event::Page(wire::event::Page {
        count: found.entries.len().try_into().expect("a page has at most 500 entries"),
        has_more: found.has_more,
        next_cursor: next,
        members: found.members.into_iter().map(cursor).collect(),
    });
    found.entries.into_iter().flat_map(StoredEntry::into_frames).chain([end.encode()]).collect()
}

fn receipt(r: store::op::Receipt) -> Receipt {
    Receipt { member: r.member, delivered_at: r.delivered_at, read_at: r.read_at }
}

/// A member's cursors as the wire has them. Nothing is withheld until there are blocks (C8).
pub(crate) fn cursor(c: MemberCursor) -> Cursor {
    Cursor {
        member: c.member,
        delivered: c.delivered,
        delivered_at: c.delivered_at,
        read: c.read,
        read_at: c.read_at,
        withheld: Vec::new(),
    }
}
