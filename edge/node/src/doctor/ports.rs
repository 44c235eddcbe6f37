//! The addresses: UDP for clients, TCP for operators; and whether UDP works on this machine at all.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use ::doctor::Finding;

use crate::config::Config;

/// How long a datagram to oneself, or a node's health, may take.
const PATIENCE: Duration = Duration::from_secs(2);

/// Bytes of an answer about health that are read at most.
const ANSWER_BYTES_MAX: u64 = 4096;

/// What answers on the admin address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NodeThere {
    /// A node, in this stage.
    Yes(&'static str),
    /// Nothing, or something else.
    No,
}

impl NodeThere {
    pub(super) fn is_there(self) -> bool {
        self != NodeThere::No
    }
}

pub(super) fn examine(config: &Config, node: NodeThere) -> Vec<Finding> {
    let bound = UdpSocket::bind(config.listen);
    let udp = judge_port("udp_port", "UDP", config.listen, bound.as_ref().err(), node);
    let admin = TcpListener::bind(config.admin);
    let tcp = judge_port("admin_port", "TCP", config.admin, admin.as_ref().err(), node);
    drop(admin);
    let (address, heard) = match bound {
        Ok(socket) => (config.listen, to_oneself(&socket)),
        Err(_) => {
            let loopback = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
            (loopback, UdpSocket::bind(loopback).and_then(|socket| to_oneself(&socket)))
        }
    };
    vec![udp, tcp, judge_udp(address.ip(), heard)]
}

/// What could be bound, or why not.
fn judge_port(
    check: &'static str,
    proto: &str,
    address: SocketAddr,
    error: Option<&io::Error>,
    node: NodeThere,
) -> Finding {
    let setting = if proto == "UDP" { "listen" } else { "admin" };
    let Some(error) = error else {
        return Finding::ok(check, format!("{proto} {address} is free."));
    };
    let port = address.port();
    match error.kind() {
        ErrorKind::AddrInUse => match node {
            NodeThere::Yes(stage) => Finding::ok(
                check,
                format!("{proto} {address} is taken: a node is already running here ({stage})."),
            ),
            NodeThere::No => Finding::problem(
                check,
                format!(
                    "{proto} {address} is taken by another program, and no Godwit node answers on the admin address."
                ),
                format!(
                    "Find it with `ss -{}lpn 'sport = :{port}'` and stop it, or choose another `{setting}`.",
                    if proto == "UDP" { 'u' } else { 't' }
                ),
            ),
        },
        ErrorKind::PermissionDenied => Finding::problem(
            check,
            format!("{proto} {address} may not be used by this user."),
            "Ports below 1024 need permission: choose a higher one, or `setcap cap_net_bind_service=+ep` on the binary; otherwise a sandbox forbids it.",
        ),
        ErrorKind::AddrNotAvailable => Finding::problem(
            check,
            format!("{} is not an address of this machine.", address.ip()),
            format!("Set `{setting}` to one that `ip address` shows, or to [::]:{port} for all of them."),
        ),
        _ => Finding::problem(
            check,
            format!("{proto} {address} cannot be used: {error}."),
            format!("Choose another `{setting}`; for an IPv6 address, check that this machine has IPv6."),
        ),
    }
}

/// Sends a datagram to the socket's own address and waits for it; `false` if it never came.
fn to_oneself(socket: &UdpSocket) -> io::Result<bool> {
    let local = socket.local_addr()?;
    match local.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => hears(socket, (Ipv4Addr::LOCALHOST, local.port()).into()),
        // Containers often have no IPv6, even on the loopback, and the socket serves IPv4 as well.
        IpAddr::V6(ip) if ip.is_unspecified() => {
            let mapped = Ipv4Addr::LOCALHOST.to_ipv6_mapped();
            match hears(socket, (Ipv6Addr::LOCALHOST, local.port()).into()) {
                Ok(true) => Ok(true),
                _ => hears(socket, (mapped, local.port()).into()),
            }
        }
        _ => hears(socket, local),
    }
}

fn hears(socket: &UdpSocket, to: SocketAddr) -> io::Result<bool> {
    let token = *b"godwit doctor: to myself";
    socket.set_read_timeout(Some(PATIENCE / 4))?;
    for _ in 0..4 {
        socket.send_to(&token, to)?;
        let mut buffer = [0; 64];
        match socket.recv_from(&mut buffer) {
            Ok((length, _)) if buffer[..length] == token => return Ok(true),
            Ok(_) => {}
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted
                ) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(false)
}

fn judge_udp(ip: IpAddr, heard: io::Result<bool>) -> Finding {
    let advice = "Allow UDP in the firewall (`nft list ruleset`), container or sandbox that this machine or program is in.";
    match heard {
        Ok(true) => Finding::ok("udp", "a datagram that this machine sends to itself arrives."),
        Ok(false) => Finding::problem(
            "udp",
            format!(
                "a datagram that this machine sends to itself ({ip}) never arrives: something blocks UDP."
            ),
            advice,
        ),
        Err(error) => Finding::problem("udp", format!("UDP cannot be used on {ip}: {error}."), advice),
    }
}

/// Asks the admin address for its health.
pub(super) fn node_at(admin: SocketAddr) -> NodeThere {
    let asked = || -> io::Result<String> {
        let mut stream = TcpStream::connect_timeout(&admin, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        write!(stream, "GET /health HTTP/1.1\r\nHost: {admin}\r\nConnection: close\r\n\r\n")?;
        let mut answer = Vec::new();
        // What came before an error counts.
        let _ = stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer);
        Ok(String::from_utf8_lossy(&answer).into_owned())
    };
    asked().map_or(NodeThere::No, |answer| node_of(&answer))
}

/// Tells a node's answer from another server's.
fn node_of(answer: &str) -> NodeThere {
    let Some((head, body)) = answer.split_once("\r\n\r\n") else { return NodeThere::No };
    let status = head.split(' ').nth(1);
    let stages = [("serving", "200"), ("starting", "503"), ("draining", "503")];
    let found = stages.into_iter().find(|(stage, code)| body.contains(stage) && status == Some(code));
    found.map_or(NodeThere::No, |(stage, _)| NodeThere::Yes(stage))
}

#[cfg(test)]
mod tests {
    use ::doctor::Level;

    use super::*;

    #[test]
    fn why_a_port_cannot_be_had_is_said() {
        let address = SocketAddr::from(([192, 0, 2, 1], 443));
        for (kind, node, level, said) in [
            (None, NodeThere::No, Level::Ok, "is free"),
            (Some(ErrorKind::AddrInUse), NodeThere::No, Level::Problem, "taken by another program"),
            (
                Some(ErrorKind::AddrInUse),
                NodeThere::Yes("serving"),
                Level::Ok,
                "already running here (serving)",
            ),
            (Some(ErrorKind::PermissionDenied), NodeThere::No, Level::Problem, "may not be used"),
            (
                Some(ErrorKind::AddrNotAvailable),
                NodeThere::No,
                Level::Problem,
                "not an address of this machine",
            ),
            (Some(ErrorKind::Unsupported), NodeThere::No, Level::Problem, "cannot be used"),
        ] {
            let finding = judge_port("udp_port", "UDP", address, kind.map(io::Error::from).as_ref(), node);
            assert!(finding.level == level && finding.found.contains(said), "{finding:?}");
        }
    }

    #[test]
    fn a_node_is_told_from_another_server() {
        for (answer, node) in [
            ("HTTP/1.1 200 OK\r\ncontent-length: 8\r\n\r\nserving\n", NodeThere::Yes("serving")),
            ("HTTP/1.1 503 Service Unavailable\r\n\r\ndraining\n", NodeThere::Yes("draining")),
            ("HTTP/1.1 404 Not Found\r\n\r\nserving nothing", NodeThere::No),
            ("HTTP/1.1 200 OK\r\n\r\n<html>", NodeThere::No),
            ("SSH-2.0-OpenSSH", NodeThere::No),
            ("", NodeThere::No),
        ] {
            assert_eq!(node_of(answer), node, "{answer}");
        }
    }

    #[test]
    fn blocked_udp_is_a_problem_and_loopback_works() {
        let socket = UdpSocket::bind("0.0.0.0:0").expect("a port");
        let heard = to_oneself(&socket).expect("it is sent");
        assert!(heard);
        if let Ok(both) = UdpSocket::bind("[::]:0") {
            assert!(to_oneself(&both).expect("it is sent"));
        }
        let ip = IpAddr::V4(Ipv4Addr::LOCALHOST);
        assert_eq!(judge_udp(ip, Ok(heard)).level, Level::Ok);
        assert_eq!(judge_udp(ip, Ok(false)).level, Level::Problem);
        assert_eq!(judge_udp(ip, Err(ErrorKind::PermissionDenied.into())).level, Level::Problem);
    }
}
