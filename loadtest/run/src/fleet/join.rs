//! Registration and acquaintance: the real protocol from the first `Hello` to the first chat, many phones at a time.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;
use std::time::{Duration, Instant};

use client_core::{Ask, AskId, ClientEvent};
use wire::event::Event;
use wire::request::{self, Request};
use wire::{AccountId, ChatId, InstallId, RegistrationId, Secret};

use super::{Fleet, FleetError, Happened};
use crate::texts::Texts;

/// Registrations and questions under way at a time.
const AT_A_TIME: usize = 256;

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
            self.answer_texts(&mut texts, &mut steps)?;
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
            ClientEvent::Connected { .. } if self.account(phone).is_none() => {
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
            ClientEvent::Answer { events, .. } => match events[..] {
                [Event::Registered { registration, .. }] => {
                    steps.insert(phone, Step::Text(registration));
                }
                [Event::Verified(_)] => {}
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

    fn answer_texts(
        &mut self,
        texts: &mut Texts,
        steps: &mut BTreeMap<usize, Step>,
    ) -> Result<(), JoinError> {
        for (&phone, step) in steps {
            let Step::Text(registration) = *step else { continue };
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

    /// Finds people by their numbers; of each pair, the phone asks for the person. Their accounts
    /// and the 1:1 chats with them, in the order of `pairs`.
    ///
    /// # Errors
    /// [`JoinError`].
    pub fn find(&mut self, pairs: &[(usize, usize)]) -> Result<Vec<(ChatId, AccountId)>, JoinError> {
        let mut found: Vec<Option<(ChatId, AccountId)>> = vec![None; pairs.len()];
        let mut asked: BTreeMap<(usize, AskId), usize> = BTreeMap::new();
        let (mut next, mut left) = (0, pairs.len());
        let mut progress = Instant::now();
        while left > 0 {
            while asked.len() < AT_A_TIME && next < pairs.len() {
                let (phone, other) = pairs[next];
                let lookup = Request::Lookup { phone: Secret::new(Fleet::number(other)) };
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
