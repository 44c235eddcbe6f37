//! Identifiers as types, never bare integers or byte strings.
//!
//! Every id is sixteen bytes but [`Seq`]; its text form is lower-case hexadecimal, 32 digits.

use std::fmt;
use std::str::FromStr;

/// A text that is not 32 hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("an id is 32 hexadecimal digits")]
pub struct ParseIdError;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; 16]);

        impl $name {
            /// The id with these bytes.
            pub const fn new(bytes: [u8; 16]) -> Self {
                Self(bytes)
            }

            /// Its sixteen bytes, in the order they are compared, stored and sent.
            pub const fn as_bytes(&self) -> &[u8; 16] {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|b| write!(f, "{b:02x}"))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }

        impl FromStr for $name {
            type Err = ParseIdError;
            fn from_str(text: &str) -> Result<Self, ParseIdError> {
                parse_hex(text).map(Self)
            }
        }
    };
}

id! {
    /// A person: one phone number, several devices. Made by the server, time-ordered (C22).
    AccountId
}
id! {
    /// A device: the first sixteen bytes of the SHA-256 of its Ed25519 public key, so a token names the key it is bound to.
    DeviceId
}
id! {
    /// A chat. A 1:1 chat's id is the hash of its two accounts, whichever of them asks (C22).
    ChatId
}
id! {
    /// The idempotency key a client gives one message, for ever (R50, I3).
    ClientMsgId
}
id! {
    /// One registration attempt, between `Register` and `VerifyOtp` (C3).
    RegistrationId
}
id! {
    /// The idempotency key of a request that is not a message.
    RequestId
}
id! {
    /// One installation of a client; it outlives accounts and is what OTP sends are counted by.
    InstallId
}

/// A place in a log: dense, 1, 2, 3 …; zero is "before the first entry".
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Seq(pub u64);

impl Seq {
    /// Before the first entry.
    pub const ZERO: Seq = Seq(0);

    /// The place after this one.
    #[must_use]
    pub const fn next(self) -> Seq {
        Seq(self.0 + 1)
    }
}

impl fmt::Display for Seq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// An epoch of a group (RFC 9420, section 8): zero until its first commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Epoch(pub u64);

impl Epoch {
    /// The epoch of a chat without a group.
    pub const ZERO: Epoch = Epoch(0);

    /// The epoch that a commit made for this one begins.
    #[must_use]
    pub const fn next(self) -> Epoch {
        Epoch(self.0 + 1)
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What an ordered log belongs to. Ops and keys take any of the three.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LogId {
    /// A chat's log.
    Chat(ChatId),
    /// A device's inbox.
    Device(DeviceId),
    /// A call's log; calls have ids of the same shape as chats.
    Call(ChatId),
}

fn parse_hex(text: &str) -> Result<[u8; 16], ParseIdError> {
    let text = text.as_bytes();
    if text.len() != 32 {
        return Err(ParseIdError);
    }
    let digit = |c: u8| (c as char).to_digit(16).map(|d| d as u8).ok_or(ParseIdError);
    let mut bytes = [0; 16];
    for (byte, pair) in bytes.iter_mut().zip(text.chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_form_round_trips_and_rejects_the_rest() {
        let id = ChatId::new(*b"0123456789abcdef");
        assert_eq!(id.to_string().parse(), Ok(id));
        for bad in ["", "00", &"0".repeat(31), &"g".repeat(32), &"é".repeat(16)] {
            assert_eq!(bad.parse::<ChatId>(), Err(ParseIdError), "{bad:?}");
        }
    }
}
