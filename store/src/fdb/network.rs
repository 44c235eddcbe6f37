//! FoundationDB's client library: one network thread per process.
//!
//! The library can be started once in a process. It must be stopped before the process ends ([`stop`]), since its thread
//! would run on while its globals are torn down, and crash. Whoever forgets, or cannot do it, as a test harness: the
//! process then ends without tearing anything down, with the exit code that it was to have.

use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::{Builder, JoinHandle};

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
        at_exit::register();
        *lock(&RUNNING) = Some(run()?);
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
        #[expect(unsafe_code, reason = "the network must not outlive the library's globals, and does not")]
        // SAFETY: `stop` does that, or else what is registered to run at the process's end, before this thread was there.
        let ended = unsafe { runner.run() };
        if let Err(error) = ended {
            tracing::error!(error = %Code(error), "FoundationDB's network thread ended");
        }
    };
    let thread = Builder::new().name("fdb-network".to_owned()).spawn(network).map_err(no_thread)?;
    Ok((wait.wait(), thread))
}

/// Without a thread the library is of no use; this code stands for what the system refuses, `platform_error`.
fn no_thread(_: std::io::Error) -> FdbError {
    FdbError::from_code(1500)
}

/// Stops the network thread, for good: no store on FoundationDB works in this process any more. Nothing happens if it does
/// not run.
pub(super) fn stop() {
    let Some((network, thread)) = lock(&RUNNING).take() else { return };
    match network.stop() {
        // It reports its own failure; a panic of it changes nothing any more.
        Ok(()) => drop(thread.join()),
        Err(error) => tracing::error!(error = %Code(error), "FoundationDB's network thread does not stop"),
    }
}

/// What happens if a process ends with the network running.
#[cfg(target_env = "gnu")]
mod at_exit {
    #![expect(unsafe_code, reason = "there is no safe way to be called at the end of a process")]

    use std::ffi::{c_int, c_void};
    use std::ptr::null_mut;

    use super::{RUNNING, lock};

    unsafe extern "C" {
        /// As `atexit`, and the function is told the exit code. Of the GNU C library.
        fn on_exit(function: extern "C" fn(c_int, *mut c_void), argument: *mut c_void) -> c_int;
    }

    pub(super) fn register() {
        // SAFETY: `end` is a function of this program, takes no notice of its pointer, and touches only a static that is
        // never dropped.
        let registered = unsafe { on_exit(end, null_mut()) };
        assert_eq!(registered, 0, "the C library has room for 32 such functions, and more if it has memory");
    }

    /// Rust's output was flushed before: its runtime does that before it calls `exit`.
    extern "C" fn end(code: c_int, _: *mut c_void) {
        if lock(&RUNNING).is_some() {
            // SAFETY: it does not return, and destroys nothing that the network thread could miss.
            unsafe { libc::_exit(code) }
        }
    }
}

/// Elsewhere only an orderly [`stop`] is safe.
#[cfg(not(target_env = "gnu"))]
mod at_exit {
    pub(super) fn register() {}
}
