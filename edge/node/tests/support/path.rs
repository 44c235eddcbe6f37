//! What a node answers a first datagram, and which of its loops it was.

use std::net::{SocketAddr, UdpSocket};
use std::path::Path;
use std::time::Instant;

use wire_link::Steering;

use super::{PATIENCE, TestNode, endpoint};

pub fn local(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

/// What a node answers a newcomer's first datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answered {
    /// It begins a handshake, on this loop.
    Begun { loop_no: u8 },
    /// The newcomer is to prove its address.
    Retry,
}

/// Says a first flight from a socket, and leaves it at that.
pub fn poke(socket: &UdpSocket, node: SocketAddr, ca: &Path) {
    let (now, mut datagram) = (Instant::now(), Vec::new());
    let mut client = endpoint(ca, 7);
    client.connect(now, node, "localhost").unwrap();
    while client.poll_transmit(now, &mut datagram).is_some() {
        socket.send_to(&datagram, node).unwrap();
    }
}

/// What the first datagram of an answer says.
pub fn loop_of_answer(node: &TestNode, datagram: &[u8]) -> Answered {
    // RFC 9000, section 17.2: the type is in two bits; the ids follow the version, each behind its length.
    if datagram[0] & 0xf0 == 0xf0 {
        return Answered::Retry;
    }
    let source = 6 + usize::from(datagram[5]);
    let id = &datagram[source + 1..source + 1 + usize::from(datagram[source])];
    let loop_no = steering(node).owner(&[&[0x40], id].concat()).expect("an id of the node's");
    Answered::Begun { loop_no }
}

/// Reads loops' numbers out of connection ids, as the node does.
pub fn steering(node: &TestNode) -> Steering {
    let secrets = edge_node::secrets::load(&node.config.data_path("keys")).unwrap();
    Steering::new(*secrets.cid.expose(), node.config.loop_count())
}

impl TestNode {
    /// What the node answers who comes from here.
    pub fn answer_to(&self, from: SocketAddr) -> (SocketAddr, Answered) {
        let socket = UdpSocket::bind(from).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        poke(&socket, self.addr, &self.ca());
        let mut buffer = [0; 2048];
        let (len, _) = socket.recv_from(&mut buffer).expect("an answer");
        (socket.local_addr().unwrap(), loop_of_answer(self, &buffer[..len]))
    }
}

/// A local address whose datagrams the kernel brings to this loop.
pub fn port_on(node: &TestNode, loop_no: u8) -> SocketAddr {
    let deadline = Instant::now() + PATIENCE;
    loop {
        assert!(Instant::now() < deadline, "the kernel brings nothing to loop {loop_no}");
        if let (from, Answered::Begun { loop_no: l }) = node.answer_to(local(0))
            && l == loop_no
        {
            return from;
        }
    }
}
