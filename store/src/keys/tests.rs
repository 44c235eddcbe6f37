//! How keys sort, and what they name.

use super::*;

const LOG: LogId = LogId::Chat(ChatId::new([0xff; 16]));

#[test]
fn c22_a_direct_chat_has_one_id_for_both() {
    let (a, b, c) = (AccountId::new([1; 16]), AccountId::new([2; 16]), AccountId::new([3; 16]));
    assert_eq!(direct_chat_id(a, b), direct_chat_id(b, a));
    assert_ne!(direct_chat_id(a, b), direct_chat_id(a, c));
    assert_eq!(direct_chat_id(a, b).to_string(), "a5bc7c27ef0795efc0e1a24229fe137e");
}

#[test]
fn c22_a_group_s_id_is_its_creator_s_alone() {
    let (a, b) = (AccountId::new([1; 16]), AccountId::new([2; 16]));
    let id = ClientMsgId::new([3; 16]);
    assert_ne!(group_chat_id(a, id), group_chat_id(b, id));
    assert_ne!(group_chat_id(a, id), group_chat_id(a, ClientMsgId::new([4; 16])));
    // Who knows both accounts of a 1:1 chat cannot make a group in its place.
    assert_ne!(group_chat_id(a, ClientMsgId::new(*b.as_bytes())), direct_chat_id(a, b));
}

#[test]
fn keys_sort_as_their_parts() {
    for n in [0, 1, 255, 256, 65_535, u64::MAX - 1] {
        assert!(entry(LOG, Seq(n)) < entry(LOG, Seq(n + 1)));
        assert!(outbox(WallTime(n), LOG, Seq(9)) < outbox(WallTime(n + 1), LOG, Seq(1)));
    }
    assert!(entry(LOG, Seq(u64::MAX)) < entries_end(LOG));
    assert!(entries_end(LOG) <= head(LOG), "entries end before the next letter");
}

#[test]
fn a_subject_keeps_its_keys_together() {
    let account = AccountId::new([0xff; 16]);
    for (key, prefix) in [
        (account_chat(account, ChatId::new([9; 16])), account_chats(account)),
        (account_device(account, DeviceId::new([9; 16])), account_devices(account)),
        (member(LOG, account), members(LOG)),
        (member_cursor(LOG, account), member_cursors(LOG)),
        (former(LOG, account), log(LOG)),
    ] {
        assert!(key.starts_with(&prefix) && key < after_prefix(&prefix));
        assert_eq!(last_id(&key).map(|_| ()), Some(()));
    }
}

#[test]
fn receipts_of_a_commit_lie_after_it() {
    let account = AccountId::new([7; 16]);
    let stamp = [5; 10];
    let (begin, end) = receipts_from(LOG, account, ReceiptKind::Read, 3, &stamp);
    for (incarnation, at, inside) in
        [(3, [5; 10], true), (3, [4; 10], false), (4, [0; 10], true), (2, [9; 10], false)]
    {
        let key = receipt(LOG, account, ReceiptKind::Read, incarnation, 0).fill(&at);
        assert_eq!(begin <= key && key < end, inside, "{incarnation} {at:?}");
    }
    let delivered = receipt(LOG, account, ReceiptKind::Delivered, 3, 0).fill(&[6; 10]);
    assert!(delivered < begin || delivered >= end);
}

#[test]
fn an_outbox_key_names_its_entry() {
    for log in [LOG, LogId::Device(DeviceId::new([1; 16])), LogId::Call(ChatId::new([2; 16]))] {
        let key = outbox(WallTime(1234), log, Seq(77));
        assert_eq!(outbox_entry(&key), Some((log, Seq(77), WallTime(1234))));
        let found = |shard, due| {
            outbox_due(shard, WallTime(due)).filter(|(begin, end)| *begin <= key && key < *end).count()
        };
        for shard in 0..OUTBOX_SHARDS {
            assert_eq!(found(shard, 1235), usize::from(shard == outbox_shard(log)));
            assert_eq!(found(shard, 1234), 0, "committed before, not at");
        }
    }
    assert_eq!(outbox_entry(b"o"), None);
}

#[test]
fn lanes_are_all_used_and_each_is_of_one_shard() {
    let logs = || (0..=u16::MAX).map(|n| LogId::Chat(direct_chat_id(id(n), id(n))));
    let used: std::collections::BTreeSet<u8> = logs().take(2000).map(outbox_lane).collect();
    assert_eq!(used, (0..OUTBOX_LANES).collect());
    let lanes = (0..OUTBOX_SHARDS).flat_map(|shard| outbox_due(shard, WallTime(0)));
    let lanes: std::collections::BTreeSet<u8> = lanes.map(|(begin, _)| begin[1]).collect();
    assert_eq!(lanes, used);
}

fn id(n: u16) -> AccountId {
    let mut id = [0; 16];
    id[..2].copy_from_slice(&n.to_be_bytes());
    AccountId::new(id)
}

#[test]
fn a_cursors_key_names_its_owner() {
    let (account, device) = (AccountId::new([1; 16]), DeviceId::new([2; 16]));
    let key = device_cursor(LOG, account, device);
    assert!(key.starts_with(&device_cursors(LOG)));
    assert_eq!(cursor_owner(&key), Some((account, device)));
    assert_eq!(cursor_owner(b"d"), None);
}
