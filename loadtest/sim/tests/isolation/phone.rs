//! A phone: a real endpoint, a real client, and a list of what arrived.

use std::net::SocketAddr;
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use client_core::quic::Bridge;
use client_core::{Ask, Client, ClientEvent, Config, MemoryKv, Message, Now, Output, Snapshot, Write};
use wire::event::Event;
use wire::request::{Register, Request};
use wire::{AccountId, ChatId, InstallId, RequestId, Secret};
use wire_link::testing::{Datagram, Network, plain_client, secrets};
use wire_link::{ClientConfig, Endpoint};

use crate::edge::{self, Edge};
use crate::time::Time;

/// Somebody's phone. Its process is never killed, so its disk is this list.
pub(crate) struct Phone {
    user: u8,
    pub(crate) endpoint: Endpoint,
    bridge: Bridge,
    client: Client,
    rows: MemoryKv,
    pub(crate) arrived: Vec<(Instant, Message)>,
    /// Connections that were lost.
    pub(crate) lost: u32,
}

impl Phone {
    /// A phone that connects, and registers when it has.
    pub(crate) fn new(seed: u64, user: u8, time: &Time) -> Phone {
        let config = Config {
            device_key: Secret::new([user + 1; 32]),
            seed: [user + 1; 32],
            name: "sim".into(),
            server_name: crate::NAME.into(),
            key_packages: 10,
        };
        let link = wire_link::Config::client(secrets(seed ^ u64::from(user + 1) << 8));
        let crypto = ClientConfig::new(plain_client());
        let rows = MemoryKv::default();
        let mut client = Client::new(&config, Snapshot::default(), Box::new(rows.clone()), now(time));
        client.start(now(time));
        let endpoint = Endpoint::client(link, crypto, time.instant());
        let bridge = Bridge::default();
        Phone { user, endpoint, bridge, client, rows, arrived: Vec::new(), lost: 0 }
    }

    pub(crate) fn address(user: u8) -> SocketAddr {
        SocketAddr::from(([10, 1, 0, user + 1], 40_000))
    }

    /// Whether it has a session of its own account.
    pub(crate) fn is_ready(&self) -> bool {
        self.client.identity().is_some() && self.client.is_ready()
    }

    /// Whether nothing waits to be sent or told.
    pub(crate) fn is_settled(&self) -> bool {
        self.client.is_settled()
    }

    pub(crate) fn account(&self) -> AccountId {
        self.client.identity().expect("it is registered").0
    }

    pub(crate) fn say(&mut self, time: &Time, chat: ChatId, peer: AccountId, content: Bytes) {
        self.client.send(chat, Some(peer), content, now(time)).expect("there is room");
    }

    pub(crate) fn next_timer(&self) -> Option<Instant> {
        [self.endpoint.poll_timeout(), self.client.poll_timeout()].into_iter().flatten().min()
    }

    pub(crate) fn datagram(&mut self, time: &Time, datagram: &Datagram) {
        let bytes = BytesMut::from(&datagram.bytes[..]);
        self.endpoint.handle_datagram(time.instant(), datagram.from, None, None, bytes);
    }

    /// Does all that can be done now; true if there was something.
    pub(crate) fn turn(&mut self, time: &Time, edge: &Edge, network: &mut Network) -> bool {
        let now = now(time);
        let mut any = self.drain(time, edge);
        if self.endpoint.poll_timeout().is_some_and(|at| at <= now.instant) {
            self.endpoint.handle_timeout(now.instant);
            any = true;
        }
        if self.client.poll_timeout().is_some_and(|at| at <= now.instant) {
            self.client.handle_timeout(now);
            any = true;
        }
        while let Some((link, event)) = self.endpoint.poll_event() {
            any = true;
            if let Some(input) = self.bridge.input_of(&mut self.endpoint, link, event) {
                self.client.handle_input(input, now);
            }
        }
        any |= self.drain(time, edge);
        crate::flush(Phone::address(self.user), &mut self.endpoint, time, network) || any
    }

    fn drain(&mut self, time: &Time, edge: &Edge) -> bool {
        let mut any = false;
        while let Some(output) = self.client.poll_output() {
            any = true;
            match self.bridge.perform(&mut self.endpoint, output) {
                Some(Output::Connect { early }) => {
                    let link =
                        self.endpoint.connect_with(time.instant(), edge::address(), crate::NAME, early);
                    self.bridge.connecting(link.expect("the endpoint is not full"));
                }
                Some(Output::Persist(Write::Arrived(message))) => {
                    self.arrived.push((time.instant(), message));
                }
                Some(Output::Persist(write)) => self.rows.apply(&write),
                Some(Output::Notify(event)) => self.notice(event, time, edge),
                _ => {}
            }
        }
        any
    }

    fn notice(&mut self, event: ClientEvent, time: &Time, edge: &Edge) {
        match event {
            ClientEvent::Connected { .. } if self.client.identity().is_none() => {
                self.client.ask(Ask::Plain(Request::Register(self.register())), now(time));
            }
            ClientEvent::Disconnected { .. } | ClientEvent::Replaced => self.lost += 1,
            ClientEvent::Answer { events, .. } => {
                if let [Event::Registered { registration, .. }] = events[..] {
                    let otp = Secret::new(edge.texts[&self.number()].clone());
                    let device_name = "phone".to_owned();
                    self.client.ask(Ask::Verify { registration, otp, device_name }, now(time));
                }
            }
            ClientEvent::Failed { refusal, .. } | ClientEvent::LoginNeeded(refusal) => panic!("{refusal:?}"),
            _ => {}
        }
    }

    fn number(&self) -> String {
        format!("+4915100000{:02}", self.user)
    }

    fn register(&self) -> Register {
        let id = [self.user + 1; 16];
        Register {
            phone: Secret::new(self.number()),
            name: "Somebody".into(),
            install: InstallId::new(id),
            request: RequestId::new(id),
        }
    }
}

fn now(time: &Time) -> Now {
    Now { instant: time.instant(), wall: time.wall() }
}
