//! The reader's side: a backend whose transactions read snapshots of the process that has the store open.
//!
//! Its reads block their thread until the answer is there, as those of the embedded backend do until the disk has answered.

use std::fmt;
use std::future::{Future, ready};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;

use super::frame::{ANSWER_BYTES_MAX, Answer, Greeting, Request, VERSION};
use super::incoming::Socket;
use super::{CONNECTIONS_MAX, Malformed, PATIENCE, ReadsError, SOCKET_NAME, socket};
use crate::buffer::{BufferedTx, Commit, Engine, Source, Stored, Wanted};
use crate::run::Clock;
use crate::tx::{Backend, TxError, Versionstamp};

/// An embedded store that another process has open. Cheap to clone; a transaction has a connection of its own, which the next
/// one takes over.
///
/// It is the store of one process: once that has ended, everything is [`TxError::Gone`], whoever opens the store next. What a
/// transaction writes is refused at its commit, by [`TxError::ReadOnly`].
#[derive(Clone)]
pub struct Remote {
    shared: Arc<Shared>,
}

struct Shared {
    store: PathBuf,
    instance: u64,
    now: Box<dyn Fn() -> Duration + Send + Sync>,
    /// Connections that no transaction has.
    idle: Mutex<Vec<Socket>>,
}

impl Remote {
    /// Asks the process that has the store in a directory open to let it be read. `clock` times transactions and answers.
    /// Blocks until it answers, 10 s at most.
    ///
    /// # Errors
    /// [`ReadsError`].
    pub fn connect(store: &Path, clock: impl Clock) -> Result<Remote, ReadsError> {
        let now = Box::new(move || clock.now());
        let (socket, instance) = greeted(store, &*now)?;
        let idle = Mutex::new(vec![socket]);
        Ok(Remote { shared: Arc::new(Shared { store: store.to_owned(), instance, now, idle }) })
    }
}

impl fmt::Debug for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Remote").field("store", &self.shared.store).finish_non_exhaustive()
    }
}

/// A connection that may ask, and to which start of a server.
fn greeted(store: &Path, now: &(dyn Fn() -> Duration + Send + Sync)) -> Result<(Socket, u64), ReadsError> {
    let stream = socket::connect(store).map_err(|source| match source.kind() {
        ErrorKind::PermissionDenied => ReadsError::Denied,
        _ => ReadsError::NotServed { path: store.join(SOCKET_NAME), source },
    })?;
    let mut socket = Socket::new(stream, ANSWER_BYTES_MAX);
    let frame = receive(&mut socket, now).map_err(ReadsError::Io)?;
    match Greeting::decode(frame).map_err(ReadsError::Malformed)? {
        Ok(Greeting::Welcome(instance)) => Ok((socket, instance)),
        Ok(Greeting::Busy) => Err(ReadsError::Busy),
        Ok(Greeting::Denied) => Err(ReadsError::Denied),
        Err(theirs) => Err(ReadsError::Version { theirs, ours: VERSION }),
    }
}

fn receive(socket: &mut Socket, now: &(dyn Fn() -> Duration + Send + Sync)) -> io::Result<Bytes> {
    socket.receive(now, now() + PATIENCE)?.ok_or_else(|| ErrorKind::TimedOut.into())
}

impl Shared {
    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<Socket>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ask(&self, socket: &mut Socket, request: &Request) -> Result<Answer, Failed> {
        socket.send(&request.encode(), &*self.now, (self.now)() + PATIENCE)?;
        Ok(Answer::decode(receive(socket, &*self.now)?)?)
    }

    /// A connection with a new snapshot, and its version.
    fn begin(&self) -> Result<(Socket, u64), TxError> {
        // One that was idle for long may have been left.
        loop {
            let Some(mut socket) = self.idle().pop() else { break };
            if let Ok(answer) = self.ask(&mut socket, &Request::Begin) {
                return Ok((socket, began(answer)?));
            }
        }
        let (mut socket, instance) = greeted(&self.store, &*self.now).map_err(of_connecting)?;
        if instance != self.instance {
            return Err(TxError::Gone(Arc::new(OtherInstance)));
        }
        let answer = self.ask(&mut socket, &Request::Begin).map_err(unavailable)?;
        Ok((socket, began(answer)?))
    }
}

fn began(answer: Answer) -> Result<u64, TxError> {
    match answer {
        Answer::Began(version) => Ok(version),
        other => Err(refused(other)),
    }
}

/// The store was opened anew, by this or another process.
#[derive(Debug, thiserror::Error)]
#[error("the store was opened anew")]
struct OtherInstance;

/// The process that has the store open cannot read it.
#[derive(Debug, thiserror::Error)]
#[error("the process that has the store open says: {0}")]
struct Told(String);

/// Why a request has no answer.
#[derive(Debug, thiserror::Error)]
enum Failed {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    Malformed(#[from] Malformed),
}

fn unavailable(cause: Failed) -> TxError {
    TxError::Unavailable(Arc::new(cause))
}

/// A connection has been there before: who lets nobody in now is another, or gone.
fn of_connecting(error: ReadsError) -> TxError {
    match error {
        ReadsError::Busy => TxError::Busy,
        ReadsError::Io(_) | ReadsError::Malformed(_) => TxError::Unavailable(Arc::new(error)),
        ReadsError::NotServed { .. } | ReadsError::Denied | ReadsError::Version { .. } => {
            TxError::Gone(Arc::new(error))
        }
    }
}

/// An answer that holds nothing of what was asked.
fn refused(answer: Answer) -> TxError {
    match answer {
        Answer::TooOld => TxError::TooOld,
        Answer::Unavailable(why) => TxError::Unavailable(Arc::new(Told(why))),
        Answer::Began(_) | Answer::Value(_) | Answer::Pairs(_) => {
            unavailable(Malformed("the answer to something else").into())
        }
    }
}

/// A snapshot at the other process.
pub struct RemoteView {
    shared: Arc<Shared>,
    version: u64,
    /// None after an answer that did not come.
    socket: Mutex<Option<Socket>>,
}

impl RemoteView {
    fn ask(&self, request: &Request) -> Result<Answer, TxError> {
        let mut place = self.socket.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(mut socket) = place.take() else {
            return Err(unavailable(io::Error::from(ErrorKind::NotConnected).into()));
        };
        let answer = self.shared.ask(&mut socket, request).map_err(unavailable)?;
        *place = Some(socket);
        Ok(answer)
    }
}

impl Drop for RemoteView {
    fn drop(&mut self) {
        let place = self.socket.get_mut().unwrap_or_else(PoisonError::into_inner);
        let Some(mut socket) = place.take() else { return };
        let now = &*self.shared.now;
        // It is a few bytes, and nothing else is under way.
        let ended = socket.send(&Request::End.encode(), now, now() + PATIENCE);
        let mut idle = self.shared.idle();
        if ended.is_ok() && idle.len() < CONNECTIONS_MAX {
            idle.push(socket);
        }
    }
}

impl Source for RemoteView {
    fn version(&self) -> u64 {
        self.version
    }

    async fn get(&self, key: &[u8]) -> Result<Option<Bytes>, TxError> {
        match self.ask(&Request::Get(Bytes::copy_from_slice(key)))? {
            Answer::Value(value) => Ok(value),
            other => Err(refused(other)),
        }
    }

    async fn page(
        &self,
        begin: &Bytes,
        end: &Bytes,
        reverse: bool,
        wanted: Wanted,
    ) -> Result<Stored, TxError> {
        match self.ask(&Request::page(begin, end, reverse, wanted))? {
            Answer::Pairs(stored) if is_of(&stored, begin, end, reverse) => Ok(stored),
            other => Err(refused(other)),
        }
    }
}

/// Whether pairs are of a range, in its order, and go on if they say so.
fn is_of(stored: &Stored, begin: &Bytes, end: &Bytes, reverse: bool) -> bool {
    let keys = || stored.pairs.iter().map(|(key, _)| key);
    keys().all(|key| begin <= key && key < end)
        && keys().is_sorted_by(|a, b| if reverse { a > b } else { a < b })
        && !(stored.more && stored.pairs.is_empty())
}

impl Backend for Remote {
    type Tx = BufferedTx<Remote>;

    async fn begin(&self) -> Result<Self::Tx, TxError> {
        let (socket, version) = self.shared.begin()?;
        let view = RemoteView { shared: Arc::clone(&self.shared), version, socket: Mutex::new(Some(socket)) };
        Ok(BufferedTx::new(self.clone(), view))
    }

    fn exclusive(&self) -> bool {
        false
    }
}

impl Engine for Remote {
    type View = RemoteView;

    fn now(&self) -> Duration {
        (self.shared.now)()
    }

    async fn before_read(&self, _: &RemoteView) -> Result<(), TxError> {
        Ok(())
    }

    async fn commit(&self, _: RemoteView, _: Commit) -> Result<Option<Versionstamp>, TxError> {
        Err(TxError::ReadOnly)
    }

    /// A socket that only answers keeps no watch.
    fn watch(&self, _: Bytes, _: u64) -> impl Future<Output = Result<(), TxError>> + Send + 'static {
        ready(Err(TxError::TooManyWatches))
    }
}
