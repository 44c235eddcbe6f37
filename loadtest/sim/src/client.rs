//! A person with a phone: a real endpoint and a real [`Client`] in a process that can be killed, and a disk that stays.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use client_core::quic::Bridge;
use client_core::{Ask, Client, ClientEvent, Config, Now, Output, Write};
use rand::Rng;
use wire::event::Event;
use wire::request::{self, Request};
use wire::{AccountId, ChatId, DeviceId, InstallId, RequestId, Secret, Seq};
use wire_link::testing::{plain_client, secrets};
use wire_link::{ClientConfig, Endpoint};

use crate::Sabotage;
use crate::check::Violation;
use crate::disk::Disk;
use crate::outside::Outside;

/// When a client's process dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Death {
    /// Just before the next transaction on its disk.
    BeforeWrite,
    /// Between the next transaction and what was to follow it.
    AfterWrite,
}

/// One user.
pub(crate) struct SimClient {
    pub(crate) user: usize,
    pub(crate) disk: Disk,
    pub(crate) running: Option<Running>,
    pub(crate) address: SocketAddr,
    pub(crate) dies: Option<Death>,
    /// Told that another connection replaced this one: it stopped, until its owner opens it again.
    pub(crate) replaced: bool,
    starts: u64,
    seed: u64,
    skew: Duration,
    sabotage: Option<Sabotage>,
}

/// A client's process.
pub(crate) struct Running {
    endpoint: Endpoint,
    bridge: Bridge,
    client: Client,
    asked: bool,
}

impl SimClient {
    pub(crate) fn new(seed: u64, user: usize, sabotage: Option<Sabotage>) -> SimClient {
        SimClient {
            user,
            disk: Disk::default(),
            running: None,
            address: SocketAddr::from(([10, 1, 0, user as u8 + 1], 40_000)),
            dies: None,
            replaced: false,
            starts: 0,
            seed: seed ^ (user as u64 + 1) << 56,
            skew: Duration::from_millis(seed.rotate_right(9 * user as u32) % 500),
            sabotage,
        }
    }

    pub(crate) fn identity(&self) -> Option<(AccountId, DeviceId)> {
        self.disk.login.as_ref().map(|login| (login.account, login.device))
    }

    /// Whether the client has a session of its own account.
    pub(crate) fn is_ready(&self) -> bool {
        self.identity().is_some() && self.running.as_ref().is_some_and(|running| running.client.is_ready())
    }

    /// Whether nothing waits to be sent or told.
    pub(crate) fn is_settled(&self) -> bool {
        self.running.as_ref().is_some_and(|running| running.client.is_settled())
    }

    fn phone(&self) -> String {
        format!("+4915100000{:02}", self.user)
    }

    fn now(&self, out: &Outside) -> Now {
        Now { instant: out.time.instant(), wall: out.time.wall(self.skew) }
    }

    // ---- what happens to it ----

    /// Starts the process, from what the disk holds.
    pub(crate) fn launch(&mut self, out: &mut Outside) {
        self.starts += 1;
        // A process that is started again has other sockets, as after a reboot.
        self.address.set_port(40_000 + self.starts as u16);
        let own = self.seed ^ self.starts << 32;
        let mut seed = [0; 32];
        seed[..8].copy_from_slice(&own.to_le_bytes());
        let device_key = Secret::new([self.user as u8 + 1; 32]);
        let config = Config { device_key, seed, name: "sim".into(), server_name: crate::world::NAME.into() };
        let crypto = ClientConfig::new(plain_client());
        let link = wire_link::Config::client(secrets(own));
        let endpoint = Endpoint::client(link, crypto, out.time.instant());
        let client = Client::new(&config, self.disk.snapshot(), self.now(out));
        self.running = Some(Running { endpoint, bridge: Bridge::default(), client, asked: false });
    }

    /// Kills the process: its memory is gone, and nobody is told.
    pub(crate) fn kill(&mut self, out: &mut Outside) {
        if self.running.take().is_some() {
            self.dies = None;
            out.counts.client_crashes += 1;
            out.say(format_args!("{} is killed", name(self.user)));
        }
    }

    /// Opens the app, or brings it back to the network.
    pub(crate) fn go_online(&mut self, out: &mut Outside) -> Result<(), Violation> {
        if self.running.is_none() {
            self.launch(out);
        }
        self.replaced = false;
        out.say(format_args!("{} goes online", name(self.user)));
        self.with(out, |client, now| client.start(now))
    }

    /// Leaves the network, in order.
    pub(crate) fn go_offline(&mut self, out: &mut Outside) -> Result<(), Violation> {
        out.say(format_args!("{} goes offline", name(self.user)));
        self.with(out, |client, _| client.stop())
    }

    /// Types a message.
    pub(crate) fn say(
        &mut self,
        out: &mut Outside,
        chat: ChatId,
        peer: AccountId,
        content: Bytes,
    ) -> Result<(), Violation> {
        if self.running.is_none() {
            return Ok(());
        }
        out.counts.sent += 1;
        let mut full = false;
        self.with(out, |client, now| full = client.send(chat, Some(peer), content, now).is_err())?;
        if full { Err(Violation::NotTaken) } else { Ok(()) }
    }

    /// Reads up to a place.
    pub(crate) fn read(&mut self, out: &mut Outside, chat: ChatId, seq: Seq) -> Result<(), Violation> {
        self.with(out, |client, now| client.mark_read(chat, seq, now))
    }

    fn with(&mut self, out: &mut Outside, f: impl FnOnce(&mut Client, Now)) -> Result<(), Violation> {
        let now = self.now(out);
        match &mut self.running {
            Some(running) => {
                f(&mut running.client, now);
                self.drain(out)
            }
            None => Ok(()),
        }
    }

    // ---- driving ----

    pub(crate) fn next_timer(&self) -> Option<Instant> {
        let running = self.running.as_ref()?;
        [running.endpoint.poll_timeout(), running.client.poll_timeout()].into_iter().flatten().min()
    }

    pub(crate) fn datagram(&mut self, out: &Outside, from: SocketAddr, bytes: &[u8]) {
        if let Some(running) = &mut self.running {
            running.endpoint.handle_datagram(out.time.instant(), from, None, None, BytesMut::from(bytes));
        }
    }

    /// Does all that can be done now; true if there was something.
    ///
    /// # Errors
    /// The first promise that was broken.
    pub(crate) fn turn(&mut self, out: &mut Outside) -> Result<bool, Violation> {
        let now = self.now(out);
        let mut any = false;
        let Some(running) = &mut self.running else { return Ok(false) };
        if running.endpoint.poll_timeout().is_some_and(|at| at <= now.instant) {
            running.endpoint.handle_timeout(now.instant);
            any = true;
        }
        if running.client.poll_timeout().is_some_and(|at| at <= now.instant) {
            running.client.handle_timeout(now);
            self.drain(out)?;
            any = true;
        }
        while let Some(running) = &mut self.running
            && let Some((link, event)) = running.endpoint.poll_event()
        {
            any = true;
            if let Some(input) = running.bridge.input_of(&mut running.endpoint, link, event) {
                running.client.handle_input(input, now);
                self.drain(out)?;
            }
        }
        let Some(running) = &mut self.running else { return Ok(any) };
        Ok(out.flush(self.address, &mut running.endpoint) || any)
    }

    /// Performs everything the client asks for: first what is to be kept, in one transaction, then the rest.
    fn drain(&mut self, out: &mut Outside) -> Result<(), Violation> {
        loop {
            let Some(running) = &mut self.running else { return Ok(()) };
            let outputs: Vec<Output> = std::iter::from_fn(|| running.client.poll_output()).collect();
            if outputs.is_empty() {
                return Ok(());
            }
            let writes = outputs.iter().any(|output| matches!(output, Output::Persist(_)));
            if writes && self.dies == Some(Death::BeforeWrite) {
                self.kill(out);
                return Ok(());
            }
            let mut rest = Vec::with_capacity(outputs.len());
            for output in outputs {
                match output {
                    Output::Persist(write) => self.keep(out, &write)?,
                    other => rest.push(other),
                }
            }
            if writes && self.dies == Some(Death::AfterWrite) {
                self.kill(out);
                return Ok(());
            }
            for output in rest {
                self.perform(out, output)?;
            }
        }
    }

    fn keep(&mut self, out: &mut Outside, write: &Write) -> Result<(), Violation> {
        match write {
            Write::Queue(row) => out.checker.queued(self.user, row),
            Write::Arrived(message) => {
                out.counts.stored += 1;
                if self.sabotage == Some(Sabotage::ForgetfulDisk) && out.counts.stored.is_multiple_of(50) {
                    return Ok(());
                }
                out.checker.stored(self.user, self.disk.have(message.chat), message)?;
            }
            Write::Failed { code, .. } => return Err(Violation::Refused { user: self.user, code: *code }),
            Write::LoggedOut => return Err(Violation::LoggedOut { user: self.user }),
            Write::Login(_) => out.counts.renewed += 1,
            _ => {}
        }
        self.disk.apply(write);
        Ok(())
    }

    fn perform(&mut self, out: &mut Outside, output: Output) -> Result<(), Violation> {
        let now = self.now(out);
        let Some(running) = &mut self.running else { return Ok(()) };
        match running.bridge.perform(&mut running.endpoint, output) {
            Some(Output::Connect { early }) => {
                // A phone does not choose its node.
                let node = out.rng.random_range(1..=crate::world::NODES as u8);
                let to = SocketAddr::from(([10, 0, 0, node], 443));
                match running.endpoint.connect_with(now.instant, to, crate::world::NAME, early) {
                    Ok(link) => running.bridge.connecting(link),
                    Err(error) => {
                        let input = client_core::Input::Closed { reason: error.to_string() };
                        running.client.handle_input(input, now);
                    }
                }
                out.say(format_args!("{} connects to node {node}", name(self.user)));
            }
            Some(Output::Notify(event)) => self.notice(out, event)?,
            _ => {}
        }
        Ok(())
    }

    /// What a person sees.
    fn notice(&mut self, out: &mut Outside, event: ClientEvent) -> Result<(), Violation> {
        let who = name(self.user);
        match event {
            ClientEvent::Connected { took, .. } => {
                out.counts.connected += 1;
                out.say(format_args!("{who} is connected after {} ms", took.as_millis()));
                self.register(out)?;
            }
            ClientEvent::Disconnected { reason, retry_in } => {
                out.say(format_args!(
                    "{who} lost the connection ({reason}), again in {} ms",
                    retry_in.as_millis()
                ));
            }
            ClientEvent::Sent(message) => {
                out.counts.acked += 1;
                out.checker.acked(self.user, &message);
                let chat = out.checker.chat_name(message.chat).to_owned();
                out.say(format_args!("{who} sees one tick in {chat} at {}", message.seq));
            }
            ClientEvent::Arrived(message) => {
                let chat = out.checker.chat_name(message.chat).to_owned();
                let sender = out.checker.account_name(message.sender);
                out.say(format_args!("{who} gets {chat} {} from {sender}", message.seq));
            }
            ClientEvent::Delayed { refusal, .. } => {
                out.say(format_args!("{who} is told to wait: {}", refusal.code.text()));
            }
            ClientEvent::Failed { refusal, .. } => {
                return Err(Violation::Refused { user: self.user, code: refusal.code });
            }
            ClientEvent::LoginNeeded(_) => return Err(Violation::LoggedOut { user: self.user }),
            ClientEvent::Replaced => {
                out.counts.replaced += 1;
                self.replaced = true;
                out.say(format_args!("{who} was replaced by another connection of the same device"));
            }
            ClientEvent::Answer { events, .. } => self.answered(out, &events)?,
            ClientEvent::Connecting
            | ClientEvent::Asleep
            | ClientEvent::Synced
            | ClientEvent::Cursor { .. }
            | ClientEvent::Typing { .. }
            | ClientEvent::DeviceAdded { .. } => {}
        }
        Ok(())
    }

    // ---- registration ----

    fn register(&mut self, out: &mut Outside) -> Result<(), Violation> {
        let id = [self.user as u8 + 1; 16];
        let register = request::Register {
            phone: Secret::new(self.phone()),
            name: name(self.user).into(),
            install: InstallId::new(id),
            request: RequestId::new(id),
        };
        match &mut self.running {
            Some(running) if self.disk.login.is_none() && !running.asked => running.asked = true,
            _ => return Ok(()),
        }
        self.with_later(out, |client, now| {
            client.ask(Ask::Plain(Request::Register(register)), now);
        });
        Ok(())
    }

    fn answered(&mut self, out: &mut Outside, events: &[Event]) -> Result<(), Violation> {
        match events {
            &[Event::Registered { registration, .. }] => {
                let otp =
                    out.texts.get(&self.phone()).cloned().ok_or(Violation::NoCode { user: self.user })?;
                let (otp, device_name) = (Secret::new(otp), "phone".to_owned());
                self.with_later(out, |client, now| {
                    client.ask(Ask::Verify { registration, otp, device_name }, now);
                });
                Ok(())
            }
            [Event::Verified(verified)] => {
                out.checker.registered(self.user, verified.account, verified.device);
                Ok(())
            }
            _ => {
                out.say(format_args!("{events:?}"));
                Err(Violation::NotRegistered { user: self.user })
            }
        }
    }

    /// As `with`, within a drain: its loop takes the outputs.
    fn with_later(&mut self, out: &Outside, f: impl FnOnce(&mut Client, Now)) {
        let now = self.now(out);
        if let Some(running) = &mut self.running {
            f(&mut running.client, now);
        }
    }
}

/// What a user is called.
pub(crate) fn name(user: usize) -> &'static str {
    ["Alice", "Bob", "Carol", "Dave"].get(user).copied().unwrap_or("Somebody")
}
