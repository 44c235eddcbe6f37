//! `godwit send`.

use std::io::BufRead;
use std::sync::mpsc::{Receiver, TryRecvError};
use std::time::{Duration, Instant};

use clap::Args;
use client_core::{CONTENT_BYTES_MAX, OUTBOX_MAX, OutboxRow, SendError, Write};
use wire::content::{Content, Text};
use wire::{ChatId, ClientMsgId, limits};

use super::waiting::{Wait, Waiting, Watched};
use super::{Common, Target, find, parse_phone};
use crate::error::CliError;
use crate::profile::Profile;
use crate::session::{Session, micros_now, now, random};

/// Lines of standard input that wait for the outbox at a time; more are read when these are sent.
const LINES_AHEAD: usize = 1000;

/// Lines in one transaction, when another process sends them.
const LINES_AT_ONCE: usize = 100;

/// See [`super::Command::Send`].
#[derive(Debug, Args)]
pub struct Send {
    #[command(flatten)]
    common: Common,
    /// To the person with this phone number.
    #[arg(long, value_name = "NUMBER", required_unless_present = "chat", conflicts_with = "chat")]
    to: Option<String>,
    /// To this chat.
    #[arg(long, value_name = "ID")]
    chat: Option<ChatId>,
    /// Send each line of standard input as a message.
    #[arg(long, conflicts_with = "text")]
    stdin: bool,
    /// Return when the messages are committed (sent), on the other person's device (delivered), or read.
    #[arg(long, value_enum, default_value = "sent")]
    wait: Wait,
    /// The message; words are joined by spaces.
    #[arg(value_name = "TEXT", required_unless_present = "stdin")]
    text: Vec<String>,
}

impl Send {
    pub(super) fn run(self) -> Result<(), CliError> {
        let profile = self.common.profile()?;
        if !profile.db.claim()? {
            return self.queue_for_other(profile);
        }
        let mut session = Session::open(profile)?;
        let result = self.send(&mut session);
        session.close();
        result
    }

    fn send(&self, session: &mut Session) -> Result<(), CliError> {
        let target = self.target(session)?;
        let lines = self.lines(session);
        let me = session.client.identity().map(|(account, _)| account);
        let mut waiting = Waiting::new(self.common.form(), self.wait, me);
        let mut open = true;
        let mut progress_at = Instant::now();
        loop {
            while open && waiting.sending() < LINES_AHEAD {
                match lines.try_recv() {
                    Ok(line) => {
                        let content = encode_text(&line)?;
                        waiting.add(session.client.send(target.chat, target.peer, content, now())?);
                    }
                    Err(TryRecvError::Empty) => break,
                    Err(TryRecvError::Disconnected) => open = false,
                }
            }
            if !open && waiting.is_empty() {
                return waiting.result();
            }
            if waiting.is_empty() {
                progress_at = Instant::now();
            }
            self.turn(session, &mut waiting, &mut progress_at)?;
        }
    }

    /// One turn; gives up when nothing has come of the messages for the whole timeout.
    fn turn(
        &self,
        session: &mut Session,
        waiting: &mut Waiting,
        progress_at: &mut Instant,
    ) -> Result<(), CliError> {
        let timeout = self.common.timeout();
        for event in session.turn(Instant::now() + Duration::from_millis(500))? {
            if waiting.see(event)? {
                *progress_at = Instant::now();
            }
        }
        if !waiting.is_empty() && progress_at.elapsed() >= timeout {
            return Err(waiting.unfinished(timeout).unwrap_or_else(|| session.unreachable(timeout)));
        }
        Ok(())
    }

    fn target(&self, session: &mut Session) -> Result<Target, CliError> {
        match (&self.to, self.chat) {
            (Some(phone), _) => {
                let contact = find(session, phone, self.common.timeout())?;
                Ok(Target { chat: contact.chat, peer: Some(contact.account) })
            }
            (None, Some(chat)) => Ok(Target { chat, peer: None }),
            (None, None) => Err(CliError::Usage("say --to NUMBER or --chat ID")),
        }
    }

    /// Lines to send: those of standard input as they come, or the one that was given.
    fn lines(&self, session: &Session) -> Receiver<String> {
        let (sender, lines) = std::sync::mpsc::sync_channel(LINES_AHEAD);
        if !self.stdin {
            let text = self.text.join(" ");
            sender.send(text).expect("the receiver is right here and the channel empty");
            return lines;
        }
        let waker = session.waker();
        std::thread::spawn(move || {
            for line in std::io::stdin().lock().lines().map_while(Result::ok).filter(|line| !line.is_empty())
            {
                if sender.send(line).is_err() {
                    return;
                }
                waker.wake();
            }
            drop(sender);
            waker.wake();
        });
        lines
    }

    /// Another process of this profile is connected: the messages go into the outbox, and that process sends them. If it
    /// ends before it has, this one takes over.
    fn queue_for_other(&self, mut profile: Profile) -> Result<(), CliError> {
        if self.wait != Wait::Sent {
            return Err(CliError::Usage(
                "another process of this profile is connected: --wait sent is all that can be waited for",
            ));
        }
        let target = match (&self.to, self.chat) {
            (Some(phone), _) => match profile.db.contact(parse_phone(phone)?.expose())? {
                Some(contact) => Target { chat: contact.chat, peer: Some(contact.account) },
                None => return Err(CliError::InUse),
            },
            (None, Some(chat)) => Target { chat, peer: None },
            (None, None) => return Err(CliError::Usage("say --to NUMBER or --chat ID")),
        };
        let mut waiting = Waiting::new(self.common.form(), Wait::Sent, None);
        self.queue(&mut profile, target, &mut waiting)?;
        let mut progress_at = Instant::now();
        match waiting.watch(&mut profile, target.chat, self.common.timeout())? {
            Watched::Answered => waiting.result(),
            Watched::Alone => {
                let mut session = Session::open(profile)?;
                while !waiting.is_empty() {
                    self.turn(&mut session, &mut waiting, &mut progress_at)?;
                }
                session.close();
                waiting.result()
            }
        }
    }

    /// Puts everything into the outbox: a transaction for as many lines as come at once.
    fn queue(&self, profile: &mut Profile, target: Target, waiting: &mut Waiting) -> Result<(), CliError> {
        let stdin = std::io::stdin();
        let given = (!self.stdin).then(|| self.text.join(" "));
        let typed = self.stdin.then(|| stdin.lock().lines().map_while(Result::ok));
        let mut lines = given.into_iter().chain(typed.into_iter().flatten()).filter(|line| !line.is_empty());
        loop {
            let writes = lines.by_ref().take(LINES_AT_ONCE).map(|line| {
                let (client_msg_id, content) = (ClientMsgId::new(random()?), encode_text(&line)?);
                let row =
                    OutboxRow { client_msg_id, chat: target.chat, peer: target.peer, content, sealed: None };
                Ok(Write::Queue(row))
            });
            let writes: Vec<Write> = writes.collect::<Result<_, CliError>>()?;
            if writes.is_empty() {
                return Ok(());
            }
            if profile.db.outbox_len()? + writes.len() > OUTBOX_MAX {
                return Err(SendError::OutboxFull.into());
            }
            profile.db.apply(&writes)?;
            for write in &writes {
                if let Write::Queue(row) = write {
                    waiting.add(row.client_msg_id);
                }
            }
        }
    }
}

fn encode_text(text: &str) -> Result<bytes::Bytes, CliError> {
    if text.len() > limits::CONTENT_BYTES_MAX {
        return Err(SendError::TooLarge.into());
    }
    let text = Text { text: text.to_owned(), sent_at_us: micros_now(), reply_to: None };
    let content = Content::Text(text).encode();
    match content.len() {
        0..=CONTENT_BYTES_MAX => Ok(content),
        _ => Err(SendError::TooLarge.into()),
    }
}
