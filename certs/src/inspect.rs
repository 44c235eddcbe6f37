//! What a certificate says of itself: from when until when, and for which names. Whether to believe it is for whoever
//! has a CA.

use std::net::IpAddr;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use time::OffsetDateTime;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use crate::{CertError, load_certificate};

/// A leaf certificate, as far as an operator or a client's user cares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateInfo {
    /// Valid from.
    pub not_before: SystemTime,
    /// Valid until.
    pub not_after: SystemTime,
    /// DNS names (maybe with a leading `*.`) and IP addresses of its subject alternative names, in its order. Clients look
    /// at nothing else.
    pub names: Vec<String>,
    /// Who signed it, as text for people.
    pub issuer: String,
    /// It is an authority's own certificate: no client accepts it from a server.
    pub is_ca: bool,
}

/// Reads the first certificate of a PEM file: a chain's leaf.
///
/// # Errors
/// [`CertError`] names the file.
pub fn inspect(path: &Path) -> Result<CertificateInfo, CertError> {
    let leaf = load_certificate(path)?;
    inspect_der(&leaf).map_err(|source| CertError::NotX509 { path: path.to_owned(), source })
}

/// Reads a certificate in DER form, from anywhere.
///
/// # Errors
/// It is none.
pub fn inspect_der(
    der: &[u8],
) -> Result<CertificateInfo, x509_parser::nom::Err<x509_parser::error::X509Error>> {
    let (_, certificate) = X509Certificate::from_der(der)?;
    let names = match certificate.subject_alternative_name() {
        Ok(Some(names)) => names.value.general_names.iter().filter_map(name).collect(),
        _ => Vec::new(),
    };
    let validity = certificate.validity();
    Ok(CertificateInfo {
        not_before: at(validity.not_before.timestamp()),
        not_after: at(validity.not_after.timestamp()),
        names,
        issuer: certificate.issuer().to_string(),
        is_ca: certificate.is_ca(),
    })
}

impl CertificateInfo {
    /// Whether a client that asks for `name`, a DNS name or an IP address, finds it here (RFC 6125, section 6.4: a wildcard
    /// stands for exactly one label, the first).
    pub fn is_for(&self, name: &str) -> bool {
        if let Ok(ip) = name.parse::<IpAddr>() {
            return self.names.iter().any(|have| have.parse() == Ok(ip));
        }
        let name = name.trim_end_matches('.');
        self.names.iter().any(|have| match (have.strip_prefix("*."), name.split_once('.')) {
            (Some(parent), Some((label, rest))) => !label.is_empty() && rest.eq_ignore_ascii_case(parent),
            _ => have.eq_ignore_ascii_case(name),
        })
    }
}

/// A moment as its day in UTC, like `2026-11-24`.
pub fn day(at: SystemTime) -> String {
    let seconds = match at.duration_since(UNIX_EPOCH) {
        Ok(since) => i64::try_from(since.as_secs()).unwrap_or(i64::MAX),
        Err(before) => i64::try_from(before.duration().as_secs()).map_or(i64::MIN, |seconds| -seconds),
    };
    OffsetDateTime::from_unix_timestamp(seconds)
        .map_or_else(|_| "out of all calendars".into(), |at| at.date().to_string())
}

fn name(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        GeneralName::IPAddress(bytes) => match *bytes {
            [a, b, c, d] => Some(IpAddr::from([*a, *b, *c, *d]).to_string()),
            long => <[u8; 16]>::try_from(long).ok().map(|octets| IpAddr::from(octets).to_string()),
        },
        _ => None,
    }
}

/// Seconds since the epoch, as far as the system's time reaches.
fn at(seconds: i64) -> SystemTime {
    let distance = Duration::from_secs(seconds.unsigned_abs());
    let at = if seconds < 0 { UNIX_EPOCH.checked_sub(distance) } else { UNIX_EPOCH.checked_add(distance) };
    at.unwrap_or(UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r150_what_was_made_is_what_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let names = ["localhost", "127.0.0.1", "::1", "*.chat.example"].map(str::to_owned);
        let made = crate::make_development(dir.path(), &names).unwrap();
        let info = inspect(&made.cert).unwrap();
        assert_eq!(info.names, names);
        assert!(info.issuer.contains("Godwit development CA") && !info.is_ca, "{info:?}");
        let now = SystemTime::now();
        let life = info.not_after.duration_since(now).unwrap();
        assert!(info.not_before < now && life.as_secs() / 86_400 >= 89, "{info:?}");
        assert!(inspect(&made.ca).unwrap().is_ca);
        for (name, fits) in [
            ("LOCALHOST", true),
            ("localhost.", true),
            ("127.0.0.1", true),
            ("0:0::1", true),
            ("127.0.0.2", false),
            ("a.chat.example", true),
            ("a.b.chat.example", false),
            ("chat.example", false),
            (".chat.example", false),
        ] {
            assert_eq!(info.is_for(name), fits, "{name}");
        }
    }

    #[test]
    fn what_is_no_certificate_is_an_error_and_names_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("odd.pem");
        std::fs::write(&file, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").unwrap();
        assert!(inspect(&file).unwrap_err().to_string().contains("odd.pem"));
        assert!(inspect_der(&[0x30, 0x84, 0xff, 0xff, 0xff, 0xff]).is_err());
    }

    #[test]
    fn days_are_utc() {
        for (seconds, said) in [(0, "1970-01-01"), (1_795_564_799, "2026-11-24"), (-1, "1969-12-31")] {
            assert_eq!(day(at(seconds)), said);
        }
    }
}
