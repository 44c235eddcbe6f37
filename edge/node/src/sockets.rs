//! The sockets that clients connect to: one per loop, all on one port, and what makes them one server.
//!
//! The kernel spreads newcomers over the sockets by their addresses. The loop that took one owns its connection for good:
//! its number is in the connection's ids, and what lands elsewhere after a phone has moved is handed to it.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use wire_link::{
    CidConfig, Config as LinkConfig, Endpoint, NewcomerLimits, Secrets, ServerConfig, Steering, crypto,
};
use wire_udp::{Driver, Options};

use crate::config::{Config, Handshakes};
use crate::secrets::NodeSecrets;

/// Binds one socket per loop, the seeds being as many.
///
/// # Errors
/// The address is taken, also by another node that shares its ports, or is not ours.
pub(crate) fn bind(
    config: &Config,
    secrets: &NodeSecrets,
    crypto: &Arc<dyn crypto::ServerConfig>,
    seeds: &[[u8; 32]],
) -> io::Result<Vec<Driver>> {
    let address = probe(config.listen)?;
    let (epoch, loops) = (Instant::now(), u8::try_from(seeds.len()).unwrap_or(u8::MAX));
    let options = Options { reuse_port: loops > 1, ..Options::default() };
    let steering = Steering::new(*secrets.cid.expose(), loops);
    let seats = wire_udp::steering(seeds.len(), steering);
    let mut drivers = Vec::with_capacity(seeds.len());
    for ((loop_no, &seed), seat) in (0..).zip(seeds).zip(seats) {
        let secrets = Secrets {
            seed,
            reset_key: *secrets.reset.expose(),
            token_key: *secrets.retry.expose(),
            cid_key: *secrets.cid.expose(),
        };
        let link = LinkConfig {
            links_max: config.limits.connections,
            cids: CidConfig { loop_no, key: secrets.cid_key },
            epoch: Some(epoch),
            ..LinkConfig::server(secrets)
        };
        let server = server(&config.handshakes, crypto.clone(), loops);
        let mut driver = Driver::bind_with(address, Endpoint::server(link, server, epoch), &options)?;
        driver.sit(seat);
        drivers.push(driver);
    }
    Ok(drivers)
}

/// Finds out whether the port is free, by taking it alone for a moment: a second node that shared it would get half of
/// the first one's clients. Port 0 becomes the one that the system gave.
fn probe(listen: SocketAddr) -> io::Result<SocketAddr> {
    std::net::UdpSocket::bind(listen)?.local_addr()
}

/// One loop's share of the node's limits.
fn server(handshakes: &Handshakes, crypto: Arc<dyn crypto::ServerConfig>, loops: u8) -> ServerConfig {
    let (each, of) = (u32::from(loops).max(1), usize::from(loops).max(1));
    ServerConfig {
        handshakes_before_retry: handshakes.retry_past.div_ceil(of),
        handshakes_max: handshakes.max.div_ceil(of),
        newcomers: NewcomerLimits {
            per_minute: handshakes.per_address_per_minute.div_ceil(each),
            burst: handshakes.per_address_burst.div_ceil(each),
            in_handshake_max: handshakes.per_address_max.div_ceil(each),
            ..NewcomerLimits::default()
        },
        ..ServerConfig::new(crypto)
    }
}
