//! What a `send` waits for: its messages, until each is where it was asked to be.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use clap::ValueEnum;
use client_core::{ClientEvent, Message};
use client_db::Standing;
use serde_json::json;
use wire::event::Cursor;
use wire::{AccountId, ChatId, ClientMsgId, ErrorCode, Seq, WallTime};

use crate::error::CliError;
use crate::output::{Form, covers};
use crate::profile::Profile;

/// How often the outbox that another process empties is looked at.
const WATCH_INTERVAL: Duration = Duration::from_millis(20);

/// What to wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(super) enum Wait {
    /// One tick.
    Sent,
    /// Two ticks.
    Delivered,
    /// Blue ticks.
    Read,
}

/// How a watch over another process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Watched {
    /// Every message was sent or refused.
    Answered,
    /// The other process has ended, and the profile is this one's now.
    Alone,
}

/// Messages of one command that are not yet where they should be.
pub(super) struct Waiting {
    form: Form,
    wait: Wait,
    me: Option<AccountId>,
    /// Since when each is under way.
    sending: BTreeMap<ClientMsgId, Instant>,
    /// Committed ones that are not yet delivered or read as was asked, and whether they are delivered.
    committed: BTreeMap<(ChatId, Seq), (ClientMsgId, bool)>,
    /// Where the cursors of the others stand: a tick may come before the ack of its message.
    cursors: BTreeMap<(ChatId, AccountId), Cursor>,
    failed: usize,
}

impl Waiting {
    pub(super) fn new(form: Form, wait: Wait, me: Option<AccountId>) -> Waiting {
        let (sending, committed, cursors) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        Waiting { form, wait, me, sending, committed, cursors, failed: 0 }
    }

    /// One more message is under way.
    pub(super) fn add(&mut self, id: ClientMsgId) {
        self.sending.insert(id, Instant::now());
    }

    pub(super) fn is_empty(&self) -> bool {
        self.sending.is_empty() && self.committed.is_empty()
    }

    /// How many are not committed.
    pub(super) fn sending(&self) -> usize {
        self.sending.len()
    }

    /// How it went, once nothing is waited for.
    pub(super) fn result(&self) -> Result<(), CliError> {
        if self.failed == 0 { Ok(()) } else { Err(CliError::Failed(self.failed)) }
    }

    /// What to say if time is up although the server has answered everything.
    pub(super) fn unfinished(&self, waited: Duration) -> Option<CliError> {
        let what = if self.wait == Wait::Read { "read" } else { "delivered" };
        let messages = self.committed.len();
        self.sending.is_empty().then_some(CliError::NotYet { what, messages, waited })
    }

    /// Looks at what happened; `true` if it is about these messages.
    pub(super) fn see(&mut self, event: ClientEvent) -> Result<bool, CliError> {
        match event {
            ClientEvent::Sent(Message { chat, seq, client_msg_id, at, .. }) => {
                self.sent(client_msg_id, chat, seq, at)
            }
            ClientEvent::Failed { client_msg_id, refusal, .. } => {
                self.fail(client_msg_id, Some(refusal.code))
            }
            // Held back, but heard.
            ClientEvent::Delayed { client_msg_id, .. } => Ok(self.sending.contains_key(&client_msg_id)),
            ClientEvent::Cursor { chat, cursor } if Some(cursor.member) != self.me => {
                self.cursors.insert((chat, cursor.member), cursor);
                self.look_at_cursors(chat)
            }
            _ => Ok(false),
        }
    }

    fn fail(&mut self, id: ClientMsgId, code: Option<ErrorCode>) -> Result<bool, CliError> {
        if self.sending.remove(&id).is_none() {
            return Ok(false);
        }
        self.failed += 1;
        let reason = code.map_or("it is not in the outbox any more", ErrorCode::text);
        let number = code.map(ErrorCode::number);
        self.form.print(
            || json!({"event": "failed", "client_msg_id": id.to_string(), "code": number, "reason": reason}),
            || format!("✗ {reason}"),
        )?;
        Ok(true)
    }

    fn sent(&mut self, id: ClientMsgId, chat: ChatId, seq: Seq, at: WallTime) -> Result<bool, CliError> {
        let Some(since) = self.sending.remove(&id) else { return Ok(false) };
        let ms = since.elapsed().as_secs_f64() * 1000.0;
        self.print("sent", "✓", (chat, seq), id, at, Some(ms))?;
        if self.wait > Wait::Sent {
            self.committed.insert((chat, seq), (id, false));
            self.look_at_cursors(chat)?;
        }
        Ok(true)
    }

    /// What everybody else's cursors cover is delivered, or read.
    fn look_at_cursors(&mut self, chat: ChatId) -> Result<bool, CliError> {
        let others =
            || self.cursors.range((chat, AccountId::new([0; 16]))..=(chat, AccountId::new([255; 16])));
        let everyone = |seq: Seq, to: fn(&Cursor) -> Seq| {
            others().next().is_some() && others().all(|(_, cursor)| covers(cursor, to(cursor), seq))
        };
        let latest = |at: fn(&Cursor) -> WallTime| others().map(|(_, c)| at(c)).max().unwrap_or_default();
        let (delivered_at, read_at) = (latest(|c| c.delivered_at), latest(|c| c.read_at));
        let here = self.committed.range((chat, Seq(0))..=(chat, Seq(u64::MAX)));
        let reached: Vec<_> = here
            .filter(|((_, seq), _)| everyone(*seq, |c| c.delivered))
            .map(|(&key, &(id, was_delivered))| (key, id, was_delivered, everyone(key.1, |c| c.read)))
            .collect();
        let mut news = false;
        for (key, id, was_delivered, is_read) in reached {
            if !was_delivered {
                self.print("delivered", "✓✓", key, id, delivered_at, None)?;
            }
            let is_done = is_read || self.wait == Wait::Delivered;
            if is_read && self.wait == Wait::Read {
                self.print("read", "✓✓ read", key, id, read_at, None)?;
            }
            if is_done {
                self.committed.remove(&key);
            } else {
                self.committed.insert(key, (id, true));
            }
            news |= is_done || !was_delivered;
        }
        Ok(news)
    }

    fn print(
        &self,
        event: &str,
        tick: &str,
        (chat, seq): (ChatId, Seq),
        id: ClientMsgId,
        at: WallTime,
        ms: Option<f64>,
    ) -> Result<(), CliError> {
        let json = || {
            let mut line = json!({
                "event": event, "chat": chat.to_string(), "client_msg_id": id.to_string(), "seq": seq.0,
                "at": at.as_millis(),
            });
            if let Some(ms) = ms {
                line["ms"] = ms.into();
            }
            line
        };
        Ok(self.form.print(json, || format!("{tick} {seq}"))?)
    }

    /// Watches the outbox that another process empties.
    pub(super) fn watch(
        &mut self,
        profile: &mut Profile,
        chat: ChatId,
        timeout: Duration,
    ) -> Result<Watched, CliError> {
        let mut progress_at = Instant::now();
        loop {
            // Whoever has the claim sees what the last one has left.
            let is_alone = profile.db.claim()?;
            for id in self.sending.keys().copied().collect::<Vec<_>>() {
                let answered = match profile.db.standing(id)? {
                    Standing::Sent(seq, at) => self.sent(id, chat, seq, at)?,
                    Standing::Failed(code) => self.fail(id, ErrorCode::from_number(code))?,
                    Standing::Gone => self.fail(id, None)?,
                    Standing::Waiting => false,
                };
                if answered {
                    progress_at = Instant::now();
                }
            }
            if self.sending.is_empty() {
                return Ok(Watched::Answered);
            }
            if is_alone {
                return Ok(Watched::Alone);
            }
            if progress_at.elapsed() >= timeout {
                let last = "the connected process has not sent them".to_owned();
                return Err(CliError::Unreachable { waited: timeout, last, waiting: self.sending.len() });
            }
            std::thread::sleep(WATCH_INTERVAL);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ME: AccountId = AccountId::new([1; 16]);
    const BOB: AccountId = AccountId::new([2; 16]);
    const CHAT: ChatId = ChatId::new([3; 16]);

    fn id(n: u8) -> ClientMsgId {
        ClientMsgId::new([n; 16])
    }

    fn sent(n: u8) -> ClientEvent {
        let content = bytes::Bytes::new();
        let (seq, at) = (Seq(n.into()), WallTime(0));
        ClientEvent::Sent(Message { chat: CHAT, seq, sender: ME, client_msg_id: id(n), at, content })
    }

    fn moved(member: AccountId, delivered: u64, read: u64) -> ClientEvent {
        let (delivered, read) = (Seq(delivered), Seq(read));
        let (delivered_at, read_at, withheld) = (WallTime(0), WallTime(0), Vec::new());
        let cursor = Cursor { member, delivered, delivered_at, read, read_at, withheld };
        ClientEvent::Cursor { chat: CHAT, cursor }
    }

    fn waiting(wait: Wait) -> Waiting {
        let mut waiting = Waiting::new(Form::Json, wait, Some(ME));
        (1..=2).for_each(|n| waiting.add(id(n)));
        waiting
    }

    #[test]
    fn r4_a_tick_counts_whenever_it_comes_and_one_s_own_cursor_is_none() {
        let mut both = waiting(Wait::Delivered);
        assert!(both.see(sent(1)).expect("printed"));
        assert!(!both.see(moved(ME, 9, 9)).expect("printed"), "another device of the sender");
        assert!(both.see(moved(BOB, 2, 0)).expect("printed"), "before the second's ack");
        assert!(both.see(sent(2)).expect("printed"));
        assert!(both.is_empty());
    }

    #[test]
    fn r4_read_is_waited_for_beyond_delivered() {
        let mut both = waiting(Wait::Read);
        [sent(1), sent(2), moved(BOB, 2, 1)]
            .into_iter()
            .for_each(|event| assert!(both.see(event).expect("printed")));
        assert_eq!(both.committed.keys().collect::<Vec<_>>(), [&(CHAT, Seq(2))]);
        assert!(matches!(
            both.unfinished(Duration::ZERO),
            Some(CliError::NotYet { what: "read", messages: 1, .. })
        ));
        assert!(both.see(moved(BOB, 2, 2)).expect("printed"));
        assert!(both.is_empty() && both.result().is_ok());
    }
}
