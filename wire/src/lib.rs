//! The protocol as values.
//!
//! Bytes of a stream become frames ([`frame`]), a frame is verified once and becomes a [`Request`] (what a client
//! says) or an [`Event`] (what a server says), and both are trusted after. The schema is `schema/*.fbs`, the code
//! made from it lives in `generated/`, and `PROTOCOL.md` says what the bytes mean.
//!
//! Invariants: nothing here does IO, reads a clock or panics on a peer's bytes; content is carried, never read.

pub mod content;
mod encode;
mod error;
pub mod event;
pub mod frame;
mod generated;
mod id;
pub mod limits;
pub mod proof;
pub mod request;
mod role;
#[cfg(feature = "testing")]
pub mod testing;
mod text;
mod time;

pub use error::{CloseCode, DecodeError, ErrorCode, Refusal, Retry, RetryKind};
pub use event::Event;
pub use event::MemberRole;
pub use id::{
    AccountId, ChatId, ClientMsgId, DeviceId, Epoch, InstallId, LogId, RegistrationId, RequestId, Seq,
};
pub use request::Request;
pub use role::Role;
pub use text::{Description, GroupName, NameError, PersonName, Phone, PhoneError, Secret, label};
pub use time::WallTime;

/// The ALPN protocol name: the major version of everything on the connection.
pub const ALPN: &[u8] = b"godwit/1";

/// The newest protocol version this crate speaks inside [`ALPN`]; `Hello` and `Connected` settle on the lower one.
pub const VERSION: u16 = 1;
