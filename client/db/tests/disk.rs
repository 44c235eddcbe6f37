//! What lies on the disk: nothing that can be read without the key, nothing that was deleted with it, and all of it for its
//! owner alone.

#![expect(clippy::print_stdout, reason = "the child tells its parent")]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use bytes::Bytes;
use client_core::{OutboxRow, Plan, PlanRow, Write};
use client_db::{Db, Passphrase, Unlock};
use rand::rngs::StdRng;
use rand::{Rng, RngCore, SeedableRng};
use support::*;

/// Where the child that is killed finds its database.
const DIRECTORY: &str = "CLIENT_DB_DISK_TEST_DIRECTORY";

const TEXT: &str = "canary-of-a-message";
const QUEUED: &str = "canary-of-the-outbox";
const DRAFT: &str = "canary-of-a-draft";
const NAME: &str = "Canary Of A Name";
const PHONE: &str = "+447700900042";
const ACCESS: &str = "canary-of-an-access-token";
const REFRESH: [u8; 48] = *b"canary-of-a-refresh-token-which-is-bytes-and-so-";
const MLS_KEY: &[u8] = b"canary-of-a-key-of-mls";
const MLS_VALUE: &[u8] = b"canary-of-a-ratchet-secret";
const SETTING: &str = "canary-of-a-server.example:4433";

const GROUP: &str = "canary of what a group is called";

const CANARIES: [&[u8]; 10] = [
    GROUP.as_bytes(),
    TEXT.as_bytes(),
    QUEUED.as_bytes(),
    DRAFT.as_bytes(),
    NAME.as_bytes(),
    PHONE.as_bytes(),
    ACCESS.as_bytes(),
    MLS_KEY,
    MLS_VALUE,
    SETTING.as_bytes(),
];

/// Everything that a device keeps, with a canary in each place.
fn plant(db: &mut Db) {
    let said = client_core::Message { content: Bytes::from(TEXT), ..message(1, BOB, 1) };
    let writes = [
        Write::Login(login(ACCESS, REFRESH)),
        Write::Chat { chat: CHAT, peer: Some(BOB) },
        Write::Queue(OutboxRow { content: Bytes::from(QUEUED), ..row(2) }),
        Write::Arrived(said),
        Write::Cursor { chat: CHAT, cursor: cursor(1, 1, 7) },
        Write::Plan(PlanRow {
            plan: Plan::Create { name: GROUP.into(), description: String::new(), members: vec![BOB] },
            ..plan(1)
        }),
        mls(MLS_KEY, Some(MLS_VALUE)),
    ];
    db.apply(&writes).expect("kept");
    db.learn(Some(PHONE), BOB, NAME, CHAT).expect("kept");
    db.set_draft(CHAT, DRAFT).expect("kept");
    db.set_settings(&[("server", SETTING.as_bytes())]).expect("kept");
}

/// Every byte of every file.
fn all_bytes(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let files = dir.read_dir().expect("a folder").map(|file| file.expect("a file"));
    files
        .map(|file| {
            (file.file_name().to_string_lossy().into_owned(), std::fs::read(file.path()).expect("its bytes"))
        })
        .collect()
}

/// Which canaries lie there in the clear.
fn leaks(files: &BTreeMap<String, Vec<u8>>, device_key: &[u8; 32]) -> Vec<String> {
    let mut secrets = CANARIES.to_vec();
    secrets.extend([&REFRESH[..], &device_key[..], ME.as_bytes(), BOB.as_bytes(), CHAT.as_bytes()]);
    // A part of one is too much, too.
    let found = |bytes: &[u8], secret: &[u8]| secret.chunks_exact(8).any(|part| holds(bytes, part));
    let mut leaks = Vec::new();
    for (name, bytes) in files {
        leaks.extend(
            secrets
                .iter()
                .filter(|secret| found(bytes, secret))
                .map(|secret| format!("{name}: {}", secret.escape_ascii())),
        );
    }
    leaks
}

#[test]
fn canary_nothing_can_be_read_on_the_disk_in_mid_life_or_after_the_end() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut db = db(dir.path());
    plant(&mut db);
    let key = *db.device_key().expose();
    let files = all_bytes(dir.path());
    assert!(files["state.db-wal"].len() > 4096 && files["state.db-shm"].len() > 4096, "it is in mid-life");
    assert_eq!(leaks(&files, &key), [""; 0]);
    assert!(db.forget().expect("emptied"));
    let files = all_bytes(dir.path());
    assert!(files["state.db-wal"].is_empty() && files["state.db"].len() > 4096, "it is all in the database");
    assert_eq!(leaks(&files, &key), [""; 0]);
    drop(db);
    let files = all_bytes(dir.path());
    assert_eq!(files.keys().collect::<Vec<_>>(), ["state.claim", "state.db", "state.key", "state.lock"]);
    assert_eq!(leaks(&files, &key), [""; 0]);
}

#[test]
fn canary_what_is_looked_for_is_found_by_who_has_the_key() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut db = db(dir.path());
    plant(&mut db);
    let key = *db.device_key().expose();
    let pages = support::pages::decrypted(dir.path()).concat();
    let found = leaks(&BTreeMap::from([("pages".to_owned(), pages)]), &key);
    assert_eq!(found.len(), CANARIES.len() + 5, "{found:#?}");
}

/// Not a test of its own: the process that is killed. It says that everything is planted, and waits.
#[test]
fn child() {
    let Some(directory) = std::env::var_os(DIRECTORY) else { return };
    plant(&mut db(Path::new(&directory)));
    let mut db = db(Path::new(&directory));
    plant(&mut db);
    println!("planted");
    std::thread::sleep(std::time::Duration::from_secs(60));
}

#[test]
fn canary_nothing_can_be_read_after_a_kill() {
    use std::io::BufRead;
    let dir = tempfile::tempdir().expect("a folder");
    let mut command = Command::new(std::env::current_exe().expect("this test"));
    command.args(["--exact", "child", "--nocapture"]).env(DIRECTORY, dir.path()).stdout(Stdio::piped());
    let mut child = command.spawn().expect("a process");
    let lines = std::io::BufReader::new(child.stdout.take().expect("its output")).lines();
    assert!(lines.map_while(Result::ok).any(|line| line.contains("planted")));
    child.kill().expect("killed");
    child.wait().expect("dead");
    let files = all_bytes(dir.path());
    assert!(files["state.db-wal"].len() > 4096, "it did not end in order");
    let key = *db(dir.path()).device_key().expose();
    assert_eq!(leaks(&files, &key), [""; 0]);
}

#[test]
fn r165_the_key_of_a_passphrase_is_in_no_file() {
    let dir = tempfile::tempdir().expect("a folder");
    let passphrase = "correct horse battery staple";
    let unlock = Unlock::Passphrase(Passphrase::new(passphrase.into()).expect("a passphrase"));
    let mut db = Db::create(dir.path(), &unlock).expect("a database");
    plant(&mut db);
    let files = all_bytes(dir.path());
    assert_eq!(files["state.key"].len(), 9 + 16 + 12 + 16, "salt, costs and check, and no key");
    assert_eq!(leaks(&files, db.device_key().expose()), [""; 0]);
    assert!(files.values().all(|bytes| !holds(bytes, passphrase.as_bytes())));
}

#[test]
fn c38_every_file_is_for_its_owner_alone() {
    let dir = tempfile::tempdir().expect("a folder");
    let dir = dir.path().join("deep/er");
    let mut db = db(&dir);
    plant(&mut db);
    let mode = |path: &Path| path.metadata().expect("it is there").permissions().mode() & 0o777;
    assert_eq!((mode(&dir), mode(dir.parent().expect("above"))), (0o700, 0o700));
    let files: Vec<_> = dir.read_dir().expect("a folder").map(|file| file.expect("a file").path()).collect();
    assert_eq!(files.len(), 6, "database, log, index, key, lock and claim: {files:?}");
    files.iter().for_each(|file| assert_eq!(mode(file), 0o600, "{}", file.display()));
}

/// The 32 bytes that a row is sealed with.
type RowKey = [u8; 32];

/// Rows of MLS state that come, are replaced by shorter and longer ones and go, among messages that come and drafts that
/// change: pages split, merge, fill and empty.
struct Churn {
    rng: StdRng,
    seq: u64,
    /// Values that were kept once, by their first bytes.
    values: BTreeSet<[u8; 16]>,
    live: BTreeSet<RowKey>,
    dead: BTreeSet<RowKey>,
}

impl Churn {
    fn drain(&mut self, db: &mut Db, sql: &rusqlite::Connection) {
        let mut rows = BTreeMap::new();
        for _ in 0..self.rng.random_range(1..12) {
            let key = self.rng.random_range(0..500_u16);
            let value = self.rng.random_ratio(3, 4).then(|| {
                let mut tag = [0; 16];
                self.rng.fill_bytes(&mut tag);
                self.values.insert(tag);
                // Within a page, over a part of one, over several of their own.
                tag.repeat([1, 4, 20, 90, 500][self.rng.random_range(0..5)])
            });
            rows.insert(key, value);
        }
        self.seq += 1;
        let mut writes = vec![Write::Arrived(message(self.seq, BOB, self.seq))];
        writes.extend(rows.iter().map(|(key, value)| mls(&key.to_be_bytes(), value.as_deref())));
        db.apply(&writes).expect("kept");
        // Whoever has the key can read the rows' keys, for as long as they are there.
        let mut statement =
            sql.prepare_cached("SELECT k.key FROM mls_keys k JOIN mls m ON m.slot = k.n").expect("there");
        let found = statement.query_map([], |row| row.get(0)).expect("read");
        let live: BTreeSet<RowKey> = found.map(|key| key.expect("a key")).collect();
        self.dead.extend(self.live.difference(&live));
        self.live = live;
    }

    /// How many of the keys that are live and that have gone, and of the values in the clear, the database's key opens.
    fn readable(&self, dir: &Path) -> (usize, usize, usize) {
        let keys = self.live.iter().chain(&self.dead).map(|key| &key[..]);
        let found =
            found(&support::pages::decrypted(dir), keys.chain(self.values.iter().map(|value| &value[..])));
        let keys = |keys: &BTreeSet<RowKey>| keys.iter().filter(|key| found.contains(&key[..])).count();
        let values = self.values.iter().filter(|value| found.contains(&value[..])).count();
        (keys(&self.live), keys(&self.dead), values)
    }
}

/// Which of many secrets are somewhere in the pages. There are as many places as bytes: each is asked once what may begin
/// there.
fn found<'a>(pages: &[Vec<u8>], secrets: impl Iterator<Item = &'a [u8]>) -> BTreeSet<&'a [u8]> {
    let mut by_start: Vec<Vec<&[u8]>> = vec![Vec::new(); 1 << 16];
    secrets.for_each(|secret| by_start[usize::from(secret[0]) << 8 | usize::from(secret[1])].push(secret));
    let mut found = BTreeSet::new();
    for page in pages {
        let mut start = 0;
        for (end, &byte) in page.iter().enumerate() {
            start = (start << 8 | usize::from(byte)) & 0xffff;
            if !by_start[start].is_empty() && end > 0 {
                found.extend(by_start[start].iter().filter(|secret| page[end - 1..].starts_with(secret)));
            }
        }
    }
    found
}

#[test]
fn c48_a_secret_that_was_deleted_or_replaced_cannot_be_read_with_the_key() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut db = db(dir.path());
    let sql = support::raw(dir.path());
    let rng = StdRng::seed_from_u64(165);
    let (values, live, dead) = Default::default();
    let mut churn = Churn { rng, seq: 0, values, live, dead };
    let mut seen = 0;
    for round in 0..12 {
        (0..40).for_each(|_| churn.drain(&mut db, &sql));
        // The log still has some of what has just gone, if it was not emptied just now: the reader would see it.
        let (live, dead, values) = churn.readable(dir.path());
        assert_eq!(live, churn.live.len(), "round {round}: the reader sees what is there");
        seen += dead;
        assert_eq!(values, 0, "round {round}: a value is there in the clear");
        assert!(db.forget().expect("emptied"), "nobody is in the way");
        assert_eq!(churn.readable(dir.path()), (churn.live.len(), 0, 0), "round {round}");
    }
    assert!(seen > 20, "the reader sees nothing that has gone: {seen}");
    // Several pages of keys, which came and went.
    assert!(
        churn.live.len() > 250 && churn.dead.len() > 1500,
        "{} and {}",
        churn.live.len(),
        churn.dead.len()
    );
}

#[test]
fn c48_the_log_is_emptied_without_being_asked() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut db = db(dir.path());
    let log = || dir.path().join("state.db-wal").metadata().map_or(0, |metadata| metadata.len());
    let mut emptied = 0;
    for n in 0..400_u64 {
        let before = log();
        let ratchet = mls(b"ratchet", Some(&n.to_be_bytes()));
        db.apply(&[Write::Arrived(message(n + 1, BOB, n)), ratchet]).expect("kept");
        emptied += usize::from(log() < before);
        assert!(log() <= 1024 * 1024, "{} bytes", log());
    }
    assert!(emptied > 2, "{emptied}");
    // Another one that opens it empties what it finds, and so does the last that closes it.
    db.apply(&[Write::Queue(row(1))]).expect("kept");
    assert!(log() > 0);
    let other = support::db(dir.path());
    assert_eq!(log(), 0);
    drop((db, other));
    assert!(!dir.path().join("state.db-wal").exists());
}

#[test]
fn c48_a_reader_is_not_waited_for_and_its_end_is() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut db = db(dir.path());
    db.apply(&[Write::Queue(row(1))]).expect("kept");
    // Another process that is in the middle of reading.
    let other = support::raw(dir.path());
    other.execute_batch("BEGIN; SELECT count(*) FROM mls;").expect("reads");
    db.apply(&[Write::Queue(row(2))]).expect("kept");
    let began = std::time::Instant::now();
    assert!(!db.forget().expect("asked"), "it still needs the log");
    assert!(began.elapsed() < std::time::Duration::from_secs(5), "it was waited for");
    other.execute_batch("COMMIT").expect("done");
    assert!(db.forget().expect("emptied"));
}
