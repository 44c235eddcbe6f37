//! What the relay knows: its sockets, and the datagrams under way.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use crate::capture::{Captures, client_id};
use crate::{CLIENTS_MAX, Counts, QUEUE_MAX};

/// Datagrams taken from one socket before the others are looked at.
const BATCH_MAX: usize = 256;

/// No datagram is larger.
const DATAGRAM_MAX: usize = 64 * 1024;

#[derive(Debug)]
pub(crate) struct Path {
    front: UdpSocket,
    server: SocketAddr,
    /// The address from which the server is spoken to.
    pub(crate) home: IpAddr,
    clients: BTreeMap<SocketAddr, ClientPath>,
    to_server: VecDeque<UnderWay>,
    to_clients: VecDeque<UnderWay>,
    pub(crate) delay: Duration,
    blackhole: bool,
    pub(crate) first_flight_only: bool,
    pub(crate) captures: Captures,
    pub(crate) counts: Counts,
    buffer: Vec<u8>,
}

#[derive(Debug)]
struct ClientPath {
    /// Connected to the server: the kernel drops what others send to it.
    socket: UdpSocket,
    heard_at: Instant,
    /// The id that the client chose for its newest connection.
    connection: Vec<u8>,
    /// That connection's client was handed something.
    answered: bool,
}

#[derive(Debug)]
struct UnderWay {
    due: Instant,
    client: SocketAddr,
    data: Vec<u8>,
}

impl Path {
    pub(crate) fn new(front: UdpSocket, server: SocketAddr, home: IpAddr) -> Path {
        Path {
            front,
            server,
            home,
            clients: BTreeMap::new(),
            to_server: VecDeque::new(),
            to_clients: VecDeque::new(),
            delay: Duration::ZERO,
            blackhole: false,
            first_flight_only: false,
            captures: Captures::default(),
            counts: Counts::default(),
            buffer: vec![0; DATAGRAM_MAX],
        }
    }

    pub(crate) fn set_blackhole(&mut self, blackhole: bool) {
        // What waits in the sockets has arrived already: it is judged by what was said before.
        self.take(Instant::now());
        self.blackhole = blackhole;
        if blackhole {
            self.counts.swallowed += (self.to_server.len() + self.to_clients.len()) as u64;
            self.to_server.clear();
            self.to_clients.clear();
        }
    }

    pub(crate) fn move_to(&mut self, home: IpAddr) -> io::Result<()> {
        let sockets =
            self.clients.keys().map(|_| upstream(home, self.server)).collect::<io::Result<Vec<_>>>()?;
        self.home = home;
        for (client, socket) in self.clients.values_mut().zip(sockets) {
            client.socket = socket;
        }
        Ok(())
    }

    pub(crate) fn clients(&self) -> Vec<(SocketAddr, SocketAddr)> {
        let seen = |(&client, path): (&SocketAddr, &ClientPath)| {
            path.socket.local_addr().ok().map(|address| (client, address))
        };
        self.clients.iter().filter_map(seen).collect()
    }

    /// Takes what has arrived and passes on what is due; whether there was anything.
    pub(crate) fn carry(&mut self, now: Instant) -> bool {
        let taken = self.take(now);
        let passed = self.pass_on(now);
        taken || passed
    }

    /// When the next datagram is due.
    pub(crate) fn due(&self) -> Option<Instant> {
        let first = |queue: &VecDeque<UnderWay>| queue.front().map(|datagram| datagram.due);
        [first(&self.to_server), first(&self.to_clients)].into_iter().flatten().min()
    }

    /// What clients have said comes first: a flight that they sent at once is here before any answer to it.
    fn take(&mut self, now: Instant) -> bool {
        let mut any = false;
        for _ in 0..BATCH_MAX {
            match self.front.recv_from(&mut self.buffer) {
                Ok((len, client)) => {
                    any = true;
                    let data = self.buffer[..len].to_vec();
                    self.hear(client, data, now);
                }
                Err(error) if is_empty(&error) => break,
                // What ICMP says about a client that is gone.
                Err(_) => any = true,
            }
        }
        let mut answers = Vec::new();
        for (&client, path) in &self.clients {
            for _ in 0..BATCH_MAX {
                match path.socket.recv(&mut self.buffer) {
                    Ok(len) => answers.push((client, self.buffer[..len].to_vec())),
                    Err(error) if is_empty(&error) => break,
                    // What ICMP says about a server that is gone.
                    Err(_) => any = true,
                }
            }
        }
        for (client, data) in answers {
            any = true;
            self.enqueue(false, client, data, now);
        }
        any
    }

    fn hear(&mut self, client: SocketAddr, data: Vec<u8>, now: Instant) {
        let Ok(path) = self.client(client, now) else {
            self.counts.swallowed += 1;
            return;
        };
        path.heard_at = now;
        if let Some(id) = client_id(&data)
            && path.connection != id
        {
            path.connection = id.to_vec();
            path.answered = false;
        }
        let is_late = path.answered;
        let connection = path.connection.clone();
        if is_late && self.first_flight_only {
            self.counts.swallowed += 1;
            return;
        }
        self.captures.note(client, &connection, &data);
        self.enqueue(true, client, data, now);
    }

    fn client(&mut self, client: SocketAddr, now: Instant) -> io::Result<&mut ClientPath> {
        if !self.clients.contains_key(&client) {
            if self.clients.len() >= CLIENTS_MAX
                && let Some((&silent, _)) = self.clients.iter().min_by_key(|(_, path)| path.heard_at)
            {
                self.clients.remove(&silent);
            }
            let socket = upstream(self.home, self.server)?;
            let path = ClientPath { socket, heard_at: now, connection: Vec::new(), answered: false };
            self.clients.insert(client, path);
        }
        self.clients.get_mut(&client).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn enqueue(&mut self, up: bool, client: SocketAddr, data: Vec<u8>, now: Instant) {
        if self.blackhole || self.to_server.len() + self.to_clients.len() >= QUEUE_MAX {
            self.counts.swallowed += 1;
            return;
        }
        let queue = if up { &mut self.to_server } else { &mut self.to_clients };
        // Nothing overtakes, also when the delay has just become shorter.
        let earliest = queue.back().map_or(now, |last| last.due);
        queue.push_back(UnderWay { due: (now + self.delay).max(earliest), client, data });
    }

    fn pass_on(&mut self, now: Instant) -> bool {
        let mut any = false;
        while let Some(datagram) = self.to_server.pop_front_if(|datagram| datagram.due <= now) {
            any = true;
            let sent = self.clients.get(&datagram.client).map(|path| path.socket.send(&datagram.data));
            self.count(true, matches!(sent, Some(Ok(_))));
        }
        while let Some(datagram) = self.to_clients.pop_front_if(|datagram| datagram.due <= now) {
            any = true;
            let sent = self.front.send_to(&datagram.data, datagram.client);
            if let Some(path) = self.clients.get_mut(&datagram.client) {
                path.answered = true;
            }
            self.count(false, sent.is_ok());
        }
        any
    }

    /// What a socket does not take is lost, as on any network.
    fn count(&mut self, up: bool, sent: bool) {
        let count = match (sent, up) {
            (false, _) => &mut self.counts.swallowed,
            (true, true) => &mut self.counts.to_server,
            (true, false) => &mut self.counts.to_clients,
        };
        *count += 1;
    }
}

fn upstream(home: IpAddr, server: SocketAddr) -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind((home, 0))?;
    socket.connect(server)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

fn is_empty(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::WouldBlock
}
