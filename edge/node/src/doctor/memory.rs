//! Memory: what the settings let a node use, against what this machine or its container has.

use std::path::Path;

use ::doctor::{Finding, bytes};
use edge_proto::Limits;
use store::embedded::EmbeddedConfig;

use crate::config::Config;

/// One connection with a stream in use, in bytes: measured at 20 to 25 kB.
const CONNECTION_BYTES: u64 = 25_000;

/// What is left to the program itself, the system, and buffers.
const OTHER_BYTES: u64 = 256 << 20;

pub(super) fn examine(config: &Config) -> Finding {
    let cache = EmbeddedConfig::default().cache_bytes;
    let fixed = (config.recent_bytes as u64).saturating_add(cache).saturating_add(OTHER_BYTES);
    let connections = config.limits.connections;
    judge(fixed, connections, connections != Limits::default().connections, memory())
}

/// What there is, and whether a container's limit says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Memory {
    bytes: u64,
    is_limit: bool,
}

/// `is_chosen`: the operator has set the number of connections. The built-in one is a limit of last resort, above what
/// most machines carry.
fn judge(fixed: u64, connections: usize, is_chosen: bool, memory: Option<Memory>) -> Finding {
    let check = "memory";
    let Some(memory) = memory else {
        return Finding::ok(check, "this system does not say how much memory there is.");
    };
    let whose = if memory.is_limit { "this container's limit" } else { "this machine's memory" };
    let have = bytes(memory.bytes);
    if fixed > memory.bytes {
        return Finding::problem(
            check,
            format!("caches and the program may take {}, and {whose} is {have}.", bytes(fixed)),
            "Lower `recent_bytes`, or give the node more memory.",
        );
    }
    let carries = (memory.bytes - fixed) / CONNECTION_BYTES;
    let found = format!("{whose} is {have}: enough for about {carries} connections");
    if connections as u64 <= carries {
        return Finding::ok(check, format!("{found}; {connections} are allowed."));
    }
    let advice = format!(
        "Set `limits.connections` to {carries} or less: then newcomers are turned away before the node runs out of memory."
    );
    if is_chosen {
        Finding::warning(check, format!("{found}, but {connections} are allowed."), advice)
    } else {
        Finding::ok(check, format!("{found}.")).advise(advice)
    }
}

/// How many bytes that is, for metrics.
pub(crate) fn memory_bytes() -> Option<u64> {
    memory().map(|memory| memory.bytes)
}

/// The machine's memory, or the smallest limit of the control groups that this process is in.
fn memory() -> Option<Memory> {
    let info = std::fs::read_to_string("/proc/meminfo").ok()?;
    let total = Memory { bytes: total_of(&info)?, is_limit: false };
    let groups = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let limit = limit_of(Path::new("/sys/fs/cgroup"), &groups);
    Some(match limit {
        Some(bytes) if bytes < total.bytes => Memory { bytes, is_limit: true },
        _ => total,
    })
}

/// `MemTotal:       24576 kB`
fn total_of(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.split_whitespace().next()?.parse::<u64>().ok()?.checked_mul(1024)
}

/// The smallest limit on the way up from each group, of version 2 (`0::/path`) and 1 (`5:memory:/path`). In a container
/// the path may be that of the host; then the root of what is mounted has the limit.
fn limit_of(root: &Path, groups: &str) -> Option<u64> {
    let mut smallest = None;
    for group in groups.lines() {
        let mut fields = group.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else { continue };
        let (base, file) = match controllers {
            "" => (root.to_owned(), "memory.max"),
            list if list.split(',').any(|c| c == "memory") => (root.join("memory"), "memory.limit_in_bytes"),
            _ => continue,
        };
        for up in Path::new(path.trim_start_matches('/')).ancestors() {
            let limit = std::fs::read_to_string(base.join(up).join(file)).ok();
            // Version 2 says "max" for no limit, version 1 a number above all memories.
            if let Some(limit) = limit.and_then(|text| text.trim().parse::<u64>().ok()) {
                smallest = Some(smallest.map_or(limit, |least: u64| least.min(limit)));
            }
        }
    }
    smallest
}

#[cfg(test)]
mod tests {
    use ::doctor::Level;

    use super::*;

    #[test]
    fn more_connections_than_memory_is_said_with_the_number_that_fits() {
        let memory = |bytes| Some(Memory { bytes, is_limit: false });
        const GB: u64 = 1_000_000_000;
        for (fixed, connections, is_chosen, memory, level, said) in [
            (GB, 80_000, true, memory(3 * GB), Level::Ok, "80000 are allowed"),
            (GB, 80_001, true, memory(3 * GB), Level::Warning, "about 80000 connections, but 80001"),
            (GB, 1_000_000, false, memory(3 * GB), Level::Ok, "about 80000 connections."),
            (4 * GB, 1, true, memory(3 * GB), Level::Problem, "caches"),
            (GB, 1, true, None, Level::Ok, "does not say"),
            (GB, 1, true, Some(Memory { bytes: 2 * GB, is_limit: true }), Level::Ok, "container's limit"),
        ] {
            let finding = judge(fixed, connections, is_chosen, memory);
            assert!(finding.level == level && finding.found.contains(said), "{finding:?}");
        }
    }

    #[test]
    fn the_smallest_group_limit_counts() {
        let root = tempfile::tempdir().expect("a temporary directory");
        let write = |path: &str, text: &str| {
            let path = root.path().join(path);
            std::fs::create_dir_all(path.parent().expect("a parent")).expect("folders");
            std::fs::write(path, text).expect("a file");
        };
        assert_eq!(limit_of(root.path(), "0::/a/b\n"), None);
        write("a/memory.max", "1000\n");
        write("a/b/memory.max", "max\n");
        assert_eq!(limit_of(root.path(), "0::/a/b\n"), Some(1000));
        write("memory/c/memory.limit_in_bytes", "900\n");
        assert_eq!(limit_of(root.path(), "7:cpu:/c\n5:hugetlb,memory:/c\n0::/a/b\n"), Some(900));
        write("memory.max", "5");
        assert_eq!(limit_of(root.path(), "0::/../outside\nodd\n"), Some(5));
        assert_eq!(total_of("MemFree: 1 kB\nMemTotal:   24576 kB\n"), Some(24576 << 10));
        assert_eq!(total_of(""), None);
    }
}
