//! What happens in the demo, chapter by chapter, and whether it was right.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use loadtest_relay::Relay;

use super::node::Node;
use super::paint::{Paint, milliseconds, percentile, short};
use super::person::{Person, To};
use super::screen::{FIRST, Tick};
use super::server::{self, Search};

/// How long anything that must happen may take on a slow machine.
pub(super) const PATIENCE: Duration = Duration::from_secs(40);

/// Messages of an account per minute, in place of the default: a person does not write 240 in a few seconds.
const MESSAGES_PER_MINUTE: u32 = 100_000;

/// Messages whose ciphertext is shown.
const SHOWN: u64 = 5;

/// The node, the two people, and what they said.
pub(crate) struct Story {
    pub(crate) node: Node,
    pub(super) alice: Person,
    pub(super) bob: Person,
    /// Bob's way to the node.
    pub(super) path: Relay,
    /// The chat, once it exists.
    pub(super) chat: String,
    /// What was said, in order of the log: whether by Alice, and the text.
    pub(super) said: Vec<(bool, String)>,
    /// What did not hold.
    pub(super) broken: Vec<String>,
    /// What a search of the server found.
    search: Option<Search>,
}

impl Story {
    pub(crate) fn new(node: Node, alice: Person, bob: Person, path: Relay) -> Story {
        Story {
            node,
            alice,
            bob,
            path,
            chat: String::new(),
            said: Vec::new(),
            broken: Vec::new(),
            search: None,
        }
    }

    /// All of it.
    ///
    /// # Errors
    /// What did not happen in time, or what did not hold.
    pub(crate) fn tell(&mut self, paint: &mut Paint, messages: usize) -> Result<()> {
        self.register(paint)?;
        self.converse(paint)?;
        let reconnected_ms = self.kill_the_node(paint)?;
        let returned_ms = self.return_of_bob(paint)?;
        let latencies_us = self.measure(paint, messages)?;
        let moving = self.move_bob(paint)?;
        let waking = self.wake_bob(paint)?;
        print_figures(paint, latencies_us, reconnected_ms, returned_ms);
        moving.print(paint);
        waking.print(paint);
        self.compare()?;
        self.look_at_the_server(paint)?;
        self.judge(paint)
    }

    fn register(&mut self, paint: &mut Paint) -> Result<()> {
        paint.chapter("A node starts, and two people register");
        let config = format!("[limits.rates]\nmessages_per_minute = {MESSAGES_PER_MINUTE}\n");
        let file = self.node.config();
        fs::write(&file, config).with_context(|| format!("cannot write {}", file.display()))?;
        let took = self.node.start()?;
        paint.note(&format!(
            "node on {} with development certificates, healthy after {}; messages_per_minute = {MESSAGES_PER_MINUTE}",
            self.node.listen,
            short(took)
        ));
        let (direct, by_path) = (self.node.listen, self.path.address());
        for (person, server) in [(&mut self.alice, direct), (&mut self.bob, by_path)] {
            person.register(&self.node, server)?;
            paint.note(&format!("{} proved {} by the code from a text message", person.name, person.phone));
        }
        Ok(())
    }

    fn converse(&mut self, paint: &mut Paint) -> Result<()> {
        paint.chapter("They write to each other");
        let first = "Hi Bob, it's Alice!";
        let sending = self.alice.send(&To::Phone(self.bob.phone), &[first])?;
        self.chat = self.alice.sent(sending)?;
        self.said.push((true, first.to_owned()));
        paint.note(
            "Alice found Bob by his number and wrote; Bob's application is closed, so there is one tick:",
        );
        paint.screens(FIRST, (self.alice.name, &self.alice.screen), (self.bob.name, &self.bob.screen));

        self.alice.come_online()?;
        self.bob.come_online()?;
        self.everything_seen("Bob to get Alice's first message")?;
        let talk = [
            (false, &["Hi Alice!", "My train is late again."][..]),
            (true, &["Of course it is.", "Dinner waits."]),
            (false, &["Tunnel ahead, bye!"]),
        ];
        for (by_alice, texts) in talk {
            self.say(by_alice, texts)?;
        }
        self.everything_read("everything to be read")?;
        paint.note("both open: delivered is two ticks, read is blue");
        self.print_screens(paint, FIRST);
        Ok(())
    }

    /// Returns how long Alice's next connection took, milliseconds.
    fn kill_the_node(&mut self, paint: &mut Paint) -> Result<f64> {
        paint.chapter("Bob goes offline, Alice keeps writing, and the node is killed");
        let from = self.next_seq();
        self.bob.go_offline()?;
        self.say(true, &["Still on the train?", "The cat asks, too."])?;
        paint.note("Bob's application is closed; one tick says that the node has what Alice wrote:");
        self.print_screens(paint, from);

        let id = self.node.kill()?;
        paint.note(&format!("kill -9 {id}: the node is gone, without a word to anyone. Alice writes on:"));
        let texts = ["Bob?", "Call when you can."];
        let sending = self.alice.send(&To::Chat(&self.chat), &texts)?;
        // Long enough to be queued and to fail to leave.
        self.alice.watch(Instant::now() + Duration::from_millis(700))?;
        let took = self.node.start()?;
        let restarted = Instant::now();
        self.sent(true, &texts, sending)?;
        paint.note(&format!(
            "the node is back and healthy after {}; Alice's messages left by themselves {} later",
            short(took),
            short(restarted.elapsed())
        ));
        self.print_screens(paint, from);
        for seq in from..self.next_seq() {
            if self.alice.screen.tick(seq) != Tick::Sent {
                self.broken.push(format!("message {seq} was ticked as delivered while Bob was away"));
            }
        }
        self.alice.connects_ms.last().copied().context("Alice's connection was never reported")
    }

    /// Returns how long Bob's new connection took, milliseconds.
    fn return_of_bob(&mut self, paint: &mut Paint) -> Result<f64> {
        paint.chapter("Bob returns");
        let from = self.next_seq() - 4;
        let connects = self.bob.connects_ms.len();
        let started = Instant::now();
        self.bob.come_online()?;
        self.everything_seen("Bob to get what he missed")?;
        paint.note(&format!(
            "everything he missed is on his screen {} after he opened it",
            short(started.elapsed())
        ));
        self.everything_read("Alice to see that it was read")?;
        self.say(false, &["All four arrived!"])?;
        self.everything_read("the last message to be read")?;
        self.print_screens(paint, from);
        self.bob.connects_ms.get(connects).copied().context("Bob's connection was never reported")
    }

    /// Times messages one after another, from Alice's send to Bob's screen.
    fn measure(&mut self, paint: &mut Paint, messages: usize) -> Result<Vec<u64>> {
        paint.chapter(&format!(
            "{messages} messages, one after another, timed from Alice's send to Bob's screen"
        ));
        // Her application holds the connection, and looks only ten times a second for what another process queued.
        self.alice.go_offline()?;
        let before = self.bob.latencies_us.len();
        let mut sending = self.alice.send_each(&To::Chat(&self.chat))?;
        for n in 1..=messages {
            let text = format!("timed message {n} of {messages}");
            sending.say(&text)?;
            self.said.push((true, text));
            let deadline = Instant::now() + PATIENCE;
            let acknowledged = sending.acknowledgement(deadline)?;
            while self.bob.screen.last() < self.last_seq() && Instant::now() < deadline {
                self.bob.watch_once(deadline)?;
            }
            if !acknowledged || self.bob.screen.last() < self.last_seq() {
                bail!("message {n} of {messages} did not arrive within {PATIENCE:?}");
            }
            if n % messages.div_ceil(4) == 0 {
                paint.note(&format!("{n} of {messages}"));
            }
        }
        self.alice.sent(sending)?;
        self.alice.come_online()?;
        self.everything_read("the timed messages to be read")?;
        Ok(self.bob.latencies_us.split_off(before))
    }

    /// Both screens and both histories, against what was said.
    fn compare(&mut self) -> Result<()> {
        let by_bob: Vec<(bool, String)> =
            self.said.iter().map(|(alice, text)| (!alice, text.clone())).collect();
        let (alice, bob) = (self.alice.screen.verdict(&self.said), self.bob.screen.verdict(&by_bob));
        self.broken.extend(alice.into_iter().map(|text| format!("Alice's screen: {text}")));
        self.broken.extend(bob.into_iter().map(|text| format!("Bob's screen: {text}")));
        self.alice.go_offline()?;
        self.bob.go_offline()?;
        for (person, other, said) in [(&self.alice, &self.bob, &self.said), (&self.bob, &self.alice, &by_bob)]
        {
            self.broken.extend(unlike(person, other.phone, said)?);
        }
        Ok(())
    }

    /// What is on the server's disk, while it is dead, beside what the two have read.
    fn look_at_the_server(&mut self, paint: &mut Paint) -> Result<()> {
        paint.chapter("What the server has of it");
        self.node.kill()?;
        let (folder, data) = (self.node.folder().to_owned(), self.node.data());
        let entries = server::entries(&data, &self.chat)?;
        paint.note("the node is stopped, and this is on its disk, beside what Alice and Bob have read:");
        let commit = "(begins the encryption of the chat)";
        for (entry, read) in
            entries.iter().zip(std::iter::once(commit).chain(self.said.iter().map(|(_, text)| &text[..])))
        {
            if entry.seq < FIRST + SHOWN {
                paint.stored(entry, read);
            }
        }
        if entries.len() != self.said.len() + 1 {
            self.broken.push(format!("the server has {} entries of {}", entries.len(), self.said.len() + 1));
        }
        self.search = Some(server::places(&folder, &data, &self.said)?);
        self.node.start().map(drop)
    }

    fn judge(&mut self, paint: &mut Paint) -> Result<()> {
        paint.chapter("Did all of it hold?");
        let mut broken = std::mem::take(&mut self.broken);
        let search = self.search.take().context("nobody has looked at the server")?;
        broken
            .extend(search.places.iter().map(|place| format!("what was said is at the server, in {place}")));
        if broken.is_empty() {
            let total = self.said.len();
            paint.good(&format!(
                "all {total} messages are on both screens, each once, in the order of the log"
            ));
            paint.good("ticks only ever advanced, none came while Bob was away, and in the end all is read");
            paint.good(
                "nothing acknowledged was lost with the node, and its history says the same as both screens",
            );
            paint.good(&format!(
                "no twelve bytes of what was said are in any of the server's {} files and logs, or {} keys and values:",
                search.files, search.keys
            ));
            paint.note(&format!(
                "  not as UTF-8, UTF-16, hexadecimal or base64, {} patterns in all",
                search.patterns
            ));
            return Ok(());
        }
        broken.iter().for_each(|text| paint.bad(text));
        bail!("{} of the demo's promises did not hold", broken.len())
    }

    /// One of them, who is online, says something, and it is acknowledged.
    pub(super) fn say(&mut self, by_alice: bool, texts: &[&str]) -> Result<()> {
        let speaker = if by_alice { &self.alice } else { &self.bob };
        let sending = speaker.send(&To::Chat(&self.chat), texts)?;
        self.sent(by_alice, texts, sending)
    }

    pub(super) fn sent(
        &mut self,
        by_alice: bool,
        texts: &[&str],
        sending: super::person::Sending,
    ) -> Result<()> {
        let speaker = if by_alice { &mut self.alice } else { &mut self.bob };
        speaker.sent(sending)?;
        self.said.extend(texts.iter().map(|&text| (by_alice, text.to_owned())));
        Ok(())
    }

    pub(super) fn next_seq(&self) -> u64 {
        self.said.len() as u64 + FIRST
    }

    /// The place of the last message that was said.
    pub(super) fn last_seq(&self) -> u64 {
        self.next_seq() - 1
    }

    /// Waits until everything that was said is on both screens.
    pub(super) fn everything_seen(&mut self, what: &str) -> Result<()> {
        let last = self.last_seq();
        self.wait_for(what, |alice, bob| alice.screen.last() == last && bob.screen.last() == last)
    }

    /// Waits until it is also read, and both speakers know it.
    pub(super) fn everything_read(&mut self, what: &str) -> Result<()> {
        self.everything_seen(what)?;
        self.wait_for(what, |alice, bob| alice.screen.all_read() && bob.screen.all_read())
    }

    pub(super) fn wait_for(&mut self, what: &str, done: impl Fn(&Person, &Person) -> bool) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        while !done(&self.alice, &self.bob) {
            if Instant::now() > deadline {
                bail!("waited {PATIENCE:?} for {what}");
            }
            let soon = Duration::from_millis(5);
            self.alice.watch(Instant::now() + soon)?;
            self.bob.watch(Instant::now() + soon)?;
        }
        Ok(())
    }

    pub(super) fn print_screens(&self, paint: &Paint, from: u64) {
        paint.screens(from, (self.alice.name, &self.alice.screen), (self.bob.name, &self.bob.screen));
    }

    /// The commands for somebody who wants to take part.
    pub(crate) fn print_how_to_join(&self, paint: &mut Paint, program: &Path, folder: &Path, keep: bool) {
        paint.chapter("Join by hand");
        let godwit = program.display();
        if keep {
            paint.note("The node runs until Ctrl-C here. In other terminals, be Alice and Bob:");
            let (alice, bob) = (self.alice.profile(), self.bob.profile());
            paint.command(&format!("{godwit} chat --profile {}", alice.display()));
            paint.command(&format!(
                "{godwit} send --profile {} --to {} Hello",
                bob.display(),
                self.alice.phone
            ));
            paint.note("or somebody new:");
            self.print_register(paint, program, &folder.join("carol").display().to_string());
            return;
        }
        paint.note("`cargo xtask demo --keep` leaves this node running for you. Or start one of your own:");
        paint.command(&format!("{godwit} serve --log-format text"));
        paint.note("and be two people in two more terminals, each with a profile of its own:");
        paint.command(&format!(
            "{godwit} register --profile me --server 127.0.0.1:4433 --ca godwit-data/certs/ca.pem \\"
        ));
        paint.command("    --phone +447700900003 --name Me --code-file godwit-data/sms.jsonl");
        paint.command(&format!(
            "{godwit} send --profile me --to +447700900004 Hello    # another profile's number"
        ));
        paint.command(&format!("{godwit} chat --profile me"));
    }

    fn print_register(&self, paint: &Paint, program: &Path, profile: &str) {
        let (godwit, ca) = (program.display(), self.node.ca());
        paint.command(&format!("{godwit} register --profile {profile} --server {} \\", self.node.listen));
        paint.command(&format!("    --ca {} --phone +447700900003 --name Carol \\", ca.display()));
        paint.command(&format!("    --code-file {}", self.node.sms().display()));
    }
}

fn print_figures(paint: &mut Paint, mut latencies_us: Vec<u64>, reconnected_ms: f64, returned_ms: f64) {
    paint.chapter("Figures");
    latencies_us.sort_unstable();
    let at = |percent| percentile(&latencies_us, percent).map_or("none".to_owned(), milliseconds);
    let count = latencies_us.len();
    paint.note(&format!(
        "delivery of {count} messages: p50 {}, p95 {}, p99 {}; each was synced",
        at(50),
        at(95),
        at(99)
    ));
    paint.note("to the node's disk before its tick and to Bob's before he saw it");
    paint.note(&format!(
        "resume, a full handshake up to `Connected`: {reconnected_ms:.1} ms for Alice, the first to reach"
    ));
    paint.note(&format!("the restarted node; {returned_ms:.1} ms for Bob, whose program had just started"));
}

/// How the server's history, as `person` gets it, differs from what was said.
fn unlike(person: &Person, with: &str, said: &[(bool, String)]) -> Result<Vec<String>> {
    let history = person.history(with, 500)?;
    let mut broken = Vec::new();
    if history.len() != said.len() {
        broken.push(format!("{}'s history has {} of {} messages", person.name, history.len(), said.len()));
    }
    for (at, ((seq, line, ticks), (mine, text))) in history.iter().zip(said).enumerate() {
        if *seq != at as u64 + FIRST || line.text != *text || line.mine != *mine {
            broken.push(format!("{}'s history has {:?} where {text:?} was said", person.name, line.text));
        }
        if *mine && ticks.as_deref() != Some("✓✓ read") {
            broken.push(format!("{}'s history says {ticks:?} of message {seq}, which was read", person.name));
        }
    }
    Ok(broken)
}
