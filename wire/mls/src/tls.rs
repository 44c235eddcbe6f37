//! Reading the presentation language of TLS as MLS uses it (RFC 9420, 2.1): integers in network order, vectors behind a
//! variable-size length in its shortest form.

use crate::InspectError;

/// What is left of some bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Reader<'a> {
        Reader(bytes)
    }

    pub(crate) fn is_empty(self) -> bool {
        self.0.is_empty()
    }

    /// What was read since `before`, an earlier state of this reader.
    pub(crate) fn since(self, before: Reader<'a>) -> &'a [u8] {
        &before.0[..before.0.len() - self.0.len()]
    }

    pub(crate) fn take(&mut self, count: usize) -> Result<&'a [u8], InspectError> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(InspectError::Truncated)?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], InspectError> {
        Ok(self.take(N)?.try_into().expect("so many were taken"))
    }

    pub(crate) fn u8(&mut self) -> Result<u8, InspectError> {
        self.array::<1>().map(|[byte]| byte)
    }

    pub(crate) fn u16(&mut self) -> Result<u16, InspectError> {
        self.array().map(u16::from_be_bytes)
    }

    pub(crate) fn u32(&mut self) -> Result<u32, InspectError> {
        self.array().map(u32::from_be_bytes)
    }

    pub(crate) fn u64(&mut self) -> Result<u64, InspectError> {
        self.array().map(u64::from_be_bytes)
    }

    /// The content of a vector.
    pub(crate) fn vector(&mut self) -> Result<&'a [u8], InspectError> {
        let length = self.length()?;
        self.take(length)
    }

    /// A vector that has so many bytes.
    pub(crate) fn tag(&mut self, bytes: usize) -> Result<&'a [u8], InspectError> {
        let content = self.vector()?;
        if content.len() == bytes { Ok(content) } else { Err(InspectError::Tag) }
    }

    /// The content of a vector, to be read.
    pub(crate) fn inner(&mut self) -> Result<Reader<'a>, InspectError> {
        self.vector().map(Reader)
    }

    /// RFC 9420, 2.1.2: the two highest bits say how many bytes follow; four at most, and no more than are needed.
    fn length(&mut self) -> Result<usize, InspectError> {
        let first = self.u8()?;
        let more = match first >> 6 {
            0 => 0,
            1 => 1,
            2 => 3,
            _ => return Err(InspectError::Length),
        };
        let value = self
            .take(more)?
            .iter()
            .fold(u32::from(first & 0x3F), |value, byte| value << 8 | u32::from(*byte));
        let shortest = match value {
            0..=0x3F => 0,
            0x40..=0x3FFF => 1,
            _ => 3,
        };
        if more == shortest { Ok(value as usize) } else { Err(InspectError::Length) }
    }

    pub(crate) fn end(self) -> Result<(), InspectError> {
        if self.is_empty() { Ok(()) } else { Err(InspectError::Trailing) }
    }
}

/// A vector of these bytes.
pub(crate) fn write_vector(out: &mut Vec<u8>, content: &[u8]) {
    let length = u32::try_from(content.len()).expect("content is bounded");
    match length {
        0..=0x3F => out.push(length as u8),
        0x40..=0x3FFF => out.extend_from_slice(&(length as u16 | 0x4000).to_be_bytes()),
        _ => out.extend_from_slice(&(length | 0x8000_0000).to_be_bytes()),
    }
    out.extend_from_slice(content);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_has_one_form() {
        for length in [0, 1, 63, 64, 16_383, 16_384, 70_000] {
            let content = vec![7; length];
            let mut bytes = Vec::new();
            write_vector(&mut bytes, &content);
            let mut reader = Reader::new(&bytes);
            assert_eq!(reader.vector(), Ok(&content[..]));
            assert_eq!(reader.end(), Ok(()));
        }
        for longer in [&[0x40, 1, 7][..], &[0x80, 0, 0, 1, 7], &[0x80, 0, 0x3F, 0xFF], &[0xC0; 9]] {
            assert_eq!(Reader::new(longer).vector(), Err(InspectError::Length), "{longer:?}");
        }
        assert_eq!(Reader::new(&[2, 0]).vector(), Err(InspectError::Truncated));
    }
}
