//! Frames: a QUIC varint length (RFC 9000, section 16), then one FlatBuffer, verified before it is read.
//!
//! [`parse_prefix`] and [`split`] cut a stream into frame bodies without copying, [`first_role`] says what a stream is
//! for, and [`Request::decode`](crate::Request::decode) and [`Event::decode`](crate::Event::decode) verify a body and
//! read it in place: byte fields of a decoded value share the body's memory.

use bytes::{Buf, Bytes, BytesMut};
use flatbuffers::VerifierOptions;

use crate::error::DecodeError;
use crate::generated::wire as fb;
use crate::role::Role;
use crate::{ErrorCode, Event, limits};

/// Reads a frame's length prefix: how many bytes it has, and how many the body has. `None` until enough has arrived.
///
/// # Errors
/// [`DecodeError::TooLarge`] as soon as the prefix announces more than [`limits::FRAME_BYTES_MAX`].
pub fn parse_prefix(bytes: &[u8]) -> Result<Option<(usize, usize)>, DecodeError> {
    let Some(&first) = bytes.first() else { return Ok(None) };
    let prefix = 1usize << (first >> 6);
    if bytes.len() < prefix.min(limits::FRAME_PREFIX_BYTES_MAX) {
        return Ok(None);
    }
    if prefix > limits::FRAME_PREFIX_BYTES_MAX {
        return Err(DecodeError::TooLarge { bytes: limits::FRAME_BYTES_MAX as u64 + 1 });
    }
    let body = bytes[1..prefix].iter().fold(u64::from(first & 0x3f), |n, &b| n << 8 | u64::from(b));
    if body > limits::FRAME_BYTES_MAX as u64 {
        return Err(DecodeError::TooLarge { bytes: body });
    }
    Ok(Some((prefix, body as usize)))
}

/// Takes the next whole frame's body off the front of `buffer`, or `None` until it has arrived.
///
/// # Errors
/// As [`parse_prefix`].
pub fn split(buffer: &mut BytesMut) -> Result<Option<Bytes>, DecodeError> {
    let Some((prefix, body)) = parse_prefix(buffer)? else { return Ok(None) };
    if buffer.len() < prefix + body {
        return Ok(None);
    }
    buffer.advance(prefix);
    Ok(Some(buffer.split_to(body).freeze()))
}

/// The body of one encoded frame, its prefix taken off; shares its memory. For bytes that this crate encoded.
pub fn body_of(frame: &Bytes) -> Bytes {
    let (prefix, body) =
        parse_prefix(frame).ok().flatten().expect("a frame that this crate encoded has a whole prefix");
    frame.slice(prefix..prefix + body)
}

/// The role that a stream takes from the body of its first frame.
///
/// # Errors
/// [`DecodeError`] if the body does not verify.
pub fn first_role(body: &[u8]) -> Result<Role, DecodeError> {
    Ok(match verify(body)?.body_type() {
        fb::Body::Hello => Role::Session,
        fb::Body::ChatUp | fb::Body::InboxUp => Role::ChatUp,
        fb::Body::ChatDown | fb::Body::InboxDown => Role::ChatDown,
        _ => Role::Request,
    })
}

/// A whole frame that carries a refusal, for a stream whose request was not understood.
pub fn refused(code: ErrorCode) -> Bytes {
    Event::Refused(code.refuse()).encode()
}

pub(crate) fn verify(body: &[u8]) -> Result<fb::Frame<'_>, DecodeError> {
    if body.len() > limits::FRAME_BYTES_MAX {
        return Err(DecodeError::TooLarge { bytes: body.len() as u64 });
    }
    let options = VerifierOptions {
        max_depth: limits::FRAME_DEPTH_MAX,
        max_tables: limits::FRAME_TABLES_MAX,
        max_apparent_size: 2 * limits::FRAME_BYTES_MAX,
        ignore_missing_null_terminator: false,
    };
    fb::root_as_frame_with_opts(&options, body).map_err(DecodeError::Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefix_of_every_length() {
        for (bytes, parsed) in [
            (&[][..], Ok(None)),
            (&[0x05], Ok(Some((1, 5)))),
            (&[0x40], Ok(None)),
            (&[0x40, 0x05], Ok(Some((2, 5)))),
            (&[0x80, 0x01, 0x20, 0x00], Ok(Some((4, 72 * 1024)))),
            (&[0x80, 0x01, 0x20, 0x01], Err(DecodeError::TooLarge { bytes: 72 * 1024 + 1 })),
            (&[0xc0, 0, 0, 0], Err(DecodeError::TooLarge { bytes: 72 * 1024 + 1 })),
        ] {
            assert_eq!(parse_prefix(bytes), parsed, "{bytes:02x?}");
        }
    }

    #[test]
    fn split_waits_for_the_whole_frame() {
        let frame = refused(ErrorCode::Busy);
        let mut buffer = BytesMut::new();
        for &byte in &frame[..frame.len() - 1] {
            buffer.extend_from_slice(&[byte]);
            assert_eq!(split(&mut buffer), Ok(None));
        }
        buffer.extend_from_slice(&frame[frame.len() - 1..]);
        assert_eq!(split(&mut buffer), Ok(Some(body_of(&frame))));
        assert!(buffer.is_empty());
    }
}
