//! What can be refused. One table of codes that never change meaning, each with its retry hint.

use std::fmt;
use std::time::Duration;

/// Whether, and when, the same request may be tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// The same request fails the same way.
    Never,
    /// Again, unchanged, after this long.
    After(Duration),
    /// Again after a new access token (refresh) or, if that fails, a new login.
    Reauthenticate,
}

macro_rules! error_codes {
    ($($(#[$doc:meta])* $name:ident = $number:literal, $retry:ident, $text:literal;)*) => {
        /// A stable error code. Its number and name are the protocol; its text is for people.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[repr(u16)]
        pub enum ErrorCode {
            $($(#[$doc])* #[doc = concat!("`", stringify!($number), "`: ", $text, ".")] $name = $number,)*
        }

        impl ErrorCode {
            /// Every code, in the order of the table.
            pub const ALL: &'static [ErrorCode] = &[$(ErrorCode::$name),*];

            /// The code with this number; a newer peer may send one that is not known here.
            pub const fn from_number(number: u16) -> Option<ErrorCode> {
                match number {
                    $($number => Some(ErrorCode::$name),)*
                    _ => None,
                }
            }

            /// What it means, for people.
            pub const fn text(self) -> &'static str {
                match self {
                    $(ErrorCode::$name => $text,)*
                }
            }

            /// The kind of retry that suits it.
            pub const fn retry_kind(self) -> RetryKind {
                match self {
                    $(ErrorCode::$name => RetryKind::$retry,)*
                }
            }
        }
    };
}

/// The kind of a [`Retry`], without its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RetryKind {
    /// See [`Retry::Never`].
    Never,
    /// See [`Retry::After`].
    After,
    /// See [`Retry::Reauthenticate`].
    Reauthenticate,
}

error_codes! {
    // Who you are.
    Unauthenticated = 100, Reauthenticate, "this needs an authenticated session";
    TokenInvalid = 101, Reauthenticate, "the token is not one of ours";
    TokenExpired = 102, Reauthenticate, "the access token has expired: refresh it";
    TokenRevoked = 103, Reauthenticate, "the device was logged out or revoked: register again";
    ProofInvalid = 104, Reauthenticate, "the device key's signature does not fit this connection";
    AccountSuspended = 105, Never, "the account is suspended";
    AccountUnknown = 106, Reauthenticate, "the account no longer exists";
    RefreshReused = 107, Reauthenticate, "the refresh token was used before: its device is signed out, register again";
    SessionReplaced = 108, Never, "the same device has connected again";
    EarlyRefused = 109, After, "this cannot be taken as early data: connect again with a full handshake";
    // Registration.
    PhoneInvalid = 200, Never, "the phone number is not in E.164 form";
    NameInvalid = 201, Never, "the name is empty, too long or has forbidden characters";
    OtpWrong = 202, Never, "the code is wrong";
    OtpExpired = 203, Never, "the code has expired: ask for a new one";
    OtpExhausted = 204, Never, "too many wrong codes: ask for a new one";
    RegistrationUnknown = 205, Never, "no code was asked for under this registration";
    DeviceKeyInvalid = 206, Never, "the device key is not an Ed25519 public key, or belongs to another account";
    // Messages.
    NotMember = 300, Never, "you are not a member of this chat";
    RecipientUnknown = 301, Never, "there is no such person";
    ContentTooLarge = 302, Never, "the content is 64 KiB or more";
    ContentEmpty = 303, Never, "the content is empty";
    ChatMismatch = 304, Never, "the chat id is not the one of these two accounts";
    CursorAhead = 305, Never, "the cursor is past the last entry";
    PageInvalid = 306, Never, "a page is 1 to 500 entries, before or after a place, not both";
    // Groups.
    StaleEpoch = 310, Never, "the chat has moved on to another epoch: catch up, then make it for that one";
    CommitFirst = 311, Never, "somebody has left the chat: commit their removal first";
    CommitInvalid = 312, Never, "the commit does not do what was asked, or may not";
    CommitTooLarge = 313, Never, "the commit, its tree or a welcome is too large";
    NotAdmin = 314, Never, "this is for admins of the group";
    GroupFull = 315, Never, "a group has at most 256 members and 1,280 devices";
    AlreadyMember = 316, Never, "a member or device of the chat already";
    ChatExists = 317, Never, "the chat exists already";
    CannotLeave = 318, Never, "a chat of two cannot be left";
    KeyPackageInvalid = 319, Never, "a key package is not the device's own, not to be used now or too large, or too many are stored";
    IdUsed = 320, Never, "something else was said in this chat under this client_msg_id";
    // Finding things.
    NotFound = 400, Never, "nothing was found";
    // The protocol.
    Malformed = 500, Never, "the frame does not verify";
    Unexpected = 501, Never, "the frame does not belong on this stream";
    Unsupported = 502, Never, "the request is not known here";
    VersionUnsupported = 503, Never, "no common protocol version";
    // The world.
    RateLimited = 600, After, "too many requests";
    Busy = 601, After, "the node is busy";
    Unavailable = 602, After, "the store cannot be reached";
    ShuttingDown = 603, After, "the node is shutting down: connect again";
    SmsFailed = 604, After, "the code could not be sent";
}

impl ErrorCode {
    /// Its number on the wire.
    pub const fn number(self) -> u16 {
        self as u16
    }

    /// A refusal with this code. `after` counts only for codes whose retry is [`RetryKind::After`].
    pub const fn after(self, after: Duration) -> Refusal {
        let retry = match self.retry_kind() {
            RetryKind::Never => Retry::Never,
            RetryKind::After => Retry::After(after),
            RetryKind::Reauthenticate => Retry::Reauthenticate,
        };
        Refusal { code: self, retry }
    }

    /// A refusal with this code; one that may be retried says "after a second".
    pub const fn refuse(self) -> Refusal {
        self.after(Duration::from_secs(1))
    }
}

/// A typed "no": what the server answers instead of what was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refusal {
    /// Why.
    pub code: ErrorCode,
    /// Whether to try again.
    pub retry: Retry,
}

impl Refusal {
    /// Whether the same request, unchanged, may succeed later: after a pause or a new token.
    pub const fn is_retryable(&self) -> bool {
        !matches!(self.retry, Retry::Never)
    }
}

impl From<ErrorCode> for Refusal {
    fn from(code: ErrorCode) -> Refusal {
        code.refuse()
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({:?}, {})", self.code.text(), self.code, self.code.number())?;
        match self.retry {
            Retry::After(d) => write!(f, "; try again after {} s", d.as_secs_f32()),
            Retry::Never | Retry::Reauthenticate => Ok(()),
        }
    }
}

impl std::error::Error for Refusal {}

/// Application error codes of streams and connections (RFC 9000, section 20.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum CloseCode {
    /// Nothing went wrong.
    Done = 0,
    /// A frame did not verify: closes its stream.
    Malformed = 1,
    /// A frame was over the cap: closes the connection.
    TooLarge = 2,
    /// A frame that does not belong on its stream: closes the stream.
    Unexpected = 3,
    /// The session stream has said why, or no `Hello` came. Closes the connection.
    Refused = 4,
    /// The stream is no longer wanted: a cancel.
    Cancelled = 5,
    /// After a `Goodbye`: the node is shutting down.
    ShuttingDown = 6,
    /// After a `Goodbye`: the same device connected again elsewhere.
    Replaced = 7,
    /// The peer kept to none of the limits it was told.
    Flood = 8,
    /// After a `Goodbye`: the device was logged out or revoked.
    Revoked = 9,
}

impl CloseCode {
    /// Its number on the wire.
    pub const fn number(self) -> u32 {
        self as u32
    }
}

/// Bytes that are no frame of ours. The peer's fault, always.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The length prefix announces more than [`crate::limits::FRAME_BYTES_MAX`].
    #[error("a frame of {bytes} bytes is over the cap")]
    TooLarge {
        /// What the prefix announced.
        bytes: u64,
    },
    /// The FlatBuffer does not verify.
    #[error("a frame does not verify")]
    Malformed(#[source] flatbuffers::InvalidFlatbuffer),
    /// A field that must be there is not, or has the wrong size.
    #[error("a frame's field {field} is missing or has the wrong size")]
    Field {
        /// The field's name in the schema.
        field: &'static str,
    },
}

impl DecodeError {
    /// How the stream or connection that carried the bytes is closed.
    pub const fn close_code(&self) -> CloseCode {
        match self {
            DecodeError::TooLarge { .. } => CloseCode::TooLarge,
            DecodeError::Malformed(_) | DecodeError::Field { .. } => CloseCode::Malformed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r115_every_code_round_trips_and_has_a_text() {
        for &code in ErrorCode::ALL {
            assert_eq!(ErrorCode::from_number(code.number()), Some(code));
            assert!(!code.text().is_empty());
        }
        assert_eq!(ErrorCode::from_number(0), None);
    }

    #[test]
    fn r115_retry_follows_the_table() {
        let d = Duration::from_secs(7);
        assert_eq!(ErrorCode::RateLimited.after(d).retry, Retry::After(d));
        assert_eq!(ErrorCode::NotMember.after(d).retry, Retry::Never);
        assert_eq!(ErrorCode::TokenExpired.after(d).retry, Retry::Reauthenticate);
        assert!(!Refusal::from(ErrorCode::NotMember).is_retryable());
    }
}
