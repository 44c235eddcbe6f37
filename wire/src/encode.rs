//! Building frames: one reused FlatBuffers builder a thread, one copy into the shared bytes.

use std::cell::RefCell;

use bytes::{BufMut, Bytes, BytesMut};
use flatbuffers::{FlatBufferBuilder, UnionWIPOffset, WIPOffset};

use crate::generated::wire as fb;
use crate::limits;

pub(crate) type Builder = FlatBufferBuilder<'static>;
pub(crate) type Member = (fb::Body, WIPOffset<UnionWIPOffset>);

/// No member: what the values say that stand for members nobody knows.
pub(crate) fn nothing() -> Member {
    (fb::Body::NONE, WIPOffset::new(0))
}

/// Some bytes of something larger than a frame.
pub(crate) fn part(b: &mut Builder, bytes: &[u8], left: u32) -> Member {
    let bytes = Some(b.create_vector(bytes));
    (fb::Body::Part, fb::Part::create(b, &fb::PartArgs { bytes, left }).as_union_value())
}

thread_local! {
    static BUILDER: RefCell<Builder> = RefCell::new(FlatBufferBuilder::with_capacity(1024));
}

/// One frame, length prefix included, whose body `build` writes.
pub(crate) fn frame(build: impl FnOnce(&mut Builder) -> Member) -> Bytes {
    BUILDER.with_borrow_mut(|builder| {
        builder.reset();
        let (body_type, body) = build(builder);
        let body = (body_type != fb::Body::NONE).then_some(body);
        let frame = fb::Frame::create(builder, &fb::FrameArgs { body_type, body });
        builder.finish(frame, None);
        prefixed(builder.finished_data())
    })
}

fn prefixed(body: &[u8]) -> Bytes {
    assert!(body.len() <= limits::FRAME_BYTES_MAX, "a frame is built from values within their limits");
    let mut bytes = BytesMut::with_capacity(body.len() + limits::FRAME_PREFIX_BYTES_MAX);
    match body.len() {
        n @ 0..0x40 => bytes.put_u8(n as u8),
        n @ 0x40..0x4000 => bytes.put_u16(0x4000 | n as u16),
        n => bytes.put_u32(0x8000_0000 | n as u32),
    }
    bytes.put_slice(body);
    bytes.freeze()
}
