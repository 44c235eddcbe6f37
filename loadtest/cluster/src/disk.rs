//! What a cluster takes up on disk, as the file system counts it.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Bytes of the blocks that the servers' data files take up, all copies together. Their traces and what coordinators keep are
/// left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct OnDisk {
    /// The storage engines': the data, with what the engine adds to it and has not given back.
    pub storage: u64,
    /// The transaction logs': what storage servers have not taken from them yet, in files that are used again and do not shrink.
    pub logs: u64,
}

impl OnDisk {
    /// Adds the files of one server's data folder.
    pub(crate) fn add(&mut self, data: &Path) -> io::Result<()> {
        for entry in fs::read_dir(data)? {
            let entry = entry?;
            let name = entry.file_name();
            let name = name.to_string_lossy();
            let bytes = match entry.metadata() {
                Ok(metadata) => metadata.blocks() * 512,
                // A server removes files that it needs no more.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            match name.split(['-', '.']).next() {
                Some("storage") => self.storage += bytes,
                Some("log" | "log2" | "logqueue") => self.logs += bytes,
                _ => {}
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_is_told_from_logs_and_both_from_the_rest() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        for name in [
            "storage-0a.sqlite",
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
        assert_eq!(found, OnDisk { storage: 2 * one, logs: 2 * one });
    }
}
