//! What the machine under the store does.

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

/// Bytes that this process has written to files so far, as the kernel counts its system calls.
pub(crate) fn bytes_written() -> u64 {
    let text = std::fs::read_to_string("/proc/self/io").expect("Linux counts what a process writes");
    let field = text.lines().find_map(|line| line.strip_prefix("wchar: "));
    field.and_then(|number| number.parse().ok()).expect("the field is there")
}
