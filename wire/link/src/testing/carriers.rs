//! Which datagrams carry something of a stream that none before them has carried: those that a network must lose to hold
//! up one chat.

use std::collections::BTreeMap;

use super::transparent::{Part, stream_parts};

/// What was sent of streams so far, as somebody sees it who watches the datagrams of one direction.
///
/// `C` names a connection: connection ids change while it lives, so whoever watches must know, for instance by address. A
/// connection whose early data was refused sends its streams again from their beginnings and needs another name from
/// then on. What is remembered is one number for each stream that was ever seen: enough for a test.
#[derive(Debug, Clone)]
pub struct FirstCarriers<C> {
    sent: BTreeMap<(C, u64), Sent>,
}

/// A stream's bytes leave in order the first time, so the end of what left is all there is to remember.
#[derive(Debug, Clone, Copy, Default)]
struct Sent {
    end: u64,
    fin: bool,
}

/// One part of a stream in a datagram.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Carried {
    /// Which bytes of which stream.
    pub part: Part,
    /// Whether any of it, be it only the stream's end, was in no earlier datagram of the connection.
    pub is_first: bool,
}

impl<C> Default for FirstCarriers<C> {
    fn default() -> Self {
        FirstCarriers { sent: BTreeMap::new() }
    }
}

impl<C: Ord + Clone> FirstCarriers<C> {
    /// Takes note of a datagram that is sent, whether it arrives or not, and says what it carries of which streams.
    /// `None`, and nothing is noted, if it cannot be read ([`packets`](super::transparent::packets)).
    pub fn see(&mut self, connection: &C, datagram: &[u8]) -> Option<Vec<Carried>> {
        let parts = stream_parts(datagram)?;
        Some(parts.into_iter().map(|part| self.note(connection, part)).collect())
    }

    fn note(&mut self, connection: &C, part: Part) -> Carried {
        let sent = self.sent.entry((connection.clone(), part.stream)).or_default();
        let is_first = part.bytes.end > sent.end || part.fin && !sent.fin;
        sent.end = sent.end.max(part.bytes.end);
        sent.fin |= part.fin;
        Carried { part, is_first }
    }
}
