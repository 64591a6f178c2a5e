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
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rusqlite::Connection;
use tokio::sync::oneshot;
use wa_link::clock;

use super::queue::{Queue, Urgency};
use super::tx::{Committed, Tx};
use super::{StoreError, connection};
use crate::metrics::Metrics;

/// Who works off the inbox inside a commit, and hears of it afterwards. Both are called on the writer's thread and must
/// not wait for anything.
pub trait Observer: Send + Sync {
    /// Works off the inbox; called when rows were added to it. An error leaves them for the next time.
    fn step(&self, tx: &Tx<'_>) -> Result<(), StoreError>;
    /// Called after the commit, before anybody is answered.
    fn committed(&self, what: Committed);
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
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    pub(super) fn start(
        path: &Path,
        conn: Connection,
        observer: Arc<dyn Observer>,
        metrics: Arc<Metrics>,
    ) -> Result<Self, StoreError> {
        let queue = Arc::new(Group::new());
        let next_log_id = super::log::head(&conn)? + 1;
        let checkpoints = start_checkpointer(path, connection::open(path)?)?;
        let thread = {
            let queue = Arc::clone(&queue);
            let run = move || {
                let closer = CloseOnExit(queue);
                run(&conn, &closer.0, next_log_id, &*observer, &checkpoints, &metrics);
            };
            std::thread::Builder::new()
                .name("store-writer".into())
                .spawn(run)
                .map_err(|e| StoreError::open(path, e))?
        };
        Ok(Self { queue, thread: Some(thread) })
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
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
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

fn run(
    conn: &Connection,
    queue: &Group,
    next_log_id: i64,
    observer: &dyn Observer,
    checkpoints: &SyncSender<()>,
    metrics: &Metrics,
) {
    let next_log_id = Cell::new(next_log_id);
    while let Some(mut group) = queue.take() {
        let began = Instant::now();
        let before = next_log_id.get();
        let result = commit(conn, &mut group, &next_log_id, observer);
        metrics.commit(group.len(), began.elapsed(), result.is_ok());
        let answer = match result {
            Ok(committed) => {
                observer.committed(committed);
                Ok(())
            }
            Err(error) => {
                tracing::error!(%error, requests = group.len(), "a commit failed; nothing in it is acknowledged");
                next_log_id.set(before);
                Err(error)
            }
        };
        for request in group {
            request.answer(answer.clone());
        }
        if let Err(TrySendError::Disconnected(())) = checkpoints.try_send(()) {
            tracing::warn!("the store's checkpoint thread has ended");
        }
    }
}

fn commit(
    conn: &Connection,
    group: &mut [Box<dyn Request>],
    next_log_id: &Cell<i64>,
    observer: &dyn Observer,
) -> Result<Committed, StoreError> {
    // What an earlier failure may have left would swallow this transaction.
    roll_back(conn)?;
    conn.execute_batch("BEGIN IMMEDIATE")?;
    let worked = work_off(conn, group, next_log_id, observer).and_then(|committed| {
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
    observer: &dyn Observer,
) -> Result<Committed, StoreError> {
    let tx = Tx::new(conn, clock::now(), next_log_id);
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

fn start_checkpointer(path: &Path, conn: Connection) -> Result<SyncSender<()>, StoreError> {
    let (wake, woken) = sync_channel(1);
    std::thread::Builder::new()
        .name("store-checkpoint".into())
        .spawn(move || checkpoint(&conn, &woken))
        .map_err(|e| StoreError::open(path, e))?;
    Ok(wake)
}

/// Ends when the writer does, for the channel ends with it.
fn checkpoint(conn: &Connection, woken: &Receiver<()>) {
    // Some commits gather before their pages are copied back.
    const GATHER: Duration = Duration::from_millis(500);
    while woken.recv().is_ok() {
        std::thread::sleep(GATHER);
        let outcome = conn.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()));
        if let Err(error) = outcome {
            tracing::warn!(%error, "the write-ahead log could not be copied back; it goes on growing");
        }
    }
}
