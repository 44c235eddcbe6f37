//! The side of the process that has the store open: a thread that accepts, and one for each connection.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, ErrorKind};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use bytes::Bytes;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::frame::{Answer, Greeting, PAGE_BYTES_MAX, PAGE_PAIRS_MAX, REQUEST_BYTES_MAX, Request};
use super::incoming::Socket;
use super::peer::Peer;
use super::{CONNECTIONS_MAX, IDLE_MAX, Malformed, PATIENCE, SOCKET_NAME, socket};
use crate::buffer::{Engine, View, Wanted, page_of};
use crate::embedded::{Embedded, SnapshotView};
use crate::tx::{LIFETIME_MAX, TxError};

/// What an answer that is under way when its snapshot's time is up gets on top.
const LAST_ANSWER: Duration = Duration::from_secs(1);

/// Lets other processes read an embedded store until it is stopped or dropped; it keeps the store open until then.
#[derive(Debug)]
pub struct ReadServer {
    /// Closing it is what tells the accepting thread to end.
    stopper: Option<UnixStream>,
    acceptor: Option<JoinHandle<()>>,
}

impl ReadServer {
    /// Listens beside the store's files. `instance` is a number that no other start has, by which readers tell that they still
    /// read from this one. Blocks on the disk for a moment.
    ///
    /// # Errors
    /// As the system calls; no store is hurt by it.
    pub fn start(store: Embedded, instance: u64) -> io::Result<ReadServer> {
        let listener = socket::listen(store.path())?;
        listener.set_nonblocking(true)?;
        let (stopper, stopped) = UnixStream::pair()?;
        let path = store.path().join(SOCKET_NAME);
        let acceptor = Acceptor { store, instance, listener, stopped, path, connections: Arc::default() };
        let acceptor = Builder::new().name("store-reads".into()).spawn(move || acceptor.run())?;
        Ok(ReadServer { stopper: Some(stopper), acceptor: Some(acceptor) })
    }

    /// Ends all reading, and returns when nothing of it holds the store any more. Blocks until reads that are under way have
    /// come back from the disk.
    pub fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        drop(self.stopper.take());
        if self.acceptor.take().is_some_and(|acceptor| acceptor.join().is_err()) {
            tracing::error!("the thread that lets the store be read panicked");
        }
    }
}

impl Drop for ReadServer {
    fn drop(&mut self) {
        self.end();
    }
}

struct Acceptor {
    store: Embedded,
    instance: u64,
    listener: UnixListener,
    stopped: UnixStream,
    path: PathBuf,
    connections: Arc<Connections>,
}

impl Acceptor {
    fn run(self) {
        while let Ok(true) = self.wait(true, None) {
            match self.listener.accept() {
                Ok((stream, _)) => self.greet(stream),
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
                Err(error) => {
                    tracing::warn!(%error, "a reader of the store was not accepted");
                    // Whatever there is too little of, there is no more at once.
                    let _ = self.wait(false, Some(Duration::from_secs(1)));
                }
            }
        }
        // The store's lock is held: it is ours.
        if let Err(error) = fs::remove_file(&self.path) {
            tracing::warn!(%error, "the socket for reads of the store stays behind");
        }
        self.connections.end();
    }

    /// Waits for somebody, if `for_anybody`. False when it is to end.
    fn wait(&self, for_anybody: bool, at_most: Option<Duration>) -> io::Result<bool> {
        let timeout = at_most.and_then(|time| Timespec::try_from(time).ok());
        let wanted = if for_anybody { PollFlags::IN } else { PollFlags::empty() };
        let mut fds = [PollFd::new(&self.stopped, PollFlags::IN), PollFd::new(&self.listener, wanted)];
        match poll(&mut fds, timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(fds[0].revents().is_empty()),
            Err(error) => {
                tracing::error!(%error, "the store can no longer be read by others");
                Err(error.into())
            }
        }
    }

    /// Says who may read, and lets them.
    fn greet(&self, stream: UnixStream) {
        let peer = match stream.set_nonblocking(false).and_then(|()| Peer::of(&stream)) {
            Ok(peer) => peer,
            Err(error) => return tracing::warn!(%error, "a reader of the store is not known"),
        };
        let refusal = if !peer.may_read() {
            tracing::warn!(peer.uid, peer.pid, "another user's process may not read the store");
            Greeting::Denied
        } else {
            match self.connections.add(stream, self.store.clone(), self.instance) {
                Ok(()) => return tracing::info!(peer.uid, peer.pid, "a process reads the store"),
                Err(Refused::Busy(stream)) => return say(stream, Greeting::Busy, &self.store),
                Err(Refused::System(error)) => {
                    return tracing::warn!(%error, "a reader of the store was not accepted");
                }
            }
        };
        say(stream, refusal, &self.store);
    }
}

/// Says one thing to somebody who gets no thread. A new socket has room for it.
fn say(stream: UnixStream, greeting: Greeting, store: &Embedded) {
    if stream.set_nonblocking(true).is_ok() {
        let now = || Engine::now(store);
        let until = now() + Duration::from_millis(1);
        // Whoever is gone already needs no answer.
        let _ = Socket::new(stream, 0).send(&greeting.encode(), &now, until);
    }
}

enum Refused {
    Busy(UnixStream),
    System(io::Error),
}

/// The connections that have a thread.
#[derive(Default)]
struct Connections(Mutex<Table>);

#[derive(Default)]
struct Table {
    next: u64,
    /// Another handle of the socket, to end it by, and the thread once it runs.
    open: BTreeMap<u64, (UnixStream, Option<JoinHandle<()>>)>,
}

impl Connections {
    fn table(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The accepting thread alone calls it.
    fn add(self: &Arc<Self>, stream: UnixStream, store: Embedded, instance: u64) -> Result<(), Refused> {
        let handle = stream.try_clone().map_err(Refused::System)?;
        let place = {
            let mut table = self.table();
            if table.open.len() >= CONNECTIONS_MAX {
                return Err(Refused::Busy(stream));
            }
            let id = table.next;
            table.next += 1;
            table.open.insert(id, (handle, None));
            Place { connections: Arc::clone(self), id }
        };
        let id = place.id;
        let thread = Builder::new().name(format!("store-reads-{id}")).spawn(move || {
            // Given back last, when nothing else of the connection is left.
            let _place = place;
            Connection::new(store, stream).run(instance);
        });
        let thread = thread.map_err(Refused::System)?;
        if let Some((_, place)) = self.table().open.get_mut(&id) {
            *place = Some(thread);
        }
        Ok(())
    }

    /// Ends all and waits until they have.
    fn end(&self) {
        let open = std::mem::take(&mut self.table().open);
        for (stream, _) in open.values() {
            // One that has ended by itself is ended already.
            let _ = stream.shutdown(Shutdown::Both);
        }
        for thread in open.into_values().filter_map(|(_, thread)| thread) {
            if thread.join().is_err() {
                tracing::error!("a thread that reads the store for another process panicked");
            }
        }
    }
}

/// A connection's place among those that may be.
struct Place {
    connections: Arc<Connections>,
    id: u64,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.connections.table().open.remove(&self.id);
    }
}

/// One reader.
struct Connection {
    socket: Socket,
    snapshot: Snapshot,
    store: Embedded,
}

/// Its snapshot.
enum Snapshot {
    None,
    /// And when it was taken.
    Open(SnapshotView, Duration),
    /// Its time is up.
    Expired,
}

/// Why a connection ends.
#[derive(Debug, thiserror::Error)]
enum Ended {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    Malformed(#[from] Malformed),
    #[error("nothing was asked for too long")]
    Idle,
}

impl Connection {
    fn new(store: Embedded, stream: UnixStream) -> Connection {
        Connection { socket: Socket::new(stream, REQUEST_BYTES_MAX), snapshot: Snapshot::None, store }
    }

    fn run(mut self, instance: u64) {
        match self.serve(instance) {
            Ended::Io(error) if error.kind() == ErrorKind::UnexpectedEof => {}
            error => tracing::info!(%error, "a reader of the store was left"),
        }
    }

    fn serve(&mut self, instance: u64) -> Ended {
        let welcome = Greeting::Welcome(instance).encode();
        let mut result = self.send(&welcome);
        while result.is_ok() {
            result = self.serve_one();
        }
        result.err().unwrap_or(Ended::Idle)
    }

    fn serve_one(&mut self) -> Result<(), Ended> {
        let request = Request::decode(self.next()?)?;
        let answer = self.answer(&request)?;
        answer.map_or(Ok(()), |answer| self.send(&answer.encode()))
    }

    fn now(&self) -> Duration {
        Engine::now(&self.store)
    }

    /// The next request. A snapshot whose time comes meanwhile is given back.
    fn next(&mut self) -> Result<Bytes, Ended> {
        let store = self.store.clone();
        let now = || Engine::now(&store);
        let idle = now() + IDLE_MAX;
        loop {
            let until = match self.snapshot {
                Snapshot::Open(_, began) => idle.min(began + LIFETIME_MAX),
                Snapshot::None | Snapshot::Expired => idle,
            };
            if let Some(frame) = self.socket.receive(&now, until)? {
                return Ok(frame);
            }
            match self.snapshot {
                Snapshot::Open(..) => self.snapshot = Snapshot::Expired,
                Snapshot::None | Snapshot::Expired => return Err(Ended::Idle),
            }
        }
    }

    fn send(&mut self, frame: &[u8]) -> Result<(), Ended> {
        let until = match self.snapshot {
            Snapshot::Open(_, began) => (began + LIFETIME_MAX).max(self.now() + LAST_ANSWER),
            Snapshot::None | Snapshot::Expired => self.now() + PATIENCE,
        };
        let store = &self.store;
        Ok(self.socket.send(frame, &|| Engine::now(store), until)?)
    }

    fn answer(&mut self, request: &Request) -> Result<Option<Answer>, Malformed> {
        if let Snapshot::Open(_, began) = self.snapshot
            && self.now().saturating_sub(began) > LIFETIME_MAX
        {
            self.snapshot = Snapshot::Expired;
        }
        let answer = match (request, &self.snapshot) {
            (Request::End, _) => {
                self.snapshot = Snapshot::None;
                return Ok(None);
            }
            (Request::Begin, _) => self.begin(),
            (_, Snapshot::None) => return Err(Malformed("it reads before it begins")),
            (_, Snapshot::Expired) => return Ok(Some(Answer::TooOld)),
            (_, Snapshot::Open(view, _)) => self.store.alive().and_then(|()| read(view, request)),
        };
        Ok(Some(answer.unwrap_or_else(|error| {
            tracing::error!(error = chain(&error), "the store cannot be read");
            Answer::Unavailable(chain(&error))
        })))
    }

    fn begin(&mut self) -> Result<Answer, TxError> {
        // The one before goes first: no connection has two.
        self.snapshot = Snapshot::None;
        let (began, view) = (self.now(), self.store.snapshot()?);
        let version = View::version(&view);
        self.snapshot = Snapshot::Open(view, began);
        Ok(Answer::Began(version))
    }
}

fn read(view: &SnapshotView, request: &Request) -> Result<Answer, TxError> {
    match request {
        Request::Get(key) => Ok(Answer::Value(View::get(view, key)?)),
        Request::Page { begin, end, reverse, pairs, bytes } => {
            let (pairs, bytes) = (PAGE_PAIRS_MAX.min(*pairs as usize), PAGE_BYTES_MAX.min(*bytes as usize));
            Ok(Answer::Pairs(page_of(view, (begin, end), *reverse, Wanted { pairs, bytes })?))
        }
        Request::Begin | Request::End => unreachable!("they read nothing"),
    }
}

/// An error and its causes, in a line.
fn chain(error: &dyn std::error::Error) -> String {
    std::iter::successors(Some(error), |error| error.source())
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(": ")
}
