//! `godwit doctor --server`: what is wrong with the way to a server, step by step: name, UDP, handshake, certificate,
//! the server's answer, clocks.
//!
//! Each `judge_…` is a plain function from what was seen to a [`Finding`]; looking is in `probe` (bare datagrams) and
//! `handshake` (a real connection). Nothing secret is sent: the session is anonymous, so that it may go on with a
//! server whose certificate is wrong, and tell more.

mod certificate;
mod handshake;
mod probe;

use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::time::Duration;

use client_db::DbError;
use doctor::{Finding, listed};

use crate::error::CliError;
use crate::unlock::ProfileArgs;
use handshake::{Answer, Ended, Met};
use probe::Probe;

/// The port if none is said.
const PORT_DEFAULT: u16 = 4433;

/// Addresses of one name that are tried.
const ADDRESSES_MAX: usize = 4;

/// Past this, a server does not accept early data (0-RTT).
const EARLY_DATA_SKEW: Duration = Duration::from_secs(60);

/// Past this, proofs with a time in them are refused, and certificates are judged wrongly.
const SKEW_MAX: Duration = Duration::from_secs(600);

/// Which server.
#[derive(Debug, Clone)]
pub enum Reach {
    /// One that was named.
    Server {
        /// `HOST` or `HOST:PORT`.
        server: String,
        /// The CA to trust. Without one, the certificate is shown and not judged.
        ca: Option<PathBuf>,
    },
    /// The one that a profile is registered at.
    Profile {
        /// Which, and what opens it.
        profile: ProfileArgs,
        /// Instead of the CA that the profile remembers.
        ca: Option<PathBuf>,
    },
}

/// Examines the way to a server. Each step waits for `patience` at most; what cannot be looked at, since an earlier step
/// failed, is left out.
pub fn examine(reach: &Reach, patience: Duration) -> Vec<Finding> {
    let mut findings = Vec::new();
    let (server, ca) = match reach {
        Reach::Server { server, ca } => (server.clone(), ca.clone()),
        Reach::Profile { profile, ca } => match of_profile(profile) {
            Ok(known) => {
                findings.push(Finding::ok("profile", format!("this profile's server is {}.", known.address)));
                (known.address, ca.clone().or(Some(known.ca)))
            }
            Err(finding) => return vec![finding],
        },
    };
    let (host, addresses) = match resolved(&server) {
        Ok((host, addresses, finding)) => {
            findings.push(finding);
            (host, addresses)
        }
        Err(finding) => return [findings, vec![finding]].concat(),
    };
    let roots = match ca.as_deref().map(certs::load_roots).transpose() {
        Ok(roots) => roots,
        Err(error) => {
            findings.push(judge_ca(&error));
            None
        }
    };
    let probes: Vec<(SocketAddr, Probe)> =
        addresses.iter().map(|&address| (address, probe::probe(address, patience))).collect();
    findings.push(judge_probes(&probes));
    // A server may answer connections and not the probe; one that refuses or cannot be reached is left alone.
    let mut to_try: Vec<&(SocketAddr, Probe)> =
        probes.iter().filter(|(_, probe)| matches!(probe, Probe::Quic(_) | Probe::Silent)).collect();
    to_try.sort_by_key(|(_, probe)| !matches!(probe, Probe::Quic(_)));
    if let Some(&&(address, probe)) = to_try.first() {
        let trusted = certificate::Trusted { ca, roots };
        match handshake::handshake(address, &host, trusted.roots.clone(), patience) {
            Ok(met) => findings.extend(judge_met(&host, &trusted, probe, &met)),
            Err(error) => findings.push(Finding::problem(
                "quic",
                format!("this machine cannot even try a connection: {error}."),
                "Look at the limits of this machine: sockets, memory, a sandbox around this program.",
            )),
        }
    }
    findings
}

fn of_profile(profile: &ProfileArgs) -> Result<crate::profile::Server, Finding> {
    let known = profile.open().and_then(|profile| profile.server());
    let advice = "Register it with `godwit register`, or name the server with --server and --ca.";
    match known {
        Ok(Some(known)) => Ok(known),
        Ok(None) => Err(Finding::problem("profile", "this profile has no server yet.", advice)),
        Err(error @ CliError::LoginNeeded { .. }) => {
            let why = format!("there is no profile in {}.", profile.profile.display());
            drop(error);
            Err(Finding::problem("profile", why, advice))
        }
        Err(error @ (CliError::Usage(_) | CliError::Database(DbError::WrongPassphrase))) => {
            Err(Finding::problem(
                "profile",
                format!("{}.", error.chain()),
                "Give its passphrase by --passphrase-file.",
            ))
        }
        Err(error) => Err(Finding::problem(
            "profile",
            format!("{}.", error.chain()),
            "Look at who owns the folder and whether the disk is full; a newer godwit may have written it.",
        )),
    }
}

/// Splits `HOST[:PORT]`. An IPv6 address without brackets has no port.
fn split(server: &str) -> Option<(&str, u16)> {
    if server.parse::<std::net::IpAddr>().is_ok() {
        return Some((server, PORT_DEFAULT));
    }
    let (host, port) = match server.rsplit_once(':') {
        Some((host, port)) if !server.ends_with(']') => (host, port.parse().ok().filter(|port| *port != 0)?),
        _ => (server, PORT_DEFAULT),
    };
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    (!host.is_empty()).then_some((host, port))
}

fn resolved(server: &str) -> Result<(String, Vec<SocketAddr>, Finding), Finding> {
    let Some((host, port)) = split(server) else {
        return Err(Finding::problem(
            "name",
            format!("{server:?} is no server's address."),
            "Say HOST or HOST:PORT, like chat.example:4433, 127.0.0.1:4433 or [::1]:4433.",
        ));
    };
    let found = (host, port).to_socket_addrs().map(|found| {
        let mut addresses: Vec<SocketAddr> = Vec::new();
        for address in found {
            if !addresses.contains(&address) {
                addresses.push(address);
            }
        }
        addresses.truncate(ADDRESSES_MAX);
        addresses
    });
    judge_name(host, found).map(|(addresses, finding)| (host.to_owned(), addresses, finding))
}

fn judge_name(
    host: &str,
    found: std::io::Result<Vec<SocketAddr>>,
) -> Result<(Vec<SocketAddr>, Finding), Finding> {
    let advice =
        "Check the spelling, this machine's network connection and its DNS servers (`getent hosts NAME`).";
    match found {
        Ok(addresses) if !addresses.is_empty() => {
            let shown: Vec<String> = addresses.iter().map(|address| address.ip().to_string()).collect();
            let said = if shown == [host] {
                format!("{host} is an address; no name has to be looked up.")
            } else {
                format!("{host} is {}.", listed(&shown))
            };
            Ok((addresses, Finding::ok("name", said)))
        }
        Ok(_) => Err(Finding::problem("name", format!("the name {host} has no address."), advice)),
        Err(error) => {
            Err(Finding::problem("name", format!("the name {host} cannot be looked up: {error}."), advice))
        }
    }
}

fn judge_ca(error: &certs::CertError) -> Finding {
    let source = std::error::Error::source(error).map(|source| format!(": {source}")).unwrap_or_default();
    Finding::problem(
        "ca",
        format!("{error}{source}."),
        "Give the CA's certificate with --ca FILE; for a development node it is DATA/certs/ca.pem.",
    )
}

/// What bare datagrams to each address met.
fn judge_probes(probes: &[(SocketAddr, Probe)]) -> Finding {
    let good: Vec<SocketAddr> = of(probes, |probe| matches!(probe, Probe::Quic(_)));
    let bad = || {
        let bad = probes.iter().filter(|(_, probe)| !matches!(probe, Probe::Quic(_)));
        bad.map(|(address, probe)| format!("{address} {}", probe.what())).collect::<Vec<_>>()
    };
    match probes {
        [] => Finding::problem("udp", "there is no address to send to.", "Check the server's name."),
        _ if good.len() == probes.len() => {
            Finding::ok("udp", format!("datagrams reach {} and are answered by a QUIC server.", shown(&good)))
        }
        // A machine without IPv6 loses nothing: its clients go on to the next address at once.
        _ if !good.is_empty() && probes.iter().all(|(_, probe)| probe.is_harmless()) => {
            Finding::ok("udp", format!("{} answers; {}, which does no harm.", shown(&good), listed(&bad())))
        }
        _ if !good.is_empty() => Finding::warning(
            "udp",
            format!("{} answers, but {}.", shown(&good), listed(&bad())),
            "Clients try one address after the other and lose time: take the bad ones out of the DNS, or serve them too.",
        ),
        [(_, first), ..] => Finding::problem("udp", format!("{}.", listed(&bad())), first.advice()),
    }
}

fn of(probes: &[(SocketAddr, Probe)], wanted: impl Fn(&Probe) -> bool) -> Vec<SocketAddr> {
    probes.iter().filter(|(_, probe)| wanted(probe)).map(|(address, _)| *address).collect()
}

fn shown(addresses: &[SocketAddr]) -> String {
    listed(&addresses.iter().map(ToString::to_string).collect::<Vec<_>>())
}

/// Everything that a connection showed.
fn judge_met(host: &str, trusted: &certificate::Trusted, probe: Probe, met: &Met) -> Vec<Finding> {
    let mut findings = vec![judge_handshake(probe, met)];
    if let Some(leaf) = &met.leaf {
        findings.push(certificate::judge(host, trusted, leaf, met.wall));
    }
    if let Some(answer) = &met.answer {
        findings.push(judge_answer(answer));
        if let Answer::Connected { ahead_ms, .. } = answer {
            findings.push(judge_skew(*ahead_ms));
        }
    }
    findings
}

fn judge_handshake(probe: Probe, met: &Met) -> Finding {
    let Some(ended) = &met.ended else {
        return Finding::ok(
            "quic",
            format!("a QUIC connection is made, {:.1} ms after the first datagram.", millis(met.took)),
        );
    };
    match ended {
        Ended::OtherProtocol => Finding::problem(
            "quic",
            format!(
                "a QUIC server answers, but it speaks another protocol than {:?} (ALPN).",
                String::from_utf8_lossy(wire::ALPN)
            ),
            "Check the port: something else than Godwit is there, such as an HTTP/3 server; or one side is much older.",
        ),
        Ended::Silence if matches!(probe, Probe::Quic(_)) => Finding::problem(
            "quic",
            "the server answers single datagrams, but no handshake is completed.",
            "The way may drop large datagrams (1,200 bytes must pass, so an MTU of 1,280), or the server is overloaded: look at its log.",
        ),
        Ended::Silence => Finding::problem(
            "quic",
            "no connection is made: nothing answers.",
            "UDP is blocked on the way, or nothing listens: see the line about UDP.",
        ),
        Ended::Refused => Finding::problem(
            "quic",
            "the server refuses new connections.",
            "It is full, or about to stop: try again in a minute, and look at its log.",
        ),
        Ended::Other(reason) => Finding::problem(
            "quic",
            format!("the handshake fails: {reason}."),
            "Look at the server's log at this time; the versions of both sides may not fit.",
        ),
    }
}

fn judge_answer(answer: &Answer) -> Finding {
    match answer {
        Answer::Connected { version, round_trip, .. } => Finding::ok(
            "session",
            format!(
                "the server answers with protocol version {version}; a round trip takes {:.1} ms.",
                millis(*round_trip)
            ),
        ),
        Answer::Refused(refusal) => Finding::warning(
            "session",
            format!("the server is there but refuses an anonymous session: {refusal}."),
            "Wait a minute and try again; if it stays so, look at the server's log and its limits.rates.",
        ),
        Answer::Unclear => Finding::problem(
            "session",
            "the server answers with something that this program does not understand.",
            "One side is much older than the other: compare `godwit --version` on both.",
        ),
        Answer::Silence => Finding::problem(
            "session",
            "the connection is made, but the server does not answer on it.",
            "The node may be overloaded or stopping: look at its log.",
        ),
    }
}

/// The server's clock against ours; positive if the server is ahead.
fn judge_skew(ahead_ms: i64) -> Finding {
    let skew = Duration::from_millis(ahead_ms.unsigned_abs());
    let side = if ahead_ms > 0 { "behind" } else { "ahead of" };
    let found = format!("this machine's clock is {} {side} the server's.", span(skew));
    let advice = "Set the clock, and let NTP keep it (`timedatectl set-ntp true`); if it is right here, tell the operator.";
    if skew > SKEW_MAX {
        Finding::problem("server_clock", found, advice)
    } else if skew > EARLY_DATA_SKEW {
        let advice =
            format!("{advice} Until then reconnecting takes a round trip more: early data is not accepted.");
        Finding::warning("server_clock", found, advice)
    } else {
        Finding::ok("server_clock", format!("the clocks agree within {}.", span(skew)))
    }
}

fn span(span: Duration) -> String {
    match span.as_secs() {
        0 => format!("{} ms", span.as_millis()),
        s @ 1..120 => format!("{s} s"),
        s @ 120..7_200 => format!("{} minutes", s / 60),
        s @ 7_200..172_800 => format!("{} hours", s / 3_600),
        s => format!("{} days", s / 86_400),
    }
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

#[cfg(test)]
mod tests;
