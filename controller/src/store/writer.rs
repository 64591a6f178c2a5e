//! The one writer: a thread with the only connection that writes, and group commit.
//!
//! Constraints: what is acknowledged is durable; one fsync serves everybody who waits; a request that fails undoes
//! nothing of its neighbours; an event becomes an action in the commit that stores it, without a timer on the way.
//!
//! Operation: take a group from the queue, begin, run each request in a savepoint, let the orchestrator work off the
//! inbox, commit, tell the observers, answer. A request that panics fails alone. When the commit itself fails (full disk, read-only, damaged), everybody in
//! it gets the error and nobody an acknowledgement.
//!
//! Checkpoints would add their fsyncs to some unlucky commit; a thread of their own does them on a connection of their
//! own, passively, so that they never hold up the writer. Only a log that grew far beyond that is cut by the writer.

use std::cell::Cell;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rusqlite::Connection;
use tokio::sync::oneshot;
use tokio::time::Instant;
use wa_link::clock;
use wa_link::worker::{Bell, Next, Work, Worker};

use super::queue::{Queue, Taken, Urgency};
use super::tx::{Committed, Tx};
use super::{StoreError, connection};
use crate::accounts::vault::Vault;
use crate::metrics::Metrics;

/// Who works off the inbox inside a commit, and hears of it afterwards. Both are called on the writer's thread and must
/// not wait for anything.
pub trait Observer: Send + Sync {
    /// Works off the inbox; called when rows were added to it. An error leaves them for the next time.
    fn step(&self, tx: &Tx<'_>) -> Result<(), StoreError>;
    /// Called after the commit, before anybody is answered.
    fn committed(&self, what: Committed);
    /// Called when a commit failed, before anybody is answered.
    fn failed(&self, _error: &StoreError) {}
}

/// A request on its way: its work, then its answer.
trait Request: Send {
    fn run(&mut self, tx: &Tx<'_>);
    fn answer(self: Box<Self>, commit: Result<(), StoreError>);
}

struct Call<T, F> {
    work: Option<F>,
    result: Result<T, StoreError>,
    reply: oneshot::Sender<Result<T, StoreError>>,
}

impl<T, F> Request for Call<T, F>
where
    T: Send,
    F: FnOnce(&Tx<'_>) -> Result<T, StoreError> + Send,
{
    fn run(&mut self, tx: &Tx<'_>) {
        if let Some(work) = self.work.take() {
            self.result = tx.apart(work);
        }
    }

    fn answer(self: Box<Self>, commit: Result<(), StoreError>) {
        // Nobody listens when the caller went away; the work stays done.
        drop(self.reply.send(commit.and(self.result)));
    }
}

/// The answer to a request, once its commit is durable.
#[derive(Debug)]
pub struct Answer<T>(oneshot::Receiver<Result<T, StoreError>>);

impl<T> Answer<T> {
    /// Waits for it. Safe to drop and call again.
    ///
    /// # Errors
    /// What the work returned, or why the commit failed: then nothing of it was kept.
    pub async fn wait(&mut self) -> Result<T, StoreError> {
        (&mut self.0).await.unwrap_or(Err(StoreError::Closed))
    }
}

/// Between attempts to work off an inbox that failed as a whole.
const STEP_RETRY: Duration = Duration::from_secs(2);

type Group = Queue<Box<dyn Request>>;

/// The handle: dropped last, it ends the thread after what was queued.
pub(super) struct Writer {
    queue: Arc<Group>,
    worker: Option<Worker>,
}

impl Writer {
    pub(super) fn start(
        path: &Path,
        conn: Connection,
        vault: Arc<Vault>,
        observer: Arc<dyn Observer>,
        metrics: Arc<Metrics>,
    ) -> Result<Self, StoreError> {
        let queue = Arc::new(Group::new());
        let next_log_id = Cell::new(super::log::head(&conn)? + 1);
        let checkpoints = Checkpoints::start(path, connection::open(path)?)?;
        let closer = CloseOnExit(Arc::clone(&queue));
        let commits = Commits { conn, closer, next_log_id, vault, observer, checkpoints, metrics };
        let worker = Worker::start("store-writer", queue.bell(), commits);
        Ok(Self { worker: Some(worker.map_err(|e| StoreError::open(path, e))?), queue })
    }

    /// Queues `work`, in the order of the calls, and gives what will answer after its commit.
    pub(super) async fn submit<T: Send + 'static>(
        &self,
        urgency: Urgency,
        work: impl FnOnce(&Tx<'_>) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<Answer<T>, StoreError> {
        let (reply, answer) = oneshot::channel();
        let call = Call { work: Some(work), result: Err(StoreError::Closed), reply };
        self.queue.push(urgency, Box::new(call)).await?;
        Ok(Answer(answer))
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.queue.close();
        if let Some(worker) = self.worker.take()
            && !worker.join()
        {
            tracing::error!("the store's writer thread panicked");
        }
    }
}

/// However the thread ends, nobody waits for it any longer.
struct CloseOnExit(Arc<Group>);

impl Drop for CloseOnExit {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// What the writer thread owns.
struct Commits {
    conn: Connection,
    closer: CloseOnExit,
    next_log_id: Cell<i64>,
    vault: Arc<Vault>,
    observer: Arc<dyn Observer>,
    checkpoints: Checkpoints,
    metrics: Arc<Metrics>,
}

impl Work for Commits {
    fn turn(&mut self) -> Next {
        match self.closer.0.take() {
            Taken::Group(group) => {
                self.commit(group);
                Next::Again
            }
            Taken::Nothing => Next::Ring,
            Taken::Closed => Next::Over,
        }
    }
}

impl Commits {
    fn commit(&self, mut group: Vec<Box<dyn Request>>) {
        let began = Instant::now();
        let before = self.next_log_id.get();
        let result = commit(&self.conn, &mut group, &self.next_log_id, &self.vault, &*self.observer);
        self.metrics.commit(group.len(), began.elapsed(), result.is_ok());
        let answer = match result {
            Ok(committed) => {
                self.observer.committed(committed);
                Ok(())
            }
            Err(error) => {
                self.observer.failed(&error);
                tracing::error!(%error, requests = group.len(), "a commit failed; nothing in it is acknowledged");
                self.next_log_id.set(before);
                Err(error)
            }
        };
        for request in group {
            request.answer(answer.clone());
        }
        self.checkpoints.bell.ring();
    }
}

fn commit(
    conn: &Connection,
    group: &mut [Box<dyn Request>],
    next_log_id: &Cell<i64>,
    vault: &Vault,
    observer: &dyn Observer,
) -> Result<Committed, StoreError> {
    // What an earlier failure may have left would swallow this transaction.
    roll_back(conn)?;
    conn.execute_batch("BEGIN IMMEDIATE")?;
    let worked = work_off(conn, group, next_log_id, vault, observer).and_then(|committed| {
        conn.execute_batch("COMMIT")?;
        Ok(committed)
    });
    if worked.is_err() {
        roll_back(conn)?;
    }
    worked
}

/// SQLite may have rolled back by itself, for example on a full disk.
fn roll_back(conn: &Connection) -> Result<(), StoreError> {
    if !conn.is_autocommit() {
        conn.execute_batch("ROLLBACK")?;
    }
    Ok(())
}

/// Runs the requests, then lets the orchestrator work off what they put into the inbox.
fn work_off(
    conn: &Connection,
    group: &mut [Box<dyn Request>],
    next_log_id: &Cell<i64>,
    vault: &Vault,
    observer: &dyn Observer,
) -> Result<Committed, StoreError> {
    let tx = Tx::new(conn, clock::now(), next_log_id, vault);
    for request in group.iter_mut() {
        request.run(&tx);
    }
    if tx.has_inbox()
        && let Err(error) = tx.apart(|tx| observer.step(tx))
    {
        tracing::error!(%error, "the inbox could not be worked off; its rows wait");
        tx.wake_at(tx.now.saturating_add(STEP_RETRY).unwrap_or(tx.now));
    }
    tx.intact()?;
    Ok(tx.into_committed())
}

/// Tells the checkpoint thread of commits, and of the end.
struct Checkpoints {
    bell: Bell,
    over: Arc<AtomicBool>,
}

impl Checkpoints {
    fn start(path: &Path, conn: Connection) -> Result<Self, StoreError> {
        let (bell, over) = (Bell::default(), Arc::new(AtomicBool::new(false)));
        let work = Checkpoint { conn, over: Arc::clone(&over), due: None };
        let _ends_by_itself =
            Worker::start("store-checkpoint", &bell, work).map_err(|e| StoreError::open(path, e))?;
        Ok(Self { bell, over })
    }
}

impl Drop for Checkpoints {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Release);
        self.bell.ring();
    }
}

/// Copies the write-ahead log back beside the writer.
struct Checkpoint {
    conn: Connection,
    over: Arc<AtomicBool>,
    /// Somebody rang; some more commits gather before their pages are copied.
    due: Option<Instant>,
}

impl Work for Checkpoint {
    fn turn(&mut self) -> Next {
        const GATHER: Duration = Duration::from_millis(500);
        if self.over.load(Ordering::Acquire) {
            return Next::Over;
        }
        let now = Instant::now();
        let due = *self.due.get_or_insert(now + GATHER);
        if now < due {
            return Next::RingOr(due);
        }
        self.due = None;
        let outcome = self.conn.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()));
        if let Err(error) = outcome {
            tracing::warn!(%error, "the write-ahead log could not be copied back; it goes on growing");
        }
        Next::Ring
    }
}
