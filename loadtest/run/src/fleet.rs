//! Many phones in one thread: each a real [`Client`] with what it keeps in memory, all on a few sockets.
//!
//! An owner repeats [`turn`](Fleet::turn) and takes what [happened](Fleet::happened). A socket carries the connections of
//! many phones, because open files are few; there are several, so that a node's loops share the load as they would with
//! real peers.
//!
//! Invariant: what a phone persists is applied before anything else of the same drain is performed, as on a real one.

mod join;
mod streams;

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use client_core::quic::Bridge;
use client_core::{Ask, AskId, Client, ClientEvent, MemoryKv, Now, Output, SendError, Snapshot};
use rand::{RngCore, SeedableRng};
use rand_chacha::ChaCha12Rng;
use rustix::event::{PollFd, PollFlags, Timespec};
use wire::{AccountId, ChatId, ClientMsgId, Secret, Seq, WallTime};
use wire_link::tls::Trust;
use wire_link::{ClientConfig, Config, Endpoint, Event, LinkId, Secrets};
use wire_udp::{Driver, Options};

pub use join::JoinError;

/// The least time after which datagrams that a full socket did not take are offered again.
const RETRY: Duration = Duration::from_millis(5);

/// What keeps a fleet from existing or going on.
#[derive(Debug, thiserror::Error)]
pub enum FleetError {
    /// The authority's certificate cannot be used.
    #[error("the server's authority cannot be trusted")]
    Trust(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A socket is broken or cannot be made.
    #[error("a socket fails")]
    Socket(#[from] std::io::Error),
    /// The operating system has no randomness.
    #[error("there is no randomness")]
    Random(#[from] getrandom::Error),
}

/// Where a fleet's phones connect.
#[derive(Debug, Clone)]
pub struct Target {
    /// The node.
    pub address: SocketAddr,
    /// The name in its certificate.
    pub name: String,
    /// PEM of the authority that signed it.
    pub ca: PathBuf,
}

/// Something that happened to a phone.
#[derive(Debug)]
pub struct Happened {
    /// Its number in the fleet.
    pub phone: usize,
    /// When this process learned of it.
    pub at: Instant,
    /// What.
    pub event: ClientEvent,
}

/// Key packages that a phone publishes at a time: a fleet makes as few as its chats need.
const KEY_PACKAGES: usize = 10;

/// One phone.
struct Phone {
    client: Client,
    bridge: Bridge,
    downs: streams::Downs,
    kept: Snapshot,
    rows: MemoryKv,
    /// Whose it is: says its number.
    person: usize,
    /// Which socket its connections use.
    door: usize,
    timer: Option<Instant>,
    is_dirty: bool,
    /// Begins its device key and every seed of its client.
    seed: [u8; 32],
}

/// Phones and their sockets. See the module's page.
pub struct Fleet {
    target: Target,
    doors: Vec<Driver>,
    phones: Vec<Phone>,
    links: HashMap<(usize, LinkId), usize>,
    timers: BTreeSet<(Instant, usize)>,
    dirty: Vec<usize>,
    happened: VecDeque<Happened>,
    rng: ChaCha12Rng,
    local: IpAddr,
}

/// Both readings of the machine's clock.
pub fn now() -> Now {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let wall = WallTime(since.as_millis().try_into().unwrap_or(u64::MAX));
    Now { instant: Instant::now(), wall }
}

impl Fleet {
    /// A fleet without phones, on so many sockets of the local address that reaches the target. `seed` decides the
    /// phones' keys and numbers: another fleet with the same seed has the same phones.
    ///
    /// # Errors
    /// [`FleetError`].
    pub fn new(target: Target, sockets: usize, seed: u64) -> Result<Fleet, FleetError> {
        let local: IpAddr = match target.address {
            SocketAddr::V4(_) => std::net::Ipv4Addr::UNSPECIFIED.into(),
            SocketAddr::V6(_) => std::net::Ipv6Addr::UNSPECIFIED.into(),
        };
        let doors = (0..sockets.max(1)).map(|_| open_door(&target, local)).collect::<Result<_, _>>()?;
        Ok(Fleet {
            target,
            doors,
            phones: Vec::new(),
            links: HashMap::new(),
            timers: BTreeSet::new(),
            dirty: Vec::new(),
            happened: VecDeque::new(),
            rng: ChaCha12Rng::seed_from_u64(seed),
            local,
        })
    }

    /// Adds phones that do nothing yet, each of a person of its own, and says the first one's number.
    pub fn add(&mut self, count: usize) -> usize {
        let first = self.phones.len();
        for number in first..first + count {
            self.add_of(number);
        }
        first
    }

    /// Adds a phone of a person, and says its number.
    pub fn add_of(&mut self, person: usize) -> usize {
        let number = self.phones.len();
        let mut seed = [0; 32];
        self.rng.fill_bytes(&mut seed);
        let (kept, rows) = (Snapshot::default(), MemoryKv::default());
        let client = new_client(&self.target, seed, 0, (&kept, &rows));
        let (door, bridge) = (number % self.doors.len(), Bridge::default());
        let downs = streams::Downs::default();
        self.phones.push(Phone {
            client,
            bridge,
            downs,
            kept,
            rows,
            person,
            door,
            timer: None,
            is_dirty: false,
            seed,
        });
        number
    }

    /// How many phones there are.
    pub fn len(&self) -> usize {
        self.phones.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.phones.is_empty()
    }

    /// Connects a phone, and keeps it connected.
    pub fn start(&mut self, phone: usize) {
        self.with(phone, |client, now| client.start(now));
    }

    /// Ends a phone's connection in order.
    pub fn stop(&mut self, phone: usize) {
        self.with(phone, |client, _| client.stop());
    }

    /// A new process of the phone's app, from what it kept; its old one is gone without a word. Start it.
    pub fn relaunch(&mut self, phone: usize) {
        // The old process' connection is forgotten here, and by the node when nobody answers.
        let salt = self.rng.next_u64();
        let target = self.target.clone();
        let at = &mut self.phones[phone];
        at.client = new_client(&target, at.seed, salt, (&at.kept, &at.rows));
        at.bridge = Bridge::default();
        self.touch(phone);
    }

    /// Says something.
    ///
    /// # Errors
    /// As [`Client::send`].
    pub fn send(
        &mut self,
        phone: usize,
        chat: ChatId,
        peer: AccountId,
        content: Bytes,
    ) -> Result<ClientMsgId, SendError> {
        self.with(phone, |client, now| client.send(chat, Some(peer), content, now))
    }

    /// The owner of the phone has read up to here.
    pub fn mark_read(&mut self, phone: usize, chat: ChatId, seq: Seq) {
        self.with(phone, |client, now| client.mark_read(chat, seq, now));
    }

    /// The owner has a chat on the screen.
    pub fn open_chat(&mut self, phone: usize, chat: ChatId, peer: AccountId) {
        self.with(phone, |client, now| client.open_chat(chat, Some(peer), now));
    }

    /// The owner has it there no longer.
    pub fn close_chat(&mut self, phone: usize, chat: ChatId) {
        self.with(phone, |client, now| client.close_chat(chat, now));
    }

    /// The owner types in an open chat.
    pub fn press(&mut self, phone: usize, chat: ChatId) {
        self.with(phone, |client, now| client.typing(chat, now));
    }

    /// The app is on the screen, or no longer.
    pub fn set_foreground(&mut self, phone: usize, foreground: bool) {
        self.with(phone, |client, now| client.set_foreground(foreground, now));
    }

    /// Asks the server something; the answer is a [`ClientEvent::Answer`].
    pub fn ask(&mut self, phone: usize, ask: Ask) -> AskId {
        self.with(phone, |client, now| client.ask(ask, now))
    }

    /// Whether a phone is connected and identified.
    pub fn is_ready(&self, phone: usize) -> bool {
        let phone = &self.phones[phone];
        phone.kept.login.is_some() && phone.client.is_ready()
    }

    /// Whether a phone has nothing left to send or to tell.
    pub fn is_settled(&self, phone: usize) -> bool {
        self.phones[phone].client.is_settled()
    }

    /// Whose a phone is, once it is registered.
    pub fn account(&self, phone: usize) -> Option<AccountId> {
        self.phones[phone].kept.login.as_ref().map(|login| login.account)
    }

    /// What a phone has kept.
    pub fn kept(&self, phone: usize) -> &Snapshot {
        &self.phones[phone].kept
    }

    /// All phones leave their addresses for others, as from Wi-Fi to cellular: every socket is bound anew, and every
    /// connection told.
    ///
    /// # Errors
    /// A socket cannot be made; the others have moved.
    pub fn move_all(&mut self) -> Result<(), FleetError> {
        for door in &mut self.doors {
            door.rebind(SocketAddr::new(self.local, 0), &options())?;
        }
        Ok(())
    }

    /// Does what there is to do, waits for something until `until` at most, and does that. Returns when something has
    /// [happened](Fleet::happened), or it is `until`.
    ///
    /// # Errors
    /// A socket is broken.
    pub fn turn(&mut self, until: Instant) -> Result<(), FleetError> {
        self.settle()?;
        if self.happened.is_empty() {
            self.wait(until)?;
            self.fire(now());
            self.settle()?;
        }
        Ok(())
    }

    /// The next thing that happened.
    pub fn happened(&mut self) -> Option<Happened> {
        self.happened.pop_front()
    }

    /// Datagrams received and sent by all sockets since the fleet was made.
    pub fn datagrams(&self) -> (u64, u64) {
        let stats = self.doors.iter().map(Driver::stats);
        stats.fold((0, 0), |(i, o), stats| (i + stats.datagrams_in, o + stats.datagrams_out))
    }

    /// Uses a phone's client, and performs what it asks for with the next turn.
    fn with<R>(&mut self, phone: usize, act: impl FnOnce(&mut Client, Now) -> R) -> R {
        let result = act(&mut self.phones[phone].client, now());
        self.touch(phone);
        result
    }

    fn touch(&mut self, phone: usize) {
        if !std::mem::replace(&mut self.phones[phone].is_dirty, true) {
            self.dirty.push(phone);
        }
    }

    /// Waits until a socket has something, or a timer or `until` has come; the endpoints hear of it.
    fn wait(&mut self, until: Instant) -> Result<(), FleetError> {
        let timers = self.doors.iter_mut().filter_map(|door| door.endpoint().poll_timeout());
        let own = self.timers.first().map(|&(at, _)| at);
        let due = timers.chain(own).fold(until, Instant::min).min(Instant::now() + Duration::from_secs(60));
        let mut wait = due.saturating_duration_since(Instant::now());
        if self.doors.iter().any(Driver::is_waiting) {
            wait = wait.min(RETRY);
        }
        let timeout = Timespec::try_from(wait).unwrap_or(Timespec { tv_sec: 1, tv_nsec: 0 });
        let mut fds: Vec<PollFd<'_>> =
            self.doors.iter().map(|door| PollFd::new(door, PollFlags::IN)).collect();
        match rustix::event::poll(&mut fds, Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(FleetError::Socket(error.into())),
        }
        let readable: Vec<bool> = fds.iter().map(|fd| !fd.revents().is_empty()).collect();
        let now = Instant::now();
        for (door, readable) in self.doors.iter_mut().zip(readable) {
            if readable || door.endpoint().poll_timeout().is_some_and(|at| at <= now) {
                door.wait(Some(now))?;
            }
        }
        Ok(())
    }

    fn fire(&mut self, now: Now) {
        while let Some(&(at, phone)) = self.timers.first()
            && at <= now.instant
        {
            self.timers.pop_first();
            self.phones[phone].timer = None;
            self.phones[phone].client.handle_timeout(now);
            self.touch(phone);
        }
    }

    /// Hands on what arrived, performs what that makes to do, until only waiting is left. What came together for a phone
    /// is kept together, as in a real client.
    fn settle(&mut self) -> Result<(), FleetError> {
        loop {
            let mut any = false;
            for door in 0..self.doors.len() {
                while let Some((link, event)) = self.doors[door].endpoint().poll_event() {
                    any = true;
                    self.arrived(door, link, event);
                }
            }
            any |= !self.dirty.is_empty();
            for phone in std::mem::take(&mut self.dirty) {
                self.drain(phone);
            }
            if !any {
                break;
            }
        }
        for door in &mut self.doors {
            door.flush()?;
        }
        Ok(())
    }

    fn arrived(&mut self, door: usize, link: LinkId, event: Event) {
        let over = matches!(event, Event::Closed { .. });
        let Some(&number) = self.links.get(&(door, link)) else { return };
        if over {
            self.links.remove(&(door, link));
        }
        let phone = &mut self.phones[number];
        if phone.bridge.link() == Some(link) {
            phone.downs.hear(self.doors[door].endpoint(), link, &event);
        }
        if let Some(input) = phone.bridge.input_of(self.doors[door].endpoint(), link, event) {
            phone.client.handle_input(input, now());
            self.touch(number);
        }
    }

    fn drain(&mut self, number: usize) {
        let phone = &mut self.phones[number];
        phone.is_dirty = false;
        let mut rest = Vec::new();
        while let Some(output) = phone.client.poll_output() {
            match output {
                Output::Persist(write) => {
                    phone.kept.apply(&write);
                    phone.rows.apply(&write);
                }
                other => rest.push(other),
            }
        }
        for output in rest {
            let phone = &mut self.phones[number];
            match phone.bridge.perform(self.doors[phone.door].endpoint(), output) {
                Some(Output::Connect { early }) => self.connect(number, early),
                Some(Output::Notify(event)) => {
                    self.happened.push_back(Happened { phone: number, at: Instant::now(), event });
                }
                _ => {}
            }
        }
        let phone = &mut self.phones[number];
        let timer = phone.client.poll_timeout();
        if phone.timer != timer {
            phone.timer.into_iter().for_each(|at| {
                self.timers.remove(&(at, number));
            });
            timer.into_iter().for_each(|at| {
                self.timers.insert((at, number));
            });
            phone.timer = timer;
        }
    }

    fn connect(&mut self, number: usize, early: bool) {
        let phone = &mut self.phones[number];
        let endpoint = self.doors[phone.door].endpoint();
        match endpoint.connect_with(Instant::now(), self.target.address, &self.target.name, early) {
            Ok(link) => {
                phone.bridge.connecting(link);
                phone.downs.forget();
                self.links.insert((phone.door, link), number);
            }
            Err(error) => {
                let reason = error.to_string();
                phone.client.handle_input(client_core::Input::Closed { reason }, now());
                self.touch(number);
            }
        }
    }
}

fn new_client(target: &Target, seed: [u8; 32], salt: u64, (kept, rows): (&Snapshot, &MemoryKv)) -> Client {
    let mut own = seed;
    own[..8].iter_mut().zip(salt.to_le_bytes()).for_each(|(byte, salt)| *byte ^= salt ^ 0x5a);
    let config = client_core::Config {
        device_key: Secret::new(seed),
        seed: own,
        name: concat!("loadtest ", env!("CARGO_PKG_VERSION")).to_owned(),
        server_name: target.name.clone(),
        key_packages: KEY_PACKAGES,
    };
    Client::new(&config, kept.clone(), Box::new(rows.clone()), now())
}

fn options() -> Options {
    Options::default()
}

fn open_door(target: &Target, local: IpAddr) -> Result<Driver, FleetError> {
    let roots = certs::load_roots(&target.ca).map_err(|error| FleetError::Trust(error.into()))?;
    let crypto =
        wire_link::tls::client(Trust::roots(roots)).map_err(|error| FleetError::Trust(error.into()))?;
    let mut secrets = Secrets { seed: [0; 32], reset_key: [0; 32], token_key: [0; 32], cid_key: [0; 32] };
    for bytes in [&mut secrets.seed, &mut secrets.reset_key, &mut secrets.token_key, &mut secrets.cid_key] {
        getrandom::fill(bytes)?;
    }
    let config = Config { links_max: 1 << 20, ..Config::client(secrets) };
    let endpoint = Endpoint::client(config, ClientConfig::new(crypto), Instant::now());
    Ok(Driver::bind_with(SocketAddr::new(local, 0), endpoint, &options())?)
}
