//! What is kept is there again, as it was, or nothing of it is.

mod support;

use client_core::{KeyPackages, MembersChange, OutboxRow, Passed, Snapshot, Unreadable, Write};
use client_db::{Db, DbError, Said, Standing};
use support::*;
use wire::{AccountId, ChatId, DeviceId, ErrorCode, Seq, WallTime};

#[test]
fn r165_what_was_kept_is_there_after_a_restart() {
    let dir = tempfile::tempdir().expect("a folder");
    let token = login("token", [7; 48]);
    let before = {
        let mut db = db(dir.path());
        let (empty, last) = db.snapshot().expect("a snapshot");
        assert!(empty.login.is_none() && empty.outbox.is_empty() && last == 0);
        db.set_settings(&[("server", b"localhost:4433"), ("ca", b"/ca.pem")]).expect("kept");
        db.learn(Some("+491"), BOB, "Bob", CHAT).expect("kept");
        let writes = [
            Write::Login(token.clone()),
            Write::Chat { chat: CHAT, peer: Some(BOB) },
            Write::Chat { chat: CHAT, peer: None },
            Write::Queue(row(1)),
            Write::Queue(row(2)),
            Write::Arrived(message(1, BOB, 9)),
            Write::Read { chat: CHAT, read: Seq(1) },
            Write::Told { chat: CHAT, delivered: Seq(1), read: Seq(0) },
            Write::ReceiptsSince(WallTime(77)),
        ];
        db.apply(&[&writes[..], &[mls(b"group", Some(b"state"))]].concat()).expect("kept");
        (db.device_key().clone(), db.install())
    };
    let mut db = db(dir.path());
    let (snapshot, last) = db.snapshot().expect("a snapshot");
    let Snapshot { login: kept, outbox, chats, receipts_since, .. } = snapshot;
    assert_eq!((kept, outbox, receipts_since), (Some(token), vec![row(1), row(2)], WallTime(77)));
    assert_eq!((last, db.outbox_len().expect("a count")), (2, 2));
    let chat = chats[0];
    assert_eq!((chat.peer, chat.have, chat.read, chat.told), (Some(BOB), Seq(1), Seq(1), (Seq(1), Seq(0))));
    assert_eq!((db.device_key().clone(), db.install()), before);
    assert_eq!(db.setting("server").expect("a setting").as_deref(), Some(&b"localhost:4433"[..]));
    assert_eq!(db.setting("nothing").expect("none"), None);
    assert_eq!(db.contact("+491").expect("a contact").map(|contact| contact.name), Some("Bob".into()));
    assert_eq!(db.name(BOB).expect("a name").as_deref(), Some("Bob"));
    assert_eq!(db.mls(b"group").expect("a row").as_deref(), Some(&b"state".to_vec()));
    db.apply(&[Write::LoggedOut]).expect("kept");
    assert_eq!(db.snapshot().expect("a snapshot").0.login, None);
}

#[test]
fn r165_rows_of_mls_state_are_replaced_and_deleted_and_the_later_of_two_counts() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut db = db(dir.path());
    let value = |db: &Db, key: &[u8]| db.mls(key).expect("read").map(|value| value.to_vec());
    db.apply(&[mls(b"a", Some(b"1")), mls(b"b", Some(b"2")), mls(b"a", Some(b"3"))]).expect("kept");
    assert_eq!((value(&db, b"a"), value(&db, b"b")), (Some(b"3".to_vec()), Some(b"2".to_vec())));
    db.apply(&[mls(b"a", None), mls(b"b", Some(b"")), mls(b"c", None)]).expect("kept");
    assert_eq!((value(&db, b"a"), value(&db, b"b"), value(&db, b"c")), (None, Some(Vec::new()), None));
    db.apply(&[mls(b"b", None), mls(b"b", Some(b"4"))]).expect("kept");
    assert_eq!(value(&db, b"b"), Some(b"4".to_vec()));
}

#[test]
fn g21_a_message_is_waiting_then_sent_or_failed_and_a_number_is_never_used_again() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut db = db(dir.path());
    (1..=3).for_each(|n| db.apply(&[Write::Queue(row(n))]).expect("kept"));
    let code = ErrorCode::RecipientUnknown;
    let writes = [
        Write::Sent(message(5, ME, 1)),
        Write::Failed { client_msg_id: id(2), code },
        Write::Cancelled { client_msg_id: id(3) },
    ];
    db.apply(&writes).expect("kept");
    let standing = |n| db.standing(id(n)).expect("a standing");
    assert_eq!(standing(1), Standing::Sent(Seq(5), WallTime(1005)));
    assert_eq!(standing(2), Standing::Failed(code.number()));
    assert_eq!([standing(3), standing(4)], [Standing::Gone, Standing::Gone]);
    assert_eq!(db.outbox_len().expect("a count"), 0, "what failed waits no more");
    db.apply(&[Write::Queue(row(4))]).expect("kept");
    assert_eq!(db.outbox_after(3, 10).expect("rows").len(), 1, "seen by whoever looks after the third");
}

#[test]
fn r50_messages_are_kept_by_place_and_shown_once() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut db = db(dir.path());
    // One's own message comes as sent and as arrived; somebody else may use one id twice.
    let writes = [
        Write::Sent(message(1, ME, 1)),
        Write::Arrived(message(1, ME, 1)),
        Write::Arrived(message(2, BOB, 7)),
        Write::Arrived(message(2, BOB, 7)),
        Write::Arrived(message(3, BOB, 7)),
    ];
    db.apply(&writes).expect("kept");
    let unshown = |db: &Db, chat, limit| -> Vec<u64> {
        db.unshown(chat, limit).expect("messages").iter().map(|message| message.seq.0).collect()
    };
    assert_eq!(unshown(&db, None, 10), [2, 3], "what was typed here is not news");
    assert_eq!(unshown(&db, Some(CHAT), 1), [2]);
    assert!(unshown(&db, Some(ChatId::new([4; 16])), 10).is_empty());
    db.mark_shown(CHAT, Seq(2)).expect("kept");
    assert_eq!(unshown(&db, None, 10), [3]);
    // A server that was restored from a backup has another message in a place that was taken.
    db.apply(&[Write::Sent(message(3, ME, 8))]).expect("kept");
    let page = db.page(CHAT, Seq(u64::MAX), 9).expect("a page");
    assert_eq!(page, [message(1, ME, 1), message(2, BOB, 7), message(3, ME, 8)]);
}

#[test]
fn i4_cursors_only_advance_and_keep_the_time_they_got_there() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut db = db(dir.path());
    for moved in [cursor(3, 1, 10), cursor(2, 2, 20), cursor(3, 2, 30)] {
        db.apply(&[Write::Cursor { chat: CHAT, cursor: moved }]).expect("kept");
    }
    let kept = &db.cursors(CHAT).expect("cursors")[0];
    assert_eq!((kept.delivered, kept.delivered_at), (Seq(3), WallTime(10)));
    assert_eq!((kept.read, kept.read_at), (Seq(2), WallTime(20)));
}

#[test]
fn r165_nothing_of_a_drain_is_kept_if_a_part_of_it_fails() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut db = db(dir.path());
    let other = support::raw(dir.path());
    let full = "CREATE TRIGGER full BEFORE INSERT ON messages BEGIN SELECT RAISE(ABORT, 'full'); END";
    other.execute_batch(full).expect("a trigger");
    let writes = [Write::Queue(row(1)), mls(b"key", Some(b"value")), Write::Arrived(message(1, BOB, 2))];
    assert!(matches!(db.apply(&writes), Err(DbError::Sql { .. })));
    assert_eq!((db.outbox_len().expect("a count"), db.mls(b"key").expect("read")), (0, None));
    // Nor if it is MLS state that fails.
    other.execute_batch("DROP TRIGGER full").expect("gone");
    other.execute_batch(&full.replace("messages", "mls")).expect("a trigger");
    assert!(matches!(db.apply(&writes), Err(DbError::Sql { .. })));
    assert_eq!((db.outbox_len().expect("a count"), db.mls(b"key").expect("read")), (0, None));
    assert!(db.page(CHAT, Seq(u64::MAX), 9).expect("a page").is_empty());
}

#[test]
fn r1_a_screen_of_chats_has_every_chat_with_what_is_new_in_it() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut db = db(dir.path());
    let (met, queued) = (ChatId::new([4; 16]), ChatId::new([5; 16]));
    db.learn(None, BOB, "Bob", CHAT).expect("kept");
    db.learn(Some("+492"), AccountId::new([6; 16]), "Carol", met).expect("kept");
    let mut writes = vec![Write::Chat { chat: CHAT, peer: Some(BOB) }];
    writes.extend((1..=4).map(|seq| Write::Arrived(message(seq, if seq == 4 { ME } else { BOB }, seq))));
    writes.push(Write::Read { chat: CHAT, read: Seq(1) });
    writes.push(Write::Queue(OutboxRow { chat: queued, ..row(9) }));
    db.apply(&writes).expect("kept");
    db.set_draft(met, "half a word").expect("kept");
    let mut found = db.summaries(ME).expect("chats");
    found.sort_by_key(|summary| summary.chat);
    let shown: Vec<_> =
        found.iter().map(|s| (s.chat, s.name.as_deref(), s.unread, s.draft.as_str())).collect();
    assert_eq!(
        shown,
        [(CHAT, Some("Bob"), 2, ""), (met, Some("Carol"), 0, "half a word"), (queued, Some("Bob"), 0, "")],
        "one's own message is not unread"
    );
    assert_eq!((found[0].read, found[0].last.clone()), (Seq(1), Some(message(4, ME, 4))));
    assert_eq!(found.iter().map(|summary| summary.messages).collect::<Vec<_>>(), [4, 0, 0]);
    let group = ChatId::new([7; 16]);
    db.name_group(group, "Picnic").expect("kept");
    let found = db.summaries(ME).expect("chats");
    let named =
        found.iter().find(|summary| summary.chat == group).and_then(|summary| summary.name.as_deref());
    assert_eq!(named, Some("Picnic"));
    assert_eq!(db.unread(CHAT, ME).expect("a count"), 2);
    // Pages go back from the end, oldest first within each.
    let page = |before, limit| db.page(CHAT, Seq(before), limit).expect("a page");
    assert_eq!(page(u64::MAX, 2), [message(3, BOB, 3), message(4, ME, 4)]);
    assert_eq!(page(3, 2), [message(1, BOB, 1), message(2, BOB, 2)]);
    assert_eq!(page(1, 2), []);
    // What was shown up to a place is not shown by `tail` again.
    db.mark_shown_up_to(CHAT, Seq(3)).expect("kept");
    assert_eq!(db.unshown(None, 9).expect("messages"), [message(4, ME, 4)]);
}

#[test]
fn g21_what_waits_and_what_failed_is_there_by_chat_in_order() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut db = db(dir.path());
    (1..=3).for_each(|n| db.apply(&[Write::Queue(row(n))]).expect("kept"));
    let code = ErrorCode::RecipientUnknown;
    db.apply(&[Write::Failed { client_msg_id: id(2), code }]).expect("kept");
    let queued = db.queued(CHAT, 2).expect("rows");
    assert_eq!(queued, [(row(2), Some(code.number())), (row(3), None)], "the newest two");
    assert_eq!(db.queued(ChatId::new([4; 16]), 9).expect("rows"), []);
}

#[test]
fn r165_what_is_begun_goes_on_after_a_restart() {
    let dir = tempfile::tempdir().expect("a folder");
    let devices = vec![DeviceId::new([5; 16]), DeviceId::new([6; 16])];
    let begun = [
        Write::Queue(row(1)),
        Write::Sealed { client_msg_id: id(1), sealed: sealed(3, 100) },
        Write::Queue(OutboxRow { sealed: Some(sealed(4, 10)), ..row(2) }),
        Write::Inbox { have: Seq(9) },
        Write::Commit(commit(1)),
        Write::Commit(commit(2)),
        Write::Plan(plan(1)),
        Write::OwnDevices(devices.clone()),
        Write::KeyPackages(key_packages(2)),
    ];
    db(dir.path()).apply(&begun).expect("kept");
    let (snapshot, _) = db(dir.path()).snapshot().expect("a snapshot");
    let sealed_as = |n, epoch, bytes| OutboxRow { sealed: Some(sealed(epoch, bytes)), ..row(n) };
    assert_eq!(snapshot.outbox, [sealed_as(1, 3, 100), sealed_as(2, 4, 10)]);
    assert_eq!((snapshot.inbox, &snapshot.own_devices), (Seq(9), &devices));
    assert_eq!((snapshot.commits, snapshot.plans), (vec![commit(2)], vec![plan(1)]), "one of a chat");
    assert_eq!(snapshot.key_packages, key_packages(2));
    let over = [
        Write::Sealed { client_msg_id: id(1), sealed: sealed(5, 7) },
        Write::CommitDone { chat: CHAT },
        Write::PlanDone { chat: CHAT },
        Write::OwnDevices(devices[1..].to_vec()),
        Write::KeyPackages(key_packages(5)),
    ];
    db(dir.path()).apply(&over).expect("kept");
    let (snapshot, _) = db(dir.path()).snapshot().expect("a snapshot");
    assert_eq!(snapshot.outbox[0], sealed_as(1, 5, 7), "sealed anew, in place of what it was");
    assert!(snapshot.commits.is_empty() && snapshot.plans.is_empty());
    assert_eq!(snapshot.own_devices, devices[1..]);
    assert_eq!((snapshot.key_packages.publishing.clone(), snapshot.key_packages), (None, key_packages(5)));
}

#[test]
fn r50_what_is_no_message_takes_its_place_and_is_not_unread() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut db = db(dir.path());
    let passed =
        |seq, what| Write::Passed { chat: CHAT, seq: Seq(seq), sender: BOB, at: WallTime(seq), what };
    let unreadable = Unreadable::Replayed;
    let writes = [
        Write::Joined { chat: CHAT, seq: Seq(4) },
        Write::Members(MembersChange { seq: Seq(4), ..change(1) }),
        passed(5, Passed::Commit),
        Write::Members(MembersChange { seq: Seq(5), added: vec![], removed: vec![ME], ..change(1) }),
        Write::Arrived(message(6, BOB, 6)),
        passed(7, Passed::Unreadable(unreadable)),
        passed(8, Passed::Control),
    ];
    db.apply(&writes).expect("kept");
    let chat = |db: &Db| *db.snapshot().expect("a snapshot").0.chat(CHAT).expect("a chat");
    assert_eq!((chat(&db).have, chat(&db).gone, db.joined(CHAT).expect("a place")), (Seq(8), false, Seq(4)));
    assert_eq!(db.unread(CHAT, ME).expect("a count"), 1);
    assert_eq!(db.summaries(ME).expect("chats")[0].unread, 1);
    db.apply(&[Write::Gone { chat: CHAT, by: BOB, at: WallTime(9) }]).expect("kept");
    assert!(chat(&db).gone);
    let seen = db.passed(CHAT, Seq(6), Seq(8)).expect("entries");
    let seen: Vec<_> = seen.iter().map(|entry| (entry.seq.0, entry.at.0, entry.what)).collect();
    assert_eq!(seen, [(7, 7, Passed::Unreadable(unreadable)), (8, 8, Passed::Control)]);
    let said = |after, to, limit| -> Vec<(u64, Said)> {
        let notices = db.notices(CHAT, Seq(after), Seq(to), limit).expect("notices");
        notices.into_iter().map(|notice| (notice.seq.0, notice.what)).collect()
    };
    let all = [
        (4, Said::Members(BOB, vec![BOB, ME], vec![])),
        (5, Said::Members(BOB, vec![], vec![ME])),
        (7, Said::Unreadable(BOB, unreadable)),
        (8, Said::Gone(BOB)),
    ];
    assert_eq!(said(0, u64::MAX, 9), all);
    assert_eq!(said(4, 7, 9), all[1..3]);
    assert_eq!(said(0, u64::MAX, 2), all[2..], "the newest");
    db.apply(&[Write::Joined { chat: CHAT, seq: Seq(12) }]).expect("kept");
    assert_eq!(
        (chat(&db).have, chat(&db).gone, db.joined(CHAT).expect("a place")),
        (Seq(12), false, Seq(12))
    );
}

#[test]
fn r165_every_kind_of_entry_comes_back_as_it_was() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut db = db(dir.path());
    let bad = [
        Unreadable::Relabelled,
        Unreadable::Epoch,
        Unreadable::Replayed,
        Unreadable::Refused,
        Unreadable::Stranger,
    ];
    let mut kinds = vec![Passed::Commit, Passed::Control, Passed::Own, Passed::Unknown];
    kinds.extend(bad.map(Passed::Unreadable));
    for (&what, n) in kinds.iter().zip(1..) {
        let (seq, at) = (Seq(n), WallTime(n));
        db.apply(&[Write::Passed { chat: CHAT, seq, sender: ME, at, what }]).expect("kept");
    }
    let kept = db.passed(CHAT, Seq(1), Seq(99)).expect("entries");
    assert_eq!(kept.iter().map(|entry| entry.what).collect::<Vec<_>>(), kinds);
}

#[test]
fn r165_a_database_of_before_groups_goes_on_with_all_that_is_in_it() {
    let dir = tempfile::tempdir().expect("a folder");
    db(dir.path()).apply(&[Write::Queue(row(1)), Write::Arrived(message(3, BOB, 9))]).expect("kept");
    // What the second version added is taken away again.
    let before = "ALTER TABLE outbox DROP COLUMN sealed; ALTER TABLE outbox DROP COLUMN sealed_epoch;
                  ALTER TABLE chats DROP COLUMN gone; ALTER TABLE chats DROP COLUMN joined; ALTER TABLE chats DROP COLUMN name;
                  DROP TABLE passed; DROP TABLE members; DROP TABLE commits; DROP TABLE plans;
                  DROP TABLE own_devices; DROP TABLE key_packages; PRAGMA user_version = 1";
    support::raw(dir.path()).execute_batch(before).expect("the first version");
    let mut db = db(dir.path());
    let (snapshot, _) = db.snapshot().expect("a snapshot");
    assert_eq!(snapshot.outbox, [row(1)]);
    assert_eq!(snapshot.chat(CHAT).map(|chat| (chat.have, chat.gone)), Some((Seq(3), false)));
    assert_eq!(snapshot.key_packages, KeyPackages::default());
    db.apply(&[Write::Sealed { client_msg_id: id(1), sealed: sealed(1, 5) }, Write::Commit(commit(1))])
        .expect("kept");
    assert_eq!(db.snapshot().expect("a snapshot").0.commits, [commit(1)]);
}
