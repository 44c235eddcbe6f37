//! Objects of bounded size: keys and values one after the other, each with its lengths.
//!
//! Layout, before sealing: per pair a key's length and a value's length (four bytes each, big-endian), then both.

use bytes::{Buf, BufMut, Bytes};
use store::parsed::Key;
use store::tx::{KEY_BYTES_MAX, VALUE_BYTES_MAX};

use crate::access::Pair;
use crate::digest::{Digester, sha256_hex};
use crate::manifest::{Object, Stream};
use crate::place::{Got, Place};
use crate::seal::Sealer;
use crate::{BackupError, ObjectError};

/// Bytes of one object that is read, at most: what is written is far below.
const OBJECT_BYTES_MAX: u64 = 256 << 20;

/// Writes one stream of pairs.
pub(crate) struct Writer<'a> {
    place: &'a Place,
    sealer: &'a Sealer,
    object_bytes: usize,
    buffer: Vec<u8>,
    pairs: u64,
    digester: Digester,
    stream: Stream,
}

impl<'a> Writer<'a> {
    pub(crate) fn new(place: &'a Place, sealer: &'a Sealer, name: String, object_bytes: usize) -> Self {
        let stream = Stream { name, kinds: Default::default(), objects: Vec::new() };
        let (buffer, pairs, digester) = (Vec::new(), 0, Digester::default());
        Writer { place, sealer, object_bytes, buffer, pairs, digester, stream }
    }

    /// Some more pairs; an object is put when it is full.
    pub(crate) async fn write(&mut self, pairs: &[Pair]) -> Result<(), BackupError> {
        for (key, value) in pairs {
            let bytes = 8 + key.len() + value.len();
            if !self.buffer.is_empty() && self.buffer.len() + bytes > self.object_bytes {
                self.put().await?;
            }
            for part in [key, value] {
                let length = u32::try_from(part.len()).expect("keys and values are within a store's limits");
                self.buffer.put_u32(length);
            }
            self.buffer.extend_from_slice(key);
            self.buffer.extend_from_slice(value);
            self.digester.feed(key, value);
            self.pairs += 1;
        }
        Ok(())
    }

    async fn put(&mut self) -> Result<(), BackupError> {
        let name = format!("{}-{:06}", self.stream.name, self.stream.objects.len());
        let stored = self.sealer.seal(&name, std::mem::take(&mut self.buffer))?;
        let (bytes, sha256) = (stored.len() as u64, sha256_hex(&stored));
        self.place.put(&name, Bytes::from(stored)).await?;
        self.stream.objects.push(Object { name, bytes, sha256, pairs: std::mem::take(&mut self.pairs) });
        Ok(())
    }

    /// Puts what is left.
    pub(crate) async fn finish(mut self) -> Result<Stream, BackupError> {
        if !self.buffer.is_empty() {
            self.put().await?;
        }
        Ok(Stream { kinds: self.digester.finish(), ..self.stream })
    }
}

/// The pairs of an object, which is what was written.
pub(crate) async fn read(place: &Place, sealer: &Sealer, object: &Object) -> Result<Vec<Pair>, ObjectError> {
    let name = || object.name.clone();
    let length = |found| ObjectError::Length { name: name(), expected: object.bytes, found };
    let damaged = |what| ObjectError::Damaged { name: name(), what };
    let stored = match place.get(&object.name, object.bytes.min(OBJECT_BYTES_MAX)).await? {
        None => return Err(ObjectError::Missing { name: name() }),
        Some(Got::TooLong(found)) => return Err(length(found)),
        Some(Got::Bytes(stored)) => stored,
    };
    if stored.len() as u64 != object.bytes {
        return Err(length(stored.len() as u64));
    }
    if sha256_hex(&stored) != object.sha256 {
        return Err(damaged("its checksum is another"));
    }
    let plain =
        sealer.open(&object.name, stored).map_err(|_| damaged("it was not sealed under this name"))?;
    let pairs = split(plain).ok_or_else(|| damaged("it does not hold whole keys and values"))?;
    // A backup that nobody sealed is whoever's: it may not write what a store says of itself.
    if pairs.iter().any(|(key, _)| Key::parse(key).is_none()) {
        return Err(damaged("it holds a key that no backup has"));
    }
    Ok(pairs)
}

fn split(mut plain: Bytes) -> Option<Vec<Pair>> {
    let mut pairs = Vec::new();
    while !plain.is_empty() {
        let (key, value) = (plain.try_get_u32().ok()? as usize, plain.try_get_u32().ok()? as usize);
        if key > KEY_BYTES_MAX || value > VALUE_BYTES_MAX || plain.len() < key + value {
            return None;
        }
        pairs.push((plain.split_to(key), plain.split_to(value)));
    }
    Some(pairs)
}
