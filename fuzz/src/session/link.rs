//! Connections and streams as the driver has them.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use edge_proto::{LinkId, StreamId};
use wire::{AccountId, ChatId, ClientMsgId, Seq};

/// Frames that a paused stream's peer gets rid of: QUIC's window holds it back then.
pub(super) const UNREAD_MAX: usize = 64;

/// Streams that a client may have open.
pub(super) const STREAMS_MAX: usize = 32;

/// One connection.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) id: LinkId,
    pub(super) node: usize,
    /// The handshake is complete.
    pub(super) complete: bool,
    /// Whose valid `Hello` was said.
    pub(super) claims: Option<usize>,
    pub(super) greeted: bool,
    /// The node has said `Connected`, to this device or to nobody.
    pub(super) connected: Option<Option<usize>>,
    pub(super) closed: bool,
    /// In the order they were opened; those that are over too, while the link lives.
    pub(super) streams: Vec<Stream>,
    /// Down streams that the client allows.
    pub(super) allowed: usize,
    /// The server was told that there are no more.
    pub(super) wants_streams: bool,
    pub(super) stalls_new: bool,
    /// How far each chat was delivered, over all of its streams.
    pub(super) delivered: BTreeMap<ChatId, Seq>,
    /// How far its device's inbox was delivered.
    pub(super) inbox: Seq,
    /// Own messages whose acks stand for their entries.
    pub(super) acked: BTreeSet<(ChatId, Seq)>,
    pub(super) synced: bool,
    /// The refusal or goodbye that ended it.
    pub(super) ended: Option<wire::ErrorCode>,
}

/// One stream of it.
#[derive(Debug)]
pub(super) struct Stream {
    pub(super) id: StreamId,
    pub(super) kind: Kind,
    /// Nothing more goes up: finished, or reset by either side.
    pub(super) up_over: bool,
    /// Nothing more comes down.
    pub(super) down_over: bool,
    pub(super) paused: bool,
    pub(super) stalled: bool,
    /// What the client said while it was paused.
    pub(super) unread: VecDeque<Said>,
    /// Bytes that were sent and that a stalled reader has not taken.
    pub(super) unsent: usize,
    pub(super) drained_owed: bool,
    pub(super) finished_owed: bool,
}

/// What the client said.
#[derive(Debug)]
pub(super) enum Said {
    Frame(Bytes),
    Finished,
}

/// What a stream is for, as its client knows.
#[derive(Debug)]
pub(super) enum Kind {
    Session,
    /// Nothing was said on it, or something that makes no sense.
    Other,
    Chat {
        chat: ChatId,
        said: Vec<ClientMsgId>,
    },
    Asked(Asked),
    InboxUp,
    InboxDown {
        begun: bool,
        /// The last entry on it, or the place before the first.
        last: Seq,
    },
    Down {
        chat: ChatId,
        begun: bool,
        /// The last entry on it, or the place before the first.
        last: Seq,
        /// Each member's cursors.
        cursors: BTreeMap<AccountId, (Seq, Seq)>,
    },
}

/// What an answer belongs to.
#[derive(Debug, Clone, Copy)]
pub(super) enum Asked {
    Messages(ChatId),
    Commit(ChatId, ClientMsgId),
    Group(ChatId),
    Refresh { device: usize },
    Else,
}

impl Link {
    pub(super) fn new(id: LinkId, node: usize, complete: bool) -> Link {
        Link {
            id,
            node,
            complete,
            claims: None,
            greeted: false,
            connected: None,
            closed: false,
            streams: Vec::new(),
            allowed: 4,
            wants_streams: false,
            stalls_new: false,
            delivered: BTreeMap::new(),
            inbox: Seq::ZERO,
            acked: BTreeSet::new(),
            synced: false,
            ended: None,
        }
    }

    pub(super) fn stream(&mut self, id: StreamId) -> Option<&mut Stream> {
        self.streams.iter_mut().find(|stream| stream.id == id)
    }

    /// Streams of the client's that are not over.
    pub(super) fn open_streams(&self) -> usize {
        self.streams.iter().filter(|stream| !stream.up_over || !stream.down_over).count()
    }

    /// The server's streams that are not over.
    pub(super) fn downs(&self) -> usize {
        let is_down = |kind: &Kind| matches!(kind, Kind::Down { .. } | Kind::InboxDown { .. });
        let down = |stream: &&Stream| is_down(&stream.kind) && !stream.down_over;
        self.streams.iter().filter(down).count()
    }
}

impl Stream {
    pub(super) fn new(id: StreamId, kind: Kind) -> Stream {
        Stream {
            id,
            kind,
            up_over: false,
            down_over: false,
            paused: false,
            stalled: false,
            unread: VecDeque::new(),
            unsent: 0,
            drained_owed: false,
            finished_owed: false,
        }
    }

    /// Neither side may say anything on it any more.
    pub(super) fn is_over(&mut self) {
        (self.up_over, self.down_over) = (true, true);
        (self.drained_owed, self.finished_owed) = (false, false);
        self.unread.clear();
        self.unsent = 0;
    }
}
