//! The processes of a run, what they were told and what they said, and the moment at which the witness looks.

use std::collections::BTreeMap;
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::disk::{Disk, Kept};
use super::journal::{End, Fact, Process};
use super::plan::{Plan, Strike};
use super::support::{Node, Person, Running, canary, of, phone};
use super::witness::{Evidence, Violation, check, complete};

/// How long lines that were printed may take to get here.
const PIPES: Duration = Duration::from_secs(10);

const ALICE: usize = 0;
const BOB: usize = 1;
const CAROL: usize = 2;

/// A process that runs, and its place in the history.
struct Acting {
    running: Running,
    place: usize,
}

pub(crate) struct Stage {
    node: Node,
    /// Alice, Bob, Carol.
    people: [Person; 3],
    accounts: [String; 3],
    /// Every process there was, in order.
    history: Vec<Process>,
    senders: Vec<Acting>,
    tails: Vec<Acting>,
    before: Disk,
    texts: usize,
    story: Story,
    _dir: tempfile::TempDir,
}

/// What happened so far, for whoever reads of a failure.
struct Story {
    seed: u64,
    lines: Vec<String>,
}

impl Drop for Story {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("GODWIT_KILL_SEED={}\n{}", self.seed, self.lines.join("\n"));
        }
    }
}

impl Stage {
    /// Everybody has met, and Bob listens.
    pub(crate) fn new(seed: u64) -> Stage {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let node = Node::start(dir.path());
        let people = [(1, "Alice"), (2, "Bobby"), (3, "Carol")].map(|(n, name)| node.person(&phone(n), name));
        let mut stage = Stage {
            node,
            people,
            accounts: Default::default(),
            history: Vec::new(),
            senders: Vec::new(),
            tails: Vec::new(),
            before: Disk::default(),
            texts: 0,
            story: Story { seed, lines: Vec::new() },
            _dir: dir,
        };
        stage.node.kill();
        let mut disk = Disk::read(&stage.node.dir).expect("a store that can be read");
        stage.node.spawn();
        let mut account = |person: &Person| disk.phones.remove(&person.phone).expect("registered is on disk");
        stage.accounts = [ALICE, BOB, CAROL].map(|n| account(&stage.people[n]));
        for (from, to) in [(ALICE, BOB), (CAROL, BOB), (BOB, ALICE)] {
            stage.send(from, to, 1, "sent");
            stage.finish_senders();
        }
        stage.listen(BOB);
        stage
    }

    fn say(&mut self, what: String) {
        self.story.lines.push(what);
    }

    pub(crate) fn acknowledged(&self) -> usize {
        let acks = self.history.iter().flat_map(|process| &process.facts);
        acks.filter(|fact| matches!(fact, Fact::Acked { .. })).count()
    }

    fn start(&mut self, who: usize, name: &str, args: &[&str], told: Vec<String>) -> Acting {
        let mut running = self.people[who].start(name, args);
        told.iter().for_each(|text| running.say(text));
        // Whose own `tail` is connected lets that one send, and hears of it in any order.
        let in_order = !self.tails.iter().any(|tail| self.history[tail.place].who == self.accounts[who]);
        let who = self.accounts[who].clone();
        self.history.push(Process { who, told, in_order, facts: Vec::new(), end: End::Alive });
        Acting { running, place: self.history.len() - 1 }
    }

    fn send(&mut self, from: usize, to: usize, burst: usize, wait: &str) {
        let told = (0..burst).map(|n| canary(self.texts + n)).collect();
        self.texts += burst;
        let to = self.people[to].phone.clone();
        let args = ["--to", &to, "--stdin", "--timeout", "50", "--wait", wait];
        let mut acting = self.start(from, "send", &args, told);
        drop(acting.running.stdin.take());
        self.senders.push(acting);
    }

    fn listen(&mut self, who: usize) {
        let mut acting = self.start(who, "tail", &["--read"], Vec::new());
        // The profile is its own from now on; a `send` of the same person leaves the sending to it.
        acting.running.until(|lines| of(lines, "connected").count() > 0);
        self.tails.push(acting);
    }

    fn ended(&mut self, acting: Acting, end: End) {
        let Acting { running, place } = acting;
        let lines = if end == End::Killed { running.kill() } else { running.finish() };
        self.history[place].facts = lines.iter().filter_map(Fact::of).collect();
        self.history[place].end = end;
    }

    fn finish_senders(&mut self) {
        for acting in std::mem::take(&mut self.senders) {
            self.ended(acting, End::Finished);
        }
    }

    /// Kills what a person runs.
    fn kill_all_of(&mut self, who: usize) {
        let (history, account) = (&self.history, &self.accounts[who]);
        let is_of = |acting: &mut Acting| history[acting.place].who == *account;
        let doomed: Vec<Acting> =
            self.senders.extract_if(.., is_of).chain(self.tails.extract_if(.., is_of)).collect();
        for acting in doomed {
            self.ended(acting, End::Killed);
        }
    }

    pub(crate) fn round(&mut self, plan: &Plan) {
        self.say(format!("round {}: {plan:?}", self.story.lines.len() / 2 + 1));
        self.send(ALICE, BOB, plan.burst, plan.wait);
        if plan.two_chats {
            self.send(CAROL, BOB, plan.burst, "sent");
        }
        if plan.both_ways {
            self.send(BOB, ALICE, plan.burst, "sent");
        }
        self.senders[0].running.until(|lines| of(lines, "sent").count() > 0);
        sleep(plan.after);
        self.strike(plan);
        if matches!(plan.strike, Strike::Sender | Strike::Receiver) {
            if plan.strike.kills_receiver() {
                self.listen(BOB);
            }
            // The others go on; then the node dies as well, so that its files can be read.
            self.finish_senders();
            self.node.kill();
        }
        self.look();
        self.node.spawn();
        if plan.strike == Strike::All {
            self.listen(BOB);
        }
        self.finish_senders();
    }

    fn strike(&mut self, plan: &Plan) {
        match plan.strike {
            Strike::Sender | Strike::Receiver => {}
            Strike::Node | Strike::NodeAndSender | Strike::All => self.node.kill(),
            Strike::NodeStarting => {
                self.node.kill();
                self.node.launch();
                sleep(plan.between);
                self.node.kill();
            }
            Strike::NodeDraining => {
                self.node.signal("TERM");
                sleep(plan.between);
                self.node.kill();
            }
        }
        if plan.strike.kills_sender() {
            self.kill_all_of(ALICE);
        }
        if plan.strike.kills_receiver() {
            self.kill_all_of(BOB);
        }
        if plan.strike == Strike::All {
            self.kill_all_of(CAROL);
        }
    }

    /// Everything leaves every outbox, and everybody hears everything; then the witness looks a last time.
    pub(crate) fn end(&mut self) {
        self.say("the end".into());
        self.listen(ALICE);
        for (from, to) in [(ALICE, BOB), (CAROL, BOB), (BOB, ALICE)] {
            self.send(from, to, 1, "sent");
            self.finish_senders();
            let last = canary(self.texts - 1);
            let account = &self.accounts[to];
            let mut tails = self.tails.iter_mut();
            let tail = tails.find(|tail| self.history[tail.place].who == *account).expect("they listen");
            tail.running.until(|lines| of(lines, "message").any(|line| line["text"] == last.as_str()));
        }
        self.node.kill();
        let disk = self.look();
        self.kill_all_of(ALICE);
        self.kill_all_of(BOB);
        let (before, kept) = (Disk::default(), BTreeMap::new());
        let evidence = Evidence { processes: &self.history, before: &before, disk: &disk, kept: &kept };
        assert_eq!(complete(&evidence, &self.accounts[..=BOB]), [], "everything arrives");
    }

    /// The node is dead: what everybody has printed must be true of its files.
    fn look(&mut self) -> Disk {
        let mut disk = Disk::read(&self.node.dir).expect("a store that can be read");
        let kept = self.accounts.iter().zip(&self.people);
        let kept =
            kept.map(|(account, person)| (account.clone(), Kept::read(&person.profile, account))).collect();
        disk.translate(&kept);
        let deadline = Instant::now() + PIPES;
        loop {
            for acting in self.senders.iter_mut().chain(&mut self.tails) {
                acting.running.drain();
                self.history[acting.place].facts = acting.running.seen.iter().filter_map(Fact::of).collect();
            }
            let before = &self.before;
            let found = check(&Evidence { processes: &self.history, before, disk: &disk, kept: &kept });
            // A line that the living have printed may still be on its way here.
            let on_its_way = |v: &Violation| matches!(v, Violation::NotShown { .. });
            if found.is_empty() || !found.iter().all(on_its_way) || Instant::now() > deadline {
                let first = &found[..found.len().min(10)];
                assert!(
                    found.is_empty(),
                    "{} promises broken, by the files of the node: {first:#?}",
                    found.len()
                );
                break;
            }
            sleep(Duration::from_millis(5));
        }
        let entries: usize = disk.logs.values().map(|log| log.entries.len()).sum();
        self.say(format!("  seen: {entries} entries, {} acknowledged", self.acknowledged()));
        self.before = disk.clone();
        disk
    }
}
