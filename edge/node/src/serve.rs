//! Starting and stopping a node, in the order that makes each step safe: keys and store before the socket, the socket
//! before "serving"; and on the way down: no new clients, then no clients, then no commits, then no backups, then the store.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use certs::CertError;
use edge_proto::{Node, NodeConfig};
use store::any::{AnyBackend, AnyConfig, Location};
#[cfg(unix)]
use store::reads::ReadServer;
use store::recent::RecentConfig;
use store::{OpenError, StoreConfig};
use tokio::runtime::Handle;
use tokio::task::JoinHandle as Task;
use wire_link::tls::SessionStore;
use wire_udp::Driver;

use crate::clock::{TokioClock, now};
use crate::config::{Config, Handshakes};
use crate::drive::{Loop, LoopHandle};
use crate::health::{self, Health, Life};
use crate::metrics::{Metrics, Sources};
use crate::perform::{NodeStore, Performer, chain};
use crate::registry::Registry;
use crate::secrets::{self, SecretsError};
use crate::sms::FileSms;
use crate::sockets;
use crate::sweeper;
use crate::tls::Tls;

/// Why a node does not start.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The data directory.
    #[error("cannot use the data directory {path}")]
    Data {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The keys.
    #[error("the node's keys")]
    Secrets(#[from] SecretsError),
    /// The certificates.
    #[error("the node's certificate")]
    Tls(#[from] CertError),
    /// The store.
    #[error("the store {location} does not open")]
    Store {
        /// Where it is.
        location: Location,
        /// Why.
        #[source]
        source: Box<OpenError>,
    },
    /// An address.
    #[error("cannot listen on {proto} {addr}; is another node running, or another program using the port?")]
    Bind {
        /// UDP or TCP.
        proto: &'static str,
        /// Which.
        addr: SocketAddr,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The operating system.
    #[error("the operating system gives no {0}")]
    System(&'static str),
}

/// A node that serves.
#[derive(Debug)]
pub struct RunningNode {
    /// Where clients connect.
    pub listen: SocketAddr,
    /// Where operators look.
    pub admin: SocketAddr,
    /// What clients trust, if the node made its own certificates.
    pub ca: Option<PathBuf>,
    health: Health,
    metrics: Metrics,
    store: NodeStore,
    #[cfg(unix)]
    reads: Option<ReadServer>,
    loops: Vec<RunningLoop>,
    tasks: Vec<Task<()>>,
    stop_timeout: Duration,
}

/// Starts a node on the running tokio runtime.
///
/// # Errors
/// [`ServeError`] says what is in the way; nothing is left running.
pub async fn start(config: &Config) -> Result<RunningNode, ServeError> {
    let Handshakes { sessions, session_bytes, .. } = config.handshakes;
    start_with_sessions(config, Arc::new(SessionStore::new(sessions, session_bytes))).await
}

/// As [`start`], with a memory of clients' TLS sessions that somebody else keeps: it may be that of a node before this one,
/// whose clients then come back by early data. The settings of `handshakes` that bound it are the caller's to apply.
///
/// # Errors
/// As [`start`].
pub async fn start_with_sessions(
    config: &Config,
    sessions: Arc<SessionStore>,
) -> Result<RunningNode, ServeError> {
    let data = |source| ServeError::Data { path: config.data.clone(), source };
    store::durable::create_dir_all(&config.data, 0o777).map_err(data)?;
    let secrets = secrets::load(&config.data_path("keys"))?;
    let tls = Tls::load(config)?;
    let store = open_store(config).await?;
    #[cfg(unix)]
    let reads = let_it_be_read(&store).await?;
    let metrics = Metrics::new(config.data.clone());
    let performer = Performer {
        store: store.clone(),
        ephemeral: Arc::default(),
        sms: FileSms::new(config.sms_file()),
        registry: Arc::<Registry>::default(),
        metrics: metrics.clone(),
        runtime: Handle::current(),
    };
    let health = Health::default();
    let bind = |proto, addr| move |source| ServeError::Bind { proto, addr, source };
    let (admin, admin_task) = health::bind(config.admin, health.clone(), metrics.clone())
        .await
        .map_err(bind("TCP", config.admin))?;
    let seeds = (0..config.loop_count()).map(|_| random()).collect::<Result<Vec<_>, _>>()?;
    let crypto = tls.crypto(sessions.clone()).map_err(bind("UDP", config.listen))?;
    let drivers = sockets::bind(config, &secrets, &crypto, &seeds).map_err(bind("UDP", config.listen))?;
    let listen = drivers[0].local_addr().map_err(bind("UDP", config.listen))?;
    let loops = start_loops(config, Arc::new(secrets.keys), drivers, &performer)?;
    let handles: Vec<LoopHandle> = loops.iter().map(|(handle, _)| handle.clone()).collect();
    metrics.attach(Sources { store: store.clone(), sessions, loops: handles.clone() });
    let mut tasks = vec![tokio::spawn(sweeper::run(performer, handles))];
    tasks.push(tokio::spawn(async move { drop(admin_task.await) }));
    tasks.push(tokio::spawn(tls.clone().reload()));
    tasks.push(tokio::spawn(metrics.clone().upkeep()));
    health.set(Life::Serving);
    let stop_timeout = Duration::from_millis(config.stop_timeout_ms.into());
    let ca = tls.ca.clone();
    Ok(RunningNode {
        listen,
        admin,
        ca,
        health,
        metrics,
        store,
        #[cfg(unix)]
        reads,
        loops,
        tasks,
        stop_timeout,
    })
}

type RunningLoop = (LoopHandle, JoinHandle<io::Result<()>>);

/// One thread per socket; each loop knows the others before any of them runs.
fn start_loops(
    config: &Config,
    keys: Arc<edge_proto::Keys>,
    drivers: Vec<Driver>,
    performer: &Performer,
) -> Result<Vec<RunningLoop>, ServeError> {
    let mut loops = Vec::with_capacity(drivers.len());
    for (loop_no, driver) in (0..).zip(drivers) {
        let node = Node::new(node_config(config, keys.clone(), loop_no)?, now());
        loops.push(Loop::new(loop_no, driver, node, performer.clone()));
    }
    let handles: Vec<LoopHandle> = loops.iter().map(|(_, handle)| handle.clone()).collect();
    let mut running: Vec<RunningLoop> = Vec::with_capacity(loops.len());
    for (mut loop_, handle) in loops {
        let loop_no = handle.loop_no();
        loop_.join(handles.iter().filter(|other| other.loop_no() != loop_no).cloned().collect());
        let spawned = std::thread::Builder::new().name(format!("loop-{loop_no}")).spawn(move || loop_.run());
        match spawned {
            Ok(thread) => running.push((handle, thread)),
            Err(_) => {
                running.iter().for_each(|(handle, _)| handle.end());
                return Err(ServeError::System("thread"));
            }
        }
    }
    Ok(running)
}

/// Opens the store. One that cannot be reached is waited for, as long as the configuration says: a cluster may come up
/// after its nodes, or be recovering.
async fn open_store(config: &Config) -> Result<NodeStore, ServeError> {
    let location = config.store_location();
    let failed = |source| ServeError::Store { location: location.clone(), source: Box::new(source) };
    let seed = u64::from_ne_bytes(random()?);
    let recent = RecentConfig { bytes_max: config.recent_bytes, ..RecentConfig::default() };
    let options = StoreConfig { recent, seed, ..StoreConfig::default() };
    let clock = TokioClock::default();
    let backend = {
        let (location, prefix) = (location.clone(), config.store_prefix.clone());
        let open = move || AnyBackend::open(&location, &AnyConfig { prefix, ..AnyConfig::default() }, clock);
        // It reads a journal, or starts FoundationDB's network.
        tokio::task::spawn_blocking(open).await.map_err(|_| ServeError::System("thread"))?
    };
    let backend = backend.map_err(|error| failed(error.into()))?;
    let deadline = Instant::now() + Duration::from_secs(config.store_patience_s.into());
    loop {
        let error = match NodeStore::open(backend.clone(), options.clone(), clock).await {
            Ok(store) => return Ok(store),
            Err(error) => error,
        };
        let wait = match &error {
            OpenError::Store(error) => error.retry_after(),
            _ => None,
        };
        let Some(wait) = wait.filter(|wait| Instant::now() + *wait < deadline) else {
            return Err(failed(error));
        };
        tracing::warn!(%location, error = chain(&error), "the store cannot be reached yet");
        tokio::time::sleep(wait).await;
    }
}

/// Lets backups read an embedded store while the node serves. A node that cannot do so serves all the same.
#[cfg(unix)]
async fn let_it_be_read(store: &NodeStore) -> Result<Option<ReadServer>, ServeError> {
    let Some(embedded) = store.backend().embedded().cloned() else { return Ok(None) };
    let instance = u64::from_ne_bytes(random()?);
    let start = move || ReadServer::start(embedded, instance);
    let started = tokio::task::spawn_blocking(start).await.map_err(|_| ServeError::System("thread"))?;
    Ok(started
        .inspect_err(|error| {
            let error = chain(error);
            tracing::warn!(error, "backups need this node stopped: there is no socket to read its store by");
        })
        .ok())
}

fn node_config(config: &Config, keys: Arc<edge_proto::Keys>, loop_no: u8) -> Result<NodeConfig, ServeError> {
    let seed = random()?;
    let limits = config.limits.clone();
    let node = u64::from(config.node) << 8 | u64::from(loop_no);
    let (app_name, names) = (config.app_name.clone(), names(config)?);
    Ok(NodeConfig { limits, keys, node, app_name, names, seed })
}

/// What clients may know the node by: what the operator says, and what its certificate says.
fn names(config: &Config) -> Result<Vec<String>, CertError> {
    let mut names = config.names.clone();
    if let Some(cert) = &config.cert {
        names.extend(certs::inspect(cert)?.names);
    }
    Ok(names)
}

fn random<const N: usize>() -> Result<[u8; N], ServeError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|_| ServeError::System("randomness"))?;
    Ok(bytes)
}

impl RunningNode {
    /// Tells clients to move, lets commits finish, and ends, within the configured time.
    pub async fn stop(self) {
        self.health.set(Life::Draining);
        let (began, loops) = (Instant::now(), self.loops.len());
        tracing::info!(loops, within_ms = self.stop_timeout.as_millis() as u64, "draining begins");
        self.loops.iter().for_each(|(handle, _)| handle.drain());
        let deadline = began + self.stop_timeout;
        while Instant::now() < deadline && !self.loops.iter().all(|(_, thread)| thread.is_finished()) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let cut_short = self.loops.iter().filter(|(_, thread)| !thread.is_finished()).count();
        for (handle, thread) in self.loops {
            handle.end();
            match tokio::task::spawn_blocking(move || thread.join()).await {
                Ok(Ok(Ok(()))) => {}
                Ok(Ok(Err(error))) => tracing::error!(%error, "the loop's socket failed"),
                Ok(Err(_)) | Err(_) => tracing::error!("the loop panicked"),
            }
        }
        let took_ms = began.elapsed().as_millis() as u64;
        tracing::info!(loops, cut_short, took_ms, "draining ends");
        for task in self.tasks {
            task.abort();
            // It holds the store until it has really ended.
            let _ = task.await;
        }
        #[cfg(unix)]
        if let Some(reads) = self.reads {
            // A backup that is under way ends with an error. It holds the store until then.
            let _ = tokio::task::spawn_blocking(move || reads.stop()).await;
        }
        self.metrics.detach();
        // The last clone that goes waits for the commits that were queued.
        drop(self.store);
    }

    /// Resolves if a loop has ended by itself: then the node is not serving.
    ///
    /// # Cancel safety
    /// Nothing is lost by dropping it.
    pub async fn failed(&self) {
        while !self.loops.iter().any(|(_, thread)| thread.is_finished()) {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
}
