//! Performs what edge-proto decides: sockets, clocks, configuration.
