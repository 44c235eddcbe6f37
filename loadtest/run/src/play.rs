//! The workload in real time: what the seed says, when it says it, whether or not the last thing is done, and an oracle
//! that looks at every event.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::path::Path;
use std::time::{Duration, Instant};

use client_core::ClientEvent;
use hdrhistogram::Histogram;
use loadtest_workload::{Act, Acts, Phone, Shape, words};
use wire::content::{Content, Text};
use wire::{AccountId, ChatId, Seq};

use crate::fleet::{Fleet, FleetError, Happened, JoinError};
use crate::oracle::{Oracle, Violation};

/// Why a run has no figures.
#[derive(Debug, thiserror::Error)]
pub enum PlayError {
    /// A promise was broken.
    #[error("a promise was broken")]
    Violation(#[from] Violation),
    /// The fleet fails.
    #[error(transparent)]
    Fleet(#[from] FleetError),
    /// The phones could not join.
    #[error("the phones could not join")]
    Join(#[from] JoinError),
    /// More messages wait in a phone's outbox than it takes: the node does not keep up at all.
    #[error("phone {phone} takes no more messages: {source}")]
    Outbox {
        /// The phone.
        phone: usize,
        /// Why.
        source: client_core::SendError,
    },
    /// The numbers of people and phones do not fit each other.
    #[error("the histogram's bounds are wrong")]
    Histogram(#[from] hdrhistogram::CreationError),
}

/// What a run brought.
#[derive(Debug, Clone)]
pub struct Played {
    /// Messages said.
    pub said: usize,
    /// Messages shown by recipients' phones.
    pub delivered: u64,
    /// Microseconds from the planned moment to the recipient's callback, where both phones were there all the time.
    pub latencies: Histogram<u64>,
    /// Connections that were lost and not closed by their phone.
    pub lost_connections: u64,
}

/// How long after the last act everything must have arrived, with all phones back.
const SETTLE_MAX: Duration = Duration::from_secs(60);

/// A chat as one phone knows it.
#[derive(Debug, Clone, Copy)]
struct Known {
    chat: ChatId,
    peer: AccountId,
}

/// Something to do at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Due {
    /// A phone's next act.
    Act,
    /// Back on the network.
    Return,
    /// Back on the screen.
    Foreground,
    /// A key is pressed in a chat.
    Key(ChatId),
    /// A chat is closed.
    Close(ChatId),
}

/// A workload that is being played.
pub struct Play<'a> {
    fleet: &'a mut Fleet,
    seed: u64,
    phones: Vec<Phone>,
    acts: Vec<std::iter::Peekable<Acts>>,
    /// By phone and person.
    known: BTreeMap<(usize, usize), Known>,
    accounts: Vec<AccountId>,
    before: Vec<u64>,
    /// Since when each phone has been connected and synced, if it is.
    there_since: Vec<Option<Instant>>,
    /// Phones that are away on purpose.
    away: Vec<bool>,
    due: BinaryHeap<Reverse<(Instant, usize, Due)>>,
    oracle: Oracle,
    played: Played,
    began: Instant,
}

impl<'a> Play<'a> {
    /// Adds the shape's phones to an empty fleet, registers them and makes them known to each other.
    ///
    /// # Errors
    /// [`PlayError`].
    pub fn new(fleet: &'a mut Fleet, shape: &Shape, seed: u64, sms: &Path) -> Result<Play<'a>, PlayError> {
        let phones: Vec<Phone> = shape.phones().collect();
        phones.iter().for_each(|phone| {
            fleet.add_of(phone.person);
        });
        // A person's second phone is added to an account that is there.
        fleet.register(0..shape.people, sms)?;
        fleet.register(shape.people..phones.len(), sms)?;
        let pairs: Vec<(usize, usize)> = phones
            .iter()
            .flat_map(|phone| shape.contacts_of(phone.person).map(|other| (phone.number, other)))
            .collect();
        let mut oracle = Oracle::new(seed);
        let mut known = BTreeMap::new();
        for (&(phone, other), (chat, peer)) in pairs.iter().zip(fleet.find(&pairs)?) {
            known.insert((phone, other), Known { chat, peer });
            oracle.know(chat, [phones[phone].person, other]);
        }
        let accounts = phones.iter().filter_map(|phone| fleet.account(phone.number)).collect();
        let count = phones.len();
        let began = Instant::now();
        let acts = phones.iter().map(|&phone| shape.acts(seed, phone).peekable()).collect();
        let latencies = Histogram::new_with_bounds(1, 600_000_000, 3)?;
        let mut play = Play {
            fleet,
            seed,
            phones,
            acts,
            known,
            accounts,
            before: vec![0; count],
            there_since: vec![Some(began); count],
            away: vec![false; count],
            due: BinaryHeap::new(),
            oracle,
            played: Played { said: 0, delivered: 0, latencies, lost_connections: 0 },
            began,
        };
        (0..count).for_each(|phone| play.plan_next(phone));
        Ok(play)
    }

    /// Plays all of it, calling `meanwhile` about every 50 ms with the time since the beginning; then waits until
    /// everybody has everything.
    ///
    /// # Errors
    /// [`PlayError`]: a run in which a promise was broken has no figures.
    pub fn run(
        mut self,
        mut meanwhile: impl FnMut(&mut Fleet, Duration) -> Result<(), FleetError>,
    ) -> Result<Played, PlayError> {
        while let Some(&Reverse((at, phone, due))) = self.due.peek() {
            let now = Instant::now();
            if at <= now {
                self.due.pop();
                self.perform(at, phone, due)?;
                continue;
            }
            self.turn(at.min(now + Duration::from_millis(50)))?;
            meanwhile(self.fleet, self.began.elapsed())?;
        }
        let end = Instant::now() + SETTLE_MAX;
        loop {
            let complete = self.oracle.complete(&self.phones);
            match complete {
                Ok(()) => break,
                Err(missing) if Instant::now() >= end => return Err(missing.into()),
                Err(_) => self.turn(Instant::now() + Duration::from_millis(50))?,
            }
            meanwhile(self.fleet, self.began.elapsed())?;
        }
        self.played.said = self.oracle.count();
        Ok(self.played)
    }

    fn plan_next(&mut self, phone: usize) {
        if let Some((at, _)) = self.acts[phone].peek() {
            self.due.push(Reverse((self.began + *at, phone, Due::Act)));
        }
    }

    fn perform(&mut self, at: Instant, phone: usize, due: Due) -> Result<(), PlayError> {
        match due {
            Due::Act => {
                if let Some((_, act)) = self.acts[phone].next() {
                    self.act(at, phone, act)?;
                }
                self.plan_next(phone);
            }
            Due::Return => {
                self.away[phone] = false;
                self.fleet.start(phone);
            }
            Due::Foreground => self.fleet.set_foreground(phone, true),
            Due::Key(chat) => self.fleet.press(phone, chat),
            Due::Close(chat) => self.fleet.close_chat(phone, chat),
        }
        Ok(())
    }

    fn act(&mut self, at: Instant, phone: usize, act: Act) -> Result<(), PlayError> {
        match act {
            Act::Say { to, count } => (0..count).try_for_each(|_| self.say(at, phone, to))?,
            Act::Read { of, part } => {
                if let Some(known) = self.known.get(&(phone, of)) {
                    let have = self.fleet.kept(phone).chat(known.chat).map_or(0, |row| row.have.0);
                    let upto = Seq((have as f64 * part) as u64);
                    self.fleet.mark_read(phone, known.chat, upto);
                }
            }
            Act::Type { of, keys, closes } => {
                let person = self.phones[phone].person;
                let other = if of[0] == person { of[1] } else { of[0] };
                // In a chat of others there is nothing to open: the node would refuse it, which other tests show.
                if let (true, Some(&Known { chat, peer })) =
                    (of.contains(&person), self.known.get(&(phone, other)))
                {
                    self.fleet.open_chat(phone, chat, peer);
                    keys.iter().for_each(|key| self.due.push(Reverse((at + *key, phone, Due::Key(chat)))));
                    let closes = closes.unwrap_or(Duration::from_secs(9));
                    self.due.push(Reverse((at + closes, phone, Due::Close(chat))));
                }
            }
            Act::Leave { down } => {
                if !std::mem::replace(&mut self.away[phone], true) {
                    self.there_since[phone] = None;
                    self.fleet.stop(phone);
                    self.due.push(Reverse((at + down, phone, Due::Return)));
                }
            }
            Act::Hide { down } => {
                self.fleet.set_foreground(phone, false);
                self.due.push(Reverse((at + down, phone, Due::Foreground)));
            }
        }
        Ok(())
    }

    fn say(&mut self, at: Instant, phone: usize, to: usize) -> Result<(), PlayError> {
        let Some(&Known { chat, peer }) = self.known.get(&(phone, to)) else { return Ok(()) };
        let (who, before) = (self.phones[phone], self.before[phone]);
        let text = words(self.seed, who, before);
        let content = Content::Text(Text { text, sent_at_us: 0, reply_to: None });
        let content = content.encode();
        let id = self
            .fleet
            .send(phone, chat, peer, content)
            .map_err(|source| PlayError::Outbox { phone, source })?;
        self.before[phone] += 1;
        self.oracle.said(id, who, chat, before, at);
        Ok(())
    }

    fn turn(&mut self, until: Instant) -> Result<(), PlayError> {
        self.fleet.turn(until)?;
        while let Some(happened) = self.fleet.happened() {
            self.take(happened)?;
        }
        Ok(())
    }

    fn take(&mut self, happened: Happened) -> Result<(), PlayError> {
        let Happened { phone, at, event } = happened;
        let who = self.phones[phone];
        match event {
            ClientEvent::Arrived(message) => {
                let (planned, by) = self.oracle.shown(who, &message)?;
                if self.phones[by].person != who.person {
                    self.played.delivered += 1;
                    let was_there =
                        |phone: usize| self.there_since[phone].is_some_and(|since| since <= planned);
                    if was_there(by) && was_there(phone) {
                        let took = at.saturating_duration_since(planned).as_micros();
                        self.played.latencies.saturating_record(took.try_into().unwrap_or(u64::MAX));
                    }
                }
            }
            ClientEvent::Passed { chat, seq, .. } => self.oracle.passed(who, chat, seq)?,
            ClientEvent::Sent(message) => self.oracle.ticked(who, &message)?,
            ClientEvent::Cursor { chat, cursor } => {
                let own = cursor.member == self.accounts[phone];
                self.oracle.cursor(phone, chat, own, cursor.delivered);
            }
            ClientEvent::Failed { refusal, .. } | ClientEvent::LoginNeeded(refusal) => {
                return Err(Violation::Refused { phone, why: refusal.to_string() }.into());
            }
            ClientEvent::Synced => self.there_since[phone] = Some(at),
            ClientEvent::Asleep => self.there_since[phone] = None,
            ClientEvent::Disconnected { .. } => {
                self.there_since[phone] = None;
                self.played.lost_connections += u64::from(!self.away[phone]);
            }
            _ => {}
        }
        Ok(())
    }
}
