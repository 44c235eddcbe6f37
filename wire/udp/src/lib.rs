//! The driver of wire-link: a UDP socket, its batches, and the clock.
//!
//! A [`Driver`] belongs to one loop: one thread, one socket, one [`Endpoint`], and no task or lock per connection. Its
//! owner repeats [`wait`](Driver::wait) (for datagrams, a timer, or a [`Waker`]), then polls the endpoint's events and
//! acts on them, then [`flush`](Driver::flush). Datagrams are received by `recvmmsg`, with GRO where the kernel has it,
//! and sent by `sendmmsg`. Several drivers may bind one port ([`Options::reuse_port`]); with
//! a [`Seat`] each, they hand each other what the kernel brings to the wrong one.
//!
//! Invariants: at most one batch of unsent datagrams is kept when the socket is full, and what ICMP reports about a peer
//! never ends the loop. The only unsafe code is in `sys.rs`.

mod driver;
mod outgoing;
mod socket;
mod steer;
mod sys;
mod waker;

pub use driver::{Driver, Stats};
pub use socket::Options;
pub use steer::{Seat, steering};
pub use waker::Waker;

use wire_link::Endpoint;
