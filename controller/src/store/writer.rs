//! The one writer: a thread with the only connection that writes, and group commit.
//!
//! Constraints: what is acknowledged is durable; one fsync serves everybody who waits; a request that fails undoes
//! nothing of its neighbours; an event becomes an action in the commit that stores it, without a timer on the way.
//!
//! Operation: take a group from the queue, begin, run each request in a savepoint, let the orchestrator work off the
//! inbox, commit, tell the observers, answer. A request that panics fails alone. When the commit itself fails (full
//! disk, read-only, damaged), everybody in it gets the error and nobody an acknowledgement. A large block enters slice
//! by slice, a commit each: its rest goes back to the queue.
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
use wa_proto::Lane;

use super::ingest::{Batch, Ingested};
use super::queue::{Place, Queue, Taken, Urgency};
use super::slices::Rest;
use super::tx::{Committed, Tx};
use super::{StoreError, connection};
use crate::accounts::vault::Vault;
use crate::metrics::Metrics;

/// Who works off the inbox inside a commit, and hears of it afterwards. Both are called on the writer's thread and must
/// not wait for anything.
pub trait Observer: Send + Sync {
    /// Called at the beginning of each commit, before anything is changed in it. An error fails the commit.
    fn begin(&self, _tx: &Tx<'_>) -> Result<(), StoreError> {
        Ok(())
    }
    /// Works off the inbox; called when rows were added to it. An error leaves them for the next time.
    fn step(&self, tx: &Tx<'_>) -> Result<(), StoreError>;
    /// Called after the commit, before anybody is answered.
    fn committed(&self, what: Committed);
    /// Called when a commit failed, before anybody is answered.
    fn failed(&self, _error: &StoreError) {}
}

/// A request on its way: its work, then its answer.
trait Request: Send {
    /// `false`: it has more to do in another commit, before all else of its source.
    fn run(&mut self, tx: &Tx<'_>) -> bool;
    /// Answers, or gives what is left of it for another commit, and what that costs.
    fn answer(self: Box<Self>, commit: Result<(), StoreError>) -> Option<(usize, Box<dyn Request>)>;
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
    fn run(&mut self, tx: &Tx<'_>) -> bool {
        if let Some(work) = self.work.take() {
            self.result = tx.apart(work);
        }
        true
    }

    fn answer(self: Box<Self>, commit: Result<(), StoreError>) -> Option<(usize, Box<dyn Request>)> {
        // Nobody listens when the caller went away; the work stays done.
        drop(self.reply.send(commit.and(self.result)));
        None
    }
}

/// A block on its way into the log.
struct Block {
    rest: Rest,
    done: Ingested,
    result: Result<(), StoreError>,
    reply: oneshot::Sender<Result<Ingested, StoreError>>,
}

impl Request for Block {
    fn run(&mut self, tx: &Tx<'_>) -> bool {
        let entered = tx.apart(|tx| {
            let few = self.rest.lane() == Lane::Events && tx.is_behind(self.rest.host())?;
            tx.ingest(self.rest.slice(few))
        });
        self.result = entered.map(|entered| self.done.add(entered));
        self.rest.is_empty()
    }

    fn answer(self: Box<Self>, commit: Result<(), StoreError>) -> Option<(usize, Box<dyn Request>)> {
        let result = commit.and_then(|()| self.result.clone());
        // What nobody waits for any longer comes again, from the mark on.
        if result.is_ok() && !self.rest.is_empty() && !self.reply.is_closed() {
            return Some((self.rest.cost(), self));
        }
        drop(self.reply.send(result.map(|()| self.done)));
        None
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

    /// Queues `work`, in the order of the calls of its source, and gives what will answer after its commit.
    pub(super) async fn submit<T: Send + 'static>(
        &self,
        place: Place,
        work: impl FnOnce(&Tx<'_>) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<Answer<T>, StoreError> {
        let (reply, answer) = oneshot::channel();
        let call = Call { work: Some(work), result: Err(StoreError::Closed), reply };
        self.queue.push(place, Box::new(call)).await?;
        Ok(Answer(answer))
    }

    /// As [`Self::submit`]; the answer comes when the whole block is in the log, or with what kept its next slice out.
    pub(super) async fn submit_block(&self, batch: Batch) -> Result<Answer<Ingested>, StoreError> {
        let (urgency, source) = (Urgency::of(batch.lane), Some(batch.host.clone()));
        let rest = Rest::of(batch)?;
        let place = Place { urgency, source, cost: rest.cost() };
        let (reply, answer) = oneshot::channel();
        let (done, result) = (Ingested::default(), Err(StoreError::Closed));
        self.queue.push(place, Box::new(Block { rest, done, result, reply })).await?;
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
    fn commit(&self, group: Vec<(Place, Box<dyn Request>)>) {
        let began = Instant::now();
        let before = self.next_log_id.get();
        let mut group: Vec<Taking> =
            group.into_iter().map(|(place, request)| Taking { place, request, begun: false }).collect();
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
        let queue = &self.closer.0;
        // From the last to the first, for what goes back goes before what is there.
        for Taking { place, request, begun } in group.into_iter().rev() {
            if answer.is_ok() && !begun {
                queue.put_first(place, request);
            } else if let Some((cost, rest)) = request.answer(answer.clone()) {
                queue.put_back(Place { cost, ..place }, rest);
            }
        }
        self.checkpoints.bell.ring();
    }
}

/// A request in a commit.
struct Taking {
    place: Place,
    request: Box<dyn Request>,
    begun: bool,
}

fn commit(
    conn: &Connection,
    group: &mut [Taking],
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

/// Runs the requests, then lets the orchestrator work off what they put into the inbox. What others need not wait for is not
/// begun: once the commit is late, and after what its source must do first.
fn work_off(
    conn: &Connection,
    group: &mut [Taking],
    next_log_id: &Cell<i64>,
    vault: &Vault,
    observer: &dyn Observer,
) -> Result<Committed, StoreError> {
    let tx = Tx::new(conn, clock::now(), next_log_id, vault);
    observer.begin(&tx)?;
    let mut unfinished: Vec<Place> = Vec::new();
    for (n, taking) in group.iter_mut().enumerate() {
        if (n > 0 && tx.is_late()) || unfinished.iter().any(|place| place.source == taking.place.source) {
            continue;
        }
        taking.begun = true;
        if !taking.request.run(&tx) {
            unfinished.push(taking.place.clone());
        }
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
