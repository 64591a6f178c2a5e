//! Threads that own what blocks: a set of files, a database.
//!
//! Constraints: an owner works in turns and waits in between for its bell or for an instant; whoever rings is never made
//! to wait; a ring during a turn leads to another turn. In a simulated world ([`crate::world`]) an owner is a task of the
//! runtime at hand, and so is work that would go to a blocking thread.

use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use crate::world;

/// What an owner does after a turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Another turn.
    Again,
    /// It waits for the bell.
    Ring,
    /// It waits for the bell, at most until then.
    RingOr(Instant),
    Over,
}

/// Work that is done in turns, on a thread that may block.
pub trait Work: Send + 'static {
    fn turn(&mut self) -> Next;
}

/// Wakes one owner. Clones ring the same.
#[derive(Debug, Clone, Default)]
pub struct Bell(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    rung: Mutex<bool>,
    changed: Condvar,
    notify: Notify,
}

impl Bell {
    pub fn ring(&self) {
        *self.lock() = true;
        self.0.changed.notify_one();
        self.0.notify.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, bool> {
        self.0.rung.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits on this thread, and takes the ring.
    fn wait(&self, until: Option<Instant>) {
        let mut rung = self.lock();
        while !*rung {
            rung = match until {
                None => self.0.changed.wait(rung).unwrap_or_else(PoisonError::into_inner),
                Some(until) => {
                    let left = until.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        return;
                    }
                    let waited = self.0.changed.wait_timeout(rung, left);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
        *rung = false;
    }
}

/// An owner at work.
#[derive(Debug)]
pub struct Worker(Option<JoinHandle<()>>);

impl Worker {
    /// Starts an owner; its first turn comes at once.
    ///
    /// # Errors
    /// When the system has no thread to give.
    pub fn start(name: &str, bell: &Bell, mut work: impl Work) -> io::Result<Self> {
        let bell = bell.clone();
        if world::is_simulated() {
            drop(spawn(in_turns(bell, work)));
            return Ok(Self(None));
        }
        let run = move || {
            loop {
                match work.turn() {
                    Next::Again => {}
                    Next::Ring => bell.wait(None),
                    Next::RingOr(until) => bell.wait(Some(until)),
                    Next::Over => return,
                }
            }
        };
        std::thread::Builder::new().name(name.to_owned()).spawn(run).map(Some).map(Self)
    }

    /// Waits for the owner's end; it must have been told. `false`: it panicked.
    pub fn join(mut self) -> bool {
        self.0.take().is_none_or(|thread| thread.join().is_ok())
    }
}

async fn in_turns(bell: Bell, mut work: impl Work) {
    loop {
        match work.turn() {
            Next::Again => tokio::task::yield_now().await,
            Next::Ring => bell.0.notify.notified().await,
            Next::RingOr(until) => {
                tokio::select! {
                    biased;
                    () = bell.0.notify.notified() => {}
                    () = sleep_until(until) => {}
                }
            }
            Next::Over => return,
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "it stands in for a thread, which has no owner either")]
fn spawn(task: impl Future<Output = ()> + Send + 'static) -> tokio::task::JoinHandle<()> {
    tokio::spawn(task)
}

/// Runs what blocks on a thread for it. As `tokio::task::spawn_blocking`.
#[expect(clippy::disallowed_methods, reason = "it stands in for a thread, which has no owner either")]
pub fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> tokio::task::JoinHandle<T> {
    if world::is_simulated() {
        return tokio::spawn(async move { work() });
    }
    tokio::task::spawn_blocking(work)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::time::Duration;

    struct Count {
        turns: Arc<AtomicU32>,
        said: std::sync::mpsc::Sender<u32>,
        until: u32,
        waits: Option<Duration>,
    }

    impl Work for Count {
        fn turn(&mut self) -> Next {
            let turn = self.turns.fetch_add(1, Ordering::SeqCst) + 1;
            self.said.send(turn).unwrap();
            match self.waits {
                _ if turn == self.until => Next::Over,
                Some(wait) => Next::RingOr(Instant::now() + wait),
                None => Next::Ring,
            }
        }
    }

    #[test]
    fn every_ring_leads_to_a_turn() {
        let (said, heard) = std::sync::mpsc::channel();
        let bell = Bell::default();
        let count = Count { turns: Arc::default(), said, until: 3, waits: None };
        let worker = Worker::start("count", &bell, count).unwrap();
        assert_eq!(heard.recv().unwrap(), 1, "the first comes unasked");
        assert!(heard.recv_timeout(Duration::from_millis(30)).is_err(), "the others do not");
        bell.ring();
        assert_eq!(heard.recv().unwrap(), 2);
        bell.ring();
        assert_eq!(heard.recv().unwrap(), 3);
        assert!(worker.join());
    }

    #[test]
    fn a_turn_comes_with_its_time_too() {
        let (said, heard) = std::sync::mpsc::channel();
        let waits = Some(Duration::from_millis(5));
        let count = Count { turns: Arc::default(), said, until: 3, waits };
        assert!(Worker::start("count", &Bell::default(), count).unwrap().join());
        assert_eq!(heard.iter().collect::<Vec<_>>(), [1, 2, 3]);
    }
}
