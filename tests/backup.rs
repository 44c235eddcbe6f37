//! `godwit backup` of an embedded store while its node serves, what comes back of it, and a node that is killed meanwhile (P6,
//! R142).
#![cfg(unix)]
#![expect(clippy::disallowed_methods, reason = "real processes run in real time")]

mod support;

use std::ffi::OsStr;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use edge_node::clock::TokioClock;
use store::embedded::{Embedded, EmbeddedConfig};
use store::op::{AddDevice, Append, Message, Op, OpOutput};
use store::{Store, StoreConfig, keys};
use support::{GODWIT, Node, PATIENCE, Person, Running, of, phone};
use wire::event::Kind;
use wire::{AccountId, ClientMsgId, DeviceId, Epoch, LogId, PersonName, Phone, RequestId, Secret, WallTime};

/// A node whose store is embedded, whatever other tests' nodes have, in a folder of its own.
fn node(dir: &Path, store: &Path) -> Node {
    let limits = ["MESSAGES_PER_MINUTE", "REQUESTS_PER_MINUTE", "OTP_PER_HOUR", "REGISTRATIONS_PER_HOUR"];
    let limits = limits.map(|name| (format!("GODWIT_LIMITS__RATES__{name}"), "1000000".to_owned()));
    Node::start_with(dir, limits.into_iter().chain([("GODWIT_STORE".into(), named(store))]).collect())
}

fn named(store: &Path) -> String {
    format!("embedded:{}", store.display())
}

fn godwit<A: AsRef<OsStr>>(args: impl IntoIterator<Item = A>) -> Command {
    let mut command = Command::new(GODWIT);
    command.args(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// What a command printed that succeeded.
#[track_caller]
fn ok(output: Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// What a command said that failed.
#[track_caller]
fn failed(output: Output) -> String {
    assert!(!output.status.success(), "it succeeded: {}", String::from_utf8_lossy(&output.stdout));
    String::from_utf8(output.stderr).expect("UTF-8")
}

/// The last word of the line that says something.
#[track_caller]
fn last_word<'a>(printed: &'a str, what: &str) -> &'a str {
    let line = printed.lines().find(|line| line.contains(what));
    line.and_then(|line| line.rsplit(' ').next()).unwrap_or_else(|| panic!("no {what:?} in {printed}"))
}

const SENDERS: usize = 4;

/// People who say one thing after another to somebody, each in a chat of their own.
struct Talk {
    people: Vec<Person>,
    senders: Vec<Running>,
    said: usize,
}

impl Talk {
    fn begin(node: &Node, bob: &Person) -> Talk {
        let people: Vec<Person> =
            (0..SENDERS).map(|n| node.person(&phone(100 + n as u16), &format!("sender{n}"))).collect();
        let args = ["--to", &bob.phone, "--stdin", "--timeout", "50"];
        let senders = people.iter().map(|person| person.start("send", &args)).collect();
        Talk { people, senders, said: 0 }
    }

    fn text(sender: usize, n: usize) -> String {
        // Long enough for a chat to be more than a page of a backup.
        format!("{sender} sings {n}, {}", "la".repeat(300))
    }

    /// Which of them a text is.
    fn place(sender: usize, text: &str) -> usize {
        let place = text.split([' ', ',']).nth(2).and_then(|place| place.parse().ok()).expect("a place");
        assert_eq!(text, Talk::text(sender, place));
        place
    }

    /// Everybody says one thing more.
    fn on(&mut self) {
        let said = self.said;
        self.senders.iter_mut().enumerate().for_each(|(n, sender)| sender.say(&Talk::text(n, said)));
        self.said += 1;
    }

    /// How many of each sender's are acknowledged.
    fn acknowledged(&mut self) -> Vec<usize> {
        self.senders.iter_mut().for_each(Running::drain);
        self.senders.iter().map(|sender| of(&sender.seen, "sent").count()).collect()
    }

    /// Talks until that is so many of each; nobody is far ahead of their ticks.
    fn until(&mut self, each: usize) {
        let deadline = Instant::now() + PATIENCE;
        while self.acknowledged().iter().any(|count| *count < each) {
            assert!(Instant::now() < deadline, "nobody gets through");
            self.a_little();
        }
    }

    fn a_little(&mut self) {
        if self.acknowledged().iter().all(|count| self.said < count + 50) {
            self.on();
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// All that the server has of the chat of two, in order, with what its reader reads in each place: nothing in that of a commit.
fn history(person: &Person, with: &Person) -> Vec<(u64, Option<String>)> {
    let mut all: Vec<(u64, Option<String>)> = Vec::new();
    loop {
        let before = all.first().map_or(0, |(seq, _)| *seq).to_string();
        let page = person.ok("history", &["--with", &with.phone, "--limit", "500", "--before", &before]);
        let page: Vec<_> = page
            .iter()
            .map(|line| {
                assert_ne!(line["kind"], "missing", "what the server has, the sender can read");
                (line["seq"].as_u64().expect("a place"), line["text"].as_str().map(str::to_owned))
            })
            .collect();
        let ends = page.first().is_none_or(|(seq, _)| *seq == 1);
        all.splice(0..0, page);
        if ends {
            return all;
        }
    }
}

#[test]
fn p6_a_store_is_backed_up_while_its_node_serves_destroyed_and_restored_r142() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let (old, new, place) = (dir.path().join("old"), dir.path().join("new"), dir.path().join("backup"));
    let key = dir.path().join("backup.key");
    std::fs::write(&key, "6".repeat(64)).expect("written");
    let sealed = |command: &mut Command| command.arg("--key-file").arg(&key).output().expect("it runs");
    std::fs::set_permissions(&key, Permissions::from_mode(0o600)).expect("set");
    let mut node = node(dir.path(), &old);
    let bob = node.person(&phone(9), "Bobby");
    let mut talk = Talk::begin(&node, &bob);
    talk.until(700);

    // Copying is another matter.
    let refused = failed(godwit(["copy", &named(&old), &named(&new)]).output().expect("it runs"));
    assert!(
        refused.contains("stop its node first") && refused.contains("open in another process"),
        "{refused}"
    );

    let before = talk.acknowledged();
    let mut backup = godwit(["backup", &named(&old)]);
    let mut backup = backup.arg(&place).arg("--key-file").arg(&key).spawn().expect("it runs");
    let deadline = Instant::now() + PATIENCE;
    while backup.try_wait().expect("waited").is_none() {
        assert!(Instant::now() < deadline, "the backup takes too long");
        talk.a_little();
    }
    let backed_up = ok(backup.wait_with_output().expect("it ended"));
    let after = talk.acknowledged();
    assert!(backed_up.starts_with("backed up and read back"), "{backed_up}");
    assert!(
        before.iter().zip(&after).all(|(before, after)| before < after),
        "people talked meanwhile: {before:?}, {after:?}"
    );
    let digest = last_word(&backed_up, "digest").to_owned();

    node.kill();
    let people = std::mem::take(&mut talk.people);
    drop(talk);
    std::fs::remove_dir_all(&old).expect("destroyed");

    let whole = ok(sealed(godwit(["verify"]).arg(&place)));
    assert_eq!(last_word(&whole, "digest"), digest);
    let restored = ok(sealed(godwit(["restore"]).arg(&place).arg(named(&new))));
    let of_target = last_word(&restored, "digest of the target").to_owned();
    assert_eq!(last_word(&restored, "digest of the source"), of_target);

    node.set("GODWIT_STORE", &named(&new));
    node.spawn();
    for (n, (person, before)) in people.iter().zip(before).enumerate() {
        let found = history(person, &bob);
        assert!(found.len() > before, "the commit, and {} of {before} that were acknowledged", found.len());
        assert!(found.iter().map(|(seq, _)| *seq).eq(1..=found.len() as u64), "I2: dense");
        // Then what came while it was backed up, as far as it is there, and what its sender still had to say.
        let places: Vec<usize> =
            found.iter().filter_map(|(_, text)| Some(Talk::place(n, text.as_deref()?))).collect();
        assert!(places.iter().take(before).copied().eq(0..before), "I1: all that was acknowledged, in order");
        assert!(places.is_sorted_by(|a, b| a < b), "in order, and nothing twice: {places:?}");
    }
    // It goes on: what is said next comes after the last, and a backup of it has that too.
    let told = people[0].ok("send", &["--to", &bob.phone, "and on"]);
    assert_eq!(of(&told, "sent").count(), 1);
    let again = dir.path().join("again");
    ok(godwit(["backup", &named(&new)]).arg(again).output().expect("it runs"));
}

/// A store whose backup takes a while: one chat of about 100 MB. It is said in one evening.
fn large_store(path: &Path) {
    let clock = TokioClock::default();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let backend = Embedded::open(path, &EmbeddedConfig::default(), clock).expect("opens");
        let store = Store::open(backend, StoreConfig::default(), clock).await.expect("opens");
        let people = [1, 2].map(|n| (AccountId::new([n; 16]), DeviceId::new([n; 16])));
        for (n, (account, device)) in (1..).zip(people) {
            let op = AddDevice {
                phone: Phone::parse(&phone(n.into())).expect("a number"),
                name: PersonName::parse("somebody").expect("a name"),
                new_account: account,
                device,
                device_key: [n; 32],
                device_name: "phone".into(),
                family: RequestId::new([n; 16]),
                refresh_hash: Secret::new([n; 32]),
                refresh_expires: WallTime(u64::MAX),
                now: WallTime(1),
            };
            assert!(matches!(store.execute(Op::AddDevice(op)).await, Ok(OpOutput::AddDevice(Ok(_)))));
        }
        let [(sender, device), (peer, _)] = people;
        let log = LogId::Chat(keys::direct_chat_id(sender, peer));
        for part in 0..200_u16 {
            let message = |n: u8| {
                let mut id = [n; 16];
                id[..2].copy_from_slice(&part.to_be_bytes());
                Message {
                    client_msg_id: ClientMsgId::new(id),
                    kind: Kind::Text,
                    content: vec![n; 60_000].into(),
                    epoch: Epoch::ZERO,
                }
            };
            let messages = (0..8).map(message).collect();
            let op = Append { log, peer: Some(peer), sender, device, messages, now: WallTime(2) };
            let Ok(OpOutput::Append(appended)) = store.execute(Op::Append(op)).await else {
                panic!("not said")
            };
            assert!(appended.iter().all(Result::is_ok));
        }
    });
}

/// Waits until a backup has written its first object.
fn under_way(backup: &mut Child, place: &Path) {
    let deadline = Instant::now() + PATIENCE;
    // What is being written has a "#" in its name.
    let whole = |file: std::fs::DirEntry| !file.file_name().to_string_lossy().contains('#');
    while !std::fs::read_dir(place).is_ok_and(|mut files| files.any(|file| file.is_ok_and(whole))) {
        assert!(backup.try_wait().expect("waited").is_none(), "it ended before it began");
        assert!(Instant::now() < deadline, "it does not begin");
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn p6_a_node_killed_while_its_store_is_backed_up_leaves_no_backup_and_starts_again_r142() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let (store, place) = (dir.path().join("store"), dir.path().join("backup"));
    large_store(&store);
    let mut node = node(dir.path(), &store);
    for (how, place) in [("killed", place.clone()), ("stopped", dir.path().join("stopped"))] {
        let mut backup = godwit(["backup", &named(&store)]).arg(&place).spawn().expect("it runs");
        under_way(&mut backup, &place);
        match how {
            "killed" => node.kill(),
            _ => assert_eq!(node.terminate(), Some(0), "a backup does not keep a node from stopping"),
        }
        let ended = Instant::now();
        let said = failed(backup.wait_with_output().expect("it ended"));
        assert!(said.contains("no longer lets it be read"), "{how}: {said}");
        assert!(ended.elapsed() < Duration::from_secs(15), "{how}: {:?}", ended.elapsed());
        let is_stale = store.join("reads.sock").exists();
        assert_eq!(is_stale, how == "killed", "who is killed tidies nothing");
        let verified = godwit(["verify"]).arg(&place).output().expect("it runs");
        let into = named(&dir.path().join("nothing"));
        let restored = godwit(["restore"]).arg(&place).arg(into).output().expect("it runs");
        for said in [failed(verified), failed(restored)] {
            assert!(said.contains("the backup is not complete"), "{how}: {said}");
        }
        node.spawn();
    }
    ok(godwit(["backup", &named(&store), "--no-verify"])
        .arg(dir.path().join("whole"))
        .output()
        .expect("it runs"));
}

#[test]
fn a_store_that_somebody_else_than_a_node_has_open_is_said_to_be() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let clock = TokioClock::default();
    let _held = Embedded::open(dir.path(), &EmbeddedConfig::default(), clock).expect("opens");
    let place: PathBuf = dir.path().join("backup");
    let said = failed(godwit(["backup", &named(dir.path())]).arg(&place).output().expect("it runs"));
    let holder = format!("open in another process ({})", std::process::id());
    assert!(said.contains(&holder) && said.contains("nothing answers at"), "{said}");
    assert!(!place.exists());
}
