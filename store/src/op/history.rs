//! Pages of history, for members (R47).

use futures_util::future::try_join3;
use wire::{AccountId, LogId, Seq};

use super::cursor::{self, MemberCursor};
use super::standing::Standing;
use super::tail::{self, StoredEntry};
use super::{NotMember, read};
use crate::keys;
use crate::record::Head;
use crate::run::{Attempt, Body, OpError};
use crate::tx::{Range, Tx};

/// A page of history (R47).
#[derive(Debug, Clone)]
pub struct History {
    /// The log.
    pub log: LogId,
    /// Who asks; must be a member, and gets nothing from before joining. Who has left gets nothing after that.
    pub account: AccountId,
    /// Which page.
    pub page: Page,
    /// At most so many entries, 1 to 500.
    pub limit: usize,
    /// At most so many bytes of frames, the first entry's aside: a page of large messages ends early and has more.
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
    /// Where every member's cursors stand; none is told to who has left.
    pub members: Vec<MemberCursor>,
}

/// What the asker may read: after the one, up to the other.
#[derive(Clone, Copy)]
struct Bounds {
    joined: Seq,
    last: Seq,
}

impl Body for History {
    type Output = Result<HistoryPage, NotMember>;

    /// Cost: two reads and the members' cursors together, then a range of entries.
    async fn run<T: Tx>(&self, tx: &mut T, _: Attempt) -> Result<Self::Output, OpError> {
        let (tx, head_key) = (&*tx, keys::head(self.log));
        let (standing, head, members) = try_join3(
            Standing::peek(tx, self.log, self.account),
            read::peek::<Head, T>(tx, &head_key),
            cursor::all(tx, self.log),
        )
        .await?;
        let Some(joined) = standing.joined() else { return Ok(Err(NotMember)) };
        let bounds = Bounds { joined, last: standing.head(&head.unwrap_or_default()).0 };
        let mut entries = match self.range(bounds) {
            Some(range) => tail::entries(tx, self.log, range).await?,
            None => Vec::new(),
        };
        if !matches!(self.page, Page::After(_)) {
            entries.reverse();
        }
        let has_more = match (self.page, entries.first(), entries.last()) {
            (Page::After(_), _, Some(last)) => last.seq < bounds.last,
            (Page::Newest | Page::Before(_), Some(first), _) => first.seq > joined.next(),
            (_, None, _) | (_, _, None) => false,
        };
        let members = if matches!(standing, Standing::Member(_)) { members } else { Vec::new() };
        Ok(Ok(HistoryPage { entries, has_more, members }))
    }
}

impl History {
    /// `None` if there is nothing that the asker may read.
    fn range(&self, bounds: Bounds) -> Option<Range> {
        let first = keys::entry(self.log, bounds.joined.next());
        let end = keys::entry(self.log, bounds.last.next());
        let range = match self.page {
            Page::Newest => Range::new(first, end).reverse(),
            Page::Before(seq) => Range::new(first, keys::entry(self.log, seq).min(end)).reverse(),
            Page::After(seq) => {
                Range::new(keys::entry(self.log, Seq(seq.0.saturating_add(1))).max(first), end)
            }
        };
        (range.begin < range.end).then(|| range.limit(self.limit).bytes_max(self.bytes_max).snapshot())
    }
}
