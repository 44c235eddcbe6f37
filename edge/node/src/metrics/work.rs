//! What is counted outside loops: store ops, text messages, the sweeper.

use std::time::Duration;

use metrics::{Counter, Histogram};
use store::StoreError;
use store::op::OpKind;

use super::register::Register;

/// See the [module](self).
pub(crate) struct Work {
    /// By [`OpKind`].
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

impl Work {
    pub(super) fn new(register: &Register) -> Work {
        let of_op = |op: &OpKind| {
            let help = "Store ops, from being asked for to their answer; commit and retries included.";
            register.histogram("godwit_store_op_seconds", help, Some(("op", op.name())))
        };
        let error = |kind| {
            register.counter("godwit_store_errors_total", "Store ops that failed.", Some(("error", kind)))
        };
        let sms = |outcome| {
            register.counter("godwit_sms_total", "Text messages handed over.", Some(("outcome", outcome)))
        };
        let counter = |name, help| register.counter(name, help, None);
        Work {
            ops: OpKind::ALL.iter().map(of_op).collect(),
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

    /// A store op was answered, or failed.
    pub(crate) fn op_done(&self, op: OpKind, took: Duration, error: Option<&StoreError>) {
        if let Some(histogram) = self.ops.get(op as usize) {
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
