//! One loop's endpoint: routes datagrams to links, keeps their timers, and visits only those that have something to say.

mod admission;
mod counters;
mod questions;

use std::collections::{BTreeSet, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use quinn_proto::{ConnectionHandle, DatagramEvent, EcnCodepoint, Transmit};
use slab::Slab;
use wire::{CloseCode, Role};

use crate::config::{ClientConfig, Config, ServerConfig};
use crate::error::{ConnectError, OpenError, SendError};
use crate::event::Event;
use crate::id::{LinkId, StreamId};
use crate::link::Link;
use crate::newcomers::{Counted, Newcomers};
use crate::seeded::LogicalClock;

pub use counters::Counters;

/// Datagrams that one link may send before the next has its turn.
const TRANSMIT_BURST: u32 = 10;

/// One loop's UDP port and every link on it. See the crate's page for how it is driven.
pub struct Endpoint {
    quic: quinn_proto::Endpoint,
    config: Arc<Config>,
    /// With early data, and without.
    client: Option<[quinn_proto::ClientConfig; 2]>,
    server: Option<ServerConfig>,
    newcomers: Newcomers,
    clock: Arc<LogicalClock>,
    /// The latest time that the owner told.
    now: Instant,
    /// Boxed: a link is 7 kB, and a growing table of them would be copied.
    links: Slab<Box<Link>>,
    /// quinn-proto's handle of a connection -> its link's key, which lives longer.
    by_handle: Vec<usize>,
    serial: u64,
    handshakes: usize,
    accepting: bool,
    /// When each link wants to hear of time: exactly one entry for each link with a deadline.
    timers: BTreeSet<(Instant, usize)>,
    /// Links that may have an event, and links that may have a datagram; each link at most once.
    eventful: VecDeque<usize>,
    dirty: VecDeque<usize>,
    /// Datagrams sent in a row by the link at the front of `dirty`.
    burst: u32,
    responses: VecDeque<(Transmit, Vec<u8>)>,
    counters: Counters,
}

impl Endpoint {
    /// An endpoint that accepts connections. `now` is the time of the first input.
    pub fn server(config: Config, server: ServerConfig, now: Instant) -> Endpoint {
        Endpoint::new(config, Some(server), None, now)
    }

    /// An endpoint that makes connections.
    pub fn client(config: Config, client: ClientConfig, now: Instant) -> Endpoint {
        Endpoint::new(config, None, Some(client), now)
    }

    fn new(
        config: Config,
        server: Option<ServerConfig>,
        client: Option<ClientConfig>,
        now: Instant,
    ) -> Endpoint {
        let clock = Arc::new(LogicalClock::new(config.epoch.unwrap_or(now)));
        clock.set(now);
        let limits = server.as_ref().map(|server| server.newcomers).unwrap_or_default();
        let quic_server = server.as_ref().map(|server| config.quic_server(server, clock.clone()));
        Endpoint {
            quic: quinn_proto::Endpoint::new(config.endpoint(), quic_server, config.mtu_discovery, None),
            client: client.map(|client| config.quic_client(&client)),
            config: Arc::new(config),
            server,
            newcomers: Newcomers::new(limits),
            clock,
            now,
            links: Slab::new(),
            by_handle: Vec::new(),
            serial: 0,
            handshakes: 0,
            accepting: true,
            timers: BTreeSet::new(),
            eventful: VecDeque::new(),
            dirty: VecDeque::new(),
            burst: 0,
            responses: VecDeque::new(),
            counters: Counters::default(),
        }
    }

    // ---- Datagrams and time in.

    /// Takes one datagram. `local_ip` is the address it was sent to, if known; `ecn` its IP header's mark. The link
    /// keeps parts of `data`: give each datagram memory of its own.
    pub fn handle_datagram(
        &mut self,
        now: Instant,
        remote: SocketAddr,
        local_ip: Option<IpAddr>,
        ecn: Option<EcnCodepoint>,
        data: BytesMut,
    ) {
        self.tell(now);
        let mut response = Vec::new();
        match self.quic.handle(now, remote, local_ip, ecn, data, &mut response) {
            Some(DatagramEvent::ConnectionEvent(handle, event)) => {
                let key = self.by_handle[handle.0];
                self.links[key].handle(event);
                self.settle(key);
            }
            Some(DatagramEvent::NewConnection(incoming)) => self.admit(incoming),
            Some(DatagramEvent::Response(transmit)) => self.respond(transmit, response),
            None => {}
        }
    }

    /// Fires the timers that are due.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.tell(now);
        // Each link once: one that re-arms a timer in the past must first get to send.
        let later = self.timers.split_off(&(now, usize::MAX));
        let due = std::mem::replace(&mut self.timers, later);
        for (_, key) in due {
            let link = &mut self.links[key];
            link.deadline = None;
            link.handle_timeout(now);
            self.settle(key);
            self.settle_timer(key);
        }
    }

    /// When [`Endpoint::handle_timeout`] is wanted next. Asked after [`Endpoint::poll_transmit`] has said `None`: a link's
    /// timer is looked at once per turn, not once per datagram.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.timers.first().map(|&(deadline, _)| deadline)
    }

    // ---- Datagrams and events out.

    /// The next datagram to send: `buf` is overwritten with it. Visits only links that may have one.
    pub fn poll_transmit(&mut self, now: Instant, buf: &mut Vec<u8>) -> Option<Transmit> {
        self.tell(now);
        buf.clear();
        if let Some((transmit, datagram)) = self.responses.pop_front() {
            buf.extend_from_slice(&datagram);
            return Some(transmit);
        }
        while let Some(&key) = self.dirty.front() {
            if self.burst == TRANSMIT_BURST {
                self.burst = 0;
                self.dirty.rotate_left(1);
                continue;
            }
            let transmit = self.links.get_mut(key).and_then(|link| link.poll_transmit(now, buf));
            if transmit.is_some() {
                self.burst += 1;
                return transmit;
            }
            self.burst = 0;
            self.dirty.pop_front();
            if let Some(link) = self.links.get_mut(key) {
                link.is_dirty = false;
                self.settle_timer(key);
            }
        }
        None
    }

    /// The next event. Frames are cut from a stream only here, so a stream that the owner pauses in answer to one event
    /// yields nothing at the next call.
    pub fn poll_event(&mut self) -> Option<(LinkId, Event)> {
        while let Some(&key) = self.eventful.front() {
            let Some(link) = self.links.get_mut(key) else {
                self.eventful.pop_front();
                continue;
            };
            if let Some(event) = link.poll_event(self.now) {
                let id = link.id;
                self.counters.count(&event);
                #[cfg(any(test, feature = "testing"))]
                crate::testing::tap::note(&event);
                self.mark_dirty(key);
                return Some((id, event));
            }
            link.is_eventful = false;
            self.eventful.pop_front();
            self.forget_if_over(key);
        }
        None
    }

    // ---- The owner's commands. On a link or stream that is over they do nothing: that is a race, and its event is
    // on the way or has been.

    /// Begins a connection to `remote`, whose certificate must be for `server_name`. If the server is remembered,
    /// [`Event::Early`] follows, and streams may be opened at once.
    ///
    /// # Errors
    /// [`ConnectError`], before anything was sent.
    pub fn connect(
        &mut self,
        now: Instant,
        remote: SocketAddr,
        server_name: &str,
    ) -> Result<LinkId, ConnectError> {
        self.connect_with(now, remote, server_name, true)
    }

    /// As [`connect`](Endpoint::connect), and says whether early data may be offered. Without it the session may still
    /// be resumed, which saves the server's certificates.
    ///
    /// # Errors
    /// As [`connect`](Endpoint::connect).
    pub fn connect_with(
        &mut self,
        now: Instant,
        remote: SocketAddr,
        server_name: &str,
        early: bool,
    ) -> Result<LinkId, ConnectError> {
        self.tell(now);
        let [with_early, without] = self.client.as_ref().ok_or(ConnectError::NotAClient)?;
        let client = if early { with_early } else { without }.clone();
        if self.links.len() >= self.config.link_capacity() {
            return Err(ConnectError::Full);
        }
        let (handle, connection) =
            self.quic.connect(now, client, remote, server_name).map_err(ConnectError::Invalid)?;
        Ok(self.insert(handle, connection, None))
    }

    /// Opens a stream for `role`: unidirectional for [`Role::ChatDown`], bidirectional for the others, with the role's
    /// priority. The peer learns of it with the first frame.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open(&mut self, link: LinkId, role: Role) -> Result<StreamId, OpenError> {
        let key = self.key(link).ok_or(OpenError::Closed)?;
        let opened = self.links[key].open(role);
        self.mark_dirty(key);
        opened
    }

    /// Queues one frame, length prefix included, as a shared reference: no byte is copied until it is encrypted.
    /// [`Event::Drained`] follows when the stream's queue is empty.
    ///
    /// # Errors
    /// [`SendError`]; nothing was queued.
    pub fn send(&mut self, link: LinkId, stream: StreamId, frame: Bytes) -> Result<(), SendError> {
        let key = self.key(link).ok_or(SendError::Closed)?;
        self.links[key].send(stream, frame)?;
        self.counters.frames_out += 1;
        self.touch(key);
        Ok(())
    }

    /// Ends our side of a stream after what is queued. [`Event::Delivered`] follows, unless the peer stops the stream.
    ///
    /// Send something first: if a client ends a stream in early data on which it has sent nothing and the server asks for
    /// a Retry, quinn-proto 0.11.19 forgets the end, and neither side hears of it.
    pub fn finish(&mut self, link: LinkId, stream: StreamId) {
        self.with(link, |link| link.finish(stream));
    }

    /// Abandons our side of a stream: what is queued or unacknowledged is dropped.
    pub fn reset(&mut self, link: LinkId, stream: StreamId, code: CloseCode) {
        self.with(link, |link| link.reset(stream, code));
    }

    /// Reads no more from a stream and asks the peer to send no more.
    pub fn stop(&mut self, link: LinkId, stream: StreamId, code: CloseCode) {
        self.with(link, |link| link.stop(stream, code));
    }

    /// Abandons both sides of a stream: [`reset`](Endpoint::reset) and [`stop`](Endpoint::stop).
    pub fn abandon(&mut self, link: LinkId, stream: StreamId, code: CloseCode) {
        self.with(link, |link| {
            link.reset(stream, code);
            link.stop(stream, code);
        });
    }

    /// Reads nothing from a stream until [`resume`](Endpoint::resume): the peer may send one window more, then waits.
    pub fn pause(&mut self, link: LinkId, stream: StreamId) {
        self.with(link, |link| link.set_paused(stream, true));
    }

    /// Reads from a stream again.
    pub fn resume(&mut self, link: LinkId, stream: StreamId) {
        self.with(link, |link| link.set_paused(stream, false));
    }

    /// Changes which streams go first; higher does. Equal ones take turns. [`Endpoint::open`] sets
    /// [`Role::priority`], and a stream that the peer opened takes its role's with its first frame.
    pub fn set_priority(&mut self, link: LinkId, stream: StreamId, priority: i32) {
        self.with(link, |link| link.set_priority(stream, priority));
    }

    /// Asks the peer for a sign of life now, by a PING. [`Event::Alive`] follows when something that the peer sealed
    /// arrives; if nothing does, the path is dead or the peer is gone, however slow its answers may be otherwise. Give it
    /// a few round trips: a PING is lost like any packet, and QUIC repeats it.
    pub fn probe(&mut self, link: LinkId) {
        self.counters.probes += u64::from(self.key(link).is_some());
        self.with(link, Link::probe);
    }

    /// For tests: changes the keys that packets are sealed with, as quinn-proto does by itself after some millions of them.
    /// Nothing happens while the last change is not over.
    #[cfg(any(test, feature = "testing"))]
    pub fn update_keys(&mut self, link: LinkId) {
        self.with(link, Link::update_keys);
    }

    /// Ends a link at once; `reason` is for people. Frames that are not yet acknowledged may be lost: wait for their
    /// [`Event::Delivered`] first if they matter. [`Event::Closed`] follows as its last event.
    pub fn close(&mut self, link: LinkId, code: CloseCode, reason: &'static str) {
        let now = self.now;
        self.with(link, |link| link.close(now, code, reason));
    }

    /// Ends all links.
    pub fn close_all(&mut self, code: CloseCode, reason: &'static str) {
        let open: Vec<LinkId> = self.links.iter().map(|(_, link)| link.id).collect();
        open.into_iter().for_each(|link| self.close(link, code, reason));
    }

    /// Refuses newcomers from now on, or accepts them again.
    pub fn set_accepting(&mut self, accepting: bool) {
        self.accepting = accepting;
    }

    /// Tells every link that the local address changed (Wi-Fi to cellular), so that the peer learns the new path now.
    pub fn local_address_changed(&mut self) {
        let keys: Vec<usize> = self.links.iter().map(|(key, _)| key).collect();
        for key in keys {
            self.links[key].local_address_changed();
            self.settle(key);
        }
    }

    // ---- Inside.

    fn tell(&mut self, now: Instant) {
        if now > self.now {
            self.now = now;
            self.clock.set(now);
        }
    }

    fn insert(
        &mut self,
        handle: ConnectionHandle,
        connection: quinn_proto::Connection,
        counted: Option<Counted>,
    ) -> LinkId {
        let entry = self.links.vacant_entry();
        let key = entry.key();
        let id = LinkId::new(self.serial, key);
        self.serial += 1;
        let mut link = Link::new(id, handle, connection, self.config.clone(), self.now);
        link.counted = counted;
        entry.insert(Box::new(link));
        if self.by_handle.len() <= handle.0 {
            self.by_handle.resize(handle.0 + 1, usize::MAX);
        }
        self.by_handle[handle.0] = key;
        self.handshakes += 1;
        self.settle(key);
        id
    }

    fn key(&self, link: LinkId) -> Option<usize> {
        let found = self.links.get(link.key())?;
        (found.id == link && !found.is_closed()).then_some(link.key())
    }

    fn with(&mut self, link: LinkId, act: impl FnOnce(&mut Link)) {
        if let Some(key) = self.key(link) {
            act(&mut self.links[key]);
            self.touch(key);
        }
    }

    /// There may be events and datagrams. The timer follows when the datagrams are polled.
    fn touch(&mut self, key: usize) {
        let link = &mut self.links[key];
        if link.has_left_handshake() {
            self.handshakes -= 1;
            if let Some(counted) = link.counted.take() {
                self.newcomers.leave(counted);
            }
        }
        self.mark_dirty(key);
        self.mark_eventful(key);
    }

    /// After anything that quinn-proto was told: carries its messages between connection and endpoint.
    fn settle(&mut self, key: usize) {
        let link = &mut self.links[key];
        while let Some(event) = link.poll_endpoint_event() {
            if let Some(answer) = self.quic.handle_event(link.handle, event) {
                link.handle(answer);
            }
        }
        link.advance(self.now);
        self.touch(key);
    }

    fn settle_timer(&mut self, key: usize) {
        let link = &mut self.links[key];
        let wanted = link.next_timeout();
        if link.deadline != wanted {
            if let Some(deadline) = link.deadline {
                self.timers.remove(&(deadline, key));
            }
            if let Some(wanted) = wanted {
                self.timers.insert((wanted, key));
            }
            link.deadline = wanted;
        }
    }

    fn mark_dirty(&mut self, key: usize) {
        if !std::mem::replace(&mut self.links[key].is_dirty, true) {
            self.dirty.push_back(key);
        }
    }

    fn mark_eventful(&mut self, key: usize) {
        if !std::mem::replace(&mut self.links[key].is_eventful, true) {
            self.eventful.push_back(key);
        }
    }

    fn forget_if_over(&mut self, key: usize) {
        if self.links[key].is_over() {
            let link = self.links.remove(key);
            if let Some(deadline) = link.deadline {
                self.timers.remove(&(deadline, key));
            }
            self.counters.closed += 1;
        }
    }
}
