//! Requests that the client makes by itself, each on a stream of its own. A lost connection ends them all: what they were for
//! is begun anew with the next one.

use wire::event::Event;
use wire::request::Request;
use wire::{ChatId, ClientMsgId, Epoch, Role, limits};

use super::{Client, Stream};
use crate::io::{Now, Output, StreamTag};

/// Frames of one answer; a tree is the longest. What is more is no answer to anything that was asked.
const FRAMES_MAX: usize = limits::TREE_BYTES_MAX / 1024;

/// What a request is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Errand {
    /// How a chat's group stands.
    Look(ChatId),
    /// Key packages, to commit something in a chat.
    Claim(ChatId),
    /// A commit.
    Commit(ChatId, ClientMsgId),
    /// To leave a chat.
    Leave(ChatId),
    /// The tree of an epoch, to join a chat.
    Tree(ChatId, Epoch),
    /// This device's key packages.
    Publish,
    /// Which devices this account has.
    Devices,
}

impl Client {
    /// Asks something whose answer is [`Client::on_errand`]'s.
    pub(super) fn run(&mut self, errand: Errand, request: &Request, now: Now) {
        let stream = self.open_errand(errand, now);
        self.say(stream, request);
        self.out.push_back(Output::Finish { stream });
    }

    /// Opens the stream of a request that has several frames.
    pub(super) fn open_errand(&mut self, errand: Errand, now: Now) -> StreamTag {
        let stream = self.open(Role::Request, Stream::Errand { errand, events: Vec::new() });
        self.expect_answer(now);
        stream
    }

    pub(super) fn on_errand_frame(&mut self, stream: StreamTag, event: Event) {
        if let Some(Stream::Errand { events, .. }) = self.streams.get_mut(&stream)
            && events.len() <= FRAMES_MAX
        {
            events.push(event);
        }
    }

    /// The answer is whole; without frames, the server gave it up.
    pub(super) fn on_errand(&mut self, errand: Errand, events: Vec<Event>, now: Now) {
        match errand {
            Errand::Look(chat) => self.on_group(chat, &events, now),
            Errand::Claim(chat) => self.on_claimed(chat, events, now),
            Errand::Commit(chat, id) => self.on_commit_answer(chat, id, &events, now),
            Errand::Leave(chat) => self.on_left(chat, &events, now),
            Errand::Tree(chat, epoch) => self.on_tree(chat, epoch, &events, now),
            Errand::Publish => self.on_published(&events, now),
            Errand::Devices => self.on_devices(&events, now),
        }
        self.work_due(now);
    }
}
