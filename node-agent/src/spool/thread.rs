//! The writer thread and the queue before it.
//!
//! The queue is bounded in bytes by a semaphore; permits come back when the bytes are durable. While the disk refuses, the
//! thread takes nothing more from the queue and tries again every second, and those who append wait.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use jiff::SignedDuration;
use prost::Message as _;
use tokio::sync::{Semaphore, oneshot, watch};
use wa_proto::{Lane, SpoolId};

use super::index::lane_at;
use super::store::{LetGo, Store, lock};
use super::{Durable, Group, SpoolError};

/// Bytes that may wait for the disk.
const QUEUE_BYTES: u32 = 4 << 20;
/// Bulk is synced when this much waits, in bytes …
const BULK_BYTES: usize = 256 << 10;
/// … or when the oldest has waited this long.
const BULK_DELAY: Duration = Duration::from_millis(100);
/// Between passes over what has waited long: time to deliver for a node that wakes.
pub(super) const AGE_EVERY: Duration = Duration::from_secs(600);
/// For so many passes it is told that something was let go: a day.
const TOLD_FOR: u32 = 144;
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
    problem: Option<String>,
    /// What was let go, in words.
    let_go: Option<String>,
}

#[derive(Debug)]
pub(super) struct Inbox {
    queue: Mutex<Queue>,
    wake: Condvar,
    room: Semaphore,
    ended: watch::Receiver<bool>,
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
        self.wake.notify_one();
        Ok(())
    }

    pub(super) fn release(&self, lane: Lane, seq: u64) {
        let mut queue = self.lock();
        let released = &mut queue.released[lane_at(lane)];
        *released = (*released).max(Some(seq));
        drop(queue);
        self.wake.notify_one();
    }

    pub(super) async fn renew(&self) -> Result<(), SpoolError> {
        let (done, wait) = oneshot::channel();
        self.lock().renew = Some(done);
        self.wake.notify_one();
        wait.await.map_err(|_| SpoolError::Closed)
    }

    pub(super) fn problem(&self) -> Option<String> {
        let queue = self.lock();
        let told: Vec<&str> =
            [&queue.problem, &queue.let_go].into_iter().flatten().map(String::as_str).collect();
        (!told.is_empty()).then(|| told.join("; "))
    }

    pub(super) async fn close(&self) {
        self.lock().closing = true;
        self.wake.notify_one();
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
    let inbox = Arc::new(Inbox {
        queue: Mutex::new(Queue::default()),
        wake: Condvar::new(),
        room: Semaphore::new(QUEUE_BYTES as usize),
        ended: ended_rx,
    });
    let (durable, durable_rx) = watch::channel(durable_of(&store));
    let writer = Writer {
        store,
        inbox: Arc::clone(&inbox),
        durable,
        taken: Vec::new(),
        due: None,
        retry: None,
        age_every: aging,
        age_at: Instant::now(),
        told: Told::default(),
    };
    // Owned by the inbox: `close` waits for `ended`, which the thread sets last.
    std::thread::Builder::new().name("wa-spool".to_owned()).spawn(move || {
        writer.run();
        ended.send_replace(true);
    })?;
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
    /// Groups pushed and not yet durable: what to give back, and whom to tell.
    taken: Vec<(u32, Option<oneshot::Sender<()>>)>,
    /// When the bulk that waits must be synced.
    due: Option<Instant>,
    /// Not before this instant: the disk refused.
    retry: Option<Instant>,
    /// When to look at what has waited long.
    age_at: Instant,
    age_every: Duration,
    told: Told,
}

/// What was let go lately.
#[derive(Debug, Default)]
struct Told {
    records: LetGo,
    /// Passes since the last of it.
    passes: u32,
}

impl Told {
    fn text(&self, max_age: SignedDuration) -> Option<String> {
        let LetGo { full, aged } = self.records;
        let full = (full > 0).then(|| format!("{full} because it was full (spool_max_bytes)"));
        let aged =
            (aged > 0).then(|| format!("{aged} because they were older than {max_age:#} (spool_max_age)"));
        let why: Vec<String> = [full, aged].into_iter().flatten().collect();
        let why = (!why.is_empty()).then(|| why.join(" and "))?;
        Some(format!(
            "the spool let go of records that the controller never had: {why}; they are gaps in the log"
        ))
    }
}

impl Writer {
    fn run(mut self) {
        loop {
            let (closing, urgent) = self.take();
            let now = Instant::now();
            let allowed = self.retry.is_none_or(|retry| now >= retry);
            let due = self.due.is_some_and(|due| now >= due) || self.store.pending_bytes() >= BULK_BYTES;
            if !self.taken.is_empty() && (closing || (allowed && (urgent || due))) {
                self.flush(urgent);
            }
            if self.retry.is_none() && now >= self.age_at {
                self.age();
            }
            if closing {
                return self.end();
            }
        }
    }

    /// Waits for something to do, and takes it. Says whether to close, and whether to sync at once.
    fn take(&mut self) -> (bool, bool) {
        let inbox = Arc::clone(&self.inbox);
        let mut queue = inbox.lock();
        loop {
            let stuck = self.retry.is_some();
            let work = queue.closing
                || queue.released.iter().any(Option::is_some)
                || (!stuck && (queue.renew.is_some() || !queue.groups.is_empty()));
            let aging = self.age_at;
            let deadline =
                if stuck { self.retry } else { Some(self.due.map_or(aging, |due| due.min(aging))) };
            let now = Instant::now();
            if work || deadline.is_some_and(|deadline| now >= deadline) {
                break;
            }
            queue = match deadline {
                Some(deadline) => {
                    let waited = inbox.wake.wait_timeout(queue, deadline - now);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
                None => inbox.wake.wait(queue).unwrap_or_else(PoisonError::into_inner),
            };
        }
        let stuck = self.retry.is_some();
        let groups = if stuck { VecDeque::new() } else { std::mem::take(&mut queue.groups) };
        let released = std::mem::take(&mut queue.released);
        let renew = if stuck { None } else { queue.renew.take() };
        let closing = queue.closing;
        drop(queue);
        let urgent = self.push(groups) || stuck;
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
            self.taken.push((size, done));
            self.due.get_or_insert_with(|| Instant::now() + BULK_DELAY);
        }
        urgent
    }

    fn flush(&mut self, urgent: bool) {
        match self.store.flush() {
            Ok(()) => {
                self.durable.send_replace(durable_of(&self.store));
                for (size, done) in self.taken.drain(..) {
                    self.inbox.room.add_permits(size as usize);
                    if let Some(done) = done {
                        // The one who asked may have gone.
                        let _gone = done.send(());
                    }
                }
                self.due = None;
                if self.retry.take().is_some() {
                    tracing::info!("the spool can be written again");
                }
                self.inbox.lock().problem = None;
            }
            Err(error) => self.failed(&error, urgent),
        }
        self.tell_let_go();
    }

    /// A pass over what has waited long. One that fails is made good by the next.
    fn age(&mut self) {
        self.age_at = Instant::now() + self.age_every;
        self.told.passes = self.told.passes.saturating_add(1);
        if self.told.passes > TOLD_FOR {
            self.told = Told::default();
            self.inbox.lock().let_go = None;
        }
        if let Err(error) = self.store.expire(wa_link::clock::now()) {
            tracing::warn!(%error, "old records stay in the spool for now");
        }
        self.tell_let_go();
    }

    fn tell_let_go(&mut self) {
        let LetGo { full, aged } = self.store.take_let_go();
        if full == 0 && aged == 0 {
            return;
        }
        tracing::warn!(full, aged, "records were let go of before the controller had them");
        let records = &mut self.told.records;
        records.full = records.full.saturating_add(full);
        records.aged = records.aged.saturating_add(aged);
        self.told.passes = 0;
        self.inbox.lock().let_go = self.told.text(self.store.max_age());
    }

    fn failed(&mut self, error: &io::Error, urgent: bool) {
        let text = format!(
            "the spool cannot be written: {error}; capture waits and nothing is lost yet: free disk space or repair the disk"
        );
        if self.retry.is_none() {
            tracing::error!(urgent, "{text}");
        }
        self.retry = Some(Instant::now() + RETRY);
        self.inbox.lock().problem = Some(text);
    }

    fn renew(&mut self, done: oneshot::Sender<()>) {
        match self.store.renew(SpoolId::generate()) {
            Ok(()) => {
                self.flush(true);
                // The one who asked may have gone.
                let _gone = done.send(());
            }
            // Dropping `done` tells the one who asked; it will ask again.
            Err(error) => self.failed(&error, true),
        }
    }

    fn end(self) {
        self.inbox.room.close();
    }
}
