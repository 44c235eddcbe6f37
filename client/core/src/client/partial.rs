//! Entries that are larger than a frame: their first piece, and those that follow it at once.

use bytes::{Bytes, BytesMut};
use wire::event::{Entry, Event};
use wire::limits;

/// An entry of which pieces are still to come.
#[derive(Debug)]
pub(super) struct Partial {
    entry: Entry,
    bytes: BytesMut,
    next: u16,
}

/// Something else came where a piece was due, or more than an entry may have.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Broken;

const PARTS_MAX: u16 = limits::HANDSHAKE_BYTES_MAX.div_ceil(limits::PART_BYTES_MAX) as u16;

impl Partial {
    /// Takes what comes on a chat's stream: an entry when it is whole, anything else as it is.
    ///
    /// # Errors
    /// [`Broken`]: no server says that.
    pub(super) fn take(partial: &mut Option<Partial>, event: Event) -> Result<Option<Event>, Broken> {
        match (partial.take(), event) {
            (None, Event::Entry(entry)) if entry.what.parts() > PARTS_MAX => Err(Broken),
            (None, Event::Entry(entry)) if entry.what.parts() > 0 => {
                *partial = Some(Partial { bytes: BytesMut::from(&entry.content[..]), entry, next: 1 });
                Ok(None)
            }
            (Some(mut before), Event::EntryPart(part))
                if part.seq == before.entry.seq && part.part == before.next =>
            {
                before.bytes.extend_from_slice(&part.bytes);
                if before.bytes.len() > limits::HANDSHAKE_BYTES_MAX {
                    return Err(Broken);
                }
                if before.next < before.entry.what.parts() {
                    before.next += 1;
                    *partial = Some(before);
                    return Ok(None);
                }
                let content = Bytes::from(before.bytes);
                Ok(Some(Event::Entry(Entry { content, ..before.entry })))
            }
            (None, Event::EntryPart(_)) | (Some(_), _) => Err(Broken),
            (None, event) => Ok(Some(event)),
        }
    }
}
