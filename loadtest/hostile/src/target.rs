//! Whom an attack is aimed at, from where, and as whom.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Instant;

use aws_lc_rs::signature::Ed25519KeyPair;
use bytes::Bytes;
use rand::RngCore;
use rand_chacha::ChaCha8Rng;
use wire::proof::{self, Exporter, Purpose};
use wire::request::{Credentials, Hello, Request};
use wire::{Secret, WallTime};
use wire_link::{ClientConfig, ClientCrypto, Config, Endpoint, Secrets};

/// Whom an attack is aimed at, and from where.
#[derive(Debug, Clone)]
pub struct Target {
    /// The node's address.
    pub server: SocketAddr,
    /// Its name in its certificate.
    pub name: String,
    /// Whom its clients trust ([`wire_link::tls::client`]).
    pub crypto: ClientCrypto,
    /// Addresses of this machine (or of the thread's namespace) to come from, in turns; none: the one that the system
    /// chooses.
    pub from: Vec<IpAddr>,
}

impl Target {
    /// A socket on any port of the `n`th address to come from; it never blocks.
    pub(crate) fn socket(&self, n: u64) -> io::Result<UdpSocket> {
        let socket = UdpSocket::bind((self.from(n), 0))?;
        socket.set_nonblocking(true)?;
        Ok(socket)
    }

    /// The `n`th address to come from, in turns.
    pub(crate) fn from(&self, n: u64) -> IpAddr {
        let any = match self.server {
            SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            SocketAddr::V6(_) => std::net::Ipv6Addr::UNSPECIFIED.into(),
        };
        let place = usize::try_from(n % self.from.len().max(1) as u64).unwrap_or(0);
        self.from.get(place).copied().unwrap_or(any)
    }

    /// A client's endpoint.
    pub(crate) fn endpoint(&self, rng: &mut ChaCha8Rng, now: Instant) -> Endpoint {
        let [mut seed, mut key] = [[0; 32]; 2];
        rng.fill_bytes(&mut seed);
        rng.fill_bytes(&mut key);
        let secrets = Secrets { seed, reset_key: key, token_key: key, cid_key: key };
        Endpoint::client(Config::client(secrets), ClientConfig::new(self.crypto.clone()), now)
    }
}

/// A device that the node knows: its access token and its key.
#[derive(Clone)]
pub struct Identity {
    /// The access token.
    pub token: Secret<String>,
    /// The device's key.
    pub key: Arc<Ed25519KeyPair>,
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Identity(..)")
    }
}

/// A `Hello` as this device, or as nobody, as a frame.
pub(crate) fn hello(identity: Option<&Identity>, exporter: &Exporter) -> Bytes {
    let credentials = identity.and_then(|identity| {
        let token = identity.token.clone();
        let message = proof::message(Purpose::Hello, exporter, &[token.expose().as_bytes()]);
        let proof = identity.key.sign(&message).as_ref().try_into().ok()?;
        Some(Credentials { token, proof, early: None })
    });
    let (receipts_since, cursors, client) = (WallTime(0), Vec::new(), "hostile".to_owned());
    Request::Hello(Hello { version: 1, credentials, receipts_since, cursors, client }).encode()
}
