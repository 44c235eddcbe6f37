//! Two phones that encrypt over this database, and restart before every call: what one drain wrote is what the next call reads.

mod support;

use std::path::Path;

use client_core::{MlsRow, Write};
use client_crypto::{DeviceKey, Entry, GroupName, Kv, Lifetime, Mls, MlsError, Received, Use};
use client_db::{Db, DbError, MlsReader, Unlock};
use support::*;
use wire::AccountId;

const NOW: u64 = 40_000_000_000;
const LIFE: Lifetime = Lifetime { from: NOW - 1, until: NOW + 1000 };
const GROUP: GroupName = GroupName::Chat(CHAT);

/// A phone that was started just now.
struct Phone {
    db: Db,
    reader: Box<dyn Kv + Send>,
    mls: Mls,
}

impl Phone {
    /// `start` is another one at each start of a phone.
    fn start(dir: &Path, account: AccountId, start: u8) -> Phone {
        let db = db(dir);
        let reader = Box::new(db.mls_reader().expect("a reader"));
        let key = DeviceKey::from_seed(db.device_key().expose());
        Phone { db, reader, mls: Mls::new(account, key, [start; 32]) }
    }

    /// Keeps what the calls so far changed, with what else they meant.
    fn keep(&mut self, writes: &[Write]) {
        let rows = self.mls.drain().into_iter().map(|(key, value)| Write::Mls(MlsRow { key, value }));
        self.db.apply(&rows.chain(writes.iter().cloned()).collect::<Vec<_>>()).expect("kept");
    }
}

/// Alice's and Bob's folders, in one group.
struct Two {
    alice: tempfile::TempDir,
    bob: tempfile::TempDir,
    starts: u8,
}

impl Two {
    fn new() -> Two {
        let folder = || tempfile::tempdir().expect("a folder");
        Two { alice: folder(), bob: folder(), starts: 0 }
    }

    fn alice(&mut self) -> Phone {
        self.starts += 1;
        Phone::start(self.alice.path(), ME, self.starts)
    }

    fn bob(&mut self) -> Phone {
        self.starts += 1;
        Phone::start(self.bob.path(), BOB, self.starts)
    }

    fn meet(&mut self) {
        let mut bob = self.bob();
        let package = bob.mls.key_packages(&*bob.reader, 1, LIFE, Use::Once).expect("made").remove(0);
        bob.keep(&[]);
        drop(bob);
        let mut alice = self.alice();
        let made = alice.mls.create(&*alice.reader, GROUP, &[package], id(1), NOW).expect("created");
        alice.keep(&[Write::Chat { chat: CHAT, peer: Some(BOB) }]);
        drop(alice);
        let mut alice = self.alice();
        let own = alice.mls.own();
        let (account, device) = (own.account, own.device);
        let commit =
            Entry { group: GROUP, account, device, client_msg_id: id(1), epoch: 0, content: &made.commit };
        alice.mls.receive(&*alice.reader, &commit).expect("it comes back");
        alice.keep(&[]);
        let mut bob = self.bob();
        let tree = made.tree.expect("somebody was added");
        bob.mls.join(&*bob.reader, GROUP, &made.welcomes[0].1, &tree).expect("joined");
        bob.keep(&[Write::Chat { chat: CHAT, peer: Some(ME) }]);
    }

    /// Alice says it, and nobody has heard it yet.
    fn say(&mut self, n: u64) -> Vec<u8> {
        let mut alice = self.alice();
        let said = alice.mls.encrypt(&*alice.reader, GROUP, id(n), TEXT).expect("encrypted");
        alice.keep(&[Write::Queue(row(n))]);
        said
    }

    /// Bob hears it, in whatever folder he lives.
    fn hear(&mut self, dir: &Path, n: u64, content: &[u8]) -> Result<Received, MlsError> {
        self.starts += 1;
        let own = self.alice().mls.own();
        let mut bob = Phone::start(dir, BOB, self.starts);
        let (account, device) = (own.account, own.device);
        let entry = Entry { group: GROUP, account, device, client_msg_id: id(n), epoch: 1, content };
        let received = bob.mls.receive(&*bob.reader, &entry)?;
        bob.keep(&[Write::Arrived(message(n, ME, n))]);
        Ok(received)
    }
}

const TEXT: &[u8] = b"meet me at noon";

fn is_text(received: &Result<Received, MlsError>) -> bool {
    matches!(received, Ok(Received::Message { content, .. }) if content == TEXT)
}

#[test]
fn r149_a_group_goes_on_over_restarts_between_all_calls() {
    let mut two = Two::new();
    two.meet();
    let bob = two.bob.path().to_owned();
    for n in 2..20 {
        let said = two.say(n);
        let heard = two.hear(&bob, n, &said);
        assert!(is_text(&heard), "{n}: {heard:?}");
    }
}

/// A copy of a phone's whole folder, key and log and all.
fn copy(dir: &Path) -> tempfile::TempDir {
    let copy = tempfile::tempdir().expect("a folder");
    for file in dir.read_dir().expect("a folder").map(|file| file.expect("a file")) {
        std::fs::copy(file.path(), copy.path().join(file.file_name())).expect("copied");
    }
    copy
}

#[test]
fn c48_a_phone_that_is_taken_does_not_open_what_it_has_read() {
    let mut two = Two::new();
    two.meet();
    let bob = two.bob.path().to_owned();
    let before = copy(&bob);
    let said = two.say(2);
    assert!(is_text(&two.hear(&bob, 2, &said)));
    let after = copy(&bob);
    let heard = two.hear(after.path(), 2, &said);
    assert!(heard.is_err(), "{heard:?}");
    let heard = two.hear(before.path(), 2, &said);
    assert!(is_text(&heard), "it is the copy's time that makes the difference: {heard:?}");
}

#[test]
fn r149_a_reader_sees_each_drain_as_soon_as_it_is_kept() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut db = db(dir.path());
    let reader: MlsReader = db.mls_reader().expect("a reader");
    let (ask, asked) = std::sync::mpsc::sync_channel::<[u8; 1]>(0);
    let (say, said) = std::sync::mpsc::sync_channel(0);
    // As an owner of its own may have it: in another thread.
    let other = std::thread::spawn(move || {
        asked.iter().for_each(|key| say.send(reader.get(&key).expect("read")).expect("heard"));
    });
    let read = |key: u8| {
        ask.send([key]).expect("asked");
        said.recv().expect("said")
    };
    for n in 0..=255_u8 {
        assert_eq!(read(n), None);
        db.apply(&[mls(&[n], Some(&[n; 3000]))]).expect("kept");
        assert_eq!(read(n).as_deref(), Some(&[n; 3000][..]));
        if n % 50 == 7 {
            assert!(db.forget().expect("emptied"), "a reader that does not read is not in the way");
        }
        if let Some(old) = n.checked_sub(9) {
            db.apply(&[mls(&[old], None)]).expect("kept");
            assert_eq!(read(old), None);
        }
    }
    drop(ask);
    other.join().expect("it ends");
}

#[test]
fn r149_one_process_at_a_time_has_mls_state_in_use() {
    let dir = tempfile::tempdir().expect("a folder");
    let (mut first, mut second) = (db(dir.path()), db(dir.path()));
    first.apply(&[mls(b"ratchet", Some(b"1"))]).expect("who comes first has it");
    assert!(!second.claim().expect("asked"));
    let refused = [
        second.mls(b"ratchet").err(),
        second.mls_reader().err(),
        second.apply(&[Write::Queue(row(1)), mls(b"ratchet", Some(b"2"))]).err(),
    ];
    for error in refused {
        let error = error.expect("refused");
        assert!(matches!(error, DbError::InUse { .. }), "{error}");
    }
    assert_eq!(second.outbox_len().expect("a count"), 0, "nothing of it was kept");
    second.apply(&[Write::Queue(row(1))]).expect("what is no MLS state is everybody's");
    let reader = first.mls_reader().expect("a reader");
    assert_eq!(reader.get(b"ratchet").expect("read").as_deref(), Some(&b"1"[..]));
    drop(first);
    assert!(!second.claim().expect("asked"), "a reader still reads");
    drop(reader);
    assert!(second.claim().expect("asked") && second.claim().expect("asked"));
    assert_eq!(second.mls(b"ratchet").expect("read").as_deref(), Some(&b"1".to_vec()));
    // A third one, and then nobody: what is left of a claim hinders nobody.
    assert!(!db(dir.path()).claim().expect("asked"));
    drop(second);
    assert!(dir.path().join("state.claim").exists());
    let third = Db::open(dir.path(), &Unlock::KeyFile).expect("opened");
    assert!(third.claim().expect("asked"));
}
