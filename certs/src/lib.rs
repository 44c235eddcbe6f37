//! Development certificates: code that makes them, never a key.
