//! What the store's benchmarks commit: messages of 100 bytes in 1:1 chats, each of which has its first member as sender.

use std::path::Path;
use std::time::{Duration, Instant};

use bytes::Bytes;
use store::embedded::{Embedded, EmbeddedConfig};
use store::op::*;
use store::{Clock, Store, StoreConfig, keys};
use wire::event::Kind;
use wire::{AccountId, ClientMsgId, DeviceId, Epoch, LogId, PersonName, Phone, RequestId, Secret, WallTime};

pub(crate) type EmbeddedStore = Store<Embedded, TokioClock>;

/// Chats that there are; each has a person of its own and one whom all share.
pub(crate) const LOGS: u8 = 64;

#[derive(Debug, Clone)]
pub(crate) struct TokioClock(pub(crate) Instant);

impl Clock for TokioClock {
    fn now(&self) -> Duration {
        self.0.elapsed()
    }

    async fn sleep(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
    }
}

/// A new folder in cargo's for such things, on the disk where the build is: `/tmp` may be memory.
pub(crate) fn directory() -> tempfile::TempDir {
    let place = env!("CARGO_TARGET_TMPDIR");
    std::fs::create_dir_all(place).expect("a folder beside the build");
    tempfile::tempdir_in(place).expect("a folder in it")
}

/// A fresh store with all people in it.
pub(crate) async fn open(directory: &Path) -> EmbeddedStore {
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

/// The n-th message of all, in this log.
pub(crate) fn append(log: u8, n: u64) -> Op {
    let (sender, peer) = (AccountId::new([log; 16]), AccountId::new([LOGS; 16]));
    let mut id = [0; 16];
    id[..8].copy_from_slice(&n.to_be_bytes());
    let message = Message {
        client_msg_id: ClientMsgId::new(id),
        kind: Kind::Text,
        content: Bytes::from_static(&[7; 100]),
        epoch: Epoch::ZERO,
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

/// Whether the op was one append that was taken.
pub(crate) fn is_committed(output: &OpOutput) -> bool {
    matches!(output, OpOutput::Append(results) if matches!(results[..], [Ok(_)]))
}
