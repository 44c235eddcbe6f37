//! A profile on disk: private, locked by one, opened by what it was made with.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use bytes::Bytes;
use client_cli::CliError;
use client_cli::profile::{Profile, Server};
use client_cli::unlock::ProfileArgs;
use client_core::{OutboxRow, Write};
use client_db::{DbError, Unlock};
use wire::{ChatId, ClientMsgId};

fn profile(dir: &Path) -> Profile {
    Profile::create(&dir.join("alice"), &Unlock::KeyFile).expect("a profile")
}

fn row(n: u8) -> OutboxRow {
    let (client_msg_id, chat) = (ClientMsgId::new([n; 16]), ChatId::new([3; 16]));
    OutboxRow { client_msg_id, chat, peer: None, content: Bytes::from(vec![n]), sealed: None }
}

#[test]
fn c38_a_profile_is_for_its_owner_alone() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut profile = profile(dir.path());
    assert!(profile.db.claim().expect("asked"));
    profile.db.apply(&[Write::Queue(row(1))]).expect("kept");
    let mode = |path: &Path| path.metadata().expect("it is there").permissions().mode() & 0o777;
    assert_eq!(mode(profile.dir()), 0o700);
    for file in profile.dir().read_dir().expect("a directory") {
        let path = file.expect("a file").path();
        assert_eq!(mode(&path), 0o600, "{}", path.display());
    }
}

#[test]
fn g21_one_process_has_the_claim_and_another_may_only_queue() {
    let dir = tempfile::tempdir().expect("a directory");
    let (first, mut second) = (profile(dir.path()), profile(dir.path()));
    assert!(first.db.claim().expect("asked") && first.db.claim().expect("held already"));
    assert!(!second.db.claim().expect("asked"));
    second.db.apply(&[Write::Queue(row(1)), Write::Queue(row(2))]).expect("kept");
    let found = first.db.outbox_after(0, 10).expect("rows");
    assert_eq!(found.iter().map(|(_, row)| row.clone()).collect::<Vec<_>>(), [row(1), row(2)]);
    assert_eq!(first.db.outbox_after(found[0].0, 10).expect("rows"), found[1..]);
    assert_eq!(first.db.outbox_after(0, 1).expect("rows"), found[..1]);
    drop(first);
    assert!(second.db.claim().expect("asked"), "it is free now");
}

#[test]
fn g21_where_it_connects_is_there_after_a_restart() {
    let dir = tempfile::tempdir().expect("a directory");
    let server = Server { address: "localhost:4433".into(), ca: "/ca.pem".into() };
    let mut made = profile(dir.path());
    assert_eq!(made.server().expect("none yet"), None);
    made.set_server(&server).expect("kept");
    drop(made);
    assert_eq!(profile(dir.path()).server().expect("a server"), Some(server));
}

#[test]
fn g21_what_is_no_profile_of_ours_is_refused_with_what_to_do() {
    let dir = tempfile::tempdir().expect("a directory");
    let missing = Profile::open(&dir.path().join("nobody"), &Unlock::KeyFile).err().expect("refused");
    assert!(matches!(missing, CliError::LoginNeeded { .. }) && missing.exit_code() == 4, "{missing}");
    let path = profile(dir.path()).dir().to_owned();
    std::fs::remove_file(path.join("state.key")).expect("removed");
    let error = Profile::open(&path, &Unlock::KeyFile).err().expect("refused").chain();
    assert!(error.contains("state.key is missing") && error.contains("copy"), "{error}");
    // One of a build that did not encrypt.
    std::fs::write(path.join("state.db"), b"SQLite format 3\0and so on").expect("written");
    let error = Profile::open(&path, &Unlock::KeyFile).err().expect("refused").chain();
    assert!(error.contains("before databases were encrypted") && error.contains("register again"), "{error}");
}

#[test]
fn r165_a_passphrase_from_a_file_makes_a_profile_and_opens_it() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = |name: &str, text: &str| {
        std::fs::write(dir.path().join(name), text).expect("written");
        Some(dir.path().join(name))
    };
    let arguments = |passphrase_file| ProfileArgs { profile: dir.path().join("alice"), passphrase_file };
    let right = arguments(file("right", "open sesame\n"));
    let key = right.create(false).expect("made").db.device_key().clone();
    assert_eq!(right.open().expect("opened").db.device_key(), &key);
    assert_eq!(right.create(true).expect("it is there").db.device_key(), &key);
    let wrong = arguments(file("wrong", "open sesamo\n")).open().err().expect("refused");
    assert!(matches!(wrong, CliError::Database(DbError::WrongPassphrase)), "{wrong}");
    // One that is wanted for a profile that has none is not dropped.
    let plain = ProfileArgs { profile: dir.path().join("bob"), passphrase_file: None };
    drop(plain.create(false).expect("made"));
    let error = plain.create(true).err().expect("refused");
    assert!(matches!(error, CliError::Database(DbError::NoPassphrase { .. })), "{error}");
}
