//! The end: every task has a name and an owner that waits for it.
//!
//! [`Shutdown`] says that it is time to go; [`Tasks`] knows who has not gone yet. A task that is spawned here ends by
//! itself when the shutdown is triggered; [`Tasks::finish`] waits for all of them, and names and aborts those that stay.
//! A critical task is one without which the program is of no use: when it fails or panics, everything ends.

use std::any::Any;
use std::collections::BTreeMap;
use std::error::Error;
use std::fmt;
use std::io;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::{AbortHandle, JoinHandle};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{error, info, warn};

use crate::worker;

/// How long an aborted task has to reach its next await point before it is left behind.
const AFTER_ABORT: Duration = Duration::from_millis(200);

/// A signal that everyone can wait for. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Shutdown(CancellationToken);

impl Shutdown {
    pub fn new() -> Self {
        Self::default()
    }

    /// Triggered together with this one, or alone.
    pub fn child(&self) -> Self {
        Self(self.0.child_token())
    }

    pub fn trigger(&self) {
        self.0.cancel();
    }

    pub fn is_triggered(&self) -> bool {
        self.0.is_cancelled()
    }

    /// Completes once triggered. Owns what it waits for, so it can be moved into a task.
    pub fn triggered(&self) -> impl Future<Output = ()> + Send + 'static {
        self.0.clone().cancelled_owned()
    }
}

/// Spawns tasks and waits for them. Clones share them.
#[derive(Debug, Clone)]
pub struct Tasks {
    shutdown: Shutdown,
    tracker: TaskTracker,
    register: Arc<Register>,
}

#[derive(Debug, Default)]
struct Register {
    next: AtomicU64,
    running: Mutex<BTreeMap<u64, Entry>>,
    failure: OnceLock<Failure>,
}

#[derive(Debug)]
struct Entry {
    name: String,
    /// `None` for the moment between being entered and being spawned.
    abort: Option<AbortHandle>,
}

/// The first critical task that failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{task}: {reason}")]
pub struct Failure {
    pub task: String,
    pub reason: String,
}

/// How the end went.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub struct Finished {
    /// The first critical task that failed, if any.
    pub failure: Option<Failure>,
    /// Names of the tasks that did not end within the grace period.
    pub stayed: Vec<String>,
}

impl Tasks {
    pub fn new(shutdown: Shutdown) -> Self {
        Self { shutdown, tracker: TaskTracker::new(), register: Arc::new(Register::default()) }
    }

    pub fn shutdown(&self) -> &Shutdown {
        &self.shutdown
    }

    /// Runs a task. Should it panic, that is logged and the others go on. The handle may be dropped.
    pub fn spawn<F>(&self, name: impl Into<String>, future: F) -> JoinHandle<()>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let name = name.into();
        let place = Register::enter(&self.register, &name);
        let id = place.id;
        let handle = self.tracker.spawn(async move {
            let _place = place;
            if let Err(panic) = AssertUnwindSafe(future).catch_unwind().await {
                error!(task = name, reason = panic_text(&*panic), "a task panicked");
            }
        });
        self.register.started(id, handle.abort_handle());
        handle
    }

    /// Runs a task without which the program is of no use: when it fails or panics, that is logged, kept for
    /// [`Finished`], and the shutdown triggered.
    pub fn spawn_critical<F, E>(&self, name: impl Into<String>, future: F) -> JoinHandle<()>
    where
        F: Future<Output = Result<(), E>> + Send + 'static,
        E: Into<Box<dyn Error + Send + Sync>> + 'static,
    {
        let name = name.into();
        let place = Register::enter(&self.register, &name);
        let id = place.id;
        let tasks = self.clone();
        let handle = self.tracker.spawn(async move {
            let _place = place;
            match AssertUnwindSafe(future).catch_unwind().await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tasks.fail(name, error_text(&*error.into())),
                Err(panic) => tasks.fail(name, format!("panicked: {}", panic_text(&*panic))),
            }
        });
        self.register.started(id, handle.abort_handle());
        handle
    }

    /// Runs blocking code on a thread of its own; it is waited for, but cannot be aborted. The handle gives the result,
    /// or an error after a panic.
    pub fn spawn_blocking<F, T>(&self, name: impl Into<String>, work: F) -> JoinHandle<T>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        let name = name.into();
        let place = Register::enter(&self.register, &name);
        let tracked = self.tracker.token();
        worker::blocking(move || {
            let (_place, _tracked) = (place, tracked);
            work()
        })
    }

    /// Records the first failure and begins the end.
    fn fail(&self, task: String, reason: String) {
        error!(task, reason, "a task that everything depends on failed");
        // A later failure is mostly an echo of the first; both are in the log.
        drop(self.register.failure.set(Failure { task, reason }));
        self.shutdown.trigger();
    }

    /// The first critical task that failed so far.
    pub fn failure(&self) -> Option<&Failure> {
        self.register.failure.get()
    }

    /// Names of the tasks that are running.
    pub fn running(&self) -> Vec<String> {
        self.register.lock().values().map(|entry| entry.name.clone()).collect()
    }

    /// Triggers the shutdown and waits, for at most `grace`, until all tasks have ended. Those that have not are named
    /// in the log and aborted.
    pub async fn finish(&self, grace: Duration) -> Finished {
        self.shutdown.trigger();
        self.tracker.close();
        let mut stayed = Vec::new();
        if timeout(grace, self.tracker.wait()).await.is_err() {
            stayed = self.running();
            warn!(tasks = stayed.join(", "), "tasks that did not end in time are aborted");
            for entry in self.register.lock().values() {
                if let Some(abort) = &entry.abort {
                    abort.abort();
                }
            }
            if timeout(AFTER_ABORT, self.tracker.wait()).await.is_err() {
                warn!(tasks = self.running().join(", "), "tasks that could not be aborted are left behind");
            }
        }
        Finished { failure: self.failure().cloned(), stayed }
    }
}

impl Register {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, Entry>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn enter(register: &Arc<Self>, name: &str) -> Place {
        let id = register.next.fetch_add(1, Ordering::Relaxed);
        register.lock().insert(id, Entry { name: name.to_owned(), abort: None });
        Place { register: Arc::clone(register), id }
    }

    fn started(&self, id: u64, abort: AbortHandle) {
        if let Some(entry) = self.lock().get_mut(&id) {
            entry.abort = Some(abort);
        }
    }
}

/// A task's line in the register, struck out when the task is gone, however it went.
struct Place {
    register: Arc<Register>,
    id: u64,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.register.lock().remove(&self.id);
    }
}

fn panic_text(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message")
}

pub(crate) fn error_text(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        next = cause.source();
    }
    text
}

// ---- signals

/// Which signal ended the program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// SIGINT, Ctrl-C.
    Interrupted,
    /// SIGTERM.
    Terminated,
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Interrupted => "SIGINT",
            Self::Terminated => "SIGTERM",
        })
    }
}

/// Tells afterwards which signal came, if any.
#[derive(Debug, Clone, Default)]
pub struct EndedBy(Arc<OnceLock<Ended>>);

impl EndedBy {
    pub fn signal(&self) -> Option<Ended> {
        self.0.get().copied()
    }
}

/// Triggers the shutdown on SIGTERM or SIGINT. Further signals change nothing: the grace period of [`Tasks::finish`]
/// bounds the wait.
///
/// # Errors
/// When the handlers cannot be installed.
pub fn on_signals(tasks: &Tasks) -> io::Result<EndedBy> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let ended_by = EndedBy::default();
    let (seen, shutdown) = (ended_by.clone(), tasks.shutdown().clone());
    tasks.spawn("signals", async move {
        let ended = tokio::select! {
            _ = terminate.recv() => Ended::Terminated,
            _ = interrupt.recv() => Ended::Interrupted,
            () = shutdown.triggered() => return,
        };
        info!(signal = %ended, "shutting down");
        // Nobody else sets it.
        seen.0.get_or_init(|| ended);
        shutdown.trigger();
    });
    Ok(ended_by)
}

/// SIGHUP, which asks to read the configuration again.
#[derive(Debug)]
pub struct Hangups(Signal);

impl Hangups {
    /// # Errors
    /// When the handler cannot be installed.
    pub fn new() -> io::Result<Self> {
        signal(SignalKind::hangup()).map(Self)
    }

    /// Waits for the next one. Safe to drop and call again.
    pub async fn next(&mut self) {
        if self.0.recv().await.is_none() {
            // No more signals will come: there is nothing to wake for.
            std::future::pending::<()>().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::sync::oneshot;

    const GRACE: Duration = Duration::from_secs(5);

    fn tasks() -> Tasks {
        Tasks::new(Shutdown::new())
    }

    #[tokio::test]
    async fn tasks_end_with_the_shutdown_and_are_waited_for() {
        let tasks = tasks();
        let (sender, receiver) = oneshot::channel();
        let shutdown = tasks.shutdown().clone();
        tasks.spawn("cleaner", async move {
            shutdown.triggered().await;
            tokio::task::yield_now().await;
            sender.send("clean").unwrap();
        });
        let blocking = tasks.spawn_blocking("sum", || 1 + 1);
        assert_eq!(tasks.finish(GRACE).await, Finished { failure: None, stayed: vec![] });
        assert_eq!(receiver.await.unwrap(), "clean");
        assert_eq!(blocking.await.unwrap(), 2);
        assert!(tasks.running().is_empty());
    }

    #[tokio::test]
    async fn tasks_that_stay_are_named_and_aborted() {
        let tasks = tasks();
        let (sender, receiver) = oneshot::channel::<()>();
        tasks.spawn("stubborn", async move {
            let _sender = sender;
            std::future::pending::<()>().await;
        });
        tasks.spawn("quick", async {});
        let finished = tasks.finish(Duration::from_millis(20)).await;
        assert_eq!(finished.stayed, ["stubborn"]);
        assert!(receiver.await.is_err(), "the aborted task has let go of what it held");
        assert!(tasks.running().is_empty());
    }

    #[tokio::test]
    async fn a_plain_panic_disturbs_nobody() {
        let tasks = tasks();
        tasks.spawn("clumsy", async { panic!("oops") }).await.unwrap();
        assert!(!tasks.shutdown().is_triggered());
        assert_eq!(tasks.finish(GRACE).await.failure, None);
    }

    #[tokio::test]
    async fn a_critical_failure_ends_everything_and_is_kept() {
        let tasks = tasks();
        tasks.spawn_critical("server", async { Err(io::Error::other("port gone")) });
        tasks.shutdown().triggered().await;
        tasks.spawn_critical("second", async { Err("later") }).await.unwrap();
        let failure = tasks.finish(GRACE).await.failure.unwrap();
        assert_eq!(failure.to_string(), "server: port gone");
    }

    #[tokio::test]
    async fn a_critical_panic_ends_everything() {
        let tasks = tasks();
        tasks.spawn_critical("engine", async {
            let none: Option<u8> = None;
            none.map(|_| ()).ok_or("x").expect("a value");
            Ok::<(), io::Error>(())
        });
        tasks.shutdown().triggered().await;
        let failure = tasks.finish(GRACE).await.failure.unwrap();
        assert!(failure.to_string().starts_with("engine: panicked: a value"), "{failure}");
    }

    #[tokio::test]
    async fn a_child_can_end_alone() {
        let parent = Shutdown::new();
        let (one, two) = (parent.child(), parent.child());
        one.trigger();
        assert!(one.is_triggered() && !two.is_triggered() && !parent.is_triggered());
        parent.trigger();
        two.triggered().await;
    }

    #[tokio::test]
    async fn a_signal_begins_the_end() {
        let tasks = tasks();
        let ended_by = on_signals(&tasks).unwrap();
        let mut hangups = Hangups::new().unwrap();
        let own = rustix::process::getpid();
        rustix::process::kill_process(own, rustix::process::Signal::HUP).unwrap();
        hangups.next().await;
        assert_eq!(ended_by.signal(), None);
        rustix::process::kill_process(own, rustix::process::Signal::TERM).unwrap();
        tasks.shutdown().triggered().await;
        assert_eq!(ended_by.signal(), Some(Ended::Terminated));
        assert_eq!(tasks.finish(GRACE).await.stayed, Vec::<String>::new());
    }
}
