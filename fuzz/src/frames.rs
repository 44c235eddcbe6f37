//! Bytes of a stream, in arbitrary pieces: what decodes encodes again to the same value, and the rest is refused.
//!
//! The input is the stream. Its first bytes say how it is cut into pieces: each as long as the next byte of the input
//! says, over and over.

use bytes::{Bytes, BytesMut};
use wire::content::Content;
use wire::frame::{body_of, first_role, parse_prefix, split};
use wire::request::Hello;
use wire::{DecodeError, Event, Request, limits};

/// How many pieces' lengths stand at an input's front.
const CUTS: usize = 4;

/// Takes one input.
///
/// # Panics
/// If the frames are others than the stream has when it comes whole, or one of them does not survive its round trip.
pub fn run(data: &[u8]) {
    let (cuts, stream) = data.split_at(CUTS.min(data.len()));
    let frames = cut(stream, stream.len().max(1), &[]);
    assert_eq!(cut(stream, 1, cuts), frames, "pieces change nothing");
    for body in frames.0 {
        judge(&body);
    }
    // Most inputs are no whole frame: the decoders see them all the same.
    judge(&Bytes::copy_from_slice(&stream[..stream.len().min(limits::FRAME_BYTES_MAX + 1)]));
}

/// An input of the target that is this stream, in pieces of these lengths.
pub fn input(cuts: [u8; CUTS], stream: &[u8]) -> Vec<u8> {
    [&cuts, stream].concat()
}

/// All frames of a stream whose bytes come in pieces, and why no more came.
fn cut(stream: &[u8], piece_min: usize, cuts: &[u8]) -> (Vec<Bytes>, Option<DecodeError>) {
    let mut lengths = cuts.iter().cycle();
    let (mut rest, mut buffer, mut frames) = (stream, BytesMut::new(), Vec::new());
    while !rest.is_empty() {
        let more = lengths.next().map_or(0, |&more| usize::from(more));
        let (piece, later) = rest.split_at((piece_min + more).min(rest.len()));
        rest = later;
        buffer.extend_from_slice(piece);
        loop {
            match split(&mut buffer) {
                Ok(Some(body)) => frames.push(body),
                Ok(None) => break,
                Err(error) => return (frames, Some(error)),
            }
        }
        assert!(
            buffer.len() < limits::FRAME_BYTES_MAX + limits::FRAME_PREFIX_BYTES_MAX,
            "what waits is less than a frame"
        );
    }
    (frames, None)
}

fn judge(body: &Bytes) {
    let role = first_role(body);
    match Request::decode(body) {
        Ok(Request::Unknown) => {}
        Ok(request) => {
            assert!(role.is_ok(), "what decodes verifies");
            if let Request::Append(append) = &request {
                assert_inside(body, &append.content);
            }
            if let Request::Hello(hello) = &request {
                assert_within_limits(hello);
            }
            let again = body_again(&request.encode());
            assert_eq!(Request::decode(&again), Ok(request), "a request survives its round trip");
        }
        Err(error) => drop(error.close_code()),
    }
    match Event::decode(body) {
        Ok(Event::Unknown) => {}
        Ok(event) => {
            if let Event::Entry(entry) = &event {
                assert_inside(body, &entry.content);
            }
            let again = body_again(&event.encode());
            let once = Event::decode(&again).expect("what is encoded decodes");
            assert_eq!(once, event, "an event survives its round trip");
        }
        Err(error) => drop(error.close_code()),
    }
    if let Ok(content) = Content::decode(body) {
        assert_eq!(Content::decode(&content.encode()), Ok(content), "content survives its round trip");
    }
}

/// The body of a frame that was just encoded, found as a peer finds it.
fn body_again(frame: &Bytes) -> Bytes {
    let parsed = parse_prefix(frame);
    assert!(
        matches!(parsed, Ok(Some((prefix, body))) if prefix + body == frame.len()),
        "a frame is one prefix and its body: {parsed:?}"
    );
    body_of(frame)
}

fn assert_inside(body: &Bytes, field: &Bytes) {
    let (outer, inner) = (body.as_ptr_range(), field.as_ptr_range());
    assert!(
        field.is_empty() || (outer.start <= inner.start && inner.end <= outer.end),
        "a field lies inside its frame"
    );
}

fn assert_within_limits(hello: &Hello) {
    assert!(hello.cursors.len() <= limits::HELLO_CURSORS_MAX);
    if let Some(credentials) = &hello.credentials {
        assert!(credentials.token.expose().len() <= limits::ACCESS_TOKEN_BYTES_MAX);
        let early = credentials.early.as_ref();
        assert!(early.is_none_or(|early| early.server_name.len() <= limits::SERVER_NAME_BYTES_MAX));
    }
}
