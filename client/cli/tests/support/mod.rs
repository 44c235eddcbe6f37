//! A node in this process, and people whose real sessions reach it directly or through a relay.
#![allow(dead_code, unreachable_pub, reason = "each file that uses it uses a part of it")]

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use client_cli::profile::{Profile, Server};
use client_cli::session::{Session, now};
use client_core::{Ask, ClientEvent};
use client_db::Unlock;
use edge_node::{Config, RunningNode};
use loadtest_cluster::store_of_node;
use wire::content::{Content, Text};
use wire::event::Event;
use wire::request::{self, Request};
use wire::{AccountId, ChatId, ClientMsgId, Secret};

/// What is waited for at most.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A node, and the runtime it runs on.
pub struct Node {
    runtime: tokio::runtime::Runtime,
    running: Option<RunningNode>,
    pub config: Config,
    pub addr: SocketAddr,
}

impl Node {
    pub fn start(dir: &Path) -> Node {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut config = Config { listen: any, admin: any, data: dir.to_owned(), ..Config::default() };
        config.limits.rates.messages_per_minute = 1_000_000;
        // Clients that have gone without a word are not waited for at the end.
        config.stop_timeout_ms = 500;
        if let Some(store) = store_of_node(dir) {
            config.store = Some(store.store.parse().expect("GODWIT_TEST_STORE is a place for a store"));
            config.store_prefix = Some(store.prefix);
        }
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let running = runtime.block_on(edge_node::start(&config)).expect("the node starts");
        let addr = running.listen;
        Node { runtime, running: Some(running), config: Config { listen: addr, ..config }, addr }
    }

    /// Stops it and starts another one on the same port and data.
    pub fn restart(&mut self) {
        self.stop();
        self.running = Some(self.runtime.block_on(edge_node::start(&self.config)).expect("it starts again"));
    }

    fn stop(&mut self) {
        if let Some(running) = self.running.take() {
            self.runtime.block_on(running.stop());
        }
    }

    fn code(&self, phone: &str) -> String {
        let text = std::fs::read_to_string(self.config.sms_file()).expect("a message was sent");
        let line = text.lines().rev().find(|line| line.contains(phone)).expect("a message to this number");
        line.split("code is: ").nth(1).expect("a code")[..6].to_owned()
    }

    /// Registers a profile and connects it, by way of `server`.
    pub fn person(&self, dir: &Path, phone: &str, server: SocketAddr) -> Person {
        let dir = dir.to_owned();
        let mut profile = Profile::create(&dir, &Unlock::KeyFile).unwrap();
        let ca = self.config.data.join("certs/ca.pem");
        profile.set_server(&Server { address: server.to_string(), ca }).unwrap();
        let install = profile.db.install();
        let mut session = Session::open_anonymous(profile).unwrap();
        let (request, phone_) = (session.client.request_id(), Secret::new(phone.to_owned()));
        let name = "Somebody".to_owned();
        let register = request::Register { phone: phone_, name, install, request };
        let registered = session.request(Request::Register(register), PATIENCE).unwrap();
        let [Event::Registered { registration, .. }] = registered[..] else { panic!("{registered:?}") };
        let otp = Secret::new(self.code(phone));
        let verify = Ask::Verify { registration, otp, device_name: "test".into() };
        let verified = session.ask(verify, PATIENCE).unwrap();
        let [Event::Verified(verified)] = &verified[..] else { panic!("{verified:?}") };
        let account = verified.account;
        session.close();
        Person::open(dir, account)
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.stop();
    }
}

/// A person with one device.
pub struct Person {
    pub account: AccountId,
    pub session: Session,
    pub dir: PathBuf,
    /// Everything that happened, and when.
    pub events: Vec<(Instant, ClientEvent)>,
}

impl Person {
    fn open(dir: PathBuf, account: AccountId) -> Person {
        let session = Session::open(Profile::open(&dir, &Unlock::KeyFile).unwrap()).unwrap();
        Person { account, session, dir, events: Vec::new() }
    }

    /// The same device in a process that has just started: it remembers what is on disk, and no server's tickets.
    pub fn reopen(self) -> Person {
        let Person { account, session, dir, .. } = self;
        session.close();
        Person::open(dir, account)
    }

    pub fn turn(&mut self, at_most: Duration) {
        let events = self.session.turn(Instant::now() + at_most).expect("nothing is wrong");
        self.events.extend(events.into_iter().map(|event| (Instant::now(), event)));
    }

    /// Turns until something has happened; when it did.
    #[track_caller]
    pub fn until(&mut self, is_it: impl Fn(&ClientEvent) -> bool) -> Instant {
        until(&mut [self], |people| people[0].when(&is_it))
    }

    pub fn when(&self, is_it: impl Fn(&ClientEvent) -> bool) -> Option<Instant> {
        self.events.iter().find(|(_, event)| is_it(event)).map(|(at, _)| *at)
    }

    pub fn count(&self, is_it: impl Fn(&ClientEvent) -> bool) -> usize {
        self.events.iter().filter(|(_, event)| is_it(event)).count()
    }

    /// The 1:1 chat with somebody.
    pub fn chat_with(&mut self, phone: &str) -> (ChatId, AccountId) {
        let lookup = Request::Lookup { phone: Secret::new(phone.to_owned()) };
        let found = self.session.request(lookup, PATIENCE).unwrap();
        let [Event::Found { account, chat, .. }] = found[..] else { panic!("{found:?}") };
        (chat, account)
    }

    pub fn send(&mut self, (chat, peer): (ChatId, AccountId), text: &str) -> ClientMsgId {
        let text = Text { text: text.to_owned(), sent_at_us: 0, reply_to: None };
        let content = Content::Text(text).encode();
        self.session.client.send(chat, Some(peer), content, now()).expect("the outbox takes it")
    }
}

/// Lets people act until something holds.
#[track_caller]
pub fn until<T>(people: &mut [&mut Person], mut done: impl FnMut(&[&mut Person]) -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(done) = done(people) {
            return done;
        }
        let events: Vec<_> = people.iter().map(|person| person.events.last()).collect();
        assert!(Instant::now() < deadline, "waited too long; last events: {events:?}");
        let each = Duration::from_millis(if people.len() == 1 { 50 } else { 5 });
        people.iter_mut().for_each(|person| person.turn(each));
    }
}

pub fn is_sent(id: ClientMsgId) -> impl Fn(&ClientEvent) -> bool {
    move |event| matches!(event, ClientEvent::Sent(message) if message.client_msg_id == id)
}

pub fn is_arrived(id: ClientMsgId) -> impl Fn(&ClientEvent) -> bool {
    move |event| matches!(event, ClientEvent::Arrived(message) if message.client_msg_id == id)
}
