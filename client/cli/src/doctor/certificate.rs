//! What a client thinks of a server's certificate, in words.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use certs::{CertificateInfo, day};
use doctor::{Finding, listed};
use rustls::CertificateError;

use super::handshake::Leaf;

const CHECK: &str = "certificate";

/// A leaf that ends sooner is worth a word.
const EXPIRES_SOON: Duration = Duration::from_secs(14 * 86_400);

/// What certificates are judged by.
#[derive(Debug)]
pub(super) struct Trusted {
    /// The file.
    pub(super) ca: Option<PathBuf>,
    /// What is in it; `None` if it cannot be read, too.
    pub(super) roots: Option<rustls::RootCertStore>,
}

impl Trusted {
    fn file(&self) -> String {
        self.ca.as_ref().map_or_else(|| "your CA".into(), |file| file.display().to_string())
    }
}

pub(super) fn judge(host: &str, trusted: &Trusted, leaf: &Leaf, now: SystemTime) -> Finding {
    let info = match certs::inspect_der(&leaf.der) {
        Ok(info) => info,
        Err(error) => {
            return Finding::problem(
                CHECK,
                format!("the server's certificate cannot be read: {error}."),
                "Give the node another certificate.",
            );
        }
    };
    if let Some(finding) = judge_info(host, &info, now) {
        return finding;
    }
    match &leaf.verdict {
        None if trusted.ca.is_some() => Finding::warning(
            CHECK,
            format!(
                "the server's certificate for {} was not checked: {} cannot be used.",
                names(&info),
                trusted.file()
            ),
            "Give a CA that can be read.",
        ),
        None => Finding::warning(
            CHECK,
            format!("the server's certificate for {} was not checked against any CA.", names(&info)),
            "Say with --ca FILE which CA clients trust; for a development node it is DATA/certs/ca.pem.",
        ),
        Some(Ok(())) => judge_end(&info, now, &trusted.file()),
        Some(Err(error)) => judge_error(error, &info, &trusted.file()),
    }
}

/// What the certificate itself says against it.
fn judge_info(host: &str, info: &CertificateInfo, now: SystemTime) -> Option<Finding> {
    if now > info.not_after {
        Some(Finding::problem(
            CHECK,
            format!("the server's certificate expired on {}.", day(info.not_after)),
            "If this machine's clock is right, renew the certificate on the server; a node takes the new file by itself, a development node makes one when it is restarted.",
        ))
    } else if now < info.not_before {
        Some(Finding::problem(
            CHECK,
            format!("the server's certificate is valid only from {} on.", day(info.not_before)),
            "Check this machine's clock first, then the server's.",
        ))
    } else if !info.is_for(host) {
        Some(Finding::problem(
            CHECK,
            format!("the server's certificate is for another name: not {host}, but {}.", names(info)),
            format!(
                "Connect by one of its names, or give the server a certificate for {host} (a development node: add it to `names` and restart)."
            ),
        ))
    } else {
        None
    }
}

fn judge_end(info: &CertificateInfo, now: SystemTime, file: &str) -> Finding {
    let left = info.not_after.duration_since(now).unwrap_or_default();
    let until = day(info.not_after);
    let names = names(info);
    if left < EXPIRES_SOON {
        let days = left.as_secs() / 86_400;
        return Finding::warning(
            CHECK,
            format!("the server's certificate is right, but it expires in {days} days, on {until}."),
            "Tell the operator to renew it.",
        );
    }
    Finding::ok(CHECK, format!("{file} vouches for the server's certificate, for {names}, until {until}."))
}

fn judge_error(error: &rustls::Error, info: &CertificateInfo, file: &str) -> Finding {
    match error {
        rustls::Error::InvalidCertificate(
            CertificateError::UnknownIssuer | CertificateError::BadSignature,
        ) => Finding::problem(
            CHECK,
            format!(
                "the server's certificate is not from the CA in {file}: it was issued by {:?}.",
                info.issuer
            ),
            "Fetch the server's current CA file (a development node's is DATA/certs/ca.pem), or check that this is the server you mean.",
        ),
        other => Finding::problem(
            CHECK,
            format!("clients refuse the server's certificate: {other}."),
            "Give the node a certificate of your CA, for server authentication, with the names that clients use.",
        ),
    }
}

fn names(info: &CertificateInfo) -> String {
    if info.names.is_empty() { "no name at all".into() } else { listed(&info.names) }
}

#[cfg(test)]
mod tests {
    use doctor::Level;

    use super::*;

    fn info(from_days: i64, until_days: i64, names: &[&str]) -> (CertificateInfo, SystemTime) {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(20_000 * 86_400);
        let at = |days: i64| {
            let distance = Duration::from_secs(days.unsigned_abs() * 86_400);
            if days < 0 { now - distance } else { now + distance }
        };
        let info = CertificateInfo {
            not_before: at(from_days),
            not_after: at(until_days),
            names: names.iter().map(|&name| name.to_owned()).collect(),
            issuer: "CN=somebody".into(),
            is_ca: false,
        };
        (info, now)
    }

    #[test]
    fn dates_and_names_are_said() {
        for (from, until, names, level, said) in [
            (-1, 90, &["chat.example"][..], Level::Ok, "until 2025-01-02"),
            (-1, 13, &["chat.example"], Level::Warning, "expires in 13 days"),
            (-9, -2, &["chat.example"], Level::Problem, "expired on 2024-10-02"),
            (2, 90, &["chat.example"], Level::Problem, "only from 2024-10-06"),
            (
                -1,
                90,
                &["a.example", "b.example"],
                Level::Problem,
                "not chat.example, but a.example and b.example",
            ),
            (-1, 90, &[], Level::Problem, "no name at all"),
        ] {
            let (info, now) = info(from, until, names);
            let finding =
                judge_info("chat.example", &info, now).unwrap_or_else(|| judge_end(&info, now, "ca.pem"));
            assert_eq!(finding.level, level, "{finding:?}");
            assert!(finding.found.contains(said), "{finding:?}");
        }
    }

    #[test]
    fn another_ca_is_told_from_other_faults() {
        let (info, _) = info(-1, 90, &["chat.example"]);
        let unknown = judge_error(&CertificateError::UnknownIssuer.into(), &info, "ca.pem");
        assert!(unknown.found.contains("not from the CA in ca.pem") && unknown.found.contains("CN=somebody"));
        let purpose = judge_error(&CertificateError::InvalidPurpose.into(), &info, "ca.pem");
        assert!(purpose.level == Level::Problem && purpose.found.contains("refuse"), "{purpose:?}");
    }
}
