//! Waits, receives, sends: one loop's dealings with the world.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use crate::outgoing::Outgoing;
use crate::socket::{self, Incoming, Options};
use crate::steer::{Handed, Seat};
use crate::waker::{Waker, Wakeups};
use crate::{Endpoint, sys};

/// Batches taken in one wait, so that events and answers are not put off for ever by a flood.
const BATCHES_PER_WAIT: usize = 8;

/// Datagrams taken over from other loops in one wait, for the same reason.
const TAKEN_PER_WAIT: usize = 256;

/// What a driver has done since it was made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stats {
    /// Datagrams received.
    pub datagrams_in: u64,
    /// Their bytes, UDP and IP headers not counted.
    pub bytes_in: u64,
    /// System calls that received at least one.
    pub batches_in: u64,
    /// Datagrams sent.
    pub datagrams_out: u64,
    /// Their bytes.
    pub bytes_out: u64,
    /// System calls that sent them.
    pub batches_out: u64,
    /// Datagrams that the system refused to send, and that were dropped.
    pub dropped_out: u64,
    /// Reports that a peer cannot be reached.
    pub icmp_errors: u64,
    /// Those of `datagrams_in` that were handed to the loop whose connection they belong to.
    pub handed_over: u64,
    /// Datagrams that other loops handed to this one; not in `datagrams_in`.
    pub taken_over: u64,
    /// Those of `datagrams_in` that were dropped because their loop takes no more.
    pub handover_dropped: u64,
    /// Times that the loop woke up, for whatever reason.
    pub wakeups: u64,
}

/// One loop's socket and endpoint. See the crate's page for how it is used.
pub struct Driver {
    socket: UdpSocket,
    endpoint: Endpoint,
    incoming: Incoming,
    outgoing: Outgoing,
    wakeups: Wakeups,
    seat: Option<Seat>,
    stats: Stats,
}

/// The socket: readable when a [`wait`](Driver::wait) would find datagrams. For an owner of several drivers on one thread,
/// who waits for all of them together.
impl AsFd for Driver {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Driver {
    /// Binds `address` with default [`Options`]; port 0 takes any. Bind `[::]:port` to serve IPv6 and IPv4.
    ///
    /// # Errors
    /// The address is taken, or is not ours.
    pub fn bind(address: SocketAddr, endpoint: Endpoint) -> io::Result<Driver> {
        Driver::bind_with(address, endpoint, &Options::default())
    }

    /// Binds `address`.
    ///
    /// # Errors
    /// As [`Driver::bind`].
    pub fn bind_with(address: SocketAddr, endpoint: Endpoint, options: &Options) -> io::Result<Driver> {
        let socket = socket::bind(address, options)?;
        let incoming = Incoming::new(&socket)?;
        let (outgoing, wakeups) = (Outgoing::new(), Wakeups::new()?);
        Ok(Driver { socket, endpoint, incoming, outgoing, wakeups, seat: None, stats: Stats::default() })
    }

    /// Takes a place among the loops that share a port: from now on datagrams of their connections go to them, and
    /// theirs of ours come here. The endpoint must have the seat's number in its connection ids
    /// ([`steering`](crate::steering)).
    pub fn sit(&mut self, mut seat: Seat) {
        seat.take_place(self.wakeups.waker());
        self.seat = Some(seat);
    }

    /// Where the socket is bound.
    ///
    /// # Errors
    /// The system cannot say.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// A way to end [`wait`](Driver::wait) from another thread.
    pub fn waker(&self) -> Waker {
        self.wakeups.waker()
    }

    /// The endpoint: poll its events and command it between [`wait`](Driver::wait) and [`flush`](Driver::flush).
    pub fn endpoint(&mut self) -> &mut Endpoint {
        &mut self.endpoint
    }

    /// Whether datagrams wait that the socket did not take: [`flush`](Driver::flush) offers them again.
    pub fn is_waiting(&self) -> bool {
        self.outgoing.is_waiting()
    }

    /// What this driver has done.
    pub fn stats(&self) -> Stats {
        self.stats
    }

    /// Blocks until datagrams arrive, a timer of the endpoint is due, the waker is used, or `until` has come, and hands
    /// the endpoint what it is due. With `until` in the past it takes what is there and returns at once.
    ///
    /// # Errors
    /// The socket itself is broken; nothing that a peer or the network does causes this.
    pub fn wait(&mut self, until: Option<Instant>) -> io::Result<()> {
        let deadline = [until, self.endpoint.poll_timeout()].into_iter().flatten().min();
        let timeout = deadline.map(|at| at.saturating_duration_since(Instant::now()));
        let ready = sys::wait(&self.socket, &self.wakeups, self.outgoing.is_waiting(), timeout)?;
        self.stats.wakeups += 1;
        if ready.woken {
            self.wakeups.take();
        }
        let now = Instant::now();
        if ready.readable {
            self.receive(now)?;
        }
        self.take_over(now);
        if self.endpoint.poll_timeout().is_some_and(|at| at <= now) {
            self.endpoint.handle_timeout(now);
        }
        Ok(())
    }

    /// Sends what the endpoint has. What the socket does not take now waits, at most one batch of it, for the next
    /// flush; [`wait`](Driver::wait) returns when the socket takes more.
    ///
    /// # Errors
    /// As [`wait`](Driver::wait).
    pub fn flush(&mut self) -> io::Result<()> {
        let flushed = self.outgoing.flush(&self.socket, &mut self.endpoint, Instant::now())?;
        self.stats.datagrams_out += flushed.datagrams;
        self.stats.bytes_out += flushed.bytes;
        self.stats.batches_out += flushed.calls;
        self.stats.dropped_out += flushed.dropped;
        Ok(())
    }

    /// Moves to a new local address, as a phone does from Wi-Fi to cellular: binds it and tells every link.
    ///
    /// # Errors
    /// As [`Driver::bind`]; the old socket is kept then.
    pub fn rebind(&mut self, address: SocketAddr, options: &Options) -> io::Result<()> {
        let socket = socket::bind(address, options)?;
        self.incoming = Incoming::new(&socket)?;
        self.socket = socket;
        self.endpoint.local_address_changed();
        Ok(())
    }

    /// Flushes and waits until every link has ended and told its peer, or `limit` has passed. For a process that is
    /// about to exit, after [`Endpoint::close_all`]; events are dropped.
    ///
    /// # Errors
    /// As [`wait`](Driver::wait).
    pub fn linger(&mut self, limit: Duration) -> io::Result<()> {
        let end = Instant::now() + limit;
        self.flush()?;
        while self.endpoint.links() > 0 && Instant::now() < end {
            self.wait(Some(end))?;
            while self.endpoint.poll_event().is_some() {}
            self.flush()?;
        }
        Ok(())
    }

    fn receive(&mut self, now: Instant) -> io::Result<()> {
        for _ in 0..BATCHES_PER_WAIT {
            let batch = self.incoming.receive(&self.socket, &mut self.endpoint, self.seat.as_mut(), now)?;
            self.stats.datagrams_in += batch.datagrams as u64;
            self.stats.bytes_in += batch.bytes as u64;
            self.stats.batches_in += u64::from(batch.datagrams > 0);
            self.stats.icmp_errors += u64::from(batch.was_icmp);
            self.stats.handed_over += batch.handed_over as u64;
            self.stats.handover_dropped += batch.dropped as u64;
            if batch.was_last {
                break;
            }
        }
        Ok(())
    }

    /// Takes what other loops have for this one.
    fn take_over(&mut self, now: Instant) {
        let Some(seat) = &mut self.seat else { return };
        for _ in 0..TAKEN_PER_WAIT {
            let Some(Handed { remote, local_ip, ecn, data }) = seat.take() else { return };
            self.stats.taken_over += 1;
            self.endpoint.handle_datagram(now, remote, local_ip, ecn, data);
        }
        // There may be more: the next wait finds it at once.
        self.wakeups.waker().wake();
    }
}
