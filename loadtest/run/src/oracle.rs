//! Who was told what: one lost, doubled, changed or reordered message ends a run.
//!
//! It knows what was said from who said it, and learns each chat's log from the first device that shows an entry; every
//! other device must show the same, from where it joined the chat, without a gap; what is no message has its place there, too.
//! It keeps 40 bytes of each message, and nothing of its text:
//! the workload says it again.

use std::collections::BTreeMap;
use std::time::Instant;

use client_core::Message;
use loadtest_workload::{Phone, words};
use wire::content::Content;
use wire::{ChatId, ClientMsgId, Seq};

/// A promise that was broken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// A device shows something out of its place: a gap, a repeat, or an older entry.
    #[error("phone {phone} shows message {seq} of a chat where {expected} is next")]
    Order {
        /// The phone.
        phone: usize,
        /// What it shows.
        seq: u64,
        /// What would have been next.
        expected: u64,
    },
    /// Two devices show different entries at one place.
    #[error("phone {phone} shows another message {seq} than others do")]
    Fork {
        /// The phone that came second.
        phone: usize,
        /// The place.
        seq: u64,
    },
    /// One message is at two places.
    #[error("message {seq} of a chat had been there before: phone {phone}")]
    Doubled {
        /// The phone that shows it.
        phone: usize,
        /// Its second place.
        seq: u64,
    },
    /// Nobody said this there.
    #[error("phone {phone} shows message {seq}, which nobody said in this chat")]
    Invented {
        /// The phone.
        phone: usize,
        /// The place.
        seq: u64,
    },
    /// A text is not what was said.
    #[error("phone {phone} shows another text as message {seq} than was said")]
    Changed {
        /// The phone.
        phone: usize,
        /// The place.
        seq: u64,
    },
    /// A phone's messages are in another order than it said them.
    #[error("message {seq} of a chat was said before the one before it by the same phone")]
    Reordered {
        /// The place of the later one.
        seq: u64,
    },
    /// A device of somebody who is no member shows something.
    #[error("phone {phone} shows something of a chat that its owner is not in")]
    Leaked {
        /// The phone.
        phone: usize,
    },
    /// A tick names a place where another message is.
    #[error("phone {phone} has a tick for message {seq}, which is another message")]
    WrongTick {
        /// The phone.
        phone: usize,
        /// The place.
        seq: u64,
    },
    /// A message was refused for good.
    #[error("phone {phone}: a message was refused: {why}")]
    Refused {
        /// The phone.
        phone: usize,
        /// What the server said.
        why: String,
    },
    /// A message is nowhere.
    #[error("{count} messages are lost: said, and in no log that any device shows")]
    Lost {
        /// How many.
        count: usize,
    },
    /// A device lacks messages that others have.
    #[error("phone {phone} lacks {count} messages")]
    Behind {
        /// The phone.
        phone: usize,
        /// How many.
        count: u64,
    },
    /// A sender does not see that everything was delivered.
    #[error("phone {phone} shows two ticks up to {shown} of {head} messages")]
    NoTicks {
        /// The phone.
        phone: usize,
        /// What it shows.
        shown: u64,
        /// What is there.
        head: u64,
    },
}

/// A message that was said.
#[derive(Debug, Clone, Copy)]
struct Said {
    chat: ChatId,
    phone: Phone,
    /// How many the phone had said before.
    before: u64,
    planned: Instant,
    /// Its place in the log, 0 until a device shows it.
    seq: u64,
}

/// A chat's log, as devices showed it.
#[derive(Debug)]
struct Log {
    members: [usize; 2],
    /// By place; what is no message is not among them.
    entries: BTreeMap<u64, ClientMsgId>,
    /// The last place.
    head: u64,
    /// By phone: how many of its messages are in the log.
    last_by: BTreeMap<usize, u64>,
}

/// One device's view of a chat.
#[derive(Debug, Default)]
struct View {
    shown: u64,
    /// The other member's delivered cursor.
    delivered: u64,
}

/// Everything that was said and shown. See the module's page.
#[derive(Debug, Default)]
pub struct Oracle {
    seed: u64,
    said: BTreeMap<ClientMsgId, Said>,
    logs: BTreeMap<ChatId, Log>,
    views: BTreeMap<(usize, ChatId), View>,
}

impl Oracle {
    /// An oracle for the workload of this seed.
    pub fn new(seed: u64) -> Oracle {
        Oracle { seed, ..Oracle::default() }
    }

    /// There is a chat of two people.
    pub fn know(&mut self, chat: ChatId, members: [usize; 2]) {
        let fresh = || Log { members, entries: BTreeMap::new(), head: 0, last_by: BTreeMap::new() };
        self.logs.entry(chat).or_insert_with(fresh);
    }

    /// A phone has said something into its outbox.
    pub fn said(&mut self, id: ClientMsgId, phone: Phone, chat: ChatId, before: u64, planned: Instant) {
        self.said.insert(id, Said { chat, phone, before, planned, seq: 0 });
    }

    /// A phone shows a message. When it was planned to be said, and by which phone.
    ///
    /// # Errors
    /// [`Violation`].
    pub fn shown(&mut self, phone: Phone, message: &Message) -> Result<(Instant, usize), Violation> {
        let (number, seq) = (phone.number, message.seq.0);
        let Some(log) = self.logs.get(&message.chat) else {
            return Err(Violation::Invented { phone: number, seq });
        };
        if !log.members.contains(&phone.person) {
            return Err(Violation::Leaked { phone: number });
        }
        let view = self.views.entry((number, message.chat)).or_default();
        if seq != view.shown + 1 {
            return Err(Violation::Order { phone: number, seq, expected: view.shown + 1 });
        }
        view.shown = seq;
        let said = self.place(number, message)?;
        let text = match Content::decode(&message.content) {
            Ok(Content::Text(text)) => text.text,
            _ => String::new(),
        };
        if text != words(self.seed, said.phone, said.before) {
            return Err(Violation::Changed { phone: number, seq });
        }
        Ok((said.planned, said.phone.number))
    }

    /// A phone passes over an entry that is no message, or an own one whose tick it has.
    ///
    /// # Errors
    /// [`Violation::Order`] if it is not its next.
    pub fn passed(&mut self, phone: Phone, chat: ChatId, seq: Seq) -> Result<(), Violation> {
        let Some(log) = self.logs.get_mut(&chat) else { return Ok(()) };
        log.head = log.head.max(seq.0);
        let view = self.views.entry((phone.number, chat)).or_default();
        // A log begins for a phone where it joined.
        if seq.0 != view.shown + 1 && view.shown > 0 {
            return Err(Violation::Order { phone: phone.number, seq: seq.0, expected: view.shown + 1 });
        }
        view.shown = seq.0;
        Ok(())
    }

    /// A phone has a tick.
    ///
    /// # Errors
    /// [`Violation`].
    pub fn ticked(&mut self, phone: Phone, message: &Message) -> Result<(), Violation> {
        let wrong = Violation::WrongTick { phone: phone.number, seq: message.seq.0 };
        match self.said.get(&message.client_msg_id) {
            Some(said) if said.phone == phone && said.chat == message.chat => {}
            _ => return Err(wrong),
        }
        self.place(phone.number, message).map(|_| ()).map_err(|_| wrong)
    }

    /// A phone shows how far another member has things.
    pub fn cursor(&mut self, phone: usize, chat: ChatId, own: bool, delivered: Seq) {
        if !own {
            let view = self.views.entry((phone, chat)).or_default();
            view.delivered = view.delivered.max(delivered.0);
        }
    }

    /// Messages that were said.
    pub fn count(&self) -> usize {
        self.said.len()
    }

    /// What is still missing for a good end, with all devices of the members: everything said is in its log,
    /// everybody shows all of it, and who spoke last sees that it was delivered.
    ///
    /// # Errors
    /// The first thing that is missing.
    pub fn complete(&self, phones: &[Phone]) -> Result<(), Violation> {
        let lost = self.said.values().filter(|said| said.seq == 0).count();
        if lost > 0 {
            return Err(Violation::Lost { count: lost });
        }
        for (chat, log) in &self.logs {
            let head = log.head;
            for phone in phones.iter().filter(|phone| log.members.contains(&phone.person)) {
                let view = self.views.get(&(phone.number, *chat));
                let shown = view.map_or(0, |view| view.shown);
                if shown < head {
                    return Err(Violation::Behind { phone: phone.number, count: head - shown });
                }
                let last = log.last_by.get(&phone.number).copied().unwrap_or(0);
                let ticks = view.map_or(0, |view| view.delivered);
                if ticks < last {
                    return Err(Violation::NoTicks { phone: phone.number, shown: ticks, head: last });
                }
            }
        }
        Ok(())
    }

    /// Puts a message at its place in the log, or finds it there.
    fn place(&mut self, phone: usize, message: &Message) -> Result<Said, Violation> {
        let seq = message.seq.0;
        let invented = Violation::Invented { phone, seq };
        let Some(said) = self.said.get_mut(&message.client_msg_id) else { return Err(invented) };
        let Some(log) = self.logs.get_mut(&said.chat) else { return Err(invented) };
        if said.chat != message.chat || seq == 0 {
            return Err(invented);
        }
        if said.seq != 0 && said.seq != seq {
            return Err(Violation::Doubled { phone, seq });
        }
        log.head = log.head.max(seq);
        if *log.entries.entry(seq).or_insert(message.client_msg_id) != message.client_msg_id {
            return Err(Violation::Fork { phone, seq });
        }
        if said.seq == 0 {
            said.seq = seq;
            let said = *said;
            self.in_order(said)?;
            return Ok(said);
        }
        Ok(*said)
    }

    /// What a phone says in a chat is in the log in the order in which it was said.
    fn in_order(&mut self, said: Said) -> Result<(), Violation> {
        let Some(log) = self.logs.get_mut(&said.chat) else { return Ok(()) };
        let of_phone = |(_, id): (&u64, &ClientMsgId)| {
            self.said.get(id).copied().filter(|other| other.phone.number == said.phone.number)
        };
        // A tick may name a place before any device shows what is in front of it: both neighbours are looked at.
        let earlier = log.entries.range(..said.seq).rev().find_map(of_phone);
        let later = log.entries.range(said.seq + 1..).find_map(of_phone);
        if earlier.is_some_and(|earlier| earlier.before > said.before)
            || later.is_some_and(|later| later.before < said.before)
        {
            return Err(Violation::Reordered { seq: said.seq });
        }
        let last = log.last_by.entry(said.phone.number).or_default();
        *last = said.seq.max(*last);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use wire::content::Text;
    use wire::{AccountId, WallTime};

    use super::*;

    const ALICE: Phone = Phone { number: 0, person: 0 };
    const BOB: Phone = Phone { number: 1, person: 1 };
    const CAROL: Phone = Phone { number: 2, person: 2 };

    fn chat() -> ChatId {
        ChatId::new([7; 16])
    }

    fn id(n: u8) -> ClientMsgId {
        ClientMsgId::new([n; 16])
    }

    fn message(n: u8, seq: u64, text: String) -> Message {
        let content = Content::Text(Text { text, sent_at_us: 0, reply_to: None });
        Message {
            chat: chat(),
            seq: Seq(seq),
            sender: AccountId::new([1; 16]),
            client_msg_id: id(n),
            at: WallTime(0),
            content: content.encode(),
        }
    }

    /// Alice has said three things to Bob.
    fn three() -> (Oracle, [Message; 3]) {
        let mut oracle = Oracle::new(5);
        oracle.know(chat(), [0, 1]);
        for n in 0..3 {
            oracle.said(id(n), ALICE, chat(), n.into(), Instant::now());
        }
        (oracle, [0, 1, 2].map(|n| message(n, u64::from(n) + 1, words(5, ALICE, n.into()))))
    }

    #[test]
    fn p1_a_whole_evening_is_accepted_and_only_when_it_is_whole() {
        let (mut oracle, messages) = three();
        let everybody = [ALICE, BOB];
        assert_eq!(oracle.complete(&everybody), Err(Violation::Lost { count: 3 }));
        for message in &messages {
            oracle.ticked(ALICE, message).unwrap();
            oracle.shown(BOB, message).unwrap();
        }
        assert_eq!(oracle.complete(&everybody), Err(Violation::Behind { phone: 0, count: 3 }));
        messages.iter().for_each(|message| {
            oracle.shown(ALICE, message).unwrap();
        });
        let missing = Violation::NoTicks { phone: 0, shown: 0, head: 3 };
        assert_eq!(oracle.complete(&everybody), Err(missing));
        oracle.cursor(0, chat(), true, Seq(3));
        oracle.cursor(0, chat(), false, Seq(2));
        let missing = Violation::NoTicks { phone: 0, shown: 2, head: 3 };
        assert_eq!(oracle.complete(&everybody), Err(missing));
        oracle.cursor(0, chat(), false, Seq(3));
        assert_eq!(oracle.complete(&everybody), Ok(()));
    }

    #[test]
    fn p1_what_is_lost_doubled_reordered_changed_or_leaked_ends_a_run() {
        let (mut oracle, [first, second, third]) = three();
        oracle.shown(BOB, &first).unwrap();
        let gap = Violation::Order { phone: 1, seq: 3, expected: 2 };
        assert_eq!(oracle.shown(BOB, &third), Err(gap));
        let repeat = Violation::Order { phone: 1, seq: 1, expected: 2 };
        assert_eq!(oracle.shown(BOB, &first), Err(repeat));
        let again = Message { seq: Seq(2), ..first.clone() };
        assert_eq!(oracle.ticked(ALICE, &again), Err(Violation::WrongTick { phone: 0, seq: 2 }));

        let (mut oracle, _) = three();
        let swapped = Message { seq: Seq(1), ..second.clone() };
        oracle.shown(BOB, &swapped).unwrap();
        let late = Message { seq: Seq(2), ..first.clone() };
        assert_eq!(oracle.shown(BOB, &late), Err(Violation::Reordered { seq: 2 }));

        let (mut oracle, _) = three();
        oracle.shown(BOB, &first).unwrap();
        let doubled = Message { seq: Seq(2), ..first.clone() };
        assert_eq!(oracle.shown(BOB, &doubled), Err(Violation::Doubled { phone: 1, seq: 2 }));
        let other = Message { seq: Seq(1), ..second.clone() };
        assert_eq!(oracle.shown(ALICE, &other), Err(Violation::Fork { phone: 0, seq: 1 }));
        assert_eq!(oracle.shown(CAROL, &first), Err(Violation::Leaked { phone: 2 }));

        let (mut oracle, _) = three();
        let changed = message(0, 1, "something else".into());
        assert_eq!(oracle.shown(BOB, &changed), Err(Violation::Changed { phone: 1, seq: 1 }));
        let invented = message(9, 2, "who?".into());
        assert_eq!(oracle.shown(BOB, &invented), Err(Violation::Invented { phone: 1, seq: 2 }));
    }
}
