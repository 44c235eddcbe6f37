//! Pages of history, for members (R47).

use futures_util::future::try_join3;
use wire::{AccountId, LogId, Seq};

use super::cursor::{self, MemberCursor};
use super::tail::{self, StoredEntry};
use super::{NotMember, read};
use crate::keys;
use crate::record::{Head, Member};
use crate::run::{Attempt, Body, OpError};
use crate::tx::{Range, Tx};

/// A page of history (R47).
#[derive(Debug, Clone)]
pub struct History {
    /// The log.
    pub log: LogId,
    /// Who asks; must be a member, and gets nothing from before joining.
    pub account: AccountId,
    /// Which page.
    pub page: Page,
    /// At most so many entries, 1 to 500.
    pub limit: usize,
    /// At most so many bytes of frames, the first one aside: a page of large messages ends early and has more.
    pub bytes_max: usize,
}

/// Which page of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Page {
    /// The newest entries.
    Newest,
    /// The newest entries below a place.
    Before(Seq),
    /// The oldest entries above a place.
    After(Seq),
}

/// A page, oldest entry first whichever way it was asked for.
#[derive(Debug, Clone)]
pub struct HistoryPage {
    /// The entries.
    pub entries: Vec<StoredEntry>,
    /// Whether there are more in the asked direction.
    pub has_more: bool,
    /// Where every member's cursors stand.
    pub members: Vec<MemberCursor>,
}

impl Body for History {
    type Output = Result<HistoryPage, NotMember>;

    /// Cost: two reads and the members' cursors together, then a range of entries.
    async fn run<T: Tx>(&self, tx: &mut T, _: Attempt) -> Result<Self::Output, OpError> {
        let (member_key, head_key) = (keys::member(self.log, self.account), keys::head(self.log));
        let (member, head, members) = try_join3(
            read::peek::<Member, T>(tx, &member_key),
            read::peek::<Head, T>(tx, &head_key),
            cursor::all(&*tx, self.log),
        )
        .await?;
        let Some(member) = member else { return Ok(Err(NotMember)) };
        let head = head.unwrap_or_default();
        let mut entries = tail::entries(tx, self.range(member)).await?;
        if !matches!(self.page, Page::After(_)) {
            entries.reverse();
        }
        let has_more = match (self.page, entries.first(), entries.last()) {
            (Page::After(_), _, Some(last)) => last.seq < head.seq,
            (Page::Newest | Page::Before(_), Some(first), _) => first.seq > member.joined.next(),
            (_, None, _) | (_, _, None) => false,
        };
        Ok(Ok(HistoryPage { entries, has_more, members }))
    }
}

impl History {
    fn range(&self, member: Member) -> Range {
        let first = keys::entry(self.log, member.joined.next());
        let range = match self.page {
            Page::Newest => Range::new(first, keys::entries_end(self.log)).reverse(),
            Page::Before(seq) => Range::new(first, keys::entry(self.log, seq)).reverse(),
            Page::After(seq) => {
                let after = keys::entry(self.log, Seq(seq.0.saturating_add(1)));
                Range::new(after.max(first), keys::entries_end(self.log))
            }
        };
        range.limit(self.limit).bytes_max(self.bytes_max).snapshot()
    }
}
