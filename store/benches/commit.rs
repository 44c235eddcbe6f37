//! How many appends a second the embedded store commits: over many logs, over one hot log, and over one hot log
//! whose writers do not share a batcher, so that each append is a transaction that conflicts with the others.
//! Numbers of one machine and moment: compare the ratios (against that last column), not the rates.
//!
//! `cargo bench -p store --bench commit`

#![expect(
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a benchmark measures time and prints it"
)]

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use store::embedded::{Embedded, EmbeddedConfig};
use store::op::*;
use store::tx::{Backend, Tx};
use store::{Clock, Store, StoreConfig, keys};
use wire::event::Kind;
use wire::{AccountId, ClientMsgId, DeviceId, LogId, PersonName, Phone, RequestId, Secret, WallTime};

type EmbeddedStore = Store<Embedded, TokioClock>;

const RUN: Duration = Duration::from_secs(2);
const LOGS: u8 = 64;
const WRITERS: [u64; 4] = [1, 8, 64, 512];

#[derive(Debug, Clone)]
struct TokioClock(Instant);

impl Clock for TokioClock {
    fn now(&self) -> Duration {
        self.0.elapsed()
    }

    async fn sleep(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
    }
}

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    let directory = tempfile::tempdir().expect("a directory");
    runtime.block_on(async {
        let store = open(directory.path()).await;
        println!("fsync of one small commit after another: {:.0}/s", plain(&store).await);
        println!(
            "{:>8} {:>11} {:>11} {:>12} {:>8}",
            "writers", "64 logs /s", "one log /s", "unbatched /s", "ratio"
        );
        for writers in WRITERS {
            let shared = vec![store.clone(); writers as usize];
            let many = rate(&shared, LOGS).await;
            let one = rate(&shared, 1).await;
            let unbatched = rate(&unshared(&store, writers).await, 1).await;
            let ratio = one / unbatched;
            println!("{writers:>8} {many:>11.0} {one:>11.0} {unbatched:>12.0} {ratio:>8.1}");
        }
    });
}

async fn open(directory: &Path) -> EmbeddedStore {
    let clock = TokioClock(Instant::now());
    let opened =
        Store::open_embedded(directory, &EmbeddedConfig::default(), StoreConfig::default(), clock).await;
    let store = opened.expect("a fresh store opens");
    for n in 0..=LOGS {
        let op = AddDevice {
            phone: Phone::parse(&format!("+491510000{n:03}")).expect("a number"),
            name: PersonName::parse("Ann").expect("a name"),
            new_account: AccountId::new([n; 16]),
            device: DeviceId::new([n; 16]),
            device_key: [n; 32],
            device_name: "phone".into(),
            family: RequestId::new([n; 16]),
            refresh_hash: Secret::new([n; 32]),
            refresh_expires: WallTime(1),
            now: WallTime(0),
        };
        store.execute(Op::AddDevice(op)).await.expect("a registration");
    }
    store
}

/// Transactions of one write each, one after another: what every append would cost alone.
async fn plain(store: &EmbeddedStore) -> f64 {
    let (start, mut commits) = (Instant::now(), 0);
    while start.elapsed() < RUN {
        let mut tx = store.backend().begin().await.expect("a transaction");
        tx.set(Bytes::from_static(b"zz"), Bytes::from(vec![0; 300]));
        tx.commit().await.expect("a commit");
        commits += 1;
    }
    f64::from(commits) / start.elapsed().as_secs_f64()
}

/// A store of its own for each writer, on the same backend: they meet only in its transactions.
async fn unshared(store: &EmbeddedStore, writers: u64) -> Vec<EmbeddedStore> {
    let mut stores = Vec::new();
    for seed in 0..writers {
        let config = StoreConfig { seed, ..StoreConfig::default() };
        let clock = TokioClock(Instant::now());
        stores.push(Store::open(store.backend().clone(), config, clock).await.expect("it is open already"));
    }
    stores
}

/// Appends a second of one writer per store over so many logs, each waiting for its acknowledgement. A writer whose
/// append was given up as busy asks again.
async fn rate(stores: &[EmbeddedStore], logs: u8) -> f64 {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let done = Arc::new(AtomicU64::new(0));
    let start = Instant::now();
    let writers = (0..).zip(stores).map(|(writer, store): (u64, _)| {
        let (store, done) = (store.clone(), Arc::clone(&done));
        tokio::spawn(async move {
            while start.elapsed() < RUN {
                let log = (writer % u64::from(logs)) as u8;
                let append = append(log, NEXT.fetch_add(1, Ordering::Relaxed));
                if store.execute(append).await.is_ok() {
                    done.fetch_add(1, Ordering::Relaxed);
                }
            }
        })
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.await.expect("a writer");
    }
    done.load(Ordering::Relaxed) as f64 / start.elapsed().as_secs_f64()
}

fn append(log: u8, n: u64) -> Op {
    let (sender, peer) = (AccountId::new([log; 16]), AccountId::new([LOGS; 16]));
    let mut id = [0; 16];
    id[..8].copy_from_slice(&n.to_be_bytes());
    let message = Message {
        client_msg_id: ClientMsgId::new(id),
        kind: Kind::Text,
        content: Bytes::from_static(&[7; 100]),
    };
    Op::Append(Append {
        log: LogId::Chat(keys::direct_chat_id(sender, peer)),
        peer: Some(peer),
        sender,
        device: DeviceId::new([log; 16]),
        messages: vec![message],
        now: WallTime(n),
    })
}
