//! One phone: a real endpoint and a real [`Client`] in a process that can be killed, and a disk that stays.

mod driving;
mod seen;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use client_core::quic::Bridge;
use client_core::{Client, Config, Now};
use loadtest_workload::Phone;
use wire::{AccountId, ChatId, DeviceId, Secret, Seq};
use wire_link::testing::{plain_client, secrets};
use wire_link::{ClientConfig, Endpoint};

use crate::Sabotage;
use crate::check::Violation;
use crate::disk::Disk;
use crate::outside::Outside;

/// Key packages that a phone publishes at a time: few, so that they run out and are refilled, and last resorts are used.
const KEY_PACKAGES: usize = 4;

/// When a client's process dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Death {
    /// Just before the next transaction on its disk.
    BeforeWrite,
    /// Between the next transaction and what was to follow it.
    AfterWrite,
}

/// One phone.
pub(crate) struct SimClient {
    /// Its number.
    pub(crate) user: usize,
    pub(crate) phone: Phone,
    pub(crate) disk: Disk,
    pub(crate) running: Option<Running>,
    pub(crate) address: SocketAddr,
    pub(crate) dies: Option<Death>,
    /// Told that another connection replaced this one: it stopped, until its owner opens it again.
    pub(crate) replaced: bool,
    /// The next first flight with early data is copied; if it is cut off for so long after, only the thief's arrives.
    pub(crate) captured: Option<Duration>,
    /// How wrong its clock is: fast and slow.
    pub(crate) wrong: (Duration, Duration),
    /// Nothing happens but that addresses change: no connection may be lost.
    pub(crate) only_moves: bool,
    /// Since when it has had a session.
    pub(crate) ready_since: Option<Duration>,
    /// Until when its process does not read what has come.
    pub(crate) dawdles_until: Option<Instant>,
    /// It is added while things go wrong.
    pub(crate) is_late: bool,
    /// Registrations that failed, and when it tries again.
    registrations: u64,
    registers_at: Option<Instant>,
    /// Messages its owner has said on it.
    pub(crate) said: u64,
    starts: u64,
    places: u8,
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
    /// The node that it is connected to, or tries to be.
    node: usize,
    /// It has said something early and sent nothing of it yet.
    is_first_flight: bool,
    background: bool,
    /// Since when its connection is let go.
    asleep: Option<Instant>,
    /// When a datagram came.
    heard_at: Option<Instant>,
}

impl SimClient {
    pub(crate) fn new(seed: u64, phone: Phone, only_moves: bool, sabotage: Option<Sabotage>) -> SimClient {
        let user = phone.number;
        SimClient {
            user,
            phone,
            disk: Disk::default(),
            running: None,
            address: SocketAddr::from(([10, 1, 0, user as u8 + 1], 40_000)),
            dies: None,
            replaced: false,
            captured: None,
            wrong: (Duration::ZERO, Duration::ZERO),
            only_moves,
            ready_since: None,
            dawdles_until: None,
            is_late: false,
            registrations: 0,
            registers_at: None,
            said: 0,
            starts: 0,
            places: 0,
            seed: seed ^ (user as u64 + 1) << 56,
            skew: Duration::from_millis(seed.rotate_right(9 * user as u32) % 500),
            sabotage,
        }
    }

    pub(crate) fn identity(&self) -> Option<(AccountId, DeviceId)> {
        self.disk.login().map(|login| (login.account, login.device))
    }

    /// Whether its process runs, and is a device's.
    pub(crate) fn is_registered(&self) -> bool {
        self.running.is_some() && self.disk.login().is_some()
    }

    /// Whether the client has a session of its own account.
    pub(crate) fn is_ready(&self) -> bool {
        self.identity().is_some() && self.running.as_ref().is_some_and(|running| running.client.is_ready())
    }

    /// Whether nothing waits to be sent or told.
    pub(crate) fn is_settled(&self) -> bool {
        self.running.as_ref().is_some_and(|running| running.client.is_settled())
    }

    fn now(&self, out: &Outside) -> Now {
        let (fast, slow) = self.wrong;
        Now { instant: out.time.instant(), wall: out.time.wall(self.skew + fast) - slow }
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
        let config = Config {
            device_key,
            seed,
            name: "sim".into(),
            server_name: crate::world::NAME.into(),
            key_packages: KEY_PACKAGES,
        };
        // Sessions of TLS are remembered for as long as the process lives.
        let crypto = ClientConfig::new(plain_client());
        let link = wire_link::Config::client(secrets(own));
        self.running = Some(Running {
            endpoint: Endpoint::client(link, crypto, out.time.instant()),
            bridge: Bridge::default(),
            client: Client::new(
                &config,
                self.disk.snapshot(),
                Box::new(self.disk.rows.clone()),
                self.now(out),
            ),
            asked: false,
            node: 0,
            is_first_flight: false,
            background: false,
            asleep: None,
            heard_at: None,
        });
    }

    /// Kills the process: its memory is gone, and nobody is told.
    pub(crate) fn kill(&mut self, out: &mut Outside) {
        if self.running.take().is_some() {
            self.dies = None;
            self.dawdles_until = None;
            self.ready_since = None;
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
        self.ready_since = None;
        if let Some(running) = &mut self.running {
            running.asleep = None;
        }
        self.with(out, |client, _| client.stop())
    }

    /// Its address changes, and it is told or not.
    pub(crate) fn change_address(&mut self, out: &mut Outside, told: bool) {
        let from = self.address;
        self.places += 1;
        let (network, port) = (if told { 2 } else { 3 }, 50_000 + u16::from(self.places));
        self.address = SocketAddr::from(([10, network, self.places, self.user as u8 + 1], port));
        out.say(format_args!("{} moves from {from} to {}, told: {told}", name(self.user), self.address));
        let Some(running) = &mut self.running else { return };
        if told {
            out.counts.moves += 1;
            running.endpoint.local_address_changed();
        } else {
            out.counts.rebinds += 1;
        }
    }

    /// Puts the app into the background or the foreground.
    pub(crate) fn set_foreground(&mut self, out: &mut Outside, foreground: bool) -> Result<(), Violation> {
        if let Some(running) = &mut self.running {
            running.background = !foreground;
            if foreground {
                running.asleep = None;
            }
        }
        out.say(format_args!("{} looks: {foreground}", name(self.user)));
        let told = foreground || self.sabotage == Some(Sabotage::NeverBackground);
        self.with(out, |client, now| client.set_foreground(told, now))
    }

    // ---- what its owner does ----

    /// Types a message.
    pub(crate) fn say(
        &mut self,
        out: &mut Outside,
        chat: ChatId,
        peer: Option<AccountId>,
        content: Bytes,
    ) -> Result<(), Violation> {
        match &mut self.running {
            Some(running) if self.disk.login().is_some() => running.asleep = None,
            _ => return Ok(()),
        }
        out.counts.sent += 1;
        let mut full = false;
        self.with(out, |client, now| full = client.send(chat, peer, content, now).is_err())?;
        if full { Err(Violation::NotTaken) } else { Ok(()) }
    }

    /// Reads up to a place: if that is news, an app that sleeps has a reason to wake.
    pub(crate) fn read(&mut self, out: &mut Outside, chat: ChatId, seq: Seq) -> Result<(), Violation> {
        let asleep = self.running.as_mut().and_then(|running| running.asleep.take());
        self.with(out, |client, now| client.mark_read(chat, seq, now))?;
        if let Some(running) = self.running.as_mut().filter(|running| running.client.is_settled()) {
            running.asleep = asleep;
        }
        Ok(())
    }

    /// Has a chat on the screen, or no longer.
    pub(crate) fn look_at(
        &mut self,
        out: &mut Outside,
        chat: ChatId,
        peer: Option<AccountId>,
        open: bool,
    ) -> Result<(), Violation> {
        self.with(out, |client, now| match open {
            true => client.open_chat(chat, peer, now),
            false => client.close_chat(chat, now),
        })
    }

    /// Presses a key.
    pub(crate) fn press(&mut self, out: &mut Outside, chat: ChatId) -> Result<(), Violation> {
        self.with(out, |client, now| client.typing(chat, now))
    }

    pub(crate) fn with(
        &mut self,
        out: &mut Outside,
        f: impl FnOnce(&mut Client, Now),
    ) -> Result<(), Violation> {
        let now = self.now(out);
        match &mut self.running {
            Some(running) => {
                f(&mut running.client, now);
                self.drain(out)
            }
            None => Ok(()),
        }
    }
}

/// What a phone is called: first everybody's first, then the second ones.
pub(crate) fn name(number: usize) -> &'static str {
    const NAMES: [&str; 8] = [
        "Alice",
        "Bob",
        "Carol",
        "Dave",
        "Alice's tablet",
        "Bob's tablet",
        "Carol's tablet",
        "Dave's tablet",
    ];
    NAMES.get(number).copied().unwrap_or("somebody")
}
