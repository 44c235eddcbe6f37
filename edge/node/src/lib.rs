//! Performs what `edge-proto` decides: it owns the sockets, the clocks, the configuration, the store and tokio.
//!
//! [`start`] opens everything and returns a [`RunningNode`]; [`RunningNode::stop`] drains it. One loop is one thread with one QUIC
//! endpoint and one `edge-proto` node ([`drive`]); effects run on tokio ([`perform`]); the [`registry`] says which loop
//! an account is on. The admin listener answers [`health`] and [`metrics`].

pub mod clock;
pub mod config;
pub mod doctor;
pub mod drive;
pub mod health;
pub mod metrics;
pub mod perform;
pub mod registry;
pub mod secrets;
mod serve;
pub mod sms;
mod sockets;
mod sweeper;
mod tls;

pub use config::{Config, ConfigError, Flags, SmsConfig};
pub use serve::{RunningNode, ServeError, start, start_with_sessions};
