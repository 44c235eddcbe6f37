//! What is counted outside loops: store ops, text messages, the sweeper.

use std::time::Duration;

use metrics::{Counter, Histogram};
use store::StoreError;
use store::op::Op;

use super::register::Register;

/// Store ops, in the order of [`place`].
const OPS: [&str; 19] = [
    "append",
    "move_cursor",
    "tail",
    "history",
    "receipts",
    "member_cursors",
    "members",
    "open_session",
    "open_chat",
    "check_device",
    "chats",
    "add_device",
    "refresh",
    "devices",
    "revoke_device",
    "find_account",
    "sweep",
    "clear_outbox",
    "saw_last",
];

/// See the [module](self).
pub(crate) struct Work {
    ops: Vec<Histogram>,
    errors: [Counter; 4],
    sms_sent: Counter,
    sms_failed: Counter,
    /// Outbox keys that the sweeper has looked at and cleared.
    pub(crate) swept: Counter,
    /// Devices that it found behind, and hinted again if they are connected.
    pub(crate) behind: Counter,
    /// Its hints that a loop did not take.
    pub(crate) hints_untaken: Counter,
    /// Its rounds that failed.
    pub(crate) sweeps_failed: Counter,
}

/// A store op under way.
#[derive(Debug, Clone, Copy)]
pub(crate) struct OpPlace(usize);

impl Work {
    pub(super) fn new(register: &Register) -> Work {
        let of_op = |op: &&'static str| {
            let help = "Store ops, from being asked for to their answer; commit and retries included.";
            register.histogram("godwit_store_op_seconds", help, Some(("op", op)))
        };
        let error = |kind| {
            register.counter("godwit_store_errors_total", "Store ops that failed.", Some(("error", kind)))
        };
        let sms = |outcome| {
            register.counter("godwit_sms_total", "Text messages handed over.", Some(("outcome", outcome)))
        };
        let counter = |name, help| register.counter(name, help, None);
        Work {
            ops: OPS.iter().map(of_op).collect(),
            errors: [error("busy"), error("unavailable"), error("record"), error("limit")],
            sms_sent: sms("sent"),
            sms_failed: sms("failed"),
            swept: counter("godwit_sweeper_keys_total", "Outbox keys looked at and cleared."),
            behind: counter("godwit_sweeper_behind_total", "Devices that the sweeper found behind."),
            hints_untaken: counter(
                "godwit_sweeper_hints_untaken_total",
                "Hints of the sweeper that a loop did not take.",
            ),
            sweeps_failed: counter("godwit_sweeper_errors_total", "Sweeps that failed."),
        }
    }

    /// A store op is asked for.
    pub(crate) fn op(op: &Op) -> OpPlace {
        OpPlace(place(op))
    }

    /// It was answered, or failed.
    pub(crate) fn op_done(&self, op: OpPlace, took: Duration, error: Option<&StoreError>) {
        if let Some(histogram) = self.ops.get(op.0) {
            histogram.record(took.as_secs_f64());
        }
        let Some(error) = error else { return };
        let [busy, unavailable, record, limit] = &self.errors;
        let counter = match error {
            StoreError::Busy { .. } => busy,
            StoreError::Unavailable { .. } => unavailable,
            StoreError::Record(_) => record,
            StoreError::Limit(_) => limit,
        };
        counter.increment(1);
    }

    /// A text message was handed over, or not.
    pub(crate) fn sms(&self, sent: bool) {
        let counter = if sent { &self.sms_sent } else { &self.sms_failed };
        counter.increment(1);
    }
}

fn place(op: &Op) -> usize {
    match op {
        Op::Append(_) => 0,
        Op::MoveCursor(_) => 1,
        Op::Tail(_) => 2,
        Op::History(_) => 3,
        Op::Receipts(_) => 4,
        Op::MemberCursors(_) => 5,
        Op::Members(_) => 6,
        Op::OpenSession(_) => 7,
        Op::OpenChat(_) => 8,
        Op::CheckDevice(_) => 9,
        Op::Chats(_) => 10,
        Op::AddDevice(_) => 11,
        Op::Refresh(_) => 12,
        Op::Devices(_) => 13,
        Op::RevokeDevice(_) => 14,
        Op::FindAccount(_) => 15,
        Op::Sweep(_) => 16,
        Op::ClearOutbox(_) => 17,
        Op::SawLast(_) => 18,
    }
}
