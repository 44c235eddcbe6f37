//! Made by `cargo xtask codegen` from `schema/*.fbs`; never edited.
#![expect(
    unsafe_code,
    unreachable_pub,
    clippy::all,
    reason = "the FlatBuffers compiler's output, whose unsafe reads follow a verification"
)]
#![allow(
    clippy::disallowed_methods,
    clippy::allow_attributes_without_reason,
    reason = "the FlatBuffers compiler's output"
)]

mod content_generated;
mod frame_generated;

pub(crate) use content_generated::godwit::content;
pub(crate) use frame_generated::godwit::wire;
