//! The clock: whether anything keeps it right, and whether it has gone back behind what this machine wrote itself.
//! (Against the certificate's dates it is judged with the certificate, against a server's clock by the client's checks.)

use std::path::Path;
use std::time::{Duration, SystemTime};

use ::doctor::Finding;
use certs::day;

use super::kernel::is_clock_synchronised;
use crate::config::Config;

/// Files that are looked at, at most; the store has some hundreds.
const FILES_MAX: usize = 10_000;

/// Folders within each other.
const DEPTH_MAX: usize = 5;

/// Files may be this much in the future: clocks of file servers differ.
const AHEAD_MAX: Duration = Duration::from_secs(60);

/// The clock of a machine without a battery starts at 1970 or at its firmware's day. Before 2026-01-01, when there was
/// no Godwit, it is wrong for sure.
const EARLIEST: Duration = Duration::from_secs(1_767_225_600);

pub(super) fn examine(config: Option<&Config>) -> Vec<Finding> {
    let newest = config.and_then(|config| newest_file(&config.data));
    vec![judge(is_clock_synchronised(), SystemTime::now(), newest)]
}

fn judge(is_synchronised: Option<bool>, now: SystemTime, newest: Option<SystemTime>) -> Finding {
    let check = "clock";
    let set = "Set the clock, and let NTP keep it: `timedatectl set-ntp true`, or chrony.";
    if now < SystemTime::UNIX_EPOCH + EARLIEST {
        let found =
            format!("the clock says {}, which is long past: certificates and tokens do not work.", day(now));
        return Finding::problem(check, found, set);
    }
    if let Some(newest) = newest.filter(|newest| *newest > now + AHEAD_MAX) {
        let ahead = newest.duration_since(now).unwrap_or_default().as_secs();
        let found = format!(
            "files in the data directory are from {ahead} s in the future: the clock was ahead when they were written, or is behind now."
        );
        return Finding::warning(check, found, set);
    }
    match is_synchronised {
        Some(false) => Finding::warning(
            check,
            "the clock is not synchronised by anything, as far as the kernel knows.",
            "Let NTP keep it: `timedatectl set-ntp true`, or chrony; in a container, on its host.",
        ),
        Some(true) => Finding::ok(check, "the clock is synchronised, and no file is from the future."),
        None => Finding::ok(
            check,
            "no file is from the future; this system does not say whether NTP keeps the clock.",
        ),
    }
}

/// The latest time of a file below a directory, of those that are looked at.
fn newest_file(dir: &Path) -> Option<SystemTime> {
    let (mut newest, mut seen) = (None, 0);
    let mut dirs = vec![(dir.to_owned(), 0)];
    while let Some((dir, depth)) = dirs.pop() {
        for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
            seen += 1;
            if seen > FILES_MAX {
                return newest;
            }
            let Ok(meta) = entry.metadata() else { continue };
            if meta.is_dir() && depth < DEPTH_MAX {
                dirs.push((entry.path(), depth + 1));
            }
            newest = newest.max(meta.modified().ok());
        }
    }
    newest
}

#[cfg(test)]
mod tests {
    use ::doctor::Level;

    use super::*;

    #[test]
    fn a_clock_is_wrong_unkept_or_right() {
        let now = SystemTime::UNIX_EPOCH + EARLIEST * 2;
        let second = Duration::from_secs(1);
        for (is_synchronised, now, newest, level, said) in [
            (Some(true), now, Some(now), Level::Ok, "is synchronised"),
            (None, now, None, Level::Ok, "does not say"),
            (Some(false), now, None, Level::Warning, "not synchronised by anything"),
            (Some(true), now, Some(now + AHEAD_MAX), Level::Ok, "is synchronised"),
            (Some(true), now, Some(now + AHEAD_MAX + second), Level::Warning, "61 s in the future"),
            (Some(true), SystemTime::UNIX_EPOCH, None, Level::Problem, "1970-01-01"),
        ] {
            let finding = judge(is_synchronised, now, newest);
            assert!(finding.level == level && finding.found.contains(said), "{finding:?}");
        }
    }

    #[test]
    fn the_newest_file_is_found_in_folders_within() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        assert_eq!(newest_file(&dir.path().join("none")), None);
        std::fs::create_dir_all(dir.path().join("store/data")).expect("folders");
        let file = std::fs::File::create(dir.path().join("store/data/x")).expect("a file");
        let future = SystemTime::now() + Duration::from_secs(86_400);
        file.set_modified(future).expect("its time");
        assert_eq!(newest_file(dir.path()), Some(future));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn the_kernel_is_asked() {
        assert!(is_clock_synchronised().is_some());
    }
}
