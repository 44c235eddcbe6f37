//! A UDP relay in the path between clients and a server, on loopback: it delays, swallows, changes addresses and keeps
//! copies, as networks do.
//!
//! A client connects to [`Relay::address`]; the server sees it at an address of the relay's own, one socket per client.
//! [`Relay::rebind`] and [`Relay::move_to`] change that address in the middle of everything, which to the server is a NAT
//! rebinding or a phone that took another network. One thread, no dependency; real time, and so for tests that assert
//! what happens and not when.
//!
//! Every datagram is passed on whole or not at all, in the order of its arrival in each direction. Bounds:
//! [`QUEUE_MAX`] datagrams under way, past which the newest is swallowed, as a full router would; [`CLIENTS_MAX`] clients,
//! past which the one that has been silent for longest is forgotten.

mod capture;
mod path;
#[cfg(test)]
mod tests;

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

pub use capture::Capture;
use path::Path;

/// Datagrams under way at a time, both directions together.
pub const QUEUE_MAX: usize = 16 * 1024;

/// Clients at a time.
pub const CLIENTS_MAX: usize = 1024;

/// The relay looks for datagrams this often while there are some, and backs off to [`NAP_MAX`] when there are none.
const NAP_MIN: Duration = Duration::from_micros(50);
const NAP_MAX: Duration = Duration::from_millis(1);

/// What a relay has done since it was started, in datagrams.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Passed on to the server.
    pub to_server: u64,
    /// Passed on to clients.
    pub to_clients: u64,
    /// Taken, and passed on to nobody.
    pub swallowed: u64,
}

/// A relay that runs. It stops when it is dropped.
#[derive(Debug)]
pub struct Relay {
    address: SocketAddr,
    path: Arc<Mutex<Path>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Relay {
    /// Starts a relay to a server on loopback.
    ///
    /// # Errors
    /// The server is elsewhere ([`io::ErrorKind::InvalidInput`]), or the system gives no socket or thread.
    pub fn start(server: SocketAddr) -> io::Result<Relay> {
        must_be_loopback(server.ip())?;
        let home = match server {
            SocketAddr::V4(_) => IpAddr::V4(Ipv4Addr::LOCALHOST),
            SocketAddr::V6(_) => IpAddr::V6(Ipv6Addr::LOCALHOST),
        };
        let front = UdpSocket::bind((home, 0))?;
        front.set_nonblocking(true)?;
        let address = front.local_addr()?;
        let path = Arc::new(Mutex::new(Path::new(front, server, home)));
        let stop = Arc::<AtomicBool>::default();
        let thread = std::thread::Builder::new().name("relay".into()).spawn({
            let (path, stop) = (path.clone(), stop.clone());
            move || run(&path, &stop)
        })?;
        Ok(Relay { address, path, stop, thread: Some(thread) })
    }

    /// Where clients connect.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Each datagram takes this long from now on, in each direction: half a round trip. Those under way keep their time,
    /// and are never overtaken.
    pub fn set_delay(&self, one_way: Duration) {
        self.path().delay = one_way;
    }

    /// Swallows everything that arrives from now on, in both directions, and what is under way; or no longer does.
    pub fn set_blackhole(&self, blackhole: bool) {
        self.path().set_blackhole(blackhole);
    }

    /// Lets each client say only its first flight: once a connection's client has been handed an answer, what it says
    /// after that is swallowed. What the server then knows and answers, it knows from the first flight.
    ///
    /// A connection is known by the id that its client chose (RFC 9000, section 17.2).
    pub fn set_first_flight_only(&self, only: bool) {
        self.path().first_flight_only = only;
    }

    /// From now on the server sees each client at another port, and what it sends to the old ones is lost: a NAT has
    /// forgotten its mappings.
    ///
    /// # Errors
    /// The system gives no socket; nothing has changed then.
    pub fn rebind(&self) -> io::Result<()> {
        let mut path = self.path();
        let home = path.home;
        path.move_to(home)
    }

    /// As [`rebind`](Relay::rebind), to another loopback address, such as 127.0.0.2: the phone has taken another network.
    ///
    /// # Errors
    /// It is not a loopback address of the server's family ([`io::ErrorKind::InvalidInput`]), or this machine has no such
    /// address; nothing has changed then.
    pub fn move_to(&self, address: IpAddr) -> io::Result<()> {
        must_be_loopback(address)?;
        if address.is_ipv4() != self.address.is_ipv4() {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        self.path().move_to(address)
    }

    /// What the relay has done so far.
    pub fn counts(&self) -> Counts {
        self.path().counts
    }

    /// The clients, each with the address at which the server sees it now.
    pub fn clients(&self) -> Vec<(SocketAddr, SocketAddr)> {
        self.path().clients()
    }

    /// Keeps copies of the first so many datagrams that each client connection says from now on; 0 keeps none.
    pub fn set_captures(&self, datagrams: usize) {
        self.path().captures.set_limit(datagrams);
    }

    /// What was captured so far, in the order in which the connections began.
    pub fn captures(&self) -> Vec<Capture> {
        self.path().captures.list()
    }

    fn path(&self) -> MutexGuard<'_, Path> {
        self.path.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            // A panic in it has been printed by its thread; there is nothing to undo.
            let _ = thread.join();
        }
    }
}

fn must_be_loopback(address: IpAddr) -> io::Result<()> {
    if address.is_loopback() { Ok(()) } else { Err(io::ErrorKind::InvalidInput.into()) }
}

/// Carries until it is told to stop. The standard library waits for one socket only, so it looks, and naps in between.
fn run(path: &Mutex<Path>, stop: &AtomicBool) {
    let mut nap = NAP_MIN;
    while !stop.load(Ordering::Acquire) {
        let (moved, due) = {
            let mut path = path.lock().unwrap_or_else(PoisonError::into_inner);
            let moved = path.carry(Instant::now());
            (moved, path.due())
        };
        nap = if moved { NAP_MIN } else { (nap * 2).min(NAP_MAX) };
        let until_due = due.map_or(NAP_MAX, |due| due.saturating_duration_since(Instant::now()));
        std::thread::sleep(nap.min(until_due));
    }
}
