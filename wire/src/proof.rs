//! What a device key signs. Every proof covers the TLS exporter of the connection it is made on, so that none can be
//! used on another connection; only a `Hello` in early data, sent before there is one, covers server and time instead.
//!
//! The exporter is 32 bytes, label [`EXPORTER_LABEL`], empty context (RFC 8446, section 7.5). The signed message is the
//! purpose's label, a zero byte, the exporter, then each field as a 16-bit big-endian length and its bytes.

use crate::WallTime;

/// The exporter's label.
pub const EXPORTER_LABEL: &[u8] = b"EXPORTER-godwit-device-proof";

/// A connection's exporter value.
pub type Exporter = [u8; 32];

/// What a proof is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// `Hello`: the field is the access token.
    Hello,
    /// `VerifyOtp`: the fields are the registration id and the device key.
    VerifyOtp,
    /// `Refresh`: the fields are the refresh token and the request id.
    Refresh,
}

/// The label of a `Hello` in early data; it covers no exporter.
const EARLY_LABEL: &[u8] = b"godwit/1 hello early";

impl Purpose {
    const fn label(self) -> &'static [u8] {
        match self {
            Purpose::Hello => b"godwit/1 hello",
            Purpose::VerifyOtp => b"godwit/1 verify-otp",
            Purpose::Refresh => b"godwit/1 refresh",
        }
    }
}

/// The message to sign (Ed25519, RFC 8032). Fields are at most 65,535 bytes each.
pub fn message(purpose: Purpose, exporter: &Exporter, fields: &[&[u8]]) -> Vec<u8> {
    let mut message = purpose.label().to_vec();
    message.push(0);
    message.extend_from_slice(exporter);
    append_fields(&mut message, fields);
    message
}

/// The message to sign for a `Hello` in early data, which is sent before there is an exporter: the label, a zero byte, then
/// as fields the access token, the server's name and the client's wall time (milliseconds, 64 bits, big-endian).
///
/// Who captures such a `Hello` may replay it while the time in it is near enough; so early data only appends, moves
/// cursors and reads, and nothing is answered to anyone who cannot complete the handshake.
pub fn early_message(token: &str, server_name: &str, signed_at: WallTime) -> Vec<u8> {
    let mut message = EARLY_LABEL.to_vec();
    message.push(0);
    let signed_at = signed_at.as_millis().to_be_bytes();
    append_fields(&mut message, &[token.as_bytes(), server_name.as_bytes(), &signed_at]);
    message
}

fn append_fields(message: &mut Vec<u8>, fields: &[&[u8]]) {
    for field in fields {
        let length = u16::try_from(field.len()).expect("a proof's fields come from one frame");
        message.extend_from_slice(&length.to_be_bytes());
        message.extend_from_slice(field);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn c38_fields_cannot_run_into_each_other() {
        let exporter = [7; 32];
        let split = |fields: &[&[u8]]| message(Purpose::Refresh, &exporter, fields);
        assert_ne!(split(&[b"ab", b"c"]), split(&[b"a", b"bc"]));
        assert_ne!(early_message("ab", "c", WallTime(1)), early_message("a", "bc", WallTime(1)),);
        assert_ne!(
            message(Purpose::Hello, &exporter, &[b"x"]),
            message(Purpose::Refresh, &exporter, &[b"x"])
        );
    }
}
