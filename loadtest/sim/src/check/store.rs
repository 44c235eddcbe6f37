//! Reads the store behind everybody's back, and takes its bytes apart without the store's help.

use std::time::Duration;

use bytes::Bytes;
use store::sim::{Faults, Sim};
use store::testing::VirtualClock;
use store::tx::{Backend, Range, Tx};
use wire::{AccountId, ChatId, DeviceId, Event, Seq};

use super::{Checker, Logged, Violation};
use crate::disk::Disk;
use crate::tasks::at_once;

/// A window into the simulated store: it sees the newest version, whatever faults the others have.
pub(crate) struct Window<'a> {
    pub(crate) sim: &'a Sim<VirtualClock>,
    /// What to restore.
    pub(crate) faults: Faults,
    pub(crate) reachable: bool,
    /// The present moment.
    pub(crate) at: Duration,
}

impl Window<'_> {
    /// Reads ranges in one transaction. Without faults nothing waits and nothing is drawn from the store's seed.
    fn ranges(&self, ranges: Vec<Range>) -> Vec<Vec<(Bytes, Bytes)>> {
        self.sim.set_faults(Faults::NONE);
        self.sim.set_reachable(true);
        let read = at_once(async {
            let tx = self.sim.begin().await?;
            let mut read = Vec::with_capacity(ranges.len());
            for range in ranges {
                read.push(tx.range(range.snapshot()).await?);
            }
            Ok::<_, store::tx::TxError>(read)
        });
        self.sim.set_faults(self.faults);
        self.sim.set_reachable(self.reachable);
        read.expect("without faults nothing waits").expect("without faults nothing fails")
    }
}

/// `l`, `c`, the chat, a letter, the rest.
fn key(chat: ChatId, letter: u8, rest: &[u8]) -> Bytes {
    [b"lc", &chat.as_bytes()[..], &[letter], rest].concat().into()
}

fn all_of(chat: ChatId, letter: u8) -> Range {
    Range::new(key(chat, letter, &[]), key(chat, letter + 1, &[]))
}

fn number(bytes: &[u8], at: usize) -> Result<u64, Violation> {
    let bytes = bytes.get(at..at + 8).and_then(|bytes| bytes.try_into().ok());
    bytes.map(u64::from_be_bytes).ok_or(Violation::Unreadable)
}

fn id(bytes: &[u8], at: usize) -> Result<[u8; 16], Violation> {
    bytes.get(at..at + 16).and_then(|bytes| bytes.try_into().ok()).ok_or(Violation::Unreadable)
}

/// Where the rest of a chat's key begins.
const REST: usize = 19;

impl Checker {
    /// Looks at everything that may have changed, and judges it.
    ///
    /// # Errors
    /// The first promise that was broken.
    pub(crate) fn look(&mut self, window: &Window<'_>, disks: &[&Disk]) -> Result<(), Violation> {
        let chats: Vec<(ChatId, u64)> =
            self.chats.iter().map(|(&chat, log)| (chat, log.entries.len() as u64)).collect();
        let ranges = chats.iter().flat_map(|&(chat, known)| {
            let news = Range::new(key(chat, b'e', &(known + 1).to_be_bytes()), key(chat, b'f', &[]));
            [news, all_of(chat, b'h'), all_of(chat, b'c'), all_of(chat, b'd')]
        });
        let mut read = window.ranges(ranges.collect()).into_iter();
        for (chat, _) in chats {
            let mut next = || read.next().unwrap_or_default();
            let (news, head, cursors, devices) = (next(), next(), next(), next());
            for (key, value) in news {
                self.learn(chat, Seq(number(&key, REST)?), logged(value, window.at)?)?;
            }
            self.see_head(chat, &head)?;
            for (key, value) in cursors {
                let cursors = (Seq(number(&value, 1)?), Seq(number(&value, 17)?));
                self.see_cursors(chat, AccountId::new(id(&key, REST)?), cursors)?;
            }
            for (key, value) in devices {
                let (device, delivered) = (DeviceId::new(id(&key, REST + 16)?), Seq(number(&value, 1)?));
                let before = self.device_cursors.insert((chat, device), delivered);
                self.begins(chat, device, delivered, disks);
                let before = before.unwrap_or_default();
                if delivered < before {
                    let (who, chat) =
                        (self.account_name(AccountId::new(id(&key, REST)?)), self.chat_name(chat));
                    let (before, now) = ((before, Seq::ZERO), (delivered, Seq::ZERO));
                    return Err(Violation::CursorBack { who, chat: chat.to_owned(), before, now });
                }
            }
        }
        self.judge(disks)?;
        self.judge_cursors(disks)
    }

    /// A log's head is its last entry.
    fn see_head(&self, chat: ChatId, head: &[(Bytes, Bytes)]) -> Result<(), Violation> {
        let head = head.first().map_or(Ok(0), |(_, value)| number(value, 1))?;
        let log = &self.chats[&chat];
        let expected = log.entries.len() as u64;
        if head == expected {
            return Ok(());
        }
        Err(Violation::LogGap { chat: log.name.clone(), expected: Seq(expected), found: Seq(head) })
    }

    /// Reads every log from its beginning and compares it with what was seen before.
    ///
    /// # Errors
    /// [`Violation::Changed`].
    pub(crate) fn look_back(&self, window: &Window<'_>) -> Result<(), Violation> {
        let ranges = self.chats.keys().map(|&chat| all_of(chat, b'e')).collect();
        for (log, read) in self.chats.values().zip(window.ranges(ranges)) {
            for (n, logged) in log.entries.iter().enumerate() {
                if read.get(n).is_none_or(|(_, value)| *value != logged.value) {
                    return Err(Violation::Changed { chat: log.name.clone(), seq: Seq(n as u64 + 1) });
                }
            }
        }
        Ok(())
    }
}

/// A version byte, then the frame that every recipient gets.
fn logged(value: Bytes, at: Duration) -> Result<Logged, Violation> {
    let frame = if value.is_empty() { return Err(Violation::Unreadable) } else { value.slice(1..) };
    match Event::decode(&wire::frame::body_of(&frame)) {
        Ok(Event::Entry(entry)) => Ok(Logged {
            value,
            sender: entry.sender,
            device: entry.device,
            client_msg_id: entry.client_msg_id,
            content: entry.content,
            what: entry.what,
            adds: Vec::new(),
            at,
        }),
        _ => Err(Violation::Unreadable),
    }
}
