//! What is read is what the store holds, at one version.

use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use store::reads::Remote;
use store::tx::{Backend, Range, Tx, TxError};
use store::{OpenError, Store, StoreConfig};

use crate::support::*;

/// Keys of up to 40 bytes; values of nothing, little, and about as much as may be.
fn fill(served: &Served, rng: &mut ChaCha8Rng) -> Vec<Bytes> {
    let mut keys = Vec::new();
    for n in 0..60 {
        block_on(async {
            let mut tx = served.store.begin().await.unwrap();
            for _ in 0..20 {
                let key: Vec<u8> =
                    (0..rng.random_range(1..40)).map(|_| rng.random_range(b'a'..b'd')).collect();
                let bytes = rng.random_range(0..200);
                keys.push(Bytes::from(key.clone()));
                tx.set(key.into(), vec![n; bytes].into());
            }
            let key = Bytes::from(vec![b'a' + n % 3, n]);
            keys.push(key.clone());
            tx.set(key, vec![n; 99_000].into());
            tx.commit().await.unwrap();
        });
    }
    keys
}

fn bound(keys: &[Bytes], rng: &mut ChaCha8Rng) -> Bytes {
    match rng.random_range(0..8) {
        0 => Bytes::new(),
        1 => Bytes::from_static(b"\xff"),
        2 => Bytes::from(vec![rng.random_range(b'a'..b'e')]),
        _ => keys[rng.random_range(0..keys.len())].clone(),
    }
}

#[test]
fn p6_what_is_read_over_the_socket_is_what_the_store_holds() {
    let served = Served::with(TestClock::still());
    let mut rng = ChaCha8Rng::seed_from_u64(6);
    let keys = fill(&served, &mut rng);
    let remote = Remote::connect(served.path(), TestClock::still()).unwrap();
    let whole = Range::new(Bytes::new(), Bytes::from_static(b"\xff"));
    let mut ranges = vec![whole.clone(), whole.clone().reverse(), whole.limit(0)];
    ranges.extend((0..300).map(|_| {
        let mut range = Range::new(bound(&keys, &mut rng), bound(&keys, &mut rng));
        if rng.random_bool(0.5) {
            range = range.limit(rng.random_range(0..100));
        }
        if rng.random_bool(0.5) {
            range = range.bytes_max(rng.random_range(0..3_000_000));
        }
        Range { reverse: rng.random_bool(0.5), snapshot: rng.random_bool(0.5), ..range }
    }));
    block_on(async {
        let mut pairs = 0;
        for range in ranges {
            let (here, there) = (served.store.begin().await.unwrap(), remote.begin().await.unwrap());
            let expected = here.range(range.clone()).await.unwrap();
            assert!(there.range(range.clone()).await.unwrap() == expected, "{range:?}");
            pairs += expected.len();
            let key = bound(&keys, &mut rng);
            assert_eq!(there.get(&key).await.unwrap(), here.get(&key).await.unwrap());
            assert_eq!(there.get_snapshot(&key).await.unwrap(), here.get_snapshot(&key).await.unwrap());
        }
        assert!(pairs > 10_000, "hardly anything was compared: {pairs} pairs");
    });
}

#[test]
fn p6_a_snapshot_stays_at_its_version_while_writes_go_on() {
    let served = Served::with(TestClock::still());
    let (left, right) = (Bytes::from_static(b"left"), Bytes::from_static(b"right"));
    let write = |n: u64| {
        block_on(async {
            let mut tx = served.store.begin().await.unwrap();
            tx.set(left.clone(), Bytes::from(n.to_le_bytes().to_vec()));
            tx.set(right.clone(), Bytes::from(n.to_le_bytes().to_vec()));
            tx.commit().await.unwrap();
        });
    };
    write(0);
    let stop = AtomicBool::new(false);
    let (seen, moved) = std::thread::scope(|scope| {
        scope.spawn(|| (1..).take_while(|_| !stop.load(Ordering::Relaxed)).for_each(write));
        let reading = scope.spawn(|| {
            let remote = Remote::connect(served.path(), TestClock::still()).unwrap();
            let both = Range::new(left.clone(), Bytes::from_static(b"s"));
            let reads = (0..100).map(|_| block_on(read_while_it_moves(&served, &remote, &both)));
            reads.collect::<(Vec<_>, Vec<_>)>()
        });
        let read = reading.join();
        stop.store(true, Ordering::Relaxed);
        read.unwrap()
    });
    assert!(seen.is_sorted(), "a transaction begins at the newest version");
    assert!(moved.iter().filter(|moved| **moved).count() > 50, "nothing was written meanwhile: {moved:?}");
}

/// Reads one key, and a little later both. Answers their value, and whether another was written meanwhile.
async fn read_while_it_moves(served: &Served, remote: &Remote, both: &Range) -> (u64, bool) {
    let tx = remote.begin().await.unwrap();
    let first = tx.get(&both.begin).await.unwrap().unwrap();
    wait_ms(2);
    let pairs = tx.range(both.clone()).await.unwrap();
    assert!(pairs.len() == 2 && pairs.iter().all(|(_, value)| *value == first), "{first:?}, then {pairs:?}");
    let now = served.store.begin().await.unwrap().get(&both.begin).await.unwrap().unwrap();
    (u64::from_le_bytes(first[..].try_into().unwrap()), now != first)
}

#[test]
fn what_a_reader_writes_is_seen_by_itself_and_refused() {
    let served = Served::new();
    put(&served.store, b"k", b"old").unwrap();
    let remote = served.remote().unwrap();
    assert!(!remote.exclusive());
    block_on(async {
        let mut tx = remote.begin().await.unwrap();
        tx.set(Bytes::from_static(b"k"), Bytes::from_static(b"new"));
        assert_eq!(tx.get(b"k").await.unwrap().unwrap(), b"new"[..]);
        assert!(matches!(tx.commit().await, Err(TxError::ReadOnly)));
        // Nor is it asked again and again: a node would make a schema's entry.
        let opened = Store::open(remote.clone(), StoreConfig::default(), TestClock::new()).await;
        let Err(OpenError::Store(error)) = opened else { panic!("{:?}", opened.err()) };
        assert!(error.retry_after().is_none(), "{error:?}");
        assert!(matches!(remote.begin().await.unwrap().watch(b"k").await, Err(TxError::TooManyWatches)));
    });
    assert_eq!(get(&served.store, b"k").unwrap().unwrap(), b"old"[..]);
}
