//! The disk under the data directory: its room, its kind, and what an fsync takes, since every tick waits for one.

use std::io::{self, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use ::doctor::{Finding, bytes};

use super::files::{nearest, plain};
use crate::config::Config;

/// How temporary files of the doctor are called, should one be left behind.
pub(super) const PREFIX: &str = ".godwit-doctor-";

/// Appends that are timed.
const APPENDS: usize = 20;

/// Bytes of each: about one small group commit.
const APPEND_BYTES: usize = 4096;

/// Appends stop being timed after this long: a slow disk is slow enough by then.
const TIMING_MAX: Duration = Duration::from_secs(10);

/// Above this, people notice that ticks are slow.
const FSYNC_SLOW: Duration = Duration::from_millis(20);

/// Above this, nothing works well.
const FSYNC_TOO_SLOW: Duration = Duration::from_millis(200);

/// Less room than this is little.
const FREE_BYTES_LOW: u64 = 1 << 30;

/// With less than this the store's next segment may not fit.
const FREE_BYTES_NONE: u64 = 128 << 20;

pub(super) fn examine(config: &Config) -> Vec<Finding> {
    let dir = nearest(&config.data);
    if !dir.is_dir() {
        // It is said already: something is in the way.
        return Vec::new();
    }
    let mut findings = vec![match rustix::fs::statvfs(&dir) {
        Ok(room) => judge_room(
            room.f_bavail.saturating_mul(room.f_frsize),
            room.f_blocks.saturating_mul(room.f_frsize),
        ),
        Err(error) => unknown("disk_space", &dir, &error.into()),
    }];
    findings.extend(kind(&dir));
    match time_fsync(&dir) {
        Ok((median, worst)) => findings.push(judge_fsync(median, worst)),
        Err(error) => findings.push(unknown("fsync", &dir, &error)),
    }
    findings
}

fn unknown(check: &'static str, dir: &Path, error: &io::Error) -> Finding {
    Finding::warning(
        check,
        format!("it could not be found out in {}: {}.", dir.display(), plain(error)),
        "Run the doctor as the node's user.",
    )
}

fn judge_room(free: u64, total: u64) -> Finding {
    let percent = u128::from(free) * 100 / u128::from(total.max(1));
    let found = format!("{} of {} are free ({percent} %).", bytes(free), bytes(total));
    let advice = "Make room, or move `data` to a larger disk: a node whose disk is full accepts no message.";
    if free < FREE_BYTES_NONE {
        Finding::problem("disk_space", found, advice)
    } else if free < FREE_BYTES_LOW || percent < 10 {
        Finding::warning("disk_space", found, advice)
    } else {
        Finding::ok("disk_space", found)
    }
}

#[cfg(target_os = "linux")]
fn kind(dir: &Path) -> Option<Finding> {
    let magic = rustix::fs::statfs(dir).ok()?.f_type;
    // A signed word in some kernels' interfaces; the numbers are 32 bits.
    Some(judge_kind(magic as u32))
}

#[cfg(not(target_os = "linux"))]
fn kind(_: &Path) -> Option<Finding> {
    None
}

/// By the kernel's number of the filesystem (`statfs(2)`, `linux/magic.h`).
#[cfg_attr(
    not(target_os = "linux"),
    expect(dead_code, reason = "other systems have names instead of numbers")
)]
fn judge_kind(magic: u32) -> Finding {
    let local = "Put `data` on a disk of this machine (ext4, XFS, Btrfs or ZFS).";
    let network = |name: &str| {
        let found = format!(
            "the data directory is on a network filesystem ({name}): fsync is slow there, and locks and fsync may not hold what they promise."
        );
        Finding::warning("filesystem", found, local)
    };
    match magic {
        0x6969 => network("NFS"),
        0xff53_4d42 | 0xfe53_4d42 | 0x517b => network("SMB"),
        0x00c3_6400 => network("CephFS"),
        0x5346_414f | 0x6b41_4653 => network("AFS"),
        0x0102_1997 => network("9p"),
        0x6573_5546 => Finding::warning(
            "filesystem",
            "the data directory is on a FUSE filesystem: what fsync promises there depends on the program behind it.",
            local,
        ),
        0x786f_4256 => network("a virtual machine's shared folder"),
        0x794c_7630 => Finding::warning(
            "filesystem",
            "the data directory is in a container's own layer (overlay): it is gone when the container is removed.",
            "Mount a volume for `data`.",
        ),
        0x0102_1994 | 0x8584_58f6 => Finding::warning(
            "filesystem",
            "the data directory is in memory (tmpfs): everything is gone after a restart of the machine.",
            local,
        ),
        other => {
            let name = match other {
                0xef53 => "ext4",
                0x5846_5342 => "XFS",
                0x9123_683e => "Btrfs",
                0x2fc1_2fc1 => "ZFS",
                0xf2f5_2010 => "F2FS",
                _ => {
                    return Finding::ok(
                        "filesystem",
                        format!("the data directory is on a local filesystem (kind {other:#x})."),
                    );
                }
            };
            Finding::ok("filesystem", format!("the data directory is on a local filesystem ({name})."))
        }
    }
}

/// Median and worst of appends with fdatasync. The file has a name: some filesystems do less for one without.
fn time_fsync(dir: &Path) -> io::Result<(Duration, Duration)> {
    let mut file = tempfile::Builder::new().prefix(PREFIX).tempfile_in(dir)?;
    let block = [0x67; APPEND_BYTES];
    let begun = Instant::now();
    let mut times = Vec::with_capacity(APPENDS);
    while times.len() < APPENDS && begun.elapsed() < TIMING_MAX {
        let start = Instant::now();
        file.write_all(&block)?;
        file.as_file().sync_data()?;
        times.push(start.elapsed());
    }
    Ok(median_and_worst(times))
}

fn median_and_worst(mut times: Vec<Duration>) -> (Duration, Duration) {
    times.sort_unstable();
    let at = |n: usize| times.get(n).copied().unwrap_or_default();
    (at(times.len() / 2), at(times.len().saturating_sub(1)))
}

fn judge_fsync(median: Duration, worst: Duration) -> Finding {
    let millis = |time: Duration| time.as_secs_f64() * 1e3;
    let found = format!(
        "an append that is safe on disk takes {:.1} ms (median), {:.1} ms at worst.",
        millis(median),
        millis(worst)
    );
    let advice = "Every tick waits for one: use a local SSD or NVMe disk, and see what else writes to this one (`iostat -x 1`).";
    if median > FSYNC_TOO_SLOW {
        Finding::problem("fsync", found, advice)
    } else if median > FSYNC_SLOW || worst > FSYNC_TOO_SLOW {
        Finding::warning("fsync", found, advice)
    } else {
        Finding::ok("fsync", found)
    }
}

#[cfg(test)]
mod tests {
    use ::doctor::Level;

    use super::*;

    #[test]
    fn slow_fsync_is_said_with_its_figure() {
        for (median, worst, level) in [
            (4, 9, Level::Ok),
            (20, 200, Level::Ok),
            (21, 30, Level::Warning),
            (4, 201, Level::Warning),
            (201, 201, Level::Problem),
        ] {
            let finding = judge_fsync(Duration::from_millis(median), Duration::from_millis(worst));
            assert_eq!(finding.level, level, "{finding:?}");
            assert!(finding.found.contains(&format!("{median}.0 ms")), "{finding:?}");
        }
    }

    #[test]
    fn the_disk_is_timed_and_nothing_stays() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let (median, worst) = time_fsync(dir.path()).expect("a disk");
        assert!(!median.is_zero() && median <= worst);
        assert_eq!(std::fs::read_dir(dir.path()).expect("a directory").count(), 0);
        let ms = Duration::from_millis;
        assert_eq!(median_and_worst(vec![ms(9), ms(1), ms(2)]), (ms(2), ms(9)));
        assert_eq!(median_and_worst(Vec::new()), (Duration::ZERO, Duration::ZERO));
    }

    #[test]
    fn little_room_is_said() {
        const GIB: u64 = 1 << 30;
        for (free, total, level) in [
            (50 * GIB, 100 * GIB, Level::Ok),
            (9 * GIB, 100 * GIB, Level::Warning),
            (GIB / 2, GIB, Level::Warning),
            (GIB / 16, GIB, Level::Problem),
            (0, 0, Level::Problem),
        ] {
            assert_eq!(judge_room(free, total).level, level, "{free} of {total}");
        }
    }

    #[test]
    fn filesystems_that_lie_or_forget_are_named() {
        for (magic, level, said) in [
            (0xef53, Level::Ok, "ext4"),
            (0x1234, Level::Ok, "0x1234"),
            (0x6969, Level::Warning, "NFS"),
            (0xff53_4d42, Level::Warning, "SMB"),
            (0x794c_7630, Level::Warning, "overlay"),
            (0x0102_1994, Level::Warning, "tmpfs"),
            (0x6573_5546, Level::Warning, "FUSE"),
        ] {
            let finding = judge_kind(magic);
            assert!(finding.level == level && finding.found.contains(said), "{finding:?}");
        }
    }
}
