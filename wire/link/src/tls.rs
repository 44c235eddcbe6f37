//! TLS for links, from rustls.
