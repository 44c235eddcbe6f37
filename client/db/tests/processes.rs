//! Several processes with one database: what each was told is there, and none waits for long.

mod support;

use client_core::{OutboxRow, Write};
use client_db::{Db, Passphrase, Unlock};
use support::*;

#[test]
fn g21_two_that_write_at_once_both_keep_everything() {
    let dir = tempfile::tempdir().expect("a folder");
    // Made at once, too: one makes it, the others find it.
    let write = |writer: u64| {
        let mut db = db(dir.path());
        for n in 0..60 {
            let content = bytes::Bytes::from(vec![7; 3000]);
            let row = OutboxRow { content, ..row(writer * 1000 + n) };
            db.apply(&[Write::Queue(row)]).expect("kept");
        }
        *db.device_key().expose()
    };
    let keys = std::thread::scope(|scope| {
        let writers: Vec<_> = (0..4).map(|writer| scope.spawn(move || write(writer))).collect();
        writers.into_iter().map(|writer| writer.join().expect("it ends")).collect::<Vec<_>>()
    });
    assert!(keys.iter().all(|key| *key == keys[0]), "one database was made");
    let db = db(dir.path());
    assert_eq!(db.outbox_len().expect("a count"), 240);
    let queued = db.outbox_after(0, 1000).expect("rows");
    for writer in 0..4 {
        let of_it =
            queued.iter().filter(|(_, row)| (0..60).any(|n| row.client_msg_id == id(writer * 1000 + n)));
        assert_eq!(of_it.count(), 60, "of writer {writer}");
    }
}

#[test]
fn g21_of_two_that_make_one_with_passphrases_one_is_right() {
    let dir = tempfile::tempdir().expect("a folder");
    let make = |text: &str| {
        let passphrase = Passphrase::new(text.into()).expect("a passphrase");
        Db::create(dir.path(), &Unlock::Passphrase(passphrase)).is_ok()
    };
    let made = std::thread::scope(|scope| {
        let one = scope.spawn(|| make("one"));
        let two = scope.spawn(|| make("two"));
        [one, two].map(|made| made.join().expect("it ends"))
    });
    assert!(made[0] != made[1], "{made:?}");
    assert!(make(if made[0] { "one" } else { "two" }));
}
