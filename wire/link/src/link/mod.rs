//! One connection: its streams, what it owes its owner, and how much the peer may do.

mod early;
mod receive;
mod send;

use std::collections::{BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use quinn_proto::{
    Connection, ConnectionEvent, ConnectionHandle, ConnectionStats, Dir, EndpointEvent, Side, StreamEvent,
    Transmit, VarInt,
};
use wire::proof::{EXPORTER_LABEL, Exporter};
use wire::{CloseCode, Role};

use crate::config::Config;
use crate::error::OpenError;
use crate::event::{CloseReason, Event};
use crate::id::{LinkId, StreamId};
use crate::newcomers::Counted;
use crate::stream::{Sending, Stream};

/// One connection and its streams. Owned by its `Endpoint`, which also carries quinn-proto's messages to and fro.
pub(crate) struct Link {
    pub(crate) id: LinkId,
    pub(crate) handle: ConnectionHandle,
    /// The link's entry in the endpoint's timers.
    pub(crate) deadline: Option<Instant>,
    /// It stands in the endpoint's list of links with datagrams, with events.
    pub(crate) is_dirty: bool,
    pub(crate) is_eventful: bool,
    /// While it is in handshake: what it is counted as among its address's newcomers.
    pub(crate) counted: Option<Counted>,
    connection: Connection,
    config: Arc<Config>,
    stage: Stage,
    handshake_is_counted: bool,
    handshake_deadline: Instant,
    remote: SocketAddr,
    /// Sorted by id. Bounded by what both sides allow each other.
    streams: Vec<Stream>,
    /// Streams that may have a frame or an end for the owner; each at most once.
    /// Streams with something to read: bidirectional ones in turn; unidirectional ones from the oldest to its end, since
    /// what the peer says on a second one it may have begun only when all of the first was acknowledged to it.
    readable: VecDeque<StreamId>,
    readable_uni: BTreeSet<StreamId>,
    /// Events that are already certain; the owner is told after each input, so it stays short.
    events: VecDeque<Event>,
    queued_bytes: usize,
    /// Streams the peer may have open, by [`Dir`], and how many it has.
    allowed: [u32; 2],
    peer_streams: [u32; 2],
    peer_paused: [u32; 2],
    /// Bidirectional streams we have open, and the streams that the connection's receive window was sized for.
    own_bidi: u32,
    window_streams: u64,
    /// The owner was told that the peer allows no more, by [`Dir`].
    wants_streams: [bool; 2],
    /// The owner waits for a sign of life: frames that had arrived when it asked.
    probed_at: Option<u64>,
}

/// How far a link has come.
#[derive(Debug, PartialEq, Eq)]
enum Stage {
    /// The owner of a server does not know of it yet.
    Handshaking,
    /// In handshake, and the owner was told that it carries early data.
    Early,
    Open,
    /// Closed, and the owner is still to be told, after the frames that had arrived.
    Closing(CloseReason),
    /// The owner was told, or never knew of it.
    Closed,
}

impl Link {
    pub(crate) fn new(
        id: LinkId,
        handle: ConnectionHandle,
        connection: Connection,
        config: Arc<Config>,
        now: Instant,
    ) -> Link {
        let allowed = [config.peer_bidi.initial, config.peer_uni.initial];
        let mut link = Link {
            id,
            handle,
            deadline: None,
            is_dirty: false,
            is_eventful: false,
            counted: None,
            stage: Stage::Handshaking,
            handshake_is_counted: true,
            handshake_deadline: now + config.handshake_timeout,
            remote: connection.remote_address(),
            connection,
            config,
            streams: Vec::new(),
            readable: VecDeque::new(),
            readable_uni: BTreeSet::new(),
            events: VecDeque::new(),
            queued_bytes: 0,
            allowed,
            peer_streams: [0; 2],
            peer_paused: [0; 2],
            own_bidi: 0,
            window_streams: u64::from(allowed[0]) + u64::from(allowed[1]),
            wants_streams: [false; 2],
            probed_at: None,
        };
        if link.connection.side() == Side::Client && link.connection.has_0rtt() {
            link.begin_early();
        }
        link
    }

    // ---- Between quinn-proto's connection and endpoint.

    pub(crate) fn handle(&mut self, event: ConnectionEvent) {
        self.connection.handle_event(event);
    }

    pub(crate) fn poll_endpoint_event(&mut self) -> Option<EndpointEvent> {
        self.connection.poll_endpoint_events()
    }

    pub(crate) fn poll_transmit(&mut self, now: Instant, buf: &mut Vec<u8>) -> Option<Transmit> {
        self.connection.poll_transmit(now, 1, buf)
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        if self.is_in_handshake() && now >= self.handshake_deadline {
            self.connection.close(now, code(CloseCode::Cancelled), Bytes::new());
            self.end(CloseReason::TimedOut);
        }
        self.connection.handle_timeout(now);
    }

    pub(crate) fn next_timeout(&mut self) -> Option<Instant> {
        let quic = self.connection.poll_timeout();
        if self.is_in_handshake() {
            return Some(quic.map_or(self.handshake_deadline, |at| at.min(self.handshake_deadline)));
        }
        quic
    }

    pub(crate) fn local_address_changed(&mut self) {
        // One that is over has no other end; quinn-proto's endpoint has forgotten it and would not know whose
        // connection ids change.
        if !self.is_closed() && !self.connection.is_closed() {
            self.connection.local_address_changed();
        }
    }

    // ---- Questions.

    pub(crate) fn remote_address(&self) -> SocketAddr {
        self.remote
    }

    pub(crate) fn stats(&self) -> ConnectionStats {
        self.connection.stats()
    }

    pub(crate) fn queued_bytes(&self) -> usize {
        self.queued_bytes
    }

    fn is_in_handshake(&self) -> bool {
        matches!(self.stage, Stage::Handshaking | Stage::Early)
    }

    /// True once, when it is no longer in handshake.
    pub(crate) fn has_left_handshake(&mut self) -> bool {
        self.handshake_is_counted && !self.is_in_handshake() && {
            self.handshake_is_counted = false;
            true
        }
    }

    /// Whether the owner's commands mean nothing any more.
    pub(crate) fn is_closed(&self) -> bool {
        matches!(self.stage, Stage::Closing(_) | Stage::Closed)
    }

    /// Whether it may be forgotten: the owner knows, and late datagrams have been absorbed.
    pub(crate) fn is_over(&self) -> bool {
        self.stage == Stage::Closed && self.connection.is_drained()
    }

    // ---- Events.

    /// Takes over what quinn-proto has to say.
    pub(crate) fn advance(&mut self, now: Instant) {
        let mut writable = Vec::new();
        while let Some(event) = self.connection.poll() {
            match event {
                quinn_proto::Event::Connected => self.connected(now),
                quinn_proto::Event::ConnectionLost { reason } => self.end(reason.into()),
                quinn_proto::Event::Stream(event) => self.on_stream_event(event, &mut writable),
                quinn_proto::Event::HandshakeDataReady
                | quinn_proto::Event::DatagramReceived
                | quinn_proto::Event::DatagramsUnblocked => {}
            }
        }
        self.flush_all(writable);
        self.notice_life();
        let remote = self.connection.remote_address();
        if remote != self.remote {
            self.remote = remote;
            if self.stage == Stage::Open {
                self.events.push_back(Event::Moved { remote });
            }
        }
    }

    fn connected(&mut self, now: Instant) {
        if !self.is_in_handshake() {
            return;
        }
        let mut exporter: Exporter = [0; 32];
        let session = self.connection.crypto_session();
        if session.export_keying_material(&mut exporter, EXPORTER_LABEL, b"").is_err() {
            return self.close(now, CloseCode::Refused, "no TLS exporter");
        }
        let early = self.early_outcome();
        if early == Some(false) {
            self.undo_early();
        }
        self.stage = Stage::Open;
        self.events.push_back(Event::Connected { remote: self.remote, exporter, early });
        self.retry_exhausted();
    }

    fn on_stream_event(&mut self, event: StreamEvent, writable: &mut Vec<StreamId>) {
        match event {
            StreamEvent::Opened { dir } => {
                if self.stage == Stage::Handshaking {
                    self.begin_early();
                }
                self.accept(dir);
            }
            StreamEvent::Readable { id } => self.list_readable(StreamId(id)),
            StreamEvent::Writable { id } => writable.push(StreamId(id)),
            StreamEvent::Available { dir } => {
                if std::mem::take(&mut self.wants_streams[dir as usize]) {
                    self.events.push_back(Event::StreamsAvailable);
                }
            }
            StreamEvent::Finished { id } => {
                let stream = StreamId(id);
                if self.end_sending(stream) {
                    self.events.push_back(Event::Delivered { stream });
                }
            }
            StreamEvent::Stopped { id, error_code } => {
                let stream = StreamId(id);
                if self.end_sending(stream) {
                    // RFC 9000, section 3.5: a stopped side is reset. Unknown to quinn-proto only if all is acknowledged.
                    let _ = self.connection.send_stream(id).reset(error_code);
                    self.events.push_back(Event::Stopped { stream, code: error_code.into() });
                }
            }
        }
    }

    /// The next event for the owner. Cuts at most one frame.
    pub(crate) fn poll_event(&mut self, now: Instant) -> Option<Event> {
        if self.stage == Stage::Handshaking {
            return None;
        }
        while let Some(event) = self.events.pop_front() {
            let Event::Drained { stream } = event else { return Some(event) };
            if self.take_drained(stream) {
                return Some(event);
            }
        }
        if self.events.capacity() > 0 {
            // Room for four is 288 bytes that a sleeping phone would keep; frames, of which there are many, need none.
            self.events = VecDeque::new();
        }
        while let Some(stream) = self.readable.pop_front().or_else(|| self.readable_uni.pop_first()) {
            if let Some(event) = self.read(now, stream) {
                return Some(event);
            }
        }
        match std::mem::replace(&mut self.stage, Stage::Closed) {
            Stage::Closing(reason) => {
                self.streams = Vec::new();
                Some(Event::Closed { reason })
            }
            stage => {
                self.stage = stage;
                None
            }
        }
    }

    // ---- Commands.

    pub(crate) fn open(&mut self, role: Role) -> Result<StreamId, OpenError> {
        let dir = if role == Role::ChatDown { Dir::Uni } else { Dir::Bi };
        let Some(id) = self.connection.streams().open(dir) else {
            self.wants_streams[dir as usize] = true;
            return Err(OpenError::Exhausted);
        };
        let mut stream = Stream::new(StreamId(id), true, dir == Dir::Bi);
        stream.priority = role.priority();
        if let Some(recv) = &mut stream.recv {
            recv.has_role = true;
        }
        self.connection
            .send_stream(id)
            .set_priority(stream.priority)
            .expect("the stream was opened just now");
        self.insert(stream);
        if dir == Dir::Bi {
            self.own_bidi += 1;
            self.widen_window();
        }
        Ok(StreamId(id))
    }

    pub(crate) fn close(&mut self, now: Instant, close: CloseCode, reason: &'static str) {
        self.connection.close(now, code(close), Bytes::from_static(reason.as_bytes()));
        self.events.clear();
        self.readable.clear();
        self.readable_uni.clear();
        self.end(CloseReason::Here(close));
    }

    /// No more goes out. What had arrived whole is still read, then the owner is told.
    fn end(&mut self, reason: CloseReason) {
        if self.is_closed() {
            return;
        }
        // A server's owner never heard of a connection that did not complete its handshake.
        let unknown = self.stage == Stage::Handshaking && self.connection.side() == Side::Server;
        self.stage = if unknown { Stage::Closed } else { Stage::Closing(reason) };
        for stream in &mut self.streams {
            stream.queue = VecDeque::new();
            stream.send = Sending::Over;
        }
        self.queued_bytes = 0;
    }

    // ---- The table of streams.

    fn find(&self, stream: StreamId) -> Option<usize> {
        self.streams.binary_search_by_key(&stream, |s| s.id).ok()
    }

    fn is_peers(&self, stream: StreamId) -> bool {
        stream.0.initiator() != self.connection.side()
    }

    fn insert(&mut self, stream: Stream) {
        if let Err(index) = self.streams.binary_search_by_key(&stream.id, |s| s.id) {
            self.streams.insert(index, stream);
        }
    }

    fn remove_if_over(&mut self, index: usize) {
        if !self.streams[index].is_over() {
            return;
        }
        let stream = self.streams.remove(index);
        let dir = stream.id.0.dir();
        if self.is_peers(stream.id) {
            self.peer_streams[dir as usize] -= 1;
        } else if dir == Dir::Bi {
            self.own_bidi -= 1;
        }
    }
}

fn code(code: CloseCode) -> VarInt {
    VarInt::from_u32(code.number())
}
