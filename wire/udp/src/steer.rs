//! Hands datagrams of another loop's connections to that loop.
//!
//! Each loop has a socket of its own on one port, and the kernel spreads peers over them by their addresses. When a
//! phone's address changes, its datagrams may land on another loop's socket, whose endpoint knows nothing of the
//! connection and would kill it with a stateless reset. So a loop that has a [`Seat`] looks at each datagram's connection
//! id first ([`Steering`]) and hands what is another loop's to that loop: one bounded channel per loop, one wake-up per
//! batch.
//!
//! Why here and not in the kernel: the loop's number in an id is encrypted, and the classic BPF that any process may
//! attach to a reuseport group cannot decrypt it. eBPF could, but takes privileges and a loader, to save one channel hop
//! for the few connections that have moved since they began.
//!
//! Invariant: the owner follows from the datagram alone, so it is handed over at most once. A full channel drops it, as
//! a full socket would.

use std::net::{IpAddr, SocketAddr};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, OnceLock};
use std::{fmt, iter};

use bytes::BytesMut;
use wire_link::{EcnCodepoint, Steering};

use crate::Waker;

/// Datagrams that wait for their loop; some 10 ms of a busy one's, and 1.5 MB if all are full.
const WAITING_MAX: usize = 1024;

/// One loop's place among the loops of a node: [`Driver::sit`](crate::Driver::sit).
pub struct Seat {
    loop_no: usize,
    shared: Arc<Shared>,
    /// By loop.
    to: Vec<SyncSender<Handed>>,
    from: Receiver<Handed>,
    /// By loop: it was handed something and is to be woken.
    owed_a_wake: Vec<bool>,
}

struct Shared {
    steering: Steering,
    /// By loop, once it sits.
    wakers: Vec<OnceLock<Waker>>,
}

/// A datagram, and all that an endpoint is told with it.
pub(crate) struct Handed {
    pub(crate) remote: SocketAddr,
    pub(crate) local_ip: Option<IpAddr>,
    pub(crate) ecn: Option<EcnCodepoint>,
    pub(crate) data: BytesMut,
}

/// What became of a datagram.
pub(crate) enum Steered {
    /// It is this loop's.
    Here(Handed),
    HandedOver,
    Dropped,
}

impl fmt::Debug for Seat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Seat").field("loop_no", &self.loop_no).finish_non_exhaustive()
    }
}

/// One seat for each of so many loops, the first for loop 0. The endpoint of each must have its number in
/// [`Config::cids`](wire_link::Config::cids), all under the key of `steering`.
pub fn steering(loops: usize, steering: Steering) -> Vec<Seat> {
    let (to, from): (Vec<_>, Vec<_>) = (0..loops).map(|_| sync_channel(WAITING_MAX)).unzip();
    let wakers = iter::repeat_with(OnceLock::new).take(loops).collect();
    let shared = Arc::new(Shared { steering, wakers });
    from.into_iter()
        .enumerate()
        .map(|(loop_no, from)| Seat {
            loop_no,
            shared: shared.clone(),
            to: to.clone(),
            from,
            owed_a_wake: vec![false; loops],
        })
        .collect()
}

impl Seat {
    /// From now on others wake the loop by this.
    pub(crate) fn take_place(&mut self, waker: Waker) {
        // What was handed over before is found at once. A seat is taken once: a second driver cannot have it.
        waker.wake();
        let _ = self.shared.wakers[self.loop_no].set(waker);
    }

    pub(crate) fn steer(&mut self, datagram: Handed) -> Steered {
        let owner = self.shared.steering.owner(&datagram.data).map(usize::from);
        let Some(owner) = owner.filter(|&owner| owner != self.loop_no && owner < self.to.len()) else {
            return Steered::Here(datagram);
        };
        match self.to[owner].try_send(datagram) {
            Ok(()) => {
                self.owed_a_wake[owner] = true;
                Steered::HandedOver
            }
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => Steered::Dropped,
        }
    }

    /// Wakes the loops that were handed something.
    pub(crate) fn wake_owners(&mut self) {
        for (owed, waker) in self.owed_a_wake.iter_mut().zip(&self.shared.wakers) {
            if std::mem::take(owed)
                && let Some(waker) = waker.get()
            {
                waker.wake();
            }
        }
    }

    /// The next datagram from another loop.
    pub(crate) fn take(&mut self) -> Option<Handed> {
        self.from.try_recv().ok()
    }
}

#[cfg(test)]
mod tests {
    use wire_link::testing::{plain_client, secrets};
    use wire_link::{ClientConfig, Config, Endpoint};

    use super::*;

    /// A datagram that belongs to the loop of this number: its id is one that such an endpoint uses itself.
    fn datagram_of(loop_no: u8) -> Handed {
        let now = std::time::Instant::now();
        let mut config = Config::client(secrets(1));
        config.cids.loop_no = loop_no;
        let mut endpoint = Endpoint::client(config, ClientConfig::new(plain_client()), now);
        let remote = "127.0.0.1:1".parse().unwrap();
        endpoint.connect(now, remote, "localhost").unwrap();
        let mut sent = Vec::new();
        assert!(endpoint.poll_transmit(now, &mut sent).is_some());
        // A long header: the ids follow the version, each behind its length.
        let source = 6 + usize::from(sent[5]);
        let id = &sent[source + 1..source + 1 + usize::from(sent[source])];
        let data = [&[0x40], id, &[0; 30]].concat();
        Handed { remote, local_ip: None, ecn: None, data: BytesMut::from(&data[..]) }
    }

    fn seats() -> Vec<Seat> {
        steering(2, Steering::new(secrets(0).cid_key, 2))
    }

    #[test]
    fn i10_a_datagram_goes_to_its_loop_and_no_further() {
        let mut seats = seats();
        assert!(matches!(seats[0].steer(datagram_of(0)), Steered::Here(_)));
        assert!(matches!(seats[0].steer(datagram_of(2)), Steered::Here(_)), "there is no such loop");
        assert!(matches!(seats[0].steer(datagram_of(1)), Steered::HandedOver));
        assert!(seats[0].take().is_none());
        let taken = seats[1].take().unwrap();
        assert_eq!(taken.data, datagram_of(1).data);
        assert!(matches!(seats[1].steer(taken), Steered::Here(_)));
    }

    #[test]
    fn k1_a_loop_that_takes_no_more_costs_no_more() {
        let mut seats = seats();
        for _ in 0..WAITING_MAX {
            assert!(matches!(seats[0].steer(datagram_of(1)), Steered::HandedOver));
        }
        assert!(matches!(seats[0].steer(datagram_of(1)), Steered::Dropped));
        seats.truncate(1);
        assert!(matches!(seats[0].steer(datagram_of(1)), Steered::Dropped), "a loop that is gone");
    }

    #[test]
    fn each_owner_is_woken_once_per_batch() {
        let mut seats = seats();
        let mut wakeups = crate::waker::Wakeups::new().unwrap();
        let mut owner = seats.pop().unwrap();
        owner.take_place(wakeups.waker());
        wakeups.take();
        assert!(!wakeups.waker().is_woken());
        seats[0].steer(datagram_of(1));
        seats[0].steer(datagram_of(1));
        assert!(!wakeups.waker().is_woken(), "not per datagram");
        seats[0].wake_owners();
        assert!(wakeups.waker().is_woken());
        wakeups.take();
        seats[0].wake_owners();
        assert!(!wakeups.waker().is_woken(), "nothing new");
    }
}
