//! A disk that refuses: full, read-only, failing.
//!
//! Constraints: events keep their priority; bulk that cannot be written goes, the oldest first, named with its rows, and
//! nothing is reordered inside a lane; memory stays bounded; other programs that fill the disk up do not get the room
//! that events need; all of it heals by itself.
//!
//! Operation: behind the end of the newest file the disk keeps room. Bulk is written only while the room behind it can
//! be kept, too; when it cannot, the disk counts as full, and events use the room. Bulk that waited before an event goes
//! then, for the event's position says that the lines before it were read. What went is one hole in memory, older than
//! all that is pending, and is written as one group with all of that: neither counts without the other. As soon as the
//! room can be kept again everything is written as usual. When events have used up half of the room the spool gives up
//! the oldest bulk that it holds on the disk.

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;

use prost::Message as _;
use wa_proto::wire::v1;
use wa_proto::{GapCause, Lane};

use super::disk;
use super::holes::{gaps_of, hole_record};
use super::index::{LANES, Lost, lane_at, merge_gap};
use super::store::{Pending, Store, key_of, lock};
use crate::framing::HEADER;

/// Room for events, in bytes; less in a spool whose files are smaller.
const SPARE: u64 = 1 << 20;

/// What a flush came to.
#[derive(Debug)]
pub(super) enum Flushed {
    /// Everything is durable.
    Well,
    /// Everything that is left is durable, but the disk is full: bulk was let go for the events.
    Tight(io::Error),
}

/// Whether the disk has no room, for us or for anybody.
pub(super) fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge
    )
}

impl Store {
    /// Makes everything pushed so far durable. After an error nothing of it counts; call again later.
    pub(super) fn flush(&mut self) -> io::Result<Flushed> {
        let error = match self.write_all() {
            Ok(()) => return Ok(Flushed::Well),
            Err(error) => error,
        };
        let events = self.has_events();
        if !is_full(&error) || !(events || self.is_flushed()) {
            return Err(error);
        }
        if events {
            self.shed_to(0);
            self.write_events()?;
        }
        Ok(Flushed::Tight(error))
    }

    /// Nothing waits for the disk.
    pub(super) fn is_flushed(&self) -> bool {
        self.pending.is_empty() && self.shed.is_none()
    }

    /// An event waits for the disk.
    pub(super) fn has_events(&self) -> bool {
        self.pending.iter().any(|pending| matches!(pending.name, Some((Lane::Events, _))))
    }

    /// Bytes that are kept behind the end of the newest file.
    pub(super) fn spare(&self) -> u64 {
        SPARE.min(self.options.file_bytes)
    }

    fn write_all(&mut self) -> io::Result<()> {
        if self.is_flushed() {
            return self.keep_room();
        }
        self.make_room()?;
        self.ensure_active()?;
        self.keep_room()?;
        self.write_pending()
    }

    fn write_events(&mut self) -> io::Result<()> {
        self.ensure_usable(false)?;
        let left = self.room_to.saturating_sub(self.end_after());
        if left < self.spare() / 2
            && let Err(error) = self.make_way()
        {
            tracing::debug!(%error, "no bulk of the spool could make way for events");
        }
        self.write_pending()
    }

    /// Where the newest file will end once all that is pending is in it.
    fn end_after(&self) -> u64 {
        let end = lock(&self.index).segments.back().map_or(0, |active| active.bytes);
        let hole =
            self.shed.as_ref().map_or(0, |shed| hole_record(Lane::Bulk, shed).encoded_len() + 2 * HEADER);
        end + (self.pending_bytes + hole) as u64
    }

    /// Has the disk keep room for what is pending and for the events after it.
    fn keep_room(&mut self) -> io::Result<()> {
        let Some((file, end)) =
            lock(&self.index).segments.back().map(|active| (Arc::clone(&active.file), active.bytes))
        else {
            return Ok(());
        };
        let needed = self.end_after() + self.spare();
        if self.room_to >= needed {
            return Ok(());
        }
        // A little more, so that this is not asked with every line.
        let (from, to) = (self.room_to.max(end), needed + self.spare() / 4);
        if disk::reserve(&file, from, to - from)? {
            self.room_to = to;
        }
        Ok(())
    }

    /// Cuts the newest file off where its durable part ends: nothing that failed stands there, and no room is kept.
    pub(super) fn give_room_back(&mut self) -> io::Result<()> {
        let Some((file, end)) =
            lock(&self.index).segments.back().map(|active| (Arc::clone(&active.file), active.bytes))
        else {
            return Ok(());
        };
        self.room_to = 0;
        disk::cut(&file, end)
    }

    /// Lets the oldest bulk on the disk go until there is room for events again.
    fn make_way(&mut self) -> io::Result<()> {
        while let Some(number) = self.oldest_closed_bulk() {
            let thinned = match self.thin(number, Lane::Bulk, GapCause::SpoolFull) {
                Err(error) if is_full(&error) => {
                    // What is left of the room is enough to write down what stays of that file.
                    self.give_room_back()?;
                    self.thin(number, Lane::Bulk, GapCause::SpoolFull)
                }
                thinned => thinned,
            };
            self.let_go.full = self.let_go.full.saturating_add(thinned?);
            match self.keep_room() {
                Err(error) if is_full(&error) => {}
                kept => return kept,
            }
        }
        let (idle, end) = {
            let index = lock(&self.index);
            (index.is_idle(), index.segments.back().map_or(0, |active| active.bytes))
        };
        if idle && end > self.spare() {
            // All of it was delivered: a new file is smaller.
            self.give_room_back()?;
            self.rotate(&[])?;
            for lane in LANES {
                let acked = lock(&self.index).lanes[lane_at(lane)].acked;
                let free = lock(&self.index).release(lane, acked);
                self.remove(free);
            }
        }
        Ok(())
    }

    /// What is known to be kept behind the newest file, in bytes.
    #[cfg(test)]
    pub(super) fn room_left(&self) -> u64 {
        let end = lock(&self.index).segments.back().map_or(0, |active| active.bytes);
        if self.broken == super::store::Broken::No { self.room_to.saturating_sub(end) } else { 0 }
    }

    fn oldest_closed_bulk(&self) -> Option<u64> {
        let index = lock(&self.index);
        let closed = index.segments.len().saturating_sub(1);
        let holds = |slots: &[Vec<_>; 2]| !slots[lane_at(Lane::Bulk)].is_empty();
        index.segments.iter().take(closed).find(|file| holds(&file.slots)).map(|file| file.number)
    }

    /// Lets the oldest pending bulk go until no more than `keep` bytes are pending, or no bulk is. Returns how many bytes
    /// became free.
    pub(super) fn shed_to(&mut self, keep: usize) -> usize {
        let before = self.pending_bytes;
        let all = std::mem::take(&mut self.pending);
        let mut kept = Vec::with_capacity(all.len());
        for pending in all {
            match (pending.name, &pending.record) {
                (Some((Lane::Bulk, seq)), Some(record)) if self.pending_bytes > keep => {
                    self.pending_bytes -= pending.payload.len() + HEADER;
                    self.shed(seq, record);
                    // The position after it holds: its rows are read, and named as lost.
                    let positions = Some(pending.positions).filter(|positions| !positions.is_empty());
                    if let Some(positions) = positions.and_then(Pending::positions) {
                        self.pending_bytes += positions.payload.len() + HEADER;
                        kept.push(positions);
                    }
                }
                _ => kept.push(pending),
            }
        }
        self.pending = kept;
        if self.shed.is_some() {
            self.merge_positions();
        }
        before.saturating_sub(self.pending_bytes)
    }

    fn shed(&mut self, seq: u64, record: &v1::Record) {
        let lines = match &record.body {
            Some(v1::record::Body::Lines(lines)) => lines.lines.len(),
            _ => 1,
        };
        self.let_go.refused = self.let_go.refused.saturating_add(lines as u64);
        self.let_go.refused_bytes = self.let_go.refused_bytes.saturating_add(record.encoded_len() as u64);
        let new = || Lost { first: seq, last: seq, cause: GapCause::SpoolFull, gaps: Vec::new() };
        let lost = self.shed.get_or_insert_with(new);
        lost.last = seq;
        for gap in gaps_of(record, GapCause::SpoolFull) {
            merge_gap(&mut lost.gaps, gap);
        }
    }

    /// Of positions that stand alone only the last of each pane counts: all that is pending is written as one group.
    fn merge_positions(&mut self) {
        let mut seen = BTreeSet::new();
        let mut kept = Vec::with_capacity(self.pending.len());
        let mut bytes = 0;
        for pending in std::mem::take(&mut self.pending).into_iter().rev() {
            let mut stale = pending.name.is_none();
            for key in pending.positions.iter().filter_map(key_of) {
                stale &= !seen.insert(key);
            }
            if stale {
                continue;
            }
            bytes += pending.payload.len() + HEADER;
            kept.push(pending);
        }
        kept.reverse();
        (self.pending, self.pending_bytes) = (kept, bytes);
    }
}
