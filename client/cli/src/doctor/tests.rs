//! What is judged, as tables.

use doctor::Level;

use super::*;

fn address(last: u8) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, last], 4433))
}

#[test]
fn a_server_is_a_host_and_maybe_a_port() {
    for (text, means) in [
        ("chat.example", Some(("chat.example", 4433))),
        ("chat.example:1", Some(("chat.example", 1))),
        ("127.0.0.1", Some(("127.0.0.1", 4433))),
        ("::1", Some(("::1", 4433))),
        ("[::1]", Some(("::1", 4433))),
        ("[::1]:1", Some(("::1", 1))),
        ("", None),
        (":1", None),
        ("chat.example:", None),
        ("chat.example:0", None),
        ("chat.example:port", None),
    ] {
        assert_eq!(split(text), means, "{text:?}");
    }
}

#[test]
fn names_without_an_address_say_what_to_check() {
    let (addresses, found) = judge_name("chat.example", Ok(vec![address(1)])).expect("an address");
    assert_eq!((addresses.len(), found.level), (1, Level::Ok));
    for nothing in [Ok(Vec::new()), Err(std::io::Error::other("no such name"))] {
        let finding = judge_name("chat.example", nothing).expect_err("no address");
        assert!(finding.level == Level::Problem && finding.found.contains("chat.example"), "{finding:?}");
    }
}

#[test]
fn silence_refusal_and_strangers_are_told_apart() {
    let quic = Probe::Quic(Duration::from_millis(3));
    for (probes, level, said) in [
        (&[quic][..], Level::Ok, "answered by a QUIC server"),
        (&[quic, Probe::Silent], Level::Warning, "192.0.2.1:4433 answers, but 192.0.2.2:4433 does not"),
        (&[quic, Probe::NoRoute], Level::Ok, "192.0.2.2:4433 cannot be reached"),
        (&[Probe::Silent], Level::Problem, "UDP is blocked on the way, or nothing listens"),
        (&[Probe::Refused], Level::Problem, "nothing listens there (ICMP"),
        (&[Probe::NoRoute], Level::Problem, "no way to it"),
        (&[Probe::Forbidden], Level::Problem, "forbids it"),
        (&[Probe::Other], Level::Problem, "not QUIC"),
        (&[], Level::Problem, "no address"),
    ] {
        let probes: Vec<_> = (1..).map(address).zip(probes.iter().copied()).collect();
        let finding = judge_probes(&probes);
        assert!(finding.level == level && finding.found.contains(said), "{finding:?}");
        assert_eq!(finding.advice.is_some(), level != Level::Ok);
    }
}

#[test]
fn a_failed_handshake_says_why() {
    let met =
        |ended| Met { ended, took: Duration::ZERO, leaf: None, answer: None, wall: std::time::UNIX_EPOCH };
    let quic = Probe::Quic(Duration::ZERO);
    for (ended, probe, level, said) in [
        (None, quic, Level::Ok, "is made"),
        (Some(Ended::OtherProtocol), quic, Level::Problem, "godwit/1"),
        (Some(Ended::Silence), quic, Level::Problem, "single datagrams"),
        (Some(Ended::Silence), Probe::Silent, Level::Problem, "nothing answers"),
        (Some(Ended::Refused), quic, Level::Problem, "refuses"),
        (Some(Ended::Other("odd".into())), quic, Level::Problem, "odd"),
    ] {
        let finding = judge_handshake(probe, &met(ended));
        assert!(finding.level == level && finding.found.contains(said), "{finding:?}");
    }
}

#[test]
fn clocks_may_differ_by_a_minute_and_not_by_ten() {
    for (ahead_ms, level, said) in [
        (0, Level::Ok, "within 0 ms"),
        (-60_000, Level::Ok, "within 60 s"),
        (61_000, Level::Warning, "61 s behind"),
        (-600_000, Level::Warning, "10 minutes ahead of"),
        (600_001, Level::Problem, "10 minutes behind"),
        (i64::MIN, Level::Problem, "days ahead of"),
    ] {
        let finding = judge_skew(ahead_ms);
        assert!(finding.level == level && finding.found.contains(said), "{finding:?}");
    }
}

#[test]
fn answers_are_said_in_words() {
    let ms = Duration::from_millis(7);
    for (answer, level, said) in [
        (Answer::Connected { version: 1, ahead_ms: 0, round_trip: ms }, Level::Ok, "7.0 ms"),
        (
            Answer::Refused(wire::ErrorCode::RateLimited.refuse()),
            Level::Warning,
            "refuses an anonymous session",
        ),
        (Answer::Unclear, Level::Problem, "does not understand"),
        (Answer::Silence, Level::Problem, "does not answer"),
    ] {
        let finding = judge_answer(&answer);
        assert!(finding.level == level && finding.found.contains(said), "{finding:?}");
    }
}

/// A QUIC server that speaks another protocol, until it is stopped.
struct Stranger {
    address: SocketAddr,
    stop: std::sync::Arc<std::sync::atomic::AtomicBool>,
    waker: wire_udp::Waker,
    serving: Option<std::thread::JoinHandle<()>>,
}

impl Stranger {
    fn start(dir: &std::path::Path) -> Stranger {
        let mut driver =
            wire_udp::Driver::bind(([127, 0, 0, 1], 0).into(), other_protocol(dir)).expect("a port");
        let (address, waker) = (driver.local_addr().expect("its address"), driver.waker());
        let stop = std::sync::Arc::<std::sync::atomic::AtomicBool>::default();
        let stopped = stop.clone();
        let serving = std::thread::spawn(move || {
            while !stopped.load(std::sync::atomic::Ordering::Acquire) {
                while driver.endpoint().poll_event().is_some() {}
                driver.flush().expect("sent");
                driver.wait(None).expect("a socket");
            }
        });
        Stranger { address, stop, waker, serving: Some(serving) }
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        self.stop.store(true, std::sync::atomic::Ordering::Release);
        self.waker.wake();
        let ended = self.serving.take().map(std::thread::JoinHandle::join);
        assert!(std::thread::panicking() || matches!(ended, Some(Ok(()))), "it ends in order");
    }
}

fn other_protocol(dir: &std::path::Path) -> wire_link::Endpoint {
    use std::sync::Arc;
    use wire_link::crypto::rustls::QuicServerConfig;
    use wire_link::{Config, Endpoint, Secrets, ServerConfig};

    let made = certs::make_development(dir, &["127.0.0.1".into()]).expect("certificates");
    let chain = certs::Reloading::new(made.cert, made.key).expect("a chain");
    let mut tls = rustls::ServerConfig::builder_with_provider(wire_link::tls::provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("TLS 1.3")
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(chain));
    tls.alpn_protocols = vec![b"h3".to_vec()];
    let crypto = Arc::new(QuicServerConfig::try_from(tls).expect("a suite"));
    let secrets = Secrets { seed: [1; 32], reset_key: [2; 32], token_key: [3; 32], cid_key: [4; 32] };
    Endpoint::server(Config::server(secrets), ServerConfig::new(crypto), std::time::Instant::now())
}

#[test]
fn another_protocol_on_the_port_is_told_from_a_fault() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let stranger = Stranger::start(dir.path());
    let patience = Duration::from_secs(30);
    assert!(matches!(probe::probe(stranger.address, patience), Probe::Quic(_)), "it is a QUIC server");
    let met = handshake::handshake(stranger.address, "127.0.0.1", None, patience).expect("a socket");
    assert_eq!(met.ended, Some(Ended::OtherProtocol), "{met:?}");
}
