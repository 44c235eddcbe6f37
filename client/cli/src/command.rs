//! The commands, one file each, and what they share.

mod account;
mod chat;
mod group;
mod history;
mod lifecycle;
mod register;
mod send;
mod tail;
mod waiting;

use std::time::Duration;

use clap::{Args, Subcommand};
use client_db::Contact;
use wire::event::Event;
use wire::request::Request;
use wire::{AccountId, ChatId, Phone, Secret};

use crate::error::CliError;
use crate::output::Form;
use crate::profile::Profile;
use crate::session::Session;
use crate::unlock::ProfileArgs;

/// What the terminal client does.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Register this device: prove a phone number by a one-time code.
    ///
    /// The code comes by text message; it is asked for here unless --code or --code-file gives it. A number that is known
    /// already logs this device in as another device of its account: it reads what is said from then on, and what was said
    /// before stays on the account's other devices. Returns when others can encrypt for this device.
    Register(register::Register),
    /// Chat: all conversations on one screen, with ticks as they come.
    ///
    /// F1 shows the keys. Messages wait in the persistent outbox as those of `send` do, and what is written and not sent
    /// is there again at the next start.
    Chat(chat::Chat),
    /// Send a message, or one per line of standard input.
    ///
    /// Messages wait in a persistent outbox until the server has committed them; killed at any moment, the next `send`
    /// or `tail` of the profile delivers them, once and in order.
    Send(send::Send),
    /// Receive: print messages and ticks as they come, what was missed first.
    ///
    /// Each message is printed once per profile. Without the server it keeps trying until it is stopped; with --count it
    /// ends after so many messages, and waits at most --timeout for the server to know that they arrived.
    Tail(tail::Tail),
    /// List the chats, latest first.
    Chats(account::ChatsCommand),
    /// Show a chat's log: messages as this device has read them, with their ticks, and what else has a place in it.
    ///
    /// The server has ciphertext only. What was said before this device was added is on the account's other devices.
    History(history::History),
    /// Show when each member got and read one message.
    Info(history::Info),
    /// Make groups, and change who is in them.
    ///
    /// Messages of a group go by `send --chat ID`, `tail` and `chat` as others do.
    Group(group::GroupCommand),
    /// List the account's devices.
    Devices(account::DevicesCommand),
    /// End another device of the account; what it holds is worth nothing at once.
    Revoke(account::Revoke),
    /// End this device.
    Logout(account::Logout),
}

impl Command {
    /// Runs it.
    ///
    /// # Errors
    /// [`CliError`]; its exit code says which kind.
    pub fn run(self) -> Result<(), CliError> {
        match self {
            Command::Register(command) => command.run(),
            Command::Chat(command) => command.run(),
            Command::Send(command) => command.run(),
            Command::Tail(command) => command.run(),
            Command::Chats(command) => command.run(),
            Command::History(command) => command.run(),
            Command::Info(command) => command.run(),
            Command::Group(command) => command.run(),
            Command::Devices(command) => command.run(),
            Command::Revoke(command) => command.run(),
            Command::Logout(command) => command.run(),
        }
    }
}

/// What every command takes.
#[derive(Debug, Clone, Args)]
pub struct Common {
    /// Which profile, and what opens it.
    #[command(flatten)]
    pub profile: ProfileArgs,
    /// Print JSON, one object a line.
    #[arg(long)]
    pub json: bool,
    /// Give up after this many seconds without the server.
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    pub timeout: u64,
}

impl Common {
    fn timeout(&self) -> Duration {
        Duration::from_secs(self.timeout)
    }

    fn form(&self) -> Form {
        Form::new(self.json)
    }

    fn profile(&self) -> Result<Profile, CliError> {
        self.profile.open()
    }

    fn session(&self) -> Result<Session, CliError> {
        Session::open(self.profile()?)
    }

    /// One question on a connection of its own.
    fn ask_once(&self, request: Request) -> Result<Vec<Event>, CliError> {
        let mut session = self.session()?;
        let answer = session.request(request, self.timeout());
        session.close();
        answer
    }
}

/// A chat and the other account of it.
#[derive(Debug, Clone, Copy)]
struct Target {
    chat: ChatId,
    peer: Option<AccountId>,
}

fn parse_phone(text: &str) -> Result<Phone, CliError> {
    Phone::parse(text)
        .map_err(|_| CliError::Usage("a phone number is '+', country code and number, like +4915112345678"))
}

/// The person with a number: one met before, or found by the server's rate-limited lookup.
fn find(session: &mut Session, phone: &str, timeout: Duration) -> Result<Contact, CliError> {
    let phone = parse_phone(phone)?;
    if let Some(contact) = session.profile.db.contact(phone.expose())? {
        return Ok(contact);
    }
    let lookup = Request::Lookup { phone: Secret::new(phone.expose().to_owned()) };
    match session.request(lookup, timeout) {
        Ok(events) => match &events[..] {
            [Event::Found { account, name, chat }] => {
                session.profile.db.learn(Some(phone.expose()), *account, name, *chat)?;
                Ok(Contact { account: *account, name: name.clone(), chat: *chat })
            }
            _ => Err(CliError::Unexpected),
        },
        Err(CliError::Refused(refusal)) if refusal.code == wire::ErrorCode::NotFound => {
            Err(CliError::NobodyThere)
        }
        Err(error) => Err(error),
    }
}

/// All chats of the account, page by page; names are remembered.
fn all_chats(session: &mut Session, timeout: Duration) -> Result<Vec<wire::event::Chat>, CliError> {
    let mut all: Vec<wire::event::Chat> = Vec::new();
    loop {
        let after = all.last().map(|chat| chat.chat);
        let events = session.request(Request::GetChats { after }, timeout)?;
        let [Event::Chats { chats, has_more }] = &events[..] else { return Err(CliError::Unexpected) };
        for chat in chats {
            if let Some((account, name)) = &chat.peer {
                session.profile.db.learn(None, *account, name, chat.chat)?;
            }
            if let Some(name) = &chat.name {
                session.profile.db.name_group(chat.chat, name)?;
            }
        }
        all.extend_from_slice(chats);
        if !has_more || chats.is_empty() {
            return Ok(all);
        }
    }
}
