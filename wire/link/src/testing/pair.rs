//! A client's and a server's endpoint, joined by a network, in virtual time.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::BytesMut;

use super::network::{Conditions, Datagram, Network};
use super::{plain_client, plain_server, secrets};
use crate::{ClientConfig, Config, Endpoint, Event, LinkId, ServerConfig};

/// Both endpoints and what they said. Time passes only in [`run`](Pair::run) and its kin.
pub struct Pair {
    /// The client's side.
    pub client: Endpoint,
    /// The server's side.
    pub server: Endpoint,
    /// Between them.
    pub network: Network,
    /// Virtual time.
    pub now: Instant,
    /// Where the client is; change it to move it.
    pub client_address: SocketAddr,
    server_address: SocketAddr,
    client_events: VecDeque<(LinkId, Event)>,
    server_events: VecDeque<(LinkId, Event)>,
    /// While set, that side's events are not polled, as if its owner slept.
    pub client_sleeps: bool,
    /// See [`client_sleeps`](Pair::client_sleeps).
    pub server_sleeps: bool,
}

impl Pair {
    /// With defaults, and keys without cryptography.
    pub fn new(seed: u64, start: Instant) -> Pair {
        Pair::with(seed, start, |_| {}, |_| {})
    }

    /// With configurations changed from their defaults.
    pub fn with(
        seed: u64,
        start: Instant,
        client: impl FnOnce(&mut Config),
        server: impl FnOnce(&mut Config),
    ) -> Pair {
        let mut client_config = Config::client(secrets(seed));
        client(&mut client_config);
        let mut server_config = Config::server(secrets(seed.wrapping_add(1 << 32)));
        server(&mut server_config);
        Pair::between(
            seed,
            start,
            Endpoint::client(client_config, ClientConfig::new(plain_client()), start),
            Endpoint::server(server_config, ServerConfig::new(plain_server()), start),
        )
    }

    /// Of these endpoints.
    pub fn between(seed: u64, start: Instant, client: Endpoint, server: Endpoint) -> Pair {
        Pair {
            client,
            server,
            network: Network::new(seed, Conditions::default()),
            now: start,
            client_address: "10.0.0.1:1000".parse().expect("an address"),
            server_address: "10.0.0.2:4433".parse().expect("an address"),
            client_events: VecDeque::new(),
            server_events: VecDeque::new(),
            client_sleeps: false,
            server_sleeps: false,
        }
    }

    /// Begins a connection.
    ///
    /// # Panics
    /// If the client's endpoint refuses.
    pub fn connect(&mut self) -> LinkId {
        self.client.connect(self.now, self.server_address, "localhost").expect("the client is not full")
    }

    /// Where the server is.
    pub fn server_address(&self) -> SocketAddr {
        self.server_address
    }

    /// Connects and waits until both sides know it: the client's link and the server's.
    ///
    /// # Panics
    /// If that takes a virtual minute.
    pub fn connected(&mut self) -> (LinkId, LinkId) {
        let link = self.connect();
        let on_client = self.until_client(|event| matches!(event, Event::Connected { .. }));
        assert_eq!(on_client.0, link);
        let (on_server, _) = self.until_server(|event| matches!(event, Event::Connected { .. }));
        (link, on_server)
    }

    /// The client's next event so far.
    pub fn client_event(&mut self) -> Option<(LinkId, Event)> {
        self.client_events.pop_front()
    }

    /// The server's next event so far.
    pub fn server_event(&mut self) -> Option<(LinkId, Event)> {
        self.server_events.pop_front()
    }

    /// Lets time pass until the client has an event like this; others before it are dropped.
    ///
    /// # Panics
    /// If none comes within a virtual minute.
    pub fn until_client(&mut self, like: impl Fn(&Event) -> bool) -> (LinkId, Event) {
        self.until(|pair| pair.client_event(), like)
    }

    /// As [`until_client`](Pair::until_client), for the server.
    pub fn until_server(&mut self, like: impl Fn(&Event) -> bool) -> (LinkId, Event) {
        self.until(|pair| pair.server_event(), like)
    }

    fn until(
        &mut self,
        next: impl Fn(&mut Pair) -> Option<(LinkId, Event)>,
        like: impl Fn(&Event) -> bool,
    ) -> (LinkId, Event) {
        let end = self.now + Duration::from_secs(60);
        loop {
            while let Some((link, event)) = next(self) {
                if like(&event) {
                    return (link, event);
                }
            }
            assert!(self.step(end), "no such event within a virtual minute");
        }
    }

    /// Lets this much time pass.
    pub fn run(&mut self, duration: Duration) {
        let end = self.now + duration;
        while self.step(end) {}
        self.now = end;
    }

    /// Sends what is to be sent, then moves to the next arrival or timer. False if there is none before `end`.
    pub fn step(&mut self, end: Instant) -> bool {
        self.poll();
        let next = [self.network.next_arrival(), self.client.poll_timeout(), self.server.poll_timeout()];
        let Some(next) = next.into_iter().flatten().min().filter(|&next| next <= end) else { return false };
        self.now = self.now.max(next);
        while let Some(Datagram { from, to, bytes }) = self.network.arrived(self.now) {
            let data = BytesMut::from(&bytes[..]);
            if to == self.server_address {
                self.server.handle_datagram(self.now, from, None, None, data);
            } else if to == self.client_address {
                self.client.handle_datagram(self.now, from, None, None, data);
            }
        }
        for endpoint in [&mut self.client, &mut self.server] {
            if endpoint.poll_timeout().is_some_and(|at| at <= self.now) {
                endpoint.handle_timeout(self.now);
            }
        }
        self.poll();
        true
    }

    /// Takes events and datagrams from both endpoints; no time passes.
    pub fn poll(&mut self) {
        while !self.client_sleeps
            && let Some(event) = self.client.poll_event()
        {
            self.client_events.push_back(event);
        }
        while !self.server_sleeps
            && let Some(event) = self.server.poll_event()
        {
            self.server_events.push_back(event);
        }
        let mut buf = Vec::new();
        while let Some(transmit) = self.client.poll_transmit(self.now, &mut buf) {
            let datagram = Datagram {
                from: self.client_address,
                to: transmit.destination,
                bytes: buf[..transmit.size].to_vec(),
            };
            self.network.send(self.now, datagram);
        }
        while let Some(transmit) = self.server.poll_transmit(self.now, &mut buf) {
            let datagram = Datagram {
                from: self.server_address,
                to: transmit.destination,
                bytes: buf[..transmit.size].to_vec(),
            };
            self.network.send(self.now, datagram);
        }
    }
}
