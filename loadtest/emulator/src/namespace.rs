//! Network namespaces, held by a descriptor: no name in the file system, nothing left behind.

use std::fs::File;
use std::io;
use std::net::{Ipv4Addr, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};
use std::panic::resume_unwind;
use std::process::Command;
use std::sync::Arc;
use std::thread::JoinHandle;

use crate::error::Unavailable;
use crate::sys;

/// A network namespace: interfaces, addresses, routes and ports of its own, at first loopback alone, which is up.
///
/// Copies are the same namespace. It goes with the last of them, of the threads and processes in it, and of their
/// sockets.
#[derive(Debug, Clone)]
pub struct Namespace {
    descriptor: Arc<OwnedFd>,
}

impl Namespace {
    /// Makes a namespace.
    ///
    /// # Errors
    /// This machine or user cannot.
    pub fn new() -> Result<Namespace, Unavailable> {
        // A thread of its own, which ends in the new namespace: the caller stays where it is.
        let made = std::thread::scope(|scope| {
            let thread = std::thread::Builder::new().name("namespace".into()).spawn_scoped(scope, make);
            thread.map(|thread| thread.join().unwrap_or_else(|panic| resume_unwind(panic)))
        });
        let descriptor = made.map_err(|why| Unavailable { what: "a thread", why })??;
        Ok(Namespace { descriptor: Arc::new(descriptor) })
    }

    /// Runs something on a thread in the namespace and waits for it. Sockets that it opens belong to the namespace
    /// wherever they are used; threads and processes that it starts are in it too.
    ///
    /// # Errors
    /// The system gives no thread, or refuses it the namespace.
    ///
    /// # Panics
    /// With what `inside` panicked.
    pub fn run<T: Send>(&self, inside: impl FnOnce() -> T + Send) -> io::Result<T> {
        std::thread::scope(|scope| {
            let builder = std::thread::Builder::new().name("inside".into());
            let thread = builder.spawn_scoped(scope, || self.enter().map(|()| inside()))?;
            thread.join().unwrap_or_else(|panic| resume_unwind(panic))
        })
    }

    /// Starts a thread in the namespace.
    ///
    /// # Errors
    /// The system gives no thread. If it refuses the namespace, the thread's result says so.
    pub fn spawn<T: Send + 'static>(
        &self,
        name: &str,
        inside: impl FnOnce() -> T + Send + 'static,
    ) -> io::Result<JoinHandle<io::Result<T>>> {
        let namespace = self.clone();
        let builder = std::thread::Builder::new().name(name.into());
        builder.spawn(move || namespace.enter().map(|()| inside()))
    }

    /// Moves the calling thread into the namespace for good, as at the start of a runtime's worker.
    ///
    /// # Errors
    /// The system refuses.
    pub fn enter(&self) -> io::Result<()> {
        sys::enter_network_namespace(self.descriptor.as_fd())
    }

    /// Lets a command start in the namespace. If the system refuses that, starting it fails.
    ///
    /// # Errors
    /// The system gives no descriptor.
    pub fn command(&self, command: &mut Command) -> io::Result<()> {
        sys::enter_before_exec(command, self.descriptor.try_clone()?);
        Ok(())
    }
}

/// In a thread that ends in the namespace it makes.
fn make() -> Result<OwnedFd, Unavailable> {
    let step = |what| move |why| Unavailable { what, why };
    sys::leave_network_namespace().map_err(step("making a network namespace"))?;
    let file = File::open("/proc/thread-self/ns/net").map_err(step("opening a network namespace"))?;
    loopback_up().map_err(step("bringing loopback up"))?;
    Ok(file.into())
}

fn loopback_up() -> io::Result<()> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    sys::set_up(&socket, "lo")
}
