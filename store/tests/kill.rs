//! A process that appends is killed with SIGKILL, three times over: what it was told is in the log, in order, once.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use store::embedded::{Embedded, EmbeddedConfig};
use store::op::*;
use store::{Clock, Store, StoreConfig, keys};
use wire::event::{Event, Kind};
use wire::{
    AccountId, ClientMsgId, DeviceId, Epoch, LogId, PersonName, Phone, RequestId, Secret, Seq, WallTime,
    frame,
};

/// Where the child finds its store.
const DIRECTORY: &str = "STORE_KILL_TEST_DIRECTORY";

/// Writers of the child, on as many logs; the first half shares one.
const WRITERS: u8 = 16;

#[derive(Debug, Clone)]
struct WallClock(Instant);

#[expect(clippy::disallowed_methods, reason = "a process is killed in real time")]
impl Clock for WallClock {
    fn now(&self) -> Duration {
        self.0.elapsed()
    }

    async fn sleep(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
    }
}

#[expect(clippy::disallowed_methods, reason = "a process is killed in real time")]
async fn open(directory: &Path) -> Store<Embedded, WallClock> {
    let clock = WallClock(Instant::now());
    Store::open_embedded(directory, &EmbeddedConfig::default(), StoreConfig::default(), clock).await.unwrap()
}

fn account(n: u8) -> AccountId {
    AccountId::new([n; 16])
}

/// The account that a writer talks to: the first half of them to the same, from the same.
fn pair(writer: u8) -> (AccountId, AccountId) {
    let n = if writer < WRITERS / 2 { 0 } else { writer };
    (account(100 + n), account(200 + n))
}

fn log(writer: u8) -> LogId {
    let (a, b) = pair(writer);
    LogId::Chat(keys::direct_chat_id(a, b))
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_time().build().unwrap()
}

/// Not a test of its own: the process that is killed. It prints a line per acknowledged append.
#[test]
fn child() {
    let Some(directory) = std::env::var_os(DIRECTORY) else { return };
    runtime().block_on(async {
        let store = open(Path::new(&directory)).await;
        for n in 0..WRITERS {
            register(&store, pair(n).0).await;
            register(&store, pair(n).1).await;
        }
        let writers: Vec<_> = (0..WRITERS).map(|writer| tokio::spawn(write(store.clone(), writer))).collect();
        for writer in writers {
            writer.await.unwrap();
        }
    });
}

async fn register(store: &Store<Embedded, WallClock>, account: AccountId) {
    let n = account.as_bytes()[0];
    let op = AddDevice {
        phone: Phone::parse(&format!("+49151000{n:03}")).unwrap(),
        name: PersonName::parse("Ann").unwrap(),
        new_account: account,
        device: DeviceId::new([n; 16]),
        device_key: [n; 32],
        device_name: "phone".into(),
        family: RequestId::new([n; 16]),
        refresh_hash: Secret::new([n; 32]),
        refresh_expires: WallTime(1),
        now: WallTime(0),
    };
    store.execute(Op::AddDevice(op)).await.unwrap();
}

/// Appends without end, beginning after what the log already holds of this writer: a client with an outbox.
async fn write(store: Store<Embedded, WallClock>, writer: u8) {
    let (sender, peer) = pair(writer);
    let held = entries(&store, writer).await.into_iter().filter(|(_, w, _)| *w == writer);
    let mut next = held.map(|(.., n)| n + 1).max().unwrap_or(0);
    loop {
        let messages = vec![message(writer, next), message(writer, next + 1)];
        let device = DeviceId::new([sender.as_bytes()[0]; 16]);
        let append =
            Append { log: log(writer), peer: Some(peer), sender, device, messages, now: WallTime(next) };
        let OpOutput::Append(results) = store.execute(Op::Append(append)).await.unwrap() else { panic!() };
        let mut lines = String::new();
        for (n, result) in (next..).zip(results) {
            lines += &format!("{writer} {n} {}\n", result.unwrap().seq);
        }
        std::io::stdout().write_all(lines.as_bytes()).unwrap();
        next += 2;
    }
}

fn message(writer: u8, n: u64) -> Message {
    let mut id = [writer; 16];
    id[8..].copy_from_slice(&n.to_be_bytes());
    Message {
        client_msg_id: ClientMsgId::new(id),
        kind: Kind::Text,
        content: Bytes::from(vec![writer; 200]),
        epoch: Epoch::ZERO,
    }
}

/// A log's entries: place, writer and the writer's number.
async fn entries(store: &Store<Embedded, WallClock>, writer: u8) -> Vec<(Seq, u8, u64)> {
    let (log, account, after) = (log(writer), pair(writer).0, Seq::ZERO);
    let op = Tail { log, account, member: None, after, entries_max: usize::MAX, bytes_max: usize::MAX };
    let OpOutput::Tail(tailed) = store.execute(Op::Tail(op)).await.unwrap() else { panic!() };
    let entry = |stored: &StoredEntry| match Event::decode(&frame::body_of(&stored.frame)) {
        Ok(Event::Entry(entry)) => {
            let id = entry.client_msg_id.as_bytes();
            assert_eq!(entry.seq, stored.seq);
            (entry.seq, id[0], u64::from_be_bytes(*id.last_chunk().unwrap()))
        }
        other => panic!("{other:?}"),
    };
    tailed.entries.iter().map(entry).collect()
}

fn spawn(directory: &Path) -> Child {
    let this = std::env::current_exe().unwrap();
    let mut command = Command::new(this);
    command.args(["--exact", "child", "--nocapture"]).env(DIRECTORY, directory);
    command.stdout(Stdio::piped()).spawn().unwrap()
}

/// Reads what the child was told until `enough` lines, kills it, and reads the rest.
fn burst(directory: &Path, enough: usize) -> BTreeMap<(u8, u64), Seq> {
    let mut child = spawn(directory);
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let child = Arc::new(Mutex::new(child));
    let mut acknowledged = BTreeMap::new();
    for line in lines {
        let Ok(line) = line else { break };
        let numbers: Vec<u64> = line.split(' ').filter_map(|n| n.parse().ok()).collect();
        // The harness prints lines of its own; the last line may be torn by the kill.
        if let [writer, n, seq] = numbers[..] {
            acknowledged.insert((writer as u8, n), Seq(seq));
        }
        if acknowledged.len() == enough {
            child.lock().unwrap().kill().unwrap();
        }
    }
    child.lock().unwrap().wait().unwrap();
    acknowledged
}

#[test]
fn i1_i2_i3_what_was_acknowledged_survives_sigkill() {
    let directory = tempfile::tempdir().unwrap();
    let mut acknowledged = BTreeMap::new();
    for (round, enough) in [200, 777, 1501].into_iter().enumerate() {
        let told = burst(directory.path(), enough);
        assert!(told.len() >= enough, "the child ended by itself after {} lines", told.len());
        acknowledged.extend(told);
        let logs = runtime().block_on(async {
            let store = open(directory.path()).await;
            let mut logs = Vec::new();
            for writer in (0..WRITERS).filter(|w| *w == 0 || *w >= WRITERS / 2) {
                logs.push(entries(&store, writer).await);
            }
            logs
        });
        let mut stored = BTreeMap::new();
        for log in logs {
            let seqs: Vec<_> = log.iter().map(|(seq, ..)| seq.0).collect();
            assert_eq!(seqs, (1..=log.len() as u64).collect::<Vec<_>>(), "dense, round {round}");
            for (seq, writer, n) in log {
                assert_eq!(stored.insert((writer, n), seq), None, "nothing twice, round {round}");
            }
        }
        for (message, seq) in &acknowledged {
            // The last line may be cut in its number; it is then shorter than the truth.
            let found = stored.get(message).unwrap_or_else(|| panic!("{message:?} is lost, round {round}"));
            assert!(found == seq || found.to_string().starts_with(&seq.to_string()), "{message:?} moved");
        }
        for writer in 0..WRITERS {
            let numbers: Vec<u64> = stored.keys().filter(|(w, _)| *w == writer).map(|(_, n)| *n).collect();
            assert_eq!(
                numbers,
                (0..numbers.len() as u64).collect::<Vec<_>>(),
                "nothing skipped, round {round}"
            );
            let places: Vec<Seq> =
                stored.iter().filter(|((w, _), _)| *w == writer).map(|(_, seq)| *seq).collect();
            assert!(places.is_sorted(), "each writer's order is kept, round {round}");
        }
    }
}
