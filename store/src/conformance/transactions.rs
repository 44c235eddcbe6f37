//! Isolation, conflicts, ranges, atomics, versionstamps, limits.

use std::time::Duration;

use bytes::Bytes;
use futures_util::future::{join, join_all};

use super::Env;
use crate::tx::{
    Atomic, Backend, KEY_BYTES_MAX, LIFETIME_MAX, Range, Stamped, Tx, TxError, VALUE_BYTES_MAX, little_endian,
};

type TxOf<E> = <<E as Env>::Backend as Backend>::Tx;

async fn begin<E: Env>(env: &E) -> TxOf<E> {
    env.backend().begin().await.unwrap()
}

fn b(text: &'static str) -> Bytes {
    Bytes::from_static(text.as_bytes())
}

/// Commits these pairs.
async fn put<E: Env>(env: &E, pairs: &[(&'static str, &'static str)]) {
    let mut tx = begin(env).await;
    pairs.iter().for_each(|(key, value)| tx.set(b(key), b(value)));
    tx.commit().await.unwrap();
}

async fn keys<T: Tx>(tx: &T, range: Range) -> Vec<String> {
    let pairs = tx.range(range).await.unwrap();
    pairs.into_iter().map(|(key, _)| String::from_utf8(key.to_vec()).unwrap()).collect()
}

pub(super) async fn reads_see_own_writes<E: Env>(env: &E) {
    put(env, &[("a", "1"), ("c", "3"), ("d", "4"), ("e", "5")]).await;
    let mut tx = begin(env).await;
    tx.set(b("b"), b("2"));
    tx.set(b("c"), b("33"));
    tx.clear_range(b("d"), b("dz"));
    tx.atomic(Atomic::Add, b("n"), 2);
    tx.atomic(Atomic::Add, b("n"), 3);
    tx.atomic(Atomic::Add, b("d"), 1);
    tx.set_stamped_value(b("z"), Stamped::new(b"", b""));
    assert_eq!(tx.get(b"b").await.unwrap(), Some(b("2")));
    assert_eq!(tx.get(b"c").await.unwrap(), Some(b("33")));
    assert_eq!(tx.get(b"a").await.unwrap(), Some(b("1")));
    assert_eq!(little_endian(&tx.get(b"n").await.unwrap().unwrap()), 5);
    assert_eq!(little_endian(&tx.get(b"d").await.unwrap().unwrap()), 1, "an atomic over a cleared key");
    assert!(matches!(tx.get(b"z").await, Err(TxError::Unreadable)));
    tx.clear(b("e"));
    assert_eq!(keys(&tx, Range::new(b("a"), b("z"))).await, ["a", "b", "c", "d", "n"]);
    assert_eq!(keys(&tx, Range::new(b("a"), b("z")).reverse().limit(3)).await, ["n", "d", "c"]);
    assert!(matches!(tx.range(Range::new(b("a"), b("zz"))).await, Err(TxError::Unreadable)));
    tx.commit().await.unwrap();
    let tx = begin(env).await;
    assert_eq!(keys(&tx, Range::new(b("a"), b("zz"))).await, ["a", "b", "c", "d", "n", "z"]);
}

pub(super) async fn reads_stay_at_their_version<E: Env>(env: &E) {
    put(env, &[("a", "old"), ("b", "old")]).await;
    let before = begin(env).await;
    assert_eq!(before.get(b"a").await.unwrap(), Some(b("old")));
    put(env, &[("a", "new"), ("b", "new"), ("c", "new")]).await;
    assert_eq!(before.get(b"b").await.unwrap(), Some(b("old")));
    assert_eq!(keys(&before, Range::new(b("a"), b("z"))).await, ["a", "b"]);
    assert!(before.commit().await.is_ok(), "a transaction that only reads never conflicts");
    assert_eq!(begin(env).await.get(b"b").await.unwrap(), Some(b("new")));
}

pub(super) async fn what_was_read_and_changed_conflicts<E: Env>(env: &E) {
    put(env, &[("x", "1"), ("y", "1")]).await;
    // Write skew: each reads what the other writes.
    let (mut first, mut second) = (begin(env).await, begin(env).await);
    first.get(b"x").await.unwrap();
    second.get(b"y").await.unwrap();
    first.set(b("y"), b("0"));
    second.set(b("x"), b("0"));
    let (first, second) = join(first.commit(), second.commit()).await;
    assert_eq!(usize::from(first.is_ok()) + usize::from(second.is_ok()), 1, "exactly one of them");
    let lost = first.and(second).unwrap_err();
    assert!(matches!(lost, TxError::Conflict), "{lost}");
    // What was absent counts as read, and a cleared range as written.
    let mut tx = begin(env).await;
    assert_eq!(tx.get(b"absent").await.unwrap(), None);
    tx.set(b("z"), b("1"));
    put(env, &[("absent", "1")]).await;
    assert!(matches!(tx.commit().await, Err(TxError::Conflict)));
    let mut tx = begin(env).await;
    tx.get(b"absent").await.unwrap();
    tx.set(b("z"), b("1"));
    let mut other = begin(env).await;
    other.clear_range(b("aa"), b("ac"));
    other.commit().await.unwrap();
    assert!(matches!(tx.commit().await, Err(TxError::Conflict)));
    assert_eq!(begin(env).await.get(b"z").await.unwrap(), None, "a conflict writes nothing");
}

pub(super) async fn ranges_conflict_with_phantoms<E: Env>(env: &E) {
    put(env, &[("r1", ""), ("r3", ""), ("r5", ""), ("r7", "")]).await;
    for (range, written, conflicts) in [
        (Range::new(b("r"), b("s")), "r2", true),
        (Range::new(b("r"), b("s")), "s", false),
        (Range::new(b("r"), b("s")).limit(2), "r2", true),
        (Range::new(b("r"), b("s")).limit(2), "r3", true),
        (Range::new(b("r"), b("s")).limit(2), "r4", false),
        (Range::new(b("r"), b("s")).limit(2).reverse(), "r4", false),
        (Range::new(b("r"), b("s")).limit(2).reverse(), "r8", true),
        (Range::new(b("r"), b("s")).snapshot(), "r2", false),
    ] {
        let mut tx = begin(env).await;
        tx.range(range.clone()).await.unwrap();
        tx.set(b("w"), b(""));
        let mut other = begin(env).await;
        other.set(b(written), b(""));
        other.commit().await.unwrap();
        assert_eq!(tx.commit().await.is_err(), conflicts, "{range:?} {written}");
        let mut other = begin(env).await;
        if !["r1", "r3", "r5", "r7"].contains(&written) {
            other.clear(b(written));
        }
        other.commit().await.unwrap();
    }
}

pub(super) async fn snapshot_reads_and_blind_writes_do_not_conflict<E: Env>(env: &E) {
    put(env, &[("a", "1")]).await;
    let mut tx = begin(env).await;
    tx.get_snapshot(b"a").await.unwrap();
    tx.set(b("a"), b("3"));
    tx.atomic(Atomic::Max, b("m"), 7);
    put(env, &[("a", "2")]).await;
    let mut other = begin(env).await;
    other.atomic(Atomic::Max, b("m"), 9);
    other.commit().await.unwrap();
    tx.commit().await.unwrap();
    let tx = begin(env).await;
    assert_eq!(tx.get(b"a").await.unwrap(), Some(b("3")));
    assert_eq!(little_endian(&tx.get(b"m").await.unwrap().unwrap()), 9);
}

pub(super) async fn concurrent_increments_add_up<E: Env>(env: &E) {
    let read_and_write = |_| async {
        loop {
            let mut tx = begin(env).await;
            let n = tx.get(b"n").await.unwrap().map_or(0, |value| little_endian(&value));
            tx.set(b("n"), Bytes::copy_from_slice(&(n + 1).to_le_bytes()));
            tx.atomic(Atomic::Add, b("m"), 1);
            match tx.commit().await {
                Ok(_) => return,
                Err(error) => assert!(matches!(error, TxError::Conflict), "{error}"),
            }
        }
    };
    join_all((0..50).map(read_and_write)).await;
    let tx = begin(env).await;
    assert_eq!(little_endian(&tx.get(b"n").await.unwrap().unwrap()), 50);
    assert_eq!(
        little_endian(&tx.get(b"m").await.unwrap().unwrap()),
        50,
        "atomics of lost tries count for nothing"
    );
}

pub(super) async fn ranges_keep_order_and_limits<E: Env>(env: &E) {
    put(env, &[("k1", "1234567890"), ("k2", "1234567890"), ("k3", "1234567890"), ("l", "")]).await;
    let tx = begin(env).await;
    for (range, found) in [
        (Range::prefix(b("k")), &["k1", "k2", "k3"][..]),
        (Range::prefix(b("k")).reverse(), &["k3", "k2", "k1"]),
        (Range::prefix(b("k")).limit(2), &["k1", "k2"]),
        (Range::prefix(b("k")).limit(0), &[]),
        (Range::prefix(b("k")).bytes_max(25), &["k1", "k2"]),
        (Range::prefix(b("k")).bytes_max(1), &["k1"]),
        (Range::prefix(b("k")).reverse().bytes_max(24), &["k3", "k2"]),
        (Range::new(b("k2"), b("k2")), &[]),
        (Range::new(b("k3"), b("k1")), &[]),
        (Range::new(b("k2"), b("z")), &["k2", "k3", "l"]),
    ] {
        assert_eq!(keys(&tx, range.clone()).await, found, "{range:?}");
    }
}

pub(super) async fn versionstamps_follow_commit_order<E: Env>(env: &E) {
    let commit = |n: u8| async move {
        let mut tx = begin(env).await;
        tx.set_stamped_key(Stamped::new(b"s", &[n]), Bytes::copy_from_slice(&[n]));
        tx.set_stamped_value(Bytes::copy_from_slice(&[b'v', n]), Stamped::new(&[n], b"!"));
        tx.commit().await.unwrap().unwrap()
    };
    let mut stamps = Vec::new();
    for n in 0..5 {
        stamps.push(commit(n).await);
    }
    assert!(stamps.is_sorted_by(|a, b| a < b), "one after another, rising");
    stamps.extend(join_all((5..30).map(commit)).await);
    let tx = begin(env).await;
    let keys = tx.range(Range::prefix(b("s"))).await.unwrap();
    assert_eq!(keys.len(), 30, "each commit has its own");
    for (key, value) in keys {
        let stamp = stamps[usize::from(value[0])];
        assert_eq!(key, [&b"s"[..], &stamp, &value[..]].concat());
        let stamped = tx.get(&[b'v', value[0]]).await.unwrap().unwrap();
        assert_eq!(stamped, [&value[..], &stamp, b"!"].concat());
    }
}

pub(super) async fn limits_are_typed_errors<E: Env>(env: &E) {
    let sized = |n| Bytes::from(vec![b'k'; n]);
    for (key, value, ok) in [
        (KEY_BYTES_MAX, VALUE_BYTES_MAX, true),
        (KEY_BYTES_MAX + 1, 1, false),
        (1, VALUE_BYTES_MAX + 1, false),
    ] {
        let mut tx = begin(env).await;
        tx.set(sized(key), sized(value));
        let result = tx.commit().await;
        assert_eq!(result.is_ok(), ok, "{key} {value}: {result:?}");
        assert!(result.is_ok() || !result.unwrap_err().is_retryable());
    }
    let tx = begin(env).await;
    assert!(matches!(tx.get(&sized(KEY_BYTES_MAX + 1)).await, Err(TxError::KeyTooLarge { .. })));
    for (writes, ok) in [(9, true), (10, false)] {
        let mut tx = begin(env).await;
        (0..writes).for_each(|n: u8| tx.set(Bytes::copy_from_slice(&[n]), sized(VALUE_BYTES_MAX)));
        match tx.commit().await {
            Ok(_) => assert!(ok),
            Err(TxError::TransactionTooLarge { .. }) => assert!(!ok),
            Err(error) => panic!("{error}"),
        }
    }
}

pub(super) async fn a_transaction_grows_too_old<E: Env>(env: &E) {
    put(env, &[("a", "1")]).await;
    let (mut reader, mut writer) = (begin(env).await, begin(env).await);
    reader.get(b"a").await.unwrap();
    reader.set(b("b"), b("1"));
    writer.set(b("c"), b("1"));
    env.advance(LIFETIME_MAX + Duration::from_millis(500)).await;
    assert!(matches!(reader.get(b"a").await, Err(TxError::TooOld)));
    assert!(matches!(reader.commit().await, Err(TxError::TooOld)));
    assert!(matches!(writer.commit().await, Err(TxError::TooOld)));
    assert_eq!(begin(env).await.get(b"b").await.unwrap(), None);
}

pub(super) async fn a_watch_sees_a_change<E: Env>(env: &E) {
    put(env, &[("a", "1")]).await;
    let tx = begin(env).await;
    let (watch, late) = (tx.watch(b"a"), begin(env).await);
    let change = async {
        put(env, &[("b", "1")]).await;
        put(env, &[("a", "2")]).await;
    };
    let (changed, ()) = join(watch, change).await;
    changed.unwrap();
    late.watch(b"a").await.unwrap();
}
