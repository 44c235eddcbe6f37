//! Copies of what clients say, to be said again by somebody else.

use std::net::SocketAddr;

/// Connections that are captured; the oldest makes room.
const CAPTURES_MAX: usize = 256;

/// The beginning of one client connection, as it was on the wire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Capture {
    /// Where the client was.
    pub client: SocketAddr,
    /// What it said, datagram by datagram.
    pub datagrams: Vec<Vec<u8>>,
    connection: Vec<u8>,
}

#[derive(Debug, Default)]
pub(crate) struct Captures {
    limit: usize,
    captures: Vec<Capture>,
}

impl Captures {
    pub(crate) fn set_limit(&mut self, datagrams: usize) {
        self.limit = datagrams;
    }

    pub(crate) fn list(&self) -> Vec<Capture> {
        self.captures.clone()
    }

    pub(crate) fn note(&mut self, client: SocketAddr, connection: &[u8], data: &[u8]) {
        if self.limit == 0 {
            return;
        }
        let is_it = |capture: &Capture| capture.client == client && capture.connection == connection;
        if let Some(capture) = self.captures.iter_mut().rfind(|capture| is_it(capture)) {
            if capture.datagrams.len() < self.limit {
                capture.datagrams.push(data.to_vec());
            }
            return;
        }
        if self.captures.len() >= CAPTURES_MAX {
            self.captures.remove(0);
        }
        let (connection, datagrams) = (connection.to_vec(), vec![data.to_vec()]);
        self.captures.push(Capture { client, datagrams, connection });
    }
}

/// The id that a client chose for itself: the source connection id of a packet with a long header (RFC 9000, section
/// 17.2), which only the beginning of a connection has.
pub(crate) fn client_id(datagram: &[u8]) -> Option<&[u8]> {
    if datagram.first()? & 0x80 == 0 {
        return None;
    }
    let destination = usize::from(*datagram.get(5)?);
    let source = 6 + destination;
    let len = usize::from(*datagram.get(source)?);
    datagram.get(source + 1..source + 1 + len)
}
