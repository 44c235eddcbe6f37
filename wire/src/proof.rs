//! What a device key signs. Every proof covers the TLS exporter of the connection it is made on, so that none can be
//! used on another connection.
//!
//! The exporter is 32 bytes, label [`EXPORTER_LABEL`], empty context (RFC 8446, section 7.5). The signed message is the
//! purpose's label, a zero byte, the exporter, then each field as a 16-bit big-endian length and its bytes.

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
    for field in fields {
        let length = u16::try_from(field.len()).expect("a proof's fields come from one frame");
        message.extend_from_slice(&length.to_be_bytes());
        message.extend_from_slice(field);
    }
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn c38_fields_cannot_run_into_each_other() {
        let exporter = [7; 32];
        let split = |fields: &[&[u8]]| message(Purpose::Refresh, &exporter, fields);
        assert_ne!(split(&[b"ab", b"c"]), split(&[b"a", b"bc"]));
        assert_ne!(
            message(Purpose::Hello, &exporter, &[b"x"]),
            message(Purpose::Refresh, &exporter, &[b"x"])
        );
    }
}
