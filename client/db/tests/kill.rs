//! A process that keeps drains is killed with SIGKILL at sixty moments of sixty lives, that of making the database among
//! them: each drain is there whole or not at all, MLS rows with their messages, and what it was told is there.
//!
//! `CLIENT_DB_KILL_SEED` repeats the moments of a run.

#![expect(clippy::print_stdout, reason = "the child tells its parent, and a failure its seed")]

mod support;

use std::io::{BufRead, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use bytes::Bytes;
use client_core::{Message, OutboxRow, Passed, Snapshot, Write};
use client_db::{Db, DbError, Unlock};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use support::*;
use wire::{Seq, WallTime};

/// Where the child finds its database.
const DIRECTORY: &str = "CLIENT_DB_KILL_TEST_DIRECTORY";

/// Rows of MLS state that stay before they are deleted.
const KEPT: u64 = 3;

/// How long the content of a drain is: within a page, and over several.
fn size(n: u64) -> usize {
    [10, 300, 5000, 40_000][usize::try_from(n % 4).expect("small")]
}

/// What a client does when the `n`th message of its chat has come: the message and its cursors, a message of its own
/// that is sent while another one is queued, and the ratchet that moves on.
fn drain(n: u64) -> Vec<Write> {
    let content = Bytes::from(vec![n as u8; size(n)]);
    let what = Passed::Commit;
    let mut writes = vec![
        Write::Arrived(Message { content, ..message(3 * n - 2, BOB, n) }),
        Write::Passed { chat: CHAT, seq: Seq(3 * n - 1), sender: BOB, at: WallTime(n), what },
        Write::Queue(row(1_000_000 + n)),
        Write::Sealed { client_msg_id: id(1_000_000 + n), sealed: sealed(n, size(n + 3)) },
        Write::Sent(Message { ..message(3 * n, ME, 1_000_000 + n - 1) }),
        Write::Told { chat: CHAT, delivered: Seq(3 * n), read: Seq(n) },
        Write::Cursor { chat: CHAT, cursor: cursor(3 * n, n, n) },
        Write::ReceiptsSince(WallTime(n)),
        Write::Login(login(&n.to_string(), [n as u8; 48])),
        Write::Inbox { have: Seq(n) },
        Write::Commit(commit(n)),
        Write::Plan(plan(n)),
        Write::KeyPackages(key_packages(n)),
        Write::Members(change(n)),
    ];
    if n.is_multiple_of(3) {
        writes.extend([Write::CommitDone { chat: CHAT }, Write::PlanDone { chat: CHAT }]);
    }
    writes.extend(rows(n));
    writes
}

/// The ratchet, a row of its own for the drain, and one that goes.
fn rows(n: u64) -> Vec<Write> {
    let ratchet = mls(b"ratchet", Some(&n.to_be_bytes().repeat(size(n + 1) / 8)));
    let mut rows = vec![ratchet, mls(&key(n), Some(&vec![n as u8; size(n + 2)]))];
    if n > KEPT {
        rows.push(mls(&key(n - KEPT), None));
    }
    rows
}

fn key(n: u64) -> Vec<u8> {
    [b"used".to_vec(), n.to_be_bytes().to_vec()].concat()
}

/// The last drain that is there, all of which is checked, and nothing of the next.
fn last(db: &Db) -> u64 {
    let (snapshot, _) = db.snapshot().expect("a snapshot");
    let n = snapshot.receipts_since.0;
    let chat = snapshot.chat(CHAT).copied();
    if n == 0 {
        assert!(chat.is_none() && snapshot.login.is_none() && snapshot.outbox.is_empty());
        assert_eq!((db.mls(b"ratchet").expect("read"), db.mls(&key(1)).expect("read")), (None, None));
        return 0;
    }
    let chat = chat.expect("a chat");
    assert_eq!((chat.have, chat.told), (Seq(3 * n - 1), (Seq(3 * n), Seq(n))));
    assert_eq!(snapshot.login, Some(login(&n.to_string(), [n as u8; 48])));
    let waits = OutboxRow { sealed: Some(sealed(n, size(n + 3))), ..row(1_000_000 + n) };
    assert_eq!(snapshot.outbox, [waits], "one waits, as it was sealed, and no other");
    under_way(&snapshot, n);
    let passed = db.passed(CHAT, Seq(0), Seq(u64::MAX)).expect("entries");
    assert!(passed.iter().map(|entry| entry.seq.0).eq((1..=n).map(|n| 3 * n - 1)), "every commit once");
    let notices = db.notices(CHAT, Seq::ZERO, Seq(u64::MAX), u32::MAX).expect("notices");
    assert!(notices.iter().map(|notice| notice.seq.0).eq((1..=n).map(|n| 3 * n - 1)), "what each did, once");
    let cursors = db.cursors(CHAT).expect("cursors");
    assert_eq!((cursors.len(), cursors[0].read, cursors[0].delivered), (1, Seq(n), Seq(3 * n)));
    let page = db.page(CHAT, Seq(u64::MAX), u32::MAX).expect("messages");
    assert_eq!(page.len() as u64, 2 * n, "every message once");
    for (message, seq) in page.iter().zip((1_u64..).filter(|seq| seq % 3 != 2)) {
        let n = seq.div_ceil(3);
        let length = if seq % 3 == 1 { size(n) } else { (1_000_000 + n - 1).to_string().len() };
        assert_eq!((message.seq, message.content.len()), (Seq(seq), length));
    }
    let ratchet = db.mls(b"ratchet").expect("read").expect("a ratchet");
    assert_eq!(*ratchet, n.to_be_bytes().repeat(size(n + 1) / 8), "the ratchet of the last message");
    for used in 1..=n + 1 {
        let value = db.mls(&key(used)).expect("read").map(|value| value.to_vec());
        let expected = (used <= n && used + KEPT > n).then(|| vec![used as u8; size(used + 2)]);
        assert_eq!(value, expected, "row {used} of {n}");
    }
    n
}

/// What is begun, and goes on.
fn under_way(snapshot: &Snapshot, n: u64) {
    assert_eq!((snapshot.inbox, &snapshot.key_packages), (Seq(n), &key_packages(n)));
    let goes_on = !n.is_multiple_of(3);
    assert_eq!(snapshot.commits, if goes_on { vec![commit(n)] } else { Vec::new() });
    assert_eq!(snapshot.plans, if goes_on { vec![plan(n)] } else { Vec::new() });
}

/// Not a test of its own: the process that is killed. It prints a line per drain that is kept.
#[test]
fn child() {
    let Some(directory) = std::env::var_os(DIRECTORY) else { return };
    let mut db = db(Path::new(&directory));
    let mut n = db.snapshot().expect("a snapshot").0.receipts_since.0;
    println!("open");
    loop {
        n += 1;
        db.apply(&drain(n)).expect("kept");
        std::io::stdout().write_all(format!("kept {n}\n").as_bytes()).expect("told");
        if n.is_multiple_of(7) {
            db.forget().expect("emptied");
        }
    }
}

/// Lets a child live for `drains` and a little longer; the last drain it was told of.
fn live(dir: &Path, drains: u64, longer: Duration) -> u64 {
    let mut command = Command::new(std::env::current_exe().expect("this test"));
    command.args(["--exact", "child", "--nocapture"]).env(DIRECTORY, dir);
    let mut child = command.stdout(Stdio::piped()).spawn().expect("a process");
    let mut lines = BufReader::new(child.stdout.take().expect("its output")).lines().map_while(Result::ok);
    let number = |line: &str| line.strip_prefix("kept ").and_then(|n| n.parse::<u64>().ok());
    let mut told = 0;
    if drains > 0 {
        // The first line is of having opened it; what the harness says comes before.
        let kept =
            lines.by_ref().filter_map(|line| number(&line)).take(usize::try_from(drains).expect("few"));
        told = kept.last().unwrap_or(0);
        assert!(told > 0, "it ended by itself");
    }
    std::thread::sleep(longer);
    child.kill().expect("killed");
    // The last line may be cut: its number is then too small.
    told = lines.filter_map(|line| number(&line)).max().unwrap_or(0).max(told);
    child.wait().expect("dead");
    told
}

#[test]
fn i1_r165_killed_at_any_write_every_drain_is_whole_or_not_there() {
    let seed = std::env::var("CLIENT_DB_KILL_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(|| u64::from(std::process::id()));
    println!("CLIENT_DB_KILL_SEED={seed}");
    let mut rng = StdRng::seed_from_u64(seed);
    let mut total = 0;
    let mut dir = tempfile::tempdir().expect("a folder");
    for round in 0..60 {
        // One life in three is the first of its database, and may end while that is made.
        let is_first = round % 3 == 0;
        if is_first {
            dir = tempfile::tempdir().expect("a folder");
        }
        let drains = if is_first && round % 2 == 0 { 0 } else { rng.random_range(1..12) };
        let told = live(dir.path(), drains, Duration::from_micros(rng.random_range(0..20_000)));
        match Db::open(dir.path(), &Unlock::KeyFile) {
            Ok(db) => {
                let last = last(&db);
                assert!(last >= told, "round {round}: told of {told}, {last} are there");
                total += last;
            }
            // Nothing was kept before there was a database; the next life makes it.
            Err(DbError::Missing { .. }) => assert!(is_first && told == 0, "round {round}"),
            Err(error) => panic!("round {round}: {error}"),
        }
    }
    assert!(total > 200, "{total} drains");
}
