//! Power is lost under the embedded store, thousands of times: nothing acknowledged is lost, no half transaction is
//! seen, and the store opens by itself (R51, R142, I1).
//!
//! One run of the store is recorded ([`layer`]); disks are made that a power loss at some place of the record may
//! leave ([`disk`]); each is opened as after any start, checked, and written to, which is recorded again: power is lost
//! a second time there, in the middle of opening or later.
//!
//! A longer run: `POWER_LOSS_IMAGES=20000 POWER_LOSS_SEED=7 cargo test -p store --test power_loss`.

#![cfg(target_os = "linux")]

mod disk;
mod layer;
mod workload;

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::Path;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use store::embedded::Tuning;

use disk::{Disk, Luck, NodeId, Op, Unsure};
use layer::Recorder;
use workload::{SMALL, commit, open, state};

/// Commits in the recorded run.
const COMMITS: u64 = 260;

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().expect("a number"))
}

/// A folder to work in, in memory where that is to be had: nothing here tests a disk.
fn folder() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { tempfile::tempdir_in(memory).unwrap() } else { tempfile::tempdir().unwrap() }
}

/// A run of the store from its first start to its close, with one restart on the way.
fn record(tuning: Tuning, seed: u64) -> Vec<Op> {
    let dir = folder();
    let root = dir.path().join("watched");
    std::fs::create_dir(&root).unwrap();
    let recorder = Recorder::new(&root, Disk::default());
    // The store's folder is not there yet, nor the one it is in.
    let place = root.join("node/store");
    for numbers in [1..=COMMITS / 2, COMMITS / 2 + 1..=COMMITS] {
        let store = open(&place, tuning).unwrap();
        commit(&store, numbers, seed, Some(&recorder));
    }
    assert!(recorder.is_complete(), "something changed the folder past the layer");
    recorder.ops()
}

/// What was acknowledged in a part of a record: how many commits, at which version.
fn acknowledged(ops: &[Op]) -> (u64, u64) {
    let last = ops.iter().rev().find_map(|op| match op {
        Op::Acknowledged { number, version } => Some((*number, *version)),
        _ => None,
    });
    last.unwrap_or_default()
}

/// Every step of a record at which something may be lost, by what is done there.
fn kinds(ops: &[Op]) -> BTreeMap<String, Vec<usize>> {
    let mut kinds: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    let mut disk = Disk::default();
    let mut names: BTreeMap<NodeId, String> = BTreeMap::new();
    for (at, op) in ops.iter().enumerate() {
        disk.apply(op);
        let kind = match op {
            Op::Link { name, node, folder, .. } => {
                names.insert(*node, if *folder { "folder".into() } else { class(name) });
                format!("make {}", names[node])
            }
            Op::Unlink { name, .. } => format!("remove {}", class(name)),
            Op::Rename { to, .. } => format!("rename to {}", class(to)),
            Op::Write { node, .. } => format!("write {}", names[node]),
            Op::SetLength { node, .. } => format!("resize {}", names[node]),
            Op::Sync { node } => format!("sync {}", names.get(node).map_or("folder", |name| name)),
            Op::Acknowledged { .. } => "acknowledge".into(),
        };
        kinds.entry(kind).or_default().push(at + 1);
    }
    kinds
}

fn class(name: &str) -> String {
    let stem = name.trim_start_matches(|c: char| c.is_ascii_digit());
    match stem {
        "" => "table".into(),
        ".jnl" => "journal".into(),
        _ if name.starts_with('v') && name[1..].bytes().all(|b| b.is_ascii_digit()) => "manifest".into(),
        _ if name.starts_with(".tmp") => "temporary".into(),
        _ => name.into(),
    }
}

/// One power loss: where, and with what luck.
#[derive(Debug, Clone, Copy)]
struct Loss {
    seed: u64,
    at: usize,
    luck: Luck,
}

impl Loss {
    fn new(seed: u64, at: usize, rng: &mut ChaCha8Rng) -> Loss {
        const LUCK: [f64; 6] = [0.0, 0.1, 0.5, 0.9, 0.98, 1.0];
        let mut luck = || LUCK[rng.random_range(0..LUCK.len())];
        Loss { seed, at, luck: Luck { data: luck(), entries: luck() } }
    }

    /// The disk that a power loss leaves.
    fn of(self, before: Disk, ops: &[Op]) -> (Disk, String) {
        let mut disk = Unsure::new(before);
        ops[..self.at].iter().for_each(|op| disk.step(op));
        let (disk, story) = disk.lose_power(self.luck, &mut ChaCha8Rng::seed_from_u64(self.seed));
        let last = ops[..self.at].last();
        (
            disk,
            format!(
                "power lost after step {} ({last:.80?}), {:?}, seed {}:\n{story}",
                self.at, self.luck, self.seed
            ),
        )
    }
}

/// Opens a disk as any start does, checks it, and commits more. Gives the record of that.
///
/// # Errors
/// What is wrong, for people.
fn survive(disk: &Disk, least: (u64, u64), most: u64, seed: u64) -> Result<Vec<Op>, String> {
    let dir = folder();
    let root = dir.path().join("watched");
    disk.write(&root);
    let recorder = Recorder::new(&root, disk.clone());
    let number = revive(&root, least, most, seed, &recorder)?;
    let again =
        open(&root.join("node/store"), SMALL).map_err(|e| format!("it does not open again: {e:?}"))?;
    match state(&again)? {
        n if n == number + 6 => Ok(recorder.ops()),
        n => Err(format!("closed at commit {}, opened at {n}", number + 6)),
    }
}

fn revive(root: &Path, least: (u64, u64), most: u64, seed: u64, recorder: &Recorder) -> Result<u64, String> {
    let store =
        open(&root.join("node/store"), SMALL).map_err(|e| format!("the store does not open: {e:?}"))?;
    let number = state(&store)?;
    if number < least.0 || number > most {
        return Err(format!("it is at commit {number}; acknowledged were {}, begun {most}", least.0));
    }
    // What was found is on disk, so it is as good as acknowledged from here on.
    recorder.acknowledge(number, least.1);
    let version = commit(&store, number + 1..=number + 6, seed, Some(recorder));
    if version <= least.1 {
        return Err(format!("version {version} after version {}", least.1));
    }
    Ok(number)
}

/// A loss in a record, and a second one in what followed.
fn lose_twice(ops: &[Op], first: Loss) -> Result<(), String> {
    let (disk, story) = first.of(Disk::default(), ops);
    let least = acknowledged(&ops[..first.at]);
    let after = survive(&disk, least, COMMITS, first.seed).map_err(|wrong| format!("{wrong}\n{story}"))?;
    let mut rng = ChaCha8Rng::seed_from_u64(first.seed ^ 1);
    let at = rng.random_range(0..=after.len());
    let second = Loss::new(first.seed ^ 1, at, &mut rng);
    let (disk, sequel) = second.of(disk, &after);
    let least = acknowledged(&after[..at]).max(least);
    survive(&disk, least, u64::MAX, first.seed)
        .map_err(|wrong| format!("{wrong}\n{story}then, in the record of the start after it, {sequel}"))?;
    Ok(())
}

#[test]
fn r142_r51_i1_no_power_loss_takes_what_was_acknowledged() {
    let seed = setting("POWER_LOSS_SEED", 1);
    let images = setting("POWER_LOSS_IMAGES", 200);
    let ops = record(SMALL, seed);
    let kinds = kinds(&ops);
    for kind in [
        "make journal",
        "remove journal",
        "write table",
        "remove table",
        "rename to current",
        "remove manifest",
    ] {
        assert!(kinds.contains_key(kind), "the run has no step of the kind {kind:?}: {:?}", kinds.keys());
    }
    // Every kind of step gets the same share, however many such steps there are.
    let mut failed = Vec::new();
    for (n, points) in (0..images).zip(kinds.values().cycle()) {
        let mut rng = ChaCha8Rng::seed_from_u64(seed << 32 | n);
        // One in three is a group of which nearly everything arrived: what the engine alone would refuse to open.
        let torn = n % 3 == 0;
        let points = if torn { &kinds["write journal"] } else { points };
        let at = points[rng.random_range(0..points.len())];
        let mut loss = Loss::new(seed << 32 | n, at, &mut rng);
        if torn {
            loss.luck = Luck { data: 0.9, entries: 1.0 };
        }
        if let Err(wrong) = lose_twice(&ops, loss) {
            failed.push(wrong);
        }
    }
    writeln!(std::io::stderr().lock(), "{images} images of {} steps, {} kinds", ops.len(), kinds.len())
        .unwrap();
    let some = failed.iter().take(4).cloned().collect::<Vec<_>>().join("\n");
    assert!(failed.is_empty(), "{} of {images} images are wrong:\n{some}", failed.len());
}

/// The checker can fail: without syncs acknowledged commits are lost, and it says so.
#[test]
fn r142_a_store_that_does_not_sync_is_noticed() {
    // Large tables, since the engine syncs its journal before it writes one.
    let ops = record(Tuning { sync: false, ..Tuning::default() }, 2);
    let lost = (0..12).filter(|&seed| {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let at = rng.random_range(ops.len() / 2..ops.len());
        let loss = Loss { seed, at, luck: Luck { data: 0.0, entries: 1.0 } };
        lose_twice(&ops, loss).is_err_and(|wrong| wrong.contains("acknowledged were"))
    });
    assert!(lost.count() > 3);
}
