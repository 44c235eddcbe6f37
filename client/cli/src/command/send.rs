//! `godwit send`.

use std::collections::BTreeMap;
use std::io::BufRead;
use std::sync::mpsc::{Receiver, TryRecvError};
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use client_core::{ClientEvent, Message, OutboxRow, Write, seal};
use serde_json::json;
use wire::content::{Content, Text};
use wire::event::Cursor;
use wire::{ChatId, ClientMsgId, Seq, WallTime, limits};

use super::{Common, Target, find, parse_phone};
use crate::error::CliError;
use crate::output::Form;
use crate::profile::{Profile, Standing};
use crate::session::{Session, micros_now, now, random};

/// Lines of standard input that wait for the outbox at a time; more are read when these are sent.
const LINES_AHEAD: usize = 1000;

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
    /// Return when the messages are committed (sent), on the other phone (delivered), or read.
    #[arg(long, value_enum, default_value = "sent")]
    wait: Wait,
    /// The message; words are joined by spaces.
    #[arg(value_name = "TEXT", required_unless_present = "stdin")]
    text: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
enum Wait {
    Sent,
    Delivered,
    Read,
}

/// Messages of this command that are not where they should be.
struct Waiting {
    form: Form,
    wait: Wait,
    /// Since when each is under way.
    sending: BTreeMap<ClientMsgId, Instant>,
    /// Where each is, until it is delivered or read as far as was asked.
    committed: BTreeMap<(ChatId, Seq), ClientMsgId>,
    failed: usize,
}

impl Send {
    pub(super) fn run(self) -> Result<(), CliError> {
        let mut profile = self.common.profile()?;
        if !profile.try_lock()? {
            return self.queue_for_other(profile);
        }
        let mut session = Session::open(profile)?;
        let target = self.target(&mut session)?;
        let lines = self.lines(&session);
        let result = self.send_all(&mut session, target, &lines);
        session.close();
        result
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

    fn send_all(
        &self,
        session: &mut Session,
        target: Target,
        lines: &Receiver<String>,
    ) -> Result<(), CliError> {
        let mut waiting = Waiting::new(self.common.form(), self.wait);
        let mut open = true;
        let mut progress_at = Instant::now();
        while open || !waiting.is_empty() {
            while open && waiting.sending.len() < LINES_AHEAD {
                match lines.try_recv() {
                    Ok(line) => waiting.queue(session, target, &line)?,
                    Err(TryRecvError::Empty) => break,
                    Err(TryRecvError::Disconnected) => open = false,
                }
            }
            if !open && waiting.is_empty() {
                break;
            }
            let deadline = progress_at + self.common.timeout();
            for event in session.turn(Instant::now() + Duration::from_millis(500))? {
                progress_at = Instant::now();
                waiting.see(event)?;
            }
            if waiting.is_empty() {
                progress_at = Instant::now();
            } else if Instant::now() >= deadline {
                return Err(session.unreachable(self.common.timeout()));
            }
        }
        match waiting.failed {
            0 => Ok(()),
            failed => Err(CliError::Failed(failed)),
        }
    }

    /// Another process of this profile is connected: the message goes into the outbox, and that process sends it.
    fn queue_for_other(&self, mut profile: Profile) -> Result<(), CliError> {
        let target = match (&self.to, self.chat) {
            (Some(phone), _) => profile.contact(parse_phone(phone)?.expose())?,
            (None, Some(chat)) => return self.queue_in(&mut profile, Target { chat, peer: None }),
            (None, None) => None,
        };
        let Some(contact) = target else { return Err(CliError::InUse) };
        self.queue_in(&mut profile, Target { chat: contact.chat, peer: Some(contact.account) })
    }

    fn queue_in(&self, profile: &mut Profile, target: Target) -> Result<(), CliError> {
        if self.wait != Wait::Sent {
            return Err(CliError::Usage(
                "another process of this profile is connected: --wait sent is all that can be waited for",
            ));
        }
        let lines: Vec<String> = match self.stdin {
            true => std::io::stdin()
                .lock()
                .lines()
                .map_while(Result::ok)
                .filter(|line| !line.is_empty())
                .collect(),
            false => vec![self.text.join(" ")],
        };
        let mut waiting = Waiting::new(self.common.form(), Wait::Sent);
        for line in &lines {
            let client_msg_id = ClientMsgId::new(random()?);
            let content = seal_text(target.chat, line)?;
            let row = OutboxRow { client_msg_id, chat: target.chat, peer: target.peer, content };
            profile.apply(&[Write::Queue(row)])?;
            waiting.sending.insert(client_msg_id, Instant::now());
        }
        waiting.watch(profile, target.chat, self.common.timeout())
    }
}

fn seal_text(chat: ChatId, text: &str) -> Result<bytes::Bytes, CliError> {
    if text.len() > limits::CONTENT_BYTES_MAX {
        return Err(client_core::SendError::TooLarge.into());
    }
    let text = Text { text: text.to_owned(), sent_at_us: micros_now(), reply_to: None };
    let sealed = seal::seal(chat, &Content::Text(text));
    match sealed.len() {
        0..=limits::CONTENT_BYTES_MAX => Ok(sealed),
        _ => Err(client_core::SendError::TooLarge.into()),
    }
}

impl Waiting {
    fn new(form: Form, wait: Wait) -> Waiting {
        Waiting { form, wait, sending: BTreeMap::new(), committed: BTreeMap::new(), failed: 0 }
    }

    fn is_empty(&self) -> bool {
        self.sending.is_empty() && self.committed.is_empty()
    }

    fn queue(&mut self, session: &mut Session, target: Target, text: &str) -> Result<(), CliError> {
        let content = seal_text(target.chat, text)?;
        let id = session.client.send(target.chat, target.peer, content, now())?;
        self.sending.insert(id, Instant::now());
        Ok(())
    }

    fn see(&mut self, event: ClientEvent) -> Result<(), CliError> {
        match event {
            ClientEvent::Sent(Message { chat, seq, client_msg_id, at, .. }) => {
                self.sent(client_msg_id, chat, seq, at)
            }
            ClientEvent::Failed { client_msg_id, refusal, .. }
                if self.sending.remove(&client_msg_id).is_some() =>
            {
                self.failed += 1;
                self.form.print(
                    || json!({"event": "failed", "client_msg_id": client_msg_id.to_string(), "code": refusal.code.number(), "reason": refusal.code.text()}),
                    || format!("✗ {}", refusal.code.text()),
                )?;
                Ok(())
            }
            ClientEvent::Cursor { chat, cursor } => self.moved(chat, &cursor),
            _ => Ok(()),
        }
    }

    fn sent(&mut self, id: ClientMsgId, chat: ChatId, seq: Seq, at: WallTime) -> Result<(), CliError> {
        let Some(since) = self.sending.remove(&id) else { return Ok(()) };
        if self.wait > Wait::Sent {
            self.committed.insert((chat, seq), id);
        }
        let ms = since.elapsed().as_secs_f64() * 1000.0;
        self.form.print(
            || json!({"event": "sent", "chat": chat.to_string(), "client_msg_id": id.to_string(), "seq": seq.0, "at": at.as_millis(), "ms": ms}),
            || format!("✓ {seq}"),
        )?;
        Ok(())
    }

    fn moved(&mut self, chat: ChatId, cursor: &Cursor) -> Result<(), CliError> {
        let (name, tick, to) = match self.wait {
            Wait::Read => ("read", "✓✓ read", cursor.read),
            Wait::Sent | Wait::Delivered => ("delivered", "✓✓", cursor.delivered),
        };
        let reached: Vec<_> =
            self.committed.range((chat, Seq(0))..=(chat, to)).map(|(&key, _)| key).collect();
        for key in reached {
            let id = self.committed.remove(&key).expect("a key that was just seen");
            self.form.print(
                || json!({"event": name, "chat": chat.to_string(), "client_msg_id": id.to_string(), "seq": key.1.0}),
                || format!("{tick} {}", key.1),
            )?;
        }
        Ok(())
    }

    /// Watches the outbox that another process empties.
    fn watch(&mut self, profile: &Profile, chat: ChatId, timeout: Duration) -> Result<(), CliError> {
        let deadline = Instant::now() + timeout;
        while !self.sending.is_empty() {
            for id in self.sending.keys().copied().collect::<Vec<_>>() {
                match profile.standing(id)? {
                    Standing::Sent(seq, at) => self.sent(id, chat, seq, at)?,
                    Standing::Failed(_) | Standing::Gone => {
                        self.sending.remove(&id);
                        self.failed += 1;
                    }
                    Standing::Waiting => {}
                }
            }
            if Instant::now() >= deadline {
                let (waited, waiting) = (timeout, self.sending.len());
                return Err(CliError::Unreachable {
                    waited,
                    last: "the connected process has not sent them".into(),
                    waiting,
                });
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        match self.failed {
            0 => Ok(()),
            failed => Err(CliError::Failed(failed)),
        }
    }
}
