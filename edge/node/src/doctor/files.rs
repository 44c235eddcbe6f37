//! The data directory and the keys in it: there, ours, and nobody else's to read.

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use ::doctor::{Finding, listed};

use crate::config::Config;

/// What a key file of the node's own has.
const KEY_BYTES: u64 = 32;

/// Names of files that are said at most.
const NAMED_MAX: usize = 3;

pub(super) fn examine(config: &Config) -> Vec<Finding> {
    vec![judge_directory(&config.data, &look_at(&config.data)), examine_keys(config)]
}

/// What is where the data directory should be.
#[derive(Debug)]
enum Place {
    /// A directory in which files can be made.
    Usable { owner: u32, us: u32 },
    /// Nothing, and it can be made there.
    Creatable(PathBuf),
    /// Something else than a directory, here or above.
    InTheWay(PathBuf),
    /// No file can be made in this directory.
    Unusable(PathBuf, io::Error),
}

fn look_at(data: &Path) -> Place {
    let place = nearest(data);
    match fs::metadata(&place) {
        Ok(meta) if !meta.is_dir() => Place::InTheWay(place),
        Ok(meta) => match tempfile::Builder::new().prefix(super::disk::PREFIX).tempfile_in(&place) {
            Ok(_) if place == data => {
                Place::Usable { owner: meta.uid(), us: rustix::process::geteuid().as_raw() }
            }
            Ok(_) => Place::Creatable(place),
            Err(error) => Place::Unusable(place, error),
        },
        Err(error) => Place::Unusable(place, error),
    }
}

/// The path itself, or the nearest above it that is there.
pub(super) fn nearest(path: &Path) -> PathBuf {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let there = absolute.ancestors().find(|above| above.symlink_metadata().is_ok());
    match there {
        Some(there) if there == absolute => path.to_owned(),
        Some(there) => there.to_owned(),
        None => PathBuf::from("/"),
    }
}

/// An error of a temporary file without that file's name, which means nothing to anybody.
pub(super) fn plain(error: &io::Error) -> String {
    let text = error.to_string();
    text.split_once(" at path ").map_or_else(|| text.clone(), |(why, _)| why.to_owned())
}

fn judge_directory(data: &Path, place: &Place) -> Finding {
    let check = "data";
    let shown = data.display();
    match place {
        Place::Usable { owner, us } if owner != us => Finding::warning(
            check,
            format!("{shown} can be written, but it belongs to user {owner} and this is user {us}."),
            format!(
                "Run the doctor and the node as user {owner} (`sudo -u '#{owner}'`), or files get mixed owners."
            ),
        ),
        Place::Usable { .. } => Finding::ok(check, format!("{shown} is there and can be written.")),
        Place::Creatable(above) => Finding::ok(
            check,
            format!("{shown} is not there yet; the first start makes it in {}.", above.display()),
        ),
        Place::InTheWay(file) => Finding::problem(
            check,
            format!("{} is in the way: it is no directory.", file.display()),
            "Move it away, or choose another `data`.",
        ),
        Place::Unusable(dir, error) => Finding::problem(
            check,
            format!("no file can be made in {}: {}.", dir.display(), plain(error)),
            "Give the node's user that directory (`chown`), mount it writable, or choose another `data`.",
        ),
    }
}

/// What is known of one key file.
#[derive(Debug, Clone)]
struct KeyFile {
    path: PathBuf,
    mode: u32,
    owner: u32,
    is_readable: bool,
    /// Its size is not a key's; only known of the node's own.
    is_misshapen: bool,
}

impl KeyFile {
    /// A place that keys may be in and that we cannot look into.
    fn unreadable(path: PathBuf) -> KeyFile {
        KeyFile { path, mode: 0, owner: 0, is_readable: false, is_misshapen: false }
    }
}

fn examine_keys(config: &Config) -> Finding {
    let keys = key_files(config);
    judge_keys(&keys, rustix::process::geteuid().as_raw())
}

fn key_files(config: &Config) -> Vec<KeyFile> {
    let own = config.data_path("keys");
    let mut paths: Vec<PathBuf> = config.key.clone().into_iter().collect();
    let mut closed = Vec::new();
    for dir in [own.clone(), config.data_path("certs")] {
        match keys_in(&dir) {
            Ok(found) => paths.extend(found),
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {}
            Err(_) => closed.push(KeyFile::unreadable(dir)),
        }
    }
    let look = |path: PathBuf| {
        let meta = fs::metadata(&path).ok()?;
        Some(KeyFile {
            mode: meta.mode() & 0o777,
            owner: meta.uid(),
            is_readable: File::open(&path).is_ok(),
            is_misshapen: path.starts_with(&own) && meta.len() != KEY_BYTES,
            path,
        })
    };
    closed.into_iter().chain(paths.into_iter().filter_map(look)).collect()
}

fn keys_in(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let mut paths: Vec<PathBuf> = fs::read_dir(dir)?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "key"))
        .collect();
    paths.sort_unstable();
    Ok(paths)
}

fn judge_keys(keys: &[KeyFile], us: u32) -> Finding {
    let check = "keys";
    let which = |wanted: &dyn Fn(&KeyFile) -> bool| -> Option<String> {
        let found: Vec<String> =
            keys.iter().filter(|key| wanted(key)).map(|key| key.path.display().to_string()).collect();
        let mut named: Vec<String> = found.iter().take(NAMED_MAX).cloned().collect();
        if found.len() > NAMED_MAX {
            named.push(format!("{} more", found.len() - NAMED_MAX));
        }
        (!found.is_empty()).then(|| listed(&named))
    };
    if let Some(files) = which(&|key| !key.is_readable) {
        let advice = "Give them to the node's user (`chown`), or run the doctor as that user.";
        return Finding::problem(check, format!("this user cannot read {files}."), advice);
    }
    if let Some(files) = which(&|key| key.is_misshapen) {
        return Finding::problem(
            check,
            format!("{files} cannot be a key: a key has exactly {KEY_BYTES} bytes."),
            "Restore it from a backup; without one delete it, and a new one is made: everybody then logs in again.",
        );
    }
    if let Some(files) = which(&|key| key.mode & 0o007 != 0) {
        let advice = "Run `chmod 600` on them; if others use this machine, replace the keys too.";
        return Finding::problem(check, format!("every user of this machine can read {files}."), advice);
    }
    if let Some(files) = which(&|key| key.mode & 0o070 != 0) {
        let advice = "Run `chmod 600` on them, unless the group is meant.";
        return Finding::warning(check, format!("a group of users can read {files}."), advice);
    }
    if let Some(files) = which(&|key| key.owner != us && key.owner != 0) {
        let advice = "Run the doctor and the node as the user that owns them.";
        return Finding::warning(check, format!("another user than this one owns {files}."), advice);
    }
    match keys.len() {
        0 => Finding::ok(check, "there are no keys yet; the first start makes them."),
        n => Finding::ok(check, format!("all {n} key files are for the node's user alone.")),
    }
}

#[cfg(test)]
mod tests {
    use ::doctor::Level;

    use super::*;

    #[test]
    fn a_place_is_looked_at_without_making_it() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let data = dir.path().join("a/b");
        assert!(matches!(look_at(&data), Place::Creatable(above) if above == dir.path()));
        assert!(!dir.path().join("a").exists());
        assert!(matches!(look_at(dir.path()), Place::Usable { .. }));
        fs::write(dir.path().join("a"), "").expect("a file");
        assert!(matches!(look_at(&data), Place::InTheWay(file) if file == dir.path().join("a")));
        assert_eq!(fs::read_dir(dir.path()).expect("a directory").count(), 1, "nothing is left behind");
    }

    #[test]
    fn a_temporary_files_name_is_not_said() {
        let gone =
            tempfile::Builder::new().prefix("x").tempfile_in("/nowhere").expect_err("no such directory");
        assert!(gone.to_string().contains("/nowhere"), "{gone}");
        assert!(!plain(&gone).contains("/nowhere") && !plain(&gone).is_empty());
        assert!(!plain(&io::ErrorKind::ReadOnlyFilesystem.into()).is_empty());
    }

    #[test]
    fn each_place_is_said() {
        let (data, here) = (Path::new("data"), || PathBuf::from("/here"));
        for (place, level, said) in [
            (Place::Usable { owner: 1, us: 1 }, Level::Ok, "can be written"),
            (Place::Usable { owner: 1, us: 0 }, Level::Warning, "belongs to user 1"),
            (Place::Creatable(here()), Level::Ok, "makes it in /here"),
            (Place::InTheWay(here()), Level::Problem, "/here is in the way"),
            (
                Place::Unusable(here(), io::ErrorKind::ReadOnlyFilesystem.into()),
                Level::Problem,
                "no file can be made",
            ),
        ] {
            let finding = judge_directory(data, &place);
            assert!(finding.level == level && finding.found.contains(said), "{finding:?}");
        }
    }

    #[test]
    fn c38_keys_are_for_their_owner_alone() {
        let good =
            KeyFile { path: "k".into(), mode: 0o600, owner: 5, is_readable: true, is_misshapen: false };
        let cases = [
            (good.clone(), 5, Level::Ok, "all 1 key files"),
            (KeyFile { mode: 0o640, ..good.clone() }, 5, Level::Warning, "a group"),
            (KeyFile { mode: 0o604, ..good.clone() }, 5, Level::Problem, "every user"),
            (good.clone(), 6, Level::Warning, "another user"),
            (KeyFile { owner: 0, mode: 0o400, ..good.clone() }, 6, Level::Ok, "all 1"),
            (KeyFile { is_readable: false, ..good.clone() }, 5, Level::Problem, "cannot read k"),
            (KeyFile { is_misshapen: true, ..good.clone() }, 5, Level::Problem, "exactly 32 bytes"),
        ];
        for (key, us, level, said) in cases {
            let finding = judge_keys(&[key], us);
            assert!(finding.level == level && finding.found.contains(said), "{finding:?}");
        }
        assert!(judge_keys(&vec![KeyFile { mode: 0o604, ..good }; 9], 5).found.contains("6 more"));
        assert_eq!(judge_keys(&[], 5).level, Level::Ok);
    }

    #[test]
    fn c38_the_keys_that_a_node_makes_are_found_and_good() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let config = Config { data: dir.path().to_owned(), ..Config::default() };
        crate::secrets::load(&config.data_path("keys")).expect("keys");
        assert_eq!(key_files(&config).len(), 5);
        assert_eq!(examine_keys(&config).level, Level::Ok);
        fs::write(config.data_path("keys/token-2.key"), "short").expect("a file");
        assert!(examine_keys(&config).found.contains("token-2.key"));
    }
}
