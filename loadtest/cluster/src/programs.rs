//! Where FoundationDB's programs and its client library are. Nothing is run here.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// In the environment: a folder that holds `fdbserver` and `fdbcli`; it is looked at first.
pub const BIN_VARIABLE: &str = "GODWIT_TEST_FDB_BIN";

/// In the environment: the folder that holds the client library; it is looked at first. The Rust binding's build reads the
/// same variable.
pub const LIBRARY_VARIABLE: &str = "FDB_CLIENT_LIB_PATH";

/// Where FoundationDB's own packages are published.
pub const RELEASES: &str = "https://github.com/apple/foundationdb/releases";

/// Where FoundationDB's packages and a `make install` put programs.
const BIN_FOLDERS: [&str; 4] = ["/usr/sbin", "/usr/bin", "/usr/local/bin", "/usr/local/sbin"];

/// Where they put the client library.
const LIBRARY_FOLDERS: [&str; 4] =
    ["/usr/lib", "/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/local/lib"];

/// Of these the ones in which every linker and loader looks by itself. GNU's look in `/usr/local/lib` too, LLVM's, which is Rust's
/// own on some platforms, does not.
const STANDARD_FOLDERS: [&str; 3] = ["/usr/lib", "/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu"];

const LIBRARY: &str = if cfg!(target_os = "macos") { "libfdb_c.dylib" } else { "libfdb_c.so" };

/// FoundationDB's programs and client library, as files that were there when they were looked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Programs {
    /// The server.
    pub fdbserver: PathBuf,
    /// The command line.
    pub fdbcli: PathBuf,
    /// The client library that the Rust binding links with.
    pub client_library: PathBuf,
}

/// What of FoundationDB is not on this machine.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{} not here; FoundationDB's packages have it (7.3, server and clients): {RELEASES}; where to put it: CONTRIBUTING.md",
    is_or_are(what)
)]
pub struct Missing {
    /// Names of files.
    pub what: Vec<&'static str>,
    /// Folders, in the order in which they were looked at.
    pub looked_in: Vec<PathBuf>,
}

fn is_or_are(what: &[&str]) -> String {
    format!("{} {}", what.join(", "), if what.len() == 1 { "is" } else { "are" })
}

impl Programs {
    /// Looks for them: programs in the folder that [`BIN_VARIABLE`] names, on the path and where packages put them, the
    /// client library in the folder that [`LIBRARY_VARIABLE`] names and where packages put it.
    ///
    /// # Errors
    /// [`Missing`], with everything that is.
    pub fn find() -> Result<Programs, Missing> {
        Places {
            bin: std::env::var_os(BIN_VARIABLE),
            path: std::env::var_os("PATH"),
            library: std::env::var_os(LIBRARY_VARIABLE),
            bins: &BIN_FOLDERS,
            libraries: &LIBRARY_FOLDERS,
        }
        .find()
    }

    /// The folder of the client library, if linkers and loaders must be told of it ([`LIBRARY_VARIABLE`] for the one,
    /// `LD_LIBRARY_PATH` for the other).
    pub fn library_folder(&self) -> Option<&Path> {
        let folder = self.client_library.parent()?;
        (!STANDARD_FOLDERS.iter().any(|standard| Path::new(standard) == folder)).then_some(folder)
    }
}

/// Where to look.
struct Places<'a> {
    bin: Option<OsString>,
    path: Option<OsString>,
    library: Option<OsString>,
    bins: &'a [&'a str],
    libraries: &'a [&'a str],
}

impl Places<'_> {
    fn find(&self) -> Result<Programs, Missing> {
        let path = self.path.iter().flat_map(std::env::split_paths);
        let bins: Vec<PathBuf> = self
            .bin
            .iter()
            .map(PathBuf::from)
            .chain(path)
            .chain(self.bins.iter().map(PathBuf::from))
            .collect();
        let libraries: Vec<PathBuf> =
            self.library.iter().map(PathBuf::from).chain(self.libraries.iter().map(PathBuf::from)).collect();
        let parts = [("fdbserver", &bins), ("fdbcli", &bins), (LIBRARY, &libraries)];
        match parts.map(|(name, folders)| look(name, folders)) {
            [Some(fdbserver), Some(fdbcli), Some(client_library)] => {
                Ok(Programs { fdbserver, fdbcli, client_library })
            }
            found => Err(missing(&parts, &found)),
        }
    }
}

fn look(name: &str, folders: &[PathBuf]) -> Option<PathBuf> {
    folders.iter().map(|folder| folder.join(name)).find(|file| file.is_file())
}

fn missing(parts: &[(&'static str, &Vec<PathBuf>); 3], found: &[Option<PathBuf>; 3]) -> Missing {
    let mut missing = Missing { what: Vec::new(), looked_in: Vec::new() };
    for ((name, folders), _) in parts.iter().zip(found).filter(|(_, found)| found.is_none()) {
        missing.what.push(name);
        for folder in folders.iter() {
            if !missing.looked_in.contains(folder) {
                missing.looked_in.push(folder.clone());
            }
        }
    }
    missing
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(files: &[&str]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().expect("a temporary directory");
        files.iter().for_each(|name| std::fs::write(dir.path().join(name), "").expect("a file in it"));
        dir
    }

    fn in_(dir: &tempfile::TempDir) -> Option<OsString> {
        Some(dir.path().as_os_str().to_owned())
    }

    #[test]
    fn the_named_folder_comes_before_the_path_and_the_path_before_the_rest() {
        let [named, path, rest] =
            [&["fdbserver"][..], &["fdbserver", "fdbcli"], &["fdbcli", LIBRARY]].map(folder);
        let rest_ = rest.path().to_str().expect("UTF-8");
        let places =
            Places { bin: in_(&named), path: in_(&path), library: None, bins: &[rest_], libraries: &[rest_] };
        let found = places.find().expect("all of it is there");
        assert_eq!(found.fdbserver, named.path().join("fdbserver"));
        assert_eq!(found.fdbcli, path.path().join("fdbcli"));
        assert_eq!(found.client_library, rest.path().join(LIBRARY));
        // A folder that is not a standard one must be said.
        assert_eq!(found.library_folder(), Some(rest.path()));
        let at = |library: &str| Programs { client_library: library.into(), ..found.clone() };
        assert_eq!(at("/usr/lib/libfdb_c.so").library_folder(), None);
        assert_eq!(at("/usr/local/lib/libfdb_c.so").library_folder(), Some(Path::new("/usr/local/lib")));
    }

    #[test]
    fn what_is_missing_is_named_with_where_it_was_looked_for_and_where_it_is_had() {
        let [empty, full] = [&[][..], &["fdbserver", "fdbcli", LIBRARY]].map(folder);
        let places = Places { bin: None, path: in_(&full), library: in_(&empty), bins: &[], libraries: &[] };
        let missing = places.find().expect_err("the library is missing");
        assert_eq!(missing.what, [LIBRARY]);
        assert_eq!(missing.looked_in, [empty.path()]);
        let text = missing.to_string();
        assert!(text.starts_with(&format!("{LIBRARY} is not here")) && text.contains(RELEASES), "{text}");

        let places = Places { bin: None, path: in_(&empty), library: in_(&empty), bins: &[], libraries: &[] };
        let missing = places.find().expect_err("all of it is missing");
        assert_eq!(missing.what, ["fdbserver", "fdbcli", LIBRARY]);
        assert_eq!(missing.looked_in, [empty.path()]);
    }
}
