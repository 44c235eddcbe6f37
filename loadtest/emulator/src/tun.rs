//! A TUN device in a namespace: what the kernel there sends is read from it, what is written to it arrives there.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;

use crate::error::{HostError, Unavailable};
use crate::namespace::Namespace;
use crate::sys;

/// The network of all hosts and NATs.
pub const NETWORK: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 0);
const NETMASK: Ipv4Addr = Ipv4Addr::new(255, 255, 0, 0);

/// The device's name, in every namespace.
const NAME: &str = "emulated";

/// Packets that the kernel keeps for the emulator before it drops some.
const QUEUE_PACKETS: i32 = 8192;

/// A device. It goes when it is dropped.
#[derive(Debug)]
pub(crate) struct Tun {
    file: File,
}

impl Tun {
    /// Makes a device in a namespace, which has one at most. It has no address and is down.
    pub(crate) fn new(namespace: &Namespace) -> Result<Tun, HostError> {
        let made = namespace.run(|| {
            let unavailable = |what| move |why| HostError::from(Unavailable { what, why });
            let mut options = OpenOptions::new();
            // A device belongs to the namespace in which this file is opened.
            let file = options.read(true).write(true).custom_flags(libc::O_NONBLOCK).open("/dev/net/tun");
            let file = file.map_err(unavailable("opening /dev/net/tun"))?;
            match sys::make_tun(&file, NAME) {
                // There is one of that name.
                Err(source) if source.raw_os_error() == Some(libc::EBUSY) => {
                    Err(HostError::Device { what: "the namespace is attached already", source })
                }
                Err(why) => Err(unavailable("making a TUN device")(why)),
                Ok(()) => Ok(Tun { file }),
            }
        });
        made.map_err(device("entering the namespace"))?
    }

    /// One packet, if there is one; how long it is.
    pub(crate) fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        (&self.file).read(buffer)
    }

    /// Lets one packet arrive.
    pub(crate) fn write(&self, packet: &[u8]) -> io::Result<()> {
        (&self.file).write(packet).map(drop)
    }
}

impl AsFd for Tun {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// Brings a namespace's device up.
pub(crate) fn set_up(namespace: &Namespace) -> Result<(), HostError> {
    inside(namespace, |socket| {
        // Routers are solicited, and neighbours looked for, where there are none. Without IPv6 there is nothing to switch off.
        let _ = std::fs::write(format!("/proc/sys/net/ipv6/conf/{NAME}/disable_ipv6"), "1");
        sys::set_queue_length(socket, NAME, QUEUE_PACKETS).map_err(device("setting its queue's length"))?;
        sys::set_up(socket, NAME).map_err(device("bringing it up"))
    })
}

/// Gives a namespace's device its only address.
pub(crate) fn set_address(namespace: &Namespace, address: Ipv4Addr) -> Result<(), HostError> {
    inside(namespace, |socket| {
        sys::set_address(socket, NAME, address).map_err(device("setting its address"))?;
        sys::set_netmask(socket, NAME, NETMASK).map_err(device("setting its netmask"))
    })
}

/// Whether a host or a NAT can have that address.
pub(crate) fn must_be_within(address: Ipv4Addr) -> Result<(), HostError> {
    let network = u32::from(NETWORK);
    let host = u32::from(address) & !u32::from(NETMASK);
    let is_within = u32::from(address) & u32::from(NETMASK) == network;
    if is_within && host != 0 && host != !u32::from(NETMASK) {
        Ok(())
    } else {
        Err(HostError::Outside(address))
    }
}

/// Packets that the kernel of a namespace dropped on their way into the network, since its device was not read in time.
pub(crate) fn dropped(namespace: &Namespace) -> io::Result<u64> {
    let table = namespace.run(|| std::fs::read_to_string("/proc/thread-self/net/dev"))??;
    let line = table.lines().find_map(|line| line.trim_start().strip_prefix(NAME)?.strip_prefix(':'));
    // Eight columns of what was received, then what was sent: bytes, packets, errors, dropped.
    let column = line.and_then(|line| line.split_whitespace().nth(11)?.parse().ok());
    column.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "no such device in the namespace"))
}

fn inside(
    namespace: &Namespace,
    act: impl FnOnce(&UdpSocket) -> Result<(), HostError> + Send,
) -> Result<(), HostError> {
    let done = namespace.run(|| {
        let socket =
            UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).map_err(device("opening a socket beside it"))?;
        act(&socket)
    });
    done.map_err(device("entering the namespace"))?
}

fn device(what: &'static str) -> impl FnOnce(io::Error) -> HostError {
    move |source| HostError::Device { what, source }
}
