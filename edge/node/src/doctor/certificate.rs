//! The certificate that clients are shown, and its key: usable, together, in time, and for the right names.

use std::path::Path;
use std::time::{Duration, SystemTime};

use ::doctor::{Finding, listed};
use certs::{CertError, CertificateInfo, Development, day};

use super::ports::NodeThere;
use crate::config::Config;

const CHECK: &str = "certificate";

/// A certificate that ends sooner is to be renewed.
const EXPIRES_SOON: Duration = Duration::from_secs(14 * 86_400);

/// The files, and what they are judged with.
#[derive(Debug)]
struct Served<'a> {
    cert: &'a Path,
    /// They are development certificates, which a node makes and renews when it starts.
    is_made: bool,
    node: NodeThere,
    now: SystemTime,
}

impl Served<'_> {
    /// Nobody serves it, and whoever starts a node makes another first.
    fn is_renewed_at_start(&self) -> bool {
        self.is_made && !self.node.is_there()
    }
}

pub(super) fn examine(config: &Config, node: NodeThere) -> Vec<Finding> {
    let now = SystemTime::now();
    match (&config.cert, &config.key) {
        (Some(cert), Some(key)) => {
            let served = Served { cert, is_made: false, node, now };
            let names = (config.names != Config::default().names).then_some(&config.names[..]);
            vec![judge(&served, certs::inspect(cert), key_fits(cert, key), names)]
        }
        _ => {
            let made = Development::at(&config.data_path("certs"));
            if !made.cert.exists() {
                return vec![Finding::ok(
                    CHECK,
                    format!(
                        "no certificate is set, so the first start makes a development CA and a certificate for {}.",
                        listed(&config.names)
                    ),
                )
                .advise(format!("Clients will need the CA file: --ca {}.", made.ca.display()))];
            }
            let served = Served { cert: &made.cert, is_made: true, node, now };
            let fits = key_fits(&made.cert, &made.key);
            vec![
                judge(&served, certs::inspect(&made.cert), fits, Some(&config.names)),
                judge_ca(&made.ca, now),
            ]
        }
    }
}

fn key_fits(cert: &Path, key: &Path) -> Result<(), CertError> {
    certs::load_chain(cert, key).map(|_| ())
}

/// `names` are those that the certificate should have, if that is known.
fn judge(
    served: &Served<'_>,
    info: Result<CertificateInfo, CertError>,
    fits: Result<(), CertError>,
    names: Option<&[String]>,
) -> Finding {
    let cert = served.cert.display();
    let info = match info {
        Ok(info) => info,
        Err(error) => return judge_error(served, &error),
    };
    if let Err(error) = fits {
        return judge_error(served, &error);
    }
    if info.is_ca || info.names.is_empty() {
        let what = if info.is_ca { "is an authority's own" } else { "has no name in it" };
        return Finding::problem(
            CHECK,
            format!("the certificate in {cert} {what}: no client accepts it from a server."),
            "Have a server certificate issued with the node's DNS names or addresses as subject alternative names, and put it first in the file.",
        );
    }
    if let Some(finding) = judge_dates(served, &info) {
        return finding;
    }
    let missing: Vec<&String> = names.into_iter().flatten().filter(|name| !info.is_for(name)).collect();
    let (have, until) = (listed(&info.names), day(info.not_after));
    match (missing.is_empty(), served.is_made, served.node) {
        (true, ..) => {
            Finding::ok(CHECK, format!("the certificate is for {have}, until {until}, and fits its key."))
                .advise(format!(
                    "Clients connect by one of these names{}.",
                    if served.is_made { " and need the CA file" } else { "" }
                ))
        }
        (false, true, node) if !node.is_there() => Finding::ok(
            CHECK,
            format!(
                "the development certificate is for {have}; the next start makes one for {}.",
                listed(names.unwrap_or_default())
            ),
        ),
        (false, is_made, _) => Finding::warning(
            CHECK,
            format!("the certificate is for {have}, but not for {}.", listed(&missing)),
            if is_made {
                "Restart the node: it makes a new one for the names that are set."
            } else {
                "Have one issued for all `names`, or take out of `names` what clients do not use."
            },
        ),
    }
}

/// What the dates say against it.
fn judge_dates(served: &Served<'_>, info: &CertificateInfo) -> Option<Finding> {
    let (from, until) = (day(info.not_before), day(info.not_after));
    let renew = if served.is_made {
        "Restart the node: it makes a new one."
    } else {
        "Have it renewed and put in its place; a node that runs takes the new file within a minute."
    };
    if served.now < info.not_before {
        return Some(Finding::problem(
            CHECK,
            format!("the certificate in {} is valid only from {from} on.", served.cert.display()),
            "Check this machine's clock: either it is wrong now, or it was when the certificate was made.",
        ));
    }
    match info.not_after.duration_since(served.now) {
        Err(_) if served.is_renewed_at_start() => Some(Finding::ok(
            CHECK,
            format!("the development certificate expired on {until}; the next start makes a new one."),
        )),
        Err(_) => Some(Finding::problem(
            CHECK,
            format!("the certificate in {} expired on {until}: no client connects.", served.cert.display()),
            renew,
        )),
        Ok(left) if left < EXPIRES_SOON && !served.is_renewed_at_start() => Some(Finding::warning(
            CHECK,
            format!("the certificate expires in {} days, on {until}.", left.as_secs() / 86_400),
            renew,
        )),
        Ok(_) => None,
    }
}

fn judge_error(served: &Served<'_>, error: &CertError) -> Finding {
    if served.is_renewed_at_start() {
        let found =
            format!("the development certificate cannot be used ({error}); the next start makes a new one.");
        return Finding::ok(CHECK, found);
    }
    let source = std::error::Error::source(error).map(|source| format!(": {source}")).unwrap_or_default();
    let advice = match error {
        CertError::Unusable { source: rustls, .. }
            if rustls.to_string().contains("keys may not be consistent") =>
        {
            "The key belongs to another certificate: set `cert` and `key` to files that were made together."
        }
        CertError::Unusable { .. } => {
            "Check that `cert` and `key` were made together, and that the key is ECDSA P-256, P-384, Ed25519 or RSA."
        }
        CertError::Io { .. } => "Correct the path, or give the file to the node's user.",
        _ => {
            "Put the chain in PEM form into `cert`, the leaf first, and the private key in PEM form into `key`."
        }
    };
    Finding::problem(CHECK, format!("{error}{source}."), advice)
}

/// The development CA, which clients have a copy of.
fn judge_ca(ca: &Path, now: SystemTime) -> Finding {
    let check = "ca";
    match certs::inspect(ca) {
        Ok(info) if info.not_after < now || info.not_before > now => Finding::problem(
            check,
            format!("the development CA in {} is not valid today.", ca.display()),
            "Check the clock; if it is right, delete the folder, restart the node, and give clients the new file.",
        ),
        Ok(_) => Finding::ok(check, "the node uses development certificates.")
            .advise(format!("Clients need the CA file: --ca {}.", ca.display())),
        Err(error) => Finding::problem(
            check,
            format!("{error}."),
            "Delete the folder, restart the node, and give clients the new file.",
        ),
    }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use ::doctor::Level;

    use super::*;

    const DAY: Duration = Duration::from_secs(86_400);

    fn served(is_made: bool, node: NodeThere) -> Served<'static> {
        Served { cert: Path::new("node.pem"), is_made, node, now: UNIX_EPOCH + DAY * 20_000 }
    }

    fn info(until_days: u32) -> CertificateInfo {
        CertificateInfo {
            not_before: UNIX_EPOCH + DAY * 19_000,
            not_after: UNIX_EPOCH + DAY * until_days,
            names: vec!["chat.example".into(), "*.chat.example".into()],
            issuer: "CN=somebody".into(),
            is_ca: false,
        }
    }

    #[test]
    fn r150_dates_are_judged_by_who_renews() {
        let (yes, no) = (NodeThere::Yes("serving"), NodeThere::No);
        for (until, is_made, node, level, said) in [
            (20_100, false, no, Level::Ok, "fits its key"),
            (20_013, false, no, Level::Warning, "in 13 days"),
            (19_998, false, no, Level::Problem, "expired on 2024-10-02"),
            (19_998, true, no, Level::Ok, "next start makes a new one"),
            (19_998, true, yes, Level::Problem, "expired"),
            (20_013, true, no, Level::Ok, "fits its key"),
            (20_013, true, yes, Level::Warning, "in 13 days"),
        ] {
            let finding = judge(&served(is_made, node), Ok(info(until)), Ok(()), None);
            assert!(finding.level == level && finding.found.contains(said), "{finding:?}");
        }
        let early = CertificateInfo { not_before: UNIX_EPOCH + DAY * 20_001, ..info(20_100) };
        let finding = judge(&served(true, no), Ok(early), Ok(()), None);
        assert!(finding.level == Level::Problem && finding.found.contains("only from"), "{finding:?}");
    }

    #[test]
    fn r150_names_that_clients_use_are_looked_for() {
        let names = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
        let (yes, no) = (NodeThere::Yes("serving"), NodeThere::No);
        for (wanted, is_made, node, level) in [
            (&["chat.example", "a.chat.example"][..], false, no, Level::Ok),
            (&["chat.example", "10.0.0.1"], false, no, Level::Warning),
            (&["10.0.0.1"], true, no, Level::Ok),
            (&["10.0.0.1"], true, yes, Level::Warning),
        ] {
            let finding = judge(&served(is_made, node), Ok(info(20_100)), Ok(()), Some(&names(wanted)));
            assert_eq!(finding.level, level, "{finding:?}");
        }
        // Said before a date that is merely near.
        for odd in [
            CertificateInfo { is_ca: true, ..info(20_013) },
            CertificateInfo { names: vec![], ..info(20_013) },
        ] {
            let finding = judge(&served(false, no), Ok(odd), Ok(()), None);
            assert_eq!(finding.level, Level::Problem, "{finding:?}");
        }
    }

    #[test]
    fn r150_a_key_of_another_certificate_is_named_as_such() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let make = |name| {
            certs::make_development(&dir.path().join(name), &["localhost".into()]).expect("certificates")
        };
        let (a, b) = (make("a"), make("b"));
        let config = |cert: &Path, key: &Path| Config {
            cert: Some(cert.to_owned()),
            key: Some(key.to_owned()),
            ..Config::default()
        };
        let good = examine(&config(&a.cert, &a.key), NodeThere::No);
        assert_eq!(good[0].level, Level::Ok, "{good:?}");
        let mixed = examine(&config(&a.cert, &b.key), NodeThere::No);
        let advice = mixed[0].advice.as_deref().expect("advice");
        assert!(mixed[0].level == Level::Problem && advice.contains("belongs to another"), "{mixed:?}");
        let gone = examine(&config(&dir.path().join("none.pem"), &a.key), NodeThere::No);
        assert!(gone[0].level == Level::Problem && gone[0].found.contains("none.pem"), "{gone:?}");
    }

    #[test]
    fn development_certificates_say_where_the_ca_is() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let config = Config { data: dir.path().to_owned(), ..Config::default() };
        let says_ca = |findings: &[Finding]| {
            findings.iter().any(|f| f.advice.as_deref().is_some_and(|advice| advice.contains("certs/ca.pem")))
        };
        assert!(says_ca(&examine(&config, NodeThere::No)), "before they are made");
        certs::make_development(&config.data_path("certs"), &config.names).expect("certificates");
        let findings = examine(&config, NodeThere::No);
        assert!(says_ca(&findings) && ::doctor::worst(&findings) == Level::Ok, "{findings:?}");
    }
}
