//! A commit arrives: a header, then parts, until all that the header states is there.
//!
//! Invariants: nothing is kept that the header did not state, of one connection no more than one of the largest commits states
//! (smaller ones arrive together), and of all no more than the node has room for. One that takes too long is given up.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use wire::request::CommitGroup;
use wire::{CloseCode, ErrorCode, Request, limits};

use crate::command::commit::CommitCall;
use crate::conn::{Conn, Up, step_call};
use crate::cx::Cx;
use crate::io::StreamId;
use crate::timers::Timer;

/// A commit is there within this time, or given up: the largest in 53 kbit/s.
const WHOLE_WITHIN: Duration = Duration::from_secs(120);

/// Room that is taken up of what all have together, and given back when this is dropped.
#[derive(Debug)]
pub(crate) struct Room {
    all: Arc<AtomicUsize>,
    bytes_max: usize,
    bytes: usize,
}

impl Room {
    /// For so many bytes in all.
    pub(crate) fn of(bytes_max: usize) -> Room {
        Room { all: Arc::default(), bytes_max, bytes: 0 }
    }

    /// None of it taken yet.
    fn share(&self) -> Room {
        Room { all: self.all.clone(), bytes_max: self.bytes_max, bytes: 0 }
    }

    /// Takes up more; `false` if there is none. One loop's node is alone with its room, so nobody comes between the two steps.
    fn grow(&mut self, bytes: usize) -> bool {
        let fits = self.all.load(Ordering::Relaxed) + bytes <= self.bytes_max;
        if fits {
            self.all.fetch_add(bytes, Ordering::Relaxed);
            self.bytes += bytes;
        }
        fits
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.all.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// A commit of which parts are missing.
#[derive(Debug)]
pub(crate) struct Collecting {
    header: CommitGroup,
    bytes: BytesMut,
    /// How many there will be.
    stated: usize,
    room: Room,
    since: Instant,
}

/// A commit that is there.
#[derive(Debug)]
pub(crate) struct Whole {
    pub(crate) header: CommitGroup,
    /// As many as the header states.
    pub(crate) bytes: Bytes,
    /// Kept for as long as they are.
    pub(crate) room: Room,
}

/// Why a part is not taken.
enum PartError {
    /// It has nothing, or more or less than what is missing.
    Wrong,
    /// There is no room.
    Full,
}

impl Collecting {
    /// Takes a part; `true` if it is the last.
    fn take(&mut self, bytes: &Bytes, left: u32) -> Result<bool, PartError> {
        let missing = self.stated - self.bytes.len();
        if bytes.is_empty() || bytes.len().checked_add(left as usize) != Some(missing) {
            return Err(PartError::Wrong);
        }
        if !self.room.grow(bytes.len()) {
            return Err(PartError::Full);
        }
        self.bytes.extend_from_slice(bytes);
        Ok(left == 0)
    }
}

/// How many bytes follow a header, or why none are wanted.
fn stated(header: &CommitGroup) -> Result<usize, ErrorCode> {
    header.blob_bytes().ok_or_else(|| {
        let is_contradictory = header.commit_bytes == 0
            || (header.tree_bytes == 0) != header.adds.is_empty()
            || header.adds.iter().any(|add| add.welcome_bytes == 0);
        if is_contradictory { ErrorCode::CommitInvalid } else { ErrorCode::CommitTooLarge }
    })
}

impl Conn {
    /// Begins to collect a commit on a stream that is counted as a request.
    pub(crate) fn begin_commit(&mut self, cx: &mut Cx, stream: StreamId, header: CommitGroup) {
        let stated = match stated(&header) {
            Ok(stated) => stated,
            Err(code) => return self.answer_refused(cx, stream, code.refuse()),
        };
        if self.commit_bytes() + stated > limits::COMMIT_BYTES_MAX {
            return self.answer_refused(cx, stream, ErrorCode::Busy.refuse());
        }
        let (room, since) = (cx.commits.share(), cx.now.instant);
        let collecting = Collecting { header, bytes: BytesMut::new(), stated, room, since };
        self.streams.insert(stream, Up::Commit(Box::new(collecting)));
        if !std::mem::replace(&mut self.commits_timed, true) {
            cx.after(WHOLE_WITHIN, Timer::Commits(self.link));
        }
    }

    /// Bytes of the connection's commits, those that are still to come included.
    fn commit_bytes(&self) -> usize {
        let of = |up: &Up| match up {
            Up::Request { commit_bytes } => *commit_bytes as usize,
            Up::Commit(collecting) => collecting.stated,
            Up::Session | Up::New | Up::Inbox(_) | Up::Chat(_) => 0,
        };
        self.streams.values().map(of).sum()
    }

    /// The next frame of a commit.
    pub(crate) fn commit_frame(&mut self, cx: &mut Cx, stream: StreamId, request: Request) {
        let Some(Up::Commit(collecting)) = self.streams.get_mut(&stream) else { return };
        let Request::Part { bytes, left } = request else {
            return self.abandon(cx, stream, CloseCode::Unexpected);
        };
        match collecting.take(&bytes, left) {
            Ok(false) => {}
            // As for any request, there must be room to begin.
            Ok(true) if cx.is_busy() => self.answer_refused(cx, stream, ErrorCode::Busy.refuse()),
            Ok(true) => self.commit_whole(cx, stream),
            Err(PartError::Wrong) => {
                cx.counters.malformed += 1;
                self.abandon(cx, stream, CloseCode::Malformed);
            }
            Err(PartError::Full) => self.answer_refused(cx, stream, ErrorCode::Busy.refuse()),
        }
    }

    fn commit_whole(&mut self, cx: &mut Cx, stream: StreamId) {
        let commit_bytes = self.commit_bytes_of(stream);
        let Some(Up::Commit(collecting)) = self.streams.insert(stream, Up::Request { commit_bytes }) else {
            return;
        };
        let Collecting { header, bytes, room, .. } = *collecting;
        let whole = Whole { header, bytes: bytes.freeze(), room };
        let caller = self.caller();
        let step = CommitCall::begin(cx, &caller, whole);
        let place = (self.link, stream);
        step_call(cx, Some(self), place, caller, step);
    }

    fn commit_bytes_of(&self, stream: StreamId) -> u32 {
        match self.streams.get(&stream) {
            Some(Up::Commit(collecting)) => collecting.stated.try_into().unwrap_or(u32::MAX),
            _ => 0,
        }
    }

    /// Gives up commits that have had their time.
    pub(crate) fn end_slow_commits(&mut self, cx: &mut Cx) {
        self.commits_timed = false;
        let due = |since: Instant| since + WHOLE_WITHIN;
        let collecting = self.streams.iter().filter_map(|(stream, up)| match up {
            Up::Commit(collecting) => Some((due(collecting.since), *stream)),
            _ => None,
        });
        let (over, others): (Vec<_>, Vec<_>) = collecting.partition(|(due, _)| *due <= cx.now.instant);
        if let Some((next, _)) = others.iter().min() {
            self.commits_timed = true;
            cx.timers.at(*next, Timer::Commits(self.link));
        }
        for (_, stream) in over {
            self.abandon(cx, stream, CloseCode::Cancelled);
        }
    }
}
