//! Opening a spool directory: what a crash or a bad disk left is put in order before anything is written.
//!
//! Rules: the torn tail of the newest file is cut off, to the last whole group; a newest file without a whole beginning
//! never came to be and is removed; what a file holds beyond the beginning of the next one never counted (its sync
//! failed, and the same records were to be written again), even if the disk has it all the same; damage before the end
//! is kept as a hole with its seqs, because later records show that they existed, and with the panes of which lines are
//! missing, as their later records and positions show; a file that is no spool file is set aside under another name,
//! never deleted. An empty directory, or one in which nothing could be read, is a new spool with a new id.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use wa_proto::wire::v1;
use wa_proto::{GapCause, Lane, SpoolId};

use super::age::Times;
use super::doubts::Doubts;
use super::index::{Index, LANES, Lost, Segment, Slot, lane_at};
use super::segment::{self, Scan};
use super::store::{PaneKey, Segments, Store, apply_positions};
use super::{Options, Recovered, SpoolError};

/// Larger files are not ours.
const MAX_FILE: u64 = 1 << 31;
/// Far more than magic and checkpoint.
const MAX_HEAD: u64 = 4096;

/// Where a file ends: at its last whole group, or at these seqs, with which the next file begins.
#[derive(Debug, Clone, Copy)]
enum End {
    Newest,
    Before([u64; 2]),
    /// The next file does not say.
    Open,
}

struct Recovery {
    segments: Segments,
    id: Option<SpoolId>,
    /// Next seq expected, by lane; 0 before the first checkpoint or record.
    expected: [u64; 2],
    lost: Vec<(Lane, Lost)>,
    positions: BTreeMap<PaneKey, v1::PanePosition>,
    doubts: Doubts,
    notes: Vec<String>,
}

/// Opens or makes the directory and everything in it.
pub(super) fn open(dir: &Path, options: Options) -> Result<(Store, Recovered), SpoolError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source: io::Error| SpoolError::Io { path, source }
    };
    wa_link::files::create_private_dir(dir)
        .map_err(|source| SpoolError::Directory { source: Box::new(source) })?;
    let files = list(dir).map_err(failed(dir))?;
    let mut recovery = Recovery {
        segments: Segments::new(),
        id: None,
        expected: [0, 0],
        lost: Vec::new(),
        positions: BTreeMap::new(),
        doubts: Doubts::default(),
        notes: Vec::new(),
    };
    let mut ends = Vec::with_capacity(files.len());
    let mut end = End::Newest;
    for (_, path) in files.iter().rev() {
        ends.push(end);
        let is_newest = matches!(end, End::Newest);
        end = match (base(path, is_newest).map_err(failed(path))?, end) {
            (Some(base), _) => End::Before(base),
            // It never came to be, or is none of ours: what comes after it decides.
            (None, End::Newest) => End::Open,
            (None, end) => end,
        };
    }
    for ((number, path), end) in files.into_iter().zip(ends.into_iter().rev()) {
        recovery.take(number, &path, end).map_err(failed(&path))?;
    }
    Ok(recovery.finish(dir, options))
}

/// With which seqs a file begins, by lane. The newest may have been cut short while it was begun: then it never did.
fn base(path: &Path, is_newest: bool) -> io::Result<Option<[u64; 2]>> {
    let mut head = Vec::new();
    let most = if is_newest { MAX_FILE } else { MAX_HEAD };
    File::open(path)?.take(most).read_to_end(&mut head)?;
    let mut scan = segment::scan(&head);
    if is_newest {
        cut_torn_group(&mut scan);
    }
    let first = scan.entries.into_iter().next();
    let checkpoint = first.and_then(|first| first.entry.checkpoint);
    Ok(checkpoint.map(|checkpoint| [checkpoint.next_events.max(1), checkpoint.next_bulk.max(1)]))
}

/// Spool files by number. Left-overs of an interrupted rewrite are removed.
fn list(dir: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        let stem = path.file_stem().and_then(|stem| stem.to_str()).and_then(|stem| stem.parse().ok());
        match (stem, path.extension().and_then(|ext| ext.to_str())) {
            (Some(number), Some("log")) => files.push((number, path)),
            (Some(_), Some("tmp")) => fs::remove_file(&path)?,
            _ => {}
        }
    }
    files.sort();
    Ok(files)
}

impl Recovery {
    fn take(&mut self, number: u64, path: &Path, end: End) -> io::Result<()> {
        let newest = matches!(end, End::Newest);
        if fs::metadata(path)?.len() > MAX_FILE {
            return self.set_aside(path);
        }
        let bytes = fs::read(path)?;
        let mut scan = segment::scan(&bytes);
        let counts = match end {
            End::Newest => {
                cut_torn_group(&mut scan);
                bytes.len()
            }
            End::Before(base) => forget_beyond(&mut scan, base).unwrap_or(bytes.len()),
            End::Open => bytes.len(),
        };
        if scan.entries.is_empty() {
            // A newest file without a whole beginning: the crash came while it was made, nothing in it counted.
            let torn = newest && (bytes.starts_with(segment::MAGIC) || segment::MAGIC.starts_with(&bytes));
            return if torn { fs::remove_file(path) } else { self.set_aside(path) };
        }
        let file = OpenOptions::new().read(true).write(true).open(path)?;
        let end = if newest { self.cut_tail(&file, path, &bytes, &scan)? } else { bytes.len() };
        self.note_damage(path, &scan, end.min(counts));
        let mut segment = Segment {
            number,
            path: path.to_owned(),
            file: Arc::new(file),
            bytes: end as u64,
            // Until its checkpoint says more.
            base: self.expected,
            slots: [Vec::new(), Vec::new()],
            bulk_times: None,
            has_holes: false,
        };
        for found in scan.entries {
            self.apply(found, &mut segment);
        }
        self.segments.push_back(segment);
        Ok(())
    }

    fn cut_tail(&mut self, file: &File, path: &Path, bytes: &[u8], scan: &Scan) -> io::Result<usize> {
        if scan.valid_end < bytes.len() {
            file.set_len(scan.valid_end as u64)?;
            file.sync_data()?;
            let cut = bytes.len() - scan.valid_end;
            tracing::info!(path = %path.display(), bytes = cut, "cut the torn end of the newest spool file");
        }
        Ok(scan.valid_end)
    }

    fn note_damage(&mut self, path: &Path, scan: &Scan, end: usize) {
        let tail = (scan.valid_end < end).then_some((scan.valid_end, end));
        for (from, to) in scan.damaged.iter().copied().chain(tail) {
            self.notes.push(format!(
                "spool file {} is damaged from byte {from} to {to}: the records there are lost; check the disk",
                path.display()
            ));
        }
    }

    fn set_aside(&mut self, path: &Path) -> io::Result<()> {
        let aside = path.with_extension("log.foreign");
        fs::rename(path, &aside)?;
        self.notes.push(format!(
            "{} is no spool file that can be read: kept as {}",
            path.display(),
            aside.display()
        ));
        Ok(())
    }

    fn apply(&mut self, found: segment::Found, segment: &mut Segment) {
        if let Some(checkpoint) = &found.entry.checkpoint {
            self.id = SpoolId::from_slice(&checkpoint.spool_id).or(self.id);
            for (lane, next) in LANES.into_iter().zip([checkpoint.next_events, checkpoint.next_bulk]) {
                self.expect(lane, next.max(1));
            }
            segment.base = self.expected;
        }
        if let Some(record) = &found.entry.record
            && let Some((lane, seq)) = segment::name_of(record)
        {
            self.record(lane, seq, record, &found, segment);
            segment.has_holes |= matches!(record.body, Some(v1::record::Body::Hole(_)));
        }
        if let Some(record) = &found.entry.record {
            self.doubts.read(record);
        }
        for position in &found.entry.positions {
            self.doubts.settle(position, &mut self.lost);
        }
        if !found.more {
            self.doubts.end_group();
        }
        apply_positions(&mut self.positions, found.entry.positions);
    }

    fn record(
        &mut self,
        lane: Lane,
        seq: u64,
        record: &v1::Record,
        found: &segment::Found,
        segment: &mut Segment,
    ) {
        let at = lane_at(lane);
        if let Some(v1::record::Body::Hole(hole)) = &record.body {
            let cause = hole.cause.parse().unwrap_or(GapCause::Damaged);
            if hole.first_seq >= 1 && hole.first_seq <= hole.last_seq {
                let (first, last) = (hole.first_seq, hole.last_seq);
                self.lost.push((lane, Lost { first, last, cause, gaps: hole.gaps.clone() }));
                // A hole may be written down before records that come before it.
                if first <= self.expected[at] {
                    self.expected[at] = self.expected[at].max(last.saturating_add(1));
                }
            }
            return;
        }
        if seq < self.expected[at] {
            return;
        }
        self.expect(lane, seq);
        self.expected[at] = seq.saturating_add(1);
        segment.slots[at].push(Slot { seq, at: found.at, len: found.len });
        if lane == Lane::Bulk && record.time_us > 0 {
            Times::add(&mut segment.bulk_times, record.time_us);
        }
    }

    /// The next seq of the lane is `next`: what was expected before it and is in no hole is damaged.
    fn expect(&mut self, lane: Lane, next: u64) {
        let expected = self.expected[lane_at(lane)];
        let mut from = if expected > 0 { expected } else { next };
        while from < next {
            let holes = self.lost.iter().filter(|(of, _)| *of == lane).map(|(_, lost)| lost);
            let ahead = holes.filter(|lost| lost.last >= from).min_by_key(|lost| lost.first);
            let (end, then) = match ahead {
                Some(lost) if lost.first <= from => (from, lost.last.saturating_add(1)),
                Some(lost) if lost.first < next => (lost.first, lost.first),
                _ => (next, next),
            };
            if end > from {
                let lost = Lost { first: from, last: end - 1, cause: GapCause::Damaged, gaps: Vec::new() };
                self.lost.push((lane, lost));
                if lane == Lane::Bulk {
                    self.doubts.raise(self.lost.len() - 1, &self.positions);
                }
            }
            from = then;
        }
        self.expected[lane_at(lane)] = expected.max(next);
    }

    fn finish(self, dir: &Path, options: Options) -> (Store, Recovered) {
        let fresh = self.segments.is_empty();
        let mut index = Index::new(self.id.filter(|_| !fresh).unwrap_or_else(SpoolId::generate));
        index.segments = self.segments;
        for (at, lane) in index.lanes.iter_mut().enumerate() {
            let of_lane = self.lost.iter().filter(|(of, _)| lane_at(*of) == at);
            let lost = of_lane.map(|(_, lost)| lost.last.saturating_add(1)).max().unwrap_or(1);
            lane.next = self.expected[at].max(lost);
        }
        for (lane, lost) in self.lost {
            index.add_lost(lane, lost);
        }
        let recovered =
            Recovered { positions: self.positions.values().cloned().collect(), notes: self.notes, fresh };
        (Store::new(dir.to_owned(), options, index, self.positions), recovered)
    }
}

/// Leaves out everything from the first record on with which, by its seq, the next file begins. Where that stands.
fn forget_beyond(scan: &mut Scan, base: [u64; 2]) -> Option<usize> {
    let beyond = |found: &segment::Found| {
        let name = found.entry.record.as_ref().and_then(segment::name_of);
        name.is_some_and(|(lane, seq)| seq >= base[lane_at(lane)])
    };
    let first = scan.entries.iter().position(beyond)?;
    let end = scan.entries.get(first)?.at as usize;
    scan.entries.truncate(first);
    scan.damaged.retain(|(from, _)| *from < end);
    scan.valid_end = scan.valid_end.min(end);
    Some(end)
}

/// An incomplete group at the end was never durable as a whole.
fn cut_torn_group(scan: &mut Scan) {
    while scan.entries.last().is_some_and(|last| last.more) {
        if let Some(cut) = scan.entries.pop() {
            scan.valid_end = cut.at as usize;
        }
    }
}
