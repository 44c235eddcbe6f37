//! What a phone's down streams carry, so that one of them can be left unread.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use wire::{ChatId, Event, Secret};
use wire_link::{Endpoint, Event as LinkEvent, LinkId, StreamId};

use super::Fleet;

/// The down streams of a phone's connection, and the chats whose streams it does not read.
#[derive(Debug, Default)]
pub(super) struct Downs {
    /// `None` until its first frame has said whose it is.
    open: BTreeMap<StreamId, Option<ChatId>>,
    unread: BTreeSet<ChatId>,
}

impl Downs {
    /// An event of the phone's connection, before the client hears of it.
    pub(super) fn hear(&mut self, endpoint: &mut Endpoint, link: LinkId, event: &LinkEvent) {
        match event {
            // A server opens streams for nothing else.
            LinkEvent::Opened { stream } => {
                self.open.insert(*stream, None);
            }
            LinkEvent::Frame { stream, body } => self.first(endpoint, link, *stream, body),
            LinkEvent::Finished { stream } | LinkEvent::Reset { stream, .. } => {
                self.open.remove(stream);
            }
            _ => {}
        }
    }

    /// There is another connection, without any streams.
    pub(super) fn forget(&mut self) {
        self.open.clear();
    }

    fn first(&mut self, endpoint: &mut Endpoint, link: LinkId, stream: StreamId, body: &Bytes) {
        let Some(of @ None) = self.open.get_mut(&stream) else { return };
        if let Ok(Event::ChatDown { chat, .. }) = Event::decode(body) {
            *of = Some(chat);
            if self.unread.contains(&chat) {
                endpoint.pause(link, stream);
            }
        }
    }

    fn of(&self, chat: ChatId) -> impl Iterator<Item = StreamId> {
        self.open.iter().filter(move |(_, of)| **of == Some(chat)).map(|(stream, _)| *stream)
    }
}

impl Fleet {
    /// A phone no longer reads what comes in a chat, on this connection and later ones: its stream's window fills, and the
    /// node has to keep the rest. What has arrived already is still handed on.
    pub fn stall(&mut self, phone: usize, chat: ChatId) {
        let at = &mut self.phones[phone];
        at.downs.unread.insert(chat);
        if let Some(link) = at.bridge.link() {
            let endpoint = self.doors[at.door].endpoint();
            at.downs.of(chat).for_each(|stream| endpoint.pause(link, stream));
        }
    }

    /// A phone reads a chat that it had [stalled](Fleet::stall).
    pub fn unstall(&mut self, phone: usize, chat: ChatId) {
        let at = &mut self.phones[phone];
        at.downs.unread.remove(&chat);
        if let Some(link) = at.bridge.link() {
            let endpoint = self.doors[at.door].endpoint();
            at.downs.of(chat).for_each(|stream| endpoint.resume(link, stream));
        }
    }

    /// The seed of a phone's device key (Ed25519), for whoever is to speak as this device without being its client.
    pub fn device_key(&self, phone: usize) -> Secret<[u8; 32]> {
        Secret::new(self.phones[phone].seed)
    }
}
