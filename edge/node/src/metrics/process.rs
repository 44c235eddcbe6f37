//! What the operating system says of this process. Linux tells all of it; elsewhere what is not known is 0.

use std::path::Path;
use std::time::Duration;

/// See the [module](self).
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Process {
    pub(super) resident_bytes: u64,
    pub(super) open_files: u64,
    pub(super) open_files_max: u64,
    pub(super) cpu: Duration,
    pub(super) memory_limit_bytes: u64,
    pub(super) cores: u64,
    pub(super) disk_bytes: u64,
    pub(super) disk_free_bytes: u64,
}

impl Process {
    /// Reads it, for the disk that `data` is on. Blocks on the file system.
    pub(super) fn read(data: &Path) -> Process {
        let disk = rustix::fs::statvfs(data).ok();
        let of_disk = |blocks: Option<u64>| blocks.zip(disk.as_ref()).map_or(0, |(n, d)| n * d.f_frsize);
        Process {
            resident_bytes: resident_bytes().unwrap_or(0),
            open_files: open_files(),
            open_files_max: rustix::process::getrlimit(rustix::process::Resource::Nofile)
                .current
                .unwrap_or(0),
            cpu: cpu().unwrap_or_default(),
            memory_limit_bytes: crate::doctor::memory_bytes().unwrap_or(0),
            cores: std::thread::available_parallelism().map_or(0, |n| n.get() as u64),
            disk_bytes: of_disk(disk.as_ref().map(|d| d.f_blocks)),
            disk_free_bytes: of_disk(disk.as_ref().map(|d| d.f_bavail)),
        }
    }
}

/// Resident memory now.
pub(super) fn resident_bytes() -> Option<u64> {
    let pages = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = pages.split_whitespace().nth(1)?.parse().ok()?;
    pages.checked_mul(rustix::param::page_size() as u64)
}

fn open_files() -> u64 {
    // The folder itself is open while it is read.
    std::fs::read_dir("/proc/self/fd").map_or(0, |files| files.count().saturating_sub(1) as u64)
}

/// Time on cores, in the process's own code and in the kernel's for it.
fn cpu() -> Option<Duration> {
    cpu_of(&std::fs::read_to_string("/proc/self/stat").ok()?, rustix::param::clock_ticks_per_second())
}

/// Fields 14 and 15 of `proc(5)`, counted from the end of the name, which may hold anything.
fn cpu_of(stat: &str, ticks_per_second: u64) -> Option<Duration> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut times = fields.split_whitespace().skip(11);
    let ticks = times.next()?.parse::<u64>().ok()?.checked_add(times.next()?.parse().ok()?)?;
    Some(Duration::from_secs_f64(ticks as f64 / ticks_per_second.max(1) as f64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r159_cpu_time_is_found_whatever_the_name() {
        let stat = "42 (a ) b) S 1 42 42 0 -1 4194304 100 0 0 0 150 50 0 0 20 0 1 0 100 1000 200";
        assert_eq!(cpu_of(stat, 100), Some(Duration::from_secs(2)));
        assert_eq!(cpu_of("42 (x) S 1", 100), None);
        assert_eq!(cpu_of("", 100), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn r159_linux_tells_all_of_it() {
        let process = Process::read(Path::new("/"));
        assert!(process.resident_bytes > 100_000 && process.open_files >= 3, "{process:?}");
        assert!(process.open_files_max > 3 && process.cores > 0, "{process:?}");
        assert!(process.memory_limit_bytes > 0 && process.disk_bytes > 0, "{process:?}");
    }
}
