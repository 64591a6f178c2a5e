//! The spool: what the node saw, durable until the controller has it.
//!
//! Constraints: a record that was handed over and flushed survives a crash of this program and of the machine; a reader
//! sees only durable records; an event waits for one fsync and no more; memory is bounded (the queue in bytes, the tail
//! of recent records in bytes); a disk that refuses costs bulk before events, never the program, and is said in words.
//! Format: see `segment.rs`. Operation: one thread owns the files. It takes groups from a queue, syncs at once when one
//! holds an event and else after 100 ms or 256 KiB, and tells readers how far each lane is durable. What waits too long
//! goes: see `age.rs`. A group is atomic: after a crash all of its records and positions are there, or none.

mod age;
mod disk;
mod doubts;
mod holes;
mod index;
mod recover;
mod room;
mod segment;
mod store;
#[cfg(test)]
mod tests;
mod thread;
mod told;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use jiff::SignedDuration;
use tokio::sync::{oneshot, watch};
use wa_proto::wire::v1;
use wa_proto::{GapCause, Lane, SpoolId, Timestamp};

use index::{Index, Lost, Place, Slot, lane_at};
use thread::Inbox;

/// How much the spool may hold, and for how long.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// Bytes on disk.
    pub max_bytes: u64,
    /// Bytes after which a new file is begun.
    pub file_bytes: u64,
    /// How long bulk may wait for the controller.
    pub max_age: SignedDuration,
}

impl Default for Options {
    fn default() -> Self {
        Self::with_max_bytes(1 << 30)
    }
}

impl Options {
    /// At least 1 MiB, whatever is asked for.
    pub fn with_max_bytes(max_bytes: u64) -> Self {
        let max_bytes = max_bytes.max(1 << 20);
        let file_bytes = (max_bytes / 16).clamp(64 << 10, 8 << 20);
        Self { max_bytes, file_bytes, max_age: age::DEFAULT_AGE }
    }

    /// At least an hour, whatever is asked for.
    #[must_use]
    pub fn with_max_age(self, max_age: SignedDuration) -> Self {
        Self { max_age: max_age.max(age::LEAST_AGE), ..self }
    }
}

/// A record without its number.
#[derive(Debug, Clone, PartialEq)]
pub struct NewRecord {
    pub lane: Lane,
    pub time: Timestamp,
    /// W3C traceparent, or empty.
    pub trace_parent: String,
    pub body: v1::record::Body,
}

/// Records and the positions of their panes after them: durable together or not at all.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Group {
    pub records: Vec<NewRecord>,
    pub positions: Vec<v1::PanePosition>,
}

#[derive(Debug, thiserror::Error)]
pub enum SpoolError {
    #[error("spool directory: {source}")]
    Directory { source: Box<dyn std::error::Error + Send + Sync> },
    #[error("spool {}: {source}; check that the disk is there, writable and not full", path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error("the spool is closed")]
    Closed,
}

/// What was found when the spool was opened.
#[derive(Debug)]
pub struct Recovered {
    /// Where the panes stood after the last durable record.
    pub positions: Vec<v1::PanePosition>,
    /// Damage, in words.
    pub notes: Vec<String>,
    /// There was nothing: the spool has a new id.
    pub fresh: bool,
}

/// How far each lane is durable: the next seq that is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Durable {
    pub events: u64,
    pub bulk: u64,
}

impl Durable {
    pub fn next(&self, lane: Lane) -> u64 {
        match lane {
            Lane::Events => self.events,
            Lane::Bulk => self.bulk,
        }
    }
}

/// First seq held and next to be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    pub first: u64,
    pub next: u64,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Status {
    pub id: SpoolId,
    pub events: Range,
    pub bulk: Range,
    /// Bytes on disk.
    pub bytes: u64,
}

/// What is wrong.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Trouble {
    /// Why the disk refuses, and what was let go in the last day, in words.
    pub problem: Option<String>,
    /// The disk refuses just now: bulk has no room, or nothing has.
    pub refused: bool,
    /// Records and lines that were let go since the start, before the controller had them.
    pub let_go: u64,
}

/// Consecutive records of one lane.
#[derive(Debug, Clone, PartialEq)]
pub struct Batch {
    pub records: Vec<Arc<v1::Record>>,
    /// Where to go on reading.
    pub next: u64,
}

/// A handle; clones share the spool.
#[derive(Debug, Clone)]
pub struct Spool {
    inbox: Arc<Inbox>,
    index: Arc<Mutex<Index>>,
    durable: watch::Receiver<Durable>,
}

impl Spool {
    /// Opens `dir`, puts in order what a crash left, and starts the writer thread.
    pub fn open(dir: &Path, options: Options) -> Result<(Self, Recovered), SpoolError> {
        let (store, recovered) = recover::open(dir, options)?;
        let index = store.index();
        let (inbox, durable) = thread::start(store, thread::AGE_EVERY)
            .map_err(|source| SpoolError::Io { path: dir.to_owned(), source })?;
        Ok((Self { inbox, index, durable }, recovered))
    }

    /// Hands a group over. Waits while the queue is full, which it is when the disk is slow, or refuses events.
    pub async fn append(&self, group: Group) -> Result<(), SpoolError> {
        self.inbox.append(group, None).await
    }

    /// Hands a group over and waits until it is durable. It is synced at once.
    pub async fn append_durable(&self, group: Group) -> Result<(), SpoolError> {
        let (done, wait) = oneshot::channel();
        self.inbox.append(group, Some(done)).await?;
        wait.await.map_err(|_| SpoolError::Closed)
    }

    /// Consecutive durable records of a lane from `from` on, about `max_bytes` of them; empty at the end. Lost seqs come
    /// as one record that names them. May read from the disk.
    pub fn read(&self, lane: Lane, from: u64, max_bytes: usize) -> Batch {
        let place = store::lock(&self.index).place(lane, from.max(1), max_bytes);
        self.take(lane, from, place)
    }

    fn take(&self, lane: Lane, from: u64, place: Place) -> Batch {
        match place {
            Place::End => Batch { records: Vec::new(), next: from },
            Place::Lost(lost) => Batch { next: lost.last + 1, records: vec![Arc::new(hole(lane, &lost))] },
            Place::Memory(records) => Batch { next: from + records.len() as u64, records },
            Place::Disk(found) => self.read_disk(lane, from, found),
        }
    }

    /// As [`Self::read`], without blocking the caller's thread when the disk must be read.
    pub async fn read_soon(&self, lane: Lane, from: u64, max_bytes: usize) -> Batch {
        let place = store::lock(&self.index).place(lane, from.max(1), max_bytes);
        if !matches!(place, Place::Disk(_)) {
            return self.take(lane, from, place);
        }
        let this = self.clone();
        let read = wa_link::worker::blocking(move || this.take(lane, from, place));
        read.await.unwrap_or(Batch { records: Vec::new(), next: from })
    }

    fn read_disk(&self, lane: Lane, from: u64, found: Vec<(Arc<std::fs::File>, Slot)>) -> Batch {
        let mut records = Vec::with_capacity(found.len());
        for (file, slot) in found {
            match store::read_record(&file, slot) {
                Ok(record) => records.push(Arc::new(record)),
                Err(error) => {
                    tracing::error!(%lane, seq = slot.seq, %error, "a spooled record cannot be read back: named as lost");
                    let lost =
                        Lost { first: slot.seq, last: slot.seq, cause: GapCause::Damaged, gaps: Vec::new() };
                    store::lock(&self.index).add_lost(lane, lost.clone());
                    if records.is_empty() {
                        records.push(Arc::new(hole(lane, &lost)));
                    }
                    break;
                }
            }
        }
        Batch { next: from + records.len() as u64, records }
    }

    /// The controller has everything of the lane up to `seq`.
    pub fn release(&self, lane: Lane, seq: u64) {
        self.inbox.release(lane, seq);
    }

    /// Begins a new life under a new id; seqs go on. For a spool that the controller knows to be older than it says.
    pub async fn renew(&self) -> Result<(), SpoolError> {
        self.inbox.renew().await
    }

    pub fn status(&self) -> Status {
        let index = store::lock(&self.index);
        let range = |lane: Lane| Range { first: index.first(lane), next: index.lanes[lane_at(lane)].next };
        Status { id: index.id, events: range(Lane::Events), bulk: range(Lane::Bulk), bytes: index.bytes() }
    }

    /// Time of the oldest record that waits for an acknowledgement. May read from the disk.
    pub fn oldest_waiting(&self) -> Option<Timestamp> {
        let status = self.status();
        [(Lane::Events, status.events), (Lane::Bulk, status.bulk)]
            .into_iter()
            .filter(|(_, range)| range.first < range.next)
            .filter_map(|(lane, range)| {
                self.read(lane, range.first, 1).records.first().map(|record| record.time_us)
            })
            .filter(|us| *us > 0)
            .filter_map(|us| Timestamp::from_microsecond(us).ok())
            .min()
    }

    /// Changes whenever more has become durable.
    pub fn durable(&self) -> watch::Receiver<Durable> {
        self.durable.clone()
    }

    /// Changes with what is wrong.
    pub fn trouble(&self) -> watch::Receiver<Trouble> {
        self.inbox.trouble()
    }

    /// Flushes what waits and ends the writer thread. Appending afterwards is an error.
    pub async fn close(&self) {
        self.inbox.close().await;
    }
}

fn hole(lane: Lane, lost: &Lost) -> v1::Record {
    let mut record = holes::hole_record(lane, lost);
    record.time_us = wa_proto::wire::to_us(wa_link::clock::now());
    record
}
