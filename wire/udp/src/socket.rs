//! The socket: how it is bound, and batches in.

use std::io::{self, ErrorKind, IoSliceMut};
use std::net::{SocketAddr, UdpSocket};
use std::time::Instant;

use bytes::BytesMut;
use quinn_udp::{BATCH_SIZE, RecvMeta, UdpSockRef, UdpSocketState};
use socket2::{Domain, Protocol, Socket, Type};

use crate::Endpoint;
use crate::steer::{Handed, Seat, Steered};

/// Bytes of one datagram at most; GRO joins several.
const DATAGRAM_BYTES_MAX: usize = 1500;

/// How a socket is bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// Several sockets may bind the port, and the kernel spreads peers over them (`SO_REUSEPORT`): one per loop.
    pub reuse_port: bool,
    /// Kernel buffer for datagrams that wait for the loop. The kernel may grant less (`net.core.rmem_max`).
    pub receive_buffer_bytes: usize,
    /// Kernel buffer for datagrams that wait for the network (`net.core.wmem_max`).
    pub send_buffer_bytes: usize,
}

impl Default for Options {
    /// 4 MiB each way: some 3,000 datagrams, so that a pause of some milliseconds loses none.
    fn default() -> Self {
        Options { reuse_port: false, receive_buffer_bytes: 4 << 20, send_buffer_bytes: 4 << 20 }
    }
}

/// Binds a UDP socket. One for `[::]` takes IPv4 as well.
pub(crate) fn bind(address: SocketAddr, options: &Options) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    if options.reuse_port {
        socket.set_reuse_port(true)?;
    }
    // What the system does not permit it cuts down to what it does.
    socket.set_recv_buffer_size(options.receive_buffer_bytes)?;
    socket.set_send_buffer_size(options.send_buffer_bytes)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    let (receive, send) = (socket.recv_buffer_size()?, socket.send_buffer_size()?);
    tracing::debug!(receive_bytes = receive, send_bytes = send, "socket buffers granted");
    Ok(socket.into())
}

/// Receives batches. Its buffers are shared by all connections of the loop.
pub(crate) struct Incoming {
    state: UdpSocketState,
    buffer: Vec<u8>,
    slot_bytes: usize,
    metas: [RecvMeta; BATCH_SIZE],
}

/// What one batch brought.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Batch {
    pub(crate) datagrams: usize,
    pub(crate) bytes: usize,
    /// Handed to other loops, and dropped because those take no more.
    pub(crate) handed_over: usize,
    pub(crate) dropped: usize,
    /// The kernel had no more.
    pub(crate) was_last: bool,
    /// An ICMP report about some peer came instead.
    pub(crate) was_icmp: bool,
}

impl Incoming {
    pub(crate) fn new(socket: &UdpSocket) -> io::Result<Incoming> {
        let state = UdpSocketState::new(UdpSockRef::from(socket))?;
        let slot_bytes = DATAGRAM_BYTES_MAX * state.gro_segments();
        let buffer = vec![0; slot_bytes * BATCH_SIZE];
        Ok(Incoming { state, buffer, slot_bytes, metas: [RecvMeta::default(); BATCH_SIZE] })
    }

    /// Hands one batch to the endpoint, each datagram in memory of its own; what is another loop's goes to that loop.
    pub(crate) fn receive(
        &mut self,
        socket: &UdpSocket,
        endpoint: &mut Endpoint,
        mut seat: Option<&mut Seat>,
        now: Instant,
    ) -> io::Result<Batch> {
        let mut slots = self.buffer.chunks_exact_mut(self.slot_bytes).map(IoSliceMut::new);
        let mut slots: [IoSliceMut<'_>; BATCH_SIZE] =
            std::array::from_fn(|_| slots.next().expect("the buffer has a slot for each"));
        let filled = match self.state.recv(UdpSockRef::from(socket), &mut slots, &mut self.metas) {
            Ok(filled) => filled,
            Err(error) => return nothing(error),
        };
        let mut batch = Batch { was_last: filled < BATCH_SIZE, ..Batch::default() };
        for (slot, meta) in slots.iter().zip(&self.metas[..filled]) {
            let ecn = meta.ecn.and_then(|ecn| wire_link::EcnCodepoint::from_bits(ecn as u8));
            let data = &slot[..meta.len];
            batch.bytes += data.len();
            for datagram in data.chunks(meta.stride.max(1)) {
                batch.datagrams += 1;
                let data = BytesMut::from(datagram);
                let handed = Handed { remote: meta.addr, local_ip: meta.dst_ip, ecn, data };
                let steered = match &mut seat {
                    Some(seat) => seat.steer(handed),
                    None => Steered::Here(handed),
                };
                match steered {
                    Steered::Here(Handed { remote, local_ip, ecn, data }) => {
                        endpoint.handle_datagram(now, remote, local_ip, ecn, data);
                    }
                    Steered::HandedOver => batch.handed_over += 1,
                    Steered::Dropped => batch.dropped += 1,
                }
            }
        }
        if let Some(seat) = seat {
            seat.wake_owners();
        }
        Ok(batch)
    }
}

/// Tells an empty socket and news about a peer from a broken socket.
fn nothing(error: io::Error) -> io::Result<Batch> {
    match error.kind() {
        ErrorKind::WouldBlock => Ok(Batch { was_last: true, ..Batch::default() }),
        ErrorKind::Interrupted => Ok(Batch::default()),
        ErrorKind::ConnectionRefused
        | ErrorKind::ConnectionReset
        | ErrorKind::HostUnreachable
        | ErrorKind::NetworkUnreachable => Ok(Batch { was_icmp: true, ..Batch::default() }),
        _ => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn icmp_is_no_reason_to_end() {
        for (code, ends) in [
            (libc::ECONNREFUSED, false),
            (libc::EHOSTUNREACH, false),
            (libc::ENETUNREACH, false),
            (libc::EAGAIN, false),
            (libc::EINTR, false),
            (libc::EBADF, true),
        ] {
            assert_eq!(nothing(io::Error::from_raw_os_error(code)).is_err(), ends, "{code}");
        }
    }
}
