//! Performs effects: store ops, the ephemeral side, text messages. Each is one task; its result goes back to its loop.

use std::sync::Arc;
use std::time::{Duration, Instant};

use edge_proto::{Effect, EffectError, EffectOutput, OpId};
use store::StoreError;
use store::ephemeral::{Ephemeral, EphemeralOp};
use store::op::{Op, OpOutput};
use tokio::runtime::Handle;
use wire::ErrorCode;

use crate::clock::{TokioClock, wall_now};
use crate::metrics::Metrics;
use crate::registry::Registry;
use crate::sms::FileSms;

/// The store a node runs on.
pub type NodeStore = store::Store<store::any::AnyBackend, TokioClock>;

/// What effects are performed with; one per process, shared by its loops.
#[derive(Debug, Clone)]
pub struct Performer {
    /// Durable state.
    pub store: NodeStore,
    /// State that may be lost.
    pub ephemeral: Arc<store::ephemeral::memory::Memory>,
    /// Text messages.
    pub sms: FileSms,
    /// Which loops an account is on.
    pub registry: Arc<Registry>,
    /// Where it is counted.
    pub metrics: Metrics,
    /// Where tasks run.
    pub runtime: Handle,
}

impl Performer {
    /// Performs one store op, timed and counted.
    ///
    /// # Errors
    /// [`StoreError`]; it is not logged yet.
    pub(crate) async fn store(&self, op: Op) -> Result<OpOutput, StoreError> {
        let (kind, began) = (op.kind(), Instant::now());
        let result = self.store.execute(op).await;
        self.metrics.work().op_done(kind, began.elapsed(), result.as_ref().err());
        result
    }

    /// Performs one effect of a loop. How many are in work at a time is bounded by the loop's `effects_in_flight`; only
    /// what gives back (a dropped route, tokens), which is done in memory at once, does not ask for room.
    ///
    /// # Errors
    /// [`EffectError`]: the world's fault, after it was logged.
    pub async fn perform(self, loop_no: u8, op: OpId, effect: Effect) -> Result<EffectOutput, EffectError> {
        match effect {
            Effect::Store(store_op) => match self.store(store_op).await {
                Ok(output) => Ok(EffectOutput::Store(output)),
                Err(error) => Err(store_error(loop_no, op, &error)),
            },
            Effect::Ephemeral(ephemeral_op) => {
                let (put, dropped) = route_change(&ephemeral_op);
                if let Some(account) = put {
                    self.registry.add(account, loop_no);
                }
                let output = self.ephemeral.execute(ephemeral_op, wall_now()).await;
                if let Some(account) = dropped {
                    self.registry.remove(account, loop_no);
                }
                output.map(EffectOutput::Ephemeral).map_err(|error| {
                    tracing::warn!(loop_no, request = op.0, %error, "ephemeral side failed");
                    failed(ErrorCode::Unavailable, Duration::from_secs(1))
                })
            }
            Effect::Sms(sms) => {
                let file = self.sms.clone();
                let sent = tokio::task::spawn_blocking(move || file.send(&sms, wall_now())).await;
                self.metrics.work().sms(matches!(sent, Ok(Ok(()))));
                match sent {
                    Ok(Ok(())) => {
                        tracing::info!(loop_no, request = op.0, "text message sent");
                        Ok(EffectOutput::Sms)
                    }
                    Ok(Err(error)) => {
                        tracing::error!(loop_no, request = op.0, %error, "text message not sent");
                        Err(sms_failed())
                    }
                    Err(error) => {
                        tracing::error!(loop_no, request = op.0, %error, "text message's task ended");
                        Err(sms_failed())
                    }
                }
            }
        }
    }
}

fn route_change(op: &EphemeralOp) -> (Option<wire::AccountId>, Option<wire::AccountId>) {
    match op {
        EphemeralOp::PutRoute(route) => (Some(route.account), None),
        EphemeralOp::DropRoute(route) => (None, Some(route.account)),
        _ => (None, None),
    }
}

fn sms_failed() -> EffectError {
    failed(ErrorCode::SmsFailed, Duration::from_secs(10))
}

/// What failed and may have been done all the same.
fn failed(code: ErrorCode, retry_after: Duration) -> EffectError {
    EffectError { code, retry_after, maybe_done: true }
}

/// What a store error means to a client; the whole chain goes to the log, once.
fn store_error(loop_no: u8, op: OpId, error: &StoreError) -> EffectError {
    let chain = chain(error);
    let (code, retry_after) = match error {
        StoreError::Busy { retry_after, .. } => {
            tracing::warn!(loop_no, request = op.0, error = chain, "store busy");
            (ErrorCode::Busy, *retry_after)
        }
        StoreError::Unavailable { .. } => {
            tracing::error!(loop_no, request = op.0, error = chain, "store unavailable");
            (ErrorCode::Unavailable, Duration::from_secs(1))
        }
        StoreError::Record(_) | StoreError::Limit(_) => {
            tracing::error!(loop_no, request = op.0, error = chain, "store refused");
            (ErrorCode::Unavailable, Duration::from_secs(30))
        }
    };
    EffectError { code, retry_after, maybe_done: error.maybe_committed() }
}

/// An error and its causes, in a line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    std::iter::successors(Some(error), |e| e.source()).map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
