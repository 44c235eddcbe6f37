//! Backups that are damaged, cut, mixed up, half or sealed with another key: each is told, none is restored.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use store::closed::Describe;
use store::keys;
use store::parsed::Kind;
use store_backup::{
    BackupConfig, BackupError, Difference, Differs, Key, ObjectError, Place, backup, restore, verify,
};

use crate::copies::{clock, embedded, people, set, talked, until};
use crate::support::{Log, open, serves, silent};

struct World {
    folder: tempfile::TempDir,
    log: Log,
}

impl World {
    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A store and a backup of it.
    async fn new(key: Option<Key>) -> World {
        let world = World { folder: tempfile::tempdir().unwrap(), log: Log::default() };
        let from = talked(&world.path("store"), &world.log).await;
        let config = BackupConfig { key, object_bytes: 200_000, ..BackupConfig::default() };
        backup(from, clock(), &place(&world.path("good")), &config, &silent).await.unwrap();
        world
    }

    /// A copy of the backup that was changed, and what both readers say of it.
    async fn changed(&self, name: &str, key: Option<&Key>, change: impl FnOnce(&Path)) -> [ObjectError; 2] {
        let at = self.path(name);
        std::fs::create_dir(&at).unwrap();
        for file in std::fs::read_dir(self.path("good")).unwrap() {
            let file = file.unwrap();
            std::fs::copy(file.path(), at.join(file.file_name())).unwrap();
        }
        change(&at);
        let verified = verify(&place(&at), key, &silent).await.unwrap_err();
        let to = embedded(&self.path(&format!("{name}-target")));
        let restored = restore(&place(&at), key, to.clone(), clock(), &silent).await;
        let Err(BackupError::Object(restored)) = restored else { panic!("{name}: {restored:?}") };
        // Nothing of it can be taken for a store.
        let runner = store::run::Runner::new(to, clock(), Default::default(), 0);
        let found = runner.run(&Describe).await.unwrap();
        assert!(found.empty && found.schema.is_none() || found.closed.is_some() && found.progress.is_some());
        [verified, restored]
    }
}

fn place(path: &Path) -> Place {
    Place::parse(path.to_str().unwrap(), [], true).unwrap()
}

fn flip(path: &Path, at: usize) {
    let mut bytes = std::fs::read(path).unwrap();
    let at = at.min(bytes.len() - 1);
    bytes[at] ^= 1;
    std::fs::write(path, bytes).unwrap();
}

fn cut(path: &Path) {
    let bytes = std::fs::read(path).unwrap();
    std::fs::write(path, &bytes[..bytes.len() - 1]).unwrap();
}

fn swap(folder: &Path, a: &str, b: &str) {
    let (one, other) = (std::fs::read(folder.join(a)).unwrap(), std::fs::read(folder.join(b)).unwrap());
    std::fs::write(folder.join(a), other).unwrap();
    std::fs::write(folder.join(b), one).unwrap();
}

macro_rules! each {
    ($world:ident, $key:expr, $($name:literal $change:expr => $pattern:pat,)*) => {
        $(for said in $world.changed($name, $key, $change).await {
            assert!(matches!(said, $pattern), "{}: {said:?}", $name);
        })*
    };
}

#[tokio::test]
async fn r151_a_damaged_sealed_backup_is_told() {
    let key = Key::new([9; 32]);
    let world = World::new(Some(key.clone())).await;
    let other = Key::new([8; 32]);
    let key = Some(&key);
    each! { world, key,
        "flipped" |at| flip(&at.join("logs-0-000000"), 1_000) => ObjectError::Damaged { .. },
        "cut" |at| cut(&at.join("logs-0-000000")) => ObjectError::Length { .. },
        "longer" |at| std::fs::write(at.join("logs-0-000000"), vec![0; 1 << 20]).unwrap() => ObjectError::Length { .. },
        "missing" |at| std::fs::remove_file(at.join("accounts-000000")).unwrap() => ObjectError::Missing { .. },
        "swapped" |at| swap(at, "logs-0-000000", "logs-1-000000") => ObjectError::Damaged { .. } | ObjectError::Length { .. },
        "half" |at| std::fs::remove_file(at.join("manifest")).unwrap() => ObjectError::NoManifest,
        "manifest flipped" |at| flip(&at.join("manifest"), usize::MAX) => ObjectError::Manifest { .. },
        "manifest cut" |at| cut(&at.join("manifest")) => ObjectError::Manifest { .. },
        "manifest tiny" |at| std::fs::write(at.join("manifest"), "GODWIT BACKUP\n").unwrap() => ObjectError::Manifest { .. },
        "another thing" |at| std::fs::write(at.join("manifest"), "{}").unwrap() => ObjectError::Manifest { .. },
    }
    each! { world, Some(&other), "wrong key" |_| {} => ObjectError::WrongKey, }
    each! { world, None, "no key" |_| {} => ObjectError::KeyNeeded, }
    let empty = verify(&place(&world.path("empty")), key, &silent).await;
    assert!(matches!(empty, Err(ObjectError::NoBackup)), "{empty:?}");
    let nowhere = Place::parse(world.path("nowhere").to_str().unwrap(), [], false);
    assert!(matches!(nowhere, Err(ObjectError::NoBackup)), "{nowhere:?}");
}

#[tokio::test]
async fn a_damaged_plain_backup_is_told() {
    let world = World::new(None).await;
    each! { world, None,
        "flipped" |at| flip(&at.join("logs-0-000000"), 1_000) => ObjectError::Damaged { .. },
        "cut" |at| cut(&at.join("logs-0-000000")) => ObjectError::Length { .. },
        "missing" |at| std::fs::remove_file(at.join("outbox-000000")).unwrap() => ObjectError::Missing { .. },
        "swapped" |at| swap(at, "logs-0-000000", "logs-1-000000") => ObjectError::Damaged { .. } | ObjectError::Length { .. },
        "half" |at| std::fs::remove_file(at.join("manifest")).unwrap() => ObjectError::NoManifest,
        "manifest flipped" |at| flip(&at.join("manifest"), 500) => ObjectError::Manifest { .. },
        "manifest cut" |at| cut(&at.join("manifest")) => ObjectError::Manifest { .. },
    }
    let key = Key::new([9; 32]);
    each! { world, Some(&key), "a key for nothing" |_| {} => ObjectError::NotSealed, }
}

#[tokio::test]
async fn a_place_with_something_in_it_is_refused() {
    let world = World::new(None).await;
    let from = embedded(&world.path("store"));
    let again = backup(from, clock(), &place(&world.path("good")), &BackupConfig::default(), &silent).await;
    assert!(matches!(again, Err(BackupError::Object(ObjectError::PlaceNotEmpty { .. }))), "{again:?}");
    for text in ["memory:///x", "ftp://x/y", "", "file://x", "https://example.org/x"] {
        let place = Place::parse(text, [], true);
        assert!(matches!(place, Err(ObjectError::Place { .. })), "{text}: {place:?}");
    }
}

#[tokio::test]
async fn r142_an_interrupted_restore_goes_on_and_no_other_is_mixed_in() {
    let world = World::new(None).await;
    let other = World::new(None).await;
    let to = embedded(&world.path("target"));
    let good = place(&world.path("good"));
    let interrupted = tokio::spawn({
        let (to, good) = (to.clone(), good.clone());
        async move { restore(&good, None, to, clock(), &until(500_000, "restoring")).await }
    });
    assert!(interrupted.await.unwrap_err().is_panic());
    let mixed = restore(&place(&other.path("good")), None, to.clone(), clock(), &silent).await;
    assert!(matches!(mixed, Err(BackupError::TargetNotEmpty { .. })), "{mixed:?}");
    let restored = std::sync::Mutex::new(0);
    let report = |progress: store_backup::Progress| {
        if progress.doing == "restoring" {
            *restored.lock().unwrap() = progress.bytes;
        }
    };
    let compared = restore(&good, None, to.clone(), clock(), &report).await.unwrap();
    assert_eq!(compared.source, compared.target);
    assert!(*restored.lock().unwrap() < 900_000, "it began anew");
    serves(&open(to, clock()).await, &world.log.all(), &people()).await;
    let again = restore(&good, None, embedded(&world.path("store")), clock(), &silent).await;
    assert!(matches!(again, Err(BackupError::TargetNotEmpty { .. })), "{again:?}");
}

#[tokio::test]
async fn a_difference_from_the_backup_is_found_and_named() {
    let world = World::new(None).await;
    let good = place(&world.path("good"));
    let said = &world.log.all()[100];
    let chat = said.from.log(&said.to);
    for (n, key, value, kind, what) in [
        (0, keys::entry(chat, said.seq), Some(Bytes::from_static(b"\x01x")), Kind::Entry, Differs::Value),
        (1, keys::phone(&said.from.phone()), None, Kind::Phone, Differs::Missing),
        (2, keys::entry(chat, wire::Seq(u64::MAX)), Some(Bytes::new()), Kind::Entry, Differs::Extra),
    ] {
        let to = embedded(&world.path(&format!("to-{n}")));
        let interrupted = tokio::spawn({
            let (to, good) = (to.clone(), good.clone());
            async move { restore(&good, None, to, clock(), &until(0, "comparing")).await }
        });
        assert!(interrupted.await.unwrap_err().is_panic());
        set(&to, key, value).await;
        match restore(&good, None, to, clock(), &silent).await {
            Err(BackupError::Difference(found)) => assert_eq!(found, Difference { kind, what }, "{n}"),
            other => panic!("{n}: {other:?}"),
        }
    }
}
