//! Real TLS over links.

use std::sync::Arc;

use rustls::sign::CertifiedKey;
use wire::Role;
use wire_link::testing::{Pair, secrets};
use wire_link::tls::{self, Trust};
use wire_link::{ClientConfig, CloseReason, Config, Endpoint, Event, ServerConfig};

mod common;
use common::tls::{One, certificate, trusting};
use common::{frame, frame_of};

fn pair(trust: Trust, serving: Arc<CertifiedKey>) -> Pair {
    let start = common::start();
    let client = ClientConfig::new(tls::client(trust).unwrap());
    let server = ServerConfig::new(tls::server(Arc::new(One(serving)), Arc::default()).unwrap());
    let client = Endpoint::client(Config::client(secrets(1)), client, start);
    Pair::between(1, start, client, Endpoint::server(Config::server(secrets(2)), server, start))
}

#[test]
fn k1_tls_1_3_with_one_exporter_on_both_sides() {
    let (root, serving) = certificate("localhost");
    let mut pair = pair(trusting(&root), serving);
    let client = pair.connect();
    let (_, here) = pair.until_client(|event| matches!(event, Event::Connected { .. }));
    let (server, there) = pair.until_server(|event| matches!(event, Event::Connected { .. }));
    let (Event::Connected { exporter: a, .. }, Event::Connected { exporter: b, .. }) = (here, there) else {
        unreachable!("asked for above")
    };
    assert_eq!(a, b);
    assert_ne!(a, [0; 32]);
    let stream = pair.client.open(client, Role::Request).unwrap();
    pair.client.send(client, stream, frame(5000)).unwrap();
    pair.until_server(|event| *event == frame_of(stream, 5000));
    pair.server.send(server, stream, frame(5000)).unwrap();
    pair.until_client(|event| *event == frame_of(stream, 5000));
}

#[test]
fn a_server_that_nobody_vouches_for_is_refused() {
    let (_, serving) = certificate("localhost");
    let (other, _) = certificate("localhost");
    let (right, wrong_name) = certificate("elsewhere.example");
    for (root, serving) in [(other, serving), (right, wrong_name)] {
        let mut pair = pair(trusting(&root), serving);
        pair.connect();
        let (_, event) = pair.until_client(|event| matches!(event, Event::Closed { .. }));
        let Event::Closed { reason } = event else { unreachable!("asked for above") };
        assert!(reason.tls_alert().is_some(), "{reason:?}");
        assert!(matches!(reason, CloseReason::Transport { .. }));
    }
}

#[test]
fn a_pinned_server_is_that_one_and_no_other() {
    let (root, serving) = certificate("localhost");
    let (other, _) = certificate("localhost");
    for (pin, accepted) in [(root.clone(), true), (other, false)] {
        let trust = Trust { pinned: Some(pin), ..trusting(&root) };
        let mut pair = pair(trust, serving.clone());
        pair.connect();
        let (_, event) =
            pair.until_client(|event| matches!(event, Event::Connected { .. } | Event::Closed { .. }));
        assert_eq!(matches!(event, Event::Connected { .. }), accepted, "{event:?}");
    }
}

#[test]
fn a_peer_of_another_protocol_is_refused() {
    let (root, serving) = certificate("localhost");
    let mut config = rustls::ClientConfig::builder_with_provider(tls::provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(trusting(&root).roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h3".to_vec()];
    let crypto = quinn_proto::crypto::rustls::QuicClientConfig::try_from(config).unwrap();
    let mut pair = pair(trusting(&root), serving);
    let start = pair.now;
    pair.client = Endpoint::client(Config::client(secrets(3)), ClientConfig::new(Arc::new(crypto)), start);
    pair.connect();
    let (_, event) = pair.until_client(|event| matches!(event, Event::Closed { .. }));
    let Event::Closed { reason } = event else { unreachable!("asked for above") };
    assert_eq!(reason.tls_alert(), Some(120), "{reason:?}");
}
