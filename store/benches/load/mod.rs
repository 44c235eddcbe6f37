//! What the store's benchmarks commit: messages of 100 bytes in 1:1 chats, each of which has its first member as sender.

use std::time::{Duration, Instant};

use bytes::Bytes;
use store::op::*;
use store::tx::Backend;
use store::{Clock, Store, keys};
use wire::event::Kind;
use wire::{AccountId, ClientMsgId, DeviceId, Epoch, LogId, PersonName, Phone, RequestId, Secret, WallTime};

/// Chats that there are unless a benchmark has its own number of them.
pub(crate) const LOGS: u16 = 64;

/// The person whom all chats share; each has one of its own beside.
const PEER: u16 = u16::MAX;

/// What messages say, where it does not matter what.
const CONTENT: &[u8; 100] = &[7; 100];

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

/// Registers the people of so many chats.
pub(crate) async fn people<B: Backend>(store: &Store<B, TokioClock>, logs: u16) {
    for n in (0..logs).chain([PEER]) {
        let op = AddDevice {
            phone: Phone::parse(&format!("+4915100{n:05}")).expect("a number"),
            name: PersonName::parse("Ann").expect("a name"),
            new_account: AccountId::new(id(n)),
            device: DeviceId::new(id(n)),
            device_key: [7; 32],
            device_name: "phone".into(),
            family: RequestId::new(id(n)),
            refresh_hash: Secret::new([7; 32]),
            refresh_expires: WallTime(1),
            now: WallTime(0),
        };
        store.execute(Op::AddDevice(op)).await.expect("a registration");
    }
}

/// Sixteen bytes of the number, again and again.
fn id(n: u16) -> [u8; 16] {
    let [high, low] = n.to_be_bytes();
    std::array::from_fn(|place| if place % 2 == 0 { high } else { low })
}

/// The n-th message of all, in this log.
pub(crate) fn append(log: u16, n: u64) -> Op {
    append_of(log, n, Bytes::from_static(CONTENT))
}

/// The same, saying this.
pub(crate) fn append_of(log: u16, n: u64, content: Bytes) -> Op {
    let (sender, peer) = (AccountId::new(id(log)), AccountId::new(id(PEER)));
    let mut message_id = [0; 16];
    message_id[..8].copy_from_slice(&n.to_be_bytes());
    let client_msg_id = ClientMsgId::new(message_id);
    let message = Message { client_msg_id, kind: Kind::Text, content, epoch: Epoch::ZERO };
    Op::Append(Append {
        log: LogId::Chat(keys::direct_chat_id(sender, peer)),
        peer: Some(peer),
        sender,
        device: DeviceId::new(id(log)),
        messages: vec![message],
        now: WallTime(n),
    })
}

/// Whether the op was one append that was taken.
pub(crate) fn is_committed(output: &OpOutput) -> bool {
    matches!(output, OpOutput::Append(results) if matches!(results[..], [Ok(_)]))
}
