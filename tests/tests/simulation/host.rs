//! A host: a clock, a disk, a place in the network, and at most one process: a runtime of its own that is dropped with
//! everything in it when the process crashes.

use std::cell::RefCell;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::runtime::{Handle, Runtime};
use tokio::time::Instant;
use wa_link::net::{Door, Wire};
use wa_link::world::{self, Change, Entered, World};
use wa_proto::Timestamp;

use super::disk::Disk;
use super::mux::Mux;
use super::network::Network;

/// When every simulation begins.
pub(crate) fn epoch() -> Timestamp {
    Timestamp::from_second(1_772_366_400).unwrap()
}

/// What a process sees of its host.
pub(crate) struct Machine {
    name: String,
    network: Network,
    disk: Mutex<Disk>,
    /// How far the clock on the wall is ahead of the simulation's.
    ahead_us: AtomicI64,
    /// The engine's time when the process began, and what its own clock showed.
    born: Mutex<Option<(Duration, Instant)>>,
    /// The engine's time, for whoever asks outside of a process.
    now: Mutex<Duration>,
    /// Its process was killed, and the power is still on.
    killed: AtomicBool,
    /// The multiplexer of the host, where there is one.
    mux: OnceLock<Mux>,
    /// Itself, for those who ask later.
    this: Weak<Machine>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Machine {
    pub(crate) fn disk(&self) -> MutexGuard<'_, Disk> {
        lock(&self.disk)
    }

    /// The process has done its last: what it does now does not count.
    pub(crate) fn is_dead(&self) -> bool {
        lock(&self.disk).is_dead()
    }

    /// The time since the simulation began, as far as the process has come.
    pub(crate) fn since_start(&self) -> Duration {
        let born = *lock(&self.born);
        match (born, Handle::try_current()) {
            (Some((at, began)), Ok(_)) => at + began.elapsed(),
            _ => *lock(&self.now),
        }
    }

    /// A multiplexer runs on the host.
    pub(crate) fn runs(&self, mux: Mux) {
        mux.runs_on(self.this.clone());
        drop(self.mux.set(mux));
    }

    /// kill -9 of its process: between this instruction and the next.
    pub(crate) fn kill(&self) {
        self.disk().die();
        self.killed.store(true, Ordering::Relaxed);
    }

    pub(crate) fn take_kill(&self) -> bool {
        self.killed.swap(false, Ordering::Relaxed)
    }

    /// By how many seconds the clock on the wall is ahead.
    pub(crate) fn ahead_s(&self) -> i64 {
        self.ahead_us.load(Ordering::Relaxed) / 1_000_000
    }

    /// Sets the clock on the wall forward or back.
    pub(crate) fn jump(&self, by: jiff::SignedDuration) {
        let us = i64::try_from(by.as_micros()).unwrap_or(0);
        self.ahead_us.fetch_add(us, Ordering::Relaxed);
    }

    /// The clock on the wall is right again.
    pub(crate) fn right(&self) {
        self.ahead_us.store(0, Ordering::Relaxed);
    }
}

impl World for Machine {
    fn now(&self) -> Timestamp {
        let us = i64::try_from(self.since_start().as_micros()).unwrap_or(i64::MAX);
        let us = us.saturating_add(self.ahead_us.load(Ordering::Relaxed));
        // No clock stands at a whole microsecond.
        epoch() + jiff::SignedDuration::from_micros(us) + jiff::SignedDuration::from_nanos(417)
    }

    fn connect(&self, host: &str, port: u16) -> BoxFuture<'static, io::Result<Box<dyn Wire>>> {
        Box::pin(self.network.clone().connect(self.name.clone(), host.to_owned(), port))
    }

    fn listen(&self, address: SocketAddr) -> io::Result<Box<dyn Door>> {
        self.network.listen(&self.name, address)
    }

    fn local(&self, _: &Path) -> io::Result<(Box<dyn Wire>, String)> {
        let mux = self.mux.get().ok_or(io::ErrorKind::NotFound)?;
        let machine = self.this.clone();
        let dead = move || machine.upgrade().is_none_or(|machine| machine.is_dead());
        Ok((mux.connect(dead), mux.generation()))
    }

    fn change(&self, change: Change<'_>) -> io::Result<()> {
        self.disk().change(change)
    }
}

thread_local! {
    static HERE: RefCell<Option<Arc<Machine>>> = const { RefCell::new(None) };
}

/// The host that this thread is on: its name and its time.
pub(crate) fn here() -> Option<(String, Duration)> {
    HERE.with_borrow(|here| here.as_ref().map(|machine| (machine.name.clone(), machine.since_start())))
}

pub(crate) struct Here {
    before: Option<Arc<Machine>>,
    _world: Entered,
}

impl Drop for Here {
    fn drop(&mut self) {
        HERE.set(self.before.take());
    }
}

pub(crate) struct Host {
    pub(crate) name: String,
    pub(crate) machine: Arc<Machine>,
    pub(crate) folder: PathBuf,
    runtime: Option<Runtime>,
}

impl Drop for Host {
    /// Whoever still knows the machine keeps no files open.
    fn drop(&mut self) {
        self.machine.disk().forget();
    }
}

impl Host {
    pub(crate) fn new(name: &str, base: &Path, network: &Network, rng: fastrand::Rng) -> Self {
        let machine = Arc::new_cyclic(|this| Machine {
            name: name.to_owned(),
            network: network.clone(),
            disk: Mutex::new(Disk::new(rng)),
            ahead_us: AtomicI64::new(0),
            born: Mutex::new(None),
            now: Mutex::new(Duration::ZERO),
            killed: AtomicBool::new(false),
            mux: OnceLock::new(),
            this: this.clone(),
        });
        network.join(name, &machine);
        let folder = base.join(name);
        std::fs::create_dir(&folder).unwrap();
        Self { name: name.to_owned(), machine, folder, runtime: None }
    }

    pub(crate) fn is_up(&self) -> bool {
        self.runtime.is_some()
    }

    /// Begins a process: `start` spawns what it does.
    pub(crate) fn start<T>(&mut self, now: Duration, start: impl Future<Output = T>) -> T {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        let runtime = builder.enable_time().start_paused(true).build().unwrap();
        *lock(&self.machine.now) = now;
        let began = runtime.block_on(async { Instant::now() });
        *lock(&self.machine.born) = Some((now, began));
        let started = self.inside(&runtime, start);
        self.runtime = Some(runtime);
        started
    }

    fn inside<T>(&self, runtime: &Runtime, work: impl Future<Output = T>) -> T {
        let _here = self.enter();
        runtime.block_on(work)
    }

    /// What this thread does until the answer is dropped is done on this host.
    pub(crate) fn enter(&self) -> Here {
        let before = HERE.replace(Some(Arc::clone(&self.machine)));
        Here { before, _world: world::enter(Arc::clone(&self.machine) as Arc<dyn World>) }
    }

    /// Does something within the process.
    pub(crate) fn within<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        self.runtime.as_ref().map(|runtime| self.inside(runtime, work))
    }

    /// Lets the process run until the engine's time is `until`.
    pub(crate) fn run(&self, until: Duration) {
        let born = *lock(&self.machine.born);
        if let (Some(runtime), Some((at, began))) = (&self.runtime, born) {
            self.inside(runtime, async { tokio::time::sleep_until(began + (until - at)).await });
        }
        *lock(&self.machine.now) = until;
    }

    /// The process is gone, from one instruction to the next. The disk is dead already.
    pub(crate) fn end(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            let _here = self.enter();
            drop(runtime);
        }
        *lock(&self.machine.born) = None;
    }
}
