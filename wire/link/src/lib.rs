//! A QUIC connection without IO: typed streams, frames, priorities.
