//! The thread that carries packets: it reads devices, asks the router, waits until something is due, and writes devices.
//!
//! Invariant: between a packet's arrival and the reading of the clock for it there is only the read that took it; nothing
//! is written before it is due.

use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use crate::network::Shared;
use crate::router::Delivery;
use crate::sys;
use crate::tun::Tun;
use crate::waker::Wakeups;

/// Packets taken from one device before the others are looked at.
const READS_MAX: usize = 64;

/// Packets written before devices are looked at again.
const WRITES_MAX: usize = 256;

/// Packets that are due so soon after others were delivered are delivered together, when that time has passed.
const TOGETHER: Duration = Duration::from_micros(100);

/// No packet is larger: the devices' MTU is 1,500.
const PACKET_BYTES_MAX: usize = 2048;

/// A packet as a device gave it, and when.
struct Arrival {
    at: Instant,
    host: usize,
    bytes: Vec<u8>,
}

/// What the thread does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wait {
    ForEver,
    Until(Instant),
    End,
}

/// What the thread owns.
struct Driver<'a> {
    wakeups: &'a Wakeups,
    /// The hosts' devices, by their numbers; none where one has failed.
    devices: Vec<Option<Tun>>,
    arrivals: Vec<Arrival>,
    deliveries: Vec<Delivery>,
    buffer: Vec<u8>,
}

#[expect(clippy::disallowed_methods, reason = "the driver of the emulator is where its clock is read")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// Carries packets until it must end.
pub(crate) fn run(shared: &Shared, wakeups: &Wakeups) {
    // If it is refused packets are late when the machine is busy, which the totals say.
    let _ = sys::be_punctual();
    let mut driver = Driver {
        wakeups,
        devices: Vec::new(),
        arrivals: Vec::new(),
        deliveries: Vec::new(),
        buffer: vec![0; PACKET_BYTES_MAX],
    };
    let mut wait = Wait::ForEver;
    while wait != Wait::End {
        driver.take(wait);
        wait = driver.decide(shared);
        driver.deliver(shared);
    }
}

impl Driver<'_> {
    /// Waits, and takes what has arrived.
    fn take(&mut self, wait: Wait) {
        let timeout = match wait {
            Wait::ForEver | Wait::End => None,
            Wait::Until(due) => Some(due.saturating_duration_since(now())),
        };
        let present = self.devices.iter().enumerate().filter_map(|(host, tun)| Some((host, tun.as_ref()?)));
        let (hosts, descriptors): (Vec<usize>, Vec<BorrowedFd<'_>>) = present
            .map(|(host, tun)| (host, tun.as_fd()))
            .chain([(usize::MAX, self.wakeups.as_fd())])
            .unzip();
        let mut is_ready = Vec::new();
        sys::wait(&descriptors, &mut is_ready, timeout)
            .expect("a wait for few open descriptors fails for want of the kernel's own memory alone");
        for (host, _) in hosts.into_iter().zip(is_ready).filter(|(_, is_ready)| *is_ready) {
            match host {
                usize::MAX => self.wakeups.take(),
                host => self.read(host),
            }
        }
    }

    fn read(&mut self, host: usize) {
        for _ in 0..READS_MAX {
            let Some(device) = &self.devices[host] else { return };
            match device.read(&mut self.buffer) {
                Ok(len) => {
                    let bytes = self.buffer[..len].to_vec();
                    self.arrivals.push(Arrival { at: now(), host, bytes });
                }
                Err(error) if is_passing(&error) => return,
                // Its namespace took it down or away: what was not read can be waited for in vain, and for ever.
                Err(_) => self.devices[host] = None,
            }
        }
    }

    /// Gives arrivals to the router and takes what is due.
    fn decide(&mut self, shared: &Shared) -> Wait {
        let mut state = shared.lock();
        if state.must_end {
            return Wait::End;
        }
        self.devices.extend(state.attached.drain(..).map(Some));
        for Arrival { at, host, bytes } in self.arrivals.drain(..) {
            state.router.handle_packet(host, bytes, at);
        }
        let now = now();
        while self.deliveries.len() < WRITES_MAX
            && let Some(delivery) = state.router.poll_delivery(now)
        {
            self.deliveries.push(delivery);
        }
        match state.router.next_due() {
            // Packets that follow each other closely go together: waking up for each of them costs more than they do.
            Some(due) if due > now && !self.deliveries.is_empty() => Wait::Until(due.max(now + TOGETHER)),
            Some(due) => Wait::Until(due),
            None => Wait::ForEver,
        }
    }

    fn deliver(&mut self, shared: &Shared) {
        if self.deliveries.is_empty() {
            return;
        }
        let (mut delivered, mut undelivered, mut lateness_max) = (0, 0, Duration::ZERO);
        for Delivery { host, due, packet } in self.deliveries.drain(..) {
            let device = self.devices.get(host).and_then(Option::as_ref);
            if device.is_some_and(|device| device.write(packet.bytes()).is_ok()) {
                delivered += 1;
                lateness_max = lateness_max.max(now().saturating_duration_since(due));
            } else {
                undelivered += 1;
            }
        }
        let totals = &mut shared.lock().router.totals;
        totals.delivered += delivered;
        totals.undelivered += undelivered;
        totals.lateness_max = totals.lateness_max.max(lateness_max);
    }
}

fn is_passing(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}
