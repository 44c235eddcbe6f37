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

#[cfg(test)]
mod tests {
    use wire::event::{EntryKind, EntryPart, Kind};
    use wire::{AccountId, ClientMsgId, DeviceId, Epoch, Seq, WallTime};

    use super::*;

    fn entry(parts: u16) -> Event {
        Event::Entry(Entry {
            seq: Seq(7),
            sender: AccountId::new([1; 16]),
            device: DeviceId::new([2; 16]),
            client_msg_id: ClientMsgId::new([3; 16]),
            at: WallTime(0),
            kind: Kind::Unsaid,
            content: Bytes::from_static(b"one "),
            what: EntryKind::Commit { parts },
            epoch: Epoch(1),
        })
    }

    fn part(seq: u64, part: u16, bytes: &'static [u8]) -> Event {
        Event::EntryPart(EntryPart { seq: Seq(seq), part, bytes: Bytes::from_static(bytes) })
    }

    #[test]
    fn r125_an_entry_in_parts_is_whole_when_its_last_part_is_there() {
        let mut partial = None;
        assert!(matches!(Partial::take(&mut partial, entry(0)), Ok(Some(Event::Entry(_)))));
        assert_eq!(Partial::take(&mut partial, entry(2)), Ok(None));
        assert_eq!(Partial::take(&mut partial, part(7, 1, b"two ")), Ok(None));
        let Ok(Some(Event::Entry(whole))) = Partial::take(&mut partial, part(7, 2, b"three")) else {
            panic!("it is whole");
        };
        assert_eq!(&whole.content[..], b"one two three");
        assert!(partial.is_none());
    }

    #[test]
    fn g15_what_no_server_says_between_parts_ends_the_connection() {
        for wrong in [part(7, 2, b"x"), part(8, 1, b"x"), entry(0), Event::Unknown] {
            let mut partial = None;
            assert_eq!(Partial::take(&mut partial, entry(2)), Ok(None));
            assert_eq!(Partial::take(&mut partial, wrong), Err(Broken));
        }
        assert_eq!(Partial::take(&mut None, part(7, 1, b"x")), Err(Broken));
        assert_eq!(Partial::take(&mut None, entry(PARTS_MAX + 1)), Err(Broken));
    }
}
