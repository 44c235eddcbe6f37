//! What is made here, used: a client that trusts the development CA meets a node that serves the leaf.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use certs::{Development, Reloading, load_certificate, load_roots, make_development};
use wire_link::testing::{Pair, secrets};
use wire_link::tls::{self, Trust};
use wire_link::{ClientConfig, Config, Endpoint, Event, ServerConfig};

fn made(dir: &Path, names: &[&str]) -> Development {
    let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
    make_development(dir, &names).unwrap()
}

fn pair(trust: Trust, serving: Arc<Reloading>) -> Pair {
    let start = Instant::now();
    let client = ClientConfig::new(tls::client(trust).unwrap());
    let server = ServerConfig::new(tls::server(serving, Arc::default()).unwrap());
    let client = Endpoint::client(Config::client(secrets(1)), client, start);
    Pair::between(1, start, client, Endpoint::server(Config::server(secrets(2)), server, start))
}

/// Whether the next handshake of a client that asks for "localhost" succeeds.
fn is_accepted(pair: &mut Pair) -> bool {
    pair.connect();
    let (_, event) =
        pair.until_client(|event| matches!(event, Event::Connected { .. } | Event::Closed { .. }));
    matches!(event, Event::Connected { .. })
}

#[test]
fn r150_the_development_ca_vouches_for_the_leaf_and_for_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let ours = made(&dir.path().join("ours"), &["localhost", "127.0.0.1", "::1"]);
    let theirs = made(&dir.path().join("theirs"), &["localhost"]);
    let elsewhere = made(&dir.path().join("elsewhere"), &["elsewhere.example"]);
    for (trusted, served, accepted) in
        [(&ours, &ours, true), (&theirs, &ours, false), (&elsewhere, &elsewhere, false)]
    {
        let serving = Arc::new(Reloading::new(served.cert.clone(), served.key.clone()).unwrap());
        let trust = Trust::roots(load_roots(&trusted.ca).unwrap());
        assert_eq!(is_accepted(&mut pair(trust, serving)), accepted, "{trusted:?} {served:?}");
    }
}

#[test]
fn r150_a_renewed_leaf_is_served_without_a_restart_and_a_pin_notices() {
    let dir = tempfile::tempdir().unwrap();
    let first = made(dir.path(), &["localhost"]);
    let serving = Arc::new(Reloading::new(first.cert.clone(), first.key.clone()).unwrap());
    let roots = Arc::new(load_roots(&first.ca).unwrap());
    let first_pin = load_certificate(&first.cert).unwrap();
    let mut trusting = pair(Trust::roots(roots.clone()), serving.clone());
    assert!(is_accepted(&mut trusting));

    let second = made(dir.path(), &["localhost", "127.0.0.1"]);
    // File times may be too coarse to tell two writes of one test apart.
    let later = SystemTime::now() + Duration::from_secs(5);
    std::fs::File::open(&second.cert).unwrap().set_modified(later).unwrap();
    assert!(serving.reload_if_changed().unwrap());
    assert!(is_accepted(&mut trusting));
    let second_pin = load_certificate(&second.cert).unwrap();
    for (pin, accepted) in [(first_pin, false), (second_pin, true)] {
        let trust = Trust { roots: roots.clone(), pinned: Some(pin) };
        assert_eq!(is_accepted(&mut pair(trust, serving.clone())), accepted);
    }
}
