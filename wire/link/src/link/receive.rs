//! A link's receiving side: streams that the peer opens, frames cut from them, and how much the peer may do.

use std::time::Instant;

use bytes::Bytes;
use quinn_proto::{Connection, Dir};
use wire::{CloseCode, Role};

use super::{Link, code};
use crate::event::Event;
use crate::id::StreamId;
use crate::reassembly::Source;
use crate::stream::{Receiving, Sending, Stream};

impl Link {
    pub(super) fn accept(&mut self, dir: Dir) {
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

    /// Reads a stream that was listed as readable; if there may be more of it, it is listed again.
    pub(super) fn read(&mut self, now: Instant, stream: StreamId) -> Option<Event> {
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
                self.push_readable(stream);
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

    pub(super) fn list_readable(&mut self, stream: StreamId) {
        let Some(index) = self.find(stream) else { return };
        let Some(recv) = &mut self.streams[index].recv else { return };
        if !std::mem::replace(&mut recv.is_listed, true) {
            self.push_readable(stream);
        }
    }

    fn push_readable(&mut self, stream: StreamId) {
        match stream.0.dir() {
            Dir::Bi => self.readable.push_back(stream),
            Dir::Uni => drop(self.readable_uni.insert(stream)),
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
    pub(super) fn widen_window(&mut self) {
        let streams = u64::from(self.own_bidi) + self.allowed.iter().map(|&n| u64::from(n)).sum::<u64>();
        if streams > self.window_streams {
            self.window_streams = streams;
            self.connection.set_receive_window(self.config.receive_window_bytes(streams));
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
