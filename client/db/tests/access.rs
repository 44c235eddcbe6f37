//! What keeps a database shut, each with what to do; nothing of it says a key.

mod support;

use std::path::Path;

use client_core::Write;
use client_db::{Db, DbError, Passphrase, Protection, Unlock};
use support::*;

fn passphrase(text: &str) -> Unlock {
    Unlock::Passphrase(Passphrase::new(text.into()).expect("a passphrase"))
}

/// Why a database does not open, after one message was queued in it and something was done to its folder.
fn why(harm: impl FnOnce(&Path)) -> DbError {
    let dir = tempfile::tempdir().expect("a folder");
    db(dir.path()).apply(&[Write::Queue(row(1))]).expect("kept");
    harm(dir.path());
    let opened = Db::open(dir.path(), &Unlock::KeyFile).err().expect("it stays shut");
    // Making one is no way round.
    let made = Db::create(dir.path(), &Unlock::KeyFile).err();
    let same = made.is_some_and(|made| made.to_string() == opened.to_string());
    assert!(same || matches!(opened, DbError::Missing { .. }), "{opened}");
    opened
}

fn write_at(file: &Path, at: u64, bytes: &[u8]) {
    use std::os::unix::fs::FileExt;
    let file = std::fs::OpenOptions::new().write(true).open(file).expect("it is there");
    file.write_all_at(bytes, at).expect("written");
}

#[test]
fn r165_a_database_that_is_not_there_is_not_made_by_opening() {
    let dir = tempfile::tempdir().expect("a folder");
    let folder = dir.path().join("nobody");
    assert!(matches!(Db::open(&folder, &Unlock::KeyFile), Err(DbError::Missing { .. })));
    assert_eq!(Protection::of(&folder).expect("looked at"), Protection::Missing);
    assert!(!folder.exists());
}

#[test]
fn r165_a_key_that_is_missing_damaged_or_another_s_is_told_from_a_damaged_database() {
    let missing = why(|dir| std::fs::remove_file(dir.join("state.key")).expect("removed"));
    assert!(matches!(missing, DbError::KeyMissing { .. }), "{missing}");
    let damaged = why(|dir| write_at(&dir.join("state.key"), 30, &[1, 2, 3, 4]));
    assert!(matches!(damaged, DbError::KeyDamaged { .. }), "{damaged}");
    let cut = why(|dir| std::fs::write(dir.join("state.key"), b"GODWIT").expect("written"));
    assert!(matches!(cut, DbError::KeyDamaged { .. }), "{cut}");
    let newer = why(|dir| write_at(&dir.join("state.key"), 7, &[2]));
    assert!(matches!(newer, DbError::Newer { found: 2, known: 1, .. }), "{newer}");
    let another = why(|dir| {
        let other = tempfile::tempdir().expect("a folder");
        drop(db(other.path()));
        std::fs::copy(other.path().join("state.key"), dir.join("state.key")).expect("copied");
    });
    assert!(matches!(another, DbError::WrongKey { .. }), "{another}");
    let database = why(|dir| write_at(&dir.join("state.db"), 100, &[0; 64]));
    assert!(matches!(database, DbError::Damaged { .. }), "{database}");
}

#[test]
fn r165_damage_further_on_is_seen_when_it_is_read() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut before = db(dir.path());
    let values: Vec<_> = (0..200_u8).map(|n| mls(&[n], Some(&[n; 2000]))).collect();
    before.apply(&values).expect("kept");
    drop(before);
    let length = dir.path().join("state.db").metadata().expect("it is there").len();
    (20..length / 4096).for_each(|page| write_at(&dir.path().join("state.db"), page * 4096 + 500, b"harm"));
    let after = Db::open(dir.path(), &Unlock::KeyFile).expect("its first pages are whole");
    let errors: Vec<DbError> = (0..200_u8).filter_map(|n| after.mls(&[n]).err()).collect();
    assert!(errors.len() > 50, "{} of them", errors.len());
    assert!(errors.iter().all(|error| matches!(error, DbError::Damaged { .. })), "{:?}", errors[0]);
    // And never as something that was not written.
    for n in 0..200_u8 {
        assert!(after.mls(&[n]).is_err() || after.mls(&[n]).ok().flatten().is_some_and(|v| *v == [n; 2000]));
    }
}

#[test]
fn r165_one_of_before_encryption_is_named_and_left_alone() {
    let dir = tempfile::tempdir().expect("a folder");
    let file = dir.path().join("state.db");
    let old = rusqlite::Connection::open(&file).expect("made");
    old.execute_batch("PRAGMA journal_mode = WAL; CREATE TABLE meta (key); PRAGMA user_version = 2;")
        .expect("made");
    drop(old);
    let before = std::fs::read(&file).expect("its bytes");
    for opened in [Db::open(dir.path(), &Unlock::KeyFile), Db::create(dir.path(), &passphrase("x"))] {
        let error = opened.err().expect("refused");
        assert!(matches!(error, DbError::Plaintext { .. }), "{error}");
        assert!(error.to_string().contains("register again"), "{error}");
    }
    assert_eq!(std::fs::read(&file).expect("its bytes"), before);
    assert!(!dir.path().join("state.key").exists());
}

#[test]
fn r165_one_of_a_newer_build_is_named_and_left_alone() {
    let newer = why(|dir| {
        support::raw(dir).pragma_update(None, "user_version", 99).expect("set");
    });
    assert!(matches!(newer, DbError::Newer { found: 99, .. }), "{newer}");
    assert!(newer.to_string().contains("newer godwit (version 99"), "{newer}");
}

#[test]
fn r165_a_passphrase_opens_what_it_was_made_with_and_nothing_else_does() {
    let dir = tempfile::tempdir().expect("a folder");
    let unlock = passphrase("correct horse");
    let mut made = Db::create(dir.path(), &unlock).expect("made");
    made.apply(&[Write::Queue(row(1))]).expect("kept");
    let device_key = made.device_key().clone();
    drop(made);
    assert_eq!(Protection::of(dir.path()).expect("looked at"), Protection::Passphrase);
    let again = Db::open(dir.path(), &unlock).expect("opened");
    assert_eq!((again.device_key(), again.outbox_len().expect("a count")), (&device_key, 1));
    drop(again);
    for opened in
        [Db::open(dir.path(), &passphrase("Correct horse")), Db::create(dir.path(), &passphrase("x"))]
    {
        assert!(matches!(opened, Err(DbError::WrongPassphrase)));
    }
    assert!(matches!(Db::open(dir.path(), &Unlock::KeyFile), Err(DbError::PassphraseNeeded { .. })));
    // One that was given for nothing would be believed in.
    let plain = tempfile::tempdir().expect("a folder");
    drop(db(plain.path()));
    assert_eq!(Protection::of(plain.path()).expect("looked at"), Protection::KeyFile);
    assert!(matches!(Db::open(plain.path(), &unlock), Err(DbError::NoPassphrase { .. })));
}

#[test]
fn r165_a_making_that_was_interrupted_is_begun_again_also_with_another_passphrase() {
    let dir = tempfile::tempdir().expect("a folder");
    drop(Db::create(dir.path(), &passphrase("with a typo")).expect("made"));
    // As after the key, and before the database.
    std::fs::write(dir.path().join("state.db"), b"").expect("emptied");
    assert_eq!(Protection::of(dir.path()).expect("looked at"), Protection::Missing);
    drop(Db::create(dir.path(), &passphrase("without")).expect("made"));
    assert!(Db::open(dir.path(), &passphrase("without")).is_ok());
}

#[test]
fn r165_no_error_says_a_key_or_a_passphrase() {
    let dir = tempfile::tempdir().expect("a folder");
    drop(db(dir.path()));
    let bytes = std::fs::read(dir.path().join("state.key")).expect("a key");
    let hex: String = bytes[25..57].iter().map(|byte| format!("{byte:02x}")).collect();
    write_at(&dir.path().join("state.db"), 100, &[0; 64]);
    let error = Db::open(dir.path(), &Unlock::KeyFile).err().expect("damaged");
    let said = format!("{error} {error:?}");
    assert!(said.len() > 40 && !said.contains(&hex[..8]) && !said.contains("PRAGMA key"), "{said}");
    assert!(!format!("{:?}", passphrase("sesame")).contains("sesame"));
}
