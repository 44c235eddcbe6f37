//! The facade: one [`Op`] in, one [`OpOutput`] out.

use std::path::Path;
use std::sync::Arc;

use wire::LogId;

use crate::any::AnyOpenError;
use crate::batch::{BatchConfig, Batcher};
use crate::closed::NO_INCARNATION;
use crate::embedded::{Embedded, EmbeddedConfig, EmbeddedError};
use crate::keys;
use crate::op::batch::{Batch, LogOp, LogOutput};
use crate::op::device_cursors::{ForgetCursors, Forgotten, StartCursors};
use crate::op::end_device::EndDevice;
use crate::op::read;
use crate::op::session::{Beginning, MoreChats};
use crate::op::{
    AddDevice, DeviceError, DeviceRevoked, EndedDevice, Left, MemberAsOf, Op, OpOutput, OpenSession,
    RevokeDevice, SessionState, Sweep, Swept, Tail, Tailed,
};
use crate::recent::{Recent, RecentConfig, RecentStats};
use crate::record::{Closed, Number, Record, SCHEMA_VERSION};
use crate::run::{Attempt, Body, Budget, Clock, OpError, Runner, StoreError};
use crate::stats::StoreStats;
use crate::tx::{Backend, Tx};

/// What an operator may choose, whatever the backend.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StoreConfig {
    /// How often and how long an op is tried.
    pub budget: Budget,
    /// What may wait for a log.
    pub batch: BatchConfig,
    /// The cache of recent entries.
    pub recent: RecentConfig,
    /// Decides the jitter of retries; different on each node.
    pub seed: u64,
}

/// Why a store was not opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// A newer Godwit has written to it. Nothing was changed.
    #[error(
        "the store has schema version {found}, and this build knows up to {SCHEMA_VERSION}: use a newer one"
    )]
    NewerSchema {
        /// The store's version.
        found: u64,
    },
    /// It is closed for writing: it was copied, or a copy or restore into it is not complete. Nothing was changed.
    #[error(
        "the store is closed for writing: {why}. If that is a copy or restore into it, run it again: it goes on where it stopped. If it was copied and is to be used all the same: `godwit reopen`"
    )]
    Closed {
        /// What the marker says.
        why: String,
    },
    /// The embedded backend.
    #[error(transparent)]
    Embedded(#[from] EmbeddedError),
    /// The backend that was chosen.
    #[error(transparent)]
    Backend(#[from] AnyOpenError),
    /// The store could not be read.
    #[error("the store cannot be opened")]
    Store(#[from] StoreError),
}

/// A store that performs ops. Cheap to clone; clones share their batcher and cache, which are per process.
#[derive(Debug)]
pub struct Store<B, C> {
    inner: Arc<Inner<B, C>>,
}

impl<B, C> Clone for Store<B, C> {
    fn clone(&self) -> Self {
        Store { inner: Arc::clone(&self.inner) }
    }
}

#[derive(Debug)]
struct Inner<B, C> {
    runner: Runner<B, C>,
    batcher: Batcher,
    recent: Arc<Recent>,
    incarnation: u64,
}

impl<C: Clock> Store<Embedded, C> {
    /// Opens the embedded store in a directory, or makes one.
    ///
    /// # Errors
    /// [`OpenError`].
    pub async fn open_embedded(
        path: &Path,
        embedded: &EmbeddedConfig,
        config: StoreConfig,
        clock: C,
    ) -> Result<Self, OpenError> {
        let backend = Embedded::open(path, embedded, clock.clone())?;
        Store::open(backend, config, clock).await
    }
}

impl<B: Backend, C: Clock> Store<B, C> {
    /// Opens a store on a backend, which gets its schema version and incarnation if it is new.
    ///
    /// # Errors
    /// [`OpenError::NewerSchema`] if a newer build has written to it, [`OpenError::Closed`], [`OpenError::Store`].
    pub async fn open(backend: B, config: StoreConfig, clock: C) -> Result<Self, OpenError> {
        let runner = Runner::new(backend, clock, config.budget, config.seed);
        let incarnation = runner.run(&Open).await??;
        let (batcher, recent) = (Batcher::new(config.batch), Arc::new(Recent::new(config.recent)));
        Ok(Store { inner: Arc::new(Inner { runner, batcher, recent, incarnation }) })
    }

    /// Performs one op. Appends and cursor moves of one log that wait together commit together; what it answers is
    /// durable.
    ///
    /// # Errors
    /// [`StoreError`]: the world's fault, with a hint when to try again. A refusal is part of the output.
    ///
    /// # Cancel safety
    /// An op whose future is dropped may or may not have happened, as with a lost answer; every op may be repeated.
    pub async fn execute(&self, op: Op) -> Result<OpOutput, StoreError> {
        let inner = &*self.inner;
        Ok(match op {
            Op::Append(op) => inner.through_batcher(LogOp::Append(op)).await?,
            Op::MoveCursor(op) => inner.through_batcher(LogOp::Move(op)).await?,
            Op::Tail(op) => OpOutput::Tail(inner.tail(op).await?),
            Op::History(op) => OpOutput::History(inner.runner.run(&op).await?),
            Op::Receipts(op) => OpOutput::Receipts(inner.runner.run(&op).await?),
            Op::MemberCursors(op) => OpOutput::MemberCursors(inner.runner.run(&op).await?),
            Op::Members(op) => OpOutput::Members(inner.runner.run(&op).await?),
            Op::OpenSession(op) => OpOutput::OpenSession(inner.open_session(&op).await?),
            Op::OpenChat(op) => OpOutput::OpenChat(inner.runner.run(&op).await?),
            Op::CheckDevice(op) => OpOutput::CheckDevice(inner.runner.run(&op).await?),
            Op::Chats(op) => OpOutput::Chats(inner.runner.run(&op).await?),
            Op::AddDevice(op) => OpOutput::AddDevice(inner.add_device(&op).await?),
            Op::Refresh(op) => OpOutput::Refresh(inner.runner.run(&op).await?),
            Op::Devices(op) => OpOutput::Devices(inner.runner.run(&op).await?),
            Op::RevokeDevice(op) => OpOutput::RevokeDevice(inner.revoke_device(&op).await?),
            Op::FindAccount(op) => OpOutput::FindAccount(inner.runner.run(&op).await?),
            Op::SawLast(op) => {
                inner.runner.run(&op).await?;
                OpOutput::SawLast
            }
            Op::Sweep(op) => OpOutput::Sweep(inner.sweep(&op).await?),
            Op::ClearOutbox(op) => OpOutput::ClearOutbox(inner.runner.run(&op).await?),
            Op::Commit(op) => inner.through_batcher(LogOp::Commit(*op)).await?,
            Op::Leave(op) => inner.through_batcher(LogOp::Leave(op)).await?,
            Op::GroupState(op) => OpOutput::GroupState(inner.runner.run(&op).await?),
            Op::Tree(op) => OpOutput::Tree(inner.runner.run(&op).await?),
            Op::PublishKeyPackages(op) => OpOutput::PublishKeyPackages(inner.runner.run(&op).await?),
            Op::ClaimKeyPackages(op) => OpOutput::ClaimKeyPackages(inner.runner.run(&op).await?),
        })
    }

    /// Runs a transaction body that is not an op: for tools and tests.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn run<Y: Body>(&self, body: &Y) -> Result<Y::Output, StoreError> {
        self.inner.runner.run(body).await
    }

    /// The backend.
    pub fn backend(&self) -> &B {
        self.inner.runner.backend()
    }

    /// What the store has done so far.
    pub fn stats(&self) -> StoreStats {
        self.inner.runner.counts().read()
    }

    /// How the cache of recent entries has done so far.
    pub fn recent_stats(&self) -> RecentStats {
        self.inner.recent.stats()
    }
}

impl<B: Backend, C: Clock> Inner<B, C> {
    async fn through_batcher(&self, op: LogOp) -> Result<OpOutput, StoreError> {
        Ok(match self.batched(op).await? {
            LogOutput::Append(results) => OpOutput::Append(results),
            LogOutput::Move(result) => OpOutput::MoveCursor(result),
            LogOutput::Commit(result) => OpOutput::Commit(result),
            LogOutput::Leave(result) => OpOutput::Leave(result),
            LogOutput::EndDevice(_) => unreachable!("an op of the store's own is no op of others"),
        })
    }

    async fn batched(&self, op: LogOp) -> Result<LogOutput, StoreError> {
        self.batcher.submit(op, |log, ops| self.commit(log, ops)).await
    }

    async fn commit(&self, log: LogId, ops: Vec<Arc<LogOp>>) -> Result<Vec<LogOutput>, StoreError> {
        self.runner.counts().batched(ops.len());
        let committing = self.recent.committing(log);
        let batched = self.runner.run(&Batch { log, incarnation: self.incarnation, ops }).await?;
        if batched.sure {
            let entries = batched.outputs.iter().flat_map(LogOutput::entries).collect();
            committing.finish(entries, batched.ended, self.runner.clock().now());
        }
        Ok(batched.outputs)
    }

    /// The device and its first chats, then the others.
    async fn open_session(&self, op: &OpenSession) -> Result<Result<SessionState, DeviceError>, StoreError> {
        let (mut session, mut next) = match self.runner.run(&Beginning(op)).await? {
            Ok(begun) => begun,
            Err(refused) => return Ok(Err(refused)),
        };
        while let Some(after) = next {
            let more = self.runner.run(&MoreChats { session: op, after }).await?;
            session.chats.extend(more.chats);
            next = more.next;
        }
        session.sort();
        Ok(Ok(session))
    }

    /// The cursors first, the device with the last step: what an interruption leaves is nobody's, and written over by the
    /// next try.
    async fn add_device(&self, op: &AddDevice) -> Result<<AddDevice as Body>::Output, StoreError> {
        let mut page = StartCursors { phone: &op.phone, device: op.device, after: None };
        while let Some(after) = self.runner.run(&page).await? {
            page.after = Some(after);
        }
        self.runner.run(op).await
    }

    /// The device first, which then is ended: it gets nothing any more, and nobody adds it. Its chats are told after, so that
    /// none is missed that it was added to before; what of that fails is left to the sweeper.
    async fn revoke_device(
        &self,
        op: &RevokeDevice,
    ) -> Result<Result<DeviceRevoked, DeviceError>, StoreError> {
        if let Err(refused) = self.runner.run(op).await? {
            return Ok(Err(refused));
        }
        let RevokeDevice { account, device, now: at } = *op;
        let mut told = Vec::new();
        if let Err(error) = self.tell_chats(EndedDevice { account, device, at }, &mut told).await {
            tracing::warn!(%error, "not all chats of a device that has ended are told yet");
        }
        Ok(Ok(DeviceRevoked { told }))
    }

    /// Tells the chats of a device that has ended, and forgets where it was in them.
    async fn tell_chats(&self, ended: EndedDevice, told: &mut Vec<Left>) -> Result<(), StoreError> {
        let EndedDevice { account, device, at: now } = ended;
        let mut page = ForgetCursors { account, device, after: None };
        loop {
            let (logs, next) = self.runner.run(&page).await?;
            for log in logs {
                let output = self.batched(LogOp::EndDevice(EndDevice { log, account, device, now })).await?;
                if let (LogOutput::EndDevice(Some(entry)), 0..DeviceRevoked::TOLD_MAX) = (output, told.len())
                {
                    told.push(entry);
                }
            }
            if next.is_none() {
                break;
            }
            page.after = next;
        }
        self.runner.run(&Forgotten { account, device }).await
    }

    /// Looks at what is due, and does what an interrupted end of a device has left.
    async fn sweep(&self, op: &Sweep) -> Result<Swept, StoreError> {
        let swept = self.runner.run(op).await?;
        for ended in &swept.ended {
            // Their own outbox keys tell of these entries.
            self.tell_chats(*ended, &mut Vec::new()).await?;
        }
        Ok(swept)
    }

    /// Entries from memory are as good as stored ones, but where others write too, only the store knows the head, and whether
    /// whoever asks is still a member.
    async fn tail(&self, op: Tail) -> Result<Tailed, StoreError> {
        let now = self.runner.clock().now();
        let exclusive = self.runner.backend().exclusive();
        let Some(tailed) = self.recent.tail(&op, exclusive, now) else { return self.runner.run(&op).await };
        if exclusive {
            return Ok(tailed);
        }
        let known = self.runner.run(&Tail { entries_max: 0, ..op.clone() }).await?;
        let joined = |member: Option<MemberAsOf>| member.map(|member| member.joined);
        match joined(known.member) == joined(op.member) {
            true => Ok(Tailed { entries: tailed.entries, ..known }),
            false => self.runner.run(&op).await,
        }
    }
}

/// Reads what a store says of itself, and says it if it is new.
struct Open;

impl Body for Open {
    type Output = Result<u64, OpenError>;

    async fn run<T: Tx>(&self, tx: &mut T, _: Attempt) -> Result<Self::Output, OpError> {
        let Some(Number(version)) = read::get(tx, &keys::schema_version()).await? else {
            tx.set(keys::schema_version(), Number(SCHEMA_VERSION.into()).encode());
            tx.set(keys::incarnation(), Number(1).encode());
            return Ok(Ok(1));
        };
        if version > SCHEMA_VERSION.into() {
            return Ok(Err(OpenError::NewerSchema { found: version }));
        }
        if let Some(closed) = read::get::<Closed, T>(tx, &keys::closed()).await? {
            return Ok(Err(OpenError::Closed { why: closed.why }));
        }
        let incarnation = read::get::<Number, T>(tx, &keys::incarnation()).await?;
        Ok(Ok(incarnation.ok_or(NO_INCARNATION)?.0))
    }
}
