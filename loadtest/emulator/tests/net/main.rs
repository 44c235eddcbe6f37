//! The emulator's output held against its own settings: real sockets in two namespaces, and what the receiving side
//! sees. Where namespaces cannot be made each test says on standard error that it is not run, and fails if the environment
//! has `GODWIT_NET=required`.
#![cfg(target_os = "linux")]
#![expect(clippy::disallowed_methods, reason = "a real network is tested in real time")]

mod addresses;
mod paths;
mod processes;
mod two;
