//! One connection: its streams, what it owes its owner, and how much the peer may do.

use std::collections::VecDeque;
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
use crate::error::{OpenError, SendError};
use crate::event::{CloseReason, Event};
use crate::id::{LinkId, StreamId};
use crate::reassembly::Source;
use crate::stream::{Receiving, Sending, Stream};

/// One connection and its streams. Owned by its `Endpoint`, which also carries quinn-proto's messages to and fro.
pub(crate) struct Link {
    pub(crate) id: LinkId,
    pub(crate) handle: ConnectionHandle,
    /// The link's entry in the endpoint's timers.
    pub(crate) deadline: Option<Instant>,
    /// It stands in the endpoint's list of links with datagrams, with events.
    pub(crate) is_dirty: bool,
    pub(crate) is_eventful: bool,
    connection: Connection,
    config: Arc<Config>,
    stage: Stage,
    handshake_is_counted: bool,
    handshake_deadline: Instant,
    remote: SocketAddr,
    /// Sorted by id. Bounded by what both sides allow each other.
    streams: Vec<Stream>,
    /// Streams that may have a frame or an end for the owner; each at most once.
    readable: VecDeque<StreamId>,
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
}

/// How far a link has come.
#[derive(Debug, PartialEq, Eq)]
enum Stage {
    /// The owner of a server does not know of it yet.
    Handshaking,
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
        Link {
            id,
            handle,
            deadline: None,
            is_dirty: false,
            is_eventful: false,
            stage: Stage::Handshaking,
            handshake_is_counted: true,
            handshake_deadline: now + config.handshake_timeout,
            remote: connection.remote_address(),
            connection,
            config,
            streams: Vec::new(),
            readable: VecDeque::new(),
            events: VecDeque::new(),
            queued_bytes: 0,
            allowed,
            peer_streams: [0; 2],
            peer_paused: [0; 2],
            own_bidi: 0,
            window_streams: u64::from(allowed[0]) + u64::from(allowed[1]),
            wants_streams: [false; 2],
        }
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
        if self.stage == Stage::Handshaking && now >= self.handshake_deadline {
            self.connection.close(now, code(CloseCode::Cancelled), Bytes::new());
            self.end(CloseReason::TimedOut);
        }
        self.connection.handle_timeout(now);
    }

    pub(crate) fn next_timeout(&mut self) -> Option<Instant> {
        let quic = self.connection.poll_timeout();
        match self.stage {
            Stage::Handshaking => {
                Some(quic.map_or(self.handshake_deadline, |at| at.min(self.handshake_deadline)))
            }
            _ => quic,
        }
    }

    pub(crate) fn local_address_changed(&mut self) {
        self.connection.local_address_changed();
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

    /// True once, when it is no longer in handshake.
    pub(crate) fn has_left_handshake(&mut self) -> bool {
        self.handshake_is_counted && self.stage != Stage::Handshaking && {
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
        let remote = self.connection.remote_address();
        if remote != self.remote {
            self.remote = remote;
            if self.stage == Stage::Open {
                self.events.push_back(Event::Moved { remote });
            }
        }
    }

    fn connected(&mut self, now: Instant) {
        if self.stage != Stage::Handshaking {
            return;
        }
        let mut exporter: Exporter = [0; 32];
        let session = self.connection.crypto_session();
        if session.export_keying_material(&mut exporter, EXPORTER_LABEL, b"").is_err() {
            return self.close(now, CloseCode::Refused, "no TLS exporter");
        }
        self.stage = Stage::Open;
        self.events.push_back(Event::Connected { remote: self.remote, exporter });
    }

    fn on_stream_event(&mut self, event: StreamEvent, writable: &mut Vec<StreamId>) {
        match event {
            StreamEvent::Opened { dir } => self.accept(dir),
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

    fn accept(&mut self, dir: Dir) {
        while let Some(id) = self.connection.streams().accept(dir) {
            let mut stream = Stream::new(StreamId(id), dir == Dir::Bi, true);
            stream.priority = Role::Request.priority();
            if dir == Dir::Bi {
                // Fails only if the peer has stopped it already, and then nothing is sent.
                let _ = self.connection.send_stream(id).set_priority(stream.priority);
            }
            self.insert(stream);
            self.peer_streams[dir as usize] += 1;
            self.events.push_back(Event::Opened { stream: StreamId(id) });
            self.list_readable(StreamId(id));
        }
        self.allow_more(dir);
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
        while let Some(&stream) = self.readable.front() {
            if let Some(event) = self.read(now, stream) {
                return Some(event);
            }
        }
        let Stage::Closing(_) = self.stage else { return None };
        let Stage::Closing(reason) = std::mem::replace(&mut self.stage, Stage::Closed) else { return None };
        self.streams = Vec::new();
        Some(Event::Closed { reason })
    }

    /// Reads the stream at the front of `readable`; what it has more of waits behind the others.
    fn read(&mut self, now: Instant, stream: StreamId) -> Option<Event> {
        self.readable.pop_front();
        let index = self.find(stream)?;
        let recv = self.streams[index].recv.as_mut()?;
        recv.is_listed = false;
        if recv.is_paused {
            return self.read_reset(stream);
        }
        let outcome = read_stream(&mut self.connection, stream, recv);
        match outcome {
            Outcome::Frame(body) => {
                recv.is_listed = true;
                self.readable.push_back(stream);
                self.learn_role(index, &body);
                Some(Event::Frame { stream, body })
            }
            Outcome::Blocked => None,
            Outcome::Finished => {
                let whole = !recv.reassembly.is_within_frame();
                self.end_receiving(stream);
                let torn = Event::Reset { stream, code: CloseCode::Malformed.number().into() };
                Some(if whole { Event::Finished { stream } } else { torn })
            }
            Outcome::Reset(code) => {
                self.end_receiving(stream);
                Some(Event::Reset { stream, code })
            }
            Outcome::Broken(code) => {
                self.close(now, code, "a frame over the cap");
                None
            }
        }
    }

    /// A paused stream yields no data, but that the peer gave it up is told.
    fn read_reset(&mut self, stream: StreamId) -> Option<Event> {
        let code = self.connection.recv_stream(stream.0).received_reset().ok()??.into_inner();
        self.end_receiving(stream);
        Some(Event::Reset { stream, code })
    }

    /// The first frame on a stream that the peer opened says its role, and with it how urgent our answers are.
    fn learn_role(&mut self, index: usize, body: &[u8]) {
        let stream = &mut self.streams[index];
        let Some(recv) = &mut stream.recv else { return };
        if std::mem::replace(&mut recv.has_role, true) || stream.send == Sending::Over {
            return;
        }
        // A body that does not verify is the owner's to refuse; its stream keeps a request's priority.
        let Ok(role) = wire::frame::first_role(body) else { return };
        let id = stream.id;
        self.set_priority(id, role.priority());
    }

    fn take_drained(&mut self, stream: StreamId) -> bool {
        let Some(index) = self.find(stream) else { return false };
        let found = &mut self.streams[index];
        found.drained_is_due = false;
        let drained = found.queue.is_empty() && found.send == Sending::Open;
        self.remove_if_over(index);
        drained
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

    pub(crate) fn send(&mut self, stream: StreamId, frame: Bytes) -> Result<(), SendError> {
        let index = self.find(stream).ok_or(SendError::Closed)?;
        let found = &mut self.streams[index];
        if found.send != Sending::Open {
            return Err(SendError::Closed);
        }
        let bytes = frame.len();
        if found.queue_bytes + bytes > self.config.stream_queue_bytes_max
            || self.queued_bytes + bytes > self.config.link_queue_bytes_max
        {
            return Err(SendError::Full);
        }
        found.queue.push_back(frame);
        found.queue_bytes += bytes;
        self.queued_bytes += bytes;
        // What waits is flushed when QUIC says the stream is writable; only the first of a queue may try at once.
        if found.queue.len() == 1 {
            self.flush(index);
        }
        Ok(())
    }

    pub(crate) fn finish(&mut self, stream: StreamId) {
        let Some(index) = self.find(stream) else { return };
        if self.streams[index].send == Sending::Open {
            self.streams[index].send = Sending::Finishing;
            self.flush(index);
        }
    }

    pub(crate) fn reset(&mut self, stream: StreamId, close: CloseCode) {
        if self.end_sending(stream) {
            // Unknown to quinn-proto only if the peer has acknowledged everything: then there is nothing to abandon.
            let _ = self.connection.send_stream(stream.0).reset(code(close));
        }
    }

    pub(crate) fn stop(&mut self, stream: StreamId, close: CloseCode) {
        let Some(index) = self.find(stream) else { return };
        if self.streams[index].recv.is_some() {
            // Unknown to quinn-proto only if the peer has ended it: then there is nothing to stop.
            let _ = self.connection.recv_stream(stream.0).stop(code(close));
            self.end_receiving(stream);
        }
    }

    pub(crate) fn set_paused(&mut self, stream: StreamId, paused: bool) {
        let Some(index) = self.find(stream) else { return };
        let Some(recv) = &mut self.streams[index].recv else { return };
        if std::mem::replace(&mut recv.is_paused, paused) == paused {
            return;
        }
        let dir = stream.0.dir();
        let is_peers = self.is_peers(stream);
        let counter = &mut self.peer_paused[dir as usize];
        match (is_peers, paused) {
            (true, true) => *counter += 1,
            (true, false) => *counter -= 1,
            (false, _) => {}
        }
        if !paused {
            self.list_readable(stream);
            self.allow_more(dir);
        }
    }

    pub(crate) fn set_priority(&mut self, stream: StreamId, priority: i32) {
        let Some(index) = self.find(stream) else { return };
        if self.streams[index].send != Sending::Over {
            self.streams[index].priority = priority;
            // Unknown to quinn-proto only if everything on it is acknowledged.
            let _ = self.connection.send_stream(stream.0).set_priority(priority);
        }
    }

    pub(crate) fn close(&mut self, now: Instant, close: CloseCode, reason: &'static str) {
        self.connection.close(now, code(close), Bytes::from_static(reason.as_bytes()));
        self.events.clear();
        self.readable.clear();
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

    // ---- Sending.

    /// Flushes streams that QUIC takes more of, the most urgent first.
    fn flush_all(&mut self, mut writable: Vec<StreamId>) {
        writable.sort_by_key(|&stream| {
            std::cmp::Reverse(self.find(stream).map_or(i32::MIN, |index| self.streams[index].priority))
        });
        for stream in writable {
            if let Some(index) = self.find(stream) {
                self.flush(index);
            }
        }
    }

    /// Hands a stream's queue to QUIC as far as its windows allow, and then its FIN.
    fn flush(&mut self, index: usize) {
        let stream = &mut self.streams[index];
        if matches!(stream.send, Sending::Finished | Sending::Over) {
            return;
        }
        let mut quic = self.connection.send_stream(stream.id.0);
        // An error is "blocked", and "writable" follows; or the stream was stopped, and that event follows.
        while let Some(frame) = stream.queue.front_mut()
            && let Ok(written) = quic.write_chunks(std::slice::from_mut(frame))
        {
            stream.queue_bytes -= written.bytes;
            self.queued_bytes -= written.bytes;
            if written.chunks > 0 {
                stream.queue.pop_front();
            }
        }
        if !stream.queue.is_empty() {
            return;
        }
        if stream.send == Sending::Finishing {
            // Fails only if the peer has stopped the stream, and then that event ends it.
            let _ = quic.finish();
            stream.send = Sending::Finished;
        } else if !std::mem::replace(&mut stream.drained_is_due, true) {
            self.events.push_back(Event::Drained { stream: stream.id });
        }
    }

    /// Our side is over. False if it was before.
    fn end_sending(&mut self, stream: StreamId) -> bool {
        let Some(index) = self.find(stream) else { return false };
        let found = &mut self.streams[index];
        if std::mem::replace(&mut found.send, Sending::Over) == Sending::Over {
            return false;
        }
        found.queue = VecDeque::new();
        self.queued_bytes -= std::mem::take(&mut found.queue_bytes);
        self.remove_if_over(index);
        true
    }

    // ---- Receiving.

    fn list_readable(&mut self, stream: StreamId) {
        let Some(index) = self.find(stream) else { return };
        let Some(recv) = &mut self.streams[index].recv else { return };
        if !std::mem::replace(&mut recv.is_listed, true) {
            self.readable.push_back(stream);
        }
    }

    fn end_receiving(&mut self, stream: StreamId) {
        let Some(index) = self.find(stream) else { return };
        if self.streams[index].recv.as_ref().is_some_and(|recv| recv.is_paused) && self.is_peers(stream) {
            self.peer_paused[stream.0.dir() as usize] -= 1;
        }
        self.streams[index].recv = None;
        self.remove_if_over(index);
    }

    /// Doubles what the peer may have open, if most of it is in use.
    fn allow_more(&mut self, dir: Dir) {
        let limits = if dir == Dir::Bi { self.config.peer_bidi } else { self.config.peer_uni };
        let allowed = self.allowed[dir as usize];
        let in_use = self.peer_streams[dir as usize] - self.peer_paused[dir as usize];
        if allowed >= limits.max || in_use < allowed - allowed / 4 {
            return;
        }
        let allowed = allowed.saturating_mul(2).clamp(1, limits.max);
        self.allowed[dir as usize] = allowed;
        self.widen_window();
        self.connection.set_max_concurrent_streams(dir, allowed.into());
    }

    /// Keeps the connection's window at least as large as the windows of all streams that may bring us something.
    fn widen_window(&mut self) {
        let streams = u64::from(self.own_bidi) + self.allowed.iter().map(|&n| u64::from(n)).sum::<u64>();
        if streams > self.window_streams {
            self.window_streams = streams;
            self.connection.set_receive_window(self.config.receive_window_bytes(streams));
        }
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

/// What reading a stream came to.
enum Outcome {
    Frame(Bytes),
    Blocked,
    Finished,
    Reset(u64),
    Broken(CloseCode),
}

/// Cuts the next frame from a stream of quinn-proto's.
fn read_stream(connection: &mut Connection, stream: StreamId, recv: &mut Receiving) -> Outcome {
    let mut quic = connection.recv_stream(stream.0);
    // Unknown only if it has ended, and then its end was told.
    let Ok(chunks) = quic.read(true) else { return Outcome::Blocked };
    let mut source = Arriving { chunks, end: Outcome::Blocked };
    let frame = recv.reassembly.next_frame(&mut source);
    let Arriving { chunks, end } = source;
    // Whether credit must be sent does not matter here: a link that was read from is polled for datagrams anyway.
    let _ = chunks.finalize();
    match frame {
        Ok(Some(body)) => Outcome::Frame(body),
        Ok(None) => end,
        Err(error) => Outcome::Broken(error.close_code()),
    }
}

/// A stream's bytes as they arrive in order, and what stands behind the last of them.
struct Arriving<'a> {
    chunks: quinn_proto::Chunks<'a>,
    end: Outcome,
}

impl Source for Arriving<'_> {
    fn read(&mut self, max: usize) -> Option<Bytes> {
        match self.chunks.next(max) {
            Ok(Some(chunk)) => return Some(chunk.bytes),
            Ok(None) => self.end = Outcome::Finished,
            Err(quinn_proto::ReadError::Blocked) => self.end = Outcome::Blocked,
            Err(quinn_proto::ReadError::Reset(code)) => self.end = Outcome::Reset(code.into_inner()),
        }
        None
    }
}

fn code(code: CloseCode) -> VarInt {
    VarInt::from_u32(code.number())
}
