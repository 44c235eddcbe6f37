//! A client like any, whose datagrams somebody on the path reads: its connections are what damaged copies of them are
//! aimed at. It shakes hands, says `Hello`, pings, and after a while does all of it again.

use std::net::UdpSocket;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use wire::request::Request;
use wire::{CloseCode, Role, WallTime};
use wire_link::{CloseReason, Endpoint, Event, LinkId, StreamId};

use crate::mutate::Mutator;
use crate::tally::Ends;
use crate::target::{Target, hello};
use crate::{HostileError, Identity};

/// Between pings.
const PING_INTERVAL: Duration = Duration::from_millis(20);

/// How the attacked client's own connections fared.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VictimReport {
    /// Connections begun.
    pub begun: u64,
    /// Handshakes completed.
    pub connected: u64,
    /// Frames that it heard.
    pub heard: u64,
    /// Its datagrams that were there to be damaged.
    pub datagrams: u64,
    /// Connections that ended without its wish: none, if damage is seen for what it is.
    pub lost: Ends,
}

pub(crate) struct Victim<'a> {
    target: &'a Target,
    identity: Option<&'a Identity>,
    socket: UdpSocket,
    endpoint: Endpoint,
    link: Option<LinkId>,
    session: Option<StreamId>,
    /// Its `Hello` was answered: before that it has nothing to say.
    is_in: bool,
    /// Its connection is renewed after this.
    life: Duration,
    renew_at: Instant,
    ping_at: Instant,
    report: VictimReport,
    buffer: Vec<u8>,
}

impl<'a> Victim<'a> {
    pub(crate) fn new(
        target: &'a Target,
        identity: Option<&'a Identity>,
        life: Duration,
        seed: u64,
    ) -> Result<Victim<'a>, HostileError> {
        let now = Instant::now();
        let endpoint = target.endpoint(&mut ChaCha8Rng::seed_from_u64(seed), now);
        let (link, session, report) = (None, None, VictimReport::default());
        let (socket, buffer) = (target.socket(0)?, vec![0; 2048]);
        Ok(Victim {
            target,
            identity,
            socket,
            endpoint,
            link,
            session,
            is_in: false,
            life,
            renew_at: now,
            ping_at: now,
            report,
            buffer,
        })
    }

    /// Takes what has come, does what is due, and sends; each datagram that has left is shown to whoever damages them.
    pub(crate) fn turn(&mut self, mutator: &mut Mutator) -> Result<(), HostileError> {
        let now = Instant::now();
        while let Ok((bytes, from)) = self.socket.recv_from(&mut self.buffer) {
            let data = BytesMut::from(&self.buffer[..bytes]);
            self.endpoint.handle_datagram(now, from, None, None, data);
        }
        if self.endpoint.poll_timeout().is_some_and(|at| at <= now) {
            self.endpoint.handle_timeout(now);
        }
        while let Some((link, event)) = self.endpoint.poll_event() {
            self.hear(link, event);
        }
        self.speak(now)?;
        let mut datagram = Vec::new();
        while let Some(transmit) = self.endpoint.poll_transmit(now, &mut datagram) {
            datagram.truncate(transmit.size);
            // A full socket is a loss like any.
            let _ = self.socket.send_to(&datagram, transmit.destination);
            mutator.keep(&datagram);
            self.report.datagrams += 1;
            datagram.clear();
        }
        Ok(())
    }

    fn hear(&mut self, link: LinkId, event: Event) {
        if Some(link) != self.link {
            return;
        }
        match event {
            Event::Connected { exporter, .. } => {
                self.report.connected += 1;
                self.session = self.endpoint.open(link, Role::Session).ok();
                if let Some(session) = self.session {
                    // Refused only if the link is over, which it says itself.
                    let _ = self.endpoint.send(link, session, hello(self.identity, &exporter));
                }
            }
            Event::Frame { .. } => {
                self.report.heard += 1;
                self.is_in = true;
            }
            Event::Closed { reason } => {
                self.link = None;
                if !matches!(reason, CloseReason::Here(_)) {
                    self.report.lost.add(&reason);
                }
            }
            _ => {}
        }
    }

    fn speak(&mut self, now: Instant) -> Result<(), HostileError> {
        if now >= self.renew_at {
            if let Some(link) = self.link.take() {
                self.endpoint.close(link, CloseCode::Done, "");
            }
            self.renew_at = now + self.life;
        }
        if self.link.is_none() {
            let (server, name) = (self.target.server, &self.target.name);
            self.link = Some(self.endpoint.connect_with(now, server, name, false)?);
            (self.session, self.is_in) = (None, false);
            self.report.begun += 1;
        }
        if let (Some(link), Some(session)) = (self.link, self.session)
            && self.is_in
            && now >= self.ping_at
        {
            self.ping_at = now + PING_INTERVAL;
            let ping = Request::Ping { client_time: WallTime(1) };
            let _ = self.endpoint.send(link, session, ping.encode());
        }
        Ok(())
    }

    /// How it fared. It leaves with a word.
    pub(crate) fn end(mut self, mutator: &mut Mutator) -> Result<VictimReport, HostileError> {
        if let Some(link) = self.link.take() {
            self.endpoint.close(link, CloseCode::Done, "");
        }
        let now = Instant::now();
        (self.renew_at, self.ping_at) = (now, now);
        let mut datagram = Vec::new();
        while let Some(transmit) = self.endpoint.poll_transmit(now, &mut datagram) {
            datagram.truncate(transmit.size);
            let _ = self.socket.send_to(&datagram, transmit.destination);
            mutator.keep(&datagram);
            datagram.clear();
        }
        Ok(self.report)
    }
}
