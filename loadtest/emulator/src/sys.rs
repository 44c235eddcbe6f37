//! The system calls that the standard library does not wrap: namespaces, TUN devices and their addresses, waiting. All
//! unsafe code of the crate.
#![expect(
    unsafe_code,
    reason = "namespaces, TUN devices, interface addresses and ppoll exist only as C functions and ioctls"
)]

use std::io;
use std::net::{Ipv4Addr, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::Duration;

/// Puts the calling thread into a network namespace of its own.
pub(crate) fn leave_network_namespace() -> io::Result<()> {
    // SAFETY: takes no pointer; of the calling thread it changes only which network it sees.
    check(unsafe { libc::unshare(libc::CLONE_NEWNET) })
}

/// Puts the calling thread into a network namespace.
pub(crate) fn enter_network_namespace(namespace: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: takes no pointer, and the descriptor is borrowed and so open.
    check(unsafe { libc::setns(namespace.as_raw_fd(), libc::CLONE_NEWNET) })
}

/// Lets a command start in a network namespace.
pub(crate) fn enter_before_exec(command: &mut Command, namespace: OwnedFd) {
    let enter = move || enter_network_namespace(namespace.as_fd());
    // SAFETY: what runs between fork and exec makes one system call and reads errno; it takes no lock and allocates
    // nothing (an error made of errno holds only the number).
    unsafe { command.pre_exec(enter) };
}

/// Lets the calling thread run as soon as it has something to do, before the threads of this and other programs, and lets its
/// timers end when they are due, instead of up to 50 µs later to save wake-ups. Both are tried.
pub(crate) fn be_punctual() -> io::Result<()> {
    let nanos: libc::c_ulong = 1;
    // SAFETY: this option takes a number and no pointer.
    let slack = check(unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, nanos) });
    let lowest = libc::sched_param { sched_priority: 1 };
    // SAFETY: 0 is the calling thread; the parameters outlive the call, which only reads them.
    let real_time = check(unsafe { libc::sched_setscheduler(0, libc::SCHED_RR, &raw const lowest) });
    slack.and(real_time)
}

/// Makes an open `/dev/net/tun` a new TUN device of that name, without packet information. It is in the namespace in
/// which the file was opened, and goes when the file is closed.
pub(crate) fn make_tun(file: &impl AsFd, name: &str) -> io::Result<()> {
    let mut request = interface_request(name)?;
    request.ifr_ifru.ifru_flags = (libc::IFF_TUN | libc::IFF_NO_PI | libc::IFF_TUN_EXCL) as libc::c_short;
    interface_ioctl(file, libc::TUNSETIFF, request)
}

/// Gives an interface of the socket's namespace an address instead of the one it had.
pub(crate) fn set_address(socket: &UdpSocket, name: &str, address: Ipv4Addr) -> io::Result<()> {
    let mut request = interface_request(name)?;
    request.ifr_ifru.ifru_addr = sockaddr(address);
    interface_ioctl(socket, libc::SIOCSIFADDR, request)
}

/// Says which addresses are on the interface's own network, and so routes them to it.
pub(crate) fn set_netmask(socket: &UdpSocket, name: &str, mask: Ipv4Addr) -> io::Result<()> {
    let mut request = interface_request(name)?;
    request.ifr_ifru.ifru_netmask = sockaddr(mask);
    interface_ioctl(socket, libc::SIOCSIFNETMASK, request)
}

/// How many packets wait for the device's reader before the kernel drops some.
pub(crate) fn set_queue_length(socket: &UdpSocket, name: &str, packets: libc::c_int) -> io::Result<()> {
    let mut request = interface_request(name)?;
    request.ifr_ifru.ifru_metric = packets;
    interface_ioctl(socket, libc::SIOCSIFTXQLEN, request)
}

/// Brings an interface of the socket's namespace up.
pub(crate) fn set_up(socket: &UdpSocket, name: &str) -> io::Result<()> {
    let mut request = interface_request(name)?;
    request.ifr_ifru.ifru_flags = libc::IFF_UP as libc::c_short;
    interface_ioctl(socket, libc::SIOCSIFFLAGS, request)
}

/// Waits until one of the descriptors can be read, or for that long; `None` waits for ever. `is_ready` is made as long
/// as `descriptors` and says which.
pub(crate) fn wait(
    descriptors: &[BorrowedFd<'_>],
    is_ready: &mut Vec<bool>,
    timeout: Option<Duration>,
) -> io::Result<()> {
    let entry = |fd: &BorrowedFd<'_>| libc::pollfd { fd: fd.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    let mut entries: Vec<libc::pollfd> = descriptors.iter().map(entry).collect();
    let timeout = timeout.map(|timeout| libc::timespec {
        tv_sec: libc::time_t::try_from(timeout.as_secs()).unwrap_or(libc::time_t::MAX),
        tv_nsec: timeout.subsec_nanos().into(),
    });
    let timeout = timeout.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
    // SAFETY: `entries` is an array of as many valid entries as is said; its descriptors are borrowed and so open;
    // `timeout` is null or points to a value that outlives the call; a null signal mask leaves the mask alone.
    let polled = unsafe {
        libc::ppoll(entries.as_mut_ptr(), entries.len() as libc::nfds_t, timeout, std::ptr::null())
    };
    is_ready.clear();
    match check(polled) {
        // A signal: the caller's loop comes round again.
        Err(error) if error.kind() == io::ErrorKind::Interrupted => {
            is_ready.resize(descriptors.len(), false);
        }
        Err(error) => return Err(error),
        Ok(()) => is_ready.extend(entries.iter().map(|entry| entry.revents != 0)),
    }
    Ok(())
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// An `ifreq` about that interface.
fn interface_request(name: &str) -> io::Result<libc::ifreq> {
    // One byte stays for the zero at the end.
    if name.len() >= libc::IFNAMSIZ || name.contains('\0') {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "no name of an interface"));
    }
    // SAFETY: all-zero is a valid value of this C structure: numbers, and a union whose pointer may be null.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = from as libc::c_char;
    }
    Ok(request)
}

fn interface_ioctl(fd: &impl AsFd, what: libc::Ioctl, mut request: libc::ifreq) -> io::Result<()> {
    // SAFETY: the requests of this file take an `ifreq`, which outlives the call and was made with its unused bytes
    // zero; the descriptor is borrowed and so open.
    check(unsafe { libc::ioctl(fd.as_fd().as_raw_fd(), what, &raw mut request) })
}

fn sockaddr(address: Ipv4Addr) -> libc::sockaddr {
    // In a `sockaddr_in` the address follows the port's two bytes.
    let octets = address.octets();
    let mut data = [0 as libc::c_char; 14];
    for (to, from) in data[2..6].iter_mut().zip(octets) {
        *to = from as libc::c_char;
    }
    libc::sockaddr { sa_family: libc::AF_INET as libc::sa_family_t, sa_data: data }
}
