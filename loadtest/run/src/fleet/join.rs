//! Registration and acquaintance: the real protocol from the first `Hello` to the first chat, many phones at a time.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;
use std::time::{Duration, Instant};

use client_core::{Ask, AskId, ClientEvent};
use wire::event::Event;
use wire::request::{self, Request};
use wire::{AccountId, ChatId, InstallId, Refusal, RegistrationId, Retry, Secret};

use super::{Fleet, FleetError, Happened};
use crate::texts::Texts;

/// Registrations and questions under way at a time.
const AT_A_TIME: usize = 256;

/// Questions of one phone under way at a time.
const OF_ONE_PHONE: usize = 8;

/// Without any progress for this long, joining is given up.
const PATIENCE: Duration = Duration::from_secs(60);

/// Why phones could not join.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    /// The fleet itself fails.
    #[error(transparent)]
    Fleet(#[from] FleetError),
    /// The file of text messages cannot be read.
    #[error("the node's text messages cannot be read")]
    Texts(#[source] std::io::Error),
    /// The server said no.
    #[error("phone {phone}: {what}")]
    Refused {
        /// Which phone.
        phone: usize,
        /// What was said.
        what: String,
    },
    /// Nothing went on for a minute.
    #[error("{left} are still waiting, and nothing has happened for a minute")]
    Stuck {
        /// How many.
        left: usize,
    },
}

/// What a phone that joins waits for.
#[derive(Debug, Clone, Copy)]
enum Step {
    /// The server.
    Server,
    /// The text message with the code.
    Text(RegistrationId),
    /// A busy server, until then.
    Again(Instant),
}

impl Fleet {
    /// A person's phone number.
    pub fn number(person: usize) -> String {
        format!("+4917{person:09}")
    }

    /// Registers phones, each for its person (at most one of a person at a time), with codes from the node's file of text messages. At the end all
    /// of them are connected and synced.
    ///
    /// # Errors
    /// [`JoinError`].
    pub fn register(&mut self, phones: Range<usize>, sms: &Path) -> Result<(), JoinError> {
        let mut texts = Texts::new(sms);
        let mut waiting = phones;
        let mut steps: BTreeMap<usize, Step> = BTreeMap::new();
        let mut progress = Instant::now();
        loop {
            while steps.len() < AT_A_TIME
                && let Some(phone) = waiting.next()
            {
                steps.insert(phone, Step::Server);
                self.start(phone);
            }
            if steps.is_empty() {
                return Ok(());
            }
            self.turn(Instant::now() + Duration::from_millis(20))?;
            while let Some(Happened { phone, event, .. }) = self.happened() {
                if steps.contains_key(&phone) {
                    progress = Instant::now();
                    self.step(phone, event, &mut steps)?;
                }
            }
            self.go_on(&mut texts, &mut steps)?;
            if progress.elapsed() > PATIENCE {
                return Err(JoinError::Stuck { left: steps.len() + waiting.len() });
            }
        }
    }

    fn step(
        &mut self,
        phone: usize,
        event: ClientEvent,
        steps: &mut BTreeMap<usize, Step>,
    ) -> Result<(), JoinError> {
        match event {
            ClientEvent::Connected { .. } if self.account(phone).is_none() => self.ask_to_register(phone),
            ClientEvent::Answer { events, .. } => match events[..] {
                [Event::Registered { registration, .. }] => {
                    steps.insert(phone, Step::Text(registration));
                }
                [Event::Verified(_)] => {}
                [Event::Refused(Refusal { retry: Retry::After(wait), .. })] => {
                    steps.insert(phone, Step::Again(Instant::now() + wait));
                }
                _ => return Err(JoinError::Refused { phone, what: format!("{events:?}") }),
            },
            ClientEvent::Synced if self.account(phone).is_some() => {
                steps.remove(&phone);
            }
            ClientEvent::LoginNeeded(refusal) => {
                return Err(JoinError::Refused { phone, what: refusal.to_string() });
            }
            _ => {}
        }
        Ok(())
    }

    /// Begins a registration; one that was begun before is abandoned.
    fn ask_to_register(&mut self, phone: usize) {
        let mut install = [0; 16];
        install.copy_from_slice(&self.phones[phone].seed[16..]);
        let person = self.phones[phone].person;
        let request = self.with(phone, |client, _| client.request_id());
        let register = request::Register {
            phone: Secret::new(Fleet::number(person)),
            name: loadtest_workload::name(person).into_owned(),
            install: InstallId::new(install),
            request,
        };
        self.ask(phone, Ask::Plain(Request::Register(register)));
    }

    fn go_on(&mut self, texts: &mut Texts, steps: &mut BTreeMap<usize, Step>) -> Result<(), JoinError> {
        for (&phone, step) in steps {
            let registration = match *step {
                Step::Server => continue,
                Step::Again(at) if at <= Instant::now() => {
                    self.ask_to_register(phone);
                    *step = Step::Server;
                    continue;
                }
                Step::Again(_) => continue,
                Step::Text(registration) => registration,
            };
            if let Some(otp) =
                texts.take(&Fleet::number(self.phones[phone].person)).map_err(JoinError::Texts)?
            {
                let (otp, device_name) = (Secret::new(otp), "phone".to_owned());
                self.ask(phone, Ask::Verify { registration, otp, device_name });
                *step = Step::Server;
            }
        }
        Ok(())
    }

    /// Finds somebody by number, who need not be of this fleet: the 1:1 chat with them, and their account.
    ///
    /// # Errors
    /// [`JoinError`].
    pub fn find_number(&mut self, phone: usize, number: &str) -> Result<(ChatId, AccountId), JoinError> {
        let found = self.find_all(&[(phone, number.to_owned())])?;
        found.first().copied().ok_or(JoinError::Stuck { left: 1 })
    }

    /// Finds people by their numbers; of each pair, the phone asks for the person. Their accounts
    /// and the 1:1 chats with them, in the order of `pairs`.
    ///
    /// # Errors
    /// [`JoinError`].
    pub fn find(&mut self, pairs: &[(usize, usize)]) -> Result<Vec<(ChatId, AccountId)>, JoinError> {
        let pairs: Vec<(usize, String)> =
            pairs.iter().map(|&(phone, person)| (phone, Fleet::number(person))).collect();
        self.find_all(&pairs)
    }

    fn find_all(&mut self, pairs: &[(usize, String)]) -> Result<Vec<(ChatId, AccountId)>, JoinError> {
        let mut found: Vec<Option<(ChatId, AccountId)>> = vec![None; pairs.len()];
        let mut asked: BTreeMap<(usize, AskId), usize> = BTreeMap::new();
        let (mut next, mut left) = (0, pairs.len());
        let mut progress = Instant::now();
        while left > 0 {
            while asked.len() < AT_A_TIME && next < pairs.len() {
                let (phone, ref number) = pairs[next];
                // A node answers no more of one connection at a time.
                if asked.range((phone, AskId(0))..=(phone, AskId(u64::MAX))).count() >= OF_ONE_PHONE {
                    break;
                }
                let lookup = Request::Lookup { phone: Secret::new(number.clone()) };
                asked.insert((phone, self.ask(phone, Ask::Plain(lookup))), next);
                next += 1;
            }
            self.turn(Instant::now() + Duration::from_millis(100))?;
            while let Some(Happened { phone, event, .. }) = self.happened() {
                let ClientEvent::Answer { ask, events } = event else { continue };
                let Some(place) = asked.remove(&(phone, ask)) else { continue };
                let [Event::Found { account, chat, .. }] = events[..] else {
                    return Err(JoinError::Refused { phone, what: format!("{events:?}") });
                };
                found[place] = Some((chat, account));
                left -= 1;
                progress = Instant::now();
            }
            if progress.elapsed() > PATIENCE {
                return Err(JoinError::Stuck { left });
            }
        }
        Ok(found.into_iter().flatten().collect())
    }
}
