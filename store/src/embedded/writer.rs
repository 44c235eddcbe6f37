//! The writer thread: takes what waits, decides conflicts, writes one batch, syncs once, answers all.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;

use bytes::Bytes;
use futures_channel::oneshot;

use super::view::SnapshotView;
use super::{Closed, Shared};
use crate::buffer::{Commit, View};
use crate::keys;
use crate::record::{Number, Record};
use crate::stage::{Staged, stamp};
use crate::stats;
use crate::tx::{Cause, TxError, Versionstamp};

/// Transactions in one group: each has its number in a versionstamp's last two bytes, and a group is one write.
const GROUP_MAX: usize = 4096;

/// Bytes in one group, the last transaction aside: what a disk takes in a few fsyncs' time.
const GROUP_BYTES_MAX: usize = 16 << 20;

type Answer = Result<Option<Versionstamp>, TxError>;

/// One transaction that waits.
struct Request {
    commit: Commit,
    answer: oneshot::Sender<Answer>,
}

/// The thread and its queue. Dropping it finishes what is queued.
pub(super) struct Writer {
    queue: Option<SyncSender<Request>>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    pub(super) fn start(shared: Arc<Shared>, queue_max: usize) -> std::io::Result<Writer> {
        let (queue, requests) = sync_channel(queue_max);
        let thread =
            std::thread::Builder::new().name("store-writer".into()).spawn(move || run(&shared, &requests))?;
        Ok(Writer { queue: Some(queue), thread: Some(thread) })
    }

    /// Queues a commit.
    ///
    /// # Errors
    /// [`TxError::Busy`] if the queue is full, [`TxError::Unavailable`] if the thread has ended.
    pub(super) fn submit(
        &self,
        shared: &Shared,
        commit: Commit,
    ) -> Result<oneshot::Receiver<Answer>, TxError> {
        let bytes = commit.bytes;
        if shared.queued_bytes.fetch_add(bytes, Ordering::Relaxed) + bytes > shared.queued_bytes_max {
            shared.queued_bytes.fetch_sub(bytes, Ordering::Relaxed);
            return Err(TxError::Busy);
        }
        let (answer, receiver) = oneshot::channel();
        let queue = self.queue.as_ref().expect("the queue is taken only by drop");
        queue.try_send(Request { commit, answer }).map_err(|error| {
            shared.queued_bytes.fetch_sub(bytes, Ordering::Relaxed);
            match error {
                TrySendError::Full(_) => TxError::Busy,
                TrySendError::Disconnected(_) => TxError::Unavailable(Arc::new(Closed)),
            }
        })?;
        Ok(receiver)
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.queue = None;
        let thread = self.thread.take();
        // The last clone may go inside a waker that the thread itself calls: then it ends by itself.
        if let Some(thread) = thread.filter(|thread| thread.thread().id() != std::thread::current().id()) {
            // A panic of the thread has been printed, and its callers have seen their answers dropped.
            let _ = thread.join();
        }
    }
}

fn run(shared: &Shared, requests: &Receiver<Request>) {
    while let Ok(first) = requests.recv() {
        let mut bytes = first.commit.bytes;
        let mut group = vec![first];
        while group.len() < GROUP_MAX && bytes < GROUP_BYTES_MAX {
            let Ok(request) = requests.try_recv() else { break };
            bytes += request.commit.bytes;
            group.push(request);
        }
        shared.queued_bytes.fetch_sub(bytes, Ordering::Relaxed);
        commit(shared, group);
    }
}

/// Commits one group. Refusals are answered with the rest, so that whoever tries again sees what it lost against.
fn commit(shared: &Shared, group: Vec<Request>) {
    let newest = shared.view();
    let version = View::version(&newest) + 1;
    let mut answers = Vec::with_capacity(group.len());
    let mut staged = Staged::default();
    let mut written = 0;
    for (index, request) in (0..).zip(group) {
        let staging = Staging { shared, newest: &newest, version };
        let answer = shared.alive().and_then(|()| staging.stage(&mut staged, request.commit, index));
        written += usize::from(answer.is_ok());
        answers.push((request.answer, answer));
    }
    let outcome = if written > 0 { timed_write(shared, staged, version, written) } else { Ok(()) };
    for (sender, answer) in answers {
        let answer = match &outcome {
            Err(_) if answer.is_ok() => Err(TxError::MaybeCommitted),
            _ => answer,
        };
        // Whoever stopped waiting has the doubt of a lost answer.
        let _ = sender.send(answer);
    }
}

/// What every transaction of a group is staged against.
struct Staging<'a> {
    shared: &'a Shared,
    newest: &'a SnapshotView,
    version: u64,
}

impl Staging<'_> {
    fn stage(&self, staged: &mut Staged, commit: Commit, index: u16) -> Answer {
        let mut resolver = self.shared.resolver();
        resolver.check(commit.read_version, &commit.reads)?;
        let stamp = stamp(self.version, index);
        let written = staged.apply(self.newest, commit.writes, &stamp).inspect_err(|error| {
            if let TxError::Unavailable(cause) = error {
                fail(self.shared, Arc::clone(cause));
            }
        })?;
        resolver.record(self.version, (self.shared.now)(), written);
        Ok(Some(stamp))
    }
}

fn timed_write(shared: &Shared, staged: Staged, version: u64, transactions: usize) -> Result<(), ()> {
    let begun = (shared.now)();
    let outcome = write(shared, staged, version);
    let nanos = (shared.now)().saturating_sub(begun).as_nanos();
    stats::add(&shared.writes.groups, 1);
    stats::add(&shared.writes.transactions, transactions as u64);
    stats::add(&shared.writes.nanos, u64::try_from(nanos).unwrap_or(u64::MAX));
    outcome
}

/// Writes and syncs a group, then lets readers see it.
fn write(shared: &Shared, mut staged: Staged, version: u64) -> Result<(), ()> {
    staged.changes.insert(keys::commit_version(), Some(Number(version).encode()));
    let mut batch = shared.db.batch().durability(Some(shared.persist));
    // First in the group, where opening looks for it.
    batch.insert(&shared.keys, keys::batch_seal(), &shared.seal[..]);
    let changed: Vec<Bytes> = staged.changes.keys().cloned().collect();
    for (key, value) in staged.changes {
        match value {
            Some(value) => batch.insert(&shared.keys, key, value),
            None => batch.remove(&shared.keys, key),
        }
    }
    let failed = shared.failed.get().is_some();
    let result = if failed || shared.fail_next_sync.load(Ordering::Relaxed) {
        Err(fjall::Error::Poisoned)
    } else {
        batch.commit()
    };
    match result {
        Ok(()) => {
            shared.publish(version);
            shared.watches.wake(changed.iter());
            Ok(())
        }
        Err(error) => {
            fail(shared, Arc::new(error));
            Err(())
        }
    }
}

/// From here on nothing is acknowledged: after a failed fsync the kernel may have dropped the pages, and a second one
/// that succeeds proves nothing.
fn fail(shared: &Shared, cause: Cause) {
    tracing::error!(error = &*cause as &dyn std::error::Error, "the store's disk failed: no more commits");
    // Only the first cause is kept.
    let _ = shared.failed.set(cause);
}
