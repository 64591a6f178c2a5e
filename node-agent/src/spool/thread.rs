//! The writer thread and the queue before it.
//!
//! The queue is bounded in bytes by a semaphore; permits come back when the bytes are durable. While the disk refuses, the
//! thread tries again every second, and with each event if only bulk has no room. Beyond half of the queue the oldest bulk
//! goes (see `room.rs`), and its permits come back; once only events are left those who append wait.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use prost::Message as _;
use tokio::sync::{Semaphore, oneshot, watch};
use tokio::time::Instant;
use wa_link::worker::{Bell, Next, Work, Worker};
use wa_proto::{Lane, SpoolId};

use super::index::lane_at;
use super::room::{Flushed, is_full};
use super::store::{LetGo, Store, lock};
use super::told::Told;
use super::{Durable, Group, SpoolError, Trouble};

/// Bytes that may wait for the disk.
const QUEUE_BYTES: u32 = 4 << 20;
/// Bulk is synced when this much waits, in bytes …
const BULK_BYTES: usize = 256 << 10;
/// … or when the oldest has waited this long.
const BULK_DELAY: Duration = Duration::from_millis(100);
/// Between passes over what has waited long: time to deliver for a node that wakes.
pub(super) const AGE_EVERY: Duration = Duration::from_secs(600);
/// Bytes that may wait for a disk that refuses, before the oldest bulk of them goes.
const WAITING_BYTES: usize = 2 << 20;
/// Between attempts on a disk that refuses.
const RETRY: Duration = Duration::from_secs(1);

#[derive(Debug)]
struct Waiting {
    group: Group,
    /// Permits to give back.
    size: u32,
    done: Option<oneshot::Sender<()>>,
}

#[derive(Debug, Default)]
struct Queue {
    groups: VecDeque<Waiting>,
    /// Highest acknowledged seq, by lane, that the thread has not seen.
    released: [Option<u64>; 2],
    renew: Option<oneshot::Sender<()>>,
    closing: bool,
}

#[derive(Debug)]
pub(super) struct Inbox {
    queue: Mutex<Queue>,
    bell: Bell,
    room: Semaphore,
    ended: watch::Receiver<bool>,
    trouble: watch::Receiver<Trouble>,
}

impl Inbox {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) async fn append(
        &self,
        group: Group,
        done: Option<oneshot::Sender<()>>,
    ) -> Result<(), SpoolError> {
        let size = size_of(&group).clamp(1, QUEUE_BYTES);
        self.room.acquire_many(size).await.map_err(|_| SpoolError::Closed)?.forget();
        let mut queue = self.lock();
        if queue.closing {
            return Err(SpoolError::Closed);
        }
        queue.groups.push_back(Waiting { group, size, done });
        drop(queue);
        self.bell.ring();
        Ok(())
    }

    pub(super) fn release(&self, lane: Lane, seq: u64) {
        let mut queue = self.lock();
        let released = &mut queue.released[lane_at(lane)];
        *released = (*released).max(Some(seq));
        drop(queue);
        self.bell.ring();
    }

    pub(super) async fn renew(&self) -> Result<(), SpoolError> {
        let (done, wait) = oneshot::channel();
        self.lock().renew = Some(done);
        self.bell.ring();
        wait.await.map_err(|_| SpoolError::Closed)
    }

    pub(super) fn trouble(&self) -> watch::Receiver<Trouble> {
        self.trouble.clone()
    }

    pub(super) async fn close(&self) {
        self.lock().closing = true;
        self.bell.ring();
        let mut ended = self.ended.clone();
        // An error means that the thread is gone, which is what we wait for.
        drop(ended.wait_for(|ended| *ended).await);
    }
}

fn size_of(group: &Group) -> u32 {
    let records: usize = group.records.iter().map(|record| body_len(&record.body) + 64).sum();
    let positions: usize = group.positions.iter().map(prost::Message::encoded_len).sum();
    u32::try_from(records + positions).unwrap_or(u32::MAX)
}

fn body_len(body: &wa_proto::wire::v1::record::Body) -> usize {
    use wa_proto::wire::v1::record::Body;
    match body {
        Body::Lines(lines) => lines.encoded_len(),
        Body::Gap(gap) => gap.encoded_len(),
        Body::Event(event) => event.encoded_len(),
        Body::Outcome(outcome) => outcome.encoded_len(),
        Body::Hole(hole) => hole.encoded_len(),
        Body::Repaint(repaint) => repaint.encoded_len(),
        Body::Conversation(conversation) => conversation.encoded_len(),
    }
}

/// Starts the thread. It ends after `close`, or when the queue's owner is gone.
///
/// `aging`: between two passes over what has waited long.
pub(super) fn start(store: Store, aging: Duration) -> io::Result<(Arc<Inbox>, watch::Receiver<Durable>)> {
    let (ended, ended_rx) = watch::channel(false);
    let (trouble, trouble_rx) = watch::channel(Trouble::default());
    let inbox = Arc::new(Inbox {
        queue: Mutex::new(Queue::default()),
        bell: Bell::default(),
        room: Semaphore::new(QUEUE_BYTES as usize),
        ended: ended_rx,
        trouble: trouble_rx,
    });
    let (durable, durable_rx) = watch::channel(durable_of(&store));
    let told = Told::new(store.dir.clone(), store.max_age());
    let writer = Writer {
        store,
        inbox: Arc::clone(&inbox),
        durable,
        held: 0,
        waiting: Vec::new(),
        due: None,
        retry: None,
        stuck: false,
        age_every: aging,
        age_at: Instant::now(),
        told,
        trouble,
        ended,
    };
    // `close` waits for `ended`, which the writer sets last.
    let bell = inbox.bell.clone();
    let _writer = Worker::start("wa-spool", &bell, writer)?;
    Ok((inbox, durable_rx))
}

fn durable_of(store: &Store) -> Durable {
    let index = store.index();
    let index = lock(&index);
    Durable { events: index.lanes[0].next, bulk: index.lanes[1].next }
}

struct Writer {
    store: Store,
    inbox: Arc<Inbox>,
    durable: watch::Sender<Durable>,
    /// Permits of groups that are pushed and not yet durable.
    held: u32,
    /// Whom to tell when they are.
    waiting: Vec<oneshot::Sender<()>>,
    /// When the bulk that waits must be synced.
    due: Option<Instant>,
    /// The disk refused: when to ask again.
    retry: Option<Instant>,
    /// It refuses events, too.
    stuck: bool,
    /// When to look at what has waited long.
    age_at: Instant,
    age_every: Duration,
    told: Told,
    trouble: watch::Sender<Trouble>,
    /// Told last.
    ended: watch::Sender<bool>,
}

impl Work for Writer {
    fn turn(&mut self) -> Next {
        let (closing, urgent) = self.take();
        let now = Instant::now();
        let due = match self.retry {
            Some(retry) => now >= retry || (urgent && !self.stuck),
            None => {
                let bulk = self.due.is_some_and(|due| now >= due);
                let full = self.store.pending_bytes() >= BULK_BYTES;
                !self.store.is_flushed() && (urgent || bulk || full)
            }
        };
        if due || (closing && !self.store.is_flushed()) {
            self.flush();
        }
        if self.retry.is_some() {
            self.shed();
        } else if now >= self.age_at {
            self.age();
        }
        if closing {
            self.inbox.room.close();
            self.ended.send_replace(true);
            return Next::Over;
        }
        match self.retry {
            Some(retry) => Next::RingOr(retry),
            None if self.inbox.lock().renew.is_some() => Next::Again,
            None => Next::RingOr(self.due.map_or(self.age_at, |due| due.min(self.age_at))),
        }
    }
}

impl Writer {
    /// Takes what is there. Says whether to close, and whether to sync at once.
    fn take(&mut self) -> (bool, bool) {
        let inbox = Arc::clone(&self.inbox);
        let mut queue = inbox.lock();
        let groups = std::mem::take(&mut queue.groups);
        let released = std::mem::take(&mut queue.released);
        let renew = if self.retry.is_some() { None } else { queue.renew.take() };
        let closing = queue.closing;
        drop(queue);
        let urgent = self.push(groups);
        for (lane, seq) in [Lane::Events, Lane::Bulk].into_iter().zip(released) {
            if let Some(seq) = seq {
                self.store.release(lane, seq);
            }
        }
        if let Some(done) = renew {
            self.renew(done);
        }
        (closing, urgent)
    }

    fn push(&mut self, groups: VecDeque<Waiting>) -> bool {
        let mut urgent = false;
        for Waiting { group, size, done } in groups {
            urgent |= done.is_some() || group.records.iter().any(|record| record.lane == Lane::Events);
            self.store.push(group);
            self.held = self.held.saturating_add(size);
            self.waiting.extend(done);
            self.due.get_or_insert_with(|| Instant::now() + BULK_DELAY);
        }
        urgent
    }

    fn flush(&mut self) {
        match self.store.flush() {
            Ok(flushed) => {
                self.flushed();
                match flushed {
                    Flushed::Well => self.healed(),
                    Flushed::Tight(error) => self.refused(&error, false),
                }
            }
            Err(error) => {
                let stuck = !is_full(&error) || self.store.has_events();
                self.refused(&error, stuck);
            }
        }
        self.tell_let_go();
    }

    /// Everything that was pushed is durable.
    fn flushed(&mut self) {
        self.durable.send_replace(durable_of(&self.store));
        self.give_back(self.held);
        for done in self.waiting.drain(..) {
            // The one who asked may have gone.
            let _gone = done.send(());
        }
        self.due = None;
    }

    fn give_back(&mut self, permits: u32) {
        let permits = permits.min(self.held);
        self.held -= permits;
        self.inbox.room.add_permits(permits as usize);
    }

    fn healed(&mut self) {
        (self.retry, self.stuck) = (None, false);
        if self.told.healed() {
            tracing::info!("the spool can be written again");
            self.tell();
        }
    }

    fn refused(&mut self, error: &io::Error, stuck: bool) {
        self.retry = Some(Instant::now() + RETRY);
        self.stuck = stuck;
        if self.told.refused(error, stuck, wa_link::clock::now()) {
            tracing::error!(%error, events_wait = stuck, "the disk of the spool refuses");
        }
        self.tell();
    }

    /// While the disk refuses: what waits in memory stays within its bound.
    fn shed(&mut self) {
        if self.store.pending_bytes() > WAITING_BYTES {
            let freed = self.store.shed_to(WAITING_BYTES / 4 * 3);
            self.give_back(u32::try_from(freed).unwrap_or(u32::MAX));
            self.tell_let_go();
        }
    }

    /// A pass over what has waited long. One that fails is made good by the next.
    fn age(&mut self) {
        self.age_at = Instant::now() + self.age_every;
        self.told.pass();
        if let Err(error) = self.store.expire(wa_link::clock::now()) {
            tracing::warn!(%error, "old records stay in the spool for now");
        }
        self.tell_let_go();
        self.tell();
    }

    fn tell_let_go(&mut self) {
        let new = self.store.take_let_go();
        if new == LetGo::default() {
            return;
        }
        let LetGo { full, aged, large, refused, .. } = new;
        tracing::warn!(full, aged, large, refused, "records were let go of before the controller had them");
        self.told.let_go(new, wa_link::clock::now());
        self.tell();
    }

    fn tell(&self) {
        let trouble =
            Trouble { problem: self.told.text(), refused: self.told.is_refused(), let_go: self.told.total() };
        self.trouble.send_if_modified(|told| {
            let differs = *told != trouble;
            *told = trouble;
            differs
        });
    }

    fn renew(&mut self, done: oneshot::Sender<()>) {
        match self.store.renew(SpoolId::generate()) {
            Ok(()) => {
                self.flush();
                // The one who asked may have gone.
                let _gone = done.send(());
            }
            // Dropping `done` tells the one who asked; it will ask again.
            Err(error) => self.refused(&error, true),
        }
    }
}
