//! Batches out. At most one batch waits when the socket is full: what more there is stays inside the connections, which
//! notice that their datagrams are late.

use std::io::{self, ErrorKind};
use std::net::UdpSocket;
use std::time::Instant;

use wire_link::Transmit;

use crate::{Endpoint, sys};

/// Datagrams in one system call. More gain nothing: the call's own cost is a tenth of the batch's by then.
pub(crate) const BATCH_MAX: usize = 64;

/// One batch; its memory is kept for the next.
pub(crate) struct Outgoing {
    datagrams: Vec<Datagram>,
    /// Those of `datagrams` that are waiting: from `sent` up to `filled`.
    sent: usize,
    filled: usize,
}

/// One datagram and where it goes.
pub(crate) struct Datagram {
    pub(crate) transmit: Transmit,
    pub(crate) bytes: Vec<u8>,
}

/// What one flush did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Flushed {
    pub(crate) datagrams: u64,
    pub(crate) bytes: u64,
    pub(crate) calls: u64,
    /// Refused by the system for reasons of their own (no route, too large): dropped, as a network would.
    pub(crate) dropped: u64,
}

impl Outgoing {
    pub(crate) fn new() -> Outgoing {
        Outgoing { datagrams: Vec::with_capacity(BATCH_MAX), sent: 0, filled: 0 }
    }

    /// Whether datagrams wait for the socket.
    pub(crate) fn is_waiting(&self) -> bool {
        self.sent < self.filled
    }

    /// Sends all that the endpoint has, or as much as the socket takes.
    pub(crate) fn flush(
        &mut self,
        socket: &UdpSocket,
        endpoint: &mut Endpoint,
        now: Instant,
    ) -> io::Result<Flushed> {
        let mut flushed = Flushed::default();
        loop {
            if !self.is_waiting() {
                self.fill(endpoint, now);
            }
            if !self.is_waiting() || !self.send(socket, &mut flushed)? {
                return Ok(flushed);
            }
        }
    }

    fn fill(&mut self, endpoint: &mut Endpoint, now: Instant) {
        (self.sent, self.filled) = (0, 0);
        while self.filled < BATCH_MAX {
            let mut bytes = match self.datagrams.get_mut(self.filled) {
                Some(datagram) => std::mem::take(&mut datagram.bytes),
                None => Vec::new(),
            };
            let Some(transmit) = endpoint.poll_transmit(now, &mut bytes) else {
                if let Some(datagram) = self.datagrams.get_mut(self.filled) {
                    datagram.bytes = bytes;
                }
                return;
            };
            let datagram = Datagram { transmit, bytes };
            match self.datagrams.get_mut(self.filled) {
                Some(slot) => *slot = datagram,
                None => self.datagrams.push(datagram),
            }
            self.filled += 1;
        }
    }

    /// One system call. False if the socket is full.
    fn send(&mut self, socket: &UdpSocket, flushed: &mut Flushed) -> io::Result<bool> {
        let waiting = &self.datagrams[self.sent..self.filled];
        flushed.calls += 1;
        match sys::send_batch(socket, waiting) {
            Ok(sent) => {
                flushed.datagrams += sent as u64;
                flushed.bytes += waiting[..sent].iter().map(|d| d.bytes.len() as u64).sum::<u64>();
                self.sent += sent;
                Ok(true)
            }
            Err(error) => match error.kind() {
                ErrorKind::WouldBlock => Ok(false),
                ErrorKind::Interrupted => Ok(true),
                _ if is_broken(&error) => Err(error),
                _ => {
                    tracing::trace!(%error, "datagram refused by the system");
                    flushed.dropped += 1;
                    self.sent += 1;
                    Ok(true)
                }
            },
        }
    }
}

/// Errors of the socket itself; all others are about one datagram.
fn is_broken(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EBADF | libc::ENOTSOCK | libc::EFAULT))
}
