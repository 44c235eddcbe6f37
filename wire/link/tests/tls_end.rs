//! What is left of TLS on a server once the handshake is over, and what still works without it.

use std::sync::Arc;
use std::time::Duration;

use quinn_proto::crypto::rustls::QuicClientConfig;
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::kx_group;
use rustls::pki_types::CertificateDer;
use wire::Role;
use wire_link::testing::{Pair, secrets};
use wire_link::tls::{self, SessionStore};
use wire_link::{ClientConfig, Config, Endpoint, Event, ServerConfig, crypto};

mod common;
use common::returning::{Bench, Memory};
use common::talkative::Talkative;
use common::tls::{One, certificate, trusting};
use common::{frame, frame_of};

/// A server's TLS, whose handshakes in memory are counted by its references.
struct Server {
    tls: Arc<dyn crypto::ServerConfig>,
    root: CertificateDer<'static>,
}

impl Server {
    fn new() -> Server {
        let (root, serving) = certificate("localhost");
        Server { tls: tls::server(Arc::new(One(serving)), Arc::default()).unwrap(), root }
    }

    /// With a client of this TLS.
    fn pair(&self, client: ClientConfig, change: impl FnOnce(&mut ServerConfig)) -> Pair {
        let start = common::start();
        let mut server = ServerConfig::new(self.tls.clone());
        change(&mut server);
        let client = Endpoint::client(Config::client(secrets(1)), client, start);
        Pair::between(1, start, client, Endpoint::server(Config::server(secrets(2)), server, start))
    }

    fn client(&self) -> ClientConfig {
        ClientConfig::new(tls::client(trusting(&self.root)).unwrap())
    }

    /// References to it: the endpoint's, ours, and one for each handshake in memory.
    fn references(&self) -> usize {
        Arc::strong_count(&self.tls)
    }
}

fn rustls_client(server: &Server, provider: Arc<CryptoProvider>) -> QuicClientConfig {
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(trusting(&server.root).roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![wire::ALPN.to_vec()];
    QuicClientConfig::try_from(config).unwrap()
}

#[test]
fn a_server_keeps_no_handshake_of_any_link_that_is_connected() {
    let server = Server::new();
    let mut pair = server.pair(server.client(), |_| {});
    let idle = server.references();
    for links in 1..=3 {
        pair.connect();
        pair.run(Duration::from_millis(15));
        assert_eq!(server.references(), idle + 1, "the client's Finished is on its way");
        pair.run(Duration::from_secs(1));
        assert_eq!((server.references(), pair.server.links()), (idle, links));
    }
}

#[test]
fn a_handshake_that_fails_goes_with_its_link() {
    let server = Server::new();
    let (other, _) = certificate("localhost");
    let client = ClientConfig::new(tls::client(trusting(&other)).unwrap());
    let mut pair = server.pair(client, |_| {});
    let idle = server.references();
    pair.connect();
    pair.until_client(|event| matches!(event, Event::Closed { .. }));
    pair.run(Duration::from_secs(20));
    assert_eq!((server.references(), pair.server.links()), (idle, 0));
}

#[test]
fn keys_are_changed_again_and_again_from_either_side() {
    let server = Server::new();
    let mut pair = server.pair(server.client(), |_| {});
    let (client, on_server) = pair.connected();
    pair.run(Duration::from_secs(1));
    let stream = pair.client.open(client, Role::Request).unwrap();
    for round in 0..8 {
        // The side that begins takes turns, and twice both begin.
        if round % 2 == 0 || round > 5 {
            pair.client.update_keys(client);
        }
        if round % 2 == 1 || round > 5 {
            pair.server.update_keys(on_server);
        }
        pair.client.send(client, stream, frame(3000 + round)).unwrap();
        pair.until_server(|event| *event == frame_of(stream, 3000 + round));
        pair.server.send(on_server, stream, frame(4000 + round)).unwrap();
        pair.until_client(|event| *event == frame_of(stream, 4000 + round));
        // The keys before are forgotten after three probe timeouts.
        pair.run(Duration::from_secs(5));
    }
    assert_eq!((pair.client.links(), pair.server.links()), (1, 1));
}

#[test]
fn a_client_that_goes_on_talking_to_tls_loses_its_connection() {
    let server = Server::new();
    // RFC 8446, section 4: a KeyUpdate, a second ClientHello, half a header.
    for bytes in [&[24, 0, 0, 1, 0][..], &[1, 0, 0, 4, 3, 3, 0, 0], &[11]] {
        let client = Talkative::new(rustls_client(&server, tls::provider()), bytes);
        let mut pair = server.pair(ClientConfig::new(Arc::new(client)), |_| {});
        let idle = server.references();
        pair.connect();
        for (_, event) in [
            pair.until_server(|event| matches!(event, Event::Closed { .. })),
            pair.until_client(|event| matches!(event, Event::Closed { .. })),
        ] {
            let Event::Closed { reason } = event else { unreachable!("asked for above") };
            assert_eq!(reason.tls_alert(), Some(10), "{reason:?}");
        }
        assert_eq!(server.references(), idle);
    }
}

#[test]
fn a_hello_retry_and_a_retry_end_like_any_handshake() {
    let server = Server::new();
    // It guesses a group that the server lacks, and must say hello again.
    let kx_groups = vec![kx_group::SECP384R1, kx_group::X25519];
    let provider = Arc::new(CryptoProvider { kx_groups, ..(*tls::provider()).clone() });
    let guesses_wrong = ClientConfig::new(Arc::new(rustls_client(&server, provider)));
    for (client, before_retry, round_trips) in
        [(server.client(), 1000, 1), (guesses_wrong, 1000, 2), (server.client(), 0, 2)]
    {
        let mut pair = server.pair(client, |server| server.handshakes_before_retry = before_retry);
        let (idle, began) = (server.references(), pair.now);
        pair.connect();
        let (_, here) = pair.until_client(|event| matches!(event, Event::Connected { .. }));
        assert_eq!(pair.now - began, round_trips * Duration::from_millis(20));
        let (_, there) = pair.until_server(|event| matches!(event, Event::Connected { .. }));
        let (Event::Connected { exporter: a, .. }, Event::Connected { exporter: b, .. }) = (here, there)
        else {
            unreachable!("asked for above")
        };
        assert_eq!(a, b);
        assert_eq!(server.references(), idle);
    }
}

#[test]
fn c37_every_return_leaves_one_ticket_and_no_handshake_whatever_becomes_of_early_data() {
    let sessions = Arc::new(SessionStore::default());
    let mut bench = Bench::tls(1, sessions.clone());
    bench.introduce();
    assert_eq!((sessions.stats().sessions, sessions.stats().taken), (1, 0));
    for returned in 1..=3 {
        let (link, stream) = bench.speak(100);
        let stream = stream.expect("it is remembered");
        bench.until(|event| *event == frame_of(stream, 100));
        bench.pair.run(Duration::from_secs(1));
        assert_eq!(bench.pair.client.counters().early_accepted, returned);
        assert_eq!((sessions.stats().sessions, sessions.stats().taken), (1, returned));
        bench.pair.client.close(link, wire::CloseCode::Done, "");
        bench.pair.run(Duration::from_secs(5));
        bench.drop_events();
    }
    bench.restart(Memory::Lost);
    let (link, _) = bench.speak(100);
    assert_eq!(bench.outcome(), Some(false));
    let stream = bench.pair.client.open(link, Role::Request).unwrap();
    bench.pair.client.send(link, stream, frame(7)).unwrap();
    bench.until(|event| *event == frame_of(stream, 7));
}
