//! The two system calls that no library here wraps: `ppoll` and `sendmmsg`. All unsafe code of the crate.
#![expect(
    unsafe_code,
    reason = "sendmmsg and ppoll exist only as C functions, and no dependency of ours wraps them"
)]

use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::{AsFd, AsRawFd};
use std::time::Duration;

use socket2::SockAddr;

use crate::outgoing::{BATCH_MAX, Datagram};

/// Why a wait ended. None of them: its time had come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ready {
    pub(crate) readable: bool,
    pub(crate) woken: bool,
}

/// Waits for datagrams, a wake-up, room to send if `wants_room`, or the time. `None` waits for ever.
pub(crate) fn wait(
    socket: &UdpSocket,
    wakeups: &impl AsFd,
    wants_room: bool,
    timeout: Option<Duration>,
) -> io::Result<Ready> {
    let events = if wants_room { libc::POLLIN | libc::POLLOUT } else { libc::POLLIN };
    let mut fds = [
        libc::pollfd { fd: socket.as_raw_fd(), events, revents: 0 },
        libc::pollfd { fd: wakeups.as_fd().as_raw_fd(), events: libc::POLLIN, revents: 0 },
    ];
    let polled = poll(&mut fds, timeout);
    if polled < 0 {
        let error = io::Error::last_os_error();
        // A signal: the caller's loop comes round again.
        return if error.kind() == io::ErrorKind::Interrupted {
            Ok(Ready { readable: false, woken: false })
        } else {
            Err(error)
        };
    }
    // An error on the socket is read from it, like a datagram.
    let readable = fds[0].revents & (libc::POLLIN | libc::POLLERR | libc::POLLHUP) != 0;
    Ok(Ready { readable, woken: fds[1].revents != 0 })
}

#[cfg(target_os = "linux")]
fn poll(fds: &mut [libc::pollfd; 2], timeout: Option<Duration>) -> libc::c_int {
    let timeout = timeout.map(|timeout| libc::timespec {
        tv_sec: libc::time_t::try_from(timeout.as_secs()).unwrap_or(libc::time_t::MAX),
        tv_nsec: timeout.subsec_nanos().into(),
    });
    let timeout = timeout.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
    // SAFETY: `fds` is an array of as many valid entries as is said; its descriptors are borrowed and so open; `timeout`
    // is null or points to a value that outlives the call; a null signal mask leaves the mask alone.
    unsafe { libc::ppoll(fds.as_mut_ptr(), fds.len() as libc::nfds_t, timeout, std::ptr::null()) }
}

#[cfg(not(target_os = "linux"))]
fn poll(fds: &mut [libc::pollfd; 2], timeout: Option<Duration>) -> libc::c_int {
    // Rounded up, so that a wait never ends just before its time.
    let timeout = timeout.map_or(-1, |t| t.as_nanos().div_ceil(1_000_000).try_into().unwrap_or(i32::MAX));
    // SAFETY: `fds` is an array of as many valid entries as is said; its descriptors are borrowed and so open.
    unsafe { libc::poll(fds.as_mut_ptr(), fds.len() as libc::nfds_t, timeout) }
}

/// Sends datagrams in one system call where there is one for many, and says how many went.
///
/// # Errors
/// What the system says about the first one, if not even that went.
#[cfg(target_os = "linux")]
pub(crate) fn send_batch(socket: &UdpSocket, datagrams: &[Datagram]) -> io::Result<usize> {
    match datagrams.len() {
        0 => Ok(0),
        // Most turns of a quiet loop send a few: they do not pay for the structures of a full batch.
        1..=4 => send_up_to::<4>(socket, datagrams),
        _ => send_up_to::<BATCH_MAX>(socket, datagrams),
    }
}

#[cfg(target_os = "linux")]
fn send_up_to<const MAX: usize>(socket: &UdpSocket, datagrams: &[Datagram]) -> io::Result<usize> {
    let count = datagrams.len().min(MAX);
    let addresses: [SockAddr; MAX] =
        std::array::from_fn(|i| SockAddr::from(datagrams[i.min(count - 1)].transmit.destination));
    let mut controls = [const { Control::EMPTY }; MAX];
    // SAFETY: all-zero is a valid value of these C structures: null pointers and zero lengths.
    let mut slices: [libc::iovec; MAX] = unsafe { std::mem::zeroed() };
    // SAFETY: as above.
    let mut messages: [libc::mmsghdr; MAX] = unsafe { std::mem::zeroed() };
    for i in 0..count {
        let Datagram { transmit, bytes } = &datagrams[i];
        slices[i] = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
        let message = &mut messages[i].msg_hdr;
        message.msg_name = addresses[i].as_ptr().cast_mut().cast();
        message.msg_namelen = addresses[i].len();
        message.msg_iov = &raw mut slices[i];
        message.msg_iovlen = 1;
        let ecn = transmit.ecn.map(|ecn| ecn as libc::c_int);
        controls[i].fill(message, transmit.destination, ecn, transmit.src_ip);
    }
    // SAFETY: the first `count` messages point to addresses, slices, datagrams and control buffers that live until the
    // call returns; sending writes through none of them but the messages' own `msg_len`.
    let sent = unsafe { libc::sendmmsg(socket.as_raw_fd(), messages.as_mut_ptr(), count as libc::c_uint, 0) };
    if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(sent as usize) }
}

/// Room for the two control messages of one datagram: the ECN mark, and the address to send from.
#[cfg(target_os = "linux")]
#[repr(C, align(8))]
struct Control([u8; Control::BYTES]);

#[cfg(target_os = "linux")]
impl Control {
    // SAFETY: CMSG_SPACE only computes.
    const BYTES: usize = unsafe {
        libc::CMSG_SPACE(size_of::<libc::c_int>() as u32)
            + libc::CMSG_SPACE(size_of::<libc::in6_pktinfo>() as u32)
    } as usize;

    const EMPTY: Control = Control([0; Control::BYTES]);

    fn fill(
        &mut self,
        message: &mut libc::msghdr,
        to: SocketAddr,
        ecn: Option<libc::c_int>,
        from: Option<IpAddr>,
    ) {
        let mut used = 0;
        if let Some(ecn) = ecn {
            let is_v4 = match to.ip() {
                IpAddr::V4(_) => true,
                IpAddr::V6(ip) => ip.to_ipv4_mapped().is_some(),
            };
            let (level, kind) = if is_v4 {
                (libc::IPPROTO_IP, libc::IP_TOS)
            } else {
                (libc::IPPROTO_IPV6, libc::IPV6_TCLASS)
            };
            used += self.push(used, level, kind, ecn);
        }
        match from {
            Some(IpAddr::V4(ip)) => {
                let spec_dst = libc::in_addr { s_addr: u32::from_ne_bytes(ip.octets()) };
                let info = libc::in_pktinfo {
                    ipi_ifindex: 0,
                    ipi_spec_dst: spec_dst,
                    ipi_addr: libc::in_addr { s_addr: 0 },
                };
                used += self.push(used, libc::IPPROTO_IP, libc::IP_PKTINFO, info);
            }
            Some(IpAddr::V6(ip)) => {
                let addr = libc::in6_addr { s6_addr: ip.octets() };
                let info = libc::in6_pktinfo { ipi6_addr: addr, ipi6_ifindex: 0 };
                used += self.push(used, libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, info);
            }
            None => {}
        }
        if used > 0 {
            message.msg_control = self.0.as_mut_ptr().cast();
            message.msg_controllen = used as _;
        }
    }

    /// Writes one control message `at` bytes into the buffer, and says how much it takes.
    fn push<T: Copy>(&mut self, at: usize, level: libc::c_int, kind: libc::c_int, value: T) -> usize {
        let size = size_of::<T>() as u32;
        // SAFETY: CMSG_SPACE and CMSG_LEN only compute.
        let (space, len) = unsafe { (libc::CMSG_SPACE(size) as usize, libc::CMSG_LEN(size)) };
        let room = &mut self.0[at..at + space];
        let header = room.as_mut_ptr().cast::<libc::cmsghdr>();
        // SAFETY: `room` is as large as a header and a `T` with their padding need, by CMSG_SPACE; it is aligned for the
        // header, since the buffer is and every message takes a multiple of that alignment; the value is written
        // without demanding any alignment.
        unsafe {
            (*header).cmsg_len = len as _;
            (*header).cmsg_level = level;
            (*header).cmsg_type = kind;
            libc::CMSG_DATA(header).cast::<T>().write_unaligned(value);
        }
        space
    }
}

/// Sends one datagram: there is no call for many here.
#[cfg(not(target_os = "linux"))]
pub(crate) fn send_batch(socket: &UdpSocket, datagrams: &[Datagram]) -> io::Result<usize> {
    let Some(Datagram { transmit, bytes }) = datagrams.first() else { return Ok(0) };
    socket.send_to(bytes, transmit.destination).map(|_| 1)
}
