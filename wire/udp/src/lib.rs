//! The driver of wire-link: sockets, batching, timers.
