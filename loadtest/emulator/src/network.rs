//! A network that runs, and the handles of its hosts.

use std::io;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::counters::{Counters, NatCounters, Totals};
use crate::driver::{self, now};
use crate::error::{HostError, Unavailable};
use crate::namespace::Namespace;
use crate::path::Direction;
use crate::router::{Router, Taken};
use crate::settings::Settings;
use crate::tun::{self, Tun};
use crate::waker::{self, Waker};

/// Hosts of one network.
pub const HOSTS_MAX: usize = 256;

/// A network: a thread that carries packets between the hosts attached to it. It ends when it is dropped, and its hosts
/// are cut off: their devices go, at once or when a process that is just being started has got to its program.
#[derive(Debug)]
pub struct Network {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

/// One host's link to a network, and the NAT on it if there is one. Copies are the same link. When the network has ended
/// it does nothing more; its counters stay.
#[derive(Debug, Clone)]
pub struct Host {
    shared: Arc<Shared>,
    namespace: Namespace,
    number: usize,
}

#[derive(Debug)]
pub(crate) struct Shared {
    state: Mutex<State>,
    waker: Waker,
}

/// What the thread and the handles share. It is locked only to decide, never during a system call.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) router: Router,
    /// Devices that the thread does not have yet, in the order of their hosts.
    pub(crate) attached: Vec<Tun>,
    pub(crate) must_end: bool,
}

impl Network {
    /// Starts a network without hosts. The same seed gives the same packets in the same order the same fates.
    ///
    /// # Errors
    /// The system gives no thread or no sockets. Whether networks can be made here at all is known from
    /// [`Namespace::new`] and [`attach`](Network::attach).
    pub fn new(seed: u64) -> io::Result<Network> {
        let (waker, wakeups) = waker::pair()?;
        let state = State { router: Router::new(seed), attached: Vec::new(), must_end: false };
        let shared = Arc::new(Shared { state: Mutex::new(state), waker });
        let thread = std::thread::Builder::new().name("emulator".into()).spawn({
            let shared = shared.clone();
            move || driver::run(&shared, &wakeups)
        })?;
        Ok(Network { shared, thread: Some(thread) })
    }

    /// Gives a namespace a device with that address and links it to the network, through perfect paths until something
    /// else is [set](Host::set). Hosts are counted from 0 in the order in which they are attached.
    ///
    /// # Errors
    /// Devices cannot be made here ([`HostError::Unavailable`]); the address is outside 10.77.0.0/16 or somebody has it;
    /// there are [`HOSTS_MAX`] hosts; the namespace is attached already ([`HostError::Device`]).
    pub fn attach(&self, namespace: &Namespace, address: Ipv4Addr) -> Result<Host, HostError> {
        tun::must_be_within(address)?;
        if self.shared.lock().router.hosts() >= HOSTS_MAX {
            return Err(HostError::Full);
        }
        let device = Tun::new(namespace)?;
        tun::set_up(namespace)?;
        tun::set_address(namespace, address)?;
        let number = {
            let mut state = self.shared.lock();
            let number = state.router.attach(address).map_err(|Taken| HostError::Taken(address))?;
            state.attached.push(device);
            number
        };
        self.shared.waker.wake();
        Ok(Host { shared: self.shared.clone(), namespace: namespace.clone(), number })
    }

    /// What belongs to no path.
    #[must_use]
    pub fn totals(&self) -> Totals {
        self.shared.lock().router.totals
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        self.shared.lock().must_end = true;
        self.shared.waker.wake();
        if let Some(thread) = self.thread.take() {
            // If it panicked it has said so.
            let _ = thread.join();
        }
        // Hosts keep the state alive. A device that the thread never got goes here, as the others went with the thread.
        self.shared.lock().attached.clear();
    }
}

impl Host {
    /// Where it is.
    #[must_use]
    pub fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    /// Its own address, which others do not see if it is behind a NAT.
    #[must_use]
    pub fn address(&self) -> Ipv4Addr {
        self.shared.lock().router.address(self.number)
    }

    /// What one direction does to packets from now on.
    pub fn set(&self, direction: Direction, settings: Settings) {
        self.shared.lock().router.set(self.number, direction, settings);
    }

    /// The same for both directions.
    pub fn set_both(&self, settings: &Settings) {
        self.update(|both| *both = settings.clone());
    }

    /// Changes some settings of both directions at one moment.
    pub fn update(&self, change: impl Fn(&mut Settings)) {
        let mut state = self.shared.lock();
        for direction in [Direction::Up, Direction::Down] {
            let mut settings = state.router.path(self.number, direction).settings().clone();
            change(&mut settings);
            state.router.set(self.number, direction, settings);
        }
    }

    /// What happened in one direction.
    #[must_use]
    pub fn counters(&self, direction: Direction) -> Counters {
        self.shared.lock().router.counters(self.number, direction, now())
    }

    /// What its NAT did; `None` if it is behind none.
    #[must_use]
    pub fn nat_counters(&self) -> Option<NatCounters> {
        self.shared.lock().router.nat_counters(self.number)
    }

    /// Packets that the host's kernel dropped on their way into the network, since the emulator did not take them in
    /// time. They are in no counter; a run in which it is not 0 did not measure what its settings say.
    ///
    /// # Errors
    /// The network has ended, or the system does not say.
    pub fn dropped_before(&self) -> io::Result<u64> {
        tun::dropped(&self.namespace)
    }

    /// Gives the host another address inside its namespace in place of the one it has, as from Wi-Fi to cellular: sockets
    /// bound to the old one send no more, and what is under way to it reaches nobody.
    ///
    /// # Errors
    /// The address is outside 10.77.0.0/16, or somebody has it; nothing has changed then. The system refuses it.
    pub fn change_address(&self, new: Ipv4Addr) -> Result<(), HostError> {
        tun::must_be_within(new)?;
        let old = {
            let router = &mut self.shared.lock().router;
            let old = router.address(self.number);
            router.change_address(self.number, new).map_err(|Taken| HostError::Taken(new))?;
            old
        };
        tun::set_address(&self.namespace, new).inspect_err(|_| {
            // It was this host's until now; if another has taken it meanwhile this one has no route.
            let _ = self.shared.lock().router.change_address(self.number, old);
        })
    }

    /// Puts the host behind a NAT, or another one: others see its UDP and TCP at `public`, from ports that the NAT
    /// chooses, and cannot send to its own address. Anybody can answer to a mapped port. A mapping that is not used for
    /// `idle` is forgotten; `None`: never. Other protocols than UDP and TCP, and fragments, do not pass.
    ///
    /// # Errors
    /// The public address is outside 10.77.0.0/16, or somebody has it.
    pub fn put_behind_nat(&self, public: Ipv4Addr, idle: Option<Duration>) -> Result<(), HostError> {
        tun::must_be_within(public)?;
        let router = &mut self.shared.lock().router;
        router.put_behind_nat(self.number, public, idle).map_err(|Taken| HostError::Taken(public))
    }

    /// Lets the NAT forget every mapping: what the host sends next comes from other ports, and answers to the old ones
    /// reach nobody.
    ///
    /// # Errors
    /// [`HostError::NoNat`].
    pub fn rebind(&self) -> Result<(), HostError> {
        if self.shared.lock().router.rebind(self.number) { Ok(()) } else { Err(HostError::NoNat) }
    }

    /// Gives the NAT another public address; ports stay. Answers to the old address reach nobody.
    ///
    /// # Errors
    /// [`HostError::NoNat`]; the address is outside 10.77.0.0/16, or somebody has it.
    pub fn move_to(&self, public: Ipv4Addr) -> Result<(), HostError> {
        tun::must_be_within(public)?;
        let moved = self.shared.lock().router.move_to(self.number, public);
        if moved.map_err(|Taken| HostError::Taken(public))? { Ok(()) } else { Err(HostError::NoNat) }
    }
}

impl Shared {
    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        // The state is whole after every call, whoever panicked elsewhere.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether networks can be made here: makes a namespace and a device, and drops them.
///
/// # Errors
/// What does not work.
pub fn probe() -> Result<(), Unavailable> {
    match Tun::new(&Namespace::new()?) {
        Ok(_) => Ok(()),
        Err(HostError::Unavailable(unavailable)) => Err(unavailable),
        Err(other) => Err(Unavailable { what: "a device", why: io::Error::other(other) }),
    }
}
