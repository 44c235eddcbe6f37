//! What a cluster takes up on disk.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// A page of the storage engine's file (`ssd`).
const PAGE_BYTES: usize = 4096;

/// Pages that are read at a time.
const PAGES: usize = 256;

/// Bytes that the servers' data takes up, all copies together. Their traces and what coordinators keep are left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct OnDisk {
    /// The storage engines': pages that were ever written. The files themselves grow by 100 MiB at a time, and the rest of
    /// them is zero.
    pub storage: u64,
    /// Blocks of files that are used again and do not grow with the data: the transaction logs, which hold what storage
    /// servers have not taken from them yet, and the storage engines' write-ahead logs.
    pub logs: u64,
}

impl OnDisk {
    /// Adds the files of one server's data folder.
    pub(crate) fn add(&mut self, data: &Path) -> io::Result<()> {
        for entry in fs::read_dir(data)? {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            // A server removes files that it needs no more.
            if name.starts_with("storage-") && name.ends_with(".sqlite") {
                self.storage += unless_gone(written(&path))?;
            } else if name.starts_with("storage-") || name.starts_with("log") {
                self.logs += unless_gone(fs::metadata(&path).map(|metadata| metadata.blocks() * 512))?;
            }
        }
        Ok(())
    }
}

fn unless_gone(bytes: io::Result<u64>) -> io::Result<u64> {
    match bytes {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(0),
        other => other,
    }
}

/// Bytes of the pages in which something is.
fn written(path: &Path) -> io::Result<u64> {
    let mut file = File::open(path)?;
    let (mut buffer, mut pages) = (vec![0; PAGES * PAGE_BYTES], 0);
    loop {
        let mut filled = 0;
        while filled < buffer.len() {
            match file.read(&mut buffer[filled..])? {
                0 => break,
                read => filled += read,
            }
        }
        let is_written = |page: &&[u8]| page.iter().any(|&byte| byte != 0);
        pages += buffer[..filled].chunks(PAGE_BYTES).filter(is_written).count();
        if filled < buffer.len() {
            return Ok((pages * PAGE_BYTES) as u64);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_that_were_written_are_told_from_the_rest_of_the_file_and_data_from_logs() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let mut data = vec![0; 3 * PAGES * PAGE_BYTES + 7];
        for written in [0, 5 * PAGE_BYTES - 1, PAGES * PAGE_BYTES, 3 * PAGES * PAGE_BYTES + 6] {
            data[written] = 1;
        }
        fs::write(dir.path().join("storage-0a.sqlite"), &data).expect("a file in it");
        for name in [
            "storage-0a.sqlite-wal",
            "logqueue-V_7-LS_2-0b-0.fdq",
            "log2-V_7-LS_2-0b.sqlite",
            "coordination-0.fdq",
            "processId",
        ] {
            fs::write(dir.path().join(name), [7; 8192]).expect("a file in it");
        }
        let mut found = OnDisk::default();
        found.add(dir.path()).expect("it is read");
        let one = fs::metadata(dir.path().join("processId")).expect("it is there").blocks() * 512;
        assert!(one > 0);
        assert_eq!(found, OnDisk { storage: 4 * PAGE_BYTES as u64, logs: 3 * one });
        assert_eq!(unless_gone(written(&dir.path().join("gone"))).expect("it was removed"), 0);
    }
}
