//! What encryption costs: creating a group, adding, updating and removing in it, saying something, at 2, 32 and 256 devices.
//!
//! `cargo bench -p client-crypto --bench mls`. CPU time is that of all threads of this process, for an update path is sealed on several;
//! sizes are exact. Rows are what one call gives its owner to persist.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::Duration;

use client_crypto::{
    Committed, DeviceKey, Entry, GroupName, Lifetime, Mls, PADDING_BYTES, Received, Row, Use, Wanted,
};
use loadtest_figures::{Options, Report, median, process_cpu};
use wire::limits::{COMMIT_ADDS_MAX, MESSAGES_PER_EPOCH_MAX};
use wire::{AccountId, ChatId, ClientMsgId};

const NOW: u64 = 1_800_000_000;
const LIFE: Lifetime = Lifetime { from: 0, until: u64::MAX };
const CHAT: GroupName = GroupName::Chat(ChatId::new([0xC4; 16]));

fn main() -> ExitCode {
    let options = Options::from_args();
    let mut report = Report::new(&options);
    let (sizes, rounds) = if options.quick { (&[2, 8][..], 3) } else { (&[2, 32, 256][..], 21) };
    for members in sizes {
        measure(&mut report, *members, rounds);
    }
    all_speak(&mut report, if options.quick { 8 } else { 128 });
    skip(&mut report, if options.quick { 1_000 } else { MESSAGES_PER_EPOCH_MAX - 1 });
    padding(&mut report);
    report.finish()
}

struct Phone {
    store: BTreeMap<Vec<u8>, Vec<u8>>,
    mls: Mls,
}

impl Phone {
    fn new(number: u16) -> Phone {
        let mut seed = [7; 32];
        seed[..2].copy_from_slice(&number.to_be_bytes());
        let account = AccountId::new(seed[..16].try_into().expect("16 bytes"));
        Phone { store: BTreeMap::new(), mls: Mls::new(account, DeviceKey::from_seed(&seed), seed) }
    }

    /// Persists, and says how many bytes of values that was.
    fn save(&mut self) -> usize {
        let rows = self.mls.drain();
        let bytes = rows.iter().map(|(_, value)| value.as_ref().map_or(0, Vec::len)).sum();
        persist(&mut self.store, rows);
        bytes
    }

    fn key_package(&mut self) -> Vec<u8> {
        let made = self.mls.key_packages(&self.store, 1, LIFE, Use::Once).expect("made");
        self.save();
        made.into_iter().next().expect("one")
    }

    fn receive(&mut self, from: &Phone, n: u64, epoch: u64, content: &[u8]) -> Received {
        let own = from.mls.own();
        let (account, device) = (own.account, own.device);
        let entry = Entry { group: CHAT, account, device, client_msg_id: id(n), epoch, content };
        self.mls.receive(&self.store, &entry).expect("received")
    }
}

fn persist(store: &mut BTreeMap<Vec<u8>, Vec<u8>>, rows: Vec<Row>) {
    for (key, value) in rows {
        match value {
            Some(value) => store.insert(key, value),
            None => store.remove(&key),
        };
    }
}

fn id(n: u64) -> ClientMsgId {
    let mut bytes = [0; 16];
    bytes[8..].copy_from_slice(&n.to_be_bytes());
    ClientMsgId::new(bytes)
}

fn timed<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let before = process_cpu();
    let done = work();
    (done, process_cpu() - before)
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

/// A group of so many devices: its creator and one other, who follows; and what it took to make it.
fn create(members: u16) -> (Phone, Phone, Duration, usize) {
    let (mut first, mut second) = (Phone::new(0), Phone::new(1));
    let mut packages = vec![second.key_package()];
    packages.extend((2..members).map(|number| Phone::new(number).key_package()));
    let (mut time, mut bytes) = (Duration::ZERO, 0);
    for (at, chunk) in packages.chunks(COMMIT_ADDS_MAX).enumerate() {
        let n = at as u64;
        let (made, spent) = timed(|| {
            let made = if at == 0 {
                first.mls.create(&first.store, CHAT, chunk, id(n), NOW).expect("created")
            } else {
                first
                    .mls
                    .commit(&first.store, CHAT, &Wanted { adds: chunk, removes: &[] }, id(n), NOW)
                    .expect("added")
            };
            first.save();
            made
        });
        time += spent;
        bytes += size(&made);
        deliver(&mut first, &mut second, n, &made, at == 0);
    }
    (first, second, time, bytes)
}

fn size(made: &Committed) -> usize {
    let welcomes: usize = made.welcomes.iter().map(|(_, welcome)| welcome.len()).sum();
    made.commit.len() + welcomes + made.tree.as_ref().map_or(0, Vec::len)
}

/// Gives a commit back to its maker, and to the other, who joins by the first.
fn deliver(first: &mut Phone, second: &mut Phone, n: u64, made: &Committed, joins: bool) {
    let own = first.mls.own();
    let entry = Entry {
        group: CHAT,
        account: own.account,
        device: own.device,
        client_msg_id: id(n),
        epoch: made.epoch,
        content: &made.commit,
    };
    first.mls.receive(&first.store, &entry).expect("own");
    first.save();
    if joins {
        let (_, welcome) = &made.welcomes[0];
        second.mls.join(&second.store, CHAT, welcome, made.tree.as_ref().expect("a tree")).expect("joined");
    } else {
        second.mls.receive(&second.store, &entry).expect("received");
    }
    second.save();
}

fn measure(report: &mut Report, members: u16, rounds: usize) {
    let (mut first, mut second, time, bytes) = create(members);
    report.line(format_args!("{members} devices"));
    report.line(format_args!("  create: {:.1} ms, {bytes} bytes in all", micros(time) / 1000.0));
    report.figure(format!("mls_create_us_{members}"), micros(time));
    report.figure(format!("mls_create_bytes_{members}"), bytes as f64);
    let mut next = Next { number: 1_000, n: 100, last: None };
    for (name, change) in [("add", Kind::Add), ("update", Kind::Update), ("remove", Kind::Remove)] {
        commit(report, name, change, members, rounds, (&mut first, &mut second), &mut next);
    }
    message(report, members, rounds * 10, (&mut first, &mut second), &mut next);
}

/// What commits go on with: the next new device, the next id, and who was added last.
struct Next {
    number: u16,
    n: u64,
    last: Option<Phone>,
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Add,
    Update,
    Remove,
}

/// One commit of a kind, over and over; an add is followed by a remove that is not counted, and the other way round.
fn commit(
    report: &mut Report,
    name: &str,
    kind: Kind,
    members: u16,
    rounds: usize,
    (first, second): (&mut Phone, &mut Phone),
    next: &mut Next,
) {
    let (mut made_us, mut received_us, mut joined_us) = (Vec::new(), Vec::new(), Vec::new());
    let (mut largest, mut welcome, mut tree) = (0, 0, 0);
    for _ in 0..rounds {
        if kind == Kind::Remove {
            once(Kind::Add, first, second, next);
        }
        let done = once(kind, first, second, next);
        made_us.push(micros(done.made));
        received_us.push(micros(done.received));
        largest = largest.max(done.commit.commit.len());
        if kind == Kind::Add {
            joined_us.push(micros(done.joined));
            welcome = done.commit.welcomes[0].1.len();
            tree = done.commit.tree.as_ref().expect("a tree").len();
            once(Kind::Remove, first, second, next);
        }
    }
    let (made, received) = (median(&made_us), median(&received_us));
    report.line(format_args!("  {name}: made {made:.0} us, received {received:.0} us, {largest} bytes"));
    report.figure(format!("mls_{name}_us_{members}"), made);
    report.figure(format!("mls_{name}_received_us_{members}"), received);
    report.figure(format!("mls_{name}_bytes_{members}"), largest as f64);
    if kind == Kind::Add {
        let joined = median(&joined_us);
        report.line(format_args!("  join: {joined:.0} us, welcome {welcome} bytes, tree {tree} bytes"));
        report.figure(format!("mls_join_us_{members}"), joined);
        report.figure(format!("mls_welcome_bytes_{members}"), welcome as f64);
        report.figure(format!("mls_tree_bytes_{members}"), tree as f64);
    }
}

struct Done {
    commit: Committed,
    made: Duration,
    received: Duration,
    joined: Duration,
}

fn once(kind: Kind, first: &mut Phone, second: &mut Phone, next: &mut Next) -> Done {
    next.n += 1;
    let mut new = Phone::new(next.number);
    let (mut adds, mut removes) = (Vec::new(), Vec::new());
    match kind {
        Kind::Add => {
            next.number += 1;
            adds.push(new.key_package());
        }
        Kind::Update => {}
        Kind::Remove => removes.push(next.last.take().expect("somebody was added").mls.own().device),
    }
    let wanted = Wanted { adds: &adds, removes: &removes };
    let (commit, made) = timed(|| {
        let made = first.mls.commit(&first.store, CHAT, &wanted, id(next.n), NOW).expect("committed");
        first.save();
        made
    });
    first_merges(first, next.n, &commit);
    let (_, received) = timed(|| {
        second.receive(first, next.n, commit.epoch, &commit.commit);
        second.save();
    });
    let mut joined = Duration::ZERO;
    if kind == Kind::Add {
        let (welcome, tree) = (&commit.welcomes[0].1, commit.tree.as_ref().expect("a tree"));
        joined = timed(|| {
            new.mls.join(&new.store, CHAT, welcome, tree).expect("joined");
            new.save();
        })
        .1;
        next.last = Some(new);
    }
    Done { commit, made, received, joined }
}

fn first_merges(first: &mut Phone, n: u64, commit: &Committed) {
    let own = first.mls.own();
    let (account, device) = (own.account, own.device);
    let content = &commit.commit[..];
    let entry = Entry { group: CHAT, account, device, client_msg_id: id(n), epoch: commit.epoch, content };
    first.mls.receive(&first.store, &entry).expect("own");
    first.save();
}

/// A message of 100 bytes, encrypted and decrypted.
fn message(
    report: &mut Report,
    members: u16,
    rounds: usize,
    (first, second): (&mut Phone, &mut Phone),
    next: &mut Next,
) {
    let epoch = first.mls.epoch(&first.store, CHAT).expect("a member");
    let (mut made_us, mut opened_us) = (Vec::new(), Vec::new());
    let (mut bytes, mut rows) = (0, 0);
    for _ in 0..rounds {
        next.n += 1;
        let (content, made) = timed(|| {
            let content = first.mls.encrypt(&first.store, CHAT, id(next.n), &[7; 100]).expect("encrypted");
            rows = first.save();
            content
        });
        bytes = content.len();
        let (_, opened) = timed(|| {
            second.receive(first, next.n, epoch, &content);
            second.save();
        });
        made_us.push(micros(made));
        opened_us.push(micros(opened));
    }
    let (made, opened) = (median(&made_us), median(&opened_us));
    report.line(format_args!(
        "  message of 100 bytes: encrypted {made:.0} us, decrypted {opened:.0} us, {bytes} bytes, {rows} bytes of rows"
    ));
    report.figure(format!("mls_encrypt_us_{members}"), made);
    report.figure(format!("mls_decrypt_us_{members}"), opened);
    report.figure(format!("mls_message_bytes_{members}"), bytes as f64);
    report.figure(format!("mls_message_rows_bytes_{members}"), rows as f64);
}

/// What a message costs in stored bytes once every member has spoken in the epoch: each has a ratchet in the secrets that are written.
fn all_speak(report: &mut Report, members: u16) {
    let mut phones: Vec<Phone> = (0..members).map(Phone::new).collect();
    let packages: Vec<Vec<u8>> = phones[1..].iter_mut().map(Phone::key_package).collect();
    let mut joined = 1;
    for (n, chunk) in packages.chunks(COMMIT_ADDS_MAX).enumerate() {
        let (first, rest) = phones.split_first_mut().expect("a creator");
        let made = if n == 0 {
            first.mls.create(&first.store, CHAT, chunk, id(0), NOW).expect("created")
        } else {
            first
                .mls
                .commit(&first.store, CHAT, &Wanted { adds: chunk, removes: &[] }, id(n as u64), NOW)
                .expect("added")
        };
        first_merges(first, n as u64, &made);
        for phone in &mut rest[..joined - 1] {
            phone.receive(first, n as u64, made.epoch, &made.commit);
            phone.save();
        }
        for (phone, (_, welcome)) in rest[joined - 1..].iter_mut().zip(&made.welcomes) {
            phone.mls.join(&phone.store, CHAT, welcome, made.tree.as_ref().expect("a tree")).expect("joined");
            phone.save();
        }
        joined += chunk.len();
    }
    let (mut rows, mut times) = (0, Vec::new());
    let (first, rest) = phones.split_first_mut().expect("a creator");
    let epoch = first.mls.epoch(&first.store, CHAT).expect("a member");
    for (n, phone) in rest.iter_mut().enumerate() {
        let n = 1_000 + n as u64;
        let content = phone.mls.encrypt(&phone.store, CHAT, id(n), &[7; 100]).expect("encrypted");
        let (_, time) = timed(|| {
            first.receive(phone, n, epoch, &content);
            rows = first.save();
        });
        times.push(micros(time));
    }
    let last = median(&times[times.len() - times.len() / 8 - 1..]);
    report.line(format_args!(
        "when all of {members} have spoken: decrypted {last:.0} us, {rows} bytes of rows"
    ));
    report.figure("mls_all_spoke_decrypt_us", last);
    report.figure("mls_all_spoke_rows_bytes", rows as f64);
}

/// The time to open a message before which so many of the same sender were withheld.
fn skip(report: &mut Report, withheld: u32) {
    let (mut first, mut second, ..) = create(2);
    let mut content = Vec::new();
    for n in 0..=withheld {
        content = first.mls.encrypt(&first.store, CHAT, id(n.into()), &[7; 100]).expect("encrypted");
    }
    first.save();
    let (_, time) = timed(|| second.receive(&first, withheld.into(), 1, &content));
    report.line(format_args!("after {withheld} withheld messages: {:.1} ms", micros(time) / 1000.0));
    report.figure("mls_skip_us_per_1000", micros(time) / f64::from(withheld) * 1000.0);
}

/// What contents of some lengths become.
fn padding(report: &mut Report) {
    let (mut first, ..) = create(2);
    report.line(format_args!("contents are padded to a multiple of {PADDING_BYTES} bytes:"));
    for (n, length) in [0, 1, 20, 60, 100, 200, 500, 1_000].into_iter().enumerate() {
        let content = vec![7; length];
        let bytes = first.mls.encrypt(&first.store, CHAT, id(n as u64), &content).expect("encrypted").len();
        report.line(format_args!("  {length:>5} -> {bytes}"));
    }
}
