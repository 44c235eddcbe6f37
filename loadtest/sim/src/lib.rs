//! The whole cluster in one thread and virtual time.
