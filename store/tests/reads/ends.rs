//! How it begins and ends: stores that close, servers that are killed or come back, transactions whose time is up.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::time::Duration;

use store::embedded::{Embedded, EmbeddedConfig};
use store::reads::{ReadServer, ReadsError, Remote, SOCKET_NAME};
use store::tx::{Backend, Tx, TxError};

use crate::support::*;

#[test]
fn a_transaction_older_than_its_time_is_too_old_and_the_next_one_is_not() {
    let served = Served::new();
    put(&served.store, b"k", b"v").unwrap();
    let remote = served.remote().unwrap();
    block_on(async {
        let tx = remote.begin().await.unwrap();
        served.clock.push(4_000);
        assert!(tx.get(b"k").await.unwrap().is_some());
        // The reader's own clock stands still: it is the server that refuses.
        served.clock.push(1_001);
        assert!(matches!(tx.get(b"k").await, Err(TxError::TooOld)));
        assert!(matches!(tx.get(b"k").await, Err(TxError::TooOld)));
        drop(tx);
        assert!(remote.begin().await.unwrap().get(b"k").await.unwrap().is_some());
    });
}

#[test]
fn a_snapshot_is_given_back_when_its_time_is_up_and_nobody_asks() {
    let served = Served::new();
    let mut raw = served.raw();
    raw.frame().unwrap();
    served.clock.push(60_000);
    raw.ask(&[0]);
    assert_eq!(raw.frame().unwrap()[0], 0);
    // It finds out by itself, while it waits for the next request.
    wait_ms(6_000);
    // Had it the snapshot still, it would be young now, and read.
    served.clock.turn_back(6_000);
    raw.ask(b"\x01\x01\0\0\0k");
    assert_eq!(raw.frame().unwrap(), [4]);
    served.serves();
}

#[test]
fn a_store_that_does_not_know_its_disk_any_more_is_not_read() {
    let served = Served::new();
    put(&served.store, b"k", b"v").unwrap();
    let remote = served.remote().unwrap();
    block_on(async {
        let tx = remote.begin().await.unwrap();
        served.store.fail_next_sync();
        assert!(put_now(&served.store).await.is_err());
        let error = tx.get(b"k").await.unwrap_err();
        assert!(matches!(error, TxError::Unavailable(_)), "{error:?}");
        assert!(matches!(remote.begin().await.err(), Some(TxError::Unavailable(_))));
    });
}

async fn put_now(store: &Embedded) -> Result<(), TxError> {
    let mut tx = store.begin().await?;
    tx.set(b"x"[..].into(), b"y"[..].into());
    tx.commit().await.map(|_| ())
}

#[test]
fn a_server_that_stops_holds_the_store_no_longer_and_its_readers_are_told_r36() {
    let served = Served::new();
    put(&served.store, b"k", b"v").unwrap();
    let remote = served.remote().unwrap();
    let tx = block_on(remote.begin()).unwrap();
    let _idle = served.remote().unwrap();
    let Served { folder, store, server, .. } = served;
    let ((), took) = timed(|| server.stop());
    assert!(took < Duration::from_secs(2), "{took:?}");
    assert!(!folder.path().join(SOCKET_NAME).exists());
    drop(store);
    let again = Embedded::open(folder.path(), &EmbeddedConfig::default(), TestClock::new());
    let again = again.expect("nobody else has it");
    block_on(async {
        assert!(matches!(tx.get(b"k").await, Err(TxError::Unavailable(_))));
        assert!(matches!(remote.begin().await.err(), Some(TxError::Gone(_))));
        // Who serves it next is another, and what a backup has of the first is not continued with it.
        let _next = ReadServer::start(again, 2).unwrap();
        assert!(matches!(remote.begin().await.err(), Some(TxError::Gone(_))));
        let next = Remote::connect(folder.path(), TestClock::new()).unwrap();
        assert!(next.begin().await.unwrap().get(b"k").await.unwrap().is_some());
    });
}

#[test]
fn what_a_killed_server_left_is_replaced_and_until_then_nothing_answers() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path(), TestClock::new());
    let connect = || Remote::connect(folder.path(), TestClock::new());
    assert!(matches!(connect(), Err(ReadsError::NotServed { .. })), "an earlier version has none");
    drop(UnixListener::bind(folder.path().join(SOCKET_NAME)).unwrap());
    // It was killed at its start, too.
    let making = folder.path().join("reads.new");
    std::fs::create_dir(&making).unwrap();
    drop(UnixListener::bind(making.join(SOCKET_NAME)).unwrap());
    assert!(matches!(connect(), Err(ReadsError::NotServed { .. })), "nobody listens");
    let _server = ReadServer::start(store, 1).unwrap();
    assert!(!making.exists());
    block_on(connect().unwrap().begin()).unwrap();
}

#[test]
fn a_server_that_answers_nothing_is_not_waited_for_long() {
    let folder = tempfile::tempdir().unwrap();
    let _listener = UnixListener::bind(folder.path().join(SOCKET_NAME)).unwrap();
    let (error, took) = timed(|| Remote::connect(folder.path(), TestClock::new()).unwrap_err());
    assert!(matches!(error, ReadsError::Io(_)), "{error:?}");
    assert!(took < Duration::from_secs(12), "{took:?}");
}

#[test]
fn the_socket_is_its_owners_alone_whatever_the_umask() {
    // Everything else here is made in a folder that is private already.
    let before = rustix::process::umask(rustix::fs::Mode::empty());
    let served = Served::new();
    rustix::process::umask(before);
    let meta = std::fs::metadata(served.path().join(SOCKET_NAME)).unwrap();
    assert_eq!(meta.permissions().mode() & 0o777, 0o600);
    assert!(!served.path().join("reads.new").exists());
}

#[cfg(target_os = "linux")]
#[test]
fn a_path_too_long_for_a_socket_is_reached_all_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("long".repeat(50)).join("store");
    let store = open(&path, TestClock::new());
    put(&store, b"k", b"v").unwrap();
    let server = ReadServer::start(store, 1).unwrap();
    let remote = Remote::connect(&path, TestClock::new()).unwrap();
    assert!(get(&remote, b"k").unwrap().is_some());
    server.stop();
    assert!(!path.join(SOCKET_NAME).exists());
}
