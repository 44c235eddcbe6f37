//! A real network of ours between network namespaces: real sockets, real kernels' UDP and TCP, and between them paths
//! that delay, lose, double, reorder and throttle packets, NATs that rebind, and hosts whose address changes.
//!
//! A [`Namespace`] is what one machine sees of the network; threads ([`Namespace::run`], [`Namespace::spawn`]) and
//! processes ([`Namespace::command`]) live in it. A [`Network`] attaches namespaces as [`Host`]s of 10.77.0.0/16, each by
//! a TUN device, and one thread carries packets between them. Each direction of each host's link has [`Settings`], which
//! can change at any time; a packet goes along its sender's way up and its receiver's way down.
//!
//! ```
//! # #[cfg(target_os = "linux")] {
//! use loadtest_emulator::{Direction, Namespace, Network, Settings, can_run};
//! use std::{net::UdpSocket, time::Duration};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! if !can_run("the example of loadtest_emulator") {
//!     return Ok(()); // It has said so on standard error.
//! }
//! let (phones, servers) = (Namespace::new()?, Namespace::new()?);
//! let network = Network::new(7)?;
//! let phone = network.attach(&phones, "10.77.1.1".parse()?)?;
//! let _server = network.attach(&servers, "10.77.2.1".parse()?)?;
//! phone.set_both(&Settings::delayed(Duration::from_millis(10)));
//!
//! let server = servers.run(|| UdpSocket::bind("10.77.2.1:443"))??;
//! let client = phones.run(|| UdpSocket::bind("10.77.1.1:0"))??;
//! client.send_to(b"hello", "10.77.2.1:443")?;
//! let mut buffer = [0; 16];
//! assert_eq!(server.recv_from(&mut buffer)?, (5, client.local_addr()?));
//! assert_eq!(phone.counters(Direction::Up).packets_out, 1);
//! # Ok(()) }
//! # main().unwrap() }
//! ```
//!
//! The thread runs with real-time priority where it is allowed to, so that a busy machine is not a bad network;
//! [`Totals::lateness_max`] says how far it was behind all the same, and [`Host::dropped_before`] what it never saw.
//!
//! Invariants: what becomes of a packet is decided without IO ([`Path::decide`]) from the seed, its place in its path's
//! sequence and the settings; order is kept unless reordering is asked for; nothing is delivered before it is due;
//! interfaces outside the namespaces made here are never touched. Bounds: [`HOSTS_MAX`], [`UNDER_WAY_MAX`],
//! [`MAPPINGS_MAX`]. IPv4 alone; packets of at most 1,500 bytes. Linux, as root; [`can_run`] says where it cannot. The only
//! unsafe code is in `sys.rs`.
#![cfg(target_os = "linux")]

mod counters;
mod driver;
mod error;
mod namespace;
mod nat;
mod network;
mod packet;
mod path;
mod required;
mod router;
mod settings;
mod sys;
mod tun;
mod waker;

pub use counters::{Counters, NatCounters, Totals};
pub use error::{HostError, Unavailable};
pub use namespace::Namespace;
pub use nat::MAPPINGS_MAX;
pub use network::{HOSTS_MAX, Host, Network, probe};
pub use path::{Cause, Direction, Fate, Path, UNDER_WAY_MAX};
pub use required::{REQUIRED_VARIABLE, can_run};
pub use settings::{Blocked, Burst, DELAY_MAX, Rate, Settings};
pub use tun::NETWORK;
