//! The phone's side without IO: outbox, sync, reconnect.
