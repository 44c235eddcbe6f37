//! What is stored of a store as a whole, while it is copied or restored.

use bytes::{BufMut, Bytes, BytesMut};
use wire::WallTime;

use super::{Fields, Record, RecordError, put_text};

/// The store takes no writes but those of whoever closed it: `0 x`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Closed {
    /// Which copy or restore closed it.
    pub by: [u8; 16],
    /// When.
    pub at: WallTime,
    /// Why, for people.
    pub why: String,
}

impl Record for Closed {
    const NAME: &'static str = "closed marker";

    fn put(&self, to: &mut BytesMut) {
        to.put_slice(&self.by);
        to.put_u64(self.at.0);
        put_text(to, &self.why);
    }

    fn take(from: &mut Fields<'_>) -> Result<Self, RecordError> {
        Ok(Closed { by: from.array()?, at: from.time()?, why: from.text()?.to_owned() })
    }
}

/// How far a copy or restore into the store has got: `0 p`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    /// Which copy or restore.
    pub id: [u8; 16],
    /// What it has written last, in its own words; at most 64 KiB.
    pub place: Bytes,
}

impl Record for Progress {
    const NAME: &'static str = "progress";

    fn put(&self, to: &mut BytesMut) {
        to.put_slice(&self.id);
        to.put_slice(&self.place);
    }

    fn take(from: &mut Fields<'_>) -> Result<Self, RecordError> {
        Ok(Progress { id: from.array()?, place: from.rest() })
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::pinned;
    use super::*;

    #[test]
    fn stored_forms_of_the_whole_are_pinned() {
        let id = "aa".repeat(16);
        let closed = Closed { by: [0xaa; 16], at: WallTime(3), why: "why".into() };
        pinned(closed, &format!("01 {id} 0000000000000003 0003 776879"));
        let progress = Progress { id: [0xaa; 16], place: Bytes::from_static(b"abc") };
        assert_eq!(Progress::decode(&progress.encode()), Ok(progress.clone()));
        assert_eq!(progress.encode()[..], [&[1][..], &[0xaa; 16], b"abc"].concat());
    }
}
