//! The primary screen's transcript: which lines have settled, which of the logged ones were rewritten.
//!
//! Rules:
//! - A row has settled when it scrolled off, or stood unchanged for a second above the cursor row and above the live area
//!   and what is left of it ([`crate::live`]); or when the screen goes ([`crate::judge`]).
//! - Soft-wrapped rows are one line; it is ready when all its rows have settled. A line of more than [`MAX_LINE_ROWS`]
//!   rows or [`MAX_LINE_BYTES`] is handed out in pieces.
//! - Lines become ready in the order of their rows: one that has not settled holds back what stands below it.
//! - Blank lines are lines, but below the last text there are none: on the screen they wait until text has settled below.
//! - A logged line on the screen that reads differently once it has settled anew is handed out again, one revision higher.
//!   Where it now swallows lines that began further down, these are handed out as taking no rows. A line that is rewritten
//!   again and again must stand longer each time. What comes after a clear is no revision ([`crate::page`]).
//! - Rows that left the server unread are lost, counted, and in their place.
//!
//! Operation: [`Primary::gather`] says what is ready and changes nothing; the caller decides (line or repaint) and then
//! [`Primary::consume`]s item by item, in order. What is not consumed is gathered again next time.

use std::collections::BTreeMap;
use std::ops::Range;

use wa_proto::{FrameRow, Line};

use crate::alternate::{Alternate, SETTLE};
use crate::grid::{Change, Grid};
use crate::hash::{BLANK, line_hash, text_hash};
use crate::judge::{Judge, When};
use crate::resync::{Candidate, MAX_PENDING, Resync};

/// Rows of one line.
const MAX_LINE_ROWS: i64 = 512;
/// Bytes of one line.
const MAX_LINE_BYTES: usize = 64 << 10;
/// Rows above the viewport whose logged lines are remembered, for a viewport that grows upwards.
const REMEMBERED_ROWS: i64 = 128;
/// Pieces of one question.
const MAX_RANGES: usize = 32;
/// Lines remembered at most.
const MAX_ENTRIES: usize = 1024;
/// From this revision on a line settles more slowly.
const PATIENT_FROM: u32 = 4;
const MAX_RELUCTANCE: u32 = 6;

/// A logged line that is, or lately was, on the screen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Entry {
    /// 0: another line swallowed it.
    pub(crate) rows: u32,
    pub(crate) hash: u32,
    /// `None`: not logged under this layout (before a re-wrap, or as part of a repaint).
    pub(crate) rev: Option<u32>,
}

/// Whether a logged row reads differently.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Doubt {
    /// Nobody saw it change.
    Perhaps,
    Surely,
}

#[derive(Debug)]
pub(crate) enum Ready {
    /// Rows that went by unread.
    Lost(Range<i64>),
    Line(ReadyLine),
}

#[derive(Debug)]
pub(crate) struct ReadyLine {
    pub(crate) rows: Range<i64>,
    pub(crate) text: String,
    pub(crate) hash: u64,
}

impl ReadyLine {
    pub(crate) fn count(&self) -> u32 {
        u32::try_from(self.rows.end - self.rows.start).unwrap_or(u32::MAX)
    }
}

/// What is ready, in order, and when to look again.
#[derive(Debug, Default)]
pub(crate) struct Gathered {
    pub(crate) items: Vec<Ready>,
    pub(crate) wake: Option<u64>,
}

impl Gathered {
    fn wake_at(&mut self, moment: u64) {
        self.wake = Some(self.wake.map_or(moment, |wake| wake.min(moment)));
    }
}

/// What is known of how a row reads.
pub(crate) enum Reads<'a> {
    As(&'a str),
    /// Only the hash of its line.
    Hash(u32),
}

impl Reads<'_> {
    /// Whether it reads like this text, which has no trailing blanks.
    pub(crate) fn is(&self, text: &str) -> bool {
        match self {
            Self::As(known) => *known == text,
            Self::Hash(hash) => *hash == text_hash(text),
        }
    }

    /// Whether this text begins with it.
    pub(crate) fn begins(&self, text: &str) -> bool {
        matches!(self, Self::As(known) if text.starts_with(known))
    }
}

enum Settled {
    Yes,
    At(u64),
    No,
}

#[derive(Clone, Debug)]
pub(crate) struct Primary {
    pub(crate) grid: Grid,
    /// First row that is neither logged nor accounted for.
    pub(crate) next: i64,
    /// Logged lines by their first row.
    pub(crate) entries: BTreeMap<i64, Entry>,
    /// Logged rows that may read differently now. With a row that changed stands the first row of its line.
    touched: BTreeMap<i64, Doubt>,
    /// Rows below this one that are not known will not come any more.
    pub(crate) given_up: i64,
    pub(crate) resync: Option<Resync>,
}

impl Primary {
    pub(crate) fn new(grid: Grid, next: i64) -> Self {
        Self {
            grid,
            next,
            entries: BTreeMap::new(),
            touched: BTreeMap::new(),
            given_up: i64::MIN,
            resync: None,
        }
    }

    /// Rows below this one cannot be read.
    pub(crate) fn readable_from(&self) -> i64 {
        self.grid.dims().oldest.max(self.given_up)
    }

    /// A row was stored: a logged one may have become another text.
    pub(crate) fn note(&mut self, row: i64, change: Change) {
        // A new one is known by the hash of its line, or not at all: after a resume, or where the viewport grew upwards.
        let doubt = match change {
            Change::Text => Doubt::Surely,
            Change::New => Doubt::Perhaps,
            Change::Same | Change::Style => return,
        };
        if row < self.next && self.entries.first_key_value().is_some_and(|(first, _)| row >= *first) {
            self.touch(row, doubt);
        }
    }

    /// A logged row must be compared again, and the line with it.
    fn touch(&mut self, row: i64, doubt: Doubt) {
        let known = self.touched.entry(row).or_insert(doubt);
        *known = doubt.max(*known);
        if let Some(head) = self.covering(row) {
            self.touched.entry(head).or_insert(Doubt::Perhaps);
        }
    }

    /// Rows from this one on that were passed over are to be judged as they read next.
    pub(crate) fn doubt_skipped(&mut self, from: i64) {
        for row in from..self.next {
            if self.covering(row).is_none() {
                self.touched.insert(row, Doubt::Perhaps);
            }
        }
    }

    /// Whether logged rows of this range are still to be compared.
    pub(crate) fn is_doubted(&self, rows: Range<i64>) -> bool {
        self.touched.range(rows).next().is_some()
    }

    /// Rows that changed but did not come along.
    pub(crate) fn mark_stale(&mut self, range: Range<i64>) {
        for row in self.grid.mark_stale(range) {
            if row < self.next && self.covering(row).is_some() {
                self.touch(row, Doubt::Perhaps);
            }
        }
    }

    /// All logged rows must be compared again: nobody knows what happened meanwhile.
    pub(crate) fn doubt_entries(&mut self) {
        let Some((first, _)) = self.entries.first_key_value() else { return };
        let low = self.grid.dims().top - REMEMBERED_ROWS - MAX_LINE_ROWS;
        for row in low.max(*first)..self.next {
            self.touched.entry(row).or_insert(Doubt::Perhaps);
        }
    }

    fn covering(&self, row: i64) -> Option<i64> {
        let (start, entry) = self.entries.range(..=row).rev().find(|(_, entry)| entry.rows > 0)?;
        (row < *start + i64::from(entry.rows)).then_some(*start)
    }

    /// The ranges of rows that are needed and not known, at most `budget` rows.
    pub(crate) fn wanted(&self, mut budget: i64) -> Vec<Range<i64>> {
        let (from, dims) = (self.readable_from(), self.grid.dims());
        let mut ranges = Vec::new();
        if let Some(resync) = &self.resync {
            self.grid.missing(resync.low.max(from)..dims.end(), &mut budget, &mut ranges);
            return ranges;
        }
        let needed = self.next.min(dims.top).max(from);
        for (row, _) in self.touched.range(from..) {
            if *row < needed {
                self.grid.missing(*row..*row + 1, &mut budget, &mut ranges);
            }
        }
        self.grid.missing(needed..dims.end(), &mut budget, &mut ranges);
        ranges.truncate(MAX_RANGES);
        ranges
    }

    /// Forgets doubts about rows that cannot be read any more: what was logged of them stands.
    pub(crate) fn drop_doubts(&mut self) {
        let readable = self.readable_from();
        let first_entry = self.entries.first_key_value().map_or(i64::MAX, |(first, _)| *first);
        let lost = |row: i64| row < first_entry || (row < readable && self.grid.fresh(row).is_none());
        // A line of which a row is gone cannot be compared; only a change that was seen counts.
        let broken = |row: i64| {
            self.covering(row).is_some_and(|start| {
                let rows = self.entries.get(&start).map_or(0, |entry| entry.rows);
                (start..start + i64::from(rows)).any(lost)
            })
        };
        let hopeless = |(row, doubt): (&i64, &Doubt)| {
            (lost(*row) || (*doubt == Doubt::Perhaps && broken(*row))).then_some(*row)
        };
        let hopeless: Vec<i64> = self.touched.iter().filter_map(hopeless).collect();
        for row in hopeless {
            self.touched.remove(&row);
        }
    }

    /// Everything that is ready now.
    pub(crate) fn gather(&self, judge: &Judge<'_>) -> Gathered {
        let mut out = Gathered::default();
        self.gather_rewritten(judge, &mut out);
        self.gather_new(judge, &mut out);
        out
    }

    fn gather_rewritten(&self, judge: &Judge<'_>, out: &mut Gathered) {
        let mut done = i64::MIN;
        let mut text_below: Option<Option<i64>> = None;
        for &row in self.touched.keys() {
            if row < done {
                continue;
            }
            let Some(rows) = self.line_around(row) else { continue };
            done = rows.end;
            let rev = self.entries.get(&rows.start).and_then(|entry| entry.rev).unwrap_or(0);
            match self.settled(&rows, settle_time(rev), judge) {
                Settled::Yes => {}
                Settled::At(moment) => {
                    out.wake_at(moment);
                    continue;
                }
                Settled::No => continue,
            }
            let line = self.ready_line(rows);
            let last_text = *text_below.get_or_insert_with(|| self.last_text(judge));
            let on_screen = line.rows.end > self.grid.dims().top;
            if line.hash == BLANK && on_screen && last_text.is_none_or(|last| last < line.rows.end) {
                continue;
            }
            out.items.push(Ready::Line(line));
        }
    }

    /// The last row with text that could settle.
    fn last_text(&self, judge: &Judge<'_>) -> Option<i64> {
        let limit = match judge.when {
            When::Now => self.grid.cursor_row(),
            When::Leaving(leaving) => leaving.end,
            When::Last => i64::MAX,
        };
        let limit = limit.min(judge.live.top.unwrap_or(i64::MAX));
        let mut rows = self.grid.viewport().rev();
        rows.find(|(row, slot)| *row < limit && line_hash(&slot.row.text) != BLANK).map(|(row, _)| row)
    }

    /// The rows of the line that this row belongs to; `None` when some are not known.
    fn line_around(&self, row: i64) -> Option<Range<i64>> {
        self.grid.fresh(row)?;
        let awaited = |row: i64| self.touched.contains_key(&row) && self.grid.fresh(row).is_none();
        let wraps = |row: i64| self.grid.fresh(row).is_some_and(|slot| slot.row.wrapped);
        // Where a wrapped line was logged in pieces, and nothing changed at the seam, the pieces stay.
        let seam = |row: i64| {
            self.entries.get(&row).is_some_and(|entry| entry.rows > 0)
                && !self.touched.contains_key(&(row - 1))
        };
        let mut start = row;
        while row - start < MAX_LINE_ROWS && wraps(start - 1) && !seam(start) {
            start -= 1;
        }
        if awaited(start - 1) {
            return None;
        }
        let mut end = row + 1;
        while end - start < MAX_LINE_ROWS && end < self.grid.dims().end() && wraps(end - 1) && !seam(end) {
            self.grid.fresh(end)?;
            end += 1;
        }
        Some(start..end)
    }

    fn gather_new(&self, judge: &Judge<'_>, out: &mut Gathered) {
        let dims = self.grid.dims();
        // At the end nothing above the screen will be read any more.
        let readable = if judge.when == When::Last { dims.top } else { self.readable_from() };
        let mut blanks: Vec<ReadyLine> = Vec::new();
        let mut at = self.next;
        while at < dims.end() {
            if self.grid.fresh(at).is_none() {
                let known = self.grid.next_fresh(at).unwrap_or(i64::MAX);
                let upto = judge.fetcher.first_awaited(at..known.min(readable));
                if upto <= at {
                    return;
                }
                out.items.push(Ready::Lost(at..upto));
                at = upto;
                continue;
            }
            let lost = |row: i64| judge.when == When::Last || (row < readable && !judge.fetcher.awaits(row));
            let Some(rows) = self.line_from(at, lost) else { return };
            match self.settled(&rows, SETTLE << judge.patience, judge) {
                Settled::Yes => {}
                Settled::At(moment) => return out.wake_at(moment),
                Settled::No if judge.skips() => {
                    at = rows.end;
                    continue;
                }
                Settled::No => return,
            }
            at = rows.end;
            let line = self.ready_line(rows);
            if line.hash == BLANK && line.rows.end > dims.top {
                blanks.push(line);
                continue;
            }
            out.items.extend(blanks.drain(..).map(Ready::Line));
            out.items.push(Ready::Line(line));
        }
    }

    /// The rows of the line that begins here; `None` when one of them is still to come.
    fn line_from(&self, start: i64, lost: impl Fn(i64) -> bool) -> Option<Range<i64>> {
        let (mut end, mut bytes) = (start, 0);
        loop {
            let slot = match self.grid.fresh(end) {
                Some(slot) => slot,
                // Trimmed, or past the screen: the line ends here as far as anybody can read.
                None if end >= self.grid.dims().end() || lost(end) => return Some(start..end),
                None => return None,
            };
            bytes += slot.row.text.len();
            end += 1;
            if !slot.row.wrapped || end - start >= MAX_LINE_ROWS || bytes >= MAX_LINE_BYTES {
                return Some(start..end);
            }
        }
    }

    fn settled(&self, rows: &Range<i64>, time: u64, judge: &Judge<'_>) -> Settled {
        let top = self.grid.dims().top;
        if rows.end <= top {
            return Settled::Yes;
        }
        if judge.live.top.is_some_and(|live| rows.end > live) {
            return Settled::No;
        }
        let visible = self.grid.known(rows.start.max(top)..rows.end);
        let changed = visible.map(|(_, slot)| slot.changed).max().unwrap_or(0);
        let latest = || self.grid.viewport().map(|(_, slot)| slot.changed).max().unwrap_or(0);
        let remains = judge.live.remains_until(rows.end, changed, latest).filter(|until| *until > judge.now);
        let cursor = self.grid.cursor_row();
        match judge.when {
            When::Last | When::Leaving(_) if remains.is_some() => Settled::No,
            When::Last => Settled::Yes,
            When::Leaving(leaving) => {
                let stood = if rows.end > cursor { leaving.at_cursor } else { leaving.above };
                let read = rows.end <= leaving.end && changed.saturating_add(stood) <= judge.now;
                if read { Settled::Yes } else { Settled::No }
            }
            When::Now if rows.end > cursor || remains == Some(u64::MAX) => Settled::No,
            When::Now => match changed.saturating_add(time).max(remains.unwrap_or(0)) {
                due if due <= judge.now => Settled::Yes,
                due => Settled::At(due),
            },
        }
    }

    fn ready_line(&self, rows: Range<i64>) -> ReadyLine {
        let slots = || rows.clone().filter_map(|row| self.grid.fresh(row));
        let mut text = String::with_capacity(slots().map(|slot| slot.row.text.len()).sum());
        slots().for_each(|slot| text.push_str(&slot.row.text));
        text.truncate(text.trim_end_matches(' ').len());
        ReadyLine { rows, hash: line_hash(&text), text }
    }

    /// Whether exactly this stands in the log already.
    pub(crate) fn reads_as_logged(&self, line: &ReadyLine) -> bool {
        let Some(entry) = self.entries.get(&line.rows.start) else { return false };
        line.rows.start < self.next
            && entry.hash == text_hash(&line.text)
            && (entry.rows == line.count() || (entry.rows > 0 && entry.rev.is_none()))
    }

    /// Takes a line over as logged, or (`repaint`) as printed again. Gives the lines to write: none where the text is what
    /// was logged.
    pub(crate) fn consume(&mut self, line: &ReadyLine, repaint: bool) -> Vec<Line> {
        let Range { start, end } = line.rows;
        let mut out = Vec::new();
        let mut rev = self.entries.get(&start).and_then(|entry| entry.rev);
        if !repaint && !self.reads_as_logged(line) {
            let next = rev.map_or(0, |rev| rev.saturating_add(1));
            rev = Some(next);
            out.push(Line { row: start, rev: next, text: line.text.clone(), rows: line.count(), time: None });
        }
        if start < self.next {
            self.displace(start, end, repaint, &mut out);
        }
        self.entries.insert(start, Entry { rows: line.count(), hash: text_hash(&line.text), rev });
        self.next = self.next.max(end);
        out
    }

    /// Sorts out the lines that were logged where a rewritten one stands now.
    fn displace(&mut self, start: i64, end: i64, repaint: bool, out: &mut Vec<Line>) {
        let mut uncovered_to = end;
        if let Some(before) = self.covering(start) {
            let rows = self.entries.get(&before).map_or(0, |entry| entry.rows);
            uncovered_to = uncovered_to.max(before + i64::from(rows));
            if let Some(entry) = self.entries.get_mut(&before).filter(|_| before < start) {
                entry.rows = u32::try_from(start - before).unwrap_or(u32::MAX);
                self.touched.insert(before, Doubt::Surely);
            }
        }
        let swallowed: Vec<i64> = self
            .entries
            .range(start + 1..end)
            .filter(|(_, entry)| entry.rows > 0)
            .map(|(row, _)| *row)
            .collect();
        for row in swallowed {
            let Some(entry) = self.entries.get_mut(&row) else { continue };
            uncovered_to = uncovered_to.max(row + i64::from(entry.rows));
            (entry.rows, entry.hash) = (0, text_hash(""));
            if let Some(rev) = entry.rev.as_mut().filter(|_| !repaint) {
                *rev = rev.saturating_add(1);
                out.push(Line { row, rev: *rev, text: String::new(), rows: 0, time: None });
            }
        }
        for row in start..end {
            self.touched.remove(&row);
        }
        for row in end..uncovered_to.min(self.next) {
            if self.covering(row).is_none_or(|cover| cover <= start) {
                self.touched.insert(row, Doubt::Perhaps);
            }
        }
    }

    /// Rows below this one that are missing will not come: those on the screen count as blank.
    pub(crate) fn give_up_below(&mut self, row: i64, now: u64) {
        let dims = self.grid.dims();
        self.given_up = self.given_up.max(row.min(dims.top));
        for row in dims.top..row.min(dims.end()) {
            if self.grid.fresh(row).is_none() {
                self.grid.store(row, FrameRow::default(), now);
            }
        }
    }

    /// The rows mean the same lines as before, but under another layout.
    pub(crate) fn change_layout(&mut self) {
        self.entries.retain(|_, entry| entry.rows > 0);
        self.entries.values_mut().for_each(|entry| entry.rev = None);
    }

    /// What stands on the screen now.
    pub(crate) fn show(&mut self, grid: &Grid, now: u64) {
        for (row, slot) in grid.viewport() {
            let change = self.grid.store(row, slot.row.clone(), now);
            self.note(row, change);
        }
    }

    /// From `top` on rows are new: what was logged there was wiped.
    pub(crate) fn begin_page(&mut self, top: i64) {
        drop(self.entries.split_off(&top));
        drop(self.touched.split_off(&top));
        // The head of a line stands above.
        if let Some((start, entry)) = self.entries.last_key_value().map(|(start, entry)| (*start, *entry))
            && start + i64::from(entry.rows) > top
        {
            let rows = u32::try_from(top - start).unwrap_or(u32::MAX);
            self.entries.insert(start, Entry { rows, ..entry });
            drop(self.touched.split_off(&start));
        }
        self.next = self.next.min(top);
    }

    /// What is known of how a row reads.
    pub(crate) fn reads(&self, row: i64) -> Option<Reads<'_>> {
        if let Some(slot) = self.grid.fresh(row) {
            return Some(Reads::As(slot.row.text.trim_end_matches(' ')));
        }
        self.entries.get(&row).filter(|entry| entry.rows == 1).map(|entry| Reads::Hash(entry.hash))
    }

    /// The screen that was taken for an alternate one was this one.
    pub(crate) fn take_over(&mut self, alternate: Alternate) {
        let top = alternate.grid.dims().top;
        self.entries.retain(|row, entry| *row < top && entry.rows > 0);
        self.entries.values_mut().for_each(|entry| entry.rev = None);
        self.touched.clear();
        // Up to the first line that is not logged; blank ones behind the last logged one are still to come.
        let (mut next, mut open) = (top, false);
        for line in alternate.shown_lines() {
            let start = top + line.first;
            open |= !line.logged && !line.is_blank();
            if line.logged && !open {
                next = start + i64::from(line.rows);
            }
            let entry = Entry { rows: line.rows, hash: text_hash(&line.text), rev: None };
            self.entries.insert(start, entry);
        }
        self.entries.retain(|row, _| *row < next);
        self.next = next;
        self.grid = alternate.grid;
    }

    /// Starts again on re-wrapped rows.
    pub(crate) fn rewrap(&mut self, grid: Grid, next: i64, resync: Option<Resync>) {
        *self = Self { resync, ..Self::new(grid, next) };
    }

    /// Rows that nobody will read.
    pub(crate) fn consume_lost(&mut self, rows: &Range<i64>) {
        self.next = self.next.max(rows.end);
    }

    /// Forgets what is not needed any more.
    pub(crate) fn prune(&mut self) {
        if self.resync.is_some() {
            return;
        }
        let dims = self.grid.dims();
        let limit = dims.top - REMEMBERED_ROWS;
        while let Some(first) = self.entries.first_entry() {
            if *first.key() + i64::from(first.get().rows) > limit && self.entries.len() <= MAX_ENTRIES {
                break;
            }
            self.entries.pop_first();
        }
        let first = self.next.min(dims.top);
        let mut keep = first;
        // A line that is partly on the screen can only be rewritten whole.
        while first - keep < MAX_LINE_ROWS && self.grid.fresh(keep - 1).is_some_and(|slot| slot.row.wrapped) {
            keep -= 1;
        }
        self.grid.drop_below(self.touched.first_key_value().map_or(keep, |(row, _)| keep.min(*row)));
    }

    /// The logical lines from `low` to the last text.
    pub(crate) fn candidates(&self, low: i64) -> Vec<Candidate> {
        let end = self.grid.dims().end();
        let (mut out, mut shown, mut at) = (Vec::new(), 0, low);
        while at < end {
            let Some(rows) = self.line_from(at, |_| false) else { break };
            if rows.is_empty() {
                break;
            }
            at = rows.end;
            let line = self.ready_line(rows);
            out.push(Candidate { rows: line.rows, hash: line.hash, text: text_hash(&line.text) });
            if line.hash != BLANK {
                shown = out.len();
            }
        }
        out.truncate(shown);
        out
    }

    /// What stands on the screen and is not logged yet.
    pub(crate) fn pending(&self) -> (Vec<u64>, usize) {
        let from = self.grid.next_fresh(self.next).unwrap_or(self.next);
        let lines = self.candidates(from);
        (lines.iter().take(MAX_PENDING).map(|line| line.hash).collect(), lines.len())
    }

    /// Takes the first `logged` of these lines as logged under an earlier layout.
    pub(crate) fn adopt(&mut self, lines: &[Candidate]) {
        let limit = self.grid.dims().top - REMEMBERED_ROWS;
        for line in lines.iter().filter(|line| line.rows.end > limit) {
            let rows = u32::try_from(line.rows.end - line.rows.start).unwrap_or(u32::MAX);
            self.entries.insert(line.rows.start, Entry { rows, hash: line.text, rev: None });
        }
    }
}

/// How long a line must stand to be logged in its next revision.
fn settle_time(rev: u32) -> u64 {
    SETTLE << (rev + 1).saturating_sub(PATIENT_FROM).min(MAX_RELUCTANCE)
}
