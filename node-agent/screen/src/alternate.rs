//! The alternate screen: what of it is logged. Whether it is on is decided in [`crate::switch`].
//!
//! Constraints: it has no history, its row numbers mean nothing (and collide with early rows of the primary screen);
//! programs on it page, scroll regions, jump back, and redraw dashboards every second. What is stored is what a person
//! would have read, once.
//!
//! Operation: each picture is aligned with the one before by content (longest common subsequence of its rows). What agrees
//! keeps its age, however far it scrolled. New rows are logged when they have stood for a second above cursor and live area,
//! or when they scroll off the top; rows that were logged before in the same surroundings (a page turned back) are not. A
//! place that is overwritten again and again must stand longer each time: a clock is not a transcript. Rows get numbers of a
//! counter; none replaces another. Of several blank rows one is kept.
//!
//! Gaps: what went by between two pictures, or too fast to settle, nobody can count. A picture full of text that has
//! nothing to do with what was logged before it, and one that goes before any of it was logged, are a gap without a
//! count; one until a line is logged again.

use crate::document::Document;
use crate::grid::{Change, Dims, Grid};
use crate::hash::{BLANK, line_hash};
use crate::live::{FAREWELL, Live};

/// Rows of a picture that are looked at.
const MAX_PICTURE: usize = 512;
/// Less text than this is no page, in rows.
const FEW_ROWS: usize = 3;
/// How long a row must have stood to be logged when the screen goes, in microseconds.
pub(crate) const MOMENT: u64 = SETTLE / 5;
/// How long a row must have stood, in microseconds.
pub(crate) const SETTLE: u64 = 1_000_000;
/// A rewritten place settles at most this much more slowly, as a power of two.
const MAX_RELUCTANCE: u32 = 6;

/// One row of the last picture.
#[derive(Debug, Clone)]
struct Place {
    text: String,
    wrapped: bool,
    hash: u64,
    changed: u64,
    logged: bool,
    /// Where it stands in the document.
    at: Option<u64>,
    /// How often it was overwritten after it had been logged.
    overwritten: u32,
}

/// What is to be logged.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum AltItem {
    Line {
        row: i64,
        rows: u32,
        text: String,
    },
    /// Rows went by that nobody can count.
    Gap,
}

/// A logical line as the picture shows it.
pub(crate) struct ShownLine {
    /// Its first row, counted from the top.
    pub(crate) first: i64,
    pub(crate) rows: u32,
    pub(crate) text: String,
    pub(crate) logged: bool,
}

impl ShownLine {
    pub(crate) fn is_blank(&self) -> bool {
        line_hash(&self.text) == BLANK
    }
}

fn joined(places: &[Place]) -> String {
    let mut text: String = places.iter().map(|place| place.text.as_str()).collect();
    text.truncate(text.trim_end_matches(' ').len());
    text
}

/// What a position keeps of an alternate screen.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct SavedAlternate {
    pub(crate) guessed: bool,
    pub(crate) counter: i64,
    /// Hashes of the rows that were logged, top to bottom; [`BLANK`] for the others.
    pub(crate) picture: Vec<u64>,
}

#[derive(Debug)]
pub(crate) struct Alternate {
    pub(crate) grid: Grid,
    /// Taken for one only because the mouse was grabbed.
    pub(crate) guessed: bool,
    counter: i64,
    picture: Vec<Place>,
    /// Rows of it above the cursor and the live area, at the last look.
    limit: usize,
    /// The same when there was a live area, and when that was.
    live: Option<(usize, u64)>,
    /// As it was told last.
    seen: Live,
    document: Document,
    items: Vec<AltItem>,
    /// Nothing was logged since the last gap, or since the screen was entered.
    gapped: bool,
    /// Rows changed since the last look.
    dirty: bool,
}

impl Alternate {
    /// `document`: what was logged at earlier visits; it may be shown again.
    pub(crate) fn new(dims: Dims, guessed: bool, document: Document) -> Self {
        Self {
            grid: Grid::new(dims),
            guessed,
            counter: 0,
            picture: Vec::new(),
            limit: 0,
            live: None,
            seen: Live::default(),
            document,
            items: Vec::new(),
            gapped: true,
            dirty: true,
        }
    }

    pub(crate) fn restore(dims: Dims, saved: &SavedAlternate, logged: &[u64]) -> Self {
        let place = |hash: &u64| Place {
            text: String::new(),
            wrapped: false,
            hash: *hash,
            changed: 0,
            logged: *hash != BLANK,
            at: None,
            overwritten: 0,
        };
        let mut picture: Vec<Place> = saved.picture.iter().map(place).collect();
        let document = Document::new(logged.iter().copied().filter(|hash| *hash != BLANK));
        let shown: Vec<usize> = (0..picture.len()).filter(|at| picture[*at].logged).collect();
        let hashes: Vec<u64> = shown.iter().map(|at| picture[*at].hash).collect();
        for (at, number) in shown.into_iter().zip(document.find(&hashes, None, None)) {
            picture[at].at = number;
        }
        Self {
            counter: saved.counter,
            picture,
            gapped: false,
            ..Self::new(Dims { top: 0, oldest: 0, retained: dims.rows, ..dims }, saved.guessed, document)
        }
    }

    pub(crate) fn save(&self) -> SavedAlternate {
        let hash = |place: &Place| if place.logged { place.hash } else { BLANK };
        SavedAlternate {
            guessed: self.guessed,
            counter: self.counter,
            picture: self.picture.iter().map(hash).collect(),
        }
    }

    /// The logical lines of the picture, top to bottom.
    pub(crate) fn shown_lines(&self) -> Vec<ShownLine> {
        let (mut out, mut at) = (Vec::new(), 0);
        while at < self.picture.len() {
            let start = at;
            at += 1;
            while at < self.picture.len() && self.picture[at - 1].wrapped {
                at += 1;
            }
            let places = &self.picture[start..at];
            out.push(ShownLine {
                first: start as i64,
                rows: u32::try_from(places.len()).unwrap_or(u32::MAX),
                text: joined(places),
                logged: places.iter().any(|place| place.logged),
            });
        }
        out
    }

    /// The number of the next row.
    pub(crate) fn next_row(&self) -> i64 {
        self.counter
    }

    /// Hashes of the rows logged last, oldest first.
    pub(crate) fn last_logged(&self, count: usize) -> Vec<u64> {
        self.document.last(count)
    }

    /// The screen as it stands.
    pub(crate) fn show(&mut self, grid: Grid) {
        self.grid = grid;
        self.dirty = true;
    }

    /// A row of it was stored.
    pub(crate) fn note(&mut self, change: Change) {
        self.dirty |= matches!(change, Change::New | Change::Text);
    }

    /// Looks at the picture: what to log now, and when to look again.
    pub(crate) fn settle(&mut self, live: &Live, now: u64) -> (Vec<AltItem>, Option<u64>) {
        if std::mem::take(&mut self.dirty) {
            self.align(now);
        }
        self.limit = self.limit(live.top);
        if live.top.is_some() {
            self.live = Some((self.limit, now));
        }
        self.seen = *live;
        let wake = self.log_settled(now, settle_time);
        (std::mem::take(&mut self.items), wake)
    }

    /// What was logged, for the next visit.
    pub(crate) fn into_document(self) -> Document {
        self.document
    }

    /// The screen goes: what of it stood for a moment, at least.
    pub(crate) fn last(&mut self, now: u64) -> Vec<AltItem> {
        // An agent that ends wipes its composer first; what it covers is not text.
        if let Some((limit, _)) = self.live.filter(|(_, seen)| now <= seen.saturating_add(FAREWELL)) {
            self.limit = self.limit.min(limit);
        }
        self.log_settled(now, |_| MOMENT);
        std::mem::take(&mut self.items)
    }

    /// Rows of the picture above the cursor and the live area.
    fn limit(&self, live_top: Option<i64>) -> usize {
        let top = self.grid.dims().top;
        let cursor = if self.grid.cursor_visible() { self.grid.cursor_row() } else { i64::MAX };
        let limit = cursor.min(live_top.unwrap_or(i64::MAX)).saturating_sub(top);
        usize::try_from(limit.max(0)).unwrap_or(usize::MAX).min(self.picture.len())
    }

    fn log_settled(&mut self, now: u64, time: impl Fn(u32) -> u64) -> Option<u64> {
        let mut wake: Option<u64> = None;
        let top = self.grid.dims().top;
        let latest = self.picture.iter().map(|place| place.changed).max().unwrap_or(0);
        let mut ready = vec![false; self.picture.len()];
        for at in (0..self.limit).rev() {
            let place = &self.picture[at];
            if place.logged || place.hash == BLANK {
                continue;
            }
            let mut due = place.changed.saturating_add(time(place.overwritten));
            // What is left of a live area is no text yet.
            if let Some(until) = self.seen.remains_until(top + at as i64 + 1, place.changed, || latest) {
                due = due.max(until);
            }
            if due > now {
                wake = Some(wake.map_or(due, |wake| wake.min(due)));
                continue;
            }
            let goes_on = place.wrapped && at + 1 < self.picture.len() && !self.picture[at + 1].logged;
            ready[at] = !goes_on || ready[at + 1];
        }
        self.log_blocks(&ready);
        wake
    }

    /// Takes the picture as logged.
    pub(crate) fn pass_over(&mut self, now: u64) {
        if std::mem::take(&mut self.dirty) {
            self.align(now);
        }
        self.limit = self.picture.len();
        self.log_settled(u64::MAX, |_| 0);
        self.items.clear();
    }

    /// Logs what is ready, block by block; blank rows inside a block belong to it.
    fn log_blocks(&mut self, ready: &[bool]) {
        let mut at = 0;
        while at < ready.len() {
            if !ready[at] {
                at += 1;
                continue;
            }
            let start = at;
            let mut end = at + 1;
            while at < ready.len()
                && (ready[at] || (self.picture[at].hash == BLANK && !self.picture[at].logged))
            {
                at += 1;
                if ready[at - 1] {
                    end = at;
                }
            }
            self.log_block(start, end);
            at = end;
        }
    }

    /// Logs the rows of a block that the document does not have.
    fn log_block(&mut self, start: usize, end: usize) {
        let shown: Vec<usize> = (start..end).filter(|at| self.picture[*at].hash != BLANK).collect();
        let hashes: Vec<u64> = shown.iter().map(|at| self.picture[*at].hash).collect();
        let before = self.picture[..start].iter().rev().find_map(|place| place.at);
        let after = self.picture[end..].iter().find_map(|place| place.at);
        let found = self.document.find(&hashes, before, after);
        let lost = before.is_none() && after.is_none() && found.iter().all(Option::is_none);
        if lost && self.is_full() {
            self.put_gap();
        }
        for place in &mut self.picture[start..end] {
            place.logged = true;
        }
        let mut known = vec![false; end - start];
        for (at, number) in shown.into_iter().zip(found) {
            self.picture[at].at = number;
            known[at - start] = number.is_some();
        }
        // Blank rows follow the row above them, and one says as much as twenty.
        for at in 1..known.len() {
            let (above, this) = (&self.picture[start + at - 1], &self.picture[start + at]);
            known[at] |= this.hash == BLANK && (known[at - 1] || above.hash == BLANK);
        }
        let mut at = start;
        while at < end {
            let first = at;
            at += 1;
            if known[first - start] {
                continue;
            }
            while self.picture[at - 1].wrapped && at < end && !known[at - start] {
                at += 1;
            }
            self.push_line(first, at);
        }
    }

    fn push_line(&mut self, start: usize, end: usize) {
        let places = &mut self.picture[start..end];
        for place in places.iter_mut().filter(|place| place.hash != BLANK) {
            place.at = Some(self.document.push(place.hash));
        }
        let rows = u32::try_from(places.len()).unwrap_or(u32::MAX);
        self.items.push(AltItem::Line { row: self.counter, rows, text: joined(places) });
        self.counter += i64::from(rows);
        self.gapped = false;
    }

    fn put_gap(&mut self) {
        if !std::mem::replace(&mut self.gapped, true) {
            self.items.push(AltItem::Gap);
        }
    }

    /// Whether the picture looks like a page of a longer text.
    fn is_full(&self) -> bool {
        let shown = self.picture[..self.limit].iter().filter(|place| place.hash != BLANK).count();
        shown >= FEW_ROWS && shown * 2 >= self.limit
    }

    /// Carries age and marks of the last picture over to the present rows; rows that scrolled off unlogged are logged.
    fn align(&mut self, now: u64) {
        let dims = self.grid.dims();
        let mut new: Vec<Place> = Vec::new();
        for index in dims.top..dims.end().min(dims.top + MAX_PICTURE as i64) {
            let row = self.grid.fresh(index).map(|slot| (slot.row.text.clone(), slot.row.wrapped));
            let (text, wrapped) = row.unwrap_or_default();
            let hash = line_hash(&text);
            new.push(Place { text, wrapped, hash, changed: now, logged: false, at: None, overwritten: 0 });
        }
        let mut old = std::mem::take(&mut self.picture);
        let pairs = common(&old, &new);
        self.limit = self.limit.min(old.len());
        let shown = |place: &&Place| place.hash != BLANK;
        // Nothing of the page is left, and nothing of it was logged.
        let went_unread = pairs.iter().all(|(in_old, _)| *in_old >= self.limit)
            && old[..self.limit].iter().filter(shown).all(|place| !place.logged);
        let (mut from_old, mut from_new) = (0, 0);
        let mut gone = vec![false; old.len()];
        for (in_old, in_new) in pairs.into_iter().chain([(old.len(), new.len())]) {
            let (lost, fresh) = (in_old - from_old, in_new - from_new);
            let scrolled = if in_old < old.len() && in_old > in_new { lost.saturating_sub(fresh) } else { 0 };
            gone[from_old..from_old + scrolled].fill(true);
            for (place, over) in new[from_new..in_new].iter_mut().zip(&old[from_old + scrolled..in_old]) {
                if place.hash == BLANK && over.hash == BLANK {
                    place.changed = over.changed;
                }
                place.overwritten =
                    over.overwritten.saturating_add(u32::from(over.logged && over.hash != BLANK));
            }
            if let (Some(before), Some(after)) = (old.get(in_old), new.get_mut(in_new)) {
                (after.changed, after.logged, after.at, after.overwritten) =
                    (before.changed, before.logged, before.at, before.overwritten);
            }
            (from_old, from_new) = (in_old + 1, in_new + 1);
        }
        // Resumed pictures have no text: their rows are marked as logged or blank, so none of them is logged here.
        let ready: Vec<bool> = old
            .iter()
            .zip(&gone)
            .map(|(place, gone)| *gone && !place.logged && place.hash != BLANK && !place.text.is_empty())
            .collect();
        std::mem::swap(&mut self.picture, &mut old);
        self.log_blocks(&ready);
        if went_unread && self.is_full() {
            self.put_gap();
        }
        self.picture = new;
        self.limit = self.limit.min(self.picture.len());
    }
}

fn settle_time(overwritten: u32) -> u64 {
    SETTLE << overwritten.saturating_sub(1).min(MAX_RELUCTANCE)
}

/// Pairs of rows that show the same, in order: the longest common subsequence, blank rows left out.
fn common(old: &[Place], new: &[Place]) -> Vec<(usize, usize)> {
    let shown = |places: &[Place]| -> Vec<usize> {
        (0..places.len()).filter(|at| places[*at].hash != BLANK).collect()
    };
    let (a, b) = (shown(old), shown(new));
    let same = |i: usize, j: usize| old[a[i]].hash == new[b[j]].hash;
    let shortest = a.len().min(b.len());
    let head = (0..shortest).take_while(|at| same(*at, *at)).count();
    let tail = (0..shortest - head).take_while(|at| same(a.len() - 1 - at, b.len() - 1 - at)).count();
    let (rows, cols) = (a.len() - head - tail, b.len() - head - tail);
    let mut pairs: Vec<(usize, usize)> = (0..head).map(|at| (a[at], b[at])).collect();
    // lengths[i][j]: of the rest from i and j on.
    let mut lengths = vec![0_u16; (rows + 1) * (cols + 1)];
    for i in (0..rows).rev() {
        for j in (0..cols).rev() {
            lengths[i * (cols + 1) + j] = if same(head + i, head + j) {
                lengths[(i + 1) * (cols + 1) + j + 1] + 1
            } else {
                lengths[(i + 1) * (cols + 1) + j].max(lengths[i * (cols + 1) + j + 1])
            };
        }
    }
    let (mut i, mut j) = (0, 0);
    while i < rows && j < cols {
        if same(head + i, head + j) {
            pairs.push((a[head + i], b[head + j]));
            (i, j) = (i + 1, j + 1);
        } else if lengths[(i + 1) * (cols + 1) + j] >= lengths[i * (cols + 1) + j + 1] {
            i += 1;
        } else {
            j += 1;
        }
    }
    pairs.extend((0..tail).rev().map(|at| (a[a.len() - 1 - at], b[b.len() - 1 - at])));
    pairs
}
