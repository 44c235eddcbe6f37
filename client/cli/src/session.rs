//! A profile, connected: the socket, the endpoint, the client, and the disk, joined on the caller's thread.
//!
//! Its one rule is `client-core`'s: what is to be kept is on disk before anything else of the same turn is done.

use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use client_core::quic::Bridge;
use client_core::{Ask, Client, ClientEvent, Config, Now, OUTBOX_MAX, Output, Snapshot, Write};
use wire::event::Event;
use wire::request::Request;
use wire::{Refusal, Retry, WallTime, limits};
use wire_link::tls::Trust;
use wire_link::{ClientConfig, Config as LinkConfig, Endpoint, Secrets};
use wire_udp::{Driver, Waker};

use crate::address::{Target, resolve};
use crate::error::CliError;
use crate::profile::Profile;

/// How often a connected process looks for messages that another one has queued.
const ADOPT_INTERVAL: Duration = Duration::from_millis(100);

/// A wait that ends this much too late by the clock on the wall was no wait: whatever was connected may be gone.
const OVERSLEPT: Duration = Duration::from_secs(5);

/// This long after something was kept, what it has replaced in the database goes for good.
const FORGET_AFTER: Duration = Duration::from_secs(1);

/// An orderly end waits this long for the server to have heard everything; whatever it has not is told next time.
const WIND_DOWN_MAX: Duration = Duration::from_millis(500);

/// A connected profile.
pub struct Session {
    /// What is kept.
    pub profile: Profile,
    /// What decides.
    pub client: Client,
    driver: Driver,
    bridge: Bridge,
    server: Target,
    attempts: usize,
    events: Vec<ClientEvent>,
    adopted: i64,
    adopt_at: Instant,
    /// When what was replaced goes for good, if anything was.
    forget_at: Option<Instant>,
    last_trouble: String,
    /// Everything that was owed when this connection began has come.
    is_synced: bool,
}

/// Both readings of the machine's clock.
pub fn now() -> Now {
    Now { instant: Instant::now(), wall: WallTime(micros_now() / 1000) }
}

/// Microseconds since the Unix epoch.
pub fn micros_now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    since.as_micros().try_into().unwrap_or(u64::MAX)
}

impl Session {
    /// Starts a registered profile.
    ///
    /// # Errors
    /// [`CliError::LoginNeeded`], [`CliError::InUse`], or what keeps it from even trying.
    pub fn open(profile: Profile) -> Result<Session, CliError> {
        let (snapshot, last) = claimed_snapshot(&profile)?;
        if snapshot.login.is_none() {
            let why = "this profile is not logged in".to_owned();
            return Err(CliError::LoginNeeded { why, profile: profile.dir().to_owned() });
        }
        Session::start(profile, snapshot, last)
    }

    /// Starts a profile without an identity, to register it.
    ///
    /// # Errors
    /// As [`Session::open`].
    pub fn open_anonymous(profile: Profile) -> Result<Session, CliError> {
        let (kept, last) = claimed_snapshot(&profile)?;
        Session::start(profile, Snapshot { login: None, ..kept }, last)
    }

    fn start(profile: Profile, snapshot: Snapshot, adopted: i64) -> Result<Session, CliError> {
        let Some(server) = profile.server()? else {
            let why = "this profile has no server yet".to_owned();
            return Err(CliError::LoginNeeded { why, profile: profile.dir().to_owned() });
        };
        let target = resolve(&server.address)?;
        let driver = bind(&target, &server.ca)?;
        let config = Config {
            device_key: profile.db.device_key().clone(),
            seed: random()?,
            name: concat!("godwit ", env!("CARGO_PKG_VERSION")).to_owned(),
            server_name: target.name.clone(),
            key_packages: limits::KEY_PACKAGES_PUBLISHED_MAX,
        };
        let rows = Box::new(profile.db.mls_reader()?);
        let mut client = Client::new(&config, snapshot, rows, now());
        client.start(now());
        Ok(Session {
            profile,
            client,
            driver,
            bridge: Bridge::default(),
            server: target,
            attempts: 0,
            events: Vec::new(),
            adopted,
            adopt_at: Instant::now(),
            forget_at: None,
            last_trouble: "no answer".into(),
            is_synced: false,
        })
    }

    /// A way to end a wait from another thread.
    pub fn waker(&self) -> Waker {
        self.driver.waker()
    }

    /// One turn: performs what the client asks, waits for something until `until` at most, and returns what happened.
    ///
    /// # Errors
    /// [`CliError::LoginNeeded`] and [`CliError::InUse`] when nothing goes on, [`CliError::Profile`] when nothing can
    /// be kept.
    pub fn turn(&mut self, until: Instant) -> Result<Vec<ClientEvent>, CliError> {
        self.settle()?;
        if self.events.is_empty() {
            let due = self.client.poll_timeout().map_or(until, |due| due.min(until)).min(self.adopt_at);
            let began = now();
            self.driver.wait(Some(due)).map_err(|error| self.broken(error))?;
            if overslept(began, due) {
                self.client.suspect(now());
            }
            self.adopt()?;
            self.forget()?;
            self.client.handle_timeout(now());
            self.settle()?;
        }
        let events = std::mem::take(&mut self.events);
        events.iter().try_for_each(|event| self.look_at(event))?;
        Ok(events)
    }

    /// Puts on disk whatever the client was asked to do, and begins it.
    ///
    /// # Errors
    /// As [`Session::turn`].
    pub fn keep(&mut self) -> Result<(), CliError> {
        self.settle()
    }

    /// Does what there is to do, and what that makes to do, until only waiting is left. What has arrived together is
    /// kept together: one transaction, one fsync.
    fn settle(&mut self) -> Result<(), CliError> {
        loop {
            self.perform()?;
            let mut any = false;
            while let Some((link, event)) = self.driver.endpoint().poll_event() {
                any = true;
                if let Some(input) = self.bridge.input_of(self.driver.endpoint(), link, event) {
                    self.client.handle_input(input, now());
                }
            }
            if !any {
                return Ok(());
            }
        }
    }

    /// Takes over messages that another process of this profile has queued, as many as there is room for. One's own are
    /// found as well, and known to the client.
    fn adopt(&mut self) -> Result<(), CliError> {
        if Instant::now() < self.adopt_at {
            return Ok(());
        }
        self.adopt_at = Instant::now() + ADOPT_INTERVAL;
        let room = OUTBOX_MAX.saturating_sub(self.client.outbox_len());
        for (n, row) in self.profile.db.outbox_after(self.adopted, room)? {
            self.adopted = n;
            self.client.adopt(row, now());
        }
        Ok(())
    }

    /// Once a second at most, what was replaced or deleted in the database is made unreadable; `adopt_at` wakes often
    /// enough.
    fn forget(&mut self) -> Result<(), CliError> {
        if self.forget_at.is_some_and(|at| Instant::now() >= at) {
            let is_done = self.profile.db.forget()?;
            self.forget_at = (!is_done).then(|| Instant::now() + FORGET_AFTER);
        }
        Ok(())
    }

    fn perform(&mut self) -> Result<(), CliError> {
        let mut writes: Vec<Write> = Vec::new();
        let mut outputs = Vec::new();
        while let Some(output) = self.client.poll_output() {
            match output {
                Output::Persist(write) => writes.push(write),
                other => outputs.push(other),
            }
        }
        if !writes.is_empty() {
            self.profile.db.apply(&writes)?;
            self.forget_at.get_or_insert(Instant::now() + FORGET_AFTER);
        }
        for output in outputs {
            match self.bridge.perform(self.driver.endpoint(), output) {
                Some(Output::Connect { early }) => self.connect(early),
                Some(Output::Notify(event)) => self.events.push(event),
                _ => {}
            }
        }
        self.driver.flush().map_err(|error| self.broken(error))
    }

    /// Each attempt goes to the next of the server's addresses.
    fn connect(&mut self, early: bool) {
        let address = self.server.address(self.attempts);
        self.attempts += 1;
        match self.driver.endpoint().connect_with(Instant::now(), address, &self.server.name, early) {
            Ok(link) => self.bridge.connecting(link),
            Err(error) => {
                let reason = error.to_string();
                self.client.handle_input(client_core::Input::Closed { reason }, now());
            }
        }
    }

    fn broken(&self, source: std::io::Error) -> CliError {
        CliError::Connect { server: self.server.name.clone(), source: source.into() }
    }

    fn look_at(&mut self, event: &ClientEvent) -> Result<(), CliError> {
        match event {
            ClientEvent::LoginNeeded(refusal) if refusal.retry == Retry::Never => {
                Err(CliError::Refused(*refusal))
            }
            ClientEvent::LoginNeeded(refusal) => {
                let profile = self.profile.dir().to_owned();
                Err(CliError::LoginNeeded { why: refusal.to_string(), profile })
            }
            ClientEvent::Replaced => Err(CliError::InUse),
            ClientEvent::StorageFailed { reason } => Err(CliError::Stopped(reason.clone())),
            ClientEvent::Disconnected { reason, .. } => {
                self.last_trouble.clone_from(reason);
                self.is_synced = false;
                Ok(())
            }
            ClientEvent::Synced => {
                self.is_synced = true;
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Waits until others can encrypt for this device.
    ///
    /// # Errors
    /// As [`Session::wait_for`].
    pub fn until_reachable(&mut self, timeout: Duration) -> Result<(), CliError> {
        self.wait_for(timeout, |session, _| {
            (session.is_synced && session.client.is_reachable()).then_some(())
        })
    }

    /// Waits until everything is here that the server had for this device when it was asked.
    ///
    /// # Errors
    /// As [`Session::wait_for`].
    pub fn catch_up(&mut self, timeout: Duration) -> Result<(), CliError> {
        self.wait_for(timeout, |session, _| {
            (session.is_synced && session.client.is_caught_up()).then_some(())
        })
    }

    /// Takes turns until something holds, which is asked before the first turn and after every event. The events are for
    /// whoever takes the next turn.
    ///
    /// # Errors
    /// [`CliError::Unreachable`] after `timeout`, and as [`Session::turn`].
    pub fn wait_for<T>(
        &mut self,
        timeout: Duration,
        mut done: impl FnMut(&mut Session, Option<&ClientEvent>) -> Option<T>,
    ) -> Result<T, CliError> {
        let deadline = Instant::now() + timeout;
        let mut seen = Vec::new();
        let mut found = done(self, None);
        let result = loop {
            if let Some(found) = found {
                break Ok(found);
            }
            if Instant::now() >= deadline {
                break Err(self.unreachable(timeout));
            }
            let events = match self.turn(deadline) {
                Ok(events) => events,
                Err(error) => break Err(error),
            };
            for event in &events {
                found = found.or_else(|| done(self, Some(event)));
            }
            found = found.or_else(|| done(self, None));
            seen.extend(events);
        };
        self.events.splice(0..0, seen);
        result
    }

    /// Asks, and waits for the whole answer.
    ///
    /// # Errors
    /// [`CliError::Refused`], [`CliError::Unreachable`] after `timeout`, and as [`Session::turn`].
    pub fn ask(&mut self, ask: Ask, timeout: Duration) -> Result<Vec<Event>, CliError> {
        let id = self.client.ask(ask, now());
        let answer = self.wait_for(timeout, |_, event| match event {
            Some(ClientEvent::Answer { ask, events }) if *ask == id => Some(events.clone()),
            _ => None,
        })?;
        match &answer[..] {
            [Event::Refused(refusal)] => Err(CliError::Refused(*refusal)),
            [] => Err(CliError::Refused(Refusal::from(wire::ErrorCode::Unavailable))),
            _ => Ok(answer),
        }
    }

    /// Asks a plain request.
    ///
    /// # Errors
    /// As [`Session::ask`].
    pub fn request(&mut self, request: Request, timeout: Duration) -> Result<Vec<Event>, CliError> {
        self.ask(Ask::Plain(request), timeout)
    }

    /// What to say when there was no answer in time.
    pub fn unreachable(&self, waited: Duration) -> CliError {
        CliError::Unreachable { waited, last: self.last_trouble.clone(), waiting: self.client.outbox_len() }
    }

    /// Ends in order: the server hears what was said, for a moment at most, then goodbye.
    pub fn close(mut self) {
        let deadline = Instant::now() + WIND_DOWN_MAX;
        loop {
            self.client.wind_down();
            let is_heard = !self.client.is_ready() || self.client.is_wound_down();
            if is_heard || Instant::now() >= deadline || self.turn(deadline).is_err() {
                break;
            }
        }
        self.client.stop();
        // What is left to say is nice to have.
        let _ = self.perform();
        let _ = self.driver.linger(Duration::from_millis(200));
    }
}

/// Whether a wait took seconds longer than it should have: the process was stopped, or the machine slept.
fn overslept(began: Now, due: Instant) -> bool {
    let planned = due.saturating_duration_since(began.instant);
    now().wall.saturating_since(began.wall) > planned + OVERSLEPT
}

/// Takes the claim, then reads: nobody else changes the tokens and cursors that were read.
fn claimed_snapshot(profile: &Profile) -> Result<(Snapshot, i64), CliError> {
    if profile.db.claim()? { Ok(profile.db.snapshot()?) } else { Err(CliError::InUse) }
}

fn bind(target: &Target, ca: &Path) -> Result<Driver, CliError> {
    let wrong = |source: Box<dyn std::error::Error + Send + Sync>| CliError::Connect {
        server: target.name.clone(),
        source,
    };
    let roots = certs::load_roots(ca).map_err(|error| wrong(error.into()))?;
    let crypto = wire_link::tls::client(Trust::roots(roots)).map_err(|error| wrong(error.into()))?;
    let secrets = Secrets { seed: random()?, reset_key: random()?, token_key: random()?, cid_key: random()? };
    let endpoint = Endpoint::client(LinkConfig::client(secrets), ClientConfig::new(crypto), Instant::now());
    Driver::bind(target.local(), endpoint).map_err(|error| wrong(error.into()))
}

/// Randomness from the operating system.
///
/// # Errors
/// It has none.
pub fn random<const N: usize>() -> Result<[u8; N], CliError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|error| CliError::Output(std::io::Error::other(error)))?;
    Ok(bytes)
}
