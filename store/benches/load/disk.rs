//! What the disk under the stores does.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::time::Instant;

/// Times of so many syncs of a file's data (`fdatasync`), each after 4 KiB more of it, in milliseconds.
pub(crate) fn syncs(directory: &Path, count: usize) -> Vec<f64> {
    let mut file = File::create(directory.join("synced")).expect("a file");
    let mut sync = || {
        file.write_all(&[7; 4096]).expect("room on the disk");
        let begun = Instant::now();
        file.sync_data().expect("a disk that syncs");
        begun.elapsed().as_secs_f64() * 1e3
    };
    (0..count).map(|_| sync()).collect()
}
