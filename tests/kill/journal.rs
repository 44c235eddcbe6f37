//! What processes said before they died: the lines they printed, each a fact that must hold of the disk afterwards.

use serde_json::Value;

use super::disk::Id;

/// How a process came to its end, if it did.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum End {
    Alive,
    Killed,
    /// By itself: it did all that it was told to do.
    Finished,
}

/// One process, from its start until now.
#[derive(Debug, Clone)]
pub(crate) struct Process {
    /// The account that it is of.
    pub(crate) who: Id,
    /// The texts it was given to send, in order; all to one chat.
    pub(crate) told: Vec<String>,
    /// Whether it says its acknowledgements in the order of the texts. (One that lets another process send does not.)
    pub(crate) in_order: bool,
    pub(crate) facts: Vec<Fact>,
    pub(crate) end: End,
}

/// A line.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Fact {
    /// One tick: it is committed.
    Acked { chat: Id, id: Id, seq: u64 },
    /// Two ticks, or blue ones: everybody else has it, or has read it.
    Ticked { chat: Id, seq: u64, read: bool },
    /// Where a member's cursors are.
    Status { chat: Id, member: Id, delivered: u64, read: u64 },
    /// A message of somebody else.
    Got { chat: Id, seq: u64, from: Id, id: Id, text: String },
}

impl Fact {
    /// Of a line that `--json` prints; `None` for those that promise nothing.
    pub(crate) fn of(line: &Value) -> Option<Fact> {
        let text = |name: &str| line[name].as_str().map(str::to_owned);
        let number = |name: &str| line[name].as_u64();
        let chat = text("chat");
        Some(match line["event"].as_str()? {
            "sent" => Fact::Acked { chat: chat?, id: text("client_msg_id")?, seq: number("seq")? },
            tick @ ("delivered" | "read") => {
                Fact::Ticked { chat: chat?, seq: number("seq")?, read: tick == "read" }
            }
            "status" => Fact::Status {
                chat: chat?,
                member: text("member")?,
                delivered: number("delivered")?,
                read: number("read")?,
            },
            "message" => Fact::Got {
                chat: chat?,
                seq: number("seq")?,
                from: text("from")?,
                id: text("client_msg_id")?,
                text: text("text")?,
            },
            _ => return None,
        })
    }
}
