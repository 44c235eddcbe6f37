//! A client that comes back to a server.

use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use wire::{CloseCode, Role};
use wire_link::testing::{
    Datagram, EarlyPolicy, Pair, PlainSessions, plain_client, plain_server_sharing, secrets,
};
use wire_link::tls::{self, SessionStore};
use wire_link::{ClientConfig, Config, Endpoint, Event, LinkId, ServerConfig, StreamId};

use super::tls::{One, certificate, trusting};
use super::{drain, frame};

/// A pair whose server can be made again, with its memory of sessions or without.
pub(crate) struct Bench {
    /// Both endpoints.
    pub(crate) pair: Pair,
    /// The server's sessions, unless it speaks TLS.
    pub(crate) plain: Arc<PlainSessions>,
    serve: Box<dyn Fn(Memory) -> ServerConfig>,
    made: u8,
    /// Whom clients of TLS trust.
    pub(crate) root: Option<CertificateDer<'static>>,
}

/// Whether a server that starts again has kept its sessions.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Memory {
    Kept,
    Lost,
}

impl Bench {
    pub(crate) fn plain(seed: u64) -> Bench {
        let plain = PlainSessions::new(EarlyPolicy::Accept);
        let sessions = plain.clone();
        let serve = move |memory| {
            if memory == Memory::Lost {
                sessions.forget();
            }
            ServerConfig::new(plain_server_sharing(sessions.clone()))
        };
        Bench::new(seed, ClientConfig::new(plain_client()), plain, Box::new(serve))
    }

    pub(crate) fn tls(seed: u64, sessions: Arc<SessionStore>) -> Bench {
        let (root, serving) = certificate("localhost");
        let serve = move |memory| {
            let sessions = if memory == Memory::Kept { sessions.clone() } else { Arc::default() };
            ServerConfig::new(tls::server(Arc::new(One(serving.clone())), sessions).unwrap())
        };
        let client = ClientConfig::new(tls::client(trusting(&root)).unwrap());
        let bench = Bench::new(seed, client, PlainSessions::new(EarlyPolicy::Accept), Box::new(serve));
        Bench { root: Some(root), ..bench }
    }

    pub(crate) fn new(
        seed: u64,
        client: ClientConfig,
        plain: Arc<PlainSessions>,
        serve: Box<dyn Fn(Memory) -> ServerConfig>,
    ) -> Bench {
        let start = super::start();
        let client = Endpoint::client(Config::client(secrets(seed)), client, start);
        let server = Endpoint::server(Config::server(secrets(seed + 1000)), serve(Memory::Kept), start);
        Bench { pair: Pair::between(seed, start, client, server), plain, serve, made: 0, root: None }
    }

    /// Kills the server and starts another in its place.
    pub(crate) fn restart(&mut self, memory: Memory) {
        self.restart_with(memory, |_| {});
    }

    pub(crate) fn restart_with(&mut self, memory: Memory, change: impl FnOnce(&mut ServerConfig)) {
        self.made += 1;
        let mut seed = secrets(2000);
        seed.seed[31] = self.made;
        let mut server = (self.serve)(memory);
        change(&mut server);
        self.pair.server = Endpoint::server(Config::server(seed), server, self.pair.now);
    }

    /// Connects, gets a ticket, says goodbye.
    pub(crate) fn introduce(&mut self) {
        let (client, _) = self.pair.connected();
        self.pair.run(Duration::from_secs(1));
        self.pair.client.close(client, CloseCode::Done, "");
        self.pair.run(Duration::from_secs(5));
        self.drop_events();
    }

    pub(crate) fn drop_events(&mut self) {
        drain(|| self.pair.client_event());
        drain(|| self.pair.server_event());
    }

    /// Connects as an owner does that speaks early if it can: a stream with one frame.
    pub(crate) fn speak(&mut self, bytes: usize) -> (LinkId, Option<StreamId>) {
        let link = self.pair.connect();
        let mut events = drain(|| self.pair.client.poll_event());
        events.retain(|(of, _)| *of == link);
        if events.is_empty() {
            return (link, None);
        }
        assert!(matches!(events[..], [(_, Event::Early { .. })]), "{events:?}");
        let stream = self.pair.client.open(link, Role::Request).unwrap();
        self.pair.client.send(link, stream, frame(bytes)).unwrap();
        (link, Some(stream))
    }

    /// The client's datagrams, taken from the wire before the network has them.
    pub(crate) fn capture(&mut self) -> Vec<Datagram> {
        let mut buf = Vec::new();
        let pair = &mut self.pair;
        drain(|| {
            let transmit = pair.client.poll_transmit(pair.now, &mut buf)?;
            let bytes = buf[..transmit.size].to_vec();
            Some(Datagram { from: pair.client_address, to: transmit.destination, bytes })
        })
    }

    /// The server's events so far, each frame on a bidirectional stream answered with the same.
    pub(crate) fn serve(&mut self) -> Vec<Event> {
        let mut events = Vec::new();
        while let Some((link, event)) = self.pair.server_event() {
            if let Event::Frame { stream, body } = &event {
                self.pair.server.send(link, *stream, frame(body.len())).unwrap();
            }
            events.push(event);
        }
        self.pair.poll();
        events
    }

    /// Lets time pass, the server answering, until the client has an event like this; all the client's till then.
    pub(crate) fn until(&mut self, like: impl Fn(&Event) -> bool) -> Vec<Event> {
        let end = self.pair.now + Duration::from_secs(60);
        let mut events = Vec::new();
        loop {
            self.serve();
            while let Some((_, event)) = self.pair.client_event() {
                let is_it = like(&event);
                events.push(event);
                if is_it {
                    return events;
                }
            }
            assert!(self.pair.step(end), "no such event within a virtual minute, but {events:?}");
        }
    }

    /// What became of early data on the client's next link to complete its handshake.
    pub(crate) fn outcome(&mut self) -> Option<bool> {
        let events = self.until(|event| matches!(event, Event::Connected { .. }));
        let Some(Event::Connected { early, .. }) = events.last() else { unreachable!("asked for above") };
        *early
    }
}

/// One without cryptography, one with TLS.
pub(crate) fn benches() -> [Bench; 2] {
    [Bench::plain(1), Bench::tls(1, Arc::default())]
}
