//! The spool's files as one thread writes them.
//!
//! Constraints: what `flush` returned for is on the disk, whole groups only; a failed write or fsync leaves nothing
//! behind that counts (after a failed fsync the kernel may have dropped the pages, so the same bytes are written again into
//! a new file, never synced a second time); the bytes on disk stay bounded: the oldest bulk goes first, events last,
//! and what went is named. Both lanes stand in one file set, so that one fsync makes an event and the lines before it
//! durable together.
//! Operation: `push` numbers and keeps in memory, `flush` writes, syncs and lists. Files are deleted whole, oldest first.
//! To drop a lane from the middle of the set a file is written anew without it, with the hole in its place. What happens
//! on a disk that is full or read-only: see `room.rs`.

use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use prost::Message as _;
use wa_proto::wire::v1;
use wa_proto::{GapCause, Lane, SpoolId};

use super::age::Times;
use super::disk;
use super::holes::{gaps_of, hole_record, lost_of};
use super::index::{Index, LANES, Lost, Segment, Slot, lane_at};
use super::segment::MAGIC;
use super::{Group, Options};
use crate::framing::{self, HEADER, MAX_ENTRY};

/// Names a pane in the map of positions.
pub(super) type PaneKey = (String, String, u64);

pub(super) fn key_of(position: &v1::PanePosition) -> Option<PaneKey> {
    let pane = position.pane.as_ref()?;
    Some((pane.mux.clone(), pane.generation.clone(), pane.pane_id))
}

/// A numbered record that waits for the next flush, or positions alone.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) name: Option<(Lane, u64)>,
    pub(super) payload: Vec<u8>,
    more: bool,
    pub(super) record: Option<Arc<v1::Record>>,
    pub(super) positions: Vec<v1::PanePosition>,
}

#[derive(Debug)]
pub(super) struct Store {
    pub(super) dir: PathBuf,
    pub(super) options: Options,
    pub(super) index: Arc<Mutex<Index>>,
    /// Next seq to give out, by lane.
    next: [u64; 2],
    pub(super) pending: Vec<Pending>,
    pub(super) pending_bytes: usize,
    /// Bulk that was pending, older than all of `pending`, and went because the disk refused.
    pub(super) shed: Option<Lost>,
    /// Positions as of the last flush.
    positions: BTreeMap<PaneKey, v1::PanePosition>,
    /// What the last flush left behind the durable part of the newest file.
    pub(super) broken: Broken,
    /// Up to this byte of the newest file the disk keeps room for it, as far as is known.
    pub(super) room_to: u64,
    /// Files that the last pass over old bulk found too old.
    pub(super) doomed: Vec<u64>,
    /// Since it was last taken.
    pub(super) let_go: LetGo,
    /// Files that nobody needs, and that could not be deleted.
    left_over: Vec<PathBuf>,
}

/// Records that were never delivered and are not here any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct LetGo {
    /// For lack of room.
    pub(super) full: u64,
    /// Because of their age.
    pub(super) aged: u64,
    /// Larger than any that can be stored.
    pub(super) large: u64,
    /// Lines that never came to the disk, which refused them.
    pub(super) refused: u64,
    /// What those took, in bytes.
    pub(super) refused_bytes: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Broken {
    No,
    /// Part of a write: to be cut off.
    Write,
    /// Bytes that the kernel may or may not have put on the disk: the file is not to be written any more.
    Sync,
}

impl Pending {
    /// Positions without a record; `None` if they cannot be stored.
    pub(super) fn positions(positions: Vec<v1::PanePosition>) -> Option<Self> {
        let entry = v1::SpoolEntry { record: None, positions: positions.clone(), checkpoint: None };
        let payload = entry.encode_to_vec();
        if payload.len() > MAX_ENTRY {
            tracing::error!(bytes = payload.len(), "pane positions too large for the spool: dropped");
            return None;
        }
        Some(Self { name: None, payload, more: false, record: None, positions })
    }
}

/// The lock is never held across a panic that matters: the index is only data.
pub(super) fn lock(index: &Mutex<Index>) -> MutexGuard<'_, Index> {
    index.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Store {
    pub(super) fn new(
        dir: PathBuf,
        options: Options,
        index: Index,
        positions: BTreeMap<PaneKey, v1::PanePosition>,
    ) -> Self {
        let next = [index.lanes[0].next, index.lanes[1].next];
        Self {
            dir,
            options,
            index: Arc::new(Mutex::new(index)),
            next,
            pending: Vec::new(),
            pending_bytes: 0,
            shed: None,
            positions,
            broken: Broken::No,
            room_to: 0,
            doomed: Vec::new(),
            let_go: LetGo::default(),
            left_over: Vec::new(),
        }
    }

    pub(super) fn index(&self) -> Arc<Mutex<Index>> {
        Arc::clone(&self.index)
    }

    pub(super) fn max_age(&self) -> jiff::SignedDuration {
        self.options.max_age
    }

    /// What went since the last call.
    pub(super) fn take_let_go(&mut self) -> LetGo {
        std::mem::take(&mut self.let_go)
    }

    #[cfg(test)]
    pub(super) fn positions(&self) -> &BTreeMap<PaneKey, v1::PanePosition> {
        &self.positions
    }

    pub(super) fn pending_bytes(&self) -> usize {
        self.pending_bytes
    }

    /// Numbers a group and keeps it for the next flush. The positions go with its last entry.
    pub(super) fn push(&mut self, group: Group) {
        let count = group.records.len();
        let mut positions = Some(group.positions);
        for (at, record) in group.records.into_iter().enumerate() {
            let last = at + 1 == count;
            let lane = lane_at(record.lane);
            let seq = self.next[lane];
            let record = v1::Record {
                lane: v1::Lane::from(record.lane).into(),
                seq,
                time_us: record.time.as_microsecond(),
                trace_parent: record.trace_parent,
                body: Some(record.body),
            };
            let positions = if last { positions.take().unwrap_or_default() } else { Vec::new() };
            let mut entry =
                v1::SpoolEntry { record: Some(record), positions: positions.clone(), checkpoint: None };
            if entry.encoded_len() > MAX_ENTRY {
                tracing::error!(
                    bytes = entry.encoded_len(),
                    "a record too large for the spool is named as lost"
                );
                entry.record = entry.record.map(|record| {
                    let cause = GapCause::TooLarge;
                    let gaps = gaps_of(&record, cause);
                    let hole = hole_record(LANES[lane], &Lost { first: seq, last: seq, cause, gaps });
                    self.let_go.large = self.let_go.large.saturating_add(1);
                    v1::Record { time_us: record.time_us, ..hole }
                });
            }
            let payload = entry.encode_to_vec();
            self.next[lane] += 1;
            self.pending_bytes += payload.len() + HEADER;
            self.pending.push(Pending {
                name: Some((LANES[lane], seq)),
                payload,
                more: !last,
                record: entry.record.map(Arc::new),
                positions,
            });
        }
        if let Some(positions) = positions.take().filter(|positions| !positions.is_empty()) {
            self.push_positions(positions);
        }
    }

    fn push_positions(&mut self, positions: Vec<v1::PanePosition>) {
        let Some(pending) = Pending::positions(positions) else { return };
        self.pending_bytes += pending.payload.len() + HEADER;
        self.pending.push(pending);
    }

    /// Makes everything pushed so far durable. After an error nothing of it counts.
    pub(super) fn write_pending(&mut self) -> io::Result<()> {
        let (file, at) = {
            let index = lock(&self.index);
            let Some(active) = index.segments.back() else { return Err(io::ErrorKind::NotFound.into()) };
            (Arc::clone(&active.file), active.bytes)
        };
        let mut bytes = Vec::with_capacity(self.pending_bytes);
        let mut offsets = Vec::with_capacity(self.pending.len());
        if let Some(shed) = &self.shed {
            let record = Some(hole_record(Lane::Bulk, shed));
            let entry = v1::SpoolEntry { record, ..v1::SpoolEntry::default() };
            framing::encode(&entry.encode_to_vec(), !self.pending.is_empty(), &mut bytes);
        }
        for (left, pending) in (0..self.pending.len()).rev().zip(&self.pending) {
            offsets.push(at + bytes.len() as u64);
            // Positions stand where their lines went: a hole counts only together with all of them.
            let more = if self.shed.is_some() { left > 0 } else { pending.more };
            framing::encode(&pending.payload, more, &mut bytes);
        }
        disk::write(&file, &bytes, at).inspect_err(|_| self.broken = Broken::Write)?;
        disk::sync(&file).inspect_err(|_| self.broken = Broken::Sync)?;
        self.publish(at + bytes.len() as u64, &offsets);
        Ok(())
    }

    /// Lists what was just made durable.
    fn publish(&mut self, end: u64, offsets: &[u64]) {
        let mut index = lock(&self.index);
        let index = &mut *index;
        let shed = self.shed.take();
        let has_holes = shed.is_some();
        if let Some(shed) = shed {
            index.lanes[lane_at(Lane::Bulk)].pass(&shed);
            index.add_lost(Lane::Bulk, shed);
        }
        let Some(active) = index.segments.back_mut() else { return };
        active.bytes = end;
        active.has_holes |= has_holes;
        let mut holes = Vec::new();
        for (pending, at) in self.pending.drain(..).zip(offsets) {
            apply_positions(&mut self.positions, pending.positions);
            let (Some((lane, seq)), Some(record)) = (pending.name, pending.record) else { continue };
            let lane = lane_at(lane);
            if let Some(v1::record::Body::Hole(hole)) = &record.body {
                let cause = hole.cause.parse().unwrap_or(GapCause::TooLarge);
                let lost = Lost { first: seq, last: seq, cause, gaps: hole.gaps.clone() };
                index.lanes[lane].pass(&lost);
                holes.push((LANES[lane], lost));
                active.has_holes = true;
                continue;
            }
            let (Ok(at), Ok(len)) = (u32::try_from(*at), u32::try_from(pending.payload.len())) else {
                continue;
            };
            active.slots[lane].push(Slot { seq, at, len });
            if LANES[lane] == Lane::Bulk {
                Times::add(&mut active.bulk_times, record.time_us);
            }
            index.lanes[lane].next = seq + 1;
            index.lanes[lane].remember(record, pending.payload.len());
        }
        for (lane, lost) in holes {
            index.add_lost(lane, lost);
        }
        self.pending_bytes = 0;
    }

    /// A file to append to: the newest, unless it is full or could not be synced.
    pub(super) fn ensure_active(&mut self) -> io::Result<()> {
        let full = {
            let index = lock(&self.index);
            index.segments.back().is_some_and(|active| active.bytes >= self.options.file_bytes)
        };
        self.ensure_usable(full)
    }

    /// A file that can be appended to; `another`: not the newest.
    pub(super) fn ensure_usable(&mut self, another: bool) -> io::Result<()> {
        let empty = {
            let index = lock(&self.index);
            let Some(active) = index.segments.back() else {
                drop(index);
                return self.rotate(&[]);
            };
            active.slots.iter().all(Vec::is_empty) && !active.has_holes
        };
        let unsynced = self.broken == Broken::Sync;
        if !another && !unsynced {
            self.mend()?;
            self.broken = Broken::No;
            return Ok(());
        }
        self.rotate(&[])?;
        if empty && unsynced {
            let mut index = lock(&self.index);
            let at = index.segments.len() - 2;
            let path = index.segments.remove(at).map(|segment| segment.path);
            drop(index);
            self.remove(path);
        }
        Ok(())
    }

    /// Cuts off what a failed flush left behind the durable part of the newest file; the room behind it goes, too.
    fn mend(&mut self) -> io::Result<()> {
        if self.broken == Broken::No { Ok(()) } else { self.give_room_back() }
    }

    /// Begins a new file: magic, checkpoint, all positions, and the given holes.
    pub(super) fn rotate(&mut self, holes: &[(Lane, Lost)]) -> io::Result<()> {
        let id = lock(&self.index).id;
        self.rotate_as(id, holes)
    }

    fn rotate_as(&mut self, id: SpoolId, holes: &[(Lane, Lost)]) -> io::Result<()> {
        // A file that is no longer the newest has no torn end.
        self.mend()?;
        let (number, base) = {
            let index = lock(&self.index);
            let number = index.segments.back().map_or(0, |segment| segment.number) + 1;
            (number, [index.lanes[0].next, index.lanes[1].next])
        };
        let positions: Vec<_> = self.positions.values().cloned().collect();
        let bytes = head(id, base, holes, &positions);
        let path = segment_path(&self.dir, number);
        let file = disk::create(&path)?;
        let room = bytes.len() as u64 + self.spare();
        let written = disk::reserve(&file, 0, room)
            .and_then(|kept| disk::write(&file, &bytes, 0).map(|()| kept))
            .and_then(|kept| disk::sync(&file).map(|()| kept))
            .and_then(|kept| disk::sync_dir(&self.dir).map(|()| kept));
        let kept = match written {
            Ok(kept) => kept,
            Err(error) => {
                drop(file);
                // Nothing in it counts yet; the next attempt truncates it in any case.
                drop(disk::remove(&path));
                return Err(error);
            }
        };
        // The file before it needs its room no longer. If it keeps it all the same, that ends with the file.
        drop(self.give_room_back());
        let segment = Segment {
            number,
            path,
            file: Arc::new(file),
            bytes: bytes.len() as u64,
            base,
            slots: [Vec::new(), Vec::new()],
            bulk_times: None,
            has_holes: !holes.is_empty(),
        };
        lock(&self.index).segments.push_back(segment);
        self.broken = Broken::No;
        self.room_to = if kept { room } else { 0 };
        Ok(())
    }

    /// Drops the oldest bulk, then the oldest events, until what waits fits the bound.
    pub(super) fn make_room(&mut self) -> io::Result<()> {
        loop {
            let held = lock(&self.index).bytes();
            if held + self.pending_bytes as u64 <= self.options.max_bytes {
                return Ok(());
            }
            let Some((number, lane)) = self.victim()? else { return Ok(()) };
            let records = self.thin(number, lane, GapCause::SpoolFull)?;
            self.let_go.full = self.let_go.full.saturating_add(records);
        }
    }

    /// The oldest file that still holds records of the least precious lane. The newest file is closed first.
    fn victim(&mut self) -> io::Result<Option<(u64, Lane)>> {
        for lane in [Lane::Bulk, Lane::Events] {
            let at = lane_at(lane);
            let found = {
                let index = lock(&self.index);
                let newest = index.segments.back().map(|segment| segment.number);
                let holder = index.segments.iter().find(|segment| !segment.slots[at].is_empty());
                holder.map(|segment| (segment.number, Some(segment.number) == newest))
            };
            if let Some((number, is_newest)) = found {
                if is_newest {
                    self.rotate(&[])?;
                }
                return Ok(Some((number, lane)));
            }
        }
        Ok(None)
    }

    /// Writes one file anew without one of its lanes, and names what went, and why: so many records.
    pub(super) fn thin(&mut self, number: u64, lane: Lane, cause: GapCause) -> io::Result<u64> {
        let at = lane_at(lane);
        let (file, base, slots, acked, id, mut holes) = {
            let index = lock(&self.index);
            let Some(segment) = index.segments.iter().find(|segment| segment.number == number) else {
                return Ok(0);
            };
            let holes = index.holes_up_to(number);
            let acked = [index.lanes[0].acked, index.lanes[1].acked];
            (Arc::clone(&segment.file), segment.base, segment.slots.clone(), acked, index.id, holes)
        };
        let lost = lost_of(&file, &slots[at], acked[at], cause);
        holes.extend(lost.iter().map(|lost| (lane, lost.clone())));
        let count = slots[at].iter().filter(|slot| slot.seq > acked[at]).count() as u64;
        let mut bytes = head(id, base, &holes, &[]);
        let other = 1 - at;
        let mut kept = Vec::new();
        for slot in slots[other].iter().filter(|slot| slot.seq > acked[other]) {
            let mut entry = vec![0; slot.len as usize + HEADER];
            file.read_exact_at(&mut entry, u64::from(slot.at))?;
            // A spoiled one is left out, and found missing by whoever reads.
            let Some((payload, _)) = framing::check(&entry) else { continue };
            let offset = u32::try_from(bytes.len()).map_err(|_| io::ErrorKind::FileTooLarge)?;
            framing::encode(payload, false, &mut bytes);
            kept.push(Slot { at: offset, ..*slot });
        }
        let path = segment_path(&self.dir, number);
        let file = replace(&self.dir, &path, &bytes)?;
        let mut index = lock(&self.index);
        if let Some(segment) = index.segments.iter_mut().find(|segment| segment.number == number) {
            segment.has_holes |= !holes.is_empty();
            segment.file = Arc::new(file);
            segment.bytes = bytes.len() as u64;
            segment.slots[at].clear();
            segment.slots[other] = kept;
            if lane == Lane::Bulk {
                segment.bulk_times = None;
            }
        }
        // The holes of older, now empty files are written down in this one too.
        let mut empty = Vec::new();
        while index.segments.front().is_some_and(|s| s.number < number && s.slots.iter().all(Vec::is_empty)) {
            empty.extend(index.segments.pop_front().map(|segment| segment.path));
        }
        for lost in lost {
            index.add_lost(lane, lost);
        }
        drop(index);
        self.remove(empty);
        Ok(count)
    }

    /// The controller has everything of a lane up to `seq`.
    pub(super) fn release(&mut self, lane: Lane, seq: u64) {
        let (free, stale) = {
            let mut index = lock(&self.index);
            let free = index.release(lane, seq);
            let stale = index.is_idle()
                && index.segments.back().is_some_and(|active| active.bytes > self.options.file_bytes / 4);
            (free, stale)
        };
        self.remove(free);
        // Nothing waits: begin a small file, so that an idle spool takes little room.
        if stale && self.is_flushed() && self.broken == Broken::No && self.rotate(&[]).is_ok() {
            let free = lock(&self.index).release(lane, seq);
            self.remove(free);
        }
    }

    /// Deletes files that nobody needs; those that the disk keeps are tried again with the next.
    pub(super) fn remove(&mut self, paths: impl IntoIterator<Item = PathBuf>) {
        self.left_over.extend(paths);
        self.left_over.retain(|path| match disk::remove(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(path = %path.display(), %error, "spool file not removed");
                true
            }
            _ => false,
        });
    }

    /// A new life under a new id: seqs go on, and what is no longer here is named as lost. It begins once it is durable:
    /// what was delivered under an id that a crash takes back would be delivered again under another.
    pub(super) fn renew(&mut self, id: SpoolId) -> io::Result<()> {
        self.flush()?;
        let mut holes = Vec::new();
        {
            let index = lock(&self.index);
            for lane in LANES {
                let at = lane_at(lane);
                let held = index.segments.iter().find_map(|s| s.slots[at].first()).map(|slot| slot.seq);
                let first = held.unwrap_or(index.lanes[at].next);
                if first > 1 {
                    let cause = GapCause::Restored;
                    holes.push((lane, Lost { first: 1, last: first - 1, cause, gaps: Vec::new() }));
                }
            }
        }
        self.rotate_as(id, &holes)?;
        let mut index = lock(&self.index);
        index.id = id;
        for lane in &mut index.lanes {
            lane.acked = 0;
        }
        for (lane, lost) in holes {
            index.add_lost(lane, lost);
        }
        Ok(())
    }
}

/// Brings the map of positions up to date.
pub(super) fn apply_positions(
    map: &mut BTreeMap<PaneKey, v1::PanePosition>,
    positions: impl IntoIterator<Item = v1::PanePosition>,
) {
    for position in positions {
        let Some(key) = key_of(&position) else { continue };
        if position.gone {
            map.remove(&key);
        } else {
            map.insert(key, position);
        }
    }
}

/// Magic, checkpoint, holes and positions: how every file begins. All of it is one group: a file whose beginning is cut off
/// would, with a checkpoint alone, have forgotten the positions of panes that say nothing.
fn head(id: SpoolId, base: [u64; 2], holes: &[(Lane, Lost)], positions: &[v1::PanePosition]) -> Vec<u8> {
    let checkpoint =
        v1::SpoolCheckpoint { spool_id: id.as_bytes().to_vec(), next_events: base[0], next_bulk: base[1] };
    let entry = v1::SpoolEntry { record: None, positions: Vec::new(), checkpoint: Some(checkpoint) };
    let mut entries = vec![entry];
    for (lane, lost) in holes {
        entries.push(v1::SpoolEntry { record: Some(hole_record(*lane, lost)), ..Default::default() });
    }
    for chunk in positions.chunks(64) {
        entries.push(v1::SpoolEntry { record: None, positions: chunk.to_vec(), checkpoint: None });
    }
    let mut bytes = MAGIC.to_vec();
    for (left, entry) in (0..entries.len()).rev().zip(&entries) {
        framing::encode(&entry.encode_to_vec(), left > 0, &mut bytes);
    }
    bytes
}

/// Reads one record back; checked.
pub(super) fn read_record(file: &File, slot: Slot) -> io::Result<v1::Record> {
    let mut bytes = vec![0; slot.len as usize + HEADER];
    file.read_exact_at(&mut bytes, u64::from(slot.at))?;
    let (payload, _) = framing::check(&bytes).ok_or(io::ErrorKind::InvalidData)?;
    let entry = v1::SpoolEntry::decode(payload).map_err(|_| io::ErrorKind::InvalidData)?;
    let record = entry.record.filter(|record| record.seq == slot.seq);
    record.ok_or_else(|| io::ErrorKind::InvalidData.into())
}

pub(super) fn segment_path(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("{number:012}.log"))
}

/// Puts a whole new content in a file's place, durably.
fn replace(dir: &Path, path: &Path, bytes: &[u8]) -> io::Result<File> {
    let temporary = path.with_extension("tmp");
    let file = disk::create(&temporary)?;
    let replaced = disk::write(&file, bytes, 0)
        .and_then(|()| disk::sync(&file))
        .and_then(|()| disk::rename(&temporary, path));
    if let Err(error) = replaced {
        // A disk that is full needs the room.
        drop(disk::remove(&temporary));
        return Err(error);
    }
    disk::sync_dir(dir)?;
    Ok(file)
}

/// Segments in order, for the recovery.
pub(super) type Segments = VecDeque<Segment>;
