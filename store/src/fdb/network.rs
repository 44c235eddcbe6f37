//! FoundationDB's client library: one network thread per process.
//!
//! The library can be started once in a process and must be stopped before the process ends, whichever way it ends: a
//! thread that runs on while the library's globals are torn down crashes. So it is stopped by the C library's own list
//! of what to do at the end (`atexit`), after everything of ours; a process that is killed or aborts needs nothing.

use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::JoinHandle;

use foundationdb::api::{FdbApiBuilder, NetworkStop};
use foundationdb::options::NetworkOption;
use foundationdb::{FdbError, FdbResult};

use super::error::{Code, FdbOpenError};

/// How often FoundationDB's client fails on purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Faults {
    /// Of a hundred places in its code that can, so many are chosen for this process.
    pub sections_percent: u8,
    /// Of a hundred times that it comes to a chosen place, it fails so often.
    pub fired_percent: u8,
}

static FAULTS: Mutex<Option<Faults>> = Mutex::new(None);
static STARTED: OnceLock<Result<(), FdbError>> = OnceLock::new();
static RUNNING: Mutex<Option<(NetworkStop, JoinHandle<()>)>> = Mutex::new(None);

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// See [`super::Fdb::inject_faults`].
#[cfg(any(test, feature = "testing"))]
pub(super) fn inject(faults: Faults) -> Result<(), FdbOpenError> {
    if STARTED.get().is_some() {
        return Err(FdbOpenError::Network("it runs already"));
    }
    *lock(&FAULTS) = Some(faults);
    Ok(())
}

/// Starts the network thread, if this is the first call.
pub(super) fn start() -> Result<(), FdbOpenError> {
    let started = STARTED.get_or_init(|| {
        let (stop, thread) = run()?;
        *lock(&RUNNING) = Some((stop, thread));
        Ok(())
    });
    started.map_err(|error| FdbOpenError::Client(Code(error)))
}

fn run() -> FdbResult<(NetworkStop, JoinHandle<()>)> {
    let mut builder = FdbApiBuilder::default().build()?;
    if let Some(faults) = *lock(&FAULTS) {
        for option in [
            NetworkOption::ClientBuggifyEnable,
            NetworkOption::ClientBuggifySectionActivatedProbability(faults.sections_percent.into()),
            NetworkOption::ClientBuggifySectionFiredProbability(faults.fired_percent.into()),
        ] {
            builder = builder.set_option(option)?;
        }
    }
    let (runner, wait) = builder.build()?;
    let network = move || {
        #[expect(
            unsafe_code,
            reason = "the network must be stopped before the process ends, which `stop` does"
        )]
        // SAFETY: `stop` is registered below, before anybody can use the network, and runs at every orderly end.
        let ended = unsafe { runner.run() };
        if let Err(error) = ended {
            tracing::error!(error = %Code(error), "FoundationDB's network thread ended");
        }
    };
    // Without a thread the library is of no use, and this code stands for "no memory": platform_error.
    let thread = std::thread::Builder::new()
        .name("fdb-network".to_owned())
        .spawn(network)
        .map_err(|_| FdbError::from_code(1500))?;
    #[expect(unsafe_code, reason = "there is no safe way to be called at the end of a process")]
    // SAFETY: `stop` is a function of this program, and touches only statics that are never dropped.
    let registered = unsafe { libc::atexit(stop) };
    assert_eq!(registered, 0, "the C library has room for 32 such functions");
    Ok((wait.wait(), thread))
}

extern "C" fn stop() {
    let running = lock(&RUNNING).take();
    let Some((stop, thread)) = running else { return };
    if stop.stop().is_ok() {
        // It reports its own failure; a panic of it changes nothing any more.
        let _ = thread.join();
    }
}
