//! What the spool knows about its files without opening them: for each lane which seqs lie where, and which are lost.
//!
//! Constraints: readers and the writer thread share the index, so that every look at it is short and no file is touched
//! under its lock; only durable records are listed, hence nothing is shipped that a crash could take back and re-number.

use std::collections::VecDeque;
use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;

use wa_proto::wire::v1;
use wa_proto::{GapCause, Lane, SpoolId};

use super::age::Times;

/// Bytes of recent records kept in memory, per lane.
const TAIL_BYTES: usize = 1 << 20;
/// Panes that a hole lists by name; more are lost without one.
const MAX_GAPS: usize = 1024;

/// Position of a lane in the arrays below.
pub(super) fn lane_at(lane: Lane) -> usize {
    match lane {
        Lane::Events => 0,
        Lane::Bulk => 1,
    }
}

pub(super) const LANES: [Lane; 2] = [Lane::Events, Lane::Bulk];

/// A record in a file.
#[derive(Debug, Clone, Copy)]
pub(super) struct Slot {
    pub(super) seq: u64,
    /// Offset of its entry.
    pub(super) at: u32,
    /// Bytes of its payload.
    pub(super) len: u32,
}

#[derive(Debug)]
pub(super) struct Segment {
    pub(super) number: u64,
    pub(super) path: PathBuf,
    pub(super) file: Arc<File>,
    pub(super) bytes: u64,
    /// The seqs that its checkpoint announced.
    pub(super) base: [u64; 2],
    /// By lane, in order of seq.
    pub(super) slots: [Vec<Slot>; 2],
    pub(super) bulk_times: Option<Times>,
    /// Lost seqs are written down in it.
    pub(super) has_holes: bool,
}

/// Seqs of a lane that are gone.
#[derive(Debug, Clone)]
pub(super) struct Lost {
    pub(super) first: u64,
    pub(super) last: u64,
    pub(super) cause: GapCause,
    pub(super) gaps: Vec<v1::Gap>,
}

#[derive(Debug)]
pub(super) struct LaneIndex {
    /// Everything up to here is logged by the controller.
    pub(super) acked: u64,
    /// First seq that is not yet durable here.
    pub(super) next: u64,
    /// In order, not overlapping.
    pub(super) lost: Vec<Lost>,
    tail: VecDeque<(Arc<v1::Record>, usize)>,
    tail_bytes: usize,
}

#[derive(Debug)]
pub(super) struct Index {
    pub(super) id: SpoolId,
    pub(super) segments: VecDeque<Segment>,
    pub(super) lanes: [LaneIndex; 2],
}

/// Where the next record of a lane is to be had.
#[derive(Debug)]
pub(super) enum Place {
    /// Nothing durable from there on.
    End,
    Lost(Lost),
    Memory(Vec<Arc<v1::Record>>),
    Disk(Vec<(Arc<File>, Slot)>),
}

impl LaneIndex {
    fn new() -> Self {
        Self { acked: 0, next: 1, lost: Vec::new(), tail: VecDeque::new(), tail_bytes: 0 }
    }

    /// Adds lost seqs. A hole may be written down in several files: what is known already adds nothing, and what is known
    /// in part gives way.
    fn add_lost(&mut self, lost: Lost) {
        if self.lost.iter().any(|known| known.first <= lost.first && lost.last <= known.last) {
            return;
        }
        let mut joined = lost;
        let mut kept = Vec::with_capacity(self.lost.len() + 1);
        for other in self.lost.drain(..) {
            let inside = joined.first <= other.first && other.last <= joined.last;
            let overlaps = other.first <= joined.last && joined.first <= other.last;
            if inside {
                continue;
            }
            if overlaps {
                joined.first = joined.first.min(other.first);
                joined.last = joined.last.max(other.last);
                for gap in other.gaps {
                    merge_gap(&mut joined.gaps, gap);
                }
            } else {
                kept.push(other);
            }
        }
        kept.push(joined);
        kept.sort_by_key(|lost| lost.first);
        self.lost = kept;
    }

    /// Seqs that never were on the disk are written down as lost: the next ones follow.
    pub(super) fn pass(&mut self, lost: &Lost) {
        self.next = lost.last + 1;
        // Seqs in the tail follow each other.
        (self.tail, self.tail_bytes) = (VecDeque::new(), 0);
    }

    /// A record that has become durable.
    pub(super) fn remember(&mut self, record: Arc<v1::Record>, size: usize) {
        self.tail_bytes += size;
        self.tail.push_back((record, size));
        while self.tail_bytes > TAIL_BYTES
            && let Some((_, size)) = self.tail.pop_front()
        {
            self.tail_bytes -= size;
        }
    }

    fn tail_from(&self, from: u64, max_bytes: usize) -> Option<Vec<Arc<v1::Record>>> {
        let first = self.tail.front()?.0.seq;
        let skip = usize::try_from(from.checked_sub(first)?).ok()?;
        // Seqs in the tail follow each other: the writer numbers them so.
        let mut bytes = 0;
        let mut out = Vec::new();
        for (record, size) in self.tail.iter().skip(skip) {
            bytes += size;
            if !out.is_empty() && bytes > max_bytes {
                break;
            }
            out.push(Arc::clone(record));
        }
        (!out.is_empty()).then_some(out)
    }
}

/// Adds a gap to those of a hole: one for each pane and layout.
pub(super) fn merge_gap(gaps: &mut Vec<v1::Gap>, gap: v1::Gap) {
    let room = gaps.len() < MAX_GAPS;
    let same = gaps.iter_mut().find(|have| have.pane == gap.pane && have.layout == gap.layout);
    match same {
        Some(have) => {
            have.rows = have.rows.zip(gap.rows).map(|(a, b)| a.saturating_add(b));
            have.first_row = have.first_row.zip(gap.first_row).map(|(a, b)| a.min(b));
        }
        None if room => gaps.push(gap),
        None => {}
    }
}

impl Index {
    pub(super) fn new(id: SpoolId) -> Self {
        Self { id, segments: VecDeque::new(), lanes: [LaneIndex::new(), LaneIndex::new()] }
    }

    /// Adds lost seqs, and joins holes of one cause that follow each other. Not over the beginning of a file that is
    /// still there: a hole stands in the file of its place, and its count cannot be divided.
    pub(super) fn add_lost(&mut self, lane: Lane, lost: Lost) {
        let at = lane_at(lane);
        self.lanes[at].add_lost(lost);
        let mut joined: Vec<Lost> = Vec::with_capacity(self.lanes[at].lost.len());
        for lost in std::mem::take(&mut self.lanes[at].lost) {
            let last = joined.last_mut().filter(|last| {
                let inside = |base: u64| last.first < base && base <= lost.last;
                last.cause == lost.cause
                    && last.last + 1 == lost.first
                    && !self.segments.iter().any(|segment| inside(segment.base[at]))
            });
            match last {
                Some(last) => {
                    last.last = lost.last;
                    lost.gaps.into_iter().for_each(|gap| merge_gap(&mut last.gaps, gap));
                }
                None => joined.push(lost),
            }
        }
        self.lanes[at].lost = joined;
    }

    pub(super) fn bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.bytes).sum()
    }

    /// First seq that the spool still holds (or has lost and must name); `next` when there is none.
    pub(super) fn first(&self, lane: Lane) -> u64 {
        let at = lane_at(lane);
        let held = self.segments.iter().find_map(|segment| segment.slots[at].first()).map(|slot| slot.seq);
        let lost = self.lanes[at].lost.first().map(|lost| lost.first);
        let next = self.lanes[at].next;
        held.into_iter().chain(lost).min().unwrap_or(next).max(self.lanes[at].acked + 1).min(next)
    }

    /// Where to read from `from` on: about `max_bytes`, at least one record.
    pub(super) fn place(&self, lane: Lane, from: u64, max_bytes: usize) -> Place {
        let at = lane_at(lane);
        let state = &self.lanes[at];
        if let Some(lost) = state.lost.iter().find(|lost| (lost.first..=lost.last).contains(&from)) {
            return Place::Lost(Lost { first: from, ..lost.clone() });
        }
        if from >= state.next {
            return Place::End;
        }
        if let Some(records) = state.tail_from(from, max_bytes) {
            return Place::Memory(records);
        }
        let found = self.on_disk(at, from, max_bytes);
        if found.first().is_some_and(|(_, slot)| slot.seq == from) {
            return Place::Disk(found);
        }
        // The index holds no such seq although it should: to be named as lost up to the next that is there.
        let last = found.first().map_or(state.next - 1, |(_, slot)| slot.seq - 1);
        Place::Lost(Lost { first: from, last, cause: GapCause::Damaged, gaps: Vec::new() })
    }

    /// The holes to be written down in a file when it is written anew: its own, and those of files before it that are, or
    /// are about to be, no more. Never one of a later file: who reads the files in order would take it that the seqs
    /// before that hole have gone by.
    pub(super) fn holes_up_to(&self, number: u64) -> Vec<(Lane, Lost)> {
        let mut holes = Vec::new();
        for lane in LANES {
            let at = lane_at(lane);
            let own = self.segments.iter().find(|segment| segment.number == number);
            let next = self.segments.iter().find(|segment| segment.number > number);
            let end = next.map_or(self.lanes[at].next, |segment| segment.base[at]);
            let stays = |segment: &&Segment| segment.slots.iter().any(|slots| !slots.is_empty());
            let first = self.segments.iter().find(stays).map_or(end, |segment| segment.base[at]);
            let begin = own.map_or(end, |segment| segment.base[at]);
            let here = |lost: &&Lost| lost.first < first.min(begin) || (begin..end).contains(&lost.first);
            for lost in self.lanes[at].lost.iter().filter(here) {
                holes.push((lane, Lost { last: lost.last.min(end - 1), ..lost.clone() }));
            }
        }
        holes
    }

    fn on_disk(&self, at: usize, from: u64, max_bytes: usize) -> Vec<(Arc<File>, Slot)> {
        let mut out: Vec<(Arc<File>, Slot)> = Vec::new();
        let mut bytes = 0;
        for segment in &self.segments {
            let slots = &segment.slots[at];
            let start = slots.partition_point(|slot| slot.seq < from);
            for slot in &slots[start..] {
                bytes += slot.len as usize;
                let gap = out.last().is_some_and(|(_, last)| last.seq + 1 != slot.seq);
                if gap || (!out.is_empty() && bytes > max_bytes) {
                    return out;
                }
                out.push((Arc::clone(&segment.file), *slot));
            }
        }
        out
    }

    /// The controller has everything of the lane up to `seq`. Returns the files that nobody needs any more.
    pub(super) fn release(&mut self, lane: Lane, seq: u64) -> Vec<PathBuf> {
        let state = &mut self.lanes[lane_at(lane)];
        state.acked = state.acked.max(seq.min(state.next.saturating_sub(1)));
        let acked = state.acked;
        state.lost.retain(|lost| lost.last > acked);
        let mut free = Vec::new();
        while self.segments.len() > 1 && self.is_free(&self.segments[0], &self.segments[1]) {
            if let Some(segment) = self.segments.pop_front() {
                free.push(segment.path);
            }
        }
        free
    }

    /// Nobody needs the first file, after which comes `next`.
    fn is_free(&self, segment: &Segment, next: &Segment) -> bool {
        LANES.iter().all(|lane| {
            let at = lane_at(*lane);
            segment.slots[at].last().is_none_or(|slot| slot.seq <= self.lanes[at].acked)
                // A hole is written down in the file of its place, or in the first one after it that stays: which does so
                // until it is named.
                && self.lanes[at].lost.first().is_none_or(|lost| lost.first >= next.base[at])
        })
    }

    /// Nothing waits for an acknowledgement.
    pub(super) fn is_idle(&self) -> bool {
        self.lanes.iter().all(|lane| lane.acked + 1 >= lane.next)
    }
}
