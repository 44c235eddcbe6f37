//! Joins a client to a QUIC endpoint, still without IO: the real driver and the simulation both go through here.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use wire::{CloseCode, Role};
use wire_link::{Endpoint, Event, LinkId, OpenError, SendError, StreamId};

use crate::io::{Input, Output, StreamTag};

/// Streams that the server opened are numbered from here, so that they never meet the client's own.
const SERVER_TAGS: u64 = 1 << 63;

/// One client's connection on an endpoint.
#[derive(Debug, Default)]
pub struct Bridge {
    link: Option<LinkId>,
    streams: BTreeMap<StreamTag, StreamId>,
    tags: BTreeMap<StreamId, StreamTag>,
    /// Streams that wait for the server to allow them, with what was said on them; bounded by what a client has to say.
    waiting: VecDeque<(StreamTag, Role, Vec<Said>)>,
    /// Requests larger than a stream's queue: what is said as soon as that is empty. Bounded by the largest request, and
    /// by how many a client makes at a time.
    larger: BTreeMap<StreamTag, VecDeque<Said>>,
    requests: BTreeSet<StreamTag>,
    server_tags: u64,
}

#[derive(Debug)]
enum Said {
    Frame(Bytes),
    Finish,
}

impl Bridge {
    /// A connection attempt was begun.
    pub fn connecting(&mut self, link: LinkId) {
        *self = Bridge { link: Some(link), server_tags: self.server_tags, ..Bridge::default() };
    }

    /// The connection, while there is one.
    pub fn link(&self) -> Option<LinkId> {
        self.link
    }

    /// What an endpoint's event means to the client; `None` for events of older connections and such as mean nothing.
    pub fn input_of(&mut self, endpoint: &mut Endpoint, link: LinkId, event: Event) -> Option<Input> {
        if self.link != Some(link) {
            return None;
        }
        match event {
            Event::Early { .. } => Some(Input::Early),
            Event::Connected { exporter, early, .. } => {
                if early == Some(false) {
                    // The streams are gone, and with them what was said on them.
                    *self = Bridge { link: self.link, server_tags: self.server_tags, ..Bridge::default() };
                }
                Some(Input::Connected { exporter, early })
            }
            Event::Alive => Some(Input::Alive),
            Event::Opened { stream } => {
                self.server_tags += 1;
                self.bind(StreamTag(SERVER_TAGS + self.server_tags), stream);
                None
            }
            Event::Frame { stream, body } => Some(Input::Frame { stream: *self.tags.get(&stream)?, body }),
            // Their end is ours: nothing is said on a stream that nobody answers.
            Event::Finished { stream } | Event::Reset { stream, .. } => {
                let tag = self.tags.remove(&stream)?;
                self.forget(tag);
                if self.streams.remove(&tag).is_some() && tag.0 < SERVER_TAGS {
                    endpoint.finish(link, stream);
                }
                Some(Input::Ended { stream: tag })
            }
            Event::StreamsAvailable => {
                self.open_waiting(endpoint);
                None
            }
            Event::Closed { reason } => {
                self.link = None;
                Some(Input::Closed { reason: reason.to_string() })
            }
            // The server has heard enough, which may be known before its answer is here: that side's end is the stream's.
            Event::Stopped { .. } => None,
            Event::Drained { stream } => {
                let tag = *self.tags.get(&stream)?;
                let larger = self.larger.remove(&tag).unwrap_or_default();
                larger.into_iter().for_each(|said| self.say(endpoint, tag, said));
                None
            }
            Event::Delivered { .. } | Event::Moved { .. } => None,
        }
    }

    /// Performs what an output asks of the endpoint; gives back the others.
    pub fn perform(&mut self, endpoint: &mut Endpoint, output: Output) -> Option<Output> {
        match output {
            Output::Open { stream, role } => {
                self.waiting.push_back((stream, role, Vec::new()));
                self.open_waiting(endpoint);
            }
            Output::Send { stream, frame } => self.say(endpoint, stream, Said::Frame(frame)),
            Output::Finish { stream } => self.say(endpoint, stream, Said::Finish),
            Output::Abandon { stream } => {
                if let (Some(link), Some(id)) = (self.link, self.streams.remove(&stream)) {
                    self.tags.remove(&id);
                    endpoint.abandon(link, id, CloseCode::Cancelled);
                }
                self.waiting.retain(|(tag, _, _)| *tag != stream);
                self.forget(stream);
            }
            Output::Probe => {
                if let Some(link) = self.link {
                    endpoint.probe(link);
                }
            }
            Output::Moved => endpoint.local_address_changed(),
            Output::Close => {
                if let Some(link) = self.link.take() {
                    endpoint.close(link, CloseCode::Done, "");
                }
            }
            other => return Some(other),
        }
        None
    }

    fn forget(&mut self, tag: StreamTag) {
        self.larger.remove(&tag);
        self.requests.remove(&tag);
    }

    fn bind(&mut self, tag: StreamTag, stream: StreamId) {
        self.streams.insert(tag, stream);
        self.tags.insert(stream, tag);
    }

    fn open_waiting(&mut self, endpoint: &mut Endpoint) {
        let Some(link) = self.link else { return };
        while let Some(&(tag, role, _)) = self.waiting.front() {
            match endpoint.open(link, role) {
                Ok(stream) => {
                    self.bind(tag, stream);
                    if role == Role::Request {
                        self.requests.insert(tag);
                    }
                }
                Err(OpenError::Exhausted) => return,
                Err(OpenError::Closed) => {}
            }
            let said = self.waiting.pop_front().map(|(_, _, said)| said).unwrap_or_default();
            said.into_iter().for_each(|said| self.say(endpoint, tag, said));
        }
    }

    fn say(&mut self, endpoint: &mut Endpoint, tag: StreamTag, said: Said) {
        if let Some((_, _, waiting)) = self.waiting.iter_mut().find(|(waiting, _, _)| *waiting == tag) {
            return waiting.push(said);
        }
        let (Some(link), Some(&stream)) = (self.link, self.streams.get(&tag)) else { return };
        if let Some(larger) = self.larger.get_mut(&tag) {
            return larger.push_back(said);
        }
        match said {
            Said::Frame(frame) => match endpoint.send(link, stream, frame.clone()) {
                Err(SendError::Full) if self.requests.contains(&tag) => {
                    self.larger.insert(tag, VecDeque::from([Said::Frame(frame)]));
                }
                // Nothing after a frame that did not fit may go: the connection ends, and the client begins anew.
                Err(SendError::Full) => endpoint.close(link, CloseCode::Flood, "nothing gets through"),
                _ => {}
            },
            Said::Finish => endpoint.finish(link, stream),
        }
    }
}
