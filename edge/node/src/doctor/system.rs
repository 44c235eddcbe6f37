//! What the operating system grants: open files, UDP buffers, processor cores.

use std::io;

use ::doctor::{Finding, bytes};
use rustix::process::{Resource, getrlimit};
use socket2::{Domain, Protocol, Socket, Type};

/// The store keeps up to 900 files open on Linux, and sockets come on top.
const FILES_NEEDED: u64 = 1_000;

/// Below this the store does not even open.
const FILES_MIN: u64 = 128;

pub(super) fn examine() -> Vec<Finding> {
    let limit = getrlimit(Resource::Nofile);
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    vec![judge_files(limit.current, limit.maximum), judge_granted(granted()), judge_cores(cores)]
}

/// `None` is no limit.
fn judge_files(soft: Option<u64>, hard: Option<u64>) -> Finding {
    let check = "open_files";
    let said = |limit: Option<u64>| limit.map_or_else(|| "any number".into(), |limit| limit.to_string());
    let found = format!("a process may open {} files ({} if it asks).", said(soft), said(hard));
    let advice = "Raise it: `LimitNOFILE=65536` in the systemd unit, or `ulimit -n 65536` before the start.";
    match soft {
        Some(soft) if soft < FILES_MIN => Finding::problem(check, found, advice),
        Some(soft) if soft < FILES_NEEDED => Finding::warning(check, found, advice),
        _ => Finding::ok(check, found),
    }
}

/// Bytes of the receive and the send buffer that the kernel grants a socket when asked for what a node asks.
fn granted() -> io::Result<(usize, usize)> {
    let asked = wire_udp::Options::default();
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_recv_buffer_size(asked.receive_buffer_bytes)?;
    socket.set_send_buffer_size(asked.send_buffer_bytes)?;
    // Linux says twice what it grants: the other half is for its own bookkeeping (socket(7)).
    let twice = if cfg!(target_os = "linux") { 2 } else { 1 };
    Ok((socket.recv_buffer_size()? / twice, socket.send_buffer_size()? / twice))
}

fn judge_granted(granted: io::Result<(usize, usize)>) -> Finding {
    let check = "udp_buffers";
    let asked = wire_udp::Options::default();
    let (receive, send) = match granted {
        Ok(granted) => granted,
        Err(error) => {
            let advice = "Raise net.core.rmem_max and net.core.wmem_max, or look for a sandbox.";
            return Finding::warning(check, format!("the kernel grants no UDP buffers: {error}."), advice);
        }
    };
    let found = format!(
        "the kernel grants UDP buffers of {} in and {} out; a node asks for {}.",
        bytes(receive as u64),
        bytes(send as u64),
        bytes(asked.receive_buffer_bytes as u64)
    );
    if receive >= asked.receive_buffer_bytes && send >= asked.send_buffer_bytes {
        return Finding::ok(check, found);
    }
    let advice = format!(
        "A busy node loses datagrams in bursts: `sysctl -w net.core.rmem_max={} net.core.wmem_max={}`, and the same in /etc/sysctl.d/.",
        asked.receive_buffer_bytes, asked.send_buffer_bytes
    );
    Finding::warning(check, found, advice)
}

fn judge_cores(cores: usize) -> Finding {
    match cores {
        0 | 1 => Finding::warning(
            "cpu",
            "one processor core: connections and the disk's writer wait for each other.",
            "For more than a trial give the node two cores or more.",
        ),
        n => Finding::ok("cpu", format!("{n} processor cores.")),
    }
}

#[cfg(test)]
mod tests {
    use ::doctor::Level;

    use super::*;

    #[test]
    fn limits_are_judged() {
        for (soft, hard, level) in [
            (Some(1024), Some(1 << 20), Level::Ok),
            (None, None, Level::Ok),
            (Some(256), Some(256), Level::Warning),
            (Some(64), None, Level::Problem),
        ] {
            assert_eq!(judge_files(soft, hard).level, level, "{soft:?}");
        }
        assert_eq!((judge_cores(1).level, judge_cores(2).level), (Level::Warning, Level::Ok));
    }

    #[test]
    fn small_buffers_give_the_sysctl_line() {
        let asked = wire_udp::Options::default().receive_buffer_bytes;
        assert_eq!(judge_granted(Ok((asked, asked))).level, Level::Ok);
        for small in [(asked - 1, asked), (asked, 212_992)] {
            let finding = judge_granted(Ok(small));
            assert_eq!(finding.level, Level::Warning);
            assert!(finding.advice.expect("advice").contains("net.core.rmem_max=4194304"));
        }
        assert_eq!(judge_granted(Err(io::ErrorKind::PermissionDenied.into())).level, Level::Warning);
        assert!(granted().expect("a socket").0 > 0);
    }
}
