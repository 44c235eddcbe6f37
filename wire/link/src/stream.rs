//! Both halves of one stream, as far as they are ours to remember.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::StreamId;
use crate::reassembly::Reassembly;

/// One stream that is open in at least one direction, or whose end is still to be told.
#[derive(Debug)]
pub(crate) struct Stream {
    pub(crate) id: StreamId,
    pub(crate) send: Sending,
    /// Frames that QUIC has not taken yet, the first perhaps in part. Bounded by `stream_queue_bytes_max`.
    pub(crate) queue: VecDeque<Bytes>,
    pub(crate) queue_bytes: usize,
    /// An `Event::Drained` is on its way.
    pub(crate) drained_is_due: bool,
    pub(crate) priority: i32,
    /// What the peer sends, until it has ended.
    pub(crate) recv: Option<Receiving>,
}

/// Our side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sending {
    /// Takes frames.
    Open,
    /// FIN follows the queue.
    Finishing,
    /// FIN is with QUIC; its acknowledgement is awaited.
    Finished,
    /// Acknowledged, reset, stopped, or never ours.
    Over,
}

/// The peer's side.
#[derive(Debug, Default)]
pub(crate) struct Receiving {
    pub(crate) reassembly: Reassembly,
    pub(crate) is_paused: bool,
    /// It stands in the link's list of readable streams.
    pub(crate) is_listed: bool,
    /// Its first frame, which says its role, has been seen (streams that the peer opened).
    pub(crate) has_role: bool,
}

impl Stream {
    pub(crate) fn new(id: StreamId, sends: bool, receives: bool) -> Stream {
        Stream {
            id,
            send: if sends { Sending::Open } else { Sending::Over },
            queue: VecDeque::new(),
            queue_bytes: 0,
            drained_is_due: false,
            priority: 0,
            recv: receives.then(Receiving::default),
        }
    }

    /// Whether nothing about it is left to remember.
    pub(crate) fn is_over(&self) -> bool {
        self.send == Sending::Over && self.recv.is_none() && !self.drained_is_due
    }
}
