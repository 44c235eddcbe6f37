//! One bare datagram to an address, before any cryptography: does UDP get there and back, and does QUIC answer?
//!
//! The datagram asks for a QUIC version that nobody has, so a QUIC server answers with the list of those it has (RFC
//! 9000, section 6; RFC 8999, section 6) and keeps nothing. The socket is connected, so the system tells of ICMP.

use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

/// A server may ignore what is shorter (RFC 9000, section 14.1).
const PROBE_BYTES: usize = 1200;

/// Reserved to force version negotiation (RFC 9000, section 15).
const NO_VERSION: [u8; 4] = [0x1a, 0x2a, 0x3a, 0x4a];

/// Times that the datagram is sent, spread over the patience.
const TRIES: u32 = 3;

/// What came back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Probe {
    /// A QUIC server's answer, after this long.
    Quic(Duration),
    /// Something that is not QUIC.
    Other,
    /// The machine said that nothing listens (ICMP port unreachable).
    Refused,
    /// A router, or this machine, said that there is no way.
    NoRoute,
    /// This machine does not let it out.
    Forbidden,
    /// Nothing.
    Silent,
}

impl Probe {
    /// The rest of a sentence that begins with the address.
    pub(super) fn what(self) -> &'static str {
        match self {
            Probe::Quic(_) => "answers",
            Probe::Other => "is answered by something that is not QUIC",
            Probe::Refused => "is a machine that says nothing listens there (ICMP port unreachable)",
            Probe::NoRoute => "cannot be reached: there is no way to it from this network",
            Probe::Forbidden => "may not be sent to: a firewall or sandbox on this machine forbids it",
            Probe::Silent => {
                "does not answer: UDP is blocked on the way, or nothing listens behind a silent firewall"
            }
        }
    }

    /// Whether it does not matter if another address answers.
    pub(super) fn is_harmless(self) -> bool {
        matches!(self, Probe::Quic(_) | Probe::NoRoute)
    }

    pub(super) fn advice(self) -> &'static str {
        match self {
            Probe::Quic(_) => "Nothing.",
            Probe::Other => "Check the port: it belongs to another program than Godwit.",
            Probe::Refused => {
                "Start the node (`godwit serve`) or correct the port; its `listen` must be an address that others reach, not 127.0.0.1, and UDP."
            }
            Probe::NoRoute => {
                "Check this machine's network; for an IPv6 address, whether it has IPv6 at all."
            }
            Probe::Forbidden => "Allow outgoing UDP in the firewall, container or sandbox of this machine.",
            Probe::Silent => {
                "Open the UDP port (not TCP) in the firewalls of the server and of its cloud, try from another network, and check on the server with `godwit doctor`."
            }
        }
    }
}

pub(super) fn probe(address: SocketAddr, patience: Duration) -> Probe {
    attempt(address, patience).unwrap_or_else(|error| of_error(&error))
}

fn attempt(address: SocketAddr, patience: Duration) -> io::Result<Probe> {
    let any: SocketAddr = match address {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = UdpSocket::bind(any)?;
    socket.connect(address)?;
    let ours: [u8; 8] = crate::session::random().map_err(io::Error::other)?;
    let mut heard = Probe::Silent;
    for _ in 0..TRIES {
        if heard != Probe::Silent {
            break;
        }
        let sent = Instant::now();
        let deadline = sent + patience / TRIES;
        socket.send(&datagram(ours))?;
        let mut buffer = [0; 2048];
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            socket.set_read_timeout(Some(left))?;
            match socket.recv(&mut buffer) {
                Ok(length) if is_negotiation(&buffer[..length], ours) => {
                    return Ok(Probe::Quic(sent.elapsed()));
                }
                Ok(_) => heard = Probe::Other,
                Err(error) if is_timeout(&error) => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(heard)
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}

fn of_error(error: &io::Error) -> Probe {
    match error.kind() {
        ErrorKind::ConnectionRefused | ErrorKind::ConnectionReset => Probe::Refused,
        ErrorKind::PermissionDenied => Probe::Forbidden,
        _ => Probe::NoRoute,
    }
}

/// A long header of a version that is none, with our id as source (RFC 8999, section 5.1).
fn datagram(ours: [u8; 8]) -> Vec<u8> {
    let mut datagram = vec![0xc0];
    datagram.extend(NO_VERSION);
    // Both ids are the same: a server asks for eight bytes at least in the first, and echoes them swapped.
    for _ in 0..2 {
        datagram.push(ours.len() as u8);
        datagram.extend(ours);
    }
    datagram.resize(PROBE_BYTES, 0);
    datagram
}

/// A long header with version 0 and our id as destination.
fn is_negotiation(answer: &[u8], ours: [u8; 8]) -> bool {
    answer.first().is_some_and(|first| first & 0x80 != 0)
        && answer.get(1..5) == Some(&[0; 4])
        && answer.get(5) == Some(&(ours.len() as u8))
        && answer.get(6..14) == Some(&ours)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_system_says_has_a_meaning() {
        for (code, meant) in [
            (ErrorKind::ConnectionRefused, Probe::Refused),
            (ErrorKind::NetworkUnreachable, Probe::NoRoute),
            (ErrorKind::HostUnreachable, Probe::NoRoute),
            (ErrorKind::PermissionDenied, Probe::Forbidden),
        ] {
            assert_eq!(of_error(&code.into()), meant);
        }
    }

    #[test]
    fn only_an_answer_to_us_counts() {
        let ours = [7; 8];
        let mut answer = vec![0x80, 0, 0, 0, 0, 8];
        answer.extend(ours);
        assert!(is_negotiation(&answer, ours));
        assert!(!is_negotiation(&answer, [8; 8]));
        assert!(!is_negotiation(&datagram(ours), ours), "an echo is no answer");
        (0..answer.len()).for_each(|end| assert!(!is_negotiation(&answer[..end], ours), "{end}"));
    }

    #[test]
    fn loopback_tells_silence_echo_and_nobody_apart() {
        let (patience, short) = (Duration::from_secs(3), Duration::from_millis(300));
        let silent = UdpSocket::bind("127.0.0.1:0").expect("a port");
        let address = silent.local_addr().expect("its address");
        assert_eq!(probe(address, short), Probe::Silent);
        drop(silent);
        assert_eq!(probe(address, patience), Probe::Refused);
        let echo = UdpSocket::bind("127.0.0.1:0").expect("a port");
        let address = echo.local_addr().expect("its address");
        let echoing = std::thread::spawn(move || {
            let mut buffer = [0; 2048];
            let (length, from) = echo.recv_from(&mut buffer).expect("the probe");
            echo.send_to(&buffer[..length], from).expect("sent");
            // It stays open until the probe has ended: a closed port would be refused.
            echo
        });
        assert_eq!(probe(address, patience), Probe::Other);
        echoing.join().expect("it ends");
    }
}
