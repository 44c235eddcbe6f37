//! A profile on disk: private, locked by one, and the same after it was closed, whatever was in it.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use bytes::Bytes;
use client_cli::CliError;
use client_cli::profile::{Profile, Server, Standing};
use client_core::{Login, Message, OutboxRow, Snapshot, Write};
use wire::event::Cursor;
use wire::{AccountId, ChatId, ClientMsgId, DeviceId, ErrorCode, RequestId, Secret, Seq, WallTime};

const ME: AccountId = AccountId::new([1; 16]);
const BOB: AccountId = AccountId::new([2; 16]);
const CHAT: ChatId = ChatId::new([3; 16]);

fn profile(dir: &Path) -> Profile {
    Profile::create(&dir.join("alice")).expect("a profile")
}

fn id(n: u8) -> ClientMsgId {
    ClientMsgId::new([n; 16])
}

fn row(n: u8) -> OutboxRow {
    OutboxRow {
        client_msg_id: id(n),
        chat: CHAT,
        peer: Some(BOB),
        content: Bytes::from(vec![n]),
        sealed: None,
    }
}

fn message(seq: u64, sender: AccountId, n: u8) -> Message {
    let (at, content) = (WallTime(1000 + seq), Bytes::from(vec![n]));
    Message { chat: CHAT, seq: Seq(seq), sender, client_msg_id: id(n), at, content }
}

fn cursor(delivered: u64, read: u64, at: u64) -> Cursor {
    let (delivered_at, read_at, withheld) = (WallTime(at), WallTime(at), Vec::new());
    Cursor { member: BOB, delivered: Seq(delivered), delivered_at, read: Seq(read), read_at, withheld }
}

#[test]
fn c38_a_profile_is_for_its_owner_alone() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut profile = profile(dir.path());
    assert!(profile.try_lock().expect("a lock"));
    profile.apply(&[Write::Queue(row(1))]).expect("kept");
    let mode = |path: &Path| path.metadata().expect("it is there").permissions().mode() & 0o777;
    assert_eq!(mode(profile.dir()), 0o700);
    for file in profile.dir().read_dir().expect("a directory") {
        let path = file.expect("a file").path();
        assert_eq!(mode(&path), 0o600, "{}", path.display());
    }
}

#[test]
fn one_process_holds_the_lock_and_another_may_only_queue() {
    let dir = tempfile::tempdir().expect("a directory");
    let (mut first, mut second) = (profile(dir.path()), profile(dir.path()));
    assert!(first.try_lock().expect("a lock") && first.try_lock().expect("held already"));
    assert!(!second.try_lock().expect("taken"));
    second.apply(&[Write::Queue(row(1)), Write::Queue(row(2))]).expect("kept");
    let found = first.outbox_after(0, 10).expect("rows");
    assert_eq!(found.iter().map(|(_, row)| row.clone()).collect::<Vec<_>>(), [row(1), row(2)]);
    assert_eq!(first.outbox_after(found[0].0, 10).expect("rows"), found[1..]);
    assert_eq!(first.outbox_after(0, 1).expect("rows"), found[..1]);
    drop(first);
    assert!(second.try_lock().expect("free now"));
}

#[test]
fn what_was_kept_is_there_after_a_restart() {
    let dir = tempfile::tempdir().expect("a directory");
    let login = Login {
        account: ME,
        device: DeviceId::new([9; 16]),
        access: Secret::new("token".into()),
        access_expires: WallTime(5),
        refresh: Secret::new([7; 48]),
        refresh_request: RequestId::new([8; 16]),
    };
    let server = Server { address: "localhost:4433".into(), ca: "/ca.pem".into() };
    let before = {
        let mut profile = profile(dir.path());
        let (empty, last) = profile.snapshot().expect("a snapshot");
        assert!(empty.login.is_none() && empty.outbox.is_empty() && last == 0);
        profile.set_server(&server).expect("kept");
        profile.learn(Some("+491"), BOB, "Bob", CHAT).expect("kept");
        let writes = [
            Write::Login(login.clone()),
            Write::Chat { chat: CHAT, peer: Some(BOB) },
            Write::Chat { chat: CHAT, peer: None },
            Write::Queue(row(1)),
            Write::Queue(row(2)),
            Write::Arrived(message(1, BOB, 9)),
            Write::Read { chat: CHAT, read: Seq(1) },
            Write::Told { chat: CHAT, delivered: Seq(1), read: Seq(0) },
            Write::ReceiptsSince(WallTime(77)),
        ];
        profile.apply(&writes).expect("kept");
        (profile.device_key().clone(), profile.install().expect("an id"))
    };
    let profile = profile(dir.path());
    let (snapshot, last) = profile.snapshot().expect("a snapshot");
    let Snapshot { login: kept, outbox, chats, receipts_since, .. } = snapshot;
    assert_eq!((kept, outbox, receipts_since), (Some(login), vec![row(1), row(2)], WallTime(77)));
    assert_eq!((last, profile.outbox_len().expect("a count")), (2, 2));
    let chat = chats[0];
    assert_eq!((chat.peer, chat.have, chat.read, chat.told), (Some(BOB), Seq(1), Seq(1), (Seq(1), Seq(0))));
    assert_eq!((profile.device_key().clone(), profile.install().expect("an id")), before);
    assert_eq!(profile.server().expect("a server"), Some(server));
    assert_eq!(profile.contact("+491").expect("a contact").map(|contact| contact.name), Some("Bob".into()));
}

#[test]
fn g21_a_message_is_waiting_then_sent_or_failed_and_a_number_is_never_used_again() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut profile = profile(dir.path());
    (1..=3).for_each(|n| profile.apply(&[Write::Queue(row(n))]).expect("kept"));
    let code = ErrorCode::RecipientUnknown;
    let writes = [
        Write::Sent(message(5, ME, 1)),
        Write::Failed { client_msg_id: id(2), code },
        Write::Cancelled { client_msg_id: id(3) },
    ];
    profile.apply(&writes).expect("kept");
    let standing = |n| profile.standing(id(n)).expect("a standing");
    assert_eq!(standing(1), Standing::Sent(Seq(5), WallTime(1005)));
    assert_eq!(standing(2), Standing::Failed(code.number()));
    assert_eq!([standing(3), standing(4)], [Standing::Gone, Standing::Gone]);
    assert_eq!(profile.outbox_len().expect("a count"), 0, "what failed waits no more");
    profile.apply(&[Write::Queue(row(4))]).expect("kept");
    assert_eq!(profile.outbox_after(3, 10).expect("rows").len(), 1, "seen by whoever looks after the third");
}

#[test]
fn r50_messages_are_kept_by_place_and_shown_once() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut profile = profile(dir.path());
    // One's own message comes as sent and as arrived; somebody else may use one id twice.
    let writes = [
        Write::Sent(message(1, ME, 1)),
        Write::Arrived(message(1, ME, 1)),
        Write::Arrived(message(2, BOB, 7)),
        Write::Arrived(message(2, BOB, 7)),
        Write::Arrived(message(3, BOB, 7)),
    ];
    profile.apply(&writes).expect("kept");
    let unshown = |profile: &Profile, chat, limit| -> Vec<u64> {
        profile.unshown(chat, limit).expect("messages").iter().map(|message| message.seq.0).collect()
    };
    assert_eq!(unshown(&profile, None, 10), [2, 3], "what was typed here is not news");
    assert_eq!(unshown(&profile, Some(CHAT), 1), [2]);
    assert!(unshown(&profile, Some(ChatId::new([4; 16])), 10).is_empty());
    profile.mark_shown(CHAT, Seq(2)).expect("kept");
    assert_eq!(unshown(&profile, None, 10), [3]);
}

#[test]
fn i4_cursors_only_advance_and_keep_the_time_they_got_there() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut profile = profile(dir.path());
    for moved in [cursor(3, 1, 10), cursor(2, 2, 20), cursor(3, 2, 30)] {
        profile.apply(&[Write::Cursor { chat: CHAT, cursor: moved }]).expect("kept");
    }
    let kept = &profile.cursors(CHAT).expect("cursors")[0];
    assert_eq!((kept.delivered, kept.delivered_at), (Seq(3), WallTime(10)));
    assert_eq!((kept.read, kept.read_at), (Seq(2), WallTime(20)));
}

#[test]
fn nothing_of_a_transaction_is_kept_if_it_fails() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut profile = profile(dir.path());
    let other = rusqlite::Connection::open(profile.dir().join("state.db")).expect("the database");
    let full = "CREATE TRIGGER full BEFORE INSERT ON messages BEGIN SELECT RAISE(ABORT, 'full'); END";
    other.execute_batch(full).expect("a trigger");
    let writes = [Write::Queue(row(1)), Write::Arrived(message(1, BOB, 2))];
    assert!(matches!(profile.apply(&writes), Err(CliError::Profile { .. })));
    assert_eq!(profile.outbox_len().expect("a count"), 0);
}

#[test]
fn files_that_are_not_ours_are_refused_with_what_to_do() {
    let dir = tempfile::tempdir().expect("a directory");
    let missing = Profile::open(&dir.path().join("nobody"));
    assert!(matches!(missing, Err(CliError::LoginNeeded { .. })));
    let path = profile(dir.path()).dir().to_owned();
    let db = rusqlite::Connection::open(path.join("state.db")).expect("the database");
    db.pragma_update(None, "user_version", 99).expect("a version");
    let error = Profile::open(&path).err().expect("refused").chain();
    assert!(error.contains("newer godwit") && error.contains("99"), "{error}");
    std::fs::write(path.join("device.key"), b"short").expect("written");
    let error = Profile::open(&path).err().expect("refused").chain();
    assert!(error.contains("device.key is not a device key"), "{error}");
}

#[test]
fn r1_a_screen_of_chats_has_every_chat_with_what_is_new_in_it() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut profile = profile(dir.path());
    let (met, queued) = (ChatId::new([4; 16]), ChatId::new([5; 16]));
    profile.learn(None, BOB, "Bob", CHAT).expect("kept");
    profile.learn(Some("+492"), AccountId::new([6; 16]), "Carol", met).expect("kept");
    let mut writes = vec![Write::Chat { chat: CHAT, peer: Some(BOB) }];
    writes
        .extend((1..=4).map(|seq| Write::Arrived(message(seq, if seq == 4 { ME } else { BOB }, seq as u8))));
    writes.push(Write::Read { chat: CHAT, read: Seq(1) });
    writes.push(Write::Queue(OutboxRow { chat: queued, ..row(9) }));
    profile.apply(&writes).expect("kept");
    profile.set_draft(met, "half a word").expect("kept");
    let mut found = profile.summaries(ME).expect("chats");
    found.sort_by_key(|summary| summary.chat);
    let shown: Vec<_> =
        found.iter().map(|s| (s.chat, s.name.as_deref(), s.unread, s.draft.as_str())).collect();
    assert_eq!(
        shown,
        [(CHAT, Some("Bob"), 2, ""), (met, Some("Carol"), 0, "half a word"), (queued, Some("Bob"), 0, "")],
        "one's own message is not unread"
    );
    assert_eq!((found[0].read, found[0].last.clone()), (Seq(1), Some(message(4, ME, 4))));
    assert_eq!(profile.unread(CHAT, ME).expect("a count"), 2);
    // Pages go back from the end, oldest first within each.
    let page = |before, limit| profile.page(CHAT, Seq(before), limit).expect("a page");
    assert_eq!(page(u64::MAX, 2), [message(3, BOB, 3), message(4, ME, 4)]);
    assert_eq!(page(3, 2), [message(1, BOB, 1), message(2, BOB, 2)]);
    assert_eq!(page(1, 2), []);
    // What was shown up to a place is not shown by `tail` again.
    profile.mark_shown_up_to(CHAT, Seq(3)).expect("kept");
    assert_eq!(profile.unshown(None, 9).expect("messages"), [message(4, ME, 4)]);
}

#[test]
fn g21_what_waits_and_what_failed_is_there_by_chat_in_order() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut profile = profile(dir.path());
    (1..=3).for_each(|n| profile.apply(&[Write::Queue(row(n))]).expect("kept"));
    let code = ErrorCode::RecipientUnknown;
    profile.apply(&[Write::Failed { client_msg_id: id(2), code }]).expect("kept");
    let queued = profile.queued(CHAT, 2).expect("rows");
    assert_eq!(queued, [(row(2), Some(code.number())), (row(3), None)], "the newest two");
    assert_eq!(profile.queued(ChatId::new([4; 16]), 9).expect("rows"), []);
}

#[test]
fn g21_a_profile_of_before_drafts_gets_them_and_keeps_everything() {
    let dir = tempfile::tempdir().expect("a directory");
    profile(dir.path()).apply(&[Write::Queue(row(1))]).expect("kept");
    // As version 1 left it.
    let db = rusqlite::Connection::open(dir.path().join("alice/state.db")).expect("a database");
    db.execute_batch("DROP TABLE draft; PRAGMA user_version = 1;").expect("taken away");
    drop(db);
    let upgraded = profile(dir.path());
    assert_eq!(upgraded.outbox_len().expect("a count"), 1);
    upgraded.set_draft(CHAT, "kept").expect("kept");
    drop(upgraded);
    let again = profile(dir.path());
    assert_eq!(again.summaries(ME).expect("chats")[0].draft, "kept");
    again.set_draft(CHAT, "").expect("forgotten");
    assert_eq!(again.summaries(ME).expect("chats")[0].draft, "");
    // One of a version that is not known is left alone.
    let db = rusqlite::Connection::open(dir.path().join("alice/state.db")).expect("a database");
    db.execute_batch("PRAGMA user_version = 99;").expect("set");
    assert!(Profile::open(&dir.path().join("alice")).is_err());
}
